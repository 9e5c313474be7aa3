//! The one error type of the API, and the one place that turns it into HTTP.
//!
//! Bodies are those of `contract/conventions.md` (`detail` is a string, or a list for 422) with the members of RFC 9457
//! beside it. The database's own messages do not reach the client, nor the log if they may quote values: see
//! [`Error::from`] and below.

use crate::{
    db::{Fault, FromRow, NoConnection},
    server::request_id,
    wire::Json,
};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::borrow::Cow;

/// What a handler returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request was not carried out.
#[derive(Debug)]
pub enum Error {
    /// No `Authorization` header (403, as the frontend knows it).
    NotAuthenticated,
    /// An `Authorization` header of another scheme than Bearer (403).
    WrongScheme,
    /// A token that is invalid, expired, or of a user without access (401).
    InvalidToken,
    /// A wrong e-mail or password; one response for every reason (401).
    WrongCredentials,
    /// The caller's company is suspended (403).
    Suspended,
    /// A company's route, but the caller has no company (403 unless the route names another response).
    NoCompany,
    /// The caller's role does not allow it (403).
    Forbidden(Cow<'static, str>),
    /// What was not found; another company's row looks the same (404).
    NotFound(Cow<'static, str>),
    /// A sentence that the frontend shows (400).
    BadRequest(Cow<'static, str>),
    /// A body, query or path that is not of the right shape (422).
    Invalid(Vec<Problem>),
    /// A body over the route's limit (413).
    TooLarge,
    /// It cannot be done now; a sentence (409).
    Conflict(Cow<'static, str>),
    /// Too many attempts; seconds until the next one may be made (429).
    TooManyRequests(u32),
    /// Too many such requests are under way; a sentence (429).
    NoTurn(&'static str),
    /// A provider refused or did not respond (502).
    BadGateway(Cow<'static, str>),
    /// No key here opens a company's secret, but another server may have its key; a sentence (502).
    NoKey(&'static str),
    /// Too much work at once, or too slow a sender; a sentence (503).
    Busy(&'static str),
    /// No connection to the database in time (503).
    Unavailable,
    /// The request timed out, and may have been carried out (503).
    TookTooLong,
    /// The database refused; its SQLSTATE decides.
    Database(Fault),
    /// A fault of our own; the text is for the log (500).
    Internal(Cow<'static, str>),
}

/// What is known of an error besides its body: an extension of the response.
#[derive(Clone, Copy, Debug)]
pub struct ErrorInfo {
    /// Whether the last statement certainly had no effect.
    pub did_nothing: bool,
    /// The kind of refusal, if it is counted.
    pub refusal: Option<&'static str>,
}

/// One entry of a 422 response.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// The kind of problem, a word.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where: `body`, `query`, `path` or `header`, then the path to the field, such as `stages`, 0, `id`.
    // A part of it may have several steps: `stages[0].id`.
    #[serde(serialize_with = "steps")]
    #[schemars(with = "Vec<Location<'static>>")]
    pub loc: Vec<String>,
    /// What is wrong, a sentence.
    pub msg: String,
}

/// A step of the path to a field: its name, or its index in a list.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Location<'a> {
    Name(&'a str),
    Place(usize),
}

fn steps<S: Serializer>(loc: &[String], s: S) -> Result<S::Ok, S::Error> {
    let step =
        |part| str::strip_suffix(part, "]").and_then(|n| n.parse().ok()).map_or(Location::Name(part), Location::Place);
    s.collect_seq(loc.iter().flat_map(|part| part.split(['.', '['])).filter(|part| !part.is_empty()).map(step))
}

impl Error {
    /// A 404: `what` is the thing's name, as in "Contact not found".
    pub fn not_found(what: &'static str) -> Self {
        Error::NotFound(what.into())
    }

    /// A 400 with a sentence.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Error::BadRequest(detail.into())
    }

    /// A failure of the store of files (502); its cause is for the log.
    pub fn of_storage(e: anyhow::Error) -> Self {
        tracing::error!(error = %format!("{e:#}"), "the store of files");
        Error::BadGateway("The store of files does not work right now: try again later".into())
    }

    /// Whether the database was unavailable, or there was no room for its response: a temporary fault that says nothing
    /// about the request.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Error::Unavailable => true,
            Error::Database(e) => is_gone(e) || matches!(e, Fault::NoRoom),
            _ => false,
        }
    }

    /// Whether another attempt may succeed in a moment: the database was not there, or ended one of two transactions
    /// that would have waited for each other.
    pub fn is_transient(&self) -> bool {
        self.is_unavailable()
            || matches!(self, Error::Database(e) if e.code().is_some_and(|code| is_conflict(code.code())))
    }

    /// The text for the log and for a job's row, without personal data.
    pub fn for_log(&self) -> String {
        match self {
            Error::Database(e) => safe(e),
            Error::Internal(why) => why.to_string(),
            other => format!("{other:?}"),
        }
    }

    /// The text for people who read the outcome of a job; `None` if the fault is temporary or our own.
    pub fn sentence(&self) -> Option<Cow<'static, str>> {
        match self {
            Error::BadRequest(why) | Error::Forbidden(why) | Error::BadGateway(why) => Some(why.clone()),
            Error::NotFound(what) => Some(absent(what)),
            Error::Invalid(problems) => problems.first().map(|problem| problem.msg.clone().into()),
            Error::Database(Fault::Refused(refusal)) => {
                unfit(refusal.code().code()).map(|(_, sentence)| sentence.into())
            }
            _ => None,
        }
    }

    /// Whether the statement or transaction that failed with this certainly had no effect: it was not begun, or was
    /// refused and rolled back. Only for errors from a database handle; after a lost connection it may have had one.
    pub fn is_undone(&self) -> bool {
        self.is_refusal() || self.info().did_nothing
    }

    /// Whether the caller was refused, which another attempt would not change.
    pub fn is_refusal(&self) -> bool {
        use Error::*;
        matches!(self, InvalidToken | Suspended | NoCompany | Forbidden(_) | NotFound(_) | BadRequest(_))
    }

    fn info(&self) -> ErrorInfo {
        let code = match self {
            Error::Database(Fault::Refused(refusal)) => Some(refusal.code().code()),
            _ => None,
        };
        // PostgreSQL may report its shutdown after the commit.
        let rolled_back = code.is_some_and(|code| !code.starts_with("08") && !code.starts_with("57P"));
        let refusal = match self {
            Error::NoCompany => Some("no_company"),
            _ if code == Some("42501") => Some("policy_or_grant"),
            _ => None,
        };
        ErrorInfo { did_nothing: rolled_back || matches!(self, Error::Unavailable | Error::InvalidToken), refusal }
    }

    /// A 422 about one field.
    pub fn invalid(place: &str, field: &str, msg: impl Into<String>) -> Self {
        let loc = [place, field].iter().filter(|s| !s.is_empty()).map(|s| s.to_string()).collect();
        Error::Invalid(vec![Problem { kind: "value_error", loc, msg: msg.into() }])
    }
}

/// What handlers say about an outcome.
pub trait ResultExt<T>: Sized {
    /// Turns the violation of this constraint into a 400 with this sentence.
    fn on_constraint(self, constraint: &str, detail: &'static str) -> Result<T>;
    /// The response of a list to a caller without a company: an empty list.
    fn or_empty_without_company(self) -> Result<T>
    where
        T: Default;
    /// The response of a write to a caller without a company: 400.
    fn must_have_company(self) -> Result<T>;
    /// The response of any other route to a caller without a company.
    fn without_company(self, answer: Error) -> Result<T>;
    /// The response of a route by id to a caller without a company: 404, as for an unknown id.
    fn or_not_found_without_company(self) -> Result<T>
    where
        T: FromRow;
}

/// What handlers say about a row that may not be there.
pub trait OrNotFound<T> {
    /// The row, or else a 404: `what` is the thing's name, as in "Contact not found".
    fn or_not_found(self, what: &'static str) -> Result<T>;
}

impl<T> OrNotFound<T> for Result<Option<T>> {
    fn or_not_found(self, what: &'static str) -> Result<T> {
        self?.ok_or(Error::not_found(what))
    }
}

impl<T> ResultExt<T> for Result<T> {
    fn on_constraint(self, constraint: &str, detail: &'static str) -> Result<T> {
        self.map_err(|e| match &e {
            Error::Database(db) if db.as_db_error().and_then(|d| d.constraint()) == Some(constraint) => {
                Error::bad_request(detail)
            }
            _ => e,
        })
    }

    fn or_empty_without_company(self) -> Result<T>
    where
        T: Default,
    {
        match self {
            Err(Error::NoCompany) => Ok(T::default()),
            other => other,
        }
    }

    fn must_have_company(self) -> Result<T> {
        self.without_company(Error::bad_request("User must belong to a company"))
    }

    fn without_company(self, answer: Error) -> Result<T> {
        match self {
            Err(Error::NoCompany) => Err(answer),
            other => other,
        }
    }

    fn or_not_found_without_company(self) -> Result<T>
    where
        T: FromRow,
    {
        self.without_company(Error::not_found(T::NAME))
    }
}

impl From<Fault> for Error {
    /// `app.found` and similar functions raise SQLSTATEs of class RF with a sentence of ours; any other error keeps
    /// only its SQLSTATE.
    fn from(e: Fault) -> Self {
        let Some(db) = e.as_db_error() else { return Error::Database(e) };
        let sentence = || Cow::Owned(db.message().to_owned());
        match db.code().code() {
            "RF400" => Error::BadRequest(sentence()),
            "RF403" => Error::Forbidden(sentence()),
            "RF404" => Error::NotFound(sentence()),
            _ => Error::Database(e),
        }
    }
}

/// For commands, where an error ends the program and its text is for the person who runs it.
impl From<Error> for anyhow::Error {
    fn from(e: Error) -> Self {
        match e {
            Error::Database(e) => anyhow::Error::new(e),
            Error::BadRequest(s) | Error::Forbidden(s) => anyhow::anyhow!(s),
            e => anyhow::anyhow!("{e:?}"),
        }
    }
}

impl From<NoConnection> for Error {
    fn from(e: NoConnection) -> Self {
        match e {
            NoConnection::Timeout(_) => tracing::warn!("no free database connection in time"),
            NoConnection::Backend(e) => tracing::error!(error = %safe(&e), "cannot connect to the database"),
            e => tracing::error!(error = %e, "database pool"),
        }
        Error::Unavailable
    }
}

/// What a database error may say in the log: never the message of a data error, which can quote a row.
pub(crate) fn safe(e: &Fault) -> String {
    let Some(db) = e.as_db_error() else { return e.to_string() };
    let code = db.code().code();
    let mut text = format!("SQLSTATE {code}");
    for (key, value) in [("constraint", db.constraint()), ("table", db.table()), ("column", db.column())] {
        if let Some(value) = value {
            text += &format!(" {key}={value}");
        }
    }
    // Messages of these classes are about the schema, the connection or the server, not about values.
    if ["08", "28", "3D", "42", "53", "57", "XX"].iter().any(|class| code.starts_with(class)) {
        text += &format!(": {}", db.message());
    }
    text
}

/// The body of every error response.
#[derive(Serialize, JsonSchema)]
pub struct ErrorBody {
    /// A sentence for the person at the screen; a list of problems if the status is 422.
    detail: Detail,
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    request_id: String,
}

impl ErrorBody {
    /// The body of a status without details.
    pub(crate) fn of(status: StatusCode) -> Self {
        Self::new(status, Detail::Sentence(status.canonical_reason().unwrap_or_default().into()))
    }

    fn new(status: StatusCode, detail: Detail) -> Self {
        let title = status.canonical_reason().unwrap_or_default();
        Self { detail, kind: "about:blank", title, status: status.as_u16(), request_id: request_id() }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Detail {
    Sentence(Cow<'static, str>),
    Problems(Vec<Problem>),
}

impl Error {
    fn parts(self) -> (StatusCode, Detail, Option<u32>) {
        use StatusCode as S;
        let (status, sentence): (S, Cow<'static, str>) = match self {
            Error::NotAuthenticated => (S::FORBIDDEN, "Not authenticated".into()),
            Error::WrongScheme => (S::FORBIDDEN, "Invalid authentication credentials".into()),
            Error::InvalidToken => (S::UNAUTHORIZED, "Could not validate credentials".into()),
            Error::WrongCredentials => (S::UNAUTHORIZED, "Incorrect email or password".into()),
            Error::Suspended => (S::FORBIDDEN, "The company's account is suspended".into()),
            Error::NoCompany => {
                tracing::info!("refused: no company");
                (S::FORBIDDEN, "No company associated with user".into())
            }
            Error::Forbidden(detail) => (S::FORBIDDEN, detail),
            Error::NotFound(what) => (S::NOT_FOUND, absent(&what)),
            Error::BadRequest(detail) => (S::BAD_REQUEST, detail),
            Error::Invalid(problems) => return (S::UNPROCESSABLE_ENTITY, Detail::Problems(problems), None),
            Error::TooLarge => (S::PAYLOAD_TOO_LARGE, "The request is too large".into()),
            Error::TooManyRequests(seconds) => {
                let detail = format!("Too many attempts: try again in {seconds} seconds").into();
                return (S::TOO_MANY_REQUESTS, Detail::Sentence(detail), Some(seconds));
            }
            Error::NoTurn(detail) => return (S::TOO_MANY_REQUESTS, Detail::Sentence(detail.into()), Some(5)),
            Error::Conflict(detail) => (S::CONFLICT, detail),
            Error::BadGateway(detail) => (S::BAD_GATEWAY, detail),
            Error::NoKey(detail) => (S::BAD_GATEWAY, detail.into()),
            Error::Busy(detail) => return (S::SERVICE_UNAVAILABLE, Detail::Sentence(detail.into()), Some(10)),
            Error::Unavailable => return unavailable(),
            Error::TookTooLong => {
                tracing::error!("given up: it took too long");
                let detail = "It took too long and was given up: look whether it was done before you try again";
                (S::SERVICE_UNAVAILABLE, detail.into())
            }
            Error::Internal(why) => {
                tracing::error!(%why, "internal error");
                (S::INTERNAL_SERVER_ERROR, "Internal Server Error".into())
            }
            Error::Database(e) => return database(&e),
        };
        (status, Detail::Sentence(sentence), None)
    }
}

fn absent(what: &str) -> Cow<'static, str> {
    format!("{what} not found").into()
}

fn unavailable() -> (StatusCode, Detail, Option<u32>) {
    let detail = "The database is not available right now: try again in a moment".into();
    (StatusCode::SERVICE_UNAVAILABLE, Detail::Sentence(detail), Some(1))
}

/// Connection lost, out of resources, lock timeout, shutting down, or idle for too long.
fn is_gone(e: &Fault) -> bool {
    let code = e.code().map_or("", |c| c.code());
    let ended = ["08", "53", "57", "25P03", "25P04", LOCK_TIMEOUT];
    matches!(e, Fault::Lost(_)) || ended.iter().any(|start| code.starts_with(start))
}

/// `serialization_failure` and `deadlock_detected`.
fn is_conflict(code: &str) -> bool {
    matches!(code, "40001" | "40P01")
}

/// `lock_not_available`: a lock on a table or row was not granted within `lock_timeout` (sql/platform/roles.sql).
const LOCK_TIMEOUT: &str = "55P03";
/// `query_canceled`: by `statement_timeout`, or by an administrator.
const STATEMENT_TIMEOUT: &str = "57014";

/// The SQLSTATEs (PostgreSQL, appendix A) of values that do not fit, with their status and sentence.
fn unfit(code: &str) -> Option<(StatusCode, &'static str)> {
    use StatusCode as S;
    Some(match code {
        "23505" => (S::BAD_REQUEST, "It already exists"),
        "23503" => (S::NOT_FOUND, "A record that it refers to was not found"),
        "23502" | "23514" => (S::UNPROCESSABLE_ENTITY, "A value is missing or not allowed"),
        _ if code.starts_with("22") || code.starts_with("54") => (
            S::UNPROCESSABLE_ENTITY,
            "A value cannot be stored: it is too large or has characters that text cannot have",
        ),
        _ => return None,
    })
}

/// The response for each refusal of the database.
fn database(e: &Fault) -> (StatusCode, Detail, Option<u32>) {
    use StatusCode as S;
    match e {
        Fault::TooLarge => {
            tracing::warn!("refused: the answer is too large");
            let detail = "The answer is too large: ask for less at once, such as a page by limit and skip";
            return (S::BAD_REQUEST, Detail::Sentence(detail.into()), None);
        }
        Fault::NoRoom => {
            tracing::warn!("refused: too many large answers at once");
            let detail = "Too many large answers are under way: try again in a moment, or ask for less at once";
            return (S::SERVICE_UNAVAILABLE, Detail::Sentence(detail.into()), Some(10));
        }
        _ => {}
    }
    let code = e.code().map_or("", |c| c.code());
    let (status, sentence) = match (unfit(code), code) {
        (Some(unfit), _) => unfit,
        (None, "42501") => (S::FORBIDDEN, "Not allowed"),
        (None, code) if is_conflict(code) => (S::CONFLICT, "Somebody else changed it at the same moment: try again"),
        // The database is up, and nothing was done: a lock was held too long, or it was too much work.
        (None, LOCK_TIMEOUT | STATEMENT_TIMEOUT) => {
            tracing::warn!(error = %safe(e), "given up after a wait in the database");
            let detail = "The database took too long: try again in a moment";
            return (S::SERVICE_UNAVAILABLE, Detail::Sentence(detail.into()), Some(5));
        }
        _ if is_gone(e) => {
            tracing::error!(error = %safe(e), "database unavailable");
            return unavailable();
        }
        _ => (S::INTERNAL_SERVER_ERROR, "Internal Server Error"),
    };
    match status {
        S::INTERNAL_SERVER_ERROR => tracing::error!(error = %safe(e), "database error"),
        S::FORBIDDEN => tracing::warn!(error = %safe(e), "refused by a policy or a grant"),
        _ => tracing::debug!(error = %safe(e), "refused by the database"),
    }
    if status == S::UNPROCESSABLE_ENTITY {
        let problem = Problem { kind: "value_error", loc: vec!["body".into()], msg: sentence.into() };
        return (status, Detail::Problems(vec![problem]), None);
    }
    (status, Detail::Sentence(sentence.into()), None)
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let info = self.info();
        let (status, detail, retry_after) = self.parts();
        let mut response = (status, Json(ErrorBody::new(status, detail))).into_response();
        response.extensions_mut().insert(info);
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
