//! All of one company in one file, and back: for moving a company to another database, and for handing it its data.
//!
//! The file is a zip. `tables/<table>.ndjson` has a row a line under the names of its columns, `objects/<file id>` the
//! content of a file, and `manifest.json` the version of the schema and the number of rows and SHA-256 of each entry.
//! Password hashes and providers' credentials are left out: who moves resets their password by mail, and a sealed secret
//! is worth nothing under another key.

use crate::{
    backup::{self, Due},
    clients::storage::Storage,
    db::{connect_as_dba, migrate},
    seal::hexadecimal,
    sql,
    store::{self, Claim},
    terminal::{self, Measure},
};
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    pin::pin,
};
use tokio_postgres::{GenericClient, IsolationLevel, Transaction, error::SqlState};
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use zip::{CompressionMethod, ZipArchive, ZipWriter, result::ZipError, write::SimpleFileOptions};

/// The form of the file that this program writes and reads.
const FORMAT: u32 = 1;
/// Rows of one insert, which are also held in memory, unless they are large.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
const CHUNK: usize = 256 << 10;
/// How the names of files' contents begin.
const OBJECTS: &str = "objects/";
/// The longest line of an archive, and its manifest at most: a small zip can hold an endless one.
const LINE: u64 = 64 << 20;
/// Rows that cannot come in are named, so many of them.
const NAMED: usize = 100;

/// What an archive says of itself.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The newest migration of the database that it comes from.
    schema: i32,
    company_id: Uuid,
    company: String,
    /// What every archive lacks, in words.
    left_out: Vec<String>,
    /// Files whose content was not in the store.
    missing_objects: Vec<Uuid>,
    /// The other entries of the zip.
    entries: BTreeMap<String, Entry>,
}

/// One entry of an archive.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Rows, of a table.
    pub rows: u64,
    /// Bytes before they were compressed.
    pub bytes: u64,
    /// Of these bytes, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// The company's name.
    pub fn company(&self) -> &str {
        &self.company
    }

    /// Rows of all tables, and files with content.
    pub fn summary(&self) -> String {
        let files = self.entries.keys().filter(|name| name.starts_with(OBJECTS)).count();
        format!("{}: {} rows and the content of {files} files", self.company, self.rows())
    }

    fn rows(&self) -> u64 {
        self.entries.values().fold(0, |rows, entry| rows.saturating_add(entry.rows))
    }

    /// Of the entries whose names begin so.
    fn bytes(&self, start: &str) -> u64 {
        let entries = self.entries.iter().filter(|(name, _)| name.starts_with(start));
        entries.fold(0, |bytes, (_, entry)| bytes.saturating_add(entry.bytes))
    }

    /// Why the archive is not whole, if it is not.
    pub fn lack(&self) -> Option<String> {
        let files = self.missing_objects.len();
        (files > 0).then(|| {
            format!(
                "files whose content is not in the store: {files}; manifest.json has their ids. Is RINGFENCE_STORAGE_URL the server's?"
            )
        })
    }
}

/// The tables of a company, each with the condition on its rows; `$1` is the company.
async fn tables(db: &impl GenericClient) -> anyhow::Result<Vec<(String, &'static str)>> {
    let mut tables = vec![("companies".to_owned(), "id = $1")];
    for row in db.query(sql!("ops/tenant_tables").text, &[]).await? {
        tables.push((row.get(0), "tenant_id = $1"));
    }
    // Their members come last: a company's first member brings a pipeline along, unless there is one.
    tables.extend([("users".to_owned(), "company_id = $1"), ("members".to_owned(), "tenant_id = $1")]);
    Ok(tables)
}

async fn columns(db: &impl GenericClient, table: &str) -> anyhow::Result<String> {
    let columns = db.query(sql!("import/columns").text, &[&table]).await?;
    let names: Vec<String> = columns.iter().map(|row| row.get("name")).collect();
    Ok(names.join(", "))
}

/// The file of an archive. After its first failure it only says that all is well: the library closes a zip that it drops, and
/// would tell at standard error once more what is told already.
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
    let id = crate::db::company_named(&db, company).await?;
    ensure!(!to.exists(), "{} exists already: choose a new file", to.display());
    // An archive that was cut short does not look like one.
    let partial = to.with_added_extension("partial");
    let file = match private_file(&partial) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => bail!(
            "{} is there: another export is under way, or one was killed; then delete it, for it holds the company's data",
            partial.display()
        ),
        file => file.map_err(|e| unwritable(to, e))?,
    };
    let written = write(&mut db, id, company, file, to, storage).await;
    let named = written.and_then(|manifest| {
        std::fs::rename(&partial, to).map_err(|e| unwritable(to, e))?;
        Ok(manifest)
    });
    if named.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    named
}

/// What a company has is nobody else's on this machine.
fn private_file(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

async fn write(
    db: &mut tokio_postgres::Client,
    id: Uuid,
    company: &str,
    file: File,
    to: &Path,
    storage: &Storage,
) -> anyhow::Result<Manifest> {
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
        company: company.to_owned(),
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
    let mut files = pin!(tx.query_raw(sql!("ops/objects").text, [company]).await?);
    while let Some(row) = files.try_next().await? {
        let (id, key): (Uuid, String) = (row.get("id"), row.get("object_key"));
        let Some(mut content) = storage.read(&key, None).await? else {
            missing.push(id);
            continue;
        };
        // Most are compressed by their own form.
        out.start(format!("{OBJECTS}{id}"), CompressionMethod::Stored)?;
        while let Some(chunk) = content.stream.next().await {
            out.put(&chunk?)?;
        }
        out.end();
        bar.inc(1);
    }
    Ok(missing)
}

/// How a company comes in.
#[derive(Args, Clone, Copy, Debug)]
pub struct Options {
    /// Leave the company's status as it was: it is at work at once
    #[arg(long)]
    pub active: bool,
    /// Keep what was due since the export: scheduled texts, campaigns and runs of workflows, which are done once the company is
    /// active. For a company that was suspended before the export; otherwise they may have been done, and are cancelled
    #[arg(long)]
    pub keep_due: bool,
}

/// What came in.
#[derive(Debug)]
pub struct Imported {
    /// As the archive says.
    pub manifest: Manifest,
    /// Users who have an account here already, in words.
    pub elsewhere: Vec<String>,
    /// What was due and is cancelled.
    pub due: Option<Due>,
    /// Addresses of people who were erased here before.
    pub erased: Vec<String>,
}

/// Adds the company of an archive to a database that does not have it; all or nothing. Unless `active`, it comes in
/// suspended, so that nothing is sent twice while it is still at work where it came from.
pub async fn import(admin_url: &str, from: &Path, options: Options, storage: &Storage) -> anyhow::Result<Imported> {
    let file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let name = from.display();
    let none = || format!("{name} is no archive of a company: give the zip that `ringfence archive export` wrote");
    let broken = || format!("the manifest of {name} cannot be read: was it cut short on its way?");
    let mut zip = ZipArchive::new(BufReader::new(file)).with_context(none)?;
    let manifest = zip.by_name("manifest.json").with_context(none)?.take(LINE);
    let manifest: Manifest = serde_json::from_reader(manifest).with_context(broken)?;
    ensure!(manifest.format == FORMAT, "this program does not know the archive's form {}", manifest.format);
    ensure!(
        manifest.schema == migrate::newest(),
        "the archive comes from a database at migration {}, and this program is at {}: export it with the same version",
        manifest.schema,
        migrate::newest()
    );
    verify(&mut zip, &manifest)?;

    let mut db = connect_as_dba(admin_url).await?;
    // Keys of objects are the company's, the same as where it comes from, where it may be erased.
    ensure!(store::is_of(&db, storage, Claim::Unless).await?, store::ANOTHERS);
    let mut tx = db.transaction().await?;
    // What triggers do for a new row of a company is in the archive already.
    tx.batch_execute("set constraints all deferred; set local app.restoring = 'on'").await?;
    let lock = "select pg_try_advisory_xact_lock(hashtextextended($1, 0))";
    let is_alone: bool = tx.query_one(lock, &[&format!("archive of {}", manifest.company_id)]).await?.get(0);
    ensure!(is_alone, "an import of this company is going on already: wait for its end");
    let there = tx.query_opt(sql!("ops/company_there").text, &[&manifest.company_id, &manifest.company]).await?;
    if there.is_some() {
        bail!(
            "this company is in this database already, or another company has its name, or a user has its id: archive import adds \
             a company and never merges"
        );
    }
    let mut refused = Vec::new();
    let bar = terminal::progress("adding", Measure::Of(manifest.rows()));
    for (table, _) in tables(&tx).await? {
        bar.set_message(table.clone());
        let rows = read_table(&mut tx, &mut zip, &table, manifest.company_id, &mut refused, &bar).await;
        let rows = rows.with_context(|| format!("the table {table}"))?;
        let said = manifest.entries.get(&format!("tables/{table}.ndjson")).map(|entry| entry.rows);
        ensure!(said == Some(rows), "the table {table} has not as many rows as the manifest says");
    }
    if !refused.is_empty() {
        let more = refused.len().saturating_sub(NAMED);
        let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        refused.truncate(NAMED);
        bail!("nothing came in, because of these rows:\n  {}{more}", refused.join("\n  "));
    }
    bar.set_message("settling");
    // What triggers do for a change is to be done from here on.
    tx.batch_execute("set local app.restoring = 'off'").await?;
    for statement in [sql!("ops/unusable_passwords"), sql!("ops/no_super_admins"), sql!("ops/end_tokens")] {
        tx.execute(statement.text, &[&manifest.company_id]).await?;
    }
    let mut due = None;
    if !options.keep_due {
        due = Some(backup::cancel_due(&tx, Some(manifest.company_id), "Brought in from an archive").await?);
    }
    if !options.active {
        tx.execute(sql!("ops/suspend_company").text, &[&manifest.company_id]).await?;
    }
    tx.batch_execute("set constraints all immediate").await?;
    let elsewhere = users_elsewhere(&tx, &mut zip, manifest.company_id).await?;
    let erased = tx.query(sql!("ops/erased_addresses").text, &[&manifest.company_id]).await?;
    let erased = erased.iter().map(|row| row.get("address")).collect();
    drop(bar);
    read_objects(&tx, &mut zip, &manifest, storage).await?;
    tx.commit().await?;
    Ok(Imported { manifest, elsewhere, due, erased })
}

/// The users of an archive who stayed another company's, or nobody's. That an id is the same is no proof of who it is.
async fn users_elsewhere(
    tx: &Transaction<'_>,
    zip: &mut ZipArchive<BufReader<File>>,
    company: Uuid,
) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct User {
        id: Uuid,
        email: String,
    }
    let users = read_lines(zip, "users")?.map(|line| {
        let User { id, email } = serde_json::from_str(&line?)?;
        Ok((id, email))
    });
    let users = users.collect::<anyhow::Result<BTreeMap<Uuid, String>>>()?;
    let ids = Vec::from_iter(users.keys());
    let elsewhere = tx.query(sql!("ops/users_elsewhere").text, &[&ids, &company]).await?;
    let told = elsewhere.iter().map(|row| {
        let (id, email, whose): (Uuid, &str, String) = (row.get("id"), row.get("email"), row.get("whose"));
        match users.get(&id).filter(|other| *other != email) {
            Some(other) => format!("{whose}, in the archive {other:?}: is it the same person?"),
            None => whose,
        }
    });
    Ok(told.collect())
}

/// Refuses an archive whose entries are not those of its manifest.
fn verify(zip: &mut ZipArchive<BufReader<File>>, manifest: &Manifest) -> anyhow::Result<()> {
    let names = zip.file_names().map(|name| Ok(name?.into_owned())).collect::<anyhow::Result<BTreeSet<String>>>()?;
    let wanted: BTreeSet<String> = manifest.entries.keys().cloned().chain(["manifest.json".to_owned()]).collect();
    ensure!(names == wanted, "the archive's entries are not those of its manifest");
    let bar = terminal::progress("verifying", Measure::BytesOf(manifest.bytes("")));
    let mut buffer = vec![0; CHUNK];
    for (name, entry) in &manifest.entries {
        let mut content = zip.by_name(name)?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        // As far as it should go: what is longer is none of it.
        while bytes <= entry.bytes {
            let read = content.read(&mut buffer).with_context(|| format!("{name} is broken"))?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            hash.update(&buffer[..read]);
            bar.inc(read as u64);
        }
        ensure!(
            bytes == entry.bytes && hexadecimal(&hash.finalize()) == entry.sha256,
            "{name} is not what the manifest says"
        );
    }
    Ok(())
}

fn read_lines<'a>(
    zip: &'a mut ZipArchive<BufReader<File>>,
    table: &str,
) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>> + 'a> {
    let entry = zip.by_name(&format!("tables/{table}.ndjson")).context("the archive lacks the table")?;
    let mut entry = BufReader::new(entry);
    Ok(std::iter::from_fn(move || {
        let mut line = String::new();
        match entry.by_ref().take(LINE).read_line(&mut line) {
            Ok(0) => None,
            Ok(_) if !line.ends_with('\n') => {
                Some(Err(std::io::Error::other("a row of the archive has no end, or more than 64 MiB")))
            }
            Ok(_) => Some(Ok(line)),
            Err(e) => Some(Err(e)),
        }
    }))
}

async fn read_table(
    tx: &mut Transaction<'_>,
    zip: &mut ZipArchive<BufReader<File>>,
    table: &str,
    company: Uuid,
    refused: &mut Vec<String>,
    bar: &ProgressBar,
) -> anyhow::Result<u64> {
    let insert = Insert::new(tx, table, company).await?;
    let (mut batch, mut rows, mut all) = (String::new(), 0, 0);
    // A reader of the zip cannot wait for the database, so the lines are taken in lots.
    let mut lines = read_lines(zip, table)?;
    loop {
        let line = lines.next().transpose()?;
        let is_last = line.is_none();
        if let Some(line) = line {
            batch.push(if rows == 0 { '[' } else { ',' });
            batch.push_str(&line);
            rows += 1;
            all += 1;
        }
        if rows > 0 && (is_last || rows == BATCH || batch.len() > BATCH_BYTES) {
            batch.push(']');
            insert.run(tx, &batch, refused).await?;
            bar.inc(rows as u64);
            (batch, rows) = (String::new(), 0);
        }
        if is_last {
            return Ok(all);
        }
    }
}

/// The statements that add rows of a table. Historical rows stay historical, unless nobody would see them: those of a user who
/// stays elsewhere become the company's, as when a user moves, and so do all where the backfill of this database is finished.
///
/// Who has an account here, by the id, is not touched and gets no rights, whatever the file says of them: it is not signed,
/// and whoever made one up must not gain anybody by it. So their address need not be compared.
struct Insert {
    table: String,
    statements: Vec<String>,
    company: Uuid,
}

impl Insert {
    async fn new(tx: &Transaction<'_>, table: &str, company: Uuid) -> anyhow::Result<Self> {
        let columns = columns(tx, table).await?;
        let rows = format!("json_populate_recordset(null::{table}, $1::text::json) r");
        let add = |values: &str, whose: &str, rest: &str| {
            format!("insert into {table} ({columns}) select {values} from {rows} where {whose} = $2 {rest}")
        };
        // The users of an archive come in after the rows.
        let is_elsewhere =
            |user: &str| format!("exists (select from users u where u.id = r.{user} and not ops.is_nameless(u))");
        let statements = match table {
            "companies" => {
                vec![add(&columns.replace("storage_bytes", "0").replace("file_count", "0"), "id", "")]
            }
            "users" => {
                // Who is here without a name, as somebody whose rows another company has, gets it back. Who has one stays as they
                // are, and comes as a member who has left.
                let values = columns.split(", ").map(|column| format!("r.{column}")).collect::<Vec<_>>().join(", ");
                vec![
                    add(&columns, "company_id", "and not exists (select from users u where u.id = r.id)"),
                    format!(
                        "update users u set ({columns}) = row({values}) from {rows}
                        where r.company_id = $2 and u.id = r.id and ops.is_nameless(u)"
                    ),
                ]
            }
            // Read by their user, whatever company that is of.
            "notifications" => {
                let of_nobody_else = format!("and not {}", is_elsewhere("user_id"));
                vec![add(&columns.replace("company_id", "$2::uuid"), "tenant_id", &of_nobody_else)]
            }
            "members" => vec![
                // Who has left the company stays as somebody whose rows these are, and without a name.
                format!(
                    "insert into users (id, email, first_name, last_name, is_deleted)
                    select r.user_id, 'moved-' || r.user_id || '@deleted.invalid', 'Former', 'member', true from {rows}
                    where r.tenant_id = $2 and not exists (select from users u where u.id = r.user_id)"
                ),
                add(&columns, "tenant_id", "on conflict do nothing"),
            ],
            _ => {
                let row = tx.query_one(sql!("ops/insists_on_company").text, &[&table]).await?;
                let is_claimed = is_elsewhere(row.get("owner"));
                let whose = match row.get("insists") {
                    true => "$2::uuid".to_owned(),
                    false => format!("case when r.company_id = $2 or {is_claimed} then $2::uuid end"),
                };
                vec![add(&columns.replace("company_id", &whose), "tenant_id", "")]
            }
        };
        Ok(Self { table: table.to_owned(), statements, company })
    }

    /// Adds rows, of which those that have a unique key of another row are named instead.
    async fn run(&self, tx: &mut Transaction<'_>, rows: &str, refused: &mut Vec<String>) -> anyhow::Result<()> {
        if self.add(tx, rows).await?.is_none() {
            return Ok(());
        }
        for row in serde_json::from_str::<Vec<&serde_json::value::RawValue>>(rows)? {
            if let Some(key) = self.add(tx, &format!("[{row}]")).await? {
                refused.push(self.reason(row.get(), &key)?);
            }
        }
        Ok(())
    }

    /// Adds all of these rows, or none and answers the unique key that forbids it.
    async fn add(&self, tx: &mut Transaction<'_>, rows: &str) -> anyhow::Result<Option<String>> {
        let all = tx.savepoint("rows").await?;
        for statement in &self.statements {
            match all.execute(statement, &[&rows, &self.company]).await {
                Ok(_) => {}
                Err(e) if e.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                    all.rollback().await?;
                    return Ok(Some(e.as_db_error().and_then(|e| e.constraint()).unwrap_or_default().to_owned()));
                }
                Err(e) => return Err(e.into()),
            }
        }
        all.commit().await?;
        Ok(None)
    }

    fn reason(&self, row: &str, key: &str) -> anyhow::Result<String> {
        let row: BTreeMap<&str, &serde_json::value::RawValue> = serde_json::from_str(row)?;
        let value = |name: &str| row.get(name).map_or("", |value| value.get().trim_matches('"'));
        let id = [value("id"), value("user_id")].into_iter().find(|id| !id.is_empty()).unwrap_or_default();
        let is_historical = value("company_id") == "null" && !key.ends_with("_pkey");
        let why = if is_historical {
            "it is historical, becomes the company's in this database, and another row of the company has its unique key"
        } else {
            "another row has its unique key"
        };
        Ok(format!("{} {id}: {why} ({key})", self.table))
    }
}

/// Puts the contents into the store. A row's key must end with its id, as the store's own do, so that an archive cannot
/// name another company's object.
async fn read_objects(
    tx: &Transaction<'_>,
    zip: &mut ZipArchive<BufReader<File>>,
    manifest: &Manifest,
    storage: &Storage,
) -> anyhow::Result<()> {
    let tracker = TaskTracker::new();
    let bar = terminal::progress("contents of files", Measure::BytesOf(manifest.bytes(OBJECTS)));
    for row in tx.query(sql!("ops/objects").text, &[&manifest.company_id]).await? {
        let (id, key): (Uuid, String) = (row.get("id"), row.get("object_key"));
        let name = format!("{OBJECTS}{id}");
        if !manifest.entries.contains_key(&name) {
            continue;
        }
        ensure!(
            key.rsplit('/').next() == Some(id.to_string().as_str()),
            "the file {id} names an object that is not its own"
        );
        let mut writing = storage.write(&key, &tracker).await?;
        let (mut content, mut buffer) = (zip.by_name(&name)?, vec![0; CHUNK]);
        loop {
            let read = content.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            writing.put(Bytes::copy_from_slice(&buffer[..read])).await?;
            bar.inc(read as u64);
        }
        writing.finish().await?;
        writing.keep();
    }
    Ok(())
}
