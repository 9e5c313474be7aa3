//! What a request costs: the server's throughput beside that of pgbench with the same statements, users and parameters
//! in one pipeline, on the same PostgreSQL and in turns, because a machine's speed changes from minute to minute.
#![allow(missing_docs, clippy::unwrap_used, reason = "a program to run by hand")]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ringfence::{
    auth::{Keys, TokenKind},
    db::{self, Plan, Sql, local::Cluster, migrate},
    demo, sql,
};
use serde_json::{Value, json};
use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

/// Measures the requests of a running system.
#[derive(Parser)]
struct Options {
    /// How long each is measured at a time
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// How many times each is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Companies in the database
    #[arg(long, default_value_t = 1000)]
    companies: u32,
    /// Contacts in the database
    #[arg(long, default_value_t = 1_000_000)]
    contacts: u64,
    /// Only what has this in its name
    #[arg(long, default_value = "")]
    only: String,
    /// Folder of the cluster with the data, which is kept
    #[arg(long, env = "RINGFENCE_BENCH_DATA")]
    data: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// Connections of each side.
const CLIENTS: usize = 8;
const MANY: usize = 500;
const SECRET: &str = "a secret that only the benchmark knows";
/// How many of a company's contacts are asked for, in turns.
const SAMPLE: usize = 16;
/// The name by which the contacts that the benchmark adds are found and deleted.
const ADDED: &str = "Added by the benchmark";

/// A company of the database.
struct Company {
    name: &'static str,
    contacts: i64,
    user: Uuid,
    token: String,
    ids: Vec<Uuid>,
}

/// A request, and the same for pgbench.
struct Case {
    name: String,
    requests: Box<dyn Fn(usize) -> Vec<u8> + Sync>,
    right: fn(&[u8], i64) -> bool,
    /// Whether the answer is always the same.
    same: bool,
    contacts: i64,
    /// One script a sample.
    scripts: Vec<String>,
    variables: Vec<(String, String)>,
    /// The ratio to pgbench that is asked for.
    bar: Option<f64>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let default = if nix::unistd::geteuid().is_root() { "/var/lib/ringfence-bench" } else { ".ringfence-bench" };
    let cluster = runtime.block_on(Cluster::open(&options.data.clone().unwrap_or_else(|| default.into())))?;
    let done = run(&options, &runtime, &cluster);
    runtime.block_on(cluster.close())?;
    done
}

fn run(options: &Options, runtime: &tokio::runtime::Runtime, cluster: &Cluster) -> Result<()> {
    let database = format!("bench_{}_{}", options.companies, options.contacts);
    let (admin_url, api_url) = (cluster.url("ringfence_admin", &database), cluster.url("ringfence_api", &database));
    let companies = runtime.block_on(prepare(cluster, &database, options))?;
    let server = Server::start(&api_url)?;
    let idle = server.memory();
    let cases: Vec<Case> = companies.iter().flat_map(cases).filter(|c| c.name.contains(&options.only)).collect();
    let time = Duration::from_secs(options.seconds);
    let mut results: Vec<Vec<(Load, f64)>> = cases.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        for (case, results) in cases.iter().zip(&mut results) {
            // Who is first changes, because the first one fills the caches.
            let (ours, theirs);
            if round % 2 == 0 {
                ours = load(&server, case, CLIENTS, time)?;
                theirs = pgbench(cluster, &database, case, options.seconds)?;
            } else {
                theirs = pgbench(cluster, &database, case, options.seconds)?;
                ours = load(&server, case, CLIENTS, time)?;
            }
            results.push((ours, theirs));
        }
    }
    let busy = match cases.iter().find(|c| c.name.starts_with("page")) {
        Some(case) => Some(busy_memory(&server, case, time)?),
        None => None,
    };
    server.stop()?;
    runtime.block_on(async {
        let admin = db::connect(&admin_url).await?;
        admin.execute("delete from contacts where last_name = $1", &[&ADDED]).await?;
        anyhow::Ok(admin.batch_execute("vacuum contacts").await?)
    })?;
    report(&cases, &results, idle, busy)
}

/// A migrated database with so much in it, and three of its companies.
async fn prepare(cluster: &Cluster, database: &str, options: &Options) -> Result<Vec<Company>> {
    let postgres = db::connect(&cluster.url("ringfence_admin", "postgres")).await?;
    if postgres.query_opt("select from pg_database where datname = $1", &[&database]).await?.is_none() {
        postgres.batch_execute(&format!("create database {database}")).await?;
    }
    let url = cluster.url("ringfence_admin", database);
    migrate::migrate(&url, Some(&cluster.url("ringfence_api", database))).await?;
    let admin = db::connect(&url).await?;
    let empty: bool = admin.query_one("select not exists (select from contacts)", &[]).await?.get(0);
    if empty {
        eprintln!("Loading {} contacts of {} companies, once …", options.contacts, options.companies);
        let amounts = demo::Amounts { contacts: options.contacts, ..Default::default() };
        demo::generate(&url, options.companies, amounts).await?;
    }
    admin.batch_execute("checkpoint").await?;
    let keys = Keys::new(&[SECRET.into()])?;
    let mut sizes = admin
        .query(
            "select c.company_id, count(*), min(u.user_id::text)::uuid, min(u.token_version)
            from contacts c join lateral (select user_id, token_version from app.caller u where u.company_id = c.company_id limit 1) u on true
            group by 1 order by 2",
            &[],
        )
        .await?;
    ensure!(sizes.len() >= 3, "the database has fewer than three companies with contacts");
    let mut companies = Vec::new();
    for (name, i) in [("smallest", 0), ("median", sizes.len() / 2), ("largest", sizes.len() - 1)] {
        let row = &mut sizes[i];
        let (id, contacts, user, version): (Uuid, i64, Uuid, i32) = (row.get(0), row.get(1), row.get(2), row.get(3));
        let sample =
            "select id from contacts where company_id = $1 and not is_deleted order by hashtext(id::text) limit $2";
        let ids = admin.query(sample, &[&id, &(SAMPLE as i64)]).await?.iter().map(|r| r.get(0)).collect();
        let token = keys.issue(TokenKind::Access, user, version).map_err(|e| anyhow::anyhow!("{e:?}"))?;
        companies.push(Company { name, contacts, user, token, ids });
    }
    Ok(companies)
}

fn cases(company: &Company) -> Vec<Case> {
    let name = company.name;
    let token = company.token.clone();
    let http = move |method: &str, path: &str, body: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\naccept: application/json\r\n\
            content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    let user = ("me".to_owned(), company.user.to_string());
    let sampled = || {
        let ids = company.ids.iter().enumerate().map(|(i, id)| (format!("id{i}"), id.to_string()));
        ids.chain([user.clone()]).collect::<Vec<_>>()
    };
    let one_each =
        |script: &dyn Fn(String) -> String| (0..company.ids.len()).map(|i| script(format!(":id{i}"))).collect();
    let ids = company.ids.clone();
    let gets: Vec<_> = ids.iter().map(|id| http("GET", &format!("/api/contacts/{id}"), "")).collect();
    let patch = |n: usize| format!(r#"{{"phone":"+1 555 {:06}"}}"#, n % 1_000_000);
    let page = http("GET", "/api/contacts/?limit=50", "");
    let (patching, posting) = (http.clone(), http);
    vec![
        Case {
            name: format!("get {name}"),
            requests: Box::new(move |n| gets[n % gets.len()].clone()),
            right: |body, _| body.starts_with(br#"{"first_name":"#),
            same: false,
            contacts: company.contacts,
            scripts: one_each(&|id| transaction(sql!("contacts/get"), &[&id])),
            variables: sampled(),
            bar: Some(0.4),
        },
        Case {
            name: format!("page {name}"),
            requests: Box::new(move |_| page.clone()),
            right: |body, contacts| {
                body.starts_with(b"[")
                    && body.windows(9).filter(|w| w == br#""status":"#).count() as i64 == contacts.min(50)
            },
            same: true,
            contacts: company.contacts,
            scripts: vec![transaction(sql!("contacts/list").planned_once(), &[":limit", ":skip"])],
            variables: vec![user.clone(), ("limit".into(), "50".into()), ("skip".into(), "0".into())],
            bar: Some(0.55),
        },
        Case {
            name: format!("patch {name}"),
            requests: Box::new(move |n| patching("PATCH", &format!("/api/contacts/{}", ids[n % ids.len()]), &patch(n))),
            right: |body, _| body.starts_with(br#"{"first_name":"#),
            same: false,
            contacts: company.contacts,
            scripts: one_each(&|id| {
                let patch = r#"('{"phone":"+1 555 ' || :phone || '"}')::jsonb"#;
                format!(
                    "\\set phone random(100000, 999999)\n{}",
                    transaction(sql!("contacts/update"), &[&id, patch, "null"])
                )
            }),
            variables: sampled(),
            bar: None,
        },
        Case {
            name: format!("post {name}"),
            requests: Box::new(move |_| {
                let body = json!({"first_name": "Ada", "last_name": ADDED, "email": format!("{}@example.com", Uuid::new_v4().simple()), "phone": "+1 555 000000"});
                posting("POST", "/api/contacts/", &body.to_string())
            }),
            right: |body, _| body.starts_with(br#"{"first_name":"#),
            same: false,
            contacts: company.contacts,
            // Any text is an e-mail address to the database.
            scripts: vec![format!(
                "\\set email random(1, 9000000000000000000)\n{}",
                transaction(
                    sql!("contacts/create"),
                    &[":first", ":last", ":email", ":phone", "null", "null", "null", "null"]
                )
            )],
            variables: vec![
                user,
                ("first".into(), "Ada".into()),
                ("last".into(), ADDED.into()),
                ("phone".into(), "+1 555 000000".into()),
            ],
            bar: None,
        },
    ]
}

/// A statement with pgbench's variables for its parameters. A null is written out, for pgbench has none.
fn given(statement: Sql, values: &[&str]) -> String {
    let text: String = statement.text.lines().filter(|l| !l.starts_with("--")).map(|l| format!("{l}\n")).collect();
    values.iter().enumerate().rev().fold(text, |text, (i, value)| text.replace(&format!("${}", i + 1), value))
}

/// The handler's transaction as a script of pgbench.
fn transaction(statement: Sql, values: &[&str]) -> String {
    let plan = match statement.plan {
        Plan::Auto => "'auto'",
        Plan::Once => "'force_generic_plan'",
        Plan::Anew => "'force_custom_plan'",
    };
    let enter = given(sql!("platform/enter"), &[":me", "1", "true", plan, "'bench'"]);
    let statement = given(statement, values);
    format!("\\startpipeline\nbegin;\n{enter};\n{statement};\ncommit;\n\\endpipeline\n")
}

/// What came of a load.
struct Load {
    per_second: f64,
    /// Processor time of the server for one request, in microseconds.
    cpu: f64,
    p50: f64,
    p99: f64,
}

/// Asks over so many keep-alive connections, one question at a time on each; from one thread, so that switching between
/// threads of the client is not counted as the server's time.
fn load(server: &Server, case: &Case, connections: usize, time: Duration) -> Result<Load> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (start, cpu) = (Instant::now(), server.cpu());
    let ask = async || -> Result<Vec<u32>> {
        let mut stream = Connection::open(server.address).await?;
        let (mut micros, mut length) = (Vec::with_capacity(1 << 16), 0);
        while start.elapsed() < time {
            let request = (case.requests)(NEXT.fetch_add(1, Relaxed) as usize);
            let asked = Instant::now();
            let (status, body) = stream.ask(&request).await?;
            micros.push(asked.elapsed().as_micros() as u32);
            // A page that was right is right when it is as long as before: reading it takes time from the server, which
            // runs on the same processors.
            let right = if case.same && length > 0 { body.len() == length } else { (case.right)(body, case.contacts) };
            ensure!(status == 200 && right, "{} was answered {status} {}", case.name, String::from_utf8_lossy(body));
            length = body.len();
        }
        Ok(micros)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut micros = runtime.block_on(async {
        let asking = futures_util::future::try_join_all((0..connections).map(|_| ask())).await?;
        anyhow::Ok(asking.concat())
    })?;
    let per_second = micros.len() as f64 / start.elapsed().as_secs_f64();
    let cpu = (server.cpu() - cpu) / micros.len() as f64;
    micros.sort_unstable();
    let at = |part: f64| f64::from(micros[((micros.len() - 1) as f64 * part) as usize]) / 1000.0;
    Ok(Load { per_second, cpu, p50: at(0.5), p99: at(0.99) })
}

/// A keep-alive HTTP connection that understands just what the server sends.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 1 << 16] })
    }

    /// The answer's status and body.
    async fn ask(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        let (mut length, mut whole, mut head) = (0, usize::MAX, 0);
        while length < whole {
            let got = self.stream.read(&mut self.buffer[length..]).await?;
            ensure!(got > 0, "the server hung up");
            length += got;
            if head == 0 {
                let read = &self.buffer[..length];
                let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
                let text = std::str::from_utf8(&read[..end])?;
                let body =
                    text.lines().find_map(|l| l.strip_prefix("content-length: ")).context("no content-length")?;
                head = end + 4;
                whole = head + body.parse::<usize>()?;
                if whole > self.buffer.len() {
                    self.buffer.resize(whole, 0);
                }
            }
        }
        let status = std::str::from_utf8(&self.buffer[9..12])?.parse()?;
        Ok((status, &self.buffer[head..whole]))
    }
}

/// Transactions a second of pgbench.
fn pgbench(cluster: &Cluster, database: &str, case: &Case, seconds: u64) -> Result<f64> {
    let folder = env::temp_dir().join(format!("ringfence-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let mut command = Command::new(cluster.bin("pgbench"));
    let (clients, seconds) = (CLIENTS.to_string(), seconds.to_string());
    command.args(["-n", "-M", "prepared", "-j", "2", "-c", &clients, "-T", &seconds]);
    for (name, value) in &case.variables {
        command.args(["-D", &format!("{name}={value}")]);
    }
    for (i, script) in case.scripts.iter().enumerate() {
        let file = folder.join(format!("{i}.sql"));
        fs::write(&file, script)?;
        command.arg("-f").arg(file);
    }
    let output = command.arg(cluster.url("ringfence_api", database)).output().context("pgbench does not run")?;
    fs::remove_dir_all(&folder)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tps = text.lines().find_map(|l| l.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    let failed = !text.contains("number of failed transactions: 0 ");
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && !failed, "pgbench failed on {}: {errors}", case.name);
    tps.with_context(|| format!("pgbench says nothing of tps: {text}{errors}"))
}

/// The server of this build, as a process of its own.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(database: &str) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .env("RINGFENCE_LISTEN", address.to_string())
            .env("DATABASE_URL", database)
            .env_remove("DATABASE_ADMIN_URL")
            .env("RINGFENCE_JWT_SECRET", SECRET)
            .env("RINGFENCE_SECRET_KEY", "5e".repeat(32))
            .env("RINGFENCE_RATE_LIMITS", "off")
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .spawn()?;
        let mut server = Self { child, address };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let start = Instant::now();
        loop {
            ensure!(server.child.try_wait()?.is_none(), "the server ended at once");
            let ready = runtime.block_on(async {
                let mut connection = Connection::open(address).await?;
                anyhow::Ok(connection.ask(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await?.0)
            });
            if ready.is_ok_and(|status| status == 200) {
                return Ok(server);
            }
            ensure!(start.elapsed() < Duration::from_secs(20), "the server does not get ready");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Resident memory in MiB.
    fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        line.and_then(|l| l.trim().split(' ').next()?.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
    }

    /// Processor time that it has taken, in microseconds.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // Of user and system, in hundredths of a second (proc(5)), behind the name, which may hold anything.
        let numbers = stat.rsplit(')').next().unwrap_or_default();
        numbers.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() * 10_000.0
    }

    fn stop(mut self) -> Result<()> {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), nix::sys::signal::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }
}

/// Resident memory at the most, in MiB, while all of many connections ask.
fn busy_memory(server: &Server, case: &Case, time: Duration) -> Result<f64> {
    thread::scope(|scope| {
        let asking = scope.spawn(|| load(server, case, MANY, time));
        let mut most = 0.0_f64;
        while !asking.is_finished() {
            most = most.max(server.memory());
            thread::sleep(Duration::from_millis(20));
        }
        asking.join().unwrap()?;
        Ok(most)
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn report(cases: &[Case], results: &[Vec<(Load, f64)>], idle: f64, busy: Option<f64>) -> Result<()> {
    println!("{CLIENTS} connections; medians of {} rounds\n", results.first().map_or(0, Vec::len));
    println!(
        "{:<16} {:>9} {:>9} {:>8} {:>8} {:>7} {:>9} {:>6} {:>7}",
        "", "contacts", "server/s", "p50 ms", "p99 ms", "cpu µs", "pgbench/s", "ratio", "bar"
    );
    let mut rows: Vec<Value> = Vec::new();
    for (case, rounds) in cases.iter().zip(results) {
        let server = median(rounds.iter().map(|(l, _)| l.per_second));
        let (p50, p99) = (median(rounds.iter().map(|(l, _)| l.p50)), median(rounds.iter().map(|(l, _)| l.p99)));
        let cpu = median(rounds.iter().map(|(l, _)| l.cpu));
        let pgbench = median(rounds.iter().map(|(_, p)| *p));
        // Of each round by itself, so that a slow minute counts for both.
        let ratio = median(rounds.iter().map(|(l, p)| l.per_second / p));
        let bar = case.bar.map(|b| format!(">={b}")).unwrap_or_default();
        println!(
            "{:<16} {:>9} {server:>9.0} {p50:>8.3} {p99:>8.3} {cpu:>7.0} {pgbench:>9.0} {ratio:>6.2} {bar:>7}",
            case.name, case.contacts
        );
        rows.push(json!({"name": case.name, "contacts": case.contacts, "server_per_second": server, "p50_ms": p50, "p99_ms": p99, "cpu_us": cpu,
            "pgbench_per_second": pgbench, "ratio": ratio, "bar": case.bar}));
    }
    println!("\nresident memory, idle: {idle:.0} MiB (bar: 64)");
    if let Some(busy) = busy {
        println!("resident memory, {MANY} connections busy: {busy:.0} MiB (bar: 128)");
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench-results");
    fs::create_dir_all(&folder)?;
    let result = json!({"requests": rows, "memory_mib": {"idle": idle, "busy": busy}});
    fs::write(folder.join("requests.json"), serde_json::to_string_pretty(&result)?)?;
    Ok(())
}
