//! Pipelines and stages (contract: pipelines).

use crate::support::{
    database::waiting_behind,
    server::admin_url,
    world::{Person, World},
};
use serde_json::{Value, json};
use uuid::Uuid;

const STAGES: [(&str, f64); 6] = [
    ("Lead", 10.0),
    ("Qualified", 25.0),
    ("Proposal", 50.0),
    ("Negotiation", 75.0),
    ("Closed Won", 100.0),
    ("Closed Lost", 0.0),
];

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

async fn default_of(who: &Person) -> Value {
    who.get("/api/pipelines").await.expect(200)[0].clone()
}

async fn stages(who: &Person, pipeline: &Value) -> Vec<Value> {
    let path = format!("/api/pipelines/{}/stages", id(pipeline));
    who.get(&path).await.expect(200).as_array().unwrap().clone()
}

async fn deal(who: &Person, stage: &Value) -> Value {
    let new =
        json!({"title": Uuid::new_v4(), "value": 1, "stage_id": stage["id"], "pipeline_id": stage["pipeline_id"]});
    who.post("/api/deals/", new).await.expect(200)
}

#[tokio::test]
async fn a_company_starts_with_the_default_pipeline() {
    let email = format!("{}@x.example", Uuid::new_v4().simple());
    let form = json!({"company_name": email, "admin_email": email, "admin_password": "Correct-Horse-7",
        "admin_first_name": "A", "admin_last_name": "B", "phone": ""});
    let made = Person::nobody().post("/api/register/company", form).await.expect(200);
    let registered = Person::nobody().with_token(made["access_token"].as_str().unwrap());
    let world = World::new().await;
    for who in [&registered, &world.admin, &world.member] {
        let pipelines = who.get("/api/pipelines").await.expect(200);
        assert_eq!(pipelines.as_array().unwrap().len(), 1, "{pipelines}");
        assert_eq!(
            (&pipelines[0]["name"], &pipelines[0]["is_default"], &pipelines[0]["order_index"]),
            (&json!("Sales Pipeline"), &json!(true), &json!(0))
        );
        let stages = stages(who, &pipelines[0]).await;
        for (place, (stage, (name, probability))) in stages.iter().zip(STAGES).enumerate() {
            assert_eq!(
                (&stage["name"], &stage["probability"], &stage["order_index"], &stage["is_closed"], &stage["is_won"]),
                (&json!(name), &json!(probability), &json!(place), &json!(place > 3), &json!(place == 4)),
            );
        }
        assert_eq!(stages.len(), 6);
    }
    // A second member brings no second pipeline; a company created by the platform gets one with its first user.
    let root = world.super_admin().await;
    let made = root.post("/api/companies/", json!({"name": format!("Made {}", Uuid::new_v4())})).await.expect(200);
    let add = "select id from app.add_user($1, 'x', 'A', 'B', 'company_user', $2, 'active')";
    let company: Uuid = made["id"].as_str().unwrap().parse().unwrap();
    for n in 0..2 {
        world.value::<Uuid>(add, &[&format!("{n}{email}"), &company]).await;
    }
    let count: i64 = world.value("select count(*) from pipelines where company_id = $1", &[&company]).await;
    assert_eq!(count, 1);
}

#[tokio::test]
async fn pipelines_are_made_changed_and_deleted() {
    let acme = World::new().await;
    let first = default_of(&acme.admin).await;
    let made = acme.member.post("/api/pipelines/", json!({"name": "Partners"})).await.expect(200);
    assert_eq!((&made["is_default"], &made["description"]), (&json!(false), &json!(null)));
    assert_eq!(made["company_id"], json!(acme.company));
    let path = format!("/api/pipelines/{}", id(&made));
    let changed = acme.member.patch(&path, json!({"description": "By partners"})).await.expect(200);
    assert_eq!((&changed["name"], &changed["description"]), (&json!("Partners"), &json!("By partners")));
    let changed = acme.member.patch(&path, json!({"is_default": true, "description": null})).await.expect(200);
    assert_eq!((&changed["is_default"], &changed["description"]), (&json!(true), &json!(null)));
    let same = acme.member.patch(&path, json!({"name": null, "is_default": null})).await.expect(200);
    assert_eq!((&same["name"], &same["is_default"]), (&json!("Partners"), &json!(true)));
    let list = acme.admin.get("/api/pipelines").await.expect(200);
    assert_eq!((&list[0]["id"], &list[1]["id"]), (&made["id"], &first["id"]), "the default comes first");
    assert_eq!(list[1]["is_default"], json!(false), "and the former one is none any more");

    acme.admin.delete(&path).await.expect(200);
    for answer in
        [acme.admin.get(&path).await, acme.admin.delete(&path).await, acme.admin.patch(&path, json!({})).await]
    {
        assert_eq!(answer.detail(404), "Pipeline not found");
    }
    assert_eq!(acme.admin.get(&format!("{path}/stages")).await.detail(404), "Pipeline not found");
    for refused in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "x".repeat(256)}),
        json!({"name": "x", "description": "x".repeat(501)}),
    ] {
        acme.admin.post("/api/pipelines", refused).await.expect(422);
    }
    let lone = acme.lone().await;
    assert_eq!(lone.get("/api/pipelines").await.expect(200), json!([]));
    assert_eq!(lone.post("/api/pipelines", json!({"name": "x"})).await.detail(400), "User must belong to a company");
}

#[tokio::test]
async fn two_new_defaults_at_once_leave_one() {
    let acme = World::new().await;
    let add = |n: i32| acme.admin.post("/api/pipelines", json!({"name": format!("P{n}"), "is_default": true}));
    let answers = futures_util::future::join_all((0..8).map(add)).await;
    assert!(answers.iter().all(|a| [200, 400].contains(&a.status)), "{answers:?}");
    assert!(answers.iter().any(|a| a.status == 200));
    let list = acme.admin.get("/api/pipelines").await.expect(200);
    assert_eq!(list.as_array().unwrap().iter().filter(|p| p["is_default"] == json!(true)).count(), 1);
}

#[tokio::test]
async fn stages_are_made_changed_ordered_and_deleted() {
    let acme = World::new().await;
    let pipeline = default_of(&acme.admin).await;
    let path = format!("/api/pipelines/{}/stages", id(&pipeline));
    let made = acme.member.post(&path, json!({"name": "Trial", "order_index": 9})).await.expect(200);
    assert_eq!(
        (&made["probability"], &made["is_closed"], &made["is_won"], &made["pipeline_id"]),
        (&json!(0.0), &json!(false), &json!(false), &pipeline["id"])
    );
    let stage = format!("/api/pipeline-stages/{}", id(&made));
    let change = json!({"probability": 33.5, "name": null, "is_won": true, "order_index": 1});
    let changed = acme.member.patch(&stage, change).await.expect(200);
    assert_eq!(
        (&changed["probability"], &changed["name"], &changed["is_won"], &changed["order_index"]),
        (&json!(33.5), &json!("Trial"), &json!(true), &json!(9))
    );
    for refused in [json!({"probability": 101}), json!({"probability": -0.5}), json!({"name": "x".repeat(256)})] {
        acme.member.patch(&stage, refused).await.expect(422);
    }

    // Reversed; unknown stages and stages of another pipeline are skipped.
    let other = acme.admin.post("/api/pipelines", json!({"name": "Other"})).await.expect(200);
    let theirs = format!("/api/pipelines/{}/stages", id(&other));
    let theirs = acme.admin.post(&theirs, json!({"name": "Theirs", "order_index": 4})).await.expect(200);
    let before = stages(&acme.admin, &pipeline).await;
    let mut order: Vec<Value> =
        before.iter().rev().enumerate().map(|(n, s)| json!({"id": s["id"], "order_index": n})).collect();
    order.push(json!({"id": theirs["id"], "order_index": 0}));
    order.push(json!({"id": Uuid::now_v7(), "order_index": 0}));
    let reorder = format!("/api/pipelines/{}/reorder-stages", id(&pipeline));
    acme.member.patch(&reorder, json!({"stages": order})).await.expect(200);
    let odd = json!({"stages": [{"id": id(&pipeline), "order_index": 0}, {"id": "x", "order_index": 1}]});
    let odd = acme.member.patch(&reorder, odd).await.expect(422);
    assert_eq!(odd["detail"][0]["loc"], json!(["body", "stages", 1, "id"]));
    let names = |stages: &[Value]| stages.iter().map(|s| s["name"].clone()).collect::<Vec<_>>();
    let after = stages(&acme.admin, &pipeline).await;
    assert_eq!(names(&after), names(&before).into_iter().rev().collect::<Vec<_>>());
    assert_eq!(stages(&acme.admin, &other).await[0]["order_index"], json!(4));

    acme.member.delete(&stage).await.expect(200);
    assert_eq!(acme.member.delete(&stage).await.detail(404), "Stage not found");
    assert_eq!(acme.member.patch(&stage, json!({})).await.detail(404), "Stage not found");
    assert!(!names(&stages(&acme.admin, &pipeline).await).contains(&json!("Trial")));
    // A stage is deleted with its pipeline.
    acme.admin.delete(&format!("/api/pipelines/{}", id(&other))).await.expect(200);
    let gone = format!("/api/pipeline-stages/{}", id(&theirs));
    assert_eq!(acme.member.patch(&gone, json!({"name": "Ours"})).await.detail(404), "Stage not found");
    assert_eq!(acme.member.delete(&gone).await.detail(404), "Stage not found");
}

#[tokio::test]
async fn what_has_deals_is_not_deleted() {
    let acme = World::new().await;
    let pipeline = default_of(&acme.admin).await;
    let stage = stages(&acme.admin, &pipeline).await[0].clone();
    let (first, second) = (deal(&acme.admin, &stage).await, deal(&acme.member, &stage).await);
    let (pipeline_path, stage_path) =
        (format!("/api/pipelines/{}", id(&pipeline)), format!("/api/pipeline-stages/{}", id(&stage)));
    for (deal, held) in [(first, "2 deals are"), (second, "1 deal is")] {
        for (path, what) in [(&pipeline_path, "pipeline"), (&stage_path, "stage")] {
            let refused = acme.admin.delete(path).await.detail(400);
            assert_eq!(refused, format!("The {what} cannot be deleted: {held} in it"));
        }
        acme.admin.delete(&format!("/api/deals/{}", id(&deal))).await.expect(200);
    }
    acme.admin.delete(&stage_path).await.expect(200);
    acme.admin.delete(&pipeline_path).await.expect(200);
}

#[tokio::test]
async fn a_stage_is_not_deleted_under_a_deal_on_its_way() {
    let acme = World::new().await;
    let pipeline = default_of(&acme.admin).await;
    let path = format!("/api/pipelines/{}/stages", id(&pipeline));
    for n in 0..12 {
        let stage = acme.admin.post(&path, json!({"name": format!("S{n}"), "order_index": n})).await.expect(200);
        let new = json!({"title": format!("D{n}"), "value": 1, "stage_id": stage["id"]});
        let stage_path = format!("/api/pipeline-stages/{}", id(&stage));
        let (made, deleted) = tokio::join!(acme.member.post("/api/deals/", new), acme.admin.delete(&stage_path));
        assert!(
            matches!((made.status, deleted.status), (200, 400) | (404, 200)),
            "one of them wins: {} {}",
            made.text,
            deleted.text
        );
    }
    let lost = "select count(*) from deals d join pipeline_stages s on s.id = d.stage_id where d.tenant_id = $1 and s.is_deleted";
    assert_eq!(acme.value::<i64>(lost, &[&acme.company]).await, 0);
}

#[tokio::test]
async fn a_pipeline_is_not_deleted_under_a_deal_on_its_way() {
    let acme = World::new().await;
    let pipeline = acme.admin.post("/api/pipelines", json!({"name": "P"})).await.expect(200);
    let path = format!("/api/pipelines/{}", id(&pipeline));
    let stage = acme.admin.post(&format!("{path}/stages"), json!({"name": "S", "order_index": 0})).await.expect(200);
    let holder = ringfence::db::connect(&admin_url()).await.unwrap();
    let held = format!("begin; select from pipeline_stages where id = '{}' for update", id(&stage));
    holder.batch_execute(&held).await.unwrap();
    let wait = async |number: i64| waiting_behind(&holder, &acme.db, number).await;
    let deal = json!({"title": "D", "value": 1, "pipeline_id": pipeline["id"], "stage_id": stage["id"]});
    let (deleted, made, ()) = tokio::join!(
        acme.admin.delete(&path),
        async {
            wait(1).await;
            acme.member.post("/api/deals/", deal.clone()).await
        },
        async {
            wait(2).await;
            holder.batch_execute("commit").await.unwrap();
        }
    );
    assert!(matches!((deleted.status, made.status), (200, 404) | (400, 200)), "{} {}", deleted.text, made.text);
    let lost =
        "select count(*) from deals d join pipelines p on p.id = d.pipeline_id where d.tenant_id = $1 and p.is_deleted";
    assert_eq!(acme.value::<i64>(lost, &[&acme.company]).await, 0);
}

/// Historical means from before there were companies: only its creator sees it.
#[tokio::test]
async fn a_companys_deal_goes_into_no_historical_pipeline() {
    let acme = World::new().await;
    let add = "with p as (insert into pipelines (tenant_id, owner_id, name) values ($1, $2, 'Old') returning id)
        insert into pipeline_stages (tenant_id, owner_id, pipeline_id, name, order_index) select $1, $2, p.id, 'Old stage', 0 from p returning pipeline_id, id";
    let row = acme.db.query_one(add, &[&acme.company, &acme.member.id]).await.unwrap();
    let (pipeline, stage): (Uuid, Uuid) = (row.get(0), row.get(1));
    let new = |title: &str, pipeline: Option<Uuid>| json!({"title": title, "value": 1, "pipeline_id": pipeline, "stage_id": stage});
    assert_eq!(acme.member.post("/api/deals/", new("D", Some(pipeline))).await.detail(404), "Pipeline not found");
    let deal = json!({"title": "D", "value": 1, "stage_id": "Lead"});
    let deal = acme.member.post("/api/deals/", deal).await.expect(200);
    let path = format!("/api/deals/{}", deal["id"].as_str().unwrap());
    let moved = acme.member.patch(&path, json!({"pipeline_id": pipeline, "stage_id": stage})).await;
    assert_eq!(moved.detail(404), "Pipeline not found");
    // A historical deal may stay in it.
    let add = "insert into deals (tenant_id, owner_id, title, value, pipeline_id, stage_id) select $1, $2, 'Old deal', 1, p.pipeline_id, p.id
        from pipeline_stages p where p.id = $3 returning id";
    let old: Uuid = acme.value(add, &[&acme.company, &acme.member.id, &stage]).await;
    acme.member.patch(&format!("/api/deals/{old}"), json!({"stage_id": stage, "title": "Older"})).await.expect(200);
}

#[tokio::test]
async fn a_historical_pipeline_is_not_the_first() {
    let acme = World::new().await;
    let insert = "insert into pipelines (tenant_id, company_id, owner_id, name, is_default, order_index)
        values ($1, null, $2, 'Historical', true, -1)";
    acme.db.execute(insert, &[&acme.company, &acme.member.id]).await.unwrap();
    let names: Vec<Value> = acme
        .member
        .get("/api/pipelines")
        .await
        .expect(200)
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].clone())
        .collect();
    assert_eq!(names, ["Sales Pipeline", "Historical"]);
}

/// Only their owners see them, and a colleague deletes the stage or pipeline that they are in.
#[tokio::test]
async fn historical_deals_stay_where_they_are_seen() {
    let acme = World::new().await;
    acme.listen(&["deal_stage_changed"]).await;
    let sales = default_of(&acme.admin).await;
    let pipeline = acme.admin.post("/api/pipelines", json!({"name": "P"})).await.expect(200);
    let path = format!("/api/pipelines/{}", id(&pipeline));
    let mut made = Vec::new();
    for (n, name) in ["First", "Second", "Third"].into_iter().enumerate() {
        let stage = json!({"name": name, "order_index": n});
        made.push(acme.admin.post(&format!("{path}/stages"), stage).await.expect(200));
    }
    let old = async |who: &Person, stage: &Value| -> String {
        let insert = "insert into deals (tenant_id, company_id, owner_id, title, value, pipeline_id, stage_id, stage_entered_at)
            select s.tenant_id, null, $2, 'Old', 1, s.pipeline_id, s.id, now() from pipeline_stages s where s.id::text = $1 returning id";
        format!("/api/deals/{}", acme.value::<Uuid>(insert, &[&id(stage), &who.id]).await)
    };
    let stage_of = async |deal: &str| acme.member.get(deal).await.expect(200)["stage_name"].clone();
    let (moved, kept) = (old(&acme.member, &made[1]).await, old(&acme.member, &made[2]).await);
    let own = old(&acme.admin, &made[2]).await;

    let deleted = acme.admin.delete(&format!("/api/pipeline-stages/{}", id(&made[1]))).await;
    assert_eq!(deleted.clone().expect(200), json!({"message": "Stage deleted successfully"}), "{}", deleted.text);
    assert_eq!([stage_of(&moved).await, stage_of(&kept).await], ["First", "Third"]);
    acme.member.patch(&format!("{moved}/move"), json!({"to_stage_id": "Third"})).await.expect(200);

    // The caller's own deals are counted in the refusal, as always.
    let refused = acme.admin.delete(&path).await.detail(400);
    assert_eq!(refused, "The pipeline cannot be deleted: 1 deal is in it");
    acme.admin.delete(&own).await.expect(200);
    acme.admin.delete(&path).await.expect(200);
    for deal in [&moved, &kept] {
        let seen = acme.member.get(deal).await.expect(200);
        assert_eq!([&seen["stage_name"], &seen["pipeline_id"]], [&json!("Lead"), &sales["id"]]);
        acme.member.patch(&format!("{deal}/move"), json!({"to_stage_id": "Qualified"})).await.expect(200);
    }
    let events: i64 = acme
        .value(
            "select count(*) from workflow_events where tenant_id = $1 and user_id = $2",
            &[&acme.company, &acme.admin.id],
        )
        .await;
    assert_eq!(events, 0);

    // The migration moves deals that were left behind earlier.
    let behind = "update deals d set stage_id = s.id, pipeline_id = s.pipeline_id from pipeline_stages s where d.owner_id = $1 and s.id::text = $2";
    acme.db.execute(behind, &[&acme.member.id, &id(&made[2])]).await.unwrap();
    let migration = include_str!("../../migrations/V0078__numbers_and_conversations.sql");
    acme.db.batch_execute(&migration[migration.rfind("set role ringfence_platform").unwrap()..]).await.unwrap();
    assert_eq!([stage_of(&moved).await, stage_of(&kept).await], ["Lead", "Lead"]);
}
