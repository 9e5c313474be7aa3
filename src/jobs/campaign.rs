//! Sends a campaign, a batch of recipients at a time. A recipient is committed as `sending` before the provider is
//! called, and gets its final state afterwards, so that nobody is sent the mail twice. A recipient that was being sent
//! to when a worker died is `failed`, because the mail may have arrived; all others have a final state or wait. If a
//! worker does not learn whether its claim of a batch was committed, it gives the batch back.
//!
//! The job is leased to the worker for [`LEASE`] after each claim. Within it every mail of the batch has begun
//! ([`START_TIMEOUT`]) and ended ([`MAIL_TIMEOUT`]), so a job whose lease runs out is that of a worker that died or
//! lost its database: another one continues with those who wait, and after [`OUTCOME_TIMEOUT`] closes those whose
//! outcome was never recorded. After [`TIME_SLICE`] the job goes back into the queue.

use super::requeue_after;
use crate::{
    App, Error, Result,
    clients::{Failure, mail::OutgoingEmail, smtp},
    db::{self, Params, TenantDb, platform::Job},
    links::{self, Link, Purpose},
    mailing::{self, MailRoute},
    row, sql,
    wire::Time,
};
use futures_util::{StreamExt, stream};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The maximum number of recipients per batch: this many may be in doubt when a worker dies.
const BATCH_SIZE: i64 = 64;
/// How many mails of a batch are sent at once: a mail takes a server some 40 ms, because of Nagle's algorithm and
/// delayed acknowledgements (RFC 896, RFC 1122, 4.2.3.2).
const CONCURRENCY: usize = 32;
/// The job's lease after each claim: time for a batch and for recording its outcomes.
const LEASE: Duration = START_TIMEOUT.saturating_add(MAIL_TIMEOUT).saturating_add(Duration::from_secs(5));
/// How long after its claim the outcome of a recipient is recorded.
const OUTCOME_TIMEOUT: Duration = LEASE.saturating_add(db::JOB_PATIENCE);
/// A mail of a batch that has not begun after this time is left for the next batch.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one mail may take: at least as long as its provider may take, so that its outcome is not lost. A text and
/// its HTML have at most half a million characters each, and no mail of them reaches 8 MiB.
const MAIL_TIMEOUT: Duration = smtp::patience(8 << 20);
/// How long a campaign sends before it goes back into the queue.
const TIME_SLICE: Duration = Duration::from_secs(8);
/// How long a campaign waits for a worker that may send it, or for a provider that takes nothing.
const RETRY_DELAY: Duration = Duration::from_secs(30);
/// How long a campaign waits for a provider that has taken only some of a batch.
const SHORT_RETRY_DELAY: Duration = Duration::from_secs(5);
/// Recipients who are denied in a row by the same words, after which that is no matter of theirs.
const MAX_DENIED_IN_A_ROW: usize = 10;

row! {
    /// A campaign that is being sent.
    pub struct Sending {
        id: Uuid,
        company_id: Uuid,
        user_id: Uuid,
        subject: String,
        body: String,
        html_body: Option<String>,
        ip_pool: Option<String>,
    }
}

row! {
    /// A recipient of the current batch. One who wants no mail is not `is_sending`.
    pub struct Recipient {
        id: Uuid,
        email: String,
        tried_at: Time,
        is_sending: bool,
    }
}

/// The outcomes of a batch, column by column.
#[derive(Default)]
struct Answers {
    ids: Vec<Uuid>,
    claimed: Vec<Time>,
    outcomes: Vec<&'static str>,
    provider_ids: Vec<Option<String>>,
    errors: Vec<Option<String>>,
    /// Whether the provider has accepted or refused any of the mails.
    is_decided: bool,
    /// Whether the provider cannot take more at the moment.
    is_busy: bool,
    /// Why the provider takes nothing from the company, if it has said so.
    closed: Option<String>,
}

/// Recipients who were denied in a row by the same words, over all batches.
#[derive(Default)]
struct Denied {
    words: String,
    times: usize,
}

impl Denied {
    /// Takes an answer into account. One that decides nothing does not end the row, and nothing makes many of them
    /// fewer.
    fn add(&mut self, answer: &Result<Option<String>, Failure>) {
        match answer {
            _ if self.are_many() => {}
            Err(failure @ Failure::Denied(_)) => {
                let words = mailing::words(failure);
                self.times = if words == self.words { self.times + 1 } else { 1 };
                self.words = words;
            }
            Ok(_) | Err(Failure::Refused { .. }) => *self = Self::default(),
            Err(Failure::Closed(_) | Failure::Busy | Failure::Unclear) => {}
        }
    }

    fn are_many(&self) -> bool {
        self.times >= MAX_DENIED_IN_A_ROW
    }
}

impl Answers {
    /// Adds a recipient's outcome; `None` means that the mail was not tried.
    fn add(&mut self, route: &MailRoute, recipient: &Recipient, answer: Option<Result<Option<String>, Failure>>) {
        self.is_decided |= matches!(answer, Some(Ok(_) | Err(Failure::Refused { .. } | Failure::Denied(_))));
        self.is_busy |= matches!(answer, Some(Err(Failure::Busy)));
        let (outcome, provider_id, error) = match answer {
            None => ("later", None, None),
            Some(Ok(id)) => ("sent", id, None),
            Some(Err(failure)) => {
                let why = mailing::words(&failure);
                let outcome = match failure {
                    Failure::Busy if route.is_alike_for_all() => "later",
                    Failure::Busy => "busy",
                    // No matter of the recipient's.
                    Failure::Closed(_) => {
                        self.closed = Some(why.clone());
                        "later"
                    }
                    Failure::Refused { .. } | Failure::Denied(_) | Failure::Unclear => "failed",
                };
                (outcome, None, Some(why))
            }
        };
        self.ids.push(recipient.id);
        self.claimed.push(recipient.tried_at);
        self.outcomes.push(outcome);
        self.provider_ids.push(provider_id);
        self.errors.push(error);
    }

    /// How long to pause: if the provider decided on none of the batch, or did not take all of it.
    fn pause(&self) -> Option<Duration> {
        if !self.is_decided && !self.ids.is_empty() {
            Some(RETRY_DELAY)
        } else {
            self.is_busy.then_some(SHORT_RETRY_DELAY)
        }
    }
}

pub(super) async fn run(app: &App, db: &TenantDb, job: &Job) -> Result<()> {
    let campaign = db.tx(async |tx| {
        let begun: Option<Sending> = tx
            .optional(sql!("jobs/campaign_begin"), &[&job.id, &job.record_id, &OUTCOME_TIMEOUT.as_secs_f64()])
            .await?;
        if begun.is_some() {
            tx.optional::<Uuid>(sql!("jobs/campaign_lease"), &[&job.id, &LEASE.as_secs_f64()]).await?;
        }
        Ok(begun)
    });
    let Some(campaign) = campaign.await? else { return Ok(()) };
    let db = &TenantDb::for_company(&app.db, campaign.company_id, campaign.user_id);
    let base = match mailing::unsubscribe_base(app) {
        Ok(base) => base,
        Err(e) => {
            tracing::error!(error = %e.for_log(), "a campaign waits for a worker that may send it");
            return requeue_after(db, job, RETRY_DELAY).await;
        }
    };
    let route = match mailing::route(app, db).await {
        Ok(Some(route)) => route,
        Ok(None) => return fail(db, &campaign, "SendGrid is not configured").await,
        Err(Error::BadRequest(why)) => return fail(db, &campaign, &why).await,
        Err(e) => return Err(e),
    };
    let started = Instant::now();
    let mut denied = Denied::default();
    loop {
        if !route.is_there(app).await && waits(db, job, &campaign, RETRY_DELAY).await? {
            return Ok(());
        }
        let claimed = Instant::now();
        let claim = Uuid::now_v7();
        let params: Params<'_> = &[&job.id, &campaign.id, &LEASE.as_secs_f64(), &BATCH_SIZE, &claim];
        let batch: Vec<Recipient> = match db.all(sql!("jobs/campaign_claim").planned_once(), params).await {
            Ok(batch) => batch,
            Err(e) => {
                if !e.is_undone() {
                    unclaim(app, &campaign, claim).await?;
                }
                return Err(e);
            }
        };
        if batch.is_empty() {
            return db
                .optional::<Uuid>(sql!("jobs/campaign_end"), &[&job.id, &campaign.id, &LEASE.as_secs_f64()])
                .await
                .map(drop);
        }
        let answers = send(app, &route, base, &campaign, batch, claimed, &mut denied).await;
        answered(app, &campaign, &answers).await?;
        if let Some(why) = &answers.closed {
            return fail(db, &campaign, why).await;
        }
        if denied.times > 0 && end_denied(db, &campaign, &denied).await? {
            return Ok(());
        }
        // A server that stops leaves the rest to another one.
        if app.background.is_closed() {
            return requeue_after(db, job, Duration::ZERO).await;
        }
        if let Some(seconds) = answers.pause()
            && waits(db, job, &campaign, seconds).await?
        {
            return Ok(());
        }
        if started.elapsed() > TIME_SLICE {
            return requeue_after(db, job, Duration::ZERO).await;
        }
    }
}

/// Records the outcomes of a batch; those that are recorded already stay as they are.
async fn answered(app: &App, campaign: &Sending, answers: &Answers) -> Result<()> {
    let Answers { ids, claimed, outcomes, provider_ids, errors, .. } = answers;
    let params: Params<'_> = &[ids, claimed, outcomes, provider_ids, errors];
    let statement = sql!("jobs/campaign_answered").planned_once();
    let db = TenantDb::for_answer(&app.db, campaign.company_id, campaign.user_id);
    db::retry_write(|_| async { db.all::<Uuid>(statement, params).await }).await.map(drop)
}

/// Gives back a batch whose claim may have been committed: none of it was sent.
async fn unclaim(app: &App, campaign: &Sending, claim: Uuid) -> Result<()> {
    let db = TenantDb::for_answer(&app.db, campaign.company_id, campaign.user_id);
    let statement = sql!("jobs/campaign_unclaim").planned_once();
    db::retry_write(|_| async { db.all::<Uuid>(statement, &[&campaign.id, &claim]).await }).await.map(drop)
}

async fn fail(db: &TenantDb, campaign: &Sending, why: &str) -> Result<()> {
    db.optional::<Uuid>(sql!("jobs/campaign_fail"), &[&campaign.id, &why]).await.map(drop)
}

/// Ends a campaign that is denied to many in a row, or to all of its recipients, who wait from then on; whether it has
/// ended.
async fn end_denied(db: &TenantDb, campaign: &Sending, denied: &Denied) -> Result<bool> {
    let params: Params<'_> = &[&campaign.id, &denied.words, &denied.are_many()];
    Ok(!db.all::<Uuid>(sql!("jobs/campaign_denied"), params).await?.is_empty())
}

/// Puts the job back until the provider may take something; false if no recipient is waiting.
async fn waits(db: &TenantDb, job: &Job, campaign: &Sending, pause: Duration) -> Result<bool> {
    tracing::info!(campaign = %campaign.id, ?pause, "a campaign waits for its provider");
    let params: Params<'_> = &[&job.id, &campaign.id, &pause.as_secs_f64()];
    Ok(db.optional::<Uuid>(sql!("jobs/campaign_wait"), params).await?.is_some())
}

async fn send(
    app: &App,
    route: &MailRoute,
    base: &str,
    campaign: &Sending,
    batch: Vec<Recipient>,
    claimed: Instant,
    denied: &mut Denied,
) -> Answers {
    let recipients = batch.into_iter().filter(|recipient| recipient.is_sending).enumerate();
    let sent = stream::iter(recipients).map(async |(place, recipient)| {
        // A server that stops waits for mails that have begun, and begins no more.
        if claimed.elapsed() > START_TIMEOUT || app.background.is_closed() {
            return (place, recipient, None);
        }
        let email = email(app, route, base, campaign, &recipient);
        let answer = tokio::time::timeout(MAIL_TIMEOUT, route.deliver(app, &email)).await;
        (place, recipient, Some(answer.unwrap_or(Err(Failure::Unclear))))
    });
    let mut sent: Vec<_> = sent.buffer_unordered(CONCURRENCY).collect().await;
    // As they began: those who were accepted before the others were denied are answered after them.
    sent.sort_unstable_by_key(|(place, ..)| *place);
    let mut answers = Answers::default();
    for (_, recipient, answer) in sent {
        if let Some(answer) = &answer {
            denied.add(answer);
        }
        answers.add(route, &recipient, answer);
    }
    answers
}

/// A recipient's own copy, with a link below `base` for unsubscribing with one click (RFC 8058).
fn email(app: &App, route: &MailRoute, base: &str, campaign: &Sending, recipient: &Recipient) -> OutgoingEmail {
    let link = Link { company: campaign.company_id, user: campaign.user_id, row: recipient.id };
    let token = app.links.token(Purpose::Unsubscribe, &link);
    let unsubscribe = format!("<{base}/api/unsubscribe/{token}>");
    let html = campaign.html_body.as_ref().map(|html| match app.config.reachable_base() {
        Some(base) => {
            let token = app.links.token(Purpose::CampaignMail, &link);
            links::with_pixel(html, &format!("{base}/api/emails/track/open/{token}"))
        }
        None => html.clone(),
    });
    OutgoingEmail {
        to: recipient.email.clone(),
        subject: campaign.subject.clone(),
        text: Some(campaign.body.clone()).filter(|text| !text.trim().is_empty()),
        html,
        headers: vec![
            ("List-Unsubscribe", unsubscribe),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".into()),
        ],
        ip_pool: campaign.ip_pool.clone(),
        ..route.email(recipient.id)
    }
}
