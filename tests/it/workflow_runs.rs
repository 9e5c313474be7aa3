//! Workflow runs: what starts them, what each action does, and that nothing is done twice or forgotten.

use crate::support::{
    command::{configured, serve},
    database::{OwnDatabase, enter, until, waiting_for, waiting_for_locks},
    server::{api_url, config, start_server},
    smtp::{Inbox, kept_port},
    tls::Authority,
    twilio::{Account, mails, number},
    world::{Person, World, night_in, workflow},
};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, response::IntoResponse, routing::post};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use hyper::service::service_fn;
use ringfence::{
    App,
    clients::webhook::Webhooks,
    config::{Config, Switch},
    db::{self, Db},
    jobs::{self, forget_runs},
};
use serde_json::{Value, json};
use sha2::Sha256;
use std::{
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::ServiceExt;
use uuid::Uuid;

async fn runs(who: &Person, workflow: &str) -> Vec<Value> {
    who.get(&format!("{workflow}/executions?limit=1000")).await.expect(200).as_array().unwrap().clone()
}

/// The steps of the newest run.
async fn steps(who: &Person, workflow: &str) -> Vec<Value> {
    let run = runs(who, workflow).await[0]["id"].as_str().unwrap().to_owned();
    who.get(&format!("{workflow}/executions/{run}")).await.expect(200)["steps"].as_array().unwrap().clone()
}

/// Waits until all runs of a workflow have ended; returns their statuses, newest first.
async fn ended(who: &Person, workflow: &str, count: usize) -> Vec<String> {
    until("the end of the runs", async || {
        let runs = runs(who, workflow).await;
        runs.len() >= count && runs.iter().all(|run| run["status"] != "running")
    })
    .await;
    let runs = runs(who, workflow).await;
    assert_eq!(runs.len(), count, "{runs:?}");
    runs.iter().map(|run| run["status"].as_str().unwrap().to_owned()).collect()
}

async fn deal(who: &Person, contact: &Value) -> String {
    let new = json!({"title": Uuid::new_v4(), "value": 1500, "stage_id": "Lead", "contact": contact["id"]});
    who.post("/api/deals/", new).await.expect(200)["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_trigger_starts_each_workflow_once() {
    let own = OwnDatabase::new().await;
    let base = start_server(config(), &own.api);
    let (acme, other) = (World::alone_at(&own, &base).await, World::alone_at(&own, &base).await);
    let account = Account::of(&acme).await;
    let triggers = [
        ("deal_created", 1),
        ("deal_stage_changed", 1),
        ("deal_won", 1),
        ("deal_lost", 1),
        ("contact_created", 4),
        ("activity_completed", 1),
        ("email_opened", 1),
        ("document_signed", 1),
        ("inbound_sms", 1),
    ];
    let mut listening = Vec::new();
    for (trigger, count) in triggers {
        // Two of the company, one of them another user's; one that is off; one of another company.
        listening.push((workflow(&acme.admin, trigger, json!([])).await, trigger, count));
        listening.push((workflow(&acme.member, trigger, json!([])).await, trigger, count));
        let off = json!({"name": Uuid::new_v4(), "trigger_type": trigger});
        let off = acme.admin.post("/api/workflows/", off).await.expect(200);
        listening.push((format!("/api/workflows/{}", off["id"].as_str().unwrap()), trigger, 0));
        workflow(&other.admin, trigger, json!([])).await;
    }
    let contact = acme.contact("Ada", "L").await;
    let csv = "email,first_name\na@import.example,A\nb@import.example,B\nc@import.example,C\na@import.example,Again\n";
    let imported = acme.member.upload("/api/contacts/upload-csv", "c.csv", "text/csv", csv).await.expect(200);
    assert_eq!(imported["created_count"], 3);
    let deal = deal(&acme.member, &contact).await;
    acme.member.patch(&format!("/api/deals/{deal}/move"), json!({"to_stage_id": "proposal"})).await.expect(200);
    acme.member.patch(&format!("/api/deals/{deal}"), json!({"status": "won"})).await.expect(200);
    acme.member.patch(&format!("/api/deals/{deal}"), json!({"status": "lost"})).await.expect(200);
    let activity = acme.member.post("/api/activities/", json!({"type": "call", "subject": "S"})).await.expect(200);
    let path = format!("/api/activities/{}/complete", activity["id"].as_str().unwrap());
    acme.member.send("PATCH", &path, None).await.expect(200);
    let signed = json!({"document_name": "Contract", "contact_id": contact["id"]});
    acme.member.post("/api/files/webhook/document-signed", signed).await.expect(200);
    let text = [("From", "+14155550199"), ("To", &account.number), ("Body", "Is it mine?"), ("MessageSid", "SMx")];
    for _ in 0..2 {
        assert_eq!(account.tells_at(&base, "/api/sms/webhook/incoming", &text).await.status, 200);
    }
    let mut db = ringfence::db::connect(&own.api).await.unwrap();
    let tx = db.transaction().await.unwrap();
    tx.batch_execute(&enter(acme.company, acme.member.id)).await.unwrap();
    tx.execute("select app.fire('email_opened', $1, '{}')", &[&Uuid::now_v7()]).await.unwrap();
    tx.commit().await.unwrap();

    for (workflow, trigger, count) in &listening {
        let statuses = ended(&acme.admin, workflow, *count).await;
        assert!(statuses.iter().all(|status| status == "success"), "{trigger}");
        let seen = acme.admin.get(workflow).await.expect(200);
        assert_eq!(seen["executions_count"], json!(count), "{trigger}");
    }
    let data =
        &runs(&acme.admin, &listening.iter().find(|(_, t, _)| *t == "inbound_sms").unwrap().0).await[0]["trigger_data"];
    assert_eq!(
        [&data["from"], &data["body"], &data["event"]],
        [&json!("+14155550199"), &json!("Is it mine?"), &json!("inbound_sms")]
    );
    let data =
        &runs(&acme.admin, &listening.iter().find(|(_, t, _)| *t == "deal_won").unwrap().0).await[0]["trigger_data"];
    assert_eq!(data["deal_id"], json!(deal));
    let theirs: i64 =
        other.value("select count(*) from workflow_executions where tenant_id = $1", &[&other.company]).await;
    assert_eq!(theirs, 0);
    let events: i64 = acme.value("select count(*) from workflow_events where tenant_id = $1", &[&acme.company]).await;
    assert_eq!(events, 12);
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_written() {
    let acme = World::new().await;
    workflow(&acme.admin, "deal_won", json!([])).await;
    acme.contact("Ada", "L").await;
    let rows: i64 = acme.value("select count(*) from workflow_events where tenant_id = $1", &[&acme.company]).await;
    assert_eq!(rows, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_does_what_it_says() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let key = format!("SG.{}", Uuid::new_v4().simple());
    acme.admin.put("/api/twilio-settings/", json!({"sendgrid_api_key": key})).await.expect(200);
    let (phone, email) = (number(), format!("{}@example.com", Uuid::new_v4().simple()));
    let new = json!({"first_name": "Ada", "last_name": "<i>L", "email": email, "phone": phone, "company": "Engines"});
    let contact = acme.admin.post("/api/contacts/", new).await.expect(200);
    let deal = deal(&acme.admin, &contact).await;
    let path = workflow(&acme.member, "deal_stage_changed", json!([
        {"type": "send_sms", "config": {"body": "Hi {{ contact.first_name }}, now {{ deal.stage_name }}"}},
        {"type": "send_email", "config": {"subject": "{{ deal.stage_name }}\r\nBcc: x@y.example", "body": "<p>{{ contact.last_name }} {{ deal.value|int }}</p>"}},
        {"type": "create_task", "config": {"subject": "Write to {{ contact.name }}", "due_in_hours": 24, "priority": 2}},
        {"type": "create_deal", "config": {"title": "Next of {{ deal.id }}", "value": "{{ deal.value + 500 }}", "stage": "Qualified"}},
        {"type": "update_field", "config": {"field": "probability", "value": 80}},
        {"type": "update_field", "config": {"field": "stage", "value": "Negotiation"}, "conditions": [{"field": "deal.value", "operator": "less_than", "value": 10}]},
        {"type": "update_field", "config": {"on": "contact", "field": "status", "value": "CUSTOMER"}},
        {"type": "add_tag", "config": {"tag": "{{ deal.stage_name|lower }}"}},
        {"type": "send_notification", "config": {"title": "{{ deal.title }} moved", "users": [acme.admin.id, acme.member.id]}},
        {"type": "update_field", "config": {"field": "probability", "value": "many"}},
        {"type": "add_tag", "config": {"tag": "after"}},
    ])).await;
    acme.admin.patch(&format!("/api/deals/{deal}/move"), json!({"to_stage_id": "proposal"})).await.expect(200);
    assert_eq!(ended(&acme.admin, &path, 1).await, ["partial"], "a step that fails does not stop the others");
    let run = &runs(&acme.admin, &path).await[0];
    let steps = steps(&acme.admin, &path).await;
    assert_eq!([&run["success_count"], &run["failure_count"]], [&json!(9), &json!(1)], "{steps:#?}");
    let statuses: Vec<&str> = steps.iter().map(|s| s["status"].as_str().unwrap()).collect();
    let (s, k, f) = ("success", "skipped", "failed");
    assert_eq!(statuses, [s, s, s, s, s, k, s, s, s, f, s], "{steps:#?}");
    assert_eq!(
        steps[9]["error_message"],
        "A value cannot be stored: it is too large or has characters that text cannot have"
    );

    let asked = account.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!([&asked[0]["To"], &asked[0]["Body"]], [&phone, "Hi Ada, now Proposal"]);
    let mail = &mails(&key)[0];
    assert_eq!(mails(&key).len(), 1);
    // The text is followed by the tracking pixel.
    let html = mail["content"][0]["value"].as_str().unwrap().split("<img ").next().unwrap();
    assert_eq!(html, "<p>&lt;i&gt;L 1500</p>");
    assert_eq!(
        [&mail["subject"], &mail["personalizations"][0]["to"][0]["email"]],
        [&json!("Proposal  Bcc: x@y.example"), &json!(email)]
    );
    let task = &acme.member.get("/api/activities/").await.expect(200)[0];
    assert_eq!(
        [&task["subject"], &task["type"], &task["priority"], &task["contact_id"], &task["deal_id"], &task["owner_id"]],
        [&json!("Write to Ada <i>L"), &json!("task"), &json!(2), &contact["id"], &json!(deal), &json!(acme.member.id)]
    );
    let deals = acme.admin.get("/api/deals/").await.expect(200);
    let (first, next) = (&deals[0], &deals[1]);
    assert_eq!(
        [&next["value"], &next["stage_name"], &next["contact_id"], &next["owner_id"]],
        [&json!(2000.0), &json!("Qualified"), &contact["id"], &json!(acme.member.id)]
    );
    assert_eq!(
        [&first["probability"], &first["tags"], &first["stage_name"]],
        [&json!(80.0), &json!(["proposal", "after"]), &json!("Proposal")]
    );
    let contact = acme.admin.get(&format!("/api/contacts/{}", contact["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(contact["status"], "CUSTOMER");
    for who in [&acme.admin, &acme.member] {
        let told = who.get("/api/notifications/").await.expect(200);
        assert_eq!((told.as_array().unwrap().len(), &told[0]["link"]), (1, &json!("/deals")));
    }
    assert_eq!(acme.value::<i64>("select count(*) from jobs where kind like 'workflow%'", &[]).await, 0);
}

#[tokio::test]
async fn a_deal_that_is_full_of_tags_gets_no_more() {
    let acme = World::new().await;
    let contact = acme.contact("Ada", "Lovelace").await;
    let deal = deal(&acme.admin, &contact).await;
    let full =
        "update deals set tags = (select jsonb_agg(n::text) from generate_series(1, 100) n) where tenant_id = $1";
    acme.db.execute(full, &[&acme.company]).await.unwrap();
    let tag = |tag: &str| json!({"type": "add_tag", "config": {"tag": tag}});
    let path = workflow(&acme.member, "deal_stage_changed", json!([tag("more"), tag("100")])).await;
    acme.member.send("POST", &format!("{path}/execute?record_id={deal}"), None).await.expect(200);
    let steps = steps(&acme.admin, &path).await;
    assert_eq!([&steps[0]["status"], &steps[0]["error_message"]], ["failed", "The deal has 100 tags already"]);
    assert_eq!(steps[1]["status"], "success", "one that is there is no more");
}

#[tokio::test]
async fn what_may_not_be_sent_is_not_sent_by_a_workflow() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let to = number();
    acme.admin.post("/api/suppressions/", json!({"channel": "sms", "address": to})).await.expect(200);
    let path = workflow(&acme.admin, "scheduled", json!([{"type": "send_sms", "config": {"to": to, "body": "Hi"}},
        {"type": "send_sms", "config": {"to": "{{ nobody.phone }}", "body": "Hi"}}, {"type": "send_email", "config": {"to": "none", "subject": "S", "body": "B"}}])).await;
    acme.admin.put(&path, json!({"is_active": false})).await.expect(200);
    let ran = acme.admin.send("POST", &format!("{path}/execute"), None).await.expect(200);
    assert_eq!([&ran["status"], &ran["failure_count"]], [&json!("partial"), &json!(3)]);
    let why: Vec<Value> = steps(&acme.admin, &path).await.iter().map(|s| s["error_message"].clone()).collect();
    assert_eq!(why[0], "This number has opted out of text messages");
    assert!(
        why[1].as_str().unwrap().contains("E.164") && why[2].as_str().unwrap().contains("e-mail address"),
        "{why:?}"
    );
    assert!(account.asked().is_empty());
}

#[tokio::test]
async fn a_text_waits_for_the_end_of_the_night() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let all_day = json!({"settings": {"quiet_hours": night_in(&acme, "Asia/Kolkata").await}});
    acme.admin.put(&format!("/api/companies/{}", acme.company), all_day).await.expect(200);
    let path = workflow(
        &acme.admin,
        "deal_won",
        json!([{"type": "send_sms", "config": {"to": "+919876543210", "body": "Hi"}}]),
    )
    .await;
    let ran = acme.admin.send("POST", &format!("{path}/execute"), None).await.expect(200);
    assert_eq!(ran["status"], "running");
    assert_eq!(steps(&acme.admin, &path).await[0]["status"], "waiting");
    assert!(account.asked().is_empty());
    let day = json!({"settings": {"quiet_hours": null}});
    acme.admin.put(&format!("/api/companies/{}", acme.company), day).await.expect(200);
    // A claim would end much earlier.
    let later = "select run_at > now() + interval '23 hours' from jobs where tenant_id = $1 and kind = 'workflow_run'";
    assert!(acme.value::<bool>(later, &[&acme.company]).await);
}

/// It was day when the step began.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_waits_for_the_end_of_a_night_that_begins_at_that_moment() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let settings = json!({"quiet_hours": night_in(&acme, "Asia/Kolkata").await});
    let night = format!(
        "create function begin_night() returns trigger language plpgsql security definer as $$
        begin update companies set settings = '{settings}'; return null; end $$;
        create trigger begin_night after insert on workflow_steps for each row
          when (new.status = 'running') execute function begin_night()"
    );
    acme.db.batch_execute(&night).await.unwrap();
    let action = json!([{"type": "send_sms", "config": {"to": "+919876543210", "body": "Hi"}}]);
    let path = workflow(&acme.admin, "deal_won", action).await;
    let ran = acme.admin.send("POST", &format!("{path}/execute"), None).await.expect(200);
    assert_eq!((&ran["status"], account.asked().len()), (&json!("running"), 0));
    assert_eq!(steps(&acme.admin, &path).await[0]["status"], "waiting");
    let waits = "select run_at > now() + interval '1 second' from jobs where kind = 'workflow_run'";
    assert!(acme.value::<bool>(waits, &[]).await);
    acme.db.batch_execute("update companies set settings = '{}'; update jobs set run_at = now()").await.unwrap();
    assert_eq!(ended(&acme.admin, &path, 1).await, ["success"]);
    assert_eq!(account.asked().len(), 1);
}

/// What a worker has begun to send when it dies is not sent again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_being_sent_when_the_worker_died_is_not_sent_again() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let path = workflow(
        &acme.admin,
        "deal_won",
        json!([{"type": "send_sms", "config": {"to": number(), "body": "Hi"}},
        {"type": "create_task", "config": {"subject": "After it"}}]),
    )
    .await;
    let begun = "with w as (select * from workflows where tenant_id = $1), x as (
          insert into workflow_executions (tenant_id, company_id, user_id, workflow_id, event, actions)
          select tenant_id, company_id, owner_id, id, 'deal_won', actions from w returning *), s as (
          insert into workflow_steps (tenant_id, company_id, user_id, execution_id, position, action, status, attempts)
          select tenant_id, company_id, user_id, id, 0, 'send_sms', 'running', 1 from x)
        insert into jobs (tenant_id, company_id, user_id, kind, record_id) select tenant_id, company_id, user_id, 'workflow_run', id from x";
    acme.db.execute(begun, &[&acme.company]).await.unwrap();
    assert_eq!(ended(&acme.admin, &path, 1).await, ["partial"]);
    let steps = steps(&acme.admin, &path).await;
    assert!(steps[0]["error_message"].as_str().unwrap().contains("may have arrived"), "{steps:?}");
    assert_eq!(steps[1]["status"], "success");
    assert!(account.asked().is_empty());
}

/// A run that no worker has claimed.
struct Waiting {
    acme: World,
    account: Account,
    /// Path of the workflow.
    path: String,
    run: Uuid,
    owner: Uuid,
}

async fn run_of_two_texts(own: &OwnDatabase) -> Waiting {
    let acme = World::served(own, Config { worker: Switch::Off, ..config() }).await;
    let account = Account::of(&acme).await;
    let text = json!({"type": "send_sms", "config": {"to": number(), "body": "Hi"}});
    let path = workflow(&acme.admin, "deal_created", json!([text, text])).await;
    deal(&acme.admin, &json!({"id": null})).await;
    let run = acme.db.query_one("select id, user_id from workflow_executions", &[]).await.unwrap();
    Waiting { acme, account, path, run: run.get("id"), owner: run.get("user_id") }
}

/// As when the claim of the first worker ends while it works, because a clock was set.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_workers_with_the_same_run_one_sends() {
    let own = OwnDatabase::new().await;
    let Waiting { acme, account, path, run, owner } = run_of_two_texts(&own).await;
    let app = App::new(Db::new(&own.api, 8).unwrap(), config()).unwrap();
    // Both have requested the run before either of them gets it.
    acme.db.batch_execute("begin; select from workflow_executions for update").await.unwrap();
    let (company, workers) = (acme.company, [app.clone(), app]);
    let workers =
        workers.map(|app| tokio::spawn(async move { jobs::at_once(&app, company, owner, run).await.unwrap() }));
    let admin = db::connect(&own.admin).await.unwrap();
    until("two that wait", async || waiting_for_locks(&admin).await == 2).await;
    acme.db.batch_execute("commit").await.unwrap();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(account.asked().len(), 2, "one text for each step");
    assert_eq!(runs(&acme.admin, &path).await[0]["status"], "success");
    let steps = steps(&acme.admin, &path).await;
    assert!(steps.len() == 2 && steps.iter().all(|step| step["status"] == "success"), "{steps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_did_not_take_is_sent_later_and_once() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let full = "create function is_full() returns trigger language plpgsql as $$
        begin raise exception using errcode = '53100', message = 'no space left'; end $$;
        create trigger a_full before insert on sms_messages for each row execute function is_full()";
    acme.db.batch_execute(full).await.unwrap();
    let action = json!([{"type": "send_sms", "config": {"to": number(), "body": "Hi"}}]);
    let path = workflow(&acme.admin, "deal_won", action).await;
    let ran = acme.admin.send("POST", &format!("{path}/execute"), None).await.expect(200);
    assert_eq!(ran["status"], "running");
    assert_eq!(steps(&acme.admin, &path).await[0]["status"], "retrying");
    let again = "drop trigger a_full on sms_messages; update jobs set run_at = now() where kind = 'workflow_run'";
    acme.db.batch_execute(again).await.unwrap();
    assert_eq!(ended(&acme.admin, &path, 1).await, ["success"]);
    assert_eq!(account.asked().len(), 1);
}

/// What was sent counts as sent, and what was certainly not sent is reported as such.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_knows_whether_its_text_has_left() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let text = |to: &str| json!([{"type": "send_sms", "config": {"to": to, "body": "Hi"}}]);
    let path = workflow(&acme.admin, "contact_created", text(&number())).await;
    let slow = account.is_slow();
    acme.contact("Ada", "L").await;
    slow.asked().await;
    let status = "update companies set status = $2 where id = $1";
    acme.db.execute(status, &[&acme.company, &"suspended"]).await.unwrap();
    slow.release();
    let left = "select count(*) from workflow_steps where status = 'success' and result ->> 'sid' is not null";
    until("its answer is kept", async || acme.value::<i64>(left, &[]).await == 1).await;
    acme.db.execute(status, &[&acme.company, &"active"]).await.unwrap();
    assert_eq!(ended(&acme.admin, &path, 1).await, ["success"]);

    let spoil = "update app.company_secrets set sealed = 'no secret' where company_id = $1";
    acme.db.execute(spoil, &[&acme.company]).await.unwrap();
    let path = workflow(&acme.admin, "deal_won", text(&number())).await;
    let ran = acme.admin.send("POST", &format!("{path}/execute"), None).await.expect(200);
    assert_eq!(ran["status"], "running");
    assert_eq!(steps(&acme.admin, &path).await[0]["status"], "retrying");
    let refused = acme.admin.post("/api/sms/send", json!({"to": number(), "body": "Hi"})).await;
    assert_eq!(refused.detail(502), "Twilio's token cannot be read: enter it again in the settings");
    assert_eq!(account.asked().len(), 1);
}

/// The same input twice is a double click; two events are two.
#[tokio::test(flavor = "multi_thread")]
async fn each_event_makes_a_task_and_a_deal_of_its_own() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let made = json!([
        {"type": "create_task", "config": {"title": "Call the new lead"}},
        {"type": "create_deal", "config": {"title": "New lead", "value": 1, "stage": "Lead"}},
    ]);
    let path = workflow(&acme.admin, "contact_created", made).await;
    for first in ["Ada", "Bob"] {
        acme.contact(first, "L").await;
    }
    assert_eq!(ended(&acme.admin, &path, 2).await, ["success", "success"]);
    for (list, title) in [("activities", "subject"), ("deals", "title")] {
        let list = acme.admin.get(&format!("/api/{list}/")).await.expect(200);
        assert_eq!((list.as_array().unwrap().len(), &list[0][title]), (2, &list[1][title]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_leaves_the_rest_of_a_run_to_another_one() {
    let own = OwnDatabase::new().await;
    let Waiting { acme, account, path, run, owner } = run_of_two_texts(&own).await;
    let app = App::new(Db::new(&own.api, 2).unwrap(), config()).unwrap();
    app.background.close();
    jobs::at_once(&app, acme.company, owner, run).await.unwrap();
    assert_eq!(account.asked().len(), 1);
    assert!(acme.value::<bool>("select run_at <= now() from jobs where kind = 'workflow_run'", &[]).await);
    start_server(config(), &own.api);
    assert_eq!(ended(&acme.admin, &path, 1).await, ["success"]);
    assert_eq!(account.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_asks_for_patience_is_asked_again_later() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    let path = workflow(
        &acme.admin,
        "deal_won",
        json!([{"type": "send_sms", "config": {"to": "+14155550004", "body": "Hi"}}]),
    )
    .await;
    let ran = acme.admin.send("POST", &format!("{path}/execute"), None).await.expect(200);
    assert_eq!(ran["status"], "running", "{:?}", steps(&acme.admin, &path).await);
    for attempts in 2..=5 {
        acme.make_due("workflow_run").await;
        until("another attempt", async || {
            let step = &steps(&acme.admin, &path).await[0];
            step["attempts"] == json!(attempts) && step["status"] != "running"
        })
        .await;
    }
    assert_eq!(ended(&acme.admin, &path, 1).await, ["partial"]);
    assert_eq!(account.asked().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_outlives_the_server_and_ends_when_the_workflow_does() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let actions = json!([{"type": "wait", "config": {"days": 2, "hours": 1}}, {"type": "create_task", "config": {"subject": "{{ contact.name }}"}}]);
    let path = workflow(&acme.admin, "contact_created", actions.clone()).await;
    let minutes = "select round(extract(epoch from run_at - now()) / 60)::int from jobs where kind = 'workflow_run' and run_at > now() + interval '1 day'";
    let waiting = async || acme.db.query_opt(minutes, &[]).await.unwrap().map(|row| row.get::<_, i32>(0));
    let go_on = async || acme.make_due("workflow_run").await;

    acme.contact("Ada", "L").await;
    until("the wait", async || waiting().await.is_some()).await;
    assert_eq!(waiting().await, Some(49 * 60));
    // A worker that does not know that the run was postponed postpones it again.
    go_on().await;
    until("the wait", async || waiting().await == Some(49 * 60)).await;
    assert_eq!(steps(&acme.admin, &path).await.len(), 1);
    let over = "update workflow_steps set started_at = started_at - interval '3 days' where status = 'waiting'";
    acme.db.execute(over, &[]).await.unwrap();
    // Changes made meanwhile apply to later runs.
    acme.admin.put(&path, json!({"actions": []})).await.expect(200);
    go_on().await;
    assert_eq!(ended(&acme.admin, &path, 1).await, ["success"]);
    assert_eq!(acme.admin.get("/api/activities/").await.expect(200)[0]["subject"], "Ada L");

    acme.admin.put(&path, json!({"actions": actions})).await.expect(200);
    acme.contact("Bob", "L").await;
    until("the wait", async || waiting().await.is_some()).await;
    acme.admin.post(&format!("{path}/toggle"), json!({})).await.expect(200);
    go_on().await;
    assert_eq!(ended(&acme.admin, &path, 2).await[0], "failed");
    let run = &runs(&acme.admin, &path).await[0];
    assert_eq!([&run["error_message"], &run["failure_count"]], [&json!("The workflow was switched off"), &json!(1)]);
    let step = &steps(&acme.admin, &path).await[0];
    assert_eq!([&step["status"], &step["error_message"]], [&json!("failed"), &run["error_message"]]);
    assert!(step["completed_at"].is_string(), "{step}");
    assert_eq!(acme.admin.get("/api/activities/").await.expect(200).as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_runs_are_forgotten_and_those_that_wait_are_not() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let path = workflow(
        &acme.admin,
        "contact_created",
        json!([{"type": "create_task", "config": {"subject": "{{ contact.first_name }}"}}]),
    )
    .await;
    acme.contact("Ada", "L").await;
    acme.contact("Bob", "L").await;
    ended(&acme.admin, &path, 2).await;
    let waits = workflow(&acme.admin, "deal_won", json!([{"type": "wait", "config": {"days": 365}}])).await;
    acme.admin.send("POST", &format!("{waits}/execute"), None).await.expect(200);

    let old_id = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_700_000_000, 0));
    let event = "insert into workflow_events (id, tenant_id, company_id, user_id, event, record_id, created_at)
        values ($1, $2, $2, $3, 'deal_won', $1, to_timestamp(1700000000))";
    acme.db.execute(event, &[&old_id, &acme.company, &acme.admin.id]).await.unwrap();
    let age = "update workflow_executions set created_at = now() - interval '91 days', completed_at = completed_at - interval '91 days',
        event_id = coalesce(event_id, $1) where status = 'running' or id = (select id from workflow_executions where status <> 'running' limit 1)";
    assert_eq!(acme.db.execute(age, &[&old_id]).await.unwrap(), 2);
    let left = "select array[(select count(*) from workflow_executions), (select count(*) from workflow_steps where status = 'success'),
        (select count(*) from workflow_events)]";
    assert_eq!(acme.value::<Vec<i64>>(left, &[]).await, [3, 2, 3]);
    let app = |days| App::new(Db::new(&own.api, 2).unwrap(), Config { workflow_runs_days: days, ..config() }).unwrap();
    assert_eq!(forget_runs::forget(&app(0)).await.unwrap(), 0, "nothing where nothing is to be forgotten");
    assert_eq!(forget_runs::forget(&app(92)).await.unwrap(), 1, "an event, and no run");
    assert_eq!(forget_runs::forget(&app(90)).await.unwrap(), 1);
    assert_eq!(acme.value::<Vec<i64>>(left, &[]).await, [2, 1, 2]);
    assert_eq!(runs(&acme.admin, &waits).await[0]["status"], "running", "it goes on");
    let counted = acme.admin.get(&path).await.expect(200);
    assert_eq!(counted["executions_count"], 2, "how often it ran is still known");
    own.drop().await;
}

/// A provider that cannot be reached has sent nothing, so the mail may be tried again.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_sent_once_the_relay_is_back() {
    let own = OwnDatabase::new().await;
    let (socket, port) = kept_port();
    let relay = Some(format!("smtp://127.0.0.1:{port}"));
    let acme = World::served(&own, Config { relay_url: relay, ..config() }).await;
    let actions = json!([{"type": "send_email", "config": {"to": "ada@x.example", "subject": "S", "body": "B"}}]);
    let path = workflow(&acme.admin, "deal_won", actions).await;
    acme.admin.send("POST", &format!("{path}/execute"), None).await.expect(200);
    let again = async || {
        acme.make_due("workflow_run").await;
    };
    let step = async || steps(&acme.admin, &path).await[0].clone();
    until("an attempt", async || step().await["status"] == "retrying").await;
    assert_eq!(runs(&acme.admin, &path).await[0]["status"], "running");
    again().await;
    until("another attempt", async || step().await["attempts"] == 2 && step().await["status"] == "retrying").await;
    let inbox = Inbox::at(socket);
    again().await;
    assert_eq!(ended(&acme.admin, &path, 1).await, ["success"]);
    assert!(inbox.next().await.to.contains("ada@x.example"));
    assert!(inbox.rest().await.is_empty(), "once");
}

#[tokio::test]
async fn conditions_decide_whether_a_run_begins() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let contact = acme.contact("Ada", "L").await;
    let path = workflow(&acme.admin, "deal_created", json!([])).await;
    let conditions = json!([{"field": "deal.value", "operator": "greater_than", "value": 2000}]);
    acme.admin.put(&path, json!({"conditions": conditions})).await.expect(200);
    deal(&acme.admin, &contact).await;
    let large = json!({"title": "Large", "value": 2001, "stage_id": "Lead"});
    acme.admin.post("/api/deals/", large).await.expect(200);
    until("the end of the jobs", async || {
        acme.value::<i64>("select count(*) from jobs where tenant_id = $1 and kind = 'workflow_run'", &[&acme.company])
            .await
            == 0
    })
    .await;
    assert_eq!(ended(&acme.admin, &path, 1).await, ["success"]);
    assert_eq!(acme.admin.get(&path).await.expect(200)["executions_count"], 1);
}

/// A worker may be late: conditions use the record at the time of the event, actions the current one.
#[tokio::test]
async fn conditions_are_asked_of_the_record_as_it_was() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    let contact = acme.contact("Ada", "L").await;
    let deal = deal(&acme.admin, &contact).await;
    let conditional = async |trigger: &str, field: &str, value: &str| {
        let actions = json!([{"type": "create_task", "config": {"subject": format!("{{{{ {field} }}}}")}}]);
        let path = workflow(&acme.admin, trigger, actions).await;
        let conditions = json!([{"field": field, "operator": "equals", "value": value},
            {"field": "user.id", "operator": "equals", "value": acme.admin.id}]);
        acme.admin.put(&path, json!({"conditions": conditions})).await.expect(200);
        path
    };
    let (moved, added) = (
        conditional("deal_stage_changed", "deal.stage_name", "Proposal").await,
        conditional("contact_created", "contact.last_name", "Before").await,
    );
    let always = workflow(&acme.admin, "deal_stage_changed", json!([])).await;
    for stage in ["Qualified", "Proposal", "Negotiation"] {
        acme.member.patch(&format!("/api/deals/{deal}/move"), json!({"to_stage_id": stage})).await.expect(200);
    }
    for (first, then) in [("Before", "After"), ("After", "Before")] {
        let new = json!({"first_name": "Bob", "last_name": first, "email": format!("{first}@x.example")});
        let contact = acme.member.post("/api/contacts/", new).await.expect(200);
        let path = format!("/api/contacts/{}", contact["id"].as_str().unwrap());
        acme.member.put(&path, json!({"last_name": then})).await.expect(200);
    }
    let kept = "select count(*) from workflow_executions where (at_event is not null) = (conditions <> '[]')
        and (at_event ?| array['user', 'company']) is not true";
    assert_eq!(acme.value::<i64>(kept, &[]).await, 8, "only where there are conditions");

    start_server(config(), &own.api);
    assert_eq!(ended(&acme.admin, &always, 3).await, ["success"; 3]);
    until("the end of the jobs", async || acme.value::<i64>("select count(*) from jobs", &[]).await == 0).await;
    for (path, now) in [(moved, "Negotiation"), (added, "After")] {
        assert_eq!(ended(&acme.admin, &path, 1).await, ["success"]);
        assert_eq!(steps(&acme.admin, &path).await[0]["input"]["subject"], now);
    }
    let left = "select count(*) from workflow_executions where at_event is not null";
    assert_eq!(acme.value::<i64>(left, &[]).await, 0, "until they begin");
}

#[tokio::test]
async fn workflows_cannot_start_each_other_forever() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let path = workflow(
        &acme.admin,
        "deal_created",
        json!([{"type": "create_deal", "config": {"title": "After {{ deal.id }}"}}]),
    )
    .await;
    let first = json!({"title": "First", "value": 1, "stage_id": "Lead"});
    acme.admin.post("/api/deals/", first).await.expect(200);
    // A run's deal adds the job of the next run before the run's own job is deleted.
    until("the end of the chain", async || acme.value::<i64>("select count(*) from jobs", &[]).await == 0).await;
    let statuses = ended(&acme.admin, &path, 7).await;
    assert_eq!(statuses[0], "failed");
    assert!(statuses[1..].iter().all(|status| status == "success"), "{statuses:?}");
    assert!(runs(&acme.admin, &path).await[0]["error_message"].as_str().unwrap().contains("5 times"));
    assert_eq!(acme.admin.get("/api/deals/").await.expect(200).as_array().unwrap().len(), 7);
}

/// Opening a run's mail counts as caused by the run.
#[tokio::test(flavor = "multi_thread")]
async fn opened_mails_of_a_run_cannot_start_it_forever() {
    let own = OwnDatabase::new().await;
    let inbox = Inbox::open().await;
    let acme = World::served(&own, Config { relay_url: Some(inbox.url()), ..config() }).await;
    let follow = json!([{"type": "send_email", "config": {"to": "ada@x.example", "subject": "S", "body": "<p>B</p>"}}]);
    let path = workflow(&acme.admin, "email_opened", follow).await;
    let mail = json!({"to": "ada@x.example", "subject": "Offer", "body": "B"});
    acme.member.post("/api/emails/send", mail).await.expect(201);
    for depth in 0..=6 {
        let mail = inbox.next().await.data;
        let pixel = mail.split_once("/api/emails/track/open/").unwrap().1.split('"').next().unwrap();
        acme.member.get(&format!("/api/emails/track/open/{pixel}")).await;
        let deepest = "select max(depth) from workflow_executions where status <> 'running'";
        until("the run", async || acme.value::<Option<i32>>(deepest, &[]).await == Some(depth)).await;
    }
    let statuses = ended(&acme.admin, &path, 7).await;
    assert_eq!(statuses[0], "failed");
    assert!(runs(&acme.admin, &path).await[0]["error_message"].as_str().unwrap().contains("5 times"));
    assert!(statuses[1..].iter().all(|status| status == "success"), "{statuses:?}");
    assert!(inbox.rest().await.is_empty());
    assert_eq!(acme.value::<i64>("select count(distinct root_id) from workflow_executions", &[]).await, 1);
}

/// An immediate reply to a run's text may be a machine's; a text between the company's own numbers always counts.
#[tokio::test(flavor = "multi_thread")]
async fn texts_of_a_run_cannot_start_it_forever() {
    let own = OwnDatabase::new().await;
    let base = start_server(config(), &own.api);
    let acme = World::alone_at(&own, &base).await;
    let account = Account::of(&acme).await;
    let second = number();
    acme.admin.post("/api/sms/phone-numbers", json!({"phone_number": second})).await.expect(200);
    let answer = json!([{"type": "send_sms", "config": {"body": "Hi", "from_number": "{{ to }}"}}]);
    let path = workflow(&acme.admin, "inbound_sms", answer).await;
    // The depth of the run that an incoming text starts.
    let comes = async |from: &str, to: &str| {
        let sid = format!("SM{}", Uuid::new_v4().simple());
        let text = [("From", from), ("To", to), ("Body", "Yes?"), ("MessageSid", &sid)];
        assert_eq!(account.tells_at(&base, "/api/sms/webhook/incoming", &text).await.status, 200);
        let run = "select depth from workflow_executions x join sms_messages m on m.id = x.record_id where m.twilio_sid = $1 and x.status <> 'running'";
        until("the run", async || acme.db.query_opt(run, &[&sid]).await.unwrap().is_some()).await;
        acme.value::<i32>(run, &[&sid]).await
    };
    let age = "update sms_messages set created_at = created_at - interval '3 minutes'";
    let machine = number();
    for depth in 0..=6 {
        assert_eq!(comes(&machine, &account.number).await, depth);
    }
    assert_eq!(account.asked().len(), 6);
    assert!(runs(&acme.admin, &path).await[0]["error_message"].as_str().unwrap().contains("5 times"));
    acme.db.execute(age, &[]).await.unwrap();
    assert_eq!(comes(&machine, &account.number).await, 0, "a person takes their time");

    let by_hand = json!({"to": second, "body": "Hi", "from_number": account.number});
    acme.member.post("/api/sms/send", by_hand.clone()).await.expect(200);
    assert_eq!(comes(&account.number, &second).await, 0);
    acme.db.execute(age, &[]).await.unwrap();
    assert_eq!(comes(&second, &account.number).await, 1);
    acme.db.execute(age, &[]).await.unwrap();
    assert_eq!(comes(&account.number, &second).await, 2);
    acme.db.execute(age, &[]).await.unwrap();
    acme.member.post("/api/sms/send", by_hand).await.expect(200);
    assert_eq!(comes(&account.number, &second).await, 0, "this one was sent by hand");
}

/// The writer's number differs from that of the contact that it was matched with.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_answered_to_who_wrote() {
    let own = OwnDatabase::new().await;
    let base = start_server(config(), &own.api);
    let acme = World::alone_at(&own, &base).await;
    let account = Account::of(&acme).await;
    let contact = json!({"first_name": "Ada", "last_name": "L", "email": "ada@x.example", "phone": "(415) 555-0199"});
    acme.admin.post("/api/contacts/", contact).await.expect(200);
    workflow(&acme.admin, "inbound_sms", json!([{"type": "send_sms", "config": {"body": "Hi"}}])).await;
    let text = [("From", "+444155550199"), ("To", account.number.as_str()), ("Body", "Who?"), ("MessageSid", "SM1")];
    account.tells_at(&base, "/api/sms/webhook/incoming", &text).await;
    until("the answer", async || account.asked().len() == 1).await;
    // As an older program stored it.
    let older = r#"update workflows set actions = jsonb_set(actions, '{0,config,to}', '"{{ contact.phone|default(message.from_address, true) }}"')"#;
    acme.db.execute(older, &[]).await.unwrap();
    let text = [("From", "+444155550199"), ("To", account.number.as_str()), ("Body", "Who?"), ("MessageSid", "SM2")];
    account.tells_at(&base, "/api/sms/webhook/incoming", &text).await;
    until("the answer", async || account.asked().len() == 2).await;
    assert!(account.asked().iter().all(|form| form["To"] == "+444155550199"), "{:?}", account.asked());
}

/// Customers know the company by the number with which they are in conversation.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_texts_by_the_number_that_the_customer_knows() {
    let own = OwnDatabase::new().await;
    let base = start_server(config(), &own.api);
    let acme = World::alone_at(&own, &base).await;
    let account = Account::of(&acme).await;
    let (second, third, customer, colleague) = (number(), number(), number(), number());
    for number in [&second, &third] {
        acme.admin.post("/api/sms/phone-numbers", json!({"phone_number": number})).await.expect(200);
    }
    let answer = json!([{"type": "send_sms", "config": {"body": "Hi"}}, {"type": "send_sms", "config": {"body": "See", "to": colleague}}]);
    workflow(&acme.admin, "inbound_sms", answer).await;
    let text = json!([{"type": "send_sms", "config": {"body": "Welcome", "to": "{{ contact.phone }}"}}]);
    workflow(&acme.admin, "contact_created", text).await;
    let sent = async |before: usize, count: usize| {
        until("the texts", async || account.asked().len() == before + count).await;
        account.asked()[before..].iter().map(|form| (form["From"].clone(), form["To"].clone())).collect::<Vec<_>>()
    };
    let comes = async |to: &str, sid: &str| {
        let before = account.asked().len();
        let text = [("From", &*customer), ("To", to), ("Body", "Hi"), ("MessageSid", sid)];
        assert_eq!(account.tells_at(&base, "/api/sms/webhook/incoming", &text).await.status, 200);
        sent(before, 2).await
    };
    let first = (account.number.clone(), colleague.clone());
    // The conversation stays with the number that it began with.
    assert_eq!(comes(&second, "SM1").await, [(second.clone(), customer.clone()), first.clone()]);
    assert_eq!(comes(&third, "SM2").await, [(third.clone(), customer.clone()), first.clone()]);
    let joins = async |email: &str, phone: &str| {
        let before = account.asked().len();
        let contact = json!({"first_name": "Ada", "last_name": "L", "email": email, "phone": phone});
        acme.admin.post("/api/contacts/", contact).await.expect(200);
        sent(before, 1).await
    };
    assert_eq!(joins("a@x.example", &customer).await, [(second.clone(), customer.clone())]);
    let stranger = number();
    assert_eq!(joins("b@x.example", &stranger).await, [(account.number.clone(), stranger)]);
    acme.db.execute("update phone_numbers set is_active = false where phone_number = $1", &[&second]).await.unwrap();
    assert_eq!(joins("c@x.example", &customer).await, [(account.number.clone(), customer.clone())]);
}

/// However long it waits for a worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_does_what_its_workflow_said_when_it_was_made() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    let task = |subject: &str| json!([{"type": "create_task", "config": {"subject": subject}}]);
    let path = workflow(&acme.admin, "contact_created", task("Call {{ contact.first_name }}")).await;
    let clock = workflow(&acme.admin, "scheduled", task("By the clock")).await;
    acme.contact("Ada", "L").await;
    let condition = json!([{"field": "deal.value", "operator": "greater_than", "value": 1}]);
    let change = json!({"trigger_type": "deal_won", "actions": task("Bill it"), "conditions": condition});
    acme.admin.put(&path, change).await.expect(200);
    // A run made by an older program, for the workflow's trigger at that time.
    let older = "with x as (
          insert into workflow_executions (tenant_id, company_id, user_id, workflow_id, event)
          select tenant_id, company_id, owner_id, id, 'contact_created' from workflows where trigger = 'deal_won' returning *)
        insert into jobs (tenant_id, company_id, user_id, kind, record_id) select tenant_id, company_id, user_id, 'workflow_run', id from x";
    acme.db.execute(older, &[]).await.unwrap();
    start_server(config(), &own.api);
    let statuses = ended(&acme.admin, &path, 2).await;
    assert_eq!(statuses, ["failed", "success"]);
    assert!(runs(&acme.admin, &path).await[0]["error_message"].as_str().unwrap().contains("another trigger"));
    ended(&acme.admin, &clock, 1).await;
    acme.admin.send("POST", &format!("{path}/execute"), None).await.expect(200);
    let list = acme.admin.get("/api/activities/").await.expect(200);
    let subjects: Vec<&str> = list.as_array().unwrap().iter().map(|task| task["subject"].as_str().unwrap()).collect();
    assert!(subjects.contains(&"Call Ada") && subjects.contains(&"By the clock"), "{subjects:?}");
    assert_eq!(subjects.iter().filter(|subject| **subject == "Bill it").count(), 1, "{subjects:?}");
    let without = "select count(*) from workflow_executions where conditions is null";
    assert_eq!(acme.value::<i64>(without, &[]).await, 1);
}

/// In a copy on another server, transaction ids start anew.
#[tokio::test]
async fn a_step_that_is_done_causes_nothing_more() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let task = json!([{"type": "create_task", "config": {"subject": "S"}}]);
    let path = workflow(&acme.admin, "contact_created", task).await;
    acme.contact("Ada", "L").await;
    assert_eq!(ended(&acme.admin, &path, 1).await, ["success"]);
    for state in ["success", "running"] {
        let mut db = db::connect(&own.admin).await.unwrap();
        let tx = db.transaction().await.unwrap();
        tx.execute("update workflow_executions set status = $1", &[&state]).await.unwrap();
        tx.batch_execute("update workflow_steps set made_in = pg_current_xact_id()").await.unwrap();
        tx.batch_execute(&enter(acme.company, acme.member.id)).await.unwrap();
        let record = Uuid::now_v7();
        tx.execute("select app.fire('contact_created', $1, '{}')", &[&record]).await.unwrap();
        let depth = "select depth from workflow_executions where record_id = $1";
        assert_eq!(tx.query_one(depth, &[&record]).await.unwrap().get::<_, i32>(0), 0, "{state}");
        tx.rollback().await.unwrap();
    }
}

/// Few levels make many runs if each run starts several.
#[tokio::test]
async fn one_event_leads_to_so_many_runs_and_no_more() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    let path = workflow(
        &acme.admin,
        "deal_created",
        json!([{"type": "create_deal", "config": {"title": "A {{ deal.id }}"}}, {"type": "create_deal", "config": {"title": "B {{ deal.id }}"}}]),
    )
    .await;
    let id: Uuid = path.rsplit('/').next().unwrap().parse().unwrap();
    acme.admin.post("/api/deals/", json!({"title": "First", "value": 1, "stage_id": "Lead"})).await.expect(200);
    // As many further runs as one event may have.
    let more = "insert into workflow_executions (tenant_id, company_id, user_id, workflow_id, event, status, root_id)
        select $1, $1, $2, $3, 'deal_created', 'success', (select root_id from workflow_executions where workflow_id = $3 and depth = 0)
        from generate_series(1, 1000)";
    acme.db.execute(more, &[&acme.company, &acme.admin.id, &id]).await.unwrap();
    start_server(config(), &own.api);
    let count = async |what: &str| {
        let sql = format!("select count(*) from workflow_executions where tenant_id = $1 and {what}");
        acme.value::<i64>(&sql, &[&acme.company]).await
    };
    until("the end of the runs", async || count("status = 'running'").await == 0).await;
    assert!(count("status = 'failed' and error_message like '%1000 runs'").await > 0);
    // Another event has its own limit.
    acme.admin.post("/api/deals/", json!({"title": "Second", "value": 1, "stage_id": "Lead"})).await.expect(200);
    assert_eq!(count("depth = 0 and status <> 'failed' and event_id is not null").await, 2);
    acme.admin.delete(&path).await.expect(200);
}

#[tokio::test]
async fn a_company_has_so_many_active_workflows_of_a_trigger() {
    let acme = World::new().await;
    let insert = "insert into workflows (tenant_id, company_id, owner_id, name, trigger, status)
        select $1, $1, $2, n::text, 'deal_lost', 'active' from generate_series(1, 100) n";
    acme.db.execute(insert, &[&acme.company, &acme.admin.id]).await.unwrap();
    let new = json!({"name": "One more", "trigger_type": "deal_lost", "is_active": true, "actions": []});
    assert!(acme.admin.post("/api/workflows/", new).await.detail(400).contains("at most 100"));
    workflow(&acme.admin, "deal_won", json!([])).await;
    let off = json!({"name": "Off", "trigger_type": "deal_lost", "actions": []});
    let off = acme.admin.post("/api/workflows/", off).await.expect(200)["id"].as_str().unwrap().to_owned();
    assert_eq!(acme.admin.post(&format!("/api/workflows/{off}/toggle"), json!({})).await.status, 400);

    // Two transactions take the last place at the same time.
    acme.db.execute("delete from workflows where tenant_id = $1 and name = '1'", &[&acme.company]).await.unwrap();
    let other = ringfence::db::connect(&api_url()).await.unwrap();
    let early = format!(
        "begin; {}; insert into workflows (name, trigger, status) values ('Early', 'deal_lost', 'active')",
        enter(acme.company, acme.admin.id)
    );
    other.batch_execute(&early).await.unwrap();
    let late = json!({"name": "Late", "trigger_type": "deal_lost", "is_active": true, "actions": []});
    let (late, ()) = tokio::join!(acme.admin.post("/api/workflows/", late), async {
        waiting_for(&other, &acme.db).await;
        other.batch_execute("commit").await.unwrap();
    });
    assert!(late.detail(400).contains("at most 100"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_starts_workflows_by_the_companys_time() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    acme.admin.put(&format!("/api/companies/{}", acme.company), json!({"timezone": "Asia/Kolkata"})).await.expect(200);
    let again = async || acme.make_due("workflow_schedule").await;
    let settled = async || {
        until("the next time", async || {
            let sql =
                "select count(*) from jobs where kind like 'workflow%' and run_at <= now() + interval '6 minutes'";
            acme.value::<i64>(sql, &[]).await == 0
        })
        .await;
    };

    // Every hour by default: at once if it never ran, and not again within the hour.
    let hourly = workflow(&acme.admin, "scheduled", json!([])).await;
    assert_eq!(ended(&acme.admin, &hourly, 1).await, ["success"]);
    settled().await;
    again().await;
    settled().await;
    assert_eq!(ended(&acme.admin, &hourly, 1).await.len(), 1);
    acme.db.execute("update workflows set last_executed_at = now() - interval '61 minutes'", &[]).await.unwrap();
    again().await;
    assert_eq!(ended(&acme.admin, &hourly, 2).await.len(), 2);
    acme.admin.delete(&hourly).await.expect(200);
    assert_eq!(acme.value::<i64>("select count(*) from jobs where kind = 'workflow_schedule'", &[]).await, 0);

    // A full hour there is half past in UTC; half a day from now, so that its time does not come during the test.
    let daily = workflow(&acme.admin, "scheduled", json!([])).await;
    let hour = jiff::Timestamp::now().in_tz("Asia/Kolkata").unwrap().hour() + 12;
    acme.admin.put(&daily, json!({"schedule": {"cron": format!("0 {} * * *", hour % 24)}})).await.expect(200);
    let time = format!("T{:02}:30:00", (hour + 18) % 24);
    let next = async || acme.admin.get(&daily).await.expect(200)["next_run"].as_str().map(str::to_owned);
    until("the next time", async || next().await.is_some()).await;
    assert!(next().await.unwrap().ends_with(&time), "{:?}", next().await);
    let before = runs(&acme.admin, &daily).await.len();
    acme.db
        .execute("update workflows set next_run_at = now() - interval '3 days' where schedule is not null", &[])
        .await
        .unwrap();
    again().await;
    until("one run for all that was missed", async || runs(&acme.admin, &daily).await.len() == before + 1).await;
    until("the next time", async || next().await.is_some_and(|next| next.ends_with(&time))).await;
    settled().await;
    assert_eq!(runs(&acme.admin, &daily).await.len(), before + 1);
    acme.admin.post(&format!("{daily}/toggle"), json!({})).await.expect(200);
    assert_eq!(acme.value::<i64>("select count(*) from jobs where kind = 'workflow_schedule'", &[]).await, 0);
}

/// A daily schedule at this time, as a cron expression in UTC.
fn daily(time: jiff::Timestamp) -> Value {
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    json!({"cron": format!("{} {} * * *", time.minute(), time.hour())})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_comes_before_a_worker_does_is_not_lost() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    let path = workflow(&acme.admin, "scheduled", json!([])).await;
    let just = jiff::Timestamp::now() - Duration::from_secs(60);
    acme.admin.put(&path, json!({"schedule": daily(just)})).await.expect(200);
    let earlier = "update workflows set schedule_set_at = schedule_set_at - interval '3 minutes'; update jobs set created_at = created_at - interval '3 minutes'";
    acme.db.batch_execute(earlier).await.unwrap();
    start_server(config(), &own.api);
    assert_eq!(ended(&acme.admin, &path, 1).await, ["success"]);
    // Its time today was earlier.
    for _ in 0..2 {
        acme.admin.post(&format!("{path}/toggle"), json!({})).await.expect(200);
    }
    let next = async || acme.admin.get(&path).await.expect(200)["next_run"].is_string();
    until("the next time", next).await;
    assert_eq!(ended(&acme.admin, &path, 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_follows_its_company_into_another_time_zone() {
    let own = OwnDatabase::new().await;
    let base = start_server(config(), &own.api);
    let (acme, other) = (World::alone_at(&own, &base).await, World::alone_at(&own, &base).await);
    // Its time does not come during the test in either zone.
    let far = jiff::Timestamp::now() + Duration::from_secs(9 * 60 * 60);
    let (path, theirs) =
        (workflow(&acme.admin, "scheduled", json!([])).await, workflow(&other.admin, "scheduled", json!([])).await);
    for (who, path) in [(&acme.admin, &path), (&other.admin, &theirs)] {
        who.put(path, json!({"schedule": daily(far)})).await.expect(200);
    }
    let next = async |who: &Person, path: &str| -> Option<jiff::Timestamp> {
        Some(format!("{}Z", who.get(path).await.expect(200)["next_run"].as_str()?).parse().unwrap())
    };
    let minute = |moment: jiff::Timestamp, zone: &str| {
        let moment = moment.in_tz(zone).unwrap();
        (moment.hour(), moment.minute())
    };
    let wanted = minute(far, "UTC");
    for (who, path) in [(&acme.admin, &path), (&other.admin, &theirs)] {
        until("the time in UTC", async || next(who, path).await.is_some_and(|at| minute(at, "UTC") == wanted)).await;
    }
    let before = next(&other.admin, &theirs).await;
    for (who, zone) in [(&acme.admin, "Asia/Kolkata"), (&acme.super_admin().await.at(&base), "Asia/Kathmandu")] {
        who.put(&format!("/api/companies/{}", acme.company), json!({"timezone": zone})).await.expect(200);
        until(zone, async || next(&acme.admin, &path).await.is_some_and(|at| minute(at, zone) == wanted)).await;
    }
    assert_eq!(next(&other.admin, &theirs).await, before);
    // A time that has come and was not processed yet is not lost by it.
    let before = runs(&acme.admin, &path).await.len();
    let due = "update workflows set next_run_at = now() - interval '1 minute' where tenant_id = $1";
    acme.db.execute(due, &[&acme.company]).await.unwrap();
    acme.admin.put(&format!("/api/companies/{}", acme.company), json!({"timezone": "UTC"})).await.expect(200);
    until("its run", async || runs(&acme.admin, &path).await.len() == before + 1).await;
    until("the time in UTC", async || next(&acme.admin, &path).await.is_some_and(|at| minute(at, "UTC") == wanted))
        .await;
}

/// As when the claim of the first worker ends while it works.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_of_the_clock_that_is_claimed_twice_starts_one_run() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    let hourly = workflow(&acme.admin, "scheduled", json!([])).await;
    acme.db.batch_execute("begin; select from workflows for update").await.unwrap();
    start_server(config(), &own.api);
    let admin = db::connect(&own.admin).await.unwrap();
    until("one that waits", async || waiting_for_locks(&admin).await == 1).await;
    admin.execute("update jobs set run_at = now() where kind = 'workflow_schedule'", &[]).await.unwrap();
    until("two that wait", async || waiting_for_locks(&admin).await == 2).await;
    // As the claim that exceeds the limit does.
    admin
        .execute("update jobs set attempts = 10, failed_at = now() where kind = 'workflow_schedule'", &[])
        .await
        .unwrap();
    acme.db.batch_execute("commit").await.unwrap();
    let later = "select count(*) from jobs
        where kind = 'workflow_schedule' and attempts = 0 and failed_at is null and run_at > now()";
    until("the next time", async || acme.value::<i64>(later, &[]).await == 1).await;
    until("nobody waits", async || waiting_for_locks(&admin).await == 0).await;
    assert_eq!(ended(&acme.admin, &hourly, 1).await, ["success"]);
    assert_eq!(runs(&acme.admin, &hourly).await.len(), 1);
}

#[tokio::test]
async fn a_job_never_runs_another_companys_workflow() {
    let own = OwnDatabase::new().await;
    let base = start_server(Config { worker: Switch::Off, ..config() }, &own.api);
    let (a, b) = (World::alone_at(&own, &base).await, World::alone_at(&own, &base).await);
    let path = workflow(&a.admin, "deal_won", json!([{"type": "create_task", "config": {"subject": "S"}}])).await;
    let insert = "insert into workflow_executions (tenant_id, company_id, user_id, workflow_id, event)
        select tenant_id, company_id, owner_id, id, 'deal_won' from workflows where tenant_id = $1 returning id";
    let theirs: Uuid = a.value(insert, &[&a.company]).await;
    for kind in ["workflow_run", "workflow_schedule"] {
        let forged = "insert into jobs (tenant_id, company_id, user_id, kind, record_id) values ($1, $1, $2, $3, $4)";
        let id = if kind == "workflow_run" { theirs } else { path.rsplit('/').next().unwrap().parse().unwrap() };
        b.db.execute(forged, &[&b.company, &b.admin.id, &kind, &id]).await.unwrap();
    }
    let app = App::new(Db::new(&own.api, 2).unwrap(), config()).unwrap();
    let left = "select count(*) from jobs where tenant_id = $1 and attempts = 0";
    let claimed = until("the forged jobs' turn", async || b.value::<i64>(left, &[&b.company]).await == 0);
    // Returns when the claimed jobs are done.
    jobs::work(&app, claimed).await;
    let run = &runs(&a.admin, &path).await[0];
    assert_eq!([&run["status"], &run["success_count"]], [&json!("running"), &json!(0)]);
    for who in [&a.admin, &b.admin] {
        assert_eq!(who.get("/api/activities/").await.expect(200), json!([]));
    }
    b.db.execute("delete from jobs where tenant_id = $1", &[&b.company]).await.unwrap();
}

/// An HTTP server that keeps what it receives; it responds with 503 to the first call.
#[derive(Clone, Default)]
struct Hooks(Arc<Mutex<Vec<(HeaderMap, String)>>>);

impl Hooks {
    async fn open() -> (Self, String) {
        let hooks = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let router = hooks.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (hooks, place)
    }

    fn router(&self) -> Router {
        let router = Router::new().route("/hook", post(Self::take)).route("/moved", post(Self::moved));
        router.with_state(self.clone())
    }

    async fn take(State(hooks): State<Self>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
        let mut seen = hooks.0.lock().unwrap();
        seen.push((headers, String::from_utf8(body.to_vec()).unwrap()));
        let status = if seen.len() == 1 { 503 } else { 200 };
        (axum::http::StatusCode::from_u16(status).unwrap(), "a secret of the receiver")
    }

    async fn moved() -> impl IntoResponse {
        (axum::http::StatusCode::TEMPORARY_REDIRECT, [("location", "/hook")])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_repeated_under_its_id_and_follows_no_redirect() {
    let own = OwnDatabase::new().await;
    let (hooks, place) = Hooks::open().await;
    let allowed = Config { development: Some(true), webhook_allow: vec![place.clone()], ..config() };
    let world = World::alone_at(&own, &start_server(allowed, &own.api)).await;
    let new = json!({"name": "Hook", "trigger_type": "contact_created", "is_active": true, "actions": [
        {"type": "webhook", "config": {"url": format!("http://{place}/hook")}},
        {"type": "webhook", "config": {"url": format!("http://{place}/moved"), "payload": {"who": "{{ contact.email }}", "n": [1, "{{ workflow.name }}"]}}},
    ]});
    let made = world.admin.post("/api/workflows/", new).await.expect(200);
    let path = format!("/api/workflows/{}", made["id"].as_str().unwrap());
    let contact = world.contact("Ada", "L").await;
    until("the first attempt", async || hooks.0.lock().unwrap().len() == 1).await;
    until("its note", async || steps(&world.admin, &path).await.first().is_some_and(|s| s["status"] == "retrying"))
        .await;
    world.make_due("workflow_run").await;
    assert_eq!(ended(&world.admin, &path, 1).await, ["partial"]);
    let seen = hooks.0.lock().unwrap().clone();
    assert_eq!(seen.len(), 2, "a redirect is not followed");
    let (headers, body) = &seen[1];
    assert_eq!(seen[0].0["webhook-id"], headers["webhook-id"]);
    let key = BASE64_STANDARD.decode(made["webhook_secret"].as_str().unwrap().strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    mac.update(format!("{}.{}.{body}", text("webhook-id"), text("webhook-timestamp")).as_bytes());
    assert_eq!(text("webhook-signature"), format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())));
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!([&body["type"], &body["data"]["record"]["email"]], [&json!("contact_created"), &contact["email"]]);
    let steps = steps(&world.admin, &path).await;
    assert_eq!(steps[1]["error_message"], "It answered 307");
    assert_eq!(steps[1]["input"]["payload"], json!({"who": contact["email"], "n": [1, "Hook"]}));
    let history = json!(steps).to_string();
    assert!(!history.contains("a secret of the receiver") && !history.contains("whsec_"), "{history}");
}

/// Templates see only its short fields.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_tells_of_the_whole_record() {
    let own = OwnDatabase::new().await;
    let (hooks, place) = Hooks::open().await;
    let allowed = Config { development: Some(true), webhook_allow: vec![place.clone()], ..config() };
    let acme = World::served(&own, allowed).await;
    let hook = json!([{"type": "webhook", "config": {"url": format!("http://{place}/hook")}}]);
    workflow(&acme.admin, "deal_created", hook).await;
    let description = "\u{1f980}".repeat(2_000);
    let deal = json!({"title": "D", "value": 1, "stage_id": "Lead", "description": description});
    acme.admin.post("/api/deals/", deal).await.expect(200);
    until("the first attempt", async || hooks.0.lock().unwrap().len() == 1).await;
    let body: Value = serde_json::from_str(&hooks.0.lock().unwrap()[0].1).unwrap();
    let record = body["data"]["record"].as_object().unwrap();
    assert_eq!(record["description"], description);
    for empty in ["company", "contact_id", "expected_close_date", "probability"] {
        assert_eq!(record.get(empty), Some(&Value::Null), "{empty}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_given_up_leaves_no_step_open() {
    let own = OwnDatabase::new().await;
    let (_hooks, place) = Hooks::open().await;
    let allowed = Config { development: Some(true), webhook_allow: vec![place.clone()], ..config() };
    let acme = World::served(&own, allowed).await;
    let hook = json!([{"type": "webhook", "config": {"url": format!("http://{place}/hook")}}]);
    let path = workflow(&acme.admin, "contact_created", hook).await;
    acme.contact("Ada", "L").await;
    until("the first attempt", async || {
        steps(&acme.admin, &path).await.first().is_some_and(|s| s["status"] == "retrying")
    })
    .await;
    let broken = "create function is_broken() returns trigger language plpgsql as 'begin raise ''broken''; end';
        create trigger broken before update on workflow_steps for each row when (new.status = 'running') execute function is_broken()";
    acme.db.batch_execute(broken).await.unwrap();
    acme.db.batch_execute("update workflow_executions set error_count = 4").await.unwrap();
    acme.make_due("workflow_run").await;
    assert_eq!(ended(&acme.admin, &path, 1).await, ["failed"]);
    assert_eq!(runs(&acme.admin, &path).await[0]["failure_count"], 1);
    let step = &steps(&acme.admin, &path).await[0];
    let why = json!("The run failed for an internal reason");
    assert_eq!([&step["status"], &step["error_message"]], [&json!("failed"), &why]);
    assert_eq!(acme.value::<i64>("select count(*) from jobs where kind = 'workflow_run'", &[]).await, 0);
}

/// An action that cannot be done fails alone; the others are done.
#[tokio::test]
async fn an_action_that_cannot_be_done_does_not_stop_the_rest() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let contact = acme.contact("Ada", "L").await;
    let path = workflow(&acme.admin, "deal_created", json!([])).await;
    let id: Uuid = path.rsplit('/').next().unwrap().parse().unwrap();
    // As an import adds them.
    let actions = json!([
        {"type": "create_task", "config": {"subject": "{{ \"\\u0000\" }} x"}},
        {"type": "update_field", "config": {"field": "stage", "value": 7}},
        {"type": "create_task", "config": {"subject": "Done"}},
    ]);
    acme.db.execute("update workflows set actions = $2 where id = $1", &[&id, &actions]).await.unwrap();
    deal(&acme.admin, &contact).await;
    assert_eq!(ended(&acme.admin, &path, 1).await, ["partial"]);
    let steps = steps(&acme.admin, &path).await;
    let said = steps.iter().map(|step| (step["status"].as_str().unwrap(), step["error_message"].as_str()));
    assert_eq!(
        said.collect::<Vec<_>>(),
        [
            ("failed", Some("subject: the text has a character that cannot be stored")),
            ("failed", Some("The value is not the name of a stage")),
            ("success", None)
        ]
    );
    assert_eq!(acme.admin.get("/api/activities/").await.expect(200)[0]["subject"], "Done");
}

/// A run belongs to the company: it does not see what only its owner may see.
#[tokio::test]
async fn a_run_sees_no_historical_row_of_its_owner() {
    let acme = World::new().await;
    let historical = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email, phone)
        values ($1, null, $2, 'Hidden', 'Person', 'hidden@x.example', '+14155550177') returning id";
    let contact: Uuid = acme.value(historical, &[&acme.company, &acme.admin.id]).await;
    let contact = json!({"id": contact});
    acme.admin.get(&format!("/api/contacts/{}", contact["id"].as_str().unwrap())).await.expect(200);
    let record = deal(&acme.admin, &contact).await;
    let actions = json!([
        {"type": "create_task", "config": {"subject": "Of {{ contact.name }} {{ contact.email }} {{ contact.phone }}"}},
        {"type": "update_field", "config": {"on": "contact", "field": "phone", "value": "+14155550178"}},
    ]);
    let path = workflow(&acme.admin, "deal_won", actions).await;
    acme.member.send("POST", &format!("{path}/execute?record_id={record}"), None).await.expect(200);
    let steps = steps(&acme.member, &path).await;
    assert_eq!(steps[0]["status"], "success", "{steps:?}");
    assert_eq!(steps[1]["status"], "failed", "{steps:?}");
    let seen = json!(steps).to_string() + &acme.member.get("/api/activities/").await.text;
    assert!(!seen.contains("Hidden") && !seen.contains("hidden@") && !seen.contains("5550177"), "{seen}");
    let phone: String = acme
        .value("select phone from contacts where email = 'hidden@x.example' and tenant_id = $1", &[&acme.company])
        .await;
    assert_eq!(phone, "+14155550177");
    // Nor is a new row taken for a duplicate of a hidden one, which would reveal that it exists.
    let title = format!("Divorce {}", Uuid::new_v4());
    let pipeline = "insert into pipelines (tenant_id, company_id, owner_id, name, is_default, order_index)
        values ($1, null, $2, 'Private', true, -1) returning id";
    let pipeline: Uuid = acme.value(pipeline, &[&acme.company, &acme.admin.id]).await;
    let stage = "insert into pipeline_stages (tenant_id, company_id, owner_id, pipeline_id, name, order_index)
        values ($1, null, $2, $3, 'Custody', 0) returning id";
    let stage: Uuid = acme.value(stage, &[&acme.company, &acme.admin.id, &pipeline]).await;
    let hidden = "insert into deals (tenant_id, company_id, owner_id, title, pipeline_id, stage_id) values ($1, null, $2, $3, $4, $5)";
    acme.db.execute(hidden, &[&acme.company, &acme.admin.id, &title, &pipeline, &stage]).await.unwrap();
    let hidden =
        "insert into activities (tenant_id, company_id, owner_id, subject, type) values ($1, null, $2, $3, 'task')";
    acme.db.execute(hidden, &[&acme.company, &acme.admin.id, &title]).await.unwrap();
    let hidden = "insert into phone_numbers (tenant_id, company_id, user_id, phone_number, is_active) values ($1, null, $2, $3, true)";
    let (line, account) = (number(), Account::of(&acme).await);
    acme.db.execute(hidden, &[&acme.company, &acme.admin.id, &line]).await.unwrap();
    let actions = json!([
        {"type": "create_deal", "config": {"title": title}},
        {"type": "create_task", "config": {"subject": title}},
        {"type": "create_deal", "config": {"title": format!("{title} 2"), "stage": "Custody"}},
        {"type": "send_sms", "config": {"to": number(), "body": "Hi", "from_number": line}},
    ]);
    let path = workflow(&acme.admin, "deal_won", actions).await;
    acme.member.send("POST", &format!("{path}/execute"), None).await.expect(200);
    let found = self::steps(&acme.member, &path).await;
    let states: Vec<&str> = found.iter().map(|step| step["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["success", "success", "failed", "failed"], "{found:?}");
    let theirs = "select count(*) from deals where company_id is not null and pipeline_id = $1";
    assert_eq!(acme.value::<i64>(theirs, &[&pipeline]).await, 0);
    assert!(account.asked().is_empty());
    // Nor can it be started by hand for such a row.
    let path =
        workflow(&acme.admin, "contact_created", json!([{"type": "create_task", "config": {"subject": "S"}}])).await;
    let of = format!("{path}/execute?record_id={}", contact["id"].as_str().unwrap());
    assert_eq!(acme.admin.send("POST", &of, None).await.status, 404);
}

/// As a receiver on the internet is called: by name and https, with a certificate for that name from a known authority.
/// The only exception is that the name resolves to this machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_needs_a_certificate_of_its_name() {
    let (own, known, hooks) = (OwnDatabase::new().await, Authority::new(), Hooks::default());
    let https = || {
        let router = hooks.router();
        service_fn(move |request| router.clone().oneshot(request))
    };
    let right = known.serve("localhost", https()).await;
    let misnamed = known.serve("example.com", https()).await;
    let unknown = Authority::new().serve("localhost", https()).await;
    let private = known.serve("localhost", https()).await;
    let mut command = configured(&own, &["serve"]);
    let allowed = [right, misnamed, unknown].map(|port| format!("localhost:{port}")).join(",");
    command.env("RINGFENCE_WEBHOOK_ALLOW", allowed).env("SSL_CERT_FILE", known.file()).env("RINGFENCE_WORKER", "off");
    let (mut server, base) = serve(&mut command);
    let acme = World::alone_at(&own, &base).await;
    // The receiver responds with 503 to the first call that reaches it.
    for (port, status, error, calls) in [
        (misnamed, "retrying", json!(null), 0),
        (unknown, "retrying", json!(null), 0),
        (private, "failed", json!("The address is not on the public internet"), 0),
        (right, "retrying", json!(null), 1),
        (right, "success", json!(null), 2),
    ] {
        let call = json!([{"type": "webhook", "config": {"url": format!("https://localhost:{port}/hook")}}]);
        let path = workflow(&acme.admin, "deal_won", call).await;
        acme.admin.send("POST", &format!("{path}/execute"), None).await.expect(200);
        let step = steps(&acme.admin, &path).await.remove(0);
        assert_eq!([&step["status"], &step["error_message"]], [&json!(status), &error], "{step}");
        assert_eq!(hooks.0.lock().unwrap().len(), calls, "{step}");
    }
    server.kill().unwrap();
}

#[tokio::test]
async fn webhooks_reach_nothing_but_the_public_internet() {
    let hooks = Webhooks::new(&config()).unwrap();
    for refused in [
        "http://example.com/",
        "ftp://example.com/",
        "https://user:pw@example.com/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://0/",
        "https://10.1.2.3/",
        "https://172.31.0.1/",
        "https://192.168.1.1/",
        "https://100.64.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://198.18.0.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[::7f00:1]/",
        "https://[fe80::1]/",
        "https://[fd00:ec2::254]/",
        "https://[ff02::1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[2001:0:7f00:1::]/",
        "https://[2001:db8::1]/",
        "https://１２７.0.0.1/",
    ] {
        assert!(hooks.refusal(refused).is_some(), "{refused}");
    }
    for fine in
        ["https://example.com/x?y=z", "https://8.8.8.8/", "https://[2606:4700::1111]/", "https://172.32.0.1:8443/"]
    {
        assert_eq!(hooks.refusal(fine), None, "{fine}");
    }
    // A name is checked when it is resolved, and the connection goes to the address that was checked.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acme = World::new().await;
    let hook = |host: &str| json!({"type": "webhook", "config": {"url": format!("https://{host}:{port}/")}});
    let path = workflow(&acme.admin, "deal_won", json!([hook("localhost")])).await;
    // As a webhook that was allowed when it was saved.
    let (actions, id) = (json!([hook("localhost"), hook("127.0.0.1")]), path.rsplit('/').next().unwrap());
    let update = "update workflows set actions = $2 where id::text = $1";
    acme.db.execute(update, &[&id, &actions]).await.unwrap();
    let ran = acme.admin.send("POST", &format!("{path}/execute"), None).await.expect(200);
    assert_eq!([&ran["status"], &ran["failure_count"]], [&json!("partial"), &json!(2)]);
    for step in steps(&acme.admin, &path).await {
        assert_eq!(step["error_message"], "The address is not on the public internet");
    }
    let nobody = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(nobody.is_err(), "somebody connected");
    // Exceptions exist only in development.
    let place = format!("127.0.0.1:{port}");
    let ignored = Config { webhook_allow: vec![place.clone()], ..config() };
    assert!(Webhooks::new(&ignored).unwrap().refusal(&format!("https://{place}/")).is_some());
    let mut refused = ignored.clone();
    assert!(refused.resolve(None).unwrap_err().to_string().contains("RINGFENCE_WEBHOOK_ALLOW"));
    let allowed = Config { development: Some(true), ..ignored };
    assert_eq!(Webhooks::new(&allowed).unwrap().refusal(&format!("http://{place}/")), None);
}

fn worker(own: &OwnDatabase) -> Child {
    let mut command = configured(own, &["worker"]);
    command.env("RINGFENCE_TWILIO_URL", config().twilio_url).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Kills workers in the middle of their work, twice: each contact has one run, and each run its one task and its one
/// text, or a note that the text may have been sent.
#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_lose_nothing_and_do_nothing_twice() {
    const CONTACTS: i64 = 500;
    let own = OwnDatabase::new().await;
    let base = start_server(Config { worker: ringfence::config::Switch::Off, ..config() }, &own.api);
    let acme = World::alone_at(&own, &base).await;
    let account = Account::of(&acme).await;
    let path = workflow(
        &acme.admin,
        "contact_created",
        json!([
            {"type": "create_task", "config": {"subject": "Call {{ contact.email }}"}},
            {"type": "send_sms", "config": {"to": "{{ contact.phone }}", "body": "Hi"}},
        ]),
    )
    .await;
    let rows: String = (0..CONTACTS).map(|n| format!("c{n}@import.example,+1415{:07}\n", 5_000_010 + n * 10)).collect();
    let imported =
        acme.admin.upload("/api/contacts/upload-csv", "c.csv", "text/csv", format!("email,phone\n{rows}")).await;
    assert_eq!(imported.expect(200)["created_count"], json!(CONTACTS));
    let count = async |what: &str| acme.value::<i64>(&format!("select count(*) from {what}"), &[]).await;
    assert_eq!(count("workflow_executions").await, CONTACTS);
    for part in [1, 2] {
        let mut worker = worker(&own);
        until("some of the work", async || count("workflow_steps where action = 'send_sms'").await > part * 60).await;
        worker.kill().unwrap();
        worker.wait().unwrap();
        assert!(count("workflow_executions where status = 'running'").await > 0, "it was killed too late");
        // Claims of dead workers end after five minutes; here they end at once.
        acme.db.execute("update jobs set run_at = now()", &[]).await.unwrap();
    }
    let mut last = worker(&own);
    until("the end of the runs", async || count("workflow_executions where status = 'running'").await == 0).await;
    last.kill().unwrap();
    last.wait().unwrap();
    assert_eq!(count("workflow_executions").await, CONTACTS);
    assert_eq!(count("(select distinct event_id from workflow_executions) e").await, CONTACTS);
    assert_eq!(count("activities").await, CONTACTS);
    assert_eq!(count("(select distinct subject from activities) a").await, CONTACTS);
    assert_eq!(acme.admin.get(&path).await.expect(200)["executions_count"], json!(CONTACTS));
    let mut sent: Vec<String> = account.asked().iter().map(|form| form["To"].clone()).collect();
    let all = sent.len();
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), all, "nobody was written to twice");
    let unclear = count("workflow_steps where status = 'failed' and error_message like '%may have arrived%'").await;
    assert_eq!(count("workflow_steps where action = 'send_sms' and status = 'success'").await + unclear, CONTACTS);
    assert!(unclear < 64, "{unclear} at two deaths with less than 32 under way");
    assert!(all as i64 >= CONTACTS - unclear);
}
