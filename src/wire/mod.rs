//! Data on the wire, in the contract's shapes: queries and path parameters here, the rest in submodules.

mod answer;
mod body;
mod field;
mod rule;
mod time;
mod upload;

pub(crate) use answer::documented;
pub use answer::{Created, Done, Message, Pdf, attachment, binary, done, message};
pub(crate) use body::read;
pub use body::{Change, Json, body_error, said};
pub use field::{
    Fitting, Number, address, blank_is_none, boolean, fitting, flag, given, given_boolean, nullable, nullable_number,
    number, optional_address, optional_boolean, optional_flag, optional_number, or_default, required_flag,
};
pub use rule::{
    MAX_MONEY, MAX_TAG_CHARS, MAX_TAGS, MAX_TEXT_CHARS, account_sid, company_name, decimals, fields, is_hidden, is_xml,
    name, new_address, old_address, subject,
};
pub use time::{Time, as_written, time_zone};
pub use upload::{File, IMPORTS, PICTURES, UPLOAD_PERMIT_TIMEOUT, Upload, chunk, file_name, in_time, patiently};

use crate::{App, Error, Result};
use aide::{generate::GenContext, openapi::Operation};
use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

/// The query string; unknown parameters are ignored, an invalid value is a 422.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        query(parts.uri.query()).map(Query)
    }
}

/// Reads a query string into `T`. The last value of a repeated parameter counts, as in the old backend.
pub fn query<T: DeserializeOwned>(text: Option<&str>) -> Result<T> {
    let text = last_of_each(text.unwrap_or_default());
    let pairs = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(text.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|e| {
        let (field, msg) = said(&e.path().to_string(), &e.inner().to_string());
        Error::invalid("query", &field.unwrap_or_default(), msg)
    })
}

/// The query string with the last value of each name.
fn last_of_each(text: &str) -> Cow<'_, str> {
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    let last: BTreeMap<_, _> = pairs.collect();
    if last.len() == pairs.count() {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(last).finish())
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

/// The only parameter in the path; an invalid value is a 422.
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

/// The two parameters in the path, in order.
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
