//! Measures how long it takes to import the old backend's database, on a throw-away PostgreSQL, with the rows of the
//! tests many times over. A program to run by hand.
#![allow(missing_docs, clippy::unwrap_used, reason = "a program to run by hand")]

mod shared;

use anyhow::Result;
use clap::Parser;
use ringfence::{
    clients,
    clients::storage::Storage,
    commands::import,
    db::{self, local::Cluster},
    seal::Sealer,
};
use shared::Database;
use std::time::Instant;

/// Measure an import.
#[derive(Parser)]
struct Options {
    /// Size of the old database, in thousands of rows (approximate)
    #[arg(long, default_value_t = 1000)]
    thousands: usize,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    clients::use_ring();
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let cluster = Cluster::temporary().await?;
        let done = run(&options, &cluster).await;
        cluster.close().await?;
        done
    })
}

async fn run(options: &Options, cluster: &Cluster) -> Result<()> {
    let url = |database: &str| cluster.url("ringfence_admin", database);
    db::connect(&url("postgres")).await?.batch_execute("create database old").await?;
    let new = Database::open(cluster, "new").await?;
    eprintln!("Making the old database …");
    let rows = include_str!("../tests/it/support/old_rows.sql").replace("{companies}", "12");
    // Nobody logs in here, so no real hash is needed.
    let rows = rows.replace("{scale}", &options.thousands.to_string()).replace("{hash}", "none");
    let old = db::connect(&url("old")).await?;
    old.batch_execute(include_str!("../tests/it/support/old_database.sql")).await?;
    old.batch_execute(&rows).await?;
    drop(old);
    let folder = std::env::temp_dir().join(format!("ringfence-import-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let storage = Storage::open(url::Url::from_directory_path(&folder).unwrap().as_str())?;
    let sealer = Sealer::new(&[shared::secret_key()])?;
    let import = import::Options { from: url("old"), files: None, dry_run: false, report: folder.join("report.csv") };
    let started = Instant::now();
    let outcomes = import::run(&new.admin, &import, &sealer, &storage).await?;
    let took = started.elapsed();
    let rows: u64 = outcomes.tables.iter().map(|(_, outcome)| outcome.now).sum();
    print!("{}", outcomes.summary(&import));
    println!("{rows} rows came over in {took:.1?}: {:.0} a second", rows as f64 / took.as_secs_f64());
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
