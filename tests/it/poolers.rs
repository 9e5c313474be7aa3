//! The same through PgBouncer in transaction mode, where each transaction may get another server connection: with any
//! version without prepared statements, and with prepared statements where it supports them (1.21 and newer).

use crate::support::{
    cluster::{as_owner, folder_like, socket},
    command::text,
    database::enter,
    seed::Seeded,
    server::{api_url, config, shared_server, start_server},
    walk::{same_reads, walk_routes, walk_tables},
    world::World,
};
use ringfence::{
    config::{Config, Switch},
    db,
};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use uuid::Uuid;

/// The installed PgBouncer and its version; without one, the test says that it was skipped.
fn installed(what: &str) -> Option<(PathBuf, [u32; 2])> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let program = folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file());
    let Some(program) = program else {
        say(&format!("SKIPPED: no pgbouncer is installed: {what}"));
        return None;
    };
    let said = text(&Command::new(&program).arg("--version").output().unwrap().stdout);
    let version = said.lines().next().and_then(|l| l.split_whitespace().nth(1)).unwrap_or_default();
    let mut numbers = version.split('.').map(|n| n.parse().unwrap_or(0));
    let version = [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)];
    Some((program, version))
}

/// Prints past the harness, which captures the output of passing tests.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether this version supports prepared statements.
fn carries(version: [u32; 2]) -> bool {
    version >= [1, 21]
}

/// A PgBouncer in front of the tests' database.
struct Pooler {
    child: Child,
    folder: PathBuf,
    url: String,
}

impl Pooler {
    /// Starts with this many server connections, and room for this many prepared statements where it supports them.
    fn start(program: &Path, version: [u32; 2], connections: u32, statements: u32) -> Self {
        let config: tokio_postgres::Config = api_url().parse().unwrap();
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let (user, database) = (config.get_user().unwrap(), config.get_dbname().unwrap());
        let server = socket(&api_url());
        let folder = std::env::temp_dir().join(format!("ringfence-pooler-{}", Uuid::new_v4().simple()));
        folder_like(&server, &folder);
        let carried =
            if carries(version) { format!("max_prepared_statements = {statements}\n") } else { String::new() };
        let settings = format!(
            "[databases]\n* = host={} port={port}\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = {}\n\
             auth_type = trust\nauth_file = {1}/users\npool_mode = transaction\ndefault_pool_size = {connections}\n\
             max_client_conn = 100\n{carried}",
            server.display(),
            folder.display(),
        );
        std::fs::write(folder.join("pgbouncer.ini"), settings).unwrap();
        std::fs::write(folder.join("users"), format!("\"{user}\" \"\"\n")).unwrap();
        let mut command = as_owner(&server, program);
        command.arg("-q").arg(folder.join("pgbouncer.ini")).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(std::fs::File::create(folder.join("log")).unwrap()).spawn().unwrap();
        let url = format!("postgres://{user}@/{database}?host={}&port=6432", folder.display());
        let pooler = Self { child, folder, url };
        let started = Instant::now();
        while !pooler.folder.join(".s.PGSQL.6432").exists() {
            let log = std::fs::read_to_string(pooler.folder.join("log")).unwrap_or_default();
            assert!(started.elapsed() < Duration::from_secs(10), "pgbouncer does not start: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        pooler
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The isolation matrix, against a server whose pooler has a single connection to the database.
async fn matrix(pooler: &Pooler, prepared_statements: Switch) {
    let settings = Config { worker: Switch::Off, prepared_statements, ..config() };
    db::check_pooler(&pooler.url, &settings).await.unwrap();
    ringfence::commands::doctor::check_before_serving(&pooler.url).await.unwrap();
    let server = start_server(settings, &pooler.url);
    let (a, b) = (Seeded::new().await, World::new().await);
    same_reads(&a, &server, shared_server()).await;
    walk_routes(&a, &b, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_matrix_holds_through_a_pooler_without_prepared_statements() {
    let Some((program, version)) = installed("the matrix through a pooler, without prepared statements") else {
        return;
    };
    matrix(&Pooler::start(&program, version, 1, 0), Switch::Off).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_matrix_holds_through_a_pooler_that_carries_prepared_statements() {
    let what = "the matrix through a pooler that carries prepared statements";
    let Some((program, version)) = installed(what) else { return };
    if !carries(version) {
        let [major, minor] = version;
        return say(&format!("SKIPPED: pgbouncer {major}.{minor} is older than 1.21: {what}"));
    }
    let pooler = Pooler::start(&program, version, 1, 500);
    matrix(&pooler, Switch::On).await;
    let (a, b) = (Seeded::new().await, World::new().await);
    let context = enter(b.company, b.admin.id);
    let mut stranger = db::connect(&pooler.url).await.unwrap();
    walk_tables(&a, &mut stranger, "another company's admin behind a pooler", &[context]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_loses_prepared_statements_is_refused_at_the_start() {
    let Some((program, version)) = installed("a pooler that loses prepared statements is refused") else { return };
    for connections in [1, 3] {
        let pooler = Pooler::start(&program, version, connections, 0);
        let settings = config();
        let said = db::check_pooler(&pooler.url, &settings).await.unwrap_err().to_string();
        for part in ["PgBouncer", "max_prepared_statements", "RINGFENCE_PREPARED_STATEMENTS=off"] {
            assert!(said.contains(part), "{said}");
        }
        // Each server finds this at its start, also next to one that serves already.
        let unnamed = Config { prepared_statements: Switch::Off, worker: Switch::Off, ..config() };
        let acme = World::new().await;
        let base = start_server(unnamed, &pooler.url);
        acme.admin.at(&base).get("/api/contacts/").await.expect(200);
        db::check_pooler(&pooler.url, &settings).await.unwrap_err();
    }
    db::check_pooler(&api_url(), &config()).await.unwrap();
}
