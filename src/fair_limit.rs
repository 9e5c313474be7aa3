//! Limits on concurrent work that takes much memory, disk space or time: in total, and fewer per company, so that no
//! company alone holds up the others. A sender that is too slow is not waited for.

use crate::{Error, Result};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::timeout,
};
use uuid::Uuid;

/// A limit on how much work of one kind the whole program does at a time.
pub struct FairLimit {
    all: Semaphore,
    of_one: usize,
    companies: LazyLock<Mutex<HashMap<Uuid, Arc<Semaphore>>>>,
}

/// Permission for one piece of work, until it is dropped.
pub struct Permit {
    _own: OwnedSemaphorePermit,
    _any: SemaphorePermit<'static>,
}

impl FairLimit {
    /// At most `all` at a time, and at most `of_one` for each company.
    pub const fn new(all: usize, of_one: usize) -> Self {
        Self { all: Semaphore::const_new(all), of_one, companies: LazyLock::new(Mutex::default) }
    }

    /// Waits at most `wait` for a company's permit; `None` if it did not get one in time.
    pub async fn acquire(&'static self, company: Uuid, wait: Duration) -> Option<Permit> {
        let own = {
            let mut companies = self.companies.lock().unwrap_or_else(PoisonError::into_inner);
            companies.retain(|_, permits| Arc::strong_count(permits) > 1);
            companies.entry(company).or_insert_with(|| Arc::new(Semaphore::new(self.of_one))).clone()
        };
        let permit = async {
            let own = own.acquire_owned().await.ok()?;
            Some(Permit { _own: own, _any: self.all.acquire().await.ok()? })
        };
        timeout(wait, permit).await.ok().flatten()
    }
}

impl Permit {
    /// Runs work that blocks or takes much processor time on a thread for such work. The permit lasts until the work is
    /// done, even if nobody waits for it any more.
    pub async fn run_blocking<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let done = tokio::task::spawn_blocking(move || {
            let _permit = self;
            work()
        });
        done.await.map_err(|e| Error::Internal(e.to_string().into()))
    }
}

/// The time that is left to wait for a sender. Time spent on the bytes that it has sent does not count.
pub struct Pace {
    left: Duration,
    behind: Duration,
    per_second: f64,
}

impl Pace {
    /// A pace of `per_second` bytes. A sender that falls behind it by more than `behind` is given up.
    pub fn new(per_second: u32, behind: Duration) -> Self {
        Self { left: behind, behind, per_second: per_second.into() }
    }

    /// The pace of an uploaded file: a poor connection keeps it up, and may be interrupted for a moment.
    pub fn of_upload() -> Self {
        Self::new(16 << 10, Duration::from_secs(30))
    }

    /// Waits for the next piece; `None` if the time is used up.
    pub async fn next<T>(&mut self, piece: impl Future<Output = T>) -> Option<T> {
        let start = Instant::now();
        let piece = timeout(self.left, piece).await.ok()?;
        self.left = self.left.saturating_sub(start.elapsed());
        Some(piece)
    }

    /// Notes that this many bytes arrived.
    pub fn came(&mut self, bytes: usize) {
        self.left = (self.left + Duration::from_secs_f64(bytes as f64 / self.per_second)).min(self.behind);
    }
}
