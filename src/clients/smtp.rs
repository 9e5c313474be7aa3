//! Sends mail to an SMTP server (RFC 5321). lettre speaks the protocol; this module decides which connections are
//! reused.
//!
//! A connection is kept for the next mail only after a mail has been accepted over it. Any other end, also that nobody
//! waits any more, drops the connection: if a response was left unread, each later response would be taken for that of
//! the next mail.

use super::{Failure, Failures, TIMEOUT};
use anyhow::Context;
use lettre::{
    address::Envelope,
    transport::smtp::{
        self,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailBodyParameter, MailParameter},
    },
};
use percent_encoding::percent_decode_str;
use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::{Duration, Instant, error::Elapsed, sleep, timeout};
use url::Url;

/// The number of connections that are kept for the next mail.
const MAX_IDLE_CONNECTIONS: usize = 32;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// How long a server may take for a mail of this size: half a minute to process it, and four seconds for each megabyte.
pub const fn patience(bytes: usize) -> Duration {
    Duration::from_secs(2 * TIMEOUT.as_secs() + 4 * (bytes >> 20) as u64)
}

/// An SMTP server.
pub struct Server {
    /// Its name in the log.
    name: &'static str,
    host: String,
    port: u16,
    security: Security,
    hello: ClientId,
    credentials: Option<Credentials>,
    kept: Arc<Mutex<Kept>>,
    failures: Failures,
}

/// How the connection is encrypted.
enum Security {
    /// Not encrypted.
    Plain,
    /// TLS from the beginning.
    Tls(TlsParameters),
    /// STARTTLS is required (RFC 3207).
    StartTls(TlsParameters),
    /// STARTTLS if the server offers it.
    StartTlsIfOffered(TlsParameters),
}

/// Idle connections, the most recently used one at the end.
#[derive(Default)]
struct Kept {
    connections: Vec<(AsyncSmtpConnection, Instant)>,
    /// Whether a task is running that closes old connections.
    is_looked_after: bool,
}

/// How far a conversation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    LoggingIn,
    Sender,
    Recipient,
    Data,
    /// From here on the server may have taken the mail.
    Text,
}

/// Why a conversation ended early.
enum Cause {
    Smtp(smtp::Error),
    /// The server does not support what the mail needs, such as an address that is not ASCII.
    Unable,
    Timeout,
}

impl From<smtp::Error> for Cause {
    fn from(e: smtp::Error) -> Self {
        Self::Smtp(e)
    }
}

impl fmt::Display for Cause {
    /// Leaves out the server's message, which may name a recipient.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Smtp(e) => match codes(e) {
                Some(codes) => write!(f, "answered {codes}"),
                None if e.is_tls() => f.write_str("TLS: is its certificate valid for this name?"),
                None if e.is_response() => f.write_str("closed the connection, or said what is no SMTP"),
                None if e.is_client() => f.write_str("offers no way to log in, or no STARTTLS"),
                None if e.is_timeout() => f.write_str("did not answer in time"),
                None => f.write_str("could not be reached, or lost the connection"),
            },
            Self::Unable => f.write_str("cannot take addresses or texts that are not ASCII"),
            Self::Timeout => f.write_str("did not answer in time"),
        }
    }
}

impl Server {
    /// The server at an address such as `smtp://user:password@host:port?tls=required` or `smtps://…`; connects when the
    /// first mail is sent. A path is the name that it greets with.
    pub fn at(url: &str, name: &'static str) -> anyhow::Result<Self> {
        let url = Url::parse(url)?;
        let host = url.host_str().context("it has no host")?.to_owned();
        let tls = url.query_pairs().find(|(key, _)| key == "tls").map(|(_, value)| value.into_owned());
        let parameters = || TlsParameters::new(host.clone());
        let (security, port) = match (url.scheme(), tls.as_deref()) {
            ("smtps", _) => (Security::Tls(parameters()?), smtp::SUBMISSIONS_PORT),
            ("smtp", None) => (Security::Plain, smtp::SMTP_PORT),
            ("smtp", Some("required")) => (Security::StartTls(parameters()?), smtp::SUBMISSION_PORT),
            ("smtp", Some("opportunistic")) => (Security::StartTlsIfOffered(parameters()?), smtp::SUBMISSION_PORT),
            _ => anyhow::bail!("it begins with smtp:// or smtps://, and tls is required or opportunistic"),
        };
        let decoded = |text: &str| anyhow::Ok(percent_decode_str(text).decode_utf8()?.into_owned());
        let credentials = match url.password() {
            Some(password) => Some(Credentials::new(decoded(url.username())?, decoded(password)?)),
            None => None,
        };
        let greeting = url.path().trim_matches('/');
        let hello = if greeting.is_empty() { ClientId::default() } else { ClientId::Domain(greeting.to_owned()) };
        let port = url.port().unwrap_or(port);
        Ok(Self { name, host, port, security, hello, credentials, kept: Arc::default(), failures: Failures::default() })
    }

    /// Its name in the log, and how often it took nothing since the start.
    pub fn failures(&self) -> (&'static str, u64) {
        (self.name, self.failures.so_far())
    }

    /// Delivers a mail to the server, within [`patience`].
    pub async fn deliver(&self, envelope: &Envelope, mail: &[u8]) -> Result<(), Failure> {
        let mut stage = Stage::Connecting;
        let ended = timeout(patience(mail.len()), self.converse(envelope, mail, &mut stage)).await;
        self.outcome(stage, ended)
    }

    /// Whether the server responds and accepts the login.
    pub async fn is_there(&self) -> bool {
        let mut stage = Stage::Connecting;
        let ended = timeout(TIMEOUT, self.connection(&mut stage)).await;
        self.outcome(stage, ended).is_ok()
    }

    /// The result of a conversation; its connection is kept only if it was completed.
    fn outcome(&self, stage: Stage, ended: Result<Result<AsyncSmtpConnection, Cause>, Elapsed>) -> Result<(), Failure> {
        match ended.unwrap_or(Err(Cause::Timeout)) {
            Ok(connection) => {
                self.keep(connection);
                Ok(())
            }
            Err(cause) => Err(self.failure(stage, cause)),
        }
    }

    /// Sends a mail; returns the connection once the server has accepted it.
    async fn converse(
        &self,
        envelope: &Envelope,
        mail: &[u8],
        stage: &mut Stage,
    ) -> Result<AsyncSmtpConnection, Cause> {
        let mut connection = self.connection(stage).await?;
        *stage = Stage::Sender;
        let (server, mut parameters) = (connection.server_info(), Vec::new());
        let mut addresses = envelope.from().into_iter().chain(envelope.to());
        if !addresses.all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
            if !server.supports_feature(Extension::SmtpUtfEight) {
                return Err(Cause::Unable);
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !mail.is_ascii() {
            if !server.supports_feature(Extension::EightBitMime) {
                return Err(Cause::Unable);
            }
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        connection.command(Mail::new(envelope.from().cloned(), parameters)).await?;
        *stage = Stage::Recipient;
        for address in envelope.to() {
            connection.command(Rcpt::new(address.clone(), Vec::new())).await?;
        }
        *stage = Stage::Data;
        connection.command(Data).await?;
        *stage = Stage::Text;
        connection.message(mail).await?;
        Ok(connection)
    }

    /// A kept connection that still responds, or a new one.
    async fn connection(&self, stage: &mut Stage) -> Result<AsyncSmtpConnection, Cause> {
        loop {
            let Some((mut connection, since)) = lock(&self.kept).connections.pop() else { break };
            if since.elapsed() < IDLE && connection.test_connected().await {
                return Ok(connection);
            }
        }
        let tls = if let Security::Tls(parameters) = &self.security { Some(parameters.clone()) } else { None };
        let address = (self.host.trim_matches(['[', ']']), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(TIMEOUT), &self.hello, tls, None).await?;
        match &self.security {
            Security::StartTls(parameters) => connection.starttls(parameters.clone(), &self.hello).await?,
            Security::StartTlsIfOffered(parameters) if connection.can_starttls() => {
                connection.starttls(parameters.clone(), &self.hello).await?;
            }
            _ => {}
        }
        if let Some(credentials) = &self.credentials {
            *stage = Stage::LoggingIn;
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut kept = lock(&self.kept);
        if kept.connections.len() < MAX_IDLE_CONNECTIONS {
            kept.connections.push((connection, Instant::now()));
        }
        if !std::mem::replace(&mut kept.is_looked_after, true) {
            tokio::spawn(close_the_old(self.kept.clone()));
        }
    }

    /// The failure for a conversation that ended early. Logs the stage and the cause.
    fn failure(&self, stage: Stage, cause: Cause) -> Failure {
        tracing::warn!(server = self.name, ?stage, %cause, "a mail server did not take a mail");
        let answer = if let Cause::Smtp(e) = &cause { Some(e) } else { None };
        let is_refused = answer.is_some_and(smtp::Error::is_permanent);
        let failure = match stage {
            _ if matches!(cause, Cause::Unable) => refused("the mail server cannot take it"),
            Stage::LoggingIn if is_refused || answer.is_some_and(smtp::Error::is_client) => {
                Failure::Closed("the mail server refuses the login".into())
            }
            Stage::Sender if is_refused => Failure::Closed(NOT_FROM_SENDER.into()),
            Stage::Recipient | Stage::Data | Stage::Text if is_refused => no(answer),
            Stage::Text if !answer.is_some_and(smtp::Error::is_transient) => Failure::Unclear,
            _ => Failure::Busy,
        };
        if !matches!(failure, Failure::Refused { .. } | Failure::Denied(_)) {
            self.failures.count();
        }
        failure
    }
}

const NOT_FROM_SENDER: &str = "the mail server takes no mail from this sender now";

/// What a permanent refusal is that comes after the sender was accepted, by its enhanced code (RFC 3463). Servers judge
/// a sender as late as at the recipient, or at the end of the mail: some codes say that, those of a policy and answers
/// without such a code may.
fn no(answer: Option<&smtp::Error>) -> Failure {
    let why = || match answer.and_then(codes) {
        Some(codes) => format!("the mail server did not accept it ({codes})"),
        None => "the mail server did not accept it".into(),
    };
    match answer.and_then(enhanced_code).as_deref() {
        // The sender's address cannot be one, its domain takes no mail, or more is sent than may be.
        Some("5.1.7" | "5.1.8" | "5.4.5") => Failure::Closed(NOT_FROM_SENDER.into()),
        Some(code) if !code.starts_with("5.7.") => refused(&why()),
        _ => Failure::Denied(why()),
    }
}

/// The codes of an answer, such as `550` or `550 5.7.1`.
fn codes(answer: &smtp::Error) -> Option<String> {
    let code = answer.status()?;
    Some(match enhanced_code(answer) {
        Some(enhanced) => format!("{code} {enhanced}"),
        None => code.to_string(),
    })
}

/// The enhanced code with which the words of an answer begin, if they do (RFC 2034).
fn enhanced_code(answer: &smtp::Error) -> Option<String> {
    let words = answer.source()?.to_string();
    let code = words.split_whitespace().next()?;
    let is_number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    (code.split('.').count() == 3 && code.split('.').all(is_number)).then(|| code.to_owned())
}

fn refused(why: &str) -> Failure {
    Failure::Refused { code: None, message: why.into() }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes connections that have been idle too long, until none are kept.
async fn close_the_old(kept: Arc<Mutex<Kept>>) {
    loop {
        sleep(IDLE).await;
        let (old, goes_on): (Vec<_>, bool) = {
            let mut kept = lock(&kept);
            let old = kept.connections.extract_if(.., |(_, since)| since.elapsed() >= IDLE).collect();
            kept.is_looked_after = !kept.connections.is_empty();
            (old, kept.is_looked_after)
        };
        for (mut connection, _) in old {
            let _ = timeout(TIMEOUT, connection.quit()).await;
        }
        // Another task may already look after new connections.
        if !goes_on {
            return;
        }
    }
}
