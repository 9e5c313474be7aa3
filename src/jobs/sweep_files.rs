//! Deletes objects that no file needs: left behind by a killed server, of a deleted company, or deleted long ago.

use crate::{
    App,
    clients::storage::{Storage, file_of},
    db::Db,
    store_owner::{self, Claim},
    wire::Time,
};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use object_store::ObjectMeta;
use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};
use uuid::Uuid;

/// The number of objects looked up at a time.
const BATCH_SIZE: usize = 1000;
/// How long an upload may take until its row is written: younger objects are kept.
const MIN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a sweep did.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Swept {
    /// The number of objects looked at.
    pub seen: u64,
    /// The number of deleted objects.
    pub deleted: u64,
    /// The size of the deleted objects, in bytes.
    pub bytes: u64,
}

/// Sweeps once an hour, on whichever server or worker is first.
pub(super) async fn in_turn(app: &App) -> anyhow::Result<()> {
    if !super::is_first_in_hour(app, "sweep_files").await? {
        return Ok(());
    }
    let swept = sweep(&app.db, &app.storage, app.config.deleted_files_days, false, |_| ()).await?;
    tracing::info!(seen = swept.seen, deleted = swept.deleted, bytes = swept.bytes, "swept the store of files");
    Ok(())
}

/// Sweeps objects that are not too young, and those of files that were deleted `days` ago; `progress` is told how many
/// were looked at.
pub async fn sweep(
    db: &Db,
    storage: &Storage,
    days: u16,
    dry_run: bool,
    progress: impl FnMut(u64),
) -> anyhow::Result<Swept> {
    sweep_before(SystemTime::now() - MIN_AGE, db, storage, days, dry_run, progress).await
}

/// Sweeps like [`sweep`] objects that were written before this time. Refuses a store of another database, whose files
/// are not known here.
pub async fn sweep_before(
    before: SystemTime,
    db: &Db,
    storage: &Storage,
    days: u16,
    dry_run: bool,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<Swept> {
    let claim = if dry_run { Claim::No } else { Claim::IfUnowned };
    store_owner::of_server(db, storage, claim).await??;
    let since = Time(Timestamp::now() - SignedDuration::from_hours(24 * i64::from(days)));
    let mut swept = Swept::default();
    let mut batches = std::pin::pin!(storage.list().chunks(BATCH_SIZE));
    while let Some(batch) = batches.next().await {
        let batch = batch.into_iter().collect::<anyhow::Result<Vec<ObjectMeta>>>()?;
        swept.seen += batch.len() as u64;
        progress(swept.seen);
        let old: Vec<_> = batch.into_iter().filter(|object| SystemTime::from(object.last_modified) < before).collect();
        let ids: Vec<Uuid> = old.iter().filter_map(|object| file_of(&object.location)).collect();
        let kept: HashSet<String> = db.platform().kept_objects(&ids, since).await?.into_iter().collect();
        // Objects that Ringfence did not make are left alone.
        let is_ours = |object: &ObjectMeta| file_of(&object.location).is_some();
        for object in old.iter().filter(|object| is_ours(object) && !kept.contains(object.location.as_ref())) {
            if !dry_run {
                storage.delete(&object.location).await?;
            }
            swept.deleted += 1;
            swept.bytes += object.size;
        }
    }
    if !dry_run {
        storage.delete_stale_parts(before).await?;
    }
    Ok(swept)
}
