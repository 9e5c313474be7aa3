//! The unified inbox: texts, mail and calls in one list.

use super::prelude::*;
use crate::{
    mailing::{self, Mail},
    telephony::{self, Text},
};

routes! {
    /// Texts, mail and calls, newest first
    tenant get "/api/inbox/" => list;
    /// The inbox's texts
    tenant get "/api/inbox/sms" => list_sms;
    /// The inbox's mail
    tenant get "/api/inbox/emails" => list_emails;
    /// Sends a text
    tenant post "/api/inbox/send-sms" => send_sms;
    /// Sends a mail
    tenant post "/api/inbox/send-email" => send_email;
    /// Marks a text, mail or call as read
    tenant put "/api/inbox/{message_id}/mark-read" => mark_read;
    /// Deletes a text, mail or call permanently
    tenant delete "/api/inbox/{message_id}" => delete;
}

row! {
    /// A text, a mail or a call.
    pub struct InboxMessage as "Message" {
        id: Uuid,
        message_type: String,
        direction: String,
        status: String,
        from_address: String,
        to_address: String,
        subject: Option<String>,
        body: String,
        sent_at: Time,
        delivered_at: Option<Time>,
        read_at: Option<Time>,
        contact_id: Option<Uuid>,
    }
}

words! {
    /// Kind of message.
    enum MessageType { Sms = "sms", Email = "email", Voice = "voice" }
}

words! {
    /// Direction of a message.
    enum Direction { Inbound = "inbound", Outbound = "outbound" }
}

words! {
    /// Delivery status of a message.
    enum MessageStatus { Sent = "sent", Delivered = "delivered", Read = "read", Failed = "failed", Pending = "pending" }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    message_type: Option<MessageType>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    direction: Option<Direction>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    status: Option<MessageStatus>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewSms {
    #[garde(length(chars, max = 50))]
    to_number: String,
    #[garde(length(chars, min = 1, max = 1600))]
    message: String,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    contact_id: Option<Uuid>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewMail {
    #[garde(length(chars, max = 255))]
    to_email: String,
    #[garde(length(chars, max = 500))]
    subject: String,
    #[garde(length(chars, max = 500_000))]
    html_content: String,
    /// Plain-text version of the mail.
    #[garde(inner(length(chars, max = 500_000)))]
    #[serde(default)]
    text_content: Option<String>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    contact_id: Option<Uuid>,
}

#[derive(Serialize, JsonSchema)]
struct SmsAnswer {
    message: &'static str,
    result: SmsResult,
}

#[derive(Serialize, JsonSchema)]
struct SmsResult {
    success: bool,
    message_sid: String,
    status: String,
    error_code: Option<i64>,
    error_message: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct MailAnswer {
    message: &'static str,
    result: MailResult,
}

#[derive(Serialize, JsonSchema)]
struct MailResult {
    success: bool,
    message_id: Option<String>,
    status_code: u16,
}

async fn messages(db: TenantDb, filter: Filter, page: Paging) -> Result<Paged<InboxMessage>> {
    let kind = filter.message_type.map(MessageType::word);
    let (direction, status) = (filter.direction.map(Direction::word), filter.status.map(MessageStatus::word));
    match (&kind, &direction, &status) {
        (None, None, None) => page.list(&db, list!("inbox/list", "sent_at", "id").planned_once(), &[]).await,
        filter => {
            let (kind, direction, status) = filter;
            page.list(&db, list!("inbox/filter", "sent_at", "id").planned_anew(), &[kind, direction, status]).await
        }
    }
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, Bounded(page): Bounded) -> Result<Paged<InboxMessage>> {
    messages(db, filter, page).await
}

async fn list_sms(db: TenantDb, Query(filter): Query<Filter>, Bounded(page): Bounded) -> Result<Paged<InboxMessage>> {
    messages(db, Filter { message_type: Some(MessageType::Sms), ..filter }, page).await
}

async fn list_emails(
    db: TenantDb,
    Query(filter): Query<Filter>,
    Bounded(page): Bounded,
) -> Result<Paged<InboxMessage>> {
    messages(db, Filter { message_type: Some(MessageType::Email), ..filter }, page).await
}

async fn send_sms(app: State<App>, db: TenantDb, Json(new): Json<NewSms>) -> Result<Json<SmsAnswer>> {
    let text =
        Text { to: new.to_number, body: Some(new.message), contact: new.contact_id, rotate: true, ..Text::default() };
    let sent = telephony::send(&app, &db, text).await?;
    let taken = sent.outcome.map_err(|failure| Error::bad_request(telephony::words(&failure)))?;
    let result = SmsResult {
        success: true,
        message_sid: taken.sid,
        status: taken.status,
        error_code: None,
        error_message: None,
    };
    Ok(Json(SmsAnswer { message: "SMS sent successfully", result }))
}

async fn send_email(app: State<App>, db: TenantDb, Json(new): Json<NewMail>) -> Result<Json<MailAnswer>> {
    let mail = Mail {
        to: new.to_email.trim().to_owned(),
        subject: new.subject,
        body: new.html_content,
        text: new.text_content,
        contact: new.contact_id,
        ..Mail::default()
    };
    let sent = mailing::send(&app, &db, mail).await?;
    let message_id = sent.outcome.map_err(|failure| Error::bad_request(mailing::words(&failure)))?;
    let result = MailResult { success: true, message_id, status_code: 202 };
    Ok(Json(MailAnswer { message: "Email sent successfully", result }))
}

async fn mark_read(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.optional::<Uuid>(sql!("inbox/mark_read"), &[&id]).await.or_not_found("Message")?;
    Ok(message("Message marked as read"))
}

async fn delete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    let deleted = db.tx(async |tx| {
        tx.optional::<Uuid>(sql!("inbox/lock_conversation"), &[&id]).await?;
        tx.optional::<bool>(sql!("inbox/delete"), &[&id]).await
    });
    match deleted.await? {
        None => Err(Error::not_found("Message")),
        Some(false) => Err(Error::bad_request("This message is being sent right now: try again in a moment")),
        Some(true) => Ok(message("Message deleted successfully")),
    }
}
