//! Phone calls.

use super::prelude::*;

routes! {
    /// The company's calls and the caller's own historical ones, newest first
    tenant get "/api/calls/" => list;
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
    /// `incoming` or `outgoing`; anything else is all.
    #[serde(rename = "type")]
    kind: Option<String>,
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, page: Page) -> Result<Rows<Call>> {
    let direction = match filter.kind.as_deref() {
        Some("incoming") => Some("inbound"),
        Some("outgoing") => Some("outbound"),
        _ => None,
    };
    db.list(sql!("calls/list").planned_once(), &[&direction, &page.limit, &page.skip]).await
}
