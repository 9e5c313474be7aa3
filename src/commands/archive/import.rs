//! `ringfence archive import`: reads the file.

use super::{FORMAT, Manifest, OBJECTS, columns, tables};
use crate::{
    clients::storage::{Storage, file_of},
    commands::backup::{self, Due},
    db::{connect_as_dba, migrate},
    seal::hexadecimal,
    sql,
    store_owner::{self, Claim},
    terminal::{self, Measure},
};
use anyhow::{Context, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};
use tokio_postgres::{Transaction, error::SqlState};
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use zip::ZipArchive;

/// The maximum number of rows, and of bytes, of one insert; they are held in memory.
const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
const CHUNK_BYTES: usize = 256 << 10;
/// The maximum length of a line, in bytes: a small zip can hold an endless one, and PostgreSQL, which writes and reads
/// a row as one value, has no longer ones.
const MAX_LINE_BYTES: u64 = 1 << 30;
/// The maximum size of a manifest, in bytes.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;
/// How many of the rows that cannot be added are named.
const MAX_NAMED: usize = 100;

/// How to import a company.
#[derive(Args, Clone, Copy, Debug)]
pub struct Options {
    /// Keep the company's status instead of suspending it, so that it is active at once
    #[arg(long)]
    pub active: bool,
    /// Keep what was due since the export: scheduled texts, campaigns and workflow runs, which are carried out once the
    /// company is active. Use it for a company that was suspended before the export. Without this flag they are
    /// cancelled, because they may have been carried out already
    #[arg(long)]
    pub keep_due: bool,
}

/// The result of an import.
#[derive(Debug)]
pub struct Imported {
    /// The manifest of the archive.
    pub manifest: Manifest,
    /// Users who already have an account here, in words.
    pub elsewhere: Vec<String>,
    /// What was due, and has been cancelled.
    pub due: Option<Due>,
    /// Addresses of people who were erased here before.
    pub erased: Vec<String>,
}

/// Adds the company of an archive to a database that does not have it; all or nothing. Unless `active` is set, the
/// company is suspended, so that nothing is sent twice while it is still active where it came from.
pub async fn import(admin_url: &str, from: &Path, options: Options, storage: &Storage) -> anyhow::Result<Imported> {
    let file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let name = from.display();
    let none = || format!("{name} is no archive of a company: give the zip that `ringfence archive export` wrote");
    let broken = || format!("the manifest of {name} cannot be read: was it cut short on its way?");
    let mut zip = ZipArchive::new(BufReader::new(file)).with_context(none)?;
    let manifest = zip.by_name("manifest.json").with_context(none)?.take(MAX_MANIFEST_BYTES);
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
    // Object keys are the same as in the database that it comes from, where the company may be erased.
    store_owner::of_administrator(&db, storage, Claim::IfUnowned).await??;
    let mut tx = db.transaction().await?;
    // The archive already has what triggers do for a company's new rows.
    tx.batch_execute("set constraints all deferred; set local app.restoring = 'on'").await?;
    let lock = "select pg_try_advisory_xact_lock(hashtextextended($1, 0))";
    let is_alone: bool = tx.query_one(lock, &[&format!("archive of {}", manifest.company_id)]).await?.get(0);
    ensure!(is_alone, "an import of this company is going on already: wait for its end");
    let there =
        tx.query_opt(sql!("ops/archive/company_there").text, &[&manifest.company_id, &manifest.company]).await?;
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
        let more = refused.len().saturating_sub(MAX_NAMED);
        let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        refused.truncate(MAX_NAMED);
        bail!("nothing came in, because of these rows:\n  {}{more}", refused.join("\n  "));
    }
    bar.set_message("settling");
    // From here on, triggers must do their work for changes.
    tx.batch_execute("set local app.restoring = 'off'").await?;
    for statement in
        [sql!("ops/archive/unusable_passwords"), sql!("ops/archive/no_super_admins"), sql!("ops/end_tokens")]
    {
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
    let erased = tx.query(sql!("ops/archive/erased_addresses").text, &[&manifest.company_id]).await?;
    let erased = erased.iter().map(|row| row.get("address")).collect();
    drop(bar);
    read_objects(&tx, &mut zip, &manifest, storage).await?;
    tx.commit().await?;
    Ok(Imported { manifest, elsewhere, due, erased })
}

/// The archive's users whose accounts here stay elsewhere. An equal id does not prove that it is the same person.
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
    let elsewhere = tx.query(sql!("ops/archive/users_elsewhere").text, &[&ids, &company]).await?;
    let told = elsewhere.iter().map(|row| {
        let (id, email, whose): (Uuid, &str, String) = (row.get("id"), row.get("email"), row.get("whose"));
        match users.get(&id).filter(|other| *other != email) {
            Some(other) => format!("{whose}, in the archive {other:?}: is it the same person?"),
            None => whose,
        }
    });
    Ok(told.collect())
}

/// Refuses an archive whose entries do not match its manifest.
fn verify(zip: &mut ZipArchive<BufReader<File>>, manifest: &Manifest) -> anyhow::Result<()> {
    let names = zip.file_names().map(|name| Ok(name?.into_owned())).collect::<anyhow::Result<BTreeSet<String>>>()?;
    let wanted: BTreeSet<String> = manifest.entries.keys().cloned().chain(["manifest.json".to_owned()]).collect();
    ensure!(names == wanted, "the archive's entries are not those of its manifest");
    let bar = terminal::progress("verifying", Measure::BytesOf(manifest.bytes("")));
    let mut buffer = vec![0; CHUNK_BYTES];
    for (name, entry) in &manifest.entries {
        let mut content = zip.by_name(name)?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        // No further than its size in the manifest: a longer entry is refused anyway.
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
        match entry.by_ref().take(MAX_LINE_BYTES).read_line(&mut line) {
            Ok(0) => None,
            Ok(_) if !line.ends_with('\n') => {
                Some(Err(std::io::Error::other("a row of the archive has no end, or more than 1 GiB")))
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
    // Reading the zip cannot wait for the database, so lines are collected in batches.
    let mut lines = read_lines(zip, table)?;
    loop {
        let line = lines.next().transpose()?;
        let is_full = line.as_ref().is_none_or(|line| rows == BATCH_ROWS || batch.len() + line.len() > BATCH_BYTES);
        if rows > 0 && is_full {
            batch.push(']');
            insert.run(tx, &batch, refused).await?;
            bar.inc(rows as u64);
            (batch, rows) = (String::new(), 0);
        }
        let Some(line) = line else { return Ok(all) };
        batch.push(if rows == 0 { '[' } else { ',' });
        batch.push_str(&line);
        rows += 1;
        all += 1;
    }
}

/// The statements that add rows of a table. Historical rows stay historical unless nobody would see them: those of a
/// user who stays elsewhere become the company's, as when a user moves, and so do all if this database's backfill is
/// finished.
///
/// An account that already exists here, by its id, is not changed and gets no rights, whatever the file says about it:
/// the file is not signed, and a forged one must not gain access to anybody's account. So addresses need not be
/// compared.
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
        // An archive's users are added after its rows.
        let is_elsewhere =
            |user: &str| format!("exists (select from users u where u.id = r.{user} and not ops.is_nameless(u))");
        let statements = match table {
            "companies" => {
                vec![add(&columns.replace("storage_bytes", "0").replace("file_count", "0"), "id", "")]
            }
            "users" => {
                // A nameless account, left here because another company has rows of that user, gets its name back. A
                // named account stays as it is, and becomes a former member.
                let values = columns.split(", ").map(|column| format!("r.{column}")).collect::<Vec<_>>().join(", ");
                vec![
                    add(&columns, "company_id", "and not exists (select from users u where u.id = r.id)"),
                    format!(
                        "update users u set ({columns}) = row({values}) from {rows}
                        where r.company_id = $2 and u.id = r.id and ops.is_nameless(u)"
                    ),
                ]
            }
            // Notifications are read by their user, whatever company that user is in.
            "notifications" => {
                let of_nobody_else = format!("and not {}", is_elsewhere("user_id"));
                vec![add(&columns.replace("company_id", "$2::uuid"), "tenant_id", &of_nobody_else)]
            }
            "members" => vec![
                // A user who has left the company becomes a nameless account to which these rows belong.
                format!(
                    "insert into users (id, email, first_name, last_name, is_deleted)
                    select r.user_id, 'moved-' || r.user_id || '@deleted.invalid', 'Former', 'member', true from {rows}
                    where r.tenant_id = $2 and not exists (select from users u where u.id = r.user_id)"
                ),
                add(&columns, "tenant_id", "on conflict do nothing"),
            ],
            _ => {
                let row = tx.query_one(sql!("ops/archive/insists_on_company").text, &[&table]).await?;
                let is_claimed = is_elsewhere(row.get("owner"));
                let whose = if row.get("insists") {
                    "$2::uuid".to_owned()
                } else {
                    format!("case when r.company_id = $2 or {is_claimed} then $2::uuid end")
                };
                vec![add(&columns.replace("company_id", &whose), "tenant_id", "")]
            }
        };
        Ok(Self { table: table.to_owned(), statements, company })
    }

    /// Adds rows; those that violate a unique key are reported instead.
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

    /// Adds all of these rows, or none; then returns the unique key that was violated.
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

/// Puts the contents into the store. A row's key must be made of its id, as the store's own are, so that an archive
/// cannot name another company's object.
async fn read_objects(
    tx: &Transaction<'_>,
    zip: &mut ZipArchive<BufReader<File>>,
    manifest: &Manifest,
    storage: &Storage,
) -> anyhow::Result<()> {
    let tracker = TaskTracker::new();
    let bar = terminal::progress("contents of files", Measure::BytesOf(manifest.bytes(OBJECTS)));
    for row in tx.query(sql!("ops/archive/objects").text, &[&manifest.company_id]).await? {
        let (id, key): (Uuid, String) = (row.get("id"), row.get("object_key"));
        let name = format!("{OBJECTS}{id}");
        if !manifest.entries.contains_key(&name) {
            continue;
        }
        let is_own = file_of(&object_store::path::Path::parse(&key)?) == Some(id);
        ensure!(is_own, "the file {id} names an object that is not its own");
        let mut writing = storage.write(&key, &tracker).await?;
        let (mut content, mut buffer) = (zip.by_name(&name)?, vec![0; CHUNK_BYTES]);
        loop {
            let read = content.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            writing.put(&buffer[..read]).await?;
            bar.inc(read as u64);
        }
        writing.finish().await?;
        writing.keep();
    }
    Ok(())
}
