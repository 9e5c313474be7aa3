//! What the benchmarks share: the cluster that keeps their data, the program under test, what processes cost, and a
//! cheap HTTP client.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a program to run by hand, of which each benchmark uses a part"
)]

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ringfence::{
    auth::{Keys, TokenKind},
    db::{self, local::Cluster, migrate},
};
use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_postgres::Client;
use uuid::Uuid;

pub const SECRET: &str = "a secret that only the benchmark knows";
/// The name by which rows that a benchmark has added are found and deleted.
pub const ADDED: &str = "Added by the benchmark";

/// The key that seals secrets.
pub fn secret_key() -> String {
    "5e".repeat(32)
}

/// The folder with the benchmarks' data.
pub fn folder(given: Option<&PathBuf>) -> PathBuf {
    let default = if nix::unistd::geteuid().is_root() { "/var/lib/ringfence-bench" } else { ".ringfence-bench" };
    given.cloned().unwrap_or_else(|| default.into())
}

/// A database's addresses, for the API's own login and for an administrator.
#[derive(Clone)]
pub struct Database {
    pub api: String,
    pub admin: String,
}

impl Database {
    /// The migrated database of this name.
    pub async fn open(cluster: &Cluster, name: &str) -> Result<Self> {
        let postgres = db::connect(&cluster.url("ringfence_admin", "postgres")).await?;
        if postgres.query_opt("select from pg_database where datname = $1", &[&name]).await?.is_none() {
            postgres.batch_execute(&format!("create database {name}")).await?;
        }
        let database = Self { api: cluster.url("ringfence_api", name), admin: cluster.url("ringfence_admin", name) };
        database.migrate().await?;
        Ok(database)
    }

    /// The migrated database of this name, created anew.
    pub async fn anew(cluster: &Cluster, name: &str) -> Result<Self> {
        let postgres = db::connect(&cluster.url("ringfence_admin", "postgres")).await?;
        postgres.batch_execute(&format!("drop database if exists {name} with (force)")).await?;
        Self::open(cluster, name).await
    }

    pub async fn migrate(&self) -> Result<()> {
        migrate::migrate(&self.admin, Some(&self.api)).await.map(drop)
    }
}

/// An access token of the programs under test.
pub fn token(user: Uuid, version: i32) -> Result<String> {
    let keys = Keys::new(&[SECRET.into()])?;
    keys.issue(TokenKind::Access, user, version).map_err(|e| anyhow::anyhow!("{e:?}"))
}

/// The program that was built with the benchmark, with these arguments.
pub fn ringfence(api_url: &str, arguments: &[&str]) -> Command {
    program(Path::new(env!("CARGO_BIN_EXE_ringfence")), api_url, arguments)
}

/// Like `ringfence()`, for an administrator's command.
pub fn administrator(database: &Database, arguments: &[&str]) -> Command {
    let mut program = ringfence(&database.api, arguments);
    program.env("DATABASE_ADMIN_URL", &database.admin);
    program
}

/// A program under test, on a database, with the settings that all benchmarks have.
pub fn program(path: &Path, api_url: &str, arguments: &[&str]) -> Command {
    let mut program = Command::new(path);
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("RINGFENCE_")) {
        program.env_remove(name);
    }
    program.args(arguments).env("DATABASE_URL", api_url).env_remove("DATABASE_ADMIN_URL");
    program.env("RINGFENCE_JWT_SECRET", SECRET).env("RINGFENCE_SECRET_KEY", secret_key());
    // A store belongs to one database.
    let mut database = DefaultHasher::new();
    api_url.hash(&mut database);
    let files = env::temp_dir().join(format!("ringfence-bench-{:016x}", database.finish()));
    program.env("RINGFENCE_STORAGE_URL", format!("file://{}", files.display()));
    program.env("RINGFENCE_RATE_LIMITS", "off").env("RUST_LOG", "warn").stdout(Stdio::null());
    program
}

/// A process that does not outlive the benchmark.
pub struct Process(Child);

impl Process {
    pub fn start(mut command: Command) -> Result<Self> {
        Ok(Self(command.spawn()?))
    }

    /// Kills it, as a power failure would.
    pub fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Waits until it ends by itself.
    pub fn finish(mut self) -> Result<()> {
        let status = self.0.wait()?;
        ensure!(status.success(), "the program ended with {status}");
        Ok(())
    }

    /// Stops it, as its supervisor would.
    pub fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "the program ended with {status}");
        Ok(())
    }

    /// The processor time that it has used, in microseconds.
    pub fn cpu(&self) -> f64 {
        stat(self.0.id()).map_or(f64::NAN, |stat| stat.own)
    }

    /// The resident memory in MiB, now and at most so far.
    pub fn memory(&self) -> (f64, f64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
        let of = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name));
            line.and_then(|l| l.trim().split(' ').next()?.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
        };
        (of("VmRSS:"), of("VmHWM:"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that is ready.
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
}

impl Server {
    pub async fn start(mut command: Command) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        command.env("RINGFENCE_LISTEN", address.to_string());
        let mut server = Self { process: Process::start(command)?, address };
        let start = Instant::now();
        loop {
            ensure!(server.process.0.try_wait()?.is_none(), "the server ended at once");
            let ready = async {
                let mut connection = Connection::open(address).await?;
                anyhow::Ok(connection.ask(&request("GET", "/readyz", "", "")).await?.0)
            };
            if ready.await.is_ok_and(|status| status == 200) {
                return Ok(server);
            }
            ensure!(start.elapsed() < Duration::from_secs(20), "the server does not get ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A process according to proc(5).
struct Stat {
    parent: u32,
    /// Whether it is running or waits for a disk.
    is_busy: bool,
    /// Processor time in microseconds: its own, and that of children that have ended.
    own: f64,
    ended: f64,
}

fn stat(pid: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may contain anything. Times are in hundredths of a second, of user and system.
    let mut words = stat.rsplit(')').next()?.split_whitespace();
    let is_busy = ["R", "D"].contains(&words.next()?);
    let numbers: Vec<i64> = words.filter_map(|n| n.parse().ok()).collect();
    let micros = |at: usize| Some((numbers.get(at)? + numbers.get(at + 1)?) as f64 * 10_000.0);
    Some(Stat { parent: u32::try_from(*numbers.first()?).ok()?, is_busy, own: micros(10)?, ended: micros(12)? })
}

/// The processes of a PostgreSQL server on this machine.
pub struct Postgres {
    first: u32,
}

impl Postgres {
    pub async fn of(client: &Client) -> Result<Self> {
        let pid: i32 = client.query_one("select pg_backend_pid()", &[]).await?.get(0);
        let first = stat(pid as u32).context("the database is not on this machine")?.parent;
        Ok(Self { first })
    }

    /// The processes that the first one has started.
    fn processes(&self) -> impl Iterator<Item = Stat> {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let all = all.filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?));
        all.filter(|process| process.parent == self.first)
    }

    /// Waits until they are idle, for at most a quarter of a second.
    pub fn rest(&self) {
        let pause = Duration::from_millis(3);
        let begun = Instant::now();
        thread::sleep(pause);
        while self.processes().any(|process| process.is_busy) && begun.elapsed() < Duration::from_millis(250) {
            thread::sleep(pause);
        }
    }

    /// The processor time that they have used, in microseconds, including those that have ended.
    pub fn cpu(&self) -> f64 {
        loop {
            let Some(before) = stat(self.first) else { return f64::NAN };
            let alive: f64 = self.processes().map(|process| process.own).sum();
            // A process that ends meanwhile would be missed, or counted twice.
            if stat(self.first).is_some_and(|after| after.ended <= before.ended) {
                return before.own + before.ended + alive;
            }
        }
    }
}

/// Times in microseconds, in ascending order.
pub struct Latencies(Vec<u32>);

impl Latencies {
    pub fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        Self(micros)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time in milliseconds within which this part of them ended.
    pub fn at(&self, part: f64) -> f64 {
        let place = (self.0.len().saturating_sub(1)) as f64 * part;
        self.0.get(place as usize).map_or(f64::NAN, |micros| f64::from(*micros) / 1000.0)
    }
}

/// A request as bytes.
pub fn request(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    let token = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{token}accept: application/json\r\ncontent-type: application/json\r\n\
        content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The end of a chunked body (RFC 9112, 7.1).
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// A keep-alive HTTP connection that understands only what the server sends. A chunked body is left as it is, except
/// for the length of its first chunk.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 1 << 14] })
    }

    /// Sends a request; returns the response's status, head and body.
    pub async fn ask_all(&mut self, request: &[u8]) -> Result<(u16, &str, &[u8])> {
        self.stream.write_all(request).await?;
        let (mut length, mut whole, mut head, mut body, mut chunked) = (0, usize::MAX, 0, 0, false);
        while length < whole {
            if length == self.buffer.len() {
                self.buffer.resize(2 * length, 0);
            }
            let got = self.stream.read(&mut self.buffer[length..]).await?;
            ensure!(got > 0, "the server hung up");
            length += got;
            if head == 0 {
                let read = &self.buffer[..length];
                let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
                let text = std::str::from_utf8(&read[..end])?;
                (head, body) = (end + 4, end + 4);
                chunked = text.lines().any(|line| line == "transfer-encoding: chunked");
                if !chunked {
                    let announced = text.lines().find_map(|l| l.strip_prefix("content-length: "));
                    whole = head + announced.context("no content-length")?.parse::<usize>()?;
                    self.buffer.resize(self.buffer.len().max(whole), 0);
                }
            }
            if chunked && self.buffer[head..length].ends_with(LAST_CHUNK) {
                whole = length;
                let first = self.buffer[head..whole].windows(2).position(|w| w == b"\r\n");
                body = head + first.context("a chunk without a length")? + 2;
            }
        }
        let text = std::str::from_utf8(&self.buffer[..head])?;
        Ok((text[9..12].parse()?, text, &self.buffer[body..whole]))
    }

    /// Sends a request; returns the response's status and body.
    pub async fn ask(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        let (status, _, body) = self.ask_all(request).await?;
        Ok((status, body))
    }
}
