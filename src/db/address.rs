//! The address of a database, and single connections to it, outside the pool.

use crate::terminal;
use anyhow::{Context, bail};
use futures_util::FutureExt;
use std::{
    future::poll_fn,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{
    AsyncMessage, NoTls,
    config::{Host, SslMode, TargetSessionAttrs},
    error::Severity,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The error for an address that asks for certificate verification in libpq's words, which are not supported.
const VERIFIED: &str = "sslmode=require verifies the server's certificate and its name here, by the system's authorities or those in \
     SSL_CERT_FILE: give the database address this, without sslrootcert and its like";

/// Reads an address and adds what this program's connections have in common.
pub(super) fn parse(url: &str) -> anyhow::Result<tokio_postgres::Config> {
    // Everything after an unescaped `@` in a password would be taken for the host, and error messages name the host.
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    if authority.matches('@').count() > 1 || authority.contains('#') {
        bail!(
            "the database address has a user or password with a character such as @ or #: write it percent-encoded, as %40 or %23"
        );
    }
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

/// An address as environment variables for PostgreSQL's programs: command lines are readable by everybody on the
/// machine.
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

/// TLS with the system's certificate authorities. They are read once, for the first connection that may use TLS: one
/// over TCP whose address does not say `sslmode=disable`.
pub(super) static TLS: LazyLock<MakeRustlsConnect> = LazyLock::new(|| {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|b| b.with_root_certificates(roots).with_no_client_auth())
        .expect("ring supports the default protocol versions");
    MakeRustlsConnect::new(config)
});

/// Whether a connection may use TLS.
fn may_have_tls(config: &tokio_postgres::Config) -> bool {
    let hosts = config.get_hosts();
    let is_local = !hosts.is_empty() && hosts.iter().all(|host| matches!(host, Host::Unix(_)));
    config.get_ssl_mode() != SslMode::Disable && !is_local
}

/// Whatever the database or the server says: names are looked up where the migrations put tables and are written as the
/// rules of `doctor` have them, policies hold, and a backslash in a text is one.
const SETTINGS: &str = "set search_path = public; set row_security = on; set standard_conforming_strings = on; set quote_all_identifiers = off";

/// A single connection outside the pool, for the commands of an administrator.
pub async fn connect(url: &str) -> anyhow::Result<tokio_postgres::Client> {
    connect_with(&parse(url)?).await
}

pub(super) async fn connect_with(config: &tokio_postgres::Config) -> anyhow::Result<tokio_postgres::Client> {
    let connected = if may_have_tls(config) {
        config.connect(TLS.clone()).await.map(|(client, connection)| (client, attend(connection).boxed()))
    } else {
        config.connect(NoTls).await.map(|(client, connection)| (client, attend(connection).boxed()))
    };
    let (client, attending) = connected.with_context(|| {
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(folder)) => folder.display().to_string(),
            None => "localhost".to_owned(),
        };
        let user = config.get_user().map(|user| format!(" as {user}")).unwrap_or_default();
        format!("cannot connect to PostgreSQL at {host}{user}")
    })?;
    tokio::spawn(attending);
    client.batch_execute(SETTINGS).await?;
    Ok(client)
}

/// Keeps a connection going until it ends, and passes on what the server warns of.
async fn attend<S, T>(mut connection: tokio_postgres::Connection<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
        match message {
            Ok(AsyncMessage::Notice(said)) if said.parsed_severity() == Some(Severity::Warning) => {
                let hint = said.hint().map(|hint| format!(". {hint}")).unwrap_or_default();
                tracing::warn!("{}", terminal::plain(&format!("{}{hint}", said.message())));
            }
            Ok(_) => {}
            Err(e) => {
                // What the server said may quote a row.
                tracing::debug!(error = %e, code = e.code().map(|code| code.code()), "connection ended");
                return;
            }
        }
    }
}
