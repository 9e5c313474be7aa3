//! Folders.

use super::super::prelude::*;

row! {
    /// A folder; `size` is that of the files directly in it, in bytes, and only in lists.
    pub struct Folder {
        id: Uuid,
        name: String,
        description: Option<String>,
        status: Option<String>,
        tags: Vec<String>,
        parent_id: Option<Uuid>,
        size: Option<i64>,
        created_at: Time,
    }
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Filter {
    /// The parent folder; top-level folders if absent.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    parent_id: Option<Uuid>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
pub(super) struct NewFolder {
    #[garde(length(chars, min = 1, max = 255))]
    name: String,
    #[garde(length(chars, max = wire::MAX_TEXT_CHARS))]
    description: Option<String>,
    #[garde(length(chars, max = 50))]
    status: Option<String>,
    #[serde(default, deserialize_with = "wire::or_default")]
    #[garde(length(max = wire::MAX_TAGS), inner(length(chars, max = wire::MAX_TAG_CHARS)))]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    parent_id: Option<Uuid>,
}

/// The fields to change. Omitted fields keep their values, and so do `name` and `tags` if null.
#[derive(Debug, Default, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default)]
#[garde(allow_unvalidated)]
pub(super) struct FolderPatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, min = 1, max = 255))]
    name: Option<String>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = wire::MAX_TEXT_CHARS)))]
    description: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 50)))]
    status: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(max = wire::MAX_TAGS), inner(length(chars, max = wire::MAX_TAG_CHARS))))]
    tags: Option<Vec<String>>,
    /// Id of the parent folder; null or empty for none.
    #[serde(deserialize_with = "parent", skip_serializing)]
    parent_id: Option<Option<Uuid>>,
}

/// Absent is `None`; null or empty is `Some(None)`.
fn parent<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<Uuid>>, D::Error> {
    wire::blank_is_none(d).map(Some)
}

pub(super) async fn list(db: TenantDb, Query(filter): Query<Filter>) -> Result<Rows<Folder>> {
    FilterIds { folder: filter.parent_id, ..FilterIds::default() }.must_be_there(&db).await?;
    match &filter.parent_id {
        None => db.list(sql!("files/root_folders"), &[]).await,
        Some(parent) => db.list(sql!("files/subfolders"), &[parent]).await,
    }
}

pub(super) async fn create(db: TenantDb, Json(new): Json<NewFolder>) -> Result<Written<Folder>> {
    let NewFolder { name, description, status, tags, parent_id } = &new;
    let params: Params<'_> = &[name, description, status, tags, parent_id];
    db.one(sql!("files/create_folder"), params).await
}

pub(super) async fn update(db: TenantDb, Path(id): Path<Uuid>, change: Change<FolderPatch>) -> Result<Written<Folder>> {
    let patch = change.checked_against(db.one::<Folder>(sql!("files/folder"), &[&id])).await?;
    let (moved, parent) = (patch.parent_id.is_some(), patch.parent_id.flatten());
    let params: Params<'_> = &[&id, &Jsonb(&patch), &moved, &parent];
    db.one(sql!("files/update_folder"), params).await
}

/// Deletes the folders first, which locks them against uploads, and then the files, in a statement of its own that sees
/// those uploaded until then.
pub(super) async fn delete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    let deleted = db.tx(async |tx| {
        tx.optional::<bool>(sql!("files/lock_folders"), &[]).await?;
        let folders: Vec<Uuid> = tx.all(sql!("files/delete_folders"), &[&id]).await?;
        if folders.is_empty() {
            return Err(Error::not_found("Folder"));
        }
        tx.all::<Uuid>(sql!("files/delete_in_folders"), &[&folders]).await
    });
    deleted.await?;
    Ok(message("Folder deleted successfully"))
}
