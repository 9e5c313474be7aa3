//! The numbers from which a company sends and at which it is reached.

use crate::{
    api::prelude::*,
    db::{FromRow, Sql, Tx},
    telephony::{self, Account},
};
use serde_json::Value;

row! {
    /// A phone number of the company.
    pub struct PhoneNumber {
        id: Uuid,
        phone_number: String,
        friendly_name: Option<String>,
        capabilities: Value,
        is_active: bool,
        use_for_rotation: bool,
        rotation_enabled: bool,
        total_messages_sent: i32,
        total_messages_received: i32,
        last_used_at: Option<Time>,
        created_at: Time,
    }
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
pub(super) struct NewNumber {
    #[garde(length(chars, max = 50))]
    phone_number: String,
    #[garde(length(chars, max = 255))]
    friendly_name: Option<String>,
    /// Twilio's id of the number.
    #[garde(length(chars, max = 100))]
    twilio_sid: Option<String>,
    /// Whether it takes part in sender rotation (default false).
    #[serde(default, deserialize_with = "wire::optional_boolean")]
    rotation_enabled: Option<bool>,
    /// Rotation priority, highest first (default 0).
    #[serde(default, deserialize_with = "wire::optional_number")]
    rotation_priority: Option<i32>,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Rotation {
    #[serde(deserialize_with = "wire::required_flag")]
    enabled: bool,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    priority: Option<i32>,
}

/// The frontend sends `active`, the old documentation has `enabled`; one of them is required.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Switched {
    /// Takes precedence over `active`.
    #[serde(default, deserialize_with = "wire::optional_flag")]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "wire::optional_flag")]
    active: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct RotationSet {
    success: bool,
    rotation_enabled: bool,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct ActiveSet {
    success: bool,
    is_active: bool,
}

row! {
    /// The result of a synchronization.
    pub struct Synced {
        success: bool,
        total_twilio: i64,
        added: i64,
        updated: i64,
        removed: i64,
    }
}

/// The error if the number is in use by this company or another one.
const IN_USE: &str = "This phone number was already added";

pub(super) async fn list(db: TenantDb) -> Result<Rows<PhoneNumber>> {
    db.list(sql!("sms/phone_numbers"), &[]).await.or_empty_without_company()
}

pub(super) async fn add(app: State<App>, db: TenantDb, Json(new): Json<NewNumber>) -> Result<Json<PhoneNumber>> {
    telephony::need_account(&app, &db).await?;
    let number = telephony::e164(&new.phone_number)?;
    let (rotate, priority) = (new.rotation_enabled.unwrap_or(false), new.rotation_priority.unwrap_or(0));
    let params: Params<'_> = &[&number, &new.friendly_name, &new.twilio_sid, &rotate, &priority];
    let added = use_number(&app, &db, &number, sql!("sms/add_phone_number"), params).await?;
    added.map(Json).ok_or(Error::bad_request(IN_USE))
}

pub(super) async fn set_rotation(
    db: TenantDb,
    Path(id): Path<Uuid>,
    Query(rotation): Query<Rotation>,
) -> Result<Json<RotationSet>> {
    let params: Params<'_> = &[&id, &rotation.enabled, &rotation.priority];
    db.optional::<Uuid>(sql!("sms/set_rotation"), params).await.or_not_found("Phone number")?;
    Ok(Json(RotationSet { success: true, rotation_enabled: rotation.enabled }))
}

pub(super) async fn set_active(
    app: State<App>,
    db: TenantDb,
    Path(id): Path<Uuid>,
    Query(switched): Query<Switched>,
) -> Result<Json<ActiveSet>> {
    let is_active = switched.enabled.or(switched.active);
    let is_active = is_active.ok_or_else(|| Error::invalid("query", "enabled", "Field required"))?;
    let number = db.optional::<String>(sql!("sms/phone_number"), &[&id]).await.or_not_found("Phone number")?;
    let set = use_number::<Uuid>(&app, &db, &number, sql!("sms/set_active"), &[&id, &is_active]).await;
    set.or_not_found("Phone number")?;
    Ok(Json(ActiveSet { success: true, is_active }))
}

/// Runs a statement that puts a number to use. If another company uses it already, Twilio decides whose it is: that
/// company may have entered a number that it does not own.
async fn use_number<T: FromRow>(app: &App, db: &TenantDb, number: &str, q: Sql, p: Params<'_>) -> Result<Option<T>> {
    const KEY: &str = "phone_numbers_in_use_key";
    let written = db.optional(q, p).await.on_constraint(KEY, IN_USE);
    if !matches!(&written, Err(Error::BadRequest(why)) if why == IN_USE) {
        return written;
    }
    let Some(account) = telephony::account(app, db).await? else { return Err(Error::bad_request(IN_USE)) };
    let numbers = app.twilio.numbers(&account.credentials, usize::MAX).await.unwrap_or_default();
    if !numbers.iter().any(|ours| ours.phone_number == number) {
        return Err(Error::bad_request(IN_USE));
    }
    let written = db.tx(async |tx| {
        hold(tx, &account).await?;
        tx.take_numbers(&[number], &account.credentials.account_sid).await?;
        tx.optional(q, p).await
    });
    written.await.on_constraint(KEY, IN_USE)
}

/// Keeps the account as it is until the transaction ends; 409 when it is another one than the one whose numbers Twilio
/// was asked for.
async fn hold(tx: &Tx<'_>, account: &Account) -> Result<()> {
    let is_same: Option<Uuid> = tx.optional(sql!("sms/lock_account"), &[&account.credentials.account_sid]).await?;
    is_same.map(drop).ok_or(Error::Conflict("Another Twilio account was entered meanwhile: try again".into()))
}

pub(super) async fn sync(app: State<App>, db: Scoped<SettingsAdmin>) -> Result<Json<Synced>> {
    let account = telephony::need_account(&app, &db).await?;
    let numbers = app.twilio.numbers(&account.credentials, usize::MAX).await.map_err(telephony::unanswered)?;
    let known: Vec<&str> = numbers.iter().map(|number| number.phone_number.as_str()).collect();
    let synced = db.tx(async |tx| {
        hold(tx, &account).await?;
        let taken = tx.take_numbers(&known, &account.credentials.account_sid).await?;
        tx.one(sql!("sms/sync_phone_numbers"), &[&Jsonb(&numbers), &taken]).await
    });
    Ok(Json(synced.await?))
}
