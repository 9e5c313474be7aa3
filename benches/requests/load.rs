//! Sends requests to the server. The client runs on the same processors, so it does as little as possible: one thread,
//! prepared requests, and responses that are checked at once.

use crate::{
    cases::Question,
    shared::{Connection, Latencies, Postgres, Server},
    sides::{Done, Figures, Side},
};
use anyhow::{Context, Result, ensure};
use futures_util::future::{try_join, try_join_all};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// How long the server's connections prepare their statements before measuring starts.
const WARMING: Duration = Duration::from_millis(400);

/// Keep-alive connections, each with one request at a time.
struct Clients<'a> {
    question: &'a Question,
    clients: Vec<Client>,
}

struct Client {
    connection: Connection,
    /// The length of the previous response.
    length: usize,
}

impl<'a> Clients<'a> {
    async fn connect(server: &Server, question: &'a Question, connections: usize) -> Result<Self> {
        let connect = async || anyhow::Ok(Client { connection: Connection::open(server.address).await?, length: 0 });
        let clients = try_join_all((0..connections).map(|_| connect())).await?;
        Ok(Self { question, clients })
    }

    /// Sends requests until then, and waits for the last responses; returns how long each took, in microseconds. With
    /// `may_wait`, a client that is told that there are too many tries again, as a person would.
    async fn ask(&mut self, until: Instant, may_wait: bool) -> Result<Vec<u32>> {
        let Self { question, clients } = self;
        let each = clients.iter_mut().map(|client| client.ask(question, until, may_wait));
        Ok(try_join_all(each).await?.concat())
    }
}

impl Client {
    async fn ask(&mut self, question: &Question, until: Instant, may_wait: bool) -> Result<Vec<u32>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut micros = Vec::new();
        loop {
            let request = (question.request)(NEXT.fetch_add(1, Relaxed) as usize);
            let asked = Instant::now();
            if asked >= until {
                return Ok(micros);
            }
            let (status, body) = self.connection.ask(&request).await?;
            if may_wait && status == 503 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            micros.push(asked.elapsed().as_micros() as u32);
            // A response as long as the last right one counts as right: reading it would take time from the server,
            // which runs on the same processors.
            let right = body.len() == self.length || (question.right)(body);
            ensure!(
                status == 200 && right,
                "answered {status} {}",
                String::from_utf8_lossy(&body[..body.len().min(1000)])
            );
            self.length = body.len();
        }
    }
}

/// The server as a side of a comparison.
pub struct Http<'a> {
    server: &'a Server,
    postgres: &'a Postgres,
    runtime: &'a Runtime,
    clients: Clients<'a>,
    done: Done,
    /// The median time of a request before measuring starts.
    pub usual: Duration,
}

impl<'a> Http<'a> {
    pub fn start(
        server: &'a Server,
        postgres: &'a Postgres,
        runtime: &'a Runtime,
        question: &'a Question,
        connections: usize,
    ) -> Result<Self> {
        let mut clients = runtime.block_on(Clients::connect(server, question, connections))?;
        let warm = Latencies::of(runtime.block_on(clients.ask(Instant::now() + WARMING, false))?);
        let usual = Duration::from_secs_f64(warm.at(0.5) / 1000.0);
        Ok(Self { server, postgres, runtime, clients, done: Done::default(), usual })
    }
}

impl Side for Http<'_> {
    fn turn(&mut self, time: Duration) -> Result<()> {
        let cpu = (self.server.process.cpu(), self.postgres.cpu());
        let begun = Instant::now();
        let micros = self.runtime.block_on(self.clients.ask(begun + time, false))?;
        self.done.time += begun.elapsed();
        self.postgres.rest();
        self.done.server_cpu += self.server.process.cpu() - cpu.0;
        self.done.database_cpu += self.postgres.cpu() - cpu.1;
        self.done.ended += micros.len();
        self.done.micros.extend(micros);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Option<Figures>> {
        Ok(self.done.figures())
    }
}

/// Measures the server for this time while others send other requests: `beside` over this many connections. The second
/// value is the number of their responses per second.
pub fn beside(
    server: &Server,
    postgres: &Postgres,
    runtime: &Runtime,
    question: &Question,
    connections: usize,
    time: Duration,
    beside: Option<(&Question, usize)>,
) -> Result<(Figures, f64)> {
    runtime.block_on(async {
        let mut counted = Clients::connect(server, question, connections).await?;
        let mut others = match beside {
            Some((question, connections)) => Clients::connect(server, question, connections).await?,
            None => Clients { question, clients: Vec::new() },
        };
        let from = Instant::now() + WARMING;
        let until = from + time;
        let count = async {
            counted.ask(from, false).await?;
            let begun = (server.process.cpu(), postgres.cpu());
            let start = Instant::now();
            let micros = counted.ask(until, false).await?;
            let (server_cpu, database_cpu) = (server.process.cpu() - begun.0, postgres.cpu() - begun.1);
            let done = Done { ended: micros.len(), micros, time: start.elapsed(), server_cpu, database_cpu };
            done.figures().context("nothing was asked in time")
        };
        let begun = Instant::now();
        let others = async {
            let answered = others.ask(until, true).await?.len();
            anyhow::Ok(answered as f64 / begun.elapsed().as_secs_f64())
        };
        try_join(count, others).await
    })
}
