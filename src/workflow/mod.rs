//! The parts of a workflow: its trigger, conditions, actions with their templates, and schedule. The API reads and
//! checks them, the jobs run them.

mod action;
mod condition;
mod render;
mod schedule;
mod template;

pub use action::{
    Action, AddTag, CreateActivity, CreateDeal, OnRecord, SendEmail, SendNotification, SendSms, Step, UpdateField,
    Wait, Webhook,
};
pub use condition::{Condition, hold};
pub use render::Budget;
pub use schedule::Schedule;

use crate::{Error, Result, error::Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{str::FromStr, sync::Arc};
use uuid::Uuid;

/// What starts a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A deal was created.
    DealCreated,
    /// A deal moved to another stage.
    DealStageChanged,
    /// A deal was won.
    DealWon,
    /// A deal was lost.
    DealLost,
    /// A contact was added, manually or by an import.
    ContactCreated,
    /// An activity was completed.
    ActivityCompleted,
    /// A mail was opened by its recipient.
    EmailOpened,
    /// A document was signed.
    DocumentSigned,
    /// A text message was received.
    InboundSms,
    /// The workflow's schedule.
    Scheduled,
}

impl FromStr for Trigger {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_value(Value::String(text.into())).map_err(|_| "a trigger such as deal_created is expected")
    }
}

impl Trigger {
    /// Its name on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Trigger::DealCreated => "deal_created",
            Trigger::DealStageChanged => "deal_stage_changed",
            Trigger::DealWon => "deal_won",
            Trigger::DealLost => "deal_lost",
            Trigger::ContactCreated => "contact_created",
            Trigger::ActivityCompleted => "activity_completed",
            Trigger::EmailOpened => "email_opened",
            Trigger::DocumentSigned => "document_signed",
            Trigger::InboundSms => "inbound_sms",
            Trigger::Scheduled => "scheduled",
        }
    }

    /// The records that a run can change: the trigger's own first, then related ones.
    pub fn records(self) -> &'static [OnRecord] {
        match self {
            Trigger::DealCreated | Trigger::DealStageChanged | Trigger::DealWon | Trigger::DealLost => {
                &[OnRecord::Deal, OnRecord::Contact]
            }
            Trigger::ActivityCompleted => &[OnRecord::Activity, OnRecord::Deal, OnRecord::Contact],
            Trigger::ContactCreated | Trigger::EmailOpened | Trigger::DocumentSigned | Trigger::InboundSms => {
                &[OnRecord::Contact]
            }
            Trigger::Scheduled => &[],
        }
    }
}

/// The name under which the secret that signs a workflow's webhooks is kept.
pub fn secret_name(workflow: Uuid) -> String {
    format!("workflow_webhook:{workflow}")
}

/// The maximum number of actions of a workflow.
const MAX_ACTIONS: usize = 50;

/// Reads and checks the actions of a workflow with this trigger. Invalid ones are a 422 that names the field.
pub fn actions(trigger: Trigger, given: &Value) -> Result<Vec<Step>> {
    let list = given.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.len() > MAX_ACTIONS {
        return Err(Error::invalid("body", "actions", "A workflow has at most 50 actions"));
    }
    let mut problems = Vec::new();
    let mut steps = Vec::new();
    for (place, given) in list.iter().enumerate() {
        match Step::read(given) {
            Ok(step) => {
                let found = step.problems(trigger).into_iter();
                problems.extend(found.map(|(field, msg)| problem(&format!("actions[{place}].{field}"), msg)));
                steps.push(step);
            }
            Err((field, msg)) => {
                problems.push(problem(format!("actions[{place}].{field}").trim_end_matches('.'), msg));
            }
        }
    }
    if problems.is_empty() { Ok(steps) } else { Err(Error::Invalid(problems)) }
}

/// Reads a stored workflow for a run. If it cannot be read, as some imported ones cannot, the error says what to do.
pub fn read(actions: &Value, conditions: &Value) -> Result<(Vec<Step>, Vec<Condition>), &'static str> {
    let steps = actions.as_array().into_iter().flatten().map(Step::read).collect::<Result<_, _>>();
    let steps = steps.map_err(|_| "The workflow's actions cannot be read: enter them again")?;
    let conditions =
        Vec::deserialize(conditions).map_err(|_| "The workflow's conditions cannot be read: enter them again")?;
    Ok((steps, conditions))
}

/// Reads and checks the conditions of a workflow. Invalid ones are a 422 that names the field.
pub fn conditions(given: &Value) -> Result<Vec<Condition>> {
    let list = given.as_array().ok_or_else(|| Error::invalid("body", "conditions", "Input should be a list"))?;
    if list.len() > condition::MAX_CONDITIONS {
        return Err(Error::invalid("body", "conditions", "There are at most 20 conditions"));
    }
    let mut problems = Vec::new();
    let mut conditions = Vec::new();
    for (place, given) in list.iter().enumerate() {
        match Condition::deserialize(given) {
            Ok(condition) => {
                let found = condition.problem();
                problems.extend(found.map(|(field, msg)| problem(&format!("conditions[{place}].{field}"), msg)));
                conditions.push(condition);
            }
            Err(e) => problems.push(problem(&format!("conditions[{place}]"), e.to_string())),
        }
    }
    if problems.is_empty() { Ok(conditions) } else { Err(Error::Invalid(problems)) }
}

fn problem(field: &str, msg: String) -> Problem {
    Problem { kind: "value_error", loc: vec!["body".into(), field.into()], msg }
}

/// What templates and conditions can refer to: `record`, the same under the name of its kind (`deal`, `contact`, …),
/// `workflow`, `company`, `user`, `trigger`, and each key of the trigger's data.
#[derive(Debug, Clone)]
pub struct Context {
    all: Arc<Value>,
    /// `all`, in the form that templates read.
    seen: minijinja::Value,
    /// A webhook's default payload: records unchanged, with long texts and nulls.
    default_payload: Arc<Value>,
}

/// The number of characters of one text that a template sees; more would let a short template produce an enormous text.
const TEXT: usize = 1600;

impl Context {
    /// A context; `known` is what the database returns about the record (`app.workflow_context`).
    pub fn new(known: Value, trigger_data: &Value, workflow: (Uuid, &str)) -> Self {
        let mut all = trigger_data.as_object().cloned().unwrap_or_default();
        if let Value::Object(known) = known {
            all.extend(known);
        }
        all.insert("trigger".into(), trigger_data.clone());
        all.insert("workflow".into(), serde_json::json!({"id": workflow.0, "name": workflow.1}));
        let mut all = Value::Object(all);
        let default_payload = serde_json::json!({
            "workflow": all["workflow"], "trigger": all["trigger"], "record": all["record"], "contact": all["contact"],
        });
        shorten(&mut all);
        let mut any = usize::MAX;
        let seen = template::seen(&all, &mut any);
        Self { all: Arc::new(all), seen, default_payload: Arc::new(default_payload) }
    }

    /// The value at this path, such as `deal.value`. A path that leads nowhere is looked up in the record.
    pub fn at(&self, path: &str) -> &Value {
        let walk = |from: &'static str| -> &Value {
            let start = if from.is_empty() { &*self.all } else { &self.all[from] };
            path.split('.').fold(start, |value, key| &value[key])
        };
        let direct = walk("");
        if direct.is_null() { walk("record") } else { direct }
    }

    /// The id of the record of this kind, if the run has one.
    pub fn id(&self, of: OnRecord) -> Option<Uuid> {
        self.all[of.name()]["id"].as_str()?.parse().ok()
    }

    /// A webhook's default payload.
    pub fn for_webhook(&self) -> Value {
        Value::clone(&self.default_payload)
    }
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(TEXT) {
                text.truncate(end);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(shorten),
        Value::Object(map) => {
            // Nulls are removed, so that a template writes nothing for them.
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(shorten);
        }
        _ => {}
    }
}
