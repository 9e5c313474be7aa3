//! Measures how fast historical rows get their company while the API serves updates. The program is killed on the way;
//! checks that nothing is lost or wrong, or left over after undoing it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a program to run by hand")]

mod shared;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ringfence::{
    commands::demo,
    db::{self, local::Cluster},
};
use shared::{Connection, Database, Latencies, Process, Server};
use std::{
    path::PathBuf,
    time::{Duration, Instant, UNIX_EPOCH},
};
use tokio::sync::watch;
use tokio_postgres::Client;
use uuid::Uuid;

/// Give historical messages their company while contacts are updated, and undo it.
#[derive(Parser)]
struct Options {
    /// Number of historical messages
    #[arg(long, default_value_t = 2_000_000)]
    rows: u64,
    /// Number of backfill workers
    #[arg(long, default_value_t = 2)]
    workers: u32,
    /// Updates per second meanwhile
    #[arg(long, default_value_t = 300)]
    updates: u32,
    /// Number of times the backfill is killed with -9
    #[arg(long, default_value_t = 2)]
    kills: u64,
    /// Folder of the cluster, in which the data is created anew each time
    #[arg(long, env = "RINGFENCE_BENCH_DATA")]
    data: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

const DATABASE: &str = "bench_backfill";
const CONTACTS: u64 = 20_000;
const CONNECTIONS: u32 = 8;

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let cluster = Cluster::open(&shared::folder(options.data.as_ref())).await?;
    let done = run(&options, &cluster).await;
    cluster.close().await?;
    done
}

async fn run(options: &Options, cluster: &Cluster) -> Result<()> {
    let database = Database::anew(cluster, DATABASE).await?;
    println!("Making {} historical messages …", options.rows);
    let amounts = demo::Amounts { contacts: CONTACTS, historical: options.rows, ..Default::default() };
    demo::generate(&database.admin, 50, amounts).await?;
    let admin = db::connect(&database.admin).await?;
    let before = fingerprint(&admin).await?;
    let bare = bare_rate(&admin, options.rows).await?;
    // Writing the data must not disturb the measurement.
    admin.batch_execute("checkpoint").await?;

    let server = Server::start(shared::ringfence(&database.api, &["serve"])).await?;
    let (stop, stopped) = watch::channel(false);
    let mut updating = Vec::new();
    for n in 0..CONNECTIONS {
        let update = Updates::of(&admin, &server, n).await?;
        let pause = Duration::from_secs(1) * CONNECTIONS / options.updates;
        updating.push(tokio::spawn(update.run(pause, stopped.clone())));
    }

    let workers = options.workers.to_string();
    let backfill = || Process::start(shared::administrator(&database, &["backfill", "run", "--workers", &workers]));
    let mut took = Duration::ZERO;
    for kill in 1..=options.kills {
        let start = Instant::now();
        let mut process = backfill()?;
        while moved(&admin).await? < options.rows * kill / (options.kills + 1) {
            ensure!(start.elapsed() < Duration::from_secs(600), "the backfill does not get on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        process.kill()?;
        took += start.elapsed();
        println!("killed after about {} rows", moved(&admin).await?);
    }
    let start = Instant::now();
    tokio::task::spawn_blocking({
        let process = backfill()?;
        move || process.finish()
    })
    .await??;
    took += start.elapsed();
    stop.send(true)?;
    let mut all = Vec::new();
    for updates in updating {
        all.extend(updates.await??);
    }
    // Indexes are changed before the first and after the last row is moved.
    let moving = "select extract(epoch from min(done_at))::float8, extract(epoch from max(done_at))::float8 from app.backfill_batch";
    let row = admin.query_one(moving, &[]).await?;
    let moving = row.get::<_, f64>(0)..row.get::<_, f64>(1);
    let seconds = moving.end - moving.start;
    let moving = all.iter().filter(|(at, _)| moving.contains(at));
    let moving = Latencies::of(moving.map(|(_, micros)| *micros).collect());
    let all = Latencies::of(all.iter().map(|(_, micros)| *micros).collect());

    let left: i64 = admin.query_one("select count(*) from sms_messages where company_id is null", &[]).await?.get(0);
    ensure!(left == 0, "{left} rows are left");
    let wrong =
        "select count(*) from sms_messages m join users u on u.id = m.user_id where m.company_id <> u.company_id";
    let wrong: i64 = admin.query_one(wrong, &[]).await?.get(0);
    ensure!(wrong == 0, "{wrong} rows are in a company that is not their user's");
    let rate = options.rows as f64 / took.as_secs_f64();
    println!(
        "{} rows in {took:.1?} by {workers} workers, killed {} times: {rate:.0} a second (bar: 50000), {:.2} of one UPDATE that has the machine to itself ({bare:.0})",
        options.rows,
        options.kills,
        rate / bare
    );
    let rate = all.count() as f64 / took.as_secs_f64();
    println!("meanwhile {}, {rate:.0} a second (bar for p99: 20)", told(&all));
    println!("of them in the {seconds:.1} s in which rows were moved, and no indexes made: {}", told(&moving));
    for command in ["verify", "undo"] {
        let start = Instant::now();
        Process::start(shared::administrator(&database, &["backfill", command]))?.finish()?;
        println!("{command} in {:.1?}", start.elapsed());
    }
    ensure!(fingerprint(&admin).await? == before, "undo has not restored every row as it was");
    println!("undo has restored every row as it was");
    Ok(())
}

/// Rows per second of a single statement for all of them while nothing else runs, rolled back; leaves the table without
/// gaps.
async fn bare_rate(admin: &Client, rows: u64) -> Result<f64> {
    // Separately, because VACUUM cannot run in a transaction.
    for first in ["vacuum sms_messages", "checkpoint", "begin; set local synchronous_commit = off"] {
        admin.batch_execute(first).await?;
    }
    let start = Instant::now();
    let moved = admin.execute("update sms_messages set company_id = tenant_id where company_id is null", &[]).await?;
    let took = start.elapsed();
    ensure!(moved == rows, "{moved} of {rows} rows were changed");
    for last in ["rollback", "vacuum full sms_messages", "analyze sms_messages"] {
        admin.batch_execute(last).await?;
    }
    Ok(rows as f64 / took.as_secs_f64())
}

/// The number of rows that have got their company, in whole batches.
async fn moved(admin: &Client) -> Result<u64> {
    let there: bool = admin.query_one("select to_regclass('app.backfill_batch') is not null", &[]).await?.get(0);
    ensure!(there, "there is no record of the backfill");
    let batches: i64 = admin.query_one("select count(*) from app.backfill_batch", &[]).await?.get(0);
    Ok(batches.unsigned_abs() * 2000)
}

/// A fingerprint of all messages, byte for byte.
async fn fingerprint(admin: &Client) -> Result<String> {
    let sum = "select count(*) || ' ' || sum(hashtextextended(m::text, 0)::numeric) from sms_messages m";
    Ok(admin.query_one(sum, &[]).await?.get(0))
}

/// The number of updates and how long they took, as text.
fn told(updates: &Latencies) -> String {
    let (count, [p50, p99, most]) = (updates.count(), [0.5, 0.99, 1.0].map(|part| updates.at(part)));
    format!("{count} updates: p50 {p50:.1} ms, p99 {p99:.1} ms, most {most:.1} ms")
}

/// A client that keeps updating a contact.
struct Updates {
    connection: Connection,
    request: Vec<u8>,
}

impl Updates {
    async fn of(admin: &Client, server: &Server, company: u32) -> Result<Self> {
        let one = "select c.id, u.id, u.token_version from contacts c join users u on u.company_id = c.company_id
            where u.email = $1 limit 1";
        let email = format!("admin@company{}.generated.example", company + 1);
        let row = admin.query_opt(one, &[&email]).await?.context("a company has no contact")?;
        let (contact, user, version): (Uuid, Uuid, i32) = (row.get(0), row.get(1), row.get(2));
        let (path, token) = (format!("/api/contacts/{contact}"), shared::token(user, version)?);
        let request = shared::request("PATCH", &path, &token, r#"{"title": "Buyer"}"#);
        Ok(Self { connection: Connection::open(server.address).await?, request })
    }

    /// When each update ended, in seconds since 1970, and how many microseconds it took from when it was due.
    async fn run(mut self, pause: Duration, stopped: watch::Receiver<bool>) -> Result<Vec<(f64, u32)>> {
        let mut all = Vec::new();
        let mut due = Instant::now();
        while !*stopped.borrow() {
            tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
            let (status, _) = self.connection.ask(&self.request).await?;
            ensure!(status == 200, "an update was answered by {status}");
            all.push((UNIX_EPOCH.elapsed()?.as_secs_f64(), due.elapsed().as_micros() as u32));
            due += pause;
        }
        Ok(all)
    }
}
