//! Who is calling: tokens, passwords, and the extractors that are a route's permission.

use crate::{
    App, Error, Result,
    db::{AnyUser, Door, Identity, Scoped},
    idempotency, position, server,
};
use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
#[cfg(target_os = "linux")]
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

const ACCESS_LIFE: Duration = Duration::from_secs(30 * 60);
const REFRESH_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Seconds after its end in which a token is still good, as clocks differ.
const LEEWAY: u64 = 30;
/// Tokens that are known as verified, of some 300 bytes each.
const VERIFIED: usize = 10_000;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// Good for every route, 30 minutes.
    Access,
    /// Good for `POST /api/auth/refresh` only, 7 days.
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

/// The keys of the tokens. The first secret signs; all of them verify, so that a secret can be replaced while tokens of
/// the old one are about.
pub struct Keys {
    signing: (Header, EncodingKey),
    /// By a token's first part, which has the key's id and is the same in each token of a key.
    verifying: Vec<(String, DecodingKey)>,
    validation: Validation,
    /// What tokens say that were verified: a client sends the same one with each request, and to check it anew takes a
    /// tenth of the server's time for a page (`make bench`).
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
        validation.leeway = LEEWAY;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Ok(Self {
            signing: (header(id(first)), EncodingKey::from_secret(first.as_bytes())),
            verifying: verifying.collect::<Result<_, serde_json::Error>>()?,
            validation,
            verified: Cache::new(VERIFIED),
            pepper: first.as_bytes().to_vec(),
        })
    }

    /// A signed token for a user.
    pub fn issue(&self, kind: TokenKind, user_id: Uuid, version: i32) -> Result<String> {
        let now = jiff::Timestamp::now().as_second();
        let life = match kind {
            TokenKind::Access => ACCESS_LIFE,
            TokenKind::Refresh => REFRESH_LIFE,
        };
        let exp = now + life.as_secs() as i64;
        let claims = Claims { sub: user_id, typ: kind, ver: version, iat: now, exp, jti: Uuid::new_v4() };
        jsonwebtoken::encode(&self.signing.0, &claims, &self.signing.1)
            .map_err(|e| Error::Internal(e.to_string().into()))
    }

    /// What a token says that one of the keys has signed and that has not ended. Whether its user's tokens are void by now is
    /// asked of the database.
    fn verify(&self, token: &str) -> Option<Claims> {
        if let Some(claims) = self.verified.get(token) {
            let now = jiff::Timestamp::now().as_second();
            return (claims.exp >= now.saturating_sub_unsigned(LEEWAY)).then_some(claims);
        }
        let (head, _) = token.split_once('.')?;
        let (_, key) = self.verifying.iter().find(|(known, _)| known == head)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation).ok()?.claims;
        self.verified.insert(token.into(), claims.clone());
        Some(claims)
    }

    /// The name of a rate limit's bucket, from which nobody can read the account.
    pub fn bucket(&self, text: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.keyed_hash("bucket", &[text]))
    }

    /// A hash of a short code that is of no use without the server's secret.
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

/// The identity in a request's bearer token, which must be of one of these kinds.
fn identity(headers: &HeaderMap, keys: &Keys, kinds: &[TokenKind]) -> Result<Identity> {
    let value = headers.get(header::AUTHORIZATION).ok_or(Error::NotAuthenticated)?;
    let (scheme, token) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or(Error::WrongScheme)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Error::WrongScheme);
    }
    let claims = keys.verify(token.trim()).filter(|c| kinds.contains(&c.typ)).ok_or(Error::InvalidToken)?;
    server::note_user(claims.sub);
    Ok(Identity::Token(claims.sub, claims.ver))
}

impl<D: Door> FromRequestParts<App> for Scoped<D> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let who = identity(&parts.headers, &app.keys, &[TokenKind::Access])?;
        Ok(app.db.scoped(who).reading(position::asked(parts, app, &who)))
    }
}

/// For routes that answer strangers and members differently: no header is a stranger, a bad token is refused.
impl<D: Door> OptionalFromRequestParts<App> for Scoped<D> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>> {
        match <Self as FromRequestParts<App>>::from_request_parts(parts, app).await {
            Err(Error::NotAuthenticated) => Ok(None),
            other => other.map(Some),
        }
    }
}

impl<D: Door> aide::OperationInput for Scoped<D> {
    fn operation_input(_: &mut aide::generate::GenContext, operation: &mut aide::openapi::Operation) {
        operation.security = vec![[("bearer".to_owned(), vec![])].into_iter().collect()];
    }
}

/// The door of `POST /api/auth/refresh`: an access or a refresh token.
pub struct RefreshDb(pub Scoped<AnyUser>);

impl FromRequestParts<App> for RefreshDb {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let who = identity(&parts.headers, &app.keys, &[TokenKind::Access, TokenKind::Refresh])?;
        Ok(Self(app.db.scoped(who)))
    }
}

impl aide::OperationInput for RefreshDb {
    fn operation_input(ctx: &mut aide::generate::GenContext, operation: &mut aide::openapi::Operation) {
        Scoped::<AnyUser>::operation_input(ctx, operation);
    }
}

/// Hashes and checks passwords on threads of its own, so that people who log in, however many, do not slow down those who
/// work. Who has hung up is not hashed for.
#[derive(Clone)]
pub struct Hasher {
    queue: mpsc::Sender<Work>,
    places: Arc<Semaphore>,
    /// Verified when the account is unknown, so that the answer takes as long.
    dummy: Arc<str>,
}

type Work = Box<dyn FnOnce() + Send>;

/// How many may wait at a time: as many as are hashed in the time after which a request is given up, about.
const PLACES: usize = 1000;

/// The name of the threads that hash.
pub const HASHING: &str = "passwords";

impl Hasher {
    /// A hasher with so many threads.
    pub fn new(threads: usize) -> anyhow::Result<Self> {
        let (queue, waiting) = mpsc::channel::<Work>();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let waiting = waiting.clone();
            thread::Builder::new().name(HASHING.into()).spawn(move || hash_what_waits(&waiting))?;
        }
        Ok(Self {
            queue,
            places: Arc::new(Semaphore::new(PLACES)),
            dummy: hash_now(&Uuid::new_v4().to_string())?.into(),
        })
    }

    /// How many threads to have beside a server on a machine with so many processors: fewer than those, so that one is left
    /// for everybody else, and at most four, because each takes 19 MiB.
    pub fn threads(processors: usize) -> usize {
        processors.saturating_sub(1).clamp(1, 4)
    }

    /// The argon2id hash of a password, a PHC string.
    pub async fn hash(&self, password: &str) -> Result<String> {
        let password = password.to_owned();
        self.run(move || hash_now(&password)).await?.map_err(|e| Error::Internal(e.to_string().into()))
    }

    /// Whether the password is that of `stored`; `None` stands for an account that does not exist.
    pub async fn verify(&self, password: &str, stored: Option<&str>) -> Result<bool> {
        let known = stored.is_some();
        let (password, stored) = (password.to_owned(), stored.unwrap_or(&self.dummy).to_owned());
        Ok(self.run(move || verify_now(&password, &stored)).await? && known)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        idempotency::leaving().await?;
        let busy = |_| Error::Busy("Too many people are logging in right now: try again in a moment");
        let _place = self.places.try_acquire().map_err(busy)?;
        let (answer, done) = oneshot::channel();
        let work = move || {
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        };
        self.queue.send(Box::new(work)).map_err(|_| Error::Unavailable)?;
        done.await.map_err(|_| Error::Internal("the hashing thread panicked".into()))
    }
}

/// Works until the hasher is gone.
fn hash_what_waits(waiting: &Mutex<mpsc::Receiver<Work>>) {
    // On Linux a thread has a niceness of its own: whoever else wants the processor comes first.
    #[cfg(target_os = "linux")]
    if let Err(e) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(error = %e, "passwords are hashed at the priority of everything else");
    }
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        let begun = (Instant::now(), processor_time());
        let _ = catch_unwind(AssertUnwindSafe(work));
        let took = begun.0.elapsed();
        let used = processor_time().zip(begun.1).map(|(until, from)| until.saturating_sub(from));
        if used.is_some_and(|used| took > used.mul_f64(1.25)) {
            thread::sleep((took / 2).min(REST));
        }
    }
}

/// Whose hashing took longer than the processor needed for it has kept others waiting, and rests for half as long, at most this:
/// otherwise a storm of logins keeps more than one of a hundred reads waiting (`make bench ARGS="--only storm"`).
const REST: Duration = Duration::from_millis(100);

/// For how long a processor has worked for this thread, where the system tells.
fn processor_time() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    if let Ok(used) = getrusage(UsageWho::RUSAGE_THREAD) {
        let micros = (used.user_time() + used.system_time()).num_microseconds();
        return micros.try_into().ok().map(Duration::from_micros);
    }
    None
}

/// Of 19. Linux leaves who is hashing on a processor for some milliseconds before somebody else gets it, the less often the
/// nicer it is: at 5 the slowest hundredth of reads beside logins takes two and a half times as long as without, at 15 less
/// than twice (`make bench ARGS="--only storm"`). With four others always at work on each processor a login takes some two
/// seconds, and at 19 eight.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 15;

/// Whether a stored hash is of an older kind than new ones and should be replaced at the next login.
pub fn is_outdated(hash: &str) -> bool {
    !hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
}

/// Hashes on this thread; for commands and demo data.
pub fn hash_now(password: &str) -> anyhow::Result<String> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    Ok(hash.map_err(|e| anyhow::anyhow!("cannot hash a password: {e}"))?.to_string())
}

fn verify_now(password: &str, stored: &str) -> bool {
    if stored.starts_with("$2") {
        // Cuts the password at 72 bytes, as the old backend did when it made the hash.
        return bcrypt::verify(password, stored).unwrap_or(false);
    }
    PasswordHash::new(stored).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Refuses a weak password with the sentence of the first rule that it breaks.
pub fn check_password(password: &str, email: &str, special: bool) -> Result<()> {
    password_problem(password, email, special).map_or(Ok(()), |problem| Err(Error::bad_request(problem)))
}

/// The same for a password that an admin gives to somebody else. The team form gives everybody the same (contract:
/// auth/register), so only the contract's rules and the commonest passwords count.
pub fn check_start_password(password: &str, email: &str, special: bool) -> Result<()> {
    start_password_problem(password, email, special).map_or(Ok(()), |problem| Err(Error::bad_request(problem)))
}

/// A rule that a password breaks (contract: auth/register), or why others would guess it.
pub fn password_problem(password: &str, email: &str, special: bool) -> Option<&'static str> {
    start_password_problem(password, email, special).or_else(|| {
        let (lower, email) = (password.to_lowercase(), email.to_lowercase());
        let name = email.split('@').next().unwrap_or_default();
        if [email.as_str(), name].iter().any(|own| own.chars().count() >= 5 && lower.contains(own)) {
            Some("Password must not contain your email address or the name in it")
        } else if is_common_word(&lower) {
            Some(TOO_COMMON)
        } else {
            None
        }
    })
}

const TOO_COMMON: &str = "Password is too common: choose another one";

/// Whether a lower-cased password is one of the words that everybody takes, with digits and signs around it, between its
/// letters or for some of them.
fn is_common_word(password: &str) -> bool {
    let core = password.trim_start_matches(char::is_numeric).trim_end_matches(|c: char| !c.is_alphabetic());
    let letter = |c| match c {
        '@' | '4' => 'a',
        '3' => 'e',
        '1' | '!' => 'i',
        '0' => 'o',
        '$' | '5' => 's',
        '7' => 't',
        other => other,
    };
    let plain: String = core.chars().filter(|c| c.is_alphabetic()).collect();
    let read: String = core.chars().map(letter).filter(|c| c.is_alphabetic()).collect();
    WORDS.split_ascii_whitespace().any(|word| word == plain || word == read)
}

fn start_password_problem(password: &str, email: &str, special: bool) -> Option<&'static str> {
    let lower = password.to_lowercase();
    if password.chars().count() < 8 {
        Some("Password must be at least 8 characters long")
    } else if password.chars().count() > 256 {
        Some("Password must be at most 256 characters long")
    } else if !password.chars().any(char::is_uppercase) {
        Some("Password must contain at least one uppercase letter")
    } else if !password.chars().any(char::is_lowercase) {
        Some("Password must contain at least one lowercase letter")
    } else if !password.chars().any(|c| c.is_ascii_digit()) {
        Some("Password must contain at least one digit")
    } else if special && password.chars().all(char::is_alphanumeric) {
        Some("Password must contain at least one special character")
    } else if lower == email.to_lowercase() {
        Some("Password must not be your email address")
    } else if COMMON.contains(&lower.as_str()) {
        Some(TOO_COMMON)
    } else {
        None
    }
}

/// The letters of passwords that only just satisfy the rules.
const WORDS: &str = "
    password passwort passwd pass passcode secret letmein changeme welcome login access default temp temporary test testing
    tester guest demo user username admin administrator root master manager company office sales crm ringfence
    qwerty qwertz azerty qwertyuiop qwer qwe asdf asdfgh asdfghjkl zxcv zxcvbn zxcvbnm qaz qazwsx qazwsxedc zaqwsx
    abc abcd abcde abcdef hello iloveyou monkey dragon shadow sunshine princess football baseball basketball soccer
    superman batman starwars pokemon whatever trustno freedom summer autumn winter spring
    january february march april june july august september october november december monday friday sunday
";

/// The commonest of those that satisfy the rules above, lower-cased.
const COMMON: &[&str] = &[
    "password1",
    "password12",
    "password123",
    "password1234",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword1",
    "qwerty123",
    "qwerty1234",
    "abc12345",
    "abcd1234",
    "admin123",
    "admin1234",
    "welcome1",
    "welcome123",
    "letmein1",
    "letmein123",
    "iloveyou1",
    "changeme1",
    "changeme123",
    "test1234",
    "temp1234",
    "user1234",
    "hello123",
    "monkey123",
    "dragon123",
    "football1",
    "baseball1",
    "superman1",
    "sunshine1",
    "princess1",
    "1q2w3e4r",
    "1qaz2wsx",
    "qwer1234",
    "asdf1234",
    "zaq12wsx",
    "summer2024",
    "winter2024",
    "summer2025",
    "winter2025",
    "summer2026",
    "winter2026",
    "company123",
    "secret123",
];

/// Random bytes of the operating system's generator.
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
        let exp = good_until - LEEWAY as i64;
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
            thread::sleep(Duration::from_millis(50));
        }
        assert!(keys.verified.get(token.as_str()).is_some() && keys.verify(&token).is_none());
    }
}
