//! Checks the database against the rules, and that each rule finds what it is for.

use crate::support::{
    command::{ringfence, run, text},
    database::{OwnDatabase, create_database, with_database},
    repository::{files, name},
    server::{admin_url, api_url, config, start_server},
    world::{Person, World},
};
use ringfence::{
    commands::{doctor, import},
    db::{self, migrate},
};
use serde_json::json;
use uuid::Uuid;

#[tokio::test]
async fn the_migrated_database_breaks_no_rule() {
    let own = OwnDatabase::new().await;
    let client = db::connect(&own.api).await.unwrap();
    let findings = doctor::findings(&client, doctor::rules()).await.unwrap();
    assert!(findings.is_empty(), "{findings:#?}");
    doctor::check_before_serving(&own.api).await.unwrap();
    drop(client);
    own.drop().await;
}

#[tokio::test]
async fn every_rule_is_run_by_the_doctor() {
    let mut files: Vec<String> = files("sql/lint", "sql").iter().map(|p| name(p)).collect();
    let mut rules: Vec<String> = doctor::rules().map(|r| r.name.to_owned()).collect();
    files.sort();
    rules.sort();
    assert_eq!(files, rules, "add the file to VITAL or FURTHER in src/commands/doctor.rs");
}

/// Harmful statements, and the rule that must find each.
const HARM: &[(&str, &str)] = &[
    ("create table notes (id uuid, tenant_id uuid, body text)", "lint/unprotected_tables"),
    ("alter table contacts no force row level security", "lint/unprotected_tables"),
    ("alter table contacts disable row level security", "lint/unprotected_tables"),
    (
        "drop policy tenant on contacts; drop policy no_new_historical on contacts; drop policy operator on contacts; drop policy platform on contacts",
        "lint/unprotected_tables",
    ),
    (
        "alter policy tenant on contacts using (tenant_id = nullif(current_setting('app.company_id', true), '')::uuid) with check (true)",
        "lint/policies",
    ),
    (
        "alter policy tenant on contacts using (company_id = (select app.company_id()) or (company_id is null and owner_id = (select app.user_id())))",
        "lint/policies",
    ),
    ("alter policy tenant on contacts using (tenant_id = app.company_id())", "lint/policies"),
    ("alter policy tenant on contacts to public", "lint/policies"),
    ("alter policy no_new_historical on contacts with check (true)", "lint/policies"),
    ("alter policy operator on contacts using (tenant_id = (select app.company_id()))", "lint/policies"),
    ("create policy more on contacts for select to ringfence_api using (true)", "lint/overlapping_policies"),
    (
        "create table notes (id uuid primary key, contact_id uuid references contacts, tenant_id uuid)",
        "lint/foreign_keys",
    ),
    (
        "alter table calls drop constraint calls_contact_fkey, add constraint calls_contact_fkey foreign key (tenant_id, contact_id) references contacts (tenant_id, id)",
        "lint/foreign_keys",
    ),
    ("create unique index on contacts (email)", "lint/unique_keys"),
    ("create index on contacts (email)", "lint/indexes"),
    ("create unique index on users (email)", "lint/indexes"),
    ("create unique index on companies (name)", "lint/indexes"),
    ("alter function app.global_key(text) leakproof", "lint/indexes"),
    (
        "create or replace function app.global_key(value text) returns text language sql immutable strict as 'select value'",
        "lint/indexes",
    ),
    (
        "create function app.peek() returns bigint language sql security definer as 'select count(*) from contacts'",
        "lint/definer_functions",
    ),
    ("alter function app.login(text) owner to ringfence_owner", "lint/definer_functions"),
    ("grant execute on function app.login(text) to public", "lint/definer_functions"),
    ("alter function app.login(text) reset search_path", "lint/definer_functions"),
    ("alter function app.keep_deal_sums() reset row_security", "lint/definer_functions"),
    ("create view everything as select * from contacts", "lint/views"),
    (
        "create materialized view everything as select * from contacts; grant select on everything to ringfence_api",
        "lint/views",
    ),
    ("grant truncate on contacts to ringfence_api", "lint/grants"),
    ("grant update on contacts to ringfence_api", "lint/grants"),
    ("grant select on contacts to public", "lint/grants"),
    ("grant create on schema public to ringfence_api", "lint/grants"),
    ("grant temporary on database \"$database\" to public", "lint/grants"),
    ("alter table contacts alter company_id drop default", "lint/tenant_columns"),
    ("alter table contacts drop constraint contacts_company_is_tenant", "lint/tenant_columns"),
    ("alter table contacts drop constraint contacts_member_fkey", "lint/tenant_columns"),
    (
        "create or replace function app.company_id() returns uuid language sql stable parallel safe as $f$ select current_setting('app.company_id')::uuid $f$",
        "lint/context",
    ),
    ("alter function app.user_id() volatile", "lint/context"),
    (
        "create function app.f(text) returns bool language sql immutable as 'select true'; alter function app.f(text) leakproof",
        "lint/leakproof_functions",
    ),
    ("drop policy no_new_historical on contacts", "lint/unprotected_tables"),
    ("drop policy own on notifications", "lint/unprotected_tables"),
    ("drop trigger b_caller on users", "lint/triggers"),
    ("drop trigger audit on workflows", "lint/triggers"),
    ("alter table jobs disable trigger harmless", "lint/disabled_triggers"),
    ("alter table audit_log disable trigger append_only", "lint/disabled_triggers"),
    ("grant insert on audit_log to ringfence_api", "lint/grants"),
    ("grant delete on audit_log to ringfence_api", "lint/grants"),
    (
        "grant update (after) on audit_log to ringfence_operator_write; create role op_harm login in role ringfence_operator_write",
        "lint/grants",
    ),
    ("drop trigger b_caller on companies", "lint/triggers"),
    ("alter table users disable trigger guard", "lint/disabled_triggers"),
    // Triggers of foreign keys are PostgreSQL's own.
    ("alter table contacts disable trigger all; alter table contacts enable trigger user", "lint/disabled_triggers"),
    ("alter table contacts enable replica trigger audit", "lint/disabled_triggers"),
    ("create table notes (id uuid primary key, contact_id uuid references contacts)", "lint/foreign_keys"),
    ("grant execute on function app.login(text) to ringfence_operator", "lint/definer_functions"),
    (
        "create or replace function app.operator_company() returns uuid language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $f$ select current_setting('app.company_id')::uuid $f$",
        "lint/context",
    ),
    ("grant select on app.caller to ringfence_operator", "lint/grants"),
    ("grant select on app.credentials to ringfence_api", "lint/grants"),
    ("grant insert, delete on users to ringfence_api", "lint/grants"),
    ("grant usage on schema leakproof to ringfence_operator", "lint/grants"),
    ("create role op_harm login in role ringfence_operator; grant truncate on contacts to op_harm", "lint/grants"),
    (
        "create role op_harm login in role ringfence_operator; grant update (company_id) on users to op_harm",
        "lint/grants",
    ),
    ("create schema crm; create table crm.t (id uuid); grant select on crm.t to ringfence_api", "lint/grants"),
    ("create role op_harm login in role ringfence_operator; grant ringfence_api to op_harm", "lint/roles"),
    ("create role op_harm login in role ringfence_operator superuser", "lint/roles"),
    ("create role op_harm login in role ringfence_operator", "lint/operator_rights"),
    ("grant ringfence_operator to ringfence_api", "lint/roles"),
    ("alter role ringfence_platform login", "lint/roles"),
    ("alter role ringfence_api createrole", "lint/roles"),
    ("grant ringfence_owner to ringfence_api", "lint/roles"),
    ("alter role ringfence_operator bypassrls", "lint/roles"),
    ("alter role ringfence_dba nobypassrls", "lint/dba_role"),
    ("create role op_harm login in role ringfence_operator, ringfence_staff", "lint/roles"),
    ("create role op_harm login in role ringfence_operator_write, ringfence_dba", "lint/roles"),
    ("create role op_harm login in role ringfence_operator_limited, ringfence_operator", "lint/roles"),
    ("create role op_harm login in role ringfence_staff bypassrls", "lint/roles"),
    ("grant ringfence_staff to ringfence_api", "lint/roles"),
    ("grant select on contacts to ringfence_staff", "lint/grants"),
    ("grant select on contacts to ringfence_operator_limited", "lint/grants"),
    ("grant update (first_name) on contacts to ringfence_operator", "lint/grants"),
    ("grant delete on contacts to ringfence_operator_write", "lint/grants"),
    ("grant update (object_key) on files to ringfence_api", "lint/grants"),
    ("grant insert on files to ringfence_operator_write", "lint/grants"),
    ("grant update (company_id) on contacts to ringfence_operator_write", "lint/grants"),
    ("grant insert on users to ringfence_operator_write", "lint/grants"),
    ("grant execute on function pg_current_wal_lsn() to public", "lint/operator_rights"),
    ("grant execute on function pg_advisory_lock(bigint) to ringfence_operator", "lint/operator_rights"),
    ("grant execute on function pg_export_snapshot() to ringfence_operator_limited", "lint/operator_rights"),
    ("grant insert (id) on contacts to ringfence_operator_write", "lint/operator_rights"),
    ("grant update (status) on workflows to ringfence_operator_write", "lint/operator_rights"),
    ("grant update (account_sid) on twilio_settings to ringfence_operator_write", "lint/operator_rights"),
    ("grant insert (phone_number) on phone_numbers to ringfence_operator_write", "lint/operator_rights"),
    ("create role op_harm login in role ringfence_operator; drop event trigger refuse_ddl", "lint/operator_ddl"),
    ("create role op_harm login in role ringfence_staff; alter event trigger refuse_ddl disable", "lint/operator_ddl"),
    ("grant execute on function app.staff_companies() to ringfence_operator", "lint/definer_functions"),
    ("alter policy operator on contacts with check (true)", "lint/policies"),
    (
        "alter policy tenant on contacts using (tenant_id = (select app.company_id())) with check (tenant_id = (select app.company_id()))",
        "lint/policies",
    ),
    (
        "create trigger every after update on contacts for each row execute function app.keep_activity()",
        "lint/update_triggers",
    ),
    (
        "create trigger told after insert on contacts for each row when (new.company_id is not null) execute function app.keep_activity()",
        "lint/insert_triggers",
    ),
    (
        "insert into companies (name) values ('A'); insert into app.operator_grant (db_role, company_id) select 'op_harm', id from companies",
        "lint/operator_grants",
    ),
    (
        "insert into companies (name) values ('A'); create role op_harm login in role ringfence_operator; select app.grant_operator('op_harm', 'A'); alter role op_harm rename to op_other",
        "lint/operator_grants",
    ),
];

#[tokio::test]
async fn every_rule_finds_what_it_is_there_for() {
    let own = OwnDatabase::new().await;
    let mut admin = db::connect(&own.admin).await.unwrap();
    for (harm, rule) in HARM {
        // Roles belong to the cluster, but nobody else sees an uncommitted change.
        let tx = admin.transaction().await.unwrap();
        tx.batch_execute(&harm.replace("$database", &own.name)).await.unwrap_or_else(|e| panic!("{harm}: {e:?}"));
        let text = doctor::rules().find(|r| r.name == *rule).unwrap().text;
        let found = tx.query(text, &[]).await.unwrap();
        assert!(!found.is_empty(), "{rule} does not find: {harm}");
        let (finding, remedy): (String, String) = (found[0].get("finding"), found[0].get("remedy"));
        assert!(!finding.is_empty() && !remedy.is_empty());
        tx.rollback().await.unwrap();
    }
    for rule in doctor::rules() {
        assert!(
            HARM.iter().any(|(_, r)| *r == rule.name),
            "{} was never seen to find anything: add what it is for to HARM",
            rule.name
        );
    }
    drop(admin);
    own.drop().await;
}

#[tokio::test]
async fn the_server_refuses_an_unsafe_database_or_login() {
    let own = OwnDatabase::new().await;
    doctor::check_before_serving(&own.api).await.unwrap();
    let said = doctor::check_before_serving(&own.admin).await.unwrap_err().to_string();
    assert!(said.contains("superuser"), "{said}");
    let admin = db::connect(&own.admin).await.unwrap();
    let role = format!("member_{}", Uuid::new_v4().simple());
    for grant in [format!("create role {role} login in role ringfence_owner"), format!("alter role {role} bypassrls")] {
        admin.batch_execute(&grant).await.unwrap();
        let url = own.api.replace("ringfence_api", &role);
        let said = doctor::check_before_serving(&url).await.unwrap_err().to_string();
        assert!(said.contains("member") || said.contains("bypasses"), "{said}");
    }
    // Also when the login becomes unsafe while a server runs.
    let (member, ready) = (format!("create role {role} login in role ringfence_api"), json!({"status": "ready"}));
    admin.batch_execute(&format!("drop role {role}; {member}")).await.unwrap();
    let server = Person::visitor(&start_server(config(), &own.api.replace("ringfence_api", &role)));
    assert_eq!(server.get("/readyz").await.expect(200), ready);
    admin.batch_execute(&format!("alter role {role} bypassrls")).await.unwrap();
    assert_eq!(
        server.get("/readyz").await.expect(503),
        json!({"status": "not ready", "detail": "the role of DATABASE_URL bypasses row-level security"})
    );
    admin.batch_execute(&format!("alter role {role} nobypassrls")).await.unwrap();
    assert_eq!(server.get("/readyz").await.expect(200), ready);
    let off = "alter table contacts disable trigger all; alter table contacts enable trigger user";
    admin.batch_execute(&format!("alter role {role} nologin; {off}")).await.unwrap();
    let said = doctor::check_before_serving(&own.api).await.unwrap_err().to_string();
    assert!(said.contains("contacts_member_fkey") && said.contains("enable trigger all"), "{said}");
    admin.batch_execute("alter table contacts enable trigger all").await.unwrap();
    doctor::check_before_serving(&own.api).await.unwrap();
    admin.batch_execute("create table notes (id uuid)").await.unwrap();
    let said = doctor::check_before_serving(&own.api).await.unwrap_err().to_string();
    assert!(said.contains("notes") && said.contains("app.protect"), "{said}");
    admin.batch_execute("drop table notes; delete from refinery_schema_history where version = (select max(version) from refinery_schema_history)").await.unwrap();
    let said = doctor::check_before_serving(&own.api).await.unwrap_err().to_string();
    assert!(said.contains("ringfence migrate"), "{said}");
    drop(admin);
    own.drop().await;
}

#[tokio::test]
async fn every_statement_fits_the_schema() {
    let client = db::connect(&admin_url()).await.unwrap();
    import::create_staging(&client).await.unwrap();
    for path in files("sql", "sql") {
        let text = std::fs::read_to_string(&path).unwrap();
        // The statement of a list has the condition of its cursor in a comment.
        for text in [text.replace("-- cursor:", ""), text] {
            if let Err(e) = client.prepare(&text).await {
                panic!("{}: {e:?}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn migrating_twice_and_at_once_is_harmless() {
    let own = OwnDatabase::new().await;
    let (one, two) = tokio::join!(migrate::migrate(&own.admin, None), migrate::migrate(&own.admin, None));
    one.unwrap();
    two.unwrap();
    own.drop().await;
}

#[tokio::test]
async fn two_addresses_must_lead_to_one_database() {
    let (own, other) = (OwnDatabase::new().await, OwnDatabase::empty().await);
    let refused = migrate::migrate(&other.admin, Some(&own.api)).await.unwrap_err().to_string();
    assert!(refused.contains(&own.name) && refused.contains(&other.name), "{refused}");
    let made = "select to_regclass('refinery_schema_history') is not null";
    let admin = db::connect(&other.admin).await.unwrap();
    assert!(!admin.query_one(made, &[]).await.unwrap().get::<_, bool>(0), "nothing is migrated");
    drop(admin);
    migrate::migrate(&own.admin, Some(&own.api)).await.unwrap();
    other.drop().await;
    own.drop().await;
}

/// During a rolling upgrade, old servers serve on the schema that the new one has migrated.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_serves_a_newer_schema_that_says_so() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let refusal = async || doctor::check_before_serving(&own.api).await.err().map(|e| e.to_string());
    let ready = async || acme.admin.get("/readyz").await.status;
    let newer =
        "insert into refinery_schema_history (version, name, applied_on, checksum) values (9999, 'later', '', '0')";
    acme.db.batch_execute(newer).await.unwrap();
    assert_eq!((ready().await, refusal().await), (200, None));
    // Nor does a server fail that has the administrator's URL, and therefore migrates first.
    assert_eq!(migrate::migrate(&own.admin, None).await.unwrap(), 9999);
    let newer = "the database is of a newer version than this program: use a newer program";
    assert_eq!(db::connect_as_dba(&own.admin).await.unwrap_err().to_string(), newer);
    let breaks =
        "create or replace function app.oldest_program() returns int language sql stable parallel safe return 9999";
    acme.db.batch_execute(breaks).await.unwrap();
    assert_eq!(ready().await, 503);
    assert!(refusal().await.unwrap().contains("a newer program"));
    assert_eq!(migrate::migrate(&own.admin, None).await.unwrap_err().to_string(), newer);
    acme.db.batch_execute("delete from refinery_schema_history where version > 37").await.unwrap();
    assert_eq!(ready().await, 503);
    assert!(refusal().await.unwrap().contains("ringfence migrate"));
    own.drop().await;
}

/// An administrator who is no superuser, as in managed databases: all is the same but the leakproof function.
#[tokio::test]
async fn an_administrator_who_is_no_superuser_can_migrate() {
    let cluster = db::connect(&admin_url()).await.unwrap();
    let role = format!("managed_{}", Uuid::new_v4().simple());
    let admin = format!("create role {role} login createrole createdb; grant connect on database postgres to {role}");
    cluster.batch_execute(&admin).await.unwrap();
    create_database(&role, &format!("owner {role}")).await;
    let url = with_database(&admin_url(), &role).replace("ringfence_admin", &role);
    migrate::migrate(&url, None).await.unwrap();
    let api = with_database(&api_url(), &role);
    let client = db::connect(&api).await.unwrap();
    // They may make no event trigger, and take nothing from everybody, which matters where somebody is at psql.
    let limit = format!("alter role op_{role} set temp_file_limit = '1GB'");
    cluster.batch_execute(&format!("create role op_{role} login in role ringfence_operator; {limit}")).await.unwrap();
    let findings = doctor::findings(&client, doctor::rules()).await.unwrap();
    // Other tests' operators may export a snapshot here, too.
    let (snapshots, others): (Vec<_>, Vec<_>) =
        findings.iter().partition(|f| f.finding.contains("pg_export_snapshot()"));
    assert!(snapshots.iter().any(|f| f.finding.starts_with(&format!("op_{role} "))), "{snapshots:#?}");
    assert!(matches!(&others[..], [open] if open.rule == "lint/operator_ddl"), "{others:#?}");
    client.query("select * from app.contacts_containing(app.contains('x'))", &[]).await.unwrap();
    // A superuser creates it. It does not hinder this administrator, who is a member of the roles that they created.
    migrate::migrate(&with_database(&admin_url(), &role), None).await.unwrap();
    let findings = doctor::findings(&client, doctor::rules()).await.unwrap();
    assert!(findings.is_empty(), "{findings:#?}");
    let mut superuser = db::connect(&with_database(&admin_url(), &role)).await.unwrap();
    let tx = superuser.transaction().await.unwrap();
    let member =
        format!("grant ringfence_operator to {role} with admin option; set local session authorization {role}");
    tx.batch_execute(&format!("{member}; create table public.notes (id uuid)")).await.unwrap();
    tx.rollback().await.unwrap();
    migrate::migrate(&url, None).await.unwrap();
    cluster.batch_execute(&format!("drop role op_{role}")).await.unwrap();
    drop((client, superuser));

    // What the migration does for existing companies works as such an administrator, too.
    let superuser = db::connect(&with_database(&admin_url(), &role)).await.unwrap();
    let company = "insert into companies (name) values ('A') returning id";
    let company: Uuid = superuser.query_one(company, &[]).await.unwrap().get(0);
    let add = "select app.add_user('a@x.example', 'x', 'A', 'B', 'company_user', $1, 'active')";
    superuser.query(add, &[&company]).await.unwrap();
    superuser.batch_execute("delete from pipelines").await.unwrap();
    let migration = include_str!("../../migrations/V0007__pipelines.sql");
    let backfill = &migration[migration.find("set role ringfence_platform").unwrap()..];
    db::connect(&url).await.unwrap().batch_execute(backfill).await.unwrap();
    let stages =
        "select count(*) from pipelines p join pipeline_stages s on s.pipeline_id = p.id where p.company_id = $1";
    assert_eq!(superuser.query_one(stages, &[&company]).await.unwrap().get::<_, i64>(0), 6);
    drop(superuser);
    cluster.batch_execute(&format!("drop database {role} with (force)")).await.unwrap();
    cluster
        .batch_execute(&format!(
            "revoke ringfence_owner, ringfence_platform from {role}; revoke connect on database postgres from {role}; drop role {role}"
        ))
        .await
        .unwrap();
}

/// What an administrator says for the whole database is there for other programs, and changes nothing here.
#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_database_change_nothing() {
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    for setting in [
        "search_path to public, app",
        "row_security = off",
        "standard_conforming_strings = off",
        "quote_all_identifiers = on",
        "datestyle = 'SQL, DMY'",
    ] {
        admin.batch_execute(&format!("alter database {} set {setting}", own.name)).await.unwrap();
    }
    doctor::check_before_serving(&own.api).await.unwrap();
    let client = db::connect(&own.api).await.unwrap();
    let findings = doctor::findings(&client, doctor::rules()).await.unwrap();
    assert!(findings.is_empty(), "{findings:#?}");
    migrate::migrate(&own.admin, None).await.unwrap();
    let acme = World::alone(&own).await;
    acme.contact("Back\\slash", "O'Brien").await;
    let found = acme.member.get("/api/contacts/?search=O%27Brien").await.expect(200);
    assert_eq!(found[0]["first_name"], "Back\\slash", "{found}");
    drop((admin, client, acme));
    own.drop().await;
}

/// `createdb` takes the encoding and the locale of whoever set the server up.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_lacks_letters_is_refused_before_anything_is_made() {
    for (options, problem) in [
        ("encoding 'LATIN1' locale 'C'", "the encoding of the database is LATIN1"),
        ("encoding 'SQL_ASCII' locale 'C'", "the encoding of the database is SQL_ASCII"),
        ("encoding 'UTF8' locale 'C'", "é is the small letter of É"),
    ] {
        let name = format!("own_{}", Uuid::new_v4().simple());
        create_database(&name, &format!("template template0 {options}")).await;
        let (admin, api) = (with_database(&admin_url(), &name), with_database(&api_url(), &name));
        let own = OwnDatabase { name, admin, api };
        let refused = migrate::migrate(&own.admin, None).await.unwrap_err().to_string();
        assert!(refused.contains(problem), "{refused}");
        assert!(refused.contains(&format!("createdb -T template0 -E UTF8 --locale=C.UTF-8 {}", own.name)), "{refused}");
        let client = db::connect(&own.admin).await.unwrap();
        let made = "select count(*) from pg_namespace where nspname = 'app'";
        assert_eq!(client.query_one(made, &[]).await.unwrap().get::<_, i64>(0), 0, "{options}");
        drop(client);
        own.drop().await;
    }
    // One that was migrated before this was looked at goes on, and its administrator hears of it.
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    let letters = format!("update pg_database set datctype = 'C' where datname = '{}'", own.name);
    admin.batch_execute(&letters).await.unwrap();
    migrate::migrate(&own.admin, None).await.unwrap();
    doctor::check_before_serving(&own.api).await.unwrap();
    let told = run(ringfence(&own, &["doctor"]), "");
    let said = text(&told.stdout);
    assert!(!told.status.success() && said.contains("PROBLEM text: the locale of the database"), "{said}");
    drop(admin);
    own.drop().await;
}
