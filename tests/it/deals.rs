//! Deals (contract: deals).

use crate::support::world::{Person, World, answer};
use serde_json::{Value, json};
use uuid::Uuid;

fn id(value: &Value) -> Uuid {
    value["id"].as_str().unwrap().parse().unwrap()
}

async fn stages(who: &Person) -> Vec<Value> {
    let pipelines = who.get("/api/pipelines").await.expect(200);
    let path = format!("/api/pipelines/{}/stages", id(&pipelines[0]));
    who.get(&path).await.expect(200).as_array().unwrap().clone()
}

async fn deal(who: &Person, fields: Value) -> Value {
    let mut new = json!({"title": Uuid::new_v4(), "value": 100, "stage_id": "Lead"});
    new.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    who.post("/api/deals/", new).await.expect(200)
}

fn path(deal: &Value) -> String {
    format!("/api/deals/{}", id(deal))
}

/// The workflow events of a deal.
async fn events(world: &World, deal: &Value) -> Vec<String> {
    let sql = "select event from workflow_events where record_id = $1 order by created_at, id";
    world.db.query(sql, &[&id(deal)]).await.unwrap().iter().map(|r| r.get(0)).collect()
}

#[tokio::test]
async fn a_deal_is_made_listed_and_read() {
    let acme = World::new().await;
    let contact = acme.contact("Ada", "Lovelace").await;
    let stages = stages(&acme.admin).await;
    let new = json!({"title": "Engine", "value": 1234.567, "stage_id": stages[1]["id"], "pipeline_id": stages[1]["pipeline_id"],
        "company": "Babbage & Co", "contact": contact["id"], "description": "A big one", "expected_close_date": "2027-01-31T00:00:00Z",
        "status": "OPEN"});
    let made = acme.member.post("/api/deals/", new).await.expect(200);
    assert!(made["message"].is_string());
    assert_eq!(
        (&made["title"], &made["value"], &made["stage_id"], &made["contact"], &made["contact_id"], &made["company"]),
        (
            &json!("Engine"),
            &json!(1234.57),
            &stages[1]["id"],
            &json!("Ada Lovelace"),
            &contact["id"],
            &json!("Babbage & Co")
        )
    );
    assert_eq!((&made["status"], &made["expected_close_date"]), (&json!("open"), &json!("2027-01-31T00:00:00")));
    let mut listed = made.clone();
    listed.as_object_mut().unwrap().remove("message");
    assert_eq!(acme.admin.get("/api/deals/").await.expect(200), json!([listed]));
    assert_eq!(acme.admin.get(&path(&made)).await.expect(200), listed);
    let of = async |stage: &Value| acme.admin.get(&format!("/api/deals/?stage={}", id(stage))).await.expect(200);
    assert_eq!((of(&stages[1]).await, of(&stages[0]).await), (json!([listed]), json!([])));
    acme.admin.get("/api/deals/?stage=x").await.expect(422);
    let second = deal(&acme.admin, json!({})).await;
    let page = acme.admin.get("/api/deals/?skip=1&limit=5").await.expect(200);
    assert_eq!((page.as_array().unwrap().len(), &page[0]["id"]), (1, &second["id"]), "in the order of making");
    let lone = acme.lone().await;
    assert_eq!(lone.get("/api/deals/").await.expect(200), json!([]));
    let refused = lone.post("/api/deals/", json!({"title": "x", "value": 1, "stage_id": "Lead"})).await;
    assert_eq!(refused.detail(400), "User must belong to a company");
}

#[tokio::test]
async fn stages_are_named_by_id_or_by_name() {
    let acme = World::new().await;
    let stage = async |name: &str| deal(&acme.admin, json!({"stage_id": name})).await["stage_name"].clone();
    assert_eq!(stage("closed-won").await, json!("Closed Won"));
    assert_eq!(stage("proposal").await, json!("Proposal"));
    assert_eq!(stage("Qualified").await, json!("Qualified"));
    let refused = async |fields: Value| {
        let mut new = json!({"title": Uuid::new_v4(), "value": 1, "stage_id": "Lead"});
        new.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        acme.admin.post("/api/deals/", new).await
    };
    assert!(refused(json!({"stage_id": "qualified"})).await.detail(400).contains("Stage not found"));
    assert_eq!(refused(json!({"stage_id": Uuid::now_v7()})).await.detail(404), "Stage not found");
    assert_eq!(refused(json!({"pipeline_id": Uuid::now_v7()})).await.detail(404), "Pipeline not found");
    assert_eq!(refused(json!({"contact": Uuid::now_v7()})).await.detail(404), "Contact not found");
    let other = acme.admin.post("/api/pipelines", json!({"name": "Other"})).await.expect(200);
    let theirs = format!("/api/pipelines/{}/stages", id(&other));
    let theirs = acme.admin.post(&theirs, json!({"name": "Theirs", "order_index": 0})).await.expect(200);
    assert!(refused(json!({"stage_id": theirs["id"]})).await.detail(400).contains("another pipeline"));
    let there = deal(&acme.admin, json!({"stage_id": "Theirs", "pipeline_id": other["id"]})).await;
    assert_eq!(there["pipeline_id"], other["id"]);
    // An invalid id of a pipeline or contact is ignored; an unknown status means open.
    let lenient = json!({"pipeline_id": "none", "contact": "Ada", "status": "whatever", "value": "12.50"});
    let lenient = deal(&acme.admin, lenient).await;
    assert_eq!(
        (&lenient["contact_id"], &lenient["status"], &lenient["value"]),
        (&json!(null), &json!("open"), &json!(12.5))
    );
    for bad in [
        json!({"value": "much"}),
        json!({"value": 1e20}),
        json!({"value": null}),
        json!({"title": "x".repeat(256)}),
        json!({"expected_close_date": "soon"}),
        json!({"description": "x".repeat(20_001)}),
    ] {
        refused(bad).await.expect(422);
    }
    for (value, msg) in [
        (9_999_999_999_999.995, "Input should be at most 9999999999999.99"),
        (-1e13, "Input should be at least -9999999999999.99"),
    ] {
        let problem = &refused(json!({"value": value})).await.expect(422)["detail"][0];
        assert_eq!([&problem["loc"], &problem["msg"]], [&json!(["body", "value"]), &json!(msg)]);
    }
    let most = deal(&acme.admin, json!({"value": 9_999_999_999_999.99_f64})).await;
    assert_eq!(most["value"], json!(9_999_999_999_999.99_f64));
    acme.db.execute("update pipelines set is_deleted = true where tenant_id = $1", &[&acme.company]).await.unwrap();
    assert!(refused(json!({})).await.detail(400).contains("no pipeline"));
}

#[tokio::test]
async fn a_title_is_used_once_by_an_owner_also_at_once() {
    let acme = World::new().await;
    let new = json!({"title": "Twice", "value": 1, "stage_id": "Lead"});
    let answers = futures_util::future::join_all((0..8).map(|_| acme.admin.post("/api/deals/", new.clone()))).await;
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 1);
    for refused in answers.iter().filter(|a| a.status != 200) {
        assert!(refused.detail(400).contains("already exists"));
    }
    let theirs = acme.member.post("/api/deals/", new.clone()).await.expect(200);
    acme.member.delete(&path(&theirs)).await.expect(200);
    acme.member.post("/api/deals/", new).await.expect(200);
}

/// A deal with more tags from earlier can still be changed.
#[tokio::test]
async fn a_deal_has_a_hundred_short_tags() {
    let acme = World::new().await;
    let made = deal(&acme.admin, json!({})).await;
    for tags in [json!(vec!["t"; 101]), json!(["t", "t".repeat(101)]), json!([vec!["t"; 50]])] {
        acme.member.patch(&path(&made), json!({"tags": tags})).await.expect(422);
    }
    acme.member.patch(&path(&made), json!({"tags": vec!["é".repeat(100); 100]})).await.expect(200);
    let id: Uuid = made["id"].as_str().unwrap().parse().unwrap();
    let many = "update deals set tags = (select jsonb_agg(n) from generate_series(1, 150) n) where id = $1";
    acme.db.execute(many, &[&id]).await.unwrap();
    let changed = acme.member.patch(&path(&made), json!({"title": "New"})).await.expect(200);
    assert_eq!((&changed["title"], changed["tags"].as_array().unwrap().len()), (&json!("New"), 150));
}

#[tokio::test]
async fn any_member_changes_the_listed_fields_and_no_other() {
    let acme = World::new().await;
    let contact = acme.contact("Ada", "Lovelace").await;
    let made = deal(&acme.admin, json!({"contact": contact["id"]})).await;
    let path = path(&made);
    let edit = json!({"title": "New", "value": 7, "company": "C", "contact": "Ada Lovelace", "status": "open", "description": null,
        "id": Uuid::now_v7(), "owner_id": acme.member.id, "company_id": Uuid::now_v7(), "is_deleted": true, "tags": ["a"],
        "custom_fields": {"k": [1]}, "probability": 40, "currency": "EUR", "lost_reason": "l", "won_reason": "w",
        "expected_close_date": "2027-02-03"});
    let changed = acme.member.patch(&path, edit).await.expect(200);
    assert_eq!((&changed["title"], &changed["value"], &changed["company"]), (&json!("New"), &json!(7.0), &json!("C")));
    assert_eq!(
        (&changed["contact_id"], &changed["owner_id"]),
        (&contact["id"], &made["owner_id"]),
        "a name changes no contact"
    );
    assert_eq!(
        (&changed["tags"], &changed["custom_fields"], &changed["currency"], &changed["expected_close_date"]),
        (&json!(["a"]), &json!({"k": [1]}), &json!("EUR"), &json!("2027-02-03T00:00:00"))
    );
    assert_eq!(acme.admin.get(&path).await.expect(200), changed);
    let late = acme.member.patch(&path, json!({"expected_close_date": "9999-12-31"})).await.expect(200);
    assert_eq!(late["expected_close_date"], "9999-12-30T22:00:00");
    let cleared = acme.member.patch(&path, json!({"contact": ""})).await.expect(200);
    assert_eq!((&cleared["contact"], &cleared["title"]), (&json!(null), &json!("New")));
    let set = acme.member.patch(&path, json!({"contact": contact["id"]})).await.expect(200);
    assert_eq!(set["contact"], json!("Ada Lovelace"));
    assert_eq!(acme.member.patch(&path, json!({"contact": null})).await.expect(200)["contact_id"], json!(null));
    assert_eq!(acme.member.patch(&path, json!({"contact": Uuid::now_v7()})).await.detail(404), "Contact not found");
    assert_eq!(acme.member.patch(&path, json!({"stage_id": Uuid::now_v7()})).await.detail(404), "Stage not found");
    assert_eq!(
        acme.member.patch(&path, json!({"pipeline_id": Uuid::now_v7()})).await.detail(404),
        "Pipeline not found"
    );
    for bad in [
        json!({"description": "x".repeat(20_001)}),
        json!({"custom_fields": {"long": "x".repeat(64 << 10)}}),
        json!({"stage_id": "x"}),
        json!({"expected_close_date": "soon"}),
        json!({"value": 1e20}),
        json!({"currency": "EURO"}),
        json!({"probability": 101}),
    ] {
        acme.member.patch(&path, bad).await.expect(422);
    }
    let other = acme.admin.post("/api/pipelines", json!({"name": "Other"})).await.expect(200);
    assert!(
        acme.member.patch(&path, json!({"pipeline_id": other["id"]})).await.detail(400).contains("another pipeline")
    );
    let theirs = format!("/api/pipelines/{}/stages", id(&other));
    let theirs = acme.admin.post(&theirs, json!({"name": "Theirs", "order_index": 0})).await.expect(200);
    assert!(acme.member.patch(&path, json!({"stage_id": theirs["id"]})).await.detail(400).contains("another pipeline"));
    let moved = json!({"pipeline_id": other["id"], "stage_id": theirs["id"]});
    assert_eq!(acme.member.patch(&path, moved).await.expect(200)["stage_name"], json!("Theirs"));
    acme.member.delete(&path).await.expect(200);
    for gone in [acme.admin.get(&path).await, acme.admin.patch(&path, json!({})).await, acme.admin.delete(&path).await]
    {
        assert_eq!(gone.detail(404), "Deal not found");
    }
    assert_eq!(acme.admin.put(&path, json!({})).await.detail(405), "Method Not Allowed");
}

#[tokio::test]
async fn a_deal_moves_by_stage_id_or_name() {
    let acme = World::new().await;
    acme.listen(&["deal_created", "deal_stage_changed", "deal_won", "deal_lost"]).await;
    let stages = stages(&acme.admin).await;
    let made = deal(&acme.admin, json!({})).await;
    let path = format!("{}/move", path(&made));
    let to = |to: Value| json!({"from_stage_id": "lead", "to_stage_id": to});
    let moved = acme.member.patch(&path, to(stages[2]["id"].clone())).await.expect(200);
    assert_eq!((&moved["stage_id"], &moved["stage_name"]), (&stages[2]["id"], &json!("Proposal")));
    let moved = acme.member.patch(&path, to(json!("closed-won"))).await.expect(200);
    assert_eq!((&moved["stage_id"], &moved["status"]), (&stages[4]["id"], &json!("open")), "a move changes no status");
    assert_eq!(acme.member.patch(&path, json!({})).await.expect(200)["stage_id"], stages[4]["id"]);
    assert!(acme.member.patch(&path, to(json!("nowhere"))).await.detail(400).contains("Stage not found"));
    assert_eq!(acme.member.patch(&path, to(json!(Uuid::now_v7()))).await.detail(404), "Stage not found");
    let unknown = format!("/api/deals/{}/move", Uuid::now_v7());
    assert_eq!(acme.member.patch(&unknown, to(json!("Lead"))).await.detail(404), "Deal not found");

    let history = acme.admin.get(&format!("/api/deals/{}/history", id(&made))).await.expect(200);
    let seen: Vec<_> =
        history.as_array().unwrap().iter().map(|m| (m["from_stage"].clone(), m["to_stage"].clone())).collect();
    assert_eq!(
        seen,
        [(json!("Proposal"), json!("Closed Won")), (json!("Lead"), json!("Proposal")), (json!(null), json!("Lead"))]
    );
    assert_eq!((&history[0]["user_id"], &history[2]["user_id"]), (&json!(acme.member.id), &json!(acme.admin.id)));
    assert!(history[0]["user_name"].is_string());
    assert_eq!(events(&acme, &made).await, ["deal_created", "deal_stage_changed", "deal_stage_changed"]);
}

#[tokio::test]
async fn closing_dates_are_right_on_every_path() {
    let acme = World::new().await;
    acme.listen(&["deal_created", "deal_stage_changed", "deal_won", "deal_lost"]).await;
    let closed = async |deal: &Value| -> bool {
        acme.value("select actual_close_date is not null from deals where id = $1", &[&id(deal)]).await
    };
    let won = deal(&acme.admin, json!({"status": "won"})).await;
    assert!(closed(&won).await && won["actual_close_date"].is_string());
    assert_eq!(events(&acme, &won).await, ["deal_created", "deal_won"]);

    let made = deal(&acme.admin, json!({})).await;
    let status = async |to: &str| acme.member.patch(&path(&made), json!({"status": to})).await.expect(200);
    assert!(!closed(&made).await);
    assert!(status("Won").await["actual_close_date"].is_string());
    assert!(status("won").await["actual_close_date"].is_string());
    assert_eq!(status("open").await["actual_close_date"], json!(null));
    assert!(status("LOST").await["actual_close_date"].is_string());
    assert_eq!(status("nonsense").await["status"], json!("open"));
    assert_eq!(events(&acme, &made).await, ["deal_created", "deal_won", "deal_lost"]);

    // The time in the stage starts anew with the stage, and with nothing else.
    let entered = async || -> String {
        acme.value("select stage_entered_at::text from deals where id = $1", &[&id(&made)]).await
    };
    let before = entered().await;
    acme.member.patch(&path(&made), json!({"title": "Renamed"})).await.expect(200);
    assert_eq!(entered().await, before);
    acme.member.patch(&format!("{}/move", path(&made)), json!({"to_stage_id": "negotiation"})).await.expect(200);
    assert_ne!(entered().await, before);

    // An administrator's correction keeps dates and history, and starts no workflow.
    acme.db
        .execute(
            "update deals set status = 'won', stage_id = $2 where id = $1",
            &[&id(&made), &id(&stages(&acme.admin).await[4])],
        )
        .await
        .unwrap();
    assert!(closed(&made).await);
    assert_eq!(events(&acme, &made).await.len(), 4);
    let moves: i64 = acme.value("select count(*) from deal_stage_history where deal_id = $1", &[&id(&made)]).await;
    assert_eq!(moves, 3);
    // A refused request leaves no event.
    acme.member.patch(&path(&made), json!({"status": "lost", "contact": Uuid::now_v7()})).await.expect(404);
    assert_eq!(events(&acme, &made).await.len(), 4);
}

#[tokio::test]
async fn a_number_that_cannot_be_read_back_is_refused() {
    let acme = World::new().await;
    let deal = deal(&acme.admin, json!({})).await;
    let fields = json!({"custom_fields": {"large": 1e300, "small": 1e-300}});
    acme.admin.patch(&path(&deal), fields).await.expect(200);
    let digits = "9".repeat(305);
    for number in ["1.7976931348623157e308", "-1E308", digits.as_str()] {
        let body = format!(r#"{{"description": "a \" quote, 1e308", "custom_fields": {{"a": [{number}]}}}}"#);
        let request = acme.admin.request("patch", &path(&deal)).header("content-type", "application/json").body(body);
        assert_eq!(answer(request).await.status, 422, "{number}");
    }
    let text = json!({"description": "1e308 is a text here"});
    acme.admin.patch(&path(&deal), text).await.expect(200);
    assert_eq!(
        acme.admin.get(&path(&deal)).await.expect(200)["custom_fields"],
        json!({"large": 1e300, "small": 1e-300})
    );
}

/// PostgreSQL writes three hundred digits for such a number; a response of one row does not.
#[tokio::test]
async fn a_long_row_is_answered_as_short_as_it_was_sent() {
    let acme = World::new().await;
    let deal = deal(&acme.admin, json!({})).await;
    let sent = json!({"custom_fields": {"a": vec![1e299; 1000]}});
    acme.admin.patch(&path(&deal), sent.clone()).await.expect(200);
    let answer = acme.admin.request("get", &path(&deal)).send().await.unwrap().text().await.unwrap();
    assert!(answer.len() < 20_000, "{}", answer.len());
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["custom_fields"], sent["custom_fields"]);
}

#[tokio::test]
async fn what_names_a_row_that_is_gone_can_be_saved_as_it_is() {
    let acme = World::new().await;
    let colleague = acme.person("company_user").await;
    let contact = acme.contact("Ada", "L").await["id"].clone();
    let deal = deal(&acme.admin, json!({"contact": contact})).await;
    let activity = json!({"type": "call", "subject": "S", "contact_id": contact, "deal_id": deal["id"]});
    let activity = acme.admin.post("/api/activities/", activity).await.expect(200);
    let quote = json!({"title": "Q", "amount": 5, "client_id": contact, "deal_id": deal["id"]});
    let quote = acme.admin.post("/api/quotes/", quote).await.expect(201);
    let kept = acme.contact("Bea", "M").await;
    let kept = format!("/api/contacts/{}", kept["id"].as_str().unwrap());
    acme.admin.patch(&kept, json!({"owner_id": colleague.id})).await.expect(200);

    acme.admin.delete(&format!("/api/users/{}", colleague.id)).await.expect(200);
    acme.admin.delete(&format!("/api/contacts/{}", contact.as_str().unwrap())).await.expect(200);
    let changed = acme.admin.patch(&path(&deal), json!({"title": "T", "contact": contact})).await.expect(200);
    assert_eq!((&changed["title"], &changed["contact_id"]), (&json!("T"), &contact));
    acme.admin.delete(&path(&deal)).await.expect(200);
    let references = json!({"contact_id": contact, "deal_id": deal["id"], "subject": "T"});
    let activity = format!("/api/activities/{}", activity["id"].as_str().unwrap());
    acme.admin.patch(&activity, references).await.expect(200);
    let references = json!({"client_id": contact, "deal_id": deal["id"], "title": "T"});
    let quote = format!("/api/quotes/{}", quote["id"].as_str().unwrap());
    acme.admin.patch(&quote, references).await.expect(200);
    let saved = acme.admin.patch(&kept, json!({"owner_id": colleague.id, "first_name": "Bo"})).await.expect(200);
    assert_eq!((&saved["owner_id"], &saved["first_name"]), (&json!(colleague.id), &json!("Bo")));
    // As an import adds deals in deleted stages, and files in deleted folders.
    let old = self::deal(&acme.admin, json!({})).await;
    let new = self::deal(&acme.admin, json!({"stage_id": "Qualified"})).await;
    let folder = acme.admin.post("/api/files/folders", json!({"name": "F"})).await.expect(200)["id"].clone();
    let below = acme.admin.post("/api/files/folders", json!({"name": "G", "parent_id": folder})).await.expect(200);
    let file = acme.admin.upload("/api/files/upload", "a.txt", "text/plain", "x").await.expect(200);
    let (file, below) = (format!("/api/files/{}", id(&file)), format!("/api/files/folders/{}", id(&below)));
    acme.admin.patch(&file, json!({"folder_id": folder})).await.expect(200);
    let delete = format!(
        "update pipeline_stages set is_deleted = true where id = '{}'; update folders set is_deleted = true where id = '{}'",
        old["stage_id"].as_str().unwrap(),
        folder.as_str().unwrap()
    );
    acme.db.batch_execute(&delete).await.unwrap();
    let references = json!({"stage_id": old["stage_id"], "pipeline_id": old["pipeline_id"], "title": "T"});
    let saved = acme.admin.patch(&path(&old), references.clone()).await.expect(200);
    assert_eq!((&saved["title"], &saved["stage_id"]), (&json!("T"), &old["stage_id"]));
    acme.admin.patch(&path(&new), references).await.expect(404);
    let saved = acme.admin.patch(&file, json!({"folder_id": folder, "name": "b.txt"})).await.expect(200);
    assert_eq!(saved["folder_id"], folder);
    let saved = acme.admin.patch(&below, json!({"parent_id": folder, "name": "H"})).await.expect(200);
    assert_eq!((&saved["parent_id"], &saved["name"]), (&folder, &json!("H")));

    // Nothing else can be changed to refer to them.
    let other = acme.contact("Cy", "N").await["id"].as_str().unwrap().to_owned();
    acme.admin.patch(&format!("/api/contacts/{other}"), json!({"owner_id": colleague.id})).await.expect(404);
}

/// The list shows a deal without its contact's name if the contact is a colleague's historical one, or has none.
#[tokio::test]
async fn a_deal_that_comes_back_as_it_was_shown_keeps_its_contact() {
    let acme = World::new().await;
    let old = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email) values ($1, null, $2, 'Old', 'Friend', 'old@x.example') returning id";
    let hidden: Uuid = acme.value(old, &[&acme.company, &acme.member.id]).await;
    let nameless = acme.contact("", "").await["id"].clone();
    for (contact, shown) in [(json!(hidden), json!(null)), (nameless, json!(" "))] {
        let made = deal(&acme.member, json!({"contact": contact})).await;
        let listed = acme.admin.get("/api/deals/").await.expect(200);
        let mut listed = listed.as_array().unwrap().iter().find(|d| d["id"] == made["id"]).unwrap().clone();
        assert_eq!([&listed["contact"], &listed["contact_id"]], [&shown, &contact]);
        for name in [shown.clone(), json!("")] {
            listed["contact"] = name;
            let saved = acme.admin.patch(&path(&made), listed.clone()).await.expect(200);
            assert_eq!(saved["contact_id"], contact);
        }
        // Whitespace neither names a contact nor removes it.
        let saved = acme.admin.patch(&path(&made), json!({"contact": " "})).await.expect(200);
        assert_eq!(saved["contact_id"], contact);
        let another = json!({"contact": "", "contact_id": Uuid::now_v7()});
        assert_eq!(acme.admin.patch(&path(&made), another).await.expect(200)["contact_id"], json!(null));
    }
}
