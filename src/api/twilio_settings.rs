//! A company's Twilio and SendGrid accounts. The secrets are sealed and never returned.

use super::{non_blank, prelude::*};
use crate::{
    clients::twilio::{Capabilities, Credentials},
    db::Tx,
    mailing,
    seal::is_masked,
    telephony,
};
use std::time::Duration;

routes! {
    /// The company's settings, or null
    tenant get "/api/twilio-settings/" => get;
    /// Creates the settings and verifies them with Twilio
    admin post "/api/twilio-settings/" => create;
    /// Changes the given settings
    admin put "/api/twilio-settings/" => update;
    /// Deletes the settings with the token and SendGrid's key, and switches the company's numbers off
    admin delete "/api/twilio-settings/" => delete;
    /// Verifies the account with Twilio
    admin post "/api/twilio-settings/verify" => verify;
    /// The account's numbers, as Twilio lists them now
    tenant get "/api/twilio-settings/phone-numbers" => phone_numbers;
}

row! {
    /// The accounts; `sendgrid_api_key` shows only the last four characters.
    pub struct TwilioSettings {
        id: Uuid,
        user_id: Uuid,
        account_sid: String,
        phone_number: Option<String>,
        sendgrid_api_key: Option<String>,
        sendgrid_from_email: Option<String>,
        sms_enabled: bool,
        voice_enabled: bool,
        /// Stored without effect: mail is sent with the key whenever the settings are active.
        email_enabled: bool,
        is_active: bool,
        is_verified: bool,
        created_at: Time,
        updated_at: Time,
        last_verified_at: Option<Time>,
    }
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewSettings {
    /// `AC…`, 34 characters.
    #[garde(custom(wire::account_sid))]
    account_sid: String,
    #[garde(custom(token))]
    auth_token: String,
    #[garde(length(chars, max = 20))]
    phone_number: Option<String>,
    #[garde(length(chars, max = 255))]
    sendgrid_api_key: Option<String>,
    /// The sender of the company's mail.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    #[garde(inner(email), length(chars, max = 255))]
    sendgrid_from_email: Option<String>,
    #[serde(default, deserialize_with = "wire::optional_boolean")]
    sms_enabled: Option<bool>,
    #[serde(default, deserialize_with = "wire::optional_boolean")]
    voice_enabled: Option<bool>,
    /// Stored without effect: mail is sent with the key whenever the settings are active.
    #[serde(default, deserialize_with = "wire::optional_boolean")]
    email_enabled: Option<bool>,
}

/// The fields to change. Omitted fields keep their values, and so do an empty token and a masked key.
#[derive(Debug, Default, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default)]
#[garde(allow_unvalidated)]
struct SettingsPatch {
    #[serde(deserialize_with = "wire::given", skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(wire::account_sid)))]
    account_sid: Option<String>,
    #[serde(deserialize_with = "wire::given", skip_serializing)]
    #[garde(inner(custom(token_or_empty)))]
    auth_token: Option<String>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(inner(length(chars, max = 20))))]
    phone_number: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing)]
    #[garde(inner(inner(length(chars, max = 255))))]
    sendgrid_api_key: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(inner(custom(sender))))]
    sendgrid_from_email: Option<Option<String>>,
    #[serde(deserialize_with = "wire::given_boolean", skip_serializing_if = "Option::is_none")]
    sms_enabled: Option<bool>,
    #[serde(deserialize_with = "wire::given_boolean", skip_serializing_if = "Option::is_none")]
    voice_enabled: Option<bool>,
    /// Stored without effect: mail is sent with the key whenever the settings are active.
    #[serde(deserialize_with = "wire::given_boolean", skip_serializing_if = "Option::is_none")]
    email_enabled: Option<bool>,
    /// While false, no text, call or mail is sent through these accounts.
    #[serde(deserialize_with = "wire::given_boolean", skip_serializing_if = "Option::is_none")]
    is_active: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
struct Verified {
    verified: bool,
    message: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct LiveNumbers {
    phone_numbers: Vec<LiveNumber>,
}

#[derive(Serialize, JsonSchema)]
struct LiveNumber {
    sid: String,
    phone_number: String,
    friendly_name: Option<String>,
    capabilities: LiveCapabilities,
}

#[derive(Serialize, JsonSchema)]
struct LiveCapabilities {
    sms: bool,
    voice: bool,
}

/// Maximum number of an account's numbers shown.
const MAX_NUMBERS_SHOWN: usize = 50;
const THERE: &str = "Twilio settings already exist for this company: change them with PUT";
const OFF: &str = "The Twilio settings are switched off: switch them on first";

fn token(text: &str, _: &()) -> garde::Result {
    let fits = (32..=255).contains(&text.trim().chars().count());
    if fits { Ok(()) } else { Err(garde::Error::new("The auth token has 32 to 255 characters")) }
}

fn token_or_empty(text: &str, _: &()) -> garde::Result {
    if text.is_empty() { Ok(()) } else { token(text, &()) }
}

fn sender(text: &str, _: &()) -> garde::Result {
    let fits = text.is_empty() || (text.len() <= 255 && text.parse::<lettre::Address>().is_ok());
    if fits { Ok(()) } else { Err(garde::Error::new("Input should be an e-mail address")) }
}

fn number(given: String) -> Result<String> {
    telephony::e164(&given).map_err(|e| match e {
        Error::BadRequest(why) => Error::invalid("body", "phone_number", why),
        e => e,
    })
}

/// The company's settings, if it has any.
async fn read(tx: &Tx<'_>) -> Result<Option<TwilioSettings>> {
    let hint = tx.company_secret_hint("sendgrid_api_key").await?;
    tx.optional(sql!("twilio_settings/get"), &[&hint]).await
}

/// The company's settings; 404 if it has none.
async fn need(tx: &Tx<'_>) -> Result<TwilioSettings> {
    read(tx).await.or_not_found("Twilio settings")
}

async fn get(db: TenantDb) -> Result<Json<Option<TwilioSettings>>> {
    match db.tx(read).await {
        Err(Error::NoCompany) => Ok(Json(None)),
        settings => Ok(Json(settings?)),
    }
}

/// Stores a sealed secret of the transaction's company; an empty one is deleted.
async fn keep(app: &App, tx: &Tx<'_>, name: &str, secret: &str) -> Result<()> {
    let company = tx.caller().company_id.ok_or(Error::NoCompany)?;
    let sealed = app.sealer.seal(company, name, secret)?;
    tx.keep_company_secret(company, name, sealed.as_ref()).await
}

/// Counts a new sender where mail leaves by the relay: the answer tells whether it is somebody's, so nobody asks often.
async fn count_sender(app: &App, client: &Client, user: Uuid) -> Result<()> {
    if app.mailer.has_relay() {
        client.limit(app, "new sender", &user.to_string(), 20, Duration::from_secs(60 * 60)).await?;
    }
    Ok(())
}

async fn create(
    app: State<App>,
    client: Client,
    db: Scoped<SettingsAdmin>,
    Json(new): Json<NewSettings>,
) -> Result<wire::Created<TwilioSettings>> {
    let (there, user) = db.tx(async |tx| Ok((read(tx).await?, tx.caller().user_id))).await.must_have_company()?;
    if there.is_some() {
        return Err(Error::bad_request(THERE));
    }
    if new.sendgrid_from_email.is_some() {
        count_sender(&app, &client, user).await?;
    }
    let number = non_blank(new.phone_number).map(number).transpose()?;
    let key = non_blank(new.sendgrid_api_key).filter(|key| !is_masked(key));
    let credentials = Credentials { account_sid: new.account_sid, auth_token: new.auth_token.trim().to_owned() };
    let verified = app.twilio.is_active(&credentials).await.unwrap_or(false);
    let flags =
        [new.sms_enabled.unwrap_or(true), new.voice_enabled.unwrap_or(true), new.email_enabled.unwrap_or(false)];
    let settings = db.tx(async |tx| {
        let [sms, voice, email] = &flags;
        let params: Params<'_> =
            &[&credentials.account_sid, &number, &new.sendgrid_from_email, sms, voice, email, &verified];
        tx.optional::<Uuid>(sql!("twilio_settings/create"), params).await?;
        tx.optional::<bool>(sql!("twilio_settings/attach_numbers"), &[&credentials.account_sid]).await?;
        keep(&app, tx, "twilio_auth_token", &credentials.auth_token).await?;
        if let Some(key) = &key {
            keep(&app, tx, "sendgrid_api_key", key).await?;
        }
        let settings = need(tx).await?;
        if settings.sendgrid_from_email.is_some() {
            mailing::check_sender(&app, tx, settings.sendgrid_api_key.is_some()).await?;
        }
        Ok(settings)
    });
    Ok(wire::Created(settings.await.on_constraint("twilio_settings_tenant_row_key", THERE)?))
}

async fn update(
    app: State<App>,
    client: Client,
    db: Scoped<SettingsAdmin>,
    change: Change<SettingsPatch>,
) -> Result<Json<TwilioSettings>> {
    let (there, user) = db.tx(async |tx| Ok((need(tx).await?, tx.caller().user_id))).await.must_have_company()?;
    let mut patch = change.checked_against(async { Ok(&there) }).await?;
    patch.auth_token = non_blank(patch.auth_token);
    patch.sendgrid_from_email = patch.sendgrid_from_email.map(non_blank);
    let new_sender = patch.sendgrid_from_email.as_ref().and_then(Option::as_ref);
    let is_new_sender = new_sender.is_some() && new_sender != there.sendgrid_from_email.as_ref();
    if is_new_sender {
        count_sender(&app, &client, user).await?;
    }
    let other_number = patch.phone_number.map(non_blank).filter(|number| *number != there.phone_number);
    patch.phone_number = other_number.map(|n| n.map(number).transpose()).transpose()?;
    let key = patch.sendgrid_api_key.take().map(|key| non_blank(key).unwrap_or_default());
    let key = key.filter(|key| Some(key) != there.sendgrid_api_key.as_ref() && !is_masked(key));
    let is_other_sid = patch.account_sid.as_ref().is_some_and(|sid| *sid != there.account_sid);
    let is_other = is_other_sid || patch.auth_token.is_some();
    let changed = db.tx(async |tx| {
        tx.optional::<Uuid>(sql!("twilio_settings/update"), &[&Jsonb(&patch), &is_other]).await?;
        if let Some(sid) = patch.account_sid.as_ref().filter(|_| is_other_sid) {
            tx.optional::<bool>(sql!("twilio_settings/attach_numbers"), &[sid]).await?;
        }
        if let Some(token) = &patch.auth_token {
            keep(&app, tx, "twilio_auth_token", token).await?;
        }
        if let Some(key) = &key {
            keep(&app, tx, "sendgrid_api_key", key).await?;
        }
        let settings = need(tx).await?;
        if is_new_sender {
            mailing::check_sender(&app, tx, settings.sendgrid_api_key.is_some()).await?;
        }
        Ok(settings)
    });
    let settings = changed.await?;
    let is_unknown = is_other || (!there.is_active && !settings.is_verified);
    if !(settings.is_active && is_unknown) {
        return Ok(Json(settings));
    }
    check(&app, &db).await?;
    Ok(Json(db.tx(need).await?))
}

/// Verifies the account with Twilio and stores the result. Without a response it is not verified.
async fn check(app: &App, db: &Scoped<SettingsAdmin>) -> Result<bool> {
    let Some(account) = telephony::account(app, db).await? else { return Ok(false) };
    let verified = app.twilio.is_active(&account.credentials).await.unwrap_or(false);
    let of: Params<'_> = &[&verified, &account.credentials.account_sid, &account.sealed_token];
    let set: Option<Uuid> = db.optional(sql!("twilio_settings/set_verified"), of).await?;
    Ok(verified && set.is_some())
}

async fn delete(db: Scoped<SettingsAdmin>) -> Result<Json<Message>> {
    let deleted = db.tx(async |tx| {
        tx.optional::<Uuid>(sql!("twilio_settings/delete"), &[]).await.or_not_found("Twilio settings")?;
        let company = tx.caller().company_id.ok_or(Error::NoCompany)?;
        for name in ["twilio_auth_token", "sendgrid_api_key"] {
            tx.keep_company_secret(company, name, None).await?;
        }
        Ok(())
    });
    deleted.await.must_have_company()?;
    Ok(message("Twilio settings deleted successfully"))
}

async fn verify(app: State<App>, db: Scoped<SettingsAdmin>) -> Result<Json<Verified>> {
    if !db.tx(need).await.must_have_company()?.is_active {
        return Err(Error::bad_request(OFF));
    }
    let verified = check(&app, &db).await?;
    let message =
        if verified { "Twilio knows the account" } else { "Twilio does not know the account, or did not answer" };
    Ok(Json(Verified { verified, message }))
}

async fn phone_numbers(app: State<App>, db: TenantDb) -> Result<Json<LiveNumbers>> {
    if !db.tx(need).await.must_have_company()?.is_active {
        return Err(Error::bad_request(OFF));
    }
    let account = telephony::account(&app, &db).await?.filter(|account| account.is_verified);
    let unverified = Error::bad_request("The Twilio account is not verified: check the SID and the token");
    let account = account.ok_or(unverified)?;
    let numbers = app.twilio.numbers(&account.credentials, MAX_NUMBERS_SHOWN).await.map_err(telephony::unanswered)?;
    let shown = numbers.into_iter().map(|number| {
        let Capabilities { sms, voice, .. } = number.capabilities;
        let capabilities = LiveCapabilities { sms, voice };
        LiveNumber {
            sid: number.sid,
            phone_number: number.phone_number,
            friendly_name: number.friendly_name,
            capabilities,
        }
    });
    Ok(Json(LiveNumbers { phone_numbers: shown.collect() }))
}
