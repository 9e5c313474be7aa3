//! E-mail (contract: emails).

use crate::{
    smtp::Inbox,
    twilio::{Account, mails},
    world::{World, api_url, config, start_server},
};
use serde_json::{Value, json};
use uuid::Uuid;

/// Gives the company a SendGrid key of its own.
pub async fn with_key(world: &World) -> String {
    let (account, key) = (Account::new(), format!("SG.{}", Uuid::new_v4().simple()));
    let settings = json!({"account_sid": account.sid, "auth_token": account.token, "sendgrid_api_key": key,
        "sendgrid_from_email": "sales@acme.example"});
    world.admin.post("/api/twilio-settings/", settings).await.expect(201);
    key
}

async fn received(world: &World, subject: &str) -> Uuid {
    let sql =
        "insert into emails (tenant_id, company_id, user_id, direction, status, from_email, to_email, subject, body)
        values ($1, $1, $2, 'inbound', 'received', 'ada@example.com', 'sales@acme.example', $3, 'B') returning id";
    world.value(sql, &[&world.company, &world.member.id, &subject]).await
}

#[tokio::test]
async fn a_mail_is_sent_by_the_companys_key_and_written_down() {
    let acme = World::new().await;
    let screen = json!({"to": "ada@example.com", "subject": "Hi", "body": "<p>Hi</p>"});
    assert!(acme.member.post("/api/emails/send", screen.clone()).await.detail(400).contains("not configured"));
    let key = with_key(&acme).await;
    let sent = acme.member.post("/api/emails/send", screen).await.expect(201);
    assert_eq!(
        [&sent["status"], &sent["direction"], &sent["to_address"], &sent["from_address"]],
        [&json!("sent"), &json!("outbound"), &json!("ada@example.com"), &sent["from_email"]]
    );
    let contact = acme.contact("Ada", "L").await["id"].clone();
    let full = json!({"to_email": "ada@example.com", "subject": "Ünï", "body": "B", "cc": "b@x.example, c@x.example", "bcc": "", "contact_id": contact});
    acme.member.post("/api/emails/", full).await.expect(201);
    let mails = mails(&key);
    assert_eq!(mails.len(), 2);
    assert_eq!(
        [&mails[0]["from"]["email"], &mails[0]["reply_to"]["email"], &mails[0]["content"][0]["value"]],
        [&json!("sales@acme.example"), &sent["from_email"], &json!("<p>Hi</p>")]
    );
    assert_eq!(mails[1]["personalizations"][0]["cc"], json!([{"email": "b@x.example"}, {"email": "c@x.example"}]));
    assert!(mails[1]["personalizations"][0]["bcc"].is_null());
    let list = acme.member.get("/api/emails/?type=sent").await.expect(200);
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert!(
        acme.admin.get("/api/emails/?type=sent").await.expect(200).as_array().unwrap().is_empty(),
        "the caller's own"
    );
    assert_eq!(acme.admin.get("/api/emails/?type=all").await.expect(200).as_array().unwrap().len(), 2);
    assert_eq!(acme.value::<i64>("select count(*) from jobs where tenant_id = $1", &[&acme.company]).await, 0);
}

#[tokio::test]
async fn what_cannot_be_sent_is_told_and_not_tried_twice() {
    let acme = World::new().await;
    let key = with_key(&acme).await;
    let send = async |to: &str, subject: &str| {
        acme.member.post("/api/emails/", json!({"to_email": to, "subject": subject, "body": "B"})).await
    };
    for (n, who) in ["refused", "dropped", "busy"].into_iter().enumerate() {
        send(&format!("{who}@x.example"), "S").await.detail(502);
        assert_eq!(mails(&key).len(), n + 1, "{who}");
        assert_eq!(acme.admin.get("/api/emails/?type=all").await.expect(200)[0]["status"], "failed", "{who}");
    }
    for (to, subject) in
        [("nobody", "S"), ("a@x.example\r\nbcc: b@x.example", "S"), ("a@x.example", "S\r\nBcc: b@x.example")]
    {
        assert_eq!(send(to, subject).await.status, 422, "{to} {subject}");
    }
    let entry = json!({"channel": "email", "address": "Gone@X.example"});
    acme.admin.post("/api/suppressions/", entry).await.expect(200);
    assert_eq!(send("gone@x.example", "S").await.status, 400);
    let copied = json!({"to_email": "a@x.example", "cc": "b@x.example,GONE@x.example", "subject": "S", "body": "B"});
    assert_eq!(acme.member.post("/api/emails/", copied).await.status, 400);
    let foreign = World::new().await.contact("Ada", "L").await["id"].clone();
    let nested = json!({"to_email": "a@x.example", "subject": "S", "body": "B", "contact_id": foreign});
    assert_eq!(acme.member.post("/api/emails/", nested.clone()).await.status, 404);
    assert_eq!(acme.member.post("/api/emails/draft", nested).await.status, 404);
    assert_eq!(mails(&key).len(), 3);
}

#[tokio::test]
async fn a_company_without_a_key_sends_through_the_relay() {
    let inbox = Inbox::open().await;
    let mut config = config();
    config.relay_url = Some(inbox.url());
    let base = start_server(config, &api_url());
    let acme = World::new().await;
    let person = acme.member.at(&base);
    let new = json!({"to_email": "ada@example.com", "subject": "Grüße", "body": "<p>Hi</p>", "bcc": "b@x.example"});
    let sent = person.post("/api/emails/", new).await.expect(201);
    let mail = inbox.next().await;
    assert!(mail.to.contains("ada@example.com"), "{mail:?}");
    assert!(mail.data.contains("<p>Hi</p>") && !mail.data.contains("b@x.example"), "{}", mail.data);
    assert!(mail.data.contains(&format!("Message-ID: <{}@", sent["id"].as_str().unwrap())), "{}", mail.data);
}

#[tokio::test]
async fn received_mail_is_read_kept_and_thrown_away() {
    let acme = World::new().await;
    let id = received(&acme, "One").await;
    let draft = json!({"to_email": "ada@example.com", "subject": "D", "body": "B"});
    let draft = acme.member.post("/api/emails/draft", draft).await.expect(201);
    let subjects = async |query: &str| -> Vec<Value> {
        let list = acme.admin.get(&format!("/api/emails/{query}")).await.expect(200);
        list.as_array().unwrap().iter().map(|mail| mail["subject"].clone()).collect()
    };
    assert_eq!(subjects("").await, ["One"]);
    assert_eq!(subjects("?type=draft").await, ["D"]);
    assert_eq!(
        acme.admin.get("/api/emails/stats").await.expect(200),
        json!({"total": 2, "unread": 1, "sent": 0, "drafts": 1})
    );
    let path = format!("/api/emails/{id}");
    acme.admin.put(&format!("{path}/mark-read"), json!({})).await.expect(200);
    assert!(acme.admin.get(&path).await.expect(200)["read_at"].is_string());
    acme.admin.post(&format!("{path}/mark-unread"), json!({})).await.expect(200);
    assert!(acme.admin.get(&path).await.expect(200)["read_at"].is_null());
    acme.admin.delete(&path).await.expect(200);
    assert_eq!((subjects("").await, subjects("?type=trash").await), (vec![], vec![json!("One")]));
    acme.admin.post(&format!("{path}/restore"), json!({})).await.expect(200);
    assert_eq!(subjects("").await, ["One"]);
    assert_eq!(acme.admin.put(&path, json!({"subject": "x"})).await.status, 400, "received mail stays as it is");
    let path = format!("/api/emails/{}", draft["id"].as_str().unwrap());
    let changed = acme.admin.put(&path, json!({"subject": "E", "status": "scheduled"})).await.expect(200);
    assert_eq!([&changed["subject"], &changed["status"]], [&json!("E"), &json!("scheduled")]);
    assert_eq!(acme.admin.put(&path, json!({"status": "sent"})).await.status, 400);
    assert_eq!(acme.admin.put(&path, json!({"status": "lost"})).await.status, 422);
    assert_eq!(acme.admin.get("/api/emails/x").await.status, 422);
}
