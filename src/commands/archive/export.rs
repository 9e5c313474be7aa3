//! `ringfence archive export`: writes the file.

use super::{Entry, FORMAT, Manifest, OBJECTS, columns, tables};
use crate::{
    clients::storage::Storage,
    db::{self, Company, connect_as_dba, migrate},
    seal::hexadecimal,
    sql,
    terminal::{self, Measure},
};
use anyhow::{bail, ensure};
use futures_util::{StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    pin::pin,
};
use tokio_postgres::{IsolationLevel, Transaction};
use uuid::Uuid;
use zip::{CompressionMethod, ZipWriter, result::ZipError, write::SimpleFileOptions};

/// The file of an archive. After its first failure it only reports success: the library closes a zip that it drops, and
/// would print an error that is reported already to standard error again.
struct Target {
    file: BufWriter<File>,
    position: u64,
    has_failed: bool,
}

impl Target {
    fn noted<T>(&mut self, done: std::io::Result<T>) -> std::io::Result<T> {
        self.has_failed |= done.is_err();
        done
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = if self.has_failed { Ok(bytes.len()) } else { self.file.write(bytes) };
        self.position += *written.as_ref().unwrap_or(&0) as u64;
        self.noted(written)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = if self.has_failed { Ok(()) } else { self.file.flush() };
        self.noted(flushed)
    }
}

impl Seek for Target {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let sought = match to {
            _ if !self.has_failed => self.file.seek(to),
            SeekFrom::Start(position) => Ok(position),
            SeekFrom::Current(by) | SeekFrom::End(by) => Ok(self.position.saturating_add_signed(by)),
        };
        self.position = *sought.as_ref().unwrap_or(&self.position);
        self.noted(sought)
    }
}

struct Writer {
    zip: ZipWriter<Target>,
    to: PathBuf,
    entries: BTreeMap<String, Entry>,
    name: String,
    entry: Entry,
    hash: Sha256,
}

impl Writer {
    fn start(&mut self, name: String, method: CompressionMethod) -> anyhow::Result<()> {
        let options = SimpleFileOptions::default().compression_method(method).large_file(true);
        self.zip.start_file(&name, options).map_err(|e| unwritable(&self.to, e))?;
        (self.name, self.entry, self.hash) = (name, Entry::default(), Sha256::new());
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.hash.update(bytes);
        self.entry.bytes += bytes.len() as u64;
        self.zip.write_all(bytes).map_err(|e| unwritable(&self.to, e))
    }

    fn end(&mut self) {
        self.entry.sha256 = hexadecimal(&self.hash.clone().finalize());
        self.entries.insert(std::mem::take(&mut self.name), std::mem::take(&mut self.entry));
    }
}

/// Why the file could not be written, in the system's words.
fn unwritable(path: &Path, e: impl Into<ZipError>) -> anyhow::Error {
    let e = match e.into() {
        ZipError::Io(e) => anyhow::Error::new(e),
        e => anyhow::Error::new(e),
    };
    e.context(format!("cannot write {}", path.display()))
}

/// Writes all of a company into a file, which must not exist.
pub async fn export(admin_url: &str, company: &str, to: &Path, storage: &Storage) -> anyhow::Result<Manifest> {
    let mut db = connect_as_dba(admin_url).await?;
    let company = db::find_company(&db, company).await?;
    ensure!(!to.exists(), "{} exists already: choose a new file", to.display());
    // An interrupted export must not look like an archive.
    let partial = to.with_added_extension("partial");
    let file = match private_file(&partial) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => bail!(
            "{} is there: another export is under way, or one was killed; then delete it, for it holds the company's data",
            partial.display()
        ),
        file => file.map_err(|e| unwritable(to, e))?,
    };
    let written = write(&mut db, company, file, to, storage).await;
    let named = written.and_then(|manifest| {
        std::fs::rename(&partial, to).map_err(|e| unwritable(to, e))?;
        Ok(manifest)
    });
    if named.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    named
}

/// Creates a file that nobody else on this machine can read, because it holds a company's data.
fn private_file(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

async fn write(
    db: &mut tokio_postgres::Client,
    company: Company,
    file: File,
    to: &Path,
    storage: &Storage,
) -> anyhow::Result<Manifest> {
    let Company { id, name } = company;
    let tx = db.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
    let mut out = Writer {
        zip: ZipWriter::new(Target { file: BufWriter::new(file), position: 0, has_failed: false }),
        to: to.to_owned(),
        entries: BTreeMap::new(),
        name: String::new(),
        entry: Entry::default(),
        hash: Sha256::new(),
    };
    let bar = terminal::progress("reading", Measure::Number);
    for (table, condition) in tables(&tx).await? {
        bar.reset();
        bar.set_message(table.clone());
        out.start(format!("tables/{table}.ndjson"), CompressionMethod::Deflated)?;
        let columns = columns(&tx, &table).await?;
        let key = if table == "members" { "user_id" } else { "id" };
        let rows = format!(
            "select row_to_json(t)::text from (select {columns} from {table} where {condition} order by {key}) t"
        );
        let mut rows = pin!(tx.query_raw(&rows, [id]).await?);
        while let Some(row) = rows.try_next().await? {
            out.put(row.get::<_, &str>(0).as_bytes())?;
            out.put(b"\n")?;
            out.entry.rows += 1;
            bar.inc(1);
        }
        out.end();
    }
    let missing_objects = write_objects(&tx, id, &mut out, storage, &bar).await?;
    let manifest = Manifest {
        format: FORMAT,
        schema: migrate::newest(),
        company_id: id,
        company: name,
        left_out: [
            "password hashes",
            "the credentials of Twilio and SendGrid",
            "the audit log",
            "objects that were not in the store",
        ]
        .map(str::to_owned)
        .into(),
        missing_objects,
        entries: out.entries,
    };
    out.zip.start_file("manifest.json", SimpleFileOptions::default()).map_err(|e| unwritable(to, e))?;
    out.zip.write_all(&serde_json::to_vec_pretty(&manifest)?).map_err(|e| unwritable(to, e))?;
    let target = out.zip.finish().map_err(|e| unwritable(to, e))?;
    let file = target.file.into_inner().map_err(|e| unwritable(to, e.into_error()))?;
    file.sync_all().map_err(|e| unwritable(to, e))?;
    bar.finish_and_clear();
    Ok(manifest)
}

async fn write_objects(
    tx: &Transaction<'_>,
    company: Uuid,
    out: &mut Writer,
    storage: &Storage,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<Uuid>> {
    bar.reset();
    bar.set_message("contents of files");
    let mut missing = Vec::new();
    let mut files = pin!(tx.query_raw(sql!("ops/archive/objects").text, [company]).await?);
    while let Some(row) = files.try_next().await? {
        let (id, key): (Uuid, String) = (row.get("id"), row.get("object_key"));
        let Some(mut content) = storage.read(&key, None).await? else {
            missing.push(id);
            continue;
        };
        // Most files have a compressed format already.
        out.start(format!("{OBJECTS}{id}"), CompressionMethod::Stored)?;
        while let Some(chunk) = content.stream.next().await {
            out.put(&chunk?)?;
        }
        out.end();
        bar.inc(1);
    }
    Ok(missing)
}
