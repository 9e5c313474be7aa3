//! Runs a workflow, step by step, in the name of its owner. The run's row records its progress, so that any worker can
//! continue where another one stopped. A step's changes in the database and its completion are committed together. A
//! text or mail is recorded before it is sent; if its worker dies in between, it counts as failed and is not sent
//! again. A webhook or notification is repeated under the same id.

mod act;

use crate::{
    App, Error, Result,
    db::{self, Params, TenantDb, Tx, platform::Job},
    row, sql,
    wire::Time,
    workflow::{self, Action, Context, Step, hold, secret_name},
};
use act::{ExternalCall, Outcome};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

row! {
    /// A run and what its next step needs.
    pub struct Run {
        workflow_id: Uuid,
        company_id: Uuid,
        event: String,
        trigger_data: Value,
        is_manual: bool,
        is_begun: bool,
        /// Made for another event than the workflow has as its trigger now, and without a plan of its own.
        is_lost: bool,
        actions: Value,
        next_step: i32,
        name: String,
        workflow_status: String,
        is_deleted: bool,
        conditions: Value,
        max_executions: Option<i32>,
        context: Value,
        /// Like `context`, but with the records as they were at the event, if they were kept.
        context_at_event: Option<Value>,
        step_id: Option<Uuid>,
        step_status: Option<String>,
        step_started_at: Option<Time>,
        /// By the database's clock, like `step_started_at`.
        now: Time,
        attempts: i32,
    }
}

/// Maximum attempts of a step whose provider cannot be reached; there is no maximum while a secret's key is missing.
const MAX_ATTEMPTS: i32 = 5;
const INTERRUPTED: &str = "The server stopped while it was sent: it may have arrived, and is not sent again";

pub(super) async fn run(app: &App, db: &TenantDb, job: &Job) -> Result<()> {
    go_on(app, db, job.record_id).await
}

/// Runs what somebody started by hand, until it waits or is done.
pub async fn at_once(app: &App, company: Uuid, owner: Uuid, execution: Uuid) -> Result<()> {
    let db = TenantDb::for_company(&app.db, company, owner);
    let work = app.clone();
    app.run_to_completion(async move { go_on(&work, &db, execution).await }).await?
}

async fn go_on(app: &App, db: &TenantDb, execution: Uuid) -> Result<()> {
    let ran = steps(app, db, execution).await;
    let Err(e) = &ran else { return ran };
    // An error after which the queue tries again is no fault of the run.
    if e.is_unavailable() || matches!(e, Error::Suspended | Error::InvalidToken) {
        return ran;
    }
    tracing::warn!(error = %e.for_log(), %execution, "a workflow's run failed");
    db.optional::<String>(sql!("jobs/workflow_error"), &[&execution, &"The run failed for an internal reason"]).await?;
    ran
}

/// The result of one transaction of a run.
enum Progress {
    /// There is more to do.
    Continue,
    /// The run has ended, or continues later.
    Done,
    /// An action is to be carried out outside of the database.
    External(Box<ExternalCall>),
}

async fn steps(app: &App, db: &TenantDb, execution: Uuid) -> Result<()> {
    let mut refused: Option<(i32, String)> = None;
    loop {
        let mut doing = None;
        let progress = db.tx(async |tx| advance(tx, execution, refused.as_ref(), &mut doing).await).await;
        refused = None;
        match progress {
            Ok(Progress::Continue) => {}
            Ok(Progress::Done) => return Ok(()),
            Ok(Progress::External(call)) => {
                let outcome = act::run(app, db, &call).await?;
                // What was sent is recorded nowhere else, so it is written whatever has become of the company.
                let (call, outcome) = (&call, &outcome);
                let answers = &TenantDb::for_answer(&app.db, call.company, call.owner);
                let write = |_| answers.tx(async move |tx| record_outcome(tx, execution, call, outcome).await);
                if let Progress::Done = db::retry_write(write).await? {
                    return Ok(());
                }
                // A server that stops leaves the rest to another one, because the next step might not end in time.
                if app.background.is_closed() {
                    return db.optional::<Uuid>(sql!("jobs/workflow_leave"), &[&execution]).await.map(drop);
                }
            }
            // A refusal by the database fails the step, and has rolled back whatever else the transaction did.
            Err(e) => match (doing, e.sentence()) {
                (Some(position), Some(why)) => refused = Some((position, why.into())),
                _ => return Err(e),
            },
        }
    }
}

/// One step, or as much of it as one transaction can be.
async fn advance(
    tx: &Tx<'_>,
    execution: Uuid,
    refused: Option<&(i32, String)>,
    doing: &mut Option<i32>,
) -> Result<Progress> {
    let Some(run) = tx.optional::<Run>(sql!("jobs/workflow_load"), &[&execution]).await? else {
        return Ok(Progress::Done);
    };
    let context = Context::new(run.context.clone(), &run.trigger_data, (run.workflow_id, &run.name));
    if let Some(why) = stopped(&run) {
        return finish(tx, execution, "failed", Some(why)).await;
    }
    let (steps, conditions) = match workflow::read(&run.actions, &run.conditions) {
        Ok(read) => read,
        Err(why) => {
            if !run.is_begun {
                count(tx, &run).await?;
            }
            return finish(tx, execution, "failed", Some(why)).await;
        }
    };
    if !run.is_begun {
        let then = run
            .context_at_event
            .clone()
            .map(|then| Context::new(then, &run.trigger_data, (run.workflow_id, &run.name)));
        if !run.is_manual && !hold(&conditions, then.as_ref().unwrap_or(&context)) {
            tx.optional::<Uuid>(sql!("jobs/workflow_forget"), &[&execution]).await?;
            return Ok(Progress::Done);
        }
        // Without a limit, runs are counted last: so they wait for each other as briefly as possible.
        if run.max_executions.is_some() && !count(tx, &run).await? {
            return finish(tx, execution, "failed", Some("The workflow has run as often as it may")).await;
        }
        tx.optional::<Uuid>(sql!("jobs/workflow_begin"), &[&execution, &run.actions]).await?;
    }
    let progress = match usize::try_from(run.next_step).ok().and_then(|n| steps.get(n)) {
        None => finish(tx, execution, "success", None).await?,
        Some(step) => {
            let at = At { tx, run: &run, execution, step, is_last: steps.len() as i32 == run.next_step + 1 };
            at.perform(&context, refused, doing).await?
        }
    };
    if !run.is_begun && run.max_executions.is_none() {
        count(tx, &run).await?;
    }
    Ok(progress)
}

/// Why a run must not go on.
fn stopped(run: &Run) -> Option<&'static str> {
    if run.is_deleted {
        Some("The workflow was deleted")
    } else if !run.is_manual && run.workflow_status != "active" {
        Some("The workflow was switched off")
    } else if run.is_lost {
        Some("The workflow was given another trigger before the run began")
    } else {
        None
    }
}

async fn count(tx: &Tx<'_>, run: &Run) -> Result<bool> {
    Ok(tx.optional::<Uuid>(sql!("jobs/workflow_count"), &[&run.workflow_id]).await?.is_some())
}

async fn finish(tx: &Tx<'_>, execution: Uuid, status: &str, why: Option<&str>) -> Result<Progress> {
    tx.optional::<Uuid>(sql!("jobs/workflow_finish"), &[&execution, &status, &why]).await?;
    Ok(Progress::Done)
}

/// A run at one of its steps.
struct At<'a, 't> {
    tx: &'a Tx<'t>,
    run: &'a Run,
    execution: Uuid,
    step: &'a Step,
    is_last: bool,
}

impl At<'_, '_> {
    async fn perform(
        &self,
        context: &Context,
        refused: Option<&(i32, String)>,
        doing: &mut Option<i32>,
    ) -> Result<Progress> {
        let status = self.run.step_status.as_deref();
        if let Some((_, why)) = refused.filter(|(position, _)| *position == self.run.next_step) {
            let input = self.step.action.rendered_aside(context).await;
            let input = input.unwrap_or_else(|_| self.step.action.clone()).config();
            return self.done("failed", &input, &json!({}), Some(why)).await;
        }
        let sends = matches!(self.step.action, Action::SendSms(_) | Action::SendEmail(_));
        if sends && status == Some("running") {
            return self.done("failed", &json!({}), &json!({}), Some(INTERRUPTED)).await;
        }
        // A step that waited or was tried before has begun: its conditions held then.
        if status.is_none() && !hold(&self.step.conditions, context) {
            return self.done("skipped", &json!({}), &json!({}), None).await;
        }
        let action = match self.step.action.rendered_aside(context).await {
            Ok(action) => action,
            Err(why) => return self.done("failed", &self.step.action.config(), &json!({}), Some(&why)).await,
        };
        let input = action.config();
        match &action {
            Action::Wait(wait) => {
                let begun = self.run.step_started_at.filter(|_| status == Some("waiting"));
                let until = begun.unwrap_or(self.run.now).0 + SignedDuration::from_mins(wait.in_minutes());
                // The job may come back early: if its postponement was not confirmed, or if a clock was set back.
                if begun.is_some() && self.run.now.0 >= until {
                    return self.done("success", &input, &json!({}), None).await;
                }
                self.later("waiting", &input, Time(until)).await
            }
            Action::SendSms(text) => {
                let Some(until) = act::quiet_until(self.tx, &text.to).await? else {
                    return self.call_outside(action, context).await;
                };
                self.later("waiting", &input, until).await
            }
            Action::SendEmail(_) | Action::Webhook(_) | Action::SendNotification(_) => {
                self.call_outside(action, context).await
            }
            Action::CreateActivity(_) | Action::CreateDeal(_) | Action::UpdateField(_) | Action::AddTag(_) => {
                *doing = Some(self.run.next_step);
                let name = action.name();
                let mark: Params<'_> = &[&self.execution, &self.run.next_step, &name, &input];
                self.tx.optional::<Uuid>(sql!("jobs/workflow_mark"), mark).await?;
                let result = act::inside(self.tx, &self.run.event, &action, context).await?;
                self.done("success", &input, &result, None).await
            }
        }
    }

    async fn done(&self, status: &str, input: &Value, result: &Value, why: Option<&str>) -> Result<Progress> {
        let name = self.step.action.name();
        let params: Params<'_> =
            &[&self.execution, &self.run.next_step, &name, &status, input, result, &why, &self.is_last];
        self.tx.optional::<Uuid>(sql!("jobs/workflow_step_done"), params).await?;
        Ok(if self.is_last { Progress::Done } else { Progress::Continue })
    }

    async fn later(&self, status: &str, input: &Value, until: Time) -> Result<Progress> {
        let name = self.step.action.name();
        let params: Params<'_> =
            &[&self.execution, &self.run.next_step, &name, &status, input, &Some(until), &self.run.attempts];
        self.tx.optional::<Uuid>(sql!("jobs/workflow_step"), params).await?;
        Ok(Progress::Done)
    }

    async fn call_outside(&self, action: Action, context: &Context) -> Result<Progress> {
        let (name, input) = (action.name(), action.config());
        let params: Params<'_> =
            &[&self.execution, &self.run.next_step, &name, &"running", &input, &None::<Time>, &self.run.attempts];
        let begun: Option<Uuid> = self.tx.optional(sql!("jobs/workflow_step"), params).await?;
        let Some(step) = begun else { return Ok(Progress::Done) };
        let secret = match &action {
            Action::Webhook(_) => self.tx.company_secret(&secret_name(self.run.workflow_id)).await?,
            _ => None,
        };
        Ok(Progress::External(Box::new(ExternalCall {
            execution: self.execution,
            step,
            position: self.run.next_step,
            attempts: self.run.attempts + 1,
            is_last: self.is_last,
            company: self.run.company_id,
            owner: self.tx.caller().user_id,
            event: self.run.event.clone(),
            contact: context.id(crate::workflow::OnRecord::Contact),
            data: act::payload(&action, context),
            secret,
            workflow: self.run.workflow_id,
            action,
        })))
    }
}

/// Records the outcome of an action outside of the database, unless that is done already, or another worker has
/// continued meanwhile: because by its clock the claim is over, or because this worker was suspended for a while.
async fn record_outcome(tx: &Tx<'_>, execution: Uuid, call: &ExternalCall, outcome: &Outcome) -> Result<Progress> {
    let params: Params<'_> = &[&execution, &call.position, &call.attempts];
    let held: Option<Uuid> = tx.optional(sql!("jobs/workflow_hold"), params).await?;
    if held.is_none() {
        return Ok(Progress::Done);
    }
    let (name, input) = (call.action.name(), call.action.config());
    let nothing = json!({});
    let (status, result, why) = match outcome {
        Outcome::Done(result) => ("success", result, None),
        Outcome::Failed(why) => ("failed", &nothing, Some(why)),
        Outcome::Later(why) if call.attempts >= MAX_ATTEMPTS => ("failed", &nothing, Some(why)),
        Outcome::Night(until) => return again(tx, execution, call, "waiting", *until).await,
        Outcome::Later(_) | Outcome::ForOthers => {
            // 10 seconds, 40, 160, and then 640 each time.
            let pause = 10 * 4_i64.pow(call.attempts.min(MAX_ATTEMPTS - 1).unsigned_abs() - 1);
            let until = Time(Timestamp::now() + SignedDuration::from_secs(pause));
            return again(tx, execution, call, "retrying", until).await;
        }
    };
    let params: Params<'_> = &[&execution, &call.position, &name, &status, &input, result, &why, &call.is_last];
    tx.optional::<Uuid>(sql!("jobs/workflow_step_done"), params).await?;
    Ok(if call.is_last { Progress::Done } else { Progress::Continue })
}

/// Puts a step back until this time.
async fn again(tx: &Tx<'_>, execution: Uuid, call: &ExternalCall, status: &str, until: Time) -> Result<Progress> {
    let (name, input) = (call.action.name(), call.action.config());
    let params: Params<'_> = &[&execution, &call.position, &name, &status, &input, &Some(until), &call.attempts];
    tx.optional::<Uuid>(sql!("jobs/workflow_step"), params).await?;
    Ok(Progress::Done)
}
