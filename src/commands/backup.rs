//! `ringfence backup` and `ringfence restore`: PostgreSQL's own dump, plus what it leaves out: operators' logins and
//! the privileges on the database itself. A restored copy is counted, migrated to this version and examined.

use crate::{
    commands::doctor,
    db, say, sql,
    terminal::{self, Measure},
};
use anyhow::{Context, bail, ensure};
use clap::Args;
use indicatif::{HumanCount, ProgressBar};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Seek,
    ops::Add,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    pin::pin,
    time::{Duration, Instant},
};
use tokio::process::Command;
use tokio_postgres::{Client, GenericClient, IsolationLevel};
use uuid::Uuid;

/// Where a backup goes.
#[derive(Args)]
pub struct Backup {
    /// A new folder for the backup. It holds the data of every company: protect it like the database
    pub folder: PathBuf,
}

/// Where a backup comes from.
#[derive(Args)]
pub struct Restore {
    /// The folder that `ringfence backup` created
    folder: PathBuf,
    /// Keep what was due since the backup: scheduled texts, campaigns and workflow runs. A worker carries them out at
    /// once, even if that has been done before. Without this flag they are cancelled
    #[arg(long)]
    keep_due: bool,
}

const DUMP: &str = "database.dump";
const LOGINS: &str = "logins.json";
/// The file of backups whose logins are statements: ignored, because these give rights to whoever has the names now.
const STATEMENTS: &str = "roles.sql";
const COUNTS: &str = "rows.json";

type Counts = BTreeMap<String, i64>;

impl Backup {
    /// Makes a backup of the database at this administrator's address, with the `pg_dump` that is given.
    pub async fn run(self, admin: &str, pg_dump: &Path) -> anyhow::Result<()> {
        let started = Instant::now();
        ensure!(!self.folder.exists(), "{} exists already: choose a new folder", self.folder.display());
        let mut client = db::connect(admin).await?;
        db::migrate::require_any(&client).await?;
        let bypasses = sql!("ops/backup/bypasses").text;
        let bypasses: bool = client.query_one(bypasses, &[]).await?.get(0);
        if !bypasses {
            db::become_dba(&client).await?;
        }
        // An interrupted backup must not look like a complete one.
        let partial = self.folder.with_added_extension("partial");
        ensure!(
            !partial.exists(),
            "{} is there: another backup is under way, or one was killed; then delete it, for it holds data of every company",
            partial.display()
        );
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&partial)
            .with_context(|| format!("cannot make the folder {}", partial.display()))?;
        let counts = match write(&mut client, admin, pg_dump, bypasses, &partial).await {
            Ok(counts) => counts,
            Err(e) => {
                fs::remove_dir_all(&partial).with_context(|| format!("{e:#}; and {} is left", partial.display()))?;
                return Err(e);
            }
        };
        fs::rename(&partial, &self.folder)?;
        say!(
            "{} has {} rows of {} tables, in {}.",
            self.folder.display(),
            HumanCount(counts.values().sum::<i64>().unsigned_abs()),
            counts.len(),
            seconds(started)
        );
        say!(
            "Not in it: passwords of logins, the server's secrets (RINGFENCE_SECRET_KEY unseals the providers'), and the store of files."
        );
        Ok(())
    }
}

/// Writes the parts of a backup into a folder.
async fn write(
    client: &mut Client,
    admin: &str,
    pg_dump: &Path,
    bypasses: bool,
    folder: &Path,
) -> anyhow::Result<Counts> {
    // The dump and the counts share a snapshot.
    let tx = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
    let snapshot: String = tx.query_one("select pg_export_snapshot()", &[]).await?.get(0);
    let logins: String = tx.query_one(sql!("ops/backup/logins").text, &[]).await?.get(0);
    fs::write(folder.join(LOGINS), logins)?;
    let file = folder.join(DUMP);
    let mut dump = Command::new(pg_dump);
    dump.envs(db::libpq_environment(admin)?)
        .args(["--format=custom", "--compress=6"])
        .arg(format!("--snapshot={snapshot}"))
        .arg("--file")
        .arg(&file);
    if !bypasses {
        dump.arg("--role=ringfence_dba");
    }
    let bar = terminal::progress("counting tables", Measure::Bytes);
    let dumped = run(dump, "pg_dump", || bar.set_position(file.metadata().map_or(0, |file| file.len())));
    let (counts, dumped) = tokio::join!(counts(tx.client(), &bar), dumped);
    dumped?;
    let counts = counts?;
    fs::write(folder.join(COUNTS), serde_json::to_string_pretty(&counts)?)?;
    Ok(counts)
}

impl Restore {
    /// Restores into the empty database at this administrator's address, with the `pg_restore` that is given.
    pub async fn run(self, admin: &str, api: &str, pg_restore: &Path) -> anyhow::Result<()> {
        let started = Instant::now();
        let parts = Parts::open(&self.folder)?;
        let mut client = db::connect(admin).await?;
        let tables: i64 = client.query_one(sql!("ops/backup/tables_there").text, &[]).await?.get(0);
        if tables > 0 {
            let unfinished = is_unfinished(&client).await?;
            let what = if unfinished { "has what a restore that was broken off left" } else { "has tables already" };
            bail!("the database {what}: create an empty one, and give its address in DATABASE_ADMIN_URL");
        }
        db::migrate::check_text(&client).await?;
        db::migrate::roles(admin, Some(api)).await?;
        let logins = Logins::of(&client, parts.logins).await?;
        load(&client, admin, pg_restore, parts.dump).await?;
        let restored = self.settle(&client, &logins, admin, api).await?;
        let phase = terminal::progress("examining", Measure::Time);
        let finished = finish(&mut client, &logins, &restored.found, &parts.expected).await;
        finished.with_context(|| unfinished(restored.due.is_some()))?;
        drop(phase);
        report(&client, &logins, restored, started).await
    }

    /// Makes sure that nothing in the copy is carried out again, counts the restored rows, and migrates the copy to
    /// this version; from then on the restore counts as finished.
    async fn settle(&self, client: &Client, logins: &Logins, admin: &str, api: &str) -> anyhow::Result<Restored> {
        // A snapshot of the restored rows, which are counted once none of them can be acted upon again.
        let mut counter = db::connect(admin).await?;
        let restored = counter.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let restored = restored.start().await?;
        restored.query_one("select pg_current_snapshot()::text", &[]).await?;
        client.batch_execute(sql!("ops/backup/settle").text).await?;
        client.execute(sql!("ops/end_tokens").text, &[&None::<Uuid>]).await?;
        let without = logins.forget_grants(client).await?;
        // Whatever fails from here on, the copy is there. What an older schema lacks for it is there after the
        // migrations.
        let is_current = db::migrate::is_current(client).await?;
        let mut due = None;
        if !self.keep_due {
            due = match cancel_due(client, None, ORIGIN).await {
                Err(_) if !is_current => None,
                cancelled => Some(cancelled?),
            };
        }
        // Before a migration turns some tables into new ones.
        let phase = terminal::progress("counting tables", Measure::Time);
        let found = counts(restored.client(), &phase).await?;
        restored.rollback().await?;
        drop(phase);
        let phase = terminal::progress("migrating", Measure::Time);
        db::migrate::migrate(admin, Some(api)).await.with_context(|| unfinished(due.is_some()))?;
        if !self.keep_due && !is_current {
            let later = cancel_due(client, None, ORIGIN).await?;
            due = Some(due.map_or(later, |earlier| earlier + later));
        }
        client.batch_execute(sql!("ops/backup/new_identity").text).await?;
        client.batch_execute(sql!("ops/backup/end").text).await?;
        drop(phase);
        Ok(Restored { found, due, without })
    }
}

/// The contents of a backup's folder.
struct Parts {
    logins: String,
    expected: Counts,
    dump: File,
}

impl Parts {
    fn open(folder: &Path) -> anyhow::Result<Self> {
        let open = |name: &str| {
            let path = folder.join(name);
            File::open(&path)
                .with_context(|| format!("{} is no backup: {} is missing", folder.display(), path.display()))
        };
        let read = |name: &str| anyhow::Ok(std::io::read_to_string(open(name)?)?);
        let logins = if folder.join(STATEMENTS).exists() { "{}".to_owned() } else { read(LOGINS)? };
        Ok(Self { logins, expected: serde_json::from_str(&read(COUNTS)?)?, dump: open(DUMP)? })
    }
}

/// A restored database whose rows can be served.
struct Restored {
    /// The rows of each table as they were restored.
    found: Counts,
    /// What was cancelled, unless it was to be kept.
    due: Option<Due>,
    /// The logins whose companies were taken away.
    without: BTreeSet<String>,
}

/// Loads the whole dump or nothing. Meanwhile the database is marked as one whose restore is unfinished.
async fn load(client: &Client, admin: &str, pg_restore: &Path, mut dump: File) -> anyhow::Result<()> {
    let size = dump.metadata()?.len();
    let mut bar = terminal::progress("restoring", Measure::BytesOf(size));
    let mut restore = Command::new(pg_restore);
    let environment = db::libpq_environment(admin)?;
    let database = environment.iter().find(|(name, _)| *name == "PGDATABASE").map(|(_, name)| name.clone());
    restore
        .envs(environment)
        .args(["--single-transaction", "--exit-on-error", "--dbname", &database.unwrap_or_default()])
        .stdin(dump.try_clone()?);
    // Both processes share the position in the open file.
    let tell = || match dump.stream_position() {
        Ok(read) if read < size => bar.set_position(read),
        _ if bar.length().is_some() => {
            bar.finish_and_clear();
            bar = terminal::progress("restoring indexes", Measure::Time);
        }
        _ => {}
    };
    let begun = client.batch_execute(sql!("ops/backup/begin").text).await;
    begun.map_err(|e| db::refused(e, "a superuser to restore a backup"))?;
    if let Err(e) = run(restore, "pg_restore", tell).await {
        client.batch_execute(sql!("ops/backup/end").text).await?;
        return Err(e);
    }
    Ok(())
}

/// Says what was restored, and what is left to do.
async fn report(client: &Client, logins: &Logins, restored: Restored, started: Instant) -> anyhow::Result<()> {
    let Restored { found, due, without } = restored;
    let is_newer = db::migrate::is_newer(client).await?;
    say!(
        "{} rows of {} tables are restored, as many as were backed up, and no rule {}is broken ({}).",
        HumanCount(found.values().sum::<i64>().unsigned_abs()),
        found.len(),
        if is_newer { "that this program knows " } else { "" },
        seconds(started)
    );
    if is_newer {
        say!("It is {}.", doctor::NEWER);
    }
    if let Some(told) = due.as_ref().and_then(|due| due.told("backup")) {
        say!("{told}");
    }
    say!(
        "Give the copy a store of files of its own in RINGFENCE_STORAGE_URL, or, if it takes the place of the database that was backed \
         up, that one's. Either store becomes this database's with `ringfence files adopt`."
    );
    say!("Who was erased since the backup is there again: erase them again. Everybody logs in anew.");
    if !logins.statements.is_empty() {
        say!("Logins that are new on this server have no password yet: psql's \\password sets one.");
    }
    if !logins.differing.is_empty() {
        say!("With other rights than in the backup, which stay as they are: {}.", logins.differing.join(", "));
    }
    let operators = client.query(sql!("ops/operator/list").text, &[]).await?;
    let operators = operators.iter().map(|row| (row.get::<_, &str>("name"), row.get::<_, Vec<String>>("names")));
    let operators = operators.filter(|(_, companies)| !companies.is_empty());
    let operators = Vec::from_iter(operators.map(|(name, companies)| format!("{name} ({})", companies.join(", "))));
    if !operators.is_empty() {
        say!(
            "Operators have here the companies that they had at the backup, also those that were taken from them since: {}. \
             See `ringfence operator revoke`.",
            operators.join(", ")
        );
    }
    if !without.is_empty() {
        say!(
            "The login was removed, or is another one now, and is without a company here: {}. See `ringfence operator`.",
            Vec::from_iter(without).join(", ")
        );
    }
    Ok(())
}

/// Whether a restore into this database is unfinished: what is due in it may have been done, and would be again.
pub(crate) async fn is_unfinished(client: &Client) -> anyhow::Result<bool> {
    Ok(client.query_typed_one(sql!("platform/unfinished_restore").text, &[]).await?.get(0))
}

/// Compares the counts, creates the logins and gives them their companies, and examines the database.
async fn finish(client: &mut Client, logins: &Logins, found: &Counts, expected: &Counts) -> anyhow::Result<()> {
    if found != expected {
        let differing = expected.iter().filter(|(table, n)| found.get(*table) != Some(n));
        let names: Vec<_> = differing.map(|(table, _)| table.as_str()).collect();
        bail!("the restored tables have other numbers of rows than were backed up: {}", names.join(", "));
    }
    client.batch_execute("analyze").await?;
    // Logins belong to the whole server: a failure must not leave any behind.
    let tx = client.transaction().await?;
    tx.batch_execute(&logins.statements).await?;
    tx.batch_execute(sql!("ops/backup/bind").text).await?;
    let findings = doctor::findings(tx.client(), doctor::rules_for(tx.client()).await?).await?;
    if let Some(first) = findings.first() {
        bail!(
            "the restored database breaks a rule: {}. Remedy: {}. See `ringfence doctor`",
            first.finding,
            first.remedy
        );
    }
    Ok(tx.commit().await?)
}

/// The error for a copy that is loaded, but not finished.
fn unfinished(is_due_cancelled: bool) -> String {
    let due = if is_due_cancelled { "is cancelled" } else { "is still to be done" };
    format!(
        "the rows are there, what was due since the backup {due}, and operators' logins are neither made nor given their companies: \
         restore again into an empty database, or use `ringfence operator`"
    )
}

/// What cancelled rows of a restored copy give as the reason.
const ORIGIN: &str = "Restored from a backup";

/// The numbers of due items in a copy that were cancelled.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    texts: i64,
    campaigns: i64,
    runs: i64,
}

impl Add for Due {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            texts: self.texts + other.texts,
            campaigns: self.campaigns + other.campaigns,
            runs: self.runs + other.runs,
        }
    }
}

impl Due {
    /// Says what was due since then; `None` if nothing was.
    pub fn told(&self, since: &str) -> Option<String> {
        let Self { texts, campaigns, runs } = self;
        (texts + campaigns + runs > 0).then(|| {
            format!(
                "Due since the {since} and cancelled, because they may have been sent: {texts} scheduled texts, {campaigns} campaigns, \
                 {runs} runs of workflows."
            )
        })
    }
}

/// Cancels what is due in a copy, of one company or of all.
pub(crate) async fn cancel_due(db: &impl GenericClient, company: Option<Uuid>, origin: &str) -> anyhow::Result<Due> {
    let row = db.query_one(sql!("ops/backup/cancel_due").text, &[&company, &origin]).await?;
    Ok(Due { texts: row.get("texts"), campaigns: row.get("campaigns"), runs: row.get("runs") })
}

/// The logins of a backup on the server where it is restored.
struct Logins {
    /// The logins as they are in the backup.
    json: String,
    /// Statements that create the missing logins.
    statements: String,
    /// Logins that get the companies that they had in the backup.
    theirs: Vec<String>,
    /// Logins that have other rights here.
    differing: Vec<String>,
}

impl Logins {
    async fn of(client: &Client, json: String) -> anyhow::Result<Self> {
        let rows = client.query(sql!("ops/backup/logins_here").text, &[&json]).await?;
        let named = |what: &str| rows.iter().filter(|row| row.get(what)).map(|row| row.get("name")).collect();
        let statements = rows.iter().filter_map(|row| row.get::<_, Option<String>>("statements")).collect();
        let (theirs, differing) = (named("is_theirs"), named("differs"));
        Ok(Self { json, statements, theirs, differing })
    }

    /// Takes the companies away from all other logins; returns the names of these.
    async fn forget_grants(&self, client: &Client) -> anyhow::Result<BTreeSet<String>> {
        let rows = client.query(sql!("ops/backup/forget_grants").text, &[&self.json, &self.theirs]).await?;
        Ok(rows.iter().map(|row| row.get("name")).collect())
    }
}

fn seconds(since: Instant) -> indicatif::HumanDuration {
    indicatif::HumanDuration(since.elapsed().max(Duration::from_secs(1)))
}

/// The number of rows of every table.
async fn counts(client: &Client, bar: &ProgressBar) -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    let tables = client.query(sql!("ops/backup/tables").text, &[]).await?;
    for table in &tables {
        let name: String = table.get("name");
        let rows = client.query_one(&format!("select count(*) from {name}"), &[]).await?.get(0);
        counts.insert(name, rows);
        bar.set_message(format!("tables counted: {}/{}", counts.len(), tables.len()));
    }
    Ok(counts)
}

/// How often the progress of a program is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Runs one of PostgreSQL's programs.
async fn run(mut command: Command, name: &str, mut tell: impl FnMut()) -> anyhow::Result<()> {
    let mut output = pin!(command.output());
    let output = loop {
        match tokio::time::timeout(PROGRESS_INTERVAL, &mut output).await {
            Ok(output) => break output.with_context(|| format!("cannot run {name}: is it installed?"))?,
            Err(_) => tell(),
        }
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).take(3).collect();
        bail!("{name} failed: {}", last.join(" "));
    }
    Ok(())
}
