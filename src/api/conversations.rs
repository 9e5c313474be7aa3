//! Conversations: one per company and customer's number. Every text belongs to one (`app.keep_message`).

use super::prelude::*;
use crate::telephony::{self, Text};
use serde_json::Value;

routes! {
    /// The company's conversations, most recently active first
    tenant get "/api/conversations/" => list;
    /// Conversation counts, and how the numbers are used
    tenant get "/api/conversations/stats/overview" => overview;
    /// Opens the conversation with a number, and sends its first message if one is given
    tenant post "/api/conversations/start" => start;
    /// One conversation with its newest messages
    tenant get "/api/conversations/{conversation_id}" => get;
    /// Makes a conversation active, inactive or blocked
    tenant patch "/api/conversations/{conversation_id}/status" => set_status;
    /// Marks all received messages as read
    tenant put "/api/conversations/{conversation_id}/mark-read" => mark_read;
}

row! {
    /// A conversation between a company's number and a customer's.
    pub struct Conversation {
        id: Uuid,
        user_id: Uuid,
        to_number: String,
        from_twilio_number: String,
        conversation_status: String,
        last_message_at: Time,
        created_at: Time,
        message_count: i32,
        unread_count: i32,
    }
}

row! {
    /// A conversation with its newest messages.
    pub struct WithMessages as "Conversation" {
        id: Uuid,
        user_id: Uuid,
        to_number: String,
        from_twilio_number: String,
        conversation_status: String,
        last_message_at: Time,
        created_at: Time,
        message_count: i32,
        unread_count: i32,
        recent_messages: Value,
    }
}

row! {
    /// Figures of the company's conversations and numbers.
    pub struct Overview {
        total_conversations: i64,
        active_conversations: i64,
        blocked_conversations: i64,
        inactive_conversations: i64,
        phone_numbers: Value,
    }
}

words! {
    enum ConversationStatus { Active = "active", Inactive = "inactive", Blocked = "blocked" }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    status: Option<ConversationStatus>,
}

#[derive(Deserialize, JsonSchema)]
struct Detail {
    /// Whether to include messages (default true).
    #[serde(default, deserialize_with = "wire::optional_flag")]
    include_messages: Option<bool>,
    /// Number of messages, from 1 to 100 (default 20).
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    message_limit: Option<i64>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct Start {
    #[garde(length(chars, max = 50))]
    to_number: String,
    /// Sent at once if given.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    #[garde(length(chars, max = 1600))]
    initial_message: Option<String>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct StatusChange {
    /// `active`, `inactive` or `blocked`; anything else is refused with 400.
    #[serde(default)]
    #[schemars(with = "String")]
    status: serde_json::Value,
}

#[derive(Serialize, JsonSchema)]
struct StatusSet {
    message: &'static str,
    conversation_id: Uuid,
    new_status: &'static str,
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, Bounded(page): Bounded) -> Result<Paged<Conversation>> {
    match filter.status.map(ConversationStatus::word) {
        None => page.list(&db, list!("conversations/list", "last_message_at", "id").planned_once(), &[]).await,
        Some(status) => {
            let of_status = list!("conversations/of_status", "last_message_at", "id").planned_anew();
            page.list(&db, of_status, &[&status]).await
        }
    }
}

async fn get(db: TenantDb, Path(id): Path<Uuid>, Query(detail): Query<Detail>) -> Result<Written<WithMessages>> {
    let limit = page::up_to_100("message_limit", detail.message_limit.unwrap_or(20))?;
    let limit = if detail.include_messages.unwrap_or(true) { limit } else { 0 };
    db.one(sql!("conversations/get"), &[&id, &limit]).await
}

/// One transaction, so that a refused message opens no conversation.
async fn start(app: State<App>, db: TenantDb, Json(new): Json<Start>) -> Result<Json<Conversation>> {
    let to = telephony::e164(&new.to_number)?;
    let account = match new.initial_message {
        Some(_) => Some(telephony::need_texting_account(&app, &db).await?),
        None => None,
    };
    let started = db.tx(async |tx| {
        let is_to_send = new.initial_message.is_some();
        let started: Option<Conversation> = tx.optional(sql!("conversations/start"), &[&to, &is_to_send]).await?;
        let refusal = Error::bad_request("No phone number takes its turn: switch rotation on for one of the numbers");
        let conversation = started.ok_or(refusal)?;
        let Some(body) = new.initial_message else { return Ok((conversation, None)) };
        let from = Some(conversation.from_twilio_number.clone());
        let text = Text { to, body: Some(body), from, ..Text::default() };
        let message = telephony::queue(tx, &text).await?;
        Ok((conversation, Some(message)))
    });
    let (conversation, message) = started.await?;
    let (Some(account), Some(message)) = (account, message) else { return Ok(Json(conversation)) };
    let sent = telephony::finish(&app, account, message, None).await?;
    let db = sent.db.clone();
    sent.taken()?;
    Ok(Json(db.one(sql!("conversations/summary"), &[&conversation.id]).await?))
}

async fn set_status(db: TenantDb, Path(id): Path<Uuid>, Json(change): Json<StatusChange>) -> Result<Json<StatusSet>> {
    let refusal = Error::bad_request("The status must be active, inactive or blocked");
    let status: Option<ConversationStatus> = change.status.as_str().and_then(|status| status.parse().ok());
    let status = status.ok_or(refusal)?.word();
    let set = db.optional(sql!("conversations/set_status"), &[&id, &status]).await;
    let conversation_id: Uuid = set.or_not_found("Conversation")?;
    Ok(Json(StatusSet { message: "Conversation status updated", conversation_id, new_status: status }))
}

async fn mark_read(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.optional::<Uuid>(sql!("conversations/mark_read"), &[&id]).await.or_not_found("Conversation")?;
    Ok(message("Conversation marked as read"))
}

async fn overview(db: TenantDb) -> Result<Written<Overview>> {
    db.one(sql!("conversations/overview"), &[]).await
}
