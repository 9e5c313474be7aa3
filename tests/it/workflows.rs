//! Workflows as the screens show them (contract: workflows).

use crate::support::world::World;
use jiff::Timestamp;
use ringfence::workflow::{Condition, Context, Schedule, hold};
use serde_json::{Value, json};
use std::iter;
use uuid::Uuid;

const LIST: &str = "/api/workflows/";

fn path(workflow: &Value) -> String {
    format!("/api/workflows/{}", workflow["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_workflow_is_made_listed_changed_and_deleted() {
    let acme = World::new().await;
    let new =
        json!({"name": " Welcome ", "description": "Says hello", "trigger_type": "contact_created", "is_active": true});
    let made = acme.member.post(LIST, new).await.expect(200);
    let wire = [
        "id",
        "name",
        "description",
        "status",
        "trigger",
        "actions_count",
        "executions_count",
        "last_run",
        "created_at",
    ];
    for key in wire {
        assert!(made.as_object().unwrap().contains_key(key), "{key}");
    }
    assert_eq!(
        [
            &made["name"],
            &made["status"],
            &made["trigger"],
            &made["actions_count"],
            &made["executions_count"],
            &made["last_run"]
        ],
        [&json!("Welcome"), &json!("active"), &json!("contact_created"), &json!(0), &json!(0), &json!(null)]
    );
    let taken = acme.admin.post(LIST, json!({"name": "WELCOME "})).await.detail(400);
    assert!(taken.contains("already exists"), "{taken}");
    World::new().await.admin.post(LIST, json!({"name": "Welcome"})).await.expect(200);

    let old = acme.admin.post(LIST, json!({"name": "Old form", "trigger": "deal_won"})).await.expect(200);
    assert_eq!([&old["trigger"], &old["status"]], [&json!("deal_won"), &json!("inactive")]);
    let odd = acme.admin.post(LIST, json!({"name": "Odd", "trigger_type": "moon_phase"})).await.expect(200);
    assert_eq!(odd["trigger"], "scheduled");

    let names = async |query: &str| -> Vec<String> {
        let list = acme.member.get(&format!("{LIST}{query}")).await.expect(200);
        list.as_array().unwrap().iter().map(|w| w["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("?v=1.0.0").await, ["Odd", "Old form", "Welcome"]);
    assert_eq!(names("?status=active").await, ["Welcome"]);
    assert_eq!(acme.member.get(&format!("{LIST}?status=asleep")).await.status, 422);

    let changed = acme
        .member
        .put(&path(&made), json!({"name": "Hello", "trigger_type": "?", "status": "paused"}))
        .await
        .expect(200);
    assert_eq!(
        [&changed["name"], &changed["trigger"], &changed["status"], &changed["description"]],
        [&json!("Hello"), &json!("contact_created"), &json!("paused"), &json!("Says hello")]
    );
    let both = acme.member.put(&path(&made), json!({"is_active": true, "status": "paused"})).await.expect(200);
    assert_eq!(both["status"], "active");
    assert_eq!(acme.member.put(&path(&made), json!({"status": "asleep"})).await.expect(200)["status"], "active");
    assert!(acme.member.put(&path(&made), json!({"name": "old FORM"})).await.detail(400).contains("already exists"));
    assert_eq!(acme.admin.get(&path(&made)).await.expect(200)["name"], "Hello");

    for expected in ["inactive", "active"] {
        let answer = acme.member.post(&format!("{}/toggle", path(&made)), json!({"is_active": true})).await.expect(200);
        assert_eq!(answer["status"], expected);
        assert!(answer["message"].is_string());
    }
    acme.member.delete(&path(&made)).await.expect(200);
    for gone in [
        acme.admin.get(&path(&made)).await,
        acme.admin.put(&path(&made), json!({})).await,
        acme.admin.delete(&path(&made)).await,
        acme.admin.post(&format!("{}/toggle", path(&made)), json!({})).await,
        acme.admin.post(&format!("{}/execute", path(&made)), json!({})).await,
        acme.admin.post(&format!("{}/dry-run", path(&made)), json!({})).await,
        acme.admin.get(&format!("{}/executions", path(&made))).await,
    ] {
        assert_eq!(gone.detail(404), "Workflow not found");
    }
    acme.member.post(LIST, json!({"name": "Hello"})).await.expect(200);
    assert_eq!(acme.lone().await.get(LIST).await.detail(403), "No company associated with user");
}

/// The location of a field such as `actions[0].type` in an error.
fn loc(field: &str) -> Value {
    let step = |part: &str| part.strip_suffix(']').map_or(json!(part), |n| json!(n.parse::<usize>().unwrap()));
    iter::once(json!("body")).chain(field.split(['.', '[']).map(step)).collect()
}

/// Configurations that are refused when they are saved, and the field that the response names.
#[tokio::test]
async fn what_cannot_work_is_refused_when_it_is_saved() {
    let acme = World::new().await;
    let made = acme.admin.post(LIST, json!({"name": "W", "trigger_type": "deal_won"})).await.expect(200);
    let action = |kind: &str, config: Value| json!({"actions": [{"type": kind, "config": config}]});
    for (field, body) in [
        ("actions[0].type", action("fly", json!({}))),
        ("actions[0].type", json!({"actions": [{}]})),
        ("actions", json!({"actions": "none"})),
        ("actions[0].config.value", action("update_field", json!({"field": "stage", "value": 7}))),
        ("actions[0].config.value", action("update_field", json!({"field": "stage", "value": null}))),
        ("actions[0].config", action("wait", json!([]))),
        ("actions[0].config", action("wait", json!({}))),
        ("actions[0].config.minutes", action("wait", json!({"minutes": -1}))),
        ("actions[0].config.body", action("send_sms", json!({}))),
        ("actions[0].config.body", action("send_sms", json!({"body": " "}))),
        ("actions[0].config.body", action("send_sms", json!({"body": "Hi\n{{ contact."}))),
        ("actions[0].config.body", action("send_sms", json!({"body": "{% set x = 'x' %}"}))),
        ("actions[0].config.body", action("send_sms", json!({"body": "{{ 'x' * 100000000 }}"}))),
        ("actions[0].config.body", action("send_sms", json!({"body": "{% for x in [1, 2] %}{% endfor %}"}))),
        ("actions[0].config.body", action("send_email", json!({"subject": "S", "body": "{{ x|unheard_of }}"}))),
        ("actions[0].config.subject", action("send_email", json!({"body": "B"}))),
        ("actions[0].config.type", action("create_activity", json!({"subject": "S", "type": "dance"}))),
        ("actions[0].config.value", action("create_deal", json!({"title": "T", "value": true}))),
        ("actions[0].config.field", action("update_field", json!({"field": "company_id", "value": "x"}))),
        ("actions[0].config.value", action("update_field", json!({"field": "status", "value": "sleeping"}))),
        (
            "actions[0].config.on",
            action("update_field", json!({"on": "activity", "field": "status", "value": "pending"})),
        ),
        ("actions[0].config.url", action("webhook", json!({"url": "file:///etc/passwd"}))),
        ("actions[0].config.url", action("webhook", json!({"url": "http://hooks.example/x"}))),
        ("actions[0].config.url", action("webhook", json!({"url": "https://10.0.0.1/x"}))),
        ("actions[0].config.users[0]", action("send_notification", json!({"title": "T", "users": ["x"]}))),
        (
            "actions[0].conditions[0].operator",
            json!({"actions": [{"type": "add_tag", "config": {"tag": "x"},
            "conditions": [{"field": "a", "operator": "like", "value": 1}]}]}),
        ),
        (
            "actions[0].conditions[0].operator",
            json!({"actions": [{"type": "add_tag", "config": {"tag": "x"}, "conditions": [{"field": "a"}]}]}),
        ),
        ("conditions[0].value", json!({"conditions": [{"field": "deal.value", "operator": "equals"}]})),
        ("schedule.cron", json!({"schedule": {"cron": "61 * * * *"}})),
        ("schedule.cron", json!({"schedule": {"cron": "0 0 30 2 *"}})),
        ("schedule.timezone", json!({"schedule": {"cron": "0 9 * * *", "timezone": "Mars/Olympus"}})),
        ("schedule", json!({"schedule": {}})),
        ("max_executions", json!({"max_executions": 0})),
    ] {
        let mut new = json!({"name": Uuid::new_v4(), "trigger_type": "deal_won"});
        new.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        for refused in [acme.admin.post(LIST, new).await, acme.admin.put(&path(&made), body.clone()).await] {
            let problems = refused.expect(422);
            assert_eq!(problems["detail"][0]["loc"], loc(field), "{body}: {problems}");
        }
    }
    let line = action("send_sms", json!({"body": "Hi\n{{ contact."}));
    let said = acme.admin.put(&path(&made), line).await.expect(422)["detail"][0]["msg"].as_str().unwrap().to_owned();
    assert!(said.starts_with("Line 2"), "{said}");
    // A URL that was allowed when it was saved does not prevent other changes.
    let hook = json!([{"type": "webhook", "config": {"url": "http://hooks.example/x"}}]);
    let id: Uuid = made["id"].as_str().unwrap().parse().unwrap();
    acme.db.execute("update workflows set actions = $2 where id = $1", &[&id, &hook]).await.unwrap();
    acme.admin.put(&path(&made), json!({"description": "Kept"})).await.expect(200);
    // A tag needs a deal, also when the workflow gets another trigger.
    acme.admin.put(&path(&made), action("add_tag", json!({"tag": "vip"}))).await.expect(200);
    let refused = acme.admin.put(&path(&made), json!({"trigger_type": "contact_created"})).await.detail(400);
    assert!(refused.contains("actions[0].type"), "{refused}");
    let stranger = World::new().await.admin.id;
    // A run sees no historical rows, not even those of its owner.
    let historical =
        "insert into pipelines (tenant_id, company_id, owner_id, name) values ($1, null, $2, 'Old') returning id";
    let historical: Uuid = acme.value(historical, &[&acme.company, &acme.admin.id]).await;
    for id in [stranger, Uuid::now_v7(), historical] {
        let named = action("send_notification", json!({"title": "T", "users": [id]}));
        assert_eq!(acme.admin.put(&path(&made), named).await.detail(404), "User not found");
        let named = action("create_deal", json!({"title": "T", "pipeline_id": id}));
        assert_eq!(acme.admin.put(&path(&made), named).await.detail(404), "Pipeline not found");
    }
    let kept = acme.admin.get(&path(&made)).await.expect(200);
    assert_eq!([&kept["actions"][0]["type"], &kept["actions_count"]], [&json!("add_tag"), &json!(1)]);
}

/// An import adds actions unchecked.
#[tokio::test]
async fn a_workflow_whose_actions_nobody_can_read_is_switched_off_and_renamed() {
    let acme = World::new().await;
    let new = json!({"name": "W", "trigger_type": "deal_won", "is_active": true});
    let made = acme.admin.post(LIST, new).await.expect(200);
    let id: Uuid = made["id"].as_str().unwrap().parse().unwrap();
    let kept = json!([{"type": "send_notification", "config": {"message": "Hi"}}]);
    acme.db.execute("update workflows set actions = $2 where id = $1", &[&id, &kept]).await.unwrap();
    let put = async |body: Value| acme.member.put(&path(&made), body).await;
    put(json!({"name": "Still on", "trigger_type": "deal_won", "is_active": true})).await.expect(200);
    let off = put(json!({"name": "Off", "trigger_type": "deal_won", "is_active": false})).await.expect(200);
    assert_eq!([&off["name"], &off["status"], &off["actions"]], [&json!("Off"), &json!("inactive"), &kept]);
    let toggle = async || acme.member.post(&format!("{}/toggle", path(&made)), json!({})).await;
    for refused in [
        put(json!({"is_active": true})).await,
        put(json!({"status": "active"})).await,
        put(json!({"trigger_type": "deal_lost"})).await,
        put(json!({"new_webhook_secret": true})).await,
        toggle().await,
    ] {
        let sentence = refused.detail(400);
        assert!(sentence.contains("cannot be done as they are: actions[0].config.title"), "{sentence}");
    }
    put(json!({"actions": kept, "name": "Sent back"})).await.expect(200);
    assert_eq!(put(json!({"actions": [{"type": "send_notification", "config": {"message": "Ho"}}]})).await.status, 422);
    put(json!({"actions": [], "is_active": true})).await.expect(200);
    assert_eq!(toggle().await.expect(200)["status"], "inactive");
    assert_eq!(toggle().await.expect(200)["status"], "active");
}

/// A run cannot evaluate them either: it says so, is counted, and a dry run foretells it.
#[tokio::test]
async fn a_workflow_whose_conditions_nobody_can_read_is_not_switched_on() {
    let acme = World::new().await;
    let new = json!({"name": "W", "trigger_type": "contact_created", "is_active": true});
    let made = acme.admin.post(LIST, new).await.expect(200);
    let id: Uuid = made["id"].as_str().unwrap().parse().unwrap();
    let kept = json!([{"stage": "x"}]);
    acme.db.execute("update workflows set conditions = $2 where id = $1", &[&id, &kept]).await.unwrap();
    let put = async |body: Value| acme.member.put(&path(&made), body).await;
    let whole = acme.member.get(&path(&made)).await.expect(200);
    assert_eq!(put(whole).await.expect(200)["conditions"], kept, "what was read may be sent back");
    let sentence = acme.member.post(&format!("{}/dry-run", path(&made)), json!({})).await.detail(400);
    assert!(sentence.contains("conditions cannot be read: enter them again"), "{sentence}");
    let run = acme.member.post(&format!("{}/execute", path(&made)), json!({})).await.expect(200);
    assert_eq!(run["status"], "failed");
    let runs = acme.member.get(&format!("{}/executions", path(&made))).await.expect(200);
    assert_eq!(runs[0]["error_message"], sentence);
    let counted = acme.member.get(&path(&made)).await.expect(200);
    assert!(counted["executions_count"] == 1 && counted["last_run"].is_string(), "{counted}");

    put(json!({"is_active": false})).await.expect(200);
    let toggle = async || acme.member.post(&format!("{}/toggle", path(&made)), json!({})).await;
    for refused in [put(json!({"is_active": true})).await, put(json!({"status": "active"})).await, toggle().await] {
        let sentence = refused.detail(400);
        assert!(sentence.contains("cannot be asked as they are: conditions[0]"), "{sentence}");
    }
    assert_eq!(put(json!({"conditions": [{"stage": "y"}]})).await.status, 422);
    assert_eq!(put(json!({"conditions": {}})).await.status, 422);
    put(json!({"conditions": [], "is_active": true})).await.expect(200);
    assert_eq!(toggle().await.expect(200)["status"], "inactive");
    assert_eq!(toggle().await.expect(200)["status"], "active");
}

#[tokio::test]
async fn the_secret_of_webhooks_is_shown_once_and_kept_sealed() {
    let acme = World::new().await;
    let hook = json!([{"type": "webhook", "config": {"url": "https://hooks.example/x"}}]);
    let made = acme.admin.post(LIST, json!({"name": "Hook", "actions": hook})).await.expect(200);
    let secret = made["webhook_secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_") && secret.len() > 40);
    let again = acme.admin.put(&path(&made), json!({"actions": hook})).await.expect(200);
    assert_eq!(again["webhook_secret"], json!(null));
    assert!(!acme.admin.get(&path(&made)).await.text.contains("whsec_"));
    let renewed = acme.admin.put(&path(&made), json!({"new_webhook_secret": true})).await.expect(200);
    assert!(renewed["webhook_secret"].as_str().is_some_and(|new| new.starts_with("whsec_") && new != secret));
    let sealed: Vec<u8> =
        acme.value("select sealed from app.company_secrets where company_id = $1", &[&acme.company]).await;
    assert!(!String::from_utf8_lossy(&sealed).contains("whsec_"));
    acme.admin.delete(&path(&made)).await.expect(200);
    let left: i64 =
        acme.value("select count(*) from app.company_secrets where company_id = $1", &[&acme.company]).await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_run_by_hand_is_counted_and_listed() {
    let acme = World::new().await;
    let made = acme.admin.post(LIST, json!({"name": "Empty"})).await.expect(200);
    let ran = acme.member.post(&format!("{}/execute", path(&made)), json!({})).await.expect(200);
    assert_eq!(
        [&ran["status"], &ran["success_count"], &ran["failure_count"], &ran["duration_seconds"]],
        [&json!("success"), &json!(0), &json!(0), &json!(0)]
    );
    assert!(ran["message"].is_string());
    acme.admin.send("POST", &format!("{}/execute", path(&made)), None).await.expect(200);
    let runs = acme.member.get(&format!("{}/executions", path(&made))).await.expect(200);
    assert_eq!(runs.as_array().unwrap().len(), 2);
    assert_eq!(runs[1]["id"], ran["execution_id"]);
    assert_eq!(runs[1]["trigger_data"], json!({"manual_execution": true, "user_id": acme.member.id}));
    // As an imported run may have them.
    let long = "update workflow_executions set started_at = '0002-01-01', completed_at = '9999-01-01' where id = $1::text::uuid";
    acme.db.execute(long, &[&ran["execution_id"].as_str().unwrap()]).await.unwrap();
    let listed = acme.member.get(&format!("{}/executions", path(&made))).await.expect(200);
    assert_eq!(listed[1]["duration_seconds"], i32::MAX);
    let one = format!("{}/executions/{}", path(&made), ran["execution_id"].as_str().unwrap());
    assert_eq!(acme.member.get(&one).await.expect(200)["duration_seconds"], i32::MAX);
    // One that has not ended has no duration, and the answer to its start says that it took no time.
    let actions = json!([{"type": "wait", "config": {"days": 1}}]);
    let waits = acme.admin.post(LIST, json!({"name": "Waits", "actions": actions})).await.expect(200);
    let waiting = acme.admin.send("POST", &format!("{}/execute", path(&waits)), None).await.expect(200);
    assert_eq!([&waiting["status"], &waiting["duration_seconds"]], [&json!("running"), &json!(0)]);
    let of_it = format!("{}/executions", path(&waits));
    let listed = acme.member.get(&of_it).await.expect(200)[0].clone();
    let shown = acme.member.get(&format!("{of_it}/{}", waiting["execution_id"].as_str().unwrap())).await.expect(200);
    assert_eq!([&listed["duration_seconds"], &shown["duration_seconds"]], [&Value::Null; 2]);
    let mut keys: Vec<&String> = runs[0].as_object().unwrap().keys().collect();
    keys.sort();
    let wire = [
        "completed_at",
        "duration_seconds",
        "error_message",
        "failure_count",
        "id",
        "started_at",
        "status",
        "success_count",
        "trigger_data",
    ];
    assert_eq!(keys, wire);
    assert_eq!(
        acme.admin.get(&format!("{}/executions?limit=1", path(&made))).await.expect(200).as_array().unwrap().len(),
        1
    );
    assert_eq!(acme.admin.get(&format!("{}/executions?limit=-1", path(&made))).await.status, 422);
    let seen = acme.admin.get(&path(&made)).await.expect(200);
    assert_eq!(seen["executions_count"], 2);
    assert!(seen["last_run"].is_string());
    let one = format!("{}/executions/{}", path(&made), runs[0]["id"].as_str().unwrap());
    assert_eq!(acme.admin.get(&one).await.expect(200)["steps"], json!([]));
    let other = World::new().await;
    assert_eq!(other.admin.get(&one).await.detail(404), "Workflow not found");
    let own = other.admin.post(LIST, json!({"name": "Own"})).await.expect(200);
    let theirs = format!("{}/executions/{}", path(&own), runs[0]["id"].as_str().unwrap());
    assert_eq!(other.admin.get(&theirs).await.detail(404), "Execution not found");
    let contact = acme.contact("Ada", "L").await;
    for record in [contact["id"].as_str().unwrap().to_owned(), Uuid::now_v7().to_string()] {
        for route in ["execute", "dry-run"] {
            let answer = other.admin.send("POST", &format!("{}/{route}?record_id={record}", path(&own)), None).await;
            assert_eq!(answer.detail(404), "Record not found");
        }
    }
}

#[tokio::test]
async fn a_run_stops_at_the_number_that_is_allowed() {
    let acme = World::new().await;
    let made = acme.admin.post(LIST, json!({"name": "Twice", "max_executions": 2})).await.expect(200);
    for expected in ["success", "success", "failed"] {
        let ran = acme.admin.send("POST", &format!("{}/execute", path(&made)), None).await.expect(200);
        assert_eq!(ran["status"], expected);
    }
    assert_eq!(acme.admin.get(&path(&made)).await.expect(200)["executions_count"], 2);
    let runs = acme.admin.get(&format!("{}/executions", path(&made))).await.expect(200);
    assert_eq!(runs[0]["error_message"], "The workflow has run as often as it may");
}

/// An hour comes twice in the night in which clocks are set back, and one is missing when they are set forward.
#[test]
fn a_time_of_the_clock_comes_once_each_day() {
    let times = |cron: &str, zone: &str, start: &str| -> Vec<String> {
        let schedule = Schedule { every_minutes: None, cron: Some(cron.into()), timezone: Some(zone.into()) };
        let mut now: Timestamp = start.parse().unwrap();
        let next = || {
            now = schedule.next("UTC", now).unwrap();
            now.to_string()
        };
        std::iter::repeat_with(next).take(3).collect()
    };
    let york = "America/New_York";
    assert_eq!(
        times("30 1 * * *", york, "2026-11-01T04:00:00Z"),
        ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z", "2026-11-03T06:30:00Z"]
    );
    assert_eq!(
        times("30 2 * * *", york, "2027-03-13T12:00:00Z"),
        ["2027-03-14T07:30:00Z", "2027-03-15T06:30:00Z", "2027-03-16T06:30:00Z"]
    );
    assert_eq!(times("30 2 14 3 *", york, "2027-01-01T00:00:00Z")[0], "2027-03-14T07:30:00Z");
    assert_eq!(
        times("0 */12 * * *", "America/Havana", "2027-11-07T01:00:00Z"),
        ["2027-11-07T04:00:00Z", "2027-11-07T17:00:00Z", "2027-11-08T05:00:00Z"]
    );
    assert_eq!(
        times("*/20 2 * * *", "Europe/Berlin", "2027-03-28T00:00:00Z"),
        ["2027-03-28T01:00:00Z", "2027-03-28T01:20:00Z", "2027-03-28T01:40:00Z"]
    );
    // An hourly schedule runs every hour.
    assert_eq!(
        times("30 * * * *", york, "2026-11-01T05:00:00Z"),
        ["2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-01T07:30:00Z"]
    );
    assert_eq!(
        times("15 * 28 3 *", "Europe/Berlin", "2027-03-27T23:30:00Z"),
        ["2027-03-28T00:15:00Z", "2027-03-28T01:15:00Z", "2027-03-28T02:15:00Z"]
    );
    assert_eq!(
        times("0 * * 7 *", "Australia/Lord_Howe", "2026-06-01T00:00:00Z")[0],
        "2026-06-30T13:30:00Z",
        "a zone of half hours"
    );
    assert_eq!(times("0 9 * * MON-FRI", "Europe/Berlin", "2026-10-23T08:00:00Z")[0], "2026-10-26T08:00:00Z");
}

/// Valid names and times of zones come from the same built-in list. This test runs itself again on a machine that knows
/// only one zone, with wrong data.
#[test]
fn a_time_zone_does_not_depend_on_the_machine() {
    if std::env::var_os("TZDIR").is_none() {
        let zones = std::env::temp_dir().join(format!("zones-{}", Uuid::new_v4()));
        std::fs::create_dir_all(zones.join("Europe")).unwrap();
        // RFC 9636: one type of local time, which is UTC.
        let mut utc = b"TZif".to_vec();
        utc.extend([0; 35]);
        utc.extend([1, 0, 0, 0, 4]);
        utc.extend([0; 6]);
        utc.extend(b"UTC\0");
        std::fs::write(zones.join("Europe/Berlin"), utc).unwrap();
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "workflows::a_time_zone_does_not_depend_on_the_machine"]).env("TZDIR", &zones);
        let ran = again.output().unwrap();
        std::fs::remove_dir_all(zones).unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
        return;
    }
    let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    for (cron, zone, next) in [
        ("0 9 * * *", "Europe/Berlin", "2026-12-01T08:00:00Z"),
        ("0 9 * * *", "US/Eastern", "2026-12-01T14:00:00Z"),
        ("0 * 2 12 *", "Europe/Berlin", "2026-12-01T23:00:00Z"),
        ("0 * 2 12 *", "US/Eastern", "2026-12-02T05:00:00Z"),
    ] {
        let schedule = Schedule { every_minutes: None, cron: Some(cron.into()), timezone: None };
        assert_eq!(schedule.next(zone, now).unwrap().to_string(), next, "{cron} {zone}");
    }
}

#[tokio::test]
async fn a_dry_run_shows_what_would_happen_and_does_nothing() {
    let acme = World::new().await;
    let contact = acme.contact("Ada", "<b>Lovelace</b>").await;
    let deal = json!({"title": "Engine", "value": 5000, "stage_id": "Lead", "contact": contact["id"]});
    let deal = acme.admin.post("/api/deals/", deal).await.expect(200);
    let new = json!({"name": "Look", "trigger_type": "deal_created",
    "conditions": [{"field": "deal.value", "operator": "greater_than", "value": 1000}],
    "actions": [
        {"type": "send_email", "config": {"subject": "{{ deal.title|upper }} {{deal_id}}", "body": "<p>{{ contact.name }} {{ contact.phone }}</p>"}},
        {"type": "create_task", "config": {"subject": "{% if deal.value > 9000 %}large{% else %}{{ workflow.name }}{% endif %}"}},
        {"type": "add_tag", "config": {"tag": "x"}, "conditions": [{"field": "status", "operator": "in", "value": ["won", "lost"]}]},
        {"type": "send_sms", "config": {"body": "{{ deal.title|date }}"}}
    ]});
    let made = acme.admin.post(LIST, new).await.expect(200);
    let shown = acme.member.send("POST", &format!("{}/dry-run", path(&made)), None).await.expect(200);
    assert_eq!((&shown["would_start"], &shown["record"]["title"]), (&json!(true), &json!("Engine")));
    let steps = shown["steps"].as_array().unwrap();
    assert_eq!(
        [&steps[0]["input"]["subject"], &steps[0]["input"]["body"], &steps[0]["input"]["to"]],
        [
            &json!(format!("ENGINE {}", deal["id"].as_str().unwrap())),
            &json!("<p>Ada &lt;b&gt;Lovelace&lt;&#x2f;b&gt; </p>"),
            &contact["email"]
        ]
    );
    assert_eq!((&steps[1]["type"], &steps[1]["input"]["subject"]), (&json!("create_activity"), &json!("Look")));
    assert_eq!((&steps[2]["would_run"], &steps[1]["would_run"]), (&json!(false), &json!(true)));
    assert!(steps[3]["error_message"].as_str().unwrap().starts_with("body: Line 1"), "{shown}");
    let rows: i64 = acme
        .value("select (select count(*) from workflow_executions where tenant_id = $1) + (select count(*) from activities where tenant_id = $1)
            + (select count(*) from emails where tenant_id = $1)", &[&acme.company])
        .await;
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn a_day_is_the_same_in_every_time_zone_and_a_time_is_the_companys() {
    let acme = World::new().await;
    let set = "update companies set timezone = 'America/New_York' where id = $1";
    acme.db.execute(set, &[&acme.company]).await.unwrap();
    let subject = "{{ activity.due_date|date(\"%d.%m.%Y %H:%M\") }}";
    let new = json!({"name": "Look", "trigger_type": "activity_completed",
        "actions": [{"type": "create_task", "config": {"subject": subject}}]});
    let made = acme.admin.post(LIST, new).await.expect(200);
    for (due, shown) in [("2026-12-24", "24.12.2026 00:00"), ("2026-12-24T03:30:00Z", "23.12.2026 22:30")] {
        let activity = json!({"type": "task", "subject": "S", "due_date": due});
        let activity = acme.admin.post("/api/activities/", activity).await.expect(200);
        let dry_run = format!("{}/dry-run?record_id={}", path(&made), activity["id"].as_str().unwrap());
        let dry_run = acme.admin.send("POST", &dry_run, None).await.expect(200);
        assert_eq!(dry_run["steps"][0]["input"]["subject"], shown);
    }
}

#[tokio::test]
async fn an_answer_to_a_text_goes_to_who_wrote() {
    let acme = World::new().await;
    let insert =
        "insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body)
        values ($1, $1, $2, 'inbound', 'received', '+14155550123', '+14155550124', 'Is it open?') returning id";
    acme.value::<Uuid>(insert, &[&acme.company, &acme.admin.id]).await;
    let new = json!({"name": "Answer", "trigger_type": "inbound_sms",
        "actions": [{"type": "send_sms", "config": {"body": "You asked: {{ body }}"}}]});
    let made = acme.admin.post(LIST, new).await.expect(200);
    let shown = acme.admin.send("POST", &format!("{}/dry-run", path(&made)), None).await.expect(200);
    assert_eq!(shown["steps"][0]["input"], json!({"to": "+14155550123", "body": "You asked: Is it open?"}));
}

/// Templates that would expand hugely are stopped or refused.
#[tokio::test]
async fn a_template_cannot_hold_the_server_up() {
    let acme = World::new().await;
    let tags: Vec<String> = (0..200).map(|n| format!("tag{n}{}", "x".repeat(80))).collect();
    let deal = acme.admin.post("/api/deals/", json!({"title": "T", "value": 1, "stage_id": "Lead"})).await.expect(200);
    let id: Uuid = deal["id"].as_str().unwrap().parse().unwrap();
    acme.db
        .execute(
            "update deals set tags = to_jsonb($2::text[]), description = repeat('y', 100000) where id = $1",
            &[&id, &tags],
        )
        .await
        .unwrap();
    let nested = "{% for a in deal.tags %}{% for b in deal.tags %}{% for c in deal.tags %}{{ deal.description }}{% endfor %}{% endfor %}{% endfor %}";
    let joined = format!("{{{{ [{}]|join('{}') }}}}", ["deal.description"; 900].join(","), "z".repeat(8));
    let glued = format!("{{{{ {} }}}}", ["deal.description"; 900].join("~"));
    let save = async |body: &str| {
        let new = json!({"name": Uuid::new_v4(), "trigger_type": "deal_created",
            "actions": [{"type": "create_task", "config": {"subject": "S", "description": body}}]});
        acme.admin.post(LIST, new).await
    };
    for body in [joined, glued] {
        assert_eq!(save(&body).await.status, 422);
    }
    let made = save(nested).await.expect(200);
    let start = std::time::Instant::now();
    let shown = acme.admin.send("POST", &format!("{}/dry-run", path(&made)), None).await.expect(200);
    assert!(shown["steps"][0]["error_message"].is_string(), "{:.300}", shown.to_string());
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

/// Nor can many templates in one step together, also if they read a long list or bypassed the check.
#[tokio::test]
async fn the_templates_of_a_step_have_one_end() {
    let acme = World::new().await;
    let deal = acme.admin.post("/api/deals/", json!({"title": "T", "value": 1, "stage_id": "Lead"})).await.expect(200);
    let id: Uuid = deal["id"].as_str().unwrap().parse().unwrap();
    let tags = "update deals set tags = (select jsonb_agg('tag' || n) from generate_series(1, 50000) n) where id = $1";
    acme.db.execute(tags, &[&id]).await.unwrap();
    let save = async |payload: Value| {
        let config = json!({"url": "https://x.example/", "payload": payload});
        let condition = json!({"field": "deal.tags", "operator": "contains", "value": "tag40000"});
        let actions = json!([{"type": "webhook", "config": config, "conditions": [condition]}]);
        acme.admin.post(LIST, json!({"name": Uuid::new_v4(), "trigger_type": "deal_created", "actions": actions})).await
    };
    let refused = save(json!(vec!["{{ x }}"; 101])).await.expect(422);
    assert_eq!(refused["detail"][0]["msg"], "A config has at most 100 texts with templates");
    save(json!(vec!["no template"; 101])).await.expect(200);

    let tried = async |made: &Value| {
        let tried = acme.admin.send("POST", &format!("{}/dry-run?record_id={id}", path(made)), None).await.expect(200);
        assert_eq!(tried["steps"][0]["would_run"], true, "conditions see all of a list");
        tried["steps"][0].clone()
    };
    let made = save(json!(["{{ deal.tags|length }}", "{{ deal.tags|last }}"])).await.expect(200);
    assert_eq!(tried(&made).await["input"]["payload"], json!(["100", "tag100"]));
    let looped = "{% for t in deal.tags %}{{ t }}{% endfor %}";
    let made = save(json!(vec![looped; 100])).await.expect(200);
    let step = tried(&made).await;
    assert!(step["error_message"].as_str().unwrap().contains("take too long together"), "{step}");
    let run = acme.admin.send("POST", &format!("{}/execute?record_id={id}", path(&made)), None).await.expect(200);
    let run = format!("{}/executions/{}", path(&made), run["execution_id"].as_str().unwrap());
    let why = acme.admin.get(&run).await.expect(200)["steps"][0]["error_message"].clone();
    assert!(why.as_str().unwrap().contains("take too long together"), "{why}");

    let many = "update workflows set actions = jsonb_set(actions, '{0,config,payload}',
        (select jsonb_agg('{{ x }}'::text) from generate_series(1, 50000))) where id = $1";
    let workflow: Uuid = made["id"].as_str().unwrap().parse().unwrap();
    acme.db.execute(many, &[&workflow]).await.unwrap();
    assert!(tried(&made).await["error_message"].as_str().unwrap().contains("more than 100 templates"));
}

/// Deeply nested templates must be refused before the stack overflows, in parsing, compiling, running or dropping them.
#[tokio::test]
async fn a_template_is_not_deeper_than_the_stack() {
    let acme = World::new().await;
    let save = async |body: &str| {
        let new = json!({"name": Uuid::new_v4(), "trigger_type": "deal_created",
            "actions": [{"type": "create_task", "config": {"subject": "S", "description": body}}]});
        acme.admin.post(LIST, new).await
    };
    let chain = |piece: &str, most: usize| piece.repeat(most / piece.len());
    for piece in [".a", "|upper|lower", "+a", "~a", "[0]", " if a else a", " or a", "==a", " is defined and a", "[a:"] {
        for end in [" }}", ""] {
            let body = format!("{{{{ a{}{end}", chain(piece, 19_990));
            assert_eq!(save(&body).await.status, 422, "{piece}{end}");
        }
    }
    for piece in ["(", "-", "not ", "["] {
        let body = format!("{{{{ {}a }}}}", chain(piece, 19_990));
        assert_eq!(save(&body).await.status, 422, "{piece}");
    }
    for (start, piece, end) in
        [("{%if a%}", "{%elif a%}", "{%endif%}"), ("", "{%if a%}", ""), ("", "{%for a in b%}", "")]
    {
        assert_eq!(save(&format!("{start}{}{end}", chain(piece, 19_980))).await.status, 422, "{piece}");
    }

    // The deepest nesting that is possible: saved or refused, without a crash.
    for piece in [".a", "|upper|lower", "+a", "~a", "[0]", " if a else a", "==a", "-a"] {
        let tag = format!("{{{{ a{} }}}}", chain(piece, 290));
        for (start, end) in [("{%if 1%}", "{%endif%}"), ("{%for a in deal.tags%}", "{%endfor%}")] {
            let body = format!("{}{tag}{}", start.repeat(50), end.repeat(50));
            let saved = save(&body).await;
            assert!([200, 422].contains(&saved.status), "{piece}: {}", saved.text);
            if saved.status == 200 {
                let path = path(&serde_json::from_str(&saved.text).unwrap());
                acme.admin.send("POST", &format!("{path}/dry-run"), None).await.expect(200);
            }
        }
        let body = format!("{{%if 0%}}{}{tag}{{%endif%}}", "{%elif 0%}".repeat(98));
        save(&body).await.expect(200);
    }
    acme.admin.get(LIST).await.expect(200);
}

#[test]
fn numbers_are_the_same_as_numbers_and_names_as_texts() {
    let long = "1234567890123456";
    for (found, value, same) in [
        (json!("Nan"), json!("nan"), true),
        (json!("INF"), json!("Infinity"), false),
        (json!("1e999"), json!("2e999"), false),
        (json!(format!("{long}7")), json!(format!("{long}8")), false),
        (json!(format!("{long}7")), json!(format!(" {long}7.0")), true),
        (json!(12345678901234567_u64), json!("12345678901234568"), false),
        (json!(1500), json!("1500.00"), true),
        (json!(1500.5), json!("+15005E-1"), true),
        (json!("007"), json!(7), true),
        (json!("-0"), json!(0), true),
        (json!("-1"), json!(1), false),
        (json!(100), json!(1), false),
        (json!(1e21), json!("1000000000000000000000"), true),
        (json!(0.001), json!(".001"), true),
    ] {
        let condition = json!([{"field": "contact.first_name", "operator": "equals", "value": value}]);
        let conditions: Vec<Condition> = serde_json::from_value(condition).unwrap();
        let context = Context::new(json!({"contact": {"first_name": found}}), &json!({}), (Uuid::nil(), "W"));
        assert_eq!(hold(&conditions, &context), same, "{found} {value}");
    }
}

#[test]
fn numbers_are_compared_to_their_last_digit() {
    let holds = |found: &Value, operator: &str, value: &Value| {
        let condition = json!([{"field": "contact.first_name", "operator": operator, "value": value}]);
        let conditions: Vec<Condition> = serde_json::from_value(condition).unwrap();
        hold(&conditions, &Context::new(json!({"contact": {"first_name": found}}), &json!({}), (Uuid::nil(), "W")))
    };
    for (small, large) in [
        (json!(9_007_199_254_740_992_u64), json!(9_007_199_254_740_993_u64)),
        (json!("9007199254740993"), json!("9007199254740993.01")),
        (json!("-9007199254740993"), json!("-9007199254740992")),
        (json!(0.3), json!(0.1 + 0.2)),
        (json!("0.3"), json!("0.30000000000000001")),
        (json!("0.30000000000000004"), json!("0.300000000000000041")),
        (json!("2e-400"), json!("1e-399")),
        (json!("-1e3"), json!("-999.5")),
        (json!(-1), json!(0)),
        (json!("-0.5"), json!(".25")),
        (json!(0), json!("1e-9")),
        (json!("0.09"), json!("0.1")),
        (json!(9), json!("0010")),
        (json!("1500"), json!(" +15005E-1")),
    ] {
        assert!(holds(&small, "less_than", &large) && holds(&large, "greater_than", &small), "{small} {large}");
        assert!(!holds(&small, "greater_than", &large) && !holds(&large, "less_than", &small), "{small} {large}");
        for one in [&small, &large] {
            assert!(!holds(one, "less_than", one) && !holds(one, "greater_than", one), "{one}");
        }
    }
    assert!(!holds(&json!("Infinity"), "greater_than", &json!(1)), "no number");
}

/// It would be active and never run.
#[tokio::test]
async fn a_historical_workflow_is_not_switched_on() {
    let acme = World::new().await;
    let old = "insert into workflows (tenant_id, company_id, owner_id, name, trigger, status) values ($1, null, $2, 'Old', 'scheduled', $3) returning id";
    for was in ["paused", "inactive"] {
        let id: Uuid = acme.value(old, &[&acme.company, &acme.member.id, &was]).await;
        let path = format!("/api/workflows/{id}");
        for refused in [
            acme.member.post(&format!("{path}/toggle"), json!({})).await,
            acme.member.put(&path, json!({"is_active": true})).await,
            acme.member.put(&path, json!({"status": "active"})).await,
        ] {
            assert!(refused.detail(400).contains("belongs to no company yet"), "{}", refused.text);
        }
        let saved = acme.member.put(&path, json!({"name": was, "status": was})).await.expect(200);
        assert_eq!([&saved["name"], &saved["status"]], [was, was]);
    }
    // One that an older program switched on can be saved, and switched off.
    let id: Uuid = acme.value(old, &[&acme.company, &acme.member.id, &"active"]).await;
    let path = format!("/api/workflows/{id}");
    acme.member.put(&path, json!({"name": "Older", "is_active": true})).await.expect(200);
    assert_eq!(acme.member.post(&format!("{path}/toggle"), json!({})).await.expect(200)["status"], "inactive");
}
