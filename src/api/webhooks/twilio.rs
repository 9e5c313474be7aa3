//! Twilio's webhooks: incoming texts and calls, and the status of outgoing ones.

use super::{super::prelude::*, escaped, refused};
use crate::{
    db::{self, platform::NumberOwner},
    telephony,
};
use axum::{
    RequestExt,
    extract::{FromRequest, Request},
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Maximum size of a form from Twilio, in bytes: it is read before its sender is verified.
pub(super) const MAX_FORM_BYTES: usize = 64 << 10;
const MAX_FIELDS: usize = 200;

/// A form that Twilio signed with a company's token; which company's is not known yet.
pub(super) struct Signed {
    url: String,
    signature: Vec<u8>,
    fields: Vec<(String, String)>,
    query: CallbackQuery,
}

/// The company and the row that a callback's address names (`telephony::callback`).
#[derive(Deserialize, Default)]
struct CallbackQuery {
    #[serde(default, deserialize_with = "wire::fitting")]
    company: Option<Uuid>,
    #[serde(default, deserialize_with = "wire::fitting")]
    id: Option<Uuid>,
}

impl FromRequest<App> for Signed {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        let url = format!("{}{path}", app.config.public_base());
        let query = wire::query(request.uri().query()).unwrap_or_default();
        let signature = request.headers().get("x-twilio-signature").and_then(|v| BASE64_STANDARD.decode(v).ok());
        let signature = signature.ok_or_else(refused)?;
        let body = wire::read(request.into_limited_body()).await?;
        let fields: Vec<_> = url::form_urlencoded::parse(&body).into_owned().take(MAX_FIELDS + 1).collect();
        if fields.len() > MAX_FIELDS {
            return Err(Error::invalid("body", "", "The form has more than 200 fields"));
        }
        Ok(Self { url, signature, fields, query })
    }
}

impl aide::OperationInput for Signed {}

impl Signed {
    fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// HMAC-SHA1 over the address and the sorted fields, compared in constant time (Twilio, "Validating requests").
    fn is_by(&self, token: &str) -> bool {
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.sort();
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(token.as_bytes()) else { return false };
        mac.update(self.url.as_bytes());
        for (name, value) in fields {
            mac.update(name.as_bytes());
            mac.update(value.as_bytes());
        }
        mac.verify_slice(&self.signature).is_ok()
    }

    /// The handle of the first of these companies whose token signed it.
    async fn company(&self, app: &App, candidates: Vec<NumberOwner>) -> Result<TenantDb> {
        Ok(self.entered(app, candidates, false).await?.db)
    }

    /// The first of these companies whose token signed it; with `is_opt_out` also a suspended one, whose handle can
    /// only record the opt-out.
    async fn entered(&self, app: &App, candidates: Vec<NumberOwner>, is_opt_out: bool) -> Result<Entered> {
        let mut is_unread = false;
        for NumberOwner { company_id, user_id } in candidates {
            let mut db = TenantDb::for_company(&app.db, company_id, user_id);
            let mut account = telephony::account_on_or_off(app, &db).await;
            let is_suspended = is_opt_out && matches!(account, Err(Error::Suspended));
            if is_suspended {
                db = TenantDb::for_opt_out(&app.db, company_id, user_id);
                account = telephony::account_on_or_off(app, &db).await;
            }
            match account {
                Ok(Some(account)) if self.is_by(&account.credentials.auth_token) => {
                    return Ok(Entered { db, is_suspended, may_answer: account.is_active });
                }
                Ok(_) | Err(Error::InvalidToken | Error::Suspended | Error::NoCompany) => {}
                Err(Error::NoKey(_)) => is_unread = true,
                Err(e) => return Err(e),
            }
        }
        // A candidate whose token cannot be read may have signed it; this tells strangers nothing about companies.
        Err(if is_unread { Error::BadGateway("The signature cannot be checked right now".into()) } else { refused() })
    }
}

/// The company whose account signed a form.
struct Entered {
    db: TenantDb,
    is_suspended: bool,
    may_answer: bool,
}

/// The company that a callback's URL names. No row is inserted as the nil user.
fn named(company: Option<Uuid>) -> Vec<NumberOwner> {
    company.into_iter().map(|company_id| NumberOwner { company_id, user_id: Uuid::nil() }).collect()
}

/// A response with TwiML, which Twilio executes; the contract sets the content type.
pub(super) struct Twiml(&'static str, String);

impl Twiml {
    /// The response to a text.
    fn message(said: &str) -> Self {
        Self("text/xml", format!(r#"<?xml version="1.0" encoding="UTF-8"?><Response>{said}</Response>"#))
    }
}

impl IntoResponse for Twiml {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, self.0)], self.1).into_response()
    }
}

impl aide::OperationOutput for Twiml {
    type Inner = Self;
    fn operation_response(
        _: &mut aide::generate::GenContext,
        _: &mut aide::openapi::Operation,
    ) -> Option<aide::openapi::Response> {
        Some(wire::binary("application/xml"))
    }
    fn inferred_responses(
        ctx: &mut aide::generate::GenContext,
        operation: &mut aide::openapi::Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        wire::documented(Some(200), Self::operation_response(ctx, operation))
    }
}

row! {
    /// A received text, and the automatic reply to it.
    pub struct Incoming {
        id: Uuid,
        reply: Option<String>,
    }
}

/// The keywords of the carriers' rules. Only a message of nothing but the keyword and punctuation counts
/// (tests/README.md, promise 28).
fn keyword(body: &str) -> Option<&'static str> {
    let word = body.trim_matches(|c: char| !c.is_alphanumeric()).to_uppercase();
    match word.as_str() {
        "STOP" | "STOPALL" | "STOP ALL" | "UNSUBSCRIBE" | "CANCEL" | "END" | "QUIT" | "REVOKE" => Some("stop"),
        "OPTOUT" | "OPT OUT" | "OPT-OUT" => Some("stop"),
        "START" | "UNSTOP" | "YES" => Some("start"),
        "HELP" | "INFO" => Some("help"),
        _ => None,
    }
}

/// The text with a note about its media (MMS), which stay at Twilio.
fn with_media(mut body: String, signed: &Signed) -> String {
    // Twilio sends ten at most.
    let count: usize = signed.field("NumMedia").parse().unwrap_or(0).min(10);
    if count == 0 {
        return body;
    }
    let are_pictures = (0..count).all(|n| signed.field(&format!("MediaContentType{n}")).starts_with("image/"));
    let what = if are_pictures { "picture" } else { "attachment" };
    if !body.is_empty() {
        body.push('\n');
    }
    body + &format!("[{count} {what}{}]", if count == 1 { "" } else { "s" })
}

pub(super) async fn incoming_sms(app: State<App>, signed: Signed) -> Result<Twiml> {
    db::retry_webhook(|perhaps_done| keep_text(&app, &signed, perhaps_done)).await
}

async fn keep_text(app: &App, signed: &Signed, perhaps_done: bool) -> Result<Twiml> {
    let (from, to, sid) = (signed.field("From"), signed.field("To"), signed.field("MessageSid"));
    let body = signed.field("Body").replace('\0', "");
    let keyword = keyword(&body);
    let body = with_media(body, signed);
    let owners = app.db.platform().companies_of_number(to, signed.field("AccountSid")).await?;
    let Entered { db, is_suspended, may_answer } = signed.entered(app, owners, keyword == Some("stop")).await?;
    if sid.is_empty() || from.is_empty() {
        return Err(Error::invalid("body", "MessageSid", "Field required"));
    }
    if is_suspended {
        db.optional::<bool>(sql!("suppressions/add_found"), &[&"sms", &from, &"stop"]).await?;
        return Ok(Twiml::message(""));
    }
    let digits: String = from.chars().filter(char::is_ascii_digit).collect();
    let reply = db.tx(async |tx| {
        tx.one::<bool>(sql!("webhooks/lock_text"), &[&sid, &from, &to]).await?;
        tx.optional::<Uuid>(sql!("webhooks/add_sender"), &[&from, &digits]).await?;
        let stored: Option<Incoming> =
            tx.optional(sql!("webhooks/incoming_sms"), &[&sid, &from, &to, &body, &keyword]).await?;
        let Some(Incoming { id, reply }) = stored else {
            // The response with its reply was lost only if it was this request's own.
            return if perhaps_done { tx.optional(sql!("webhooks/stored_reply"), &[&sid]).await } else { Ok(None) };
        };
        match keyword {
            Some("stop") => {
                tx.optional::<bool>(sql!("suppressions/add_found"), &[&"sms", &from, &"stop"]).await?;
            }
            Some("start") => {
                tx.optional::<Uuid>(sql!("webhooks/opt_in"), &[&from]).await?;
            }
            _ => {}
        }
        let Some(reply) = reply.filter(|_| may_answer) else { return Ok(None) };
        tx.optional::<Uuid>(sql!("webhooks/reply"), &[&id, &reply]).await?;
        Ok(Some(reply))
    });
    let said = reply.await?.map_or(String::new(), |reply| format!("<Message>{}</Message>", escaped(&reply)));
    Ok(Twiml::message(&said))
}

pub(super) async fn sms_status(app: State<App>, signed: Signed) -> Result<Json<wire::Done>> {
    db::retry_webhook(|_| move_text(&app, &signed)).await
}

async fn move_text(app: &App, signed: &Signed) -> Result<Json<wire::Done>> {
    let code = Some(signed.field("ErrorCode")).filter(|code| !code.is_empty() && code.len() <= 20);
    let has_opted_out = code == Some("21610");
    let Entered { db, is_suspended, .. } = signed.entered(app, named(signed.query.company), has_opted_out).await?;
    if is_suspended {
        let params: Params<'_> = &[&signed.field("MessageSid"), &signed.field("To")];
        db.optional::<bool>(sql!("webhooks/opted_out"), params).await?;
        return Ok(wire::done("Heard"));
    }
    let status = match signed.field("MessageStatus") {
        status @ ("sent" | "delivered" | "undelivered" | "failed" | "read") => status,
        // Twilio is still processing it.
        _ => "sent",
    };
    let params: Params<'_> = &[&signed.query.id, &signed.field("MessageSid"), &status, &code];
    let known: Option<String> = db.optional(sql!("webhooks/sms_status").planned_once(), params).await?;
    if has_opted_out {
        // Even if the text was deleted.
        let to = known.as_deref().unwrap_or(signed.field("To"));
        db.optional::<bool>(sql!("webhooks/opted_out"), &[&signed.field("MessageSid"), &to]).await?;
    } else {
        known.ok_or_else(refused)?;
    }
    Ok(wire::done("Heard"))
}

pub(super) async fn call_status(app: State<App>, signed: Signed) -> Result<Json<wire::Done>> {
    db::retry_webhook(|_| move_call(&app, &signed)).await
}

async fn move_call(app: &App, signed: &Signed) -> Result<Json<wire::Done>> {
    let (from, to, sid) = (signed.field("From"), signed.field("To"), signed.field("CallSid"));
    // Of a recording Twilio tells neither number.
    let has_number = !from.is_empty() || !to.is_empty();
    let account = signed.field("AccountSid");
    let candidates = match signed.query.company {
        Some(company) => named(Some(company)),
        None if !has_number => app.db.platform().companies_of_call(account, sid).await?,
        None => {
            let mut owners = app.db.platform().companies_of_number(to, account).await?;
            owners.extend(app.db.platform().companies_of_number(from, account).await?);
            owners
        }
    };
    let db = signed.company(app, candidates).await?;
    let status = match signed.field("CallStatus") {
        status @ ("ringing" | "in-progress" | "completed" | "failed" | "busy" | "no-answer" | "canceled") => status,
        "answered" => "in-progress",
        _ => "initiated",
    };
    let duration: Option<i32> = signed.field("CallDuration").parse().ok().filter(|seconds| *seconds >= 0);
    let recording = Some(signed.field("RecordingUrl")).filter(|url| url.starts_with("https://") && url.len() <= 1000);
    if sid.is_empty() {
        return Err(Error::invalid("body", "CallSid", "Field required"));
    }
    let params: Params<'_> = &[&signed.query.id, &sid, &status, &duration, &recording];
    let moved = async || db.optional::<Uuid>(sql!("webhooks/call_status"), params).await;
    let mut known = moved().await?;
    if known.is_none() && has_number && signed.query.company.is_none() {
        let params: Params<'_> = &[&sid, &from, &to, &status, &duration, &recording];
        known = db.optional(sql!("webhooks/incoming_call"), params).await?;
        // A concurrent callback may have stored the call, and this one may be the later of the two.
        if known.is_none() {
            known = moved().await?;
        }
    }
    known.ok_or_else(refused)?;
    Ok(wire::done("Heard"))
}

pub(super) async fn greeting() -> Twiml {
    Twiml("application/xml", telephony::GREETING.into())
}
