//! Asks the server. The client runs on the same processors, so it does as little as it can: one thread, requests that are
//! made before, and answers that are looked at once.

use crate::{
    cases::Question,
    shared::{Connection, Latencies, Postgres, Server},
};
use anyhow::{Result, ensure};
use futures_util::future::{try_join_all, try_join3};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// What came of a load.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub per_second: f64,
    /// Processor time of the server and of the database for one request, in microseconds.
    pub server_cpu: f64,
    pub database_cpu: f64,
    /// Milliseconds.
    pub p50: f64,
    pub p99: f64,
}

/// For how long the server's connections prepare their statements before it counts.
const WARMING: Duration = Duration::from_millis(400);

/// Asks over so many keep-alive connections, one question at a time on each. `beside` is asked over others at the same
/// time: how many of it are answered in a second comes second.
pub fn run(
    server: &Server,
    postgres: &Postgres,
    question: &Question,
    connections: usize,
    time: Duration,
    beside: Option<(&Question, usize)>,
) -> Result<(Figures, f64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let from = Instant::now() + WARMING;
    let until = from + time;
    runtime.block_on(async {
        let counted = try_join_all((0..connections).map(|_| ask(server, question, from, until, false)));
        let others = beside.into_iter().flat_map(|(question, connections)| (0..connections).map(move |_| question));
        let others = try_join_all(others.map(|question| ask(server, question, from, until, true)));
        let cpu = async {
            tokio::time::sleep_until(from.into()).await;
            let begun = (server.process.cpu(), postgres.cpu());
            tokio::time::sleep_until(until.into()).await;
            anyhow::Ok((server.process.cpu() - begun.0, postgres.cpu() - begun.1))
        };
        let (counted, others, (server_cpu, database_cpu)) = try_join3(counted, others, cpu).await?;
        let answered = |all: &[Asked]| all.iter().map(|asked| asked.in_time).sum::<usize>();
        let (in_time, others) = (answered(&counted), answered(&others));
        let latencies = Latencies::of(counted.into_iter().flat_map(|asked| asked.micros).collect());
        ensure!(in_time > 0, "no request ended in time");
        let figures = Figures {
            per_second: in_time as f64 / time.as_secs_f64(),
            server_cpu: server_cpu / in_time as f64,
            database_cpu: database_cpu / in_time as f64,
            p50: latencies.at(0.5),
            p99: latencies.at(0.99),
        };
        Ok((figures, others as f64 / time.as_secs_f64()))
    })
}

#[derive(Default)]
struct Asked {
    /// How long each request took that was asked in time.
    micros: Vec<u32>,
    /// How many were answered in time.
    in_time: usize,
}

/// `may_wait`: who is told that there are too many comes again, as a person would.
async fn ask(server: &Server, question: &Question, from: Instant, until: Instant, may_wait: bool) -> Result<Asked> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut connection = Connection::open(server.address).await?;
    let (mut all, mut length) = (Asked::default(), 0);
    loop {
        let request = (question.request)(NEXT.fetch_add(1, Relaxed) as usize);
        let asked = Instant::now();
        if asked >= until {
            return Ok(all);
        }
        let (status, body) = connection.ask(&request).await?;
        if may_wait && status == 503 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        let answered = Instant::now();
        if asked >= from {
            all.micros.push((answered - asked).as_micros() as u32);
        }
        all.in_time += usize::from(answered >= from && answered < until);
        // What was right is right when it is as long as before: reading it takes time from the server, which runs on the
        // same processors.
        let right = body.len() == length || (question.right)(body);
        ensure!(status == 200 && right, "answered {status} {}", String::from_utf8_lossy(&body[..body.len().min(1000)]));
        length = body.len();
    }
}
