//! JSON request bodies: read up to a limit, parsed, and checked against the rules of their type.

use crate::{App, Error, Result, error::Problem};
use aide::{generate::GenContext, openapi::Operation};
use axum::{
    RequestExt,
    body::Body,
    extract::{FromRequest, Request},
};
use garde::Validate;
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use std::{borrow::Cow, time::Duration};

/// A JSON body. In a request it is checked against the rules of its type; a violation is a 422 that names the field.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + Validate<Context = ()>> FromRequest<App> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &App) -> Result<Self> {
        let Change { given, broken } = Change::read(request).await?;
        match broken {
            None => Ok(Json(given)),
            Some(broken) => Err(Error::Invalid(broken.rules.into_iter().map(|(_, problem)| problem).collect())),
        }
    }
}

impl<T: JsonSchema> aide::OperationInput for Json<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        <axum::Json<T> as aide::OperationInput>::operation_input(ctx, operation);
    }
}

/// A JSON body that changes a record. Some records are older than the rules, and clients send back all fields of a
/// record, so a value that breaks a rule is refused only if it differs from the stored one.
#[derive(Debug)]
pub struct Change<T> {
    given: T,
    broken: Option<Broken>,
}

/// The rules that a body breaks, each with the JSON pointer of its value.
#[derive(Debug)]
struct Broken {
    body: serde_json::Value,
    rules: Vec<(String, Problem)>,
}

impl<T> Change<T> {
    /// The parsed body, even if it breaks rules.
    pub fn given(&self) -> &T {
        &self.given
    }

    /// The change, if the stored record permits it; the record is read only if a rule is broken. To a record that the
    /// caller cannot see, every rule applies.
    pub async fn checked_against<R: Serialize>(self, stored: impl Future<Output = Result<R>>) -> Result<T> {
        let Some(Broken { body, rules }) = self.broken else { return Ok(self.given) };
        let stored = match stored.await {
            Ok(stored) => serde_json::to_value(stored).map_err(|e| Error::Internal(e.to_string().into()))?,
            Err(Error::NotFound(_) | Error::NoCompany | Error::Forbidden(_)) => serde_json::Value::Null,
            Err(e) => return Err(e),
        };
        let is_stored = |place: &str| match (body.pointer(place), stored.pointer(place)) {
            (Some(given), Some(stored)) => {
                given == stored || given.as_f64().is_some_and(|number| stored.as_f64() == Some(number))
            }
            _ => false,
        };
        let problems: Vec<_> =
            rules.into_iter().filter(|(place, _)| !is_stored(place)).map(|(_, problem)| problem).collect();
        if problems.is_empty() { Ok(self.given) } else { Err(Error::Invalid(problems)) }
    }
}

impl<T: DeserializeOwned + Validate<Context = ()>> Change<T> {
    async fn read(request: Request) -> Result<Self> {
        let body = read(request.into_limited_body()).await?;
        // serde would read a list as a struct's fields in order.
        if matches!(body.iter().find(|b| !b.is_ascii_whitespace()), Some(b'[')) {
            return Err(Error::invalid("body", "", "Input should be an object"));
        }
        // serde does not check that strings in ignored fields are UTF-8.
        let body = str::from_utf8(&body).map_err(|_| Error::invalid("body", "", "The body is not UTF-8"))?;
        if has_huge_number(body) {
            return Err(Error::invalid("body", "", "A number is too large"));
        }
        let mut json = serde_json::Deserializer::from_str(body);
        let given: T = serde_path_to_error::deserialize(&mut json).map_err(|e| {
            // serde_json reports a value that is no word of an enum as a syntax error.
            let is_json = e.inner().is_data() || serde_json::from_str::<IgnoredAny>(body).is_ok();
            let kind = if is_json { "value_error" } else { "json_invalid" };
            let (field, msg) = said(&e.path().to_string(), &e.inner().to_string());
            let msg =
                if is_json && msg == "expected value" { "Input should be one of the known words".into() } else { msg };
            let loc = std::iter::once("body".to_owned()).chain(field).collect();
            Error::Invalid(vec![Problem { kind, loc, msg }])
        })?;
        json.end().map_err(|_| {
            Error::Invalid(vec![Problem {
                kind: "json_invalid",
                loc: vec!["body".into()],
                msg: "trailing characters after the JSON value".into(),
            }])
        })?;
        let broken = broken_rules(&given, body);
        Ok(Self { given, broken })
    }
}

impl<T: DeserializeOwned + Validate<Context = ()>> FromRequest<App> for Change<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &App) -> Result<Self> {
        Self::read(request).await
    }
}

impl<T: JsonSchema> aide::OperationInput for Change<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        <axum::Json<T> as aide::OperationInput>::operation_input(ctx, operation);
    }
}

/// The field and the sentence of a serde error, without what means nothing to a user: positions in the text and names
/// of types.
pub fn said(path: &str, text: &str) -> (Option<String>, String) {
    let text = text.split(" at line ").next().unwrap_or(text);
    // In serde's path, a question mark stands for what it has not read yet.
    let path = path.strip_suffix(".?").unwrap_or(path);
    let path = (![".", "?"].contains(&path)).then(|| path.to_owned());
    if let Some(field) = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return (Some(path.map_or(field.to_owned(), |p| format!("{p}.{field}"))), "Field required".into());
    }
    let text = match text.rsplit_once(", expected ") {
        Some((before, what)) => format!("{before}, expected {}", in_words(what, before.starts_with("invalid value"))),
        None => text.to_owned(),
    };
    (path, text)
}

/// What serde expects, without names of Rust types.
fn in_words(expected: &str, is_out_of_range: bool) -> Cow<'_, str> {
    match expected {
        "i32" if is_out_of_range => format!("a whole number from {} to {}", i32::MIN, i32::MAX).into(),
        "i16" | "i32" | "i64" => "a whole number".into(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative".into(),
        "f32" | "f64" => "a number".into(),
        "a sequence" => "a list".into(),
        "a map" => "an object".into(),
        _ if expected.starts_with("struct ") => "an object".into(),
        _ => expected.into(),
    }
}

/// How long a client may take to send a body that is not a file.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Whether a JSON text has a number that the database would write out in more digits than can be read back.
fn has_huge_number(text: &str) -> bool {
    const LARGEST: f64 = 1e300;
    let mut rest = text;
    let mut in_text = false;
    while let Some(place) = rest.find(|c: char| c == '"' || !in_text && (c == '-' || c.is_ascii_digit()) || c == '\\') {
        let found = &rest[place..];
        rest = match found.as_bytes()[0] {
            b'"' => {
                in_text = !in_text;
                &found[1..]
            }
            b'\\' => found.get(2..).unwrap_or_default(),
            _ => {
                let end = found.find(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c)).unwrap_or(found.len());
                let (number, behind) = found.split_at(end);
                let is_long = number.len() > 300 || number.contains(['e', 'E']);
                if is_long && number.parse::<f64>().is_ok_and(|number| number.abs() > LARGEST) {
                    return true;
                }
                behind
            }
        };
    }
    false
}

/// Reads all of a size-limited body that is not a file. Its bytes are copied, because even a small chunk keeps a large
/// buffer alive.
pub(crate) async fn read(body: Body) -> Result<Vec<u8>> {
    let slow = |_| Error::invalid("body", "", "The body took too long to arrive");
    tokio::time::timeout(TIMEOUT, collect(body)).await.map_err(slow)?
}

async fn collect(mut body: Body) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.map_err(body_error)?.data_ref() {
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

/// The rules that this body breaks, if any; each names its field.
fn broken_rules<T: Validate<Context = ()>>(given: &T, body: &str) -> Option<Broken> {
    let report = given.validate().err()?;
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let rules = report.iter().map(|(path, error)| {
        let path = path.to_string().replace("r#", "");
        let place = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
        let is_list = body.pointer(&place).is_some_and(|v| v.is_array());
        let msg = broken_rule(error.message(), if is_list { "items" } else { "characters" });
        (place, Problem { kind: "value_error", loc: vec!["body".into(), path], msg })
    });
    let rules = rules.collect();
    Some(Broken { body, rules })
}

/// garde's message about a rule, in the words that the frontend looks for (contract: conventions, "Error bodies").
fn broken_rule(said: &str, unit: &str) -> String {
    match said.split_once(" than ") {
        Some(("length is greater", most)) => format!("Input should not exceed {most} {unit}"),
        Some(("length is lower", "1")) => "Input should not be empty".into(),
        Some(("length is lower", least)) => format!("Input should have at least {least} {unit}"),
        Some(("greater", most)) => format!("Input should be at most {most}"),
        Some(("lower", least)) => format!("Input should be at least {least}"),
        _ => said.to_owned(),
    }
}

/// The error for a body that is too large or was cut off.
pub fn body_error(e: impl std::error::Error) -> Error {
    let mut source: Option<&dyn std::error::Error> = Some(&e);
    while let Some(error) = source {
        if error.to_string().contains("length limit exceeded") {
            return Error::TooLarge;
        }
        source = error.source();
    }
    Error::invalid("body", "", "The body could not be read")
}
