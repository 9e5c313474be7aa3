//! Addresses that must not be written to (tests/README.md, promise 28).

use crate::support::{
    twilio::{Account, number},
    world::World,
};
use serde_json::json;

#[tokio::test]
async fn an_address_is_entered_once_in_its_one_form() {
    let acme = World::new().await;
    let add = async |address: &str, channel: &str| {
        acme.admin.post("/api/suppressions/", json!({"channel": channel, "address": address})).await
    };
    let one = add(" Ada@Example.com ", "email").await.expect(200);
    assert_eq!(one["address"], "ada@example.com");
    assert_eq!(add("ada@example.com", "email").await.expect(200)["id"], one["id"]);
    assert_eq!(add("(415) 555-0123", "sms").await.expect(200)["address"], "+14155550123");
    assert_eq!(add("nobody", "email").await.status, 422);
    assert_eq!(add("12", "sms").await.status, 400);
    let list = acme.member.get("/api/suppressions/?limit=1").await.expect(200);
    assert_eq!(list[0]["address"], "+14155550123");
    assert!(World::new().await.admin.get("/api/suppressions/").await.expect(200).as_array().unwrap().is_empty());
}

/// Whoever lifts an entry sees the weightiest reason for it, whatever was known first; START takes back STOP and no more.
#[tokio::test]
async fn what_the_person_said_outweighs_what_others_say_of_an_address() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let reason = async |address: &str| {
        let entries = acme.member.get("/api/suppressions/").await.expect(200);
        let entry = entries.as_array().unwrap().iter().find(|entry| entry["address"] == address);
        entry.map(|entry| entry["reason"].as_str().unwrap().to_owned()).unwrap_or_default()
    };
    let happens = async |what: &str, customer: &str| match what {
        "admin" => {
            let entry = json!({"channel": "sms", "address": customer, "note": "asked by phone"});
            let shown = acme.admin.post("/api/suppressions/", entry).await.expect(200);
            assert_eq!([&shown["reason"], &shown["note"]], [&json!(reason(customer).await), &json!("asked by phone")]);
        }
        "carrier" => {
            let path = format!("/api/sms/webhook/status?company={}", acme.company);
            let fields = [("MessageSid", "SM1"), ("To", customer), ("MessageStatus", "failed"), ("ErrorCode", "21610")];
            assert_eq!(account.tells(&path, &fields).await.status, 200);
        }
        word => {
            let sid = number();
            let fields = [("From", customer), ("To", &account.number), ("Body", word), ("MessageSid", &sid)];
            assert_eq!(account.tells("/api/sms/webhook/incoming", &fields).await.status, 200);
        }
    };
    for (order, then) in [
        (vec!["STOP", "START"], ""),
        (vec!["admin", "STOP"], "stop"),
        (vec!["admin", "STOP", "START"], "admin"),
        (vec!["admin", "STOP", "START", "STOP"], "stop"),
        (vec!["STOP", "admin"], "stop"),
        (vec!["STOP", "admin", "START"], "admin"),
        (vec!["STOP", "admin", "admin", "START"], "admin"),
        (vec!["admin", "carrier"], "provider"),
        (vec!["carrier", "admin", "STOP"], "provider"),
        (vec!["carrier", "admin", "START"], "admin"),
        (vec!["admin", "admin", "START"], "admin"),
    ] {
        let customer = number();
        for what in &order {
            happens(what, &customer).await;
        }
        assert_eq!(reason(&customer).await, then, "{order:?}");
    }
}
