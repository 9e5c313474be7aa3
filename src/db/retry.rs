//! Patience with a database that is away, for what is known nowhere else.

use crate::{Error, Result};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long what is known nowhere else is kept for a database that is away.
const RETRY_FOR: Duration = Duration::from_secs(15);

/// Patience with what is known nowhere else, such as a provider's answer, and must be written down: a database that is away
/// for a moment is waited for.
#[derive(Debug, Default)]
pub struct WriteRetry {
    since: Option<Instant>,
    /// Whether what was tried before may have been done.
    pub perhaps_done: bool,
}

impl WriteRetry {
    /// Whether to try again after this outcome, a second later.
    pub async fn goes_on<T>(&mut self, outcome: &Result<T>) -> bool {
        let Some(e) = outcome.as_ref().err().filter(|e| !e.is_refusal()) else { return false };
        if self.since.get_or_insert_with(Instant::now).elapsed() > RETRY_FOR {
            return false;
        }
        tracing::warn!(error = %e.for_log(), "what is known nowhere else cannot be written down yet");
        self.perhaps_done |= !matches!(e, Error::Unavailable);
        tokio::time::sleep(Duration::from_secs(1)).await;
        true
    }
}

/// Writes down what is known nowhere else; `attempt` is told whether what was tried before may have been done.
pub async fn retry_write<T, F: Future<Output = Result<T>>>(attempt: impl Fn(bool) -> F) -> Result<T> {
    let mut retry = WriteRetry::default();
    loop {
        let outcome = attempt(retry.perhaps_done).await;
        if !retry.goes_on(&outcome).await {
            return outcome;
        }
    }
}

/// Writes down what a provider has answered of a row, such as a `mail`. Whoever asked is told the answer also when it cannot be
/// written down, which the log says.
pub async fn keep_answer<T, F: Future<Output = Result<T>>>(of: &str, row: Uuid, attempt: impl Fn(bool) -> F) {
    if let Err(e) = retry_write(attempt).await {
        tracing::error!(error = %e.for_log(), of, %row, "the provider's answer could not be written down");
    }
}
