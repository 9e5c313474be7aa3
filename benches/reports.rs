//! Measures how long the reports of the largest company take, with server and database on one machine, and what
//! maintaining their sums costs a deal's writer. A program to run by hand, as it tests nothing but time.
#![allow(missing_docs, clippy::unwrap_used, reason = "a program to run by hand")]

mod shared;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ringfence::{
    clients,
    commands::demo,
    db::{self, local::Cluster},
};
use serde_json::{Value, json};
use shared::{ADDED, Database, Server};
use std::{env, path::PathBuf, time::Instant};
use tokio_postgres::Client;
use uuid::Uuid;

/// Measure the reports of a running system.
#[derive(Parser)]
struct Options {
    /// Number of measurements of each
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Number of companies in the database; of four, the largest has nearly half of all rows
    #[arg(long, default_value_t = 4)]
    companies: u32,
    /// Number of contacts in the database
    #[arg(long, default_value_t = 200_000)]
    contacts: u64,
    /// Number of messages, of deals and of activities in the database
    #[arg(long, default_value_t = 660_000)]
    rows: u64,
    /// Folder of the cluster with the data, which is kept; DATABASE_URL and DATABASE_ADMIN_URL select another,
    /// disposable database
    #[arg(long, env = "RINGFENCE_BENCH_DATA")]
    data: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    clients::use_ring();
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if let (Ok(api), Ok(admin)) = (env::var("DATABASE_URL"), env::var("DATABASE_ADMIN_URL")) {
            let database = Database { api, admin };
            database.migrate().await?;
            return run(&options, &database).await;
        }
        let cluster = Cluster::open(&shared::folder(options.data.as_ref())).await?;
        let done = async {
            let name = format!("reports_{}_{}", options.companies, options.rows);
            run(&options, &Database::open(&cluster, &name).await?).await
        };
        let done = done.await;
        cluster.close().await?;
        done
    })
}

async fn run(options: &Options, database: &Database) -> Result<()> {
    let admin = db::connect(&database.admin).await?;
    let empty: bool = admin.query_one("select not exists (select from deals)", &[]).await?.get(0);
    if empty {
        eprintln!("Loading {} rows of each kind, once …", options.rows);
        let Options { contacts, rows, companies, .. } = *options;
        let amounts =
            demo::Amounts { contacts, messages: rows, deals: rows, activities: rows, ..demo::Amounts::default() };
        demo::generate(&database.admin, companies, amounts).await?;
    }
    admin.batch_execute("checkpoint").await?;
    let largest =
        "select d.company_id, count(*) from deals d where d.company_id is not null group by 1 order by 2 desc limit 1";
    let row = admin.query_one(largest, &[]).await?;
    let (company, deals): (Uuid, i64) = (row.get(0), row.get(1));
    let caller = "select user_id, token_version from app.caller where company_id = $1 and not blocked limit 1";
    let caller = admin.query_one(caller, &[&company]).await?;
    let token = shared::token(caller.get(0), caller.get(1))?;
    let server = Server::start(shared::ringfence(&database.api, &["serve"])).await?;
    let asker = Asker { base: format!("http://{}", server.address), token, http: reqwest::Client::new() };
    println!("Reports of a company with {deals} deals: milliseconds of {} requests", options.rounds);
    println!("{:<44} {:>8} {:>8} {:>8}", "", "least", "median", "most");
    let period = "?date_from=2026-02-10&date_to=2026-08-20";
    for report in
        ["dashboard", "pipeline", "activities", "revenue", "users", "emails", "calls", "contacts", "documents"]
    {
        asker.time(options.rounds, report).await?;
        if !["revenue", "users", "documents"].contains(&report) {
            asker.time(options.rounds, &format!("{report}{period}")).await?;
        }
    }
    for unit in ["", "?group_by=day", "?group_by=month", "?group_by=user", "?group_by=team"] {
        asker.time(options.rounds, &format!("custom{unit}")).await?;
    }
    asker.time(options.rounds, "export/pdf").await?;
    asker.time(3, "export/csv").await?;
    let cost = asker.writes(&admin).await;
    let triggers = "alter table deals enable trigger sums_inserted, enable trigger sums_updated";
    admin.batch_execute(triggers).await?;
    admin.execute("delete from deals where title like $1", &[&format!("{ADDED}%")]).await?;
    cost
}

/// A client of the server.
struct Asker {
    base: String,
    token: String,
    http: reqwest::Client,
}

impl Asker {
    async fn ask(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Result<Vec<u8>> {
        let request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        let response = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = response.send().await?;
        let status = response.status();
        let body = response.bytes().await?.to_vec();
        ensure!(status == 200, "{path} was answered {status} {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    async fn time(&self, rounds: usize, report: &str) -> Result<()> {
        let mut millis = Vec::new();
        for _ in 0..rounds {
            let start = Instant::now();
            self.ask(reqwest::Method::GET, &format!("/api/analytics/{report}"), None).await?;
            millis.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        millis.sort_by(f64::total_cmp);
        println!("{report:<44} {:>8.1} {:>8.1} {:>8.1}", millis[0], millis[rounds / 2], millis[rounds - 1]);
        Ok(())
    }

    /// Creates and changes deals, alternately with and without the triggers that maintain the sums.
    async fn writes(&self, admin: &Client) -> Result<()> {
        const WRITES: usize = 150;
        let (mut posts, mut patches) = ([0.0; 2], [0.0; 2]);
        for round in 0..6 {
            let kept = round % 2;
            let switch = if kept == 1 { "enable" } else { "disable" };
            for trigger in ["sums_inserted", "sums_updated"] {
                admin.batch_execute(&format!("alter table deals {switch} trigger {trigger}")).await?;
            }
            let mut made = Vec::new();
            let start = Instant::now();
            for n in 0..WRITES {
                let body = json!({"title": format!("{ADDED} {round} {n}"), "value": 10, "stage_id": "Lead"});
                let deal = self.ask(reqwest::Method::POST, "/api/deals/", Some(body)).await?;
                let deal: Value = serde_json::from_slice(&deal)?;
                made.push(deal["id"].as_str().context("a deal without id")?.to_owned());
            }
            posts[kept] += start.elapsed().as_secs_f64();
            let start = Instant::now();
            for id in &made {
                let body = json!({"value": 12, "description": "Changed"});
                self.ask(reqwest::Method::PATCH, &format!("/api/deals/{id}"), Some(body)).await?;
            }
            patches[kept] += start.elapsed().as_secs_f64();
            if kept == 0 {
                // Deals created without triggers must be gone before the triggers are back.
                let delete = "set session_replication_role = replica; delete from deal_stage_history h using deals d
                    where d.id = h.deal_id and d.title like 'Added by the benchmark%'; delete from deals where title like 'Added by the benchmark%';
                    set session_replication_role = origin";
                admin.batch_execute(delete).await?;
            }
        }
        for (what, [without, with]) in [("create a deal", posts), ("change a deal's value", patches)] {
            let each = |seconds: f64| seconds * 1000.0 / (3 * WRITES) as f64;
            let ratio = with / without;
            println!("{what}: {:.2} ms with sums, {:.2} ms without, x{ratio:.2}", each(with), each(without));
        }
        Ok(())
    }
}
