//! A restored backup has every row and every rule, and keeps companies apart.

use crate::support::{
    command::{ringfence, run, text},
    database::{OwnDatabase, enter, until, waiting_for_locks},
    log::has_warned,
    seed::{Seeded, add_operator_rows, tables},
    server::{config, start_server},
    walk::walk_tables,
    world::{Person, World},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ringfence::{
    commands::{backup::Backup, doctor},
    db,
};
use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};
use tokio_postgres::Client;
use uuid::Uuid;

/// A text of a company and a user that is due.
const DUE: &str =
    "insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
    values ($1, $1, $2, '+14155550100', '+14155550101', 'due', now() - interval '1 hour')";
/// The number of texts with which nobody has done anything.
const UNTOUCHED: &str = "select count(*) from scheduled_sms s join jobs j on j.record_id = s.id
    where not s.is_cancelled and s.error_message is null and j.attempts = 0";
/// Longer than an idle worker waits before it asks for work again.
const MORE_THAN_A_TURN: Duration = Duration::from_secs(5);

async fn contents(client: &Client) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    // A copy has another identity than the original.
    for table in tables(client).await.into_iter().filter(|table| table != "ops.database_identity") {
        // A restore ends all tokens.
        let row = match table.as_str() {
            "users" | "app.caller" => "(to_jsonb(t) - 'token_version')",
            _ => "t",
        };
        let sql = format!(
            "select count(*) || ' ' || coalesce(md5(string_agg({row}::text, '|' order by {row}::text)), '') from {table} t"
        );
        all.insert(table, client.query_one(&sql, &[]).await.unwrap().get(0));
    }
    all
}

/// Locks a table of the copy before the restore comes to it: the restore is stopped while `pg_restore` makes the table.
async fn lock(holder: &Client, watch: &Client, restore: &Child, lock: &str) {
    let signal = |signal| kill(Pid::from_raw(restore.id().cast_signed()), signal).unwrap();
    let loads =
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'pg_restore'";
    until("pg_restore is at work", async || watch.query_one(loads, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
    signal(Signal::SIGSTOP);
    until("the table is there", async || {
        let is_held = holder.batch_execute(&format!("begin; lock table {lock}")).await.is_ok();
        if !is_held {
            holder.batch_execute("rollback").await.unwrap();
        }
        is_held
    })
    .await;
    signal(Signal::SIGCONT);
    until("the restore waits for the table", async || waiting_for_locks(watch).await > 0).await;
}

/// Makes the backup look as if it came from another server.
fn to_another_server(backup: &Path) {
    let path = backup.join("logins.json");
    let mut logins: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    logins["server"] = "1".into();
    std::fs::write(path, logins.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_changes_no_login_that_is_there() {
    let own = OwnDatabase::new().await;
    let acme = World::within(&own.admin, "Acme").await;
    let names = ["same", "bob", "gone"].map(|start| format!("{start}_{}", Uuid::new_v4().simple()));
    let [same, bob, gone] = &names;
    let add = "select app.add_operator($1::text::name, array[$2], $3, $4)";
    for name in &names {
        acme.db.execute(add, &[name, &acme.name, &true, &true]).await.unwrap();
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("logins-{}", own.name));
    let path = folder.to_str().unwrap();
    let made = run(ringfence(&own, &["backup", path]), "");
    assert!(made.status.success(), "{}", text(&made.stderr));

    // What is revoked after the backup is granted again in the copy, and the restore says so.
    acme.db.execute("select app.revoke_operator($1::text::name, $2)", &[same, &acme.name]).await.unwrap();
    for name in [bob, gone] {
        acme.db.execute("select app.remove_operator($1::text::name)", &[name]).await.unwrap();
    }
    acme.db.execute(add, &[bob, &acme.name, &false, &false]).await.unwrap();
    let rights = async || -> Vec<(String, String)> {
        let held = "select m.member::regrole::text, m.roleid::regrole::text from pg_auth_members m join pg_roles r on r.oid = m.member
            where r.rolname = any ($1) order by 1, 2";
        let rows = acme.db.query(held, &[&&names[..]]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let before = rights().await;
    assert_eq!(before.len(), 2);
    let companies = async |database: &OwnDatabase, name: &str| -> i64 {
        let client = db::connect(&database.admin.replace("ringfence_admin", name)).await.unwrap();
        client.query_one("select count(id) from companies", &[]).await.unwrap().get(0)
    };

    // On the same server, a removed login stays removed, and a recreated one belongs to somebody else.
    let copy = OwnDatabase::empty().await;
    let restored = run(ringfence(&copy, &["restore", path]), "");
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert_eq!(rights().await, before);
    let said = text(&restored.stdout);
    let (differing, without) =
        (said.lines().find(|l| l.contains("other rights")), said.lines().find(|l| l.contains("without a company")));
    assert!(differing.is_some_and(|l| l.contains(bob) && !l.contains(same)), "{said}");
    assert!(without.is_some_and(|l| l.contains(bob) && l.contains(gone) && !l.contains(same)), "{said}");
    let again = said.lines().find(|l| l.contains("also those that were taken from them since"));
    assert!(again.is_some_and(|l| l.contains(&format!("{same} ({})", acme.name)) && !l.contains(bob)), "{said}");
    assert_eq!((companies(&copy, same).await, companies(&copy, bob).await), (1, 0));
    copy.drop().await;

    // On another server, it is unknown whose such a login is; missing ones are created.
    to_another_server(&folder);
    let copy = OwnDatabase::empty().await;
    let restored = run(ringfence(&copy, &["restore", path]), "");
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    let after = rights().await;
    assert_eq!(after.len(), 3);
    assert!(before.iter().all(|right| after.contains(right)), "{after:?}");
    assert!(after.contains(&(gone.clone(), "ringfence_operator_write".into())), "{after:?}");
    let seen = (companies(&copy, same).await, companies(&copy, bob).await, companies(&copy, gone).await);
    assert_eq!(seen, (0, 0, 1));
    let limit = "select rolconnlimit from pg_roles where rolname = $1";
    assert_eq!(acme.value::<i32>(limit, &[gone]).await, 10);
    acme.db.execute("select app.remove_operator($1::text::name)", &[gone]).await.unwrap();
    copy.drop().await;

    // SQL in a backup from elsewhere is not run.
    std::fs::write(folder.join("roles.sql"), format!("create role {gone} login;")).unwrap();
    let copy = OwnDatabase::empty().await;
    let restored = run(ringfence(&copy, &["restore", path]), "");
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert_eq!(rights().await, before);
    copy.drop().await;

    for name in [same, bob] {
        acme.db.execute("select app.remove_operator($1::text::name)", &[name]).await.unwrap();
    }
    drop(acme);
    own.drop().await;
    std::fs::remove_dir_all(folder).unwrap();
}

/// Nobody else may export the snapshot that the dump and the counts have in common.
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_who_is_no_superuser_makes_a_backup() {
    let own = OwnDatabase::new().await;
    let acme = World::within(&own.admin, "Acme").await;
    let dba = format!("dba_{}", Uuid::new_v4().simple());
    acme.db
        .batch_execute(&format!("create role {dba} login bypassrls; grant select on refinery_schema_history to {dba}"))
        .await
        .unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dba-{}", own.name));
    let backup = || {
        let mut command = ringfence(&own, &["backup", folder.to_str().unwrap()]);
        command.env("DATABASE_ADMIN_URL", own.admin.replace("ringfence_admin", &dba));
        run(command, "")
    };
    let refused = backup();
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("a member of ringfence_dba"), "{said}");
    acme.db.batch_execute(&format!("alter role {dba} nobypassrls; grant ringfence_dba to {dba}")).await.unwrap();
    let made = backup();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let counts = std::fs::read_to_string(folder.join("rows.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&counts).unwrap()["companies"], 1, "{counts}");
    acme.db.batch_execute(&format!("drop owned by {dba}; drop role {dba}")).await.unwrap();
    drop(acme);
    own.drop().await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_copy_has_every_row_and_keeps_companies_apart() {
    let own = OwnDatabase::new().await;
    let a = Seeded::within(&own.admin).await;
    let b = World::within(&own.admin, "Other").await;
    let operator = format!("op_{}", Uuid::new_v4().simple());
    let add = "select app.add_operator($1::text::name, array[$2], true)";
    b.db.execute(add, &[&operator, &b.name]).await.unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("backup-{}", own.name));
    let path = folder.to_str().unwrap();
    // A failed backup leaves nothing behind, and is no obstacle to the next one. From PostgreSQL 17 on,
    // `pg_logical_emit_message` has another signature: a dump that names it could not be restored.
    let acl = "select proacl is null or has_function_privilege('public', oid, 'execute') or current_setting('server_version_num')::int >= 170000 from pg_proc where proname = 'pg_logical_emit_message' limit 1";
    let admin = db::connect(&own.admin).await.unwrap();
    assert!(admin.query_one(acl, &[]).await.unwrap().get::<_, bool>(0));
    let no_pg_dump = Path::new("/nowhere/pg_dump");
    let failed = Backup { folder: folder.clone() }.run(&own.admin, no_pg_dump).await;
    assert!(failed.is_err() && !folder.with_added_extension("partial").exists());
    let due = "insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
        select $1, $1, $2, '+14155550100', '+14155550101', b, now() + make_interval(hours => h)
        from (values ('due', -1), ('later', 1)) t (b, h)";
    b.db.execute(due, &[&b.company, &b.admin.id]).await.unwrap();
    let due = "with w as (
            insert into workflows (tenant_id, company_id, owner_id, name, status, trigger, schedule, next_run_at, schedule_set_at)
            values ($1, $1, $2, 'W', 'active', 'scheduled', '{\"cron\": \"0 9 * * *\"}', now() - interval '1 minute', now() - interval '2 days') returning id
        ), x as (
            insert into workflow_executions (tenant_id, company_id, user_id, workflow_id, event, status)
            select $1, $1, $2, id, 'scheduled', 'running' from w returning id
        ) insert into jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
            select $1, $1, $2, 'workflow_run', id, now() - interval '1 minute' from x";
    b.db.execute(due, &[&b.company, &b.admin.id]).await.unwrap();
    let due =
        "update jobs set run_at = now() - interval '1 minute' where tenant_id = $1 and kind = 'workflow_schedule'";
    assert_eq!(b.db.execute(due, &[&b.company]).await.unwrap(), 1);
    // Work that a worker has claimed, and a run that waits.
    let claimed = "with s as (
            insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
            values ($1, $1, $2, '+14155550100', '+14155550101', 'claimed', now() - interval '1 hour') returning id
        ), x as (
            insert into workflow_executions (tenant_id, company_id, user_id, workflow_id, event, status, error_message)
            select $1, $1, $2, w.id, 'scheduled', 'running', s.stage from workflows w, unnest(array['claimed', 'running', 'between', 'waits']) s (stage)
            where w.name = 'W' returning id, error_message as stage
        ), y as (
            insert into workflow_steps (tenant_id, company_id, user_id, execution_id, position, action, status)
            select $1, $1, $2, x.id, 0, 'wait', s.status
            from x join (values ('running', 'running'), ('between', 'success'), ('waits', 'waiting')) s (stage, status) using (stage)
        ), j as (
            insert into jobs (tenant_id, company_id, user_id, kind, record_id, run_at, attempts)
            select $1, $1, $2, 'workflow_run', id, now() + interval '1 hour', (stage = 'claimed')::int from x
        ) select id from s";
    let text_claimed: Uuid = b.value(claimed, &[&b.company, &b.admin.id]).await;
    let claim = "update jobs set run_at = now() + interval '1 hour', attempts = 1 where record_id = $1";
    assert_eq!(b.db.execute(claim, &[&text_claimed]).await.unwrap(), 1);
    let made = run(ringfence(&own, &["backup", path]), "");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let again = run(ringfence(&own, &["backup", path]), "");
    assert!(text(&again.stderr).contains("exists already"), "{}", text(&again.stderr));
    let logins = std::fs::read_to_string(folder.join("logins.json")).unwrap();
    assert!(
        logins.contains(&operator) && !logins.to_lowercase().contains("password") && !logins.contains("SCRAM"),
        "{logins}"
    );
    to_another_server(&folder);
    let mut before = contents(&b.db).await;

    let full = run(ringfence(&own, &["restore", path]), "");
    assert!(text(&full.stderr).contains("has tables already"), "{}", text(&full.stderr));

    // The other server does not have the login, and the copy is in a new database.
    let cluster = db::connect(&crate::support::server::admin_url()).await.unwrap();
    cluster.batch_execute(&format!("drop role {operator}")).await.unwrap();
    let copy = OwnDatabase::empty().await;
    let nothing = run(ringfence(&copy, &["restore", "/nowhere"]), "");
    assert!(text(&nothing.stderr).contains("is no backup"), "{}", text(&nothing.stderr));
    let restored = run(ringfence(&copy, &["restore", path]), "");
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    for part in ["scheduled texts", "Who was erased since the backup is there again"] {
        assert!(text(&restored.stdout).contains(part), "{}", text(&restored.stdout));
    }
    // What may already have been sent is not sent again; what is to be sent later is.
    let copied = db::connect(&copy.admin).await.unwrap();
    let left = "select coalesce(string_agg(what, ' ' order by what), '') from (
            select 'text ' || body from scheduled_sms where tenant_id = $1 and not is_sent and not is_cancelled
            union all select concat('run that ', error_message) from workflow_executions where tenant_id = $1 and status = 'running'
            union all select 'claim' from jobs where tenant_id = $1 and attempts > 0
            union all select 'clock' from workflows where tenant_id = $1 and (next_run_at <= now() or schedule_set_at < now() - interval '1 day')
            union all select 'job ' || kind from jobs where tenant_id = $1 and run_at <= now() and kind <> 'workflow_schedule') l (what)";
    let left: String = copied.query_one(left, &[&b.company]).await.unwrap().get(0);
    assert_eq!(left, "run that waits text later");
    let identity = "select id from app.identify('{}')";
    let copys: Uuid = copied.query_one(identity, &[]).await.unwrap().get(0);
    assert_ne!(copys, b.value::<Uuid>(identity, &[]).await);
    assert!(text(&restored.stdout).contains("files adopt"), "{}", text(&restored.stdout));
    let version = "select token_version from app.caller where user_id = $1";
    let was: i32 = b.value(version, &[&b.admin.id]).await;
    let is: i32 = copied.query_one(version, &[&b.admin.id]).await.unwrap().get(0);
    assert!(is > was + 1000, "a token that was ended since the backup stays so");
    drop(copied);
    copy.drop().await;
    cluster.batch_execute(&format!("drop role {operator}")).await.unwrap();

    let copy = OwnDatabase::empty().await;
    let restored = run(ringfence(&copy, &["restore", "--keep-due", path]), "");
    assert!(restored.status.success(), "{}", text(&restored.stderr));

    let copied = db::connect(&copy.admin).await.unwrap();
    let mut after = contents(&copied).await;
    // The role has another oid there, and the canary is not a login.
    for table in ["app.operator_grant", "app.operator_choice"] {
        assert_ne!(after.remove(table), before.remove(table), "{table}");
    }
    assert_eq!(after, before);
    let mut api = db::connect(&copy.api).await.unwrap();
    let findings = doctor::findings(&api, doctor::rules()).await.unwrap();
    assert!(findings.is_empty(), "{findings:#?}");
    doctor::check_before_serving(&copy.api).await.unwrap();
    let a = a.at(copied);
    add_operator_rows(&a.world.db, &a.canary, a.world.company).await;
    let context = enter(b.company, b.admin.id);
    walk_tables(&a, &mut api, "another company's admin at the copy", &[context]).await;
    let mut at_psql = db::connect(&copy.admin.replace("ringfence_admin", &operator)).await.unwrap();
    let companies = at_psql.query("select name from companies", &[]).await.unwrap();
    assert_eq!(companies.iter().map(|r| r.get::<_, &str>(0)).collect::<Vec<_>>(), [b.name.as_str()]);
    walk_tables(&a, &mut at_psql, "another company's operator at the copy", &[]).await;
    drop(at_psql);
    a.world.db.execute("select app.remove_operator($1::text::name)", &[&operator]).await.unwrap();
    drop((a, api));
    copy.drop().await;
    own.drop().await;
    std::fs::remove_dir_all(folder).unwrap();
}

/// What was due before the backup may have been done since.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_leaves_nothing_to_be_done_again() {
    let own = OwnDatabase::new().await;
    let acme = World::within(&own.admin, "Acme").await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("killed-{}", own.name));
    let path = folder.to_str().unwrap();
    acme.db.execute(DUE, &[&acme.company, &acme.admin.id]).await.unwrap();
    let made = run(ringfence(&own, &["backup", path]), "");
    assert!(made.status.success(), "{}", text(&made.stderr));

    // The schema of another version is not migrated yet when the restore is killed.
    let newer =
        "insert into refinery_schema_history (version, name, applied_on, checksum) values (9999, 'later', '', '0')";
    acme.db.batch_execute(newer).await.unwrap();
    let newer = format!("{path}-newer");
    let made = run(ringfence(&own, &["backup", &newer]), "");
    assert!(made.status.success(), "{}", text(&made.stderr));
    for path in [path, &newer] {
        let copy = OwnDatabase::empty().await;
        // Somebody holds a table that the restore counts.
        let (holder, watch) = (db::connect(&copy.admin).await.unwrap(), db::connect(&copy.admin).await.unwrap());
        let mut restore =
            ringfence(&copy, &["restore", path]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        lock(&holder, &watch, &restore, "sms_templates in access exclusive mode").await;
        restore.kill().unwrap();
        restore.wait().unwrap();
        holder.batch_execute("rollback").await.unwrap();

        let left = "select count(*) from scheduled_sms s join jobs j on j.record_id = s.id where not s.is_cancelled";
        assert_eq!(holder.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
        let version = "select token_version from app.caller where user_id = $1";
        assert!(holder.query_one(version, &[&acme.admin.id]).await.unwrap().get::<_, i32>(0) > 1000);
        let refused = doctor::check_before_serving(&copy.api).await.unwrap_err().to_string();
        assert!(refused.contains("a restore into this database has not ended"), "{refused}");
        let told = text(&run(ringfence(&copy, &["doctor"]), "").stdout);
        assert!(told.contains("PROBLEM restore"), "{told}");
        let again = text(&run(ringfence(&copy, &["restore", path]), "").stderr);
        assert!(again.contains("a restore that was broken off left: create an empty one"), "{again}");
        drop((holder, watch));
        copy.drop().await;
    }

    // A restore that has ended is served, and one that cannot begin leaves the database unchanged.
    let copy = OwnDatabase::empty().await;
    let dump = folder.join("database.dump");
    let sound = std::fs::read(&dump).unwrap();
    std::fs::write(&dump, "none").unwrap();
    let failed = run(ringfence(&copy, &["restore", path]), "");
    assert!(text(&failed.stderr).contains("pg_restore failed"), "{}", text(&failed.stderr));
    std::fs::write(&dump, sound).unwrap();
    let settings = "select count(*) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase
        where d.datname = $1 and s.setconfig::text like '%unfinished_restore%'";
    assert_eq!(acme.value::<i64>(settings, &[&copy.name]).await, 0);
    let restored = run(ringfence(&copy, &["restore", path]), "");
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    doctor::check_before_serving(&copy.api).await.unwrap();
    copy.drop().await;
    drop(acme);
    own.drop().await;
    std::fs::remove_dir_all(newer).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

/// Neither a worker nor a server that runs already does anything with a copy before the restore into it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn who_runs_already_waits_for_the_end_of_a_restore() {
    let own = OwnDatabase::new().await;
    let acme = World::within(&own.admin, "Acme").await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("running-{}", own.name));
    let path = folder.to_str().unwrap();
    acme.db.execute(DUE, &[&acme.company, &acme.admin.id]).await.unwrap();
    let made = run(ringfence(&own, &["backup", path]), "");
    assert!(made.status.success(), "{}", text(&made.stderr));

    let copy = OwnDatabase::empty().await;
    let base = start_server(config(), &copy.api);
    let ready = async || Person::visitor(&base).get("/readyz").await.status == 200;
    assert!(!ready().await);
    // Somebody holds a table from which the restore deletes before it cancels what was due.
    let (holder, watch) = (db::connect(&copy.admin).await.unwrap(), db::connect(&copy.admin).await.unwrap());
    let mut restore = ringfence(&copy, &["restore", path]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    lock(&holder, &watch, &restore, "app.operator_grant in share mode").await;
    tokio::time::sleep(MORE_THAN_A_TURN).await;
    assert_eq!(watch.query_one(UNTOUCHED, &[]).await.unwrap().get::<_, i64>(0), 1);
    assert!(has_warned("a restore into this database has not ended") && !ready().await);
    holder.batch_execute("rollback").await.unwrap();
    assert!(restore.wait().unwrap().success());
    until("the copy is served", ready).await;
    let cancelled =
        "select count(*) from scheduled_sms where is_cancelled and error_message like 'Restored from a backup%'";
    assert_eq!(watch.query_one(cancelled, &[]).await.unwrap().get::<_, i64>(0), 1);
    drop((holder, watch, acme));
    copy.drop().await;
    own.drop().await;
    std::fs::remove_dir_all(folder).unwrap();
}

/// Behind a pooler a connection may be older than the database to which it leads.
#[tokio::test(flavor = "multi_thread")]
async fn no_job_is_taken_over_an_older_connection_before_a_restore_has_ended() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let ready = async || acme.admin.get("/readyz").await.status == 200;
    until("the server is ready", ready).await;
    let set = format!("alter database {} set ringfence.unfinished_restore = 'on'", own.name);
    acme.db.batch_execute(&set).await.unwrap();
    acme.db.execute(DUE, &[&acme.company, &acme.admin.id]).await.unwrap();
    tokio::time::sleep(MORE_THAN_A_TURN).await;
    assert_eq!(acme.value::<i64>(UNTOUCHED, &[]).await, 1);
    assert!(!ready().await);
    acme.db.batch_execute(&set.replace("set", "reset").replace(" = 'on'", "")).await.unwrap();
    until("the worker takes it", async || acme.value::<i64>(UNTOUCHED, &[]).await == 0).await;
    assert!(ready().await);
    drop(acme);
    own.drop().await;
}

/// The copy exists, and a server may already be serving it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_due_is_cancelled_also_where_a_restore_fails() {
    let own = OwnDatabase::new().await;
    let acme = World::within(&own.admin, "Acme").await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("due-{}", own.name));
    let path = folder.to_str().unwrap();
    acme.db.execute(DUE, &[&acme.company, &acme.admin.id]).await.unwrap();
    acme.db.batch_execute("create index contacts_by_day on contacts (created_at)").await.unwrap();
    let made = run(ringfence(&own, &["backup", path]), "");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let sound = std::fs::read_to_string(folder.join("rows.json")).unwrap();
    let left = "select count(*) from scheduled_sms s join jobs j on j.record_id = s.id where not s.is_cancelled";
    for (counts, keep, reason, told, expected) in [
        (sound.clone(), false, "breaks a rule", "is cancelled", 0_i64),
        (sound.replace("\"contacts\": 0", "\"contacts\": 7"), false, "other numbers of rows", "is cancelled", 0),
        (sound, true, "breaks a rule", "is still to be done", 1),
    ] {
        std::fs::write(folder.join("rows.json"), counts).unwrap();
        let copy = OwnDatabase::empty().await;
        let arguments = ["restore", path, "--keep-due"];
        let restored = run(ringfence(&copy, &arguments[..if keep { 3 } else { 2 }]), "");
        let said = text(&restored.stderr);
        assert!(!restored.status.success() && said.contains(reason) && said.contains(told), "{said}");
        let copied = db::connect(&copy.admin).await.unwrap();
        assert_eq!(copied.query_one(left, &[]).await.unwrap().get::<_, i64>(0), expected, "{reason}");
        drop(copied);
        copy.drop().await;
    }
    drop(acme);
    own.drop().await;
    std::fs::remove_dir_all(folder).unwrap();
}

/// Each with a message that says what is needed.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_backed_up_or_restored_is_told() {
    let (own, copy) = (OwnDatabase::new().await, OwnDatabase::empty().await);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("told-{}", own.name));
    let path = folder.to_str().unwrap();
    let never = run(ringfence(&copy, &["backup", path]), "");
    assert!(text(&never.stderr).contains("never migrated: run `ringfence migrate`"), "{}", text(&never.stderr));
    for way in ["sslmode=verify-full", "sslmode=require&sslrootcert=/etc/ca.pem"] {
        let mut backup = ringfence(&own, &["backup", path]);
        backup.env("DATABASE_ADMIN_URL", format!("{}&{way}", own.admin));
        let refused = text(&run(backup, "").stderr);
        assert!(refused.contains("sslmode=require verifies") && refused.contains("SSL_CERT_FILE"), "{refused}");
    }
    // The first of two hosts does not exist.
    let mut backup = ringfence(&own, &["backup", path]);
    backup.env("DATABASE_ADMIN_URL", own.admin.replacen("host=", "host=/nowhere&host=", 1));
    let made = run(backup, "");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let cluster = db::connect(&crate::support::server::admin_url()).await.unwrap();
    let owner = format!("owner_{}", Uuid::new_v4().simple());
    let owns = format!(
        "create role {owner} login createrole; grant connect on database postgres to {owner}; alter database {} owner to {owner}",
        copy.name
    );
    cluster.batch_execute(&owns).await.unwrap();
    let mut restore = ringfence(&copy, &["restore", path]);
    restore.env("DATABASE_ADMIN_URL", copy.admin.replace("ringfence_admin", &owner));
    let refused = text(&run(restore, "").stderr);
    assert!(refused.contains("the administrator must be a superuser"), "{refused}");
    copy.drop().await;
    cluster.batch_execute(&format!("drop owned by {owner}; drop role {owner}")).await.unwrap();
    own.drop().await;
    std::fs::remove_dir_all(folder).unwrap();
}

/// This program does not know the rules of a newer version.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_version_is_left_to_its_program_to_examine() {
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    let newer =
        "insert into refinery_schema_history (version, name, applied_on, checksum) values (9999, 'later', '', '0');
        create index on contacts (phone)";
    admin.batch_execute(newer).await.unwrap();
    let told = run(ringfence(&own, &["doctor"]), "");
    let said = text(&told.stdout);
    assert!(told.status.success() && said.contains("migrations: of a newer version than this program"), "{said}");
    assert!(said.contains("policies") && !said.contains("indexes"), "{said}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("newer-{}", own.name));
    let path = folder.to_str().unwrap();
    let made = run(ringfence(&own, &["backup", path]), "");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let copy = OwnDatabase::empty().await;
    let restored = run(ringfence(&copy, &["restore", path]), "");
    let said = text(&restored.stdout);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert!(
        said.contains("no rule that this program knows is broken") && said.contains("It is of a newer version"),
        "{said}"
    );
    drop(admin);
    copy.drop().await;
    own.drop().await;
    std::fs::remove_dir_all(folder).unwrap();
}
