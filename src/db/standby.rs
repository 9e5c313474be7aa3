//! Reads on a streaming standby.
//!
//! Only single statements of requests that only read (GET) go there. They run in a transaction that cannot write, so
//! whatever the standby refuses can be sent to the primary again. Meanwhile the primary is asked at each request who
//! the caller is: a standby that is behind lets nobody in who was removed, suspended, or has moved to another company.
//!
//! Callers read their own writes: the WAL position (LSN) after each commit is remembered for them, here and in a token
//! that they may send to another server (src/read_your_writes.rs). A standby that has not replayed it yet is waited for
//! only briefly.

use super::{
    Caller, Db, Fault, Identity, Params, Permission, Scoped, Sql,
    connection::{Connection, Reply},
    migrate,
    pool::{ConnectOptions, Connections, Lease},
    pooler,
};
use crate::{Error, Result, error::safe, sql};
use deadpool::managed::{Pool, PoolError, TimeoutType, Timeouts};
use postgres_types::PgLsn;
use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;
use uuid::Uuid;

const ENTER: Sql = sql!("platform/enter_standby");
/// How often the health check asks the standby for its WAL position, and how long the answer may take.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
/// A standby that has not replayed what the primary had this long ago is not asked.
const MAX_LAG: Duration = Duration::from_secs(10);
/// WAL positions are remembered until every standby that is still asked has replayed them.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);
/// The number of callers whose positions are remembered; beyond that, one position counts for everybody.
const MAX_CALLERS: usize = 50_000;
/// A standby that has not replayed the caller's last change yet is asked this many times, with a pause in between.
const MAX_ATTEMPTS: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_millis(2);
/// When all connections are in use, the primary answers sooner.
const TIMEOUTS: Timeouts =
    Timeouts { wait: Some(Duration::from_millis(20)), create: Some(HEALTH_TIMEOUT), recycle: Some(HEALTH_TIMEOUT) };

tokio::task_local! {
    static LEFT: Cell<Option<(Uuid, u64)>>;
}

/// Runs `work`, and returns the caller who changed something last in it, with the WAL position (LSN) after that change.
pub(crate) async fn note_position<T>(work: impl Future<Output = T>) -> (T, Option<(Uuid, u64)>) {
    let noted = async {
        let done = work.await;
        (done, LEFT.with(Cell::get))
    };
    LEFT.scope(Cell::new(None), noted).await
}

/// Hands on what [`note_position`] returned about work that a request did in a task of its own.
pub(crate) fn leave_noted(left: Option<(Uuid, u64)>) {
    if left.is_some() {
        let _ = LEFT.try_with(|noted| noted.set(left));
    }
}

/// A standby of the database.
pub(super) struct Standby {
    options: ConnectOptions,
    pool: Pool<Connections>,
    /// Whether reads go to it.
    up: watch::Sender<bool>,
    /// The number of statements that it answered.
    answered: AtomicU64,
    seen: Mutex<Seen>,
}

/// A change of a caller whose WAL position (LSN) is not known yet. If it never becomes known, because the response is
/// lost or nobody waits for it any more, the caller's reads go to the primary for as long as positions are remembered.
pub(super) struct Unlocated<'a> {
    standby: Option<&'a Standby>,
    user: Uuid,
}

impl Unlocated<'_> {
    /// The position became known, or nothing was changed.
    pub(super) fn settle(mut self) {
        self.standby = None;
    }
}

impl Drop for Unlocated<'_> {
    fn drop(&mut self) {
        if let Some(standby) = self.standby {
            standby.remember(self.user, u64::MAX);
        }
    }
}

/// What is remembered of callers and statements.
#[derive(Default)]
struct Seen {
    /// The WAL position (LSN) of each caller's last change, and when it was noted.
    left: HashMap<Uuid, (u64, Instant)>,
    /// The WAL position (LSN) that counts for callers whose own is not remembered.
    everybody: u64,
    /// The names of statements that write although their request only reads.
    writing: HashSet<&'static str>,
}

/// Why a standby is not asked.
enum Unhealthy {
    /// It does not answer, or is far behind.
    Silent(String),
    /// It must not be asked, whatever it answers.
    Unfit(String),
}

impl From<Fault> for Unhealthy {
    fn from(e: Fault) -> Self {
        Unhealthy::Silent(safe(&e))
    }
}

impl From<Error> for Unhealthy {
    fn from(e: Error) -> Self {
        Unhealthy::Silent(e.for_log())
    }
}

impl Standby {
    /// A standby, which is not asked before [`Db::watch_standby`] has found it healthy.
    pub(super) fn new(options: ConnectOptions, pool: Pool<Connections>) -> Self {
        Self { options, pool, up: watch::Sender::new(false), answered: AtomicU64::new(0), seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The WAL position (LSN) that the standby must have replayed to answer this caller.
    fn floor(&self, user: Uuid) -> u64 {
        let seen = self.seen();
        let own = seen.left.get(&user).filter(|(_, at)| at.elapsed() < REMEMBERED_FOR);
        own.map_or(0, |(position, _)| *position).max(seen.everybody)
    }

    fn remember(&self, user: Uuid, position: u64) {
        let mut seen = self.seen();
        if seen.left.len() >= MAX_CALLERS && !seen.left.contains_key(&user) {
            seen.left.retain(|_, (_, at)| at.elapsed() < REMEMBERED_FOR);
            if seen.left.len() >= MAX_CALLERS {
                let last = seen.left.values().map(|(position, _)| *position).filter(|p| *p != u64::MAX).max();
                seen.everybody = seen.everybody.max(last.unwrap_or(0));
                seen.left.clear();
            }
        }
        let (at, when) = seen.left.entry(user).or_insert((position, Instant::now()));
        *at = position.max(if when.elapsed() < REMEMBERED_FOR { *at } else { 0 });
        *when = Instant::now();
    }

    fn set_up(&self, up: bool, why: &str) {
        let turned = self.up.send_if_modified(|was| std::mem::replace(was, up) != up);
        if turned && up {
            tracing::info!("reads go to the standby");
        } else if turned {
            tracing::warn!(why, "reads go to the primary: the standby is not asked");
        }
    }

    /// The answer to a statement in a caller's name; `None` when the primary is to be asked.
    async fn ask(&self, asked: &Asked<'_>) -> Result<Option<(Caller, Reply)>> {
        let mut up = self.up.subscribe();
        if !*up.borrow_and_update() {
            return Ok(None);
        }
        // Requests stop waiting for a standby as soon as it is found dead.
        let answer = tokio::select! {
            biased;
            answer = self.answer(asked) => answer,
            () = async { drop(up.wait_for(|up| !up).await) } => return Ok(None),
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(Fault::Refused(refusal)) => match refusal.code().code() {
                // Cancelled for taking too long, as it would be on the primary.
                "57014" => Err(Fault::Refused(refusal).into()),
                "25006" => {
                    self.seen().writing.insert(asked.statement.name);
                    Ok(None)
                }
                _ => Ok(None),
            },
            Err(Fault::Unfit(_)) => Ok(None),
            // The primary's response would be as large.
            Err(e @ (Fault::TooLarge | Fault::NoRoom)) => Err(e.into()),
            Err(e @ Fault::Lost(_)) => {
                self.set_up(false, &safe(&e));
                Ok(None)
            }
        }
    }

    async fn answer(&self, asked: &Asked<'_>) -> Result<Option<(Caller, Reply)>, Fault> {
        let mut connection: Lease = match self.pool.timeout_get(&TIMEOUTS).await {
            Ok(connection) => connection.into(),
            Err(PoolError::Timeout(TimeoutType::Wait)) => return Ok(None),
            Err(PoolError::Backend(e)) => return Err(e),
            Err(_) => return Err(std::io::ErrorKind::TimedOut.into()),
        };
        let [enter, statement] = connection.prepare([ENTER.text, asked.statement.text]).await?;
        let floor = PgLsn::from(self.floor(asked.user).max(asked.floor));
        let (company, plan) = (asked.company, asked.statement.plan.mode());
        let entering: Params<'_> = &[&asked.user, &asked.version, &company, &plan, &asked.request, &floor];
        for _ in 0..MAX_ATTEMPTS {
            let answer = connection.run(&[(&enter, entering), (&statement, asked.params)]).await?;
            let entered = answer.replies.first().map(Reply::first).transpose()?.flatten();
            match entered {
                Some(row) if row.try_get("is_behind")? => tokio::time::sleep(RETRY_DELAY).await,
                Some(row) => return Ok(Some((Caller::from_entered(&row)?, answer.last()?))),
                // The caller is not there yet, or not any more.
                None => return answer.last().map(|_| None),
            }
        }
        Ok(None)
    }

    /// Checks that it is a standby of this database, of a supported version, with a login subject to the policies.
    async fn vouch(&self, connection: &mut Connection, db: &Db) -> Result<(), Unhealthy> {
        let [login, system] =
            connection.prepare([sql!("platform/login_role").text, sql!("platform/system").text]).await?;
        let problem = connection.run(&[(&login, &[])]).await?.last()?;
        let problem: Option<String> = problem.first()?.map(|row| row.try_get(0usize)).transpose()?.flatten();
        if let Some(problem) = problem {
            return Err(Unhealthy::Unfit(format!("its address logs in as a role that {problem}")));
        }
        if pooler::loses_statements(&self.options).await? {
            return Err(Unhealthy::Unfit(format!("it {}", pooler::LOSES)));
        }
        let of = async |connection: &mut Connection, system| {
            let reply = connection.run(&[(system, &[])]).await?.last()?;
            let row = reply.first()?.ok_or_else(|| Fault::Unfit("a server without a name".into()))?;
            Ok::<(String, i32), Fault>((row.try_get("system")?, row.try_get("version")?))
        };
        let (name, version) = of(connection, &system).await?;
        migrate::check_version(version).map_err(|e| Unhealthy::Unfit(e.to_string()))?;
        let mut primary = db.connection().await?;
        let [system] = primary.prepare([sql!("platform/system").text]).await?;
        if of(&mut primary, &system).await?.0 != name {
            return Err(Unhealthy::Unfit("it is of another database server".into()));
        }
        Ok(())
    }
}

/// A statement, and the caller in whose name it runs.
struct Asked<'a> {
    user: Uuid,
    version: i32,
    company: bool,
    request: String,
    floor: u64,
    statement: Sql,
    params: Params<'a>,
}

impl<D: Permission> Scoped<D> {
    /// The rows of a statement from the standby, if its request only reads; `None` when the primary is to be asked.
    pub(super) async fn on_standby(&self, q: Sql, p: Params<'_>) -> Result<Option<Reply>> {
        let (Some(standby), Some(floor), Identity::Token(user, version)) = (&self.db.standby, self.reads, self.who)
        else {
            return Ok(None);
        };
        if !*standby.up.borrow() || standby.seen().writing.contains(q.name) {
            return Ok(None);
        }
        let request = crate::server::request_id();
        let asked = Asked { user, version, company: D::NEEDS_COMPANY, request, floor, statement: q, params: p };
        // Boxed, because every request passes here and few servers have a standby.
        let (known, answer) = Box::pin(async { tokio::join!(self.known(), standby.ask(&asked)) }).await;
        // The primary decides who the caller is.
        let known = known?;
        let same = |caller: &Caller| caller.company_id == known.company_id && caller.role == known.role;
        let mut reply = answer?.filter(|(caller, _)| same(caller)).map(|(_, reply)| reply);
        if let Some(reply) = &mut reply {
            reply.room().belong(known.company_id)?;
        }
        standby.answered.fetch_add(u64::from(reply.is_some()), Relaxed);
        Ok(reply)
    }

    /// Whether the WAL position (LSN) after this statement, or after a transaction, is noted for the caller.
    pub(super) fn leaves_position(&self, q: Option<Sql>) -> bool {
        let Some(standby) = &self.db.standby else { return false };
        let reads = self.reads.is_some() && q.is_some_and(|q| !standby.seen().writing.contains(q.name));
        // A provider's answer is a change of the caller who asked.
        let is_theirs = matches!(self.who, Identity::Token(..)) || crate::server::company().is_some();
        is_theirs && !reads
    }
}

impl Db {
    /// Make this before sending a change whose WAL position (LSN) is to be noted.
    pub(super) fn unlocated(&self, user: Uuid) -> Unlocated<'_> {
        Unlocated { standby: self.standby.as_deref(), user }
    }

    /// Notes the WAL position (LSN) after a caller's change. Without one, no standby counts as having replayed it.
    pub(super) fn leave_position(&self, caller: &Caller, position: Option<u64>) {
        let Some(standby) = &self.standby else { return };
        standby.remember(caller.user_id, position.unwrap_or(u64::MAX));
        leave_noted(position.map(|position| (caller.user_id, position)));
    }

    /// Whether reads go to the standby; `None` when there is no standby.
    pub fn standby_is_up(&self) -> Option<bool> {
        self.standby.as_ref().map(|standby| *standby.up.borrow())
    }

    /// How many statements the standby has answered.
    pub fn standby_reads(&self) -> u64 {
        self.standby.as_ref().map_or(0, |standby| standby.answered.load(Relaxed))
    }

    /// Refuses a standby that must not be asked. One that does not answer now may answer later.
    pub async fn check_standby(&self) -> anyhow::Result<()> {
        let Some(standby) = &self.standby else { return Ok(()) };
        let mut check = HealthCheck::new();
        match check.take(standby, self).await {
            Err(Unhealthy::Unfit(why)) => anyhow::bail!("DATABASE_REPLICA_URL cannot be read from: {why}"),
            Err(Unhealthy::Silent(why)) => tracing::warn!(why, "the standby does not answer yet"),
            Ok(_) => {}
        }
        Ok(())
    }

    /// Checks the standby until `stop` is done; it is asked while it answers and is not too far behind.
    pub async fn watch_standby(&self, stop: impl Future<Output = ()>) {
        let Some(standby) = &self.standby else { return };
        let mut stop = pin!(stop);
        let mut check = HealthCheck::new();
        loop {
            match check.take(standby, self).await {
                Ok(true) => standby.set_up(true, ""),
                // How far it is behind is not known yet.
                Ok(false) => {}
                Err(Unhealthy::Silent(why) | Unhealthy::Unfit(why)) => {
                    check.connection = None;
                    standby.set_up(false, &why);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(HEALTH_INTERVAL) => {}
                () = &mut stop => break,
            }
        }
        standby.pool.close();
    }
}

/// What is known of the standby's health.
struct HealthCheck {
    started: Instant,
    /// Its own connection, so that the check does not wait for one that is in use.
    connection: Option<Connection>,
    /// A WAL position (LSN) of the primary, and when the primary was there.
    mark: Option<(u64, Instant)>,
    /// The latest time up to which the standby is known to have replayed everything.
    reached: Option<Instant>,
}

impl HealthCheck {
    fn new() -> Self {
        Self { started: Instant::now(), connection: None, mark: None, reached: None }
    }

    /// Whether the standby is known to be close behind the primary.
    async fn take(&mut self, standby: &Standby, db: &Db) -> Result<bool, Unhealthy> {
        let now = Instant::now();
        let primary = tokio::time::timeout(HEALTH_TIMEOUT, position(db)).await.ok().and_then(Result::ok).flatten();
        let replayed = tokio::time::timeout(HEALTH_TIMEOUT * 2, self.replayed(standby, db)).await;
        let replayed = replayed.unwrap_or_else(|_| Err(Unhealthy::Silent("it does not answer in time".into())))?;
        if let Some((mark, at)) = self.mark
            && replayed >= mark
        {
            self.reached = Some(at);
            self.mark = None;
        }
        if self.mark.is_none() {
            self.mark = primary.map(|primary| (primary, now));
        }
        // While the primary has no connection to spare, the lag is not known, and counts as growing.
        let behind = self.reached.unwrap_or(self.started).elapsed();
        if behind > MAX_LAG {
            return Err(Unhealthy::Silent(format!("it is {} seconds behind", behind.as_secs())));
        }
        Ok(self.reached.is_some())
    }

    async fn replayed(&mut self, standby: &Standby, db: &Db) -> Result<u64, Unhealthy> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let mut connection = standby.options.connect().await?;
                standby.vouch(&mut connection, db).await?;
                none.insert(connection)
            }
        };
        let [replayed] = connection.prepare([sql!("platform/replayed").text]).await?;
        let reply = connection.run(&[(&replayed, &[])]).await?.last()?;
        let replayed: Option<PgLsn> = reply.first()?.map(|row| row.try_get(0usize)).transpose()?.flatten();
        replayed.map(u64::from).ok_or_else(|| Unhealthy::Unfit("it is no standby".into()))
    }
}

/// The primary's WAL position (LSN).
async fn position(db: &Db) -> Result<Option<u64>> {
    let mut connection = db.connection().await?;
    let (answer, position) = connection.run_and_locate(&[]).await?;
    answer.last()?;
    Ok(position)
}
