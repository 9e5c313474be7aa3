//! The pool of the API's own login.

use super::{
    connect,
    connection::{Connection, Fault, Statements},
    held::commit_held,
    parse,
    standby::Standby,
    tenant,
};
use crate::{Result, config::Config};
use deadpool::{
    Runtime,
    managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult, Timeouts},
};
use std::{
    net::IpAddr,
    ops::{Deref, DerefMut},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::runtime::Handle;
use tokio_postgres::config::Host;

/// How long one waits for a connection, a free one or a new one.
const WAIT: Duration = Duration::from_secs(5);
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

/// How many connections a server has when nobody says. More than the database has processors for make nothing faster and
/// each answer's time less certain; fewer would let some long reports keep everybody else waiting. So there are four for
/// each processor, within bounds. Of a database elsewhere nobody knows them, for PostgreSQL does not tell.
pub fn default_pool_size(url: &str) -> anyhow::Result<usize> {
    const ELSEWHERE: usize = 16;
    let here = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
    };
    let processors = thread::available_parallelism().map_or(2, |n| n.get());
    Ok(if parse(url)?.get_hosts().iter().all(here) { (4 * processors).clamp(8, 64) } else { ELSEWHERE })
}

/// The pool of the API's own login. Nothing outside this module gets a connection of it.
#[derive(Clone)]
pub struct Db {
    pool: Pool<Connections>,
    /// Where reads may go.
    pub(super) standby: Option<Arc<Standby>>,
}

impl Db {
    /// Prepares a pool of at most `size` connections; the first one is opened when it is needed.
    pub fn new(url: &str, size: usize) -> anyhow::Result<Self> {
        let way = Way { config: parse(url)?, statements: Statements::Named };
        Ok(Self { pool: pool(way, size)?, standby: None })
    }

    /// The pool of a server with these settings, and of its standby if it has one.
    pub fn of(url: &str, settings: &Config) -> anyhow::Result<Self> {
        let statements = Statements::of(settings);
        let size = settings.connections(url)?;
        let way = Way { config: parse(url)?, statements };
        let standby = settings.standby_url().map(|url| {
            let way = Way { config: parse(url)?, ..way.clone() };
            anyhow::Ok(Arc::new(Standby::new(way.clone(), pool(way, size)?)))
        });
        Ok(Self { pool: pool(way, size)?, standby: standby.transpose()? })
    }

    /// A connection, before which a request with a key commits what it has done.
    pub(super) async fn connection(&self) -> Result<Lease> {
        commit_held().await?;
        self.lease().await
    }

    pub(super) async fn lease(&self) -> Result<Lease> {
        Ok(self.pool.get().await?.into())
    }

    /// Whether a connection can be had and answers.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.connection().await?.ping().await?)
    }

    /// How its connections are used right now.
    pub fn state(&self) -> PoolState {
        let status = self.pool.status();
        let (limit, open, waiting) = (status.max_size, status.size, status.waiting);
        PoolState { limit, open, in_use: open.saturating_sub(status.available), waiting }
    }

    /// Closes the pool; requests that still wait get 503.
    pub fn close(&self) {
        self.pool.close();
    }
}

fn pool(way: Way, size: usize) -> anyhow::Result<Pool<Connections>> {
    let wait = Some(WAIT);
    let builder = Pool::builder(Connections(way)).max_size(size).runtime(Runtime::Tokio1);
    Ok(builder.timeouts(Timeouts { wait, create: wait, recycle: wait }).build()?)
}

/// How one gets to a database.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) config: tokio_postgres::Config,
    pub(super) statements: Statements,
}

impl Way {
    pub(super) async fn connect(&self) -> Result<Connection, Fault> {
        connect::connect(&self.config, self.statements).await
    }
}

/// Makes the pool's connections.
pub(super) struct Connections(Way);

impl Manager for Connections {
    type Type = Connection;
    type Error = Fault;

    /// With what every request needs prepared, so that the first one of a connection is not slower than the others.
    /// Connecting is apart, because it is rare and its state large, which every request's would have in it several times.
    async fn create(&self) -> Result<Connection, Fault> {
        let mut connection = Box::pin(self.0.connect()).await?;
        tenant::prepare(&mut connection).await?;
        Ok(connection)
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<Fault> {
        if connection.is_settled() && connection.is_alive() {
            Ok(())
        } else {
            Err(RecycleError::message("the connection is of no use any more"))
        }
    }
}

/// Why the pool has no connection.
pub(crate) type NoConnection = PoolError<Fault>;

/// A connection while somebody has it. One that is given back in the middle of something, because its holder went away
/// or failed, is brought to an end before anybody else gets it; nobody needs to wait for that.
pub(super) struct Lease(Option<Object<Connections>>);

impl From<Object<Connections>> for Lease {
    fn from(connection: Object<Connections>) -> Self {
        Self(Some(connection))
    }
}

impl Deref for Lease {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Connection {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut connection) = self.0.take() else { return };
        if connection.is_settled() {
            return;
        }
        match Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    if !matches!(tokio::time::timeout(SETTLE, connection.settle()).await, Ok(Ok(()))) {
                        drop(Object::take(connection));
                    }
                });
            }
            // Closing it makes the server roll back.
            Err(_) => drop(Object::take(connection)),
        }
    }
}
