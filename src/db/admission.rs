//! Who may have a connection of the pool now.
//!
//! *A company's share.* With all connections in the hands of one company, whose requests may wait for each other or take their
//! time, nobody else would get one. Whose a request is, the database says when it has a connection. So a user's company is
//! remembered from one request to the next; those of whom nothing is known yet have a share together.
//!
//! *Running at a time.* More short statements than two for each of the database's processors make nothing faster: they push
//! each other out of the processors' caches. With four for each a page takes a tenth longer (two processors: `make bench`, and
//! with `ARGS="--pool-size 8"`). What turns out to take longer does not count any more, so that a few long reports keep
//! nobody waiting.

use super::{Fault, Identity};
use deadpool::managed::{PoolError, TimeoutType};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use uuid::Uuid;

/// Users, and companies, that are remembered; beyond that one begins anew.
const REMEMBERED: usize = 50_000;
/// How long one waits for each of the two.
const WAIT: Duration = Duration::from_secs(5);

/// What stands before a pool.
pub(super) struct Admission {
    /// Connections that one company may have at a time.
    share: usize,
    strangers: Arc<Share>,
    known: Mutex<Known>,
    running: Arc<Semaphore>,
    /// Requests that wait for one of the two.
    waiting: AtomicUsize,
    wait: Duration,
}

#[derive(Default)]
struct Known {
    of_users: HashMap<Uuid, Arc<Share>>,
    of_companies: HashMap<Uuid, Arc<Share>>,
}

/// The share of a company, or of a user without one.
struct Share {
    /// None of those whose company is not known.
    owner: Option<Uuid>,
    free: Arc<Semaphore>,
}

impl Share {
    fn new(owner: Option<Uuid>, size: usize) -> Arc<Self> {
        Arc::new(Self { owner, free: Arc::new(Semaphore::new(size)) })
    }
}

/// One connection of a share.
pub(super) struct Part {
    share: Arc<Share>,
    _taken: OwnedSemaphorePermit,
}

impl Admission {
    /// To a pool of so many connections, of which so many run something short at a time. A quarter of the connections is
    /// always left to other companies.
    pub(super) fn new(size: usize, running: usize) -> Self {
        let share = (size - size.div_ceil(4)).max(1);
        Self {
            share,
            strangers: Share::new(None, share),
            known: Mutex::default(),
            running: Arc::new(Semaphore::new(running)),
            waiting: AtomicUsize::new(0),
            wait: WAIT,
        }
    }

    /// Waits until one more may run something.
    pub(super) async fn run(&self) -> Result<OwnedSemaphorePermit, PoolError<Fault>> {
        self.permit(&self.running).await
    }

    /// Waits for a part of the share of whoever this is.
    pub(super) async fn part(&self, who: &Identity) -> Result<Part, PoolError<Fault>> {
        let share = match who {
            Identity::Token(user, _) => self.known().of_users.get(user).unwrap_or(&self.strangers).clone(),
            Identity::Job { company, .. } => self.known().share(*company, self.share),
        };
        let taken = self.permit(&share.free).await?;
        Ok(Part { share, _taken: taken })
    }

    /// Remembers what the database said of a user who came with this part.
    pub(super) fn learn(&self, part: Option<&Part>, user: Uuid, company: Option<Uuid>) {
        let owner = company.unwrap_or(user);
        if part.is_some_and(|part| part.share.owner == Some(owner)) {
            return;
        }
        let mut known = self.known();
        let share = known.share(owner, self.share);
        if known.of_users.len() >= REMEMBERED {
            known.of_users.clear();
        }
        known.of_users.insert(user, share);
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn permit(&self, of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, PoolError<Fault>> {
        if let Ok(permit) = of.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let _waiting = Waiting::on(&self.waiting);
        match timeout(self.wait, of.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(PoolError::Timeout(TimeoutType::Wait)),
        }
    }
}

impl Known {
    fn share(&mut self, owner: Uuid, size: usize) -> Arc<Share> {
        if self.of_companies.len() >= REMEMBERED {
            self.of_users.clear();
            self.of_companies.retain(|_, share| Arc::strong_count(share) > 1);
        }
        self.of_companies.entry(owner).or_insert_with(|| Share::new(Some(owner), size)).clone()
    }
}

/// Somebody who waits, however that ends.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn on(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_company_has_a_share_whoever_of_it_comes() {
        let admission = Admission { wait: Duration::from_millis(10), ..Admission::new(8, 8) };
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        let users: Vec<Uuid> = (0..7).map(|_| Uuid::new_v4()).collect();
        let part = async |user: Uuid| admission.part(&Identity::Token(user, 1)).await;
        for user in &users {
            let unknown = part(*user).await.unwrap();
            admission.learn(Some(&unknown), *user, Some(one));
        }
        let mut held = Vec::new();
        for user in &users[..6] {
            held.push(part(*user).await.unwrap());
        }
        assert!(part(users[6]).await.is_err());

        admission.learn(held.first(), users[0], Some(other));
        assert!(part(users[0]).await.is_ok(), "who has moved takes of the new company's");
        held.pop();
        assert!(part(users[6]).await.is_ok());
        assert_eq!(admission.waiting(), 0);
    }

    #[tokio::test]
    async fn strangers_leave_something_to_those_who_are_known() {
        let admission = Admission { wait: Duration::from_millis(10), ..Admission::new(8, 8) };
        let part = async |user: Uuid| admission.part(&Identity::Token(user, 1)).await;
        let known = Uuid::new_v4();
        admission.learn(None, known, Some(Uuid::new_v4()));
        let mut strangers = Vec::new();
        for _ in 0..6 {
            strangers.push(part(Uuid::new_v4()).await.unwrap());
        }
        assert!(part(Uuid::new_v4()).await.is_err());
        assert!(part(known).await.is_ok());
        strangers.pop();
        assert!(part(Uuid::new_v4()).await.is_ok());
    }

    #[tokio::test]
    async fn so_many_run_at_a_time() {
        let admission = Admission { wait: Duration::from_millis(10), ..Admission::new(8, 2) };
        let mut running = vec![admission.run().await.unwrap(), admission.run().await.unwrap()];
        assert!(admission.run().await.is_err());
        running.pop();
        assert!(admission.run().await.is_ok());
    }

    #[test]
    fn something_is_left_for_others_where_there_is_something_to_leave() {
        let share = |size| Admission::new(size, size).share;
        assert_eq!([1, 2, 4, 8, 16, 64].map(share), [1, 1, 3, 6, 12, 48]);
    }
}
