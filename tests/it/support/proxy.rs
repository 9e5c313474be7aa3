//! A TCP proxy that simulates network faults.

use crate::support::{
    database::{OwnDatabase, until, waiting_for},
    random::below,
    server::{config, start_server},
    world::{Answer, World},
};
use ringfence::{
    config::{Config, Switch},
    db,
};
use std::{io, path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
};
use tokio_postgres::config::Host;

/// What the proxy does with data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Forwards it.
    Pass,
    /// Holds it until the mode changes.
    Stall,
    /// Delays responses by this much.
    Slow(Duration),
    /// Forwards only a random part of one chunk in four, and ends the connection.
    Cut,
    /// Drops the response and ends the connection.
    Mute,
    /// Refuses connections and ends the open ones.
    Gone,
}

/// Where the proxy connects to.
#[derive(Clone, Debug)]
pub enum Target {
    Socket(PathBuf),
    Port(u16),
}

pub struct Proxy {
    pub port: u16,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    pub async fn to(target: Target) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, told) = watch::channel(Mode::Pass);
        tokio::spawn(listen(listener, port, target, told));
        Self { port, mode }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn listen(first: TcpListener, port: u16, target: Target, mut mode: watch::Receiver<Mode>) {
    let mut listener = Some(first);
    let mut connections = JoinSet::new();
    loop {
        if *mode.borrow_and_update() == Mode::Gone {
            listener = None;
            connections.abort_all();
        } else if listener.is_none() {
            listener = TcpListener::bind(("127.0.0.1", port)).await.ok();
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = mode.changed() => if changed.is_err() { return },
            Ok((client, _)) = accepted => {
                connections.spawn(connect(client, target.clone(), mode.clone()));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn connect(client: TcpStream, target: Target, mode: watch::Receiver<Mode>) -> io::Result<()> {
    client.set_nodelay(true)?;
    match target {
        Target::Socket(path) => pass(client, UnixStream::connect(path).await?, mode).await,
        Target::Port(port) => pass(client, TcpStream::connect(("127.0.0.1", port)).await?, mode).await,
    }
}

/// Forwards data until either side, or the mode, ends the connection.
async fn pass(client: TcpStream, server: impl AsyncRead + AsyncWrite, mode: watch::Receiver<Mode>) -> io::Result<()> {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = tokio::io::split(server);
    tokio::select! {
        end = pump(from_client, to_server, mode.clone(), false) => end,
        end = pump(from_server, to_client, mode, true) => end,
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
    is_answer: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let now = *mode.borrow();
        match now {
            Mode::Stall => drop(mode.wait_for(|mode| *mode != Mode::Stall).await),
            Mode::Slow(pause) if is_answer => tokio::time::sleep(pause).await,
            Mode::Mute if is_answer => return Ok(()),
            Mode::Cut if below(4) == 0 => {
                to.write_all(&buffer[..below(length)]).await?;
                return to.flush().await;
            }
            _ => {}
        }
        to.write_all(&buffer[..length]).await?;
    }
}

/// A server with its own database, in which the commit of a row of a table waits for a lock that the world's connection
/// holds, and the proxy between them, which can cut the server's connections.
pub struct LostCommit {
    pub own: OwnDatabase,
    pub world: World,
    pub base: String,
    table: &'static str,
    proxy: Proxy,
}

impl LostCommit {
    pub async fn of(table: &'static str) -> Self {
        let own = OwnDatabase::new().await;
        let api: tokio_postgres::Config = own.api.parse().unwrap();
        let port = api.get_ports()[0];
        let target = match &api.get_hosts()[0] {
            Host::Unix(folder) => Target::Socket(folder.join(format!(".s.PGSQL.{port}"))),
            Host::Tcp(_) => Target::Port(port),
        };
        let proxy = Proxy::to(target).await;
        let password = api.get_password().map(|word| format!(":{}", String::from_utf8_lossy(word))).unwrap_or_default();
        let (user, port, name) = (api.get_user().unwrap(), proxy.port, &own.name);
        let url = format!("postgres://{user}{password}@127.0.0.1:{port}/{name}?sslmode=disable");
        let base = start_server(Config { worker: Switch::Off, ..config() }, &url);
        let world = World::alone_at(&own, &base).await;
        let wait = format!(
            "create function public.wait() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(7); return null; end $$;
            create constraint trigger wait after insert on {table} deferrable initially deferred for each row execute function wait();
            select pg_advisory_lock(7)"
        );
        world.db.batch_execute(&wait).await.unwrap();
        Self { own, world, base, table, proxy }
    }

    /// Loses the connection while this request commits; the commit succeeds all the same. Returns the response.
    pub async fn lose(&self, request: impl Future<Output = Answer> + Send + 'static) -> Answer {
        let watch = db::connect(&self.own.admin).await.unwrap();
        let request = tokio::spawn(request);
        waiting_for(&self.world.db, &watch).await;
        self.proxy.set(Mode::Gone);
        self.world.db.batch_execute("select pg_advisory_unlock(7)").await.unwrap();
        let rows = format!("select count(*) from {}", self.table);
        until("the commit", async || self.world.value::<i64>(&rows, &[]).await > 0).await;
        self.proxy.set(Mode::Pass);
        let answer = request.await.unwrap();
        until("the connection", async || self.world.admin.get("/api/files/usage").await.status == 200).await;
        answer
    }
}
