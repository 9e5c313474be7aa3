//! Mails that come in are large and come from outside, so only so many are read at a time, and whoever is slow to give one
//! loses the turn. What is refused here SendGrid tells again.

use crate::{Error, Result, wire};
use axum::{
    body::{Body, Bytes},
    extract::multipart::Field,
};
use futures_util::StreamExt;
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use uuid::Uuid;

/// How fast, in bytes a second, and how far its sender may be behind that: whoever stands still loses its turn so soon.
const PACE: u32 = 256 << 10;
const BEHIND: Duration = Duration::from_secs(5);
/// How long one waits for its turn; SendGrid tells it again later, as after every 503.
const WAIT: Duration = Duration::from_secs(15);
/// Mails at a time; one of each company, so that a slow one holds up its own alone.
static TURNS: Semaphore = Semaphore::const_new(16);
static COMPANIES: LazyLock<Mutex<HashMap<Uuid, Arc<Semaphore>>>> = LazyLock::new(Mutex::default);

/// A turn to be read.
pub(super) struct Turn {
    _own: OwnedSemaphorePermit,
    _any: SemaphorePermit<'static>,
}

impl Turn {
    /// Waits for the company's turn.
    pub(super) async fn of(company: Uuid) -> Result<Self> {
        let own = {
            let mut all = COMPANIES.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, turns| Arc::strong_count(turns) > 1);
            all.entry(company).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
        let turn = async {
            let own = own.acquire_owned().await.ok()?;
            Some(Self { _own: own, _any: TURNS.acquire().await.ok()? })
        };
        tokio::time::timeout(WAIT, turn).await.ok().flatten().ok_or(Error::Busy("Too many mails are coming in right now: try again in a moment"))
    }
}

/// What is left of the time for which a mail's sender may be waited for. What is done with the mail meanwhile does not count.
pub(super) struct Pace(Duration);

impl Pace {
    pub(super) fn new() -> Self {
        Self(BEHIND)
    }

    /// Waits for the next piece.
    pub(super) async fn next<T>(&mut self, piece: impl Future<Output = T>) -> Result<T> {
        let start = Instant::now();
        let piece = tokio::time::timeout(self.0, piece).await.map_err(|_| slow())?;
        self.0 = self.0.saturating_sub(start.elapsed());
        Ok(piece)
    }

    /// The next piece of a field.
    pub(super) async fn chunk(&mut self, field: &mut Field<'_>) -> Result<Option<Bytes>> {
        let chunk = self.next(field.chunk()).await?.map_err(wire::body_error)?;
        self.came(chunk.as_ref().map_or(0, Bytes::len));
        Ok(chunk)
    }

    fn came(&mut self, bytes: usize) {
        self.0 = (self.0 + Duration::from_secs_f64(bytes as f64 / f64::from(PACE))).min(BEHIND);
    }
}

pub(super) fn slow() -> Error {
    Error::Busy("The mail took too long to arrive: send it again")
}

/// A body of at most so many bytes, which is whole in memory.
pub(super) async fn whole(body: Body, limit: usize) -> Result<Vec<u8>> {
    let (mut pieces, mut pace, mut bytes) = (body.into_data_stream(), Pace::new(), Vec::new());
    while let Some(piece) = pace.next(pieces.next()).await? {
        let piece = piece.map_err(wire::body_error)?;
        pace.came(piece.len());
        if bytes.len() + piece.len() > limit {
            return Err(Error::TooLarge);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
