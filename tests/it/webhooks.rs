//! Twilio's requests (contract: sms/webhook/incoming, calls/webhook; tests/README.md, promises 25, 26 and 28).

use crate::support::{
    database::{OwnDatabase, until, waiting_for, waiting_for_locks},
    proxy::LostCommit,
    server::{admin_url, config},
    twilio::{Account, number, signed_with},
    world::{Answer, Person, World, answer, night_in},
};
use ringfence::{
    db,
    links::{Link, Links, Purpose},
    telephony,
};
use serde_json::{Value, json};
use uuid::Uuid;

async fn messages(world: &World) -> Vec<Value> {
    world.admin.get("/api/sms/messages").await.expect(200).as_array().unwrap().clone()
}

#[tokio::test]
async fn a_text_comes_in_once_to_the_company_of_its_number() {
    let (acme, other) = (World::new().await, World::new().await);
    let (account, _) = (Account::of(&acme).await, Account::of(&other).await);
    let customer = number();
    let contact = acme.contact("Ada", "L").await;
    let phone = format!("({}) {}", &customer[2..5], &customer[5..]);
    acme.admin
        .put(&format!("/api/contacts/{}", contact["id"].as_str().unwrap()), json!({"phone": phone}))
        .await
        .expect(200);
    let fields = [("From", customer.as_str()), ("To", &account.number), ("Body", "Hi & <b>"), ("MessageSid", "SMin1")];
    for _ in 0..2 {
        let answer = account.tells("/api/sms/webhook/incoming", &fields).await;
        assert_eq!((answer.status, answer.text.contains("<Response></Response>")), (200, true), "{}", answer.text);
    }
    let list = messages(&acme).await;
    assert_eq!(list.len(), 1);
    assert_eq!(
        [&list[0]["direction"], &list[0]["status"], &list[0]["body"], &list[0]["contact_id"]],
        [&json!("inbound"), &json!("received"), &json!("Hi & <b>"), &contact["id"]]
    );
    let number = &acme.admin.get("/api/sms/phone-numbers").await.expect(200)[0];
    assert_eq!(number["total_messages_received"], 1);
    assert!(messages(&other).await.is_empty());
    let conversations = acme.member.get("/api/conversations/").await.expect(200);
    assert_eq!([&conversations[0]["message_count"], &conversations[0]["unread_count"]], [&json!(1), &json!(1)]);
    let id = conversations[0]["id"].as_str().unwrap();
    acme.member.put(&format!("/api/conversations/{id}/mark-read"), json!({})).await.expect(200);
    assert_eq!(acme.member.get("/api/conversations/").await.expect(200)[0]["unread_count"], 0);
}

/// Media of a text stay at Twilio, and are described in the text.
#[tokio::test]
async fn a_picture_without_a_word_is_no_empty_text() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let customer = number();
    for (sid, body, count, kind) in [
        ("MM1", "", "1", "image/jpeg"),
        ("MM2", "See", "1", "video/mp4"),
        ("MM3", "Both", "2", "image/png"),
        ("MM4", "None", "0", ""),
    ] {
        let fields = [
            ("From", customer.as_str()),
            ("To", &account.number),
            ("Body", body),
            ("MessageSid", sid),
            ("NumMedia", count),
            ("MediaContentType0", kind),
            ("MediaContentType1", kind),
        ];
        account.tells("/api/sms/webhook/incoming", &fields).await.expect(200);
    }
    let list = messages(&acme).await;
    let bodies: std::collections::BTreeSet<&str> = list.iter().filter_map(|message| message["body"].as_str()).collect();
    assert_eq!(
        bodies.into_iter().collect::<Vec<_>>(),
        ["Both\n[2 pictures]", "None", "See\n[1 attachment]", "[1 picture]"]
    );
}

/// Anybody can claim a number and know its account: the company that has the number still gets the texts to it.
#[tokio::test]
async fn a_number_that_others_claim_is_heard_for_its_account() {
    let number = number();
    let mut claims = Vec::new();
    let account = Account::new();
    for n in 0..21 {
        let other = World::new().await;
        let sid = if n % 2 == 0 { account.sid.clone() } else { format!("AC{}", Uuid::new_v4().simple()) };
        let claim = json!({"account_sid": sid, "auth_token": "0".repeat(32), "phone_number": number});
        other.admin.post("/api/twilio-settings/", claim).await.expect(201);
        // One of them uses the number.
        if n == 0 {
            other.admin.post("/api/sms/phone-numbers", json!({"phone_number": number})).await.expect(200);
        }
        claims.push(other);
    }
    let acme = World::new().await;
    let settings = json!({"account_sid": account.sid, "auth_token": account.token, "phone_number": ""});
    acme.admin.post("/api/twilio-settings/", settings).await.expect(201);
    account.has(&[&number]);
    acme.admin.post("/api/twilio/sync/phone-numbers", json!({})).await.expect(200);
    let text = |id, body| {
        let (from, sid) = ("+14155550123", account.sid.as_str());
        [("AccountSid", sid), ("MessageSid", id), ("From", from), ("To", &number), ("Body", body)]
    };
    account.tells("/api/sms/webhook/incoming", &text("SM1", "STOP")).await.expect(200);
    let suppressed = "select count(*) from suppressions where tenant_id = $1 and address = '+14155550123'";
    assert_eq!(acme.value::<i64>(suppressed, &[&acme.company]).await, 1);
    // Nor does it help that the token of a company that is tried earlier cannot be unsealed here.
    let first = "with unread as (update app.company_secrets set sealed = 'x' where company_id = $1)
        update twilio_settings set is_verified = true where company_id = $1";
    acme.db.execute(first, &[&claims[0].company]).await.unwrap();
    account.tells("/api/sms/webhook/incoming", &text("SM2", "START")).await.expect(200);
    assert_eq!(acme.value::<i64>(suppressed, &[&acme.company]).await, 0);
    let told = signed_with("another token", "/api/sms/webhook/incoming", &text("SM3", "STOP")).await.detail(502);
    assert_eq!(told, "The signature cannot be checked right now");
    for other in claims {
        assert_eq!(messages(&other).await, Vec::<Value>::new());
    }
}

/// Historical settings belong to their user: nothing is sent or received with them.
#[tokio::test]
async fn historical_settings_stand_in_nobodys_way() {
    let acme = World::new().await;
    let old = "insert into twilio_settings (tenant_id, company_id, user_id, account_sid, phone_number, sendgrid_from_email, is_active, created_at)
        values ($1, null, $2, 'ACold', '+14155550188', 'old@x.example', true, now() - interval '1 year')";
    acme.db.execute(old, &[&acme.company, &acme.admin.id]).await.unwrap();
    let account = Account::of(&acme).await;
    acme.admin.post("/api/sms/send", json!({"to": number(), "body": "T"})).await.expect(200);
    assert_eq!(acme.admin.get("/api/twilio-settings/").await.expect(200)["account_sid"], json!(account.sid));
    let stop = [("MessageSid", "SM2"), ("From", "+14155550124"), ("To", &account.number), ("Body", "STOP")];
    account.tells("/api/sms/webhook/incoming", &stop).await.expect(200);
    acme.admin.put("/api/twilio-settings/", json!({"sms_enabled": true})).await.expect(200);
    let kept = "select count(*) from twilio_settings where tenant_id = $1 and account_sid = 'ACold' and is_active";
    assert_eq!(acme.value::<i64>(kept, &[&acme.company]).await, 1);
}

#[tokio::test]
async fn a_wrong_signature_changes_nothing() {
    let (acme, other) = (World::new().await, World::new().await);
    let (account, stranger) = (Account::of(&acme).await, Account::of(&other).await);
    let to = number();
    acme.admin.post("/api/sms/send", json!({"to": to, "body": "Hi"})).await.expect(200);
    let sid = acme.value::<String>("select twilio_sid from sms_messages where tenant_id = $1", &[&acme.company]).await;
    let callback = account.asked()[0]["StatusCallback"].clone();
    let path = callback.strip_prefix("https://crm.example").unwrap();
    let theirs = path.replace(&acme.company.to_string(), &other.company.to_string());
    let fields = [("MessageSid", sid.as_str()), ("MessageStatus", "failed"), ("To", &to), ("From", &account.number)];
    for (token, path) in
        [(&stranger.token, path), (&stranger.token, theirs.as_str()), (&account.token, "/api/sms/webhook/status")]
    {
        assert_eq!(signed_with(token, path, &fields).await.status, 403, "{path}");
    }
    let inbound = [("From", to.as_str()), ("To", &account.number), ("Body", "x"), ("MessageSid", "SMx")];
    assert_eq!(stranger.tells("/api/sms/webhook/incoming", &inbound).await.status, 403);
    assert_eq!(Person::nobody().post("/api/sms/webhook/incoming", json!({})).await.status, 403);
    let unknown = number();
    let nowhere = [("From", to.as_str()), ("To", &unknown), ("Body", "x"), ("MessageSid", "SMx")];
    assert_eq!(account.tells("/api/sms/webhook/incoming", &nowhere).await.status, 403);
    let list = messages(&acme).await;
    assert_eq!((list.len(), &list[0]["status"]), (1, &json!("sent")));
}

#[tokio::test]
async fn a_form_is_small() {
    let form = |body: String| {
        let request = Person::nobody().request("post", "/api/sms/webhook/incoming");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        answer(request.header("x-twilio-signature", "AAAA").body(body))
    };
    assert_eq!(form("a&".repeat(200)).await.status, 403);
    form("a&".repeat(201)).await.expect(422);
    assert_eq!(form("a".repeat(64 << 10)).await.status, 403);
    form("a".repeat((64 << 10) + 1)).await.expect(413);
}

#[tokio::test]
async fn states_move_forward_in_any_order() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    acme.admin.post("/api/sms/send", json!({"to": number(), "body": "Hi"})).await.expect(200);
    let sid = acme.value::<String>("select twilio_sid from sms_messages where tenant_id = $1", &[&acme.company]).await;
    let callback = account.asked()[0]["StatusCallback"].clone();
    let path = callback.strip_prefix("https://crm.example").unwrap();
    for (told, then) in [
        ("queued", "sent"),
        ("delivered", "delivered"),
        ("sent", "delivered"),
        ("delivered", "delivered"),
        ("never heard of", "delivered"),
        ("undelivered", "delivered"),
        ("read", "read"),
    ] {
        let fields = [("MessageSid", sid.as_str()), ("MessageStatus", told)];
        account.tells(path, &fields).await.expect(200);
        assert_eq!(messages(&acme).await[0]["status"], then, "after {told}");
    }
    let figures = acme.member.get("/api/sms/analytics").await.expect(200);
    assert_eq!(
        [&figures["total_sent"], &figures["total_delivered"], &figures["success_rate"]],
        [&json!(1), &json!(1), &json!(100.0)]
    );
    let age = "update sms_messages set created_at = created_at - interval '8 days' where tenant_id = $1";
    acme.db.execute(age, &[&acme.company]).await.unwrap();
    for (days, texts) in [(7, 0), (9, 1)] {
        let figures = acme.member.get(&format!("/api/sms/analytics?days={days}")).await.expect(200);
        assert_eq!(figures["total_sent"], texts, "in {days} days");
    }
}

#[tokio::test]
async fn stop_suppresses_start_lifts_and_help_answers() {
    let acme = World::named("Acme & Sons").await;
    let account = Account::of(&acme).await;
    let customer = number();
    let says = async |sid: &str, body: &str| {
        let fields = [("From", customer.as_str()), ("To", &account.number), ("Body", body), ("MessageSid", sid)];
        account.tells("/api/sms/webhook/incoming", &fields).await
    };
    assert_eq!(says("SMa", " stop. ").await.status, 200);
    let send = json!({"to": customer, "body": "Hi"});
    assert!(acme.admin.post("/api/sms/send", send.clone()).await.detail(400).contains("opted out"));
    let list = acme.member.get("/api/suppressions/").await.expect(200);
    assert_eq!([&list[0]["address"], &list[0]["reason"]], [&json!(customer), &json!("stop")]);
    assert_eq!(account.asked().len(), 0, "nothing has left");
    assert!(says("SMb", "HELP").await.text.contains("Acme &amp; Sons"));
    assert_eq!(says("SMc", "Start").await.status, 200);
    acme.admin.post("/api/sms/send", send.clone()).await.expect(200);

    // Only an admin can do both by hand.
    let entry = json!({"channel": "sms", "address": customer, "note": "asked by phone"});
    assert_eq!(acme.member.post("/api/suppressions/", entry.clone()).await.status, 403);
    let entry = acme.admin.post("/api/suppressions/", entry).await.expect(200);
    assert_eq!(acme.admin.post("/api/sms/send", send.clone()).await.status, 400);
    acme.admin.delete(&format!("/api/suppressions/{}", entry["id"].as_str().unwrap())).await.expect(200);
    acme.admin.post("/api/sms/send", send).await.expect(200);
}

#[tokio::test]
async fn a_word_counts_with_any_punctuation_and_in_no_sentence() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let says = async |from: &str, body: &str| {
        let sid = number();
        let fields = [("From", from), ("To", &account.number), ("Body", body), ("MessageSid", &sid)];
        assert_eq!(account.tells("/api/sms/webhook/incoming", &fields).await.status, 200);
        let suppressed = "select count(*) = 1 from suppressions where tenant_id = $1 and address = $2";
        acme.value::<bool>(suppressed, &[&acme.company, &from]).await
    };
    let stops = [
        "Stop !",
        "STOP .",
        "STOP?",
        "Stop,",
        "\"STOP\"",
        "\u{201c}stop\u{201d}",
        "stop\u{a0}",
        "STOP\u{200b}",
        "Opt out",
        "opt-out.",
    ];
    for body in stops {
        let customer = number();
        assert!(says(&customer, body).await, "{body:?}");
        assert!(!says(&customer, "(Start!)").await, "{body:?}");
    }
    for body in ["Stop by at three", "please stop", "Don't stop!", "?!", ""] {
        assert!(!says(&number(), body).await, "{body:?}");
    }
}

#[tokio::test]
async fn what_an_admin_enters_stays_when_its_owner_says_start() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let customer = number();
    let says = async |body: &str| {
        let fields = [("From", customer.as_str()), ("To", &account.number), ("Body", body), ("MessageSid", body)];
        assert_eq!(account.tells("/api/sms/webhook/incoming", &fields).await.status, 200);
    };
    says("STOP").await;
    let entry = json!({"channel": "sms", "address": customer, "note": "The lawyer says so"});
    assert_eq!(acme.admin.post("/api/suppressions/", entry).await.expect(200)["reason"], "stop");
    says("START").await;
    let refused = acme.admin.post("/api/sms/send", json!({"to": customer, "body": "Hi"})).await.detail(400);
    assert!(refused.contains("opted out"), "{refused}");
}

#[tokio::test]
async fn an_answer_has_no_characters_that_xml_cannot_have() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let company = format!("/api/companies/{}", acme.company);
    let settings = |reply: &str| json!({"settings": {"auto_reply": reply}});
    acme.admin.put(&company, settings("We call\u{1} you back")).await.expect(422);
    acme.admin.put(&company, settings("We call\nyou back")).await.expect(200);
    // Characters from before they were refused.
    let old =
        r#"update companies set settings = '{"auto_reply": "We\u0001 call\nyou\u000b back\uffff"}' where id = $1"#;
    acme.db.execute(old, &[&acme.company]).await.unwrap();
    let fields = [("From", "+14155550199"), ("To", &*account.number), ("Body", "Hello"), ("MessageSid", "SMxml")];
    let answer = account.tells("/api/sms/webhook/incoming", &fields).await;
    assert!(answer.text.contains("<Message>We call\nyou back</Message>"), "{}", answer.text);
}

#[tokio::test]
async fn settings_decide_about_replies_and_unknown_senders() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let company = format!("/api/companies/{}", acme.company);
    let settings = json!({"settings": {"auto_reply": "We call you back", "add_unknown_senders": true}});
    acme.admin.put(&company, settings).await.expect(200);
    let customer = number();
    let fields = [("From", customer.as_str()), ("To", &account.number), ("Body", "Hello"), ("MessageSid", "SMq")];
    let answer = account.tells("/api/sms/webhook/incoming", &fields).await;
    assert!(answer.text.contains("<Message>We call you back</Message>"), "{}", answer.text);
    let list = messages(&acme).await;
    assert_eq!([&list[0]["is_auto_response"], &list[1]["is_auto_response"]], [&json!(true), &json!(false)]);
    let contacts = acme.admin.get("/api/contacts/").await.expect(200);
    assert_eq!([&contacts[0]["phone"], &list[1]["contact_id"]], [&json!(customer), &contacts[0]["id"]]);
}

/// Automatic replies are sent only when a text could be; a request for help gets its reply at any time.
#[tokio::test]
async fn nothing_leaves_by_itself_at_night_or_for_who_is_blocked() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let company = format!("/api/companies/{}", acme.company);
    let mut sids = 0..;
    let mut says = async |body: &str| {
        let sid = format!("SM{}", sids.next().unwrap());
        let fields = [("From", "+919876543210"), ("To", &account.number), ("Body", body), ("MessageSid", &sid)];
        account.tells("/api/sms/webhook/incoming", &fields).await.text.contains("<Message>")
    };
    let settings = |hours: Value| json!({"settings": {"auto_reply": "We call you back", "quiet_hours": hours}});
    acme.admin.put(&company, settings(night_in(&acme, "Asia/Kolkata").await)).await.expect(200);
    assert_eq!([says("Hello").await, says("HELP").await], [false, true], "at night");
    acme.admin.put(&company, settings(Value::Null)).await.expect(200);
    let set = async |state: &str| {
        let set = "update conversations set conversation_status = $2 where tenant_id = $1";
        acme.db.execute(set, &[&acme.company, &state]).await.unwrap();
    };
    set("blocked").await;
    let past = "update sms_messages set created_at = created_at - interval '2 minutes' where tenant_id = $1";
    acme.db.execute(past, &[&acme.company]).await.unwrap();
    assert_eq!([says("Hello").await, says("HELP").await], [false, true], "blocked");
    set("active").await;
    assert!(says("Hello").await);
}

/// Numbers match only as the screens read them: the last ten digits of a German number are an American one.
#[tokio::test]
async fn a_number_is_the_contacts_in_whose_country_it_is() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let settings = json!({"settings": {"add_unknown_senders": true}});
    acme.admin.put(&format!("/api/companies/{}", acme.company), settings).await.expect(200);
    let written = [
        "(301) 234-5678",
        "0300 123 4567",
        "(+49) 30 1234567",
        "0049 (89) 7654321",
        "(479) 123-4567",
        "+44 (0)20 7946 0001",
        "(+353)(0)1-234-5678",
        "0043 (0)1 2345678",
        // There the zero is dialled from abroad, too.
        "+39 (0)6 1234567",
    ];
    let mut contacts = Vec::new();
    for (n, phone) in written.into_iter().enumerate() {
        let contact = json!({"first_name": phone, "last_name": "", "email": format!("{n}@x.example"), "phone": phone});
        contacts.push(acme.admin.post("/api/contacts/", contact).await.expect(200)["id"].clone());
        let (e164, digits): (String, String) = {
            let row = "select app.e164($1), regexp_replace($1, '\\D', '', 'g')";
            let row = acme.db.query_one(row, &[&phone]).await.unwrap();
            (row.get(0), row.get(1))
        };
        // Except where the screens ignore an unknown prefix after 00.
        assert!(phone.starts_with("00") || telephony::e164(phone).unwrap() == e164, "{phone}: {e164}");
        assert!(acme.value::<bool>("select $1 = any (app.written_digits($2))", &[&digits, &e164]).await, "{phone}");
    }
    let numbers = [
        ("+13012345678", Some(0)),
        ("+493012345678", None),
        ("+923001234567", Some(1)),
        ("+13001234567", None),
        ("+49301234567", Some(2)),
        ("+49897654321", Some(3)),
        ("+14791234567", Some(4)),
        ("+4791234567", None),
        ("+442079460001", Some(5)),
        ("+35312345678", Some(6)),
        ("+4312345678", Some(7)),
        ("+39061234567", Some(8)),
    ];
    for (n, (from, of)) in numbers.into_iter().enumerate() {
        let (text, call) = (format!("SMc{n}"), format!("CAc{n}"));
        let fields = [("From", from), ("To", &account.number), ("Body", "Hello"), ("MessageSid", &text)];
        account.tells("/api/sms/webhook/incoming", &fields).await.expect(200);
        let fields = [("From", from), ("To", &account.number), ("CallStatus", "ringing"), ("CallSid", &call)];
        account.tells("/api/calls/webhook", &fields).await.expect(200);
        let texted = messages(&acme).await[0]["contact_id"].clone();
        assert_eq!(acme.admin.get("/api/calls/").await.expect(200)[0]["contact_id"], texted, "{from}");
        match of {
            Some(known) => assert_eq!(texted, contacts[known], "{from}"),
            None => assert!(texted.is_string() && !contacts.contains(&texted), "{from} is somebody new"),
        }
    }
    let all = acme.admin.get("/api/contacts/").await.expect(200);
    assert_eq!(all.as_array().unwrap().len(), 12, "nobody is there twice: {all:#}");
}

/// The sender gets the reply that the conversation shows.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_sent_when_the_connection_is_lost_at_the_commit() {
    let lost = LostCommit::of("sms_messages").await;
    let account = Account::of(&lost.world).await;
    let settings = json!({"settings": {"auto_reply": "We call you back"}});
    lost.world.admin.put(&format!("/api/companies/{}", lost.world.company), settings).await.expect(200);
    let (customer, base, own) = (number(), lost.base.clone(), account.number.clone());
    let says = async move |account: &Account, sid: &str| {
        let fields = [("From", customer.as_str()), ("To", &own), ("Body", "Hello"), ("MessageSid", sid)];
        account.tells_at(&base, "/api/sms/webhook/incoming", &fields).await
    };
    let first = (account.clone(), says.clone());
    let answer = lost.lose(async move { first.1(&first.0, "SM1").await }).await;
    assert!(answer.text.contains("<Message>We call you back</Message>"), "{} {}", answer.status, answer.text);
    let again = says(&account, "SM1").await;
    assert!(again.text.contains("<Response></Response>"), "it is sent once: {}", again.text);
    assert_eq!(lost.world.value::<i64>("select count(*) from sms_messages", &[]).await, 2);
    lost.own.drop().await;
}

/// Otherwise two numbers with automatic replies would text each other for ever.
#[tokio::test]
async fn a_number_is_answered_by_itself_once_an_hour() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let settings = json!({"settings": {"auto_reply": "We call you back", "help_reply": "Ask Acme"}});
    acme.admin.put(&format!("/api/companies/{}", acme.company), settings).await.expect(200);
    let (customer, echo) = (number(), number());
    let mut sids = 0..;
    let mut says = async |from: &str, body: &str| {
        let sid = format!("SM{}", sids.next().unwrap());
        let fields = [("From", from), ("To", account.number.as_str()), ("Body", body), ("MessageSid", sid.as_str())];
        let answer = account.tells("/api/sms/webhook/incoming", &fields).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.text.split_once("<Message>").map(|(_, rest)| rest.split('<').next().unwrap_or_default().to_owned())
    };
    assert_eq!(says(&echo, " we call you back ").await, None, "its own sentence");
    for expected in [Some("We call you back".to_owned()), None, None] {
        assert_eq!(says(&customer, "We are closed").await, expected);
    }
    assert_eq!(says(&echo, "Hello").await.as_deref(), Some("We call you back"), "each number has its own");
    let asks_first = number();
    for expected in [Some("Ask Acme".to_owned()), None] {
        assert_eq!(says(&customer, "HELP").await, expected);
        assert_eq!(says(&asks_first, "HELP").await, expected);
    }
    assert_eq!(says(&asks_first, "Hello").await.as_deref(), Some("We call you back"), "help is another answer");
    let age = "update sms_messages set created_at = created_at - interval '61 seconds' where tenant_id = $1";
    acme.db.execute(age, &[&acme.company]).await.unwrap();
    assert_eq!(says(&customer, "HELP").await.as_deref(), Some("Ask Acme"));
    let age = "update sms_messages set created_at = created_at - interval '61 minutes' where tenant_id = $1";
    acme.db.execute(age, &[&acme.company]).await.unwrap();
    assert_eq!(says(&customer, "Hello again").await.as_deref(), Some("We call you back"));
    let replies = "select count(*) from sms_messages where tenant_id = $1 and is_auto_response";
    assert_eq!(acme.value::<i64>(replies, &[&acme.company]).await, 7);
    assert_eq!(messages(&acme).await.len(), 19, "what comes in is kept");
    let both = [number(), number()].map(|sid| {
        let fields =
            [("From", echo.clone()), ("To", account.number.clone()), ("Body", "HELP".into()), ("MessageSid", sid)];
        let account = &account;
        async move {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            account.tells("/api/sms/webhook/incoming", &fields).await.text.contains("Ask Acme")
        }
    });
    let [one, other] = both;
    let (one, other) = tokio::join!(one, other);
    assert!(one ^ other, "two at once have one answer");
}

#[tokio::test]
async fn a_call_is_followed_and_one_that_comes_in_is_stored() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let made =
        acme.admin.post("/api/calls/initiate", json!({"to": number(), "from": account.number})).await.expect(200);
    let callback = account.asked()[0]["StatusCallback"].clone();
    let path = callback.strip_prefix("https://crm.example").unwrap();
    let sid = made["twilio_sid"].as_str().unwrap();
    for (status, duration) in [("completed", "42"), ("ringing", "")] {
        account.tells(path, &[("CallSid", sid), ("CallStatus", status), ("CallDuration", duration)]).await.expect(200);
    }
    let customer = number();
    let inbound =
        [("CallSid", "CAin"), ("CallStatus", "ringing"), ("From", customer.as_str()), ("To", &account.number)];
    for _ in 0..2 {
        account.tells("/api/calls/webhook", &inbound).await.expect(200);
    }
    let calls = acme.member.get("/api/calls/").await.expect(200);
    assert_eq!(calls.as_array().unwrap().len(), 2);
    assert_eq!(
        [&calls[0]["direction"], &calls[0]["status"], &calls[0]["from"]],
        [&json!("inbound"), &json!("ringing"), &json!(customer)]
    );
    assert_eq!([&calls[1]["status"], &calls[1]["duration"]], [&json!("completed"), &json!(42)]);
    assert!(calls[1]["ended_at"].is_string());
    let spoken = Person::nobody().get("/api/calls/twiml").await;
    assert!(spoken.status == 200 && spoken.text.contains("<Say"), "{}", spoken.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_states_of_a_call_that_come_at_once_the_later_stays() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let (holder, customer) = (db::connect(&admin_url()).await.unwrap(), number());
    let rings =
        "insert into calls (tenant_id, company_id, user_id, direction, status, from_address, to_address, twilio_sid)
        values ($1, $1, $2, 'inbound', 'ringing', $3, $4, 'CAtwo')";
    holder.batch_execute("begin").await.unwrap();
    holder.execute(rings, &[&acme.company, &acme.admin.id, &customer, &account.number]).await.unwrap();
    let ended = [
        ("CallSid", "CAtwo"),
        ("CallStatus", "completed"),
        ("CallDuration", "42"),
        ("RecordingUrl", "https://api.twilio.com/recording"),
        ("From", customer.as_str()),
        ("To", &account.number),
    ];
    let commit = async {
        waiting_for(&holder, &acme.db).await;
        holder.batch_execute("commit").await.unwrap();
    };
    let (told, ()) = tokio::join!(account.tells("/api/calls/webhook", &ended), commit);
    told.expect(200);
    let calls = acme.admin.get("/api/calls/").await.expect(200);
    assert_eq!((calls.as_array().unwrap().len(), &calls[0]["status"]), (1, &json!("completed")));
    assert_eq!(
        [&calls[0]["duration"], &calls[0]["recording_url"]],
        [&json!(42), &json!("https://api.twilio.com/recording")]
    );
    assert!(calls[0]["ended_at"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_text_at_the_same_time_is_one() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let customer = number();
    let fields = [("From", customer.as_str()), ("To", &account.number), ("Body", "Hi"), ("MessageSid", "SMonce")];
    let told = (0..6).map(|_| account.tells("/api/sms/webhook/incoming", &fields));
    for answer in futures_util::future::join_all(told).await {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!(messages(&acme).await.len(), 1);
    let counted = "select message_count from conversations where tenant_id = $1";
    assert_eq!(acme.value::<i32>(counted, &[&acme.company]).await, 1);
}

/// Nothing else works in it, but opt-outs count at once.
#[tokio::test]
async fn a_suspended_company_hears_that_somebody_has_opted_out() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let (first, second) = (number(), number());
    acme.admin.post("/api/sms/send", json!({"to": second, "body": "Hi"})).await.expect(200);
    let sid: String = acme.value("select twilio_sid from sms_messages where tenant_id = $1", &[&acme.company]).await;
    let set = async |status: &str| {
        acme.db.execute("update companies set status = $2 where id = $1", &[&acme.company, &status]).await.unwrap();
    };
    set("suspended").await;
    let says = async |body: &str| {
        let fields = [("From", first.as_str()), ("To", &account.number), ("Body", body), ("MessageSid", body)];
        account.tells("/api/sms/webhook/incoming", &fields).await.status
    };
    assert_eq!(
        [says("Hello").await, says("STOP").await, says("STOP").await, says("START").await],
        [403, 200, 200, 403]
    );
    let fields = [("MessageSid", sid.as_str()), ("To", &second), ("MessageStatus", "failed"), ("ErrorCode", "21610")];
    let path = format!("/api/sms/webhook/status?company={}", acme.company);
    assert_eq!(account.tells(&path, &fields).await.status, 200);
    let delivered = [("MessageSid", sid.as_str()), ("To", &second), ("MessageStatus", "delivered")];
    assert_eq!(account.tells(&path, &delivered).await.status, 403);
    set("active").await;
    assert_eq!(messages(&acme).await.len(), 1);
    let list = acme.admin.get("/api/suppressions/").await.expect(200);
    let reasons: Vec<&Value> = list.as_array().unwrap().iter().map(|entry| &entry["reason"]).collect();
    assert_eq!(reasons, [&json!("provider"), &json!("stop")]);
}

/// The carrier's report is about the number, whatever has become of the text.
#[tokio::test]
async fn who_has_opted_out_is_known_when_the_text_is_deleted() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let customer = number();
    acme.member.post("/api/sms/send", json!({"to": customer, "body": "Hi"})).await.expect(200);
    let text = acme.member.get("/api/inbox/").await.expect(200)[0]["id"].clone();
    let callback = account.asked()[0]["StatusCallback"].clone();
    let path = callback.strip_prefix("https://crm.example").unwrap();
    acme.member.delete(&format!("/api/inbox/{}", text.as_str().unwrap())).await.expect(200);
    let tells = async |code: &str| {
        let fields = [("MessageSid", "SMgone"), ("To", &*customer), ("MessageStatus", "failed"), ("ErrorCode", code)];
        account.tells(path, &fields).await.status
    };
    assert_eq!([tells("30003").await, tells("21610").await, tells("21610").await], [403, 200, 200]);
    let list = acme.admin.get("/api/suppressions/").await.expect(200);
    assert_eq!([&list[0]["address"], &list[0]["reason"]], [&json!(customer), &json!("provider")]);
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert!(
        acme.member
            .post("/api/sms/send", json!({"to": customer, "body": "Hi"}))
            .await
            .detail(400)
            .contains("opted out")
    );
}

/// A text can come from a name, and a call from no number. Neither has digits, nor has many a contact's phone.
#[tokio::test]
async fn what_comes_from_no_number_is_no_contacts() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    for phone in ["", "n/a"] {
        let contact: Uuid = acme.contact("Ada", "L").await["id"].as_str().unwrap().parse().unwrap();
        acme.db.execute("update contacts set phone = $2 where id = $1", &[&contact, &phone]).await.unwrap();
    }
    let call = [("CallSid", "CAno"), ("CallStatus", "ringing"), ("From", "anonymous"), ("To", &account.number)];
    account.tells("/api/calls/webhook", &call).await.expect(200);
    for (sid, body) in [("SMn1", "Your parcel"), ("SMn2", "STOP")] {
        let text = [("MessageSid", sid), ("From", "AMAZON"), ("To", &account.number), ("Body", body)];
        assert_eq!(account.tells("/api/sms/webhook/incoming", &text).await.status, 200);
    }
    let calls = acme.admin.get("/api/calls/").await.expect(200);
    let of = messages(&acme).await.into_iter().chain([calls[0].clone()]).map(|row| row["contact_id"].clone());
    assert_eq!(of.collect::<Vec<_>>(), [json!(null), json!(null), json!(null)]);
    assert_eq!(acme.admin.get("/api/suppressions/").await.expect(200), json!([]));
}

#[tokio::test]
async fn what_comes_in_is_heard_while_the_account_is_switched_off() {
    let (acme, other) = (World::new().await, World::new().await);
    let account = Account::of(&acme).await;
    let settings = json!({"settings": {"auto_reply": "We call you back"}});
    acme.admin.put(&format!("/api/companies/{}", acme.company), settings).await.expect(200);
    acme.admin.post("/api/sms/send", json!({"to": number(), "body": "Hi"})).await.expect(200);
    let sid = acme.value::<String>("select twilio_sid from sms_messages where tenant_id = $1", &[&acme.company]).await;
    let callback = account.asked()[0]["StatusCallback"].clone();
    acme.admin.put("/api/twilio-settings/", json!({"is_active": false})).await.expect(200);
    let delivered = [("MessageSid", sid.as_str()), ("MessageStatus", "delivered")];
    account.tells(callback.strip_prefix("https://crm.example").unwrap(), &delivered).await.expect(200);
    assert_eq!(messages(&acme).await[0]["status"], "delivered");
    let customer = number();
    let says = async |to: &str, sid: &str, body: &str| {
        let account_sid = account.sid.as_str();
        let text = [("AccountSid", account_sid), ("MessageSid", sid), ("From", &customer), ("To", to), ("Body", body)];
        account.tells("/api/sms/webhook/incoming", &text).await
    };
    let hello = says(&account.number, "SMo1", "Hello").await;
    assert_eq!((hello.status, hello.text.contains("<Message>")), (200, false), "{}", hello.text);
    assert_eq!(says(&account.number, "SMo2", "STOP").await.status, 200);
    let suppressed = async || acme.admin.get("/api/suppressions/").await.expect(200);
    assert_eq!(suppressed().await[0]["address"], json!(customer));
    acme.admin.post("/api/sms/send", json!({"to": number(), "body": "Hi"})).await.detail(400);

    // So are texts to a number that is only in the settings, unless another company of the account has it switched on.
    let line = number();
    let set = "update twilio_settings set phone_number = $2 where company_id = $1";
    acme.db.execute(set, &[&acme.company, &line]).await.unwrap();
    assert_eq!(says(&line, "SMo3", "START").await.status, 200);
    assert_eq!(suppressed().await, json!([]));
    let same = json!({"account_sid": account.sid, "auth_token": account.token, "phone_number": line});
    other.admin.post("/api/twilio-settings/", same).await.expect(201);
    assert_eq!(says(&line, "SMo4", "Hello").await.status, 200);
    assert_eq!((messages(&acme).await.len(), messages(&other).await.len()), (4, 1));
    // Also while Twilio could not verify that company's settings.
    let unknown = "update twilio_settings set is_verified = false where company_id = $1";
    acme.db.execute(unknown, &[&other.company]).await.unwrap();
    assert_eq!(says(&line, "SMo5", "Hello").await.status, 200);
    assert_eq!((messages(&acme).await.len(), messages(&other).await.len()), (4, 2));
}

/// Anybody may register a company and enter another's SID.
#[tokio::test]
async fn many_who_claim_an_account_push_nobody_out_who_has_it_switched_off() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    acme.admin.put("/api/twilio-settings/", json!({"is_active": false})).await.expect(200);
    let register =
        "insert into companies (name) select 'Squatter ' || gen_random_uuid() from generate_series(1, 25) returning id";
    for row in acme.db.query(register, &[]).await.unwrap() {
        let company: Uuid = row.get(0);
        let claim = "insert into twilio_settings (tenant_id, company_id, user_id, account_sid, phone_number)
            select $1, $1, (app.add_user($1::uuid || '@x.example', 'x', 'A', 'B', 'company_admin', $1, 'active')).id, $2, $3";
        acme.db.execute(claim, &[&company, &account.sid, &account.number]).await.unwrap();
    }
    let customer = number();
    let stop = [("AccountSid", account.sid.as_str()), ("MessageSid", "SMsq"), ("From", &customer), ("Body", "STOP")];
    let stop = [&stop[..], &[("To", account.number.as_str())]].concat();
    account.tells("/api/sms/webhook/incoming", &stop).await.expect(200);
    assert_eq!(acme.admin.get("/api/suppressions/").await.expect(200)[0]["address"], json!(customer));
    let asked = "select count(*) from app.companies_of_number($1, $2)";
    assert_eq!(acme.value::<i64>(asked, &[&account.number, &account.sid]).await, 20, "a refused request costs no more");
}

#[tokio::test]
async fn calls_and_texts_to_a_number_that_is_switched_off_are_kept() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let numbers = acme.admin.get("/api/sms/phone-numbers").await.expect(200);
    let switch = format!("/api/sms/phone-numbers/{}/active?active=false", numbers[0]["id"].as_str().unwrap());
    acme.admin.patch(&switch, json!({})).await.expect(200);
    let customer = number();
    let mut fields = vec![("AccountSid", account.sid.as_str()), ("From", &customer), ("To", &account.number)];
    fields.extend([("CallSid", "CAoff"), ("CallStatus", "ringing"), ("MessageSid", "SMoff"), ("Body", "Hi")]);
    for path in ["/api/calls/webhook", "/api/sms/webhook/incoming"] {
        assert_eq!(account.tells(path, &fields).await.status, 200, "{path}");
    }
    let calls = acme.admin.get("/api/calls/").await.expect(200);
    assert_eq!((calls.as_array().unwrap().len(), messages(&acme).await.len()), (1, 1));
}

/// The address at which SendGrid tells the company its events.
async fn events_of(world: &World) -> String {
    let hook = world.admin.send("POST", "/api/emails/webhook/settings", None).await.expect(200);
    hook["events_url"].as_str().unwrap().strip_prefix("https://crm.example").unwrap().to_owned()
}

/// The recipients of a campaign that is not sent, in the order of their ids.
async fn recipients(world: &World, addresses: &[&str]) -> Vec<Uuid> {
    let campaign = json!({"campaign_name": "C", "subject": "S", "body": "B", "recipients": addresses});
    world.admin.post("/api/email-campaigns/", campaign).await.expect(201);
    let rows = world.db.query("select id from campaign_recipients order by id", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Twilio tells most of it once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_while_the_connection_is_lost_is_written_down() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let (base, watch) = (format!("http://{}", acme.admin.address()), db::connect(&own.admin).await.unwrap());
    let visitor = Person::visitor(&base);
    acme.admin.post("/api/sms/send", json!({"to": number(), "body": "Hi"})).await.expect(200);
    let callback = account.asked()[0]["StatusCallback"].clone();
    let callback = callback.strip_prefix("https://crm.example").unwrap();
    let sid: String = acme.value("select twilio_sid from sms_messages", &[]).await;
    let events = events_of(&acme).await;
    let row = recipients(&acme, &["ada@x.example"]).await[0];
    let link = Link { company: acme.company, user: acme.admin.id, row };
    let unsubscribe =
        format!("/api/unsubscribe/{}", Links::new(&config().secret_key).token(Purpose::Unsubscribe, &link));

    let lost = async |table: &str, telling: &mut (dyn Future<Output = Answer> + Unpin)| {
        acme.db.batch_execute(&format!("begin; lock table {table} in exclusive mode")).await.unwrap();
        let losing = async {
            until("it waits", async || waiting_for_locks(&watch).await == 1).await;
            let end = "select pg_terminate_backend(pid, 5000) from pg_stat_activity
                where datname = current_database() and usename = 'ringfence_api'";
            watch.query(end, &[]).await.unwrap();
            acme.db.batch_execute("rollback").await.unwrap();
        };
        let (answer, ()) = tokio::join!(telling, losing);
        assert_eq!(answer.status, 200, "{table}: {}", answer.text);
    };
    let customer = number();
    let stop = [("From", customer.as_str()), ("To", &account.number), ("Body", "STOP"), ("MessageSid", "SMstop")];
    lost("suppressions", &mut Box::pin(account.tells_at(&base, "/api/sms/webhook/incoming", &stop))).await;
    let delivered = [("MessageSid", sid.as_str()), ("MessageStatus", "delivered")];
    lost("sms_messages", &mut Box::pin(account.tells_at(&base, callback, &delivered))).await;
    let call = [("From", customer.as_str()), ("To", &account.number), ("CallSid", "CA1"), ("CallStatus", "ringing")];
    lost("calls", &mut Box::pin(account.tells_at(&base, "/api/calls/webhook", &call))).await;
    let bounce = json!([{"event": "bounce", "email": "eve@x.example", "timestamp": 1_760_000_000, "mail": Uuid::now_v7(),
        "company": acme.company}]);
    lost("suppressions", &mut Box::pin(visitor.post(&events, bounce))).await;
    lost("suppressions", &mut Box::pin(visitor.send("POST", &unsubscribe, None))).await;

    let suppressed = acme.db.query("select address from suppressions order by 1", &[]).await.unwrap();
    let suppressed: Vec<String> = suppressed.iter().map(|row| row.get(0)).collect();
    assert_eq!(suppressed, [customer.as_str(), "ada@x.example", "eve@x.example"]);
    let known = "select format('%s %s %s', count(*) filter (where direction = 'inbound'), max(status) filter (where direction = 'outbound'),
        (select count(*) from calls)) from sms_messages";
    assert_eq!(acme.value::<String>(known, &[]).await, "1 delivered 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_a_deadlock_has_ended_are_written_down() {
    let own = OwnDatabase::new().await;
    let watch = db::connect(&own.admin).await.unwrap();
    // PostgreSQL looks for a deadlock once in each wait: late enough for a busy machine, and before it gives up.
    watch.batch_execute(&format!("alter database {} set deadlock_timeout = '3s'", own.name)).await.unwrap();
    let acme = World::alone(&own).await;
    let visitor = acme.admin.with_token("");
    let url = events_of(&acme).await;
    let rows = recipients(&acme, &["ada@x.example", "bob@x.example"]).await;
    let event =
        |row: &Uuid| json!({"event": "delivered", "email": "x@x.example", "timestamp": 1_760_000_000, "mail": row});
    let events: Vec<Value> = rows.iter().map(event).collect();
    // The other one of the two notices it.
    acme.db.batch_execute("set deadlock_timeout = '1min'; begin").await.unwrap();
    let lock = "select from campaign_recipients where id = $1 for update";
    acme.db.execute(lock, &[&rows[1]]).await.unwrap();
    let crossing = async {
        until("they wait", async || waiting_for_locks(&watch).await == 1).await;
        acme.db.execute(lock, &[&rows[0]]).await.unwrap();
        acme.db.batch_execute("commit").await.unwrap();
    };
    let (answer, ()) = tokio::join!(visitor.post(&url, json!(events)), crossing);
    answer.expect(200);
    let delivered = "select count(*) from campaign_recipients where delivered_at is not null";
    assert_eq!(acme.value::<i64>(delivered, &[]).await, 2);
}
