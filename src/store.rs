//! Ownership of a store of files. A database deletes objects from its store that it does not know, so a store belongs
//! to one database: the first one that uses it writes its identity (`ops.database_identity`) into an object there, and
//! other databases leave the store alone. A server checks the owner from time to time, and takes no files unless it is
//! its own database.

use crate::{
    App, Error, Result,
    clients::storage::{Mark, Storage, file_of},
    db::{Sql, platform::DatabaseIdentity},
    sql,
};
use futures_util::{StreamExt, TryStreamExt};
use std::time::Duration;
use tokio_postgres::{Client, types::Type};
use uuid::Uuid;

/// How often a server checks the owner: files that it stores after another database took the store are deleted.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The number of objects that are looked up at a time.
const BATCH: usize = 1000;

/// The error for a store that belongs to another database.
pub const ANOTHERS: &str = "the store of files in RINGFENCE_STORAGE_URL is another database's, or has files that this one does not know: set \
     it to a store of this database's own; if this database has taken the place of the other one, say so with `ringfence files adopt`";

/// Whether the store belongs to the server's database. A store without an owner is claimed for it, if `claim` says so.
pub async fn is_ours(app: &App, claim: Claim) -> anyhow::Result<bool> {
    let mark = app.storage.mark().await?;
    let identity = app.db.platform().identify(mark.files()).await?;
    settle(&app.storage, mark, identity, claim).await
}

/// Checks the owner of the store, for [`is_known_as_ours`]. A store without an owner is claimed for the server's
/// database.
pub async fn look(app: &App) -> anyhow::Result<bool> {
    let is_ours = is_ours(app, Claim::IfUnowned).await?;
    app.store_is_ours.send_replace(Some(is_ours));
    Ok(is_ours)
}

/// Whether the store belonged to the server's database when it was last checked; an error while no check has succeeded.
pub async fn is_known_as_ours(app: &App) -> anyhow::Result<bool> {
    let known = *app.store_is_ours.borrow();
    match known {
        Some(is_ours) => Ok(is_ours),
        None => look(app).await,
    }
}

/// The store, for new content: a 502 unless it belongs to the server's database.
pub async fn for_writing(app: &App) -> Result<&Storage> {
    match is_known_as_ours(app).await {
        Ok(true) => Ok(&app.storage),
        Ok(false) => Err(Error::of_storage(anyhow::anyhow!(ANOTHERS))),
        Err(e) => Err(Error::of_storage(e)),
    }
}

/// Checks the owner of the store from time to time, until `stop` is done.
pub async fn watch(app: &App, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
        let known = *app.store_is_ours.borrow();
        match look(app).await {
            Ok(is_ours) if known == Some(is_ours) => {}
            Ok(true) => tracing::info!("the store of files is this database's"),
            Ok(false) => tracing::error!("no file is taken any more: {ANOTHERS}"),
            Err(e) => tracing::warn!(error = %format!("{e:#}"), "cannot see whose the store of files is"),
        }
    }
}

/// Whether the store belongs to the database to which an administrator is connected. A store without an owner is
/// claimed for it, if `claim` says so.
pub async fn is_of(db: &Client, storage: &Storage, claim: Claim) -> anyhow::Result<bool> {
    asked(db, sql!("ops/store/identify"), storage, claim).await
}

/// Whether a server of the database to which its login is connected may use the store. Nothing is written.
pub async fn may_be_used(db: &Client, storage: &Storage) -> anyhow::Result<bool> {
    asked(db, sql!("platform/identify"), storage, Claim::No).await
}

/// What a store contains.
#[derive(Debug, Default)]
pub struct Contents {
    /// The number of objects with a file's content.
    pub objects: usize,
    /// The number of those that belong to no file of the database.
    pub unknown: usize,
}

/// Counts what a store contains and the database does not know; `progress` is called with the number of objects so far.
pub async fn count(db: &Client, storage: &Storage, mut progress: impl FnMut(u64)) -> anyhow::Result<Contents> {
    let mut counted = Contents::default();
    let mut batches = std::pin::pin!(storage.list().try_chunks(BATCH));
    while let Some(batch) = batches.next().await {
        let keys = batch.map_err(|e| e.1)?.into_iter().map(|object| object.location);
        let (ids, keys): (Vec<Uuid>, Vec<String>) =
            keys.filter_map(|key| Some((file_of(&key)?, key.to_string()))).unzip();
        let known: i64 = db.query_one(sql!("ops/store/known_objects").text, &[&ids, &keys]).await?.get(0);
        counted.objects += keys.len();
        counted.unknown += keys.len().saturating_sub(usize::try_from(known)?);
        progress(counted.objects as u64);
    }
    Ok(counted)
}

/// Makes this database the owner of the store, whichever owned it before.
pub async fn adopt(db: &Client, storage: &Storage) -> anyhow::Result<()> {
    storage.set_owner(identity(db, sql!("ops/store/identify"), &[]).await?.id).await
}

/// Whether a store without an owner is claimed for the database that asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Claim {
    /// It is claimed, unless it has files and the database knows none of them.
    IfUnowned,
    /// It is not claimed: the caller only looks.
    No,
}

async fn asked(db: &Client, statement: Sql, storage: &Storage, claim: Claim) -> anyhow::Result<bool> {
    let mark = storage.mark().await?;
    let identity = identity(db, statement, mark.files()).await?;
    settle(storage, mark, identity, claim).await
}

async fn identity(db: &Client, statement: Sql, files: &[Uuid]) -> anyhow::Result<DatabaseIdentity> {
    let row = db.query_typed_one(statement.text, &[(&files, Type::UUID_ARRAY)]).await?;
    Ok(DatabaseIdentity { id: row.get("id"), has_one: row.get("has_one") })
}

async fn settle(storage: &Storage, mark: Mark, identity: DatabaseIdentity, claim: Claim) -> anyhow::Result<bool> {
    Ok(match mark {
        Mark::Owner(owner) => owner == identity.id,
        // It is used by another database that has not claimed it yet.
        Mark::None(files) if !files.is_empty() && !identity.has_one => false,
        Mark::None(_) if claim == Claim::No => true,
        Mark::None(_) => storage.claim(identity.id).await? == identity.id,
    })
}
