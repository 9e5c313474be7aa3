//! Who reads a mail: that it was opened, and that somebody wants no more of them. The token in the address names the row and
//! its company, and its signature proves that it is ours.

use super::super::prelude::*;
use crate::links::{Link, Purpose};
use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use std::convert::Infallible;

/// The token at the end of the address; what cannot be read is no token of ours.
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
    let statements = [
        (Purpose::Mail, sql!("webhooks/mail_opened")),
        (Purpose::CampaignMail, sql!("webhooks/campaign_mail_opened")),
    ];
    for (purpose, statement) in statements {
        if let Some(link) = app.links.read(purpose, token) {
            return Ok(company(app, link).optional::<Uuid>(statement, &[&link.row]).await?.is_some());
        }
    }
    Ok(false)
}

/// The same for those to whom no error is shown.
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

/// A transparent point.
const POINT: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

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
    /// Who wants no more mail, and whose.
    pub struct Recipient {
        email: String,
        company: String,
    }
}

/// A page for somebody who has followed a link in a mail.
pub(super) struct Page {
    status: StatusCode,
    title: &'static str,
    /// HTML.
    text: String,
}

const STYLE: &str = "*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;\
background:#f3f4f6;color:#1f2937;font:1rem/1.6 system-ui,sans-serif}main{width:100%;max-width:30rem;padding:2.5rem;\
background:#fff;border-radius:.75rem;box-shadow:0 1px 3px #0002}h1{margin:0 0 .75rem;font-size:1.375rem;line-height:1.3}\
p{margin:0;overflow-wrap:anywhere}form{margin:1.75rem 0 0}button{padding:.7rem 1.4rem;border:0;border-radius:.5rem;\
background:#1d4ed8;color:#fff;font:inherit;font-weight:600;cursor:pointer}button:hover,button:focus-visible{background:#1e3a8a}\
@media(prefers-color-scheme:dark){body{background:#111827;color:#e5e7eb}main{background:#1f2937}button{background:#2563eb}}";

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let Self { status, title, text } = self;
        let html = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta name=\"robots\" content=\"noindex\"><title>{title}</title><style>{STYLE}</style></head>\
             <body><main><h1>{title}</h1>{text}</main></body></html>"
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
        // The address is the recipient's to use.
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

/// Runs a statement about the recipient whom a token names; a page that says so when it names none.
async fn recipient(app: &App, token: &str, statement: crate::db::Sql) -> Result<Recipient, Page> {
    let unknown = || Page {
        status: StatusCode::NOT_FOUND,
        title: "This link is not valid",
        text: "<p>It may have been cut off. Please copy the whole address from the mail.</p>".into(),
    };
    let link = app.links.read(Purpose::Unsubscribe, token).ok_or_else(unknown)?;
    match TenantDb::for_opt_out(&app.db, link.company, link.user).optional(statement, &[&link.row]).await {
        Ok(found) => found.ok_or_else(unknown),
        Err(Error::InvalidToken | Error::NoCompany) => Err(unknown()),
        Err(e) => {
            tracing::warn!(error = %e.for_log(), "an unsubscription did not work");
            let text = "<p>This does not work right now. Please try again later.</p>".into();
            Err(Page { status: StatusCode::SERVICE_UNAVAILABLE, title: "Please try again", text })
        }
    }
}

/// Programs that look at mails follow the links in them, so this changes nothing.
pub(super) async fn ask(app: State<App>, Token(token): Token) -> Page {
    match recipient(&app, &token, sql!("webhooks/recipient")).await {
        Ok(Recipient { email, company }) => {
            let (email, company) = (super::escaped(&email), super::escaped(&company));
            let text = format!(
                "<p>{company} will send no more e-mail to {email}.</p><form method=\"post\"><button>Unsubscribe</button></form>"
            );
            Page { status: StatusCode::OK, title: "Unsubscribe?", text }
        }
        Err(page) => page,
    }
}

pub(super) async fn unsubscribe(app: State<App>, Token(token): Token) -> Page {
    match recipient(&app, &token, sql!("webhooks/unsubscribe")).await {
        Ok(Recipient { email, company }) => {
            let (email, company) = (super::escaped(&email), super::escaped(&company));
            let text = format!("<p>{company} sends no more e-mail to {email}.</p>");
            Page { status: StatusCode::OK, title: "You are unsubscribed", text }
        }
        Err(page) => page,
    }
}
