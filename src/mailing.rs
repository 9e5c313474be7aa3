//! The only way in which a company's mail leaves: the row is written first, unless an address is suppressed
//! (`app.keep_email`); then the provider is called, outside of any transaction; then its response is written to the
//! row. The job `unanswered` fails a row without a response, which is never sent again automatically. Campaigns use the
//! same [`MailRoute`], and manage their rows themselves (`jobs/campaign.rs`).

use crate::{
    App, Error, Result,
    clients::{
        Failure,
        mail::{Attachment, OutgoingEmail, ascii_host},
    },
    db::{self, Params, Permission, Scoped, TenantDb, Tx},
    fair_limit::FairLimit,
    idempotency,
    links::{self, Link, Purpose},
    row, sql, store_owner, wire,
};
use lettre::Address;
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

/// A mail to send or to keep as a draft.
#[derive(Default)]
pub struct Mail {
    /// The recipient.
    pub to: String,
    /// One line.
    pub subject: String,
    /// HTML.
    pub body: String,
    /// The body as plain text, for readers that show no HTML, if it is given.
    pub text: Option<String>,
    /// Comma-separated addresses.
    pub cc: Option<String>,
    /// Comma-separated addresses, which the other recipients do not see.
    pub bcc: Option<String>,
    /// The contact it goes to.
    pub contact: Option<Uuid>,
    /// The mail that it replies to.
    pub in_reply_to: Option<Uuid>,
    /// Files of the company to attach.
    pub attachments: Vec<Uuid>,
    /// The run of a workflow that sends it.
    pub execution: Option<Uuid>,
}

row! {
    /// A company's sender address, if it has set one, whether its settings are switched off, and the caller's own
    /// address.
    pub struct Sender {
        company_id: Uuid,
        from_email: Option<String>,
        is_off: bool,
        own_email: String,
    }
}

row! {
    /// A mail that is stored.
    pub struct Queued as "Email" {
        id: Uuid,
        company_id: Uuid,
        user_id: Uuid,
        message_id: String,
        in_reply_to: Option<String>,
        reference_ids: Option<String>,
    }
}

row! {
    /// A file to attach to a mail.
    pub struct Attached as "File" {
        id: Uuid,
        object_key: String,
        original_name: String,
        file_type: Option<String>,
        size: i64,
    }
}

/// Maximum total size of a mail's attachments, in bytes.
const MAX_ATTACHMENT_BYTES: i64 = 20 << 20;
/// Mails with attachments sent at a time, of which one per company: they are in memory while they are sent.
static LARGE_MAILS: FairLimit = FairLimit::new(2, 1);
/// How long a mail waits for a permit.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(30);
const BUSY: &str = "Another mail with attachments is being sent right now: try again in a moment";

/// How a company's mail leaves: through which provider, and with which sender.
pub struct MailRoute {
    company: Uuid,
    /// The company's SendGrid key, or the relay.
    key: Option<String>,
    from: String,
    reply_to: String,
}

/// Checks whose address the caller's mail bears, where it leaves by the relay, to which all companies are one: 400 when
/// it is another company's. With a company's own key, SendGrid decides who may send as whom.
pub async fn check_sender(app: &App, tx: &Tx<'_>, has_key: bool) -> Result<()> {
    if !has_key && app.mailer.has_relay() && tx.sender_is_taken().await? {
        return Err(Error::bad_request(
            "The sender of this mail is an address of another company: enter another one in the Twilio settings",
        ));
    }
    Ok(())
}

/// The route of the company's mail, if it has one: 400 when its own is switched off, or its sender is another
/// company's.
pub async fn route<D: Permission>(app: &App, db: &Scoped<D>) -> Result<Option<MailRoute>> {
    let (sender, sealed) = db
        .tx(async |tx| {
            let sender: Option<Sender> = tx.optional(sql!("mailing/sender"), &[]).await?;
            let sender = sender.ok_or(Error::bad_request("Who sends this is not in the company any more"))?;
            let sealed = tx.company_secret("sendgrid_api_key").await?;
            check_sender(app, tx, sealed.is_some()).await?;
            Ok((sender, sealed))
        })
        .await?;
    // Another route would mean another sender.
    if sender.is_off && (sealed.is_some() || sender.from_email.is_some()) {
        return Err(Error::bad_request("Mail is switched off with the Twilio settings: switch them on first"));
    }
    let key = sealed.map(|sealed| app.sealer.open(sender.company_id, "sendgrid_api_key", &sealed)).transpose()?;
    if key.is_none() && !app.mailer.has_relay() {
        return Ok(None);
    }
    let from = sender.from_email.unwrap_or_else(|| sender.own_email.clone());
    Ok(Some(MailRoute { company: sender.company_id, key, from, reply_to: sender.own_email }))
}

/// The route of the company's mail, where one is needed: 400 if there is none.
pub async fn require_route(app: &App, db: &TenantDb) -> Result<MailRoute> {
    let missing = Error::bad_request("SendGrid is not configured: enter its key in the settings first");
    route(app, db).await?.ok_or(missing)
}

/// The URL below which recipients of a campaign unsubscribe: 400 if they cannot reach this server.
pub fn unsubscribe_base(app: &App) -> Result<&str> {
    app.config.unsubscribe_base().ok_or(Error::bad_request(
        "Campaigns cannot be sent: recipients could not unsubscribe, for RINGFENCE_PUBLIC_URL is not set to an address \
         at which they reach the server",
    ))
}

impl MailRoute {
    fn host(&self) -> String {
        ascii_host(self.from.rsplit('@').next().unwrap_or_default())
    }

    /// A mail without recipient and text, for a row.
    pub fn email(&self, row: Uuid) -> OutgoingEmail {
        OutgoingEmail {
            from: self.from.clone(),
            reply_to: self.reply_to.clone(),
            message_id: format!("<{row}@{}>", self.host()),
            company: self.company,
            row,
            ..OutgoingEmail::default()
        }
    }

    /// Whether the provider can be reached. SendGrid is assumed to be.
    pub async fn is_there(&self, app: &App) -> bool {
        self.key.is_some() || app.mailer.is_relay_there().await
    }

    /// Whether a temporary refusal of a mail applies to all recipients. SendGrid accepts a mail before it looks at the
    /// recipient; a mail server may defer a single recipient.
    pub fn is_alike_for_all(&self) -> bool {
        self.key.is_some()
    }

    /// Hands a mail to the provider; returns the provider's id for it, if any.
    pub async fn deliver(&self, app: &App, email: &OutgoingEmail) -> Result<Option<String>, Failure> {
        match &self.key {
            Some(key) => app.sendgrid.send(key, email).await,
            None => app.mailer.relay(email).await.map(|()| None),
        }
    }
}

/// Checks the addresses and the subject: what would break a mail's headers is refused.
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
    wire::subject(&mail.subject, &()).map_err(|e| Error::invalid("body", "subject", e.to_string()))
}

fn addresses(list: &Option<String>) -> Vec<String> {
    let list = list.as_deref().unwrap_or_default().split(',').map(str::trim);
    list.filter(|address| !address.is_empty()).map(str::to_owned).collect()
}

/// A list as it is stored: suppressions are checked on the row, so it has the same addresses as the mail.
fn kept(list: &Option<String>) -> Option<String> {
    Some(addresses(list).join(",")).filter(|list| !list.is_empty())
}

/// Stores a mail in the caller's transaction, as a draft or before it is sent.
pub async fn keep(tx: &Tx<'_>, mail: &Mail, host: &str, is_draft: bool) -> Result<Queued> {
    let Mail { to, subject, body, text, cc, bcc, contact, in_reply_to, attachments, execution } = mail;
    // The text, or else the HTML (contract: inbox/send-email).
    let body = text.as_ref().filter(|text| !text.trim().is_empty()).unwrap_or(body);
    let (cc, bcc) = (kept(cc), kept(bcc));
    let params: Params<'_> = &[
        to,
        subject,
        body,
        &cc,
        &bcc,
        contact,
        in_reply_to,
        attachments,
        &MAX_ATTACHMENT_BYTES,
        &host,
        &is_draft,
        execution,
    ];
    tx.one(sql!("mailing/queue"), params).await
}

/// Reads a mail's attachments.
async fn attached(app: &App, db: &TenantDb, ids: &Vec<Uuid>) -> Result<Vec<Attachment>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let files: Vec<Attached> = db.all(sql!("mailing/attachments"), &[ids]).await?;
    idempotency::leaving().await?;
    if files.iter().map(|file| file.id).collect::<BTreeSet<_>>() != ids.iter().copied().collect() {
        return Err(Error::not_found("File"));
    }
    if files.iter().map(|file| file.size).sum::<i64>() > MAX_ATTACHMENT_BYTES {
        return Err(Error::bad_request("The attachments are too large for a mail"));
    }
    let mut all = Vec::new();
    for Attached { object_key, original_name: name, file_type, .. } in files {
        let bytes = app.storage.read_all(&object_key).await.map_err(Error::of_storage)?;
        let bytes = bytes.ok_or_else(|| store_owner::lost(&object_key))?;
        let kind = file_type.filter(|kind| kind.contains('/'));
        all.push(Attachment { name, kind: kind.unwrap_or_else(|| "application/octet-stream".into()), bytes });
    }
    Ok(all)
}

/// The outcome of sending a mail.
pub struct Sent {
    /// The row.
    pub id: Uuid,
    /// A handle that can read the row, whatever has become of the caller.
    pub db: TenantDb,
    /// The provider's id for it, if any, or why it failed.
    pub outcome: Result<Option<String>, Failure>,
}

/// Sends a mail. 400 if the company has no route.
pub async fn send(app: &App, db: &TenantDb, mail: Mail) -> Result<Sent> {
    check(&mail)?;
    let route = require_route(app, db).await?;
    let permit = if mail.attachments.is_empty() {
        None
    } else {
        Some(LARGE_MAILS.acquire(route.company, PERMIT_TIMEOUT).await.ok_or(Error::NoTurn(BUSY))?)
    };
    idempotency::leaving().await?;
    let attachments = attached(app, db, &mail.attachments).await?;
    let queued = db.tx(async |tx| keep(tx, &mail, &route.host(), false).await).await?;
    let email = email(app, &route, mail, &queued, attachments);
    let (work, id) = (app.clone(), queued.id);
    let db = TenantDb::for_answer(&app.db, queued.company_id, queued.user_id);
    let sent = app.run_to_completion(async move {
        let _permit = permit;
        let outcome = route.deliver(&work, &email).await;
        let error = outcome.as_ref().err().map(words);
        let provider_id = outcome.as_ref().ok().cloned().flatten();
        let answered = sql!("mailing/answered");
        let write = |_| async { db.optional::<Uuid>(answered, &[&id, &provider_id, &error]).await };
        db::keep_answer("mail", id, write).await;
        Sent { id, db, outcome }
    });
    sent.await
}

/// A mail as it is sent. Its row is without the tracking pixel, which would count views by its authors.
fn email(app: &App, route: &MailRoute, mail: Mail, queued: &Queued, attachments: Vec<Attachment>) -> OutgoingEmail {
    let html = match app.config.reachable_base() {
        Some(base) => {
            let link = Link { company: queued.company_id, user: queued.user_id, row: queued.id };
            let token = app.links.token(Purpose::Mail, &link);
            links::with_pixel(&mail.body, &format!("{base}/api/emails/track/open/{token}"))
        }
        None => mail.body,
    };
    // The host in the id of an older mail may not be ASCII.
    let id = |id: &str| match id.rsplit_once('@') {
        Some((left, host)) if !host.is_ascii() => format!("<{left}@{}>", ascii_host(host)),
        _ => format!("<{id}>"),
    };
    let ids = |ids: &String| ids.split(' ').map(id).collect::<Vec<_>>().join(" ");
    // SendGrid refuses a mail with a duplicate recipient.
    let mut known = BTreeSet::from([mail.to.to_lowercase()]);
    let mut others = |list: &Option<String>| -> Vec<String> {
        addresses(list).into_iter().filter(|address| known.insert(address.to_lowercase())).collect()
    };
    let headers = [("In-Reply-To", &queued.in_reply_to), ("References", &queued.reference_ids)];
    OutgoingEmail {
        cc: others(&mail.cc),
        bcc: others(&mail.bcc),
        to: mail.to,
        subject: mail.subject,
        text: mail.text,
        html: Some(html),
        headers: headers.into_iter().filter_map(|(name, value)| Some((name, ids(value.as_ref()?)))).collect(),
        attachments,
        message_id: format!("<{}>", queued.message_id),
        ..route.email(queued.id)
    }
}

/// The description of a failure, in its row and for the caller.
pub fn words(failure: &Failure) -> String {
    match failure {
        Failure::Refused { message, .. } | Failure::Denied(message) | Failure::Closed(message) => {
            let message: String = message.chars().filter(|c| !c.is_control()).take(300).collect();
            format!("The mail provider refused it: {message}")
        }
        Failure::Busy => "The mail provider cannot be reached right now: nothing was sent".into(),
        Failure::Unclear => {
            "The mail provider gave no clear answer: it may have been sent, and is not tried again".into()
        }
    }
}
