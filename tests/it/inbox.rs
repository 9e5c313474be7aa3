//! The unified inbox (contract: inbox).

use crate::support::{
    database::waiting_for,
    server::admin_url,
    twilio::{Account, mails, number, with_key},
    world::World,
};
use serde_json::json;

#[tokio::test]
async fn texts_mail_and_calls_are_one_list() {
    let acme = World::new().await;
    let key = with_key(&acme).await;
    acme.admin.post("/api/sms/phone-numbers", json!({"phone_number": number()})).await.expect(200);
    let sms = acme.member.post("/api/inbox/send-sms", json!({"to_number": number(), "message": "T"})).await.expect(200);
    assert!(sms["result"]["message_sid"].as_str().unwrap().starts_with("SM"));
    let mail = json!({"to_email": "ada@example.com", "subject": "M", "html_content": "<p>M</p>", "text_content": "M"});
    let mail = acme.member.post("/api/inbox/send-email", mail).await.expect(200);
    assert_eq!(mail["result"], json!({"success": true, "message_id": "sg-1", "status_code": 202}));
    assert_eq!(mails(&key).len(), 1);
    let parts = &mails(&key)[0]["content"];
    assert_eq!([&parts[0]["type"], &parts[0]["value"], &parts[1]["type"]], ["text/plain", "M", "text/html"]);
    acme.member.post("/api/calls/make", json!({"to": number()})).await.expect(200);
    let refused = json!({"to_number": "+14155550001", "message": "T"});
    assert!(acme.member.post("/api/inbox/send-sms", refused).await.detail(400).contains("not valid"));

    let list = async |query: &str| {
        acme.admin.get(&format!("/api/inbox/{query}")).await.expect(200).as_array().unwrap().clone()
    };
    let kinds = |list: &[serde_json::Value]| -> Vec<String> {
        list.iter()
            .map(|m| format!("{} {}", m["message_type"].as_str().unwrap(), m["status"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(kinds(&list("").await), ["sms failed", "voice pending", "email sent", "sms sent"]);
    // With and without a condition are separate statements.
    assert_eq!(list("?direction=outbound").await, list("").await);
    assert_eq!(list("?message_type=&direction=&status=").await, list("").await);
    assert_eq!(kinds(&list("?limit=1&offset=2").await), ["email sent"]);
    assert_eq!(kinds(&list("?status=sent").await), ["email sent", "sms sent"]);
    assert_eq!(kinds(&list("sms?direction=outbound").await).len(), 2);
    assert_eq!(kinds(&list("emails").await), ["email sent"]);
    assert_eq!(list("emails").await[0]["body"], "M");
    assert!(list("?direction=inbound").await.is_empty());
    for bad in ["?limit=101", "?offset=-1", "?status=lost", "?message_type=fax"] {
        assert_eq!(acme.admin.get(&format!("/api/inbox/{bad}")).await.status, 422, "{bad}");
    }
    // The inbox cannot delete mails in the trash or unsent ones.
    let mail = list("?message_type=email").await[0]["id"].as_str().unwrap().to_owned();
    let draft = json!({"to_email": "ada@example.com", "subject": "D", "body": "B"});
    let draft = acme.admin.post("/api/emails/draft", draft).await.expect(201);
    acme.admin.delete(&format!("/api/emails/{mail}")).await.expect(200);
    for hidden in [&mail, draft["id"].as_str().unwrap()] {
        assert_eq!(acme.admin.delete(&format!("/api/inbox/{hidden}")).await.status, 404);
    }
    acme.admin.post(&format!("/api/emails/{mail}/restore"), json!({})).await.expect(200);
    for message in list("").await {
        let path = format!("/api/inbox/{}", message["id"].as_str().unwrap());
        acme.admin.put(&format!("{path}/mark-read"), json!({})).await.expect(200);
        assert_eq!(list("?status=read").await[0]["id"], message["id"]);
        acme.admin.delete(&path).await.expect(200);
        assert_eq!(acme.admin.delete(&path).await.status, 404);
    }
    assert!(list("").await.is_empty());
}

#[tokio::test]
async fn a_text_that_is_read_or_deleted_counts_no_more_in_its_conversation() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let customer = number();
    for sid in ["SMone", "SMtwo", "SMthree"] {
        let fields = [("From", customer.as_str()), ("To", &account.number), ("Body", "Hi"), ("MessageSid", sid)];
        assert_eq!(account.tells("/api/sms/webhook/incoming", &fields).await.status, 200);
    }
    acme.member.post("/api/sms/send", json!({"to": customer, "body": "Hi"})).await.expect(200);
    let counts = async || {
        let conversations = acme.member.get("/api/conversations/").await.expect(200);
        ["message_count", "unread_count"].map(|counter| conversations[0][counter].as_i64().unwrap())
    };
    assert_eq!(counts().await, [4, 3]);
    let texts = acme.admin.get("/api/inbox/?message_type=sms").await.expect(200);
    let path = |place: usize| format!("/api/inbox/{}", texts[place]["id"].as_str().unwrap());
    let [out, unread, read, other] = [path(0), path(1), path(2), path(3)];
    for place in [&read, &read, &out] {
        acme.member.put(&format!("{place}/mark-read"), json!({})).await.expect(200);
        assert_eq!(counts().await, [4, 2], "once, and only what came in");
    }
    for (place, left) in [(&read, [3, 2]), (&unread, [2, 1]), (&out, [1, 1])] {
        acme.member.delete(place).await.expect(200);
        assert_eq!(counts().await, left);
    }
    let last = "select c.last_message_at = m.created_at from conversations c, sms_messages m where m.conversation_id = c.id and c.tenant_id = $1";
    assert!(acme.value::<bool>(last, &[&acme.company]).await, "the last message is one that is there");
    // A wrong counter does not go below zero.
    acme.db
        .execute("update conversations set message_count = 0, unread_count = 0 where tenant_id = $1", &[&acme.company])
        .await
        .unwrap();
    acme.member.put(&format!("{other}/mark-read"), json!({})).await.expect(200);
    assert_eq!(counts().await, [0, 0]);
    acme.member.delete(&other).await.expect(200);
    assert_eq!(counts().await, [0, 0]);
}

/// Its outcome is still to be written to its row, and to the scheduled text.
#[tokio::test]
async fn a_text_that_is_being_sent_is_not_deleted() {
    let acme = World::new().await;
    let insert =
        "insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body)
        values ($1, $1, $2, 'outbound', 'queued', '+14155552002', '+14155552001', 'Hi') returning id";
    let id: uuid::Uuid = acme.value(insert, &[&acme.company, &acme.member.id]).await;
    let path = format!("/api/inbox/{id}");
    assert!(acme.member.delete(&path).await.detail(400).contains("being sent"));
    acme.db.execute("update sms_messages set status = 'failed' where id = $1", &[&id]).await.unwrap();
    acme.member.delete(&path).await.expect(200);
    assert_eq!(acme.member.delete(&path).await.status, 404);
}

/// There would be no record of it, and its sender would be told that it does not exist.
#[tokio::test]
async fn a_mail_that_is_being_sent_is_not_deleted() {
    let acme = World::new().await;
    let insert = "insert into emails (tenant_id, company_id, user_id, direction, status, is_sending, from_email, to_email, subject, body)
        values ($1, $1, $2, 'outbound', 'scheduled', true, 'a@x.example', 'b@x.example', 'S', 'B') returning id";
    let id: uuid::Uuid = acme.value(insert, &[&acme.company, &acme.member.id]).await;
    let path = format!("/api/inbox/{id}");
    assert!(acme.member.delete(&path).await.detail(400).contains("being sent"));
    acme.db.execute("update emails set is_sending = false, status = 'sent' where id = $1", &[&id]).await.unwrap();
    acme.member.delete(&path).await.expect(200);
    assert_eq!(acme.member.delete(&path).await.status, 404);
}

/// The conversation would be as old as what was there before.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_comes_in_while_one_is_deleted_is_the_last_one() {
    let acme = World::new().await;
    let insert =
        "insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body)
        values ($1, $1, $2, 'inbound', 'received', '+14155552001', '+14155552002', 'Hi') returning id";
    let id: uuid::Uuid = acme.value(insert, &[&acme.company, &acme.member.id]).await;
    acme.value::<uuid::Uuid>(insert, &[&acme.company, &acme.member.id]).await;
    acme.db.batch_execute("begin").await.unwrap();
    let last: uuid::Uuid = acme.value(insert, &[&acme.company, &acme.member.id]).await;
    let member = acme.member.clone();
    let deleting = tokio::spawn(async move { member.delete(&format!("/api/inbox/{id}")).await });
    waiting_for(&acme.db, &ringfence::db::connect(&admin_url()).await.unwrap()).await;
    acme.db.batch_execute("commit").await.unwrap();
    deleting.await.unwrap().expect(200);
    let is_last = "select c.last_message_at = m.created_at and c.message_count = 2
        from conversations c join sms_messages m on m.conversation_id = c.id where m.id = $1";
    assert!(acme.value::<bool>(is_last, &[&last]).await);
}
