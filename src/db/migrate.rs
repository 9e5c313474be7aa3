//! Brings a database to this program's version: the cluster's roles, then the migrations.

use super::address::{connect, connect_with, parse};
use crate::sql;
use anyhow::{Context, Error, bail, ensure};
use tokio_postgres::{Client, Row, error::SqlState};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The number of the newest migration that this program knows.
pub fn newest() -> i32 {
    embedded::migrations::runner().get_migrations().iter().map(|m| m.version()).max().unwrap_or(0)
}

/// The newest migration that ran, if any did.
async fn version(client: &Client) -> anyhow::Result<Option<i32>> {
    let made = "select to_regclass('refinery_schema_history') is not null";
    if !client.query_typed_one(made, &[]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    Ok(client.query_typed_one(sql!("platform/schema_version").text, &[]).await?.get(0))
}

/// Whether the newest migration that ran is the newest that this program knows.
pub async fn is_current(client: &Client) -> anyhow::Result<bool> {
    Ok(version(client).await? == Some(newest()))
}

/// Whether a newer program has migrated the database than this one.
pub async fn is_newer(client: &Client) -> anyhow::Result<bool> {
    Ok(version(client).await?.is_some_and(|version| version > newest()))
}

/// Refuses a database in which no migration has run.
pub async fn require_any(client: &Client) -> anyhow::Result<()> {
    ensure!(version(client).await?.is_some(), "the database was never migrated: run `ringfence migrate` first");
    Ok(())
}

const TOO_NEW: &str = "the database is of a newer version than this program: use a newer program";

/// Refuses a database that is not of this program's version.
pub async fn require_current(client: &Client) -> anyhow::Result<()> {
    let version = version(client).await?.unwrap_or(0);
    ensure!(version <= newest(), TOO_NEW);
    ensure!(version == newest(), "the database is not at this program's version: run `ringfence migrate` first");
    Ok(())
}

/// Whether this program may serve the database: its schema is of this version, or of a newer one that allows it.
pub async fn is_served(client: &Client) -> anyhow::Result<bool> {
    let version = version(client).await?.unwrap_or(0);
    if version == newest() {
        return Ok(true);
    }
    let made = "select to_regprocedure('app.oldest_program()') is not null";
    if !client.query_typed_one(made, &[]).await?.get::<_, bool>(0) {
        return Ok(false);
    }
    let oldest: i32 = client.query_typed_one(sql!("platform/oldest_program").text, &[]).await?.get(0);
    Ok(fits(version, oldest))
}

/// Whether this program works with a schema of this version, which supports programs from `oldest_program` on.
pub fn fits(version: i32, oldest_program: i32) -> bool {
    version >= newest() && oldest_program <= newest()
}

/// The first release of each major version with the fixes to row-level security on which Ringfence relies; newer major
/// versions have them all.
const FLOOR: [(i32, i32); 4] = [(15, 14), (16, 10), (17, 6), (18, 0)];
/// [`FLOOR`] in words.
pub(super) const NEEDED: &str = "PostgreSQL 15.14, 16.10, 17.6, 18 or newer";

/// Whether a release of PostgreSQL has the fixes to row-level security.
pub(super) fn has_fixes(major: i32, minor: i32) -> bool {
    let floor = FLOOR.iter().find(|floor| floor.0 == major);
    floor.map_or(FLOOR.iter().all(|floor| floor.0 < major), |floor| floor.1 <= minor)
}

/// Refuses a server without the fixes to row-level security.
pub async fn check_server(client: &Client) -> anyhow::Result<()> {
    let version = client.query_typed_one("select current_setting('server_version_num')", &[]).await?;
    check_version(version.get::<_, String>(0).parse()?)
}

/// Refuses a server without the fixes to row-level security, by its `server_version_num`.
pub(super) fn check_version(number: i32) -> anyhow::Result<()> {
    let (major, minor) = (number / 10_000, number % 10_000);
    ensure!(
        has_fixes(major, minor),
        "PostgreSQL {major}.{minor} is too old: {NEEDED} is needed for its fixes to row-level security"
    );
    Ok(())
}

/// What is wrong with how the database stores text and tells capital letters, if anything is; with what to do about it.
/// Names are written in any script, and are found whether they are written with capitals or not.
pub async fn text_problem(client: &Client) -> anyhow::Result<Option<String>> {
    let encoding =
        client.query_typed_one("select current_setting('server_encoding'), current_database()::text", &[]).await?;
    let (encoding, name): (String, String) = (encoding.get(0), encoding.get(1));
    let problem = if encoding != "UTF8" {
        format!("the encoding of the database is {encoding}, which does not have every letter")
    } else if client.query_typed_one("select lower('É') = 'é'", &[]).await?.get(0) {
        return Ok(None);
    } else {
        "the locale of the database does not know that é is the small letter of É, so that searches miss names"
            .to_owned()
    };
    Ok(Some(format!(
        "{problem}: one that is empty is created anew with \"createdb -T template0 -E UTF8 --locale=C.UTF-8 {name}\", and one that \
         has rows is backed up and restored into one created so"
    )))
}

/// Refuses an empty database that does not store every text, or does not tell capital letters.
pub async fn check_text(client: &Client) -> anyhow::Result<()> {
    match text_problem(client).await? {
        Some(problem) => bail!("{problem}"),
        None => Ok(()),
    }
}

/// Finds the holder of the migration lock. Anybody who may connect to the database "postgres" can take it.
const LOCK_HOLDER: &str =
    "select l.pid, coalesce(a.usename, 'nobody') from pg_locks l left join pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
      and (l.classid::bigint << 32 | l.objid::bigint) = hashtext('ringfence migrate')";

/// Who has changed roles or their settings in a transaction that goes on: whoever changes the same ones waits for its
/// end.
const CHANGES_ROLES: &str = "select l.pid, coalesce(a.usename, 'nobody') from pg_locks l left join pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'relation' and l.database = 0 and l.granted and l.mode = 'RowExclusiveLock' and l.pid <> pg_backend_pid()
      and l.relation in ('pg_authid'::regclass, 'pg_auth_members'::regclass, 'pg_db_role_setting'::regclass)
    order by a.xact_start limit 1";

/// Waiting longer for a lock makes all others wait, too: it is better to fail and be run again.
const LOCK_TIMEOUT: &str = "set lock_timeout = '10s'";

/// The process that a statement above names, with what it holds, and how to end it.
fn holder(row: &Row, holds: &str) -> String {
    let (pid, user): (i32, String) = (row.get(0), row.get(1));
    format!(
        "process {pid} of {user}, which {holds}; unless it migrates, end it with: select pg_terminate_backend({pid})"
    )
}

/// Creates the cluster's missing roles, and returns a connection that holds the migration lock. If the API's role is
/// new and `api` has a password, the role gets it.
pub async fn roles(admin: &str, api: Option<&str>) -> anyhow::Result<Client> {
    // Roles belong to the cluster but advisory locks to one database: this lock is taken in one that all share.
    let mut config: tokio_postgres::Config = parse(admin)?;
    let cluster = connect_with(config.dbname("postgres"))
        .await
        .context("migrating needs the database \"postgres\" for a lock")?;
    check_server(&cluster).await?;
    let free: bool = cluster.query_one("select pg_try_advisory_lock(hashtext('ringfence migrate'))", &[]).await?.get(0);
    if !free {
        if let Some(row) = cluster.query_opt(LOCK_HOLDER, &[]).await? {
            let holds = "holds the lock of `ringfence migrate` in the database \"postgres\"";
            tracing::warn!("waiting for {}", holder(&row, holds));
        }
        cluster.execute("select pg_advisory_lock(hashtext('ringfence migrate'))", &[]).await?;
    }
    let new = cluster.query_opt("select from pg_roles where rolname = 'ringfence_api'", &[]).await?.is_none();
    cluster.batch_execute(LOCK_TIMEOUT).await?;
    if let Err(e) = cluster.batch_execute(sql!("platform/roles").text).await {
        let waited = e.code() == Some(&SqlState::LOCK_NOT_AVAILABLE);
        if waited && let Some(row) = cluster.query_opt(CHANGES_ROLES, &[]).await? {
            bail!("waited too long for {}", holder(&row, "has changed roles and has not committed"));
        }
        return Err(Error::new(e).context(if waited {
            "cannot change the roles"
        } else {
            "cannot create the roles: the administrator needs createrole"
        }));
    }
    if new {
        set_password(&cluster, api).await?;
    }
    Ok(cluster)
}

/// Runs the missing migrations; concurrent calls wait for each other. `admin` is the administrator's address of the
/// database. Returns the newest migration that has run, which may be a newer program's if this one still fits.
pub async fn migrate(admin: &str, api: Option<&str>) -> anyhow::Result<i32> {
    let mut client = connect(admin).await?;
    if version(&client).await?.is_none() {
        check_text(&client).await?;
    }
    let cluster = roles(admin, api).await?;

    if let Some(api) = api {
        check_same(&client, api).await?;
    }
    if let Some(version) = version(&client).await?.filter(|version| *version > newest()) {
        ensure!(is_served(&client).await?, TOO_NEW);
        tracing::warn!(
            "the database is at migration {version}, of a newer version than this program, which fits it: nothing is migrated"
        );
        return Ok(version);
    }
    client.batch_execute(LOCK_TIMEOUT).await?;
    embedded::migrations::runner().run_async(&mut client).await.map_err(|e| {
        let cause = std::error::Error::source(&e)
            .and_then(|s| s.downcast_ref::<tokio_postgres::Error>())
            .and_then(|e| e.as_db_error());
        anyhow::anyhow!("a migration failed: {e}{}", cause.map(|c| format!(": {}", c.message())).unwrap_or_default())
    })?;
    for rights in [
        sql!("platform/operator_policies"),
        sql!("platform/operators"),
        sql!("platform/operator_statistics"),
        sql!("platform/operator_functions"),
        sql!("platform/server_functions"),
        sql!("platform/operator_ddl"),
    ] {
        client.batch_execute(rights.text).await.context("the rights of operators could not be settled")?;
    }
    client.batch_execute("grant select on refinery_schema_history to ringfence_api, ringfence_dba").await?;
    cluster.execute("select pg_advisory_unlock_all()", &[]).await?;
    Ok(newest())
}

/// Refuses to migrate a database other than the one that is served. Not checked while the API's role cannot log in, as
/// before its password is set.
async fn check_same(admin: &Client, api: &str) -> anyhow::Result<()> {
    let Ok(served) = connect(api).await else { return Ok(()) };
    let which = "select current_database()::text, (select system_identifier from pg_control_system())";
    let (here, there) = (admin.query_one(which, &[]).await?, served.query_one(which, &[]).await?);
    let of = |row: &Row| (row.get::<_, String>(0), row.get::<_, i64>(1));
    let (here, there) = (of(&here), of(&there));
    ensure!(
        here == there,
        "DATABASE_ADMIN_URL leads to the database {} and DATABASE_URL to the database {}{}: both must lead to the same one",
        here.0,
        there.0,
        if here.1 == there.1 { "" } else { " of another server" }
    );
    Ok(())
}

/// Sets the password by its SCRAM verifier, so that no log of the server can contain the password.
async fn set_password(cluster: &Client, api: Option<&str>) -> anyhow::Result<()> {
    let config = api.map(parse).transpose()?;
    let Some(password) =
        config.as_ref().filter(|c| c.get_user() == Some("ringfence_api")).and_then(|c| c.get_password())
    else {
        return Ok(());
    };
    let verifier = postgres_protocol::password::scram_sha_256(password);
    cluster.batch_execute(&format!("alter role ringfence_api password '{verifier}'")).await?;
    Ok(())
}
