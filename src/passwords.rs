//! Passwords: how they are hashed and verified without slowing down other work, and which are good enough.

use crate::{Error, Result, idempotency};
use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

/// Hashes and verifies passwords on its own threads, so that logins, however many, do not slow down other requests.
/// Work for disconnected clients is skipped.
#[derive(Clone)]
pub struct Hasher {
    queue: mpsc::Sender<Work>,
    places: Arc<Semaphore>,
    threads: usize,
    /// Moving average of how long a thread is busy with a password, in microseconds.
    lately: Arc<AtomicU64>,
    /// The hash to verify if the account is unknown, so that the response takes as long as with an argon2id hash. To
    /// take as long as with bcrypt, each failed login would need the time of several.
    dummy: Arc<str>,
}

type Work = Box<dyn FnOnce() + Send>;

/// Maximum number of passwords in the queue.
const MAX_QUEUED: usize = 1000;
/// Maximum expected wait: a request that would time out in the queue is refused at once.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The name of the threads that hash.
pub const HASHING: &str = "passwords";

impl Hasher {
    /// A hasher with this many threads.
    pub fn new(threads: usize) -> anyhow::Result<Self> {
        let (queue, waiting) = mpsc::channel::<Work>();
        let waiting = Arc::new(Mutex::new(waiting));
        let lately = Arc::new(AtomicU64::new(0));
        for _ in 0..threads {
            let (waiting, lately) = (waiting.clone(), lately.clone());
            thread::Builder::new().name(HASHING.into()).spawn(move || hash_what_waits(&waiting, &lately))?;
        }
        Ok(Self {
            queue,
            threads,
            lately,
            places: Arc::new(Semaphore::new(MAX_QUEUED)),
            dummy: hash_now(&Uuid::new_v4().to_string())?.into(),
        })
    }

    /// The number of hashing threads on a machine with this many processors: one fewer, so that one is left for other
    /// work, and at most four, because each takes 19 MiB.
    pub fn threads(processors: usize) -> usize {
        processors.saturating_sub(1).clamp(1, 4)
    }

    /// The argon2id hash of a password, a PHC string.
    pub async fn hash(&self, password: &str) -> Result<String> {
        let password = password.to_owned();
        self.run(move || hash_now(&password)).await?.map_err(|e| Error::Internal(e.to_string().into()))
    }

    /// Whether the password matches `stored`; `None` stands for an account that does not exist.
    pub async fn verify(&self, password: &str, stored: Option<&str>) -> Result<bool> {
        let known = stored.is_some();
        let (password, stored) = (password.to_owned(), stored.unwrap_or(&self.dummy).to_owned());
        Ok(self.run(move || verify_now(&password, &stored)).await? && known)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        idempotency::leaving().await?;
        let busy = || Error::Busy("Too many people are logging in right now: try again in a moment");
        let _place = self.places.try_acquire().map_err(|_| busy())?;
        if self.expected_wait() > MAX_WAIT {
            return Err(busy());
        }
        let (answer, done) = oneshot::channel();
        let work = move || {
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        };
        self.queue.send(Box::new(work)).map_err(|_| Error::Unavailable)?;
        done.await.map_err(|_| Error::Internal("the hashing thread panicked".into()))
    }

    /// How long all work in the queue will take.
    fn expected_wait(&self) -> Duration {
        let waiting = MAX_QUEUED - self.places.available_permits();
        Duration::from_micros(self.lately.load(Relaxed) * waiting as u64 / self.threads as u64)
    }
}

/// Works until the hasher is dropped.
fn hash_what_waits(waiting: &Mutex<mpsc::Receiver<Work>>, lately: &AtomicU64) {
    // On Linux each thread has its own niceness: other work comes first.
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
            thread::sleep((took / 2).min(MAX_REST));
        }
        let micros = begun.0.elapsed().as_micros() as u64;
        // A lost update does no harm to an estimate.
        lately.store((lately.load(Relaxed) * 3 + micros) / 4, Relaxed);
    }
}

/// Maximum rest of a thread after hashing. If that took longer than its processor time, other work was waiting, and the
/// thread rests for half as long: otherwise a storm of logins delays more than one in a hundred reads (`make bench
/// ARGS="--only storm"`).
const MAX_REST: Duration = Duration::from_millis(100);

/// The processor time that this thread has used, if the system reports it.
fn processor_time() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).try_into().ok()
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The niceness of the hashing threads (at most 19). Linux leaves a thread on its processor for some milliseconds
/// before a waiting one gets it, but less often the nicer the thread is: at 5, the slowest hundredth of reads during
/// logins takes two and a half times as long as without, at 15 less than twice (`make bench ARGS="--only storm"`). With
/// four other busy threads on each processor, a login takes some two seconds at 15, and eight at 19.
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
        // Truncates the password to 72 bytes, as the old backend did when it made the hash.
        return bcrypt::verify(password, stored).unwrap_or(false);
    }
    PasswordHash::new(stored).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Refuses a weak password with the sentence of the first rule that it breaks.
pub fn check(password: &str, email: &str, special: bool) -> Result<()> {
    problem(password, email, special).map_or(Ok(()), |problem| Err(Error::bad_request(problem)))
}

/// Refuses a weak password that an admin gives to somebody else. The team form gives everybody the same one (contract:
/// auth/register), so only the contract's rules and the list of common passwords apply.
pub fn check_start(password: &str, email: &str, special: bool) -> Result<()> {
    start_problem(password, email, special).map_or(Ok(()), |problem| Err(Error::bad_request(problem)))
}

/// The rule that a password breaks (contract: auth/register), or why it is easy to guess.
pub fn problem(password: &str, email: &str, special: bool) -> Option<&'static str> {
    start_problem(password, email, special).or_else(|| {
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

/// Whether a lower-cased password is a common word, with digits and signs around it, between its letters or for some of
/// them.
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

fn start_problem(password: &str, email: &str, special: bool) -> Option<&'static str> {
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

/// Words in passwords that barely satisfy the rules.
const WORDS: &str = "
    password passwort passwd pass passcode secret letmein changeme welcome login access default temp temporary test testing
    tester guest demo user username admin administrator root master manager company office sales crm ringfence
    qwerty qwertz azerty qwertyuiop qwer qwe asdf asdfgh asdfghjkl zxcv zxcvbn zxcvbnm qaz qazwsx qazwsxedc zaqwsx
    abc abcd abcde abcdef hello iloveyou monkey dragon shadow sunshine princess football baseball basketball soccer
    superman batman starwars pokemon whatever trustno freedom summer autumn winter spring
    january february march april june july august september october november december monday friday sunday
";

/// The most common passwords that satisfy the rules above, lower-cased.
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
