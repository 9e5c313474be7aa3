//! Patience with a database that is away, for what is known nowhere else.

use crate::{Error, Result, server};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long a request keeps what is known nowhere else for a database that is away: it has to answer within its minute.
const REQUEST_PATIENCE: Duration = Duration::from_secs(15);
/// How long a job does. With the time that a provider may take, it is less than the five minutes for which the job is its worker's,
/// and for which a text, mail or call that is under way is not deleted.
pub const JOB_PATIENCE: Duration = Duration::from_secs(4 * 60);

/// Patience with what is known nowhere else, such as a provider's answer, and must be written down: a database that is away
/// is waited for, unless the program stops.
#[derive(Debug)]
pub struct WriteRetry {
    since: Option<Instant>,
    patience: Duration,
    /// Whether what was tried before may have been done.
    pub perhaps_done: bool,
}

impl WriteRetry {
    /// Patience for so long, from the first failure on.
    pub fn new(patience: Duration) -> Self {
        Self { since: None, patience, perhaps_done: false }
    }

    /// Whether to try again after this outcome, a second later.
    pub async fn goes_on<T>(&mut self, outcome: &Result<T>) -> bool {
        let Some(e) = outcome.as_ref().err().filter(|e| !e.is_refusal()) else { return false };
        if self.since.get_or_insert_with(Instant::now).elapsed() > self.patience {
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
    let is_job = server::request_id().is_empty();
    let mut retry = WriteRetry::new(if is_job { JOB_PATIENCE } else { REQUEST_PATIENCE });
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
