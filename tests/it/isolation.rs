//! Tries every route and every table as somebody else. Routes come from the route table and tables from the catalog, so
//! new ones are tested at once; a failure says what is missing.

use crate::support::{
    database::{enter, until},
    seed::{Seeded, tables},
    server::{admin_url, api_url, shared_server},
    walk::{call, walk_routes, walk_tables},
    world::{Person, World},
};
use ringfence::{
    api::{self, Access},
    db,
};
use serde_json::json;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

#[tokio::test]
async fn no_route_shows_or_changes_another_companys_rows() {
    walk_routes(&Seeded::new().await, &World::new().await, shared_server()).await;
}

#[tokio::test]
async fn a_suspended_company_is_refused_on_every_route() {
    for state in ["status = 'suspended'", "subscription_status = 'expired'"] {
        let a = Seeded::new().await;
        a.world.db.execute(&format!("update companies set {state} where id = $1"), &[&a.world.company]).await.unwrap();
        let before = a.checksums().await;
        for route in api::routes().filter(|r| r.access != Access::public) {
            let answer = call(&a.world.admin, route, &|name| a.ids[name]).await;
            assert_eq!(answer.status, 403, "{} {}: {}", route.method, route.path, answer.text);
            assert!(answer.body["detail"].is_string() && !answer.text.contains(&a.canary));
        }
        assert_eq!(a.checksums().await, before);
    }
}

#[tokio::test]
async fn the_seed_has_a_canary_in_every_free_text() {
    let a = Seeded::new().await;
    let columns = "select a.attname::text from pg_attribute a where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped
        and a.atttypid = 'text'::regtype
        and not exists (select from pg_constraint k where k.conrelid = a.attrelid and k.contype = 'c' and a.attnum = any (k.conkey)
          and pg_get_constraintdef(k.oid) like '%= ANY (ARRAY%')";
    let exempt = [
        "app.caller.role",
        "app.credentials.password_hash",
        "app.rate_limits.bucket",
        "contacts.phone_digits",
        "refinery_schema_history",
    ];
    for table in tables(&a.world.db).await {
        for column in a.world.db.query(columns, &[&table]).await.unwrap() {
            let column: String = column.get(0);
            if exempt.iter().any(|e| format!("{table}.{column}").starts_with(e)) {
                continue;
            }
            let sql = format!("select count(*) from {table} where {column} like $1");
            let count: i64 = a.world.value(&sql, &[&format!("%{}%", a.canary)]).await;
            assert!(count > 0, "no canary in {table}.{column}: fill it in Seeding of tests/it/support/seed.rs");
        }
    }
}

#[tokio::test]
async fn no_table_lets_another_companys_caller_in() {
    let (a, b) = (Seeded::new().await, World::new().await);
    let before = a.checksums().await;
    let mut api = db::connect(&api_url()).await.unwrap();
    let set = |company: &str, user: &str| vec![enter(company, user)];
    let (company, user) = (b.company.to_string(), b.admin.id.to_string());
    walk_tables(&a, &mut api, "another company's admin", &set(&company, &user)).await;
    walk_tables(&a, &mut api, "a user without company", &set("", &b.lone().await.id.to_string())).await;
    walk_tables(&a, &mut api, "a statement without context", &[]).await;
    let job = ringfence::sql!("platform/enter_job")
        .text
        .replace("$1", &format!("'{company}'"))
        .replace("$2", &format!("'{user}'"))
        .replace("$3", "'auto'")
        .replace("$4", "true")
        .replace("$5", "''");
    walk_tables(&a, &mut api, "another company's job", &[job]).await;
    assert_eq!(a.checksums().await, before);
}

#[tokio::test]
async fn an_operator_is_held_to_the_company_of_the_login() {
    let (a, b) = (Seeded::new().await, World::new().await);
    b.contact("Own", "Contact").await;
    let role = format!("op_{}", Uuid::new_v4().simple());
    b.db.batch_execute(&format!(
        "create role {role} login in role ringfence_operator; alter role {role} set temp_file_limit = '1GB'"
    ))
    .await
    .unwrap();
    let grant = "insert into app.operator_grant (db_role, role_oid, company_id) select rolname, oid, $2 from pg_roles where rolname = $1::text";
    b.db.execute(grant, &[&role, &b.company]).await.unwrap();
    let mut config: tokio_postgres::Config = admin_url().parse().unwrap();
    let (mut operator, connection) = config.user(&role).connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);

    let tricks = [
        String::new(),
        format!("set app.company_id = '{0}'; set app.user_id = '{1}'", a.world.company, a.world.admin.id),
        "set role ringfence_operator".into(),
    ];
    for trick in tricks {
        let own: i64 = {
            operator.batch_execute(&trick).await.unwrap();
            operator.query_one("select count(*) from contacts", &[]).await.unwrap().get(0)
        };
        assert_eq!(own, 1, "after {trick:?}");
        for forbidden in [
            "set role ringfence_api",
            "set role ringfence_owner",
            "set role ringfence_dba",
            "set session authorization ringfence_api",
            "create table x ()",
            "create temp table x ()",
            "create function f() returns int language sql as 'select 1'",
            "select * from app.operator_grant",
            "select * from app.caller",
            "select * from app.credentials",
            "select app.login('x')",
            "select * from app.company_secrets",
            "select 1 from contacts where search_text operator(leakproof.~~~*) 'a\\'",
            "update contacts set first_name = 'x'",
            "select token_version from users where false; delete from users",
        ] {
            let refused = operator.batch_execute(forbidden).await.expect_err(forbidden);
            assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{forbidden}: {refused:?}");
        }
        operator.batch_execute("reset role").await.unwrap();
    }
    let context = [format!("set local app.company_id = '{}'", a.world.company)];
    walk_tables(&a, &mut operator, "another company's operator", &context).await;

    // An operator can count historical rows, but not see them.
    b.historical_sms(&b.member, "historical").await;
    let seen: i64 = operator.query_one("select count(*) from sms_messages", &[]).await.unwrap().get(0);
    let counted: i64 = operator
        .query_one("select row_count from app.historical_rows() where table_name = 'sms_messages'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!((seen, counted), (0, 1));

    b.db.execute("delete from app.operator_grant where db_role = $1::text::name", &[&role]).await.unwrap();
    until("the connection ends", async || operator.is_closed()).await;
    let (operator, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let unmapped: i64 = operator.query_one("select count(*) from contacts", &[]).await.unwrap().get(0);
    assert_eq!(unmapped, 0, "an operator without a grant sees nothing");
    drop(operator);
    connection.await.unwrap().unwrap();
    b.db.batch_execute(&format!("drop role {role}")).await.unwrap();
}

#[tokio::test]
async fn historical_rows_are_seen_by_their_user_only() {
    let a = World::new().await;
    a.historical_sms(&a.member, "of the member").await;
    a.historical_sms(&a.admin, "of the admin").await;
    let bodies = async |who: &Person| -> Vec<String> {
        let seen = who.get("/api/sms/messages").await.expect(200);
        seen.as_array().unwrap().iter().map(|m| m["body"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(bodies(&a.member).await, ["of the member"]);
    assert_eq!(bodies(&a.admin).await, ["of the admin"]);
    assert_eq!(bodies(&a.person("company_user").await).await, [""; 0]);

    // Nobody can add historical rows, or remove or set the company of a row.
    let mut api = db::connect(&api_url()).await.unwrap();
    let tx = api.transaction().await.unwrap();
    tx.batch_execute(&enter(a.company, a.member.id)).await.unwrap();
    for refused in [
        "insert into sms_messages (company_id, direction, status, from_address, to_address, body) values (null, 'inbound', 'received', '1', '2', 'x')",
        "update sms_messages set company_id = null",
        "update sms_messages set company_id = tenant_id",
        "update contacts set tenant_id = gen_random_uuid()",
    ] {
        let nested = tx.batch_execute(&format!("savepoint s; {refused}")).await.expect_err(refused);
        assert_eq!(nested.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refused}");
        tx.batch_execute("rollback to s").await.unwrap();
    }
}

#[tokio::test]
async fn rows_follow_a_user_to_the_first_company_and_stay_at_a_move() {
    let (a, b) = (World::new().await, World::new().await);
    let user = a.lone().await;
    let sms = "insert into sms_messages (tenant_id, company_id, user_id, contact_id, direction, status, from_address, to_address, body)
        values ($1, null, $1, $2, 'inbound', 'received', '1', '2', 'old') returning id";
    let contact = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email) values ($1, null, $1, 'Old', 'One', 'old@x') returning id";
    let contact: Uuid = a.value(contact, &[&user.id]).await;
    let sms: Uuid = a.value(sms, &[&user.id, &contact]).await;
    assert_eq!(user.get("/api/sms/messages").await.detail(403), "No company associated with user");

    a.db.execute("select app.assign_company($1, $2)", &[&user.id, &a.company]).await.unwrap();
    let seen = user.get("/api/sms/messages").await.expect(200);
    assert_eq!((&seen[0]["id"], &seen[0]["contact_id"]), (&json!(sms), &json!(contact)));
    assert_eq!(user.get("/api/contacts/").await.expect(200)[0]["id"], json!(contact));
    assert_eq!(a.admin.get("/api/sms/messages").await.expect(200), json!([]), "colleagues do not see it yet");

    a.db.execute("update users set company_id = $2 where id = $1", &[&user.id, &b.company]).await.unwrap();
    assert_eq!(user.get("/api/sms/messages").await.expect(200), json!([]), "data stays where it was made");
    assert_eq!(a.admin.get("/api/sms/messages").await.expect(200)[0]["id"], json!(sms));
    assert_eq!(b.admin.get("/api/sms/messages").await.expect(200), json!([]));
    assert_eq!(b.admin.get("/api/contacts/").await.expect(200), json!([]));
    let members: i64 = a.value("select count(*) from members where user_id = $1", &[&user.id]).await;
    assert_eq!(members, 3, "the own id, A and B");
}

#[tokio::test]
async fn platform_functions_are_those_of_platform_rs() {
    let world = World::new().await;
    let source = include_str!("../../src/db/platform.rs").to_owned() + include_str!("../../src/db/tenant.rs");
    let names = world
        .db
        .query(
            "select p.proname::text from pg_proc p where p.prosecdef and p.pronamespace = 'app'::regnamespace
        and has_function_privilege('ringfence_api', p.oid, 'execute') order by 1",
            &[],
        )
        .await
        .unwrap();
    assert!(!names.is_empty());
    // `lock_name` and `lock_admins` reveal nothing, and triggers and defaults call them; the doctor calls
    // `lost_grants`, and programs from before V0086 `numbers_taken`.
    let elsewhere = ["lock_name", "lock_admins", "lost_grants", "numbers_taken"];
    for name in names.iter().map(|r| r.get::<_, String>(0)).filter(|name| !elsewhere.contains(&name.as_str())) {
        // What platform/enter_job and platform/identify read.
        let file = match name.as_str() {
            "company_state" => "enter_job",
            "had_store" => "identify",
            name => name,
        };
        assert!(
            source.contains(&format!("sql!(\"platform/{file}\")")),
            "app.{name} may be called by the API and src/db/platform.rs does not name it"
        );
    }
    // The functions' owner may access only what they use: grants and policies must name the same tables.
    let lists = "select c.oid::regclass::text,
        exists (select from pg_policy p where p.polrelid = c.oid and 'ringfence_platform'::regrole = any (p.polroles)),
        exists (select from aclexplode(c.relacl) x where x.grantee = 'ringfence_platform'::regrole)
          or exists (select from pg_attribute a, aclexplode(a.attacl) x where a.attrelid = c.oid and x.grantee = 'ringfence_platform'::regrole)
        from pg_class c where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'app'::regnamespace)";
    for row in world.db.query(lists, &[]).await.unwrap() {
        let (table, policy, grant): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
        let open = ["app.caller", "app.rate_limits"].contains(&table.as_str());
        assert!(
            open || policy == grant,
            "{table}: a policy for ringfence_platform without a grant, or a grant without a policy"
        );
    }
}

#[tokio::test]
async fn the_caller_table_agrees_with_users_and_companies() {
    let world = World::new().await;
    world.db.execute("update users set status = 'suspended' where id = $1", &[&world.member.id]).await.unwrap();
    let differing: i64 = world.value(
        "with should as (
           select u.id, u.company_id, u.user_role, u.token_version, coalesce(app.is_blocked(c.status, c.subscription_status), false)
           from users u left join companies c on c.id = u.company_id where u.is_active and not u.is_deleted and u.status = 'active'
         ), is_now as (select user_id, company_id, role, token_version, blocked from app.caller)
         select count(*) from ((table should except table is_now) union all (table is_now except table should)) d", &[]).await;
    assert_eq!(differing, 0);
}
