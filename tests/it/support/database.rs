//! Databases of single tests, and functions that wait for what happens in them.

use crate::support::server::{admin_url, api_url, store_of};
use ringfence::{
    clients::storage::Storage,
    db::{self, migrate},
};
use std::{
    fmt::Display,
    sync::OnceLock,
    time::{Duration, Instant},
};
use tokio_postgres::Client;
use uuid::Uuid;

/// A database of one test.
pub struct OwnDatabase {
    pub name: String,
    pub admin: String,
    pub api: String,
}

impl OwnDatabase {
    /// Creates a freshly migrated database.
    pub async fn new() -> Self {
        let own = Self::empty().await;
        migrate::migrate(&own.admin, None).await.unwrap();
        own
    }

    /// Creates an empty database.
    pub async fn empty() -> Self {
        let name = format!("own_{}", Uuid::new_v4().simple());
        create_database(&name, "").await;
        Self { admin: with_database(&admin_url(), &name), api: with_database(&api_url(), &name), name }
    }

    /// The database's file store.
    pub fn store(&self) -> Storage {
        Storage::open(&store_of(&self.api)).unwrap()
    }

    pub async fn drop(self) {
        let _ = std::fs::remove_dir_all(store_of(&self.api).trim_start_matches("file://"));
        let cluster: Client = db::connect(&admin_url()).await.unwrap();
        cluster.batch_execute(&format!("drop database {} with (force)", self.name)).await.unwrap();
    }
}

/// The same URL with another database name.
pub fn with_database(url: &str, name: &str) -> String {
    let (before, after) = url.rsplit_once('/').filter(|(b, _)| !b.ends_with('/')).unwrap_or((url, ""));
    let query = after.split_once('?').map(|(_, q)| format!("?{q}")).unwrap_or_default();
    format!("{before}/{name}{query}")
}

/// The statement that sets a transaction's company and user, as the server does for each request.
pub fn enter(company: impl Display, user: impl Display) -> String {
    format!("select set_config('app.company_id', '{company}', true), set_config('app.user_id', '{user}', true)")
}

/// Waits until the condition holds; panics after `limit`.
pub async fn within(limit: Duration, what: &str, is_so: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the condition holds, long enough for a busy machine and for a worker that polls every two seconds.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    within(Duration::from_secs(60), what, is_so).await;
}

/// Waits until a backend is blocked by a lock of this connection, and returns its process id.
pub async fn waiting_for(holder: &Client, watch: &Client) -> i32 {
    let me: i32 = holder.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let waiting = "select pid from pg_stat_activity where $1 = any (pg_blocking_pids(pid))";
    let found = OnceLock::new();
    until("somebody waits for the lock", async || {
        let row = watch.query_opt(waiting, &[&me]).await.unwrap();
        row.is_some_and(|row| found.set(row.get(0)).is_ok())
    })
    .await;
    found.into_inner().unwrap()
}

/// Waits until this many backends are blocked by a lock of this connection, or by each other in the queue for it.
pub async fn waiting_behind(holder: &Client, watch: &Client, number: i64) {
    let me: i32 = holder.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let waiting = "select count(*) from pg_stat_activity a where $1 = any (pg_blocking_pids(a.pid))
        or exists (select from unnest(pg_blocking_pids(a.pid)) b where $1 = any (pg_blocking_pids(b)))";
    let count = async || watch.query_one(waiting, &[&me]).await.unwrap().get::<_, i64>(0);
    until("they wait", async || count().await == number).await;
}

/// The number of backends in the client's database that wait for a lock.
pub async fn waiting_for_locks(client: &Client) -> i64 {
    let count = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    client.query_one(count, &[]).await.unwrap().get(0)
}

/// Creates a database on the shared server. From its first moment on it is known as one of Ringfence's: elsewhere, the
/// `ringfence doctor` of other tests would report that it lets operators in.
pub async fn create_database(name: &str, options: &str) {
    let cluster = db::connect(&admin_url()).await.unwrap();
    for statement in [
        format!("create database {name} {options} allow_connections false"),
        format!("grant create on database {name} to ringfence_owner"),
        format!("alter database {name} allow_connections true"),
    ] {
        cluster.batch_execute(&statement).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
    }
}
