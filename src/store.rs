//! Ownership of a store of files. A database deletes objects from its store that it does not know, so a store belongs to one
//! database: the first one that uses it writes its identity (`ops.database_identity`) into an object there, and other databases
//! leave the store alone.

use crate::{
    App,
    clients::storage::{Mark, Storage},
    db::{Sql, platform::DatabaseIdentity},
    sql,
};
use tokio_postgres::{Client, types::Type};
use uuid::Uuid;

/// The error for a store that belongs to another database.
pub const ANOTHERS: &str = "the store of files in RINGFENCE_STORAGE_URL is another database's, or has files that this one does not know: set \
     it to a store of this database's own; if this database has taken the place of the other one, say so with `ringfence files adopt`";

/// Whether the store belongs to the server's database. A store without an owner is claimed for it, if `claim` says so.
pub async fn is_ours(app: &App, claim: Claim) -> anyhow::Result<bool> {
    let mark = app.storage.mark().await?;
    let identity = app.db.platform().identify(mark.files()).await?;
    settle(&app.storage, mark, identity, claim).await
}

/// Whether the store belongs to the database to which an administrator is connected. A store without an owner is claimed for it,
/// if `claim` says so.
pub async fn is_of(db: &Client, storage: &Storage, claim: Claim) -> anyhow::Result<bool> {
    asked(db, sql!("ops/identify"), storage, claim).await
}

/// Whether a server of the database to which its login is connected may use the store. Nothing is written.
pub async fn may_be_used(db: &Client, storage: &Storage) -> anyhow::Result<bool> {
    asked(db, sql!("platform/identify"), storage, Claim::No).await
}

/// Makes this database the owner of the store, whichever owned it before.
pub async fn adopt(db: &Client, storage: &Storage) -> anyhow::Result<()> {
    storage.set_owner(identity(db, sql!("ops/identify"), &[]).await?.id).await
}

/// Whether a store without an owner is claimed for the database that asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Claim {
    /// It is claimed, unless it has files and the database knows none of them.
    IfUnowned,
    /// It is not: the caller only looks.
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
