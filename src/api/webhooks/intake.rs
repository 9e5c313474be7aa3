//! Limits for incoming mails: they are large and come from outside, so only a few are read at a time, and a slow sender
//! loses its permit. SendGrid retries what is refused here.

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

/// Minimum pace of a mail in bytes per second, and how far its sender may fall behind before it loses the permit.
const MIN_BYTES_PER_SECOND: u32 = 256 << 10;
const MAX_LAG: Duration = Duration::from_secs(5);
/// How long a mail waits for a permit. SendGrid retries it later, as after every 503.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(15);
/// Mails at a time, of which one per company, so that a slow one delays only its own.
static MAILS: FairLimit = FairLimit::new(16, 1);

/// Waits for a permit for the company.
pub(super) async fn permit(company: Uuid) -> Result<fair_limit::Permit> {
    let busy = Error::Busy("Too many mails are coming in right now: try again in a moment");
    MAILS.acquire(company, PERMIT_TIMEOUT).await.ok_or(busy)
}

/// Tracks how fast a mail arrives.
pub(super) struct MailPace(fair_limit::Pace);

impl MailPace {
    pub(super) fn new() -> Self {
        Self(fair_limit::Pace::new(MIN_BYTES_PER_SECOND, MAX_LAG))
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

/// Reads a body of at most `limit` bytes into memory.
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
