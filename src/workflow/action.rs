//! The actions of a workflow. On the wire each is `{"type": …, "config": {…}}` (contract: workflows), with optional
//! `conditions`. Every string in a config is a template.

use super::{Condition, Trigger, condition, render::MAX_TEXTS, template};
use crate::wire;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// An action and its conditions.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Step {
    /// The action.
    #[serde(flatten)]
    pub action: Action,
    /// The action is skipped unless all of these hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// An action of a workflow.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "config", rename_all = "snake_case")]
pub enum Action {
    /// Sends a text message.
    SendSms(SendSms),
    /// Sends a mail.
    SendEmail(SendEmail),
    /// Adds an activity; `create_task` is a synonym.
    #[serde(alias = "create_task")]
    CreateActivity(CreateActivity),
    /// Adds a deal with the run's contact.
    CreateDeal(CreateDeal),
    /// Changes a field of the run's record.
    UpdateField(UpdateField),
    /// Adds a tag to the run's deal.
    AddTag(AddTag),
    /// Notifies users of the company.
    SendNotification(SendNotification),
    /// Continues the workflow later.
    Wait(Wait),
    /// Posts JSON to a URL, signed according to Standard Webhooks.
    Webhook(Webhook),
}

/// The config of [`Action::SendSms`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SendSms {
    /// The recipient's number. Default: the sender of the message that started the run, or the contact's phone.
    #[serde(default = "recipient", deserialize_with = "whoever_wrote")]
    pub to: String,
    /// The text.
    pub body: String,
    /// One of the company's numbers. Default: any that can send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_number: Option<String>,
}

fn recipient() -> String {
    "{{ message.from_address|default(contact.phone, true) }}".into()
}

/// A missing recipient is stored as the default's template. Older programs put the contact first there, who need not be
/// the one who wrote.
fn whoever_wrote<'a, D: Deserializer<'a>>(from: D) -> Result<String, D::Error> {
    let to = String::deserialize(from)?;
    Ok(if to == "{{ contact.phone|default(message.from_address, true) }}" { recipient() } else { to })
}

/// The config of [`Action::SendEmail`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SendEmail {
    /// The recipient's address. Default: the contact's.
    #[serde(default = "address")]
    pub to: String,
    /// The subject: one line.
    pub subject: String,
    /// The HTML; values that templates insert are escaped.
    pub body: String,
    /// Addresses, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cc: Option<String>,
}

fn address() -> String {
    "{{ contact.email }}".into()
}

/// The config of [`Action::CreateActivity`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreateActivity {
    /// `call`, `email`, `meeting`, `task`, `note` or `deadline`.
    #[serde(rename = "type", default = "task")]
    pub kind: String,
    /// Its subject.
    #[serde(alias = "title")]
    pub subject: String,
    /// Its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it is due, in hours after the run. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_in_hours: Option<u32>,
    /// 0 low, 1 medium, 2 high.
    #[serde(default)]
    pub priority: i32,
}

fn task() -> String {
    "task".into()
}

/// The config of [`Action::CreateDeal`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreateDeal {
    /// The title.
    pub title: String,
    /// A number, or a template that produces one.
    #[serde(default = "nothing")]
    pub value: Value,
    /// The stage's name.
    #[serde(default = "lead")]
    pub stage: String,
    /// The pipeline. Default: the company's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_id: Option<Uuid>,
    /// Its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

fn nothing() -> Value {
    json!(0)
}

fn lead() -> String {
    "Lead".into()
}

/// A record that a run can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRecord {
    /// The run's contact.
    Contact,
    /// The run's deal.
    Deal,
    /// The run's activity.
    Activity,
}

impl OnRecord {
    /// Its name in a [`Context`](super::Context).
    pub fn name(self) -> &'static str {
        match self {
            OnRecord::Contact => "contact",
            OnRecord::Deal => "deal",
            OnRecord::Activity => "activity",
        }
    }

    /// The fields that a workflow may change, each with its allowed values if these are limited.
    fn fields(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            OnRecord::Contact => &[
                ("first_name", &[]),
                ("last_name", &[]),
                ("phone", &[]),
                ("company", &[]),
                ("title", &[]),
                ("type", &[]),
                (
                    "status",
                    &["NEW", "LEAD", "PROSPECT", "CONTACTED", "QUALIFIED", "UNQUALIFIED", "CUSTOMER", "INACTIVE"],
                ),
            ],
            OnRecord::Deal => &[
                ("title", &[]),
                ("description", &[]),
                ("value", &[]),
                ("stage", &[]),
                ("status", &["open", "won", "lost", "abandoned"]),
                ("probability", &[]),
                ("expected_close_date", &[]),
                ("company", &[]),
                ("lost_reason", &[]),
                ("won_reason", &[]),
            ],
            OnRecord::Activity => &[
                ("subject", &[]),
                ("description", &[]),
                ("status", &["pending", "completed", "overdue", "cancelled"]),
                ("priority", &[]),
                ("due_date", &[]),
                ("location", &[]),
                ("outcome", &[]),
            ],
        }
    }
}

/// The config of [`Action::UpdateField`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UpdateField {
    /// The record to change. Default: the trigger's own record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<OnRecord>,
    /// The field.
    pub field: String,
    /// The new value; null clears the field.
    pub value: Value,
}

/// The config of [`Action::AddTag`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AddTag {
    /// The tag.
    pub tag: String,
}

/// The config of [`Action::SendNotification`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SendNotification {
    /// The title: one line.
    pub title: String,
    /// The message.
    #[serde(default)]
    pub message: String,
    /// The users to notify. Default: the workflow's owner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<Uuid>,
}

/// The config of [`Action::Wait`]: the sum of its fields.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Wait {
    /// Minutes.
    #[serde(default)]
    pub minutes: u32,
    /// Hours.
    #[serde(default)]
    pub hours: u32,
    /// Days.
    #[serde(default)]
    pub days: u32,
}

impl Wait {
    /// The whole wait, in minutes.
    pub fn in_minutes(&self) -> i64 {
        i64::from(self.minutes) + 60 * (i64::from(self.hours) + 24 * i64::from(self.days))
    }
}

/// The config of [`Action::Webhook`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Webhook {
    /// An https URL, which is not a template.
    pub url: String,
    /// What is sent as `data`. Default: the record and everything known about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

/// The longest wait, in minutes: a year.
const MAX_WAIT_MINUTES: i64 = 366 * 24 * 60;

impl Step {
    /// Reads a step from the wire or the database; otherwise returns the invalid field and the reason.
    pub fn read(given: &Value) -> Result<Self, (String, String)> {
        let kind = given["type"].as_str().ok_or_else(|| ("type".to_owned(), "Field required".to_owned()))?;
        let config = match &given["config"] {
            Value::Null => json!({}),
            Value::Object(_) => given["config"].clone(),
            _ => return Err(("config".into(), "Input should be an object".into())),
        };
        let action = match kind {
            "send_sms" => parse(config).map(Action::SendSms),
            "send_email" => parse(config).map(Action::SendEmail),
            "create_activity" | "create_task" => parse(config).map(Action::CreateActivity),
            "create_deal" => parse(config).map(Action::CreateDeal),
            "update_field" => parse(config).map(Action::UpdateField),
            "add_tag" => parse(config).map(Action::AddTag),
            "send_notification" => parse(config).map(Action::SendNotification),
            "wait" => parse(config).map(Action::Wait),
            "webhook" => parse(config).map(Action::Webhook),
            _ => return Err(("type".into(), "Input should be an action such as create_task or send_email".into())),
        };
        let action =
            action.map_err(|(field, why)| (format!("config.{field}").trim_end_matches('.').to_owned(), why))?;
        let conditions = match &given["conditions"] {
            Value::Null => Vec::new(),
            list => parse(list.clone()).map_err(|(field, why)| (format!("conditions{field}"), why))?,
        };
        Ok(Self { action, conditions })
    }

    /// What cannot be right in a workflow with this trigger, as pairs of field and reason.
    pub(super) fn problems(&self, trigger: Trigger) -> Vec<(String, String)> {
        let mut problems: Vec<(String, String)> =
            self.action.problems(trigger).into_iter().map(|(field, why)| (field.to_owned(), why)).collect();
        if self.conditions.len() > condition::MAX_CONDITIONS {
            problems.push(("conditions".into(), "There are at most 20 conditions".into()));
        }
        for (place, condition) in self.conditions.iter().enumerate() {
            problems.extend(condition.problem().map(|(field, why)| (format!("conditions[{place}].{field}"), why)));
        }
        problems.extend(self.action.template_problems());
        problems
    }
}

impl Action {
    /// What cannot be right in the config, in a workflow with this trigger, as pairs of field and reason.
    fn problems(&self, trigger: Trigger) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut wrong = |field: &'static str, why: &str| problems.push((field, why.to_owned()));
        let blank = |text: &str| text.trim().is_empty();
        let targets = trigger.records();
        match self {
            Action::SendSms(SendSms { body, .. }) if blank(body) => wrong("config.body", "The text must not be empty"),
            Action::SendEmail(SendEmail { subject, .. }) if blank(subject) => {
                wrong("config.subject", "The subject must not be empty");
            }
            Action::CreateActivity(new) => {
                if !["call", "email", "meeting", "task", "note", "deadline"].contains(&new.kind.as_str()) {
                    wrong("config.type", "Input should be call, email, meeting, task, note or deadline");
                }
                if blank(&new.subject) {
                    wrong("config.subject", "The subject must not be empty");
                }
                if !(0..=2).contains(&new.priority) {
                    wrong("config.priority", "Input should be 0, 1 or 2");
                }
                if new.due_in_hours.is_some_and(|hours| hours > 24 * 366 * 10) {
                    wrong("config.due_in_hours", "Input should be at most ten years");
                }
            }
            Action::CreateDeal(new) => {
                if blank(&new.title) {
                    wrong("config.title", "The title must not be empty");
                }
                if !(new.value.is_number() || new.value.is_string()) {
                    wrong("config.value", "Input should be a valid number");
                }
            }
            Action::UpdateField(change) => {
                if let Some((field, why)) = change.problem(targets) {
                    wrong(field, &why);
                }
            }
            Action::AddTag(AddTag { tag }) => {
                if blank(tag) || tag.chars().count() > wire::MAX_TAG_CHARS {
                    wrong("config.tag", "A tag has 1 to 100 characters");
                }
                if !targets.contains(&OnRecord::Deal) {
                    wrong("type", "Only deals have tags, and what starts this workflow has no deal");
                }
            }
            Action::SendNotification(new) => {
                if blank(&new.title) {
                    wrong("config.title", "The title must not be empty");
                }
                if new.users.len() > 100 {
                    wrong("config.users", "At most 100 users can be told");
                }
            }
            Action::Wait(wait) if !(1..=MAX_WAIT_MINUTES).contains(&wait.in_minutes()) => {
                wrong("config", "A wait takes from a minute to a year: give minutes, hours or days");
            }
            Action::Webhook(Webhook { url, .. }) => {
                let is_url =
                    url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
                if !is_url || url.len() > 2000 {
                    wrong("config.url", "Input should be an https address");
                }
            }
            _ => {}
        }
        problems
    }

    /// The invalid templates of the config, each with its path, and whether there are too many.
    fn template_problems(&self) -> Vec<(String, String)> {
        let (mut problems, mut templates) = (Vec::new(), 0);
        texts(&self.config(), "config", &mut |path, text| {
            templates += usize::from(template::is_one(text));
            if templates > MAX_TEXTS {
                return;
            }
            if let Err(why) = template::check(text) {
                problems.push((path.into(), why));
            }
        });
        if templates > MAX_TEXTS {
            problems.push(("config".into(), format!("A config has at most {MAX_TEXTS} texts with templates")));
        }
        problems
    }
}

impl UpdateField {
    /// What is wrong with the change if these records can be changed; the default is the first of them.
    fn problem(&self, targets: &[OnRecord]) -> Option<(&'static str, String)> {
        let on = self.on.or(targets.first().copied()).filter(|on| targets.contains(on));
        let Some(on) = on else {
            return Some(("config.on", "What starts this workflow has no such record".into()));
        };
        let Some((_, allowed)) = on.fields().iter().find(|(name, _)| *name == self.field) else {
            return Some(("config.field", "A workflow cannot change this field".into()));
        };
        let literal = self.value.as_str().filter(|text| !text.contains("{{"));
        let why = if (on, self.field.as_str()) == (OnRecord::Deal, "stage") && !self.value.is_string() {
            "Input should be the name of a stage".into()
        } else if self.value.is_array() || self.value.is_object() {
            "Input should be a text, a number or null".into()
        } else if !allowed.is_empty() && literal.is_some_and(|text| !allowed.contains(&text)) {
            format!("Input should be one of {}", allowed.join(", "))
        } else {
            return None;
        };
        Some(("config.value", why))
    }
}

fn parse<T: for<'a> Deserialize<'a>>(value: Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let (field, why) = wire::said(&e.path().to_string(), &e.inner().to_string());
        (field.unwrap_or_default(), why)
    })
}

/// Calls `see` with each string in a config and its path.
fn texts(value: &Value, path: &str, see: &mut dyn FnMut(&str, &str)) {
    match value {
        Value::String(text) => see(path, text),
        Value::Array(list) => list.iter().enumerate().for_each(|(n, one)| texts(one, &format!("{path}[{n}]"), see)),
        Value::Object(map) => map.iter().for_each(|(key, one)| texts(one, &format!("{path}.{key}"), see)),
        _ => {}
    }
}

impl Action {
    /// Its name on the wire.
    pub fn name(&self) -> String {
        let wire = serde_json::to_value(self).unwrap_or_default();
        wire["type"].as_str().unwrap_or_default().to_owned()
    }

    /// Its config in the wire format.
    pub fn config(&self) -> Value {
        serde_json::to_value(self).map(|mut wire| wire["config"].take()).unwrap_or_default()
    }
}
