//! The pool of the API's own login.

use super::{
    Caller, Identity,
    address::parse,
    admission::{Admission, Admitted, Part},
    connect,
    connection::{Connection, Statements},
    fault::Fault,
    idempotent::commit_held,
    standby::Standby,
    tenant,
};
use crate::{Result, config::Config};
use deadpool::{
    Runtime,
    managed::{Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult, Timeouts},
};
use std::{
    net::IpAddr,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};
use tokio::runtime::Handle;
use tokio_postgres::config::Host;

/// How long to wait for a free or a new connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Firewalls may silently drop a connection that has been idle for this long.
const IDLE_CHECK_AFTER: Duration = Duration::from_secs(60);
/// How soon a connection that was idle must respond to be used again.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait for responses that nobody needs any more, before closing their connection.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// How the connections of a pool are used.
pub struct PoolState {
    /// The maximum number of connections.
    pub limit: usize,
    /// The number of open connections.
    pub open: usize,
    /// The number of connections in use.
    pub in_use: usize,
    /// The number of requests that wait for a connection.
    pub waiting: usize,
}

/// The number of processors of the database's machine, if it is this one: PostgreSQL does not report it.
fn processors(url: &str) -> anyhow::Result<Option<usize>> {
    let here = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
    };
    let is_here = parse(url)?.get_hosts().iter().all(here);
    Ok(is_here.then(crate::processors))
}

/// The default number of connections: six for each of the database's processors, within bounds. Two of these six run
/// short statements ([`Admission`]); the others are for slower work, such as changes that wait for the disk.
pub fn default_pool_size(url: &str) -> anyhow::Result<usize> {
    const ELSEWHERE: usize = 16;
    Ok(processors(url)?.map_or(ELSEWHERE, |processors| (6 * processors).clamp(12, 64)))
}

/// The default number of threads that answer requests: one for each processor, or half as many if the database is on
/// this machine too. The database needs more of the processors than the server, whose threads would displace it and
/// each other: with one thread on two processors a page takes a third less of the server's time than with two (`make
/// bench`, and with `RINGFENCE_THREADS=2`).
pub fn default_threads(url: Option<&str>) -> usize {
    // The private cluster, for which there is no address, is on this machine.
    let is_elsewhere = url.is_some_and(|url| matches!(processors(url), Ok(None)));
    if is_elsewhere { crate::processors() } else { (crate::processors() / 2).max(1) }
}

/// The pool of the API's own login. Nothing outside this module gets a connection of it.
#[derive(Clone)]
pub struct Db {
    pool: Pool<Connections>,
    admission: Arc<Admission>,
    /// The standby that may answer reads.
    pub(super) standby: Option<Arc<Standby>>,
}

impl Db {
    /// Prepares a pool of at most `size` connections; the first one is opened when it is needed.
    pub fn new(url: &str, size: usize) -> anyhow::Result<Self> {
        let options = ConnectOptions { config: parse(url)?, statements: Statements::Named };
        Ok(Self { pool: pool(options, size)?, admission: Arc::new(Admission::new(size, size)), standby: None })
    }

    /// The pool of a server with these settings, and of its standby if it has one.
    pub fn of(url: &str, settings: &Config) -> anyhow::Result<Self> {
        let statements = Statements::of(settings);
        let size = settings.connections(url)?;
        let options = ConnectOptions { config: parse(url)?, statements };
        let standby = settings.standby_url().map(|url| {
            let options = ConnectOptions { config: parse(url)?, ..options.clone() };
            anyhow::Ok(Arc::new(Standby::new(options.clone(), pool(options, size)?)))
        });
        // An explicit pool size is taken as is.
        let running = match settings.pool_size {
            None => processors(url)?.map_or(size, |processors| size.min(2 * processors)),
            Some(size) => size,
        };
        let admission = Arc::new(Admission::new(size, running));
        Ok(Self { pool: pool(options, size)?, admission, standby: standby.transpose()? })
    }

    /// A connection for the server itself. Before that, a request with an idempotency key commits what it has done.
    pub(super) async fn connection(&self) -> Result<Lease> {
        commit_held().await?;
        self.lease().await
    }

    pub(super) async fn lease(&self) -> Result<Lease> {
        self.admit(None).await
    }

    /// Like [`Db::connection`], but counted against the caller's share.
    pub(super) async fn connection_for(&self, who: &Identity) -> Result<Lease> {
        commit_held().await?;
        self.lease_for(who).await
    }

    /// Like [`Db::lease`], but counted against the caller's share.
    pub(super) async fn lease_for(&self, who: &Identity) -> Result<Lease> {
        self.admit(Some(who)).await
    }

    async fn admit(&self, who: Option<&Identity>) -> Result<Lease> {
        let Admitted { part, running } = self.admission.enter(who).await?;
        let mut connection: Lease = self.pool.get().await?.into();
        connection.running(running);
        connection.part = Some(part);
        Ok(connection)
    }

    /// Remembers the company of this caller, against whose share later requests count.
    pub(super) fn learn(&self, connection: &Lease, caller: &Caller) {
        self.admission.learn(connection.part.as_ref(), caller.user_id, caller.company_id);
    }

    /// Checks that a connection is available and the database responds.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.connection().await?.ping().await?)
    }

    /// How the connections are used right now.
    pub fn state(&self) -> PoolState {
        let status = self.pool.status();
        let (limit, open) = (status.max_size, status.size);
        let waiting = status.waiting + self.admission.waiting();
        PoolState { limit, open, in_use: open.saturating_sub(status.available), waiting }
    }

    /// Closes the pool; requests that still wait get 503.
    pub fn close(&self) {
        self.pool.close();
    }
}

fn pool(options: ConnectOptions, size: usize) -> anyhow::Result<Pool<Connections>> {
    let wait = Some(ACQUIRE_TIMEOUT);
    let builder = Pool::builder(Connections(options)).max_size(size).runtime(Runtime::Tokio1);
    // The most recently used connection still has its plans and rows in the processor's caches.
    let builder = builder.queue_mode(QueueMode::Lifo);
    Ok(builder.timeouts(Timeouts { wait, create: wait, recycle: wait }).build()?)
}

/// How to connect to a database.
#[derive(Clone)]
pub(super) struct ConnectOptions {
    pub(super) config: tokio_postgres::Config,
    pub(super) statements: Statements,
}

impl ConnectOptions {
    pub(super) async fn connect(&self) -> Result<Connection, Fault> {
        connect::connect(&self.config, self.statements).await
    }
}

/// Makes the pool's connections.
pub(super) struct Connections(ConnectOptions);

impl Manager for Connections {
    type Type = Connection;
    type Error = Fault;

    /// Opens a connection and prepares what every request needs, so that its first request is not slower than the
    /// others. Boxed, because it is rare and its future large, which every request's future would contain several
    /// times.
    async fn create(&self) -> Result<Connection, Fault> {
        let created = async {
            let mut connection = self.0.connect().await?;
            tenant::prepare(&mut connection).await?;
            Ok(connection)
        };
        Box::pin(created).await
    }

    async fn recycle(&self, connection: &mut Connection, metrics: &Metrics) -> RecycleResult<Fault> {
        let useless = Err(RecycleError::message("the connection is of no use any more"));
        if !connection.is_idle() || !connection.is_alive() {
            return useless;
        }
        if metrics.last_used() < IDLE_CHECK_AFTER {
            return Ok(());
        }
        match Box::pin(tokio::time::timeout(PING_TIMEOUT, connection.ping())).await {
            Ok(Ok(())) => Ok(()),
            _ => useless,
        }
    }
}

/// Why the pool has no connection.
pub(crate) type NoConnection = PoolError<Fault>;

/// A connection while somebody holds it. If the holder goes away or fails in the middle of something, the connection is
/// cleaned up in the background before anybody else gets it.
pub(super) struct Lease {
    connection: Option<Object<Connections>>,
    /// Its part of its company's share.
    part: Option<Part>,
}

impl From<Object<Connections>> for Lease {
    fn from(connection: Object<Connections>) -> Self {
        Self { connection: Some(connection), part: None }
    }
}

impl Deref for Lease {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // The connection goes back before its place does: the next request would otherwise open a new one.
        let give_back = |mut connection: Object<Connections>| {
            let place = connection.rest();
            drop(connection);
            drop(place);
        };
        if connection.is_idle() {
            return give_back(connection);
        }
        match Handle::try_current() {
            Ok(runtime) => {
                let part = self.part.take();
                runtime.spawn(async move {
                    match tokio::time::timeout(DRAIN_TIMEOUT, connection.reset()).await {
                        Ok(Ok(())) => give_back(connection),
                        _ => drop(Object::take(connection)),
                    }
                    drop(part);
                });
            }
            // Closing it makes the server roll back.
            Err(_) => drop(Object::take(connection)),
        }
    }
}
