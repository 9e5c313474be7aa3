//! Reads on a streaming standby: the isolation matrix, one's own changes, revocation, and a standby that dies and comes
//! back. The test starts both PostgreSQL servers itself.

use crate::support::{
    cluster::{as_owner, folder_like, socket},
    database::{enter, until},
    metrics::{scrape, value},
    seed::Seeded,
    server::{api_url, config, free, start_server},
    walk::{same_reads, walk_routes, walk_tables},
    world::{Answer, Person, World, answer},
};
use ringfence::{
    config::{Config, Switch},
    db::{self, Db, local::Cluster, migrate},
};
use serde_json::json;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio_postgres::Client;
use uuid::Uuid;

const HEADER: &str = "x-ringfence-position";

/// A PostgreSQL with a streaming standby; both are removed at the end.
struct Pair {
    standby: Standby,
    cluster: Cluster,
    admin: String,
    api: String,
}

struct Standby {
    folder: PathBuf,
    pg_ctl: PathBuf,
    admin: String,
    api: String,
}

impl Pair {
    async fn start() -> Self {
        let cluster = Cluster::temporary().await.unwrap();
        let maintenance = db::connect(&cluster.url("ringfence_admin", "postgres")).await.unwrap();
        // A name like those of the other databases with their own file stores.
        let name = format!("own_{}", Uuid::new_v4().simple());
        maintenance.batch_execute(&format!("create database {name}")).await.unwrap();
        let (admin, api) = (cluster.url("ringfence_admin", &name), cluster.url("ringfence_api", &name));
        migrate::migrate(&admin, None).await.unwrap();
        // The API's commits do not wait for the standby; an administrator's do, until it has applied them.
        let settings = "alter role ringfence_api set synchronous_commit = 'local';
            alter role ringfence_admin set synchronous_commit = 'remote_apply'";
        maintenance.batch_execute(settings).await.unwrap();
        let config: tokio_postgres::Config = admin.parse().unwrap();
        let (primary, port) = (socket(&admin), config.get_ports()[0]);
        let folder = primary.with_file_name("standby");
        folder_like(&primary, &folder);
        let mut copy = as_owner(&primary, &cluster.bin("pg_basebackup"));
        copy.arg("-D").arg(&folder).arg("-h").arg(&primary).args(["-p", &port.to_string(), "-U", "ringfence_admin"]);
        let copied = copy.args(["-R", "-X", "stream", "-c", "fast", "--no-sync"]).output().unwrap();
        assert!(copied.status.success(), "{copied:?}");
        let more = format!(
            "\nlisten_addresses = ''\nport = {port}\nunix_socket_directories = '{}'\nmax_connections = 200\n\
             cluster_name = 'standby'\nhot_standby_feedback = on\nfsync = off\nshared_buffers = 64MB\n",
            folder.display()
        );
        let file = folder.join("postgresql.auto.conf");
        let settings = std::fs::read_to_string(&file).unwrap() + &more;
        std::fs::write(&file, settings).unwrap();
        let at = |url: &str| url.replace("%2Fsocket", "%2Fstandby");
        let standby = Standby { folder, pg_ctl: cluster.bin("pg_ctl"), admin: at(&admin), api: at(&api) };
        assert!(standby.admin != admin, "{admin}");
        standby.control(&["start", "-w", "-l", "standby.log"]);
        maintenance.batch_execute("alter system set synchronous_standby_names = 'standby'").await.unwrap();
        maintenance.batch_execute("select pg_reload_conf()").await.unwrap();
        Self { standby, cluster, admin, api }
    }

    /// Starts a server, and waits until it reads from the standby.
    async fn serve(&self) -> (String, SocketAddr) {
        let at = free();
        let database_replica_url = Some(self.standby.api.clone());
        let settings = Config { worker: Switch::Off, metrics_listen: Some(at), database_replica_url, ..config() };
        let base = start_server(settings, &self.api);
        answers(&base).await;
        until("the standby is asked", async || is_up(at).await).await;
        (base, at)
    }

    async fn stop(self) {
        drop(self.standby);
        self.cluster.close().await.unwrap();
    }
}

impl Standby {
    fn control(&self, arguments: &[&str]) {
        let mut command = as_owner(&self.folder, &self.pg_ctl);
        command.current_dir(&self.folder).args(arguments).arg("-s").arg("-D").arg(&self.folder);
        // PostgreSQL would inherit the pipe of this output, which would then never end.
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        let log = |folder: &Path| std::fs::read_to_string(folder.join("standby.log")).unwrap_or_default();
        assert!(command.status().unwrap().success(), "pg_ctl {arguments:?}: {}", log(&self.folder));
    }

    async fn replay(&self, goes_on: bool) {
        let admin = db::connect(&self.admin).await.unwrap();
        let call = if goes_on { "select pg_wal_replay_resume()" } else { "select pg_wal_replay_pause()" };
        admin.batch_execute(call).await.unwrap();
        if !goes_on {
            let paused = "select pg_get_wal_replay_pause_state() = 'paused'";
            until("replay is paused", async || admin.query_one(paused, &[]).await.unwrap().get(0)).await;
        }
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let mut command = as_owner(&self.folder, &self.pg_ctl);
        let _ = command.args(["stop", "-s", "-m", "immediate", "-D"]).arg(&self.folder).status();
    }
}

async fn answers(base: &str) {
    Person::nobody().at(base).get("/livez").await;
}

async fn is_up(at: SocketAddr) -> bool {
    value(&scrape(at).await, "ringfence_standby_up") == 1.0
}

async fn reads(at: SocketAddr) -> f64 {
    value(&scrape(at).await, "ringfence_standby_reads_total")
}

/// The last names of the contacts that a user sees.
async fn names(who: &Person) -> Vec<String> {
    seen(who.get("/api/contacts/").await)
}

/// Checks the last names that a user of this server sees: `behind`, or `now` if the primary has answered, because the
/// machine is so busy that the standby is slow, or counts as too far behind.
async fn sees(who: &Person, at: SocketAddr, behind: &[&str], now: &[&str]) {
    let count = reads(at).await;
    let seen = names(who).await;
    let expected = if reads(at).await > count { behind } else { now };
    assert_eq!(seen, expected);
}

fn seen(answer: Answer) -> Vec<String> {
    let all = answer.expect(200);
    let mut names: Vec<_> =
        all.as_array().unwrap().iter().map(|c| c["last_name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

async fn add(who: &Person, last_name: &str) -> Answer {
    let email = format!("{}@x.example", Uuid::new_v4().simple());
    who.post("/api/contacts/", json!({"first_name": "A", "last_name": last_name, "email": email})).await
}

/// Inserts a contact as the administrator, whose commits must not wait for the standby while its replay is paused.
async fn insert(db: &Client, company: Uuid, owner: Uuid, last_name: &str) {
    db.batch_execute("set synchronous_commit = local").await.unwrap();
    let insert = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email)
        values ($1, $1, $2, 'A', $3, gen_random_uuid() || '@x.example')";
    db.execute(insert, &[&company, &owner, &last_name]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_matrix_holds_where_a_standby_answers_reads() {
    let pair = Pair::start().await;
    let (server, at) = pair.serve().await;
    let primary = start_server(Config { worker: Switch::Off, ..config() }, &pair.api);
    let a = Seeded::within(&pair.admin).await;
    let b = World::within(&pair.admin, "Company").await;
    let b = World { admin: b.admin.at(&server), member: b.member.at(&server), ..b };

    // The primary is read, too, whenever the standby is slow because the machine is busy.
    let before = reads(at).await;
    until("the standby answers reads", async || {
        same_reads(&a, &server, &primary).await;
        reads(at).await - before > 40.0
    })
    .await;
    let between = reads(at).await;
    until("the standby answers in the walk", async || {
        walk_routes(&a, &b, &server).await;
        reads(at).await - between > 100.0
    })
    .await;

    let mut stranger = db::connect(&pair.standby.api).await.unwrap();
    let set = enter(b.company, b.admin.id);
    walk_tables(&a, &mut stranger, "another company's admin on the standby", &[set]).await;
    walk_tables(&a, &mut stranger, "a statement without context on the standby", &[]).await;
    let login = "create role op_reads login in role ringfence_operator";
    b.db.batch_execute(login).await.unwrap();
    let grant =
        "insert into app.operator_grant (db_role, role_oid, company_id) values ('op_reads', 'op_reads'::regrole, $1)";
    b.db.execute(grant, &[&b.company]).await.unwrap();
    let mut operator = db::connect(&pair.standby.admin.replace("ringfence_admin", "op_reads")).await.unwrap();
    let trick = format!("set local app.company_id = '{}'", a.world.company);
    walk_tables(&a, &mut operator, "another company's operator on the standby", &[trick]).await;
    drop((a, b, stranger, operator));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reads_ones_own_changes_and_is_out_at_once_however_far_a_standby_is_behind() {
    let pair = Pair::start().await;
    let (server, at) = pair.serve().await;
    let (other_server, other_at) = pair.serve().await;
    let [a, b] = [World::within(&pair.admin, "A").await, World::within(&pair.admin, "B").await];
    let (member, colleague) = (a.member.at(&server), a.admin.at(&server));
    insert(&a.db, a.company, a.admin.id, "First").await;
    insert(&b.db, b.company, b.admin.id, "Of B").await;
    until("the standby has it", async || names(&colleague).await == ["First"]).await;
    let (leaver, mover, demoted) =
        (a.person("company_user").await, a.person("company_user").await, a.person("company_admin").await);
    a.db.batch_execute("set synchronous_commit = remote_apply; update companies set city = city").await.unwrap();
    let [leaver, mover, demoted] = [leaver, mover, demoted].map(|person| person.at(&server));

    pair.standby.replay(false).await;
    insert(&a.db, a.company, a.admin.id, "Second").await;
    until("the standby answers, which does not have the second one", async || {
        let count = reads(at).await;
        let seen = names(&member).await;
        reads(at).await > count && seen == ["First"]
    })
    .await;

    // A user's own change is there at the next request; at the same server, without the client's help.
    let made = add(&member, "Third").await;
    assert_eq!(made.status, 200, "{}", made.text);
    let token = made.headers[HEADER].to_str().unwrap().to_owned();
    assert_eq!(names(&member).await, ["First", "Second", "Third"]);
    let id = made.body["id"].as_str().unwrap();
    member.get(&format!("/api/contacts/{id}")).await.expect(200);
    let all = ["First", "Second", "Third"];
    sees(&colleague, at, &["First"], &all).await;
    // A transaction of several statements leaves a position, too.
    let quote =
        json!({"title": "Q", "amount": 1, "line_items": [{"description": "S", "quantity": 1, "unit_price": 100}]});
    let quote = colleague.post("/api/quotes/", quote).await;
    assert!(quote.status < 300 && quote.headers.contains_key(HEADER), "{quote:?}");
    assert_eq!(names(&colleague).await.len(), 3);

    // After a change with an unknown outcome, reads go where it would be.
    let falls = "set synchronous_commit = local;
        create function falls() returns trigger language plpgsql as $$
          begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
        create constraint trigger falls after insert on contacts deferrable initially deferred for each row
          when (new.last_name = 'Lost') execute function falls()";
    sees(&demoted, at, &["First"], &all).await;
    a.db.batch_execute(falls).await.unwrap();
    assert_eq!(add(&demoted, "Lost").await.status, 503);
    assert_eq!(names(&demoted).await, ["First", "Second", "Third"]);

    // So does a request with a key, which runs in a separate task, and a repeat with a stored response.
    for replayed in [false, true] {
        let note = colleague.request("POST", "/api/activities/").header("idempotency-key", "a note");
        let noted = answer(note.json(&json!({"type": "note", "subject": "Kept"}))).await;
        assert!(noted.status == 200 && noted.headers.contains_key(HEADER), "{noted:?}");
        assert_eq!(noted.headers.contains_key("idempotency-replayed"), replayed);
    }

    // At another server this needs the token, which is of no use to anybody else and reveals nothing.
    let elsewhere = member.at(&other_server);
    let with = async |who: &Person, token: &str| {
        seen(answer(who.request("GET", "/api/contacts/").header(HEADER, token)).await)
    };
    sees(&elsewhere, other_at, &["First"], &all).await;
    assert_eq!(with(&elsewhere, &token).await, all);
    let third = a.person("company_user").await;
    let long = "A".repeat(54);
    let useless = ["", "x", "////", &token[..10], &long].map(|nonsense| (&elsewhere, other_at, nonsense));
    for (who, at, token) in useless.into_iter().chain([(&mover, at, &*token)]) {
        let count = reads(at).await;
        let seen = with(who, token).await;
        assert_eq!(seen.len(), if reads(at).await > count { 1 } else { 3 }, "of no use to them: {token}");
    }
    // A user whom the standby does not know is looked up on the primary.
    assert_eq!(names(&third.at(&server)).await.len(), 3);

    // Permissions are checked on the primary, at each request.
    let local = "set synchronous_commit = local";
    for db in [&a.db, &b.db] {
        db.batch_execute(local).await.unwrap();
    }
    sees(&leaver, at, &["First"], &all).await;
    a.db.execute("update users set is_deleted = true where id = $1", &[&leaver.id]).await.unwrap();
    leaver.get("/api/contacts/").await.expect(401);
    sees(&mover, at, &["First"], &all).await;
    a.db.execute("update users set company_id = $2 where id = $1", &[&mover.id, &b.company]).await.unwrap();
    assert_eq!(names(&mover).await, ["Of B"]);
    demoted.get("/api/audit/").await.expect(200);
    a.db.execute("update users set user_role = 'company_user' where id = $1", &[&demoted.id]).await.unwrap();
    demoted.get("/api/audit/").await.expect(403);
    assert_eq!(names(&b.admin.at(&server)).await, ["Of B"]);
    b.db.execute("update companies set status = 'suspended' where id = $1", &[&b.company]).await.unwrap();
    b.admin.at(&server).get("/api/contacts/").await.expect(403);

    // A standby that is too far behind is not read.
    until("nobody asks a standby that is far behind", async || !is_up(at).await).await;
    let count = reads(at).await;
    assert_eq!(names(&a.person("company_user").await.at(&server)).await.len(), 3);
    assert_eq!(reads(at).await, count);

    // Once it has caught up, it is read again.
    pair.standby.replay(true).await;
    until("the standby has caught up", async || is_up(at).await).await;
    let count = reads(at).await;
    until("it answers", async || names(&member).await.len() == 3 && reads(at).await > count).await;

    // A suspension on the standby may be outdated.
    pair.standby.replay(false).await;
    let over = "set synchronous_commit = local; update companies set status = 'active' where status = 'suspended'";
    b.db.batch_execute(over).await.unwrap();
    assert_eq!(names(&b.admin.at(&server)).await, ["Of B"]);
    pair.standby.replay(true).await;
    until("the standby goes on", async || is_up(at).await).await;
    for n in 0..50 {
        add(&member, &format!("Of many {n:02}")).await.expect(200);
        assert_eq!(names(&member).await.len(), 4 + n, "the one of just now is there");
    }

    // A read that writes after all is executed on the primary.
    let writes = "create sequence searches; grant usage on sequence searches to ringfence_api;
        create or replace function app.contains(part text) returns text language plpgsql volatile as $$
        begin perform nextval('public.searches'); return '%' || part || '%'; end $$";
    a.db.batch_execute(&format!("set synchronous_commit = remote_apply; {writes}")).await.unwrap();
    let written = "select case when is_called then last_value else 0 end from searches";
    for _ in 0..2 {
        let before: i64 = a.value(written, &[]).await;
        assert_eq!(seen(colleague.get("/api/contacts/?q=third").await), ["Third"]);
        assert!(a.value::<i64>(written, &[]).await > before);
    }
    drop((a, b));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_standby_delays_nobody_and_is_asked_again_when_it_is_back() {
    let pair = Pair::start().await;
    let (server, at) = pair.serve().await;
    let world = World::within(&pair.admin, "A").await;
    let member = world.member.at(&server);
    insert(&world.db, world.company, world.admin.id, "Only").await;
    until("the standby has it", async || names(&member).await == ["Only"]).await;
    let count = reads(at).await;
    until("it answers", async || names(&member).await == ["Only"] && reads(at).await > count).await;

    pair.standby.control(&["stop", "-m", "immediate"]);
    // Each read would take a second if it waited for the standby.
    let started = Instant::now();
    for _ in 0..50 {
        assert_eq!(names(&member).await, ["Only"]);
    }
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert!(!is_up(at).await);
    // A server that is started meanwhile serves.
    let database_replica_url = Some(pair.standby.api.clone());
    let settings = Config { worker: Switch::Off, database_replica_url, ..config() };
    Db::of(&pair.api, &settings).unwrap().check_standby().await.unwrap();
    let late = start_server(settings, &pair.api);
    assert_eq!(names(&member.at(&late)).await, ["Only"]);

    pair.standby.control(&["start", "-w", "-l", "standby.log"]);
    until("the standby is asked again", async || is_up(at).await).await;
    let count = reads(at).await;
    until("it answers", async || names(&member).await == ["Only"] && reads(at).await > count).await;

    // A server that is not a standby of this database, or a login that bypasses the policies, is never used.
    for (address, why) in [
        (pair.api.clone(), "no standby"),
        (pair.standby.admin.clone(), "superuser"),
        (api_url(), "another database server"),
    ] {
        let settings = Config { database_replica_url: Some(address), metrics_listen: Some(free()), ..config() };
        let said = Db::of(&pair.api, &settings).unwrap().check_standby().await.unwrap_err().to_string();
        assert!(said.contains("DATABASE_REPLICA_URL") && said.contains(why), "{said}");
        let at = settings.metrics_listen.unwrap();
        let wrong = start_server(Config { worker: Switch::Off, ..settings }, &pair.api);
        for _ in 0..10 {
            assert_eq!(names(&member.at(&wrong)).await, ["Only"]);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!((is_up(at).await, reads(at).await), (false, 0.0));
    }

    // A promoted standby is no longer a standby.
    let promoted = db::connect(&pair.standby.admin).await.unwrap();
    promoted.query_one("select pg_promote()", &[]).await.unwrap();
    insert(&promoted, world.company, world.admin.id, "Astray").await;
    assert_eq!(names(&member).await, ["Only"]);
    until("it is not asked any more", async || !is_up(at).await).await;
    assert_eq!(names(&member).await, ["Only"]);
    drop((promoted, world));
    pair.stop().await;
}
