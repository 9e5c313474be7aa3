//! Authentication: tokens, and the extractors that check a route's permission.

use crate::{
    App, Error, Result,
    db::{AnyUser, Identity, Permission, Scoped},
    read_your_writes, server,
};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;
use uuid::Uuid;

const ACCESS_LIFETIME: Duration = Duration::from_secs(30 * 60);
const REFRESH_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Seconds for which a token is still valid after it expires, as clocks differ.
const LEEWAY_SECONDS: u64 = 30;
/// Maximum number of verified tokens that are cached, of some 300 bytes each.
const CACHED_TOKENS: usize = 10_000;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// Valid for every route, 30 minutes.
    Access,
    /// Valid for `POST /api/auth/refresh` only, 7 days.
    Refresh,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    sub: Uuid,
    typ: TokenKind,
    /// Tokens of an older version than the user's are void.
    ver: i32,
    iat: i64,
    exp: i64,
    jti: Uuid,
}

impl Claims {
    fn identity(&self) -> Identity {
        Identity::Token(self.sub, self.ver)
    }
}

/// The keys of the tokens. The first secret signs; all of them verify, so that a secret can be replaced while tokens of
/// the old one are in use.
pub struct Keys {
    signing: (Header, EncodingKey),
    /// By a token's header, which has the key's id and is the same in all tokens of a key.
    verifying: Vec<(String, DecodingKey)>,
    validation: Validation,
    /// Claims of verified tokens: a client sends the same token with each request, and verifying it again takes a tenth
    /// of the server's time for a page (`make bench`).
    verified: Cache<Box<str>, Claims>,
    pepper: Vec<u8>,
}

impl Keys {
    /// `secrets` are 32 bytes or more each, newest first.
    pub fn new(secrets: &[String]) -> anyhow::Result<Self> {
        let first = secrets.first().filter(|s| !s.is_empty());
        let first = first.ok_or_else(|| {
            anyhow::anyhow!(
                "RINGFENCE_JWT_SECRET is not set: give it 32 random bytes or more, e.g. from `openssl rand -hex 32`"
            )
        })?;
        if secrets.iter().any(|s| s.len() < 32) {
            anyhow::bail!("RINGFENCE_JWT_SECRET is shorter than 32 bytes: make one with `openssl rand -hex 32`");
        }
        // A key's id is public, so it is a hash of the secret under a purpose of its own.
        let id = |secret: &str| BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(format!("key id of {secret}"))[..6]);
        let header = |kid| Header { kid: Some(kid), ..Header::new(Algorithm::HS256) };
        let verifying = secrets.iter().map(|secret| {
            let head = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header(id(secret)))?);
            Ok((head, DecodingKey::from_secret(secret.as_bytes())))
        });
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Ok(Self {
            signing: (header(id(first)), EncodingKey::from_secret(first.as_bytes())),
            verifying: verifying.collect::<Result<_, serde_json::Error>>()?,
            validation,
            verified: Cache::new(CACHED_TOKENS),
            pepper: first.as_bytes().to_vec(),
        })
    }

    /// A signed token for a user.
    pub fn issue(&self, kind: TokenKind, user_id: Uuid, version: i32) -> Result<String> {
        let now = jiff::Timestamp::now().as_second();
        let life = match kind {
            TokenKind::Access => ACCESS_LIFETIME,
            TokenKind::Refresh => REFRESH_LIFETIME,
        };
        let exp = now + life.as_secs() as i64;
        let claims = Claims { sub: user_id, typ: kind, ver: version, iat: now, exp, jti: Uuid::new_v4() };
        jsonwebtoken::encode(&self.signing.0, &claims, &self.signing.1)
            .map_err(|e| Error::Internal(e.to_string().into()))
    }

    /// The claims of a token that one of the keys has signed and that has not expired. Whether it was revoked is
    /// checked in the database.
    fn verify(&self, token: &str) -> Option<Claims> {
        if let Some(claims) = self.verified.get(token) {
            let now = jiff::Timestamp::now().as_second();
            return (claims.exp >= now.saturating_sub_unsigned(LEEWAY_SECONDS)).then_some(claims);
        }
        let (head, _) = token.split_once('.')?;
        let (_, key) = self.verifying.iter().find(|(known, _)| known == head)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation).ok()?.claims;
        self.verified.insert(token.into(), claims.clone());
        Some(claims)
    }

    /// The name of a rate limit's bucket, which does not reveal the account.
    pub fn bucket(&self, text: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.keyed_hash("bucket", &[text]))
    }

    /// A hash of a short code, useless without the server's secret.
    pub fn code_hash(&self, email: &str, code: &str) -> Vec<u8> {
        self.keyed_hash("reset code", &[email, code])
    }

    fn keyed_hash(&self, purpose: &str, parts: &[&str]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.pepper).expect("an HMAC key has any length");
        mac.update(purpose.as_bytes());
        for part in parts {
            mac.update(&[0]);
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().to_vec()
    }
}

/// The claims of a request's bearer token, which must be of one of these kinds.
fn claims(headers: &HeaderMap, keys: &Keys, kinds: &[TokenKind]) -> Result<Claims> {
    let value = headers.get(header::AUTHORIZATION).ok_or(Error::NotAuthenticated)?;
    let (scheme, token) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or(Error::WrongScheme)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Error::WrongScheme);
    }
    let claims = keys.verify(token.trim()).filter(|c| kinds.contains(&c.typ)).ok_or(Error::InvalidToken)?;
    server::note_user(claims.sub);
    Ok(claims)
}

impl<D: Permission> FromRequestParts<App> for Scoped<D> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let who = claims(&parts.headers, &app.keys, &[TokenKind::Access])?.identity();
        Ok(app.db.scoped(who).reading(read_your_writes::asked(parts, app, &who)))
    }
}

/// For routes that treat strangers and members differently: no header means a stranger, a bad token is refused.
impl<D: Permission> OptionalFromRequestParts<App> for Scoped<D> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>> {
        match <Self as FromRequestParts<App>>::from_request_parts(parts, app).await {
            Err(Error::NotAuthenticated) => Ok(None),
            other => other.map(Some),
        }
    }
}

impl<D: Permission> aide::OperationInput for Scoped<D> {
    fn operation_input(_: &mut aide::generate::GenContext, operation: &mut aide::openapi::Operation) {
        operation.security = vec![[("bearer".to_owned(), vec![])].into_iter().collect()];
    }
}

/// The extractor of `POST /api/auth/refresh`: takes an access or a refresh token.
pub struct RefreshDb {
    /// The caller's handle.
    pub db: Scoped<AnyUser>,
    /// The version of the token. The new token gets the same: with a newer one it would survive a logout that revokes
    /// the old token meanwhile.
    pub version: i32,
}

impl FromRequestParts<App> for RefreshDb {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let claims = claims(&parts.headers, &app.keys, &[TokenKind::Access, TokenKind::Refresh])?;
        Ok(Self { db: app.db.scoped(claims.identity()), version: claims.ver })
    }
}

impl aide::OperationInput for RefreshDb {
    fn operation_input(ctx: &mut aide::generate::GenContext, operation: &mut aide::openapi::Operation) {
        Scoped::<AnyUser>::operation_input(ctx, operation);
    }
}

/// Random bytes from the operating system's generator.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_verified_ends_when_it_says() {
        let secret = "a secret of thirty-two bytes or more";
        let keys = Keys::new(&[secret.into()]).unwrap();
        let good_until = jiff::Timestamp::now().as_second() + 1;
        let exp = good_until - LEEWAY_SECONDS as i64;
        let claims =
            Claims { sub: Uuid::new_v4(), typ: TokenKind::Access, ver: 1, iat: exp - 60, exp, jti: Uuid::new_v4() };
        let token = jsonwebtoken::encode(&keys.signing.0, &claims, &keys.signing.1).unwrap();
        for _ in 0..2 {
            assert_eq!(keys.verify(&token).map(|claims| claims.sub), Some(claims.sub));
        }
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
        assert!(keys.verify(&forged).is_none());
        while jiff::Timestamp::now().as_second() <= good_until {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(keys.verified.get(token.as_str()).is_some() && keys.verify(&token).is_none());
    }
}
