//! Admission control: which request gets a connection of the pool, and when.
//!
//! *Shares.* Without a limit, one company could hold all connections with requests that take long or wait for each
//! other. The database reports a request's company only in its response, so each user's company is remembered from one
//! request to the next; users whose company is not known yet share one limit.
//!
//! *Concurrency.* Running more than two short statements per processor of the database at a time makes nothing faster:
//! they evict each other from the processors' caches. With four per processor, a page takes a tenth longer (two
//! processors: `make bench`, and with `ARGS="--pool-size 8"`). A statement that turns out to take longer, or to have a
//! large response, stops counting, so a few long reports delay nobody.
//!
//! *Turns.* A request that cannot be admitted waits once, for a connection and a place together, so that no request
//! waits inside the pool. Companies take turns: however many requests one company has waiting, another company waits
//! for one turn and not for all of them. The server's own requests (logins, webhooks before their company is known, due
//! jobs, readiness) get every second turn, so that neither many companies nor users whose company is unknown delay
//! them.

use super::{Fault, Identity};
use deadpool::managed::{PoolError, TimeoutType};
use hashbrown::HashMap;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};
use uuid::Uuid;

/// The number of users whose company is remembered; when it is reached, all are forgotten.
const MAX_REMEMBERED_USERS: usize = 50_000;
/// How long a request waits for its admission.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(5);

/// Admits requests to a pool.
pub(super) struct Admission {
    queue: Queue,
    /// The number of requests that wait.
    waiting: AtomicUsize,
    wait: Duration,
}

/// Whose share a request counts against.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    Company(Uuid),
    /// Users who are known to have no company. They share one limit, because anybody may register any number of them.
    WithoutCompany,
    /// Users whose company is not known yet.
    Strangers,
    /// The server itself, which has no limit.
    Server,
}

#[derive(Clone)]
struct Queue(Arc<Mutex<State>>);

struct State {
    /// The number of connections that one owner may have at a time.
    limit: usize,
    /// The number of connections that no request holds.
    connections: usize,
    /// The number of short statements that may still start.
    free: usize,
    of_users: HashMap<Uuid, Owner>,
    /// The shares of owners that hold a connection or wait for one.
    shares: HashMap<Owner, Share>,
    /// The owners that wait and are below their limit, each once, the next one first. Empty as long as there is a
    /// connection and another statement may start.
    turns: VecDeque<Owner>,
}

#[derive(Default)]
struct Share {
    taken: usize,
    waiting: VecDeque<oneshot::Sender<Admitted>>,
    has_turn: bool,
}

/// What an admitted request holds until it ends.
pub(super) struct Admitted {
    pub(super) part: Part,
    pub(super) running: Running,
}

/// One connection, counted against its owner's share.
pub(super) struct Part {
    queue: Queue,
    owner: Owner,
}

/// A place among the short statements that may run at a time.
pub(super) struct Running(Queue);

impl Admission {
    /// Admission to a pool of `size` connections, in which at most `running` short statements run at a time. A quarter
    /// of the connections is always left to other companies.
    pub(super) fn new(size: usize, running: usize) -> Self {
        let state = State {
            limit: (size - size.div_ceil(4)).max(1),
            connections: size,
            free: running,
            of_users: HashMap::new(),
            shares: HashMap::new(),
            turns: VecDeque::new(),
        };
        Self { queue: Queue(Arc::new(Mutex::new(state))), waiting: AtomicUsize::new(0), wait: ADMISSION_TIMEOUT }
    }

    /// Waits until a request of `who` is admitted; `None` is the server itself.
    pub(super) async fn enter(&self, who: Option<&Identity>) -> Result<Admitted, PoolError<Fault>> {
        let turn = {
            let mut state = self.queue.state();
            let owner = match who {
                Some(Identity::Token(user, _)) => state.of_users.get(user).copied().unwrap_or(Owner::Strangers),
                Some(Identity::Job { company, .. }) => Owner::Company(*company),
                None => Owner::Server,
            };
            if state.has_room() && state.may_have_more(owner) {
                state.take(owner);
                return Ok(Admitted::of(&self.queue, owner));
            }
            let (tell, turn) = oneshot::channel();
            state.wait(owner, tell);
            turn
        };
        let _waiting = Waiting::on(&self.waiting);
        match timeout(self.wait, turn).await {
            Ok(Ok(admitted)) => Ok(admitted),
            _ => Err(PoolError::Timeout(TimeoutType::Wait)),
        }
    }

    /// Remembers a user's company, which the database returned for the request that holds this part.
    pub(super) fn learn(&self, part: Option<&Part>, user: Uuid, company: Option<Uuid>) {
        let owner = company.map_or(Owner::WithoutCompany, Owner::Company);
        if part.is_some_and(|part| part.owner == owner) {
            return;
        }
        let mut state = self.queue.state();
        if state.of_users.len() >= MAX_REMEMBERED_USERS {
            state.of_users.clear();
        }
        state.of_users.insert(user, owner);
    }

    /// The number of requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Updates the state with what was given back, and admits the next request before a new one can overtake it.
    fn take_back(&self, what: impl FnOnce(&mut State)) {
        let mut next = {
            let mut state = self.state();
            what(&mut state);
            state.next()
        };
        while let Some((owner, tell)) = next {
            // If the request has just given up, its `Admitted` is dropped here, which locks the state.
            let _ = tell.send(Admitted::of(self, owner));
            next = self.state().next();
        }
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.connections > 0 && self.free > 0
    }

    fn may_have_more(&self, owner: Owner) -> bool {
        owner == Owner::Server || self.shares.get(&owner).is_none_or(|share| share.taken < self.limit)
    }

    fn take(&mut self, owner: Owner) {
        self.connections -= 1;
        self.free -= 1;
        self.shares.entry(owner).or_default().taken += 1;
    }

    fn wait(&mut self, owner: Owner, tell: oneshot::Sender<Admitted>) {
        let share = self.shares.entry(owner).or_default();
        while share.waiting.front().is_some_and(oneshot::Sender::is_closed) {
            share.waiting.pop_front();
        }
        share.waiting.push_back(tell);
        self.take_turn(owner);
    }

    /// Puts an owner that waits and is below its limit at the end of the turns; the server at the second place.
    fn take_turn(&mut self, owner: Owner) {
        let may_have_more = self.may_have_more(owner);
        let Some(share) = self.shares.get_mut(&owner) else { return };
        if may_have_more && !share.waiting.is_empty() && !share.has_turn {
            share.has_turn = true;
            let last = self.turns.len();
            self.turns.insert(if owner == Owner::Server { last.min(1) } else { last }, owner);
        }
    }

    /// Takes a connection and a place for the next owner, if there are any.
    fn next(&mut self) -> Option<(Owner, oneshot::Sender<Admitted>)> {
        while self.has_room() {
            let owner = self.turns.pop_front()?;
            let share = self.shares.get_mut(&owner)?;
            share.has_turn = false;
            // Requests that have given up have closed their channel.
            let next = std::iter::from_fn(|| share.waiting.pop_front()).find(|tell| !tell.is_closed());
            let Some(tell) = next else {
                self.forget(owner);
                continue;
            };
            self.take(owner);
            self.take_turn(owner);
            return Some((owner, tell));
        }
        None
    }

    /// Removes the share of an owner that holds no connection and waits for none.
    fn forget(&mut self, owner: Owner) {
        if self.shares.get(&owner).is_some_and(|share| share.taken == 0 && share.waiting.is_empty()) {
            self.shares.remove(&owner);
        }
    }

    fn give_back(&mut self, owner: Owner) {
        self.connections += 1;
        if let Some(share) = self.shares.get_mut(&owner) {
            share.taken -= 1;
        }
        self.take_turn(owner);
        self.forget(owner);
    }
}

impl Admitted {
    fn of(queue: &Queue, owner: Owner) -> Self {
        Self { part: Part { queue: queue.clone(), owner }, running: Running(queue.clone()) }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.queue.take_back(|state| state.give_back(self.owner));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.take_back(|state| state.free += 1);
    }
}

/// Counts a request as waiting until it is dropped.
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

    fn admission(size: usize, running: usize) -> Admission {
        Admission { wait: Duration::from_millis(20), ..Admission::new(size, running) }
    }

    async fn enter(admission: &Admission, user: Uuid) -> Result<Admitted, PoolError<Fault>> {
        admission.enter(Some(&Identity::Token(user, 1))).await
    }

    #[tokio::test]
    async fn a_company_has_a_share_whoever_of_it_comes() {
        let admission = admission(8, 8);
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        let users: Vec<Uuid> = (0..7).map(|_| Uuid::new_v4()).collect();
        for user in &users {
            let unknown = enter(&admission, *user).await.unwrap();
            admission.learn(Some(&unknown.part), *user, Some(one));
        }
        let mut held = Vec::new();
        for user in &users[..6] {
            held.push(enter(&admission, *user).await.unwrap());
        }
        assert!(enter(&admission, users[6]).await.is_err());

        admission.learn(held.first().map(|held| &held.part), users[0], Some(other));
        assert!(enter(&admission, users[0]).await.is_ok(), "who has moved takes of the new company's");
        held.pop();
        assert!(enter(&admission, users[6]).await.is_ok());
        assert!(admission.enter(None).await.is_ok(), "the server has no limit");
        assert_eq!(admission.waiting(), 0);
        drop(held);
        assert!(admission.queue.state().shares.is_empty());
    }

    #[tokio::test]
    async fn strangers_leave_something_to_those_who_are_known() {
        let admission = admission(8, 8);
        let known = Uuid::new_v4();
        admission.learn(None, known, Some(Uuid::new_v4()));
        let mut strangers = Vec::new();
        for _ in 0..6 {
            strangers.push(enter(&admission, Uuid::new_v4()).await.unwrap());
        }
        assert!(enter(&admission, Uuid::new_v4()).await.is_err());
        assert!(enter(&admission, known).await.is_ok());
        strangers.pop();
        assert!(enter(&admission, Uuid::new_v4()).await.is_ok());
    }

    #[tokio::test]
    async fn so_many_run_at_a_time() {
        let admission = admission(8, 2);
        let user = Uuid::new_v4();
        let (first, second) = (enter(&admission, user).await.unwrap(), enter(&admission, user).await.unwrap());
        assert!(enter(&admission, user).await.is_err());
        drop(first.running);
        assert!(enter(&admission, user).await.is_ok(), "what takes long does not count");
        drop((first.part, second));
        let state = admission.queue.state();
        assert_eq!((state.connections, state.free, state.shares.len(), state.turns.len()), (8, 2, 0, 0));
    }

    #[tokio::test]
    async fn companies_take_turns() {
        let admission = Arc::new(admission(8, 1));
        let (busy, other) = (Uuid::new_v4(), Uuid::new_v4());
        for user in [busy, other] {
            admission.learn(None, user, Some(user));
        }
        let (order, mut came) = tokio::sync::mpsc::unbounded_channel();
        let first = enter(&admission, busy).await.unwrap();
        for user in [busy, busy, busy, other, other] {
            let (admission, order) = (admission.clone(), order.clone());
            tokio::spawn(async move {
                let admitted = enter(&admission, user).await.unwrap();
                order.send(user).unwrap();
                drop(admitted);
            });
            tokio::task::yield_now().await;
        }
        assert_eq!(admission.waiting(), 5);
        drop(first);
        drop(order);
        let mut all = Vec::new();
        while let Some(user) = came.recv().await {
            all.push(user);
        }
        assert_eq!(all, [busy, other, busy, other, busy]);
    }

    #[tokio::test]
    async fn the_server_has_every_second_turn() {
        let admission = Arc::new(admission(8, 1));
        let companies: Vec<Uuid> = (0..4).map(|_| Uuid::new_v4()).collect();
        for user in &companies {
            admission.learn(None, *user, Some(*user));
        }
        let (order, mut came) = tokio::sync::mpsc::unbounded_channel();
        let first = enter(&admission, companies[0]).await.unwrap();
        for user in companies.iter().copied().map(Some).chain([None; 3]) {
            let (admission, order) = (admission.clone(), order.clone());
            tokio::spawn(async move {
                let who = user.map(|user| Identity::Token(user, 1));
                let admitted = admission.enter(who.as_ref()).await.unwrap();
                order.send(user).unwrap();
                drop(admitted);
            });
            tokio::task::yield_now().await;
        }
        drop(first);
        drop(order);
        let mut all = Vec::new();
        while let Some(user) = came.recv().await {
            all.push(user);
        }
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| Some(companies[i]));
        assert_eq!(all, [a, None, b, None, c, None, d]);
    }

    #[tokio::test]
    async fn nobody_is_let_in_to_a_pool_without_a_connection() {
        let admission = admission(4, 4);
        let users: Vec<Uuid> = (0..3).map(|_| Uuid::new_v4()).collect();
        for user in &users {
            admission.learn(None, *user, Some(*user));
        }
        let mut held = Vec::new();
        for user in [users[0], users[0], users[1], users[1]] {
            let Admitted { part, running } = enter(&admission, user).await.unwrap();
            drop(running);
            held.push(part);
        }
        assert!(enter(&admission, users[2]).await.is_err(), "shares together are more than there is");
        held.pop();
        assert!(enter(&admission, users[2]).await.is_ok());
    }

    #[tokio::test]
    async fn those_without_company_have_one_share() {
        let admission = admission(8, 8);
        let users: Vec<Uuid> = (0..7).map(|_| Uuid::new_v4()).collect();
        for user in &users {
            admission.learn(None, *user, None);
        }
        let mut held = Vec::new();
        for user in &users[..6] {
            held.push(enter(&admission, *user).await.unwrap());
        }
        assert!(enter(&admission, users[6]).await.is_err());
        assert!(enter(&admission, Uuid::new_v4()).await.is_ok());
    }

    #[tokio::test]
    async fn who_has_given_up_takes_nobodys_turn() {
        let admission = admission(8, 1);
        let (user, other) = (Uuid::new_v4(), Uuid::new_v4());
        let first = enter(&admission, user).await.unwrap();
        for _ in 0..3 {
            assert!(enter(&admission, user).await.is_err());
        }
        admission.learn(None, other, Some(other));
        assert!(enter(&admission, other).await.is_err());
        drop(first);
        assert!(enter(&admission, user).await.is_ok());
        assert!(enter(&admission, other).await.is_ok());
        let state = admission.queue.state();
        assert_eq!((state.connections, state.free, state.shares.len(), state.turns.len()), (8, 1, 0, 0));
    }

    #[test]
    fn something_is_left_for_others_where_there_is_something_to_leave() {
        let limit = |size| Admission::new(size, size).queue.state().limit;
        assert_eq!([1, 2, 4, 8, 16, 64].map(limit), [1, 1, 3, 6, 12, 48]);
    }
}
