//! SMS messages.

use super::prelude::*;

routes! {
    /// The company's messages and the caller's own historical ones, newest first
    tenant get "/api/sms/messages" => list;
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
    /// `sent` or `received`; anything else is all.
    #[serde(rename = "type")]
    kind: Option<String>,
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, page: Page) -> Result<Rows<SmsMessage>> {
    let direction = match filter.kind.as_deref() {
        Some("sent") => Some("outbound"),
        Some("received") => Some("inbound"),
        _ => None,
    };
    db.list(sql!("sms/list").planned_once(), &[&direction, &page.limit, &page.skip]).await
}
