//! Text messages: what was sent and received, sending now and later, templates, and the company's numbers.

mod numbers;
mod templates;

use super::prelude::*;
use crate::telephony::{self, Text};
use jiff::Timestamp;
use std::collections::HashMap;

routes! {
    /// The company's messages and the caller's own historical ones, newest first
    tenant get "/api/sms/messages" => list;
    /// Sends a text message
    tenant post "/api/sms/send" => send;
    /// The company's active templates, the most used first
    tenant get "/api/sms/templates" => templates::list;
    /// Adds a template
    tenant post "/api/sms/templates" => templates::create;
    /// Replaces a template
    tenant put "/api/sms/templates/{template_id}" => templates::update;
    /// Deletes a template
    tenant delete "/api/sms/templates/{template_id}" => templates::delete;
    /// The company's numbers
    tenant get "/api/sms/phone-numbers" => numbers::list;
    /// Adds a number by hand
    tenant post "/api/sms/phone-numbers" => numbers::add;
    /// Sets whether a number takes part in sender rotation
    tenant patch "/api/sms/phone-numbers/{number_id}/rotation" => numbers::set_rotation;
    /// Switches a number on or off
    tenant patch "/api/sms/phone-numbers/{number_id}/active" => numbers::set_active;
    /// Synchronizes the numbers with the company's Twilio account
    admin post "/api/twilio/sync/phone-numbers" => numbers::sync;
    /// Messages still to be sent, soonest first
    tenant get "/api/sms/scheduled" => scheduled;
    /// Schedules a text message
    tenant post "/api/sms/scheduled" => schedule;
    /// Schedules a text message
    tenant post "/api/sms/schedule" => schedule;
    /// Cancels a scheduled message
    tenant delete "/api/sms/scheduled/{scheduled_id}" => cancel;
    /// Cancels a scheduled message, at the address that the frontend uses
    tenant delete "/sms/scheduled/{scheduled_id}" => cancel;
    /// Message figures of the last days
    tenant get "/api/sms/analytics" => analytics;
}

row! {
    /// A text message.
    pub struct SmsMessage {
        id: Uuid,
        direction: String,
        status: String,
        from_address: String,
        to_address: String,
        body: String,
        sent_at: Time,
        read_at: Option<Time>,
        contact_id: Option<Uuid>,
        created_at: Time,
        is_auto_response: bool,
    }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// `sent` or `received`; anything else lists all.
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Empty strings count as absent.
#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewText {
    #[garde(length(chars, max = 50))]
    to: String,
    /// At most 1600 characters.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    body: Option<String>,
    /// A template, whose text replaces `body`.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    template_id: Option<Uuid>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    contact_id: Option<Uuid>,
    /// One of the company's numbers.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    from_number: Option<String>,
    /// Whether to rotate the sender if none is given (default true).
    #[serde(default, deserialize_with = "wire::optional_boolean")]
    use_rotation: Option<bool>,
    /// Values for the template's `{name}`.
    #[serde(default)]
    variables: Option<HashMap<String, String>>,
}

/// A message that Twilio has accepted.
#[derive(Serialize, JsonSchema)]
struct SentText {
    success: bool,
    message_sid: String,
    from: String,
    to: String,
    body: String,
}

row! {
    /// A message that is sent later.
    pub struct Scheduled {
        id: Uuid,
        to_address: String,
        body: String,
        scheduled_at: Time,
        is_sent: bool,
        is_cancelled: bool,
        error_message: Option<String>,
        created_at: Time,
    }
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewScheduled {
    /// One of the company's numbers.
    #[garde(length(chars, max = 50))]
    from_number: String,
    #[garde(length(chars, max = 50))]
    to: String,
    #[garde(length(chars, min = 1, max = 1600))]
    body: String,
    /// In the future; UTC if it has no zone.
    scheduled_at: Time,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    contact_id: Option<Uuid>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    template_id: Option<Uuid>,
}

#[derive(Deserialize, JsonSchema)]
struct Period {
    /// How many days back (default 30).
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    days: Option<i32>,
}

row! {
    /// Message figures; the rates are percent of the messages sent.
    pub struct SmsFigures {
        total_sent: i64,
        total_received: i64,
        total_failed: i64,
        total_delivered: i64,
        success_rate: f64,
        response_rate: f64,
        avg_response_time_minutes: Option<f64>,
    }
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, page: Paging) -> Result<Paged<SmsMessage>> {
    let direction = match filter.kind.as_deref() {
        Some("sent") => "outbound",
        Some("received") => "inbound",
        _ => return page.list(&db, list!("sms/list").planned_once(), &[]).await,
    };
    page.list(&db, list!("sms/of_direction").planned_once(), &[&direction]).await
}

async fn send(app: State<App>, db: TenantDb, Json(new): Json<NewText>) -> Result<Json<SentText>> {
    let text = Text {
        to: new.to,
        body: new.body,
        template: new.template_id,
        variables: new.variables.unwrap_or_default(),
        contact: new.contact_id,
        from: new.from_number,
        rotate: new.use_rotation.unwrap_or(true),
        execution: None,
    };
    let (message, taken) = telephony::send(&app, &db, text).await?.taken()?;
    let telephony::Queued { from_address: from, to_address: to, body, .. } = message;
    Ok(Json(SentText { success: true, message_sid: taken.sid, from, to, body }))
}

async fn scheduled(db: TenantDb, page: Paging<{ page::NO_LIMIT }>) -> Result<Paged<Scheduled>> {
    page.list(&db, list!("sms/scheduled", "scheduled_at", "id").planned_once(), &[]).await
}

async fn schedule(db: TenantDb, Json(new): Json<NewScheduled>) -> Result<Written<Scheduled>> {
    let from = Some(new.from_number.trim()).filter(|from| !from.is_empty());
    let (to, at) = (scheduled_number(&new.to)?, new.scheduled_at);
    let in_future =
        if at.0 > Timestamp::now() { Ok(()) } else { Err(Error::bad_request("The time must be in the future")) };
    if let Err(refusal) = in_future.and(telephony::check_body(&new.body)) {
        // A caller without a company is told that first.
        db.tx(async |_| Ok(())).await?;
        return Err(refusal);
    }
    db.one(sql!("sms/schedule"), &[&from, &to, &new.body, &at, &new.contact_id, &new.template_id]).await
}

/// A number as the scheduling screen gives it (contract: POST /api/sms/scheduled).
fn scheduled_number(given: &str) -> Result<String> {
    let digits: String = given.chars().filter(char::is_ascii_digit).collect();
    match digits.strip_prefix('0') {
        _ if given.trim_start().starts_with('+') => telephony::e164(given),
        Some(rest) if digits.len() == 11 => telephony::e164(&format!("+92{rest}")),
        _ => telephony::e164(&format!("+{digits}")),
    }
}

async fn cancel(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<wire::Done>> {
    let progress = db.tx(async |tx| {
        tx.optional::<Uuid>(sql!("sms/lock_scheduled"), &[&id]).await?;
        tx.optional::<String>(sql!("sms/cancel_scheduled"), &[&id]).await
    });
    match progress.await.or_not_found("Scheduled message")?.as_str() {
        "waiting" => Ok(wire::done("Scheduled message cancelled")),
        "under_way" => {
            Err(Error::bad_request("The message is being sent right now; if that fails, it is not tried again"))
        }
        _ => Err(Error::bad_request("The message was already sent")),
    }
}

async fn analytics(db: TenantDb, Query(period): Query<Period>) -> Result<Written<SmsFigures>> {
    let days = period.days.unwrap_or(30);
    if !(0..=3660).contains(&days) {
        return Err(Error::invalid("query", "days", "Input should be from 0 to 3660"));
    }
    db.one(sql!("sms/analytics"), &[&days]).await
}
