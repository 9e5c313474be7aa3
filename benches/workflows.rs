//! Measures what an import costs if a workflow waits for contacts, and checks that each contact leads to exactly one
//! run and one task although workers are killed on the way.
#![allow(missing_docs, clippy::unwrap_used, reason = "a program to run by hand")]

mod shared;

use anyhow::{Result, ensure};
use clap::Parser;
use ringfence::{
    clients,
    db::{self, local::Cluster},
    passwords,
};
use serde_json::{Value, json};
use shared::{Database, Process, Server};
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use uuid::Uuid;

/// Import contacts for which a workflow waits, and kill the workers that run it.
#[derive(Parser)]
struct Options {
    /// Number of contacts to import
    #[arg(long, default_value_t = 10_000)]
    contacts: i64,
    /// Number of times a worker is killed with -9
    #[arg(long, default_value_t = 2)]
    kills: i64,
    /// Number of workers at a time
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

const DATABASE: &str = "workflows";

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    clients::use_ring();
    let cluster = Cluster::temporary().await?;
    let done = run(&options, &cluster).await;
    cluster.close().await?;
    done
}

async fn run(options: &Options, cluster: &Cluster) -> Result<()> {
    let database = Database::open(cluster, DATABASE).await?;
    let admin = db::connect(&database.admin).await?;
    let company: Uuid =
        admin.query_one("insert into companies (name) values ('Bench') returning id", &[]).await?.get(0);
    let add = "select id from app.add_user('bench@x.example', $2, 'A', 'B', 'company_admin', $1, 'active')";
    let user: Uuid = admin.query_one(add, &[&company, &passwords::hash_now("unused")?]).await?.get(0);
    let mut program = shared::ringfence(&database.api, &["serve"]);
    program.env("RINGFENCE_WORKER", "off");
    let server = Server::start(program).await?;
    let base = format!("http://{}", server.address);
    let caller = Caller { http: reqwest::Client::new(), base, token: shared::token(user, 1)? };
    measure(options, &admin, &caller, &database.api).await
}

async fn measure(options: &Options, admin: &Client, caller: &Caller, api_url: &str) -> Result<()> {
    let n = options.contacts;
    println!("{n} contacts while nobody waits for them: {:.2?}", caller.import(n, "nobody").await?);
    let workflow = json!({"name": "Call new contacts", "trigger_type": "contact_created", "is_active": true, "actions": [
        {"type": "create_task", "config": {"subject": "Call {{ contact.email }}", "due_in_hours": 48}}]});
    caller.post("/api/workflows/", &workflow).await?;
    println!("{n} contacts for which a workflow waits: {:.2?}", caller.import(n, "somebody").await?);
    let count = async |what: &str| -> Result<i64> {
        Ok(admin.query_one(&format!("select count(*) from {what}"), &[]).await?.get(0))
    };
    ensure!(count("workflow_executions").await? == n, "not a run for each contact");

    let start = Instant::now();
    let worker = || Process::start(shared::ringfence(api_url, &["worker"]));
    let mut workers = Vec::new();
    for _ in 0..options.workers {
        workers.push(worker()?);
    }
    for kill in 1..=options.kills {
        while count("activities").await? < n * kill / (options.kills + 1) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        workers[0].kill()?;
        // The claims of a dead worker expire after five minutes; here all claims end at once.
        let claimed = "update jobs set run_at = now() where kind = 'workflow_run' and run_at > now()";
        let freed = admin.execute(claimed, &[]).await?;
        println!("killed a worker after {} tasks; {freed} runs were claimed", count("activities").await?);
        workers[0] = worker()?;
    }
    while count("jobs where kind = 'workflow_run'").await? > 0 {
        ensure!(start.elapsed() < Duration::from_secs(600), "the runs do not come to an end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = start.elapsed();
    drop(workers);
    let runs = count("workflow_executions where status = 'success'").await?;
    let (events, tasks) =
        (count("(select distinct event_id from workflow_executions) e").await?, count("activities").await?);
    let subjects = count("(select distinct subject from activities) a").await?;
    let counted = i64::from(admin.query_one("select execution_count from workflows", &[]).await?.get::<_, i32>(0));
    println!("{runs} runs in {took:.2?}: {:.0} a second", runs as f64 / took.as_secs_f64());
    println!("runs {runs}, events {events}, tasks {tasks}, different ones {subjects}, counted {counted}");
    ensure!([runs, events, tasks, subjects, counted].iter().all(|found| *found == n), "not exactly one of each");
    Ok(())
}

struct Caller {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Caller {
    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self.http.post(format!("{}{path}", self.base)).bearer_auth(&self.token).json(body);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Imports this many contacts; returns how long it took.
    async fn import(&self, contacts: i64, name: &str) -> Result<Duration> {
        let rows: String = (0..contacts).map(|n| format!("{name}{n}@import.example,First{n},Last{n}\n")).collect();
        let file = reqwest::multipart::Part::bytes(format!("email,first_name,last_name\n{rows}").into_bytes())
            .file_name("c.csv");
        let form = reqwest::multipart::Form::new().part("file", file);
        let start = Instant::now();
        let request = self.http.post(format!("{}/api/contacts/upload-csv", self.base)).bearer_auth(&self.token);
        let answer: Value = request.multipart(form).send().await?.error_for_status()?.json().await?;
        ensure!(answer["created_count"] == json!(contacts), "{answer}");
        Ok(start.elapsed())
    }
}
