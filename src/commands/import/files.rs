//! Copies the content of the old files from a folder into the store.

use crate::{
    clients::storage::Storage,
    sql,
    terminal::{self, Measure},
};
use anyhow::Context;
use std::{
    collections::{BTreeSet, HashMap},
    path::{Component, Path, PathBuf},
};
use tokio::io::AsyncReadExt;
use tokio_postgres::{GenericClient, Transaction};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// The query for the storage paths of the old files.
pub(super) const STORED: &str = "select id, storage_path, case when size between 0 and 1e12 then size::bigint end as size from files where storage_path <> ''";
const CHUNK_BYTES: usize = 256 << 10;

/// Stores the content of every imported file that has none yet, from a folder whose path is canonical; returns how many
/// files got theirs.
pub(super) async fn bring(
    old: &Transaction<'_>,
    stand_ins: &str,
    db: &impl GenericClient,
    storage: &Storage,
    folder: Option<&Path>,
    dry_run: bool,
) -> anyhow::Result<u64> {
    let waiting = db.query(sql!("import/files_without_content").text, &[]).await?;
    let rows = old.query(&format!("{stand_ins}{STORED}"), &[]).await?;
    let olds: HashMap<Uuid, Old> =
        rows.iter().map(|row| (row.get("id"), Old { path: row.get("storage_path"), size: row.get("size") })).collect();
    // From all old rows, whatever became of them, so that each run has the same result.
    let places = folder.map(|folder| locate(folder, olds.values().map(|old| old.path.as_str())));
    let bar = terminal::progress("contents of files", Measure::Of(waiting.len() as u64));
    let (tracker, mut stored) = (TaskTracker::new(), 0);
    for row in &waiting {
        let (id, tenant): (Uuid, Uuid) = (row.get("id"), row.get("tenant_id"));
        bar.inc(1);
        let found = match (olds.get(&id), &places) {
            (None, _) => Err("it had no content"),
            (_, None) => Err("its content was not brought: no --files was given"),
            (Some(old), Some(places)) => old.content(places),
        };
        let file = match found {
            Ok(file) => file,
            Err(reason) => {
                db.execute(sql!("import/no_content").text, &[&id, &reason]).await?;
                continue;
            }
        };
        if !dry_run {
            store(db, storage, &tracker, file, id, tenant).await.with_context(|| format!("the file {id}"))?;
        }
        stored += 1;
    }
    bar.finish();
    tracker.close();
    tracker.wait().await;
    Ok(stored)
}

/// The storage path and size in an old row.
struct Old {
    path: String,
    size: Option<i64>,
}

impl Old {
    /// The file with its content, or why there is none.
    fn content<'a>(&self, places: &'a Places<'_>) -> Result<&'a Path, &'static str> {
        let file = places.of.get(self.path.as_str()).ok_or("its content is not in the folder")?;
        if places.claims[file] > 1 {
            return Err("its content was not brought: another storage path leads to the same file of the folder");
        }
        let length = file.metadata().map_or(0, |file| file.len());
        if self.size.is_some_and(|size| u64::try_from(size) != Ok(length)) {
            return Err("its content was not brought: the file in the folder has another size");
        }
        Ok(file)
    }
}

/// The files to which the old storage paths lead, and how many paths lead to each file.
#[derive(Default)]
struct Places<'a> {
    of: HashMap<&'a str, PathBuf>,
    claims: HashMap<PathBuf, usize>,
}

/// Finds the files of storage paths, which may begin above the folder: `/srv/app/uploads/a/b.pdf` is `a/b.pdf` in it.
/// How many leading parts are skipped is decided once for absolute paths and once for relative ones, such that most
/// files are found. Decided for each path by itself, a missing `uploads/a/b.pdf` would be mistaken for another path's
/// `b.pdf`.
fn locate<'a>(folder: &Path, stored: impl Iterator<Item = &'a str>) -> Places<'a> {
    let mut places = Places::default();
    let stored: BTreeSet<&str> =
        stored.filter(|path| !Path::new(path).components().any(|c| c == Component::ParentDir)).collect();
    for from_root in [true, false] {
        let stored = || stored.iter().filter(|path| Path::new(path).is_absolute() == from_root);
        let mut found: Vec<usize> = Vec::new();
        for path in stored() {
            for above in 0..names(path).count() {
                if found.len() <= above {
                    found.push(0);
                }
                found[above] += usize::from(folder.join(below(path, above)).is_file());
            }
        }
        // The smallest of equally good ones.
        let Some(above) = (0..found.len()).rev().max_by_key(|&above| found[above]) else { continue };
        for path in stored().filter(|path| names(path).count() > above) {
            // Never a file outside of the folder.
            if let Ok(file) = folder.join(below(path, above)).canonicalize()
                && file.starts_with(folder)
                && file.is_file()
            {
                *places.claims.entry(file.clone()).or_default() += 1;
                places.of.insert(path, file);
            }
        }
    }
    places
}

fn names(path: &str) -> impl Iterator<Item = Component<'_>> {
    Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)))
}

fn below(path: &str, above: usize) -> PathBuf {
    names(path).skip(above).collect()
}

async fn store(
    db: &impl GenericClient,
    storage: &Storage,
    tracker: &TaskTracker,
    file: &Path,
    id: Uuid,
    tenant: Uuid,
) -> anyhow::Result<()> {
    let key = format!("{tenant}/{id}");
    let mut content = tokio::fs::File::open(file).await?;
    let mut writing = storage.write(&key, tracker).await?;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = content.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        writing.put(&buffer[..read]).await?;
    }
    let (size, sha256) = (i64::try_from(writing.size())?, writing.finish().await?);
    // If the connection is lost, the row may have been written; content without a row is swept.
    writing.keep();
    db.execute(sql!("import/content").text, &[&id, &key, &size, &sha256.as_slice()]).await?;
    Ok(())
}
