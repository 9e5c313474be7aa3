//! E-mail (contract: emails).

use crate::support::{
    database::{OwnDatabase, until},
    proxy::LostCommit,
    server::{api_url, config, start_server},
    smtp::Inbox,
    twilio::{Account, mails, with_key},
    world::{Answer, Person, World, answer, workflow},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::FutureExt;
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer},
    pkcs8::EncodePublicKey,
};
use reqwest::multipart;
use ringfence::{
    clients::mail::{Attachment, Mailer, OutgoingEmail},
    config::Config,
};
use serde_json::{Value, json};
use uuid::Uuid;

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
    let full = json!({"to_email": "ada@example.com", "to": "ada@example.com", "subject": "Ünï", "body": "B", "cc": "b@x.example, c@x.example", "bcc": "", "contact_id": contact});
    acme.member.post("/api/emails/", full).await.expect(201);
    let to_nobody = acme.member.post("/api/emails/", json!({"to": "", "subject": "S", "body": "B"})).await.expect(422);
    assert_eq!(to_nobody["detail"][0]["loc"], json!(["body", "to_email"]));
    let mails = mails(&key);
    assert_eq!(mails.len(), 2);
    assert_eq!(
        [&mails[0]["from"]["email"], &mails[0]["reply_to"]["email"], &mails[0]["content"][0]["type"]],
        [&json!("sales@acme.example"), &sent["from_email"], &json!("text/html")]
    );
    assert!(mails[0]["content"][0]["value"].as_str().unwrap().starts_with("<p>Hi</p>"));
    assert_eq!(mails[1]["personalizations"][0]["cc"], json!([{"email": "b@x.example"}, {"email": "c@x.example"}]));
    assert!(mails[1]["personalizations"][0]["bcc"].is_null());
    let list = acme.member.get("/api/emails/?type=sent").await.expect(200);
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert!(
        acme.admin.get("/api/emails/?type=sent").await.expect(200).as_array().unwrap().is_empty(),
        "the caller's own"
    );
    assert_eq!(acme.admin.get("/api/emails/?type=all").await.expect(200).as_array().unwrap().len(), 2);
    let fail = "update emails set status = 'failed' where id::text = $1";
    acme.db.execute(fail, &[&list[0]["id"].as_str().unwrap()]).await.unwrap();
    assert_eq!(acme.member.get("/api/emails/?type=sent").await.expect(200), json!([list[1]]), "what has left");
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
    for (field, list) in [
        ("bcc", "gone@x.example "),
        ("bcc", " gone@x.example"),
        ("cc", "\u{a0}gone@x.example"),
        ("cc", "b@x.example,\u{a0} \u{2003}Gone@x.example\u{3000}, c@x.example"),
    ] {
        let hidden = json!({"to_email": "a@x.example", "subject": "S", "body": "B", field: list});
        assert_eq!(acme.member.post("/api/emails/send", hidden).await.status, 400, "{list:?}");
    }
    let foreign = World::new().await.contact("Ada", "L").await["id"].clone();
    let nested = json!({"to_email": "a@x.example", "subject": "S", "body": "B", "contact_id": foreign});
    assert_eq!(acme.member.post("/api/emails/", nested.clone()).await.status, 404);
    assert_eq!(acme.member.post("/api/emails/draft", nested).await.status, 404);
    assert_eq!(mails(&key).len(), 3);
}

#[tokio::test]
async fn a_mail_to_somebody_who_wants_none_is_refused_however_its_row_is_written() {
    let acme = World::new().await;
    let entry = json!({"channel": "email", "address": "gone@x.example"});
    acme.admin.post("/api/suppressions/", entry).await.expect(200);
    for (to, cc) in [
        ("a@x.example", Some("\u{a0}GONE@x.example")),
        ("a@x.example", Some("b@x.example, gone@x.example ")),
        (" gone@x.example\t", None),
    ] {
        let sql = "insert into emails (tenant_id, company_id, user_id, direction, status, is_sending, from_email, to_email, cc, subject, body)
            values ($1, $1, $2, 'outbound', 'scheduled', true, 'sales@acme.example', $3, $4, 'S', 'B')";
        let refused = acme.db.execute(sql, &[&acme.company, &acme.member.id, &to, &cc]).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "RF400", "{to:?} {cc:?}");
    }
}

/// The first text from an unknown sender adds a contact, which must have an address: here, a placeholder.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_an_address_that_stands_for_none() {
    let own = OwnDatabase::new().await;
    let base = start_server(config(), &own.api);
    let acme = World::alone_at(&own, &base).await;
    let account = Account::of(&acme).await;
    let key = format!("SG.{}", Uuid::new_v4().simple());
    acme.admin.put("/api/twilio-settings/", json!({"sendgrid_api_key": key})).await.expect(200);
    let settings = json!({"settings": {"add_unknown_senders": true}});
    acme.admin.put(&format!("/api/companies/{}", acme.company), settings).await.expect(200);
    let mail = json!([{"type": "send_email", "config": {"subject": "Welcome", "body": "Hi"},
        "conditions": [{"field": "contact.email", "operator": "is_not_empty"}]}]);
    let always = workflow(&acme.admin, "contact_created", mail).await;
    let text = [("From", "+14155550199"), ("To", &account.number), ("Body", "Hello"), ("MessageSid", "SMx")];
    assert_eq!(account.tells_at(&base, "/api/sms/webhook/incoming", &text).await.status, 200);
    until("the run", async || {
        let runs = acme.admin.get(&format!("{always}/executions")).await.expect(200);
        runs[0]["status"] == "success"
    })
    .await;
    assert_eq!(mails(&key).len(), 0);
    let placeholder = "14155550199@sms.invalid";
    assert_eq!(acme.value::<i64>("select count(*) from contacts where email = $1", &[&placeholder]).await, 1);

    for (to, cc) in [(placeholder, ""), ("ada@x.example", placeholder), ("x@SMS.Invalid", "")] {
        let mail = json!({"to_email": to, "cc": cc, "subject": "S", "body": "B"});
        let refused = acme.member.post("/api/emails/send", mail).await.detail(400);
        assert!(refused.contains("real address is not known"), "{refused}");
    }
    let campaign =
        json!({"campaign_name": "C", "subject": "S", "body": "B", "recipients": [placeholder, "ada@x.example"]});
    let campaign = acme.member.post("/api/email-campaigns/", campaign).await.expect(201);
    let path = format!("/api/email-campaigns/{}", campaign["id"].as_str().unwrap());
    acme.member.send("POST", &format!("{path}/send"), None).await.expect(200);
    until("the end", async || acme.member.get(&path).await.expect(200)["status"] == "sent").await;
    let recipients = acme.member.get(&format!("{path}/analytics")).await.expect(200);
    let left_out: Vec<&Value> = recipients.as_array().unwrap().iter().filter(|r| r["state"] == "suppressed").collect();
    assert_eq!([&left_out[0]["recipient_email"], &json!(left_out.len())], [&json!(placeholder), &json!(1)]);
    assert!(left_out[0]["error_message"].as_str().unwrap().contains("not known"));
    assert_eq!(mails(&key).len(), 1);
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
    assert!(mail.data.contains("\r\nMIME-Version: 1.0\r\n"), "{}", mail.data);
    assert!(mail.data.contains(&format!("Message-ID: <{}@", sent["id"].as_str().unwrap())), "{}", mail.data);
}

/// To the relay all companies are one, so it cannot tell whose address is whose.
#[tokio::test(flavor = "multi_thread")]
async fn on_the_relay_no_company_bears_anothers_address() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let base = start_server(Config { relay_url: Some(inbox.url()), ..config() }, &own.api);
    let (acme, beta) = (World::alone_at(&own, &base).await, World::alone_at(&own, &base).await);
    let post = async |world: &World, sender: &str| {
        let account = Account::new();
        let settings = json!({"account_sid": account.sid, "auth_token": account.token, "sendgrid_from_email": sender});
        world.admin.post("/api/twilio-settings/", settings).await
    };
    let put = async |world: &World, settings: Value| world.admin.put("/api/twilio-settings/", settings).await;
    let send = async |world: &World| {
        let mail = json!({"to": "ada@x.example", "subject": "S", "body": "B"});
        world.member.post("/api/emails/send", mail).await
    };
    post(&beta, "sales@beta.example").await.expect(201);
    send(&beta).await.expect(201);
    assert!(inbox.next().await.from.contains("sales@beta.example"));

    // Neither as a sender nor as a login, however it is written; and nothing of what was refused is kept.
    for taken in ["sales@beta.example", "Sales@BETA.example", &beta.member.email.to_uppercase()] {
        assert!(post(&acme, taken).await.detail(400).contains("another company"), "{taken}");
    }
    assert_eq!(acme.admin.get("/api/twilio-settings/").await.expect(200), Value::Null);
    post(&acme, "sales@acme.example").await.expect(201);
    let taken = put(&acme, json!({"sendgrid_from_email": "sales@beta.example"})).await;
    assert!(taken.detail(400).contains("another company"));
    // What is stored may be sent back.
    put(&acme, json!({"sendgrid_from_email": "sales@acme.example", "sms_enabled": true})).await.expect(200);
    send(&acme).await.expect(201);
    assert!(inbox.next().await.from.contains("sales@acme.example"));

    // Whom its key sends as is SendGrid's to decide; without it, nothing leaves in any way.
    let key = json!({"sendgrid_api_key": "SG.a-key-that-is-long-1234", "sendgrid_from_email": "Sales@beta.example"});
    put(&acme, key).await.expect(200);
    put(&acme, json!({"sendgrid_api_key": null})).await.expect(200);
    assert!(send(&acme).await.detail(400).contains("another company"));
    let campaign = json!({"campaign_name": "C", "subject": "S", "body": "B", "recipients": ["ada@x.example"],
        "scheduled_at": "2099-01-01T00:00:00Z"});
    let campaign = acme.member.post("/api/email-campaigns/", campaign).await.expect(201);
    let campaign = format!("/api/email-campaigns/{}", campaign["id"].as_str().unwrap());
    let now = "update campaigns set scheduled_at = now(); update jobs set run_at = now()";
    acme.db.batch_execute(now).await.unwrap();
    until("the end of the campaign", async || acme.member.get(&campaign).await.expect(200)["status"] == "failed").await;
    assert!(acme.value::<String>("select error_message from campaigns", &[]).await.contains("another company"));
    // Nor by way of a login that is changed to it.
    put(&acme, json!({"sendgrid_from_email": null})).await.expect(200);
    send(&acme).await.expect(201);
    assert!(inbox.next().await.from.contains(&acme.member.email));
    acme.member.put("/api/users/me", json!({"email": "sales@beta.example"})).await.expect(200);
    assert!(send(&acme).await.detail(400).contains("another company"));
    assert!(inbox.rest().await.is_empty());

    // Who had it first keeps it, unless they are suspended.
    send(&beta).await.expect(201);
    assert!(inbox.next().await.from.contains("sales@beta.example"));
    beta.db.execute("update companies set status = 'suspended' where id = $1", &[&beta.company]).await.unwrap();
    send(&acme).await.expect(201);
    assert!(inbox.next().await.from.contains("sales@beta.example"));
}

/// Some servers take a single carriage return or line feed as the end of a line, and a dot alone on such a line as the
/// end of the mail (RFC 5321, 2.3.8).
#[tokio::test]
async fn lines_of_a_mail_end_in_one_way() {
    let inbox = Inbox::open().await;
    let mailer =
        Mailer::new(&Config { smtp_url: Some(inbox.url()), relay_url: Some(inbox.url()), ..config() }).unwrap();
    let said = "Hi\r.\rMAIL FROM:<a@x.example>\n.\nRCPT TO:<b@x.example>\r\nBye\r\n\r";
    let file = b"one\r.\rtwo\n.\neleven";
    mailer.send("ada@example.com", "S", said.into()).await.unwrap();
    let some = |is_there: bool| is_there.then(|| said.to_owned());
    for (text, html, has_file) in [
        (true, false, false),
        (false, true, false),
        (true, true, false),
        (true, false, true),
        (false, true, true),
        (true, true, true),
    ] {
        let attachment = || Attachment { name: "f.csv".into(), kind: "text/csv".into(), bytes: file.to_vec() };
        let letter = OutgoingEmail {
            from: "a@x.example".into(),
            reply_to: "a@x.example".into(),
            to: "ada@example.com".into(),
            subject: "S".into(),
            message_id: "<1@x.example>".into(),
            text: some(text),
            html: some(html),
            attachments: has_file.then(attachment).into_iter().collect(),
            ..OutgoingEmail::default()
        };
        assert!(mailer.relay(&letter).await.is_ok());
    }
    let mails = inbox.rest().await;
    assert_eq!(mails.len(), 7);
    for mail in mails {
        let rest = mail.data.replace("\r\n", "");
        assert!(!rest.contains(['\r', '\n']), "{:?}", mail.data);
        assert!(mail.data.contains("MAIL FROM:<a@x.example>\r\n"), "{:?}", mail.data);
        assert!(!mail.data.contains("f.csv") || mail.data.contains(&BASE64_STANDARD.encode(file)), "{:?}", mail.data);
    }
}

#[tokio::test]
async fn an_id_of_a_mail_is_of_ascii() {
    let inbox = Inbox::open().await;
    let base = start_server(Config { relay_url: Some(inbox.url()), ..config() }, &api_url());
    let acme = World::new().await;
    Account::of(&acme).await;
    let sender = json!({"sendgrid_from_email": "info@bücher.example"});
    acme.admin.put("/api/twilio-settings/", sender).await.expect(200);
    let first = received(&acme, "Hi").await;
    let old = "update emails set message_id = 'old@bücher.example' where id = $1";
    acme.db.execute(old, &[&first]).await.unwrap();
    let reply = json!({"to_email": "ada@example.com", "subject": "Re: Hi", "body": "B", "in_reply_to": first});
    let sent = acme.member.at(&base).post("/api/emails/", reply).await.expect(201);
    let mail = inbox.next().await;
    let id = format!("Message-ID: <{}@xn--bcher-kva.example>\r\n", sent["id"].as_str().unwrap());
    for line in [&*id, "In-Reply-To: <old@xn--bcher-kva.example>\r\n", "References: <old@xn--bcher-kva.example>\r\n"] {
        assert!(mail.data.contains(line), "{}", mail.data);
    }
    let kept: String = acme
        .value("select message_id from emails where tenant_id = $1 and direction = 'outbound'", &[&acme.company])
        .await;
    assert!(id.contains(&kept), "{kept}");
}

/// Sent by another way, it would have the address of the user who sends it.
#[tokio::test(flavor = "multi_thread")]
async fn no_mail_leaves_while_the_settings_of_its_sender_are_switched_off() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let acme = World::served(&own, Config { relay_url: Some(inbox.url()), ..config() }).await;
    let key = with_key(&acme).await;
    let put = async |settings: Value| acme.admin.put("/api/twilio-settings/", settings).await.expect(200);
    let send = async || {
        acme.member.post("/api/emails/send", json!({"to": "ada@x.example", "subject": "S", "body": "B"})).await
    };
    let actions = json!([{"type": "send_email", "config": {"to": "ada@x.example", "subject": "S", "body": "B"}}]);
    let workflow = json!({"name": "W", "trigger_type": "scheduled", "actions": actions});
    let workflow = acme.member.post("/api/workflows/", workflow).await.expect(200);
    let workflow = format!("/api/workflows/{}", workflow["id"].as_str().unwrap());
    let campaign = json!({"campaign_name": "C", "subject": "S", "body": "B", "recipients": ["ada@x.example"],
        "scheduled_at": "2099-01-01T00:00:00Z"});
    put(json!({"is_active": false})).await;
    let campaign = acme.member.post("/api/email-campaigns/", campaign).await.expect(201);
    let campaign = format!("/api/email-campaigns/{}", campaign["id"].as_str().unwrap());
    let now = "update campaigns set scheduled_at = now(); update jobs set run_at = now()";
    acme.db.batch_execute(now).await.unwrap();

    assert!(send().await.detail(400).contains("switched off"));
    let invitation = json!({"email": "bob@x.example", "first_name": "Bob", "last_name": "B"});
    let refused = acme.admin.post("/api/invitations/send", invitation).await;
    assert!(refused.detail(400).contains("switched off"));
    let run = acme.member.post(&format!("{workflow}/execute"), json!({})).await.expect(200);
    let run = format!("{workflow}/executions/{}", run["execution_id"].as_str().unwrap());
    let step = acme.member.get(&run).await.expect(200)["steps"][0].clone();
    assert!(step["error_message"].as_str().unwrap().contains("switched off"), "{step}");
    until("the end of the campaign", async || acme.member.get(&campaign).await.expect(200)["status"] == "failed").await;
    assert!(acme.value::<String>("select error_message from campaigns", &[]).await.contains("switched off"));
    // A mail by relay has the address in the settings, too.
    put(json!({"sendgrid_api_key": null})).await;
    assert!(send().await.detail(400).contains("switched off"));
    assert!(mails(&key).is_empty() && inbox.rest().await.is_empty());

    // A mail without a sender in the settings is sent as before; other settings about mail do not stop it.
    put(json!({"sendgrid_from_email": null})).await;
    send().await.expect(201);
    assert!(inbox.next().await.data.contains(&acme.member.email));
    put(json!({"is_active": true, "sendgrid_api_key": key, "sendgrid_from_email": "sales@acme.example", "email_enabled": false})).await;
    send().await.expect(201);
    assert_eq!(mails(&key)[0]["from"]["email"], "sales@acme.example");
}

#[tokio::test]
async fn received_mail_is_read_kept_and_thrown_away() {
    let acme = World::new().await;
    let id = received(&acme, "One").await;
    let draft = json!({"to_email": "ada@example.com", "subject": "D", "body": "B", "attachments": null});
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

/// Gives a company a webhook key for SendGrid; returns the paths of its webhooks.
async fn hooked(world: &World) -> (String, String) {
    let made = world.admin.send("POST", "/api/emails/webhook/settings", None).await.expect(200);
    let path = |name: &str| made[name].as_str().unwrap().strip_prefix("https://crm.example").unwrap().to_owned();
    (path("inbound_url"), path("events_url"))
}

fn told(id: &str, answers: &str) -> Vec<(&'static str, String)> {
    let answers =
        if answers.is_empty() { String::new() } else { format!("\nIn-Reply-To: <{answers}>\nReferences: <{answers}>") };
    vec![
        ("headers", format!("Received: by x\nMessage-ID: <{id}>{answers}\nSubject: Re: Hi")),
        ("from", "\"Lovelace, Ada\" <Ada@Example.com>".into()),
        ("to", "Sales <sales@acme.example>, other@x.example".into()),
        ("subject", "Re: Hi".into()),
        ("text", "plain".into()),
        ("html", "<p>Yes</p>".into()),
    ]
}

async fn tell(path: &str, fields: Vec<(&'static str, String)>, files: &[(&str, &[u8])]) -> Answer {
    tell_at(&Person::nobody(), path, fields, files).await
}

async fn tell_at(server: &Person, path: &str, fields: Vec<(&'static str, String)>, files: &[(&str, &[u8])]) -> Answer {
    let mut form = multipart::Form::new();
    for (n, (name, bytes)) in files.iter().enumerate() {
        let part = multipart::Part::bytes(bytes.to_vec()).file_name((*name).to_owned()).mime_str("text/plain").unwrap();
        form = form.part(format!("attachment{n}"), part);
    }
    for (name, text) in fields {
        form = form.text(name, text);
    }
    answer(server.request("post", path).multipart(form)).await
}

/// A file may be as large as the mail; files that are not kept are named in it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_mail_brings_is_kept_or_told() {
    let acme = World::new().await;
    let (path, _) = hooked(&acme).await;
    let large = vec![b'x'; 11 << 20];
    let mut files: Vec<(&str, &[u8])> = vec![("contract.pdf", &large)];
    files.extend([("small.txt", &b"one"[..]); 20]);
    tell(&path, told("large@mail.example", ""), &files).await.expect(200);
    let mails = acme.admin.get("/api/emails/").await.expect(200);
    let attached = mails[0]["attachments"].as_array().unwrap();
    assert_eq!(attached.len(), 20);
    let first = acme.admin.get(&format!("/api/files/{}", attached[0].as_str().unwrap())).await.expect(200);
    assert_eq!((&first["original_name"], &first["size"]), (&json!("contract.pdf"), &json!(11 << 20)));
    let body = mails[0]["body"].as_str().unwrap();
    assert_eq!(body, "<p>Yes</p>\n<p>[small.txt (3 B) was not kept: of a mail, the first 20 files are]</p>");
    let fields =
        vec![("from", "a@x.example".to_owned()), ("to", "b@x.example".into()), ("text", "y".repeat((1 << 20) + 5))];
    tell(&path, fields, &[]).await.expect(200);
    let body: String = acme
        .value(
            "select right(body, 60) from emails where from_email = 'a@x.example' and tenant_id = $1",
            &[&acme.company],
        )
        .await;
    assert!(body.contains("y\n\n[Of this text (1.0 MiB) only the beginning was kept]"), "{body}");
}

/// SendGrid refuses a mail that names a recipient twice, and one with an empty part.
#[tokio::test]
async fn nobody_gets_a_mail_twice_and_no_part_is_empty() {
    let acme = World::new().await;
    let key = with_key(&acme).await;
    let new = json!({"to": "ada@x.example", "cc": "Ada@x.example, bob@x.example", "bcc": "BOB@x.example,eve@x.example,eve@x.example",
        "subject": "S", "body": "B"});
    acme.member.post("/api/emails/send", new).await.expect(201);
    let to = &mails(&key)[0]["personalizations"][0];
    assert_eq!(
        (&to["to"], &to["cc"], &to["bcc"]),
        (
            &json!([{"email": "ada@x.example"}]),
            &json!([{"email": "bob@x.example"}]),
            &json!([{"email": "eve@x.example"}])
        )
    );
    let parts = |text: &str, html: &str| {
        let letter = OutgoingEmail { text: Some(text.into()), html: Some(html.into()), ..OutgoingEmail::default() };
        (letter.parts().0.map(str::to_owned), letter.parts().1.map(str::to_owned))
    };
    assert_eq!(parts("", "<p>"), (None, Some("<p>".into())));
    assert_eq!(parts("T", " "), (Some("T".into()), None));
    assert_eq!(parts("", ""), (Some(" ".into()), None));
}

/// The provider got no confirmation, and sends the mail again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_mail_brings_stays_when_the_connection_is_lost_at_the_commit() {
    let lost = LostCommit::of("files").await;
    let (path, _) = hooked(&lost.world).await;
    let (server, mail) = (Person::visitor(&lost.base), told("lost@mail.example", ""));
    let first = (server.clone(), path.clone(), mail.clone());
    lost.lose(async move { tell_at(&first.0, &first.1, first.2, &[("notes.txt", b"one")]).await }).await.expect(503);
    let again = tell_at(&server, &path, mail, &[("notes.txt", b"one")]).await.expect(200);
    assert_eq!(again["message"], "The email is known already");
    let list = lost.world.admin.get("/api/emails/").await.expect(200);
    let attached = list[0]["attachments"].as_array().unwrap();
    assert_eq!((list.as_array().unwrap().len(), attached.len()), (1, 1), "{list}");
    let path = format!("/api/files/{}/download", attached[0].as_str().unwrap());
    assert_eq!(lost.world.member.get(&path).await.text, "one");
    lost.own.drop().await;
}

#[tokio::test]
async fn a_mail_that_comes_in_is_stored_once_in_its_thread_with_what_it_brings() {
    let (acme, other) = (World::new().await, World::new().await);
    let (inbound, _) = hooked(&acme).await;
    let key = with_key(&acme).await;
    let contact = acme.contact("Ada", "L").await;
    let contact_path = format!("/api/contacts/{}", contact["id"].as_str().unwrap());
    acme.admin.put(&contact_path, json!({"email": "aDa@EXAMPLE.com"})).await.expect(200);
    let first = json!({"to_email": "ada@example.com", "subject": "Hi", "body": "<p>Hi</p>"});
    let first = acme.member.post("/api/emails/", first).await.expect(201);
    let sent_id = mails(&key)[0]["headers"]["Message-ID"].as_str().unwrap().trim_matches(['<', '>']).to_owned();

    let id = format!("{}@mail.example", Uuid::new_v4());
    let files: [(&str, &[u8]); 2] = [("notes.txt", b"one"), ("../notes.txt", b"two")];
    for _ in 0..2 {
        let heard = tell(&inbound, told(&id, &sent_id), &files).await.expect(200);
        assert_eq!(heard["status"], "ok", "{heard}");
    }
    let list = acme.admin.get("/api/emails/").await.expect(200);
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    let mail = &list[0];
    assert_eq!(
        [
            &mail["from_email"],
            &mail["to_email"],
            &mail["subject"],
            &mail["body"],
            &mail["contact_id"],
            &mail["thread_id"]
        ],
        [
            &json!("Ada@Example.com"),
            &json!("sales@acme.example"),
            &json!("Re: Hi"),
            &json!("<p>Yes</p>"),
            &contact["id"],
            &first["id"]
        ]
    );
    assert_eq!(mail["user_id"], json!(acme.admin.id), "in the name of who made the key");
    let attached = mail["attachments"].as_array().unwrap();
    assert_eq!(attached.len(), 2);
    for (file, content) in attached.iter().zip(["one", "two"]) {
        let path = format!("/api/files/{}/download", file.as_str().unwrap());
        assert_eq!(acme.member.get(&path).await.text, content);
        assert_eq!(other.admin.get(&path).await.status, 404);
    }
    let theirs = "select count(*) from files where tenant_id = $1 and contact_id::text = $2";
    assert_eq!(acme.value::<i64>(theirs, &[&acme.company, &contact["id"].as_str()]).await, 2, "they are the sender's");
    assert_eq!(acme.value::<i64>("select count(*) from files where tenant_id = $1", &[&acme.company]).await, 2);

    // A reply to the reply refers to all earlier mails.
    let reply = json!({"to_email": "ada@example.com", "subject": "Re: Re: Hi", "body": "B", "in_reply_to": mail["id"],
        "attachments": [attached[0]]});
    let reply = acme.admin.post("/api/emails/", reply).await.expect(201);
    assert_eq!(reply["thread_id"], first["id"]);
    let leaving = &mails(&key)[1];
    assert_eq!(leaving["headers"]["In-Reply-To"], format!("<{id}>"));
    assert_eq!(leaving["headers"]["References"], format!("<{sent_id}> <{id}>"));
    assert_eq!(
        [&leaving["attachments"][0]["filename"], &leaving["attachments"][0]["content"]],
        [&json!("notes.txt"), &json!("b25l")]
    );
    for one in [&first, mail, &reply] {
        let thread = acme.member.get(&format!("/api/emails/{}/thread", one["id"].as_str().unwrap())).await.expect(200);
        let ids: Vec<&Value> = thread.as_array().unwrap().iter().map(|m| &m["id"]).collect();
        assert_eq!(ids, [&first["id"], &mail["id"], &reply["id"]]);
    }

    // The same id and thread in another company are unrelated.
    let (theirs, _) = hooked(&other).await;
    tell(&theirs, told(&id, &sent_id), &[]).await.expect(200);
    let elsewhere = other.admin.get("/api/emails/").await.expect(200);
    assert_eq!(elsewhere.as_array().unwrap().len(), 1);
    assert_eq!(elsewhere[0]["thread_id"], elsewhere[0]["id"]);
}

/// What is written in the place of an address is no reason to lose a mail.
#[tokio::test]
async fn a_mail_is_kept_whoever_it_says_it_is_from() {
    let acme = World::new().await;
    let (inbound, _) = hooked(&acme).await;
    let long = format!("{}@docomo.ne.jp", "a".repeat(300));
    for (from, envelope, kept) in [
        ("J. Doe <j..doe@docomo.ne.jp>", "j..doe@docomo.ne.jp", "j..doe@docomo.ne.jp"),
        ("doe.@docomo.ne.jp", "bounces@docomo.ne.jp", "doe.@docomo.ne.jp"),
        ("MAILER-DAEMON", "", "MAILER-DAEMON"),
        ("Mail\u{1} System <>", "", "Mail System <>"),
        ("", "", "MAILER-DAEMON"),
        ("", "x..y@docomo.ne.jp", "x..y@docomo.ne.jp"),
        ("Postmaster", "post@docomo.ne.jp", "post@docomo.ne.jp"),
        (&long, "", &long[..255]),
    ] {
        let envelope = json!({"from": envelope, "to": ["sales@acme.example"]}).to_string();
        let mail = json!({"from": from, "to": "undisclosed-recipients:;", "subject": from, "text": kept, "envelope": envelope});
        let heard = Person::nobody().post(&inbound, mail).await.expect(200);
        assert_eq!(heard["message"], "Email received", "{from}");
        let stored = &acme.admin.get("/api/emails/").await.expect(200)[0];
        assert_eq!([&stored["from_email"], &stored["to_email"]], [&json!(kept), &json!("sales@acme.example")]);
    }
}

/// Some programs give all their mails one id.
#[tokio::test]
async fn different_mails_with_one_id_are_all_kept_and_each_once() {
    let acme = World::new().await;
    let (inbound, _) = hooked(&acme).await;
    let mail = |from: &str, day: u8, text: &str| {
        let headers = format!("Message-ID: <same@mail.example>\nDate: {day} Nov 2026 10:00:00 +0000\nSubject: S");
        json!({"from": from, "to": "sales@acme.example", "subject": "S", "text": text, "headers": headers})
    };
    let mails = [
        mail("ada@example.com", 1, "One"),
        mail("bob@example.com", 2, "One"),
        mail("ada@example.com", 3, "Three"),
        mail("ada@example.com", 4, "Four"),
    ];
    for message in ["Email received", "The email is known already"] {
        let nobody = Person::nobody();
        let told = futures_util::future::join_all(mails.iter().map(|mail| nobody.post(&inbound, mail.clone()))).await;
        for answer in told {
            assert_eq!(answer.expect(200)["message"], message);
        }
    }
    assert_eq!(acme.admin.get("/api/emails/").await.expect(200).as_array().unwrap().len(), mails.len());
}

/// A form sends the same text each day, and a program that got no response sends it again at once.
#[tokio::test]
async fn the_same_words_are_one_mail_for_an_hour() {
    let acme = World::new().await;
    let (inbound, _) = hooked(&acme).await;
    let told =
        json!({"from": "form@shop.example", "to": "sales@acme.example", "subject": "Order", "text": "One, please"});
    let says = async |told: &Value| {
        Person::nobody().post(&inbound, told.clone()).await.expect(200)["message"].as_str().unwrap().to_owned()
    };
    assert_eq!([says(&told).await, says(&told).await], ["Email received", "The email is known already"]);
    let ago = async |minutes: i32| {
        // As it would have been stored at that time.
        let ago = "update emails set created_at = now() - make_interval(mins => $2),
            message_id = split_part(message_id, '.', 1) || '.' || floor(extract(epoch from now()) / 3600 - $2 / 60.0)::bigint || '@received.invalid'
            where tenant_id = $1 and created_at = (select max(created_at) from emails where tenant_id = $1)";
        acme.db.execute(ago, &[&acme.company, &minutes]).await.unwrap();
    };
    ago(58).await;
    assert_eq!(says(&told).await, "The email is known already");
    ago(62).await;
    assert_eq!([says(&told).await, says(&told).await], ["Email received", "The email is known already"]);
    let mut dated = told;
    dated["headers"] = json!("Date: Mon, 30 Nov 2026 10:00:00 +0000");
    assert_eq!(says(&dated).await, "Email received");
    let old = "update emails set created_at = now() - interval '3 days' where tenant_id = $1";
    acme.db.execute(old, &[&acme.company]).await.unwrap();
    assert_eq!(says(&dated).await, "The email is known already");
}

/// Odd names of files are no reason to lose a mail.
#[tokio::test]
async fn a_mail_is_kept_whatever_its_files_are_called() {
    let acme = World::new().await;
    let (inbound, _) = hooked(&acme).await;
    let form = "--b\r\nContent-Disposition: form-data; name=\"attachment1\"; filename=\"odd\u{1}\u{1f}na\rme\u{7f}.txt\"\r\n\r\none\u{1}\r\n\
        --b\r\nContent-Disposition: form-data; name=\"attachment2\"; filename=\"\u{0}\n\"\r\n\r\ntwo\r\n\
        --b\r\nContent-Disposition: form-data; name=\"from\"\r\n\r\nada@example.com\r\n\
        --b\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\nsales@acme.example\r\n--b--\r\n";
    let told = Person::nobody().request("post", &inbound).header("content-type", "multipart/form-data; boundary=b");
    assert_eq!(answer(told.body(form)).await.expect(200)["status"], "ok");
    let mails = acme.admin.get("/api/emails/").await.expect(200);
    let mut files = Vec::new();
    for id in mails[0]["attachments"].as_array().unwrap() {
        let file = acme.admin.get(&format!("/api/files/{}", id.as_str().unwrap())).await.expect(200);
        let content = acme.admin.get(&format!("/api/files/{}/download", id.as_str().unwrap())).await.text;
        files.push((file["original_name"].as_str().unwrap().to_owned(), content));
    }
    files.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(
        files,
        [("odd  na me .txt".to_owned(), "one\u{1}".to_owned()), ("attachment".to_owned(), "two".to_owned())]
    );
}

#[tokio::test]
async fn a_mail_keeps_its_letters_and_needs_no_recipient_in_its_head() {
    let acme = World::new().await;
    let (inbound, _) = hooked(&acme).await;
    let part = |name: &str, content: &[u8]| {
        [format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").as_bytes(), content, b"\r\n"]
            .concat()
    };
    let form = [
        part("from", b"\"Bob <Sales>\" <bob@example.com>"),
        part("to", b"undisclosed-recipients:;"),
        part("envelope", br#"{"to":["sales@acme.example"],"from":"bounces@example.com"}"#),
        part("subject", "Grüße".as_bytes()),
        part("text", b"Gr\xfc\xdfe, Anna"),
        part("charsets", br#"{"to":"UTF-8","subject":"UTF-8","text":"iso-8859-1","html":"no such set"}"#),
        b"--b--\r\n".to_vec(),
    ];
    let told = Person::nobody().request("post", &inbound).header("content-type", "multipart/form-data; boundary=b");
    assert_eq!(answer(told.body(form.concat())).await.expect(200)["status"], "ok");
    let mail = &acme.admin.get("/api/emails/").await.expect(200)[0];
    assert_eq!(
        ["from_email", "to_email", "subject", "body"].map(|field| mail[field].as_str().unwrap()),
        ["bob@example.com", "sales@acme.example", "Grüße", "Grüße, Anna"]
    );

    // An obsolete character set leaves the bytes, an unclear value the rest, and a name may be a comment.
    let form = [
        part("from", b"jo@example.com (Jo Doe)"),
        part("to", b"sales@acme.example"),
        part("envelope", br#"{"to":[],"from":null}"#),
        part("subject", b"caf\xe9"),
        part("text", b"~{Dc:C~} hello"),
        part("charsets", br#"{"to":null,"subject":"iso-8859-1","text":"hz-gb-2312"}"#),
        b"--b--\r\n".to_vec(),
    ];
    let told = Person::nobody().request("post", &inbound).header("content-type", "multipart/form-data; boundary=b");
    answer(told.body(form.concat())).await.expect(200);
    let mails = acme.admin.get("/api/emails/").await.expect(200);
    let mail = mails.as_array().unwrap().iter().find(|mail| mail["from_email"] == "jo@example.com").unwrap();
    assert_eq!((&mail["subject"], &mail["body"]), (&json!("café"), &json!("~{Dc:C~} hello")));
}

#[tokio::test]
async fn only_the_companys_own_mails_are_answered_and_files_attached() {
    let (acme, other) = (World::new().await, World::new().await);
    with_key(&acme).await;
    let theirs = received(&other, "theirs").await;
    let deleted = received(&acme, "deleted").await;
    acme.admin.delete(&format!("/api/emails/{deleted}")).await.expect(200);
    let file = other.admin.upload("/api/files/upload", "a.txt", "text/plain", "x").await.expect(200)["id"].clone();
    for path in ["/api/emails/", "/api/emails/draft"] {
        let new = |key: &str, value: Value| {
            let mut new = json!({"to_email": "ada@example.com", "subject": "S", "body": "B"});
            new[key] = value;
            new
        };
        for (key, foreign, unknown, what) in [
            ("in_reply_to", json!(theirs), json!(Uuid::now_v7()), "Email not found"),
            ("in_reply_to", json!(theirs), json!(deleted), "Email not found"),
            ("attachments", json!([file]), json!([Uuid::now_v7()]), "File not found"),
        ] {
            for id in [foreign, unknown] {
                assert_eq!(acme.member.post(path, new(key, id)).await.detail(404), what, "{path}");
            }
        }
        let many = vec![Uuid::now_v7(); 21];
        assert_eq!(acme.member.post(path, new("attachments", json!(many))).await.status, 422);
    }
    let own = acme.admin.upload("/api/files/upload", "a.txt", "text/plain", "x").await.expect(200)["id"].clone();
    let own_id: Uuid = own.as_str().unwrap().parse().unwrap();
    acme.db.execute("update files set size = 30000000 where id = $1", &[&own_id]).await.unwrap();
    let large = json!({"to_email": "ada@example.com", "subject": "S", "body": "B", "attachments": [own]});
    for path in ["/api/emails/", "/api/emails/draft"] {
        assert!(acme.member.post(path, large.clone()).await.detail(400).contains("attachments"), "{path}");
    }
    let made = "select count(*) from emails where tenant_id = $1 and id <> $2";
    assert_eq!(acme.value::<i64>(made, &[&acme.company, &deleted]).await, 0);
}

#[tokio::test]
async fn an_opened_mail_is_counted_and_told_to_its_owner_only() {
    let (acme, other) = (World::new().await, World::new().await);
    acme.listen(&["email_opened"]).await;
    let key = with_key(&acme).await;
    let send = json!({"to_email": "ada@example.com", "subject": "Hi", "body": "<HTML><body><p>Hi</p></BODY></HTML>"});
    let sent = acme.member.post("/api/emails/", send.clone()).await.expect(201);
    let untouched = acme.member.post("/api/emails/", send).await.expect(201);
    assert!(!sent["body"].as_str().unwrap().contains("<img"), "who looks at it here is not counted");
    let html = mails(&key)[0]["content"][0]["value"].as_str().unwrap().to_owned();
    let (before, after) = html.split_once("<img src=\"https://crm.example").unwrap();
    assert!(before.ends_with("<p>Hi</p>") && after.ends_with("</BODY></HTML>"), "{html}");
    let path = after.split('"').next().unwrap();
    let nobody = Person::nobody();
    let first = nobody.send("POST", path, None).await.expect(200);
    assert_eq!((&first["status"], first["message"].is_string()), (&json!("ok"), true));
    let picture = nobody.get(path).await;
    assert_eq!((picture.status, &picture.text[..6]), (200, "GIF89a"));
    let get = async |id: &Value| acme.admin.get(&format!("/api/emails/{}", id.as_str().unwrap())).await.expect(200);
    let opened = get(&sent["id"]).await;
    assert_eq!((&opened["status"], opened["read_at"].is_string()), (&json!("opened"), true));
    let count = "select open_count from emails where id::text = $1";
    assert_eq!(acme.value::<i32>(count, &[&sent["id"].as_str().unwrap()]).await, 2);
    let events = acme.db.query("select user_id, record_id, tenant_id from workflow_events where event = 'email_opened' and tenant_id in ($1, $2)",
        &[&acme.company, &other.company]).await.unwrap();
    assert_eq!(events.len(), 1, "the first time");
    assert_eq!((events[0].get::<_, Uuid>(0), json!(events[0].get::<_, Uuid>(1))), (acme.member.id, sent["id"].clone()));

    // Anything but a valid token changes nothing and is no error: an id, another row's signature, nonsense.
    let token = path.rsplit('/').next().unwrap();
    let altered = format!("{}{}{}", &token[..60], if &token[60..61] == "A" { "B" } else { "A" }, &token[61..]);
    for wrong in [untouched["id"].as_str().unwrap(), &altered, "x", "%00", &token[..token.len() - 2]] {
        for method in ["GET", "POST"] {
            assert_eq!(
                nobody.send(method, &format!("/api/emails/track/open/{wrong}"), None).await.status,
                200,
                "{wrong}"
            );
        }
    }
    assert_eq!(get(&untouched["id"]).await["status"], "sent");
    assert_eq!(acme.value::<i32>(count, &[&sent["id"].as_str().unwrap()]).await, 2);
}

#[tokio::test]
async fn what_sendgrid_tells_of_a_mail_moves_it_forward_in_any_order() {
    let (acme, other) = (World::new().await, World::new().await);
    acme.listen(&["email_opened"]).await;
    let key = with_key(&acme).await;
    let (_, events) = hooked(&acme).await;
    let new = json!({"to_email": "ada@example.com", "subject": "Hi", "body": "B"});
    let sent = acme.member.post("/api/emails/", new).await.expect(201);
    let row = mails(&key)[0]["custom_args"]["mail"].clone();
    assert_eq!(row, sent["id"]);
    let nobody = Person::nobody();
    let event =
        |what: &str| json!([{"event": what, "email": "ada@example.com", "timestamp": 1_760_000_000, "mail": row}]);
    let status =
        async || acme.admin.get(&format!("/api/emails/{}", row.as_str().unwrap())).await.expect(200)["status"].clone();
    for (what, then) in [
        ("processed", "sent"),
        ("delivered", "delivered"),
        ("delivered", "delivered"),
        ("open", "opened"),
        ("delivered", "opened"),
        ("bounce", "opened"),
        ("click", "clicked"),
        ("open", "clicked"),
    ] {
        nobody.post(&events, event(what)).await.expect(200);
        assert_eq!(status().await, then, "after {what}");
    }
    let fired = "select user_id from workflow_events where event = 'email_opened' and tenant_id = $1";
    assert_eq!(acme.value::<Uuid>(fired, &[&acme.company]).await, acme.member.id);
    nobody.post(&events, json!([0, {}, event("processed")[0], "x", [[]], null])).await.expect(200);
    nobody.post(&events, json!(vec![0; 5_000])).await.expect(200);
    assert!(nobody.post(&events, json!(vec![0; 5_001])).await.text.contains("at most 5000"));
    // With another company's key, the mail is unknown.
    let (_, theirs) = hooked(&other).await;
    nobody.post(&theirs, event("spamreport")).await.expect(200);
    assert!(other.admin.get("/api/suppressions/").await.expect(200).as_array().unwrap().is_empty());

    // Once SendGrid's public key is entered, its signature is required, too.
    let signer = SigningKey::from_slice(&[7; 32]).unwrap();
    let public = signer.verifying_key().to_public_key_der().unwrap();
    let public = json!({"verification_key": BASE64_STANDARD.encode(public.as_bytes())});
    let settings = "/api/emails/webhook/settings";
    assert_eq!(acme.admin.put(settings, json!({"verification_key": "x"})).await.status, 422);
    let entered = acme.admin.put(settings, public.clone()).await.expect(200);
    assert_eq!(entered["verification_key"], public["verification_key"]);
    let body = event("bounce").to_string();
    let signed = async |body: &str, signature: &Signature| {
        let request = nobody.request("post", &events).header("content-type", "application/json").body(body.to_owned());
        let encoded = BASE64_STANDARD.encode(signature.to_der().as_bytes());
        answer(
            request
                .header("x-twilio-email-event-webhook-timestamp", "1760000000")
                .header("x-twilio-email-event-webhook-signature", encoded),
        )
        .await
    };
    let signature: Signature = signer.sign(format!("1760000000{body}").as_bytes());
    assert_eq!(nobody.post(&events, event("bounce")).await.status, 403);
    assert_eq!(signed(&body.replace("bounce", "spamreport"), &signature).await.status, 403);
    signed(&body, &signature).await.expect(200);
    let list = acme.admin.get("/api/suppressions/").await.expect(200);
    assert_eq!([&list[0]["address"], &list[0]["reason"]], [&json!("ada@example.com"), &json!("bounce")]);
}

#[tokio::test]
async fn a_copy_that_bounces_is_not_the_mail() {
    let acme = World::new().await;
    let key = with_key(&acme).await;
    let (_, events) = hooked(&acme).await;
    let new =
        json!({"to_email": "Good@x.example", "cc": "other@x.example, Bad@x.example", "subject": "S", "body": "B"});
    let sent = acme.member.post("/api/emails/", new).await.expect(201);
    let path = format!("/api/emails/{}", sent["id"].as_str().unwrap());
    let mut told = mails(&key)[0]["custom_args"].clone();
    told["timestamp"] = json!(1_760_000_000);
    let mut tells = async |all: &[(&str, &str)], then: &str| {
        let event = |(what, address): &(&str, &str)| {
            told["event"] = json!(what);
            told["email"] = json!(address);
            told.clone()
        };
        let list: Vec<Value> = all.iter().map(event).collect();
        Person::nobody().post(&events, json!(list)).await.expect(200);
        assert_eq!(acme.admin.get(&path).await.expect(200)["status"], then, "after {all:?}");
    };
    tells(&[("bounce", "bad@x.example")], "sent").await;
    tells(&[("delivered", "good@x.example"), ("bounce", "bad@x.example")], "delivered").await;
    let list = acme.admin.get("/api/suppressions/").await.expect(200);
    assert_eq!([&list[0]["address"], &list[0]["reason"]], [&json!("bad@x.example"), &json!("bounce")]);
    tells(&[("bounce", "good@x.example")], "bounced").await;
    tells(&[("open", "other@x.example")], "opened").await;
}

/// A domain has two forms, and mail programs and providers tell either.
#[tokio::test]
async fn who_wants_no_mail_gets_none_in_either_form_of_their_domain() {
    let acme = World::new().await;
    let key = with_key(&acme).await;
    let forms = ["x@xn--mnchen-3ya.de", "X@München.DE"];
    for (entered, other) in [(forms[0], forms[1]), (forms[1], forms[0])] {
        let entry = json!({"channel": "email", "address": entered});
        let entry = acme.admin.post("/api/suppressions/", entry).await.expect(200);
        assert_eq!(entry["address"], "x@münchen.de");
        for to in [entered, other] {
            let new = json!({"to_email": to, "subject": "S", "body": "B"});
            assert!(acme.member.post("/api/emails/", new).await.detail(400).contains("unsubscribed"), "{to}");
        }
        acme.admin.delete(&format!("/api/suppressions/{}", entry["id"].as_str().unwrap())).await.expect(200);
    }
    assert!(mails(&key).is_empty());
    for (label, decoded) in [
        ("xn--fiqs8s", "中国"),
        ("xn--strae-oqa", "straße"),
        ("xn--p1ai", "рф"),
        ("xn--n3h", "☃"),
        ("example", "example"),
        ("xn--", "xn--"),
        ("xn--zzzzzzzzzzzz", "xn--zzzzzzzzzzzz"),
        ("xn--99999999999999", "xn--99999999999999"),
    ] {
        assert_eq!(acme.value::<String>("select app.unicode_label($1)", &[&label]).await, decoded);
    }
}

/// Opt-outs and bounces count even if the mail was deleted; only the company that sent it learns of them.
#[tokio::test]
async fn what_is_told_of_a_deleted_mail_suppresses_its_recipient() {
    let (acme, other) = (World::new().await, World::new().await);
    let key = with_key(&acme).await;
    let ((_, events), (_, theirs)) = (hooked(&acme).await, hooked(&other).await);
    for (what, reason) in [("unsubscribe", "unsubscribe"), ("spamreport", "complaint"), ("bounce", "bounce")] {
        let to = format!("{what}@example.com");
        let new = json!({"to_email": to, "subject": "Hi", "body": "B"});
        let sent = acme.member.post("/api/emails/", new.clone()).await.expect(201);
        acme.member.delete(&format!("/api/inbox/{}", sent["id"].as_str().unwrap())).await.expect(200);
        let mut event = mails(&key).last().unwrap()["custom_args"].clone();
        assert_eq!(event["mail"], sent["id"]);
        for (name, value) in [("event", json!(what)), ("email", json!(to)), ("timestamp", json!(1_760_000_000))] {
            event[name] = value;
        }
        for hook in [&theirs, &events] {
            Person::nobody().post(hook, json!([event])).await.expect(200);
        }
        assert!(other.admin.get("/api/suppressions/").await.expect(200).as_array().unwrap().is_empty());
        let list = acme.admin.get("/api/suppressions/").await.expect(200);
        assert_eq!([&list[0]["address"], &list[0]["reason"]], [&json!(to), &json!(reason)]);
        let left = mails(&key).len();
        acme.member.post("/api/emails/", new).await.detail(400);
        assert_eq!(mails(&key).len(), left);
    }
}

/// Also of events that come together.
#[tokio::test]
async fn an_opt_out_outweighs_a_bounce_and_an_admins_entry() {
    let acme = World::new().await;
    let key = with_key(&acme).await;
    let (_, events) = hooked(&acme).await;
    let new = json!({"to_email": "ada@example.com", "subject": "Hi", "body": "B"});
    acme.member.post("/api/emails/", new).await.expect(201);
    let row = mails(&key)[0]["custom_args"].clone();
    for (number, (entered, told, reason)) in [
        (true, vec!["bounce"], "bounce"),
        (true, vec!["bounce", "unsubscribe"], "unsubscribe"),
        (true, vec!["spamreport", "bounce"], "complaint"),
        (false, vec!["bounce", "spamreport"], "complaint"),
        (false, vec!["unsubscribe", "bounce"], "unsubscribe"),
    ]
    .into_iter()
    .enumerate()
    {
        for is_together in [false, true] {
            let address = format!("{number}-{is_together}@example.com");
            if entered {
                let entry = json!({"channel": "email", "address": address});
                acme.admin.post("/api/suppressions/", entry).await.expect(200);
            }
            let event = |what: &&str| json!({"event": what, "email": address, "timestamp": 1_760_000_000, "mail": row["mail"], "company": row["company"]});
            let told: Vec<Value> = told.iter().map(event).collect();
            for some in told.chunks(if is_together { told.len() } else { 1 }) {
                Person::nobody().post(&events, json!(some)).await.expect(200);
            }
            let entry = acme.admin.get("/api/suppressions/").await.expect(200)[0].clone();
            assert_eq!([&entry["address"], &entry["reason"]], [&json!(address), &json!(reason)], "{told:?}");
        }
    }
}

/// A mail that was given up as unclear may have been sent.
#[tokio::test]
async fn a_failed_mail_that_arrives_counts_as_sent() {
    let acme = World::new().await;
    let key = with_key(&acme).await;
    let (_, events) = hooked(&acme).await;
    for what in ["delivered", "open", "picture"] {
        let new = json!({"to_email": "busy@x.example", "subject": what, "body": "<p>B</p>"});
        acme.member.post("/api/emails/", new).await.detail(502);
        let mail = mails(&key).last().unwrap().clone();
        let nobody = Person::nobody();
        if what == "picture" {
            let html = mail["content"][0]["value"].as_str().unwrap();
            let path = html.split_once("https://crm.example").unwrap().1.split('"').next().unwrap();
            assert_eq!(nobody.get(path).await.status, 200);
        } else {
            let event = json!([{"event": what, "email": "busy@x.example", "timestamp": 1_760_000_000, "mail": mail["custom_args"]["mail"]}]);
            nobody.post(&events, event).await.expect(200);
        }
        let repaired = "select status in ('delivered', 'opened') and sent_at = created_at and error_message is null
            from emails where tenant_id = $1 and subject = $2";
        assert!(acme.value::<bool>(repaired, &[&acme.company, &what]).await, "{what}");
    }
    let report = acme.admin.get("/api/analytics/emails").await.expect(200);
    assert_eq!(
        [&report["email_summary"]["total_sent"], &report["email_summary"]["total_opened"]],
        [&json!(3), &json!(2)]
    );
}

/// The outcome of a mail may be known before the provider's response, which may never come.
#[tokio::test]
async fn a_mail_that_has_arrived_is_not_failed_by_the_answer() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let key = with_key(&acme).await;
    let early = "create function early() returns trigger language plpgsql as $$
          begin update emails set status = 'delivered' where id = new.id; return null; end $$;
        create trigger early after insert on emails for each row execute function early()";
    acme.db.batch_execute(early).await.unwrap();
    acme.member
        .post("/api/emails/", json!({"to_email": "busy@x.example", "subject": "S", "body": "B"}))
        .await
        .detail(502);
    assert_eq!(mails(&key).len(), 1);
    let insert = "insert into emails (tenant_id, company_id, user_id, direction, status, is_sending, from_email, to_email, subject, body, sent_at)
        values ($1, $1, $2, 'outbound', 'scheduled', true, 'a@x.example', 'b@x.example', 'S', 'B', now())";
    acme.db.execute(insert, &[&acme.company, &acme.member.id]).await.unwrap();
    acme.make_due("unanswered").await;
    let under_way = "select count(*) from emails where is_sending";
    until("the job", async || acme.value::<i64>(under_way, &[]).await == 0).await;
    let arrived =
        "select count(*) from emails where status = 'delivered' and sent_at is not null and error_message is null";
    assert_eq!(acme.value::<i64>(arrived, &[]).await, 2);
}

#[tokio::test]
async fn the_key_for_sendgrid_is_an_admins_and_shown_once() {
    let acme = World::new().await;
    let settings = "/api/emails/webhook/settings";
    assert_eq!(acme.admin.get(settings).await.expect(200)["is_configured"], false);
    assert_eq!(acme.admin.put(settings, json!({"verification_key": null})).await.status, 404);
    for method in ["GET", "POST"] {
        assert_eq!(acme.member.send(method, settings, None).await.status, 403);
    }
    let (old, _) = hooked(&acme).await;
    let shown = acme.admin.get(settings).await.expect(200);
    assert!(shown["is_configured"] == true && shown["inbound_url"].as_str().unwrap().ends_with("?key=****"), "{shown}");
    let (new, _) = hooked(&acme).await;
    assert_eq!(tell(&old, told("a@x", ""), &[]).await.status, 403, "a new one ends the old one");
    tell(&new, told("a@x", ""), &[]).await.expect(200);
    let text = json!({"from": "ada@example.com", "to": "sales@acme.example", "subject": "S\r\nX: y", "text": "plain"});
    let nobody = Person::nobody();
    for _ in 0..2 {
        nobody.post(&new, text.clone()).await.expect(200);
    }
    let list = acme.admin.get("/api/emails/").await.expect(200);
    assert_eq!(list.as_array().unwrap().len(), 2, "without an id in the world, the same mail is the same");
    assert_eq!([&list[0]["body"], &list[0]["subject"]], [&json!("plain"), &json!("S  X: y")]);
    let to_nobody = json!({"from": "ada@example.com", "to": "", "envelope": "{}"});
    assert_eq!(nobody.post(&new, to_nobody).await.expect(200)["status"], "error");
    acme.db.execute("update companies set status = 'suspended' where id = $1", &[&acme.company]).await.unwrap();
    assert_eq!(nobody.post(&new, text).await.status, 403);
}

/// A mail or several parts as a file must not be in base64 (RFC 2046, 5.2.1).
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_as_an_attachment_goes_as_a_file() {
    let inbox = Inbox::open().await;
    let mailer = Mailer::new(&Config { relay_url: Some(inbox.url()), ..config() }).unwrap();
    let kinds = ["message/rfc822", "Multipart/mixed; boundary=b", "application/pdf"];
    let attached =
        |kind: &str| Attachment { name: "a.eml".into(), kind: kind.into(), bytes: b"From: x\r\n\r\nHi".to_vec() };
    let letter = OutgoingEmail {
        from: "a@x.example".into(),
        reply_to: "a@x.example".into(),
        to: "b@x.example".into(),
        text: Some("Hi".into()),
        attachments: kinds.into_iter().map(attached).collect(),
        ..OutgoingEmail::default()
    };
    mailer.relay(&letter).await.unwrap();
    let data = inbox.next().await.data;
    let types: Vec<&str> = data.lines().filter_map(|line| line.strip_prefix("Content-Type: ")).collect();
    assert_eq!(
        types[types.len() - 3..],
        ["application/octet-stream", "application/octet-stream", "application/pdf"],
        "{data}"
    );
    assert_eq!(data.matches("filename=\"a.eml\"").count(), 3, "{data}");
}

/// The size of a response is limited, and paging on leaves nothing out.
#[tokio::test]
async fn a_page_of_long_mails_ends_early() {
    let acme = World::new().await;
    let insert = "insert into emails (tenant_id, company_id, user_id, direction, status, from_email, to_email, subject, body, thread_id)
        select $1, $1, $2, 'inbound', 'received', 'a@x.example', 'b@x.example', n::text, repeat('x', 1 << 20), $3 from generate_series(1, 40) n";
    let thread = received(&acme, "First").await;
    acme.db.execute(insert, &[&acme.company, &acme.member.id, &thread]).await.unwrap();
    let newer = "update emails set created_at = created_at + make_interval(secs => subject::int) where tenant_id = $1 and subject <> 'First'";
    acme.db.execute(newer, &[&acme.company]).await.unwrap();
    let length = async |path: &str| acme.admin.get(path).await.expect(200).as_array().unwrap().len();
    for list in ["/api/emails/?limit=1000", "/api/emails/?type=all&limit=1000", "/api/inbox/?limit=100"] {
        let skip = if list.contains("inbox") { "offset" } else { "skip" };
        let mut all = 0;
        for page in [16, 16, 9, 0] {
            assert_eq!(length(&format!("{list}&{skip}={all}")).await, page, "{list} after {all}");
            all += page;
        }
    }
    let latest = acme.admin.get(&format!("/api/emails/{thread}/thread")).await.expect(200);
    let latest = latest.as_array().or(latest["emails"].as_array()).unwrap();
    assert_eq!((latest.len(), &latest[15]["subject"]), (16, &json!("40")));
}

/// The whole program shares the turns for mails, so tests that fill them run one after the other.
static TURNS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A company that sends its mails slowly delays only itself.
#[tokio::test(flavor = "multi_thread")]
async fn slow_mails_of_one_company_do_not_hold_up_anothers() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let _turns = TURNS.lock().await;
    let (slow, other) = (World::new().await, World::new().await);
    let ((theirs, _), (ours, _)) = (hooked(&slow).await, hooked(&other).await);
    let is_before_all = async || {
        let mut held = Vec::new();
        for _ in 0..20 {
            let mut stream = Person::nobody().connect().await;
            let head = format!(
                "POST {theirs} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n--b\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            held.push(stream);
        }
        tell(&ours, told(&format!("{}@x", Uuid::new_v4()), ""), &[]).await.expect(200);
        let is_before = held.iter().all(|stream| stream.readable().now_or_never().is_none());
        // Each of the slow requests ends by itself.
        for mut stream in held {
            let mut answer = [0; 12];
            let read = tokio::time::timeout(std::time::Duration::from_secs(60), stream.read_exact(&mut answer)).await;
            read.expect("it waits for ever").unwrap();
            assert!([&b"HTTP/1.1 503"[..], b"HTTP/1.1 400"].contains(&&answer[..]), "{answer:?}");
        }
        is_before
    };
    // A machine may be busy for longer than a slow sender keeps a turn, but not every time.
    let mut tries = 0;
    while !is_before_all().await {
        tries += 1;
        assert!(tries < 5, "ours waits until one of theirs has lost its turn");
    }
}

/// Senders that send a byte now and then have the turns of all companies for some seconds, and no longer.
#[tokio::test(flavor = "multi_thread")]
async fn mails_that_trickle_in_lose_their_turn() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let _turns = TURNS.lock().await;
    let mut slow = Vec::new();
    for _ in 0..16 {
        let world = World::new().await;
        let path = hooked(&world).await.0;
        let mut stream = Person::nobody().connect().await;
        slow.push(tokio::spawn(async move {
            let _world = world;
            let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::with_capacity(4096);
            // Sending all of it would take hours.
            for _ in 0..120 {
                let read = tokio::time::timeout(std::time::Duration::from_millis(500), stream.read_buf(&mut answer)).await;
                match read {
                    Ok(_) => return String::from_utf8_lossy(&answer).into_owned(),
                    Err(_) => stream.write_all(b"x").await.unwrap(),
                }
            }
            panic!("it keeps its turn");
        }));
    }
    let ours = World::new().await;
    let path = hooked(&ours).await.0;
    tell(&path, told(&format!("{}@x", Uuid::new_v4()), ""), &[]).await.expect(200);
    for one in slow {
        let answer = one.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503") && answer.to_lowercase().contains("retry-after"), "{answer}");
        assert!(answer.contains("mail") && !answer.contains("database"), "{answer}");
    }
}
