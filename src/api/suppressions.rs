//! Addresses that must not be written to: opted out, bounced, or entered by an admin.

use super::prelude::*;
use crate::telephony;

routes! {
    /// The suppressed addresses, newest first
    tenant get "/api/suppressions/" => list;
    /// Adds an address
    admin post "/api/suppressions/" => add;
    /// Lifts a suppression: the address may be written to again
    admin delete "/api/suppressions/{suppression_id}" => lift;
}

row! {
    /// An address that must not be written to, and why.
    pub struct Suppression {
        id: Uuid,
        channel: String,
        address: String,
        reason: String,
        note: Option<String>,
        created_at: Time,
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Channel {
    Sms,
    Email,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewSuppression {
    channel: Channel,
    /// A phone number or an e-mail address.
    #[garde(length(chars, max = 255))]
    address: String,
    #[garde(length(chars, max = 500))]
    note: Option<String>,
}

async fn list(db: TenantDb, page: Paging) -> Result<Paged<Suppression>> {
    page.list(&db, list!("suppressions/list").planned_once(), &[]).await
}

async fn add(db: Scoped<SettingsAdmin>, Json(new): Json<NewSuppression>) -> Result<Written<Suppression>> {
    let (channel, address) = match new.channel {
        Channel::Sms => ("sms", telephony::e164(&new.address)?),
        Channel::Email => {
            let address = new.address.trim().to_lowercase();
            let fits = address.parse::<lettre::Address>();
            fits.map_err(|_| Error::invalid("body", "address", "Input should be an e-mail address"))?;
            ("email", address)
        }
    };
    db.one(sql!("suppressions/add"), &[&channel, &address, &new.note]).await
}

async fn lift(db: Scoped<SettingsAdmin>, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.optional::<Uuid>(sql!("suppressions/lift"), &[&id]).await.or_not_found("Suppression")?;
    Ok(message("The address may be written to again"))
}
