//! Addresses that must not be written to (tests/README.md, promise 28).

use crate::support::{
    database::OwnDatabase,
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

/// Whoever lifts an entry sees the weightiest reason for it, whatever was known first; START takes back STOP and no
/// more.
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

/// Europe's usual way to write a number has a zero that is not dialled from abroad.
#[tokio::test]
async fn a_zero_in_brackets_is_no_part_of_a_number() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let entry = json!({"channel": "sms", "address": "+44 (0)20 7946 0008"});
    assert_eq!(acme.admin.post("/api/suppressions/", entry).await.expect(200)["address"], "+442079460008");
    for to in ["+442079460008", "+44 (0)20 7946 0008", "+44(0)2079460008"] {
        let refused = acme.member.post("/api/sms/send", json!({"to": to, "body": "Hi"})).await.detail(400);
        assert!(refused.contains("opted out"), "{to}: {refused}");
    }
    for to in ["+44 (0)20 7946 0009", "+39 (0)6 1234 0009"] {
        acme.member.post("/api/sms/send", json!({"to": to, "body": "Hi"})).await.expect(200);
    }
    let sent: Vec<String> = account.asked().iter().map(|text| text["To"].clone()).collect();
    assert_eq!(sent, ["+442079460009", "+390612340009"]);
    // As somebody at psql enters it.
    let by_hand = "insert into suppressions (tenant_id, company_id, user_id, channel, address, reason)
        values ($1, $1, $2, 'sms', '+49 (0)89 1234567', 'admin') returning address";
    assert_eq!(acme.value::<String>(by_hand, &[&acme.company, &acme.admin.id]).await, "+49891234567");
}

#[tokio::test]
async fn what_was_entered_in_another_form_holds_from_now_on() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let older = format!(
        "alter table suppressions disable trigger keep;
         insert into suppressions (tenant_id, company_id, user_id, channel, address, reason)
           select '{0}', '{0}', '{1}', case when address like '+%' then 'sms' else 'email' end, address, 'admin'
           from unnest(array['+4402079460001', '+39061234567', '+15557770001', '+4402079460002', '+442079460002', '+353012345678',
             '+22507070707', 'x@xn--mnchen-3ya.de', 'x@example.com']) address;
         alter table suppressions enable trigger keep",
        acme.company, acme.admin.id
    );
    acme.db.batch_execute(&older).await.unwrap();
    let migration = include_str!("../../migrations/V0098__as_people_write_them.sql");
    let mend = &migration[migration.find("-- What was kept before").unwrap()..];
    acme.db.batch_execute(mend).await.unwrap();
    let all = "select string_agg(address, ' ' order by address collate \"C\") from suppressions";
    assert_eq!(
        acme.value::<String>(all, &[]).await,
        "+15557770001 +22507070707 +35312345678 +39061234567 +4402079460002 +442079460001 +442079460002 x@example.com x@münchen.de"
    );
    drop(acme);
    own.drop().await;
}

/// The reason is that of the person, even where an admin has entered the address in the form that is looked up.
#[tokio::test]
async fn entries_of_one_address_in_several_forms_become_one() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let older = format!(
        "alter table suppressions disable trigger keep;
         insert into suppressions (tenant_id, company_id, user_id, channel, address, reason)
           select '{0}', '{0}', '{1}', case when address like '+%' then 'sms' else 'email' end, address, reason
           from (values ('+4402079460002', 'stop'), ('+442079460002', 'admin'), ('x@XN--mnchen-3ya.de', 'bounce'),
             ('x@xn--Mnchen-3ya.de', 'complaint'), ('+390612345', 'provider'), ('b@example.com', 'bounce')) entry (address, reason);
         insert into suppressions (tenant_id, company_id, user_id, channel, address, reason)
           values ('{0}', null, '{1}', 'sms', '+4402079460002', 'admin');
         alter table suppressions enable trigger keep",
        acme.company, acme.admin.id
    );
    acme.db.batch_execute(&older).await.unwrap();
    let migration = include_str!("../../migrations/V0104__one_entry_for_an_address.sql");
    acme.db.batch_execute(migration).await.unwrap();
    let all = "select string_agg(concat_ws(' ', address, reason, also_admin), ', ' order by address collate \"C\")
        from suppressions where company_id is not null";
    assert_eq!(
        acme.value::<String>(all, &[]).await,
        "+390612345 provider f, +442079460002 stop t, b@example.com bounce f, x@münchen.de complaint f"
    );
    drop(acme);
    own.drop().await;
}
