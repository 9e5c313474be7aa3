//! The outside world. Nothing in here knows the database.

pub mod mail;
pub mod sendgrid;
pub mod smtp;
pub mod storage;
pub mod twilio;
pub mod webhook;

use crate::idempotency;
use reqwest::{StatusCode, header::HeaderMap};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Makes ring the provider of TLS for the libraries that ask for a default one. Doing it again is harmless.
pub fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Why a provider did not do what it was asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// It said no; trying again would not help.
    Refused {
        /// The provider's number for the reason.
        code: Option<i64>,
        /// The provider's words.
        message: String,
    },
    /// It takes nothing from whoever sends, for now, whoever it is for: the login or the sender is refused, or a quota is used up.
    Closed(String),
    /// It was not reached, or asked for patience: nothing was done, and it may be tried again.
    Busy,
    /// Nobody knows whether it was done: no answer in time, or one that means nothing.
    Unclear,
}

/// A provider answers in this time or not at all.
const TIMEOUT: Duration = Duration::from_secs(15);
/// An answer's length in bytes at most.
const ANSWER: usize = 8 << 20;

/// How often a provider took nothing, whatever it was asked for.
#[derive(Default)]
struct Failures(AtomicU64);

impl Failures {
    fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn so_far(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What a provider's API is asked by.
struct Http {
    /// Follows no redirect, so that credentials reach only the configured address.
    client: reqwest::Client,
    failures: Failures,
}

impl Http {
    fn new() -> anyhow::Result<Self> {
        use_ring();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = client.connect_timeout(Duration::from_secs(5)).timeout(TIMEOUT).build()?;
        Ok(Self { client, failures: Failures::default() })
    }

    /// Sends a request and reads its whole answer. The log has why that failed, and whatever an answer has that is no matter of what
    /// was asked for, such as a key that is refused.
    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, HeaderMap, Vec<u8>), Failure> {
        idempotency::leaving().await.map_err(|_| Failure::Busy)?;
        let unclear = |e: reqwest::Error| {
            self.no_answer(&e);
            Failure::Unclear
        };
        let mut answer = request.send().await.map_err(|e| {
            self.no_answer(&e);
            if e.is_connect() || e.is_builder() { Failure::Busy } else { Failure::Unclear }
        })?;
        let status = answer.status();
        if matches!(status.as_u16(), 401 | 403 | 429 | 500..) {
            self.failures.count();
            tracing::warn!(provider = answer.url().host_str(), %status, "a provider took nothing");
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unclear)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER {
                return Err(Failure::Unclear);
            }
        }
        Ok((status, answer.headers().clone(), body))
    }

    /// Logged without the address, which names an account.
    fn no_answer(&self, e: &reqwest::Error) {
        let why = match e {
            e if e.is_timeout() => "in time",
            e if e.is_connect() => "because it cannot be reached",
            _ => "to its end",
        };
        self.failures.count();
        tracing::warn!(provider = e.url().and_then(reqwest::Url::host_str), why, "a provider did not answer");
    }
}
