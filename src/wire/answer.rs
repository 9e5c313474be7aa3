//! Responses, and what the OpenAPI document says about them.

use super::Json;
use crate::{
    Error,
    db::{Rows, WriteRow, Written},
    streaming,
};
use aide::{generate::GenContext, openapi::Operation};
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::{JsonSchema, json_schema};
use serde::Serialize;

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(1024);
        match serde_json::to_writer(&mut body, &self.0) {
            Ok(()) => written(body),
            Err(e) => Error::Internal(e.to_string().into()).into_response(),
        }
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
        documented(Some(200), Self::operation_response(ctx, operation))
    }
}

/// A type's responses in the OpenAPI document: this one, with this status or, if `None`, any other status.
pub(crate) fn documented(
    status: Option<u16>,
    answer: Option<aide::openapi::Response>,
) -> Vec<(Option<u16>, aide::openapi::Response)> {
    answer.map(|answer| (status, answer)).into_iter().collect()
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

/// A created record, with the status 201, on the few routes that have it (contract: conventions, "Error bodies").
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
        documented(Some(201), axum::Json::<T>::operation_response(ctx, operation))
    }
}

/// `Content-Disposition` for saving a file under this name, with any characters (RFC 6266, RFC 8187).
pub fn attachment(name: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !"\"\\%".contains(c) || c == ' ';
    let fallback: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    if fallback == name {
        return format!("attachment; filename=\"{name}\"");
    }
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("attachment; filename=\"{fallback}\"; filename*=UTF-8''{encoded}")
}

/// A PDF download.
pub struct Pdf {
    /// The file's name, without the extension.
    pub name: String,
    /// The document.
    pub body: Vec<u8>,
}

impl IntoResponse for Pdf {
    fn into_response(self) -> Response {
        let is_plain = self.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let name = format!("{}.pdf", self.name);
        let disposition = if is_plain { format!("attachment; filename={name}") } else { attachment(&name) };
        let headers =
            [(header::CONTENT_TYPE, "application/pdf".to_owned()), (header::CONTENT_DISPOSITION, disposition)];
        (headers, self.body).into_response()
    }
}

impl aide::OperationOutput for Pdf {
    type Inner = Self;
    fn inferred_responses(_: &mut GenContext, _: &mut Operation) -> Vec<(Option<u16>, aide::openapi::Response)> {
        vec![(Some(200), binary("application/pdf"))]
    }
}

/// A binary response, for the OpenAPI document.
pub fn binary(mime: &str) -> aide::openapi::Response {
    let schema = json_schema!({ "type": "string", "format": "binary" });
    let schema = Some(aide::openapi::SchemaObject { json_schema: schema, external_docs: None, example: None });
    let media = aide::openapi::MediaType { schema, ..Default::default() };
    aide::openapi::Response { content: [(mime.to_owned(), media)].into_iter().collect(), ..Default::default() }
}

impl<T: WriteRow> IntoResponse for Rows<T> {
    fn into_response(self) -> Response {
        let body = if self.is_large() { streaming::rows(self) } else { self.json().map(IntoResponse::into_response) };
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
        documented(Some(200), Self::operation_response(ctx, operation))
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
        documented(None, Self::operation_response(ctx, operation))
    }
}

/// The response of a write that returns no record: `{"message": …}`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Message {
    /// A sentence for the person at the screen.
    pub message: &'static str,
}

/// A response with this sentence.
pub fn message(message: &'static str) -> Json<Message> {
    Json(Message { message })
}

/// The response of a write that returns no record: `{"success": true, "message": …}`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Done {
    /// Always true; a failure is an error response.
    success: bool,
    /// A sentence for the person at the screen.
    message: &'static str,
}

/// A response with `success` and this sentence.
pub fn done(message: &'static str) -> Json<Done> {
    Json(Done { success: true, message })
}
