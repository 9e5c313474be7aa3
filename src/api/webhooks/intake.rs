//! Mails that come in are large and come from outside, so only so many are read at a time, and whoever is slow to give one
//! loses the turn. What is refused here SendGrid tells again.

use crate::{
    Error, Result,
    turns::{self, Turns},
    wire,
};
use axum::{
    body::{Body, Bytes},
    extract::multipart::Field,
};
use futures_util::StreamExt;
use std::time::Duration;
use uuid::Uuid;

/// How fast, in bytes a second, and how far its sender may be behind that: whoever stands still loses its turn so soon.
const PACE: u32 = 256 << 10;
const BEHIND: Duration = Duration::from_secs(5);
/// How long one waits for its turn; SendGrid tells it again later, as after every 503.
const WAIT: Duration = Duration::from_secs(15);
/// Mails at a time; one of each company, so that a slow one holds up its own alone.
static TURNS: Turns = Turns::new(16, 1);

/// Waits for the company's turn.
pub(super) async fn turn(company: Uuid) -> Result<turns::Turn> {
    let busy = Error::Busy("Too many mails are coming in right now: try again in a moment");
    TURNS.next(company, WAIT).await.ok_or(busy)
}

/// How fast a mail comes.
pub(super) struct MailPace(turns::Pace);

impl MailPace {
    pub(super) fn new() -> Self {
        Self(turns::Pace::new(PACE, BEHIND))
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
