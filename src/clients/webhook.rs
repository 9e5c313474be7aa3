//! Calls to addresses that a company's people give. They may reach the internet and nothing else: not this machine, not
//! its neighbours, not a cloud's metadata. Only https; a name is resolved once for a connection, each address is checked,
//! and that address is connected to; redirects are not followed; of the answer nothing but its status is read. Signed as
//! Standard Webhooks 1.0 says.

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

/// Makes the calls.
pub struct Webhooks {
    guarded: reqwest::Client,
    /// Like `guarded`, for the places of `allowed`: their names may be of any address.
    exempt: reqwest::Client,
    /// Speaks http, too: for the same places.
    plain: reqwest::Client,
    /// `host:port`.
    allowed: Vec<String>,
}

/// A call to make.
pub struct Delivery<'a> {
    /// Where to.
    pub url: &'a str,
    /// Does not change from one attempt to the next, so that the receiver can tell a repetition.
    pub id: &'a str,
    /// When it is sent, in seconds since 1970.
    pub timestamp: i64,
    /// `whsec_…`.
    pub secret: &'a str,
    /// JSON.
    pub body: String,
}

/// An answer takes so long at most.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that may be sent.
pub const BODY: usize = 256 << 10;
/// How a secret begins (Standard Webhooks, "Signature scheme").
pub const SECRET_PREFIX: &str = "whsec_";

impl Webhooks {
    /// With the addresses that development mode allows besides (`RINGFENCE_WEBHOOK_ALLOW`).
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

    /// Why an address may not be called, as far as it can be told without asking for its name.
    pub fn refusal(&self, url: &str) -> Option<&'static str> {
        let Ok(url) = Url::parse(url) else { return Some("It is no address") };
        if self.is_allowed(&url) {
            return None;
        }
        // The parser reads every spelling of an IPv4 address, such as 0x7f.1, as the address that it is.
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

    /// Makes one attempt; the status of an answer that is 2xx.
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

/// Resolves names to public addresses only, but for exempt ones; what it answers is what is connected to.
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

/// Whether an address is one of the public internet (the registries of special addresses: RFC 6890 and its kin).
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

/// Global unicast, without what carries an IPv4 address (6to4, Teredo) and what is for documents and protocols.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        [0x2001, second, ..] => second >= 0x200 && second != 0xdb8,
        [0x2002, ..] => false,
        [0x3fff, second, ..] => second >= 0x1000,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}
