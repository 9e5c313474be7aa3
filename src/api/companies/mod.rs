//! Companies: what their users see and their admins change, and what super admins do across them.

mod team;

use super::{non_blank, prelude::*};
use crate::{db::Tx, seal::is_masked};
use serde_json::Value;
use tokio_postgres::error::SqlState;

routes! {
    /// Creates a company without users
    platform post "/api/companies/" => create;
    /// Every company but the caller's own
    platform get "/api/companies/" => list;
    /// The caller's company; any company for a super admin
    user get "/api/companies/{company_id}" => get;
    /// Changes the given fields of a company; only a super admin may change plan and status
    admin put "/api/companies/{company_id}" => update;
    /// Deletes a company that has no users, with everything it owns
    platform delete "/api/companies/{company_id}" => delete;
    /// The users of a company
    user get "/api/companies/{company_id}/users" => team::list;
    /// Creates an account for a colleague
    admin post "/api/companies/{company_id}/users" => team::add;
}

row! {
    /// A company as its users see it.
    pub struct Company {
        id: Uuid,
        name: String,
        plan: String,
        status: String,
        domain: Option<String>,
        logo_url: Option<String>,
        timezone: String,
        currency: String,
        email: Option<String>,
        phone: Option<String>,
        address: Option<String>,
        city: Option<String>,
        state: Option<String>,
        zip: Option<String>,
        created_at: Time,
        user_count: i32,
        subscription_status: Option<String>,
        trial_ends_at: Option<Time>,
        days_remaining: Option<i32>,
        settings: Value,
    }
}

words! {
    enum Plan { Free = "free", Pro = "pro", Enterprise = "enterprise" }
}

words! {
    enum CompanyStatus { Active = "active", Suspended = "suspended", Pending = "pending" }
}

/// A company's settings; an unknown one is refused.
#[derive(Serialize, Deserialize, Validate, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CompanySettings {
    /// No text message is sent while it is night for its recipient; null switches this off.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(skip)]
    quiet_hours: Option<Option<QuietHours>>,
    /// Whether the sender of a text from an unknown number becomes a contact.
    #[serde(default, deserialize_with = "wire::optional_boolean", skip_serializing_if = "Option::is_none")]
    #[garde(skip)]
    add_unknown_senders: Option<bool>,
    /// Automatic reply to a text message; none if null.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(inner(length(chars, min = 1, max = 1000), custom(sayable))))]
    auto_reply: Option<Option<String>>,
    /// Automatic reply to HELP; a sentence with the company's name if null.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(inner(length(chars, min = 1, max = 1000), custom(sayable))))]
    help_reply: Option<Option<String>>,
}

/// Start and end of the night, such as `21:00` and `08:00`, in the recipient's time zone.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct QuietHours {
    #[serde(deserialize_with = "hour")]
    from: String,
    #[serde(deserialize_with = "hour")]
    to: String,
}

fn hour<'de, D: serde::Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    let time = jiff::civil::Time::strptime("%H:%M", &text);
    time.map(|time| time.strftime("%H:%M").to_string())
        .map_err(|_| serde::de::Error::custom("Input should be a time such as 21:00"))
}

/// Only an object: serde would also read a list, as the fields in order.
fn settings<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<CompanySettings>, D::Error> {
    let Some(object) = Option::<serde_json::Map<String, Value>>::deserialize(d)? else { return Ok(None) };
    let settings = serde_path_to_error::deserialize(Value::Object(object));
    settings.map(Some).map_err(|e| serde::de::Error::custom(format!("{}: {}", e.path(), e.inner())))
}

#[derive(Deserialize, Validate, JsonSchema)]
struct BareCompany {
    #[garde(custom(wire::company_name))]
    name: String,
    #[serde(default = "free")]
    #[garde(skip)]
    plan: Plan,
    /// An empty string means none.
    #[garde(length(chars, max = 255))]
    domain: Option<String>,
    /// An IANA time zone.
    #[serde(default = "utc")]
    #[garde(custom(time_zone))]
    timezone: String,
    #[serde(default = "usd")]
    #[garde(length(chars, min = 1, max = 10))]
    currency: String,
}

fn free() -> Plan {
    Plan::Free
}

fn utc() -> String {
    "UTC".into()
}

fn usd() -> String {
    "USD".into()
}

fn time_zone(name: &str, _: &()) -> garde::Result {
    match wire::time_zone(name) {
        Some(_) => Ok(()),
        None => Err(garde::Error::new("Input should be an IANA time zone such as Europe/Berlin")),
    }
}

/// Replies to Twilio are XML.
fn sayable(text: &str, _: &()) -> garde::Result {
    if text.chars().all(wire::is_xml) {
        Ok(())
    } else {
        Err(garde::Error::new("Input should have no control characters"))
    }
}

/// Pages show it as an image or link, where `javascript:` would run.
fn picture_address(url: &str, _: &()) -> garde::Result {
    let known =
        ["https://", "http://", "data:image/", "/"].iter().any(|start| url.starts_with(start)) || url.is_empty();
    if known { Ok(()) } else { Err(garde::Error::new("Input should be the address of a picture")) }
}

fn account_sid_or_empty(text: &str, _: &()) -> garde::Result {
    if text.trim().is_empty() { Ok(()) } else { wire::account_sid(text.trim(), &()) }
}

/// The fields to change. Omitted fields keep their values, and so do `settings`, `plan` and `status` if null. A null or
/// empty secret is deleted, and a masked one is kept; none is ever returned. The token and the key belong to the Twilio
/// settings, which must be verified again after a new SID or token.
#[derive(Default, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default)]
struct CompanyPatch {
    #[serde(deserialize_with = "wire::given", skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(wire::company_name)))]
    name: Option<String>,
    /// An empty string means none.
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 255)))]
    domain: Option<Option<String>>,
    /// The URL of a picture.
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 500)), inner(inner(custom(picture_address))))]
    logo_url: Option<Option<String>>,
    /// An IANA time zone.
    #[serde(deserialize_with = "wire::given", skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(time_zone)))]
    timezone: Option<String>,
    #[serde(deserialize_with = "wire::given", skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, min = 1, max = 10))]
    currency: Option<String>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 255)))]
    email: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 50)))]
    phone: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 255)))]
    address: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 100)))]
    city: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 100)))]
    state: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 20)))]
    zip: Option<Option<String>>,
    #[serde(deserialize_with = "settings", skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    settings: Option<CompanySettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(skip)]
    plan: Option<Plan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(skip)]
    status: Option<CompanyStatus>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing)]
    /// Account SID of the Twilio settings, which must exist; null or empty changes nothing.
    #[garde(inner(inner(custom(account_sid_or_empty))))]
    twilio_account_sid: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing)]
    #[garde(inner(length(chars, max = 255)))]
    twilio_auth_token: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing)]
    #[garde(inner(length(chars, max = 255)))]
    sendgrid_api_key: Option<Option<String>>,
}

/// A provider's secret as stored: its name, and the sealed secret with its last four characters, or `None`.
type SealedSecret = (&'static str, Option<(Vec<u8>, String)>);

impl CompanyPatch {
    /// The given secrets, sealed for this company, without those that are masked.
    fn secrets(&self, app: &App, company: Uuid) -> Result<Vec<SealedSecret>> {
        let all = [("twilio_auth_token", &self.twilio_auth_token), ("sendgrid_api_key", &self.sendgrid_api_key)];
        let given = all.into_iter().filter_map(|(name, given)| Some((name, given.as_ref()?)));
        let given = given.filter(|(_, secret)| !secret.as_deref().is_some_and(is_masked));
        given
            .map(|(name, secret)| Ok((name, app.sealer.seal(company, name, secret.as_deref().unwrap_or_default())?)))
            .collect()
    }

    /// The columns to change, as they are stored.
    fn columns(mut self) -> Value {
        self.name = self.name.map(|name| name.trim().to_owned());
        self.domain = self.domain.map(bare_domain);
        self.timezone = self.timezone.and_then(|name| wire::time_zone(&name));
        serde_json::json!(self)
    }
}

/// Domains are case-insensitive.
fn bare_domain(text: Option<String>) -> Option<String> {
    non_blank(text).map(|domain| domain.to_lowercase())
}

/// The response for a foreign company and for a nonexistent one.
fn denied() -> Error {
    Error::Forbidden("Access denied to this company".into())
}

/// Turns a unique violation on `companies` into a sentence.
fn taken<T>(result: Result<T>) -> Result<T> {
    result
        .on_constraint("companies_domain_key", "This domain is already in use")
        .on_constraint("companies_name_key", "A company with this name already exists")
}

async fn create(db: Scoped<SuperAdmin>, Json(new): Json<BareCompany>) -> Result<Json<Company>> {
    let BareCompany { name, plan, domain, timezone, currency } = new;
    let (plan, domain, timezone) = (plan.word(), bare_domain(domain), wire::time_zone(&timezone));
    let company = db.tx(async |tx| tx.create_company(&[&name.trim(), &plan, &domain, &timezone, &currency]).await);
    Ok(Json(taken(company.await)?))
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// The status.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    status: Option<CompanyStatus>,
}

async fn list(db: Scoped<SuperAdmin>, Query(filter): Query<Filter>, page: Page) -> Result<Json<Vec<Company>>> {
    let status = filter.status.map(CompanyStatus::word);
    Ok(Json(db.tx(async |tx| tx.all_companies(status, page).await).await?))
}

async fn get(db: UserDb, Path(id): Path<Uuid>) -> Result<Json<Company>> {
    Ok(Json(db.tx(async |tx| stored(tx, id).await).await?))
}

async fn stored(tx: &Tx<'_>, id: Uuid) -> Result<Company> {
    if tx.caller().is_super_admin() {
        return tx.any_company(id).await;
    }
    tx.optional(sql!("companies/get"), &[&id]).await?.ok_or_else(denied)
}

async fn update(
    app: State<App>,
    db: Scoped<TeamAdmin>,
    Path(id): Path<Uuid>,
    change: Change<CompanyPatch>,
) -> Result<Json<Company>> {
    let patch = change.checked_against(db.tx(async |tx| stored(tx, id).await)).await?;
    let of_the_platform = patch.plan.is_some() || patch.status.is_some();
    let secrets = patch.secrets(&app, id)?;
    let account_sid = non_blank(patch.twilio_account_sid.clone().flatten());
    let columns = patch.columns();
    let company = db.tx(async |tx| {
        let company = match tx.caller() {
            me if me.is_super_admin() => tx.update_any_company(id, &columns).await?,
            me if !matches!(me.role.as_str(), "company_admin" | "Admin") => {
                return Err(Error::Forbidden(CompanyAdmin::REFUSAL.into()));
            }
            _ if of_the_platform => {
                return Err(Error::Forbidden("Only a super admin may change plan and status".into()));
            }
            _ => {
                tx.optional::<Uuid>(sql!("companies/update"), &[&id, &columns]).await?.ok_or_else(denied)?;
                tx.one(sql!("companies/get"), &[&id]).await?
            }
        };
        if let Some(sid) = &account_sid
            && !tx.set_account_sid(id, sid).await?
        {
            return Err(Error::bad_request("The company has no Twilio settings: enter the account there"));
        }
        for (name, secret) in &secrets {
            tx.keep_company_secret(id, name, secret.as_ref()).await?;
        }
        Ok(company)
    });
    Ok(Json(taken(company.await)?))
}

async fn delete(db: Scoped<SuperAdmin>, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    let deleted = db.tx(async |tx| tx.delete_company(id).await).await.map_err(|e| match e {
        Error::Database(fault) if fault.code() == Some(&SqlState::QUERY_CANCELED) => Error::Conflict(
            format!("The company is too large to be deleted here: `ringfence erase company {id}` does it").into(),
        ),
        e => e,
    });
    if !deleted? {
        return Err(Error::not_found("Company"));
    }
    Ok(message("Company deleted successfully"))
}
