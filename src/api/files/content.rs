//! The content of files: streamed in and out, never held as a whole.

use super::{super::prelude::*, File, Upload};
use crate::{
    clients::storage::{Content, PART_BYTES, Writing},
    fair_limit::{FairLimit, Pace},
    spool::Spool,
    store_owner,
    wire::{chunk, file_name, patiently},
};
use axum::{
    body::Body,
    extract::{Multipart, multipart::Field},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use std::ops::Range;

/// Parts being written to the store at a time, in all and per company: each is in memory.
static PARTS: FairLimit = FairLimit::new(16, 4);
/// Maximum size, in bytes, of each other field of the form.
const MAX_TEXT_BYTES: usize = 64 << 10;
/// Number of leading bytes by which a file's type is detected.
const SNIFFED_BYTES: usize = 8 << 10;

/// Optional fields beside the file.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only described: the parts are read as they come")]
pub(super) struct Parts {
    category: String,
    /// The folder's id. Ignored if it is not a valid id.
    folder_id: String,
    /// A JSON array of strings, or comma-separated words.
    tags: String,
}

/// The fields that came with the file.
#[derive(Default)]
struct Fields {
    category: Option<String>,
    folder: Option<Uuid>,
    tags: Vec<String>,
}

/// A file that is in the store and not yet in the database.
struct Stored {
    writing: Writing,
    key: String,
    name: String,
    kind: Option<String>,
    sha256: [u8; 32],
}

pub(super) async fn upload(app: State<App>, db: TenantDb, form: Upload<Parts>) -> Result<Json<File>> {
    let company = db.tx(async |tx| Ok(tx.caller().company_id)).await?.ok_or(Error::NoCompany)?;
    let id = Uuid::now_v7();
    let (stored, fields) = wire::in_time(read(&app, company, id, form.form().await?)).await?;
    // Even if the client disconnects, the statement completes, and the content is kept or deleted accordingly.
    Ok(Json(app.run_to_completion(write_down(db, id, stored, fields)).await??))
}

/// Reads the form part by part; the file goes into the store as it comes.
async fn read(app: &App, company: Uuid, id: Uuid, mut form: Multipart) -> Result<(Stored, Fields)> {
    let (mut stored, mut fields, mut pace) = (None, Fields::default(), Pace::of_upload());
    while let Some(field) = patiently(&mut pace, form.next_field()).await? {
        match field.name().unwrap_or_default() {
            // Browsers send an empty name if no file was chosen.
            "file" if stored.is_none() && file_name(&field).is_some_and(|name| !name.is_empty()) => {
                stored = Some(keep(app, company, id, field, &mut pace).await?);
            }
            "category" => fields.category = category(text(field, &mut pace).await?)?,
            "folder_id" => fields.folder = text(field, &mut pace).await?.parse().ok(),
            "tags" => fields.tags = tags(&text(field, &mut pace).await?)?,
            _ => {}
        }
    }
    Ok((stored.ok_or_else(|| Error::invalid("body", "file", "Field required"))?, fields))
}

/// Inserts the row of a file whose content is in the store. If that certainly failed, the content is deleted; in doubt
/// it is kept.
async fn write_down(db: TenantDb, id: Uuid, mut stored: Stored, fields: Fields) -> Result<File> {
    let (size, sha256) = (stored.writing.size() as i64, stored.sha256.as_slice());
    let params: Params<'_> =
        &[&id, &stored.name, &stored.kind, &size, &sha256, &stored.key, &fields.category, &fields.folder, &fields.tags];
    stored.writing.keep();
    let file = db.one(sql!("files/upload"), params).await;
    if file.as_ref().is_err_and(Error::is_undone) {
        stored.writing.discard();
    }
    file
}

async fn text(mut field: Field<'_>, pace: &mut Pace) -> Result<String> {
    let mut bytes = Vec::new();
    let name = field.name().unwrap_or_default().to_owned();
    while let Some(chunk) = chunk(&mut field, pace).await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_TEXT_BYTES {
            return Err(Error::TooLarge);
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid("body", &name, "The text is not UTF-8"))
}

fn category(text: String) -> Result<Option<String>> {
    if text.chars().count() > 100 {
        return Err(Error::invalid("body", "category", "A category has at most 100 characters"));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// A JSON array of strings, or comma-separated words.
fn tags(text: &str) -> Result<Vec<String>> {
    let wrong = |why| Error::invalid("body", "tags", why);
    let tags: Vec<String> = match serde_json::from_str::<Vec<Value>>(text) {
        Err(_) => text.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect(),
        Ok(list) => {
            let tags = list.into_iter().map(|tag| match tag {
                Value::String(tag) => Ok(tag),
                _ => Err(wrong("Input should be a list of texts")),
            });
            tags.collect::<Result<_>>()?
        }
    };
    if tags.len() > wire::MAX_TAGS || tags.iter().any(|tag| tag.chars().count() > wire::MAX_TAG_CHARS) {
        return Err(wrong("A file has at most 100 tags of at most 100 characters"));
    }
    Ok(tags)
}

/// The last part of a path of any operating system, without control characters.
fn base_name(given: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.chars().filter(|c| !c.is_control()).collect();
    let name = name.trim();
    if name.is_empty() || name.chars().all(|c| c == '.') { "file".into() } else { name.into() }
}

/// Streams the form's file into the store in parts; each is spooled to disk until it is complete.
async fn keep(app: &App, company: Uuid, id: Uuid, mut field: Field<'_>, pace: &mut Pace) -> Result<Stored> {
    let limit = app.config.upload_limit.as_u64();
    let name = base_name(&file_name(&field).unwrap_or_default());
    if name.chars().count() > 255 {
        return Err(Error::invalid("body", "file", "The name of the file should have at most 255 characters"));
    }
    let kind = field.content_type().map(str::to_owned).filter(|kind| !kind.is_empty());
    let storage = store_owner::for_writing(app).await?;
    let key = format!("{company}/{id}");
    let turn = async || {
        let busy = Error::Busy("Too many files are being uploaded right now: try again in a moment");
        PARTS.acquire(company, wire::UPLOAD_PERMIT_TIMEOUT).await.ok_or(busy)
    };
    let pass_on = async |part: &mut Spool, writing: Option<Writing>| {
        part.rewind().await?;
        let mut piece = part.next().await?.unwrap_or_default();
        let mut writing = match writing {
            Some(writing) => writing,
            None => {
                let head = &piece[..piece.len().min(SNIFFED_BYTES)];
                contradiction(head, &name, kind.as_deref()).map_or(Ok(()), |why| Err(Error::bad_request(why)))?;
                storage.write(&key, &app.background).await.map_err(Error::of_storage)?
            }
        };
        while !piece.is_empty() {
            writing.put(&piece).await.map_err(Error::of_storage)?;
            piece = part.next().await?.unwrap_or_default();
        }
        part.clear().await?;
        Ok::<_, Error>(writing)
    };
    let (mut part, mut writing, mut size) = (Spool::new(company).await?, None, 0);
    while let Some(mut chunk) = chunk(&mut field, pace).await? {
        size += chunk.len() as u64;
        if size > limit {
            return Err(Error::TooLarge);
        }
        while !chunk.is_empty() {
            if part.size() == PART_BYTES {
                let _permit = turn().await?;
                writing = Some(pass_on(&mut part, writing).await?);
            }
            let more = chunk.split_to(chunk.len().min(PART_BYTES - part.size()));
            part.put(&more).await?;
        }
    }
    let _permit = turn().await?;
    let mut writing = pass_on(&mut part, writing).await?;
    let sha256 = writing.finish().await.map_err(Error::of_storage)?;
    Ok(Stored { writing, key, name, kind, sha256 })
}

/// Executable types, by `infer`'s file extensions.
const PROGRAMS: [&str; 8] = ["class", "dex", "dey", "dll", "elf", "exe", "mach", "wasm"];
/// Types that `infer` detects by two bytes, with which other files begin too.
const VAGUE: [&str; 3] = ["bc", "der", "obj"];

/// What is wrong if a file's first bytes contradict its name or its declared type.
fn contradiction(head: &[u8], name: &str, declared: Option<&str>) -> Option<String> {
    if head.is_empty() {
        return None;
    }
    let found = infer::get(head).filter(|kind| !VAGUE.contains(&kind.extension()));
    // Text may begin with the magic bytes of a program or a picture.
    let is_text = !head.contains(&0);
    let program = found.is_some_and(|kind| PROGRAMS.contains(&kind.extension()));
    let declared = declared.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_lowercase();
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_lowercase()).unwrap_or_default();
    let by_name = match ending.as_str() {
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "zip" => "application/zip",
        _ => "",
    };
    for claimed in [declared.replace("image/jpg", "image/jpeg").as_str(), by_name] {
        let is = found.map(|kind| kind.mime_type());
        let wrong = match claimed {
            "" | "application/octet-stream" => false,
            "image/svg+xml" if ending == "svgz" && is == Some("application/gzip") => false,
            // These always begin with magic bytes. Many programs save a picture with another picture's extension, and
            // e-books and documents begin like archives.
            "image/png" | "image/jpeg" | "image/gif" | "image/webp" => !is.is_some_and(|is| is.starts_with("image/")),
            "application/zip" => !head.starts_with(b"PK"),
            "application/pdf" => is != Some(claimed),
            _ if is_text => false,
            claimed if is == Some(claimed) => false,
            "text/rtf" if is == Some("application/rtf") => false,
            media if ["image/", "audio/", "video/", "text/"].iter().any(|family| media.starts_with(family)) => {
                let families: &[&str] = match media.split('/').next().unwrap_or_default() {
                    "audio" | "video" => &["audio/", "video/"],
                    "image" => &["image/"],
                    _ => &["text/"],
                };
                program || is.is_some_and(|is| !families.iter().chain(&["text/"]).any(|family| is.starts_with(family)))
            }
            claimed => program && !claimed.contains("executable") && !claimed.contains("x-msdownload"),
        };
        if wrong {
            return Some(format!("The content of {name} is not what its name or type says ({claimed})"));
        }
    }
    None
}

row! {
    /// The location of a file's content.
    pub struct Object as "File" {
        object_key: Option<String>,
        original_name: String,
        size: i64,
        /// In hexadecimal.
        sha256: String,
    }
}

/// A file's bytes.
pub(super) struct Download(Response);

impl IntoResponse for Download {
    fn into_response(self) -> Response {
        self.0
    }
}

impl aide::OperationOutput for Download {
    type Inner = Self;
    fn inferred_responses(
        _: &mut aide::generate::GenContext,
        _: &mut aide::openapi::Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        vec![(Some(200), wire::binary("application/octet-stream"))]
    }
}

pub(super) async fn download(
    app: State<App>,
    db: TenantDb,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Download> {
    let object: Object = db.one(sql!("files/object"), &[&id]).await?;
    let etag = format!("\"{}\"", object.sha256);
    let header = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if header(header::IF_NONE_MATCH).is_some_and(|tags| tags.split(',').any(|tag| ["*", &etag].contains(&tag.trim()))) {
        return Ok(Download((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response()));
    }
    let size = object.size.unsigned_abs();
    let asked = header(header::RANGE).filter(|_| header(header::IF_RANGE).is_none_or(|tag| tag == etag));
    let range = match asked.map(|text| range(text, size)) {
        Some(Err(())) => {
            let range = format!("bytes */{size}");
            return Ok(Download((StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, range)]).into_response()));
        }
        Some(Ok(range)) => range,
        None => None,
    };
    let key = object.object_key.ok_or_else(|| Error::not_found("File"))?;
    let content = app.storage.read(&key, range.clone()).await.map_err(Error::of_storage)?;
    let content = content.ok_or_else(|| store_owner::lost(&key))?;
    Ok(Download(answer(content, range.is_some(), &object.original_name, &etag)))
}

fn answer(content: Content, partial: bool, name: &str, etag: &str) -> Response {
    let Content { stream, range, size } = content;
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    let mut set = |name: header::HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, "application/octet-stream");
    set(header::CONTENT_DISPOSITION, &wire::attachment(name));
    set(header::CONTENT_LENGTH, &(range.end - range.start).to_string());
    set(header::ACCEPT_RANGES, "bytes");
    set(header::ETAG, etag);
    if partial {
        set(header::CONTENT_RANGE, &format!("bytes {}-{}/{size}", range.start, range.end - 1));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

/// The one requested range (RFC 9110, section 14): `None` for the whole file, also if several ranges are requested or
/// the header is malformed; an error if the file has no such bytes.
fn range(text: &str, size: u64) -> Result<Option<Range<u64>>, ()> {
    let Ok(parsed) = http_range_header::parse_range_header(text) else { return Ok(None) };
    match parsed.validate(size).map_err(|_| ())?.as_slice() {
        [one] => Ok(Some(*one.start()..one.end() + 1)),
        _ => Ok(None),
    }
}
