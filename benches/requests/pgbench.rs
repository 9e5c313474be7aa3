//! pgbench with a handler's statement: what PostgreSQL does by itself.

use crate::{
    load::Figures,
    shared::{Latencies, Postgres},
};
use anyhow::{Context, Result, bail, ensure};
use ringfence::{
    db::{Plan, Sql, local::Cluster},
    sql,
};
use std::{
    env, fs,
    path::Path,
    process::{self, Command, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What pgbench executes.
pub struct Script {
    /// One text for each of the rows that are asked for, in turns.
    pub texts: Vec<String>,
    pub variables: Vec<(String, String)>,
    /// Whether it runs as somebody like the API's login whom no policy concerns.
    pub without_policies: bool,
    /// How its statements are planned where *enter* does not say.
    pub plan: Plan,
}

/// A statement with pgbench's variables for its parameters. A null is written out, for pgbench has none.
pub fn given(statement: &str, values: &[&str]) -> String {
    let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    values.iter().enumerate().rev().fold(text, |text, (i, value)| text.replace(&format!("${}", i + 1), value))
}

/// The handler's transaction: *enter* and this statement, written together with one Sync behind them, as the server does.
pub fn in_context(statement: Sql, text: &str) -> String {
    let enter = given(
        sql!("platform/enter").text,
        &[":me", ":version", "true", &format!("'{}'", statement.plan.mode()), "'bench'"],
    );
    format!("\\startpipeline\n{enter};\n{text};\n\\endpipeline\n")
}

/// How many seconds pgbench runs besides those that count, in which it connects, and each connection prepares its
/// statements and fills its caches.
pub fn warming(connections: usize) -> u64 {
    1 + connections as u64 / 100
}

/// Runs a script on so many connections.
pub fn run(
    cluster: &Cluster,
    database: &str,
    postgres: &Postgres,
    script: &Script,
    connections: usize,
    time: Duration,
) -> Result<Figures> {
    let folder = env::temp_dir().join(format!("ringfence-bench-{}", process::id()));
    // Where one takes seconds, a second ends none.
    for longer in [1, 4, 16] {
        fs::create_dir_all(&folder)?;
        let done = run_in(&folder, cluster, database, postgres, script, connections, time * longer);
        fs::remove_dir_all(&folder)?;
        if let Some(figures) = done? {
            return Ok(figures);
        }
    }
    bail!("pgbench ends nothing within {} s on {connections} connections", time.as_secs() * 16)
}

/// None if nothing ended in that time.
fn run_in(
    folder: &Path,
    cluster: &Cluster,
    database: &str,
    postgres: &Postgres,
    script: &Script,
    connections: usize,
    time: Duration,
) -> Result<Option<Figures>> {
    let user = if script.without_policies { "ringfence_unpoliced" } else { "ringfence_api" };
    let seconds = time.as_secs() + warming(connections);
    let mut command = Command::new(cluster.bin("pgbench"));
    command.args(["-n", "-M", "prepared", "-j", "2", "-c", &connections.to_string(), "-T", &seconds.to_string()]);
    // A line for each transaction.
    command.arg("-l").arg(format!("--log-prefix={}", folder.join("log").display()));
    command.env("PGOPTIONS", format!("-c plan_cache_mode={}", script.plan.mode()));
    for (name, value) in &script.variables {
        command.args(["-D", &format!("{name}={value}")]);
    }
    for (i, text) in script.texts.iter().enumerate() {
        let file = folder.join(format!("{i}.sql"));
        fs::write(&file, text)?;
        command.arg("-f").arg(file);
    }
    command.arg(cluster.url(user, database)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().context("pgbench does not run")?;
    // What it costs to connect is no request's.
    thread::sleep(Duration::from_secs(warming(connections)));
    let (cpu, since) = (postgres.cpu(), SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64);
    let output = child.wait_with_output()?;
    let cpu = postgres.cpu() - cpu;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let failed = !text.contains("number of failed transactions: 0 ");
    ensure!(output.status.success() && !failed, "pgbench failed: {text}{errors}\n{}", script.texts[0]);

    // (microseconds since 1970 at which it ended, microseconds that it took)
    let mut all: Vec<(u64, u32)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log")) {
            for line in fs::read_to_string(&path)?.lines() {
                let mut words = line.split(' ').skip(2);
                let mut next =
                    || words.next().and_then(|w| w.parse::<u64>().ok()).context("pgbench's log is not as expected");
                let (took, _, second, micro) = (next()?, next()?, next()?, next()?);
                all.push((second * 1_000_000 + micro, took as u32));
            }
        }
    }
    // It ends by beginning nothing more, so what counts is the time before that.
    let begun = || all.iter().map(|(ended, took)| ended - u64::from(*took));
    let until = begun().max().context("pgbench did nothing")?;
    let from = begun().min().unwrap_or(0).max(until.saturating_sub(time.as_micros() as u64));
    ensure!(until > from, "pgbench took all of its time to connect");
    let counted = all.iter().filter(|(ended, _)| (from..until).contains(ended)).map(|(_, took)| *took);
    let latencies = Latencies::of(counted.collect());
    if latencies.count() == 0 {
        return Ok(None);
    }
    Ok(Some(Figures {
        per_second: latencies.count() as f64 * 1e6 / (until - from) as f64,
        server_cpu: 0.0,
        database_cpu: cpu / all.iter().filter(|(ended, _)| *ended >= since).count() as f64,
        p50: latencies.at(0.5),
        p99: latencies.at(0.99),
    }))
}
