//! The content of the old files, from a folder into the store.

use crate::{clients::storage::Storage, sql};
use anyhow::Context;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    collections::HashMap,
    path::{Component, Path, PathBuf},
};
use tokio::io::AsyncReadExt;
use tokio_postgres::{GenericClient, Transaction};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

const CHUNK: usize = 256 << 10;

/// Stores the content of every file that came over and has none; answers how many got theirs.
pub(super) async fn bring(
    old: &Transaction<'_>,
    db: &impl GenericClient,
    storage: &Storage,
    folder: Option<&Path>,
    dry_run: bool,
) -> anyhow::Result<u64> {
    let folder = folder.map(|folder| folder.canonicalize().with_context(|| format!("no folder {}", folder.display())));
    let folder = folder.transpose()?;
    let waiting = db.query(sql!("import/files_without_content").text, &[]).await?;
    let paths = old.query("select id, storage_path from files where storage_path <> ''", &[]).await?;
    let paths: HashMap<Uuid, String> = paths.iter().map(|row| (row.get(0), row.get(1))).collect();
    let bar = ProgressBar::new(waiting.len() as u64).with_message("contents of files");
    bar.set_style(ProgressStyle::with_template("{msg:>20} {wide_bar} {human_pos}/{human_len} {per_sec}, {eta} left")?);
    let (tracker, mut stored) = (TaskTracker::new(), 0);
    for row in &waiting {
        let (id, tenant): (Uuid, Uuid) = (row.get("id"), row.get("tenant_id"));
        bar.inc(1);
        let found = paths.get(&id).zip(folder.as_deref()).and_then(|(path, folder)| find(folder, path));
        let reason = match (paths.get(&id), &folder, &found) {
            (None, _, _) => Some("it had no content"),
            (_, None, _) => Some("its content was not brought: no --files was given"),
            (_, _, None) => Some("its content is not in the folder"),
            _ => None,
        };
        if let Some(reason) = reason {
            db.execute(sql!("import/no_content").text, &[&id, &reason]).await?;
        }
        let Some(file) = found else { continue };
        if !dry_run {
            store(db, storage, &tracker, &file, id, tenant).await.with_context(|| format!("the file {id}"))?;
        }
        stored += 1;
    }
    bar.finish();
    tracker.close();
    tracker.wait().await;
    Ok(stored)
}

/// The file of an old storage path: the same path below the folder, or else its name there. Never one outside.
fn find(folder: &Path, stored: &str) -> Option<PathBuf> {
    let parts: Vec<_> = Path::new(stored).components().collect();
    if parts.contains(&Component::ParentDir) {
        return None;
    }
    let below: PathBuf = parts.iter().filter(|part| matches!(part, Component::Normal(_))).collect();
    // The path may begin above the folder: `/srv/app/uploads/a/b.pdf` is `a/b.pdf` or `b.pdf` of it.
    let mut tail = below.as_path();
    loop {
        let file = folder.join(tail).canonicalize();
        if let Ok(file) = file
            && file.starts_with(folder)
            && file.is_file()
        {
            return Some(file);
        }
        let mut rest = tail.components();
        rest.next();
        tail = rest.as_path();
        if tail.as_os_str().is_empty() {
            return None;
        }
    }
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
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = content.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        writing.put(Bytes::copy_from_slice(&buffer[..read])).await?;
    }
    let (size, sha256) = (i64::try_from(writing.size())?, writing.finish().await?);
    db.execute(sql!("import/content").text, &[&id, &key, &size, &sha256.as_slice()]).await?;
    writing.keep();
    Ok(())
}
