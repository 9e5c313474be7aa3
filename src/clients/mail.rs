//! Mail over SMTP: the platform's own (reset codes and invitations), and companies' mail through the relay.

use super::Failure;
use crate::{Error, Result, config::Config};
use anyhow::Context;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
};
use std::time::Duration;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// A company's mail. The addresses were checked when it was written.
pub struct Letter {
    /// Whose address it bears.
    pub from: String,
    /// Who gets the answer.
    pub reply_to: String,
    /// The recipient.
    pub to: String,
    /// Who gets a copy.
    pub cc: Vec<String>,
    /// Who gets one unseen.
    pub bcc: Vec<String>,
    /// One line.
    pub subject: String,
    /// The text.
    pub html: String,
    /// Its id in the world, the same however often it is made (RFC 5322).
    pub message_id: String,
}

/// A connection to an SMTP server, made when the first mail is sent.
fn transport(url: Option<&str>, name: &str) -> anyhow::Result<Option<Transport>> {
    let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(None) };
    let builder = Transport::from_url(url)
        .with_context(|| format!("{name} is not of the form smtp://user:password@host:port or smtps://…"))?;
    Ok(Some(builder.timeout(Some(Duration::from_secs(15))).build()))
}

/// Sends mail, or logs it in development mode when there is no SMTP server.
pub struct Mailer {
    smtp: Option<Transport>,
    relay: Option<Transport>,
    from: Mailbox,
    development: bool,
}

impl Mailer {
    /// A mailer for `RINGFENCE_SMTP_URL`; connects when the first mail is sent.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let smtp = transport(config.smtp_url.as_deref(), "RINGFENCE_SMTP_URL")?;
        let relay = transport(config.relay_url.as_deref(), "RINGFENCE_RELAY_URL")?;
        let from = config.mail_from.parse().context("RINGFENCE_MAIL_FROM is not of the form Name <address@host>")?;
        Ok(Self { smtp, relay, from, development: config.is_development() })
    }

    /// Sends one plain text mail. An address that cannot be one is a 400, a server that refuses a 502.
    pub async fn send(&self, to: &str, subject: &str, text: String) -> Result<()> {
        let to: Mailbox = to.parse().map_err(|_| Error::bad_request("The email address is not valid"))?;
        let Some(smtp) = &self.smtp else {
            if self.development {
                tracing::info!(%to, subject, "no RINGFENCE_SMTP_URL, so this mail is only logged:\n{text}");
            } else {
                tracing::warn!(subject, "no RINGFENCE_SMTP_URL: a mail was not sent");
            }
            return Ok(());
        };
        let mail = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|e| Error::Internal(e.to_string().into()))?;
        smtp.send(mail).await.map(drop).map_err(|e| {
            tracing::warn!(permanent = e.is_permanent(), "the SMTP server did not take a mail");
            Error::BadGateway("The mail could not be sent: the mail server did not accept it".into())
        })
    }

    /// Whether companies without an account of their own may send through the relay.
    pub fn has_relay(&self) -> bool {
        self.relay.is_some()
    }

    /// Sends a company's mail through the relay.
    pub async fn relay(&self, letter: &Letter) -> Result<(), Failure> {
        let unfit = |_| Failure::Refused { code: None, message: "an address is not valid".into() };
        let mailbox = |address: &str| address.parse::<Address>().map(|a| Mailbox::new(None, a)).map_err(unfit);
        let mut mail = Message::builder()
            .message_id(Some(letter.message_id.clone()))
            .from(mailbox(&letter.from)?)
            .reply_to(mailbox(&letter.reply_to)?)
            .to(mailbox(&letter.to)?)
            .subject(&letter.subject)
            .header(ContentType::TEXT_HTML);
        for address in &letter.cc {
            mail = mail.cc(mailbox(address)?);
        }
        for address in &letter.bcc {
            mail = mail.bcc(mailbox(address)?);
        }
        let unfit = |_| Failure::Refused { code: None, message: "the mail cannot be written".into() };
        let mail = mail.body(letter.html.clone()).map_err(unfit)?;
        let Some(relay) = &self.relay else { return Err(Failure::Busy) };
        match relay.send(mail).await {
            Ok(_) => Ok(()),
            Err(e) if e.is_permanent() => {
                Err(Failure::Refused { code: None, message: "the mail server did not accept it".into() })
            }
            Err(e) if e.is_transient() => Err(Failure::Busy),
            Err(_) => Err(Failure::Unclear),
        }
    }
}
