//! The only way in which texts and calls leave, whether from a screen, a conversation or a schedule. The row is written
//! first, unless an opt-out, a blocked conversation or quiet hours forbid it (`app.keep_message`); then Twilio is
//! called, outside of any transaction; then its response is written to the row. The job `unanswered` fails a row
//! without a response, which is never sent again automatically.

use crate::{
    App, Error, Result,
    clients::{
        Failure,
        twilio::{Credentials, Taken, sentence},
    },
    db::{self, Params, Scoped, TenantDb, Tx},
    row, sql,
};
use std::borrow::Cow;
use uuid::Uuid;

/// A company's Twilio account, ready for use.
#[derive(Clone)]
pub struct Account {
    /// The company that it belongs to.
    pub company: Uuid,
    /// The credentials for Twilio.
    pub credentials: Credentials,
    /// Whether it is switched on; incoming texts and calls are accepted either way.
    pub is_active: bool,
    /// Whether Twilio knew the account at the last check.
    pub is_verified: bool,
    /// The token as it is stored, to see whether it is still the same.
    pub sealed_token: Vec<u8>,
    sms_enabled: bool,
    voice_enabled: bool,
}

row! {
    /// A company's account.
    pub struct Stored as "Twilio settings" {
        company_id: Uuid,
        account_sid: String,
        is_active: bool,
        is_verified: bool,
        sms_enabled: bool,
        voice_enabled: bool,
        sealed_token: Vec<u8>,
    }
}

/// The company's account, if it has one that is switched on.
pub async fn account<D: crate::db::Permission>(app: &App, db: &Scoped<D>) -> Result<Option<Account>> {
    Ok(account_on_or_off(app, db).await?.filter(|account| account.is_active))
}

/// The company's account, if it has one, even switched off: Twilio's webhooks arrive either way.
pub async fn account_on_or_off<D: crate::db::Permission>(app: &App, db: &Scoped<D>) -> Result<Option<Account>> {
    let Some(stored) = db.twilio_account::<Stored>().await? else { return Ok(None) };
    let auth_token = app.sealer.open(stored.company_id, "twilio_auth_token", &stored.sealed_token)?;
    Ok(Some(Account {
        company: stored.company_id,
        credentials: Credentials { account_sid: stored.account_sid, auth_token },
        is_active: stored.is_active,
        is_verified: stored.is_verified,
        sealed_token: stored.sealed_token,
        sms_enabled: stored.sms_enabled,
        voice_enabled: stored.voice_enabled,
    }))
}

/// The company's Twilio account: 400 when it has none that is switched on.
pub async fn need_account<D: crate::db::Permission>(app: &App, db: &Scoped<D>) -> Result<Account> {
    let missing = Error::bad_request("Twilio is not configured: enter the account and its token in the settings first");
    account(app, db).await?.ok_or(missing)
}

/// The company's Twilio account, for sending a text: 400 when it has none that is switched on, and when texts are
/// switched off.
pub async fn need_texting_account(app: &App, db: &TenantDb) -> Result<Account> {
    let account = need_account(app, db).await?;
    if account.sms_enabled {
        Ok(account)
    } else {
        Err(Error::bad_request("Text messages are switched off in the Twilio settings"))
    }
}

/// A text to send.
#[derive(Default)]
pub struct Text {
    /// The recipient, as the screens give it to [`send`], and in E.164 for [`queue`].
    pub to: String,
    /// The text, unless a template is given.
    pub body: Option<String>,
    /// A template of the company, whose text replaces `body`.
    pub template: Option<Uuid>,
    /// The values of the template's placeholders.
    pub variables: std::collections::HashMap<String, String>,
    /// The contact it goes to.
    pub contact: Option<Uuid>,
    /// One of the company's numbers; any that can send if absent.
    pub from: Option<String>,
    /// Whether to rotate the sender.
    pub rotate: bool,
    /// The run of a workflow that sends it.
    pub execution: Option<Uuid>,
}

row! {
    /// A text that is stored and not yet sent.
    pub struct Queued {
        id: Uuid,
        user_id: Uuid,
        from_address: String,
        to_address: String,
        body: String,
    }
}

row! {
    /// The text of a template.
    pub struct Template {
        body: String,
        is_static: bool,
    }
}

/// The outcome of sending a text.
pub struct Sent {
    /// The row.
    pub message: Queued,
    /// A handle that can read the row, whatever has become of the caller.
    pub db: TenantDb,
    /// Twilio's response, or why there is none.
    pub outcome: Result<Taken, Failure>,
}

impl Sent {
    /// Twilio's response; 400 for a refusal, 502 for none.
    pub fn taken(self) -> Result<(Queued, Taken)> {
        match self.outcome {
            Ok(taken) => Ok((self.message, taken)),
            Err(failure) => Err(error(failure)),
        }
    }
}

/// The error that a failure means for the caller.
pub fn error(failure: Failure) -> Error {
    let words = words(&failure).into();
    if matches!(failure, Failure::Refused { .. }) { Error::BadRequest(words) } else { Error::BadGateway(words) }
}

/// The description of a failure in its row.
pub fn words(failure: &Failure) -> String {
    match failure {
        Failure::Refused { code, message } => sentence(*code, message),
        Failure::Denied(message) | Failure::Closed(message) => sentence(None, message),
        Failure::Busy => "Twilio cannot be reached right now: nothing was sent".into(),
        Failure::Unclear => "Twilio gave no clear answer: it may have been sent, and is not tried again".into(),
    }
}

/// Sends a text through the company's account.
///
/// A missing Twilio configuration is reported before anything else (contract: sms/send).
pub async fn send(app: &App, db: &TenantDb, mut text: Text) -> Result<Sent> {
    let account = need_texting_account(app, db).await?;
    text.to = e164(&text.to)?;
    let message = db.tx(async |tx| queue(tx, &text).await).await?;
    finish(app, account, message, text.template).await
}

/// Stores a text in the caller's transaction.
pub async fn queue(tx: &Tx<'_>, text: &Text) -> Result<Queued> {
    let body = match text.template {
        Some(template) => {
            let template: Template = tx.one(sql!("telephony/template"), &[&template]).await?;
            if template.is_static { template.body } else { substitute(&template.body, &text.variables)? }
        }
        None => text.body.clone().unwrap_or_default(),
    };
    check_body(&body)?;
    let params: Params<'_> = &[&text.from, &text.rotate, &text.to, &body, &text.contact, &text.execution];
    tx.one(sql!("telephony/queue"), params).await
}

/// Refuses what cannot be sent.
pub fn check_body(body: &str) -> Result<()> {
    if body.trim().is_empty() {
        return Err(Error::bad_request("Either a body or a template is needed"));
    }
    if body.chars().count() > MAX_BODY_CHARS { Err(too_long()) } else { Ok(()) }
}

/// Maximum number of characters of a message at Twilio.
const MAX_BODY_CHARS: usize = 1600;

fn too_long() -> Error {
    Error::bad_request("A text message has at most 1600 characters")
}

/// Sends a committed text through Twilio, and stores the response. The work continues if the caller disconnects.
pub async fn finish(app: &App, account: Account, message: Queued, template: Option<Uuid>) -> Result<Sent> {
    let callback = callback(app, "/api/sms/webhook/status", account.company, message.id);
    let (work, db) = (app.clone(), TenantDb::for_answer(&app.db, account.company, message.user_id));
    let sent = app.run_to_completion(async move {
        let Queued { from_address, to_address, body, .. } = &message;
        let outcome = work.twilio.send(&account.credentials, from_address, to_address, body, callback.as_deref()).await;
        let sid = outcome.as_ref().ok().map(|taken| taken.sid.as_str());
        let error = outcome.as_ref().err().map(words);
        let code = match &outcome {
            Err(Failure::Refused { code: Some(code), .. }) => Some(code.to_string()),
            _ => None,
        };
        let may_later = matches!(outcome, Err(Failure::Busy));
        let (answers, id, code, error, template) = (&db, &message.id, &code, &error, &template);
        let write = |perhaps_done: bool| async move {
            answers
                .tx(async |tx| {
                    let params: Params<'_> = &[id, &sid, code, error, template, &perhaps_done, &may_later];
                    tx.optional::<Uuid>(sql!("telephony/answered"), params).await?;
                    if code.as_deref() == Some("21610") {
                        let params: Params<'_> = &[&"sms", to_address, &"provider"];
                        tx.optional::<bool>(sql!("suppressions/add_found"), params).await?;
                    }
                    Ok(())
                })
                .await
        };
        db::keep_answer("text", message.id, write).await;
        Sent { message, db, outcome }
    });
    sent.await
}

/// The URL to which Twilio reports the status of a row; its signature covers the company and the row. `None` while the
/// server has no public URL: Twilio refuses local addresses.
fn callback(app: &App, path: &str, company: Uuid, row: Uuid) -> Option<String> {
    let base = app.config.reachable_base()?;
    Some(format!("{base}{path}?company={company}&id={row}"))
}

/// A text with each `{name}` replaced by its value; unknown names stay. Stops at the length of a message, at four bytes
/// a character: a long value in many places would fill the memory.
fn substitute(text: &str, variables: &std::collections::HashMap<String, String>) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}').and_then(|(name, after)| Some((variables.get(name)?, after))) {
            Some((value, after)) => {
                if out.len() + value.len() > MAX_BODY_CHARS * 4 {
                    return Err(too_long());
                }
                out.push_str(value);
                rest = after;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Country codes whose numbers may begin with a zero: Italy, San Marino and the Vatican, Ivory Coast, Burkina Faso,
/// Niger, Benin, Gabon and Congo.
const WITH_ZERO: [&str; 9] = ["39", "378", "379", "225", "226", "227", "229", "241", "242"];

/// A number without the zero in brackets that callers within its country dial, as in `+44 (0)20 …`; the same rule is in
/// `app.without_trunk_zero`.
fn without_trunk_zero(given: &str) -> Cow<'_, str> {
    let Some((country, rest)) = given.split_once("(0)") else { return given.into() };
    let code: String = country.chars().filter(char::is_ascii_digit).collect();
    let is_code = country.contains('+') && (1..=3).contains(&code.len()) && !WITH_ZERO.contains(&&*code);
    if is_code { format!("{country}{rest}").into() } else { given.into() }
}

/// A number as the screens give it, in E.164: with `+` it is whole, `03…` is Pakistan's, ten digits are America's
/// (contract: sms/send).
pub fn e164(given: &str) -> Result<String> {
    let text: String = without_trunk_zero(given).chars().filter(|c| !" -().\u{a0}".contains(*c)).collect();
    let number = match text.strip_prefix('+') {
        Some(_) => text.clone(),
        None if text.starts_with("03") => format!("+92{}", &text[1..]),
        None if text.len() == 10 => format!("+1{text}"),
        None => String::new(),
    };
    let digits = number.strip_prefix('+').unwrap_or_default();
    if (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0') {
        Ok(number)
    } else {
        Err(Error::bad_request("The phone number must be in E.164 format, such as +14155550123"))
    }
}

/// The error for a failed query to Twilio: nothing was done, so it is always a 502.
pub fn unanswered(failure: Failure) -> Error {
    Error::BadGateway(match failure {
        Failure::Refused { code, message } => sentence(code, &message).into(),
        Failure::Denied(message) | Failure::Closed(message) => sentence(None, &message).into(),
        Failure::Busy | Failure::Unclear => "Twilio did not answer: try again in a moment".into(),
    })
}

/// A call to make.
pub struct NewCall {
    /// The number to call, as the screens give it.
    pub to: String,
    /// One of the company's numbers; the first that can call if absent.
    pub from: Option<String>,
    /// Notes about the call.
    pub notes: Option<String>,
    /// The contact who is called.
    pub contact: Option<Uuid>,
}

row! {
    /// A call that is stored and not yet made.
    pub struct QueuedCall {
        id: Uuid,
        user_id: Uuid,
        from_address: String,
        to_address: String,
    }
}

/// What is spoken when a call is answered; it has no data of a company.
pub const GREETING: &str = r#"<?xml version="1.0" encoding="UTF-8"?><Response><Say voice="alice">Hello! Please hold while we connect your call.</Say></Response>"#;

/// Calls a number through the company's account; returns the call's id and Twilio's response.
pub async fn call(app: &App, db: &TenantDb, new: NewCall) -> Result<(Uuid, Taken)> {
    let account = need_account(app, db).await?;
    let to = e164(&new.to)?;
    if !account.voice_enabled {
        return Err(Error::bad_request("Calls are switched off in the Twilio settings"));
    }
    let params: Params<'_> = &[&new.from, &to, &new.notes, &new.contact];
    let call: QueuedCall = db.one(sql!("telephony/queue_call"), params).await?;
    let callback = callback(app, "/api/calls/webhook", account.company, call.id);
    let (work, db) = (app.clone(), TenantDb::for_answer(&app.db, account.company, call.user_id));
    let made = app.run_to_completion(async move {
        let QueuedCall { id, from_address, to_address, .. } = &call;
        let outcome =
            work.twilio.call(&account.credentials, from_address, to_address, GREETING, callback.as_deref()).await;
        let sid = outcome.as_ref().ok().map(|taken| taken.sid.as_str());
        let error = outcome.as_ref().err().map(words);
        let answered = sql!("telephony/call_answered");
        let write = |_| async { db.optional::<Uuid>(answered, &[id, &sid, &error]).await };
        db::keep_answer("call", *id, write).await;
        Ok((*id, outcome.map_err(crate::telephony::error)?))
    });
    made.await?
}
