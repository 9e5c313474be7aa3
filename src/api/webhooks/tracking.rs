//! Requests from recipients of mails: opening one, and unsubscribing. The token in the URL names the row and its
//! company, and its signature proves that we issued it.

use super::super::prelude::*;
use crate::{
    db,
    links::{Link, Purpose},
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use std::convert::Infallible;

/// The token at the end of the URL; an unreadable one is invalid.
pub(super) struct Token(String);

impl FromRequestParts<App> for Token {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let token = Path::<String>::from_request_parts(parts, app).await;
        Ok(Self(token.map(|Path(token)| token).unwrap_or_default()))
    }
}

impl aide::OperationInput for Token {}

fn company(app: &App, link: Link) -> TenantDb {
    TenantDb::for_company(&app.db, link.company, link.user)
}

/// Counts that a mail was opened, if the token is one of ours.
async fn count(app: &App, token: &str) -> Result<bool> {
    let statements =
        [(Purpose::Mail, sql!("webhooks/mail_opened")), (Purpose::CampaignMail, sql!("webhooks/campaign_mail_opened"))];
    for (purpose, statement) in statements {
        if let Some(link) = app.links.read(purpose, token) {
            return Ok(company(app, link).optional::<Uuid>(statement, &[&link.row]).await?.is_some());
        }
    }
    Ok(false)
}

/// Counts that a mail was opened; errors are only logged.
async fn counted(app: &App, token: &str) -> bool {
    count(app, token).await.unwrap_or_else(|e| {
        tracing::warn!(error = %e.for_log(), "an opened mail was not counted");
        false
    })
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Opened {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

pub(super) async fn opened(app: State<App>, Token(token): Token) -> Json<Opened> {
    let message = counted(&app, &token).await.then_some("Email open tracked");
    Json(Opened { status: "ok", message })
}

/// A transparent pixel.
const POINT: &[u8] =
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

pub(super) struct Picture;

impl IntoResponse for Picture {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "image/gif")], POINT).into_response()
    }
}

impl aide::OperationOutput for Picture {
    type Inner = Self;
    fn inferred_responses(
        _: &mut aide::generate::GenContext,
        _: &mut aide::openapi::Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        vec![(Some(200), wire::binary("image/gif"))]
    }
}

pub(super) async fn picture(app: State<App>, Token(token): Token) -> Picture {
    counted(&app, &token).await;
    Picture
}

row! {
    /// The recipient who unsubscribes, and the sender's company.
    pub struct Recipient {
        email: String,
        company: String,
    }
}

/// A page for somebody who has followed a link in a mail.
pub(super) struct Page {
    status: StatusCode,
    title: &'static str,
    /// Name of the sender's company, if it is known.
    company: String,
    /// HTML.
    text: String,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#f4f5f7;--card:#fff;--line:#e2e5ea;--text:#1c2430;--quiet:#5b6675;--button:#1f4fd8;--hover:#173ea8;--on:#fff}\
@media(prefers-color-scheme:dark){:root{--page:#11151c;--card:#1a202a;--line:#2d3542;--text:#e8ebf0;--quiet:#a3adbb;--button:#3b6cf0;--hover:#5a84f5}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;min-height:100svh;display:grid;place-items:center;padding:1.25rem;background:var(--page);color:var(--text);font:1rem/1.6 system-ui,sans-serif}\
main{width:100%;max-width:28rem;padding:2rem;background:var(--card);border:1px solid var(--line);border-radius:.75rem}\
header{margin:0 0 1.5rem;padding:0 0 1rem;border-bottom:1px solid var(--line);font-weight:600;overflow-wrap:anywhere}\
h1{margin:0 0 .5rem;font-size:1.5rem;line-height:1.25;letter-spacing:-.01em}\
p{margin:0 0 1rem;overflow-wrap:anywhere}p:last-child{margin:0}\
b{font-weight:600}\
small{display:block;margin:1rem 0 0;color:var(--quiet);font-size:.875rem;line-height:1.5}\
form{margin:1.5rem 0 0}\
button{width:100%;min-height:3rem;padding:.5rem 1.25rem;border:0;border-radius:.5rem;background:var(--button);color:var(--on);font:inherit;font-weight:600;cursor:pointer}\
button:hover{background:var(--hover)}\
button:focus-visible{outline:3px solid var(--button);outline-offset:3px}";

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let Self { status, title, company, text } = self;
        let head = if company.is_empty() { String::new() } else { format!("<header>{company}</header>") };
        let html = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta name=\"robots\" content=\"noindex\"><title>{title}</title><style>{STYLE}</style></head>\
             <body><main>{head}<h1>{title}</h1>{text}</main></body></html>"
        );
        let style = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        let mut response = (status, axum::response::Html(html)).into_response();
        let headers = response.headers_mut();
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        // Only the recipient may know the URL.
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

impl aide::OperationOutput for Page {
    type Inner = Self;
    fn inferred_responses(
        _: &mut aide::generate::GenContext,
        _: &mut aide::openapi::Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        [200, 404].map(|status| (Some(status), wire::binary("text/html"))).into()
    }
}

/// Runs a statement about the recipient that a token names; the error is a page that says what went wrong.
async fn recipient(app: &App, token: &str, statement: db::Sql) -> Result<Recipient, Page> {
    let unknown = || {
        Page {
        status: StatusCode::NOT_FOUND,
        title: "This link does not work",
        company: String::new(),
        text: "<p>It may have been cut off on its way. Please open it from the e-mail again, or copy the whole address from there.</p>"
            .into(),
    }
    };
    let link = app.links.read(Purpose::Unsubscribe, token).ok_or_else(unknown)?;
    let db = TenantDb::for_opt_out(&app.db, link.company, link.user);
    match db::retry_webhook(|_| async { db.optional(statement, &[&link.row]).await }).await {
        Ok(found) => found.ok_or_else(unknown),
        Err(Error::InvalidToken | Error::NoCompany) => Err(unknown()),
        Err(e) => {
            tracing::warn!(error = %e.for_log(), "an unsubscription did not work");
            let text = "<p>Something is not working on our side right now, and nothing has been changed. Please try again in a few minutes.</p>".into();
            Err(Page {
                status: StatusCode::SERVICE_UNAVAILABLE,
                title: "Please try again later",
                company: String::new(),
                text,
            })
        }
    }
}

/// Changes nothing, because programs that scan mails follow the links in them.
pub(super) async fn ask(app: State<App>, Token(token): Token) -> Page {
    match recipient(&app, &token, sql!("webhooks/recipient")).await {
        Ok(Recipient { email, company }) => {
            let (email, company) = (super::escaped(&email), super::escaped(&company));
            let text = format!(
                "<p>{company} will send no more e-mail to <b>{email}</b>.</p><form method=\"post\"><button>Unsubscribe</button></form>\
                 <small>Nothing changes until you press the button. You need no account and no password.</small>"
            );
            Page { status: StatusCode::OK, title: "Unsubscribe?", company, text }
        }
        Err(page) => page,
    }
}

pub(super) async fn unsubscribe(app: State<App>, Token(token): Token) -> Page {
    match recipient(&app, &token, sql!("webhooks/unsubscribe")).await {
        Ok(Recipient { email, company }) => {
            let (email, company) = (super::escaped(&email), super::escaped(&company));
            let text = format!(
                "<p>{company} sends no more e-mail to <b>{email}</b>.</p>\
                 <small>This counts from now on. An e-mail that is on its way already may still arrive. You can close this page.</small>"
            );
            Page { status: StatusCode::OK, title: "You are unsubscribed", company, text }
        }
        Err(page) => page,
    }
}
