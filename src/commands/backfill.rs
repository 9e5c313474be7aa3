//! `ringfence backfill`: gives historical rows, which have no company, the company that they belong to.
//!
//! The rows are changed by functions of the database (`app.backfill_step`, `app.undo_backfill_step`,
//! `app.finish_backfill`), which a DBA can also call without this program (`sql/ops/backfill/`). This module adds
//! convenience: a plan to read, workers, progress, vacuum.

use crate::{
    db::{self, Company, Params},
    say, sql,
    terminal::{self, Measure},
};
use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{HumanCount, HumanDuration, ProgressBar};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tokio_postgres::{Client, GenericClient, Row, Statement, error::SqlState};
use uuid::Uuid;

/// What to do with historical rows.
#[derive(Subcommand)]
pub enum Command {
    /// Show what a run would do: rows by table and company, and the rows that cannot get a company, and why. Changes
    /// nothing
    Plan,
    /// Give historical rows their company while the API keeps serving
    ///
    /// A run works in small transactions, each of which records its rows. Ctrl-C, a crash or kill -9 at any time loses
    /// nothing: the next run continues where this one stopped. Starting it twice is harmless. Afterwards colleagues see
    /// the rows; other companies never do.
    Run(Run),
    /// Compare what each company and its users had before the run with what is there now; the exit code is 1 if a
    /// company has gained rows that others lost, or if conversations do not match their texts. Rows that were deleted,
    /// given to a colleague or added since are reported, but do not count as a difference
    Verify,
    /// Make the rows historical again, as they were, from the records of the runs; not while a run is in progress
    ///
    /// Some rows stay the company's: those that were given to a colleague since, those whose user has left, and
    /// pipelines with deals that colleagues made or that stay. A number that another company uses stays switched off.
    Undo,
    /// For tables that have no historical rows any more: make the database require a company, and use the plain policy.
    /// These tables cannot be undone afterwards
    Finish,
}

/// How to run.
#[derive(Args)]
pub struct Run {
    /// Rows per transaction; they stay locked until it ends
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    batch: i32,
    /// Number of workers, each with a connection and a part of a table
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=16))]
    workers: i32,
    /// Maximum number of rows per second, over all workers
    #[arg(long)]
    rate: Option<u32>,
    /// Remove old row versions each time this many rows of a table have changed; 0 leaves that to autovacuum
    /// [default: a tenth of all, at least 50000]
    ///
    /// This skips the indexes, which makes it fast and still keeps the table from growing to twice its size. At the end
    /// the tables are vacuumed completely.
    #[arg(long)]
    vacuum_every: Option<u64>,
    /// Replace a table's indexes that contain the company during the run if at least this many of its rows are moved; 0
    /// never does
    ///
    /// Indexes without the company take their place: a row that changes in no index stays on its page, which is several
    /// times as fast. The original indexes are rebuilt at the end, while reads and writes go on. After an interrupted
    /// run, run it again or undo it: either restores them. Tables with a unique key of a company's rows keep their
    /// indexes, except for the texts.
    #[arg(long, default_value_t = LARGE_TABLE_ROWS)]
    stand_ins_from: u32,
}

/// The number of rows from which it is worth changing indexes, and leaving room on pages.
pub const LARGE_TABLE_ROWS: u32 = 100_000;
/// How long to wait for other transactions before a table keeps its indexes.
const INDEX_WAIT: &str = "set lock_timeout = '30s'";
/// Each index is sorted in memory by a single process, which leaves the other processors to the API.
const INDEXING: &str = "set maintenance_work_mem = '256MB'; set max_parallel_maintenance_workers = 0";
/// Compression of full pages in the WAL. Pages that change for the first time since a checkpoint, and those of a new
/// index, are logged whole, and everybody's commits wait for that. The method that compresses best is for indexes, the
/// faster one for rows.
const SMALLEST_LOG: &str = "zstd";
const SMALL_LOG: &str = "lz4";

/// How many times the tables are vacuumed in a run: each time, everything that has changed so far is visited again.
const MAX_VACUUMS: u64 = 10;
/// The number of rows from which a vacuum is worthwhile.
const MIN_VACUUMED_ROWS: u64 = 50_000;

/// Runs the command at the administrator's address of a database; false when `verify` found a difference.
pub async fn run(command: Command, admin: &str) -> anyhow::Result<bool> {
    if let Command::Finish = command {
        let client = db::connect(admin).await?;
        db::migrate::require_current(&client).await?;
        return finish(&client).await.map(|()| true);
    }
    let client = bypassing(admin).await?;
    match command {
        Command::Plan => plan(&client).await?,
        Command::Run(options) => options.run(&client, admin).await?,
        Command::Verify => return verify(&client).await,
        Command::Undo => undo(&client, admin).await?,
        Command::Finish => {}
    }
    Ok(true)
}

/// A connection as the administrator, for indexes and vacuums, because ringfence_dba does not own the tables.
async fn owning(admin: &str) -> anyhow::Result<Client> {
    let client = db::connect(admin).await?;
    compress_log(&client, SMALLEST_LOG).await;
    client.batch_execute(INDEXING).await?;
    Ok(client)
}

/// Compresses pages in the WAL by this method, or by the one that every PostgreSQL has. Not every administrator may set
/// it.
async fn compress_log(client: &Client, method: &str) {
    for method in [method, "pglz"] {
        if client.batch_execute(&format!("set wal_compression = '{method}'")).await.is_ok() {
            break;
        }
    }
}

/// A connection as the role that sees historical rows.
async fn bypassing(admin: &str) -> anyhow::Result<Client> {
    let client = db::connect(admin).await?;
    compress_log(&client, SMALL_LOG).await;
    db::migrate::require_current(&client).await?;
    db::become_dba(&client).await?;
    client.batch_execute("set lock_timeout = '5s'; set row_security = off").await?;
    Ok(client)
}

async fn plan(client: &Client) -> anyhow::Result<()> {
    let rows = client.query(sql!("ops/backfill/plan").text.trim_end_matches(['\n', ';']), &[]).await?;
    let (mut total, mut undecided, mut seconds, mut table) = (0_u64, 0_u64, 0.0, String::new());
    for row in &rows {
        let count = row.get::<_, i64>("row_count").unsigned_abs();
        let name: String = row.get("table_name");
        if name != table {
            say!("{name}");
            table = name;
        }
        let whose = match row.get::<_, Option<Uuid>>("company_id") {
            Some(id) => format!("-> {}", Company { id, name: row.get("company") }),
            None => format!("stay: {}", row.get::<_, Option<&str>>("problem").unwrap_or_default()),
        };
        match row.get::<_, Option<String>>("problem") {
            None => total += count,
            Some(_) => undecided += count,
        }
        seconds += row.get::<_, Option<f64>>("seconds").unwrap_or_default();
        say!("  {:>12} {whose}", HumanCount(count).to_string());
    }
    for row in client.query("select * from app.backfill_collisions()", &[]).await? {
        let (table, key, count): (String, String, i64) = (row.get(0), row.get(1), row.get(2));
        total = total.saturating_sub(count.unsigned_abs());
        say!("{table}: {count} rows stay, because the company has another row with the same {key}");
    }
    let beside: i64 = client.query_one(sql!("ops/backfill/numbers_beside").text, &[]).await?.get(0);
    if beside > 0 {
        say!("phone_numbers: {beside} are switched off when they get their company, because another company uses them");
    }
    say!(
        "{} rows get their company, by one worker in about {}; {} cannot be decided.",
        HumanCount(total),
        HumanDuration(Duration::from_secs_f64(f64::ceil(seconds))),
        HumanCount(undecided)
    );
    for row in client.query(sql!("ops/backfill/partitioned").text, &[]).await? {
        let table: &str = row.get(0);
        say!(
            "{table} is partitioned, and a run does not begin while it has such rows: it tells how they get their company."
        );
    }
    if undecided > 0 {
        say!("A user gets a company with: ringfence user assign EMAIL --company ID");
    }
    Ok(())
}

/// What the workers share.
struct Shared {
    bar: ProgressBar,
    started: Instant,
    moved: Mutex<BTreeMap<String, u64>>,
    /// Tables whose rows stay on their pages, where PostgreSQL frees the space of old versions by itself.
    in_place: BTreeSet<String>,
    /// After how many moved rows any other table is vacuumed, if at all.
    vacuum_every: Option<u64>,
    owner: tokio::sync::Mutex<Client>,
}

impl Run {
    async fn run(self, client: &Client, admin: &str) -> anyhow::Result<()> {
        client.execute(sql!("ops/backfill/hold").text, &[&false]).await?;
        client.execute(sql!("ops/backfill/open").text, &[&self.workers, &true]).await?;
        let mut progress = Progress::of(client).await?;
        let bar = terminal::progress("backfill", Measure::Of(progress.left_over));
        let owner = owning(admin).await?;
        let started = Instant::now();
        if self.stand_ins_from > 0 && progress.is_under_way {
            bar.set_message("backfill: making way for it");
            change_indexes(client, &owner, &MAKING_WAY, self.stand_ins_from, &bar).await?;
            bar.set_message("backfill");
        }
        let in_place =
            "select distinct target::text from app.backfill_index where app.is_index(index_name) is not true";
        let in_place = client.query(in_place, &[]).await?;
        let in_place = in_place.iter().map(|row| row.get(0)).collect();
        let vacuum_every = self.vacuum_every.unwrap_or((progress.left_over / MAX_VACUUMS).max(MIN_VACUUMED_ROWS));
        let vacuum_every = Some(vacuum_every).filter(|rows| *rows > 0);
        let owner = tokio::sync::Mutex::new(owner);
        let shared = Arc::new(Shared { bar, started, moved: Mutex::default(), in_place, vacuum_every, owner });
        let options = Arc::new(self);
        // Once, and again for rows that an update moved while they were passed.
        while progress.is_under_way {
            let mut workers = JoinSet::new();
            for _ in 0..options.workers {
                let (worker, shared, options) = (bypassing(admin).await?, shared.clone(), options.clone());
                workers.spawn(async move { options.work(&worker, &shared).await });
            }
            while let Some(worker) = workers.join_next().await {
                worker??;
            }
            client.execute(sql!("ops/backfill/open").text, &[&options.workers, &false]).await?;
            progress = Progress::of(client).await?;
        }
        shared.bar.set_message("backfill: conversations");
        give_conversations(client, options.rate).await?;
        shared.bar.set_message("backfill: restoring indexes");
        change_indexes(client, &*shared.owner.lock().await, &RESTORING, LARGE_TABLE_ROWS, &shared.bar).await?;
        let moved = std::mem::take(&mut *shared.moved.lock().unwrap_or_else(|e| e.into_inner()));
        shared.bar.finish_and_clear();
        let (rows, seconds) = (moved.values().sum::<u64>(), shared.started.elapsed().as_secs_f64());
        if shared.vacuum_every.is_some() {
            for table in moved.keys() {
                vacuum(&*shared.owner.lock().await, "analyze", table).await?;
            }
        }
        say!(
            "{} rows got their company in {seconds:.1} s, {} a second.",
            HumanCount(rows),
            HumanCount((rows as f64 / seconds.max(0.001)) as u64)
        );
        if progress.collisions > 0 {
            say!(
                "{} rows stay, because the company has another row with the same unique key: table app.backfill_collision.",
                progress.collisions
            );
        }
        say!("Next: ringfence backfill verify. To take it back: ringfence backfill undo.");
        Ok(())
    }

    async fn work(&self, client: &Client, shared: &Arc<Shared>) -> anyhow::Result<()> {
        let step = client.prepare(sql!("ops/backfill/step").text).await?;
        loop {
            let row = take(client, &step, &[&self.batch]).await?;
            let Some(table) = row.get::<_, Option<String>>("target") else {
                if row.get("is_done") {
                    return Ok(());
                }
                // Other workers hold the rest; if they die, it is free again.
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            let moved = u64::from(row.get::<_, i32>("moved").unsigned_abs());
            shared.bar.inc(moved);
            let due = {
                let mut all = shared.moved.lock().unwrap_or_else(|e| e.into_inner());
                let count = all.entry(table.clone()).or_default();
                let was = *count;
                *count += moved;
                let grows = !shared.in_place.contains(&table);
                grows && shared.vacuum_every.is_some_and(|every| was / every != *count / every)
            };
            if due {
                let shared = shared.clone();
                tokio::spawn(async move {
                    // One vacuum at a time: while one runs, others are skipped.
                    if let Ok(owner) = shared.owner.try_lock() {
                        let _ = vacuum(&owner, "index_cleanup off", &table).await;
                    }
                });
            }
            if let Some(rate) = self.rate {
                let due = Duration::from_secs_f64(shared.bar.position() as f64 / f64::from(rate.max(1)));
                tokio::time::sleep(due.saturating_sub(shared.started.elapsed())).await;
            }
        }
    }
}

/// Gives texts that have a company their conversations, batch by batch.
async fn give_conversations(client: &Client, rate: Option<u32>) -> anyhow::Result<()> {
    let step = client.prepare(sql!("ops/backfill/conversations_step").text).await?;
    loop {
        let row = take(client, &step, &[]).await?;
        if row.get("is_done") {
            return Ok(());
        }
        // No texts: other workers hold the rest.
        let pause = match (row.get::<_, i32>("texts"), rate) {
            (0, _) => 0.2,
            (texts, Some(rate)) => f64::from(texts) / f64::from(rate.max(1)),
            (_, None) => 0.0,
        };
        tokio::time::sleep(Duration::from_secs_f64(pause)).await;
    }
}

/// Runs a step. After a lock timeout or a deadlock everything is as before, and it is retried.
async fn take(client: &Client, step: &Statement, params: Params<'_>) -> anyhow::Result<Row> {
    loop {
        match client.query_one(step, params).await {
            Err(e)
                if [Some(&SqlState::LOCK_NOT_AVAILABLE), Some(&SqlState::T_R_DEADLOCK_DETECTED)]
                    .contains(&e.code()) =>
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            taken => return Ok(taken?),
        }
    }
}

/// The stages before a run, and those at its end.
const MAKING_WAY: [&str; 2] = ["make", "use"];
const RESTORING: [&str; 3] = ["restore", "drop", "drop"];
/// The errors with which a table keeps its indexes: a duplicate key, a lock timeout, a deadlock, a name that is taken,
/// or a lack of privilege.
const KEPT: [SqlState; 5] = [
    SqlState::UNIQUE_VIOLATION,
    SqlState::LOCK_NOT_AVAILABLE,
    SqlState::T_R_DEADLOCK_DETECTED,
    SqlState::DUPLICATE_TABLE,
    SqlState::INSUFFICIENT_PRIVILEGE,
];

/// Runs the statements of these stages, each outside of a transaction, as they require; one program at a time.
async fn change_indexes(
    client: &Client,
    owner: &Client,
    stages: &[&str],
    from: u32,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    // Polls the lock: whoever builds an index would wait for a session that waits for it.
    let turn = "select pg_try_advisory_lock(hashtext('ringfence backfill'), 2)";
    while !owner.query_one(turn, &[]).await?.get::<_, bool>(0) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let is_optional = stages == MAKING_WAY;
    owner.batch_execute(if is_optional { INDEX_WAIT } else { "reset lock_timeout" }).await?;
    for stage in stages {
        // Repeated after a deadlock, for what is still to be done.
        while !run_statements(client, owner, stage, from, is_optional, bar).await? {}
    }
    owner.query("select pg_advisory_unlock(hashtext('ringfence backfill'), 2)", &[]).await?;
    Ok(())
}

/// Runs the statements of a stage; false if it must be tried again.
async fn run_statements(
    client: &Client,
    owner: &Client,
    stage: &str,
    from: u32,
    is_optional: bool,
    bar: &ProgressBar,
) -> anyhow::Result<bool> {
    for row in client.query(sql!("ops/backfill/index_steps").text, &[&stage, &i64::from(from)]).await? {
        let statement: String = row.get(0);
        let Err(e) = owner.batch_execute(&statement).await else { continue };
        match e.code() {
            Some(code) if is_optional && KEPT.contains(code) => {
                let why = e.as_db_error().map_or("", |e| e.message());
                bar.suspend(|| eprintln!("A table keeps its indexes, which takes longer: {why}"));
                // The other statements would wait as long.
                if *code == SqlState::LOCK_NOT_AVAILABLE {
                    break;
                }
            }
            Some(&SqlState::T_R_DEADLOCK_DETECTED) => return Ok(false),
            _ => {
                let what =
                    "this statement failed; run it by hand as the tables' owner, then `ringfence backfill run` again";
                return Err(e).with_context(|| format!("{what}: {statement}"));
            }
        }
    }
    Ok(true)
}

/// Makes new rows of a table leave room on their pages for a backfill, which undoes this setting; only if the
/// administrator may.
pub(crate) async fn leave_room(db: &impl GenericClient, table: &str) -> anyhow::Result<()> {
    let who = "select current_user::text, pg_has_role(session_user, 'ringfence_owner', 'member')";
    let row = db.query_one(who, &[]).await?;
    if row.get(1) {
        let (role, room) = (row.get::<_, String>(0), format!("alter table public.\"{table}\" set (fillfactor = 70)"));
        db.batch_execute(&format!("set role ringfence_owner; {room}; set role \"{role}\"")).await?;
    }
    Ok(())
}

/// Makes the space of old row versions reusable. Never returns space to the system, because that locks out the table's
/// readers.
async fn vacuum(admin: &Client, how: &str, table: &str) -> anyhow::Result<()> {
    Ok(admin.batch_execute(&format!("vacuum ({how}, truncate off) public.\"{table}\"")).await?)
}

struct Progress {
    left_over: u64,
    collisions: u64,
    is_under_way: bool,
}

impl Progress {
    async fn of(client: &Client) -> anyhow::Result<Self> {
        let row = client.query_one(sql!("ops/backfill/progress").text, &[]).await?;
        let number = |name| row.get::<_, i64>(name).unsigned_abs();
        Ok(Self {
            left_over: number("left_over"),
            collisions: number("collisions"),
            is_under_way: row.get("is_under_way"),
        })
    }
}

async fn verify(client: &Client) -> anyhow::Result<bool> {
    let rows = client.query(sql!("ops/backfill/verify").text.trim_end_matches(['\n', ';']), &[]).await?;
    let mut same = true;
    for row in &rows {
        let table: String = row.get("table_name");
        let users: i64 = row.get("users");
        let (problem, note): (Option<String>, Option<String>) = (row.get("problem"), row.get("note"));
        let count = |name| HumanCount(row.get::<_, i64>(name).unsigned_abs());
        let (before, now) = (count("rows_before"), count("rows_now"));
        let note = note.map(|note| format!(" ({note})")).unwrap_or_default();
        match problem {
            None => {
                say!("ok      {table}: {now} rows of {users} users are in the company in which they were{note}")
            }
            Some(problem) => {
                same = false;
                say!("DIFFERS {table}: {before} rows before, {now} now; {problem}{note}");
            }
        }
    }
    if rows.is_empty() {
        say!("There is nothing to compare: no backfill has been run.");
    }
    Ok(same)
}

/// Statements that allow historical rows again in tables whose `finish` was interrupted; they require ownership.
const BROKEN_OFF: &str = "select format('alter table public.%I drop constraint backfill_finished', c.relname)
     from pg_constraint k join pg_class c on c.oid = k.conrelid
     join pg_attribute a on a.attrelid = c.oid and a.attname = 'company_id' and not a.attnotnull
     where k.conname = 'backfill_finished' and k.coninhcount = 0";

async fn undo(client: &Client, admin: &str) -> anyhow::Result<()> {
    client.execute(sql!("ops/backfill/hold").text, &[&true]).await?;
    let recorded = client.query_one(sql!("ops/backfill/recorded").text, &[]).await?;
    let (recorded, finished): (i64, i64) = (recorded.get("recorded"), recorded.get("finished"));
    let bar = terminal::progress("undo", Measure::Of(recorded.unsigned_abs()));
    let owner = owning(admin).await?;
    for row in owner.query(BROKEN_OFF, &[]).await? {
        owner.execute("select app.with_short_lock($1)", &[&row.get::<_, String>(0)]).await?;
    }
    let undone = undo_all(client, &bar).await;
    // Even if nothing was left to undo.
    change_indexes(client, &owner, &RESTORING, LARGE_TABLE_ROWS, &bar).await?;
    bar.finish_and_clear();
    let (restored, stayed) = undone?;
    say!("{} rows are historical again.", HumanCount(restored));
    if stayed > 0 {
        say!(
            "{} stayed: deleted meanwhile, given to a colleague, of a user who has left the company, or pipelines with deals that stay.",
            HumanCount(stayed)
        );
    }
    if finished > 0 {
        say!("{} keep their company: their tables are finished.", HumanCount(finished.unsigned_abs()));
    }
    Ok(())
}

/// Returns how many rows are historical again, and how many stayed.
async fn undo_all(client: &Client, bar: &ProgressBar) -> anyhow::Result<(u64, u64)> {
    let (mut restored, mut stayed) = (0, 0);
    let step = client.prepare(sql!("ops/backfill/undo_step").text).await?;
    loop {
        let row = take(client, &step, &[]).await?;
        if row.get::<_, Option<String>>("target").is_none() {
            return Ok((restored, stayed));
        }
        let (a, b) = (row.get::<_, i32>("restored").unsigned_abs(), row.get::<_, i32>("stayed").unsigned_abs());
        restored += u64::from(a);
        stayed += u64::from(b);
        bar.inc(u64::from(a + b));
    }
}

async fn finish(admin: &Client) -> anyhow::Result<()> {
    let finished = admin.batch_execute(sql!("ops/backfill/finish").text).await;
    finished.map_err(|e| db::refused(e, "a superuser, or a member of ringfence_owner"))?;
    let stood_in = "select exists (select from pg_class where relkind = 'i' and relname like '%\\_stand\\_in')";
    if admin.query_one(stood_in, &[]).await?.get(0) {
        say!("Indexes that stand in for others are there still: `ringfence backfill run` restores them.");
    }
    let left = admin.query(sql!("ops/backfill/unfinished").text, &[]).await?;
    if left.is_empty() {
        say!("Every row of every table has a company now, and the database insists on it.");
    } else {
        let names: Vec<String> = left.iter().map(|row| row.get(0)).collect();
        say!("These have historical rows and stay as they are: {}. See `ringfence backfill plan`.", names.join(", "));
    }
    Ok(())
}
