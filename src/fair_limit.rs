//! Limits on what takes memory or time while it is done: only so much at a time, of one company less than all, so that no
//! company alone holds up others; and whoever is slow to send what is read loses the permit.

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

/// How much of one kind is done at a time in the whole program.
pub struct FairLimit {
    all: Semaphore,
    of_one: usize,
    companies: LazyLock<Mutex<HashMap<Uuid, Arc<Semaphore>>>>,
}

/// Leave to do one, until it is dropped.
pub struct Permit {
    _own: OwnedSemaphorePermit,
    _any: SemaphorePermit<'static>,
}

impl FairLimit {
    /// So many at a time, and of one company so many.
    pub const fn new(all: usize, of_one: usize) -> Self {
        Self { all: Semaphore::const_new(all), of_one, companies: LazyLock::new(Mutex::default) }
    }

    /// Waits so long for a permit for a company; `None` when that was not long enough.
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
    /// Does work that takes the processor for long in a thread for such work. The permit lasts until it is done, also when
    /// nobody waits for it any more.
    pub async fn run_blocking<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let done = tokio::task::spawn_blocking(move || {
            let _permit = self;
            work()
        });
        done.await.map_err(|e| Error::Internal(e.to_string().into()))
    }
}

/// What is left of the time for which a sender may be waited for. What is done with the bytes meanwhile does not count.
pub struct Pace {
    left: Duration,
    behind: Duration,
    per_second: f64,
}

impl Pace {
    /// Bytes a second, and how far the sender may be behind that: whoever stands still has lost its permit so soon.
    pub fn new(per_second: u32, behind: Duration) -> Self {
        Self { left: behind, behind, per_second: per_second.into() }
    }

    /// That of a person's file: a poor line has it, and may be away for a moment.
    pub fn of_upload() -> Self {
        Self::new(16 << 10, Duration::from_secs(30))
    }

    /// Waits for the next piece; `None` when the time is over.
    pub async fn next<T>(&mut self, piece: impl Future<Output = T>) -> Option<T> {
        let start = Instant::now();
        let piece = timeout(self.left, piece).await.ok()?;
        self.left = self.left.saturating_sub(start.elapsed());
        Some(piece)
    }

    /// So many bytes came.
    pub fn came(&mut self, bytes: usize) {
        self.left = (self.left + Duration::from_secs_f64(bytes as f64 / self.per_second)).min(self.behind);
    }
}
