//! Leaks that were reproduced on the old backend, by their numbers: each is refused here, and A's rows stay unchanged.

use crate::support::{
    twilio::{Account, number},
    world::{PASSWORD, Person, World, answer},
};
use reqwest::multipart;
use serde_json::{Value, json};
use uuid::Uuid;

async fn two() -> (World, World, Value, String) {
    let (a, b) = (World::new().await, World::new().await);
    let contact = a.contact("Ada", "Secret").await;
    let path = format!("/api/contacts/{}", contact["id"].as_str().unwrap());
    (a, b, contact, path)
}

#[tokio::test]
async fn l1_l2_l3_a_contact_by_its_id() {
    let (a, b, contact, path) = two().await;
    let unknown = format!("/api/contacts/{}", Uuid::now_v7());
    for who in [&b.admin, &b.member, &b.lone().await, &b.super_admin().await] {
        for (method, body) in [
            ("GET", None),
            ("PUT", Some(json!({"first_name": "x", "owner_id": b.admin.id}))),
            ("PATCH", Some(json!({}))),
            ("DELETE", None),
        ] {
            let (theirs, nobodys) =
                (who.send(method, &path, body.as_ref()).await, who.send(method, &unknown, body.as_ref()).await);
            assert_eq!(
                (theirs.detail(404), nobodys.detail(404)),
                ("Contact not found".into(), "Contact not found".into()),
                "{method}"
            );
        }
    }
    assert_eq!(a.admin.get(&path).await.expect(200), contact);
}

#[tokio::test]
async fn l4_l38_figures_are_of_the_own_company() {
    let (a, b, ..) = two().await;
    a.db.execute("update contacts set company = 'Employer of A' where tenant_id = $1", &[&a.company]).await.unwrap();
    let empty = json!({"total_contacts": 0, "total_companies": 0, "companies_breakdown": {}});
    assert_eq!(b.admin.get("/api/contacts/stats/summary").await.expect(200), empty);
    for who in [b.lone().await, b.super_admin().await] {
        let answer = who.get("/api/contacts/stats/summary").await;
        assert!(!answer.text.contains("Employer"), "{}", answer.text);
    }
}

/// What every report and export shows a user for this query, without what depends on the time of the request.
async fn reports(who: &Person, query: &str) -> Vec<String> {
    let mut told = Vec::new();
    for report in [
        "pipeline",
        "activities",
        "revenue",
        "users",
        "emails",
        "calls",
        "contacts",
        "custom",
        "dashboard",
        "export/csv",
    ] {
        let answer = who.get(&format!("/api/analytics/{report}?{query}")).await;
        assert_eq!(answer.status, 200, "{report}: {}", answer.text);
        told.push(answer.text.split("\"generated_at\"").next().unwrap().to_owned());
    }
    let pdf = who.get(&format!("/api/analytics/export/pdf?{query}")).await;
    assert_eq!(pdf.status, 200, "{}", pdf.text);
    told
}

#[tokio::test]
async fn l14_l38_l39_reports_tell_nothing_of_another_company() {
    let (a, b) = (World::named("Secretive").await, World::new().await);
    let pipeline = a.admin.post("/api/pipelines", json!({"name": "Secret pipeline"})).await.expect(200);
    let id = pipeline["id"].as_str().unwrap();
    let stage = a
        .admin
        .post(&format!("/api/pipelines/{id}/stages"), json!({"name": "Secret stage", "order_index": 0}))
        .await
        .expect(200);
    for (n, status) in ["open", "won", "lost"].iter().enumerate() {
        let deal = json!({"title": format!("Secret {n}"), "value": 4711, "stage_id": stage["id"], "pipeline_id": id, "status": status});
        a.admin.post("/api/deals/", deal).await.expect(200);
    }
    a.admin.post("/api/activities/", json!({"type": "call", "subject": "Secret"})).await.expect(200);
    let of_b = json!({"title": "Own", "value": 1, "stage_id": "Lead"});
    b.admin.post("/api/deals/", of_b).await.expect(200);
    let lone = a.lone().await;
    let add_team =
        "insert into teams (tenant_id, company_id, user_id, name) values ($1, $1, $2, 'Secret team') returning id";
    let team: Uuid = a.value(add_team, &[&a.company, &a.admin.id]).await;
    let by_id = format!("user_id={}&pipeline_id={id}&team_id={team}", a.admin.id);
    for who in [&b.admin, &b.member, &b.lone().await, &b.super_admin().await, &lone] {
        for query in ["", by_id.as_str()] {
            for text in reports(who, query).await {
                let echo = text.replace(&a.admin.id.to_string(), "").replace(id, "");
                for secret in ["Secret", "4711", stage["id"].as_str().unwrap()] {
                    assert!(!echo.contains(secret), "{secret} with {query:?}: {text}");
                }
            }
        }
        // Each one alone gives the same result as an unknown id.
        for (name, foreign) in
            [("user_id", &*a.admin.id.to_string()), ("pipeline_id", id), ("team_id", &team.to_string())]
        {
            let told = async |id: &str| {
                let told = reports(who, &format!("{name}={id}")).await;
                told.iter().map(|text| text.replace(id, "")).collect::<Vec<_>>()
            };
            assert_eq!(told(foreign).await, told(&Uuid::now_v7().to_string()).await, "{name}");
        }
    }

    // Nothing that one company does changes another's figures.
    let before = reports(&b.member, "").await;
    a.admin
        .post("/api/deals/", json!({"title": "More", "value": 9, "stage_id": "Lead", "status": "won"}))
        .await
        .expect(200);
    a.admin.post("/api/activities/", json!({"type": "task", "subject": "More"})).await.expect(200);
    a.contact("More", "More").await;
    a.db.execute("select app.fold_deal_sums($1)", &[&a.company]).await.unwrap();
    let after = reports(&b.member, "").await;
    // Except for the time in a stage, which is rounded to a tenth of a day.
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_id_of_another_company_in_a_query_is_not_found() {
    let (a, b, contact, _) = two().await;
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    let made = async |path: &str, body: Value| id(&a.admin.post(path, body).await.expect(200));
    let pipeline = made("/api/pipelines", json!({"name": "P"})).await;
    let stage = made(&format!("/api/pipelines/{pipeline}/stages"), json!({"name": "S", "order_index": 0})).await;
    let deal = made("/api/deals/", json!({"title": "D", "value": 1, "stage_id": stage, "pipeline_id": pipeline})).await;
    let folder = made("/api/files/folders", json!({"name": "F"})).await;
    let (contact, user) = (id(&contact), a.member.id.to_string());
    let questions = [
        ("contacts/", "owner_id", &user, "Owner"),
        ("activities/", "contact_id", &contact, "Contact"),
        ("activities/", "deal_id", &deal, "Deal"),
        ("deals/", "stage", &stage, "Stage"),
        ("files/", "folder_id", &folder, "Folder"),
        ("files/folders", "parent_id", &folder, "Folder"),
        ("audit/", "user_id", &user, "User"),
    ];
    // Ids of deleted rows are still accepted.
    for path in
        [format!("/api/files/folders/{folder}"), format!("/api/contacts/{contact}"), format!("/api/deals/{deal}")]
    {
        a.admin.delete(&path).await.expect(200);
    }
    // So are ids of users who have left the company.
    let former = b.person("company_user").await;
    let moved = "update users set company_id = $2 where id = $1";
    b.db.execute(moved, &[&former.id, &a.company]).await.unwrap();
    for path in ["contacts/?owner_id", "audit/?user_id"] {
        b.admin.get(&format!("/api/{path}={}", former.id)).await.expect(200);
    }
    b.db.execute(moved, &[&former.id, &b.company]).await.unwrap();
    for (path, name, id, thing) in questions {
        assert_eq!(a.admin.get(&format!("/api/{path}?{name}={id}")).await.status, 200, "{path} {name}");
        for id in [id.clone(), Uuid::now_v7().to_string()] {
            let refused = b.admin.get(&format!("/api/{path}?{name}={id}")).await;
            assert_eq!(refused.detail(404), format!("{thing} not found"), "{path} {name}");
        }
        let alone = b.lone().await.get(&format!("/api/{path}?{name}={id}")).await;
        let is_empty_list = alone.status == 200 && alone.text == "[]";
        assert!(is_empty_list || [403, 404].contains(&alone.status), "{path} {name}: {}", alone.text);
    }
}

#[tokio::test]
async fn l5_l6_an_import_neither_sees_nor_removes_another_companys_contacts() {
    let (a, _, contact, path) = two().await;
    let email = contact["email"].as_str().unwrap();
    let csv = format!("email,first_name\n{email},Imported\n");
    for deleted in [false, true] {
        if deleted {
            a.admin.delete(&path).await.expect(200);
        }
        let world = World::new().await;
        let answer = world.admin.upload("/api/contacts/upload-csv", "c.csv", "text/csv", csv.clone()).await.expect(200);
        assert_eq!((&answer["created_count"], &answer["errors"]), (&json!(1), &json!([])), "{answer}");
    }
    let kept: i64 = a.value("select count(*) from contacts where tenant_id = $1", &[&a.company]).await;
    assert_eq!(kept, 1, "A's deleted row is still there");
}

#[tokio::test]
async fn l7_an_owner_of_another_company() {
    let (a, b, ..) = two().await;
    let body = |owner: Uuid| json!({"first_name": "x", "last_name": "y", "email": "x@y.z", "owner_id": owner});
    let theirs = b.admin.post("/api/contacts/", body(a.admin.id)).await;
    let nobodys = b.admin.post("/api/contacts/", body(Uuid::now_v7())).await;
    assert_eq!(theirs.detail(404), nobodys.detail(404));
    let csv = format!("email,owner_id\nx@y.z,{}\n", a.admin.id);
    let answer = b.admin.upload("/api/contacts/upload-csv", "c.csv", "text/csv", csv).await.expect(200);
    assert_eq!(answer["created_count"], 0, "{answer}");
}

#[tokio::test]
async fn l30_l31_l32_a_user_of_another_company() {
    let (a, b, ..) = two().await;
    let path = format!("/api/users/{}", a.admin.id);
    for role in ["company_admin", "admin", "Admin", "Super Admin", "company_user"] {
        let who = b.person(role).await;
        who.get(&path).await.expect(404);
        let change = json!({"email": "stolen@example.com", "role": "company_user"});
        for answer in [who.put(&path, change).await, who.delete(&path).await] {
            assert!(
                [403, 404].contains(&answer.status) && !answer.text.contains(&a.admin.email),
                "{role}: {}",
                answer.text
            );
        }
    }
    assert_eq!(a.admin.get("/api/auth/me").await.expect(200)["email"], json!(a.admin.email));
}

#[tokio::test]
async fn l33_l34_a_stranger_registers_into_a_company_or_as_staff() {
    let a = World::new().await;
    for role in ["company_admin", "super_admin", "Super Admin", "Admin"] {
        for company in [json!(a.company), json!(null)] {
            let email = format!("{}@example.com", Uuid::new_v4());
            let body = json!({"email": email, "password": PASSWORD, "first_name": "x", "last_name": "y", "role": role, "company_id": company});
            let made = Person::nobody().post("/api/auth/register", body).await.expect(200);
            let token = made["access_token"].as_str().unwrap();
            assert_eq!(token.is_empty(), !company.is_null());
            let who = Person::nobody().with_token(token);
            for path in [
                "/api/contacts/stats/summary".to_owned(),
                "/api/companies/".into(),
                format!("/api/companies/{}", a.company),
                format!("/api/companies/{}/users", a.company),
            ] {
                let answer = who.get(&path).await;
                assert!([401, 403].contains(&answer.status), "{path}: {}", answer.text);
            }
            assert_eq!(
                who.put(&format!("/api/companies/{}", a.company), json!({"status": "suspended"})).await.status / 100,
                4
            );
        }
    }
}

#[tokio::test]
async fn l35_the_reset_code_is_not_in_the_answer() {
    let a = World::new().await;
    let answer = Person::nobody().post("/api/auth/forgot-password", json!({"email": a.admin.email})).await;
    assert_eq!(answer.clone().expect(200).as_object().unwrap().keys().collect::<Vec<_>>(), ["message"]);
    assert!(!answer.text.chars().any(|c| c.is_ascii_digit()), "{}", answer.text);
}

#[tokio::test]
async fn l36_l37_an_admin_makes_no_super_admin() {
    let (a, b, ..) = two().await;
    let email = || format!("{}@example.com", Uuid::new_v4());
    let new = json!({"email": email(), "first_name": "x", "last_name": "y", "password": PASSWORD, "user_role": "super_admin"});
    b.admin.post(&format!("/api/companies/{}/users", b.company), new.clone()).await.expect(403);
    b.admin.post(&format!("/api/companies/{}/users", a.company), new).await.expect(403);
    let invitation = json!({"email": email(), "first_name": "x", "last_name": "y", "user_role": "super_admin"});
    assert_eq!(b.admin.post("/api/invitations/send", invitation).await.status / 100, 4);
    b.admin.put(&format!("/api/users/{}", b.member.id), json!({"role": "super_admin"})).await.expect(403);
    b.admin.put(&format!("/api/users/{}", b.admin.id), json!({"role": "super_admin"})).await.expect(403);
    b.admin.put("/api/users/me", json!({"role": "super_admin", "user_role": "super_admin"})).await.expect(200);
    let made: i64 =
        b.value("select count(*) from users where company_id = $1 and user_role = 'super_admin'", &[&b.company]).await;
    assert_eq!(made, 0);
}

#[tokio::test]
async fn l46_l47_tokens_of_the_deleted_and_the_suspended() {
    let a = World::new().await;
    let gone = a.person("company_user").await;
    a.admin.delete(&format!("/api/users/{}", gone.id)).await.expect(200);
    gone.get("/api/contacts/").await.expect(401);
    let staff = a.super_admin().await;
    staff.put(&format!("/api/companies/{}", a.company), json!({"status": "suspended"})).await.expect(200);
    assert!(!a.admin.get("/api/contacts/").await.detail(403).is_empty());
    staff.put(&format!("/api/companies/{}", a.company), json!({"status": "active"})).await.expect(200);
    a.admin.get("/api/contacts/").await.expect(200);
}

#[tokio::test]
async fn l48_a_refresh_token_opens_nothing() {
    let a = World::new().await;
    let session = Person::nobody()
        .post("/api/auth/login", json!({"email": a.admin.email, "password": PASSWORD}))
        .await
        .expect(200);
    let refresh = a.admin.with_token(session["refresh_token"].as_str().unwrap());
    refresh.get("/api/contacts/").await.expect(401);
    refresh.send("POST", "/api/auth/refresh", None).await.expect(200);
}

/// Adds a deal in the first stage of the company's only pipeline.
async fn selling(world: &World) -> Value {
    let new = json!({"title": "Secret deal", "value": 1, "stage_id": "Lead"});
    world.admin.post("/api/deals/", new).await.expect(200)
}

/// All of the company's pipelines, stages, deals and activities, as text.
async fn state(world: &World) -> String {
    let sql = "select (select jsonb_agg(to_jsonb(t) order by t.id) from pipelines t where tenant_id = $1)::text
        || (select jsonb_agg(to_jsonb(t) order by t.id) from pipeline_stages t where tenant_id = $1)::text
        || (select jsonb_agg(to_jsonb(t) order by t.id) from deals t where tenant_id = $1)::text
        || coalesce((select jsonb_agg(to_jsonb(t) order by t.id) from activities t where tenant_id = $1)::text, '')";
    world.value(sql, &[&world.company]).await
}

#[tokio::test]
async fn l8_l9_l10_a_deal_refers_to_nothing_of_another_company() {
    let (a, b, contact, _) = two().await;
    let theirs = selling(&a).await;
    let before = state(&a).await;
    let own = selling(&b).await;
    assert_ne!(own["pipeline_id"], theirs["pipeline_id"], "the default pipeline is the own company's");
    let own = format!("/api/deals/{}", own["id"].as_str().unwrap());
    for (field, id, what) in [
        ("stage_id", &theirs["stage_id"], "Stage"),
        ("pipeline_id", &theirs["pipeline_id"], "Pipeline"),
        ("contact", &contact["id"], "Contact"),
    ] {
        for id in [id.clone(), json!(Uuid::now_v7())] {
            let mut new = json!({"title": Uuid::new_v4(), "value": 1, "stage_id": "Lead"});
            new[field] = id.clone();
            assert_eq!(b.admin.post("/api/deals/", new).await.detail(404), format!("{what} not found"));
            assert_eq!(b.admin.patch(&own, json!({ field: id })).await.detail(404), format!("{what} not found"));
        }
    }
    assert_eq!(state(&a).await, before);
}

#[tokio::test]
async fn l11_l12_l13_a_deal_stays_in_its_company_and_with_its_owner() {
    let (a, b) = (World::new().await, World::new().await);
    let (theirs, own) = (selling(&a).await, selling(&b).await);
    let path = format!("/api/deals/{}", own["id"].as_str().unwrap());
    let injected =
        json!({"company_id": a.company, "tenant_id": a.company, "owner_id": a.admin.id, "title": "Injected"});
    assert_eq!(b.admin.patch(&path, injected).await.expect(200)["owner_id"], json!(b.admin.id));
    assert_eq!(a.admin.get("/api/deals/").await.expect(200).as_array().unwrap().len(), 1);
    let unknown = b.admin.patch(&format!("{path}/move"), json!({"to_stage_id": Uuid::now_v7()})).await;
    let foreign = b.admin.patch(&format!("{path}/move"), json!({"to_stage_id": theirs["stage_id"]})).await;
    assert_eq!((foreign.detail(404), unknown.detail(404)), ("Stage not found".into(), "Stage not found".into()));
    assert_eq!(a.admin.patch(&path, json!({"title": "Mine"})).await.detail(404), "Deal not found");
}

#[tokio::test]
async fn l15_to_l20_pipelines_and_stages_of_another_company_are_unknown_ones() {
    let (a, b) = (World::new().await, World::new().await);
    let deal = selling(&a).await;
    let before = state(&a).await;
    let unknown = json!(Uuid::now_v7());
    for (id, stage) in [(&deal["pipeline_id"], &deal["stage_id"]), (&unknown, &unknown)] {
        let (id, stage) = (id.as_str().unwrap(), stage.as_str().unwrap());
        let pipeline = format!("/api/pipelines/{id}");
        for (method, path, body) in [
            ("GET", pipeline.clone(), None),
            ("PATCH", pipeline.clone(), Some(json!({"name": "Taken", "is_default": true}))),
            ("DELETE", pipeline.clone(), None),
            ("GET", format!("{pipeline}/stages"), None),
            ("POST", format!("{pipeline}/stages"), Some(json!({"name": "Added", "order_index": 0}))),
            ("PATCH", format!("{pipeline}/reorder-stages"), Some(json!({"stages": [{"id": stage, "order_index": 9}]}))),
        ] {
            assert_eq!(b.admin.send(method, &path, body.as_ref()).await.detail(404), "Pipeline not found", "{method}");
        }
        let path = format!("/api/pipeline-stages/{stage}");
        assert_eq!(b.admin.patch(&path, json!({"name": "Taken"})).await.detail(404), "Stage not found");
        assert_eq!(b.admin.delete(&path).await.detail(404), "Stage not found");
    }
    // Another company's stage in the list is skipped.
    let own = b.admin.get("/api/pipelines").await.expect(200);
    let reorder = format!("/api/pipelines/{}/reorder-stages", own[0]["id"].as_str().unwrap());
    b.admin.patch(&reorder, json!({"stages": [{"id": deal["stage_id"], "order_index": 9}]})).await.expect(200);
    assert_eq!(state(&a).await, before);
}

#[tokio::test]
async fn l21_another_companys_deals_neither_block_nor_count() {
    let (a, b) = (World::new().await, World::new().await);
    let theirs = selling(&a).await;
    // Bypasses every check of the API and the foreign keys, as only a superuser can.
    a.db.batch_execute("begin; set local session_replication_role = replica").await.unwrap();
    let forged = "insert into deals (tenant_id, company_id, owner_id, title, pipeline_id, stage_id, stage_entered_at)
        values ($1, $1, $2, 'Forged', $3::text::uuid, $4::text::uuid, now())";
    let (pipeline, stage) = (theirs["pipeline_id"].as_str().unwrap(), theirs["stage_id"].as_str().unwrap());
    a.db.execute(forged, &[&b.company, &b.admin.id, &pipeline, &stage]).await.unwrap();
    a.db.batch_execute("commit").await.unwrap();
    for path in [format!("/api/pipelines/{pipeline}"), format!("/api/pipeline-stages/{stage}")] {
        let refused = a.admin.delete(&path).await.detail(400);
        assert!(refused.contains("1 deal "), "{refused}");
    }
    a.admin.delete(&format!("/api/deals/{}", theirs["id"].as_str().unwrap())).await.expect(200);
    a.admin.delete(&format!("/api/pipeline-stages/{stage}")).await.expect(200);
    a.db.execute("delete from deals where title = 'Forged' and tenant_id = $1", &[&b.company]).await.unwrap();
}

#[tokio::test]
async fn l22_l23_l24_an_activity_of_another_company_is_an_unknown_one() {
    let (a, b, contact, _) = two().await;
    let deal = selling(&a).await;
    let new = json!({"type": "call", "subject": "Secret call", "contact_id": contact["id"], "deal_id": deal["id"]});
    let theirs = a.admin.post("/api/activities/", new).await.expect(200);
    let own = b.admin.post("/api/activities/", json!({"type": "call", "subject": "Own"})).await.expect(200);
    let before = state(&a).await;
    for id in [theirs["id"].as_str().unwrap().to_owned(), Uuid::now_v7().to_string()] {
        let path = format!("/api/activities/{id}");
        for (method, path, body) in [
            ("GET", path.clone(), None),
            ("PATCH", path.clone(), Some(json!({"subject": "Taken"}))),
            ("DELETE", path.clone(), None),
            ("PATCH", format!("{path}/complete"), None),
        ] {
            assert_eq!(b.admin.send(method, &path, body.as_ref()).await.detail(404), "Activity not found", "{method}");
        }
    }
    let path = format!("/api/activities/{}", own["id"].as_str().unwrap());
    b.admin.patch(&path, json!({"company_id": a.company, "owner_id": a.admin.id})).await.expect(200);
    for (field, id, what) in [("contact_id", &contact["id"], "Contact"), ("deal_id", &deal["id"], "Deal")] {
        for id in [id.clone(), json!(Uuid::now_v7())] {
            assert_eq!(b.admin.patch(&path, json!({ field: id })).await.detail(404), format!("{what} not found"));
            let new = json!({"type": "call", "subject": "S", field: id});
            assert_eq!(b.admin.post("/api/activities/", new).await.detail(404), format!("{what} not found"));
        }
    }
    assert_eq!(state(&a).await, before);
    assert_eq!(b.admin.get("/api/activities/").await.expect(200).as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn l25_l26_a_quote_neither_refers_to_nor_counts_another_companys_rows() {
    let (a, b, contact, _) = two().await;
    let deal = selling(&a).await;
    for n in 0..3 {
        a.admin.post("/api/quotes/", json!({"title": format!("Q{n}"), "amount": 1})).await.expect(201);
    }
    for (field, id, what) in [("client_id", &contact["id"], "Client"), ("deal_id", &deal["id"], "Deal")] {
        for id in [id.clone(), json!(Uuid::now_v7())] {
            let new = json!({"title": "Q", "amount": 1, field: id});
            assert_eq!(b.admin.post("/api/quotes/", new).await.detail(404), format!("{what} not found"));
        }
    }
    let own = b.admin.post("/api/quotes/", json!({"title": "Q0", "amount": 1})).await.expect(201);
    assert!(own["quote_number"].as_str().unwrap().ends_with("-001"), "{}", own["quote_number"]);
}

#[tokio::test]
async fn l27_l28_l29_a_file_refers_to_nothing_of_another_company() {
    let (a, b, contact, _) = two().await;
    let deal = selling(&a).await;
    let theirs = a.admin.post("/api/files/folders", json!({"name": "Theirs"})).await.expect(200);
    let own_folder = b.admin.post("/api/files/folders", json!({"name": "Own"})).await.expect(200);
    let own = b.admin.post("/api/files/", json!({"name": "own"})).await.expect(200);
    let (own, own_folder) = (
        format!("/api/files/{}", own["id"].as_str().unwrap()),
        format!("/api/files/folders/{}", own_folder["id"].as_str().unwrap()),
    );
    for folder in [theirs["id"].clone(), json!(Uuid::now_v7())] {
        let form = multipart::Form::new().text("folder_id", folder.as_str().unwrap().to_owned());
        let form = form.part("file", multipart::Part::bytes(b"x".to_vec()).file_name("x.txt"));
        let uploaded = answer(b.admin.request("POST", "/api/files/upload").multipart(form)).await;
        assert_eq!(uploaded.detail(404), "Folder not found");
        assert_eq!(b.admin.patch(&own, json!({"folder_id": folder})).await.detail(404), "Folder not found");
        assert_eq!(b.admin.patch(&own_folder, json!({"parent_id": folder})).await.detail(404), "Folder not found");
        let new = json!({"name": "x", "parent_id": folder});
        assert_eq!(b.admin.post("/api/files/folders", new).await.detail(404), "Folder not found");
    }
    for (field, id, what) in [
        ("folder_id", &theirs["id"], "Folder"),
        ("contact_id", &contact["id"], "Contact"),
        ("deal_id", &deal["id"], "Deal"),
    ] {
        let new = json!({"name": "x", field: id});
        assert_eq!(b.admin.post("/api/files/", new).await.detail(404), format!("{what} not found"));
    }
    a.listen(&["document_signed"]).await;
    b.listen(&["document_signed"]).await;
    for (field, id, what) in [("owner_id", json!(a.admin.id), "User"), ("contact_id", contact["id"].clone(), "Contact")]
    {
        let refused = b.admin.post("/api/files/webhook/document-signed", json!({ field: id })).await;
        assert_eq!(refused.detail(404), format!("{what} not found"));
    }
    let fired: i64 = a
        .value(
            "select count(*) from workflow_events where event = 'document_signed' and tenant_id in ($1, $2)",
            &[&a.company, &b.company],
        )
        .await;
    assert_eq!(fired, 0);
    // A signature of B starts no workflow of A.
    b.admin.post("/api/files/webhook/document-signed", json!({"document_id": "d"})).await.expect(200);
    let run = "select array_agg(distinct tenant_id) from workflow_executions where event = 'document_signed' and tenant_id in ($1, $2)";
    assert_eq!(a.value::<Vec<Uuid>>(run, &[&a.company, &b.company]).await, [b.company]);
    let folders = a.admin.get("/api/files/folders").await.expect(200);
    assert_eq!(folders, json!([theirs]));
}

#[tokio::test]
async fn l40_l41_l42_nothing_leaves_by_or_for_what_is_another_companys() {
    let (a, b) = (World::new().await, World::new().await);
    let (theirs, own) = (Account::of(&a).await, Account::of(&b).await);
    let contact = a.contact("Ada", "L").await["id"].clone();
    let to = number();
    let unknown = b.admin.post("/api/sms/send", json!({"to": to, "body": "Hi", "contact_id": Uuid::now_v7()})).await;
    let foreign = b.admin.post("/api/sms/send", json!({"to": to, "body": "Hi", "contact_id": contact})).await;
    assert_eq!((foreign.status, foreign.detail(404)), (404, unknown.detail(404)));
    assert_eq!(b.admin.post("/api/calls/make", json!({"to": to, "contact_id": contact})).await.status, 404);
    let by_theirs = json!({"to": to, "body": "Hi", "from_number": theirs.number});
    assert_eq!(b.admin.post("/api/sms/send", by_theirs).await.status, 400);
    assert_eq!(b.admin.post("/api/calls/make", json!({"to": to, "from": theirs.number})).await.status, 400);
    assert_eq!(b.admin.post("/api/sms/phone-numbers", json!({"phone_number": theirs.number})).await.status, 400);
    assert!(own.asked().is_empty() && theirs.asked().is_empty(), "nothing has left");
    assert!(b.admin.get("/api/sms/messages").await.expect(200).as_array().unwrap().is_empty());
}

#[tokio::test]
async fn l43_l44_a_webhook_needs_the_signature_of_the_company_it_concerns() {
    let (a, b) = (World::new().await, World::new().await);
    let (theirs, own) = (Account::of(&a).await, Account::of(&b).await);
    let made = a.admin.post("/api/calls/make", json!({"to": number()})).await.expect(200);
    let sid = made["twilio_sid"].as_str().unwrap();
    let text = [("From", "+14155550100"), ("To", theirs.number.as_str()), ("Body", "injected"), ("MessageSid", "SM1")];
    let call = [("CallSid", sid), ("CallStatus", "completed"), ("CallDuration", "999"), ("To", &theirs.number)];
    let own_call = [("CallSid", sid), ("CallStatus", "completed"), ("CallDuration", "999"), ("From", &own.number)];
    let named = format!("/api/calls/webhook?company={}&id={}", b.company, made["call_id"].as_str().unwrap());
    assert_eq!(own.tells("/api/sms/webhook/incoming", &text).await.status, 403);
    assert_eq!(own.tells("/api/calls/webhook", &call).await.status, 403);
    assert_eq!(own.tells("/api/calls/webhook", &own_call).await.status, 403);
    assert_eq!(own.tells(&named, &call).await.status, 403);
    // A token of their own account does not help either.
    for path in ["/api/sms/webhook/incoming", "/api/calls/webhook"] {
        assert_eq!(answer(b.admin.request("post", path).form(&text)).await.status, 403);
    }
    assert!(a.admin.get("/api/sms/messages").await.expect(200).as_array().unwrap().is_empty());
    let calls = a.admin.get("/api/calls/").await.expect(200);
    assert_eq!([&calls[0]["status"], &calls[0]["duration"]], [&json!("initiated"), &json!(0)]);
    assert!(b.admin.get("/api/calls/").await.expect(200).as_array().unwrap().is_empty());
}

/// Found by reading the old backend: an id alone counted an open, an address alone chose the company.
#[tokio::test]
async fn another_companys_mail_is_neither_counted_nor_received() {
    let (a, b) = (World::new().await, World::new().await);
    let sql =
        "insert into emails (tenant_id, company_id, user_id, direction, status, from_email, to_email, subject, body)
        values ($1, $1, $2, 'outbound', 'sent', 'a@a.example', 'x@x.example', 'S', 'B') returning id";
    let mail: Uuid = a.value(sql, &[&a.company, &a.admin.id]).await;
    for who in [&b.admin, &Person::nobody()] {
        for method in ["GET", "POST"] {
            assert_eq!(who.send(method, &format!("/api/emails/track/open/{mail}"), None).await.status, 200);
        }
    }
    let counted: i32 = a.value("select open_count from emails where id = $1", &[&mail]).await;
    assert_eq!(counted, 0);

    let address = format!("{}@a.example", Uuid::new_v4().simple());
    let entered =
        json!({"account_sid": Account::new().sid, "auth_token": "0".repeat(32), "sendgrid_from_email": address});
    a.admin.post("/api/twilio-settings/", entered).await.expect(201);
    let made = b.admin.send("POST", "/api/emails/webhook/settings", None).await.expect(200);
    let own = made["inbound_url"].as_str().unwrap().strip_prefix("https://crm.example").unwrap().to_owned();
    let theirs = own.replace(&b.company.simple().to_string(), &a.company.simple().to_string());
    let injected = json!({"from": "x@x.example", "to": address, "subject": "S", "text": "injected"});
    for path in ["/api/emails/webhook/inbound", theirs.as_str()] {
        assert_eq!(b.admin.post(path, injected.clone()).await.status, 403);
    }
    b.admin.post(&own, injected).await.expect(200);
    assert_eq!(a.admin.get("/api/emails/").await.expect(200), json!([]));
    assert_eq!(
        b.admin.get("/api/emails/").await.expect(200).as_array().unwrap().len(),
        1,
        "what one tells is one's own"
    );
}
