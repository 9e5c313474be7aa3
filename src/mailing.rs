//! The one way by which a company's mail leaves: the row is written first, which is where unsubscribed addresses refuse
//! (`app.keep_email`); then the provider is asked, outside of any transaction; then its answer is written to the row. A
//! row without an answer is failed by the job `unanswered` and never sent again by itself.

use crate::{
    App, Error, Result,
    clients::{Failure, mail::Letter},
    db::TenantDb,
    row, sql,
};
use lettre::Address;
use uuid::Uuid;

/// A mail to send or to keep as a draft.
pub struct Mail {
    /// The recipient.
    pub to: String,
    /// One line.
    pub subject: String,
    /// HTML.
    pub body: String,
    /// Addresses with commas between them.
    pub cc: Option<String>,
    /// The same, unseen.
    pub bcc: Option<String>,
    /// The contact it goes to.
    pub contact: Option<Uuid>,
}

row! {
    /// Whose address a company's mail bears, if the company has said so, and the caller's own.
    pub struct Sender {
        company_id: Uuid,
        from_email: Option<String>,
        own_email: String,
    }
}

/// Checks the addresses and the subject: what would break a mail's head is refused.
pub fn check(mail: &Mail) -> Result<()> {
    let valid = |address: &str| address.parse::<Address>().is_ok();
    if !valid(&mail.to) {
        return Err(Error::invalid("body", "to_email", "Input should be an e-mail address"));
    }
    for (field, list) in [("cc", &mail.cc), ("bcc", &mail.bcc)] {
        if !addresses(list).iter().all(|address| valid(address)) {
            return Err(Error::invalid("body", field, "Input should be e-mail addresses with commas between them"));
        }
    }
    if mail.subject.chars().any(char::is_control) {
        return Err(Error::invalid("body", "subject", "The subject must be one line"));
    }
    Ok(())
}

fn addresses(list: &Option<String>) -> Vec<String> {
    let list = list.as_deref().unwrap_or_default().split(',').map(str::trim);
    list.filter(|address| !address.is_empty()).map(str::to_owned).collect()
}

/// Sends a mail; its id and what the provider answered. 400 when the company has no way to send.
pub async fn send(app: &App, db: &TenantDb, mail: Mail) -> Result<(Uuid, Result<Option<String>, Failure>)> {
    check(&mail)?;
    let (sender, sealed) = db
        .tx(async |tx| {
            let sender: Sender = tx.one(sql!("mailing/sender"), &[]).await?;
            Ok((sender, tx.company_secret("sendgrid_api_key").await?))
        })
        .await?;
    let key = sealed.map(|sealed| app.sealer.open(sender.company_id, "sendgrid_api_key", &sealed)).transpose()?;
    if key.is_none() && !app.mailer.has_relay() {
        return Err(Error::bad_request("SendGrid is not configured: enter its key in the settings first"));
    }
    let id: Uuid = db
        .one(sql!("mailing/queue"), &[&mail.to, &mail.subject, &mail.body, &mail.cc, &mail.bcc, &mail.contact])
        .await?;
    let from = sender.from_email.unwrap_or_else(|| sender.own_email.clone());
    let host = from.rsplit('@').next().unwrap_or("localhost").to_owned();
    let letter = Letter {
        from,
        reply_to: sender.own_email,
        cc: addresses(&mail.cc),
        bcc: addresses(&mail.bcc),
        to: mail.to,
        subject: mail.subject,
        html: mail.body,
        message_id: format!("<{id}@{host}>"),
    };
    let (work, db) = (app.clone(), db.clone());
    // It goes on when the caller goes away.
    let sent = app.background.spawn(async move {
        let outcome = match &key {
            Some(key) => work.sendgrid.send(key, &letter).await,
            None => work.mailer.relay(&letter).await.map(|()| None),
        };
        let error = outcome.as_ref().err().map(words);
        let provider_id = outcome.as_ref().ok().cloned().flatten();
        if let Err(e) = db.optional::<Uuid>(sql!("mailing/answered"), &[&id, &provider_id, &error]).await {
            tracing::error!(error = %e.for_log(), mail = %id, "the provider's answer could not be written down");
        }
        (id, outcome)
    });
    Ok(sent.await.expect("nothing in it panics"))
}

/// What a failure is called in its row and to the one who asked.
pub fn words(failure: &Failure) -> String {
    match failure {
        Failure::Refused { message, .. } => {
            let message: String = message.chars().filter(|c| !c.is_control()).take(300).collect();
            format!("The mail provider refused it: {message}")
        }
        Failure::Busy => "The mail provider cannot be reached right now: nothing was sent".into(),
        Failure::Unclear => {
            "The mail provider gave no clear answer: it may have been sent, and is not tried again".into()
        }
    }
}
