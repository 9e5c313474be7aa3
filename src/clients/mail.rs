//! Mail of the platform itself, over SMTP: reset codes and invitations.

use crate::{Error, Result, config::Config};
use anyhow::Context;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
};
use std::time::Duration;

/// Sends mail, or logs it in development mode when there is no SMTP server.
pub struct Mailer {
    smtp: Option<AsyncSmtpTransport<Tokio1Executor>>,
    from: Mailbox,
    development: bool,
}

impl Mailer {
    /// A mailer for `RINGFENCE_SMTP_URL`; connects when the first mail is sent.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let smtp = match config.smtp_url.as_deref().filter(|url| !url.is_empty()) {
            None => None,
            Some(url) => {
                let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
                    .context("RINGFENCE_SMTP_URL is not of the form smtp://user:password@host:port or smtps://…")?;
                Some(builder.timeout(Some(Duration::from_secs(15))).build())
            }
        };
        let from = config.mail_from.parse().context("RINGFENCE_MAIL_FROM is not of the form Name <address@host>")?;
        Ok(Self { smtp, from, development: config.is_development() })
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
}
