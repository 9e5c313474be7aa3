//! Workflows: actions that run automatically, on an event or on a schedule. `crate::workflow` defines their parts,
//! `crate::jobs` runs them.

mod runs;

use super::prelude::*;
use crate::{
    clients::webhook::SECRET_PREFIX,
    db::Tx,
    workflow::{self, Action, Condition, Schedule, Step, Trigger},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

routes! {
    /// The company's workflows, newest first
    tenant get "/api/workflows/" => list;
    /// Adds a workflow
    tenant post "/api/workflows/" => create;
    /// One workflow
    tenant get "/api/workflows/{workflow_id}" => get;
    /// Changes the given fields of a workflow
    tenant put "/api/workflows/{workflow_id}" => update;
    /// Deletes a workflow; its runs stop at their next step
    tenant delete "/api/workflows/{workflow_id}" => delete;
    /// Switches a workflow on or off
    tenant post "/api/workflows/{workflow_id}/toggle" => toggle;
    /// Runs a workflow now, whatever its status, for one record or none
    tenant post "/api/workflows/{workflow_id}/execute" => runs::execute;
    /// Shows what a run would do, without doing it
    tenant post "/api/workflows/{workflow_id}/dry-run" => runs::dry_run;
    /// A workflow's runs, newest first
    tenant get "/api/workflows/{workflow_id}/executions" => runs::executions;
    /// One run with its steps
    tenant get "/api/workflows/{workflow_id}/executions/{execution_id}" => runs::execution;
}

/// The index that keeps two workflows of a company from having the same name.
const NAME_KEY: &str = "workflows_tenant_name_key";
const NAME_TAKEN: &str = "A workflow with this name already exists";

row! {
    /// A workflow; it runs as its owner.
    pub struct Workflow {
        id: Uuid,
        name: String,
        description: Option<String>,
        status: String,
        trigger: String,
        actions_count: i32,
        executions_count: i32,
        last_run: Option<Time>,
        created_at: Time,
        actions: Value,
        conditions: Value,
        schedule: Option<Value>,
        max_executions: Option<i32>,
        next_run: Option<Time>,
        owner_id: Uuid,
    }
}

/// A workflow, and the secret of its webhooks if it was just created.
#[derive(Serialize, JsonSchema)]
struct Saved {
    #[serde(flatten)]
    workflow: Workflow,
    /// Secret with which receivers verify its webhooks (Standard Webhooks); shown only once.
    webhook_secret: Option<String>,
}

row! {
    /// The stored workflow, against which a change is checked.
    pub struct Locked as "Workflow" {
        status: String,
        trigger: String,
        actions: Value,
        conditions: Value,
        is_historical: bool,
    }
}

impl Locked {
    /// Refuses to switch on a workflow that would never run because it belongs to no company.
    fn may_be_switched_on(&self) -> Result<()> {
        if self.is_historical {
            return Err(Error::bad_request(
                "This workflow belongs to no company yet: it can be switched on when it does",
            ));
        }
        Ok(())
    }

    /// Refuses (400) invalid stored conditions: an import takes actions and conditions as they are.
    fn check_conditions(&self) -> Result<()> {
        let asked = workflow::conditions(&self.conditions);
        asked.map(drop).map_err(|e| unusable("The workflow's conditions cannot be asked as they are", e))
    }
}

words! {
    enum Status { Active = "active", Inactive = "inactive", Paused = "paused" }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// `active`, `inactive` or `paused`.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    status: Option<Status>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewWorkflow {
    #[garde(custom(named))]
    name: String,
    #[garde(length(chars, max = wire::MAX_TEXT_CHARS))]
    description: Option<String>,
    /// What starts it; anything unknown becomes `scheduled`.
    #[serde(default, deserialize_with = "wire::fitting")]
    #[schemars(with = "wire::Fitting<Trigger>")]
    trigger_type: Option<Trigger>,
    /// Old name of `trigger_type`, which takes precedence.
    #[serde(default, deserialize_with = "wire::fitting")]
    #[schemars(with = "wire::Fitting<Trigger>")]
    trigger: Option<Trigger>,
    #[serde(default, deserialize_with = "wire::optional_boolean")]
    is_active: Option<bool>,
    /// The actions, in order.
    #[schemars(with = "Option<Vec<Step>>")]
    actions: Option<Value>,
    /// All must hold for the record that starts it.
    #[schemars(with = "Option<Vec<Condition>>")]
    conditions: Option<Value>,
    /// When it runs, if its trigger is `scheduled`; hourly if absent.
    schedule: Option<Schedule>,
    /// Maximum number of runs.
    #[serde(default, deserialize_with = "wire::optional_number")]
    #[garde(inner(range(min = 1)))]
    max_executions: Option<i32>,
}

/// The fields to change; omitted fields keep their values.
#[derive(Default, Deserialize, Validate, JsonSchema)]
#[serde(default)]
#[garde(allow_unvalidated)]
struct WorkflowPatch {
    #[garde(inner(custom(named)))]
    name: Option<String>,
    #[serde(deserialize_with = "wire::nullable")]
    #[garde(inner(length(chars, max = wire::MAX_TEXT_CHARS)))]
    description: Option<Option<String>>,
    /// An unknown value changes nothing.
    #[serde(deserialize_with = "wire::fitting")]
    #[schemars(with = "wire::Fitting<Trigger>")]
    trigger_type: Option<Trigger>,
    /// Takes precedence over `status`.
    #[serde(deserialize_with = "wire::optional_boolean")]
    is_active: Option<bool>,
    /// An unknown value changes nothing.
    #[serde(deserialize_with = "wire::fitting")]
    #[schemars(with = "wire::Fitting<Status>")]
    status: Option<Status>,
    #[schemars(with = "Option<Vec<Step>>")]
    actions: Option<Value>,
    #[schemars(with = "Option<Vec<Condition>>")]
    conditions: Option<Value>,
    /// Null means hourly.
    #[serde(deserialize_with = "wire::nullable")]
    schedule: Option<Option<Schedule>>,
    #[serde(deserialize_with = "wire::nullable_number")]
    #[garde(inner(inner(range(min = 1))))]
    max_executions: Option<Option<i32>>,
    /// Creates a new secret for its webhooks; the old one becomes invalid at once.
    #[serde(deserialize_with = "wire::boolean")]
    new_webhook_secret: bool,
}

fn named(text: &str, _: &()) -> garde::Result {
    match text.trim().chars().count() {
        0 => Err(garde::Error::new("The name must not be empty")),
        1..=255 => Ok(()),
        _ => Err(garde::Error::new("The name must not exceed 255 characters")),
    }
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, page: Paging<{ page::NO_LIMIT }>) -> Result<Paged<Workflow>> {
    match filter.status.map(Status::word) {
        None => page.list(&db, list!("workflows/list").planned_once(), &[]).await,
        Some(status) => page.list(&db, list!("workflows/of_status").planned_once(), &[&status]).await,
    }
}

async fn create(app: State<App>, db: TenantDb, Json(new): Json<NewWorkflow>) -> Result<Json<Saved>> {
    let trigger = new.trigger_type.or(new.trigger).unwrap_or(Trigger::Scheduled);
    let actions = actions(trigger, new.actions.as_ref())?.unwrap_or_default();
    check_addresses(&app, &actions)?;
    let conditions = new.conditions.as_ref().map(workflow::conditions).transpose()?.unwrap_or_default();
    new.schedule.as_ref().map_or(Ok(()), Schedule::check)?;
    let status = if new.is_active == Some(true) { "active" } else { "inactive" };
    let schedule = new.schedule.as_ref().map(Jsonb);
    let (name, trigger_name, steps, conditions) =
        (new.name.trim(), trigger.name(), Jsonb(&actions), Jsonb(&conditions));
    let params: Params<'_> =
        &[&name, &new.description, &trigger_name, &status, &steps, &conditions, &schedule, &new.max_executions];
    let saved = db.tx(async |tx| {
        check_named(tx, &actions).await?;
        let id: Uuid = tx.one(sql!("workflows/create"), params).await?;
        saved(&app, tx, id, &actions, false).await
    });
    Ok(Json(saved.await.on_constraint(NAME_KEY, NAME_TAKEN)?))
}

async fn get(db: TenantDb, Path(id): Path<Uuid>) -> Result<Written<Workflow>> {
    db.one(sql!("workflows/get"), &[&id]).await
}

async fn update(
    app: State<App>,
    db: TenantDb,
    Path(id): Path<Uuid>,
    change: Change<WorkflowPatch>,
) -> Result<Json<Saved>> {
    let patch = change.checked_against(db.one::<Workflow>(sql!("workflows/get"), &[&id])).await?;
    patch.schedule.as_ref().and_then(Option::as_ref).map_or(Ok(()), Schedule::check)?;
    let saved = db.tx(async |tx| {
        let old: Locked = tx.one(sql!("workflows/lock"), &[&id]).await?;
        // Values that are sent back unchanged stay, even if they are invalid.
        let given_conditions = patch.conditions.as_ref().filter(|given| **given != old.conditions);
        let given_actions = patch.actions.as_ref().filter(|given| **given != old.actions);
        let conditions = given_conditions.map(workflow::conditions).transpose()?;
        if patch.switches_on(&old) {
            old.may_be_switched_on()?;
            if conditions.is_none() {
                old.check_conditions()?;
            }
        }
        let trigger = patch.trigger_type.or(old.trigger.parse().ok()).unwrap_or(Trigger::Scheduled);
        let steps = match given_actions {
            Some(given) => {
                let steps = actions(trigger, Some(given))?.unwrap_or_default();
                check_addresses(&app, &steps)?;
                check_named(tx, &steps).await?;
                steps
            }
            None if patch.needs_actions(&old) => kept_actions(trigger, &old.actions)?,
            // Actions saved by another program may be unknown here; the workflow can still be switched off or renamed.
            None => workflow::actions(trigger, &old.actions).unwrap_or_default(),
        };
        tx.one::<Uuid>(
            sql!("workflows/update"),
            &[&id, &patch.columns(given_actions.map(|_| steps.as_slice()), conditions.as_deref())?],
        )
        .await?;
        saved(&app, tx, id, &steps, patch.new_webhook_secret).await
    });
    Ok(Json(saved.await.on_constraint(NAME_KEY, NAME_TAKEN)?))
}

impl WorkflowPatch {
    fn status(&self) -> Option<&'static str> {
        let status = self.is_active.map(|active| if active { "active" } else { "inactive" });
        status.or(self.status.map(Status::word))
    }

    fn switches_on(&self, old: &Locked) -> bool {
        self.status() == Some("active") && old.status != "active"
    }

    /// Whether the stored actions must be valid.
    fn needs_actions(&self, old: &Locked) -> bool {
        let has_other_trigger = self.trigger_type.is_some_and(|trigger| trigger.name() != old.trigger);
        self.switches_on(old) || has_other_trigger || self.new_webhook_secret
    }

    /// The columns that change.
    fn columns(&self, actions: Option<&[Step]>, conditions: Option<&[Condition]>) -> Result<Value> {
        let given = [
            ("name", self.name.as_ref().map(|name| name.trim().into())),
            ("description", self.description.clone().map(Value::from)),
            ("trigger", self.trigger_type.map(|trigger| trigger.name().into())),
            ("status", self.status().map(Value::from)),
            ("actions", actions.map(|list| json(&list)).transpose()?),
            ("conditions", conditions.map(|list| json(&list)).transpose()?),
            ("schedule", self.schedule.as_ref().map(json).transpose()?),
            ("max_executions", self.max_executions.map(Value::from)),
        ];
        Ok(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

fn json<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|e| Error::Internal(e.to_string().into()))
}

/// The checked actions of a body, if it has any.
fn actions(trigger: Trigger, given: Option<&Value>) -> Result<Option<Vec<Step>>> {
    match given {
        None => Ok(None),
        Some(list) if list.is_array() => workflow::actions(trigger, list).map(Some),
        Some(_) => Err(Error::invalid("body", "actions", "Input should be a list")),
    }
}

/// The stored actions of a workflow; a 400 if they are invalid, because they are not in the body.
fn kept_actions(trigger: Trigger, kept: &Value) -> Result<Vec<Step>> {
    workflow::actions(trigger, kept).map_err(|e| unusable("The workflow's actions cannot be done as they are", e))
}

/// What is wrong with a stored part of a workflow that is not in the body, as a sentence (400).
fn unusable(what: &str, e: Error) -> Error {
    match e {
        Error::Invalid(problems) => {
            let first = problems.first().and_then(|p| Some(format!(": {}: {}", p.loc.last()?, p.msg)));
            Error::bad_request(format!("{what}{}", first.unwrap_or_default()))
        }
        e => e,
    }
}

/// Refuses at once a webhook address that every run would refuse.
fn check_addresses(app: &App, steps: &[Step]) -> Result<()> {
    for (place, step) in steps.iter().enumerate() {
        if let Action::Webhook(webhook) = &step.action
            && let Some(why) = app.webhooks.refusal(&webhook.url)
        {
            return Err(Error::invalid("body", &format!("actions[{place}].config.url"), why));
        }
    }
    Ok(())
}

/// Users and pipelines that actions name must be the company's.
async fn check_named(tx: &Tx<'_>, steps: &[Step]) -> Result<()> {
    let (mut users, mut pipelines): (Vec<Uuid>, Vec<Uuid>) = (Vec::new(), Vec::new());
    for step in steps {
        match &step.action {
            Action::SendNotification(note) => users.extend(&note.users),
            Action::CreateDeal(deal) => pipelines.extend(deal.pipeline_id),
            _ => {}
        }
    }
    tx.all::<Uuid>(sql!("workflows/named"), &[&users, &pipelines]).await.map(drop)
}

/// The saved workflow; one with webhooks gets a secret to sign them with.
async fn saved(app: &App, tx: &Tx<'_>, id: Uuid, steps: &[Step], renew: bool) -> Result<Saved> {
    let workflow = tx.one(sql!("workflows/get"), &[&id]).await?;
    let needs_secret = steps.iter().any(|step| matches!(step.action, Action::Webhook(_)));
    let secret_name = workflow::secret_name(id);
    if !needs_secret || (!renew && tx.company_secret(&secret_name).await?.is_some()) {
        return Ok(Saved { workflow, webhook_secret: None });
    }
    let company = tx.caller().company_id.ok_or(Error::NoCompany)?;
    let secret = format!("{SECRET_PREFIX}{}", BASE64_STANDARD.encode(crate::auth::random::<32>()));
    let sealed = app.sealer.seal(company, &secret_name, &secret)?;
    tx.keep_company_secret(company, &secret_name, sealed.as_ref()).await?;
    Ok(Saved { workflow, webhook_secret: Some(secret) })
}

async fn delete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    let gone = db.tx(async |tx| {
        tx.optional::<Uuid>(sql!("workflows/delete"), &[&id]).await.or_not_found("Workflow")?;
        let company = tx.caller().company_id.ok_or(Error::NoCompany)?;
        tx.keep_company_secret(company, &workflow::secret_name(id), None).await
    });
    gone.await?;
    Ok(message("Workflow deleted successfully"))
}

/// A workflow's status after it was switched on or off.
#[derive(Serialize, JsonSchema)]
struct Toggled {
    message: &'static str,
    status: String,
}

async fn toggle(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Toggled>> {
    let toggled = db.tx(async |tx| {
        let old: Locked = tx.one(sql!("workflows/lock"), &[&id]).await?;
        if old.status != "active" {
            old.may_be_switched_on()?;
            old.check_conditions()?;
            kept_actions(old.trigger.parse().unwrap_or(Trigger::Scheduled), &old.actions)?;
        }
        tx.one::<String>(sql!("workflows/toggle"), &[&id]).await
    });
    let status = toggled.await?;
    let message = if status == "active" { "Workflow switched on" } else { "Workflow switched off" };
    Ok(Json(Toggled { message, status }))
}
