//! The only module that can open a connection.

mod admission;
mod answer_memory;
mod connect;
mod connection;
mod dba;
mod fault;
mod idempotent;
mod json_rows;
mod list;
pub mod local;
pub mod migrate;
pub mod platform;
mod pool;
mod pooler;
mod row;
mod standby;
mod tenant;

pub use connection::Column;
pub use dba::{Company, company, connect_as_dba, refused};
pub use fault::{Fault, Refusal};
pub(crate) use idempotent::{Held, commit_held, hold};
pub use json_rows::{Field, Rows, Value, WriteError, WriteRow, Written, place, write_value};
pub use list::{List, Mark};
pub(crate) use pool::NoConnection;
pub use pool::{Db, PoolState, default_pool_size, default_threads};
pub use pooler::check_pooler;
pub use row::{FromRow, Row, Values, column};
pub(crate) use standby::{leave_noted, note_position};
pub use tenant::{
    AnyUser, Caller, CompanyAdmin, Door, Identity, Member, RoleRule, SUPER_ADMIN, Scoped, SettingsAdmin, SuperAdmin,
    TeamAdmin, TenantDb, Tx, UserDb,
};

use crate::{Error, Result};
use anyhow::Context;
use futures_util::FutureExt;
use postgres_types::ToSql;
use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};
use tokio_postgres::{
    NoTls,
    config::{Host, SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

/// A statement's parameters.
pub type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// One statement of `sql/`: its path there and its text.
#[derive(Clone, Copy, Debug)]
pub struct Sql {
    /// The path below `sql/`, without the ending.
    pub name: &'static str,
    /// The statement.
    pub text: &'static str,
    /// How PostgreSQL plans it.
    pub plan: Plan,
}

/// Whether a prepared statement is planned for its parameters at each call. PostgreSQL decides by estimated costs, which
/// cannot know how unequal companies are, so a statement may say. *Enter* sets it, which costs no round trip; inside
/// `tx` it is always `Auto`.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// As PostgreSQL thinks.
    Auto,
    /// One plan for all calls: planning a short statement takes longer than running it.
    Once,
    /// A plan for each call: the best one depends on the parameters.
    Anew,
}

impl Sql {
    /// The statement with one plan for all calls: for the one whose parameters do not matter.
    pub const fn planned_once(self) -> Self {
        Self { plan: Plan::Once, ..self }
    }

    /// The statement with a plan for each call: for a search, whose text decides which index is good.
    pub const fn planned_anew(self) -> Self {
        Self { plan: Plan::Anew, ..self }
    }
}

impl Plan {
    /// The value of `plan_cache_mode`.
    pub fn mode(self) -> &'static str {
        match self {
            Plan::Auto => "auto",
            Plan::Once => "force_generic_plan",
            Plan::Anew => "force_custom_plan",
        }
    }
}

/// `sql!("contacts/list")` is the text of `sql/contacts/list.sql`; a missing file does not compile.
#[macro_export]
macro_rules! sql {
    ($path:literal) => {
        $crate::db::Sql {
            name: $path,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $path, ".sql")),
            plan: $crate::db::Plan::Auto,
        }
    };
}

/// How long what is known nowhere else is kept for a database that is away.
const RETRY_FOR: Duration = Duration::from_secs(15);

/// Patience with what is known nowhere else, such as a provider's answer, and must be written down: a database that is away
/// for a moment is waited for.
#[derive(Debug, Default)]
pub struct WriteRetry {
    since: Option<Instant>,
    /// Whether what was tried before may have been done.
    pub perhaps_done: bool,
}

impl WriteRetry {
    /// Whether to try again after this outcome, a second later.
    pub async fn goes_on<T>(&mut self, outcome: &Result<T>) -> bool {
        let Some(e) = outcome.as_ref().err().filter(|e| !e.is_refusal()) else { return false };
        if self.since.get_or_insert_with(Instant::now).elapsed() > RETRY_FOR {
            return false;
        }
        tracing::warn!(error = %e.for_log(), "what is known nowhere else cannot be written down yet");
        self.perhaps_done |= !matches!(e, Error::Unavailable);
        tokio::time::sleep(Duration::from_secs(1)).await;
        true
    }
}

/// Writes down what is known nowhere else; `attempt` is told whether what was tried before may have been done.
pub async fn retry_write<T, F: Future<Output = Result<T>>>(attempt: impl Fn(bool) -> F) -> Result<T> {
    let mut retry = WriteRetry::default();
    loop {
        let outcome = attempt(retry.perhaps_done).await;
        if !retry.goes_on(&outcome).await {
            return outcome;
        }
    }
}

/// Writes down what a provider has answered of a row, such as a `mail`. Whoever asked is told the answer also when it cannot be
/// written down, which the log says.
pub async fn keep_answer<T, F: Future<Output = Result<T>>>(of: &str, row: Uuid, attempt: impl Fn(bool) -> F) {
    if let Err(e) = retry_write(attempt).await {
        tracing::error!(error = %e.for_log(), of, %row, "the provider's answer could not be written down");
    }
}

/// What is said of an address that asks for a verified certificate in libpq's words.
const VERIFIED: &str = "sslmode=require verifies the server's certificate and its name here, by the system's authorities or those in \
     SSL_CERT_FILE: give the database address this, without sslrootcert and its like";

fn parse(url: &str) -> anyhow::Result<tokio_postgres::Config> {
    let mut config: tokio_postgres::Config = url.parse().with_context(|| {
        let is_of_libpq =
            ["sslmode=verify-", "sslrootcert=", "sslcert=", "sslkey="].iter().any(|part| url.contains(part));
        if is_of_libpq {
            VERIFIED
        } else {
            "the database address is not of the form postgres://user:password@host:port/database"
        }
    })?;
    if config.get_application_name().is_none() {
        config.application_name("ringfence");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(5));
    }
    Ok(config)
}

/// An address as the environment of PostgreSQL's own programs: what is on a command line, everybody on the machine can read.
pub fn libpq_environment(url: &str) -> anyhow::Result<Vec<(&'static str, String)>> {
    let config = parse(url)?;
    let list = |parts: Vec<String>| Some(parts.join(",")).filter(|list| !list.is_empty());
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    });
    let session = match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => Some("read-write"),
        TargetSessionAttrs::ReadOnly => Some("read-only"),
        _ => None,
    };
    let sslmode = match config.get_ssl_mode() {
        SslMode::Disable => "disable",
        SslMode::Require => "require",
        _ => "prefer",
    };
    let parts = [
        ("PGHOST", list(hosts.collect())),
        ("PGPORT", list(config.get_ports().iter().map(u16::to_string).collect())),
        ("PGTARGETSESSIONATTRS", session.map(str::to_owned)),
        ("PGUSER", config.get_user().map(str::to_owned)),
        ("PGPASSWORD", config.get_password().map(|p| String::from_utf8_lossy(p).into_owned())),
        ("PGDATABASE", config.get_dbname().map(str::to_owned)),
        ("PGSSLMODE", Some(sslmode.to_owned())),
    ];
    Ok(parts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// TLS by the system's certificate authorities, which are read once, for the first connection that may have it: one over
/// TCP whose address does not say `sslmode=disable`.
static TLS: LazyLock<MakeRustlsConnect> = LazyLock::new(|| {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|b| b.with_root_certificates(roots).with_no_client_auth())
        .expect("ring supports the default protocol versions");
    MakeRustlsConnect::new(config)
});

/// Whether a connection may have TLS.
fn may_have_tls(config: &tokio_postgres::Config) -> bool {
    let hosts = config.get_hosts();
    let is_local = !hosts.is_empty() && hosts.iter().all(|host| matches!(host, Host::Unix(_)));
    config.get_ssl_mode() != SslMode::Disable && !is_local
}

/// A single connection outside the pool, for the commands of an administrator.
pub async fn connect(url: &str) -> anyhow::Result<tokio_postgres::Client> {
    connect_with(&parse(url)?).await
}

async fn connect_with(config: &tokio_postgres::Config) -> anyhow::Result<tokio_postgres::Client> {
    let connected = if may_have_tls(config) {
        config.connect(TLS.clone()).await.map(|(client, connection)| (client, connection.boxed()))
    } else {
        config.connect(NoTls).await.map(|(client, connection)| (client, connection.boxed()))
    };
    let (client, connection) = connected.with_context(|| {
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(folder)) => folder.display().to_string(),
            None => "localhost".to_owned(),
        };
        let user = config.get_user().map(|user| format!(" as {user}")).unwrap_or_default();
        format!("cannot connect to PostgreSQL at {host}{user}")
    })?;
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            // What the server said may quote a row.
            tracing::debug!(error = %e, code = e.code().map(|code| code.code()), "connection ended");
        }
    });
    Ok(client)
}

impl From<Error> for anyhow::Error {
    fn from(e: Error) -> Self {
        match e {
            Error::Database(e) => anyhow::Error::new(e),
            Error::BadRequest(s) | Error::Forbidden(s) => anyhow::anyhow!(s),
            e => anyhow::anyhow!("{e:?}"),
        }
    }
}
