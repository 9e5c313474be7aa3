//! Clients of outside services. Nothing in here knows the database.

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

/// Makes ring the default TLS provider for libraries that use one. Doing it again is harmless.
pub fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Why a request to a provider failed.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// It refused the request; trying again would not help.
    Refused {
        /// The provider's error code.
        code: Option<i64>,
        /// The provider's message.
        message: String,
    },
    /// A mail server said no to one mail, and its answer does not tell whether the recipient is the reason or whoever
    /// sends.
    Denied(String),
    /// It takes nothing from this sender for now: the login or the sender is refused, or a quota is used up.
    Closed(String),
    /// It was not reached, or asked to try later: nothing was done, and it may be tried again.
    Busy,
    /// It is unknown whether it was done: there was no response in time, or none that makes sense.
    Unclear,
}

/// How long to wait for a provider's response.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// The maximum size of a response, in bytes.
const MAX_RESPONSE_BYTES: usize = 8 << 20;

/// How often a provider took nothing, for whatever request.
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

/// The HTTP client for a provider's API.
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

    /// Sends a request and reads its whole response. Logs why that failed, and any response that has nothing to do with
    /// the request itself, such as a refused key.
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
            if body.len() > MAX_RESPONSE_BYTES {
                return Err(Failure::Unclear);
            }
        }
        Ok((status, answer.headers().clone(), body))
    }

    /// Logs that a response is missing, without the URL, which names an account.
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
