//! Retries writes of what is known nowhere else while the database is unavailable.

use crate::{Error, Result, server};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long a request retries a write of what is known nowhere else: it has to respond within its minute.
pub const REQUEST_PATIENCE: Duration = Duration::from_secs(15);
/// How long a job retries a write of what is known nowhere else. Together with the time that a provider may take, this
/// is less than the five minutes of a job's claim, during which a text, mail or call in progress is not deleted.
pub const JOB_PATIENCE: Duration = Duration::from_secs(4 * 60);

/// How long a provider's request is repeated. Twilio waits 15 seconds for its answer, and mostly does not make it again
/// (Twilio, "Webhooks Connection Overrides").
const WEBHOOK_PATIENCE: Duration = Duration::from_secs(10);

/// Retries a write of what is known nowhere else, such as a provider's response, while the database is unavailable.
#[derive(Debug)]
pub struct WriteRetry {
    since: Option<Instant>,
    patience: Duration,
    /// Whether an earlier attempt may have been executed.
    pub perhaps_done: bool,
}

impl WriteRetry {
    /// Retries for this long, counted from the first failure.
    pub fn new(patience: Duration) -> Self {
        Self { since: None, patience, perhaps_done: false }
    }

    /// Whether to try again after this outcome; if so, waits for a second first.
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

/// Writes what is known nowhere else; `attempt` is told whether an earlier attempt may have been executed.
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

/// Carries out what a provider tells, all of which may come twice, and repeats it while the database is away or ends it
/// for the sake of another transaction; `attempt` is told whether an earlier attempt may have been executed.
pub async fn retry_webhook<T, F: Future<Output = Result<T>>>(attempt: impl Fn(bool) -> F) -> Result<T> {
    let mut retry = WriteRetry { since: Some(Instant::now()), ..WriteRetry::new(WEBHOOK_PATIENCE) };
    loop {
        let outcome = attempt(retry.perhaps_done).await;
        if !outcome.as_ref().is_err_and(Error::is_transient) || !retry.goes_on(&outcome).await {
            return outcome;
        }
    }
}

/// Stores a provider's response about a row, such as a `mail`. A failure is logged only, so that the caller still gets
/// the response.
pub async fn keep_answer<T, F: Future<Output = Result<T>>>(of: &str, row: Uuid, attempt: impl Fn(bool) -> F) {
    if let Err(e) = retry_write(attempt).await {
        tracing::error!(error = %e.for_log(), of, %row, "the provider's answer could not be written down");
    }
}
