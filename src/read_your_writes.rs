//! The WAL position (LSN) of a caller's last change, as an opaque token that is sent after a commit and may come back
//! with a request that reads, so that a server which did not make the change reads from no standby that has not
//! replayed it. The token is sealed for the user, because the position shows how much all companies together write.

use crate::{
    App,
    db::{Identity, note_position},
};
use axum::{
    http::{HeaderName, HeaderValue, Method, request::Parts},
    response::Response,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// The token's header, in requests and in responses.
pub const POSITION: HeaderName = HeaderName::from_static("x-ringfence-position");
/// What it is sealed for, besides the user.
const FIELD: &str = "position";

/// The WAL position (LSN) that a standby must have replayed to answer a request; `None` for a request that does not
/// only read. Without a token, and with one that cannot be opened, such as another user's, the position is 0.
pub(crate) fn asked(parts: &Parts, app: &App, who: &Identity) -> Option<u64> {
    let Identity::Token(user, _) = who else { return None };
    if app.db.standby_is_up().is_none() || ![Method::GET, Method::HEAD].contains(&parts.method) {
        return None;
    }
    let opened = |token: &HeaderValue| {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let opened = app.positions.open_bytes(*user, FIELD, &sealed).ok()?;
        Some(u64::from_be_bytes(opened.try_into().ok()?))
    };
    Some(parts.headers.get(POSITION).and_then(opened).unwrap_or(0))
}

/// Waits for a response, and adds the position after the caller's change to it, if there was one and there is a
/// standby.
pub(crate) async fn tell(app: &App, answer: impl Future<Output = Response>) -> Response {
    if app.db.standby_is_up().is_none() {
        return answer.await;
    }
    let (mut response, left) = Box::pin(note_position(answer)).await;
    let sealed = left.and_then(|(user, position)| app.positions.seal_bytes(user, FIELD, &position.to_be_bytes()).ok());
    if let Some(token) = sealed.and_then(|s| HeaderValue::from_str(&BASE64_URL_SAFE_NO_PAD.encode(s)).ok()) {
        response.headers_mut().insert(POSITION, token);
    }
    response
}
