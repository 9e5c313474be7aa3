//! Activities (contract: activities).

use crate::support::{
    database::{OwnDatabase, until},
    world::{Person, World},
};
use serde_json::{Value, json};
use uuid::Uuid;

fn path(activity: &Value) -> String {
    format!("/api/activities/{}", activity["id"].as_str().unwrap())
}

async fn activity(who: &Person, fields: Value) -> Value {
    let mut new = json!({"type": "call", "subject": Uuid::new_v4()});
    new.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    who.post("/api/activities/", new).await.expect(200)
}

async fn subjects(who: &Person, query: &str) -> Vec<String> {
    let list = who.get(&format!("/api/activities/?{query}")).await.expect(200);
    list.as_array().unwrap().iter().map(|a| a["subject"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_activity_is_made_and_read() {
    let acme = World::new().await;
    let contact = acme.contact("Ada", "L").await;
    let made = activity(
        &acme.member,
        json!({"type": "Meeting", "subject": "Talk", "due_date": "2027-01-31T10:30", "duration_minutes": 30,
        "priority": 2, "contact_id": contact["id"], "deal_id": ""}),
    )
    .await;
    assert!(made["message"].is_string());
    assert_eq!(
        (
            &made["type"],
            &made["status"],
            &made["due_date"],
            &made["description"],
            &made["priority"],
            &made["contact_id"]
        ),
        (&json!("meeting"), &json!("pending"), &json!("2027-01-31T10:30:00"), &json!(""), &json!(2), &contact["id"])
    );
    let mut plain = made.clone();
    plain.as_object_mut().unwrap().remove("message");
    assert_eq!(acme.admin.get(&path(&made)).await.expect(200), plain);
    assert_eq!(acme.admin.get("/api/activities/").await.expect(200), json!([plain]));
    for (given, due) in [
        ("2027-02-01", json!("2027-02-01T00:00:00")),
        ("9999-12-31", json!("9999-12-30T22:00:00")),
        ("9999-12-31T23:59:59Z", json!("9999-12-30T22:00:00")),
        ("2027-02-01T08:00:00Z", json!("2027-02-01T08:00:00")),
        ("2027-02-01T08:00:00+02:00", json!("2027-02-01T06:00:00")),
        ("2027-02-01T08:00:00+02:00[Africa/Cairo]", json!("2027-02-01T06:00:00")),
        ("2027-02-01T08:00:00[Africa/Cairo]", json!(null)),
        ("-002027-02-01T08:00:00Z", json!(null)),
        ("soon", json!(null)),
        ("", json!(null)),
    ] {
        assert_eq!(activity(&acme.admin, json!({"due_date": given})).await["due_date"], due, "{given}");
    }
    assert_eq!(activity(&acme.admin, json!({"type": "lunch", "status": "?"})).await["type"], json!("task"));
    let done = activity(&acme.admin, json!({"type": "NOTE", "status": "Completed"})).await;
    assert_eq!((&done["type"], &done["status"]), (&json!("note"), &json!("completed")));
    assert_eq!(activity(&acme.admin, json!({"priority": "High"})).await["priority"], json!(2));
    assert!(done["completed_at"].is_string());
    for bad in [
        json!({"subject": "x".repeat(256)}),
        json!({"subject": null}),
        json!({"type": null}),
        json!({"priority": "x"}),
        json!({"priority": 3}),
        json!({"priority": -1}),
        json!({"duration_minutes": -1}),
        json!({"description": "x".repeat(20_001)}),
        json!({"contact_id": "x"}),
        json!({"duration_minutes": 3_000_000_000_i64}),
    ] {
        let mut new = json!({"type": "call", "subject": "S"});
        new.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        acme.admin.post("/api/activities/", new).await.expect(422);
    }
    for (field, what) in [("contact_id", "Contact"), ("deal_id", "Deal")] {
        let new = json!({"type": "call", "subject": "S", field: Uuid::now_v7()});
        assert_eq!(acme.admin.post("/api/activities/", new).await.detail(404), format!("{what} not found"));
    }
    let lone = acme.lone().await;
    assert_eq!(lone.get("/api/activities/").await.expect(200), json!([]));
    assert_eq!(
        lone.post("/api/activities/", json!({"type": "call", "subject": "S"})).await.detail(400),
        "User must belong to a company"
    );
}

#[tokio::test]
async fn the_same_subject_at_the_same_time_is_entered_once() {
    let acme = World::new().await;
    let new = json!({"type": "call", "subject": "Twice", "due_date": "2027-01-01"});
    let answers =
        futures_util::future::join_all((0..6).map(|_| acme.admin.post("/api/activities/", new.clone()))).await;
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 1);
    assert!(answers.iter().filter(|a| a.status != 200).all(|a| a.detail(400).contains("already exists")));
    activity(&acme.admin, json!({"subject": "Twice", "due_date": "2027-01-02"})).await;
    activity(&acme.admin, json!({"subject": "Twice"})).await;
    activity(&acme.member, json!({"subject": "Twice", "due_date": "2027-01-01"})).await;
}

#[tokio::test]
async fn lists_are_in_the_order_of_time_and_filtered() {
    let acme = World::new().await;
    let contact = acme.contact("Ada", "L").await;
    let deal = acme.admin.post("/api/deals/", json!({"title": "D", "value": 1, "stage_id": "Lead"})).await.expect(200);
    activity(&acme.admin, json!({"subject": "never"})).await;
    activity(&acme.admin, json!({"subject": "late", "due_date": "2020-01-01", "type": "email"})).await;
    activity(
        &acme.admin,
        json!({"subject": "next", "due_date": "2099-01-01", "contact_id": contact["id"], "deal_id": deal["id"]}),
    )
    .await;
    activity(
        &acme.admin,
        json!({"subject": "done", "due_date": "2020-01-02", "status": "completed", "contact_id": contact["id"]}),
    )
    .await;
    activity(&acme.member, json!({"subject": "marked", "due_date": "2099-01-02", "status": "overdue"})).await;
    let seen = async |query: &str| subjects(&acme.admin, query).await.join(" ");
    assert_eq!(seen("").await, "late done next marked never");
    assert_eq!(seen("skip=1&limit=2").await, "done next");
    assert_eq!(seen("type=email").await, "late");
    assert_eq!(seen("activity_type=EMAIL").await, "late");
    assert_eq!(seen("type=unheard").await, "");
    assert_eq!(seen("status=overdue").await, "late marked");
    assert_eq!(seen("status=pending").await, "late next never");
    assert_eq!(seen("status=nonsense").await, "");
    assert_eq!(seen("completed=true").await, "done");
    assert_eq!(seen("completed=false").await, "late next marked never");
    assert_eq!((seen("completed=True").await, seen("completed=1").await), ("done".into(), "done".into()));
    assert_eq!(seen("completed=no").await, "late next marked never");
    assert_eq!(seen("completed=").await, seen("").await);
    assert_eq!(seen("completed=true&status=pending").await, "late next never", "status decides");
    let (contact, deal) = (contact["id"].as_str().unwrap(), deal["id"].as_str().unwrap());
    assert_eq!(seen(&format!("contact_id={contact}")).await, "done next");
    assert_eq!(seen(&format!("deal_id={deal}")).await, "next");
    for unknown in [format!("deal_id={deal}&contact_id={}", Uuid::now_v7()), format!("deal_id={contact}")] {
        acme.admin.get(&format!("/api/activities/?{unknown}")).await.expect(404);
    }
    for bad in ["contact_id=x", "completed=maybe"] {
        acme.admin.get(&format!("/api/activities/?{bad}")).await.expect(422);
    }
}

#[tokio::test]
async fn any_member_changes_the_listed_fields_and_no_other() {
    let acme = World::new().await;
    let contact = acme.contact("Ada", "L").await;
    let made = activity(&acme.admin, json!({"due_date": "2027-01-31"})).await;
    let path = path(&made);
    let edit = json!({"activity_type": "EMAIL", "title": "New", "description": "D", "status": "Cancelled", "due_date": "2027-03-01",
        "duration_minutes": 5, "priority": "High", "location": "L", "outcome": "O", "contact_id": contact["id"], "custom_fields": {"a": 1},
        "company_id": Uuid::now_v7(), "owner_id": acme.member.id, "id": Uuid::now_v7()});
    let changed = acme.member.patch(&path, edit).await.expect(200);
    assert!(changed["message"].is_string());
    let seen = acme.admin.get(&path).await.expect(200);
    assert_eq!(
        (&seen["type"], &seen["subject"], &seen["status"], &seen["due_date"], &seen["priority"], &seen["outcome"]),
        (&json!("email"), &json!("New"), &json!("cancelled"), &json!("2027-03-01T00:00:00"), &json!(2), &json!("O"))
    );
    assert_eq!((&seen["owner_id"], &seen["contact_id"], &seen["id"]), (&made["owner_id"], &contact["id"], &made["id"]));
    let kept = acme
        .member
        .patch(&path, json!({"due_date": "", "contact_id": "", "type": null, "priority": null}))
        .await
        .expect(200);
    assert_eq!((&kept["due_date"], &kept["contact_id"]), (&seen["due_date"], &contact["id"]));
    let emptied =
        acme.member.patch(&path, json!({"due_date": null, "contact_id": null, "description": null})).await.expect(200);
    assert_eq!(
        (&emptied["due_date"], &emptied["contact_id"], &emptied["description"]),
        (&json!(null), &json!(null), &json!(""))
    );
    let both = json!({"type": "call", "activity_type": "email", "subject": "One", "title": "Two"});
    let both = acme.member.patch(&path, both).await.expect(200);
    assert_eq!([&both["type"], &both["subject"]], ["call", "One"]);
    for bad in [
        json!({"due_date": "soon"}),
        json!({"priority": "urgent"}),
        json!({"priority": 9}),
        json!({"subject": "x".repeat(256)}),
        json!({"title": ""}),
        json!({"due_date": "2027-02-01T10:00:00[Europe/Berlin]"}),
        json!({"duration_minutes": -1}),
        json!({"description": "x".repeat(20_001)}),
        json!({"custom_fields": {"long": "x".repeat(64 << 10)}}),
        json!({"outcome": "x".repeat(501)}),
        json!({"deal_id": "x"}),
        json!({"custom_fields": []}),
    ] {
        acme.member.patch(&path, bad).await.expect(422);
    }
    assert_eq!(acme.member.patch(&path, json!({"deal_id": Uuid::now_v7()})).await.detail(404), "Deal not found");
    acme.member.delete(&path).await.expect(200);
    for gone in [
        acme.admin.get(&path).await,
        acme.admin.delete(&path).await,
        acme.admin.patch(&path, json!({})).await,
        acme.admin.patch(&format!("{path}/complete"), json!({})).await,
    ] {
        assert_eq!(gone.detail(404), "Activity not found");
    }
}

#[tokio::test]
async fn completing_toggles_and_fires_once() {
    let acme = World::new().await;
    acme.listen(&["activity_completed"]).await;
    let made = activity(&acme.admin, json!({})).await;
    let toggle = async || acme.member.send("PATCH", &format!("{}/complete", path(&made)), None).await.expect(200);
    let fired = async || -> i64 {
        let sql = "select count(*) from workflow_events where event = 'activity_completed' and record_id::text = $1";
        acme.value(sql, &[&made["id"].as_str().unwrap()]).await
    };
    let done = toggle().await;
    assert_eq!(done["status"], json!("completed"));
    assert!(done["completed_at"].is_string() && done["message"].is_string());
    acme.member.patch(&path(&made), json!({"status": "completed", "subject": "again"})).await.expect(200);
    assert_eq!(fired().await, 1);
    let open = toggle().await;
    assert_eq!((&open["status"], &open["completed_at"]), (&json!("pending"), &json!(null)));
    assert_eq!(fired().await, 1);
    toggle().await;
    assert_eq!(fired().await, 2);
}

/// The edit form shows days without times, and sends back everything that it was shown.
#[tokio::test(flavor = "multi_thread")]
async fn the_day_that_is_shown_keeps_its_time() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let due = jiff::Timestamp::now() - std::time::Duration::from_secs(90 * 60);
    let due = due.strftime("%Y-%m-%dT%H:%M:07").to_string();
    let made = activity(&acme.admin, json!({"due_date": due})).await;
    let path = path(&made);
    let reminders = "select count(*) from notifications where user_id = $1";
    let reminded = async || acme.value::<i64>(reminders, &[&acme.admin.id]).await;
    until("the reminder", async || reminded().await == 1).await;
    let form = json!({"type": "call", "subject": "New", "description": "", "status": "pending", "due_date": due[..10], "duration_minutes": null, "priority": 0});
    let saved = acme.member.patch(&path, form).await.expect(200);
    assert_eq!([&saved["subject"], &saved["due_date"]], [&json!("New"), &json!(due)]);
    let jobs = "select count(*) from jobs where kind = 'activity_due'";
    assert_eq!((acme.value::<i64>(jobs, &[]).await, reminded().await), (0, 1));
    // Another day is taken as given, and so is this one if it has a time.
    for (given, then) in [
        ("2027-03-01", "2027-03-01T00:00:00"),
        ("2027-03-02T09:30", "2027-03-02T09:30:00"),
        ("2027-03-02", "2027-03-02T09:30:00"),
        ("2027-03-02T00:00", "2027-03-02T00:00:00"),
    ] {
        let saved = acme.member.patch(&path, json!({"due_date": given})).await.expect(200);
        assert_eq!(saved["due_date"], then, "{given}");
    }
    let never = acme.member.patch(&path, json!({"due_date": "9999-12-31"})).await.expect(200)["due_date"].clone();
    let kept = acme.member.patch(&path, json!({"due_date": never.as_str().unwrap()[..10]})).await.expect(200);
    assert_eq!(kept["due_date"], never);
    drop(acme);
    own.drop().await;
}
