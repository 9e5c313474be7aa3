//! Files and folders.

mod content;
mod folders;

use super::prelude::*;
use crate::wire::Upload;
use serde_json::Value;

routes! {
    /// The company's files in all folders, newest first
    tenant get "/api/files/" => list;
    /// Adds a file without content
    tenant post "/api/files/" => create;
    /// Uploads a file
    tenant post "/api/files/upload" limit usize::MAX => content::upload;
    /// Number and total size of the company's files
    tenant get "/api/files/usage" => usage;
    /// The folders in a folder, or at the top level
    tenant get "/api/files/folders" => folders::list;
    /// Adds a folder
    tenant post "/api/files/folders" => folders::create;
    /// Changes the given fields of a folder, or moves it
    tenant patch "/api/files/folders/{folder_id}" => folders::update;
    /// Changes the given fields of a folder, or moves it
    tenant put "/api/files/folders/{folder_id}" => folders::update;
    /// Deletes a folder with everything in it
    tenant delete "/api/files/folders/{folder_id}" => folders::delete;
    /// One file
    tenant get "/api/files/{file_id}" => get;
    /// Changes the given fields of a file, or moves it
    tenant patch "/api/files/{file_id}" => update;
    /// Changes the given fields of a file, or moves it
    tenant put "/api/files/{file_id}" => update;
    /// The content of a file, or a range of it
    tenant get "/api/files/{file_id}/download" => content::download;
    /// Deletes a file
    tenant delete "/api/files/{file_id}" => delete;
    /// Reports that a document was signed, for the workflows that this triggers
    tenant post "/api/files/webhook/document-signed" => document_signed;
}

row! {
    /// A file; `size` is in bytes, `file_type` a MIME type.
    pub struct File {
        id: Uuid,
        name: String,
        original_name: String,
        file_type: Option<String>,
        size: Option<i64>,
        category: Option<String>,
        description: Option<String>,
        status: Option<String>,
        tags: Vec<String>,
        url: Option<String>,
        folder_id: Option<Uuid>,
        contact_id: Option<Uuid>,
        deal_id: Option<Uuid>,
        created_at: Time,
        updated_at: Time,
    }
}

row! {
    /// The space that a company's files take.
    pub struct Usage {
        files: i64,
        bytes: i64,
    }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// The exact category.
    category: Option<String>,
    /// The folder; files of all folders if absent.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    folder_id: Option<Uuid>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewFile {
    #[garde(length(chars, min = 1, max = 255))]
    name: String,
    #[garde(length(chars, max = 100))]
    category: Option<String>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    folder_id: Option<Uuid>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    contact_id: Option<Uuid>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    deal_id: Option<Uuid>,
    #[serde(default, deserialize_with = "wire::or_default")]
    #[garde(length(max = wire::MAX_TAGS), inner(length(chars, max = wire::MAX_TAG_CHARS)))]
    tags: Vec<String>,
}

/// The fields to change. Omitted fields keep their values, and so do `name` and `tags` if null.
#[derive(Debug, Default, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default)]
#[garde(allow_unvalidated)]
struct FilePatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, min = 1, max = 255))]
    name: Option<String>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 100)))]
    category: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = wire::MAX_TEXT_CHARS)))]
    description: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(max = wire::MAX_TAGS), inner(length(chars, max = wire::MAX_TAG_CHARS))))]
    tags: Option<Vec<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 50)))]
    status: Option<Option<String>>,
    /// A folder's id; null or empty for none. Anything else changes nothing.
    #[serde(deserialize_with = "wire::nullable", skip_serializing)]
    folder_id: Option<Option<String>>,
}

/// A report from an e-signature service, in whatever format: an unfit value is reported in a 200 response, not refused.
#[derive(Default, Deserialize, Validate, JsonSchema)]
#[serde(default)]
#[garde(allow_unvalidated)]
struct Notice {
    /// A string of at most 255 characters, or a number; as for all fields except the ids.
    document_id: Value,
    document_name: Value,
    signer_email: Value,
    /// A contact of the company.
    contact_id: Value,
    /// The user whose workflows this triggers.
    owner_id: Value,
    signed_at: Value,
}

/// An e-signature report as workflows see it.
#[derive(Debug, Serialize)]
struct Signed {
    document_id: Option<String>,
    document_name: Option<String>,
    signer_email: Option<String>,
    contact_id: Option<Uuid>,
    owner_id: Option<Uuid>,
    signed_at: Option<String>,
}

impl Notice {
    /// Validates the report, or says what does not fit.
    fn read(self) -> Result<Signed, String> {
        Ok(Signed {
            document_id: text("document_id", self.document_id)?,
            document_name: text("document_name", self.document_name)?,
            signer_email: text("signer_email", self.signer_email)?,
            contact_id: id("contact_id", self.contact_id)?,
            owner_id: id("owner_id", self.owner_id)?,
            signed_at: text("signed_at", self.signed_at)?,
        })
    }
}

fn text(field: &str, given: Value) -> Result<Option<String>, String> {
    let text = match given {
        Value::Null => return Ok(None),
        Value::String(text) => Some(text),
        Value::Number(_) | Value::Bool(_) => Some(given.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    };
    let text = text.filter(|text| text.chars().count() <= 255 && !text.contains('\0'));
    text.map(Some).ok_or_else(|| format!("{field} should be a text of at most 255 characters"))
}

fn id(field: &str, given: Value) -> Result<Option<Uuid>, String> {
    let text = text(field, given)?.filter(|text| !text.is_empty());
    text.map(|text| text.parse()).transpose().map_err(|_| format!("{field} should be an id"))
}

#[derive(Serialize, JsonSchema)]
struct Noted {
    /// `ok` or `error`.
    status: &'static str,
    message: String,
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, page: Paging<{ page::NO_LIMIT }>) -> Result<Paged<File>> {
    let category = filter.category.filter(|text| !text.is_empty());
    FilterIds { folder: filter.folder_id, ..FilterIds::default() }.must_be_there(&db).await?;
    match (&filter.folder_id, &category) {
        (Some(folder), category) => page.list(&db, list!("files/of_folder").planned_anew(), &[folder, category]).await,
        (None, Some(category)) => page.list(&db, list!("files/of_category").planned_once(), &[category]).await,
        (None, None) => page.list(&db, list!("files/list").planned_once(), &[]).await,
    }
}

async fn create(db: TenantDb, Json(new): Json<NewFile>) -> Result<Written<File>> {
    let NewFile { name, category, folder_id, contact_id, deal_id, tags } = &new;
    let params: Params<'_> = &[name, category, folder_id, contact_id, deal_id, tags];
    db.one(sql!("files/create"), params).await
}

async fn usage(db: TenantDb) -> Result<Written<Usage>> {
    db.one(sql!("files/usage"), &[]).await
}

async fn get(db: TenantDb, Path(id): Path<Uuid>) -> Result<Written<File>> {
    db.one(sql!("files/get"), &[&id]).await
}

async fn update(db: TenantDb, Path(id): Path<Uuid>, change: Change<FilePatch>) -> Result<Written<File>> {
    let patch = change.checked_against(db.one::<File>(sql!("files/get"), &[&id])).await?;
    let (folder, no_folder) = folder(&patch.folder_id);
    let params: Params<'_> = &[&id, &Jsonb(&patch), &folder, &no_folder];
    db.one(sql!("files/update"), params).await
}

/// The folder in a change: its id, and whether the file leaves its folder.
fn folder(given: &Option<Option<String>>) -> (Option<Uuid>, bool) {
    let text = given.as_ref().map(|given| given.as_deref().unwrap_or_default());
    (text.and_then(|text| text.parse().ok()), text == Some(""))
}

async fn delete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.one::<File>(sql!("files/delete"), &[&id]).await?;
    Ok(message("File deleted successfully"))
}

async fn document_signed(db: TenantDb, Json(notice): Json<Notice>) -> Result<Json<Noted>> {
    let signed = match notice.read() {
        Ok(signed) => signed,
        Err(message) => return Ok(Json(Noted { status: "error", message })),
    };
    let params: Params<'_> = &[&signed.owner_id, &signed.contact_id, &Jsonb(&signed)];
    db.optional::<bool>(sql!("files/document_signed"), params).await?;
    Ok(Json(Noted { status: "ok", message: "The signature was noted".into() }))
}
