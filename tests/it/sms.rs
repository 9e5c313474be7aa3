//! SMS messages (contract: sms).

use crate::support::{
    database::{OwnDatabase, until, waiting_for, waiting_for_locks},
    server::{admin_url, config, start_server},
    twilio::{Account, PUBLIC_URL, number},
    world::{World, night_in},
};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn the_feed_is_newest_first_with_filters_and_pages() {
    let acme = World::new().await;
    let contact: Uuid = acme.contact("Ada", "L").await["id"].as_str().unwrap().parse().unwrap();
    for (minutes, direction, body) in [(3, "inbound", "a"), (2, "outbound", "b"), (1, "outbound", "c")] {
        let sql = "insert into sms_messages (tenant_id, company_id, user_id, contact_id, direction, status, from_address, to_address, body, created_at)
            values ($1, $1, $2, $3, $4, 'sent', '+15550100', '+15550101', $5, now() - make_interval(mins => $6))";
        acme.db.execute(sql, &[&acme.company, &acme.member.id, &contact, &direction, &body, &minutes]).await.unwrap();
    }
    let bodies = async |query: &str| -> String {
        let list = acme.admin.get(&format!("/api/sms/messages{query}")).await.expect(200);
        list.as_array().unwrap().iter().map(|m| m["body"].as_str().unwrap()).collect()
    };
    assert_eq!(bodies("").await, "cba");
    assert_eq!(bodies("?type=sent").await, "cb");
    assert_eq!(bodies("?type=received").await, "a");
    assert_eq!(bodies("?type=whatever").await, "cba");
    assert_eq!(bodies("?skip=1&limit=1").await, "b");
    let message = acme.admin.get("/api/sms/messages?limit=1").await.expect(200)[0].clone();
    let mut keys: Vec<&String> = message.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "body",
            "contact_id",
            "created_at",
            "direction",
            "from_address",
            "id",
            "is_auto_response",
            "read_at",
            "sent_at",
            "status",
            "to_address"
        ]
    );
    assert_eq!(
        (&message["sent_at"], &message["contact_id"], &message["read_at"]),
        (&message["created_at"], &json!(contact), &json!(null))
    );
    assert_eq!(acme.lone().await.get("/api/sms/messages").await.detail(403), "No company associated with user");
}

#[tokio::test]
async fn a_text_is_sent_by_the_companys_own_number_and_written_down() {
    let acme = World::new().await;
    let send = async |body: Value| acme.member.post("/api/sms/send", body).await;
    let to = number();
    assert!(send(json!({"to": to, "body": "Hi"})).await.detail(400).contains("not configured"));
    let account = Account::of(&acme).await;
    let contact = acme.contact("Ada", "L").await["id"].clone();
    let new =
        json!({"to": to[2..].to_owned(), "body": "Hi", "contact_id": contact, "template_id": "", "from_number": ""});
    let sent = send(new).await.expect(200);
    assert_eq!([&sent["success"], &sent["from"], &sent["to"]], [&json!(true), &json!(account.number), &json!(to)]);
    let asked = account.asked();
    assert_eq!([&asked[0]["From"], &asked[0]["To"], &asked[0]["Body"]], [&account.number, &to, "Hi"]);
    let row = &acme.admin.get("/api/sms/messages").await.expect(200)[0];
    assert_eq!([&row["status"], &row["direction"], &row["contact_id"]], [&json!("sent"), &json!("outbound"), &contact]);
    assert_eq!(acme.admin.get("/api/sms/phone-numbers").await.expect(200)[0]["total_messages_sent"], 1);
    assert_eq!(acme.value::<i64>("select count(*) from jobs where tenant_id = $1", &[&acme.company]).await, 0);

    let template = json!({"name": "Hello", "body": "Dear {name}, {unknown}", "is_static": false});
    let template = acme.admin.post("/api/sms/templates", template).await.expect(200);
    send(json!({"to": to, "template_id": template["id"], "variables": {"name": "Ada"}})).await.expect(200);
    assert_eq!(account.asked()[1]["Body"], "Dear Ada, {unknown}");
    // However often a long value occurs, no more is expanded than fits in a message.
    let many = json!({"name": "Many", "body": "{a}".repeat(500), "is_static": false});
    let many = acme.admin.post("/api/sms/templates", many).await.expect(200);
    let long = send(json!({"to": to, "template_id": many["id"], "variables": {"a": "x".repeat(900_000)}})).await;
    assert!(long.detail(400).contains("1600"));
    assert_eq!(acme.admin.get("/api/sms/templates").await.expect(200)[0]["usage_count"], 1);
    for (bad, status) in [
        (json!({"to": "12", "body": "Hi"}), 400),
        (json!({"to": to}), 400),
        (json!({"to": to, "template_id": Uuid::now_v7()}), 404),
        (json!({"to": to, "body": "Hi", "contact_id": Uuid::now_v7()}), 404),
        (json!({"to": to, "body": "Hi", "from_number": number()}), 400),
    ] {
        assert_eq!(send(bad.clone()).await.status, status, "{bad}");
    }
    assert_eq!(account.asked().len(), 2, "what was refused has not left");
}

#[tokio::test]
async fn a_provider_that_fails_is_told_of_and_not_asked_twice() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    for (n, (end, status, reason)) in [
        ("0001", 400, "not valid"),
        ("0002", 502, "no clear answer"),
        ("0003", 502, "no clear answer"),
        ("0004", 502, "nothing was sent"),
        ("0005", 400, "opted out"),
    ]
    .into_iter()
    .enumerate()
    {
        let to = format!("+1415555{end}");
        let detail = acme.admin.post("/api/sms/send", json!({"to": to, "body": "Hi"})).await.detail(status);
        assert!(detail.contains(reason), "{end}: {detail}");
        assert_eq!(account.asked().len(), n + 1, "{end}: asked once");
        assert_eq!(acme.admin.get("/api/sms/messages").await.expect(200)[0]["status"], "failed", "{end}");
    }
    let list = acme.admin.get("/api/suppressions/").await.expect(200);
    assert_eq!([&list[0]["address"], &list[0]["reason"]], [&json!("+14155550005"), &json!("provider")]);
    assert_eq!(acme.value::<i64>("select count(*) from jobs where tenant_id = $1", &[&acme.company]).await, 0);
}

/// What was sent is recorded, whatever happens to the sender.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_when_its_sender_has_logged_out_or_moved_or_is_suspended() {
    let (acme, other) = (World::new().await, World::new().await);
    let account = Account::of(&acme).await;
    for what in ["log out", "move", "suspend"] {
        let slow = account.is_slow();
        let sender = acme.person("company_user").await;
        let text = json!({"to": "+14155550100", "body": what});
        let going = tokio::spawn(async move { (sender.post("/api/sms/send", text).await, sender) });
        slow.asked().await;
        let id: Uuid = acme
            .value("select user_id from sms_messages where body = $1 and tenant_id = $2", &[&what, &acme.company])
            .await;
        match what {
            "log out" => {
                acme.db.execute("update users set token_version = token_version + 1 where id = $1", &[&id]).await
            }
            "move" => acme.db.execute("update users set company_id = $2 where id = $1", &[&id, &other.company]).await,
            _ => acme.db.execute("update companies set status = 'suspended' where id = $1", &[&acme.company]).await,
        }
        .unwrap();
        slow.release();
        let (answer, _) = going.await.unwrap();
        let sid = answer.expect(200)["message_sid"].clone();
        let kept = "select status || ' ' || twilio_sid from sms_messages where body = $1 and tenant_id = $2";
        assert_eq!(
            acme.value::<String>(kept, &[&what, &acme.company]).await,
            format!("sent {}", sid.as_str().unwrap())
        );
    }
}

/// Sending waits for an incoming text that is just being stored, and respects what it says.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_waits_for_the_stop_that_is_being_written_down() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let to = number();
    acme.admin.post("/api/sms/send", json!({"to": to, "body": "One"})).await.expect(200);
    let stop = format!(
        "begin;
         insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body)
           values ('{0}', '{0}', '{1}', 'inbound', 'received', '{to}', '{2}', 'STOP');
         insert into suppressions (tenant_id, company_id, user_id, channel, address, reason) values ('{0}', '{0}', '{1}', 'sms', '{to}', 'stop')",
        acme.company, acme.admin.id, account.number
    );
    acme.db.batch_execute(&stop).await.unwrap();
    let (sender, text) = (acme.member.clone(), json!({"to": to, "body": "Two"}));
    let going = tokio::spawn(async move { sender.post("/api/sms/send", text).await });
    let admin = ringfence::db::connect(&own.admin).await.unwrap();
    until("one that waits", async || waiting_for_locks(&admin).await == 1).await;
    acme.db.batch_execute("commit").await.unwrap();
    assert!(going.await.unwrap().detail(400).contains("opted out"));
    assert_eq!(account.asked().len(), 1);
}

#[tokio::test]
async fn a_scheduled_text_leaves_when_its_time_has_come_unless_it_is_cancelled() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let schedule = async |body: &str, at: &str| {
        let new = json!({"from_number": account.number, "to": number(), "body": body, "scheduled_at": at});
        acme.member.post("/api/sms/scheduled", new).await
    };
    assert_eq!(schedule("past", "2020-01-01T00:00:00").await.status, 400);
    let blank = acme.member.post("/api/sms/send", json!({"to": number(), "body": " \n"})).await;
    assert_eq!(schedule(" \n", "2999-01-01T00:00:00").await.detail(400), blank.detail(400));
    let kept = schedule("kept", "2999-01-01T00:00:00+02:00").await.expect(200);
    assert_eq!(kept["scheduled_at"], "2998-12-31T22:00:00");
    let cancelled = schedule("cancelled", "2999-01-01T00:00:00").await.expect(200);
    acme.member.delete(&format!("/sms/scheduled/{}", cancelled["id"].as_str().unwrap())).await.expect(200);
    let listed = acme.member.get("/api/sms/scheduled").await.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    // Its time comes.
    acme.make_due("scheduled_sms").await;
    until("it leaves", async || !account.asked().is_empty()).await;
    let bodies: Vec<String> = account.asked().iter().map(|form| form["Body"].clone()).collect();
    assert_eq!(bodies, ["kept"]);
    let answered = "select count(*) from sms_messages where status = 'sent'";
    until("an answer", async || acme.value::<i64>(answered, &[]).await == 1).await;
    let gone = acme.member.delete(&format!("/api/sms/scheduled/{}", kept["id"].as_str().unwrap())).await;
    assert_eq!((gone.status, gone.text.contains("already sent")), (400, true), "{}", gone.text);
    assert_eq!(acme.member.get("/api/sms/messages").await.expect(200)[0]["body"], "kept");

    // A text whose contact was deleted meanwhile is sent all the same.
    let contact = acme.contact("Ada", "L").await["id"].as_str().unwrap().to_owned();
    let named = json!({"from_number": account.number, "to": number(), "body": "named", "scheduled_at": "2999-01-01T00:00:00", "contact_id": contact});
    acme.member.post("/api/sms/scheduled", named).await.expect(200);
    acme.admin.delete(&format!("/api/contacts/{contact}")).await.expect(200);
    acme.make_due("scheduled_sms").await;
    until("it leaves", async || account.asked().len() == 2).await;

    // None is sent while texts are switched off.
    let late = schedule("late", "2999-01-01T00:00:00").await.expect(200);
    acme.admin.put("/api/twilio-settings/", json!({"sms_enabled": false})).await.expect(200);
    acme.make_due("scheduled_sms").await;
    let late: Uuid = late["id"].as_str().unwrap().parse().unwrap();
    let why = "select coalesce(error_message, '') from scheduled_sms where id = $1";
    until("it is given up", async || acme.value::<String>(why, &[&late]).await.contains("switched off")).await;
    assert_eq!(account.asked().len(), 2);
    // It is in no list any more: the user who scheduled it gets a notification.
    let to: String = acme.value("select to_address from scheduled_sms where id = $1", &[&late]).await;
    let told = acme.member.get("/api/notifications/").await.expect(200);
    let words = format!("The text to {to} failed: Text messages are switched off in the Twilio settings");
    assert_eq!(
        (told.as_array().unwrap().len(), &told[0]["message"], &told[0]["type"]),
        (1, &json!(words), &json!("error"))
    );
    assert_eq!(acme.admin.get("/api/notifications/").await.expect(200), json!([]));
    // Or the admins, if that user has left the company.
    let left = acme.person("company_user").await;
    let insert =
        "insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
        values ($1, $1, $2, $3, '+14155550199', 'Text', now())";
    acme.db.execute("update users set is_deleted = true where id = $1", &[&left.id]).await.unwrap();
    acme.db.execute(insert, &[&acme.company, &left.id, &account.number]).await.unwrap();
    until("an admin is told", async || {
        let told = acme.admin.get("/api/notifications/").await.expect(200);
        told[0]["message"].as_str().is_some_and(|message| message.starts_with("The text to +14155550199 failed"))
    })
    .await;
}

/// Whatever its outcome, it is in no list of scheduled texts any more.
#[tokio::test]
async fn who_scheduled_a_text_is_told_when_it_fails_at_twilio() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let told = async || acme.member.get("/api/notifications/").await.expect(200).as_array().unwrap().clone();
    let insert =
        "insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
        values ($1, $1, $2, $3, $4, 'Text', now())";
    // One is refused, the response to one is lost, and one is tried again.
    for (number, (to, why)) in
        [("+14155550001", "not valid"), ("+14155550003", "no clear answer"), ("+14155550004", "")].iter().enumerate()
    {
        acme.db.execute(insert, &[&acme.company, &acme.member.id, &account.number, to]).await.unwrap();
        let answered = "select count(*) from sms_messages where status = 'failed'";
        until("an answer", async || acme.value::<i64>(answered, &[]).await == number as i64 + 1).await;
        let told = told().await;
        assert_eq!(told.len(), (number + 1).min(2), "{told:?}");
        let message = told[0]["message"].as_str().unwrap();
        assert!(why.is_empty() || message.starts_with(&format!("The text to {to} failed: ")), "{message}");
        assert!(message.contains(why) || why.is_empty(), "{message}");
    }
    // The worker dies while it sends one.
    let sending = "with text as (insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body)
            values ($1, $1, $2, 'outbound', 'queued', $3, '+14155550100', 'Text') returning id)
        insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at, is_sent, sent_at, message_id)
        select $1, $1, $2, $3, '+14155550100', 'Text', now(), true, now(), id from text";
    acme.db.execute(sending, &[&acme.company, &acme.member.id, &account.number]).await.unwrap();
    acme.make_due("unanswered").await;
    until("it is told", async || told().await.len() == 3).await;
    let last = told().await[0]["message"].as_str().unwrap().to_owned();
    assert!(last.starts_with("The text to +14155550100 failed: ") && last.contains("may have arrived"), "{last}");
    assert_eq!(acme.admin.get("/api/notifications/").await.expect(200), json!([]));
}

/// Cancelling cannot stop a request to Twilio under way, but there is no further one.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_cancelled_while_twilio_is_asked_is_not_tried_again() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    for (to, status, kept) in [("+14155550004", "failed", [false, true]), ("+14155550009", "sent", [true, false])] {
        let new =
            json!({"from_number": account.number, "to": to, "body": "Text", "scheduled_at": "2999-01-01T00:00:00"});
        let path = acme.member.post("/api/sms/scheduled", new).await.expect(200)["id"].clone();
        let path = format!("/api/sms/scheduled/{}", path.as_str().unwrap());
        let slow = account.is_slow();
        acme.make_due("scheduled_sms").await;
        slow.asked().await;
        let cancelled = acme.member.delete(&path).await.detail(400);
        assert!(cancelled.contains("right now"), "{cancelled}");
        slow.release();
        let answered = "select count(*) from sms_messages where to_address = $1 and status = $2";
        until("an answer", async || acme.value::<i64>(answered, &[&to, &status]).await == 1).await;
        let row = "select is_sent, is_cancelled from scheduled_sms where to_address = $1";
        let row = acme.db.query_one(row, &[&to]).await.unwrap();
        assert_eq!([row.get::<_, bool>(0), row.get(1)], kept);
        assert_eq!(acme.value::<i64>("select count(*) from jobs", &[]).await, 0);
        assert_eq!(acme.member.delete(&path).await.status, if status == "sent" { 400 } else { 200 });
    }
    assert_eq!(account.asked().len(), 2);
    // Nor does a program that does not know such a cancellation undo it.
    for state in ["is_sent = true, is_cancelled = true", "is_sent = false, is_cancelled = false"] {
        let set = format!(
            "update scheduled_sms set {state} where id = (select max(id::text)::uuid from scheduled_sms) returning is_cancelled"
        );
        assert!(acme.value::<bool>(&set, &[]).await, "{state}");
    }
    assert_eq!(acme.member.get("/api/notifications/").await.expect(200), json!([]), "a message says what became of it");
}

#[tokio::test]
async fn a_scheduled_text_that_twilio_cannot_take_is_tried_again_for_an_hour() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let insert =
        "insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
        values ($1, $1, $2, $3, '+14155550004', 'Text', now() - interval '10 hours')";
    acme.db.execute(insert, &[&acme.company, &acme.member.id, &account.number]).await.unwrap();
    let asked = async |times: usize| {
        until("Twilio has been asked and has answered", async || {
            let failed = "select count(*) from sms_messages where status = 'failed'";
            account.asked().len() == times && acme.value::<i64>(failed, &[]).await == times as i64
        })
        .await;
    };
    // As after a night, a suspension, or a time without workers.
    asked(1).await;
    let soon = "select run_at - now() between interval '50 seconds' and interval '70 seconds' from jobs where kind = 'scheduled_sms'";
    assert!(acme.value::<bool>(soon, &[]).await);
    let begun =
        "update scheduled_sms set first_tried_at = now() - interval '10 minutes'; update jobs set run_at = now()";
    acme.db.batch_execute(begun).await.unwrap();
    asked(2).await;
    // The result and its consequences are one commit: the next attempt exists as soon as the failure.
    let waits = "select not is_sent and not is_cancelled and error_message is null and run_at - now() between interval '9 minutes' and interval '11 minutes'
        from scheduled_sms s join jobs j on j.record_id = s.id";
    assert!(acme.value::<bool>(waits, &[]).await);
    let late =
        "update scheduled_sms set first_tried_at = now() - interval '61 minutes'; update jobs set run_at = now()";
    acme.db.batch_execute(late).await.unwrap();
    asked(3).await;
    let given_up = "select not is_sent and is_cancelled and error_message like '%nothing was sent' from scheduled_sms";
    assert!(acme.value::<bool>(given_up, &[]).await);
    assert_eq!(acme.value::<i64>("select count(*) from jobs", &[]).await, 0);
}

/// An import adds numbers as they are.
#[tokio::test]
async fn a_scheduled_text_goes_to_a_number_however_it_is_written() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let (out, to) = (number(), number());
    let local = |number: &str| format!("({}) {}-{}", &number[2..5], &number[5..8], &number[8..]);
    acme.admin.post("/api/suppressions/", json!({"channel": "sms", "address": out})).await.expect(200);
    let known = "select app.is_suppressed('sms', $1)";
    assert!(acme.value::<bool>(known, &[&format!("+1 {}", local(&out))]).await);
    for to in [local(&out), local(&to), "nobody".to_owned()] {
        let insert =
            "insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
            values ($1, $1, $2, $3, $4, 'Text', now())";
        acme.db.execute(insert, &[&acme.company, &acme.member.id, &account.number, &to]).await.unwrap();
    }
    until("the end of all", async || acme.value::<i64>("select count(*) from jobs", &[]).await == 0).await;
    let asked = account.asked();
    assert_eq!((asked.len(), &asked[0]["To"]), (1, &to), "{asked:?}");
    let why = "select string_agg(error_message, ' ' order by id) from scheduled_sms where is_cancelled";
    let why: String = acme.value(why, &[]).await;
    assert!(why.contains("opted out") && why.contains("E.164"), "{why}");
}

/// Twilio accepted the text although its response was lost: the callback says so.
#[tokio::test]
async fn a_text_whose_answer_was_lost_is_as_its_callback_says() {
    let own = OwnDatabase::new().await;
    let base = start_server(config(), &own.api);
    let acme = World::alone_at(&own, &base).await;
    let account = Account::of(&acme).await;
    let insert =
        "insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
        values ($1, $1, $2, $3, '+14155550003', 'Text', now())";
    acme.db.execute(insert, &[&acme.company, &acme.member.id, &account.number]).await.unwrap();
    let failed = "select count(*) = 1 from scheduled_sms where is_cancelled and error_message like '%no clear answer%'";
    until("its answer was lost", async || acme.value::<bool>(failed, &[]).await).await;
    let tells = async |sid: &str, status: &str, code: &str| {
        let callback = account.asked().last().unwrap()["StatusCallback"].clone();
        let fields = [("MessageSid", sid), ("MessageStatus", status), ("ErrorCode", code)];
        let path = callback.strip_prefix(PUBLIC_URL).unwrap();
        account.tells_at(&base, path, &fields).await.expect(200);
        let texts = acme.admin.get("/api/sms/messages").await.expect(200);
        assert_eq!(texts[0]["error_message"], json!(null), "{status}");
        let counted = "select total_messages_sent from phone_numbers";
        (texts[0]["status"].as_str().unwrap().to_owned(), acme.value::<i32>(counted, &[]).await)
    };
    for status in ["queued", "sent", "delivered"] {
        let shown = if status == "queued" { "sent" } else { status };
        assert_eq!(tells("SM1", status, "").await, (shown.to_owned(), 1));
        let sent =
            "select is_sent and sent_at is not null and not is_cancelled and error_message is null from scheduled_sms";
        assert!(acme.value::<bool>(sent, &[]).await);
    }

    // A later correction by Twilio counts as well.
    acme.admin.post("/api/sms/send", json!({"to": "+14155550002", "body": "Hi"})).await.detail(502);
    assert_eq!(tells("SM2", "undelivered", "30003").await, ("undelivered".into(), 2));
    let code = "select error_code from sms_messages where twilio_sid = 'SM2'";
    assert_eq!(acme.value::<Option<String>>(code, &[]).await.as_deref(), Some("30003"));
    assert_eq!(tells("SM2", "delivered", "").await, ("delivered".into(), 2));
    assert_eq!(acme.value::<Option<String>>(code, &[]).await, None);

    // The callback can come before the response is lost.
    let slow = account.is_slow();
    let send = acme.admin.post("/api/sms/send", json!({"to": "+14155550002", "body": "Hi"}));
    let told = async {
        slow.asked().await;
        let told = tells("SM3", "sent", "").await;
        slow.release();
        told
    };
    let (answer, told) = tokio::join!(send, told);
    answer.detail(502);
    assert_eq!(told, ("sent".into(), 3));
    assert_eq!(tells("SM3", "sent", "").await, ("sent".into(), 3));
    acme.admin.post("/api/sms/send", json!({"to": "+14155550100", "body": "Hi"})).await.expect(200);
    assert_eq!(acme.value::<i32>("select total_messages_sent from phone_numbers", &[]).await, 4);
}

#[tokio::test]
async fn many_scheduled_texts_leave_once_each_though_workers_share_them() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    for _ in 0..2 {
        start_server(config(), &own.api);
    }
    let account = Account::of(&acme).await;
    let insert =
        "insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
        select $1, $1, $2, $3, '+1415555' || 2000 + n, 'Text ' || n, now() from generate_series(1, 200) n";
    acme.db.execute(insert, &[&acme.company, &acme.member.id, &account.number]).await.unwrap();
    let left = "select count(*) from jobs where tenant_id = $1";
    until("the end of the jobs", async || acme.value::<i64>(left, &[&acme.company]).await == 0).await;
    let mut bodies: Vec<String> = account.asked().iter().map(|form| form["Body"].clone()).collect();
    bodies.sort();
    let sent = bodies.len();
    bodies.dedup();
    assert_eq!((sent, bodies.len()), (200, 200), "each once");
    let sent = "select count(*) from scheduled_sms s join sms_messages m on m.id = s.message_id
        where s.tenant_id = $1 and s.is_sent and m.status = 'sent' and m.twilio_sid is not null";
    assert_eq!(acme.value::<i64>(sent, &[&acme.company]).await, 200);
}

#[tokio::test]
async fn a_text_whose_server_died_is_failed_and_not_sent_again() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let insert =
        "insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body)
        values ($1, $1, $2, 'outbound', 'queued', $3, '+14155552001', 'Hi') returning id";
    acme.db.execute(insert, &[&acme.company, &acme.member.id, &account.number]).await.unwrap();
    acme.make_due("unanswered").await;
    let left = "select count(*) from jobs where tenant_id = $1";
    until("the end of the jobs", async || acme.value::<i64>(left, &[&acme.company]).await == 0).await;
    let list = acme.admin.get("/api/sms/messages").await.expect(200);
    assert_eq!((&list[0]["status"], account.asked().len()), (&json!("failed"), 0));
}

#[tokio::test]
async fn nothing_is_sent_at_night() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let settings = json!({"settings": {"quiet_hours": night_in(&acme, "Asia/Kolkata").await}});
    acme.admin.put(&format!("/api/companies/{}", acme.company), settings).await.expect(200);
    let refused = acme.admin.post("/api/sms/send", json!({"to": "+919876543210", "body": "Hi"})).await.detail(400);
    assert!(refused.contains("night") && account.asked().is_empty(), "{refused}");
    acme.admin
        .put(&format!("/api/companies/{}", acme.company), json!({"settings": {"quiet_hours": null}}))
        .await
        .expect(200);
    acme.admin.post("/api/sms/send", json!({"to": "+919876543210", "body": "Hi"})).await.expect(200);
    let bad = json!({"settings": {"quiet_hours": {"from": "25:00", "to": "08:00"}}});
    assert_eq!(acme.admin.put(&format!("/api/companies/{}", acme.company), bad).await.status, 422);
}

#[tokio::test]
async fn it_is_night_where_the_recipient_can_be() {
    let acme = World::new().await;
    Account::of(&acme).await;
    // Quiet hours now in Hawaii, and nowhere else in the United States.
    let hours = "select to_char(t - interval '5 hours', 'HH24:MI'), to_char(t + interval '1 hour', 'HH24:MI')
        from (select now() at time zone 'Pacific/Honolulu') here (t)";
    let hours = acme.db.query_one(hours, &[]).await.unwrap();
    let settings =
        json!({"settings": {"quiet_hours": {"from": hours.get::<_, String>(0), "to": hours.get::<_, String>(1)}}});
    acme.admin.put(&format!("/api/companies/{}", acme.company), settings).await.expect(200);
    let send = async |to: &str| acme.admin.post("/api/sms/send", json!({"to": to, "body": "Aloha"})).await;
    assert!(send("+18085550123").await.detail(400).contains("night"));
    assert!(send("+18005550123").await.detail(400).contains("night"), "a number of no place");
    send("+14155550123").await.expect(200);

    let zones = async |number: &str| acme.value::<Vec<String>>("select app.zones_of_number($1)", &[&number]).await;
    for (number, expected) in [
        ("+14155550123", "America/New_York America/Chicago America/Denver America/Los_Angeles"),
        ("+19075550123", "America/Anchorage America/Adak"),
        ("+17095550123", "America/St_Johns America/Halifax"),
        ("+17875550123", "America/Puerto_Rico"),
        ("+18765550123", "America/Jamaica"),
        ("+77012345678", "Asia/Almaty"),
        ("+4915112345678", "Europe/Berlin"),
        ("+56912345678", "America/Santiago America/Punta_Arenas Pacific/Easter"),
        ("+593991234567", "America/Guayaquil Pacific/Galapagos"),
    ] {
        assert_eq!(zones(number).await.join(" "), expected, "{number}");
    }
    let russia = zones("+79161234567").await;
    assert!(
        ["Europe/Kaliningrad", "Asia/Kamchatka"].iter().all(|zone| russia.contains(&(*zone).to_owned())),
        "{russia:?}"
    );
    let unknown = "select app.zones_of_number('+99912345678') is null";
    assert!(acme.value::<bool>(unknown, &[]).await);
    // A name that PostgreSQL does not know would prevent every text to the number.
    let names = "select coalesce(string_agg(distinct zone, ' '), '') from generate_series(1, 9999) prefix, unnest(app.zones_of_number('+' || prefix || '0000000')) zone
        where zone not in (select name from pg_timezone_names)";
    assert_eq!(acme.value::<String>(names, &[]).await, "");
}

#[tokio::test]
async fn a_number_is_switched_by_either_name() {
    let acme = World::new().await;
    Account::of(&acme).await;
    let numbers = acme.member.get("/api/sms/phone-numbers").await.expect(200);
    let path = format!("/api/sms/phone-numbers/{}", numbers[0]["id"].as_str().unwrap());
    let switch = async |query: &str| acme.member.patch(&format!("{path}/{query}"), json!({})).await;
    for (query, is_active) in
        [("active=false", false), ("enabled=true", true), ("enabled=false&active=false", false), ("active=1", true)]
    {
        assert_eq!(switch(&format!("active?{query}")).await.expect(200)["is_active"], is_active, "{query}");
    }
    for query in ["active", "active?active=", "rotation", "rotation?enabled="] {
        let problem = &switch(query).await.expect(422)["detail"][0];
        assert_eq!(problem["loc"], json!(["query", "enabled"]), "{query}");
        assert_eq!(problem["msg"], "Field required", "{query}");
    }
}

/// A historical number belongs to its user: the company would not see replies to it.
#[tokio::test]
async fn nothing_leaves_by_a_historical_number() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let historical = [
        "insert into phone_numbers (tenant_id, company_id, user_id, phone_number, rotation_enabled, created_at)
            values ($1, null, $2, $3, true, now() - interval '1 year')",
        "insert into twilio_settings (tenant_id, company_id, user_id, account_sid, phone_number) values ($1, null, $2, 'ACold', $3)",
    ];
    let old = number();
    for insert in historical {
        acme.db.execute(insert, &[&acme.company, &acme.member.id, &old]).await.unwrap();
    }
    let post = async |path: &str, body: Value| acme.member.post(path, body).await;
    post("/api/sms/send", json!({"to": number(), "body": "Hi"})).await.expect(200);
    post("/api/calls/initiate", json!({"to": number()})).await.expect(200);
    assert!(account.asked().iter().all(|form| form["From"] == account.number), "{:?}", account.asked());
    let later = json!({"from_number": "", "to": number(), "body": "Hi", "scheduled_at": "2999-01-01T00:00:00"});
    post("/api/sms/scheduled", later).await.expect(200);
    let from: String =
        acme.value("select from_address from scheduled_sms where tenant_id = $1", &[&acme.company]).await;
    assert_eq!(from, account.number);
    let refused = [
        post("/api/sms/send", json!({"to": number(), "body": "Hi", "from_number": old})).await,
        post("/api/conversations/start", json!({"to_number": number()})).await,
    ];
    assert_eq!(refused.map(|answer| answer.status), [400, 400]);
    let off = "update phone_numbers set is_active = false where company_id = $1";
    acme.db.execute(off, &[&acme.company]).await.unwrap();
    let none = post("/api/sms/send", json!({"to": number(), "body": "Hi"})).await.detail(400);
    assert!(none.contains("No phone number available"), "{none}");
    assert_eq!(account.asked().len(), 2);
}

/// It would be told that the text was sent, and not be cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_text_that_begins_to_be_sent_is_cancelled_in_time() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let new =
        json!({"from_number": account.number, "to": number(), "body": "Text", "scheduled_at": "2999-01-01T00:00:00"});
    let id: Uuid =
        acme.member.post("/api/sms/scheduled", new).await.expect(200)["id"].as_str().unwrap().parse().unwrap();
    // As the worker that begins with it.
    acme.db.batch_execute("begin").await.unwrap();
    let begun = "with text as (insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body)
          select tenant_id, company_id, user_id, 'outbound', 'queued', from_address, to_address, body from scheduled_sms where id = $1 returning id)
        update scheduled_sms set is_sent = true, message_id = (select id from text) where id = $1";
    acme.db.execute(begun, &[&id]).await.unwrap();
    let member = acme.member.clone();
    let cancelling = tokio::spawn(async move { member.delete(&format!("/api/sms/scheduled/{id}")).await });
    waiting_for(&acme.db, &ringfence::db::connect(&admin_url()).await.unwrap()).await;
    acme.db.batch_execute("commit").await.unwrap();
    let told = cancelling.await.unwrap().detail(400);
    assert!(told.contains("being sent right now"), "{told}");
    assert!(acme.value::<bool>("select is_cancelled from scheduled_sms where id = $1", &[&id]).await);
}

/// What was due during a suspension goes on at its end, and not with what nobody expects any more.
#[tokio::test]
async fn a_company_that_is_opened_again_sends_what_is_due_and_nothing_old() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let mut ids = Vec::new();
    for body in ["old", "recent", "early"] {
        let new =
            json!({"from_number": account.number, "to": number(), "body": body, "scheduled_at": "2999-01-01T00:00:00"});
        ids.push(acme.member.post("/api/sms/scheduled", new).await.expect(200)["id"].as_str().unwrap().to_owned());
    }
    let set = async |status: &str| {
        acme.db.execute("update companies set status = $1", &[&status]).await.unwrap();
    };
    set("suspended").await;
    for (id, hours) in ids.iter().zip([25, 23]) {
        let due = "with due as (update scheduled_sms set scheduled_at = now() - make_interval(hours => $2) where id = $1::text::uuid)
            update jobs set run_at = now() where record_id = $1::text::uuid";
        acme.db.execute(due, &[id, &hours]).await.unwrap();
    }
    let waiting =
        "select count(*) from jobs where run_at between now() + interval '50 minutes' and now() + interval '1 hour'";
    until("they wait", async || acme.value::<i64>(waiting, &[]).await == 2).await;
    set("active").await;
    until("both are at their end", async || acme.value::<i64>("select count(*) from jobs", &[]).await == 1).await;
    until("one is sent", async || account.asked().len() == 1).await;
    assert_eq!(account.asked()[0]["Body"], "recent");
    let old = "select is_cancelled and not is_sent from scheduled_sms where id = $1::text::uuid";
    assert!(acme.value::<bool>(old, &[&ids[0]]).await);
    let told = acme.member.get("/api/notifications/").await.expect(200);
    assert!(told[0]["message"].as_str().unwrap().ends_with("It could not be sent within a day of its time"), "{told}");
    assert_eq!(acme.member.get("/api/sms/scheduled").await.expect(200)[0]["body"], "early");
}
