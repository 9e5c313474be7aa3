//! Mails that come in are large and come from outside, so only so many are read at a time, and whoever is slow to give one
//! loses the permit. What is refused here SendGrid tells again.

use crate::{
    Error, Result,
    fair_limit::{self, FairLimit},
    wire,
};
use axum::{
    body::{Body, Bytes},
    extract::multipart::Field,
};
use futures_util::StreamExt;
use std::time::Duration;
use uuid::Uuid;

/// How fast, in bytes a second, and how far its sender may be behind that: whoever stands still loses its permit so soon.
const PACE: u32 = 256 << 10;
const BEHIND: Duration = Duration::from_secs(5);
/// How long one waits for a permit; SendGrid tells it again later, as after every 503.
const WAIT: Duration = Duration::from_secs(15);
/// Mails at a time; one of each company, so that a slow one holds up its own alone.
static MAILS: FairLimit = FairLimit::new(16, 1);

/// Waits for a permit of the company.
pub(super) async fn permit(company: Uuid) -> Result<fair_limit::Permit> {
    let busy = Error::Busy("Too many mails are coming in right now: try again in a moment");
    MAILS.acquire(company, WAIT).await.ok_or(busy)
}

/// How fast a mail comes.
pub(super) struct MailPace(fair_limit::Pace);

impl MailPace {
    pub(super) fn new() -> Self {
        Self(fair_limit::Pace::new(PACE, BEHIND))
    }

    /// Waits for the next piece.
    pub(super) async fn next<T>(&mut self, piece: impl Future<Output = T>) -> Result<T> {
        self.0.next(piece).await.ok_or_else(slow)
    }

    /// The next piece of a field.
    pub(super) async fn chunk(&mut self, field: &mut Field<'_>) -> Result<Option<Bytes>> {
        let chunk = self.next(field.chunk()).await?.map_err(wire::body_error)?;
        self.0.came(chunk.as_ref().map_or(0, Bytes::len));
        Ok(chunk)
    }
}

pub(super) fn slow() -> Error {
    Error::Busy("The mail took too long to arrive: send it again")
}

/// A body of at most so many bytes, which is whole in memory.
pub(super) async fn whole(body: Body, limit: usize) -> Result<Vec<u8>> {
    let (mut pieces, mut pace, mut bytes) = (body.into_data_stream(), MailPace::new(), Vec::new());
    while let Some(piece) = pace.next(pieces.next()).await? {
        let piece = piece.map_err(wire::body_error)?;
        pace.0.came(piece.len());
        if bytes.len() + piece.len() > limit {
            return Err(Error::TooLarge);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
