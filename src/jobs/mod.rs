//! Work that outlives a request. A job is a row of the table `jobs`, written by the transaction that causes it; it is
//! claimed across companies (`app.claim_jobs`) and runs inside the company of its row, through the same handle as a
//! request. When a worker dies, no job is lost: its claim expires after five minutes and another worker takes the job.
//!
//! To add a job, add a file here with `run`, and a word in `jobs!`. Periodic work for all companies together is started
//! by `work`.

pub mod forget_runs;
pub mod sweep_files;

use crate::{
    App, Error, Result,
    db::{TenantDb, platform::Job},
    sql,
    wire::Time,
};
use jiff::Timestamp;
use std::{
    collections::HashMap,
    future::Future,
    time::{Duration, Instant},
};
use tokio::task::{self, JoinError, JoinSet};
use tracing::Instrument;
use uuid::Uuid;

/// How long an idle worker waits before it polls the queue again.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How often a worker checks whether periodic work is due.
const CHORE_INTERVAL: Duration = Duration::from_secs(60);
/// How long a job is left to other workers if this one cannot read the company's secrets, for example
/// because it was not restarted with the newest key.
const NO_KEY_DELAY: Duration = Duration::from_secs(5 * 60);
/// The number of jobs that one worker runs at the same time: they mostly wait for others.
const CONCURRENCY: usize = 128;
/// The maximum number of jobs claimed at a time.
const BATCH_SIZE: usize = 16;

macro_rules! jobs {
    ($($kind:ident)*) => {
        $(mod $kind;)*

        /// The kinds of jobs.
        pub const KINDS: &[&str] = &[$(stringify!($kind)),*];

        async fn run(app: &App, job: &Job) -> Result<()> {
            let db = TenantDb::for_company(&app.db, job.company_id, job.user_id);
            let ran = match job.kind.as_str() {
                $(stringify!($kind) => $kind::run(app, &db, job).await,)*
                _ => Err(Error::Internal("a job of an unknown kind".into())),
            };
            match ran {
                Err(Error::NoKey(_)) => requeue_after(&db, job, NO_KEY_DELAY).await,
                ran => ran,
            }
        }
    };
}

jobs! { activity_due campaign scheduled_sms unanswered workflow_run workflow_schedule }

pub use workflow_run::at_once;

/// Runs jobs until `stop` is done; running jobs finish.
pub async fn work(app: &App, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    let mut asked: Option<Instant> = None;
    let mut running: JoinSet<()> = JoinSet::new();
    let mut of_job: HashMap<task::Id, (Uuid, String)> = HashMap::new();
    loop {
        let free = CONCURRENCY - running.len();
        let under_way: Vec<(Uuid, &str)> = of_job.values().map(|(company, kind)| (*company, kind.as_str())).collect();
        let taken = match app.db.platform().claim_jobs(KINDS, free.min(BATCH_SIZE) as i32, &under_way).await {
            Ok(jobs) => jobs,
            Err(e) => {
                tracing::warn!(error = %e.for_log(), "cannot claim jobs");
                Vec::new()
            }
        };
        let more = !taken.is_empty();
        for job in taken {
            let whose = (job.company_id, job.kind.clone());
            of_job.insert(start(app, job, &mut running), whose);
        }
        if asked.is_none_or(|asked| asked.elapsed() > CHORE_INTERVAL) {
            asked = Some(Instant::now());
            let app = app.clone();
            app.clone().background.spawn(async move {
                let (swept, forgot) = tokio::join!(sweep_files::in_turn(&app), forget_runs::in_turn(&app));
                if let Err(e) = swept {
                    tracing::warn!(error = %format!("{e:#}"), "cannot sweep the store of files");
                }
                if let Err(e) = forgot {
                    tracing::warn!(error = %format!("{e:#}"), "cannot delete old runs of workflows");
                }
            });
        }
        // Polls at once while there is work and room for it, otherwise when a job ends or [`POLL_INTERVAL`] has passed.
        let room = running.len() < CONCURRENCY;
        let pause = if more && room { Duration::ZERO } else { POLL_INTERVAL };
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(done) = running.join_next_with_id() => ended(done, &mut of_job),
            () = tokio::time::sleep(pause), if room => {}
        }
        while let Some(done) = running.try_join_next_with_id() {
            ended(done, &mut of_job);
        }
    }
    // Jobs with several steps leave the rest to another worker.
    app.background.close();
    running.join_all().await;
}

/// Puts a job back into the queue, due after this delay.
async fn requeue_after(db: &TenantDb, job: &Job, delay: Duration) -> Result<()> {
    let until = Time(Timestamp::now() + delay);
    db.optional::<Uuid>(sql!("jobs/postpone"), &[&job.id, &until]).await.map(drop)
}

fn ended(done: Result<(task::Id, ()), JoinError>, of_job: &mut HashMap<task::Id, (Uuid, String)>) {
    of_job.remove(&done.map_or_else(|e| e.id(), |(id, ())| id));
}

/// Runs a job and puts it back when it fails.
fn start(app: &App, job: Job, running: &mut JoinSet<()>) -> task::Id {
    let span =
        tracing::info_span!("job", id = %job.id, kind = %job.kind, company = %job.company_id, user = %job.user_id);
    let app = app.clone();
    let task = running.spawn(
        async move {
            let id = job.id;
            // In a separate task, so that a panic fails this job and not the worker.
            let ran = tokio::spawn({
                let app = app.clone();
                async move { run(&app, &job).await.map_err(|e| e.for_log()) }.in_current_span()
            });
            let failed = match ran.await {
                Ok(Ok(())) => return,
                Ok(Err(e)) => e,
                Err(_) => "panicked".to_owned(),
            };
            tracing::warn!(error = %failed, "job failed");
            if let Err(e) = app.db.platform().retry_job(id, &failed).await {
                tracing::warn!(error = %e.for_log(), "cannot put the job back: it comes back by itself");
            }
        }
        .instrument(span),
    );
    task.id()
}

/// Whether no other server or worker has begun this within the last hour.
async fn is_first_in_hour(app: &App, what: &str) -> Result<bool> {
    match app.db.platform().rate_limit(&format!("job {what}"), 1, Duration::from_secs(60 * 60)).await {
        Ok(()) => Ok(true),
        Err(Error::TooManyRequests(_)) => Ok(false),
        Err(e) => Err(e),
    }
}
