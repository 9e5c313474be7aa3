//! Faults under load (`make chaos`): real processes are killed, cut off and starved while several companies work. No
//! acknowledged write may be lost, nothing sent twice, nothing shown to another company.

use crate::support::proxy::Mode;
use crate::support::{
    command::{ringfence, serve},
    database::OwnDatabase,
    random::below,
    world::Person,
};
use faults::{ALL, Fault};
use load::{Failure, Load};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rig::Rig;
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use uuid::Uuid;

mod faults;
mod load;
mod providers;
mod rig;
mod verify;

/// Time within which the system must have recovered from a fault.
const RECOVERY: Duration = Duration::from_secs(5);
/// Time from one fault of the mixed load to the next.
const EVERY: Duration = Duration::from_secs(20);
/// What each company must be able to do again within [`RECOVERY`].
const DAILY: [&str; 3] = ["add a contact", "read a contact", "list"];

/// The faults that `make chaos ONLY=…` names.
fn chosen() -> Vec<Fault> {
    let only = std::env::var("CHAOS_ONLY").unwrap_or_default();
    let chosen: Vec<Fault> = ALL.into_iter().filter(|fault| fault.name().contains(&only)).collect();
    assert!(!chosen.is_empty(), "no fault is called {only}");
    chosen
}

/// A fault that has struck.
struct Struck {
    fault: Fault,
    begun: Instant,
    lifted: Instant,
    line: String,
}

struct Run {
    rig: Rig,
    load: Arc<Load>,
    people: JoinSet<()>,
    struck: Vec<Struck>,
    begun: Instant,
}

impl Run {
    async fn start() -> Self {
        let rig = Rig::new().await;
        let (load, people) = Load::start(&rig).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        Self { rig, load, people, struck: Vec::new(), begun: Instant::now() }
    }

    /// Causes a fault, waits for the recovery, and prints the outcome.
    async fn strike(&mut self, fault: Fault) {
        if let Some(why) = fault.impossible(&self.rig) {
            println!("{:<22} SKIPPED: {why}", fault.name());
            return;
        }
        let requests = self.load.ledger.lock().unwrap().requests;
        let begun = Instant::now();
        fault.strike(&self.rig).await;
        let lifted = Instant::now();
        tokio::time::sleep(RECOVERY).await;

        let (recovered, line) = {
            let ledger = self.load.ledger.lock().unwrap();
            let failures: Vec<&Failure> = ledger.failures.iter().filter(|failure| failure.ended >= begun).collect();
            let late = failures.iter().map(|failure| failure.begun).filter(|begun| *begun > lifted).max();
            let recovery = late.map_or(0.0, |late| (late - lifted).as_secs_f64());
            let idle = (0..self.load.companies.len()).flat_map(|company| DAILY.map(|what| (company, what)));
            let idle: Vec<String> = idle
                .filter(|done| ledger.done.get(done).is_none_or(|at| *at <= lifted))
                .map(|(company, what)| format!("c{company} did not {what} within 5 s"))
                .collect();
            let line = format!(
                "{:<22} {:>5.1} s, well again after {recovery:.1} s; {:>5} requests, {}",
                fault.name(),
                (lifted - begun).as_secs_f64(),
                ledger.requests - requests,
                by_status(&failures)
            );
            (idle, line)
        };
        println!("{:>5.0} s  {line}", (begun - self.begun).as_secs_f64());
        for idle in recovered {
            self.load.violation(format!("after {}: {idle}", fault.name()));
        }
        if !self.rig.is_server_up() {
            self.load.violation(format!("{} ended the server", fault.name()));
        }
        self.struck.push(Struck { fault, begun, lifted, line });
    }

    /// Checks everything. The load goes on, except during the isolation matrix.
    async fn look(&self, with_matrix: bool) {
        for wrong in verify::wrong(&self.rig, &self.load).await {
            self.load.violation(wrong);
        }
        if with_matrix {
            self.load.rest(true);
            let matrix = self.rig.isolation().await;
            self.load.rest(false);
            match matrix {
                Ok(took) => println!("    isolation matrix green in {:.0} s", took.as_secs_f64()),
                Err(said) => self.load.violation(format!("the isolation matrix: {said}")),
            }
        }
    }

    /// Ends the load, waits until all work is done, checks everything once more, and sums up.
    async fn finish(mut self) {
        self.load.stop();
        while let Some(ended) = self.people.join_next().await {
            ended.unwrap();
        }
        for left in verify::drain(&self.rig).await {
            self.load.violation(left);
        }
        self.look(true).await;
        self.judge();
        let (summary, wrong) = verify::finished(&self.rig, &self.load).await;
        for wrong in wrong {
            self.load.violation(wrong);
        }
        println!("\n{} faults:", self.struck.len());
        for struck in &self.struck {
            println!("  {}", struck.line);
        }
        println!("{summary}");
        let violations = self.load.ledger.lock().unwrap().violations.clone();
        assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
        self.rig.close().await;
    }

    /// Each failure needs a fault, and each cut connection needs one that ended the server.
    fn judge(&self) {
        let failures = self.load.ledger.lock().unwrap().failures.clone();
        for failure in failures {
            let mut during = self
                .struck
                .iter()
                .filter(|struck| failure.ended >= struck.begun && failure.begun <= struck.lifted + RECOVERY);
            let explained = during.any(|struck| failure.status != 0 || struck.fault.ends_server());
            if !explained {
                let Failure { what, status, begun, ended } = failure;
                let after = |at: Instant| (at - self.begun).as_secs_f64();
                self.load.violation(format!(
                    "no fault explains {status} to {what}, asked after {:.1} s and answered after {:.1} s",
                    after(begun),
                    after(ended)
                ));
            }
        }
    }
}

fn by_status(failures: &[&Failure]) -> String {
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for failure in failures {
        *counts.entry(failure.status).or_default() += 1;
    }
    let name = |status: u16| if status == 0 { "cut".to_owned() } else { status.to_string() };
    let parts: Vec<String> = counts.iter().map(|(status, count)| format!("{count} x {}", name(*status))).collect();
    if parts.is_empty() { "no errors".into() } else { parts.join(", ") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make chaos"]
async fn each_fault_by_itself_leaves_everything_whole() {
    let mut run = Run::start().await;
    for fault in chosen() {
        run.strike(fault).await;
        run.look(true).await;
    }
    run.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make chaos"]
async fn mixed_load_survives_a_fault_every_twenty_seconds() {
    let minutes: f64 = std::env::var("CHAOS_MINUTES").ok().and_then(|m| m.parse().ok()).unwrap_or(3.0);
    let mut run = Run::start().await;
    let (start, mut order) = (Instant::now(), Vec::new());
    while start.elapsed().as_secs_f64() < minutes * 60.0 {
        if order.is_empty() {
            order = chosen();
        }
        let next = Instant::now() + EVERY;
        run.strike(order.swap_remove(below(order.len()))).await;
        run.look(false).await;
        tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
    }
    run.finish().await;
}

/// As with `make run`: a server with its own PostgreSQL starts it again when it has died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make chaos"]
async fn the_private_postgresql_is_started_again() {
    let folder = format!("/tmp/ringfence-chaos-{}", Uuid::new_v4().simple());
    let nowhere = OwnDatabase { name: String::new(), admin: String::new(), api: String::new() };
    let mut server = ringfence(&nowhere, &["serve", "--data", &folder]);
    server.env("RINGFENCE_LISTEN", "127.0.0.1:0");
    let (mut server, base) = serve(server.env("RUST_LOG", "off"));
    let login = json!({"email": "olivia@harborvale.example", "password": "Demo-Ring-2026"});
    let someone = Person::visitor(&base);
    let token = someone.post("/api/auth/login", login).await.expect(200)["access_token"].clone();
    let olivia = someone.with_token(token.as_str().unwrap());
    for round in 0..3 {
        let new = json!({"type": "note", "subject": format!("Round {round}")});
        olivia.post("/api/activities/", new).await.expect(200);
        let pid = std::fs::read_to_string(format!("{folder}/data/postmaster.pid")).unwrap();
        kill(Pid::from_raw(pid.lines().next().unwrap().parse().unwrap()), Signal::SIGKILL).unwrap();
        let killed = Instant::now();
        tokio::time::sleep(Duration::from_millis(100)).await;
        loop {
            let answer = olivia.get("/api/activities/?type=note").await;
            if answer.status == 200 {
                assert!(answer.text.contains(&format!("Round {round}")), "{}", answer.text);
                break;
            }
            assert_eq!(answer.status, 503, "{}", answer.text);
            assert!(killed.elapsed() < Duration::from_secs(20), "PostgreSQL does not come back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("the private PostgreSQL was back {:.1} s after it was killed", killed.elapsed().as_secs_f64());
    }
    kill(Pid::from_raw(server.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(server.wait().unwrap().success());
    std::fs::remove_dir_all(folder).unwrap();
}

/// Whatever the request waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make chaos"]
async fn a_request_is_given_up_after_a_minute() {
    let rig = Rig::new().await;
    let someone = Person::visitor(&rig.base);
    let login = json!({"email": "nobody@example.com", "password": "Wrong-Horse-1"});
    someone.post("/api/auth/login", login.clone()).await.expect(401);
    let mut half = TcpStream::connect(rig.base.trim_start_matches("http://")).await.unwrap();
    half.write_all(b"GET /livez HTTP/1.1\r\nHost: ").await.unwrap();
    rig.database.set(Mode::Stall);
    let begun = Instant::now();
    let given_up = someone.post("/api/auth/login", login.clone()).await;
    let took = begun.elapsed().as_secs_f64();
    assert!(given_up.detail(503).contains("took too long"), "{}", given_up.text);
    assert!((59.0..63.0).contains(&took), "{took} s");
    rig.database.set(Mode::Pass);
    someone.post("/api/auth/login", login).await.expect(401);
    // Nor does the server wait longer for the rest of a head.
    let ended = tokio::time::timeout(Duration::from_secs(20), half.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "a connection without a request is kept");
    rig.close().await;
}
