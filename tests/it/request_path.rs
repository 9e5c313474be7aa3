//! The request path: one round trip, a clean connection whatever happened before, and revocation that works at once.

use crate::support::{
    database::{OwnDatabase, until},
    log::has_warned,
    random::Dice,
    server::{admin_url, api_url, config, start_server},
    world::{Answer, Person, World, add_person},
};
use ringfence::{
    App, Error,
    config::{Config, Switch},
    db::{self, Db, Plan, Sql, TenantDb},
    server,
};
use serde_json::json;
use std::{
    future::poll_fn,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::PathBuf,
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};
use tokio_postgres::{Client, config::Host};
use uuid::Uuid;

const fn statement(text: &'static str) -> Sql {
    Sql { name: "a statement of this test", text, plan: Plan::Auto }
}

/// What went over the wire, piece by piece: whether the server sent it, and the number of messages that end a command.
type Wire = Arc<Mutex<Vec<(bool, usize)>>>;

/// A proxy to the database that records what passes.
struct Tap {
    url: String,
    wire: Wire,
    folder: PathBuf,
}

impl Tap {
    fn new() -> Self {
        let config: tokio_postgres::Config = api_url().parse().unwrap();
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let database = match &config.get_hosts()[0] {
            Host::Unix(folder) => folder.join(format!(".s.PGSQL.{port}")),
            Host::Tcp(host) => panic!("the tests' own PostgreSQL has a unix socket, not {host}"),
        };
        let folder = std::env::temp_dir().join(format!("ringfence-tap-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).unwrap();
        let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).unwrap();
        let wire = Wire::default();
        let noted = wire.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, UnixStream::connect(&database).await.unwrap(), noted.clone()));
            }
        });
        let user = config.get_user().unwrap();
        let url = format!("postgres://{user}@/{}?host={}", config.get_dbname().unwrap(), folder.display());
        Self { url, wire, folder }
    }

    /// The number of commands in each turn of the client since the last call; a turn follows silence or a response.
    fn turns(&self) -> Vec<usize> {
        let wire = std::mem::take(&mut *self.wire.lock().unwrap());
        let mut turns = Vec::new();
        let mut answered = true;
        for (server, commands) in wire {
            match turns.last_mut() {
                _ if server => {}
                Some(turn) if !answered => *turn += commands,
                _ => turns.push(commands),
            }
            answered = server;
        }
        turns
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Forwards bytes. After a piece from the client it waits a moment for the server's response before it reads the client
/// again, so that two writes in a row are two turns here, as they may be to a fast server.
async fn pass(mut client: UnixStream, mut server: UnixStream, wire: Wire) {
    let (mut sent, mut got) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let (length, from_server) = tokio::select! {
            n = server.read(&mut got) => (n.unwrap_or(0), true),
            n = client.read(&mut sent) => (n.unwrap_or(0), false),
        };
        if length == 0 {
            return;
        }
        if from_server {
            wire.lock().unwrap().push((true, 0));
            client.write_all(&got[..length]).await.unwrap_or_default();
        } else {
            wire.lock().unwrap().push((false, commands(&sent[..length])));
            server.write_all(&sent[..length]).await.unwrap_or_default();
            let _ = tokio::time::timeout(Duration::from_millis(50), server.readable()).await;
        }
    }
}

/// The number of Sync messages (PostgreSQL, "Message Formats") in whole messages.
fn commands(mut bytes: &[u8]) -> usize {
    let mut found = 0;
    while let [kind, a, b, c, d, ..] = *bytes {
        found += usize::from(kind == b'S');
        bytes = bytes.get(1 + u32::from_be_bytes([a, b, c, d]) as usize..).unwrap_or_default();
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_round_trip() {
    let acme = World::new().await;
    let contact = acme.contact("Ada", "Lovelace").await;
    let path = format!("/api/contacts/{}", contact["id"].as_str().unwrap());
    for prepared_statements in [Switch::On, Switch::Off] {
        let tap = Tap::new();
        let config = Config { worker: Switch::Off, pool_size: Some(1), prepared_statements, ..config() };
        let admin = acme.admin.at(&start_server(config, &tap.url));
        let change = json!({"phone": "+1 555 0100"});
        for (method, path, body) in
            [("GET", "/api/contacts/", None), ("GET", path.as_str(), None), ("PATCH", path.as_str(), Some(&change))]
        {
            // Prepares the statement.
            admin.send(method, path, body).await.expect(200);
            tap.turns();
            for _ in 0..30 {
                admin.send(method, path, body).await.expect(200);
                assert_eq!(
                    tap.turns(),
                    [1],
                    "{method} {path}: the context and the statement travel together, with one Sync"
                );
            }
        }
    }
}

#[tokio::test]
async fn nothing_that_hangs_in_the_database_holds_a_request_for_long() {
    let acme = World::new().await;
    let tenant = TenantDb::for_company(&Db::new(&api_url(), 1).unwrap(), acme.company, acme.member.id);
    for (name, limit) in
        [("statement_timeout", "30s"), ("lock_timeout", "5s"), ("idle_in_transaction_session_timeout", "15s")]
    {
        let now = statement("select current_setting($1)");
        assert_eq!(tenant.one::<String>(now, &[&name]).await.unwrap(), limit, "{name}");
    }
}

/// Polls a future at most this many times, then drops it.
async fn for_polls(future: impl Future<Output = ()>, mut polls: u64) {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(());
        }
        polls -= 1;
        future.as_mut().poll(cx)
    })
    .await;
}

/// The connections of a pool, as the administrator sees them.
struct Watch {
    name: String,
    url: String,
    db: Client,
}

impl Watch {
    async fn new() -> Self {
        let name = format!("watched {}", Uuid::new_v4().simple());
        let url = format!("{}&application_name={}", api_url(), name.replace(' ', "%20"));
        Self { name, url, db: db::connect(&admin_url()).await.unwrap() }
    }

    /// Waits until no connection has a transaction open; this must not need another request.
    async fn is_clean(&self) {
        let busy = "select count(*) from pg_stat_activity where application_name = $1 and (xact_start is not null or state <> 'idle')";
        until("no transaction is open", async || {
            self.db.query_one(busy, &[&self.name]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
    }

    /// The number of contacts that the last [`COUNT_INTO_LOCK`] saw.
    async fn counted(&self) -> Option<u32> {
        let locks = "select l.objid from pg_locks l join pg_stat_activity a using (pid)
            where a.application_name = $1 and l.locktype = 'advisory' and l.classid = 4711";
        let row = self.db.query_opt(locks, &[&self.name]).await.unwrap();
        row.map(|row| row.get(0))
    }
}

/// The result of an abandoned statement is read from the lock that it leaves.
const COUNT_INTO_LOCK: Sql =
    statement("select from (select count(*) as n from contacts) c, pg_advisory_lock(4711, c.n::int)");
const FORGET_LOCKS: Sql = statement("select pg_advisory_unlock_all()::text = ''");

/// Work of several kinds as a user, some of which fails.
async fn work(tenant: TenantDb, kind: u64) {
    let slow = statement("select pg_sleep(0.001)::text from contacts");
    let count = statement("select count(*) from contacts");
    let email = format!("{}@example.com", Uuid::new_v4());
    let add = async |tx: &db::Tx<'_>| {
        tx.one::<Uuid>(
            statement("insert into contacts (first_name, last_name, email) values ('Lost', 'Lost', $1) returning id"),
            &[&email],
        )
        .await
    };
    let outcome: Result<(), Error> = match kind {
        0 => tenant.all::<String>(slow, &[]).await.map(drop),
        1 => {
            tenant.all::<i64>(statement("select 1::bigint / (count(*) - count(*)) from contacts"), &[]).await.map(drop)
        }
        2 => tenant.tx(async |tx| tx.all::<String>(slow, &[]).await.map(drop)).await,
        3 => {
            let several = async |tx: &db::Tx<'_>| {
                tx.one::<i64>(count, &[]).await?;
                tokio::task::yield_now().await;
                add(tx).await?;
                tx.all::<String>(slow, &[]).await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
                tx.one::<i64>(count, &[]).await?;
                // The new row must not stay, so that the next count is known.
                Err(Error::Unavailable)
            };
            tenant.tx(several).await
        }
        4 => {
            let refused = async |tx: &db::Tx<'_>| {
                add(tx).await?;
                tx.one::<i64>(statement("select count(*) from app.credentials"), &[]).await.map(drop)
            };
            tenant.tx(refused).await
        }
        5 => {
            let panics = async |tx: &db::Tx<'_>| -> Result<(), Error> {
                add(tx).await?;
                std::panic::resume_unwind(Box::new("a handler panicked"));
            };
            tenant.tx(panics).await
        }
        6 => {
            let swallows = async |tx: &db::Tx<'_>| {
                add(tx).await?;
                let _ = tx.one::<i64>(statement("select 1::bigint / (count(*) - count(*)) from contacts"), &[]).await;
                Ok(())
            };
            tenant.tx(swallows).await
        }
        _ => tenant.tx(async |tx| tx.one::<i64>(count, &[]).await.map(drop)).await,
    };
    // A transaction that only reads may succeed.
    assert!(outcome.is_err() || [0, 2, 7].contains(&kind), "{kind}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_call_leaves_a_clean_connection() {
    abandon(Switch::On, 1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_call_without_prepared_statements_leaves_a_clean_connection() {
    abandon(Switch::Off, 300).await;
}

async fn abandon(prepared_statements: Switch, rounds: usize) {
    let mut dice = Dice::new();
    let watch = Watch::new().await;
    let db = Db::of(&watch.url, &Config { pool_size: Some(1), prepared_statements, ..config() }).unwrap();
    let worlds = [World::new().await, World::new().await];
    for (world, contacts) in worlds.iter().zip([1, 2]) {
        for _ in 0..contacts {
            world.contact("Ada", "L").await;
        }
    }
    let own = statement("select count(*) filter (where company_id = app.company_id()), count(*) from contacts");
    let tenant = |i: usize| TenantDb::for_company(&db, worlds[i].company, worlds[i].member.id);
    for round in 0..rounds {
        let who = round % 2;
        let call = work(tenant(who), dice.below(8));
        let task = tokio::spawn(for_polls(call, [u64::MAX, dice.below(12)][round % 3 / 2]));
        if dice.below(2) == 0 {
            tokio::time::sleep(Duration::from_micros(dice.below(3000))).await;
            task.abort();
        }
        // A panic of the handler is part of the work; one of an assertion fails the test.
        if let Err(e) = task.await
            && e.is_panic()
        {
            let reason = e.into_panic();
            assert_eq!(reason.downcast_ref::<&str>(), Some(&"a handler panicked"), "{reason:?}");
        }
        watch.is_clean().await;

        // A call whose context is refused sees nothing of the previous one.
        let stranger = TenantDb::for_company(&db, Uuid::now_v7(), worlds[who].member.id);
        assert!(matches!(stranger.all::<bool>(COUNT_INTO_LOCK, &[]).await, Err(Error::InvalidToken)));
        assert_eq!(watch.counted().await, Some(0), "round {round}");

        // The next call sees its own company.
        let next = (round + 1) % 2;
        tenant(next).all::<Seen>(own, &[]).await.map(|seen| assert_eq!(seen, [Seen([next as i64 + 1; 2])])).unwrap();
        tenant(next).all::<bool>(FORGET_LOCKS, &[]).await.unwrap();
    }
    watch.is_clean().await;
}

/// The number of contacts of the own company, and of all visible ones.
#[derive(Debug, PartialEq)]
struct Seen([i64; 2]);

impl db::FromRow for Seen {
    const NAME: &'static str = "Count";
    fn from_row(row: &db::Row) -> Result<Self, db::Fault> {
        Ok(Self([row.try_get(0usize)?, row.try_get(1usize)?]))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_leaves_a_clean_connection() {
    let mut dice = Dice::new();
    let watch = Watch::new().await;
    let config = Config { worker: Switch::Off, pool_size: Some(1), ..config() };
    let base = start_server(config, &watch.url);
    let worlds = [World::new().await, World::new().await];
    let mut contacts = Vec::new();
    for world in &worlds {
        contacts.push(world.contact("Ada", "L").await);
    }
    for round in 0..300 {
        let who = round % 2;
        let request = match dice.below(4) {
            0 => "GET /api/contacts/".to_owned(),
            1 => format!("GET /api/contacts/{}", contacts[who]["id"].as_str().unwrap()),
            2 => format!("PATCH /api/contacts/{}", contacts[1 - who]["id"].as_str().unwrap()),
            _ => "GET /api/contacts/stats/summary".to_owned(),
        };
        let body = r#"{"phone": "+1 555"}"#;
        let text = format!(
            "{request} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            worlds[who].member.token.as_ref().unwrap(),
            body.len()
        );
        let mut stream = TcpStream::connect(base.trim_start_matches("http://")).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let stay = dice.below(1500);
        std::thread::sleep(Duration::from_micros(stay));
        stream.shutdown(Shutdown::Both).unwrap();
        watch.is_clean().await;
        let next = (round + 1) % 2;
        let seen = worlds[next].member.at(&base).get("/api/contacts/").await.expect(200);
        assert_eq!(seen, json!([contacts[next]]), "round {round}");
    }
}

#[tokio::test]
async fn an_error_in_a_transaction_undoes_it_and_leaves_a_clean_connection() {
    let watch = Watch::new().await;
    let db = Db::new(&watch.url, 1).unwrap();
    let acme = World::new().await;
    let tenant = TenantDb::for_company(&db, acme.company, acme.member.id);
    let add = statement("insert into contacts (first_name, last_name, email) values ('Ada', 'L', $1) returning id");
    let lead = statement("select set_config('app.company_id', '', true)");
    let unique = async |tx: &db::Tx<'_>| {
        tx.one::<Uuid>(add, &[&"twice@example.com"]).await?;
        tx.one::<Uuid>(add, &[&"twice@example.com"]).await.map(drop)
    };
    let secret = async |tx: &db::Tx<'_>| {
        tx.one::<Uuid>(add, &[&"a@example.com"]).await?;
        tx.one::<i64>(statement("select count(*) from app.credentials"), &[]).await.map(drop)
    };
    let owner = async |tx: &db::Tx<'_>| {
        tx.one::<Uuid>(add, &[&"b@example.com"]).await?;
        tx.one::<Uuid>(statement("select app.found('Owner', $1, null)"), &[&Uuid::now_v7()]).await.map(drop)
    };
    let swallowed = async |tx: &db::Tx<'_>| {
        tx.one::<Uuid>(add, &[&"c@example.com"]).await?;
        let _ = tx.one::<i64>(statement("select count(*) from app.credentials"), &[]).await;
        Ok(())
    };
    let without_context = async |tx: &db::Tx<'_>| {
        tx.one::<String>(lead, &[]).await?;
        tx.one::<Uuid>(add, &[&"d@example.com"]).await.map(drop)
    };
    let code = |outcome: Result<(), Error>| match outcome {
        Err(Error::Database(e)) => e.code().unwrap().code().to_owned(),
        other => format!("{other:?}"),
    };
    assert_eq!(code(tenant.tx(unique).await), "23505");
    watch.is_clean().await;
    assert_eq!(code(tenant.tx(secret).await), "42501");
    watch.is_clean().await;
    assert!(matches!(tenant.tx(owner).await, Err(Error::NotFound(what)) if what == "Owner"));
    watch.is_clean().await;
    assert!(code(tenant.tx(swallowed).await).contains("Internal"));
    watch.is_clean().await;
    assert!(["42501", "23502"].contains(&code(tenant.tx(without_context).await).as_str()));
    watch.is_clean().await;
    assert_eq!(tenant.one::<i64>(statement("select count(*) from contacts"), &[]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_commit_that_fails_is_an_error() {
    let watch = Watch::new().await;
    let db = Db::new(&watch.url, 1).unwrap();
    let acme = World::new().await;
    let tenant = TenantDb::for_company(&db, acme.company, acme.member.id);
    // The foreign key of the owner is checked at commit, and this owner does not exist.
    let add = statement(
        "insert into contacts (first_name, last_name, email, owner_id) values ('Ada', 'L', 'a@x.io', $1) returning id",
    );
    let later = async |tx: &db::Tx<'_>| {
        tx.all::<bool>(statement("set constraints all deferred"), &[]).await?;
        tx.one::<Uuid>(add, &[&Uuid::now_v7()]).await
    };
    let is_refused = |e: Error| matches!(&e, Error::Database(e) if e.code().unwrap().code() == "23503");
    assert!(is_refused(tenant.tx(later).await.unwrap_err()));
    let at_once = statement(
        "do $$ begin
          set constraints all deferred;
          insert into contacts (first_name, last_name, email, owner_id) values ('Ada', 'L', 'a@x.io', gen_random_uuid());
        end $$",
    );
    assert!(is_refused(tenant.all::<bool>(at_once, &[]).await.unwrap_err()));
    watch.is_clean().await;
    assert_eq!(tenant.one::<i64>(statement("select count(*) from contacts"), &[]).await.unwrap(), 0);
}

#[tokio::test]
async fn revocation_works_at_the_next_request_and_nothing_is_written() {
    let acme = World::new().await;
    let contact = acme.contact("Ada", "L").await;
    let path = format!("/api/contacts/{}", contact["id"].as_str().unwrap());
    let changes = [
        ("update users set token_version = token_version + 1 where id = $1", 401),
        ("update users set is_deleted = true where id = $1", 401),
        ("update users set status = 'suspended' where id = $1", 401),
        ("update companies set status = 'suspended' where id = (select company_id from users where id = $1)", 403),
    ];
    for (change, status) in changes {
        let member = add_person(&acme.db, "leaver", "company_user", Some(acme.company)).await;
        member.get(&path).await.expect(200);
        acme.db.execute(change, &[&member.id]).await.unwrap();
        member.get(&path).await.expect(status);
        member.get("/api/contacts/").await.expect(status);
        member.patch(&path, json!({"first_name": "Eve"})).await.expect(status);
        let new = json!({"first_name": "Eve", "last_name": "L", "email": "eve@x.io"});
        member.post("/api/contacts/", new).await.expect(status);
        member.delete(&path).await.expect(status);
    }
    let names: String = acme
        .value(
            "select string_agg(first_name, ',') from contacts where company_id = $1 and not is_deleted",
            &[&acme.company],
        )
        .await;
    assert_eq!(names, "Ada");
    acme.db.execute("update companies set status = 'active' where id = $1", &[&acme.company]).await.unwrap();
    assert_eq!(acme.member.get(&path).await.expect(200), contact);
    // Nor can a job of a suspended company do anything.
    acme.db
        .execute("update companies set subscription_status = 'expired' where id = $1", &[&acme.company])
        .await
        .unwrap();
    let job = TenantDb::for_company(&Db::new(&api_url(), 1).unwrap(), acme.company, acme.member.id);
    let id: Uuid = contact["id"].as_str().unwrap().parse().unwrap();
    let erase = statement("delete from contacts where id = $1 returning id");
    assert!(matches!(job.optional::<Uuid>(erase, &[&id]).await, Err(Error::Suspended)));
    assert_eq!(acme.value::<i64>("select count(*) from contacts where id = $1", &[&id]).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_to_enter_and_a_changed_table_are_told_for_what_they_are() {
    let own = crate::support::database::OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let db = Db::new(&own.api, 1).unwrap();
    let tenant = TenantDb::for_company(&db, acme.company, acme.member.id);
    let count = statement("select count(*) from contacts");
    let all = statement("select location from activities");
    assert_eq!(tenant.one::<i64>(count, &[]).await.unwrap(), 0);
    tenant.all::<String>(all, &[]).await.unwrap();

    let admin = db::connect(&own.admin).await.unwrap();
    acme.db.batch_execute("begin; lock table companies").await.unwrap();
    let waiting = tokio::spawn({
        let tenant = tenant.clone();
        async move { tenant.one::<i64>(count, &[]).await }
    });
    let cancel = "select count(pg_cancel_backend(pid)) from pg_stat_activity
        where usename = 'ringfence_api' and datname = current_database() and wait_event_type = 'Lock'";
    until("somebody to cancel", async || admin.query_one(cancel, &[]).await.unwrap().get::<_, i64>(0) > 0).await;
    let code = |e: Error| match e {
        Error::Database(e) => e.code().map(|code| code.code().to_owned()),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(waiting.await.unwrap().unwrap_err()).as_deref(), Some("57014"));
    acme.db.batch_execute("rollback").await.unwrap();

    // The plan of a prepared statement has the table's old columns: one refusal, then it is prepared again.
    acme.db.batch_execute("alter table activities alter location type varchar(200)").await.unwrap();
    assert_eq!(code(tenant.all::<String>(all, &[]).await.unwrap_err()).as_deref(), Some("0A000"));
    tenant.all::<String>(all, &[]).await.unwrap();

    // Without prepared statements nothing is outdated: the columns are always current.
    let unnamed = Config { pool_size: Some(1), prepared_statements: Switch::Off, ..config() };
    let unnamed = TenantDb::for_company(&Db::of(&own.api, &unnamed).unwrap(), acme.company, acme.member.id);
    let first = statement("select * from (select location from activities) a union all select 'here'");
    assert_eq!(unnamed.all::<String>(first, &[]).await.unwrap(), ["here"]);
    acme.db.batch_execute("alter table activities alter location type text").await.unwrap();
    assert_eq!(unnamed.all::<String>(first, &[]).await.unwrap(), ["here"]);
    drop(unnamed);

    // A connection that the server closes while it is idle is replaced.
    let close = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity where usename = 'ringfence_api' and datname = current_database()";
    admin.query_one(close, &[]).await.unwrap();
    assert_eq!(tenant.one::<i64>(count, &[]).await.unwrap(), 0);
    drop((db, tenant, admin, acme));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_room_is_told_and_comes_back() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { pool_size: Some(1), worker: Switch::Off, ..config() }).await;
    acme.admin.get("/api/contacts/").await.expect(200);
    acme.db.batch_execute("begin; lock table contacts in access exclusive mode").await.unwrap();
    // The first ones wait for the lock until they time out, one after the other; the last one waits for a connection.
    let asked = (0..4).map(|_| acme.admin.get("/api/contacts/"));
    let answers = futures_util::future::join_all(asked).await;
    let is_told = |answer: &Answer| answer.status == 503 && answer.headers.contains_key("retry-after");
    assert!(answers.iter().all(is_told), "{answers:?}");
    acme.db.batch_execute("rollback").await.unwrap();
    acme.admin.get("/api/contacts/").await.expect(200);
    own.drop().await;
}

/// Reads and writes alike, and the log says why.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_lock_in_vain_hears_that_it_took_too_long() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    let ada = acme.contact("Ada", "Lovelace").await;
    let path = format!("/api/contacts/{}", ada["id"].as_str().unwrap());
    acme.db.batch_execute("begin; lock table calls; select from contacts for update").await.unwrap();
    let (read, written) =
        tokio::join!(acme.admin.get("/api/calls/"), acme.admin.put(&path, json!({"first_name": "Augusta"})));
    for answer in [&read, &written] {
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        assert_eq!(answer.clone().detail(503), "The database took too long: try again in a moment");
    }
    assert!(has_warned(r#""error":"SQLSTATE 55P03""#) && has_warned("SQLSTATE 55P03 table=contacts"));
    acme.db.batch_execute("rollback").await.unwrap();
    assert_eq!(acme.admin.get(&path).await.expect(200)["first_name"], "Ada");
    // So does a request whose statement takes too long for any other reason.
    let limit = "alter role ringfence_api in database $database set statement_timeout = '1s'";
    acme.db.batch_execute(&limit.replace("$database", &own.name)).await.unwrap();
    let again = acme.admin.at(&start_server(Config { worker: Switch::Off, ..config() }, &own.api));
    acme.db.batch_execute("begin; lock table calls").await.unwrap();
    assert_eq!(again.get("/api/calls/").await.detail(503), "The database took too long: try again in a moment");
    assert!(has_warned("SQLSTATE 57014"));
    acme.db.batch_execute("rollback").await.unwrap();
    drop(acme);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_company_does_not_get_all_connections() {
    let own = OwnDatabase::new().await;
    // More connections than short statements may use at a time.
    let config = Config { worker: Switch::Off, pool_size: None, ..config() };
    let size = config.connections(&own.api).unwrap();
    let base = start_server(config, &own.api);
    let (acme, globex) = (World::alone_at(&own, &base).await, World::alone_at(&own, &base).await);
    for person in [&acme.admin, &acme.member, &globex.admin] {
        person.get("/api/contacts/").await.expect(200);
    }
    let mine = acme.contact("Ada", "Lovelace").await["id"].as_str().unwrap().to_owned();
    acme.db.batch_execute(&format!("begin; select from contacts where id = '{mine}' for update")).await.unwrap();
    let rename = |person: &Person| {
        let (person, path) = (person.clone(), format!("/api/contacts/{mine}"));
        tokio::spawn(async move { person.put(&path, json!({"first_name": "Augusta"})).await })
    };
    let waiting: Vec<_> = (0..size).flat_map(|_| [rename(&acme.admin), rename(&acme.member)]).collect();
    let locked = "select count(*) from pg_stat_activity
        where usename = 'ringfence_api' and datname = current_database() and wait_event_type = 'Lock'";
    until("requests wait for the row", async || globex.value::<i64>(locked, &[]).await == (size * 3 / 4) as i64).await;
    globex.admin.get("/api/contacts/").await.expect(200);
    assert!(waiting.iter().all(|asked| !asked.is_finished()), "others do not wait for them");
    acme.db.batch_execute("rollback").await.unwrap();
    for asked in waiting {
        asked.await.unwrap().expect(200);
    }
    own.drop().await;
}

/// A form with these parts: what follows `form-data; ` in each head, and the content.
fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (head, content) in parts {
        form.extend(format!("--b\r\ncontent-disposition: form-data; {head}\r\n\r\n").bytes());
        form.extend(*content);
        form.extend(b"\r\n");
    }
    form.extend(b"--b--\r\n");
    form
}

/// A proxy, or a simple client, reads the response only after it has sent everything.
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_all_before_they_read_hears_why_they_are_refused() {
    let acme = World::new().await;
    let address = acme.admin.address();
    let large = vec![7; 8 << 20];
    let (file, long) =
        ("name=\"file\"; filename=\"a.bin\"", format!("name=\"file\"; filename=\"{}\"", "x".repeat(256)));
    let picture = "name=\"file\"; filename=\"a.gif\"\r\ncontent-type: image/gif";
    let whole = form(&[(file, &large)]);
    let token = acme.admin.token.as_deref().unwrap();
    let upload = "POST /api/files/upload";
    let cases = [
        (upload, "bad", &whole, "401", "Could not validate credentials"),
        ("POST /api/users/me/avatar", "", &whole, "403", "Not authenticated"),
        ("POST /api/nowhere", token, &whole, "404", "Not Found"),
        ("DELETE /api/contacts/", token, &whole, "405", "Method Not Allowed"),
        ("POST /api/contacts/", token, &large, "413", "too large"),
        ("POST /api/auth/login", "", &large, "413", "too large"),
        (upload, token, &form(&[("name=\"category\"", &[b'x'; 101]), (file, &large)]), "422", "at most 100 characters"),
        (upload, token, &form(&[("name=\"tags\"", b"[1]"), (file, &large)]), "422", "a list of texts"),
        (upload, token, &form(&[(&long, &large)]), "422", "at most 255 characters"),
        (upload, token, &form(&[(picture, &large)]), "400", "is not what its name or type says"),
        (upload, token, &form(&[(file, &vec![7; 11 << 20])]), "413", "too large"),
        ("POST /api/contacts/upload-csv", token, &whole, "400", "ends in .csv"),
    ];
    for (line, token, body, status, sentence) in cases {
        for (length, is_chunked) in
            [(format!("content-length: {}", body.len()), false), ("transfer-encoding: chunked".into(), true)]
        {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let authorization =
                if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
            let head = format!(
                "{line} HTTP/1.1\r\nhost: x\r\n{authorization}content-type: multipart/form-data; boundary=b\r\n{length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            if is_chunked {
                write!(stream, "{:x}\r\n", body.len()).unwrap();
            }
            stream.write_all(body).unwrap_or_else(|e| panic!("{line} {status}: {e}"));
            if is_chunked {
                stream.write_all(b"\r\n0\r\n\r\n").unwrap();
            }
            let answer = read_answer(&mut stream);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(sentence),
                "{line}: {answer}"
            );
            // The connection is still usable.
            stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            assert!(read_answer(&mut stream).starts_with("HTTP/1.1 200 "), "{line}");
        }
    }
}

/// Reads one response with a `content-length`.
fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let is_whole = |answer: &[u8]| {
        let text = String::from_utf8_lossy(answer);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        (body.len() >= length.parse().ok()?).then_some(())
    };
    while is_whole(&answer).is_none() {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&piece[..read]);
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn who_asks_before_they_send_is_refused_at_once() {
    let mut stream = TcpStream::connect(Person::nobody().address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = "POST /api/files/upload HTTP/1.1\r\nhost: x\r\nauthorization: Bearer bad\r\nexpect: 100-continue\r\n\
        content-type: multipart/form-data; boundary=b\r\ncontent-length: 8000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let answer = read_answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

/// A client that has its response and goes on sending does not delay a stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_what_nobody_reads() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = App::new(Db::new(&api_url(), 2).unwrap(), Config { worker: Switch::Off, ..config() }).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(app, listener, async move { drop(stopped.await) }));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 60000000\r\n\r\nmore").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    stop.send(()).unwrap();
    // Before the time for an upload or for requests during a stop has run out.
    tokio::time::timeout(Duration::from_secs(15), serving).await.unwrap().unwrap().unwrap();
    drop(stream);
}

/// A stop accepts no new connections, and lets current requests finish.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_requests_under_way_finish() {
    let acme = World::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = App::new(Db::new(&api_url(), 2).unwrap(), Config { worker: Switch::Off, ..config() }).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(app, listener, async move { drop(stopped.await) }));
    let body =
        json!({"first_name": "Ada", "last_name": "L", "email": format!("{}@example.com", Uuid::new_v4())}).to_string();
    let admin = acme.admin.at(&format!("http://{address}"));
    let mut stream = admin.begin("/api/contacts/", "application/json", body.len()).await;
    let (first, rest) = body.split_at(10);
    stream.write_all(first.as_bytes()).await.unwrap();
    stop.send(()).unwrap();
    until("nobody new comes in", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    assert!(!serving.is_finished());
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serving.await.unwrap().unwrap();
    assert_eq!(acme.admin.get("/api/contacts/").await.expect(200)[0]["first_name"], "Ada");
}

#[test]
fn pool_and_threads_follow_the_processors_of_a_database_on_this_machine() {
    let of = |url: &str| Config { pool_size: None, ..config() }.connections(url).unwrap();
    let here = of(&api_url());
    let processors = std::thread::available_parallelism().unwrap().get();
    assert!((8..=64).contains(&here) && (here >= processors || here == 64), "{here}");
    let threads = |url| config().threads(url);
    assert_eq!(threads(None), (processors / 2).max(1));
    for url in ["postgres://a@localhost/x", "postgres://a@127.0.0.1:6432/x", "postgres://a@[::1]/x"] {
        assert_eq!((of(url), threads(Some(url))), (here, threads(None)), "{url}");
    }
    for url in ["postgres://a@db.internal/x", "postgres://a@10.0.0.7/x", "postgres://a@localhost,db.internal/x"] {
        assert_eq!((of(url), threads(Some(url))), (16, processors), "{url}");
    }
    assert_eq!(Config { threads: Some(3), ..config() }.threads(None), 3);
    assert_eq!(Config { pool_size: Some(3), ..config() }.connections("postgres://a@localhost/x").unwrap(), 3);
}

#[tokio::test]
async fn what_is_known_nowhere_else_is_written_down_when_the_database_is_back() {
    let mut retry = db::WriteRetry::new(Duration::from_secs(3));
    let lost = || Error::Database(db::Fault::Lost(std::io::ErrorKind::UnexpectedEof.into()));
    assert!(!retry.goes_on(&Ok(())).await);
    assert!(retry.goes_on(&Err::<(), _>(Error::Unavailable)).await);
    assert!(!retry.perhaps_done, "without a connection nothing was done");
    let start = Instant::now();
    while retry.goes_on(&Err::<(), _>(lost())).await {
        assert!(retry.perhaps_done && start.elapsed() < Duration::from_secs(60), "not for ever");
    }
    assert!(start.elapsed() > Duration::from_secs(1));
}

#[tokio::test]
async fn an_answer_that_is_too_large_leaves_no_transaction_and_no_bad_connection() {
    let acme = World::new().await;
    let watch = Watch::new().await;
    let tenant = TenantDb::for_company(&Db::new(&watch.url, 1).unwrap(), acme.company, acme.member.id);
    let long = statement("select repeat('x', 100000000)");
    let many = statement("select repeat('x', 1000000) from generate_series(1, 100)");
    let number = statement("select 1::bigint");
    for large in [long, many] {
        let alone = tenant.all::<String>(large, &[]).await;
        assert!(matches!(alone, Err(Error::Database(db::Fault::TooLarge))));
        assert_eq!(tenant.one::<i64>(number, &[]).await.unwrap(), 1);
        let within = async |tx: &db::Tx<'_>| {
            tx.one::<i64>(number, &[]).await?;
            tx.all::<String>(large, &[]).await
        };
        assert!(matches!(tenant.tx(within).await, Err(Error::Database(db::Fault::TooLarge))));
        watch.is_clean().await;
        assert_eq!(tenant.one::<i64>(number, &[]).await.unwrap(), 1);
        // The connection survives calls that are abandoned half-way.
        for polls in [2, 5, 20] {
            let few = statement("select repeat('x', 1000000) from generate_series(1, 30)");
            for_polls(async { drop(tenant.all::<String>(few, &[]).await) }, polls).await;
            assert_eq!(tenant.one::<i64>(number, &[]).await.unwrap(), 1);
        }
        let texts =
            tenant.all::<String>(statement("select repeat('y', 1000000) from generate_series(1, 30)"), &[]).await;
        assert!(texts.unwrap().iter().all(|text| text.len() == 1_000_000));
    }
}
