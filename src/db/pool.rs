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

/// How long one waits for a connection, a free one or a new one.
const WAIT: Duration = Duration::from_secs(5);
/// What lies between may have forgotten, without a word, a connection over which nothing went for so long.
const IDLE: Duration = Duration::from_secs(60);
/// How soon such a connection must answer to be used again.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// How long the answers that nobody waits for may take before their connection is given up.
const SETTLE: Duration = Duration::from_secs(60);

/// How the connections of a pool are used.
pub struct PoolState {
    /// As many as there may be.
    pub limit: usize,
    /// Open ones.
    pub open: usize,
    /// Those that somebody has.
    pub in_use: usize,
    /// Requests that wait for one.
    pub waiting: usize,
}

/// How many processors a database has, if it is on this machine: PostgreSQL does not tell.
fn processors(url: &str) -> anyhow::Result<Option<usize>> {
    let here = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
    };
    let is_here = parse(url)?.get_hosts().iter().all(here);
    Ok(is_here.then(crate::processors))
}

/// How many connections a server has when nobody says: six for each of the database's processors, within bounds. Two for
/// each run something short at a time ([`Admission`]); the others are for what takes its time, such as changes that wait for
/// the disk.
pub fn default_pool_size(url: &str) -> anyhow::Result<usize> {
    const ELSEWHERE: usize = 16;
    Ok(processors(url)?.map_or(ELSEWHERE, |processors| (6 * processors).clamp(12, 64)))
}

/// How many threads answer requests when nobody says: one for each processor, or half as many where the database works on
/// this machine too. It needs more of the processors than the server, whose threads would push it, and each other, out of
/// them: with one thread on two processors a page takes a third less of the server's time than with two (`make bench`, and
/// with `RINGFENCE_THREADS=2`).
pub fn default_threads(url: Option<&str>) -> usize {
    // One's own cluster, for which there is no address, is here.
    let is_elsewhere = url.is_some_and(|url| matches!(processors(url), Ok(None)));
    if is_elsewhere { crate::processors() } else { (crate::processors() / 2).max(1) }
}

/// The pool of the API's own login. Nothing outside this module gets a connection of it.
#[derive(Clone)]
pub struct Db {
    pool: Pool<Connections>,
    admission: Arc<Admission>,
    /// Where reads may go.
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
        // Whoever says how many there are knows how many are good.
        let running = match settings.pool_size {
            None => processors(url)?.map_or(size, |processors| size.min(2 * processors)),
            Some(size) => size,
        };
        let admission = Arc::new(Admission::new(size, running));
        Ok(Self { pool: pool(options, size)?, admission, standby: standby.transpose()? })
    }

    /// A connection, before which a request with a key commits what it has done.
    pub(super) async fn connection(&self) -> Result<Lease> {
        commit_held().await?;
        self.lease().await
    }

    pub(super) async fn lease(&self) -> Result<Lease> {
        self.admit(None).await
    }

    /// [`Db::connection`] of the share of the one who asks.
    pub(super) async fn connection_for(&self, who: &Identity) -> Result<Lease> {
        commit_held().await?;
        self.lease_for(who).await
    }

    /// [`Db::lease`] of the share of the one who asks.
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

    /// Remembers whose share it is that this caller takes of.
    pub(super) fn learn(&self, connection: &Lease, caller: &Caller) {
        self.admission.learn(connection.part.as_ref(), caller.user_id, caller.company_id);
    }

    /// Whether a connection can be had and answers.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.connection().await?.ping().await?)
    }

    /// How its connections are used right now.
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
    let wait = Some(WAIT);
    let builder = Pool::builder(Connections(options)).max_size(size).runtime(Runtime::Tokio1);
    // The one that was used last has its plans and rows still in the processor's caches.
    let builder = builder.queue_mode(QueueMode::Lifo);
    Ok(builder.timeouts(Timeouts { wait, create: wait, recycle: wait }).build()?)
}

/// How one gets to a database.
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

    /// With what every request needs prepared, so that the first one of a connection is not slower than the others.
    /// That is apart, because it is rare and its state large, which every request's would have in it several times.
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
        if !connection.is_settled() || !connection.is_alive() {
            return useless;
        }
        if metrics.last_used() < IDLE {
            return Ok(());
        }
        match Box::pin(tokio::time::timeout(SIGN_OF_LIFE, connection.ping())).await {
            Ok(Ok(())) => Ok(()),
            _ => useless,
        }
    }
}

/// Why the pool has no connection.
pub(crate) type NoConnection = PoolError<Fault>;

/// A connection while somebody has it. One that is given back in the middle of something, because its holder went away
/// or failed, is brought to an end before anybody else gets it; nobody needs to wait for that.
pub(super) struct Lease {
    connection: Option<Object<Connections>>,
    /// What it takes of its company's share.
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
        // The connection is back before the next one may run, who would make a new one otherwise.
        let give_back = |mut connection: Object<Connections>| {
            let place = connection.rest();
            drop(connection);
            drop(place);
        };
        if connection.is_settled() {
            return give_back(connection);
        }
        match Handle::try_current() {
            Ok(runtime) => {
                let part = self.part.take();
                runtime.spawn(async move {
                    match tokio::time::timeout(SETTLE, connection.settle()).await {
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
