//! What goes over the wire: JSON bodies, query strings, path parts and times, in the contract's shapes.

use crate::{
    App, Error, Result,
    db::{Rows, WriteRow, Written},
    error::Problem,
    large,
    turns::{Pace, Turn, Turns},
};
use aide::{generate::GenContext, openapi::Operation};
use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Multipart, RawPathParams, Request, multipart::Field},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use garde::Validate;
use http_body_util::BodyExt;
use jiff::{
    Timestamp, civil,
    fmt::temporal::Pieces,
    tz::{Offset, TimeZone, TimeZoneDatabase},
};
use postgres_types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, IgnoredAny, IntoDeserializer},
};
use serde_json::json;
use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData, str::FromStr, time::Duration};
use uuid::Uuid;

/// A moment. On the wire ISO 8601 without zone, UTC, with microseconds that are left out when zero
/// (`2026-11-23T03:57:04.282579`); input may carry `Z` or an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

/// The first that the wire's form, which has four digits for a year, can tell from others.
const FIRST: Timestamp = Timestamp::constant(-62_135_596_800, 0);
/// The last that it can tell and a [`Timestamp`] holds: some hours of the year 9999 are beyond it.
const LAST: Timestamp = Timestamp::constant(253_402_207_200, 0);
/// From 1970, where [`Timestamp`] begins, to 2000, where PostgreSQL's `timestamptz` does.
const MICROS_TO_2000: i64 = 946_684_800_000_000;

impl Time {
    /// The wire's form and its length. Two digits at a time: a page has hundreds of times, and formatting numbers by
    /// `write!` takes longer than all the rest of a row.
    pub fn digits(self) -> ([u8; 26], usize) {
        let t = TimeZone::UTC.to_datetime(self.0);
        let mut text = *b"0000-00-00T00:00:00.000000";
        let mut put = |place: usize, number: u32| text[place..place + 2].copy_from_slice(&PAIRS[number as usize % 100]);
        let year = u32::from(t.year().unsigned_abs());
        put(0, year / 100);
        put(2, year);
        put(5, t.month().unsigned_abs().into());
        put(8, t.day().unsigned_abs().into());
        put(11, t.hour().unsigned_abs().into());
        put(14, t.minute().unsigned_abs().into());
        put(17, t.second().unsigned_abs().into());
        let micros = t.subsec_nanosecond().unsigned_abs() / 1000;
        put(20, micros / 10_000);
        put(22, micros / 100);
        put(24, micros);
        (text, if micros == 0 { 19 } else { 26 })
    }
}

/// The numbers from 00 to 99.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, length) = self.digits();
        f.write_str(str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // "Never" is written as the last day of 9999.
        let nearest = |(t, offset): (civil::DateTime, Offset)| offset.to_timestamp(t).unwrap_or(LAST);
        let moment = parts(text).map(nearest).filter(|moment| *moment >= FIRST);
        moment.map(Time).ok_or("a time such as 2026-11-23T03:57:04 is expected")
    }
}

/// The date and time of a text, whatever zone it says.
pub fn as_written(text: &str) -> Option<civil::DateTime> {
    parts(text).map(|(time, _)| time)
}

/// The date and time of a text, and the zone that it says; UTC when it says none.
fn parts(text: &str) -> Option<(civil::DateTime, Offset)> {
    let parts = Pieces::parse(text).ok()?;
    let time = parts.date().to_datetime(parts.time().unwrap_or(civil::Time::midnight()));
    (time.year() > 0).then_some((time, parts.to_numeric_offset().unwrap_or(Offset::UTC)))
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let (text, length) = self.digits();
        s.serialize_str(str::from_utf8(&text[..length]).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "ISO 8601 without zone, UTC",
            "examples": ["2026-11-23T03:57:04.282579"],
        })
    }
}

impl<'a> FromSql<'a> for Time {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        // The database has times beyond the wire's, infinity among them: each is shown as the nearest.
        let micros = i64::from_sql(ty, raw)?.saturating_add(MICROS_TO_2000);
        let micros = micros.clamp(FIRST.as_microsecond(), LAST.as_microsecond());
        Ok(Time(Timestamp::from_microsecond(micros)?))
    }
    fn accepts(ty: &Type) -> bool {
        <Timestamp as FromSql>::accepts(ty)
    }
}

impl ToSql for Time {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut tokio_postgres::types::private::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.to_sql(ty, out)
    }
    fn accepts(ty: &Type) -> bool {
        <Timestamp as ToSql>::accepts(ty)
    }
    to_sql_checked!();
}

/// A time zone's name as IANA writes it, which is compared without case; `None` if there is none. The program's own copy of
/// IANA's list is asked, because what a machine keeps has names besides that no other machine knows, such as `localtime`.
pub fn time_zone(name: &str) -> Option<String> {
    // What a machine has that was never told where it is.
    const NOWHERE: &str = "Factory";
    let zone = TimeZoneDatabase::bundled().get(name).ok()?;
    zone.iana_name().filter(|name| *name != NOWHERE && name.len() <= 50).map(str::to_owned)
}

/// An optional value in a query or body where an empty string means "not given".
pub fn blank_is_none<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(d: D) -> Result<Option<T>, D::Error> {
    match Option::<Cow<'de, str>>::deserialize(d)? {
        Some(text) if !text.is_empty() => text.parse().map(Some).map_err(serde::de::Error::custom),
        _ => Ok(None),
    }
}

/// The same for one of a list of words in a query.
pub fn optional_word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    let word = Cow::<'de, str>::deserialize(d)?;
    if word.is_empty() { Ok(None) } else { T::deserialize(word.into_deserializer()).map(Some) }
}

/// The schema of what [`fitting`] reads: it is made for a `T`, and takes anything.
pub struct Fitting<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Fitting<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Fitting{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [generator.subschema_for::<T>(), {"description": "Anything else means that it is not given."}]})
    }
}

/// An optional value where whatever does not fit means "not given", as the old backend took it.
pub fn fitting<'de, D: Deserializer<'de>, T: FromStr>(d: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::Value::deserialize(d)?.as_str().and_then(|text| text.parse().ok()))
}

/// A kind of number that a body may also give as a text, as the old backend took it: what people type into a form is a text.
pub trait Number: Sized {
    /// Reads it, or says what is expected.
    fn read(value: &serde_json::Value) -> Result<Self, String>;
}

impl Number for f64 {
    fn read(value: &serde_json::Value) -> Result<Self, String> {
        let number = match value {
            serde_json::Value::Number(number) => number.as_f64(),
            serde_json::Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|n: &f64| n.is_finite()).ok_or_else(|| "Input should be a valid number".into())
    }
}

impl Number for i64 {
    fn read(value: &serde_json::Value) -> Result<Self, String> {
        let digits = match value {
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::String(text) => text.trim().to_owned(),
            _ => String::new(),
        };
        let whole = match digits.split_once('.') {
            Some((whole, fraction)) if fraction.bytes().all(|b| b == b'0') => whole,
            _ => &digits,
        };
        whole.parse().map_err(|_| "Input should be a whole number".into())
    }
}

impl Number for i32 {
    fn read(value: &serde_json::Value) -> Result<Self, String> {
        let range = || format!("Input should be a whole number from {} to {}", i32::MIN, i32::MAX);
        i64::read(value)?.try_into().map_err(|_| range())
    }
}

/// A number, or a text that is one.
pub fn number<'de, D: Deserializer<'de>, T: Number>(d: D) -> Result<T, D::Error> {
    T::read(&serde_json::Value::deserialize(d)?).map_err(serde::de::Error::custom)
}

/// The same where `null` means "not given".
pub fn optional_number<'de, D: Deserializer<'de>, T: Number>(d: D) -> Result<Option<T>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(d)?;
    value.map(|value| T::read(&value)).transpose().map_err(serde::de::Error::custom)
}

/// The same of a change that can empty the field.
pub fn nullable_number<'de, D: Deserializer<'de>, T: Number>(d: D) -> Result<Option<Option<T>>, D::Error> {
    optional_number(d).map(Some)
}

/// True or false, or a text or number that stands for it, as the old backend took it.
pub fn boolean<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    let known = match serde_json::Value::deserialize(d)? {
        serde_json::Value::Bool(known) => Some(known),
        serde_json::Value::Number(number) => {
            [0.0, 1.0].iter().position(|n| number.as_f64() == Some(*n)).map(|n| n == 1)
        }
        serde_json::Value::String(text) => is_true(&text),
        _ => None,
    };
    known.ok_or_else(|| serde::de::Error::custom(NO_BOOLEAN))
}

/// The same where `null` means "not given".
pub fn optional_boolean<'de, D: Deserializer<'de>>(d: D) -> Result<Option<bool>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(d)?;
    value.map(boolean).transpose().map_err(serde::de::Error::custom)
}

/// The same of a change that has no null, which is refused.
pub fn given_boolean<'de, D: Deserializer<'de>>(d: D) -> Result<Option<bool>, D::Error> {
    boolean(d).map(Some)
}

/// A field of a change: absent is `None`, `null` is `Some(None)`.
pub fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

/// A field of a change that has no null: absent is `None`, `null` is refused.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// A field that has a value of its own where it is not given, which `null` means too.
pub fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

/// A JSON body, in and out. Coming in it is checked against the rules of its type; what does not fit is a 422 that names
/// the field.
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

/// A JSON body that changes a record. Records are older than rules, and clients send back all that they were shown: a value that
/// breaks a rule of its type is refused only where it is not the stored one.
#[derive(Debug)]
pub struct Change<T> {
    given: T,
    broken: Option<Broken>,
}

/// The rules that a body breaks, each with where in it, as a JSON pointer.
#[derive(Debug)]
struct Broken {
    body: serde_json::Value,
    rules: Vec<(String, Problem)>,
}

impl<T> Change<T> {
    /// What the body says, whatever rules it breaks.
    pub fn given(&self) -> &T {
        &self.given
    }

    /// The change, if it may be made to what is stored, which is only asked for where a rule is broken. Of a record that the
    /// caller does not have nothing is stored.
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
        let body = read(request.into_body()).await?;
        // serde would take a list for a struct's fields in their order.
        if matches!(body.iter().find(|b| !b.is_ascii_whitespace()), Some(b'[')) {
            return Err(Error::invalid("body", "", "Input should be an object"));
        }
        // serde does not look into the texts of fields that it ignores.
        let body = str::from_utf8(&body).map_err(|_| Error::invalid("body", "", "The body is not UTF-8"))?;
        if has_huge_number(body) {
            return Err(Error::invalid("body", "", "A number is too large"));
        }
        let mut json = serde_json::Deserializer::from_str(body);
        let given: T = serde_path_to_error::deserialize(&mut json).map_err(|e| {
            // What is no word of a list is broken JSON to serde_json.
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

/// The field and the sentence of what serde says, without what means nothing to the person who reads it: positions in
/// the text and names of types.
pub fn said(path: &str, text: &str) -> (Option<String>, String) {
    let text = text.split(" at line ").next().unwrap_or(text);
    // What serde has not read yet is a question mark in its path.
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

/// What serde expects, where it says so by the name of a Rust type.
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

/// JSON bodies are at most this long, in bytes.
const JSON_LIMIT: usize = 1 << 20;
/// Of a body that is too long, this much is read and dropped: a client that is still sending does not see the answer.
const DRAIN_LIMIT: usize = 64 << 20;

/// A client that takes longer to send one keeps a connection for nothing.
const JSON_PATIENCE: Duration = Duration::from_secs(30);

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

/// The whole of a body that is no file.
pub(crate) async fn read(body: Body) -> Result<Vec<u8>> {
    let slow = |_| Error::invalid("body", "", "The body took too long to arrive");
    tokio::time::timeout(JSON_PATIENCE, collect(body)).await.map_err(slow)?
}

async fn collect(mut body: Body) -> Result<Vec<u8>> {
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::invalid("body", "", "The body could not be read"))?;
        let Some(data) = frame.data_ref() else { continue };
        length += data.len();
        if length <= JSON_LIMIT {
            bytes.extend_from_slice(data);
        } else if length > DRAIN_LIMIT {
            break;
        }
    }
    if length > JSON_LIMIT { Err(Error::TooLarge) } else { Ok(bytes) }
}

/// The rules that are broken by what this body gave, if any; each names its field.
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

/// What garde says of a rule, in the words that the frontend looks for (contract: conventions, "Error bodies").
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

/// Too large, or broken off on the way.
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

/// A form with the part `file`, which is not read before the handler asks for it: it has looked at its caller by then.
/// `T` describes the parts that it may have besides.
pub struct Upload<T = ()>(Request, PhantomData<fn() -> T>);

/// The content of an upload.
pub struct File {
    /// The name that the sender gave it; good for its ending and for nothing else.
    pub name: String,
    /// The type that the sender says it is of, if any.
    pub kind: Option<String>,
    /// The content.
    pub bytes: Vec<u8>,
    _turn: Turn,
}

/// Files that are held in memory while they are read: only so many at a time, and one of each company.
pub struct Reading {
    turns: Turns,
    /// How long one may take to arrive, however fast it comes.
    patience: Duration,
}

/// Large ones.
pub static IMPORTS: Reading = Reading { turns: Turns::new(2, 1), patience: Duration::from_secs(300) };
/// Small ones, which those who read large ones do not hold up.
pub static PICTURES: Reading = Reading { turns: Turns::new(6, 1), patience: Duration::from_secs(60) };
/// How long one waits for its turn.
const UPLOAD_WAIT: Duration = Duration::from_secs(30);

impl<S: Send + Sync, T> FromRequest<S> for Upload<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        Ok(Self(request, PhantomData))
    }
}

/// Waits for the next of an upload's form, as long as its pace allows.
pub async fn patiently<T, E: std::error::Error>(
    pace: &mut Pace,
    next: impl Future<Output = Result<T, E>>,
) -> Result<T> {
    pace.next(next).await.ok_or_else(slow)?.map_err(form_error)
}

/// The next bytes of a field of it.
pub async fn chunk(field: &mut Field<'_>, pace: &mut Pace) -> Result<Option<Bytes>> {
    let chunk = patiently(pace, field.chunk()).await?;
    pace.came(chunk.as_ref().map_or(0, Bytes::len));
    Ok(chunk)
}

/// Too large, or not a form with a file.
fn form_error(e: impl std::error::Error) -> Error {
    match body_error(e) {
        Error::TooLarge => Error::TooLarge,
        _ => Error::invalid("body", "file", "A form with a file is required"),
    }
}

fn slow() -> Error {
    Error::invalid("body", "file", "The file took too long to arrive")
}

impl<T> Upload<T> {
    /// The form, part by part, for content that is streamed.
    pub async fn form(self) -> Result<Multipart> {
        Multipart::from_request(self.0, &()).await.map_err(form_error)
    }

    /// Reads the file in the turn of its company, or of its sender where there is none; 413 beyond the route's limit.
    pub async fn read(self, reading: &'static Reading, whose: Uuid) -> Result<File> {
        let busy = Error::Busy("Too many files are being read right now: try again in a moment");
        let turn = reading.turns.next(whose, UPLOAD_WAIT).await.ok_or(busy)?;
        tokio::time::timeout(reading.patience, self.part(turn)).await.map_err(|_| slow())?
    }

    async fn part(self, turn: Turn) -> Result<File> {
        let length = self.0.headers().get(header::CONTENT_LENGTH);
        let length: usize = length.and_then(|v| v.to_str().ok()?.parse().ok()).unwrap_or(0);
        let mut form = Multipart::from_request(self.0, &()).await.map_err(form_error)?;
        let mut pace = Pace::of_upload();
        while let Some(mut field) = patiently(&mut pace, form.next_field()).await? {
            if field.name() != Some("file") {
                continue;
            }
            let name = field.file_name().unwrap_or_default().to_owned();
            let kind = field.content_type().map(str::to_owned);
            // Room for all of it from the start: a buffer that grows is copied, and held twice meanwhile. The system
            // gives memory when it is written to, so a length that is a lie costs nothing.
            let mut bytes = Vec::with_capacity(length.min(64 << 20));
            while let Some(chunk) = chunk(&mut field, &mut pace).await? {
                bytes.extend_from_slice(&chunk);
            }
            return Ok(File { name, kind, bytes, _turn: turn });
        }
        Err(Error::invalid("body", "file", "Field required"))
    }
}

impl<T: JsonSchema> aide::OperationInput for Upload<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let mut parts = T::json_schema(&mut ctx.schema).remove("properties").unwrap_or_else(|| json!({}));
        parts["file"] = json!({ "type": "string", "format": "binary" });
        let form = json_schema!({ "type": "object", "required": ["file"], "properties": parts });
        let schema = Some(aide::openapi::SchemaObject { json_schema: form, external_docs: None, example: None });
        let media = aide::openapi::MediaType { schema, ..Default::default() };
        operation.request_body = Some(aide::openapi::ReferenceOr::Item(aide::openapi::RequestBody {
            content: [("multipart/form-data".to_owned(), media)].into_iter().collect(),
            required: true,
            ..Default::default()
        }));
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(1024);
        match serde_json::to_writer(&mut body, &self.0) {
            Ok(()) => written(body),
            Err(e) => Error::Internal(e.to_string().into()).into_response(),
        }
    }
}

fn written(json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl<T> IntoResponse for Written<T> {
    fn into_response(self) -> Response {
        written(self.into_json())
    }
}

impl<T: JsonSchema> aide::OperationOutput for Written<T> {
    type Inner = T;
    fn operation_response(ctx: &mut GenContext, operation: &mut Operation) -> Option<aide::openapi::Response> {
        Json::<T>::operation_response(ctx, operation)
    }
    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        Json::<T>::inferred_responses(ctx, operation)
    }
}

/// What was made, with the status 201: on the few routes that have it (contract: conventions, "Error bodies").
pub struct Created<T>(pub T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

impl<T: JsonSchema> aide::OperationOutput for Created<T> {
    type Inner = T;
    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        axum::Json::<T>::operation_response(ctx, operation).map(|r| (Some(201), r)).into_iter().collect()
    }
}

/// `Content-Disposition` of a file to be saved under this name, whatever characters it has (RFC 6266, RFC 8187).
pub fn attachment(name: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !"\"\\%".contains(c) || c == ' ';
    let fallback: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    if fallback == name {
        return format!("attachment; filename=\"{name}\"");
    }
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("attachment; filename=\"{fallback}\"; filename*=UTF-8''{encoded}")
}

/// A PDF to be saved.
pub struct Pdf {
    /// Its name, without the ending; characters that a header cannot have are left out.
    pub name: String,
    /// The document.
    pub body: Vec<u8>,
}

impl IntoResponse for Pdf {
    fn into_response(self) -> Response {
        let name: String = self.name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
        let headers = [
            (header::CONTENT_TYPE, "application/pdf".to_owned()),
            (header::CONTENT_DISPOSITION, format!("attachment; filename={name}.pdf")),
        ];
        (headers, self.body).into_response()
    }
}

impl aide::OperationOutput for Pdf {
    type Inner = Self;
    fn inferred_responses(_: &mut GenContext, _: &mut Operation) -> Vec<(Option<u16>, aide::openapi::Response)> {
        vec![(Some(200), binary("application/pdf"))]
    }
}

/// An answer of bytes, for the document.
pub fn binary(mime: &str) -> aide::openapi::Response {
    let schema = json_schema!({ "type": "string", "format": "binary" });
    let schema = Some(aide::openapi::SchemaObject { json_schema: schema, external_docs: None, example: None });
    let media = aide::openapi::MediaType { schema, ..Default::default() };
    aide::openapi::Response { content: [(mime.to_owned(), media)].into_iter().collect(), ..Default::default() }
}

impl<T: WriteRow> IntoResponse for Rows<T> {
    fn into_response(self) -> Response {
        let body = if self.is_large() { large::rows(self) } else { self.json().map(IntoResponse::into_response) };
        match body {
            Ok(body) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response(),
            Err(e) => Error::Internal(e.to_string().into()).into_response(),
        }
    }
}

impl<T: JsonSchema> aide::OperationOutput for Rows<T> {
    type Inner = Vec<T>;
    fn operation_response(ctx: &mut GenContext, operation: &mut Operation) -> Option<aide::openapi::Response> {
        axum::Json::<Vec<T>>::operation_response(ctx, operation)
    }
    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        Self::operation_response(ctx, operation).map(|r| (Some(200), r)).into_iter().collect()
    }
}

impl<T: JsonSchema> aide::OperationInput for Json<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        <axum::Json<T> as aide::OperationInput>::operation_input(ctx, operation);
    }
}

impl<T: JsonSchema> aide::OperationInput for Change<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        <axum::Json<T> as aide::OperationInput>::operation_input(ctx, operation);
    }
}

impl<T: JsonSchema> aide::OperationOutput for Json<T> {
    type Inner = T;
    fn operation_response(ctx: &mut GenContext, operation: &mut Operation) -> Option<aide::openapi::Response> {
        axum::Json::<T>::operation_response(ctx, operation)
    }
    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        Self::operation_response(ctx, operation).map(|r| (Some(200), r)).into_iter().collect()
    }
}

impl aide::OperationOutput for Error {
    type Inner = crate::error::ErrorBody;
    fn operation_response(ctx: &mut GenContext, operation: &mut Operation) -> Option<aide::openapi::Response> {
        let mut response = axum::Json::<Self::Inner>::operation_response(ctx, operation)?;
        response.description = "The request was not carried out; `detail` says why.".into();
        Some(response)
    }
    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        Self::operation_response(ctx, operation).map(|r| (None, r)).into_iter().collect()
    }
}

/// The query string; unknown parameters are ignored, a value that does not fit is a 422.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        query(parts.uri.query()).map(Query)
    }
}

/// Reads a query string into `T`; of a parameter that is given again the last value counts, as the original took it.
pub fn query<T: DeserializeOwned>(text: Option<&str>) -> Result<T> {
    let text = last_of_each(text.unwrap_or_default());
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|e| {
        let (field, msg) = said(&e.path().to_string(), &e.inner().to_string());
        Error::invalid("query", &field.unwrap_or_default(), msg)
    })
}

/// A query string in which each name stands once.
fn last_of_each(text: &str) -> Cow<'_, str> {
    let pairs = form_urlencoded::parse(text.as_bytes());
    let last: BTreeMap<_, _> = pairs.collect();
    if last.len() == pairs.count() {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(form_urlencoded::Serializer::new(String::new()).extend_pairs(last).finish())
    }
}

/// Adds the fields of `T` to an operation's query parameters.
pub fn document_query<T: JsonSchema>(ctx: &mut GenContext, operation: &mut Operation) {
    let schema = ctx.schema.subschema_for::<T>();
    let schema = ctx.resolve_schema(&schema).clone();
    let parameters = aide::operation::parameters_from_schema(ctx, schema, aide::operation::ParamLocation::Query);
    aide::operation::add_parameters(ctx, operation, parameters);
}

impl<T: JsonSchema> aide::OperationInput for Query<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        document_query::<T>(ctx, operation);
    }
}

/// The one variable part of the path; a value that does not fit is a 422.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: FromStr<Err: fmt::Display>> FromRequestParts<App> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let params = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|_| Error::invalid("path", "", "The path is not UTF-8"))?;
        variable(params.iter().next()).map(Path)
    }
}

impl<T> aide::OperationInput for Path<T> {}

/// The two variable parts of the path, in their order.
#[derive(Debug)]
pub struct Paths<A, B>(pub A, pub B);

impl<A: FromStr<Err: fmt::Display>, B: FromStr<Err: fmt::Display>> FromRequestParts<App> for Paths<A, B> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let params = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|_| Error::invalid("path", "", "The path is not UTF-8"))?;
        let mut params = params.iter();
        Ok(Self(variable(params.next())?, variable(params.next())?))
    }
}

fn variable<T: FromStr<Err: fmt::Display>>(part: Option<(&str, &str)>) -> Result<T> {
    let (name, value) = part.ok_or(Error::Internal("a route without a variable part".into()))?;
    value.parse().map_err(|e: T::Err| Error::invalid("path", name, format!("Input should be valid: {e}")))
}

impl<A, B> aide::OperationInput for Paths<A, B> {}

/// `{"message": …}`: what a write answers that has nothing else to show.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Message {
    /// A sentence for the person at the screen.
    pub message: Cow<'static, str>,
}

/// The answer with this sentence.
pub fn message(text: impl Into<Cow<'static, str>>) -> Json<Message> {
    Json(Message { message: text.into() })
}

/// `{"success": true, "message": …}`: the same of the areas whose contract has both.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Done {
    /// Always true: what was not done is an error.
    success: bool,
    /// A sentence for the person at the screen.
    message: &'static str,
}

/// The answer that it was done.
pub fn done(message: &'static str) -> Json<Done> {
    Json(Done { success: true, message })
}

/// A flag of the query string: `true`, `1`, `yes` and `on` in any case, and their opposites. A blank one is false.
pub fn flag<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    Ok(optional_flag(d)?.unwrap_or(false))
}

/// The same where a blank one means "not given".
pub fn optional_flag<'de, D: Deserializer<'de>>(d: D) -> Result<Option<bool>, D::Error> {
    match Cow::<'de, str>::deserialize(d)? {
        blank if blank.is_empty() => Ok(None),
        text => is_true(&text).map(Some).ok_or_else(|| serde::de::Error::custom(NO_BOOLEAN)),
    }
}

const NO_BOOLEAN: &str = "Input should be true or false";

/// Whether a text stands for true or for false, if for any.
fn is_true(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
        _ => None,
    }
}

/// The same where it must be given.
pub fn required_flag<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    optional_flag(d)?.ok_or_else(|| serde::de::Error::custom("Field required"))
}

/// An e-mail address as accounts have it: without blanks around it, in lower case.
pub fn address<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    Ok(Cow::<str>::deserialize(d)?.trim().to_lowercase())
}

/// The same where `null` means "not given".
pub fn optional_address<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Cow<str>>::deserialize(d)?.map(|text| text.trim().to_lowercase()))
}

/// The rule of the address of an account that may be there: old ones are of any form, so only the sign that makes one is
/// asked for.
pub fn old_address(text: &str, _: &()) -> garde::Result {
    let is_one = text.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty());
    if is_one { Ok(()) } else { Err(garde::Error::new("Input should be an e-mail address")) }
}

/// The rule of an address that an account is to have. Mail has to get there from outside, which it does not where the domain
/// is a name of a local network or a number.
pub fn new_address(text: &str, _: &()) -> garde::Result {
    let address = text.parse::<lettre::Address>();
    let is_public = address.is_ok_and(|a| a.domain().contains('.') && !a.domain().starts_with('['));
    if is_public { Ok(()) } else { Err(garde::Error::new("Input should be an e-mail address")) }
}

/// The largest amount of money, which the database keeps as `numeric(15, 2)`.
pub const MONEY: f64 = 9_999_999_999_999.99;
/// Tags of one thing.
pub const TAGS: usize = 100;
/// Characters of a tag.
pub const TAG_LENGTH: usize = 100;

/// Whether a character shows, or stands for something that does.
fn is_visible(c: char) -> bool {
    let is_blank = c.is_whitespace() || c.is_control();
    // Soft hyphens, joiners, marks of direction, and fillers (Unicode: Default_Ignorable_Code_Point).
    let is_ignorable = matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}');
    !is_blank && !is_ignorable
}

/// The rule of names of people and companies: not blank, at most 255 characters, no HTML. The frontend looks for these
/// words in the sentence (contract: conventions, "Error bodies").
pub fn name(text: &str, _: &()) -> garde::Result {
    let looks_like_html = text.split_once('<').is_some_and(|(_, rest)| rest.contains('>'));
    let problem = if !text.chars().any(is_visible) {
        "The name must not be empty"
    } else if text.chars().count() > 255 {
        "The name must not exceed 255 characters"
    } else if looks_like_html {
        "The name must not contain HTML tags"
    } else {
        return Ok(());
    };
    Err(garde::Error::new(problem))
}
