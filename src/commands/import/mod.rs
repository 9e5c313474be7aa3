//! Imports the old backend's database: reads its tables in one snapshot, judges their rows, and adds those that fit, in
//! batches that can be interrupted. Rows that do not fit are written to a report with their table, id and reason.
//!
//! An imported row is recorded in `ops.imported` and never imported again: a second run adds what is new in the old
//! database.

mod files;
mod judge;
mod secrets;
mod source;
mod tables;

use crate::{
    clients::storage::Storage,
    commands::backfill,
    db::{self, connect_as_dba},
    seal::Sealer,
    sql, store_owner,
    terminal::{self, Measure},
};
use anyhow::{Context, bail};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use indicatif::ProgressBar;
use jiff::Timestamp;
use source::{Columns, Look};
use std::{collections::BTreeMap, fmt::Write, fs::File, path::PathBuf, pin::pin, time::Duration};
use tables::{TABLES, Table};
use tokio_postgres::{Client, GenericClient, IsolationLevel, Transaction, error::SqlState};
use uuid::Uuid;

/// What to import, and how.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Import")]
pub struct Options {
    /// The old database (postgres://user:password@host/database), which is only read
    #[arg(long, env = "RINGFENCE_OLD_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub from: String,
    /// Folder with the content of the old files, under their storage paths or the ends of these
    #[arg(long, value_name = "FOLDER")]
    pub files: Option<PathBuf>,
    /// Import everything in one transaction, write the report, and roll back
    #[arg(long)]
    pub dry_run: bool,
    /// New file for the rows that were left out or changed, with their ids and reasons
    /// [default: import-report-TIME.csv]
    #[arg(long, value_name = "FILE", default_value_os_t = new_report(), hide_default_value = true)]
    pub report: PathBuf,
}

/// Each run has its own report: what an earlier one changed is recorded nowhere else.
fn new_report() -> PathBuf {
    Timestamp::now().strftime("import-report-%Y%m%dT%H%M%SZ.csv").to_string().into()
}

/// The outcome for one table.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The number of rows in the old database.
    pub old: u64,
    /// The number of rows that an earlier run imported.
    pub before: u64,
    /// The number of rows that this run imported.
    pub now: u64,
    /// The number of rows left out, with a reason in the report.
    pub left_out: u64,
}

/// The outcome of an import.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// By the table's name in the old database, in the order of import; opt-outs of campaigns by a name of their own.
    pub tables: Vec<(&'static str, Outcome)>,
    /// Tables, and columns (`table.column`), that the old database lacks, so that nothing is imported from them.
    pub missing: Vec<String>,
    /// The number of rows of old tables that have no place here.
    pub no_place: BTreeMap<String, i64>,
    /// The number of values of old columns (`table.column`) that have no place here, though their rows have one.
    pub values: BTreeMap<String, i64>,
    /// The number of files whose content was imported.
    pub contents: u64,
    /// How often each reason is in the report, by table, action and reason.
    pub reasons: BTreeMap<(String, String, String), u64>,
}

/// The maximum number of rows of one statement and transaction.
const BATCH_SIZE: i64 = 20_000;

/// Creates the import's temporary tables, which the statements of `sql/import/` expect in a migrated database.
pub async fn create_staging(db: &impl GenericClient) -> anyhow::Result<()> {
    db.batch_execute(
        "create temporary table old_report (table_name text not null, id uuid, action text not null, reason text not null);
         create temporary table old_user_teams (user_id uuid not null, team_id uuid not null);
         create temporary table old_user_companies (user_id uuid primary key, company_id uuid);
         create temporary table old_homes (user_id uuid primary key, tenant_id uuid, problem text);
         create temporary table old_merged (id uuid primary key, kept uuid not null)",
    )
    .await?;
    for table in TABLES {
        db.batch_execute(&judge::create_stage(table)).await?;
    }
    Ok(())
}

/// Runs the import; returns the outcome for each table.
pub async fn run(admin_url: &str, options: &Options, sealer: &Sealer, storage: &Storage) -> anyhow::Result<Outcomes> {
    // Checked before anything is done, though needed only at the end.
    let folder = options.files.as_deref();
    let folder = folder.map(|folder| {
        folder.canonicalize().with_context(|| format!("--files: there is no folder {}", folder.display()))
    });
    let folder = folder.transpose()?;
    let mut source = db::connect(&options.from).await.context("--from: the old database cannot be reached")?;
    // Makes a policy that would hide rows an error, and a time the same whether its column has a zone or not.
    source.batch_execute("set row_security = off; set timezone = 'UTC'").await?;
    let old =
        source.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
    let Look { columns, stand_ins } = source::look(&old).await?;
    let mut db = connect_as_dba(admin_url).await?;
    be_alone(&db).await?;
    if options.files.is_some() {
        let claim = if options.dry_run { store_owner::Claim::No } else { store_owner::Claim::IfUnowned };
        store_owner::of_administrator(&db, storage, claim).await??;
    }
    // What a crash of the server loses, the next run imports again.
    db.batch_execute("set synchronous_commit = off").await?;
    let file = &options.report;
    // An empty one is left from a run that did not finish.
    if file.metadata().is_ok_and(|file| file.len() > 0) {
        bail!("{} has the report of another run: give another --report", file.display());
    }
    let report = csv::Writer::from_path(file).with_context(|| format!("cannot write {}", file.display()))?;
    let outcomes = Outcomes { missing: source::missing(&columns), ..Outcomes::default() };
    let mut run = Run { old, columns, stand_ins, options, folder, report, outcomes };
    if options.dry_run {
        let mut tx = db.transaction().await?;
        run.everything(&mut tx, sealer, storage).await?;
        tx.rollback().await?;
    } else {
        run.everything(&mut db, sealer, storage).await?;
        finish(&db).await?;
    }
    Ok(run.outcomes)
}

/// Allows one import at a time. The session of a killed one lives on for a moment.
async fn be_alone(db: &Client) -> anyhow::Result<()> {
    for _ in 0..20 {
        if db.query_one("select pg_try_advisory_lock(hashtext('ringfence import'))", &[]).await?.get(0) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("another import is going on in this database: wait for its end")
}

/// Makes sure that everything is on disk and analyzed, and forgets the report's entries.
async fn finish(db: &Client) -> anyhow::Result<()> {
    // The import's commits did not wait for the disk. A commit that does so, and writes something, also waits for all
    // before it; creating a table is the least that counts as writing.
    db.batch_execute("set synchronous_commit = on; create temporary table done (); reset role").await?;
    let analyze: Vec<String> = TABLES.iter().map(|table| format!("analyze {}", table.new)).collect();
    db.batch_execute(&analyze.join("; ")).await?;
    db.batch_execute("set role ringfence_dba").await?;
    db.execute(sql!("import/forget_report").text, &[]).await?;
    Ok(())
}

struct Run<'a> {
    old: Transaction<'a>,
    columns: Columns,
    /// Precedes queries of the old database.
    stand_ins: String,
    options: &'a Options,
    /// The folder with the content of files, if one is given.
    folder: Option<PathBuf>,
    report: csv::Writer<File>,
    outcomes: Outcomes,
}

impl Run<'_> {
    async fn everything(
        &mut self,
        db: &mut impl GenericClient,
        sealer: &Sealer,
        storage: &Storage,
    ) -> anyhow::Result<()> {
        self.warn_of_others().await?;
        create_staging(db).await?;
        for table in TABLES {
            if !self.columns.contains_key(table.old) {
                continue;
            }
            let outcome = self.table(db, table).await.with_context(|| format!("the table {}", table.name()))?;
            self.outcomes.tables.push((table.name(), outcome));
            if table.new == "teams" {
                db.execute(sql!("import/users_without_team").text, &[]).await?;
            }
            // A worker fails a text that is due while the company has settings without credentials.
            if table.new == "twilio_settings" {
                secrets::seal(&self.old, &self.columns, &self.stand_ins, db, sealer).await?;
            }
        }
        let files = self.folder.as_deref();
        if self.columns.contains_key("files") {
            self.outcomes.contents =
                files::bring(&self.old, &self.stand_ins, db, storage, files, self.options.dry_run).await?;
        }
        self.count_the_rest().await?;
        self.count_lost_values().await?;
        let (file, is_dry) = (self.options.report.display(), self.options.dry_run);
        self.report(db).await.with_context(|| {
            if is_dry {
                format!("the report {file} could not be written")
            } else {
                format!(
                    "the rows are in, and only the report {file} could not be written: run it again with another --report, which tells all"
                )
            }
        })
    }

    /// Warns if the old backend may not have stopped: what it sends after its rows were read would be sent twice.
    async fn warn_of_others(&self) -> anyhow::Result<()> {
        let others: i64 = self.old.query_one(sql!("import/other_sessions").text, &[]).await?.get(0);
        if others > 0 && !self.options.dry_run {
            eprintln!(
                "Warning: {others} other connections to the old database. Is its backend stopped? What it sends from now on may be sent twice."
            );
        }
        Ok(())
    }

    async fn table(&mut self, db: &mut impl GenericClient, table: &Table) -> anyhow::Result<Outcome> {
        let (stage, new) = (table.stage(), table.new);
        let old = match self.copy(db, table).await {
            Err(e) if e.downcast_ref().is_some_and(source::is_value) => {
                let which = source::unreadable(&self.old, table, &self.stand_ins).await?;
                return Err(match which {
                    Some(which) => e.context(which),
                    None => e,
                });
            }
            read => read?,
        };
        let judging = terminal::progress(format!("{}: do they fit?", table.name()), Measure::Time);
        for statement in table.keep {
            db.execute(statement.text, &[]).await?;
        }
        if new == "users" {
            self.rejoin(db).await?;
        }
        if table.has("updated_at") {
            db.execute(&changed_since(table), &[]).await?;
        }
        let before = format!("delete from {stage} s using ops.imported i where i.table_name = '{new}' and i.id = s.id");
        let before = db.execute(&before, &[]).await?;
        db.batch_execute(&format!("analyze {stage}")).await?;
        judge::judge(db, table).await?;
        // Stored with the rows that are committed from here on, in case this run does not get to its report.
        db.execute(sql!("import/keep_report").text, &[]).await?;

        let fit = format!("select count(*) from {stage} where problem is null");
        let fit: i64 = db.query_one(&fit, &[]).await?.get(0);
        if new != "users" && table.has("company_id") {
            let historical = format!("select count(*) from {stage} where problem is null and company_id is null");
            let historical: i64 = db.query_one(&historical, &[]).await?.get(0);
            if historical >= i64::from(backfill::LARGE_TABLE_ROWS).max(fit / 5) {
                backfill::leave_room(db, new).await?;
            }
        }
        drop(judging);
        let bar = terminal::progress(table.name(), Measure::Of(fit.unsigned_abs()));
        let now = insert(db, table, self.options.dry_run, &bar).await?;
        let left_out = format!(
            "insert into old_report (table_name, id, action, reason) select '{}', id, 'left out', problem from {stage} where problem is not null",
            table.name()
        );
        let left_out = db.execute(&left_out, &[]).await?;
        // Users whose team was not imported are reported later.
        if new != "users" {
            db.batch_execute(&format!("drop table {stage}")).await?;
        }
        bar.finish();
        Ok(Outcome { old, before, now, left_out })
    }

    /// Assigns users who were imported without their company to it, if it has been imported since; their rows follow,
    /// as in `app.assign_company`.
    async fn rejoin(&self, db: &mut impl GenericClient) -> anyhow::Result<()> {
        for row in db.query(sql!("import/detached_users").text, &[]).await? {
            let (user, company): (Uuid, Uuid) = (row.get("id"), row.get("company_id"));
            let tx = db.transaction().await?;
            let (action, reason) = match tx.execute(sql!("ops/user/assign_company").text, &[&user, &company]).await {
                Ok(_) => {
                    tx.commit().await?;
                    ("changed", "its company has come over since: it belongs to it now")
                }
                Err(e) if e.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                    tx.rollback().await?;
                    (
                        "kept",
                        "its company has come over since and has a row with a key of one of its rows: `ringfence user assign` names it",
                    )
                }
                Err(e) => return Err(e.into()),
            };
            db.execute(sql!("import/told_of_user").text, &[&user, &action, &reason]).await?;
        }
        Ok(())
    }

    /// Streams the old table into its staging table, without holding it in memory.
    async fn copy(&self, db: &impl GenericClient, table: &Table) -> anyhow::Result<u64> {
        let bar = terminal::progress(format!("reading {}", table.name()), Measure::Bytes);
        let names = table.columns().map(|(name, _, _)| name).chain(["altered"]).collect::<Vec<_>>().join(", ");
        let out = format!("copy ({}) to stdout (format binary)", source::select(table, &self.stand_ins));
        self.old.batch_execute(&format!("savepoint {}", source::SAVEPOINT)).await?;
        let mut out = pin!(self.old.copy_out(&out).await?);
        let into = format!("copy {} ({names}) from stdin (format binary)", table.stage());
        let mut into = pin!(db.client().copy_in(&into).await?);
        while let Some(chunk) = out.next().await {
            let chunk = chunk?;
            bar.inc(chunk.len() as u64);
            into.send(chunk).await?;
        }
        Ok(into.finish().await?)
    }

    /// Counts the rows of old tables that have no place here.
    async fn count_the_rest(&mut self) -> anyhow::Result<()> {
        for name in self.columns.keys().filter(|name| TABLES.iter().all(|table| table.old != name.as_str())) {
            let count = format!("select count(*) from {}", quoted(name));
            let rows: i64 = self.old.query_one(&count, &[]).await?.get(0);
            if rows > 0 {
                self.outcomes.no_place.insert(name.clone(), rows);
            }
        }
        Ok(())
    }

    /// Counts the values of old columns that are imported nowhere, in one pass over each table.
    async fn count_lost_values(&mut self) -> anyhow::Result<()> {
        for (table, columns) in self.columns.iter().filter(|(name, _)| TABLES.iter().any(|table| table.old == *name)) {
            let lost: Vec<_> = columns
                .iter()
                .filter_map(|(column, says_something)| Some((column, tables::lost(table, column, says_something)?)))
                .collect();
            if lost.is_empty() {
                continue;
            }
            let counts: Vec<String> = lost.iter().map(|(_, when)| format!("count(*) filter (where {when})")).collect();
            let counts = format!("{}select {} from {}", self.stand_ins, counts.join(", "), quoted(table));
            let counts = self.old.query_one(&counts, &[]).await?;
            for (i, (column, _)) in lost.iter().enumerate() {
                let values: i64 = counts.get(i);
                if values > 0 {
                    self.outcomes.values.insert(format!("{table}.{column}"), values);
                }
            }
        }
        Ok(())
    }

    async fn report(&mut self, db: &impl GenericClient) -> anyhow::Result<()> {
        let out = &mut self.report;
        out.write_record(["table", "id", "action", "reason"])?;
        for name in &self.outcomes.missing {
            let (table, column) = name.split_once('.').unwrap_or((name, ""));
            let what = if column.is_empty() { "the table".to_owned() } else { format!("{column}: the column") };
            out.write_record([table, "", "missing", &format!("{what} is not there in the old database")])?;
        }
        for (table, rows) in &self.outcomes.no_place {
            out.write_record([table, "", "no place", &format!("{rows} rows have no place here")])?;
        }
        for (name, values) in &self.outcomes.values {
            let (table, column) = name.split_once('.').unwrap_or((name, ""));
            out.write_record([table, "", "no place", &format!("{column}: {values} values have no place here")])?;
        }
        let none: [&str; 0] = [];
        let mut rows = pin!(db.query_raw(sql!("import/report").text, none).await?);
        while let Some(row) = rows.next().await {
            let row = row?;
            let (table, id, action, reason): (String, Option<String>, String, String) =
                (row.get(0), row.get(1), row.get(2), row.get(3));
            out.write_record([&table, id.as_deref().unwrap_or_default(), &action, &reason])?;
            *self.outcomes.reasons.entry((table, action, without_ids(&reason))).or_default() += 1;
        }
        Ok(out.flush()?)
    }
}

/// A reason without ids, so that reasons that name different rows are counted together.
fn without_ids(reason: &str) -> String {
    let words = reason.split(' ').map(|word| if Uuid::try_parse(word).is_ok() { "…" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The statement that reports rows that have changed in the old database since their import. The rows here are in use,
/// so they stay as they are.
fn changed_since(table: &Table) -> String {
    format!(
        "insert into old_report (table_name, id, action, reason)
         select '{}', s.id, 'kept', 'it has changed in the old database since it was brought over; the row here stays as it is'
         from {} s join ops.imported i on i.table_name = '{new}' and i.id = s.id join {new} t on t.id = s.id
         where s.updated_at > coalesce(i.updated_at, t.updated_at) and s.updated_at < '10000-01-01'",
        table.old,
        table.stage(),
        new = table.new
    )
}

/// Adds the rows that fit. A batch that the database refuses is halved until the refused row is found.
async fn insert(db: &mut impl GenericClient, table: &Table, dry_run: bool, bar: &ProgressBar) -> anyhow::Result<u64> {
    let (stage, new) = (table.stage(), table.new);
    let columns = judge::staged_columns(db, table).await?;
    let columns = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    let updated_at = if table.has("updated_at") { "s.updated_at" } else { "null" };
    let statement = format!(
        "with added as (
           insert into {new} ({columns}) select {columns} from {stage} where n > $1 and n <= $2 and problem is null order by n returning id
         )
         insert into ops.imported (table_name, id, updated_at) select '{new}', a.id, {updated_at}
         from added a join {stage} s on s.id = a.id where s.n > $1 and s.n <= $2 and s.problem is null"
    );
    let last: i64 = db.query_one(&format!("select coalesce(max(n), 0) from {stage}"), &[]).await?.get(0);
    // Folders are nested, so they are added all at once.
    let size = if new == "folders" { last.max(1) } else { BATCH_SIZE };
    let mut batches: Vec<(i64, i64)> =
        (0..last).step_by(usize::try_from(size)?).map(|n| (n, (n + size).min(last))).collect();
    batches.reverse();
    let mut added = 0;
    while let Some((first, last)) = batches.pop() {
        match insert_batch(db, table, &statement, dry_run, first, last).await {
            Ok(rows) => {
                added += rows;
                bar.inc(rows);
            }
            Err(e) => {
                let Some(reason) = refusal(&e) else { return Err(e.into()) };
                if last - first == 1 {
                    let mark = format!("update {stage} set problem = $2 where n = $1");
                    db.execute(&mark, &[&last, &reason]).await?;
                } else {
                    let middle = first + (last - first) / 2;
                    batches.extend([(middle, last), (first, middle)]);
                }
            }
        }
    }
    Ok(added)
}

async fn insert_batch(
    db: &mut impl GenericClient,
    table: &Table,
    statement: &str,
    dry_run: bool,
    first: i64,
    last: i64,
) -> Result<u64, tokio_postgres::Error> {
    let tx = db.transaction().await?;
    // Not in a dry run, which would lock the users until its end and is rolled back anyway.
    if !dry_run {
        judge::follow_users(&tx, table, first, last).await?;
    }
    let without_triggers = !table.instead_of_triggers.is_empty();
    if without_triggers {
        tx.batch_execute("set local app.restoring = 'on'").await?;
    }
    for instead in table.instead_of_triggers {
        tx.execute(instead.text, &[&first, &last]).await?;
    }
    let rows = tx.execute(statement, &[&first, &last]).await?;
    if without_triggers {
        // A dry run continues in this transaction.
        tx.batch_execute("set local app.restoring = 'off'").await?;
    }
    for more in table.with {
        tx.execute(more.text, &[&first, &last]).await?;
    }
    tx.commit().await?;
    Ok(rows)
}

/// Why the database refuses a row, if the row itself is the reason.
fn refusal(e: &tokio_postgres::Error) -> Option<String> {
    let e = e.as_db_error()?;
    let class = e.code().code().get(..2).unwrap_or_default();
    let reason = match e.constraint() {
        Some(constraint) => format!("the database refuses it: {constraint}"),
        None => format!("the database refuses it: {}", e.message()),
    };
    matches!(class, "22" | "23" | "P0" | "RF").then_some(reason)
}

impl Outcomes {
    /// The table of counts and the reasons, for a terminal.
    pub fn summary(&self, options: &Options) -> String {
        let mut text =
            format!("{:<22}{:>12}{:>12}{:>12}{:>12}\n", "table", "old", "here before", "brought now", "left out");
        for (table, o) in &self.tables {
            let _ = writeln!(text, "{table:<22}{:>12}{:>12}{:>12}{:>12}", o.old, o.before, o.now, o.left_out);
        }
        let _ = writeln!(text, "{:<22}{:>36}", "contents of files", self.contents);
        if !self.missing.is_empty() {
            let _ = writeln!(text, "\nNot there in the old database: {}", self.missing.join(", "));
        }
        if !self.no_place.is_empty() {
            text += "\nWithout a place here, and not brought over:\n";
        }
        for (table, rows) in &self.no_place {
            let _ = writeln!(text, "  {table:<30}{rows:>10} rows");
        }
        if !self.values.is_empty() {
            text += "\nValues without a place here, in rows that have one:\n";
        }
        for (column, values) in &self.values {
            let _ = writeln!(text, "  {column:<44}{values:>10} values");
        }
        if !self.reasons.is_empty() {
            let _ = writeln!(text, "\nEach row with its id is in {}:", options.report.display());
        }
        for ((table, action, reason), rows) in &self.reasons {
            let _ = writeln!(text, "  {rows:>8} {table}: {action}: {reason}");
        }
        if options.dry_run {
            text += "\nNothing was changed: this was a dry run.\n";
        }
        text
    }
}
