//! Mail by SMTP: the platform's own (reset codes and invitations), and companies' mail through the relay.

use super::{Failure, smtp::Server};
use crate::{Error, Result, config::Config, idempotency};
use anyhow::Context;
use lettre::{
    Address, Message,
    message::{
        Attachment as Part, Body, Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use tokio::time::{Duration, Instant, sleep};
use uuid::Uuid;

/// A company's mail. The addresses were checked when it was written.
#[derive(Default)]
pub struct OutgoingEmail {
    /// The sender's address.
    pub from: String,
    /// The address for replies.
    pub reply_to: String,
    /// The recipient's address.
    pub to: String,
    /// The recipients of copies.
    pub cc: Vec<String>,
    /// The recipients of blind copies.
    pub bcc: Vec<String>,
    /// The subject: one line.
    pub subject: String,
    /// The plain text.
    pub text: Option<String>,
    /// The HTML.
    pub html: Option<String>,
    /// The Message-ID, the same however often the mail is built (RFC 5322).
    pub message_id: String,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The attached files.
    pub attachments: Vec<Attachment>,
    /// The company that sends the mail. SendGrid repeats this and `row` in its events.
    pub company: Uuid,
    /// The id of the mail's row.
    pub row: Uuid,
    /// The pool of IP addresses from which SendGrid sends it, by its name there.
    pub ip_pool: Option<String>,
}

impl OutgoingEmail {
    /// The plain text and the HTML. SendGrid refuses an empty part, so a blank part is left out; if both are blank, the
    /// text is a single space.
    pub fn parts(&self) -> (Option<&str>, Option<&str>) {
        let said = |part: &'_ Option<String>| part.as_ref().is_some_and(|text| !text.trim().is_empty());
        let (text, html) =
            (self.text.as_deref().filter(|_| said(&self.text)), self.html.as_deref().filter(|_| said(&self.html)));
        (text.or(html.is_none().then_some(" ")), html)
    }
}

/// A file attached to a mail.
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// Its MIME type.
    pub kind: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// The server at an address, if one is set.
fn server(url: Option<&str>, setting: &str, name: &'static str) -> anyhow::Result<Option<Server>> {
    let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(None) };
    let form = || format!("{setting} is not of the form smtp://user:password@host:port or smtps://…");
    Server::at(url, name).with_context(form).map(Some)
}

/// How long a mail that nobody else can send again waits for its second try. Each further wait is twice as long.
const PAUSE: Duration = Duration::from_secs(10);
/// How often such a mail is tried: five minutes suffice for a server that defers unknown senders (greylisting).
const MAX_ATTEMPTS: u32 = 6;

/// Sends mail, or logs it in development mode when there is no SMTP server.
pub struct Mailer {
    smtp: Option<Server>,
    relay: Option<Server>,
    from: Mailbox,
    development: bool,
}

impl Mailer {
    /// A mailer for `RINGFENCE_SMTP_URL`; connects when the first mail is sent.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        super::use_ring();
        let smtp = server(config.smtp_url.as_deref(), "RINGFENCE_SMTP_URL", "smtp")?;
        let relay = server(config.relay_url.as_deref(), "RINGFENCE_RELAY_URL", "relay")?;
        let from: Mailbox =
            config.mail_from.parse().context("RINGFENCE_MAIL_FROM is not of the form Name <address@host>")?;
        if smtp.is_some() && from.email.domain() == "localhost" {
            tracing::warn!("RINGFENCE_MAIL_FROM is not set, so that mail comes from {from}, which many servers refuse");
        }
        Ok(Self { smtp, relay, from, development: config.is_development() })
    }

    /// Sends one plain text mail. An invalid address is a 400, a server that refuses the mail a 502.
    pub async fn send(&self, to: &str, subject: &str, text: String) -> Result<()> {
        self.try_to_send(to, subject, &text).await?.map_err(not_sent)
    }

    /// The same for a mail for which nobody waits: while the server cannot take it, and `goes_on`, it is tried again
    /// for some minutes. One that is not wanted any more when its next try has come is dropped.
    pub async fn send_patiently<W: Future<Output = bool>>(
        &self,
        to: &str,
        subject: &str,
        text: String,
        goes_on: impl Fn() -> bool,
        is_wanted: impl Fn() -> W,
    ) -> Result<()> {
        for before in 0..MAX_ATTEMPTS - 1 {
            match self.try_to_send(to, subject, &text).await? {
                Err(Failure::Busy) => {}
                sent => return sent.map_err(not_sent),
            }
            let until = Instant::now() + PAUSE * 2_u32.pow(before);
            while Instant::now() < until {
                if !goes_on() {
                    return Err(not_sent(Failure::Busy));
                }
                sleep(Duration::from_secs(1)).await;
            }
            if !is_wanted().await {
                return Ok(());
            }
        }
        self.send(to, subject, text).await
    }

    async fn try_to_send(&self, to: &str, subject: &str, text: &str) -> Result<Result<(), Failure>> {
        let to: Mailbox = to.parse().map_err(|_| Error::bad_request("The email address is not valid"))?;
        let Some(smtp) = &self.smtp else {
            if self.development {
                tracing::info!(%to, subject, "no RINGFENCE_SMTP_URL, so this mail is only logged:\n{text}");
            } else {
                tracing::warn!(subject, "no RINGFENCE_SMTP_URL: a mail was not sent");
            }
            return Ok(Ok(()));
        };
        let mail = Message::builder()
            .message_id(Some(format!("<{}@{}>", Uuid::now_v7(), ascii_host(self.from.email.domain()))))
            .from(self.from.clone())
            .to(to)
            .subject(subject)
            .singlepart(SinglePart::plain(lines(text)))
            .map_err(|e| Error::Internal(e.to_string().into()))?;
        idempotency::leaving().await?;
        Ok(smtp.deliver(mail.envelope(), &mail.formatted()).await)
    }

    /// The names of its servers, with how often each took nothing since the start.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [&self.smtp, &self.relay].into_iter().flatten().map(Server::failures)
    }

    /// Whether it can send the platform's own mail, or logs it.
    pub fn has_server(&self) -> bool {
        self.smtp.is_some() || self.development
    }

    /// Whether companies without an account of their own can send through the relay.
    pub fn has_relay(&self) -> bool {
        self.relay.is_some()
    }

    /// Whether the relay responds and accepts the login.
    pub async fn is_relay_there(&self) -> bool {
        match &self.relay {
            Some(relay) => relay.is_there().await,
            None => false,
        }
    }

    /// Sends a company's mail through the relay.
    pub async fn relay(&self, email: &OutgoingEmail) -> Result<(), Failure> {
        let mail = message(email)
            .ok_or_else(|| Failure::Refused { code: None, message: "the mail cannot be written".into() })?;
        let Some(relay) = &self.relay else { return Err(Failure::Busy) };
        idempotency::leaving().await.map_err(|_| Failure::Busy)?;
        relay.deliver(mail.envelope(), &mail.formatted()).await
    }
}

/// A failure of the platform's own mail, as an error for the client.
fn not_sent(failure: Failure) -> Error {
    let why = match failure {
        Failure::Refused { message, .. } | Failure::Denied(message) | Failure::Closed(message) => message,
        Failure::Busy => "the mail server cannot be reached, or takes nothing right now".into(),
        Failure::Unclear => "the mail server did not answer".into(),
    };
    Error::BadGateway(format!("The mail could not be sent: {why}").into())
}

/// A host in ASCII, as in the Message-ID of a mail (RFC 5322, 3.6.4; RFC 5890).
pub fn ascii_host(host: &str) -> String {
    url::Host::parse(host).map_or_else(|_| "localhost".into(), |host| host.to_string())
}

/// A text with line feeds only, which lettre sends as CRLF. Some servers take a single carriage return for the end of a
/// line, so that a mail could end there and another begin (RFC 5321, 2.3.8).
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Whether a MIME type is that of a mail or of several parts, which must not be encoded in base64 (RFC 2046, 5.1 and
/// 5.2.1).
fn is_composite(kind: &str) -> bool {
    let family = kind.split('/').next().unwrap_or_default().trim();
    ["message", "multipart"].iter().any(|composite| family.eq_ignore_ascii_case(composite))
}

/// A mail in its wire format; `None` if it cannot be written.
fn message(email: &OutgoingEmail) -> Option<Message> {
    let mailbox = |address: &str| Some(Mailbox::new(None, address.parse::<Address>().ok()?));
    let mut mail = Message::builder()
        .message_id(Some(email.message_id.clone()))
        .from(mailbox(&email.from)?)
        .reply_to(mailbox(&email.reply_to)?)
        .to(mailbox(&email.to)?)
        .subject(&email.subject);
    for address in &email.cc {
        mail = mail.cc(mailbox(address)?);
    }
    for address in &email.bcc {
        mail = mail.bcc(mailbox(address)?);
    }
    for (name, value) in &email.headers {
        mail = mail.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), value.clone()));
    }
    let (text, html) = email.parts();
    let said = match (text.map(lines), html.map(lines)) {
        (Some(text), None) if email.attachments.is_empty() => return mail.singlepart(SinglePart::plain(text)).ok(),
        (None, Some(html)) if email.attachments.is_empty() => return mail.singlepart(SinglePart::html(html)).ok(),
        (Some(text), Some(html)) => MultiPart::alternative_plain_html(text, html),
        (Some(text), None) => MultiPart::mixed().singlepart(SinglePart::plain(text)),
        (None, html) => MultiPart::mixed().singlepart(SinglePart::html(html?)),
    };
    if email.attachments.is_empty() {
        return mail.multipart(said).ok();
    }
    let mut all = MultiPart::mixed().multipart(said);
    for Attachment { name, kind, bytes } in &email.attachments {
        let kind = Some(kind).filter(|kind| !is_composite(kind)).and_then(|kind| ContentType::parse(kind).ok());
        let kind = kind.or_else(|| ContentType::parse("application/octet-stream").ok())?;
        // A file keeps its bytes, whatever its line endings are.
        let body = Body::new_with_encoding(bytes.clone(), ContentTransferEncoding::Base64).ok()?;
        all = all.singlepart(Part::new(name.clone()).body(body, kind));
    }
    mail.multipart(all).ok()
}
