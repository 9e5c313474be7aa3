//! The outside world. Nothing in here knows the database.

pub mod mail;
pub mod sendgrid;
pub mod storage;
pub mod twilio;
pub mod webhook;

use crate::idempotency;
use reqwest::{StatusCode, header::HeaderMap};
use std::time::Duration;

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
    /// It was not reached, or asked for patience: nothing was done, and it may be tried again.
    Busy,
    /// Nobody knows whether it was done: no answer in time, or one that means nothing.
    Unclear,
}

/// A provider answers in this time or not at all.
const TIMEOUT: Duration = Duration::from_secs(15);
/// An answer's length in bytes at most.
const ANSWER: usize = 8 << 20;

/// A client that follows no redirect, so that credentials reach only the configured address.
fn http() -> anyhow::Result<reqwest::Client> {
    use_ring();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    Ok(client.connect_timeout(Duration::from_secs(5)).timeout(TIMEOUT).build()?)
}

/// Sends a request and reads its whole answer.
async fn exchange(request: reqwest::RequestBuilder) -> Result<(StatusCode, HeaderMap, Vec<u8>), Failure> {
    idempotency::leaving().await.map_err(|_| Failure::Busy)?;
    let failure = |e: reqwest::Error| if e.is_connect() || e.is_builder() { Failure::Busy } else { Failure::Unclear };
    let mut answer = request.send().await.map_err(failure)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| Failure::Unclear)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER {
            return Err(Failure::Unclear);
        }
    }
    Ok((answer.status(), answer.headers().clone(), body))
}
