//! Work that outlives a request. A job is a row of the table `jobs`, written by the transaction that causes it; it is
//! claimed across companies (`app.claim_jobs`) and runs inside the company of its row, through the same handle as a
//! request. A worker that dies loses nothing: its claim ends after five minutes and another one takes the job.
//!
//! A new job is a file here with `run`, and a word in `jobs!`. What is done from time to time, for all companies together,
//! is called by `work` when its turn has come.

pub mod sweep_files;

use crate::{
    App, Error, Result,
    db::{TenantDb, platform::Job},
};
use std::{
    future::Future,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tracing::Instrument;

/// How long an idle worker waits before it asks again.
const POLL: Duration = Duration::from_secs(2);
/// How often it asks whether it is its turn with what is done from time to time.
const TURN: Duration = Duration::from_secs(60);
/// Jobs that one worker runs at the same time.
const BATCH: i32 = 8;

macro_rules! jobs {
    ($($kind:ident)*) => {
        $(mod $kind;)*

        /// The kinds of jobs there are.
        pub const KINDS: &[&str] = &[$(stringify!($kind)),*];

        async fn run(app: &App, job: &Job) -> Result<()> {
            let db = TenantDb::for_company(&app.db, job.company_id, job.user_id);
            match job.kind.as_str() {
                $(stringify!($kind) => $kind::run(&db, job).await,)*
                _ => Err(Error::Internal("a job of an unknown kind".into())),
            }
        }
    };
}

jobs! { activity_due }

/// Runs jobs until `stop` is done; those under way finish.
pub async fn work(app: &App, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    let mut asked: Option<Instant> = None;
    loop {
        let taken = match app.db.platform().claim_jobs(KINDS, BATCH).await {
            Ok(jobs) => run_all(app, jobs).await,
            Err(e) => {
                tracing::warn!(error = %e.for_log(), "cannot claim jobs");
                0
            }
        };
        if asked.is_none_or(|asked| asked.elapsed() > TURN) {
            asked = Some(Instant::now());
            let app = app.clone();
            app.clone().background.spawn(async move {
                if let Err(e) = sweep_files::in_turn(&app).await {
                    tracing::warn!(error = %format!("{e:#}"), "cannot sweep the store of files");
                }
            });
        }
        let pause = if taken == BATCH as usize { Duration::ZERO } else { POLL };
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn run_all(app: &App, jobs: Vec<Job>) -> usize {
    let taken = jobs.len();
    let mut running = JoinSet::new();
    for job in jobs {
        let span =
            tracing::info_span!("job", id = %job.id, kind = %job.kind, company = %job.company_id, user = %job.user_id);
        let app = app.clone();
        running.spawn(
            async move {
                let id = job.id;
                // In a task of its own, so that a panic is this job's failure and not the worker's.
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
    }
    running.join_all().await;
    taken
}
