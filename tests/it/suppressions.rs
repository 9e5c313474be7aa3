//! Addresses that must not be written to (tests/README.md, promise 28).

use crate::support::world::World;
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
