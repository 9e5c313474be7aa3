//! Ownership of a store of files. A database deletes objects from its store that it does not know, so a store belongs
//! to one database: the first one that uses it writes its identity (`ops.database_identity`) into an object there, and
//! other databases leave the store alone. A database that has had a store does not claim an empty one by itself. A
//! server checks the owner from time to time, and takes no files unless it is its own database.

use crate::{
    App, Error,
    clients::storage::{Mark, Storage, file_of},
    db::{Db, Sql, platform::DatabaseIdentity},
    sql,
};
use futures_util::{StreamExt, TryStreamExt};
use std::{fmt, time::Duration};
use tokio_postgres::{Client, types::Type};
use uuid::Uuid;

/// How often a server checks the owner: files that it stores after another database took the store are deleted.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The number of objects that are looked up at a time.
const BATCH_SIZE: usize = 1000;

/// Why a store of files is not the database's to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It belongs to another database, or has files that the database does not know.
    Anothers,
    /// It is empty and belongs to nobody, and the database's files are elsewhere. The address of the store.
    Missing(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anothers => f.write_str(
                "the store of files in RINGFENCE_STORAGE_URL is another database's, or has files that this one does not know: set \
                 it to a store of this database's own; if this database has taken the place of the other one, say so with \
                 `ringfence files adopt`",
            ),
            Self::Missing(address) => write!(
                f,
                "the store of files at {address} is empty, and this database has had a store before: is its volume mounted, and is \
                 RINGFENCE_STORAGE_URL right? If this database is to use the empty store from now on, say so with \
                 `ringfence files adopt`"
            ),
        }
    }
}

impl std::error::Error for Problem {}

/// Whether a store is the database's to use.
pub type Standing = Result<(), Problem>;

/// Whether the store belongs to the server's database. A store without an owner is claimed for it, if `claim` says so.
pub async fn of_server(db: &Db, storage: &Storage, claim: Claim) -> anyhow::Result<Standing> {
    let mark = storage.mark().await?;
    let identity = db.platform().identify(mark.files()).await?;
    let standing = settle(storage, mark, &identity, claim).await?;
    if standing.is_ok() && claim == Claim::IfUnowned && !identity.had_store {
        db.platform().note_store().await?;
    }
    Ok(standing)
}

/// Checks the owner of the store, for [`known`]. A store without an owner is claimed for the server's database. Before
/// the server first uses a store, an object is written to it and deleted again: an error when that fails.
pub async fn look(app: &App) -> anyhow::Result<Standing> {
    let standing = of_server(&app.db, &app.storage, Claim::IfUnowned).await?;
    let was_used = matches!(*app.store.borrow(), Some(Ok(())));
    if standing.is_ok() && !was_used {
        app.storage.probe().await?;
    }
    app.store.send_replace(Some(standing.clone()));
    Ok(standing)
}

/// Whether the store belonged to the server's database when it was last checked; an error while no check has succeeded.
pub async fn known(app: &App) -> anyhow::Result<Standing> {
    let known = app.store.borrow().clone();
    match known {
        Some(standing) => Ok(standing),
        None => look(app).await,
    }
}

/// The store, for new content: a 502 unless it belongs to the server's database.
pub async fn for_writing(app: &App) -> Result<&Storage, Error> {
    match known(app).await {
        Ok(Ok(())) => Ok(&app.storage),
        Ok(Err(problem)) => Err(Error::of_storage(problem.into())),
        Err(e) => Err(Error::of_storage(e)),
    }
}

/// The 404 for a file whose content is not in the store; `key` is that of the object.
pub fn lost(key: &str) -> Error {
    tracing::error!(key, "the content of a file is not in the store of files");
    Error::not_found("File")
}

/// Checks the owner of the store from time to time, until `stop` is done.
pub async fn watch(app: &App, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
        let known = app.store.borrow().clone();
        match look(app).await {
            Ok(standing) if known.as_ref() == Some(&standing) => {}
            Ok(Ok(())) => tracing::info!("the store of files is this database's"),
            Ok(Err(problem)) => tracing::error!("no file is taken any more: {problem}"),
            Err(e) => tracing::warn!(error = %format!("{e:#}"), "the store of files cannot be used"),
        }
    }
}

/// Whether the store belongs to the database to which an administrator is connected. A store without an owner is
/// claimed for it, if `claim` says so.
pub async fn of_administrator(db: &Client, storage: &Storage, claim: Claim) -> anyhow::Result<Standing> {
    let mark = storage.mark().await?;
    let identity = identity(db, sql!("ops/store/identify"), mark.files()).await?;
    let standing = settle(storage, mark, &identity, claim).await?;
    if standing.is_ok() && claim == Claim::IfUnowned {
        db.execute(sql!("ops/note_store").text, &[]).await?;
    }
    Ok(standing)
}

/// Whether a server of the database to which its login is connected may use the store. Nothing is written.
pub async fn of_login(db: &Client, storage: &Storage) -> anyhow::Result<Standing> {
    let mark = storage.mark().await?;
    let identity = identity(db, sql!("platform/identify"), mark.files()).await?;
    settle(storage, mark, &identity, Claim::No).await
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
    let mut batches = std::pin::pin!(storage.list().try_chunks(BATCH_SIZE));
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
    storage.set_owner(identity(db, sql!("ops/store/identify"), &[]).await?.id).await?;
    db.execute(sql!("ops/note_store").text, &[]).await?;
    Ok(())
}

/// Whether a store without an owner is claimed for the database that asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Claim {
    /// It is claimed if it has files and the database knows one of them, or if neither has had any.
    IfUnowned,
    /// It is not claimed: the caller only looks.
    No,
}

async fn identity(db: &Client, statement: Sql, files: &[Uuid]) -> anyhow::Result<DatabaseIdentity> {
    let row = db.query_typed_one(statement.text, &[(&files, Type::UUID_ARRAY)]).await?;
    Ok(DatabaseIdentity { id: row.get("id"), has_one: row.get("has_one"), had_store: row.get("had_store") })
}

async fn settle(storage: &Storage, mark: Mark, identity: &DatabaseIdentity, claim: Claim) -> anyhow::Result<Standing> {
    let owner = match mark {
        Mark::Owner(owner) => owner,
        // It is used by another database that has not claimed it yet.
        Mark::None(files) if !files.is_empty() && !identity.has_one => return Ok(Err(Problem::Anothers)),
        // What is below the place of a volume that is not mounted looks like this, and so does a mistyped address.
        Mark::None(files) if files.is_empty() && identity.had_store => {
            return Ok(Err(Problem::Missing(storage.address().to_owned())));
        }
        Mark::None(_) if claim == Claim::No => identity.id,
        Mark::None(_) => storage.claim(identity.id).await?,
    };
    Ok(if owner == identity.id { Ok(()) } else { Err(Problem::Anothers) })
}
