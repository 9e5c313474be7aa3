//! pgbench with a handler's statement: the cost of PostgreSQL alone.

use crate::{
    shared::Postgres,
    sides::{Done, Figures, Side},
};
use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ringfence::{
    db::{Plan, Sql, local::Cluster},
    sql,
};
use std::{
    env,
    fs::{self, File},
    path::PathBuf,
    process::{self, Child, Command},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A script for pgbench.
pub struct Script {
    /// One text for each of the requested rows, in turns.
    pub texts: Vec<String>,
    pub variables: Vec<(String, String)>,
    /// Whether it runs as a role like the API's login, but without policies.
    pub without_policies: bool,
    /// How its statements are planned if *enter* does not say.
    pub plan: Plan,
}

/// A statement with pgbench's variables for its parameters. Nulls are written out, because pgbench has none.
pub fn given(statement: &str, values: &[&str]) -> String {
    let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    values.iter().enumerate().rev().fold(text, |text, (i, value)| text.replace(&format!("${}", i + 1), value))
}

/// The handler's transaction: *enter* and this statement, written together and followed by one Sync, as the server
/// does.
pub fn in_context(statement: Sql, text: &str) -> String {
    let enter = given(
        sql!("platform/enter").text,
        &[":me", ":version", "true", &format!("'{}'", statement.plan.mode()), "'bench'", "null"],
    );
    format!("\\startpipeline\n{enter};\n{text};\n\\endpipeline\n")
}

/// How long connections take to open, to prepare their statements and to fill their caches.
pub fn warming(connections: usize) -> Duration {
    Duration::from_millis(1000 + 10 * connections as u64)
}

/// An upper limit in seconds: pgbench ends itself by a signal when its time is up. Should nobody be left to do that, it
/// ends by itself.
fn longest(time: Duration) -> String {
    (60 + 8 * time.as_secs()).to_string()
}

/// pgbench with a script, stopped between its turns.
pub struct Pgbench<'a> {
    child: Child,
    folder: Folder,
    postgres: &'a Postgres,
    /// The beginnings and ends of its turns, in microseconds since 1970.
    turns: Vec<(u64, u64)>,
    time: Duration,
    database_cpu: f64,
    text: String,
}

impl<'a> Pgbench<'a> {
    pub fn start(
        cluster: &Cluster,
        database: &str,
        postgres: &'a Postgres,
        script: &Script,
        connections: usize,
        time: Duration,
    ) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = format!("ringfence-bench-{}-{}", process::id(), NEXT.fetch_add(1, Relaxed));
        let folder = Folder(env::temp_dir().join(folder));
        fs::create_dir_all(&folder.0)?;
        let user = if script.without_policies { "ringfence_unpoliced" } else { "ringfence_api" };
        let mut command = Command::new(cluster.bin("pgbench"));
        command.args(["-n", "-M", "prepared", "-j", "2", "-c", &connections.to_string(), "-T", &longest(time)]);
        // A line for each transaction.
        command.arg("-l").arg(format!("--log-prefix={}", folder.0.join("log").display()));
        command.env("PGOPTIONS", format!("-c plan_cache_mode={}", script.plan.mode()));
        for (name, value) in &script.variables {
            command.args(["-D", &format!("{name}={value}")]);
        }
        for (i, text) in script.texts.iter().enumerate() {
            let file = folder.0.join(format!("{i}.sql"));
            fs::write(&file, text)?;
            command.arg("-f").arg(file);
        }
        // Into files: with much output, pgbench would wait for the reader of a pipe.
        let (output, errors) = (File::create(folder.0.join(OUTPUT))?, File::create(folder.0.join(ERRORS))?);
        command.arg(cluster.url(user, database)).stdout(output).stderr(errors);
        let child = command.spawn().context("pgbench does not run")?;
        let text = script.texts.first().cloned().unwrap_or_default();
        let (turns, time) = (Vec::new(), Duration::ZERO);
        let pgbench = Self { child, folder, postgres, turns, time, database_cpu: 0.0, text };
        thread::sleep(warming(connections));
        pgbench.signal(Signal::SIGSTOP)?;
        postgres.rest();
        Ok(pgbench)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), signal).context("pgbench cannot be told")
    }

    /// When each transaction ended, in microseconds since 1970, and how many it took.
    fn log(&self) -> Result<Vec<(u64, u32)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.folder.0)? {
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
        Ok(all)
    }
}

/// A folder that is deleted with its owner.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The files of pgbench's output, in its folder.
const OUTPUT: &str = "output";
const ERRORS: &str = "errors";

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64)
}

impl Side for Pgbench<'_> {
    fn turn(&mut self, time: Duration) -> Result<()> {
        let cpu = self.postgres.cpu();
        self.signal(Signal::SIGCONT)?;
        let from = now()?;
        thread::sleep(time);
        let until = now()?;
        self.signal(Signal::SIGSTOP)?;
        self.postgres.rest();
        self.turns.push((from, until));
        self.time += Duration::from_micros(until - from);
        self.database_cpu += self.postgres.cpu() - cpu;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Option<Figures>> {
        self.signal(Signal::SIGALRM)?;
        self.signal(Signal::SIGCONT)?;
        let status = self.child.wait()?;
        let said = |file| fs::read_to_string(self.folder.0.join(file));
        let (text, errors) = (said(OUTPUT)?, said(ERRORS)?);
        let failed = !text.contains("number of failed transactions: 0 ");
        ensure!(status.success() && !failed, "pgbench failed: {text}{errors}\n{}", self.text);

        let mut done = Done { time: self.time, database_cpu: self.database_cpu, ..Done::default() };
        for (ended, took) in self.log()? {
            let after = self.turns.partition_point(|(from, _)| *from <= ended);
            let Some((from, until)) = after.checked_sub(1).and_then(|turn| self.turns.get(turn)) else { continue };
            if ended <= *until {
                // A transaction that began earlier counts for pgbench: the database did it while nobody else worked.
                done.ended += 1;
                if ended - u64::from(took) >= *from {
                    done.micros.push(took);
                }
            }
        }
        Ok(done.figures())
    }
}

impl Drop for Pgbench<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
