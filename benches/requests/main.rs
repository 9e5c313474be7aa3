//! Measures what a request costs: the server next to pgbench with the same statements, users and parameters, and next
//! to pgbench with the company written into the statement by hand, on the same PostgreSQL and in turns.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a program to run by hand")]

mod cases;
mod charts;
mod load;
mod page;
mod pgbench;
mod results;
#[path = "../shared/mod.rs"]
mod shared;
mod sides;

use anyhow::{Context, Result, bail, ensure};
use cases::{Case, Question};
use clap::Parser;
use load::Http;
use pgbench::{Pgbench, Script};
use results::{Beside, Disturbed, LARGE, LOGINS, Measured, Memory, Results, Round, Setting, USUAL, bars};
use ringfence::{
    commands::demo,
    db::{self, local::Cluster},
};
use shared::{ADDED, Database, Postgres, Process, Server};
use sides::Side;
use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio_postgres::Client;

/// Measure the requests of a running system.
#[derive(Parser)]
struct Options {
    /// Seconds per measurement
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Number of measurements of each
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Numbers of connections
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32, 256])]
    connections: Vec<usize>,
    /// Number of companies in the database
    #[arg(long, default_value_t = 1000)]
    companies: u32,
    /// Number of contacts in the database; with three messages (texts, mails and calls) for each, and three deals and
    /// activities for ten
    #[arg(long, default_value_t = 1_000_000)]
    contacts: u64,
    /// Measure only what has this in its name, such as "deep page", largest, storm or "large answers"
    #[arg(long, default_value = "")]
    only: String,
    /// Take a first look within some minutes: the largest company, 8 and 256 connections, once
    #[arg(long)]
    quick: bool,
    /// Fail if a bar is missed
    #[arg(long)]
    check: bool,
    /// Number of the server's connections to the database, if not its default
    #[arg(long)]
    pool_size: Option<usize>,
    /// The server to measure, if not the one that is built here (as `make pgo` makes one)
    #[arg(long)]
    program: Option<PathBuf>,
    /// Folder of the cluster with the data, which is kept
    #[arg(long, env = "RINGFENCE_BENCH_DATA")]
    data: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// The number of people who log in at the same time.
const STORM: usize = 256;
/// The number of clients who fetch megabytes at the same time.
const GREEDY: usize = 4;
/// The maximum number of pgbench's connections, over all sides, that do not disturb each other while idle.
const FEW: usize = 96;
/// The `max_connections` that pgbench needs to have as many connections as the server's clients.
const MOST_CONNECTIONS: usize = 320;

fn main() -> Result<ExitCode> {
    let mut options = Options::parse();
    if options.quick {
        (options.rounds, options.connections) = (1, vec![USUAL, STORM]);
    }
    let most = options.connections.iter().copied().max().unwrap_or(0);
    ensure!(most + 40 <= MOST_CONNECTIONS, "give at most {} connections", MOST_CONNECTIONS - 40);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cluster = runtime.block_on(open(&options))?;
    let done = run(&options, &runtime, &cluster);
    runtime.block_on(cluster.close())?;
    let met = done?;
    Ok(if met || !options.check { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The cluster, which allows as many connections as are needed.
async fn open(options: &Options) -> Result<Cluster> {
    let folder = shared::folder(options.data.as_ref());
    let cluster = Cluster::open(&folder).await?;
    let allowed = async |cluster: &Cluster| {
        let admin = db::connect(&cluster.url("ringfence_admin", "postgres")).await?;
        let allowed: i32 = admin.query_one("select current_setting('max_connections')::int", &[]).await?.get(0);
        anyhow::Ok((admin, allowed as usize >= MOST_CONNECTIONS))
    };
    let (admin, enough) = allowed(&cluster).await?;
    if enough {
        return Ok(cluster);
    }
    admin.batch_execute(&format!("alter system set max_connections = {MOST_CONNECTIONS}")).await?;
    drop(admin);
    cluster.close().await?;
    let cluster = Cluster::open(&folder).await?;
    if !allowed(&cluster).await?.1 {
        bail!("another program uses the cluster in {}: end it, and try again", folder.display());
    }
    Ok(cluster)
}

/// The numbers of messages, deals and activities for this many contacts, and how many of the messages are texts.
fn amounts(contacts: u64) -> demo::Amounts {
    let messages = contacts * 3;
    let (emails, calls) = (messages / 10, messages / 10);
    let deals = contacts * 3 / 10;
    let messages = messages - emails - calls;
    demo::Amounts { contacts, messages, emails, calls, deals, activities: deals, historical: 0 }
}

/// Runs the benchmark; returns whether all bars are met.
fn run(options: &Options, runtime: &tokio::runtime::Runtime, cluster: &Cluster) -> Result<bool> {
    let name = format!("requests_{}_{}", options.companies, options.contacts);
    let database = runtime.block_on(Database::open(cluster, &name))?;
    let admin = runtime.block_on(prepare(&database, options))?;
    let postgres = runtime.block_on(Postgres::of(&admin))?;
    let mut command = match &options.program {
        Some(path) => shared::program(path, &database.api, &["serve"]),
        None => shared::ringfence(&database.api, &["serve"]),
    };
    command.env("RINGFENCE_WORKER", "off");
    if let Some(size) = options.pool_size {
        command.env("RINGFENCE_POOL_SIZE", size.to_string());
    }
    let server = runtime.block_on(Server::start(command))?;
    let mut memory = vec![Memory { after: "start".into(), mib: server.process.memory().1 }];
    let (companies, login) = runtime
        .block_on(async { anyhow::Ok((cases::companies(&admin, &server).await?, cases::login(&admin).await?)) })?;
    let mut all = Vec::new();
    for company in &companies {
        all.extend(cases::of_company(company)?);
    }
    let deals = companies.last().context("no company")?.all_deals();
    let is_asked = |case: &&Case| {
        case.name().contains(&options.only)
            && (!options.quick || case.company.is_none_or(|(name, _)| name == "largest"))
    };
    let cases: Vec<&Case> = all.iter().chain([&login]).filter(is_asked).collect();
    let largest = |case: &&Case| {
        ["get by id", "newest page"].contains(&case.operation)
            && case.company.is_some_and(|(name, _)| name == "largest")
    };
    let loads = [
        Load { what: LOGINS, question: &login.question, clients: STORM },
        Load { what: LARGE, question: &deals, clients: GREEDY },
    ];
    let loads: Vec<&Load> = loads.iter().filter(|load| load.what.contains(&options.only)).collect();
    let reads: Vec<&Case> = all.iter().filter(largest).collect();
    ensure!(!cases.is_empty() || !loads.is_empty(), "nothing has '{}' in its name", options.only);

    let bench = Bench { options, cluster, database: &name, postgres, runtime, server: &server };
    let start = Instant::now();
    let steps = options.rounds * (cases.len() * options.connections.len() + loads.len() * reads.len());
    eprintln!("This takes about {}.", minutes(bench.estimate(&cases, &reads, &loads)));
    let of = |case: &&Case, connections: usize| Measured {
        operation: case.operation,
        company: case.company,
        connections,
        rounds: Vec::new(),
    };
    let mut measured: Vec<Vec<Measured>> =
        cases.iter().map(|case| options.connections.iter().map(|c| of(case, *c)).collect()).collect();
    let of = |load: &Load, read: &Case| Beside {
        operation: read.operation,
        company: read.company.unwrap_or_default().0,
        load: load.what,
        clients: load.clients,
        rounds: Vec::new(),
    };
    let mut beside: Vec<Vec<Beside>> =
        loads.iter().map(|load| reads.iter().map(|read| of(load, read)).collect()).collect();
    let mut done = 0;
    let mut tell = |what: String, steps_done: usize| {
        if steps_done == 0 {
            return;
        }
        done += steps_done;
        let left = start.elapsed().mul_f64((steps - done) as f64 / done as f64);
        eprintln!("{what}: done, {} left", minutes(left));
    };
    for round in 0..options.rounds {
        for (case, measured) in cases.iter().zip(&mut measured) {
            for measured in measured {
                measured.rounds.push(bench.round(case, measured.connections, round)?);
                // The other cases must find companies of the stated size.
                if case.operation == "create" {
                    runtime.block_on(clean(&admin))?;
                }
            }
            tell(format!("round {} of {}, {}", round + 1, options.rounds, case.name()), options.connections.len());
        }
        if round == 0 && !cases.is_empty() {
            memory.push(Memory { after: "all requests".into(), mib: server.process.memory().1 });
        }
        for (load, beside) in loads.iter().zip(&mut beside) {
            for (read, beside) in reads.iter().zip(beside) {
                beside.rounds.push(bench.beside(read, load, round)?);
            }
            if round == 0 {
                memory.push(Memory { after: load.what.into(), mib: server.process.memory().1 });
            }
            tell(format!("round {} of {}, {}", round + 1, options.rounds, load.what), reads.len());
        }
    }
    memory.push(Memory { after: "the end".into(), mib: server.process.memory().1 });
    server.process.stop()?;
    runtime.block_on(clean(&admin))?;

    // Sorted by connections, for the reader.
    let mut requests: Vec<_> = measured.iter().flatten().filter_map(Measured::row).collect();
    requests.sort_by_key(|row| row.connections);
    let beside: Vec<_> = beside.iter().flatten().map(Beside::read).collect();
    let bars = bars(&requests, &beside, &memory);
    let setting = runtime.block_on(setting(options, &database, &admin))?;
    let results = Results { setting, bars, requests, beside, memory };
    results.print();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench-results");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("requests.json"), results.json()?)?;
    fs::write(folder.join("requests.html"), page::render(&results)?)?;
    println!("\nSee {}, and requests.json beside it.", folder.join("requests.html").display());
    Ok(results.bars.iter().all(results::Bar::is_met))
}

fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..100 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

/// The database with this much data, as an earlier run left it.
async fn prepare(database: &Database, options: &Options) -> Result<Client> {
    let admin = db::connect(&database.admin).await?;
    let empty: bool = admin.query_one("select not exists (select from contacts)", &[]).await?.get(0);
    if empty {
        let amounts = amounts(options.contacts);
        let demo::Amounts { contacts, messages, emails, calls, deals, activities, .. } = amounts;
        let messages = messages + emails + calls;
        eprintln!(
            "Loading {} companies, {contacts} contacts, {messages} messages, {deals} deals and {activities} activities, once …",
            options.companies
        );
        demo::generate(&database.admin, options.companies, amounts).await?;
    } else {
        clean(&admin).await?;
    }
    // As for most of a database's life, every row has a company, and the policies are the plain ones.
    let is_finished =
        "select attnotnull from pg_attribute where attrelid = 'contacts'::regclass and attname = 'company_id'";
    if !admin.query_one(is_finished, &[]).await?.get::<_, bool>(0) {
        eprintln!("Giving historical rows their company, once …");
        for command in ["run", "finish"] {
            Process::start(shared::administrator(database, &["backfill", command]))?.finish()?;
        }
    }
    admin.batch_execute("checkpoint").await?;
    Ok(admin)
}

/// Deletes what was added, without entries in the audit log.
async fn clean(admin: &Client) -> Result<()> {
    admin.batch_execute("set session_replication_role = replica").await?;
    admin.execute("delete from contacts where last_name = $1", &[&ADDED]).await?;
    for statement in ["reset session_replication_role", "vacuum analyze contacts", "vacuum analyze users"] {
        admin.batch_execute(statement).await?;
    }
    Ok(())
}

async fn setting(options: &Options, database: &Database, admin: &Client) -> Result<Setting> {
    let demo::Amounts { contacts, messages, emails, calls, deals, activities, .. } = amounts(options.contacts);
    Ok(Setting {
        version: env!("CARGO_PKG_VERSION"),
        at: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        processors: std::thread::available_parallelism().map_or(0, |n| n.get()),
        postgresql: admin.query_one("select current_setting('server_version')", &[]).await?.get(0),
        pool_size: options.pool_size.map_or_else(|| db::default_pool_size(&database.api), Ok)?,
        companies: options.companies,
        contacts,
        messages: messages + emails + calls,
        deals,
        activities,
        seconds: options.seconds,
        rounds: options.rounds,
    })
}

/// What is measured, and where.
struct Bench<'a> {
    options: &'a Options,
    cluster: &'a Cluster,
    database: &'a str,
    postgres: Postgres,
    runtime: &'a tokio::runtime::Runtime,
    server: &'a Server,
}

impl Bench<'_> {
    fn time(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }

    fn estimate(&self, cases: &[&Case], reads: &[&Case], loads: &[&Load]) -> Duration {
        let ours = self.time() + Duration::from_millis(500);
        let of = |case: &Case, connections: usize| {
            let by_hand = u32::from(case.by_hand.is_some());
            let is_usual = connections == USUAL;
            let times = 1 + by_hand + if is_usual { by_hand } else { 0 };
            ours * if is_usual { 1 } else { 2 } + (self.time() * 5 / 4 + pgbench::warming(connections)) * times
        };
        let connections = self.options.connections.iter();
        let requests: Duration =
            connections.flat_map(|c| cases.iter().map(|case| of(case, *c)).collect::<Vec<_>>()).sum();
        // The last of those who log in wait for all before them.
        let beside = (self.time() + ours * 2 + Duration::from_secs(6)) * (reads.len() * loads.len()) as u32;
        (requests + beside) * self.options.rounds as u32
    }

    /// Measures all sides of a case once.
    fn round(&self, case: &Case, connections: usize, round: usize) -> Result<Round> {
        // If a request takes seconds, none ends within one.
        for longer in [1, 4, 16] {
            let done = self.round_of(case, connections, round, self.time() * longer);
            if let Some(round) = done.with_context(|| case.name())? {
                return Ok(round);
            }
        }
        bail!("{}: nothing ends within {} s on {connections} connections", case.name(), self.time().as_secs() * 16)
    }

    /// `None` if one of the sides completed nothing in its time.
    fn round_of(&self, case: &Case, connections: usize, round: usize, time: Duration) -> Result<Option<Round>> {
        let no_policies = case.no_policies.as_ref().filter(|_| connections == USUAL);
        // A case without a script by hand has none without policies either.
        let scripts = [Some(&case.context), case.by_hand.as_ref(), no_policies].into_iter().flatten();
        let usual = (connections != USUAL).then_some(Who::Server(USUAL));
        let who: Vec<Who> =
            [Who::Server(connections)].into_iter().chain(usual).chain(scripts.map(Who::Pgbench)).collect();
        let (servers, scripts) = who.split_at(1 + usize::from(usual.is_some()));
        // Many idle connections would disturb the others.
        let mut groups: Vec<&[Who]> = match connections * scripts.len() <= FEW {
            true => vec![&who],
            false => [servers].into_iter().chain(scripts.chunks(1)).collect(),
        };
        if !round.is_multiple_of(2) {
            groups.reverse();
        }
        let mut found = Vec::new();
        for group in &groups {
            let mut turns = None;
            let mut all: Vec<Box<dyn Side>> = Vec::new();
            for who in *group {
                all.push(match who {
                    Who::Server(connections) => {
                        let (server, question) = (self.server, &case.question);
                        let server = Http::start(server, &self.postgres, self.runtime, question, *connections)?;
                        turns.get_or_insert(sides::turns(server.usual, time));
                        Box::new(server)
                    }
                    Who::Pgbench(script) => {
                        let (cluster, name, postgres) = (self.cluster, self.database, &self.postgres);
                        Box::new(Pgbench::start(cluster, name, postgres, script, connections, time)?)
                    }
                });
            }
            sides::take_turns(&mut all, turns.unwrap_or(1), time, round)?;
            found.push(all.into_iter().map(Side::finish).collect::<Result<Vec<_>>>()?);
        }
        if !round.is_multiple_of(2) {
            found.reverse();
        }
        let Some(found) = found.into_iter().flatten().collect::<Option<Vec<_>>>() else { return Ok(None) };
        let mut found = found.into_iter();
        let server = found.next().context("no server")?;
        let usual = if usual.is_some() { found.next() } else { None };
        let context = found.next().context("no pgbench")?;
        Ok(Some(Round { server, usual, context, by_hand: found.next(), no_policies: found.next() }))
    }

    /// Measures a read by itself, and while others send other requests.
    fn beside(&self, case: &Case, load: &Load, round: usize) -> Result<Disturbed> {
        // Long enough for the slowest hundredth to be some dozen requests.
        let time = self.time() * 2;
        let read = |beside| {
            let done = load::beside(self.server, &self.postgres, self.runtime, &case.question, USUAL, time, beside);
            done.with_context(|| format!("{} beside {} of {}", case.name(), load.what, load.clients))
        };
        let before = if round.is_multiple_of(2) { Some(read(None)?.0) } else { None };
        let (disturbed, others_per_second) = read(Some((load.question, load.clients)))?;
        let alone = match before {
            Some(alone) => alone,
            None => read(None)?.0,
        };
        Ok(Disturbed { alone, beside: disturbed, others_per_second })
    }
}

/// Who takes turns.
#[derive(Clone, Copy)]
enum Who<'a> {
    /// The server, over this many connections.
    Server(usize),
    Pgbench(&'a Script),
}

/// What others request while reads are measured.
struct Load<'a> {
    what: &'static str,
    question: &'a Question,
    clients: usize,
}
