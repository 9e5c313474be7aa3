//! Conversations (contract: conversations).

use crate::support::{
    database::waiting_for,
    server::admin_url,
    twilio::{Account, number},
    world::World,
};
use ringfence::db;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_comes_in_while_others_are_read_stays_unread() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let (holder, customer) = (db::connect(&admin_url()).await.unwrap(), number());
    let comes_in = async || {
        let insert = "insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body)
            values ($1, $1, $2, 'inbound', 'received', $3, $4, 'Hi')";
        holder.execute(insert, &[&acme.company, &acme.admin.id, &customer, &account.number]).await.unwrap();
    };
    comes_in().await;
    let id = acme.admin.get("/api/conversations/").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/conversations/{id}/mark-read");
    holder.batch_execute("begin").await.unwrap();
    comes_in().await;
    let commit = async {
        waiting_for(&holder, &acme.db).await;
        holder.batch_execute("commit").await.unwrap();
    };
    let (read, ()) = tokio::join!(acme.member.put(&path, json!({})), commit);
    read.expect(200);
    let unread = async || acme.admin.get("/api/conversations/").await.expect(200)[0]["unread_count"].clone();
    let really = "select count(*) from sms_messages where tenant_id = $1 and read_at is null";
    assert_eq!((unread().await, acme.value::<i64>(really, &[&acme.company]).await), (json!(1), 1));
    acme.member.put(&path, json!({})).await.expect(200);
    assert_eq!((unread().await, acme.value::<i64>(really, &[&acme.company]).await), (json!(0), 0));
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

#[tokio::test]
async fn a_conversation_goes_on_by_another_number_when_its_own_has_gone() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let to = number();
    acme.admin.post("/api/sms/send", json!({"to": to, "body": "Hi"})).await.expect(200);
    let start = async |message: Value| {
        acme.member.post("/api/conversations/start", json!({"to_number": to, "initial_message": message})).await
    };
    acme.db
        .execute("update phone_numbers set is_active = false where company_id = $1", &[&acme.company])
        .await
        .unwrap();
    assert_eq!(start(json!(null)).await.expect(200)["from_twilio_number"], json!(account.number));
    assert!(start(json!("One")).await.detail(400).contains("No phone number available"));
    let other = number();
    acme.admin.post("/api/sms/phone-numbers", json!({"phone_number": other})).await.expect(200);
    for message in ["Two", "Three"] {
        assert_eq!(start(json!(message)).await.expect(200)["from_twilio_number"], json!(other));
    }
    // A number that only the settings name is the company's, too.
    let line = number();
    let in_settings = "with gone as (update phone_numbers set is_deleted = true where company_id = $1)
        update twilio_settings set phone_number = $2 where company_id = $1";
    acme.db.execute(in_settings, &[&acme.company, &line]).await.unwrap();
    assert_eq!(start(json!("Four")).await.expect(200)["from_twilio_number"], json!(line));
    let from: Vec<String> = account.asked().iter().map(|form| form["From"].clone()).collect();
    assert_eq!(from, [account.number.clone(), other.clone(), other, line]);
}

#[tokio::test]
async fn a_historical_conversation_is_not_the_companys() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    acme.db
        .execute("update phone_numbers set rotation_enabled = true where company_id = $1", &[&acme.company])
        .await
        .unwrap();
    let to = number();
    for historical in [
        "insert into conversations (tenant_id, company_id, user_id, to_number, from_twilio_number) values ($1, null, $2, $3, '+14155550100')",
        "insert into phone_numbers (tenant_id, company_id, user_id, phone_number) values ($1, null, $2, $3)",
    ] {
        acme.db.execute(historical, &[&acme.company, &acme.member.id, &to]).await.unwrap();
    }
    let overview = async || acme.member.get("/api/conversations/stats/overview").await.expect(200);
    let before = overview().await;
    assert_eq!([&before["total_conversations"], &before["phone_numbers"]["total_numbers"]], [&json!(0), &json!(1)]);
    let started = acme.member.post("/api/conversations/start", json!({"to_number": to})).await.expect(200);
    assert_eq!(started["from_twilio_number"], json!(account.number));
    acme.admin.get(&format!("/api/conversations/{}", started["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(overview().await["phone_numbers"]["numbers"][0]["active_conversations"], 1);
}

/// The old database has some.
#[tokio::test]
async fn a_deleted_conversation_is_not_found() {
    let acme = World::new().await;
    Account::of(&acme).await;
    let rotate = "update phone_numbers set rotation_enabled = true where company_id = $1";
    acme.db.execute(rotate, &[&acme.company]).await.unwrap();
    let started = acme.member.post("/api/conversations/start", json!({"to_number": number()})).await.expect(200);
    let path = format!("/api/conversations/{}", started["id"].as_str().unwrap());
    acme.member.get(&path).await.expect(200);
    acme.db.execute("update conversations set is_deleted = true where tenant_id = $1", &[&acme.company]).await.unwrap();
    assert_eq!(acme.member.get(&path).await.detail(404), "Conversation not found");
    let block = json!({"status": "blocked"});
    assert_eq!(acme.member.patch(&format!("{path}/status"), block).await.detail(404), "Conversation not found");
    assert_eq!(acme.member.get("/api/conversations/").await.expect(200), json!([]));
}

/// Times that PostgreSQL can store but a calendar cannot are shown as in any other response.
#[tokio::test]
async fn times_beyond_the_calendar_are_shown_as_the_nearest() {
    let acme = World::new().await;
    Account::of(&acme).await;
    acme.admin.post("/api/sms/send", json!({"to": number(), "body": "Hi"})).await.expect(200);
    let id = acme.admin.get("/api/conversations/").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
    for (odd, shown) in [
        ("infinity", "9999-12-30T22:00:00"),
        ("20000-01-01", "9999-12-30T22:00:00"),
        ("-infinity", "0001-01-01T00:00:00"),
        ("0044-03-15 BC", "0001-01-01T00:00:00"),
        ("2026-01-02 03:04:05.060000Z", "2026-01-02T03:04:05.060000"),
    ] {
        for set in [
            "update sms_messages set created_at = $2::text::timestamptz where tenant_id = $1",
            "update phone_numbers set last_used_at = $2::text::timestamptz where tenant_id = $1",
        ] {
            acme.db.execute(set, &[&acme.company, &odd]).await.unwrap();
        }
        let one = acme.admin.get(&format!("/api/conversations/{id}")).await.expect(200);
        assert_eq!(one["recent_messages"][0]["created_at"], shown, "{odd}");
        let overview = acme.admin.get("/api/conversations/stats/overview").await.expect(200);
        assert_eq!(overview["phone_numbers"]["numbers"][0]["last_used_at"], shown, "{odd}");
    }
}
