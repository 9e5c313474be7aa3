//! E-mail: what was received and sent, drafts, and sending.

use super::prelude::*;
use crate::mailing::{self, Mail};

routes! {
    /// Received mail, or what `type` says, newest first
    tenant get "/api/emails/" => list;
    /// How many mails there are
    tenant get "/api/emails/stats" => stats;
    /// How many mails there are
    tenant get "/api/emails/stats/summary" => stats;
    /// Sends a mail
    tenant post "/api/emails/" => send;
    /// Sends a mail
    tenant post "/api/emails/send" => send;
    /// Keeps a mail that is not finished
    tenant post "/api/emails/draft" => draft;
    /// One mail
    tenant get "/api/emails/{email_id}" => get;
    /// Changes a mail that is not sent yet
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
    /// Takes a mail out of the trash
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
    }
}

row! {
    /// How many mails there are, without the trash.
    pub struct EmailFigures {
        total: i64,
        unread: i64,
        sent: i64,
        drafts: i64,
    }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// `inbox` (default), `sent`, `draft` or `trash`; anything else is all but the trash.
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewEmail {
    /// The recipient; `to` is the same.
    #[serde(alias = "to")]
    #[garde(length(chars, max = 255))]
    to_email: String,
    /// One line.
    #[garde(length(chars, max = 500))]
    subject: String,
    /// HTML.
    #[garde(length(chars, max = 500_000))]
    body: String,
    /// Addresses with commas between them.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    #[garde(length(chars, max = 5000))]
    cc: Option<String>,
    /// Addresses with commas between them.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    #[garde(length(chars, max = 5000))]
    bcc: Option<String>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    contact_id: Option<Uuid>,
}

impl NewEmail {
    fn mail(self) -> Mail {
        let NewEmail { to_email, subject, body, cc, bcc, contact_id: contact } = self;
        Mail { to: to_email.trim().to_owned(), subject, body, cc, bcc, contact }
    }
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
    #[garde(length(chars, max = 500), inner(custom(one_line)))]
    subject: Option<String>,
    #[garde(length(chars, max = 500_000))]
    body: Option<String>,
    /// `draft` or `scheduled`.
    status: Option<EmailStatus>,
}

fn one_line(text: &str, _: &()) -> garde::Result {
    if text.chars().any(char::is_control) { Err(garde::Error::new("The subject must be one line")) } else { Ok(()) }
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, page: Page<50>) -> Result<Rows<Email>> {
    match filter.kind.as_deref() {
        None | Some("inbox") => db.list(sql!("emails/received").planned_once(), &[&page.limit, &page.skip]).await,
        Some(kind) => db.list(sql!("emails/list").planned_anew(), &[&kind, &page.limit, &page.skip]).await,
    }
}

async fn stats(db: TenantDb) -> Result<Json<EmailFigures>> {
    Ok(Json(db.one(sql!("emails/stats"), &[]).await?))
}

async fn get(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Email>> {
    Ok(Json(db.one(sql!("emails/get"), &[&id]).await?))
}

async fn send(app: State<App>, db: TenantDb, Json(new): Json<NewEmail>) -> Result<wire::Created<Email>> {
    let (id, outcome) = mailing::send(&app, &db, new.mail()).await?;
    outcome.map_err(|failure| Error::BadGateway(mailing::words(&failure).into()))?;
    Ok(wire::Created(db.one(sql!("emails/get"), &[&id]).await?))
}

async fn draft(db: TenantDb, Json(new): Json<NewEmail>) -> Result<wire::Created<Email>> {
    let mail = new.mail();
    mailing::check(&mail)?;
    let Mail { to, subject, body, cc, bcc, contact } = &mail;
    let draft = db.tx(async |tx| {
        let id: Uuid = tx.one(sql!("emails/draft"), &[to, subject, body, cc, bcc, contact]).await?;
        tx.one(sql!("emails/get"), &[&id]).await
    });
    Ok(wire::Created(draft.await?))
}

async fn update(db: TenantDb, Path(id): Path<Uuid>, Json(patch): Json<EmailPatch>) -> Result<Json<Email>> {
    let status = match patch.status {
        None => None,
        Some(EmailStatus::Draft) => Some("draft"),
        Some(EmailStatus::Scheduled) => Some("scheduled"),
        Some(_) => Some(""),
    };
    let email = db.tx(async |tx| {
        let by_hand = status != Some("");
        let status = status.filter(|status| !status.is_empty());
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
    let marked: Option<Uuid> = db.optional(sql!("emails/set_read"), &[&id, &read]).await?;
    marked.map(drop).ok_or(Error::not_found("Email"))
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
    let moved: Option<Uuid> = db.optional(sql!("emails/set_deleted"), &[&id, &true]).await?;
    moved.ok_or(Error::not_found("Email"))?;
    Ok(message("Email moved to trash"))
}

async fn restore(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    let restored: Option<Uuid> = db.optional(sql!("emails/set_deleted"), &[&id, &false]).await?;
    restored.ok_or(Error::not_found("Email"))?;
    Ok(message("Email restored"))
}
