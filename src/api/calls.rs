//! Phone calls.

use super::prelude::*;
use crate::telephony::{self, NewCall};

routes! {
    /// The company's calls and the caller's own historical ones, newest first
    tenant get "/api/calls/" => list;
    /// Calls a number
    tenant post "/api/calls/make" => make;
    /// Calls a number
    tenant post "/api/calls/initiate" => make;
    /// Deletes a call permanently
    tenant delete "/api/calls/{call_id}" => delete;
    /// Replaces a call's notes
    tenant put "/api/calls/{call_id}/notes" => set_notes;
}

row! {
    /// A phone call; `duration` is in seconds. `from` and `to` repeat the addresses for the calls screen.
    pub struct Call {
        id: Uuid,
        direction: String,
        status: String,
        from_address: String,
        to_address: String,
        from: String,
        to: String,
        duration: i32,
        recording_url: Option<String>,
        started_at: Time,
        ended_at: Option<Time>,
        notes: Option<String>,
        contact_id: Option<Uuid>,
        created_at: Time,
    }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// `incoming` or `outgoing`; anything else lists all.
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Empty strings count as absent.
#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct Dialled {
    #[garde(length(chars, max = 50))]
    to: String,
    /// One of the company's numbers.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    from: Option<String>,
    /// Another name for `from`, which takes precedence.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    from_number: Option<String>,
    #[garde(length(chars, max = wire::MAX_TEXT_CHARS))]
    notes: Option<String>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    contact_id: Option<Uuid>,
}

/// A call that Twilio has accepted; `status` is Twilio's.
#[derive(Serialize, JsonSchema)]
struct Made {
    success: bool,
    call_id: Uuid,
    twilio_sid: String,
    status: String,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct Notes {
    #[serde(default)]
    #[garde(length(chars, max = wire::MAX_TEXT_CHARS))]
    notes: Option<String>,
}

async fn make(app: State<App>, db: TenantDb, Json(dialled): Json<Dialled>) -> Result<Json<Made>> {
    let Dialled { to, from, from_number, notes, contact_id: contact } = dialled;
    let call = NewCall { to, from: from.or(from_number), notes, contact };
    let (call_id, taken) = telephony::call(&app, &db, call).await?;
    Ok(Json(Made { success: true, call_id, twilio_sid: taken.sid, status: taken.status }))
}

async fn delete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<wire::Done>> {
    if !db.optional(sql!("calls/delete"), &[&id]).await.or_not_found("Call")? {
        return Err(Error::bad_request("This call is being made right now: try again in a moment"));
    }
    Ok(wire::done("Call deleted successfully"))
}

async fn set_notes(db: TenantDb, Path(id): Path<Uuid>, Json(new): Json<Notes>) -> Result<Json<wire::Done>> {
    db.optional::<Uuid>(sql!("calls/set_notes"), &[&id, &new.notes.unwrap_or_default()]).await.or_not_found("Call")?;
    Ok(wire::done("Call notes updated"))
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, page: Paging) -> Result<Paged<Call>> {
    let direction = match filter.kind.as_deref() {
        Some("incoming") => "inbound",
        Some("outgoing") => "outbound",
        _ => return page.list(&db, list!("calls/list").planned_once(), &[]).await,
    };
    page.list(&db, list!("calls/of_direction").planned_once(), &[&direction]).await
}
