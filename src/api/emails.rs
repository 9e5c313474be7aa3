//! E-mail: what was received and sent, drafts, and sending.

use super::prelude::*;
use crate::mailing::{self, Mail};
use base64::{Engine, prelude::*};
use p256::{ecdsa::VerifyingKey, pkcs8::DecodePublicKey};
use sha2::{Digest, Sha256};

routes! {
    /// Received mail, or the kind given by `type`, newest first
    tenant get "/api/emails/" => list;
    /// Mail counts
    tenant get "/api/emails/stats" => stats;
    /// Mail counts
    tenant get "/api/emails/stats/summary" => stats;
    /// Sends a mail
    tenant post "/api/emails/" => send;
    /// Sends a mail
    tenant post "/api/emails/send" => send;
    /// Saves a draft
    tenant post "/api/emails/draft" => draft;
    /// What to enter at SendGrid so that it reports the company's mail
    admin get "/api/emails/webhook/settings" => hook;
    /// Creates or replaces the addresses for SendGrid, and shows them this once
    admin post "/api/emails/webhook/settings" => renew_hook;
    /// Sets SendGrid's public key; from then on, events must be signed
    admin put "/api/emails/webhook/settings" => update_hook;
    /// One mail
    tenant get "/api/emails/{email_id}" => get;
    /// All mails of a mail's thread, oldest first
    tenant get "/api/emails/{email_id}/thread" => thread;
    /// Changes a mail that has not been sent yet
    tenant put "/api/emails/{email_id}" => update;
    /// Marks a mail as read
    tenant post "/api/emails/{email_id}/mark-read" => mark_read;
    /// Marks a mail as read
    tenant put "/api/emails/{email_id}/mark-read" => mark_read;
    /// Marks a mail as read
    tenant put "/api/emails/{email_id}/read" => mark_read;
    /// Marks a mail as unread
    tenant post "/api/emails/{email_id}/mark-unread" => mark_unread;
    /// Moves a mail to the trash
    tenant delete "/api/emails/{email_id}" => delete;
    /// Restores a mail from the trash
    tenant post "/api/emails/{email_id}/restore" => restore;
}

row! {
    /// A mail; `from_address` and `to_address` repeat the addresses for the inbox screen.
    pub struct Email {
        id: Uuid,
        from_email: String,
        to_email: String,
        subject: String,
        body: String,
        cc: Option<String>,
        bcc: Option<String>,
        status: String,
        sent_at: Option<Time>,
        read_at: Option<Time>,
        contact_id: Option<Uuid>,
        user_id: Uuid,
        created_at: Time,
        updated_at: Time,
        direction: String,
        from_address: String,
        to_address: String,
        /// Id of the first mail of its thread.
        thread_id: Uuid,
        /// Ids of the attached files.
        attachments: Vec<Uuid>,
    }
}

row! {
    /// Mail counts, without the trash.
    pub struct EmailFigures {
        total: i64,
        unread: i64,
        sent: i64,
        drafts: i64,
    }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// `inbox` (default), `sent`, `draft` or `trash`; anything else lists all but the trash.
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewEmail {
    /// The recipient; this or `to` is required.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    #[garde(length(chars, max = 255))]
    to_email: Option<String>,
    /// Another name for `to_email`, which takes precedence.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    #[garde(length(chars, max = 255))]
    to: Option<String>,
    /// One line.
    #[garde(length(chars, max = 500))]
    subject: String,
    /// HTML.
    #[garde(length(chars, max = 500_000))]
    body: String,
    /// Comma-separated addresses.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    #[garde(length(chars, max = 5000))]
    cc: Option<String>,
    /// Comma-separated addresses.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    #[garde(length(chars, max = 5000))]
    bcc: Option<String>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    contact_id: Option<Uuid>,
    /// Id of the mail that this one replies to.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    in_reply_to: Option<Uuid>,
    /// Ids of files to attach, at most 20 MiB in total.
    #[serde(default, deserialize_with = "wire::or_default")]
    #[garde(length(max = 20))]
    attachments: Vec<Uuid>,
}

impl NewEmail {
    fn mail(self) -> Result<Mail> {
        let NewEmail { to_email, to, subject, body, cc, bcc, contact_id: contact, in_reply_to, attachments } = self;
        let to = to_email.or(to).ok_or_else(|| Error::invalid("body", "to_email", "Field required"))?;
        let to = to.trim().to_owned();
        Ok(Mail { to, subject, body, cc, bcc, contact, in_reply_to, attachments, text: None, execution: None })
    }
}

row! {
    /// The webhook key for SendGrid. It is part of the addresses, and shown only when it is created.
    pub struct Hook as "Webhook key" {
        created_at: Time,
        updated_at: Time,
        verification_key: Option<String>,
    }
}

/// The webhook settings to enter at SendGrid.
#[derive(Serialize, JsonSchema)]
struct HookSettings {
    /// Whether there are addresses; POST creates them.
    is_configured: bool,
    /// Address for *Inbound Parse*.
    inbound_url: Option<String>,
    /// Address for *Event Webhook*.
    events_url: Option<String>,
    /// SendGrid's public key; events without its signature are refused.
    verification_key: Option<String>,
    created_at: Option<Time>,
    updated_at: Option<Time>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct HookPatch {
    /// As SendGrid shows it under *Signed Event Webhook Requests*; null accepts unsigned events again.
    #[garde(inner(length(chars, max = 500), custom(public_key)))]
    verification_key: Option<String>,
}

fn public_key(text: &str, _: &()) -> garde::Result {
    let key = BASE64_STANDARD.decode(text.trim()).ok().and_then(|der| VerifyingKey::from_public_key_der(&der).ok());
    key.map(drop).ok_or_else(|| garde::Error::new("Input should be SendGrid's verification key"))
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum EmailStatus {
    Draft,
    Scheduled,
    Sent,
    Received,
    Delivered,
    Opened,
    Clicked,
    Bounced,
    Failed,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct EmailPatch {
    #[garde(length(chars, max = 500), inner(custom(wire::subject)))]
    subject: Option<String>,
    #[garde(length(chars, max = 500_000))]
    body: Option<String>,
    /// `draft` or `scheduled`.
    status: Option<EmailStatus>,
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, page: Paging<50>) -> Result<Paged<Email>> {
    match filter.kind.as_deref() {
        None | Some("inbox") => page.list(&db, list!("emails/received").planned_once(), &[]).await,
        Some(kind) => page.list(&db, list!("emails/list").planned_anew(), &[&kind]).await,
    }
}

async fn stats(db: TenantDb) -> Result<Written<EmailFigures>> {
    db.one(sql!("emails/stats"), &[]).await
}

async fn get(db: TenantDb, Path(id): Path<Uuid>) -> Result<Written<Email>> {
    db.one(sql!("emails/get"), &[&id]).await
}

async fn send(app: State<App>, db: TenantDb, Json(new): Json<NewEmail>) -> Result<wire::Created<Email>> {
    let sent = mailing::send(&app, &db, new.mail()?).await?;
    sent.outcome.map_err(|failure| Error::BadGateway(mailing::words(&failure).into()))?;
    Ok(wire::Created(sent.db.one(sql!("emails/get"), &[&sent.id]).await?))
}

async fn draft(db: TenantDb, Json(new): Json<NewEmail>) -> Result<wire::Created<Email>> {
    let mail = new.mail()?;
    mailing::check(&mail)?;
    let draft = db.tx(async |tx| {
        let draft = mailing::keep(tx, &mail, "draft.invalid", true).await?;
        tx.one(sql!("emails/get"), &[&draft.id]).await
    });
    Ok(wire::Created(draft.await?))
}

async fn thread(db: TenantDb, Path(id): Path<Uuid>) -> Result<Rows<Email>> {
    db.one::<Email>(sql!("emails/get"), &[&id]).await?;
    db.list(sql!("emails/thread"), &[&id]).await
}

impl HookSettings {
    /// `key` is the key in the addresses, or its placeholder.
    fn of(app: &App, hook: Option<Hook>, key: &str) -> Json<Self> {
        let url = |what: &str| format!("{}/api/emails/webhook/{what}?key={key}", app.config.public_base());
        let Some(Hook { created_at, updated_at, verification_key }) = hook else {
            let (inbound_url, events_url, verification_key) = (None, None, None);
            return Json(Self {
                is_configured: false,
                inbound_url,
                events_url,
                verification_key,
                created_at: None,
                updated_at: None,
            });
        };
        let (inbound_url, events_url) = (Some(url("inbound")), Some(url("events")));
        let (created_at, updated_at) = (Some(created_at), Some(updated_at));
        Json(Self { is_configured: true, inbound_url, events_url, verification_key, created_at, updated_at })
    }
}

/// Placeholder for the key after it was shown.
const HIDDEN: &str = "****";

async fn hook(app: State<App>, db: Scoped<SettingsAdmin>) -> Result<Json<HookSettings>> {
    Ok(HookSettings::of(&app, db.optional(sql!("emails/hook"), &[]).await?, HIDDEN))
}

async fn renew_hook(app: State<App>, db: Scoped<SettingsAdmin>) -> Result<Json<HookSettings>> {
    let made = db.tx(async |tx| {
        let company = tx.caller().company_id.ok_or(Error::NoCompany)?;
        // The key contains the company, so that no lookup crosses companies.
        let secret = BASE64_URL_SAFE_NO_PAD.encode(crate::auth::random::<32>());
        let key = format!("{}.{secret}", company.simple());
        let hash = Sha256::digest(&key).to_vec();
        Ok((tx.one::<Hook>(sql!("emails/renew_hook"), &[&hash]).await?, key))
    });
    let (hook, key) = made.await?;
    Ok(HookSettings::of(&app, Some(hook), &key))
}

async fn update_hook(
    app: State<App>,
    db: Scoped<SettingsAdmin>,
    Json(patch): Json<HookPatch>,
) -> Result<Json<HookSettings>> {
    let key = patch.verification_key.map(|key| key.trim().to_owned());
    let hook: Hook = db.one(sql!("emails/update_hook"), &[&key]).await?;
    Ok(HookSettings::of(&app, Some(hook), HIDDEN))
}

async fn update(db: TenantDb, Path(id): Path<Uuid>, change: Change<EmailPatch>) -> Result<Json<Email>> {
    let patch = change.checked_against(db.one::<Email>(sql!("emails/get"), &[&id])).await?;
    let (status, by_hand) = match patch.status {
        None => (None, true),
        Some(EmailStatus::Draft) => (Some("draft"), true),
        Some(EmailStatus::Scheduled) => (Some("scheduled"), true),
        Some(_) => (None, false),
    };
    let email = db.tx(async |tx| {
        let changed: Option<bool> =
            tx.optional(sql!("emails/update"), &[&id, &patch.subject, &patch.body, &status]).await?;
        match changed {
            None => Err(Error::not_found("Email")),
            Some(false) => Err(Error::bad_request("A mail that was sent or received cannot be changed")),
            Some(true) if !by_hand => Err(Error::bad_request("By hand a mail is only a draft or scheduled")),
            Some(true) => tx.one(sql!("emails/get"), &[&id]).await,
        }
    });
    Ok(Json(email.await?))
}

async fn mark(db: TenantDb, id: Uuid, read: bool) -> Result<()> {
    db.optional::<Uuid>(sql!("emails/set_read"), &[&id, &read]).await.or_not_found("Email").map(drop)
}

async fn mark_read(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    mark(db, id, true).await?;
    Ok(message("Email marked as read"))
}

async fn mark_unread(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    mark(db, id, false).await?;
    Ok(message("Email marked as unread"))
}

async fn delete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.optional::<Uuid>(sql!("emails/set_deleted"), &[&id, &true]).await.or_not_found("Email")?;
    Ok(message("Email moved to trash"))
}

async fn restore(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.optional::<Uuid>(sql!("emails/set_deleted"), &[&id, &false]).await.or_not_found("Email")?;
    Ok(message("Email restored"))
}
