//! Conversations (contract: conversations).

use crate::{
    twilio::{Account, number},
    world::World,
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_conversation_is_opened_once_and_its_first_message_is_sent() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let to = number();
    let refused = acme.member.post("/api/conversations/start", json!({"to_number": to})).await;
    assert_eq!(refused.status, 400, "no number takes its turn: {}", refused.text);
    let numbers = acme.admin.get("/api/sms/phone-numbers").await.expect(200);
    let rotation =
        format!("/api/sms/phone-numbers/{}/rotation?enabled=true&priority=3", numbers[0]["id"].as_str().unwrap());
    acme.admin.patch(&rotation, json!({})).await.expect(200);
    let one = acme.member.post("/api/conversations/start", json!({"to_number": to[2..].to_owned()})).await.expect(200);
    assert_eq!([&one["to_number"], &one["from_twilio_number"]], [&json!(to), &json!(account.number)]);
    let two = acme
        .admin
        .post("/api/conversations/start", json!({"to_number": to, "initial_message": "Hi"}))
        .await
        .expect(200);
    assert_eq!((&two["id"], &two["message_count"]), (&one["id"], &json!(1)));
    assert_eq!(account.asked()[0]["Body"], "Hi");

    let path = format!("/api/conversations/{}", one["id"].as_str().unwrap());
    let detail = acme.member.get(&path).await.expect(200);
    assert_eq!(detail["recent_messages"][0]["body"], "Hi");
    assert!(!detail["recent_messages"][0]["created_at"].as_str().unwrap().contains('+'), "{detail}");
    assert_eq!(
        acme.member.get(&format!("{path}?include_messages=false")).await.expect(200)["recent_messages"],
        json!([])
    );
    assert_eq!(acme.member.get(&format!("{path}?include_messages=&message_limit=")).await.expect(200), detail);
    let none = acme.member.get(&format!("{path}?message_limit=0")).await.expect(422);
    assert_eq!(none["detail"][0]["loc"], json!(["query", "message_limit"]));
    assert_eq!(acme.member.get("/api/conversations/?limit=0").await.status, 422);
    assert_eq!(acme.member.get("/api/conversations/?status=lost").await.status, 422);
    for odd in [json!({"status": "lost"}), json!({"status": null}), json!({"status": 5}), json!({})] {
        assert_eq!(acme.member.patch(&format!("{path}/status"), odd).await.status, 400);
    }
    acme.member.patch(&format!("{path}/status"), json!({"status": "blocked"})).await.expect(200);
    assert!(acme.admin.post("/api/sms/send", json!({"to": to, "body": "Hi"})).await.detail(400).contains("blocked"));
    let overview = acme.member.get("/api/conversations/stats/overview").await.expect(200);
    assert_eq!([&overview["total_conversations"], &overview["blocked_conversations"]], [&json!(1), &json!(1)]);
    assert_eq!(overview["phone_numbers"]["numbers"][0]["total_messages"], 1);
}

#[tokio::test]
async fn a_first_message_that_is_refused_opens_nothing() {
    let acme = World::new().await;
    let to = number();
    let start = async |message: Value| {
        acme.member.post("/api/conversations/start", json!({"to_number": to, "initial_message": message})).await
    };
    assert!(start(json!("Hi")).await.detail(400).contains("not configured"));
    let account = Account::of(&acme).await;
    let numbers = async || acme.member.get("/api/sms/phone-numbers").await.expect(200);
    let rotation =
        format!("/api/sms/phone-numbers/{}/rotation?enabled=true", numbers().await[0]["id"].as_str().unwrap());
    acme.admin.patch(&rotation, json!({})).await.expect(200);
    start(json!("a\u{0}")).await.expect(422);
    start(json!(" ")).await.detail(400);
    acme.admin.post("/api/suppressions/", json!({"channel": "sms", "address": to})).await.expect(200);
    assert!(start(json!("Hi")).await.detail(400).contains("opted out"));
    assert_eq!(acme.member.get("/api/conversations/").await.expect(200), json!([]));
    assert_eq!(numbers().await[0]["last_used_at"], json!(null));
    assert!(account.asked().is_empty());
    start(json!(null)).await.expect(200);
    assert!(numbers().await[0]["last_used_at"].is_string());
}
