//! Requests that are carried out once, however often they are sent: the header `Idempotency-Key`.
//!
//! The key is claimed before the request is carried out, and the response is stored in the same commit as the request's
//! changes (src/db/idempotent.rs): after a crash both are there or neither, and a retry gets the response or carries
//! the request out. A request of several transactions, or one that calls a provider, marks the key in its first commit.
//! If the server dies after that, its progress is unknown, and the key stays claimed without a response: at most once
//! in 24 hours, whatever happens. The key is released if nothing was committed.

use crate::{
    App, Error, Result,
    api::{self, Access},
    db::{Held, UserDb, commit_held, hold, platform::HeldKey},
    error::ErrorInfo,
    read_your_writes, wire,
};
use axum::{
    RequestExt,
    body::Body,
    extract::{FromRequestParts, MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use uuid::Uuid;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header that marks the response of an earlier request.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const MAX_KEY_CHARS: usize = 255;
/// What the sealed parts of a key's row are bound to, besides its id.
pub(crate) const REQUEST: &str = "idempotent request";
pub(crate) const ANSWER: &str = "idempotent answer";

/// Carries a request out, only once if it has a key.
pub(crate) async fn keep(app: App, request: Request, next: Next) -> Response {
    let has_key = request.method() == Method::POST && request.headers().contains_key(KEY);
    if !has_key {
        return read_your_writes::tell(&app, next.run(request)).await;
    }
    let told = app.clone();
    let answer = async { once(app, request, next).await.unwrap_or_else(Error::into_response) };
    // Boxed, because it is large and few requests have a key.
    Box::pin(read_your_writes::tell(&told, answer)).await
}

/// Commits what the request has done so far. Called before any external effect that cannot be undone, and before a wait
/// for anything but the database.
pub(crate) async fn leaving() -> Result<()> {
    commit_held().await
}

async fn once(app: App, request: Request, next: Next) -> Result<Response> {
    let matched = request.extensions().get::<MatchedPath>().and_then(|path| api::find("post", path.as_str()));
    let Some(route) = matched else { return Ok(next.run(request).await) };
    // It takes its own kind of token, and a retry does no harm.
    if route.path == "/api/auth/refresh" {
        return Ok(next.run(request).await);
    }
    let (mut parts, body) = request.with_limited_body().into_parts();
    let key = key(&parts.headers)?;
    if route.access == Access::public {
        return Err(Error::bad_request("This route takes no Idempotency-Key: it is for callers who are signed in"));
    }
    let kind = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if kind.to_ascii_lowercase().starts_with(b"multipart/") {
        return Err(Error::bad_request("A file cannot be sent with an Idempotency-Key: it is not kept to be compared"));
    }
    let db = UserDb::from_request_parts(&mut parts, &app).await?;
    let body = wire::read(body).await?;
    let (path, query) = (parts.uri.path().trim_end_matches('/'), parts.uri.query().unwrap_or_default());
    let mut asked = Sha256::new();
    for part in [parts.method.as_str(), path, query] {
        asked.update(part);
        asked.update([0u8]);
    }
    let asked = asked.chain_update(&body).finalize();

    let id = Uuid::new_v4();
    let sealed = app.sealer.seal_bytes(id, REQUEST, &asked)?;
    let held = db.take_idempotency_key(id, route.path, &key, &sealed).await?;
    if held.holder != id {
        if app.sealer.open_bytes(held.holder, REQUEST, &held.request)? != asked[..] {
            let sentence = "This key was used with another request: give each request a key of its own";
            return Err(Error::invalid("header", "Idempotency-Key", sentence));
        }
        return replay(&app, held);
    }
    // It completes even if the client disconnects, because then the client will retry.
    let work = app.clone();
    let request = Request::from_parts(parts, Body::from(body));
    let carried_out = async move {
        let (response, held) = hold(&work.db, id, next.run(request)).await;
        settle(&work, id, held, response).await.unwrap_or_else(Error::into_response)
    };
    app.run_to_completion(carried_out).await
}

/// The key of a request that has one.
fn key(headers: &HeaderMap) -> Result<String> {
    let mut given = headers.get_all(KEY).iter();
    let only = given.next().filter(|_| given.next().is_none()).and_then(|key| key.to_str().ok());
    let printable = |key: &&str| (1..=MAX_KEY_CHARS).contains(&key.len()) && !key.contains('\t');
    only.filter(printable).map(str::to_owned).ok_or_else(|| {
        Error::bad_request("An Idempotency-Key is one header of 1 to 255 printable ASCII characters, such as a UUID")
    })
}

fn replay(app: &App, held: HeldKey) -> Result<Response> {
    let (Some(status), Some(body)) = (held.status, held.body) else {
        return Err(Error::Conflict(
            "A request with this key is under way, or was broken off and may have been carried out: look before you use another key".into(),
        ));
    };
    let body = app.sealer.open_bytes(held.holder, ANSWER, &body)?;
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = (status.unwrap_or_default(), body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    if let Some(kind) = held.content_type.and_then(|kind| HeaderValue::from_str(&kind).ok()) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// What happens to the key after a response.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// The response is stored.
    Keep,
    /// The key is released, since nothing was done.
    Release,
    /// The key stays claimed: it is unknown what was done.
    Unknown,
}

/// `did_nothing` tells whether the last statement certainly had no effect, `is_used` whether anything may have been
/// committed: every lasting effect is written to the database first, even a message to be sent.
fn verdict(status: StatusCode, did_nothing: bool, is_used: bool) -> Verdict {
    // A request with an expired token, or in conflict with a concurrent change, may be retried.
    let waited = did_nothing && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::CONFLICT);
    match status {
        StatusCode::TOO_MANY_REQUESTS => Verdict::Release,
        // A provider did not do what was requested, or may have.
        StatusCode::BAD_GATEWAY => Verdict::Keep,
        _ if !waited && !status.is_server_error() => Verdict::Keep,
        _ if is_used => Verdict::Unknown,
        _ => Verdict::Release,
    }
}

async fn settle(app: &App, id: Uuid, held: Held, response: Response) -> Result<Response> {
    let did_nothing = response.extensions().get::<ErrorInfo>().is_some_and(|info| info.did_nothing);
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|_| Error::Internal("an answer could not be read".into()))?.to_bytes();
    let (with_effect, settled) = match verdict(parts.status, did_nothing, held.is_used()) {
        Verdict::Keep => {
            let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let sealed = app.sealer.seal_bytes(id, ANSWER, &body)?;
            held.keep(parts.status.as_u16().into(), kind, &sealed).await
        }
        Verdict::Release => (false, held.give_back().await),
        Verdict::Unknown => (false, held.leave_unanswered().await),
    };
    match settled {
        Err(e) if with_effect => return Err(e),
        // The client gets the response all the same. A retry is told that the outcome is unknown, or is carried out if
        // nothing was committed.
        Err(e) => tracing::error!(error = %e.for_log(), "the answer to a request with a key could not be kept"),
        Ok(()) => {}
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}
