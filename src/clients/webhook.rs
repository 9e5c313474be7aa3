//! Calls URLs that users of a company have entered. They may reach only the public internet: not this machine, not its
//! neighbours, not a cloud's metadata service. Only https is allowed. A name is resolved once per connection, each of
//! its addresses is checked, and only these are connected to. Redirects are not followed, and only the status of a
//! response is read. Calls are signed according to Standard Webhooks 1.0.

use super::Failure;
use crate::{config::Config, idempotency};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use sha2::Sha256;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use url::{Host, Url};

/// The client for webhooks.
pub struct Webhooks {
    guarded: reqwest::Client,
    /// Like `guarded`, for `allowed`: these names may resolve to any address.
    exempt: reqwest::Client,
    /// Also speaks http, for `allowed`.
    plain: reqwest::Client,
    /// Exempt from the checks, each as `host:port`.
    allowed: Vec<String>,
}

/// A call to make.
pub struct Delivery<'a> {
    /// The URL.
    pub url: &'a str,
    /// The same for each attempt, so that the receiver can recognize a repetition.
    pub id: &'a str,
    /// When it is sent, in seconds since 1970.
    pub timestamp: i64,
    /// The secret that signs it, `whsec_…`.
    pub secret: &'a str,
    /// The JSON to send.
    pub body: String,
}

/// How long to wait for a response.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum size of a body, in bytes.
pub const MAX_BODY_BYTES: usize = 256 << 10;
/// The prefix of a secret (Standard Webhooks, "Signature scheme").
pub const SECRET_PREFIX: &str = "whsec_";

impl Webhooks {
    /// A client that in development mode also calls the addresses in `RINGFENCE_WEBHOOK_ALLOW`.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        super::use_ring();
        let client = || {
            let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
            client.connect_timeout(Duration::from_secs(5)).timeout(TIMEOUT).pool_max_idle_per_host(1)
        };
        let allowed = if config.is_development() { config.webhook_allow.clone() } else { Vec::new() };
        let hosts = allowed.iter().filter_map(|place| Some(place.rsplit_once(':')?.0.to_owned())).collect();
        let guarded = |exempt| client().https_only(true).dns_resolver(Public { exempt }).build();
        Ok(Self { guarded: guarded(Vec::new())?, exempt: guarded(hosts)?, plain: client().build()?, allowed })
    }

    /// Why a URL may not be called, as far as that is known before its name is resolved.
    pub fn refusal(&self, url: &str) -> Option<&'static str> {
        let Ok(url) = Url::parse(url) else { return Some("It is no address") };
        if self.is_allowed(&url) {
            return None;
        }
        // The parser understands every spelling of an IPv4 address, such as 0x7f.1.
        match url.host() {
            _ if url.scheme() != "https" => Some("Only https addresses are called"),
            _ if !url.username().is_empty() || url.password().is_some() => Some("An address must not have a password"),
            Some(Host::Ipv4(ip)) if !is_public(ip.into()) => Some(PRIVATE),
            Some(Host::Ipv6(ip)) if !is_public(ip.into()) => Some(PRIVATE),
            None => Some("It is no address"),
            _ => None,
        }
    }

    fn is_allowed(&self, url: &Url) -> bool {
        let place = url.host_str().map(|host| format!("{host}:{}", url.port_or_known_default().unwrap_or(0)));
        place.is_some_and(|place| self.allowed.contains(&place))
    }

    /// Makes one attempt; returns the status of a 2xx response.
    pub async fn deliver(&self, call: &Delivery<'_>) -> Result<u16, Failure> {
        let refused = |message: &str| Failure::Refused { code: None, message: message.into() };
        if let Some(why) = self.refusal(call.url) {
            return Err(refused(why));
        }
        let url = Url::parse(call.url).map_err(|_| refused("It is no address"))?;
        let client = match (self.is_allowed(&url), url.scheme()) {
            (false, _) => &self.guarded,
            (true, "https") => &self.exempt,
            (true, _) => &self.plain,
        };
        let signature = sign(call).ok_or(Failure::Unclear)?;
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("user-agent", concat!("Ringfence/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", call.id)
            .header("webhook-timestamp", call.timestamp)
            .header("webhook-signature", signature)
            .body(call.body.clone());
        idempotency::leaving().await.map_err(|_| Failure::Busy)?;
        let answer = request.send().await.map_err(|e| {
            let is_private = std::iter::successors(std::error::Error::source(&e), |e| e.source())
                .any(|cause| cause.to_string() == PRIVATE);
            match (is_private, e.is_connect()) {
                (true, _) => refused(PRIVATE),
                (_, true) => Failure::Busy,
                _ => Failure::Unclear,
            }
        })?;
        match answer.status().as_u16() {
            status @ 200..=299 => Ok(status),
            408 | 429 | 500..=599 => Err(Failure::Busy),
            status => Err(Failure::Refused { code: Some(status.into()), message: format!("It answered {status}") }),
        }
    }
}

const PRIVATE: &str = "The address is not on the public internet";

/// `v1,` and the HMAC-SHA256 over id, time and body.
fn sign(call: &Delivery<'_>) -> Option<String> {
    let key = BASE64_STANDARD.decode(call.secret.strip_prefix(SECRET_PREFIX)?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{}.{}.{}", call.id, call.timestamp, call.body).as_bytes());
    Some(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
}

/// Resolves names, unless exempt, to public addresses only; the client connects to exactly these.
struct Public {
    exempt: Vec<String>,
}

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let is_exempt = self.exempt.contains(&name);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
            if found.is_empty() || !(is_exempt || found.iter().all(|address| is_public(address.ip()))) {
                return Err(PRIVATE.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public internet (registries of special addresses: RFC 6890 and related ones).
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let special = match ip.octets() {
        [0 | 10 | 127, ..] | [224..=255, ..] => true,
        [100, b, ..] => (64..128).contains(&b),
        [169, 254, ..] | [192, 168, ..] => true,
        [172, b, ..] => (16..32).contains(&b),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        [198, b, ..] => (18..20).contains(&b),
        _ => false,
    };
    !special
}

/// Global unicast, except for addresses with an IPv4 address inside (6to4, Teredo), for documentation, or for
/// protocols.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        [0x2001, second, ..] => second >= 0x200 && second != 0xdb8,
        [0x2002, ..] => false,
        [0x3fff, second, ..] => second >= 0x1000,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}
