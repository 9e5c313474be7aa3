//! Campaigns (contract: bulk-email-campaigns): what is sent, to whom, and what is recorded; also when a worker dies.

use crate::support::{
    cluster::socket,
    command::configured,
    database::{OwnDatabase, enter, until, waiting_for_locks},
    log,
    proxy::{Mode, Proxy, Target},
    server::{config, start_server},
    smtp::{Inbox, Mail, kept_port},
    twilio::{mails, sendgrid_says, with_key},
    world::{Answer, Person, World, answer},
};
use ringfence::{
    clients,
    config::{Config, Switch},
    db, sql,
    wire::Time,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

fn relaying(inbox: &Inbox) -> Config {
    Config { relay_url: Some(inbox.url()), ..config() }
}

fn new(recipients: &[&str]) -> Value {
    json!({"campaign_name": "Spring", "subject": "Grüße", "body": "Hello", "html_body": "<html><body><p>Hello</p></body></html>",
        "recipients": recipients})
}

async fn create(who: &Person, campaign: Value) -> String {
    let made = who.post("/api/email-campaigns/", campaign).await.expect(201);
    format!("/api/email-campaigns/{}", made["id"].as_str().unwrap())
}

async fn send(who: &Person, path: &str) -> Answer {
    who.send("POST", &format!("{path}/send"), None).await
}

async fn becomes(who: &Person, path: &str, status: &str) -> Value {
    let shown = async || who.get(path).await.expect(200);
    until(&format!("the campaign is {status}"), async || shown().await["status"] == status).await;
    shown().await
}

async fn states(who: &Person, path: &str) -> BTreeMap<String, String> {
    let recipients = who.get(&format!("{path}/analytics")).await.expect(200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    recipients.as_array().unwrap().iter().map(|r| (text(&r["recipient_email"]), text(&r["state"]))).collect()
}

/// The path of the link in a mail between `before` and `end`, without the server's public URL.
fn link<'a>(mail: &'a str, before: &str, end: char) -> &'a str {
    let (_, rest) = mail.split_once(before).unwrap_or_else(|| panic!("no {before} in {mail}"));
    rest.split(end).next().unwrap().strip_prefix("https://crm.example").unwrap()
}

fn address(mail: &Mail) -> String {
    mail.to.trim().trim_matches(['<', '>']).to_owned()
}

#[tokio::test]
async fn a_campaign_is_made_shown_and_deleted() {
    let acme = World::new().await;
    let path = create(&acme.member, new(&["eve@x.example", "Ada@x.example", "ada@X.example ", "bob@x.example"])).await;
    let shown = acme.admin.get(&path).await.expect(200);
    assert_eq!(
        [&shown["status"], &shown["total_recipients"], &shown["total_sent"], &shown["sent_at"], &shown["scheduled_at"]],
        [&json!("draft"), &json!(3), &json!(0), &Value::Null, &Value::Null]
    );
    let recipients = acme.admin.get(&format!("{path}/analytics")).await.expect(200);
    let emails: Vec<&str> =
        recipients.as_array().unwrap().iter().map(|r| r["recipient_email"].as_str().unwrap()).collect();
    assert_eq!(emails, ["eve@x.example", "ada@x.example", "bob@x.example"], "as they were given");
    assert_eq!([&recipients[0]["campaign_id"], &recipients[0]["opened"]], [&shown["id"], &json!(false)]);
    let mut later = new(&["ada@x.example"]);
    later["scheduled_at"] = json!("2099-01-01T02:00:00+02:00");
    let scheduled = create(&acme.member, later).await;
    let shown = acme.admin.get(&scheduled).await.expect(200);
    assert_eq!([&shown["status"], &shown["scheduled_at"]], [&json!("scheduled"), &json!("2099-01-01T00:00:00")]);
    let mut late = new(&["ada@x.example"]);
    late["scheduled_at"] = json!(ringfence::wire::Time(jiff::Timestamp::now()));
    let late = acme.member.post("/api/email-campaigns/", late).await;
    assert_eq!(late.detail(400), "The time must be in the future");
    let list = acme.admin.get("/api/email-campaigns/?status=draft").await.expect(200);
    assert_eq!(list.as_array().unwrap().len(), 1);
    for query in ["?limit=0", "?limit=101", "?offset=-1", "?status=lost"] {
        assert_eq!(acme.admin.get(&format!("/api/email-campaigns/{query}")).await.status, 422, "{query}");
    }
    let many = vec!["a@x.example"; 10_001];
    for wrong in [vec![], vec!["nobody"], vec!["a@x.example\r\nbcc: b@x.example"], many] {
        assert_eq!(acme.admin.post("/api/email-campaigns/", new(&wrong)).await.status, 422);
    }
    assert!(send(&acme.member, &path).await.detail(400).contains("not configured"));
    acme.admin.delete(&path).await.expect(200);
    for gone in [acme.admin.get(&path).await, acme.admin.delete(&path).await, send(&acme.admin, &path).await] {
        assert_eq!(gone.detail(404), "Campaign not found");
    }
    acme.admin.delete(&scheduled).await.expect(200);
    let jobs = "select count(*) from jobs where tenant_id = $1";
    assert_eq!(acme.value::<i64>(jobs, &[&acme.company]).await, 0, "its job is gone with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_unsubscribe_with_one_click_and_are_left_out_from_then_on() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let acme = World::served(&own, relaying(&inbox)).await;
    let path = create(&acme.member, new(&["ada@x.example", "bob@x.example", "gone@x.example"])).await;
    acme.admin.post("/api/suppressions/", json!({"channel": "email", "address": "gone@x.example"})).await.expect(200);
    let answer_to_send = send(&acme.member, &path).await.expect(200);
    assert_eq!(answer_to_send["status"], "sending");
    let campaign = becomes(&acme.member, &path, "sent").await;
    assert_eq!([&campaign["total_sent"], &campaign["total_recipients"]], [&json!(2), &json!(3)]);
    assert!(campaign["sent_at"].is_string());
    assert_eq!(states(&acme.member, &path).await["gone@x.example"], "suppressed");
    for again in [send(&acme.member, &path).await, acme.member.delete(&path).await] {
        assert_eq!(again.status, 400);
    }
    let mut received = [inbox.next().await, inbox.next().await];
    received.sort_by_key(address);
    let [ada, bob] = &received;
    assert_eq!((address(ada), address(bob)), ("ada@x.example".into(), "bob@x.example".into()));
    assert!(ada.data.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{}", ada.data);
    let head = ada.data.replace("\r\n ", " ");
    let unsubscribe = link(&head, "List-Unsubscribe: <", '>');
    assert!(!bob.data.contains(unsubscribe.rsplit('/').next().unwrap()), "a token of each recipient's own");

    // Programs that scan a mail follow its links, which must not unsubscribe.
    let nobody = acme.member.with_token("").clone();
    let page = nobody.get(unsubscribe).await;
    assert_eq!(page.status, 200);
    assert!(
        page.text.contains("ada@x.example")
            && page.text.contains("<form method=\"post\">")
            && !page.text.contains("<script")
    );
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert_eq!(acme.admin.get("/api/suppressions/").await.expect(200).as_array().unwrap().len(), 1);

    // That it counts does not depend on the company's account, nor on what else is known of the address.
    let bounced = "insert into suppressions (tenant_id, company_id, user_id, channel, address, reason)
        values ($1, $1, $2, 'email', 'ada@x.example', 'bounce')";
    acme.db.execute(bounced, &[&acme.company, &acme.admin.id]).await.unwrap();
    let suspend = "update companies set status = $1";
    acme.db.execute(suspend, &[&"suspended"]).await.unwrap();
    assert_eq!(nobody.get(unsubscribe).await.status, 200);
    for _ in 0..2 {
        let click = nobody.request("post", unsubscribe).body("List-Unsubscribe=One-Click");
        assert_eq!(answer(click).await.status, 200);
    }
    acme.db.execute(suspend, &[&"active"]).await.unwrap();
    let list = acme.admin.get("/api/suppressions/").await.expect(200);
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!([&list[0]["address"], &list[0]["reason"]], [&json!("ada@x.example"), &json!("unsubscribe")]);
    let other = if unsubscribe.as_bytes()[30] == b'x' { 'y' } else { 'x' };
    let altered = format!("{}{other}{}", &unsubscribe[..30], &unsubscribe[31..]);
    for path in [altered.as_str(), "/api/unsubscribe/x", &unsubscribe[..unsubscribe.len() - 1]] {
        assert_eq!((nobody.get(path).await.status, nobody.post(path, json!({})).await.status), (404, 404));
    }

    let second = create(&acme.member, new(&["ada@x.example", "bob@x.example"])).await;
    assert_eq!(send(&acme.member, &second).await.expect(200)["message"], "Campaign is being sent");
    becomes(&acme.member, &second, "sent").await;
    let to: Vec<String> = inbox.rest().await.iter().map(address).collect();
    assert_eq!(to, ["bob@x.example"]);

    // The open is counted once for the campaign, and only for its recipient.
    let picture = link(&bob.data, "<img src=\"", '"');
    for _ in 0..2 {
        let shown = nobody.get(picture).await;
        assert_eq!((shown.status, &shown.headers["content-type"]), (200, &"image/gif".parse().unwrap()));
    }
    let campaign = acme.member.get(&path).await.expect(200);
    assert_eq!([&campaign["total_opened"], &campaign["total_delivered"]], [&json!(1), &json!(1)]);
    let recipients = acme.member.get(&format!("{path}/analytics")).await.expect(200);
    let opened: Vec<&Value> = recipients.as_array().unwrap().iter().filter(|r| r["opened"] == true).collect();
    assert_eq!((opened.len(), &opened[0]["recipient_email"]), (1, &json!("bob@x.example")));
    let token = unsubscribe.rsplit('/').next().unwrap();
    nobody.get(&format!("/api/emails/track/open/{token}")).await;
    assert_eq!(acme.member.get(&path).await.expect(200)["total_opened"], 1, "a token is for one purpose");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_campaign_leaves_while_its_recipients_could_not_unsubscribe() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let acme = World::served(&own, Config { worker: Switch::Off, ..relaying(&inbox) }).await;
    let path = create(&acme.member, new(&["ada@x.example"])).await;
    let nowhere = Config { public_url: "http://localhost:8000".into(), ..relaying(&inbox) };
    let nowhere = start_server(nowhere, &own.api);
    let refused = send(&acme.member.at(&nowhere), &path).await;
    assert!(refused.detail(400).contains("RINGFENCE_PUBLIC_URL"), "{}", refused.text);
    assert_eq!(acme.member.get(&path).await.expect(200)["status"], "draft");
    // Started on a server with a public URL, and processed by one without.
    send(&acme.member, &path).await.expect(200);
    paused(&acme, 26..=31).await;
    assert_eq!(acme.member.get(&path).await.expect(200)["status"], "sending");
    assert!(inbox.rest().await.is_empty());

    let development =
        Config { public_url: "http://localhost:8000/".into(), development: Some(true), ..relaying(&inbox) };
    let there = acme.member.at(&start_server(Config { worker: Switch::Off, ..development.clone() }, &own.api));
    let path = create(&there, new(&["ada@x.example"])).await;
    send(&there, &path).await.expect(200);
    assert_eq!(development.unsubscribe_base(), Some("http://localhost:8000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_campaign_waits_for_its_time_and_a_deleted_one_never_leaves() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let acme = World::served(&own, relaying(&inbox)).await;
    let mut later = new(&["ada@x.example"]);
    later["scheduled_at"] = json!("2099-01-01T00:00:00Z");
    (later["body"], later["html_body"]) = (json!("Grüße"), Value::Null);
    let kept = create(&acme.member, later.clone()).await;
    let deleted = create(&acme.member, later).await;
    let kept_up = send(&acme.member, &kept).await.expect(200);
    assert_eq!([&kept_up["status"], &kept_up["message"]], ["scheduled", "Campaign is scheduled"]);
    acme.member.delete(&deleted).await.expect(200);
    let due = "update campaigns set scheduled_at = now(); update jobs set run_at = now()";
    acme.db.batch_execute(due).await.unwrap();
    let sent = becomes(&acme.member, &kept, "sent").await;
    assert_eq!(sent["total_sent"], 1);
    let mail = inbox.next().await.data;
    assert!(mail.contains("\r\nMIME-Version: 1.0\r\n") && mail.contains("Content-Type: text/plain"), "{mail}");
    assert!(inbox.rest().await.is_empty());
}

/// An imported campaign has a time before it is started.
#[tokio::test]
async fn a_campaign_that_gets_its_time_before_it_is_started_waits_for_it() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let acme = World::served(&own, relaying(&inbox)).await;
    let path = create(&acme.member, new(&["ada@x.example"])).await;
    let planned = "update campaigns set scheduled_at = '2099-01-01 00:00Z' where tenant_id = $1";
    acme.db.execute(planned, &[&acme.company]).await.unwrap();
    assert_eq!(send(&acme.member, &path).await.expect(200)["status"], "scheduled");
    let waits = "select count(*) from jobs where tenant_id = $1 and kind = 'campaign' and run_at = '2099-01-01 00:00Z'";
    assert_eq!(acme.value::<i64>(waits, &[&acme.company]).await, 1);
    // A campaign without a company would never be processed.
    let historical =
        "insert into campaigns (tenant_id, company_id, user_id, campaign_name, subject, body, status, total_recipients)
        values ($1, null, $2, 'C', 'S', 'B', 'draft', 0) returning id";
    let historical: uuid::Uuid = acme.value(historical, &[&acme.company, &acme.member.id]).await;
    let path = format!("/api/email-campaigns/{historical}");
    assert!(send(&acme.member, &path).await.detail(400).contains("no company yet"));
    assert_eq!(acme.member.get(&path).await.expect(200)["status"], "draft");
}

/// A job that runs too early, as after a clock was set back, leaves the campaign as it is and waits for its time.
#[tokio::test(flavor = "multi_thread")]
async fn an_early_campaign_is_kept_until_its_time() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let acme = World::served(&own, relaying(&inbox)).await;
    let mut later = new(&["ada@x.example"]);
    later["scheduled_at"] = json!("2099-01-01T00:00:00Z");
    let path = create(&acme.member, later).await;
    acme.db.batch_execute("update jobs set run_at = now() - interval '1 second'").await.unwrap();
    let waits = "select count(*) from jobs where kind = 'campaign' and run_at = '2099-01-01 00:00Z'";
    until("its time in the queue", async || acme.value::<i64>(waits, &[]).await == 1).await;
    assert_eq!(acme.member.get(&path).await.expect(200)["status"], "scheduled");
    assert_eq!(states(&acme.member, &path).await["ada@x.example"], "pending");
    assert!(inbox.rest().await.is_empty());
    acme.db.batch_execute("update campaigns set scheduled_at = now(); update jobs set run_at = now()").await.unwrap();
    becomes(&acme.member, &path, "sent").await;
    inbox.next().await;
    assert!(inbox.rest().await.is_empty());
}

/// A provider's response that came while the database was away is recorded once it is back; the mail is not sent again.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_written_down_is_tried_again_and_counts_once() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::held_after(0).await);
    let acme = World::served(&own, relaying(&inbox)).await;
    let path = create(&acme.member, new(&["ada@x.example", "bob@x.example"])).await;
    send(&acme.member, &path).await.expect(200);
    inbox.next().await;
    inbox.next().await;
    let sending = "select count(*) from campaign_recipients where state = 'sending'";
    assert_eq!(acme.value::<i64>(sending, &[]).await, 2, "the provider has not answered yet");
    let cluster = ringfence::db::connect(&crate::support::server::admin_url()).await.unwrap();
    let allow = |yes: bool| format!("alter database {} allow_connections {yes}", own.name);
    cluster.batch_execute(&allow(false)).await.unwrap();
    let end =
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1 and usename = 'ringfence_api'";
    cluster.execute(end, &[&own.name]).await.unwrap();
    // Only the program knows that a connection was refused, and logs it.
    inbox.release();
    until("it is tried in vain", async || log::has_warned("cannot be written down yet")).await;
    // Longer than a request would wait.
    tokio::time::sleep(db::REQUEST_PATIENCE + Duration::from_secs(2)).await;
    assert_eq!(acme.value::<i64>(sending, &[]).await, 2, "nobody could write the answers down");
    cluster.batch_execute(&allow(true)).await.unwrap();
    let campaign = becomes(&acme.member, &path, "sent").await;
    assert_eq!([&campaign["total_sent"], &campaign["status"]], [&json!(2), &json!("sent")]);
    assert!(states(&acme.member, &path).await.values().all(|state| state == "sent"));
    assert!(inbox.rest().await.is_empty(), "nobody is sent to again");

    // The same results once more, as from a worker that does not know that they were recorded.
    let mut api = db::connect(&own.api).await.unwrap();
    let tx = api.transaction().await.unwrap();
    tx.batch_execute(&enter(acme.company, acme.member.id)).await.unwrap();
    let rows = tx.query("select id, tried_at from campaign_recipients", &[]).await.unwrap();
    let ids: Vec<uuid::Uuid> = rows.iter().map(|row| row.get(0)).collect();
    let claimed: Vec<ringfence::wire::Time> = rows.iter().map(|row| row.get(1)).collect();
    let (failed, none) = (vec!["failed"; ids.len()], vec![None::<String>; ids.len()]);
    let again = ringfence::sql!("jobs/campaign_answered").text;
    assert!(tx.query(again, &[&ids, &claimed, &failed, &none, &none]).await.unwrap().is_empty());
    tx.commit().await.unwrap();
    assert!(states(&acme.member, &path).await.values().all(|state| state == "sent"));

    // And as from one that returns them, while another worker has claimed them.
    let claimed_anew = "update campaign_recipients set state = 'sending', tried_at = now()";
    acme.db.batch_execute(claimed_anew).await.unwrap();
    let tx = api.transaction().await.unwrap();
    tx.batch_execute(&enter(acme.company, acme.member.id)).await.unwrap();
    let later = vec!["later"; ids.len()];
    assert!(tx.query(again, &[&ids, &claimed, &later, &none, &none]).await.unwrap().is_empty());
}

/// A worker that does not learn whether its claim succeeded has sent nothing to those recipients.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_not_heard_of_is_given_back() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let at: tokio_postgres::Config = own.admin.parse().unwrap();
    let database = Proxy::to(Target::Socket(socket(&own.admin).join(format!(".s.PGSQL.{}", at.get_ports()[0])))).await;
    let url = format!("postgres://ringfence_api@127.0.0.1:{}/{}?sslmode=disable", database.port, own.name);
    let acme = World::alone_at(&own, &start_server(relaying(&inbox), &url)).await;
    let wait = "create function wait_for_test() returns trigger language plpgsql security definer as $$
        begin perform pg_advisory_xact_lock(1); return new; end $$;
        create trigger wait_for_test before update on campaign_recipients for each row
          when (old.state = 'pending' and new.state = 'sending') execute function wait_for_test();
        select pg_advisory_lock(1)";
    acme.db.batch_execute(wait).await.unwrap();
    let path = create(&acme.member, new(&["ada@x.example", "bob@x.example"])).await;
    send(&acme.member, &path).await.expect(200);
    until("the worker claims", async || waiting_for_locks(&acme.db).await > 0).await;
    database.set(Mode::Mute);
    acme.db.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
    // The time of the claim stays when it is given back, which may be done at once.
    let claimed = "select count(*) from campaign_recipients where tried_at is not null";
    until("they are claimed", async || acme.value::<i64>(claimed, &[]).await == 2).await;
    database.set(Mode::Pass);
    let campaign = becomes(&acme.member, &path, "sent").await;
    assert_eq!(campaign["total_sent"], json!(2), "{:?}", states(&acme.member, &path).await);
    assert_eq!(inbox.rest().await.len(), 2, "each has one mail");
    let attempts = "select max(attempts)::bigint from campaign_recipients";
    assert_eq!(acme.value::<i64>(attempts, &[]).await, 1);
}

/// The late response to an abandoned mail must not be read as the response to another mail.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_given_up_takes_its_connection_along() {
    let inbox = Inbox::held_after(0).await;
    let config = Config { smtp_url: Some(inbox.url()), ..config() };
    let mailer = ringfence::clients::mail::Mailer::new(&config).unwrap();
    let send = |to: &'static str| mailer.send(to, "S", "Hi".into());
    let given_up = tokio::select! {
        sent = send("a@x.example") => panic!("{sent:?}"),
        mail = inbox.next() => mail.connection,
    };
    inbox.release();
    let mut others = Vec::new();
    for _ in 0..2 {
        send("b@x.example").await.unwrap();
        let mail = inbox.next().await;
        assert!(mail.to.contains("b@x.example") && !mail.to.contains("a@x.example"), "{mail:?}");
        others.push(mail.connection);
    }
    assert_ne!(others[0], given_up);
    assert_eq!(others[1], others[0], "one over which all was said is used again");
}

/// A mail whose transmission fails before its end has certainly not arrived.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_serves_few_connections_gets_all_of_a_campaign() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    inbox.serves(8);
    let acme = World::served(&own, relaying(&inbox)).await;
    let recipients: Vec<_> = (0..20).map(|n| format!("{n}@x.example")).collect();
    let path = create(&acme.member, new(&recipients.iter().map(String::as_str).collect::<Vec<_>>())).await;
    send(&acme.member, &path).await.expect(200);
    until("all are sent", async || {
        // Only while it waits, for each claim of a job is one of its ten.
        let is_sending = acme.value("select exists (select from campaign_recipients where state = 'sending')", &[]);
        if !is_sending.await {
            acme.make_due("campaign").await;
        }
        acme.member.get(&path).await.expect(200)["status"] == "sent"
    })
    .await;
    assert!(states(&acme.member, &path).await.values().all(|state| state == "sent"));
    assert_eq!(inbox.rest().await.len(), 20);
}

/// Nor is a refused sender any recipient's fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_whose_sender_the_relay_refuses_goes_on_when_it_does_not() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    inbox.says_to_senders("550 5.4.5 quota exceeded");
    let acme = World::served(&own, relaying(&inbox)).await;
    let path = create(&acme.member, new(&["ada@x.example", "bob@x.example"])).await;
    send(&acme.member, &path).await.expect(200);
    becomes(&acme.member, &path, "failed").await;
    let why = acme.value::<String>("select error_message from campaigns", &[]).await;
    assert!(why.contains("takes no mail from this sender"), "{why}");
    assert!(states(&acme.member, &path).await.values().all(|state| state == "pending"));
    inbox.says_to_senders("250 ok");
    send(&acme.member, &path).await.expect(200);
    assert_eq!(becomes(&acme.member, &path, "sent").await["total_sent"], 2);
}

/// Servers judge senders when they are told the recipient, and count mails there.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_goes_on_when_what_its_recipients_were_refused_for_is_over() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let acme = World::served(&own, relaying(&inbox)).await;
    let mut so_far = 0;
    for (number, accepted, answer, why) in [
        (20, 0, "553 5.1.8 Domain of sender address does not exist", "takes no mail from this sender"),
        (150, 0, "553 5.7.1 <ann@acme.example>: Sender address rejected: not owned by user", "553 5.7.1"),
        (100, 30, "550 5.7.1 Domain has exceeded the max emails per hour", "550 5.7.1"),
        (100, 70, "550 Domain has exceeded the max emails per hour", "(550)"),
        (3, 0, "554 5.7.1 Relay access denied", "554 5.7.1"),
    ] {
        inbox.accepts(accepted, answer);
        let recipients: Vec<_> = (0..number).map(|n| format!("{n}@x.example")).collect();
        let path = create(&acme.member, new(&recipients.iter().map(String::as_str).collect::<Vec<_>>())).await;
        send(&acme.member, &path).await.expect(200);
        let failed = becomes(&acme.member, &path, "failed").await;
        assert_eq!(failed["total_sent"], accepted, "{answer}");
        assert!(failed["error_message"].as_str().unwrap().contains(why), "{failed}");
        let waiting = states(&acme.member, &path).await.values().filter(|state| *state == "pending").count();
        assert_eq!(waiting, number - accepted, "{answer}");
        let told = acme.member.get("/api/notifications/").await.expect(200)[0].clone();
        assert!(told["message"].as_str().unwrap().contains(why), "{told}");
        inbox.accepts(usize::MAX, "");
        send(&acme.member, &path).await.expect(200);
        let sent = becomes(&acme.member, &path, "sent").await;
        assert_eq!([&sent["total_sent"], &sent["error_message"]], [&json!(number), &Value::Null]);
        let received = inbox.rest().await;
        assert_eq!(received.iter().map(address).collect::<BTreeSet<_>>().len(), number, "{answer}");
        assert_eq!(received.len(), number, "nobody is sent to twice");
        so_far += received.len();
    }
    let tried = "select sum(attempts)::bigint from campaign_recipients";
    assert_eq!(acme.value::<i64>(tried, &[]).await, so_far as i64, "what was no recipient's matter does not count");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_a_recipients_own_matter_stops_no_campaign() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let acme = World::served(&own, relaying(&inbox)).await;
    let recipients: Vec<_> = (0..20).map(|n| format!("{n}@x.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    // One after the other is unknown; and a few may not be written to, whose server does not say why.
    for (accepted, answer) in [(5, "550 5.1.1 No such user"), (15, "550 5.7.1 Not here")] {
        inbox.accepts(accepted, answer);
        let path = create(&acme.member, new(&recipients)).await;
        send(&acme.member, &path).await.expect(200);
        assert_eq!(becomes(&acme.member, &path, "sent").await["total_sent"], accepted);
        let failed = states(&acme.member, &path).await.values().filter(|state| *state == "failed").count();
        assert_eq!(failed, 20 - accepted, "{answer}");
    }
    inbox.accepts(0, "550 5.1.1 No such user");
    let path = create(&acme.member, new(&recipients)).await;
    send(&acme.member, &path).await.expect(200);
    becomes(&acme.member, &path, "failed").await;
    let again = send(&acme.member, &path).await.detail(400);
    assert!(again.starts_with("This campaign has failed for all of its recipients"), "{again}");
}

/// A single mail is tried once, and its sender is told the codes.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_refused_says_by_which_code() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let acme = World::served(&own, relaying(&inbox)).await;
    for (answer, why) in [
        ("550 5.7.1 no", "did not accept it (550 5.7.1)"),
        ("550 no", "did not accept it (550)"),
        ("550 5.1.1 no", "did not accept it (550 5.1.1)"),
        ("553 5.1.7 no", "takes no mail from this sender now"),
    ] {
        inbox.accepts(0, answer);
        let mail = json!({"to": "ada@x.example", "subject": "S", "body": "B"});
        let refused = acme.member.post("/api/emails/send", mail).await.detail(502);
        assert!(refused.ends_with(why), "{refused}");
    }
    assert!(inbox.rest().await.is_empty());
}

/// A server that keeps a mail and answers that it does not.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_known_to_have_the_mail_gets_no_second_one() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::answering("451 later").await);
    let acme = World::served(&own, relaying(&inbox)).await;
    let path = create(&acme.member, new(&["ada@x.example"])).await;
    send(&acme.member, &path).await.expect(200);
    let mail = inbox.next().await;
    let waits = "select exists (select from campaign_recipients where attempts = 1 and state = 'pending')";
    until("an answer", async || acme.value::<bool>(waits, &[]).await).await;
    let nobody = acme.member.with_token("");
    assert_eq!(nobody.get(link(&mail.data, "<img src=\"", '"')).await.status, 200);
    assert_eq!(states(&acme.member, &path).await["ada@x.example"], "sent");
    acme.make_due("campaign").await;
    assert_eq!(becomes(&acme.member, &path, "sent").await["total_sent"], 1);
    // Of one of whom an older program has noted only that it arrived, too.
    let arrived =
        "update campaign_recipients set state = 'pending', sent_at = null; update campaigns set status = 'sending'";
    acme.db.batch_execute(arrived).await.unwrap();
    assert_eq!(becomes(&acme.member, &path, "sent").await["total_sent"], 1);
    assert!(inbox.rest().await.is_empty());

    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let key = with_key(&acme).await;
    sendgrid_says(&key, 429, "");
    let path = create(&acme.member, new(&["ada@x.example", "bob@x.example"])).await;
    send(&acme.member, &path).await.expect(200);
    paused(&acme, 20..=31).await;
    let hook = acme.admin.send("POST", "/api/emails/webhook/settings", None).await.expect(200);
    let url = hook["events_url"].as_str().unwrap().strip_prefix("https://crm.example").unwrap();
    let ada: uuid::Uuid = acme.value("select id from campaign_recipients where email = 'ada@x.example'", &[]).await;
    let event = json!([{"event": "delivered", "email": "ada@x.example", "timestamp": 1_760_000_000, "mail": ada}]);
    acme.member.with_token("").post(url, event).await.expect(200);
    sendgrid_says(&key, 429, "nobody");
    acme.make_due("campaign").await;
    assert_eq!(becomes(&acme.member, &path, "sent").await["total_sent"], 2);
    let to: Vec<Value> = mails(&key).iter().map(|mail| mail["personalizations"][0]["to"][0]["email"].clone()).collect();
    assert_eq!(to, ["bob@x.example"]);
}

/// They may have the mail, and wait for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_doubt_when_a_campaign_fails_is_closed() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    inbox.says_to_senders("550 5.4.5 quota exceeded");
    let acme = World::served(&own, relaying(&inbox)).await;
    let path = create(&acme.member, new(&["ada@x.example", "bob@x.example"])).await;
    // As a worker that died a minute ago leaves them.
    let doubtful =
        "update campaign_recipients set state = 'sending', tried_at = now() - interval '1 minute', attempts = 1
        where email = 'ada@x.example'";
    acme.db.batch_execute(doubtful).await.unwrap();
    send(&acme.member, &path).await.expect(200);
    becomes(&acme.member, &path, "failed").await;
    let jobs = "select count(*) from jobs where kind = 'campaign'";
    acme.make_due("campaign").await;
    // A claim ends within five minutes.
    let put_off = "select run_at > now() + interval '5 minutes' from jobs where kind = 'campaign'";
    until("a pause", async || acme.value::<bool>(put_off, &[]).await).await;
    assert_eq!(states(&acme.member, &path).await["ada@x.example"], "sending", "the answer may still be written down");
    let later = "update campaign_recipients set tried_at = now() - interval '6 minutes' where state = 'sending'";
    acme.db.batch_execute(later).await.unwrap();
    acme.make_due("campaign").await;
    until("the end of the job", async || acme.value::<i64>(jobs, &[]).await == 0).await;
    let known = states(&acme.member, &path).await;
    assert_eq!([&known["ada@x.example"], &known["bob@x.example"]], ["failed", "pending"]);
    inbox.says_to_senders("250 ok");
    send(&acme.member, &path).await.expect(200);
    assert_eq!(becomes(&acme.member, &path, "sent").await["total_sent"], 1);
}

/// A server that accepts the connection and stays silent counts as unreachable.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_says_nothing_is_not_waited_for() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", silent.local_addr().unwrap());
    let config = Config { smtp_url: Some(url.clone()), relay_url: Some(url), ..config() };
    let mailer = ringfence::clients::mail::Mailer::new(&config).unwrap();
    let start = Instant::now();
    let letter = ringfence::clients::mail::OutgoingEmail {
        from: "a@x.example".into(),
        reply_to: "a@x.example".into(),
        to: "b@x.example".into(),
        text: Some("Hi".into()),
        ..Default::default()
    };
    let (there, sent, relayed) =
        tokio::join!(mailer.is_relay_there(), mailer.send("b@x.example", "S", "Hi".into()), mailer.relay(&letter));
    assert!(!there && relayed.is_err());
    assert!(matches!(sent, Err(ringfence::Error::BadGateway(_))));
    assert!(start.elapsed() < Duration::from_secs(45), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_waits_for_a_relay_that_is_away() {
    let own = OwnDatabase::new().await;
    let (socket, port) = kept_port();
    let relay = Some(format!("smtp://127.0.0.1:{port}"));
    let acme = World::served(&own, Config { relay_url: relay, ..config() }).await;
    let path = create(&acme.member, new(&["ada@x.example"])).await;
    send(&acme.member, &path).await.expect(200);
    paused(&acme, 26..=31).await;
    assert_eq!(states(&acme.member, &path).await["ada@x.example"], "pending", "nobody was asked for");
    let inbox = Inbox::at(socket);
    acme.make_due("campaign").await;
    becomes(&acme.member, &path, "sent").await;
    inbox.next().await;
    assert!(inbox.rest().await.is_empty());
}

/// SendGrid accepts a mail before it looks at the recipient, so a temporary refusal says nothing about the recipient.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_waits_for_sendgrid_however_long_that_takes() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let key = with_key(&acme).await;
    sendgrid_says(&key, 429, "");
    let path = create(&acme.member, new(&["ada@x.example", "bob@x.example"])).await;
    send(&acme.member, &path).await.expect(200);
    for _ in 0..7 {
        paused(&acme, 26..=31).await;
        acme.make_due("campaign").await;
    }
    // Pauses get longer, up to ten minutes.
    for (minutes, seconds) in [(4, 240), (50, 600)] {
        acme.db.execute("update campaigns set sent_at = now() - make_interval(mins => $1)", &[&minutes]).await.unwrap();
        acme.make_due("campaign").await;
        until("a pause", async || acme.value::<i32>(PAUSE, &[]).await > seconds - 10).await;
        assert!(acme.value::<i32>(PAUSE, &[]).await <= seconds + 10);
    }
    assert!(states(&acme.member, &path).await.values().all(|state| state == "pending"));
    sendgrid_says(&key, 429, "nobody");
    acme.make_due("campaign").await;
    assert_eq!(becomes(&acme.member, &path, "sent").await["total_sent"], 2);
    assert_eq!(mails(&key).len(), 2);
}

/// A key that is refused, an account without credits and an unknown IP pool are no recipient's fault either.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_failed_goes_on_with_those_who_wait() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let key = with_key(&acme).await;
    for status in [400, 401, 403] {
        sendgrid_says(&key, status, "bob");
        let before = mails(&key).len();
        let path = create(&acme.member, new(&["ada@x.example", "bob@x.example"])).await;
        send(&acme.member, &path).await.expect(200);
        assert_eq!(becomes(&acme.member, &path, "failed").await["total_sent"], 1);
        let known = states(&acme.member, &path).await;
        assert_eq!([&known["ada@x.example"], &known["bob@x.example"]], ["sent", "pending"]);
        let why = acme.admin.get(&path).await.expect(200)["error_message"].as_str().unwrap().to_owned();
        assert!(why.contains("SendGrid's own words"), "{why}");
        let told = acme.member.get("/api/notifications/").await.expect(200)[0].clone();
        assert_eq!(told["message"], format!("The campaign \"Spring\" failed: {why}"));
        assert_eq!(acme.admin.get("/api/notifications/").await.expect(200), json!([]), "its author is there");
        sendgrid_says(&key, status, "nobody");
        assert_eq!(send(&acme.member, &path).await.expect(200)["status"], "sending");
        let sent = becomes(&acme.member, &path, "sent").await;
        assert_eq!([&sent["total_sent"], &sent["error_message"]], [&json!(2), &Value::Null]);
        assert_eq!(mails(&key).len(), before + 2, "each has one mail");
        assert_eq!(send(&acme.member, &path).await.detail(400), "This campaign has been sent");
    }
    let path = create(&acme.member, new(&["refused@x.example"])).await;
    send(&acme.member, &path).await.expect(200);
    becomes(&acme.member, &path, "failed").await;
    let again = send(&acme.member, &path).await.detail(400);
    assert!(again.starts_with("This campaign has failed for all of its recipients"), "nobody waits: {again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_nothing_is_asked_again_and_one_that_refuses_is_not() {
    let (own, busy) = (OwnDatabase::new().await, Inbox::answering("451 later").await);
    let acme = World::served(&own, relaying(&busy)).await;
    let path = create(&acme.member, new(&["ada@x.example"])).await;
    send(&acme.member, &path).await.expect(200);
    for attempt in 1..=6 {
        busy.next().await;
        let asked = "select exists (select from campaign_recipients where attempts = $1 and state <> 'sending')";
        until("an answer", async || acme.value::<bool>(asked, &[&attempt]).await).await;
        paused(&acme, 20..=31).await;
        assert_eq!(states(&acme.member, &path).await["ada@x.example"], "pending");
        if attempt == 6 {
            let first = "update campaign_recipients set deferred_since = now() - interval '5 days'";
            acme.db.batch_execute(first).await.unwrap();
        }
        acme.make_due("campaign").await;
    }
    let failed = becomes(&acme.member, &path, "failed").await;
    assert_eq!(failed["total_sent"], 0);
    busy.next().await;
    assert!(busy.rest().await.is_empty(), "five days at most");

    let (own, refusing) = (OwnDatabase::new().await, Inbox::answering("550 5.1.1 no").await);
    let acme = World::served(&own, relaying(&refusing)).await;
    let path = create(&acme.member, new(&["ada@x.example"])).await;
    send(&acme.member, &path).await.expect(200);
    becomes(&acme.member, &path, "failed").await;
    assert_eq!(states(&acme.member, &path).await["ada@x.example"], "failed");
    refusing.next().await;
    assert!(refusing.rest().await.is_empty());
}

/// The seconds until a campaign continues or, while a worker has claimed it, until that claim ends.
const PAUSE: &str = "select coalesce(max(extract(epoch from run_at - now()))::int, 0) from jobs where kind = 'campaign' and attempts = 0";

async fn paused(acme: &World, seconds: RangeInclusive<i32>) {
    until("a pause", async || seconds.contains(&acme.value::<i32>(PAUSE, &[]).await)).await;
}

/// A recipient whom a relay defers because it has accepted too many mails is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_takes_so_many_at_a_time_gets_them_all() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let acme = World::served(&own, relaying(&inbox)).await;
    let all: Vec<String> = (0..70).map(|n| format!("r{n}@x.example")).collect();
    let path = create(&acme.member, new(&all.iter().map(String::as_str).collect::<Vec<_>>())).await;
    inbox.takes(3);
    send(&acme.member, &path).await.expect(200);
    let mut sent = 0;
    paused(&acme, 1..=5).await;
    // Four times it accepts some, and four times none.
    for takes in [3, 0].repeat(4) {
        sent += takes;
        paused(&acme, 1..=31).await;
        let (mut pending, states) = (0, states(&acme.member, &path).await);
        states.values().for_each(|state| pending += usize::from(state == "pending"));
        assert_eq!(pending, 70 - sent, "{states:?}");
        inbox.takes(if takes == 0 { 3 } else { 0 });
        acme.db.batch_execute("update jobs set run_at = now()").await.unwrap();
    }
    paused(&acme, 1..=31).await;
    inbox.takes(1000);
    acme.db.batch_execute("update jobs set run_at = now()").await.unwrap();
    assert_eq!(becomes(&acme.member, &path, "sent").await["total_sent"], 70);
    let once: BTreeSet<String> = inbox.rest().await.iter().map(address).collect();
    assert_eq!(once, all.into_iter().collect());
}

/// A relay may be slow, because it scans a mail while the sender waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_has_time_to_look_at_a_mail() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::held_after(0).await);
    let acme = World::served(&own, relaying(&inbox)).await;
    let path = create(&acme.member, new(&["ada@x.example"])).await;
    send(&acme.member, &path).await.expect(200);
    inbox.next().await;
    tokio::time::sleep(clients::TIMEOUT + Duration::from_secs(2)).await;
    inbox.release();
    assert_eq!(becomes(&acme.member, &path, "sent").await["total_sent"], 1);
    assert!(inbox.rest().await.is_empty());
}

/// Starts `ringfence worker` as a process of its own.
fn worker(own: &OwnDatabase, inbox: &Inbox) -> Child {
    worker_with(own, &inbox.url())
}

/// The same with the relay at this address, or none.
fn worker_with(own: &OwnDatabase, relay: &str) -> Child {
    let mut command = configured(own, &["worker"]);
    command.env_remove("DATABASE_ADMIN_URL").env("RINGFENCE_PUBLIC_URL", config().public_url);
    command.env("RINGFENCE_RELAY_URL", relay).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_loses_nothing_and_sends_nothing_twice() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::held_after(100).await);
    let acme = World::served(&own, Config { worker: Switch::Off, ..relaying(&inbox) }).await;
    let all: BTreeSet<String> = (0..300).map(|n| format!("r{n}@x.example")).collect();
    let path = create(&acme.member, new(&all.iter().map(String::as_str).collect::<Vec<_>>())).await;
    send(&acme.member, &path).await.expect(200);

    let mut first = worker(&own, &inbox);
    // One of the mails being sent waits for its response, so nothing is recorded of any of them.
    let mut received = Vec::new();
    while received.len() <= 100 {
        received.push(address(&inbox.next().await));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    inbox.release();
    let sending = "select count(*) from campaign_recipients where state = 'sending'";
    let in_flight: i64 = acme.value(sending, &[]).await;
    assert!((1..=64).contains(&in_flight), "{in_flight} were in doubt");

    // They are left alone while a worker without its database might still record their results; the others are sent.
    let later = |minutes: u8| {
        format!(
            "update campaign_recipients set tried_at = tried_at - interval '{minutes} minutes' where state = 'sending'"
        )
    };
    acme.db.batch_execute(&later(2)).await.unwrap();
    acme.make_due("campaign").await;
    let mut second = worker(&own, &inbox);
    let left = "select count(*) from campaign_recipients where state not in ('sent', 'failed')";
    until("all others have their state", async || acme.value::<i64>(left, &[]).await == in_flight).await;
    assert_eq!(acme.value::<i64>(sending, &[]).await, in_flight);
    acme.db.batch_execute(&later(5)).await.unwrap();
    until("they have their state", async || {
        // A worker that has the job at this moment may postpone it.
        acme.make_due("campaign").await;
        acme.value::<i64>(left, &[]).await == 0
    })
    .await;
    let campaign = becomes(&acme.member, &path, "sent").await;
    second.kill().unwrap();
    second.wait().unwrap();

    received.extend(inbox.rest().await.iter().map(address));
    let once: BTreeSet<String> = received.iter().cloned().collect();
    assert_eq!(once.len(), received.len(), "an address was sent to twice");
    let states = states(&acme.member, &path).await;
    assert_eq!(states.keys().cloned().collect::<BTreeSet<_>>(), all);
    let with = |state: &str| -> BTreeSet<String> {
        states.iter().filter(|(_, s)| *s == state).map(|(address, _)| address.clone()).collect()
    };
    let (sent, failed) = (with("sent"), with("failed"));
    assert_eq!(sent.len() + failed.len(), 300, "everybody has a state");
    assert_eq!(failed.len() as i64, in_flight, "who was in doubt is failed, and nobody else");
    assert!(sent.is_subset(&once), "what counts as sent has arrived");
    assert!(all.difference(&failed).all(|address| once.contains(address)));
    assert_eq!(campaign["total_sent"], json!(sent.len()));
    let why: String =
        acme.value("select distinct error_message from campaign_recipients where state = 'failed'", &[]).await;
    assert!(why.contains("may have arrived"), "{why}");
}

/// Nobody waits there who could be sent to, so nothing but its job would ever touch those who were being sent to.
#[tokio::test(flavor = "multi_thread")]
async fn whom_a_killed_worker_was_sending_to_has_a_state_though_the_campaign_fails() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::held_after(0).await);
    let acme = World::served(&own, Config { worker: Switch::Off, ..relaying(&inbox) }).await;
    let all: Vec<String> = (0..20).map(|n| format!("r{n}@x.example")).collect();
    let path = create(&acme.member, new(&all.iter().map(String::as_str).collect::<Vec<_>>())).await;
    send(&acme.member, &path).await.expect(200);
    let mut first = worker(&own, &inbox);
    for _ in &all {
        inbox.next().await;
    }
    first.kill().unwrap();
    first.wait().unwrap();
    acme.make_due("campaign").await;
    let mut second = worker_with(&own, "");
    let failed = becomes(&acme.member, &path, "failed").await;
    assert_eq!(failed["error_message"], "SendGrid is not configured");
    let with = "select count(*) from campaign_recipients where state = $1";
    assert_eq!(acme.value::<i64>(with, &[&"sending"]).await, 20, "it may still be written down what became of them");
    let age = "update campaign_recipients set tried_at = tried_at - interval '1 hour'";
    acme.db.batch_execute(age).await.unwrap();
    until("they have their state", async || {
        // A worker that has the job at this moment may postpone it.
        acme.make_due("campaign").await;
        acme.value::<i64>(with, &[&"failed"]).await == 20
    })
    .await;
    until("the end of its job", async || {
        acme.make_due("campaign").await;
        acme.value::<i64>("select count(*) from jobs", &[]).await == 0
    })
    .await;
    second.kill().unwrap();
    second.wait().unwrap();
    assert_eq!(acme.member.get(&path).await.expect(200)["status"], "failed");
    assert!(inbox.rest().await.is_empty());
}

/// Nobody expects it any more, and whoever does sends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_could_not_begin_for_a_day_fails() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let acme = World::served(&own, relaying(&inbox)).await;
    let mut later = new(&["ada@x.example"]);
    later["scheduled_at"] = json!("2099-01-01T00:00:00Z");
    let path = create(&acme.member, later).await;
    let due = "update campaigns set scheduled_at = now() - interval '25 hours'; update jobs set run_at = now()";
    acme.db.batch_execute(due).await.unwrap();
    let failed = becomes(&acme.member, &path, "failed").await;
    let why = failed["error_message"].as_str().unwrap();
    assert!(why.contains("within a day of its time"), "{why}");
    let told = acme.member.get("/api/notifications/").await.expect(200)[0].clone();
    assert_eq!(told["message"], format!("The campaign \"Spring\" failed: {why}"));
    assert_eq!(acme.value::<i64>("select count(*) from jobs", &[]).await, 0);
    assert!(inbox.rest().await.is_empty());
    send(&acme.member, &path).await.expect(200);
    assert_eq!(becomes(&acme.member, &path, "sent").await["total_sent"], 1);
}

/// As the events of SendGrid are, so that neither waits for the other one.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_written_down_in_the_order_of_their_recipients() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    create(&acme.member, new(&["ada@x.example", "bob@x.example"])).await;
    acme.db.batch_execute("update campaign_recipients set state = 'sending', tried_at = now()").await.unwrap();
    let rows = acme.db.query("select id, tried_at from campaign_recipients order by id desc", &[]).await.unwrap();
    let ids: Vec<uuid::Uuid> = rows.iter().map(|row| row.get(0)).collect();
    let claimed: Vec<Time> = rows.iter().map(|row| row.get(1)).collect();
    let (last, first) = (ids[0], ids[1]);
    // A scan of the table comes to it at the end.
    acme.db.execute("update campaign_recipients set attempts = 1 where id = $1", &[&first]).await.unwrap();
    acme.db.batch_execute("begin").await.unwrap();
    acme.db.execute("select from campaign_recipients where id = $1 for update", &[&first]).await.unwrap();
    let (context, api) = (enter(acme.company, acme.member.id), own.api.clone());
    let writing = tokio::spawn(async move {
        let mut api = db::connect(&api).await.unwrap();
        let tx = api.transaction().await.unwrap();
        tx.batch_execute(&context).await.unwrap();
        let (sent, none) = (["sent"; 2], [None::<&str>; 2]);
        let params: db::Params<'_> = &[&ids, &claimed, &sent.as_slice(), &none.as_slice(), &none.as_slice()];
        let written = tx.query(sql!("jobs/campaign_answered").text, params).await.unwrap();
        tx.commit().await.unwrap();
        written.len()
    });
    let watch = db::connect(&own.admin).await.unwrap();
    until("it waits", async || waiting_for_locks(&watch).await == 1).await;
    let is_free = "select from campaign_recipients where id = $1 for update skip locked";
    assert_eq!(watch.execute(is_free, &[&last]).await.unwrap(), 1);
    acme.db.batch_execute("commit").await.unwrap();
    assert_eq!(writing.await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn sendgrid_sends_and_tells_what_became_of_each() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let key = with_key(&acme).await;
    let mut campaign = new(&["ada@x.example", "bob@x.example", "eve@x.example", "refused@x.example"]);
    campaign["ip_pool"] = json!("news");
    let path = create(&acme.member, campaign).await;
    send(&acme.member, &path).await.expect(200);
    let campaign = becomes(&acme.member, &path, "sent").await;
    assert_eq!(campaign["total_sent"], 3);
    let mails = mails(&key);
    assert_eq!(mails.len(), 4);
    let row = |who: &str| {
        let mail =
            mails.iter().find(|m| m["personalizations"][0]["to"][0]["email"] == format!("{who}@x.example")).unwrap();
        assert_eq!([&mail["ip_pool_name"], &mail["content"][0]["type"]], [&json!("news"), &json!("text/plain")]);
        assert!(
            mail["headers"]["List-Unsubscribe"].as_str().unwrap().starts_with("<https://crm.example/api/unsubscribe/")
        );
        mail["custom_args"]["mail"].clone()
    };
    let hook = acme.admin.send("POST", "/api/emails/webhook/settings", None).await.expect(200);
    let url = hook["events_url"].as_str().unwrap().strip_prefix("https://crm.example").unwrap();
    let event = |who: &str, event: &str| json!({"event": event, "email": format!("{who}@x.example"), "timestamp": 1_760_000_000, "mail": row(who), "sg_event_id": "x"});
    let events = json!([event("ada", "click"), event("ada", "delivered"), event("bob", "open"), event("bob", "spamreport"),
        event("eve", "bounce"), {"event": "delivered"}, event("ada", "processed"), "nonsense",
        {"event": "delivered", "email": "ada@x.example", "timestamp": -62_200_000_000_i64, "mail": uuid::Uuid::new_v4()}]);
    let nobody = acme.member.with_token("");
    // For a suspended company, opt-outs count at once, and the other events when they are repeated.
    acme.db.execute("update companies set status = 'suspended'", &[]).await.unwrap();
    nobody.post(url, events.clone()).await.expect(200);
    let known: Vec<i64> = acme
        .db
        .query("select (select count(*) from suppressions), count(clicked_at) from campaign_recipients", &[])
        .await
        .unwrap()
        .iter()
        .flat_map(|row| [row.get(0), row.get(1)])
        .collect();
    assert_eq!(known, [2, 0]);
    acme.db.execute("update companies set status = 'active'", &[]).await.unwrap();
    for _ in 0..2 {
        nobody.post(url, events.clone()).await.expect(200);
    }
    let campaign = acme.member.get(&path).await.expect(200);
    let totals =
        ["sent", "delivered", "opened", "clicked", "bounced"].map(|what| campaign[format!("total_{what}")].clone());
    assert_eq!(totals, [3, 2, 2, 1, 1].map(|n| json!(n)));
    let list = acme.admin.get("/api/suppressions/").await.expect(200);
    let mut reasons: Vec<(&str, &str)> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["address"].as_str().unwrap(), s["reason"].as_str().unwrap()))
        .collect();
    reasons.sort();
    assert_eq!(reasons, [("bob@x.example", "complaint"), ("eve@x.example", "bounce")]);
    assert_eq!(nobody.post(&format!("{url}x"), events).await.status, 403);
}

/// A campaign that failed by its responses has not failed once its mails are known to have arrived.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_whose_mails_arrive_has_not_failed() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let key = with_key(&acme).await;
    let hook = acme.admin.send("POST", "/api/emails/webhook/settings", None).await.expect(200);
    let url = hook["events_url"].as_str().unwrap().strip_prefix("https://crm.example").unwrap();
    let nobody = acme.member.with_token("");
    sendgrid_says(&key, 500, "");
    let path = create(&acme.member, new(&["ada@x.example", "bob@x.example"])).await;
    send(&acme.member, &path).await.expect(200);
    let failed = becomes(&acme.member, &path, "failed").await;
    assert_eq!(
        [&failed["total_sent"], &failed["error_message"]],
        [&json!(0), &json!("None of the mails could be sent")]
    );
    let arrives = async |who: &str| {
        let row: uuid::Uuid = acme.value("select id from campaign_recipients where email = $1", &[&who]).await;
        let event = json!([{"event": "delivered", "email": who, "timestamp": 1_760_000_000, "mail": row}]);
        nobody.post(url, event).await.expect(200);
    };
    for who in ["ada@x.example", "bob@x.example"] {
        arrives(who).await;
        let campaign = acme.member.get(&path).await.expect(200);
        assert_eq!([&campaign["status"], &campaign["error_message"]], [&json!("sent"), &Value::Null]);
    }
    let recipients = acme.member.get(&format!("{path}/analytics")).await.expect(200);
    for recipient in recipients.as_array().unwrap() {
        assert_eq!([&recipient["state"], &recipient["error_message"]], [&json!("sent"), &Value::Null]);
    }
    // The state of a campaign with pending recipients does not change.
    let waiting = "update campaigns set status = 'failed', total_sent = 0;
        update campaign_recipients set state = case when email like 'ada%' then 'failed' else 'pending' end, delivered_at = null";
    acme.db.batch_execute(waiting).await.unwrap();
    arrives("ada@x.example").await;
    assert_eq!(states(&acme.member, &path).await["ada@x.example"], "sent");
    assert_eq!(acme.member.get(&path).await.expect(200)["status"], "failed");
}

/// By the clock that makes its job: otherwise the campaign would have no job, and wait for ever.
#[tokio::test]
async fn a_campaign_whose_time_comes_before_it_is_made_is_not_made() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    let mut api = db::connect(&own.api).await.unwrap();
    let tx = api.transaction().await.unwrap();
    tx.batch_execute(&enter(acme.company, acme.member.id)).await.unwrap();
    let (none, to) = (None::<&str>, vec!["ada@x.example"]);
    for (seconds, made) in [(-1, 0), (60, 1)] {
        let at = Time(jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds));
        let ids = vec![uuid::Uuid::now_v7()];
        let params: db::Params<'_> = &[&"C", &"S", &"B", &none, &none, &at, &to, &ids];
        let rows = tx.query(sql!("campaigns/create").text, params).await.unwrap();
        assert_eq!(rows.len(), made, "{seconds}");
    }
    tx.commit().await.unwrap();
    let with_a_job = "select count(*) = count(j.id) and count(*) = 1 from campaigns c
        left join jobs j on j.record_id = c.id and j.run_at = c.scheduled_at";
    assert!(acme.value::<bool>(with_a_job, &[]).await);
}

/// Mail must not be sent in the name of a user who has left, nor with their address at another company; runs would make
/// rows that nobody owns. Their campaign belongs to whoever sends it, or to an admin when its time comes.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_in_the_company_any_more_sends_nothing_for_it() {
    let (own, inbox) = (OwnDatabase::new().await, Inbox::open().await);
    let base = start_server(relaying(&inbox), &own.api);
    let acme = World::alone_at(&own, &base).await;
    let other = World::within(&own.admin, "Other").await;
    let mut people = Vec::new();
    for _ in 0..3 {
        people.push(acme.person("company_user").await.at(&base));
    }
    let mut paths = Vec::new();
    for person in &people {
        let path = create(person, new(&["ada@x.example"])).await;
        let actions = json!([
            {"type": "send_email", "config": {"to": "ada@x.example", "subject": "S", "body": "{{ user.email }}"}},
            {"type": "create_task", "config": {"subject": "By {{ user.email|default('nobody') }}"}},
            {"type": "create_deal", "config": {"title": "T", "value": 1}}]);
        let name = format!("W {}", person.id);
        let workflow = json!({"name": name, "trigger_type": "contact_created", "is_active": true, "actions": actions});
        let workflow = person.post("/api/workflows/", workflow).await.expect(200);
        paths.push((path, format!("/api/workflows/{}", workflow["id"].as_str().unwrap())));
    }
    let mut later = new(&["ada@x.example"]);
    later["scheduled_at"] = json!("2099-01-01T00:00:00Z");
    let (due, kept) = (create(&people[0], later.clone()).await, create(&people[0], later).await);
    acme.db.execute("select app.assign_company($1, $2)", &[&people[0].id, &other.company]).await.unwrap();
    acme.admin.delete(&format!("/api/users/{}", people[1].id)).await.expect(200);
    people[2].delete("/api/users/me").await.expect(200);
    acme.contact("Ada", "Lovelace").await;
    let time = "update campaigns set scheduled_at = now() where id = $1::text::uuid";
    let id = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    acme.db.execute(time, &[&id(&due)]).await.unwrap();
    acme.db.execute("update jobs set run_at = now() where record_id = $1::text::uuid", &[&id(&due)]).await.unwrap();
    assert_eq!(becomes(&acme.admin, &due, "sent").await["total_sent"], 1);
    assert!(inbox.next().await.from.contains(&acme.admin.email));
    // Whoever sends it becomes its sender.
    assert_eq!(send(&acme.admin, &kept).await.expect(200)["status"], "scheduled");
    let whose = "select user_id from jobs where record_id = $1::text::uuid";
    assert_eq!(acme.value::<uuid::Uuid>(whose, &[&id(&kept)]).await, acme.admin.id);
    for (campaign, _) in &paths {
        send(&acme.admin, campaign).await.expect(200);
        assert_eq!(becomes(&acme.admin, campaign, "sent").await["total_sent"], 1);
        assert!(inbox.next().await.from.contains(&acme.admin.email));
    }
    for (_, workflow) in paths {
        until("the end of the run", async || {
            let runs = acme.admin.get(&format!("{workflow}/executions")).await.expect(200);
            runs[0]["status"] == "partial"
        })
        .await;
        let run = acme.admin.get(&format!("{workflow}/executions")).await.expect(200);
        let run = format!("{workflow}/executions/{}", run[0]["id"].as_str().unwrap());
        let steps = acme.admin.get(&run).await.expect(200)["steps"].clone();
        assert!(steps[0]["error_message"].as_str().unwrap().contains("not in the company any more"), "{steps}");
        assert_eq!(steps[1]["input"]["subject"], "By nobody");
        assert_eq!([&steps[1]["error_message"], &steps[2]["error_message"]], ["Owner not found"; 2]);
    }
    let made = "select (select count(*) from activities) + (select count(*) from deals)";
    assert_eq!(acme.value::<i64>(made, &[]).await, 0);
    assert!(inbox.rest().await.is_empty());
}
