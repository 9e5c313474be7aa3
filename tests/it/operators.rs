//! People at psql: operators see only their company, write only where they may, and staff see only lists.

use crate::support::{
    command::{psql, ringfence, run, text},
    database::{OwnDatabase, until, with_database},
    seed::Seeded,
    server::{admin_url, config, start_server},
    walk::walk_tables,
    world::World,
};
use futures_util::TryStreamExt;
use ringfence::{
    commands::doctor,
    config::{Config, Switch},
    db::{self, local::Cluster, migrate},
};
use serde_json::json;
use std::collections::BTreeMap;
use tokio_postgres::{Client, SimpleQueryMessage, error::SqlState};
use uuid::Uuid;

/// A login that its test drops at the end.
struct Login {
    name: String,
    database: String,
}

impl Login {
    fn new(database: &str) -> Self {
        Self { name: format!("op_{}", Uuid::new_v4().simple()), database: database.into() }
    }

    async fn connect(&self) -> Client {
        db::connect(&self.database.replace("ringfence_admin", &self.name)).await.unwrap()
    }

    /// Adds an operator of these companies.
    async fn operator(world: &World, companies: &[&str], write: bool, personal_data: bool) -> Self {
        let login = Self::new(&admin_url());
        let add = "select app.add_operator($1::text::name, $2, $3, $4)";
        world.db.execute(add, &[&login.name, &companies, &write, &personal_data]).await.unwrap();
        login
    }

    async fn remove(self, world: &World) {
        world.db.execute("select app.remove_operator($1::text::name)", &[&self.name]).await.unwrap();
    }
}

/// Everything that a statement returns, as one text; for a refused one, the text of the error.
async fn said(client: &Client, sql: &str) -> String {
    let rows = |messages: Vec<SimpleQueryMessage>| {
        let mut all = String::new();
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                for column in 0..row.len() {
                    all += row.get(column).unwrap_or_default();
                    all.push('|');
                }
            }
        }
        all
    };
    client.simple_query(sql).await.map_or_else(|e| format!("{e:?}"), rows)
}

#[tokio::test]
async fn whatever_an_operator_tries_they_see_their_company() {
    let (a, b) = (Seeded::new().await, World::new().await);
    b.contact("Own", "Contact").await;
    for personal_data in [true, false] {
        let login = Login::operator(&b, &[&b.name], false, personal_data).await;
        let operator = login.connect().await;
        let (company, user, canary) = (a.world.company, a.world.admin.id, &a.canary);
        let marks = [canary.clone(), company.to_string(), user.to_string()];

        // Another session runs a statement with a literal in it.
        let api = db::connect(&crate::support::server::api_url()).await.unwrap();
        api.simple_query(&format!("select '{canary}'")).await.unwrap();

        let mut tries: Vec<String> = Vec::new();
        for first in [
            "select 1".to_owned(),
            format!("set app.company_id = '{company}'; set app.user_id = '{user}'"),
            format!("set app.operator_choice = '{canary}'"),
            "set role ringfence_operator".into(),
            "set role none; reset role".into(),
            "set session authorization default".into(),
            format!("set session authorization \"{canary}\""),
            "set row_security = off".into(),
            "reset row_security; reset all".into(),
            "discard all".into(),
            format!("alter role \"{}\" set app.company_id = '{company}'", login.name),
        ] {
            tries.push(first);
            let one = "id, tenant_id, status";
            tries.extend(
                ["contacts", "sms_messages", "calls", "emails", "deals"].map(|t| format!("select {one} from {t}")),
            );
            tries.push("select * from contacts".into());
            tries.push("select * from users".into());
            tries.push("select * from companies".into());
            tries.push("select * from members".into());
            tries.push("deallocate all; prepare p as select id, tenant_id from contacts; execute p; execute p; execute p; execute p; execute p; execute p".into());
            tries.push("begin; declare c cursor with hold for select id, tenant_id from contacts; fetch all c; commit; close c".into());
            tries.push("do $$ declare r record; begin for r in select id, tenant_id from contacts loop raise exception '%', r; end loop; end $$".into());
            tries.push("select id, email::int from contacts".into());
            tries.push(format!("select id from contacts where email like '%{}%' and email::int > 0", &canary[6..20]));
            tries.push(format!("select 1 / (case when tenant_id = '{company}' then 0 else 1 end) from contacts"));
            tries.push("select * from app.distribution()".into());
            tries.push("select * from app.historical_rows()".into());
            tries.push("select * from app.my_companies()".into());
            tries.push("select most_common_vals, histogram_bounds from pg_stats where tablename in ('contacts', 'users', 'companies')".into());
            tries.push("select stavalues1 from pg_statistic".into());
            tries.push("select * from pg_stats_ext".into());
            tries.push("select * from pg_statistic_ext_data".into());
            tries.push("select query from pg_stat_activity".into());
            tries.push("select query from pg_stat_get_activity(null)".into());
            tries.push("select * from pg_prepared_statements; select * from pg_cursors; select * from pg_locks".into());
            tries.push("select pg_read_file('postmaster.pid')".into());
            tries.push("copy contacts to program 'cat'".into());
            tries.push("select * from deal_card; select * from email_card".into());
            tries.push(format!("explain analyze select id from contacts where type = '{canary}'"));
        }
        for statement in tries {
            let said = said(&operator, &statement).await;
            // What the operator typed may come back in an error or a plan.
            let shown = if statement.contains(canary.as_str()) { said.replace(canary.as_str(), "") } else { said };
            let shown = if statement.contains(&marks[1]) { shown.replace(&marks[1], "") } else { shown };
            for mark in &marks {
                assert!(!shown.contains(mark.as_str()), "{statement} tells another company's {mark}: {shown}");
            }
            let _ = operator.simple_query("rollback").await;
            let own = self::said(&operator, "set row_security = on; select count(id) from contacts").await;
            assert_eq!(own, "1|", "after {statement}");
        }
        let copied: Vec<_> = operator
            .copy_out("copy (select id, tenant_id from contacts) to stdout")
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(copied.len(), 1);

        for forbidden in [
            "set role ringfence_api",
            "set role ringfence_platform",
            "set role ringfence_staff",
            "set role ringfence_dba",
            "create function pg_temp.f(text) returns bool language plpgsql as 'begin raise notice ''%'', $1; return true; end'",
            "create temp view v as select * from contacts",
            "create operator public.=== (leftarg = text, rightarg = text, function = texteq)",
            "select app.contacts_containing('a\\')",
            "select * from app.operator_choice",
            "select * from app.staff_log",
            "select * from app.backfill_batch",
            "select app.staff_users_without_company()",
            "call app.run_backfill()",
            "select app.add_operator('x', array['y'])",
            "begin; lock table contacts in row exclusive mode",
            "begin; lock table contacts in access exclusive mode",
            "begin; lock table jobs in access exclusive mode",
            "select id from contacts for update",
            "select id from contacts for key share",
            "insert into contacts (first_name) values ('x')",
            "update contacts set status = 'NEW'",
            "delete from contacts",
            "truncate contacts",
            "select pg_advisory_lock(1)",
            "select pg_try_advisory_xact_lock(1)",
            "select lo_import('/etc/passwd')",
            "select lo_create(0)",
            "select pg_export_snapshot()",
            "select pg_current_wal_lsn()",
            "select pg_current_wal_insert_lsn()",
            "select pg_current_wal_flush_lsn()",
            "copy contacts from '/dev/null'",
            "vacuum full pg_catalog.pg_authid",
        ] {
            match operator.batch_execute(forbidden).await {
                Err(refused) => {
                    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{forbidden}: {refused:?}")
                }
                Ok(()) => assert!(forbidden.starts_with("vacuum"), "{forbidden}"),
            }
            let _ = operator.simple_query("rollback").await;
        }
        let other = said(&operator, &format!("select app.use_company('{}')", a.world.name)).await;
        assert!(other.contains("is no operator of a company named"), "{other}");
        drop(operator);
        login.remove(&b).await;
    }
    // No function of `app` notifies, so there is nothing to listen to.
    let speaks = "select count(*) from pg_proc where pronamespace = 'app'::regnamespace and coalesce(prosrc, '') || coalesce(pg_get_function_sqlbody(oid), '') ilike '%pg\\_notify%'";
    assert_eq!(b.value::<i64>(speaks, &[]).await, 0);
}

#[tokio::test]
async fn an_operator_who_writes_writes_their_company_and_nothing_else() {
    let (a, b) = (Seeded::new().await, World::new().await);
    let historical = b.historical_sms(&b.member, "historical").await;
    let login = Login::operator(&b, &[&b.name], true, true).await;
    let mut operator = login.connect().await;
    let before = a.checksums().await;

    let insert = "insert into contacts (owner_id, first_name, last_name, email) values ($1, 'By', 'Operator', 'op@example.com') returning tenant_id, company_id";
    let row = operator.query_one(insert, &[&b.admin.id]).await.unwrap();
    assert_eq!((row.get::<_, Uuid>(0), row.get::<_, Uuid>(1)), (b.company, b.company));
    let seen = b.member.get("/api/contacts/").await.expect(200);
    assert_eq!(seen[0]["first_name"], "By", "colleagues see it: {seen}");
    // Also on tables whose triggers and defaults do more.
    for statement in [
        "insert into quotes (owner_id, title, amount) values ($1, 'Quote', 1)",
        "insert into activities (owner_id, type, subject, due_date) values ($1, 'call', 'Call', now())",
        "update activities set status = 'completed' where owner_id = $1",
        "insert into sms_messages (user_id, direction, status, from_address, to_address, body) values ($1, 'inbound', 'received', '+15550100', '+15550101', 'Hi')",
        "insert into deals (owner_id, title, pipeline_id, stage_id) select $1, 'Deal', pipeline_id, id from pipeline_stages limit 1",
        "update deals set stage_id = (select id from pipeline_stages order by order_index desc limit 1) where owner_id = $1",
    ] {
        assert_eq!(
            operator.execute(statement, &[&b.admin.id]).await.unwrap_or_else(|e| panic!("{statement}: {e:?}")),
            1,
            "{statement}"
        );
    }
    assert_eq!(
        b.value::<i64>("select count(*) from workflow_events where tenant_id = $1", &[&b.company]).await,
        0,
        "nothing starts"
    );
    let reminders = "select count(*) from jobs where tenant_id = $1 and kind = 'activity_due'";
    assert_eq!(b.value::<i64>(reminders, &[&b.company]).await, 0, "what is completed is not due any more");
    // Whoever the operator claims to be.
    b.listen(&["contact_created", "deal_created"]).await;
    let context = format!("set app.user_id = '{0}'", b.admin.id);
    operator.batch_execute(&context).await.unwrap();
    for statement in [
        "insert into contacts (owner_id, first_name, last_name, email) values ($1, 'In', 'Their name', 'name@example.com')",
        "insert into deals (owner_id, title, pipeline_id, stage_id) select $1, 'Deal', pipeline_id, id from pipeline_stages limit 1",
    ] {
        operator.execute(statement, &[&b.admin.id]).await.unwrap();
    }
    let called = "select app.fire('contact_created', id, '{}') from contacts limit 1";
    operator.query(called, &[]).await.unwrap();
    for table in ["workflow_events", "workflow_executions"] {
        let started = format!("select count(*) from {table} where tenant_id = $1");
        assert_eq!(b.value::<i64>(&started, &[&b.company]).await, 0, "{table}");
    }
    operator.batch_execute("reset app.user_id").await.unwrap();
    // Nor does it help to claim that an archive is being restored.
    let suppress = "insert into suppressions (user_id, channel, address, reason) values
        ($1, 'email', e' No@Example.com\\u2003', 'unsubscribe'), ($1, 'sms', '+1 (415) 555-0177', 'stop')";
    operator.execute(suppress, &[&b.admin.id]).await.unwrap();
    let kept = "select array_agg(address order by address) from suppressions where tenant_id = $1";
    assert_eq!(b.value::<Vec<String>>(kept, &[&b.company]).await, ["+14155550177", "no@example.com"]);
    operator.batch_execute("set app.restoring = 'on'").await.unwrap();
    let sends = "insert into emails (user_id, direction, status, from_email, to_email, subject, body, is_sending)
        values ($1, 'outbound', 'queued', 'a@example.com', 'no@example.com', '', '', true)";
    let refused = operator.execute(sends, &[&b.admin.id]).await.unwrap_err();
    assert!(refused.as_db_error().unwrap().message().contains("has unsubscribed"), "{refused:?}");
    operator.batch_execute("reset app.restoring").await.unwrap();

    // Only into folders of the company, which are those that the operator sees.
    let folder = "insert into folders (tenant_id, company_id, owner_id, name) values ($1, $2, $3, 'F') returning id";
    let seen: Uuid = b.value(folder, &[&b.company, &Some(b.company), &b.member.id]).await;
    let hidden: Uuid = b.value(folder, &[&b.company, &None::<Uuid>, &b.member.id]).await;
    for statement in [
        "insert into files (owner_id, name, original_name, folder_id) values ($1, 'F', 'F', $2)",
        "insert into folders (owner_id, name, parent_id) values ($1, 'G', $2)",
        "update files set folder_id = $2 where owner_id = $1",
        "update folders set parent_id = $2 where owner_id = $1 and name = 'G'",
    ] {
        let refused = operator.execute(statement, &[&b.admin.id, &hidden]).await.expect_err(statement);
        assert_eq!(refused.code(), Some(&SqlState::FOREIGN_KEY_VIOLATION), "{statement}: {refused:?}");
        operator.execute(statement, &[&b.admin.id, &seen]).await.unwrap();
    }

    operator.execute("update sms_messages set body = 'changed'", &[]).await.unwrap();
    assert_eq!(b.value::<String>("select body from sms_messages where id = $1", &[&historical]).await, "historical");

    let refused = [
        format!("insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email) values ('{0}', '{0}', '{1}', 'x', 'x', 'x')", a.world.company, a.world.admin.id),
        format!("insert into contacts (company_id, owner_id, first_name, last_name, email) values (null, '{}', 'x', 'x', 'x')", b.admin.id),
        format!("set app.company_id = '{}'; insert into contacts (owner_id, first_name, last_name, email) values ('{}', 'x', 'x', 'x')", a.world.company, a.world.admin.id),
        "update contacts set tenant_id = gen_random_uuid()".into(),
        format!("insert into contacts (id, owner_id, first_name, last_name, email) values (gen_random_uuid(), '{}', 'x', 'x', 'x')", b.admin.id),
        "update contacts set company_id = null".into(),
        "delete from contacts".into(),
        "delete from jobs".into(),
        "begin; lock table contacts in access exclusive mode".into(),
        "begin; lock table jobs in access exclusive mode".into(),
        "select pg_advisory_lock(1)".into(),
        "select pg_advisory_xact_lock(1)".into(),
        "insert into invitations (user_id, email, first_name, last_name, user_role, token_hash, expires_at) values (null, 'x', 'x', 'x', 'company_admin', '', now())".into(),
        "update users set user_role = 'company_admin'".into(),
        "update companies set name = 'x'".into(),
    ];
    for statement in refused {
        let refused = operator.batch_execute(&statement).await.expect_err(&statement);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {refused:?}");
        let _ = operator.simple_query("rollback").await;
    }
    let context = [format!("set local app.company_id = '{}'", a.world.company)];
    walk_tables(&a, &mut operator, "another company's operator who writes", &context).await;
    assert_eq!(a.checksums().await, before);
    drop(operator);
    login.remove(&b).await;
}

/// The server acts on some rows in a member's name: an operator can neither add such rows nor change rows into them.
#[tokio::test]
async fn what_an_operator_writes_starts_and_sends_nothing() {
    let own = OwnDatabase::new().await;
    let server = start_server(Config { worker: Switch::Off, ..config() }, &own.api);
    let acme = World::alone_at(&own, &server).await;
    acme.db
        .batch_execute(&format!(
            "set app.company_id = '{}'; set app.user_id = '{}';
             insert into workflows (name, trigger, status, schedule) values ('W', 'scheduled', 'inactive', '{{\"every_minutes\": 1}}');
             insert into workflow_executions (workflow_id, event) select id, 'scheduled' from workflows;
             insert into workflow_steps (execution_id, position, action, status) select id, 0, 'wait', 'waiting' from workflow_executions;
             insert into jobs (kind, record_id, run_at) select 'workflow_run', id, now() + interval '1 day' from workflow_executions;
             insert into scheduled_sms (from_address, to_address, body, scheduled_at, is_cancelled) values ('+15550100', '+15550101', 'Hi', now(), true);
             insert into campaigns (campaign_name, subject, body, status, total_recipients) values ('C', 'S', 'B', 'draft', 1);
             insert into campaign_recipients (campaign_id, email, state) select id, 'a@example.com', 'failed' from campaigns;
             reset app.company_id; reset app.user_id",
            acme.company, acme.admin.id
        ))
        .await
        .unwrap();
    let login = Login::new(&own.admin);
    let add = "select app.add_operator($1::text::name, $2, true)";
    acme.db.execute(add, &[&login.name, &vec![&acme.name]]).await.unwrap();
    let operator = login.connect().await;
    operator.batch_execute(&format!("set app.user_id = '{}'", acme.admin.id)).await.unwrap();

    for statement in [
        "insert into workflows (name, status, trigger, schedule, actions) values ('byop', 'active', 'scheduled', '{\"every_minutes\": 1}', '[]')",
        "update workflows set status = 'active'",
        "update workflows set actions = '[]'",
        "insert into workflow_events (event, record_id) values ('deal_created', gen_random_uuid())",
        "insert into workflow_executions (workflow_id, event) select id, 'scheduled' from workflows",
        "update workflow_executions set actions = '[]'",
        "insert into workflow_steps (execution_id, position, action, status) select id, 1, 'wait', 'waiting' from workflow_executions",
        "update workflow_steps set status = 'retrying'",
        "insert into scheduled_sms (from_address, to_address, body, scheduled_at) values ('+15550100', '+15550101', 'Hi', now())",
        "update scheduled_sms set is_cancelled = false",
        "update scheduled_sms set body = 'Changed'",
        "insert into campaigns (campaign_name, subject, body, status, scheduled_at, total_recipients) values ('C', 'S', 'B', 'scheduled', now() + interval '1 second', 1)",
        "update campaigns set status = 'sending'",
        "insert into campaign_recipients (campaign_id, email) select id, 'b@example.com' from campaigns",
        "update campaign_recipients set state = 'pending'",
        "insert into mail_hooks (key_hash) values ('')",
        "insert into twilio_settings (account_sid) values ('AC')",
        "update twilio_settings set account_sid = 'AC'",
        "insert into phone_numbers (phone_number) values ('+15550100')",
        "update phone_numbers set is_active = true",
        "insert into notifications (title, type) values ('x', 'info')",
        "insert into jobs (kind, record_id) select 'workflow_run', id from workflow_executions",
        "insert into jobs (kind, record_id) select 'workflow_schedule', id from workflows",
        "insert into jobs (kind, record_id) select 'scheduled_sms', id from scheduled_sms",
        "insert into jobs (kind, record_id) select 'campaign', id from campaigns",
        "set role ringfence_operator_write; insert into jobs (kind, record_id) select 'campaign', id from campaigns",
        "update jobs set run_at = now()",
        "update jobs set kind = 'campaign'",
        "update jobs set kind = 'activity_due'",
        "update jobs set kind = 'unanswered', record_id = gen_random_uuid()",
        "update jobs set attempts = 0, failed_at = null",
    ] {
        let refused = operator.batch_execute(statement).await.expect_err(statement);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {refused:?}");
    }

    // An activity reminds its owner, also when its time changes; its job cannot be turned into another one.
    let add = "insert into activities (owner_id, type, subject, due_date) values ($1, 'call', 'Call', now() + interval '1 day')";
    operator.execute(add, &[&acme.admin.id]).await.unwrap();
    operator.execute("update activities set due_date = due_date + interval '1 hour'", &[]).await.unwrap();
    let turned = "update jobs set kind = 'workflow_run', record_id = gen_random_uuid() where kind = 'activity_due'";
    let refused = operator.execute(turned, &[]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    let moved = "update jobs set record_id = gen_random_uuid() where kind = 'activity_due'";
    let refused = operator.execute(moved, &[]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    let kinds =
        "select string_agg(kind || ' ' || (run_at = (select due_date from activities)), ',' order by kind) from jobs";
    let kinds: String = acme.value(kinds, &[]).await;
    assert_eq!(kinds, "activity_due true,workflow_run false");
    drop(operator);
    acme.db.execute("select app.remove_operator($1::text::name)", &[&login.name]).await.unwrap();
    own.drop().await;
}

/// Contents stay where users see them, whoever the operator claims to be when they delete.
#[tokio::test]
async fn what_an_operator_deletes_takes_nothing_along() {
    let acme = World::new().await;
    let login = Login::operator(&acme, &[&acme.name], true, true).await;
    let operator = login.connect().await;
    let name_themselves = format!("set app.user_id = '{}'", acme.member.id);
    operator.batch_execute(&name_themselves).await.unwrap();
    let delete = async |table: &str, id: &str| {
        operator.execute(&format!("update {table} set is_deleted = true where id = '{id}'"), &[]).await
    };

    let pipeline = acme.admin.post("/api/pipelines", json!({"name": "P"})).await.expect(200);
    let pipeline = pipeline["id"].as_str().unwrap();
    let mut stages = Vec::new();
    for n in 0..2 {
        let stage = json!({"name": format!("S{n}"), "order_index": n});
        let made = acme.admin.post(&format!("/api/pipelines/{pipeline}/stages"), stage).await.expect(200);
        stages.push(made["id"].as_str().unwrap().to_owned());
    }
    let deal = json!({"title": "D", "value": 1, "pipeline_id": pipeline, "stage_id": stages[0]});
    let deal = acme.admin.post("/api/deals/", deal).await.expect(200);
    let old = "insert into deals (tenant_id, company_id, owner_id, title, value, pipeline_id, stage_id)
        select tenant_id, null, $2, 'Old', 1, pipeline_id, id from pipeline_stages where id::text = $1 returning id";
    let old: Uuid = acme.value(old, &[&stages[1], &acme.member.id]).await;
    let refused = delete("pipeline_stages", &stages[0]).await.unwrap_err();
    assert_eq!(refused.as_db_error().unwrap().message(), "The stage cannot be deleted: 1 deal is in it");
    let refused = delete("pipelines", pipeline).await.unwrap_err();
    assert_eq!(refused.as_db_error().unwrap().message(), "The pipeline cannot be deleted: 1 deal is in it");
    assert_eq!(delete("pipeline_stages", &stages[1]).await.unwrap(), 1);
    let seen = acme.member.get(&format!("/api/deals/{old}")).await.expect(200);
    assert_eq!(seen["stage_name"], "S0");
    acme.admin.delete(&format!("/api/deals/{}", deal["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(delete("pipelines", pipeline).await.unwrap(), 1);
    let seen = acme.member.get(&format!("/api/deals/{old}")).await.expect(200);
    assert_eq!(seen["stage_name"], "Lead");

    let folder = acme.admin.post("/api/files/folders", json!({"name": "F"})).await.expect(200);
    let folder = folder["id"].as_str().unwrap();
    let file = "insert into files (tenant_id, company_id, owner_id, name, original_name, folder_id)
        values ($1, null, $2, 'F', 'F', $3::text::uuid) returning id";
    let file: Uuid = acme.value(file, &[&acme.company, &acme.member.id, &folder]).await;
    let below = "insert into folders (tenant_id, company_id, owner_id, name, parent_id)
        values ($1, null, $2, 'Below', $3::text::uuid) returning id";
    let below: Uuid = acme.value(below, &[&acme.company, &acme.member.id, &folder]).await;
    assert_eq!(delete("folders", folder).await.unwrap(), 1);
    assert_eq!(acme.member.get(&format!("/api/files/{file}")).await.expect(200)["folder_id"], json!(null));
    let parent = "select parent_id from folders where id = $1";
    assert_eq!(acme.value::<Option<Uuid>>(parent, &[&below]).await, None);
    drop(operator);
    login.remove(&acme).await;
}

#[tokio::test]
async fn an_operator_has_ten_connections() {
    let own = OwnDatabase::new().await;
    let acme = World::within(&own.admin, "Acme").await;
    let login = Login::new(&own.admin);
    acme.db.execute("select app.add_operator($1::text::name, $2)", &[&login.name, &vec![&acme.name]]).await.unwrap();
    let limit = "select rolconnlimit from pg_roles where rolname = $1";
    assert_eq!(acme.value::<i32>(limit, &[&login.name]).await, 10);

    // The migration sets the limit for existing operators, too.
    acme.db.batch_execute(&format!("alter role {} connection limit -1", login.name)).await.unwrap();
    let migration = include_str!("../../migrations/V0060__what_operators_start.sql");
    let limits = migration.find("-- Not as the owner of the tables").unwrap();
    acme.db.batch_execute(&migration[limits..]).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(login.connect().await);
    }
    let refused = db::connect(&login.database.replace("ringfence_admin", &login.name)).await.err().unwrap();
    assert!(format!("{refused:?}").contains("too many connections for role"), "{refused:?}");
    drop(open);
    acme.db.execute("select app.remove_operator($1::text::name)", &[&login.name]).await.unwrap();
    drop(acme);
    own.drop().await;
}

#[tokio::test]
async fn the_content_of_a_file_is_nobodys_to_choose() {
    let (a, b) = (Seeded::new().await, Seeded::new().await);
    let login = Login::operator(&b.world, &[&b.world.name], true, true).await;
    let operator = login.connect().await;
    let key: String = a.world.value("select object_key from files where tenant_id = $1", &[&a.world.company]).await;
    let owner = b.world.admin.id;
    for statement in [
        format!("update files set object_key = '{key}'"),
        "update files set sha256 = null".into(),
        "update files set size = 9".into(),
        format!("insert into files (owner_id, name, original_name, object_key) values ('{owner}', 'x', 'x', '{key}')"),
    ] {
        let refused = operator.batch_execute(&statement).await.expect_err(&statement);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {refused:?}");
    }
    let add = "insert into files (owner_id, name, original_name) values ($1, 'x', 'x')";
    assert_eq!(operator.execute(add, &[&owner]).await.unwrap(), 1, "a file without content is theirs to add");
    // Nor may an operator say that a file was deleted long ago, upon which the sweep would delete its content.
    for statement in [
        "update files set is_deleted = true, deleted_at = '2000-01-01'".into(),
        "update files set deleted_at = '2000-01-01'".into(),
        format!(
            "insert into files (owner_id, name, original_name, is_deleted, deleted_at) values ('{owner}', 'x', 'x', true, '2000-01-01')"
        ),
    ] {
        let refused = operator.batch_execute(&statement).await.expect_err(&statement);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {refused:?}");
    }
    let deleted = "with d as (update files set is_deleted = true, deleted_at = '2000-01-01' where tenant_id = $1 returning deleted_at)
        select bool_and(deleted_at = now()) from d";
    assert!(b.world.value::<bool>(deleted, &[&b.world.company]).await, "of a change it is known when it is made");
    let api = db::connect(&crate::support::server::api_url()).await.unwrap();
    let refused = api.batch_execute("update files set object_key = null").await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    // Whoever writes it: another file's key, a key that begins like it, and an empty one.
    for key in [key.clone(), format!("{key}{}", Uuid::nil()), String::new()] {
        let set = "update files set object_key = $2 where tenant_id = $1";
        let refused = b.world.db.execute(set, &[&b.world.company, &key]).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::CHECK_VIOLATION), "{key}");
    }
    drop(operator);
    login.remove(&b.world).await;
}

#[tokio::test]
async fn an_operator_holds_up_no_other_company() {
    let (a, b, c) = (World::new().await, World::new().await, World::new().await);
    let one = Login::operator(&b, &[&b.name], true, true).await;
    // An operator who has not chosen a company yet, and therefore has none.
    let two = Login::operator(&b, &[&b.name, &c.name], true, true).await;
    let year: String = a.value("select to_char(now(), 'YYYY')", &[]).await;
    for login in [&one, &two] {
        let operator = login.connect().await;
        let refused = operator.batch_execute("select pg_advisory_xact_lock(1)").await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
        let (company, kind) = (a.company, "quote number");
        operator
            .batch_execute(&format!(
                "begin; set local app.company_id = '{company}'; select app.lock_name('{kind}', '{year}');
                 select app.lock_name('{kind} {company}', '{year}'); select app.lock_name('quote', 'Ours')"
            ))
            .await
            .unwrap();
        let new = serde_json::json!({"title": "Ours", "amount": 1});
        a.admin.post("/api/quotes/", new).await.expect(201);
        operator.batch_execute("rollback").await.unwrap();
        a.db.execute("delete from quotes where tenant_id = $1", &[&a.company]).await.unwrap();
        for mode in ["row share", "row exclusive", "share", "access exclusive"] {
            let lock = format!("begin; lock table jobs in {mode} mode");
            let refused = operator.batch_execute(&lock).await.expect_err(mode);
            assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{mode}: {refused:?}");
            operator.batch_execute("rollback").await.unwrap();
        }
    }
    // Nor may they claim or lock a phone number, which can be in use only once among all companies.
    let operator = one.connect().await;
    for statement in [
        "insert into phone_numbers (user_id, phone_number, is_active) select id, '+14155550167', true from users limit 1",
        "update phone_numbers set friendly_name = 'x'",
        "select id from phone_numbers for update",
        "select id from phone_numbers for key share",
    ] {
        let refused = operator.batch_execute(&format!("begin; {statement}")).await.expect_err(statement);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {refused:?}");
        operator.batch_execute("rollback").await.unwrap();
    }
    // Nor may they fill the lock table, which the whole cluster shares.
    let takes = |names: i32| {
        format!("do $$ begin for n in 1..{names} loop perform app.lock_name('quote', n::text); end loop; end $$")
    };
    let operator = one.connect().await;
    operator.batch_execute(&takes(100)).await.unwrap();
    let refused = operator.batch_execute(&takes(101)).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::PROGRAM_LIMIT_EXCEEDED), "{refused:?}");
    let api = db::connect(&crate::support::server::api_url()).await.unwrap();
    api.batch_execute(&takes(200)).await.unwrap();
    // Their own company waits for them, as for anybody who numbers a quote.
    let operator = one.connect().await;
    operator.batch_execute(&format!("begin; select app.lock_name('quote number', '{year}')")).await.unwrap();
    let api = db::connect(&crate::support::server::api_url()).await.unwrap();
    let set = format!("begin; set local lock_timeout = '100ms'; set local app.company_id = '{}'", b.company);
    api.batch_execute(&set).await.unwrap();
    let waits = api.batch_execute(&format!("select app.lock_name('quote number', '{year}')")).await.unwrap_err();
    assert_eq!(waits.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));
    drop(operator);
    two.remove(&b).await;

    // A statement is refused before it waits for a table's lock, with others behind it; no rights of others are
    // dropped.
    let three = Login::operator(&b, &[&b.name], false, false).await;
    for login in [&one, &three] {
        let (reader, operator) = (login.connect().await, login.connect().await);
        reader.batch_execute("begin; select count(id) from contacts").await.unwrap();
        operator.batch_execute("set lock_timeout = 0; set statement_timeout = '5s'").await.unwrap();
        for statement in [
            "create rule r as on insert to contacts do nothing",
            "create trigger t before insert on contacts for each row execute function app.refuse_job()",
            "create index on contacts (id)",
            "create statistics s on id, tenant_id from contacts",
            "alter table contacts set (fillfactor = 50)",
            "drop owned by ringfence_operator",
            "drop owned by ringfence_operator_write, ringfence_operator_limited",
            "drop owned by current_user",
            "comment on table contacts is 'x'",
            "create temp table t (id uuid)",
            "select 1 as id into t",
            "grant select on contacts to public",
        ] {
            let refused = operator.batch_execute(statement).await.expect_err(statement);
            assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {refused:?}");
            let said = refused.as_db_error().unwrap().message().to_owned();
            assert!(said.contains("is an administrator's to say"), "{statement}: {said}");
        }
        for statement in [
            "explain select id from contacts",
            "prepare p as select id from contacts; execute p; deallocate p",
            "begin; declare c cursor for select id from contacts; fetch all c; commit",
            "listen something; unlisten something",
        ] {
            operator.batch_execute(statement).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
        }
    }
    one.remove(&b).await;
    three.remove(&b).await;
}

/// Before there was an event trigger, a member of a group could drop the rights of all its members.
#[tokio::test]
async fn what_all_operators_have_lost_is_given_back_by_a_migration() {
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    let rights = async || -> Vec<String> {
        let all = "select r from (
              select format('%s to %s on %s', a.privilege_type, a.grantee::regrole, c.oid::regclass), a.grantee from pg_class c, aclexplode(c.relacl) a
              union all select format('%s to %s on %s.%s', a.privilege_type, a.grantee::regrole, c.attrelid::regclass, c.attname), a.grantee
                from pg_attribute c, aclexplode(c.attacl) a
              union all select format('%s to %s on %s', a.privilege_type, a.grantee::regrole, p.oid::regprocedure), a.grantee
                from pg_proc p, aclexplode(p.proacl) a
              union all select format('%s to %s on %s', a.privilege_type, a.grantee::regrole, nspname), a.grantee
                from pg_namespace, aclexplode(nspacl) a where nspname <> 'public'
              union all select format('policy %s %s for %s: %s, %s', polname, polcmd, p.polrelid::regclass, pg_get_expr(polqual, polrelid), r.role::regrole), r.role
                from pg_policy p, unnest(p.polroles) as r (role)
            ) x (r, role) where role::regrole::text ~ '^ringfence_(operator|staff)' order by 1";
        admin.query(all, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let before = rights().await;
    assert!(before.len() > 500, "{}", before.len());
    let groups = ["ringfence_operator", "ringfence_operator_write", "ringfence_operator_limited", "ringfence_staff"];
    for lost in groups.map(|group| vec![group]).into_iter().chain([groups.to_vec()]) {
        let lost = lost.join(", ");
        admin.batch_execute(&format!("drop owned by {lost}; alter event trigger refuse_ddl disable")).await.unwrap();
        assert!(rights().await.len() < before.len());
        ringfence::db::migrate::migrate(&own.admin, None).await.unwrap();
        assert_eq!(rights().await, before, "{lost}");
        doctor::check_before_serving(&own.api).await.unwrap();
        let enabled = "select evtenabled::text from pg_event_trigger where evtname = 'refuse_ddl'";
        assert_eq!(admin.query_one(enabled, &[]).await.unwrap().get::<_, String>(0), "O");
    }
    drop(admin);
    own.drop().await;
}

/// Everybody sees the keys of all locks, but nobody can compute the key of a name to compare them with.
#[tokio::test]
async fn keys_of_locks_cannot_be_guessed() {
    let (a, b) = (World::new().await, World::new().await);
    let api = db::connect(&crate::support::server::api_url()).await.unwrap();
    let lock = format!(
        "begin; set local app.company_id = '{0}'; select app.lock_name('quote', 'Merger'); select app.lock_admins('{0}')",
        a.company
    );
    api.batch_execute(&lock).await.unwrap();
    let pid: i32 = api.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let spy = Login::operator(&b, &[&b.name], true, true).await;
    let operator = spy.connect().await;
    let seen = "select count(*), count(*) filter (where (l.classid::bigint << 32 | l.objid::bigint) in (
            ('x' || encode(sha256(convert_to(format('%L %L %L', 'quote', $2::text, 'Merger'), 'UTF8')), 'hex'))::bit(64)::bigint,
            hashtextextended(concat_ws(' ', 'quote', $2::text, 'Merger'), 0), hashtextextended('admins of ' || $2::text, 0)))
        from pg_locks l where l.locktype = 'advisory' and l.pid = $1";
    let seen = operator.query_one(seen, &[&pid, &a.company.to_string()]).await.unwrap();
    assert_eq!((seen.get::<_, i64>(0), seen.get::<_, i64>(1)), (2, 0));
    for secret in
        ["select * from ops.lock_secret", "select app.lock_key('x')", "select app.lock_admins(app.company_id())"]
    {
        let refused = operator.batch_execute(secret).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{secret}");
    }
    spy.remove(&b).await;
}

/// `explain analyze` must print the same for a value that another company has and for one that nobody has.
#[tokio::test]
async fn a_guess_finds_nothing_out_by_its_plan() {
    let own = OwnDatabase::new().await;
    let (a, b) = (Seeded::within(&own.admin).await, World::within(&own.admin, "B").await);
    let db = &a.world.db;
    db.batch_execute("analyze").await.unwrap();
    let login = Login::new(&own.admin);
    let add = "select app.add_operator($1::text::name, $2, true)";
    db.execute(add, &[&login.name, &vec![&b.name]]).await.unwrap();
    let operator = login.connect().await;
    let values = "select c.oid::regclass::text, a.attname::text from pg_policy p join pg_class c on c.oid = p.polrelid
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and a.atttypid = 'text'::regtype where p.polname = 'operator' order by 1, 2";
    let mut tried = 0;
    for row in db.query(values, &[]).await.unwrap() {
        let (table, column): (String, String) = (row.get(0), row.get(1));
        let whose = match table.as_str() {
            "companies" => "id",
            "users" => "company_id",
            _ => "tenant_id",
        };
        let theirs = format!(
            "select x.{column} from {table} x where x.{whose} = $1 and x.{column} is not null
               and not exists (select from {table} y where y.{whose} = $2 and y.{column} = x.{column}) limit 1"
        );
        let Some(row) = db.query_opt(&theirs, &[&a.world.company, &b.company]).await.unwrap() else { continue };
        let value: String = row.get(0);
        for condition in ["$c = '$v'", "$c >= '$v' and $c <= '$v'", "app.global_key($c) = app.global_key('$v')"] {
            let mut removed = Vec::new();
            for guess in [value.as_str(), "a guess of what nobody has"] {
                let quoted = guess.replace('\'', "''");
                let condition = condition.replace("$c", &column).replace("$v", &quoted);
                let ask = format!(
                    "set enable_seqscan = off; explain (analyze, costs off, timing off, summary off, buffers off) select 1 from {table} where {condition}"
                );
                let plan = said(&operator, &ask).await;
                assert!(plan.contains("actual rows=0"), "{plan}");
                // The plan may depend on samples of columns that are open to all operators; the counts must not.
                removed.push(
                    plan.split('|').filter(|line| line.contains("Rows Removed")).map(str::to_owned).collect::<Vec<_>>(),
                );
            }
            assert_eq!(removed[0], removed[1], "{table}.{column}: {condition}");
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
    drop(operator);
    db.execute("select app.remove_operator($1::text::name)", &[&login.name]).await.unwrap();
    own.drop().await;
}

/// `explain` estimates from samples of the whole table, so personal columns must not be sampled.
#[tokio::test]
async fn personal_columns_are_sampled_only_where_searches_need_it() {
    let own = OwnDatabase::new().await;
    let a = Seeded::within(&own.admin).await;
    let db = &a.world.db;
    db.batch_execute("alter table emails alter column body set statistics -1; analyze").await.unwrap();
    let sampled = async || -> Vec<String> {
        let sql = "select tablename || '.' || attname from pg_stats where schemaname = 'public'";
        db.query(sql, &[]).await.unwrap().iter().map(|r| r.get(0)).collect()
    };
    assert!(sampled().await.contains(&"emails.body".to_owned()));
    ringfence::db::migrate::migrate(&own.admin, None).await.unwrap();
    db.batch_execute("analyze").await.unwrap();
    let sampled = sampled().await;
    assert!(sampled.contains(&"contacts.tenant_id".to_owned()), "{sampled:?}");
    let mut personal: Vec<String> = Vec::new();
    for (table, (_, columns)) in decisions() {
        personal.extend(columns.iter().map(|c| format!("{table}.{c}")).filter(|c| sampled.contains(c)));
    }
    let searched = [
        "contacts.first_name_lc",
        "contacts.last_name_lc",
        "contacts.email",
        "contacts.phone_digits",
        "contacts.search_text",
        "deals.search_text",
        "quotes.search_text",
        "files.search_text",
        "emails.message_id",
        "suppressions.address",
    ];
    personal.retain(|c| !searched.contains(&c.as_str()));
    assert!(personal.is_empty(), "{personal:?}");
    for key in ["users_email_key.global_key", "contacts_tenant_email_key.lower", "sms_messages.twilio_sid"] {
        assert!(!sampled.contains(&key.to_owned()), "{key}");
    }
    drop(a);
    own.drop().await;
}

#[tokio::test]
async fn an_operator_of_several_companies_works_for_one_at_a_time() {
    let (a, b, c) = (World::new().await, World::new().await, World::new().await);
    for (world, name) in [(&a, "A"), (&b, "B"), (&c, "C")] {
        world.contact(name, "Contact").await;
    }
    let login = Login::operator(&a, &[&a.name, &b.name], false, true).await;
    let (one, two) = (login.connect().await, login.connect().await);
    let seen = async |client: &Client| said(client, "select string_agg(first_name, ',') from contacts").await;
    assert_eq!(seen(&one).await, "|", "nothing before one is chosen");
    let choose =
        async |client: &Client, world: &World| said(client, &format!("select app.use_company('{}')", world.name)).await;
    assert_eq!(choose(&one, &a).await, format!("{}|", a.name));
    choose(&two, &b).await;
    assert_eq!((seen(&one).await, seen(&two).await), ("A|".into(), "B|".into()));
    assert!(choose(&one, &c).await.contains("is no operator of a company named"));
    assert_eq!(seen(&one).await, "A|");

    // The token of another login has no effect, and one's own only names a company that was granted.
    let stranger = Login::operator(&c, &[&c.name, &b.name], false, true).await;
    let theirs = stranger.connect().await;
    choose(&theirs, &c).await;
    let token: String = theirs.query_one("select current_setting('app.operator_choice')", &[]).await.unwrap().get(0);
    one.batch_execute(&format!("set app.operator_choice = '{token}'")).await.unwrap();
    assert_eq!(seen(&one).await, "|");
    choose(&one, &a).await;

    a.db.execute("select app.revoke_operator($1::text::name, $2)", &[&login.name, &b.name]).await.unwrap();
    // A connection that had chosen it does not go on in the other company: the operator logs in again, and chooses.
    until("their connections end", async || one.is_closed() && two.is_closed()).await;
    let again = login.connect().await;
    assert_eq!(seen(&again).await, "|");
    choose(&again, &a).await;
    assert_eq!(seen(&again).await, "A|");
    drop((one, two, theirs, again));
    login.remove(&a).await;
    stranger.remove(&a).await;
}

/// Companies choose their names themselves.
#[tokio::test]
async fn an_operator_chooses_by_the_id_whatever_companies_call_themselves() {
    let (a, b) = (World::new().await, World::new().await);
    for (world, name) in [(&a, "A"), (&b, "B")] {
        world.contact(name, "Contact").await;
    }
    let login = Login::operator(&a, &[&a.name, &b.name], false, true).await;
    let operator = login.connect().await;
    let choose = async |given: &str| said(&operator, &format!("select app.use_company('{given}')")).await;
    let rename = "update companies set name = $2 where id = $1";
    b.db.execute(rename, &[&b.company, &a.company.to_string()]).await.unwrap();
    assert_eq!(choose(&a.company.to_string()).await, format!("{}|", a.name));
    assert_eq!(said(&operator, "select first_name from contacts").await, "A|");
    // A company's former name may be meant as well.
    let was = a.name.clone();
    a.db.execute(rename, &[&a.company, &format!("{was} GmbH")]).await.unwrap();
    for name in [was.clone(), format!("{}\u{200b}", was.to_uppercase())] {
        b.db.execute(rename, &[&b.company, &name]).await.unwrap();
        for given in [&was, &name] {
            let refused = choose(given).await;
            assert!(refused.contains("does not say which company is meant"), "{given}: {refused}");
            assert!(refused.contains(&a.company.to_string()) && refused.contains(&b.company.to_string()), "{refused}");
        }
    }
    assert_eq!(choose(&b.company.to_string().to_uppercase()).await, format!("{}\u{200b}|", was.to_uppercase()));
    assert_eq!(said(&operator, "select first_name from contacts").await, "B|");
    drop(operator);
    login.remove(&a).await;
}

#[tokio::test]
async fn an_operator_fills_no_disk() {
    let acme = World::new().await;
    let login = Login::operator(&acme, &[&acme.name], false, true).await;
    let operator = login.connect().await;
    assert_eq!(said(&operator, "show temp_file_limit").await, "1GB|");
    let refused = operator.batch_execute("set temp_file_limit = -1").await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refused:?}");
    // A limit set by an administrator stays.
    acme.db.batch_execute(&format!("alter role {} set temp_file_limit = '1MB'", login.name)).await.unwrap();
    acme.db.execute("select app.settle_operator($1::text::name)", &[&login.name]).await.unwrap();
    let operator = login.connect().await;
    let sorts = "set work_mem = '64kB'; select count(*) from (select n from generate_series(1, 500000) n order by md5(n::text)) x";
    let refused = operator.batch_execute(sorts).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::CONFIGURATION_LIMIT_EXCEEDED), "{refused:?}");
    drop(operator);
    login.remove(&acme).await;
}

/// Companies from before the rule for names may have any name.
#[tokio::test(flavor = "multi_thread")]
async fn a_companys_name_says_nothing_at_a_terminal() {
    let own = OwnDatabase::new().await;
    let acme = World::within(&own.admin, "Acme").await;
    let name = "Evil\u{1b}[2J\n  1,000 -> Forged\u{202e}\u{9b}31m";
    acme.db.execute("update companies set name = $1", &[&name]).await.unwrap();
    acme.historical_sms(&acme.member, "old").await;
    let (login, id) = (Login::new(&own.admin), acme.company.to_string());
    let shown = "Evil[2J  1,000 -> Forged31m";
    for arguments in [
        vec!["operator", "add", &login.name, "--company", &id, "--generate-password"],
        vec!["operator", "list"],
        vec!["operator", "grant", &login.name, "--company", &id],
        vec!["backfill", "plan"],
        vec!["user", "assign", &acme.member.email, "--company", &id],
        vec!["user", "assign", &acme.admin.email, "--company", &id, "--role", "company_user"],
        vec!["erase", "company", &id, "--dry-run"],
    ] {
        let done = run(ringfence(&own, &arguments), "");
        let said = text(&done.stdout) + &text(&done.stderr);
        assert!(said.contains(shown), "{arguments:?}: {said:?}");
        assert!(!said.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{arguments:?}: {said:?}");
    }
    let url = login.database.replace("ringfence_admin", &login.name);
    let answers = psql(&url, &format!("\\i sql/ops/operator.psql\n\\set to '{id}'\n:use\n"));
    assert_eq!(answers.matches(&format!("Data of: {shown}\n")).count(), 2, "{answers:?}");
    assert!(!answers.contains(['\u{1b}', '\u{202e}']), "{answers:?}");
    login.remove(&acme).await;
    drop(acme);
    own.drop().await;
}

/// In a connection that could not be ended, in one opened meanwhile, and in the next one, as psql makes by itself.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_loses_a_company_chooses_before_they_go_on() {
    let own = OwnDatabase::new().await;
    let server = start_server(Config { worker: Switch::Off, ..config() }, &own.api);
    let world = async || World::alone_at(&own, &server).await;
    let (a, b, c) = (world().await, world().await, world().await);
    for (world, name) in [(&a, "A"), (&b, "B"), (&c, "C")] {
        world.contact(name, "Contact").await;
    }
    let login = Login::new(&own.admin);
    let add = "select app.add_operator($1::text::name, $2, true)";
    a.db.execute(add, &[&login.name, &vec![&a.name, &b.name, &c.name]]).await.unwrap();
    let seen = async |client: &Client| said(client, "select string_agg(first_name, ',') from contacts").await;
    let choose =
        async |client: &Client, world: &World| said(client, &format!("select app.use_company('{}')", world.name)).await;
    let insert = format!(
        "insert into contacts (owner_id, first_name, last_name, email) values ('{}', 'x', 'x', 'x@example.com')",
        a.admin.id
    );

    let mut admin = db::connect(&own.admin).await.unwrap();
    let revoking = admin.transaction().await.unwrap();
    revoking.execute("select app.revoke_operator($1::text::name, $2)", &[&login.name, &b.name]).await.unwrap();
    let late = login.connect().await;
    choose(&late, &b).await;
    assert_eq!(seen(&late).await, "B|");
    revoking.commit().await.unwrap();
    assert_eq!(seen(&late).await, "|");

    let open = login.connect().await;
    choose(&open, &c).await;
    c.db.execute("update users set is_deleted = true where company_id = $1", &[&c.company]).await.unwrap();
    let platform = a.super_admin().await.at(&server);
    platform.delete(&format!("/api/companies/{}", c.company)).await.expect(200);

    let next = login.connect().await;
    for client in [&late, &open, &next] {
        assert_eq!(seen(client).await, "|");
        let refused = client.batch_execute(&insert).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refused:?}");
    }
    assert_eq!(said(&next, "select * from app.my_companies()").await, format!("{}|f|", a.name));
    choose(&next, &a).await;
    assert_eq!(seen(&next).await, "A|");
    next.batch_execute(&insert).await.unwrap();
    let listed = text(&run(ringfence(&own, &["operator", "list"]), "").stdout);
    assert!(listed.contains(&format!("{} ({}), to be chosen", a.name, a.company)), "{listed}");

    // Nor does an operator without any company go straight on in the one that is granted next.
    let revoked = run(ringfence(&own, &["operator", "revoke", &login.name, "--company", &a.name]), "");
    assert!(text(&revoked.stdout).contains("Nothing is left here"), "{}", text(&revoked.stderr));
    let listed = text(&run(ringfence(&own, &["operator", "list"]), "").stdout);
    assert!(listed.contains(&login.name) && listed.contains("no company"), "{listed}");
    let open = login.connect().await;
    assert_eq!(said(&open, "select * from app.my_companies()").await, "");
    a.db.execute("select app.grant_operator($1::text::name, $2)", &[&login.name, &b.name]).await.unwrap();
    assert_eq!(seen(&open).await, "|");
    choose(&open, &b).await;
    assert_eq!(seen(&open).await, "B|");
    let doctor = run(ringfence(&own, &["doctor"]), "");
    assert!(doctor.status.success(), "{}", text(&doctor.stdout));
    login.remove(&a).await;
    assert_eq!(a.value::<i64>("select count(*) from app.operator_grant", &[]).await, 0);
    own.drop().await;
}

/// Open columns and personal columns of a table.
type Decided = (Vec<String>, Vec<String>);

/// The decisions in sql/platform/operators.sql.
fn decisions() -> BTreeMap<String, Decided> {
    let source = include_str!("../../sql/platform/operators.sql");
    let words = |list: &str| list.split_whitespace().map(str::to_owned).collect();
    let line = |line: &str| -> Option<(String, Decided)> {
        let parts: Vec<&str> =
            line.trim().strip_prefix("('")?.trim_end_matches(',').strip_suffix("')")?.split("', '").collect();
        let [table, open, personal] = parts.try_into().ok()?;
        Some((table.to_owned(), (words(open), words(personal))))
    };
    source.lines().filter_map(line).collect()
}

#[tokio::test]
async fn every_column_is_decided_to_be_personal_or_open() {
    let world = World::new().await;
    let decided = decisions();
    assert!(decided.len() > 20);
    let columns = "select c.relname::text, a.attname::text, a.atttypid in ('uuid'::regtype, 'timestamptz'::regtype, 'boolean'::regtype),
          has_column_privilege('ringfence_operator_limited', c.oid, a.attnum, 'select')
        from pg_policy p join pg_class c on c.oid = p.polrelid join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where p.polname = 'operator' order by 1, a.attnum";
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in world.db.query(columns, &[]).await.unwrap() {
        let (table, column, by_type, readable): (String, String, bool, bool) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let (open, personal) = decided.get(&table).cloned().unwrap_or_default();
        let is_open = open.contains(&column);
        assert!(
            by_type || is_open != personal.contains(&column),
            "{table}.{column}: say in sql/platform/operators.sql whether it is open to operators who see no personal data"
        );
        assert_eq!(readable, by_type || is_open, "{table}.{column}");
        known.entry(table).or_default().push(column);
    }
    for (table, (open, personal)) in decided {
        for column in open.iter().chain(&personal) {
            assert!(
                known.get(&table).is_some_and(|c| c.contains(column)),
                "{table}.{column} is decided and is not there"
            );
        }
    }
}

#[tokio::test]
async fn an_operator_without_personal_data_reads_the_open_columns() {
    let a = Seeded::new().await;
    let login = Login::operator(&a.world, &[&a.world.name], false, false).await;
    let operator = login.connect().await;
    for (table, (open, personal)) in decisions() {
        for column in personal {
            let refused = operator.query(&format!("select {column} from {table}"), &[]).await.expect_err(&column);
            assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{table}.{column}");
        }
        for column in open {
            operator.query(&format!("select {column} from {table}"), &[]).await.unwrap();
        }
    }
    assert!(operator.query("select * from contacts", &[]).await.is_err());
    let contacts: i64 = operator.query_one("select count(*) from contacts", &[]).await.unwrap().get(0);
    assert_eq!(contacts, 1);
    drop(operator);
    login.remove(&a.world).await;
}

/// A login of this name that was dropped by other means belonged to another person.
#[tokio::test]
async fn an_operator_made_anew_has_the_companies_that_are_named() {
    let (a, b) = (World::new().await, World::new().await);
    let login = Login::operator(&a, &[&a.name], false, true).await;
    a.db.batch_execute(&format!("drop role {}", login.name)).await.unwrap();
    let add = "select app.add_operator($1::text::name, $2)";
    a.db.execute(add, &[&login.name, &[&b.name].as_slice()]).await.unwrap();
    let companies = said(&login.connect().await, "select * from app.my_companies()").await;
    assert!(companies.contains(&b.name) && !companies.contains(&a.name), "{companies}");
    login.remove(&a).await;
}

/// Logins belong to the cluster: a new person may get a name that still has grants in another database.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_database_granted_to_a_login_is_not_its_successors() {
    let (one, two) = (OwnDatabase::new().await, OwnDatabase::new().await);
    let bluepeak = World::within(&one.admin, "Bluepeak Solar").await;
    let harbor = Seeded::within(&two.admin).await.world;
    harbor.db.batch_execute("delete from app.operator_grant").await.unwrap();
    let other = World::within(&two.admin, "Other").await;
    let eve = Login::new(&two.admin);
    let add = "select app.add_operator($1::text::name, $2)";
    let grant = "select app.grant_operator($1::text::name, $2)";
    harbor.db.execute(add, &[&eve.name, &vec![&harbor.name, &other.name]]).await.unwrap();
    let first = eve.connect().await;
    let use_harbor = format!("select app.use_company('{}')", harbor.name);
    said(&first, &use_harbor).await;
    let token: String = first.query_one("select current_setting('app.operator_choice')", &[]).await.unwrap().get(0);
    let count = "select count(*) from contacts";
    assert_ne!(said(&first, count).await, "0|");
    drop(first);

    bluepeak.db.execute(grant, &[&eve.name, &bluepeak.name]).await.unwrap();
    bluepeak.db.execute("select app.remove_operator($1::text::name)", &[&eve.name]).await.unwrap();
    bluepeak.db.execute(add, &[&eve.name, &vec![&bluepeak.name]]).await.unwrap();
    let second = eve.connect().await;
    second.batch_execute(&format!("set app.operator_choice = '{token}'")).await.unwrap();
    assert_eq!(said(&second, count).await, "0|");
    assert_eq!(said(&second, "select * from app.my_companies()").await, "");
    let refused = said(&second, &use_harbor).await;
    assert!(refused.contains("is no operator of a company named"), "{refused}");
    assert_eq!(said(&second, count).await, "0|");
    // The doctor reports it, and the list is empty.
    let doctor = text(&run(ringfence(&two, &["doctor"]), "").stdout);
    assert!(doctor.contains(&format!("2 companies of the operator {}", eve.name)), "{doctor}");
    let listed = text(&run(ringfence(&two, &["operator", "list"]), "").stdout);
    assert!(listed.contains("There are no operators"), "{listed}");

    // The new login has what was granted to it, and nothing of its predecessor's.
    harbor.db.execute(grant, &[&eve.name, &other.name]).await.unwrap();
    let companies = said(&second, "select company from app.my_companies()").await;
    assert_eq!(companies, format!("{}|", other.name));
    let doctor = run(ringfence(&two, &["doctor"]), "");
    assert!(doctor.status.success(), "{}", text(&doctor.stdout));
    let at_home = db::connect(&one.admin.replace("ringfence_admin", &eve.name)).await.unwrap();
    assert_eq!(said(&at_home, "select name from companies").await, format!("{}|", bluepeak.name));
    drop((second, at_home));
    eve.remove(&other).await;
    drop((bluepeak, harbor, other));
    one.drop().await;
    two.drop().await;
}

#[tokio::test]
async fn staff_get_lists_across_companies_and_leave_a_trace() {
    let a = Seeded::new().await;
    let lone = a.world.lone().await;
    let login = Login::new(&admin_url());
    a.world.db.batch_execute(&format!("create role {} login in role ringfence_staff", login.name)).await.unwrap();
    let staff = login.connect().await;
    let users = staff.query("select * from app.staff_users_without_company()", &[]).await.unwrap();
    assert!(users.iter().any(|u| u.get::<_, String>("email") == lone.email));
    assert!(users.iter().all(|u| u.get::<_, String>("email") != a.world.admin.email));
    for (report, columns) in [
        (
            "staff_users_without_company",
            vec!["id", "email", "first_name", "last_name", "user_role", "status", "created_at", "last_login"],
        ),
        ("staff_companies", vec!["id", "name", "plan", "status", "subscription_status", "users", "created_at"]),
        ("staff_queue", vec!["company", "kind", "waiting", "due", "given_up", "late"]),
        ("staff_historical_rows", vec!["table_name", "company", "row_count"]),
        ("staff_refusals", vec!["last_at", "company", "user_id", "route", "reason", "times", "request_id"]),
    ] {
        let statement = staff.prepare(&format!("select * from app.{report}()")).await.unwrap();
        assert_eq!(statement.columns().iter().map(|c| c.name()).collect::<Vec<_>>(), columns);
        staff.query(&statement, &[]).await.unwrap();
    }
    for table in crate::support::seed::tables(&a.world.db).await {
        let refused = staff.batch_execute(&format!("select * from {table}")).await.expect_err(&table);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{table}");
    }
    let traces: i64 = a
        .world
        .value(
            "select count(*) from app.staff_log where db_role = $1::text::name and asked_at <= now()",
            &[&login.name],
        )
        .await;
    assert_eq!(traces, 6);
    for change in ["update app.staff_log set report = 'x'", "delete from app.staff_log", "truncate app.staff_log"] {
        assert!(a.world.db.batch_execute(change).await.unwrap_err().to_string().contains("db error"), "{change}");
    }
    // A report that cannot be logged is not given.
    assert!(staff.batch_execute("begin read only; select * from app.staff_companies()").await.is_err());
    // Nor is it kept secret by rolling back.
    let url = login.database.replace("ringfence_admin", &login.name);
    let said =
        psql(&url, "set client_min_messages = log;\nbegin;\nselect count(*) from app.staff_companies();\nrollback;\n");
    assert!(said.contains(&format!("staff report \"companies\" for {}", login.name)), "{said}");
    drop(staff);
    a.world.db.batch_execute(&format!("drop role {}", login.name)).await.unwrap();
}

/// What an operator says about who they are is not believed.
#[tokio::test]
async fn an_operator_speaks_in_nobodys_name() {
    let (acme, other) = (World::new().await, World::new().await);
    let login = Login::operator(&acme, &[&acme.name], true, true).await;
    let operator = login.connect().await;
    let set = format!(
        "set app.user_id = '{}'; set app.request_id = 'job x'; update pipelines set name = 'Renamed' where is_default",
        other.admin.id
    );
    operator.batch_execute(&set).await.unwrap();
    let asked = "select user_id::text, role, request_id, db_role::text from audit_log where table_name = 'pipelines' and after ->> 'name' = 'Renamed'";
    let row = operator.query_one(asked, &[]).await.unwrap();
    let said: Vec<Option<String>> = (0..4).map(|n| row.get(n)).collect();
    assert_eq!(said, [None, None, None, Some(login.name.clone())]);
    drop(operator);
    login.remove(&acme).await;
}

/// Refusals of the API are shown to the operators of the company and to staff, and to nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_what_is_known_to_operators_of_their_company_and_to_staff() {
    let own = OwnDatabase::new().await;
    let server = start_server(Config { worker: Switch::Off, ..config() }, &own.api);
    let (acme, other) = (World::alone_at(&own, &server).await, World::alone_at(&own, &server).await);
    let lone = acme.lone().await.at(&server);
    for _ in 0..3 {
        lone.get("/api/sms/messages").await.expect(403);
    }
    acme.db.batch_execute("revoke insert on contacts from ringfence_api").await.unwrap();
    let refused = json!({"first_name": "B", "last_name": "B", "email": "b@x.example"});
    acme.member.post("/api/contacts/", refused).await.expect(403);
    until("it is written down", async || {
        acme.value::<i64>("select coalesce(sum(times), 0) from app.refusals", &[]).await == 4
    })
    .await;
    let theirs = format!("{}|POST /api/contacts/|policy_or_grant|1|", acme.member.id);
    let nobodys = format!("{}|GET /api/sms/messages|no_company|3|", lone.id);
    let asked = "select user_id, route, reason, times from app.company_refusals()";
    for (world, expected) in [(&acme, theirs.as_str()), (&other, "")] {
        let login = Login::new(&own.admin);
        let add = "select app.add_operator($1::text::name, $2)";
        world.db.execute(add, &[&login.name, &[&world.name].as_slice()]).await.unwrap();
        assert_eq!(said(&login.connect().await, asked).await, expected);
        let url = login.database.replace("ringfence_admin", &login.name);
        let shown = psql(&url, "\\i sql/ops/operator.psql\n:refusals\n");
        assert_eq!(shown.contains(&acme.member.id.to_string()), !expected.is_empty(), "{shown}");
        login.remove(world).await;
    }
    let login = Login::new(&own.admin);
    acme.db.batch_execute(&format!("create role {} login in role ringfence_staff", login.name)).await.unwrap();
    let all = said(&login.connect().await, "select user_id, route, reason, times from app.staff_refusals()").await;
    assert!(all.contains(&theirs) && all.contains(&nobodys), "{all}");
    let url = login.database.replace("ringfence_admin", &login.name);
    let shown = psql(&url, "\\i sql/ops/operator.psql\n:refusals\n");
    assert!(shown.contains(&lone.id.to_string()), "{shown}");
    acme.db.batch_execute(&format!("drop role {}", login.name)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_makes_lists_and_removes_operators() {
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    admin.batch_execute("insert into companies (name) values ('Acme'), ('O''Brien & Sons')").await.unwrap();
    let login = Login { name: format!("Op \"{}'s", Uuid::new_v4().simple()), database: own.admin.clone() };
    let name = login.name.as_str();
    let go = |arguments: &[&str], input: &str| run(ringfence(&own, &[&["operator"], arguments].concat()), input);
    let roles = async || -> i64 {
        admin
            .query_one(
                "select count(*) from pg_authid where rolname = $1 and rolpassword like 'SCRAM-SHA-256%'",
                &[&name],
            )
            .await
            .unwrap()
            .get(0)
    };

    for (arguments, input, sentence) in [
        (vec!["add", name, "--company", "Nobody", "--generate-password"], "", "there is no company named"),
        (vec!["add", name, "--company", "Acme"], "weak\n", "8 characters"),
        (vec!["add", name, "--company", "Acme"], "", "--generate-password"),
        (vec!["add", name, "--company", "Acme", "--write", "--no-personal-data"], "", "cannot be used with"),
        (vec!["add", name], "", "--company"),
        (vec!["add", "ringfence_helper", "--company", "Acme", "--generate-password"], "", "choose another one"),
        (vec!["add", "ringfence_api", "--company", "Acme", "--generate-password"], "", "choose another one"),
        (vec!["remove", "ringfence_admin"], "", "there is no operator named"),
        (vec!["remove", name], "", "there is no operator named"),
    ] {
        let refused = go(&arguments, input);
        assert!(
            !refused.status.success() && text(&refused.stderr).contains(sentence),
            "{arguments:?}: {}",
            text(&refused.stderr)
        );
        assert_eq!(roles().await, 0);
    }
    let made = go(&["add", name, "--company", "Acme"], "Secret-Horse-9\n");
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_eq!(roles().await, 1);
    let clash = go(&["add", name, "--company", "O'Brien & Sons", "--generate-password"], "");
    assert!(
        text(&clash.stderr).contains("already") && text(&clash.stderr).contains("whole cluster"),
        "{}",
        text(&clash.stderr)
    );
    let listed = text(&go(&["list"], "").stdout);
    assert!(listed.contains(name) && listed.contains("Acme") && !listed.contains("Brien"), "{listed}");
    let more = go(&["grant", name, "--company", "O'Brien & Sons"], "");
    assert!(text(&more.stdout).contains("app.use_company('O''Brien & Sons')"), "{}", text(&more.stderr));
    let taken = go(&["revoke", name, "--company", "Acme"], "");
    assert!(text(&taken.stdout).contains("they choose from now on"), "{}", text(&taken.stderr));
    assert!(text(&go(&["revoke", name, "--company", "Acme"], "").stderr).contains("is no operator of a company named"));

    let mut config: tokio_postgres::Config = own.admin.parse().unwrap();
    let (operator, connection) = config.user(name).connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(said(&operator, "select app.use_company('O''Brien & Sons')").await, "O'Brien & Sons|");
    assert_eq!(said(&operator, "select name from companies").await, "O'Brien & Sons|");
    let removed = go(&["remove", name], "");
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    assert_eq!(roles().await, 0);
    assert!(operator.simple_query("select 1").await.is_err(), "open connections end");
    assert!(text(&go(&["list"], "").stdout).contains("There are no operators"));

    let generated = go(&["add", name, "--company", "Acme", "--generate-password", "--no-personal-data"], "");
    let password = text(&generated.stdout).lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    assert!(password.len() >= 24 && !text(&go(&["list"], "").stdout).contains(&password));
    // Privileges of its own on objects do not keep the login alive.
    admin.batch_execute(&format!("grant select on app.staff_log to \"{}\"", name.replace('"', "\"\""))).await.unwrap();
    let (operator, connection) = config.password(&password).connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let removed = go(&["remove", name], "");
    assert!(removed.status.success() && text(&removed.stdout).contains("drop owned by"), "{}", text(&removed.stderr));
    assert!(operator.simple_query("select 1").await.is_err(), "open connections end");
    let rights = "select rolcanlogin or exists (select from pg_auth_members m where m.member = r.oid) from pg_roles r where rolname = $1";
    assert!(!admin.query_one(rights, &[&name]).await.unwrap().get::<_, bool>(0));
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    admin.batch_execute(&format!("drop owned by {quoted}; drop role {quoted}")).await.unwrap();
    drop(admin);
    own.drop().await;
}

/// Whoever may not end a connection hears which one goes on, and what to do.
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_a_company_away_hears_what_goes_on() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    acme.contact("Ada", "Lovelace").await;
    let (login, dba) = (Login::new(&own.admin), format!("dba_{}", Uuid::new_v4().simple()));
    acme.db.execute("select app.add_operator($1::text::name, array[$2])", &[&login.name, &acme.name]).await.unwrap();
    let create = format!(
        "create role {dba} login createrole in role ringfence_owner, ringfence_platform; grant select on refinery_schema_history to {dba}"
    );
    acme.db.batch_execute(&create).await.unwrap();
    let revoke = || {
        let mut command = ringfence(&own, &["operator", "revoke", &login.name, "--company", &acme.name]);
        command.env("DATABASE_ADMIN_URL", own.admin.replace("ringfence_admin", &dba));
        let done = run(command, "");
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stderr)
    };
    let begin = "begin isolation level repeatable read; select first_name from contacts";
    let operator = login.connect().await;
    assert_eq!(said(&operator, begin).await, "Ada|");
    let told = revoke();
    let pid: i32 = operator.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    for part in [format!("process {pid}"), format!("grant pg_signal_backend to {dba}")] {
        assert!(told.contains(&part), "{part}: {told}");
    }
    assert_eq!(said(&operator, "select first_name from contacts").await, "Ada|");
    drop(operator);

    let grant = "select app.grant_operator($1::text::name, $2)";
    acme.db.execute(grant, &[&login.name, &acme.name]).await.unwrap();
    acme.db.batch_execute(&format!("grant pg_signal_backend to {dba}")).await.unwrap();
    let operator = login.connect().await;
    said(&operator, begin).await;
    let told = revoke();
    assert!(!told.contains("process"), "{told}");
    assert!(operator.simple_query("select 1").await.is_err());
    login.remove(&acme).await;
    acme.db.batch_execute(&format!("drop owned by {dba}; drop role {dba}")).await.unwrap();
    drop(acme);
    own.drop().await;
}

/// What is the whole server's can be used up from any of its databases, and a role can be held that all databases
/// share.
#[tokio::test(flavor = "multi_thread")]
async fn operators_hold_nothing_up_from_another_database_or_by_a_role() {
    let cluster = Cluster::temporary().await.unwrap();
    cluster.own_database().await.unwrap();
    let maintenance = db::connect(&cluster.url("ringfence_admin", "postgres")).await.unwrap();
    let name = format!("own_{}", Uuid::new_v4().simple());
    maintenance.batch_execute(&format!("create database {name}")).await.unwrap();
    let (admin, api) = (cluster.url("ringfence_admin", &name), cluster.url("ringfence_api", &name));
    let own = OwnDatabase { name, admin, api };
    migrate::migrate(&own.admin, None).await.unwrap();
    let acme = World::within(&own.admin, "Acme").await;
    let (one, staff) = (Login::new(&own.admin), format!("staff_{}", Uuid::new_v4().simple()));
    acme.db.execute("select app.add_operator($1::text::name, array[$2])", &[&one.name, &acme.name]).await.unwrap();
    acme.db.batch_execute(&format!("create role {staff} login in role ringfence_staff")).await.unwrap();
    for login in [&one.name, &staff] {
        for database in ["postgres", "template1"] {
            let refused = db::connect(&cluster.url(login, database)).await.unwrap_err();
            let refused = refused.downcast_ref::<tokio_postgres::Error>().unwrap().code().cloned();
            assert_eq!(refused, Some(SqlState::INSUFFICIENT_PRIVILEGE), "{login} in {database}");
        }
    }
    // On a server of others it is theirs to say who may connect.
    let doctor = || text(&run(ringfence(&own, &["doctor"]), "").stdout);
    let told = doctor();
    let finding = format!("PROBLEM other databases: the database ringfence lets {}, {staff} in", one.name);
    assert!(told.contains(&finding) && told.matches("PROBLEM").count() == 1, "{told}");
    let remedy = "revoke connect on database ringfence from public";
    assert!(told.contains(remedy), "{told}");
    maintenance.batch_execute(remedy).await.unwrap();
    let told = doctor();
    assert!(told.contains("ok      other databases") && !told.contains("PROBLEM"), "{told}");

    // A role may always be changed by whoever has become it.
    let operator = one.connect().await;
    let alter = "begin; set role ringfence_operator; alter role ringfence_operator set timezone = 'UTC'";
    operator.batch_execute(alter).await.unwrap();
    migrate::migrate(&own.admin, None).await.unwrap();
    drop(operator);
    // Somebody else who changes the same role is named.
    maintenance.batch_execute("alter role ringfence_api reset bytea_output").await.unwrap();
    maintenance.batch_execute("begin; alter role ringfence_api set bytea_output = 'hex'").await.unwrap();
    let pid: i32 = maintenance.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let refused = migrate::migrate(&own.admin, None).await.unwrap_err().to_string();
    let sentence = format!("waited too long for process {pid} of ringfence_admin, which has changed roles");
    assert!(refused.contains(&sentence) && refused.contains("pg_terminate_backend"), "{refused}");
    maintenance.batch_execute("rollback").await.unwrap();
    migrate::migrate(&own.admin, None).await.unwrap();
    drop((acme, maintenance));
    cluster.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_is_told_what_they_lack() {
    let own = OwnDatabase::new().await;
    for (arguments, missing) in [
        (["operator", "list"], "the administrator must be a superuser, or a member of ringfence_dba"),
        (["super-admin", "root@example.com"], "the administrator must be a superuser, or a member of ringfence_dba"),
        (["backfill", "finish"], "the administrator must be a superuser, or a member of ringfence_owner"),
        (["backfill", "plan"], "the administrator must be a superuser, or a member of ringfence_dba"),
    ] {
        let mut command = ringfence(&own, &arguments);
        command.env("DATABASE_ADMIN_URL", &own.api);
        let refused = text(&run(command, "").stderr);
        assert!(refused.contains(missing), "{arguments:?}: {refused}");
    }
    // A member of this role without further rights sees what there is, and is told what they may not do.
    let acme = World::within(&own.admin, "Acme").await;
    let (operator, dba) = (Login::new(&own.admin), format!("dba_{}", Uuid::new_v4().simple()));
    acme.db.execute("select app.add_operator($1::text::name, array[$2])", &[&operator.name, &acme.name]).await.unwrap();
    acme.db.batch_execute(&format!("create role {dba} login in role ringfence_dba")).await.unwrap();
    let go = |arguments: &[&str]| {
        let mut command = ringfence(&own, arguments);
        command.env("DATABASE_ADMIN_URL", own.admin.replace("ringfence_admin", &dba));
        let done = run(command, "");
        text(&done.stdout) + &text(&done.stderr)
    };
    let said = go(&["operator", "list"]);
    assert!(said.contains(&operator.name) && said.contains(&format!("{} ({})", acme.name, acme.company)), "{said}");
    let said = go(&["operator", "add", "x", "--company", &acme.name, "--generate-password"]);
    assert!(said.contains("the administrator must be a superuser, or a member of ringfence_owner"), "{said}");
    let said = go(&["user", "assign", &acme.member.email, "--company", &acme.name, "--role", "company_admin"]);
    assert!(said.contains("belongs to"), "{said}");
    let said = go(&["super-admin", &acme.member.email]);
    assert!(said.contains("is a super admin now"), "{said}");
    let role = "select user_role from users where id = $1";
    assert_eq!(acme.value::<String>(role, &[&acme.member.id]).await, "super_admin");
    acme.db.batch_execute(&format!("drop role {dba}")).await.unwrap();
    operator.remove(&acme).await;
    let mut without = ringfence(&own, &["backfill", "plan"]);
    without.env_remove("DATABASE_ADMIN_URL");
    let refused = text(&run(without, "").stderr);
    assert!(refused.contains("this command is an administrator's: set DATABASE_ADMIN_URL"), "{refused}");
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_questions_of_operator_psql_are_answered() {
    let (a, b) = (World::new().await, World::new().await);
    b.contact("Own", "Contact").await;
    b.historical_sms(&b.member, "historical").await;
    let login = Login::operator(&b, &[&a.name, &b.name], false, true).await;
    let start = "\\i sql/ops/operator.psql\n";
    let url = login.database.replace("ringfence_admin", &login.name);
    let input = format!(
        "{start}:use\n\\set to '{}'\n:use\n:help\n:distribution\n:historical\n\\set who {}\n:user_company\n:refusals\n:backlog\n:slow\n:sizes\n:policies\n",
        b.name, b.admin.email
    );
    let answers = psql(&url, &input);
    assert!(
        !answers.contains("ERROR") && !answers.contains("invalid") && !answers.contains("No such file"),
        "{answers}"
    );
    for part in [
        "Data of: no company",
        &format!("Data of: {}", b.name),
        &b.admin.email,
        "company_admin",
        "request_id",
        "contacts",
        "no_new_historical",
        "pg_stat_statements",
        ":distribution",
    ] {
        assert!(answers.contains(part), "{part}: {answers}");
    }
    assert!(!answers.contains(&a.admin.email));
    let staff = psql(&admin_url(), &format!("{start}:users_without_company\n:distribution\n"));
    assert!(!staff.contains("ERROR") && staff.contains("Data of: all companies"), "{staff}");
    login.remove(&b).await;

    // An operator who sees no personal data is told so, and gets the rest.
    let limited = Login::operator(&b, &[&b.name], false, false).await;
    let url = limited.database.replace("ringfence_admin", &limited.name);
    let input = format!(
        "{start}:distribution\n:historical\n\\set who {}\n:user_company\n:backlog\n:sizes\n:policies\n",
        b.admin.email
    );
    let answers = psql(&url, &input);
    assert!(!answers.contains("ERROR") && answers.contains("does not see personal data"), "{answers}");
    limited.remove(&b).await;

    // A refused question tells whom it is for.
    let reader = Login::operator(&b, &[&b.name], false, true).await;
    let url = reader.database.replace("ringfence_admin", &reader.name);
    let answers = psql(&url, &format!("{start}:users_without_company\n"));
    assert!(!answers.contains("ERROR") && answers.contains("shown to the staff"), "{answers}");
    reader.remove(&b).await;
    let lone = b.lone().await;
    let staff = Login::new(&admin_url());
    b.db.batch_execute(&format!("create role {} login in role ringfence_staff", staff.name)).await.unwrap();
    let url = staff.database.replace("ringfence_admin", &staff.name);
    let questions = ":users_without_company\n:distribution\n:historical\n:user_company\n:backlog\n:slow\n:sizes\n:policies\n:refusals\n";
    let answers = psql(&url, &format!("{start}{questions}"));
    assert!(!answers.contains("ERROR") && !answers.contains("personal data"), "{answers}");
    for part in [&lone.email, "given_up", "row_count", "Staff see the users who have no company"] {
        assert!(answers.contains(part), "{part}: {answers}");
    }
    b.db.batch_execute(&format!("drop role {}", staff.name)).await.unwrap();

    // A login of this cluster has no rights in another database of it.
    let own = OwnDatabase::new().await;
    Seeded::within(&own.admin).await;
    let login = Login::operator(&b, &[&b.name], false, true).await;
    let elsewhere = with_database(&login.database, &own.name).replace("ringfence_admin", &login.name);
    let client = db::connect(&elsewhere).await.unwrap();
    assert_eq!(said(&client, "select count(*) from contacts").await, "0|");
    drop(client);
    login.remove(&b).await;
    own.drop().await;
}
