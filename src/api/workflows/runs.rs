//! The runs of a workflow: starting one, dry runs, and past runs.

use super::super::prelude::*;
use crate::{
    fair_limit::FairLimit,
    idempotency, jobs,
    wire::Paths,
    workflow::{self, Budget, Context, hold},
};
use serde_json::Value;
use std::time::Duration;

row! {
    /// A run of a workflow.
    pub struct Execution {
        id: Uuid,
        status: String,
        started_at: Time,
        completed_at: Option<Time>,
        duration_seconds: Option<i32>,
        success_count: i32,
        failure_count: i32,
        error_message: Option<String>,
        trigger_data: Value,
    }
}

row! {
    /// One step of a run.
    pub struct Done {
        position: i32,
        kind as "type": String,
        status: String,
        attempts: i32,
        input: Value,
        result: Value,
        error_message: Option<String>,
        started_at: Time,
        completed_at: Option<Time>,
    }
}

/// A run with its steps.
#[derive(Serialize, JsonSchema)]
pub(super) struct Detailed {
    #[serde(flatten)]
    execution: Execution,
    steps: Vec<Done>,
}

row! {
    /// A run that was started by hand.
    pub struct Begun as "Workflow" {
        id: Uuid,
        user_id: Uuid,
        company_id: Uuid,
    }
}

/// The outcome of a run started by hand.
#[derive(Serialize, JsonSchema)]
pub(super) struct Executed {
    message: &'static str,
    execution_id: Uuid,
    /// `running` if a step is waiting.
    status: String,
    success_count: i32,
    failure_count: i32,
    duration_seconds: i32,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct About {
    /// Id of the record that its trigger is about, such as a deal.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    record_id: Option<Uuid>,
}

pub(super) async fn execute(
    app: State<App>,
    db: TenantDb,
    Path(id): Path<Uuid>,
    Query(about): Query<About>,
) -> Result<Json<Executed>> {
    let begun: Begun = db.one(sql!("workflows/execute"), &[&id, &about.record_id]).await?;
    jobs::at_once(&app, begun.company_id, begun.user_id, begun.id).await?;
    let run: Execution = db.one(sql!("workflows/execution"), &[&id, &begun.id]).await?;
    Ok(Json(Executed {
        message: if run.status == "running" { "Workflow is running" } else { "Workflow executed" },
        execution_id: run.id,
        status: run.status,
        success_count: run.success_count,
        failure_count: run.failure_count,
        duration_seconds: run.duration_seconds.unwrap_or(0),
    }))
}

pub(super) async fn executions(db: TenantDb, Path(id): Path<Uuid>, page: Paging<50>) -> Result<Paged<Execution>> {
    db.one::<super::Workflow>(sql!("workflows/get"), &[&id]).await?;
    page.list(&db, list!("workflows/executions").planned_once(), &[&id]).await
}

pub(super) async fn execution(db: TenantDb, Paths(id, run): Paths<Uuid, Uuid>) -> Result<Json<Detailed>> {
    let detailed = db.tx(async |tx| {
        tx.one::<super::Workflow>(sql!("workflows/get"), &[&id]).await?;
        let execution = tx.one(sql!("workflows/execution"), &[&id, &run]).await?;
        Ok(Detailed { execution, steps: tx.all(sql!("workflows/steps"), &[&run]).await? })
    });
    Ok(Json(detailed.await?))
}

row! {
    /// The data that a run would use.
    pub struct Known as "Workflow" {
        name: String,
        conditions: Value,
        actions: Value,
        context: Value,
        trigger_data: Value,
    }
}

/// What a run would do.
#[derive(Serialize, JsonSchema)]
pub(super) struct DryRun {
    /// The record used: the given one, or the newest of its kind.
    record: Value,
    /// Whether the workflow's conditions hold for it.
    would_start: bool,
    steps: Vec<DryStep>,
}

/// What a step would do.
#[derive(Serialize, JsonSchema)]
struct DryStep {
    position: usize,
    #[serde(rename = "type")]
    kind: String,
    /// Whether its conditions hold.
    would_run: bool,
    /// Its config with the templates rendered.
    input: Value,
    /// Why a template cannot be rendered.
    error_message: Option<String>,
}

/// Dry runs at a time, of which one per company: rendering templates takes long.
static DRY_RUNS: FairLimit = FairLimit::new(2, 1);
/// How long a dry run waits for a permit.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn dry_run(db: TenantDb, Path(id): Path<Uuid>, Query(about): Query<About>) -> Result<Json<DryRun>> {
    let known = db.tx(async |tx| {
        let known: Known = tx.one(sql!("workflows/dry_run"), &[&id, &about.record_id]).await?;
        Ok((tx.caller().company_id.ok_or(Error::NoCompany)?, known))
    });
    let (company, known) = known.await?;
    idempotency::leaving().await?;
    let busy = Error::NoTurn("Too many dry runs are being made right now: try again in a moment");
    let permit = DRY_RUNS.acquire(company, PERMIT_TIMEOUT).await.ok_or(busy)?;
    permit.run_blocking(move || tried(id, known)).await?.map(Json)
}

fn tried(id: Uuid, known: Known) -> Result<DryRun> {
    let (steps, conditions) = workflow::read(&known.actions, &known.conditions).map_err(Error::bad_request)?;
    let context = Context::new(known.context, &known.trigger_data, (id, &known.name));
    let mut left = Budget::DRY_RUN;
    let steps = steps.into_iter().enumerate().map(|(position, step)| {
        let (input, error_message) = match step.action.rendered(&context, &mut left) {
            Ok(action) => (action.config(), None),
            Err(why) => (step.action.config(), Some(why)),
        };
        let (kind, would_run) = (step.action.name(), hold(&step.conditions, &context));
        DryStep { position, kind, would_run, input, error_message }
    });
    let steps = steps.collect();
    Ok(DryRun { record: context.at("record").clone(), would_start: hold(&conditions, &context), steps })
}
