//! The audit log has everything that an admin is responsible for, in whoever's name it was done, and keeps it.

use crate::support::{
    database::OwnDatabase,
    server::{admin_url, api_url},
    twilio::Account,
    world::{World, add_person, answer},
};
use ringfence::{
    commands::erase::{self, Erase, Options},
    db::{self, Db, Plan, Sql, TenantDb},
};
use serde_json::{Value, json};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

/// The changes of a record that the company's admin sees.
async fn changes(world: &World, of: &str) -> Vec<Value> {
    let list = world.admin.get(&format!("/api/audit/?record_id={of}")).await.expect(200);
    list.as_array().unwrap().clone()
}

#[tokio::test]
async fn an_admin_sees_who_changed_what_and_nobody_else_does() {
    let (acme, other) = (World::new().await, World::new().await);
    let member = acme.member.id.to_string();
    let promote = acme.admin.request("PUT", &format!("/api/users/{member}")).header("x-request-id", "the-promotion");
    answer(promote.json(&json!({"role": "company_admin", "title": "Boss"}))).await.expect(200);
    let seen = changes(&acme, &member).await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    let change = &seen[0];
    assert_eq!((&change["action"], &change["table_name"]), (&json!("update"), &json!("users")));
    assert_eq!(change["before"], json!({"user_role": "company_user"}));
    assert_eq!(change["after"], json!({"user_role": "company_admin"}));
    assert_eq!((&change["user_id"], &change["role"]), (&json!(acme.admin.id), &json!("company_admin")));
    assert_eq!((&change["request_id"], &change["db_role"]), (&json!("the-promotion"), &json!(null)));
    assert!(change["user_name"].as_str().unwrap().starts_with("Company First"));
    assert_eq!(seen[1]["action"], "insert");
    assert_eq!(seen[1]["db_role"], "ringfence_admin", "the test's own hand");

    assert_eq!(changes(&other, &member).await, Vec::<Value>::new());
    assert!(!other.admin.get("/api/audit/").await.text.contains(&acme.company.to_string()));
    let plain = acme.person("company_user").await;
    plain.get("/api/audit/").await.detail(403);
    acme.lone().await.get("/api/audit/").await.detail(403);
    assert_eq!(acme.super_admin().await.get("/api/audit/").await.expect(200), json!([]));

    // Filters and pages.
    let of = async |query: &str| {
        let list = acme.admin.get(&format!("/api/audit/?{query}")).await.expect(200);
        list.as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = of("").await;
    assert!(all.len() > 6, "{all:?}");
    let list = acme.admin.get("/api/audit/").await.expect(200);
    let times: Vec<_> = list.as_array().unwrap().iter().map(|c| c["created_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    assert_eq!(of("skip=1&limit=2").await, all[1..3]);
    assert_eq!(of(&format!("user_id={}", acme.admin.id)).await, [change["id"].as_str().unwrap()]);
    assert_eq!(of("table=users").await.len(), 4);
    assert_eq!(of("table=contacts").await, [""; 0]);
    for wrong in ["record_id=x", "user_id=1", "skip=-1"] {
        assert_eq!(acme.admin.get(&format!("/api/audit/?{wrong}")).await.status, 422, "{wrong}");
    }
}

#[tokio::test]
async fn deletions_are_noted_without_content_and_credentials_without_secrets() {
    let acme = World::new().await;
    let contact = acme.contact("Ada", "Secretname").await;
    let id = contact["id"].as_str().unwrap();
    acme.member.patch(&format!("/api/contacts/{id}"), json!({"title": "Countess"})).await.expect(200);
    assert_eq!(changes(&acme, id).await, Vec::<Value>::new(), "what happens all day long is not noted");
    acme.member.delete(&format!("/api/contacts/{id}")).await;
    let seen = changes(&acme, id).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((&seen[0]["before"], &seen[0]["after"]), (&json!({"is_deleted": false}), &json!({"is_deleted": true})));
    assert_eq!((&seen[0]["user_id"], &seen[0]["role"]), (&json!(acme.member.id), &json!("company_user")));

    let account = Account::of(&acme).await;
    let log = acme.admin.get("/api/audit/").await;
    for table in ["twilio_settings", "phone_numbers", "company_secrets"] {
        assert!(log.text.contains(&format!("\"table_name\":\"{table}\"")), "{table}: {}", log.text);
    }
    assert!(log.text.contains(&account.sid));
    for secret in [account.token.as_str(), "Secretname", "sealed"] {
        assert!(!log.text.contains(secret), "{}", log.text);
    }

    // Long values are cut, and an update that changes nothing is not logged.
    let long = json!({"settings": {"auto_reply": "x".repeat(1000)}});
    let path = format!("/api/companies/{}", acme.company);
    for _ in 0..2 {
        acme.admin.put(&path, long.clone()).await.expect(200);
    }
    let seen = changes(&acme, &acme.company.to_string()).await;
    let changed: Vec<_> = seen.iter().filter(|c| c["action"] == "update").collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(changed[0]["after"]["settings"].as_str().unwrap().len() < 600);
}

#[tokio::test]
async fn jobs_and_people_at_psql_are_named() {
    let acme = World::new().await;
    let insert = "insert into pipelines (tenant_id, company_id, owner_id, name) values ($1, $1, $2, 'P') returning id";
    let pipeline: Uuid = acme.value(insert, &[&acme.company, &acme.admin.id]).await;
    let rename = "update pipelines set name = 'By a job' where id = $1 returning id";
    let rename = Sql { name: "a statement of this test", text: rename, plan: Plan::Auto };
    let job = TenantDb::for_company(&Db::new(&api_url(), 1).unwrap(), acme.company, acme.member.id);
    job.one::<Uuid>(rename, &[&pipeline]).await.unwrap();

    let login = format!("op_{}", Uuid::new_v4().simple());
    acme.db.execute("select app.add_operator($1::text::name, array[$2], true)", &[&login, &acme.name]).await.unwrap();
    let mut config: tokio_postgres::Config = admin_url().parse().unwrap();
    let (operator, connection) = config.user(&login).connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    operator.execute("update pipelines set name = 'By an operator' where id = $1", &[&pipeline]).await.unwrap();
    let shown: i64 =
        operator.query_one("select count(*) from audit_log where record_id = $1", &[&pipeline]).await.unwrap().get(0);
    assert_eq!(shown, 3);
    for refused in [
        "delete from audit_log",
        "update audit_log set after = null",
        "insert into audit_log (table_name, action) values ('x', 'update')",
    ] {
        let refused = operator.batch_execute(refused).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    }
    drop(operator);
    acme.db.execute("select app.remove_operator($1::text::name)", &[&login]).await.unwrap();

    let seen = changes(&acme, &pipeline.to_string()).await;
    let who: Vec<_> = seen.iter().map(|c| (c["role"].clone(), c["db_role"].clone(), c["user_id"].clone())).collect();
    assert_eq!(
        who,
        [
            (json!(null), json!(login), json!(null)),
            (json!("job"), json!(null), json!(acme.member.id)),
            (json!(null), json!("ringfence_admin"), json!(null)),
        ]
    );
    assert_eq!(seen[0]["before"], json!({"name": "By a job"}));
    assert_eq!(seen[1]["request_id"], json!(null));
}

/// A historical row is visible only to its owner, also in the log.
#[tokio::test]
async fn a_historical_row_is_not_in_the_companys_log() {
    let acme = World::new().await;
    let new = "insert into workflows (tenant_id, company_id, owner_id, name, trigger, status)
        values ($1, null, $2, 'Secret plan', 'deal_won', 'inactive') returning id";
    let id: Uuid = acme.value(new, &[&acme.company, &acme.member.id]).await;
    acme.db.execute("update workflows set name = 'Secret acquisition' where id = $1", &[&id]).await.unwrap();
    let noted: i64 = acme.value("select count(*) from audit_log where record_id = $1", &[&id]).await;
    assert_eq!(noted, 2);
    assert_eq!(changes(&acme, &id.to_string()).await, Vec::<Value>::new());
    assert!(!acme.admin.get("/api/audit/").await.text.contains("Secret"));
}

#[tokio::test]
async fn the_log_is_only_added_to() {
    let acme = World::new().await;
    let api = db::connect(&api_url()).await.unwrap();
    for client in [&acme.db, &api] {
        for harm in ["delete from audit_log", "update audit_log set after = null", "truncate audit_log"] {
            let refused = client.batch_execute(harm).await.expect_err(harm);
            assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{harm}");
        }
    }
    let forged = "insert into audit_log (table_name, action) values ('users', 'update')";
    assert_eq!(api.batch_execute(forged).await.unwrap_err().code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

#[tokio::test]
async fn who_moves_is_noted_in_both_companies_and_neither_learns_of_the_other() {
    let (a, b) = (World::new().await, World::new().await);
    let mover = a.person("company_user").await;
    a.db.execute("select app.assign_company($1, $2)", &[&mover.id, &b.company]).await.unwrap();
    let (left, came) = (changes(&a, &mover.id.to_string()).await, changes(&b, &mover.id.to_string()).await);
    assert_eq!((&left[0]["before"], &left[0]["after"]), (&json!({"company_id": a.company}), &json!({})));
    assert_eq!((&came[0]["before"], &came[0]["after"]), (&json!({}), &json!({"company_id": b.company})));
    assert_eq!((left.len(), came.len()), (2, 1));
}

#[tokio::test]
async fn erasure_takes_a_person_out_of_the_log() {
    let own = OwnDatabase::new().await;
    let acme = World::within(&own.admin, "Company").await;
    let gone = add_person(&acme.db, "gone", "company_user", Some(acme.company)).await;
    acme.db.execute("update users set status = 'suspended' where id = $1", &[&gone.id]).await.unwrap();
    let forbid = "insert into invitations (tenant_id, company_id, user_id, email, first_name, last_name, user_role, token_hash, expires_at)
        values ($1, $1, $2, $3, 'G', 'G', 'company_user', '\\x00', now())";
    acme.db.execute(forbid, &[&acme.company, &acme.admin.id, &gone.email]).await.unwrap();
    let said = "select count(*) from audit_log t where t::text like '%' || $1 || '%'";
    assert_eq!(acme.value::<i64>(said, &[&gone.email]).await, 2);
    let rows: i64 = acme.value("select count(*) from audit_log", &[]).await;

    let storage = own.store();
    let options = Options { dry_run: false, yes: true };
    let person = Erase::Person { email: Some(gone.email.clone()), company: None, contact: None, options };
    erase::run(&own.admin, &person, &storage).await.unwrap();
    assert_eq!(acme.value::<i64>(said, &[&gone.email]).await, 0);
    assert_eq!(acme.value::<i64>("select count(*) from audit_log", &[]).await, rows, "that something was done stays");
    let company = Erase::Company { company: acme.name.clone(), options };
    erase::run(&own.admin, &company, &storage).await.unwrap();
    assert_eq!(acme.value::<i64>("select count(*) from audit_log", &[]).await, 0);
    own.drop().await;
}
