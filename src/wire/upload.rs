//! File uploads.

use super::body_error;
use crate::{
    Error, Result,
    fair_limit::{FairLimit, Pace, Permit},
    spool::Spool,
};
use aide::{generate::GenContext, openapi::Operation};
use axum::{
    extract::{FromRequest, Multipart, Request, multipart::Field},
    http::header,
};
use bytes::Bytes;
use schemars::{JsonSchema, json_schema};
use serde_json::json;
use std::{marker::PhantomData, time::Duration};
use uuid::Uuid;

/// A form with the part `file`, which is read only when the handler asks for it, after checking the caller. `T`
/// describes its optional other parts.
pub struct Upload<T = ()>(Request, PhantomData<fn() -> T>);

/// The content of an upload.
pub struct File {
    /// The name given by the sender; only its extension is of use.
    pub name: String,
    /// The content type given by the sender, if any.
    pub kind: Option<String>,
    /// The content.
    pub bytes: Vec<u8>,
    _permit: Permit,
}

/// Large files at a time, of which one per company: they are held in memory while they are read.
pub static IMPORTS: FairLimit = FairLimit::new(2, 1);
/// Pictures at a time, of which one per company; large files do not hold them up.
pub static PICTURES: FairLimit = FairLimit::new(6, 1);
/// How long an uploaded file waits for a permit.
pub const UPLOAD_PERMIT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a form with a file may take to arrive, whatever its pace.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60 * 60);

impl<S: Send + Sync, T> FromRequest<S> for Upload<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        Ok(Self(request, PhantomData))
    }
}

/// Waits for the next piece of an upload, as long as its pace allows.
pub async fn patiently<T, E: std::error::Error>(
    pace: &mut Pace,
    next: impl Future<Output = Result<T, E>>,
) -> Result<T> {
    pace.next(next).await.ok_or_else(slow)?.map_err(form_error)
}

/// The next bytes of an upload's field.
pub async fn chunk(field: &mut Field<'_>, pace: &mut Pace) -> Result<Option<Bytes>> {
    let chunk = patiently(pace, field.chunk()).await?;
    pace.came(chunk.as_ref().map_or(0, Bytes::len));
    Ok(chunk)
}

/// The file name of a field, if it is a file (RFC 7578, 4.2): empty if none was chosen in a browser. Some senders use
/// only the extended form (RFC 8187), and not always correctly.
pub fn file_name(field: &Field<'_>) -> Option<String> {
    if let Some(name) = field.file_name() {
        return Some(name.to_owned());
    }
    let disposition = String::from_utf8_lossy(field.headers().get(header::CONTENT_DISPOSITION)?.as_bytes());
    let start = disposition.to_ascii_lowercase().find("filename*=")? + "filename*=".len();
    let value = disposition[start..].split(';').next().unwrap_or_default().trim().trim_matches('"');
    let (charset, name) = match value.splitn(3, '\'').collect::<Vec<_>>()[..] {
        [charset, _language, name] => (charset, name),
        _ => ("utf-8", value),
    };
    let charset = encoding_rs::Encoding::for_label_no_replacement(charset.as_bytes()).unwrap_or(encoding_rs::UTF_8);
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(name).collect();
    Some(charset.decode_without_bom_handling(&bytes).0.into_owned())
}

/// Reads a form, which must arrive within a time limit.
pub async fn in_time<T>(reading: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(UPLOAD_TIMEOUT, reading).await.map_err(|_| slow())?
}

/// The error for a body that is too large or not a form with a file.
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

    /// Reads the file; 413 beyond the route's limit. `whose` is its company or, without one, its sender. The file is
    /// loaded into memory only when all of it has arrived, with a permit.
    pub async fn read(self, limit: &'static FairLimit, whose: Uuid) -> Result<File> {
        let (name, kind, spool) = in_time(self.arrival(whose)).await?;
        let busy = Error::Busy("Too many files are being read right now: try again in a moment");
        let permit = limit.acquire(whose, UPLOAD_PERMIT_TIMEOUT).await.ok_or(busy)?;
        Ok(File { name, kind, bytes: spool.into_bytes().await?, _permit: permit })
    }

    /// The file's name, type and content.
    async fn arrival(self, whose: Uuid) -> Result<(String, Option<String>, Spool)> {
        let mut form = self.form().await?;
        let mut pace = Pace::of_upload();
        while let Some(mut field) = patiently(&mut pace, form.next_field()).await? {
            if field.name() != Some("file") {
                continue;
            }
            let name = file_name(&field).unwrap_or_default();
            let kind = field.content_type().map(str::to_owned);
            let mut spool = Spool::new(whose).await?;
            while let Some(chunk) = chunk(&mut field, &mut pace).await? {
                spool.put(&chunk).await?;
            }
            return Ok((name, kind, spool));
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
