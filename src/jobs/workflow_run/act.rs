//! Carries out the actions of a workflow.

use crate::{
    App, Error, Result,
    clients::{Failure, webhook},
    db::{Params, TenantDb, Tx},
    mailing::{self, Mail},
    sql,
    telephony::{self, Text},
    wire::{self, Time},
    workflow::{self, Action, Context, CreateActivity, CreateDeal, OnRecord, Trigger, UpdateField},
};
use jiff::{SignedDuration, Timestamp};
use postgres_types::Json;
use serde_json::{Value, json};
use uuid::Uuid;

/// An action that is carried out outside of a transaction.
pub(super) struct ExternalCall {
    /// The id of the run.
    pub execution: Uuid,
    /// The step's id, which the receiver of a webhook is told.
    pub step: Uuid,
    /// The step's index.
    pub position: i32,
    /// The number of this attempt.
    pub attempts: i32,
    /// Whether this is the run's last step.
    pub is_last: bool,
    /// The company.
    pub company: Uuid,
    /// The workflow's owner.
    pub owner: Uuid,
    /// What started the run.
    pub event: String,
    /// The contact of the run.
    pub contact: Option<Uuid>,
    /// What a webhook sends.
    pub data: Value,
    /// The secret that signs a webhook, sealed.
    pub secret: Option<Vec<u8>>,
    /// The id of the workflow.
    pub workflow: Uuid,
    /// The action, its templates rendered.
    pub action: Action,
}

/// The outcome of an [`ExternalCall`].
pub(super) enum Outcome {
    /// Done, with the step's result.
    Done(Value),
    /// Not done, or the outcome is unknown.
    Failed(String),
    /// Certainly not done, or harmless to repeat: it may be tried again.
    Later(String),
    /// Not done, because it is night for the recipient until this time.
    Night(Time),
    /// Not done, because this worker lacks the key of a secret; another one may have it.
    ForOthers,
}

/// Carries out an action of the database, in the step's own transaction; returns the step's result.
pub(super) async fn inside(tx: &Tx<'_>, event: &str, action: &Action, context: &Context) -> Result<Value> {
    let (contact, deal) = (context.id(OnRecord::Contact), context.id(OnRecord::Deal));
    if matches!(action, Action::CreateActivity(_) | Action::CreateDeal(_)) {
        tx.one::<Uuid>(sql!("jobs/workflow_owner"), &[]).await?;
    }
    match action {
        Action::CreateActivity(CreateActivity { kind, subject, description, due_in_hours, priority }) => {
            let due = due_in_hours.map(|hours| Time(Timestamp::now() + SignedDuration::from_hours(hours.into())));
            let subject: String = subject.chars().take(255).collect();
            let params: Params<'_> =
                &[kind, &subject, description, &"pending", &due, &None::<i32>, &Some(*priority), &contact, &deal];
            let id: Uuid = tx.one(sql!("activities/create"), params).await?;
            Ok(json!({ "activity_id": id }))
        }
        Action::CreateDeal(CreateDeal { title, value, stage, pipeline_id, description }) => {
            let amount = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
            let amount =
                amount.filter(|n: &f64| n.is_finite()).ok_or(Error::bad_request("The value is not a number"))?;
            let title: String = title.chars().take(255).collect();
            let (none, client) = (None::<Uuid>, context.at("contact.company").as_str());
            let params: Params<'_> = &[
                &title,
                &amount,
                pipeline_id,
                &none,
                &Some(stage),
                &contact,
                &client,
                description,
                &None::<Time>,
                &"open",
            ];
            let id: Uuid = tx.one(sql!("deals/create"), params).await?;
            Ok(json!({ "deal_id": id }))
        }
        Action::UpdateField(change) => update(tx, event, change, context).await,
        Action::AddTag(workflow::AddTag { tag }) => {
            let deal = deal.ok_or(Error::bad_request("The run has no deal"))?;
            if tag.chars().count() > wire::MAX_TAG_CHARS {
                return Err(Error::bad_request("A tag has at most 100 characters"));
            }
            match tx.optional::<bool>(sql!("jobs/workflow_add_tag"), &[&deal, tag]).await? {
                Some(true) => Ok(json!({ "deal_id": deal })),
                Some(false) => Err(Error::bad_request("The deal has 100 tags already")),
                None => Err(Error::bad_request("The deal is not there any more")),
            }
        }
        _ => Err(Error::Internal("an action that is not of the database".into())),
    }
}

async fn update(tx: &Tx<'_>, event: &str, change: &UpdateField, context: &Context) -> Result<Value> {
    let own = event.parse::<Trigger>().ok().and_then(|trigger| trigger.records().first().copied());
    let on = change.on.or(own).ok_or(Error::bad_request("The run has no record"))?;
    let id = context.id(on).ok_or_else(|| Error::bad_request(format!("The run has no {}", on.name())))?;
    let missing = || Error::bad_request(format!("The {} is not there any more", on.name()));
    let is_stage = on == OnRecord::Deal && change.field == "stage";
    let stage = change.value.as_str().filter(|_| is_stage);
    if is_stage && stage.is_none() {
        return Err(Error::bad_request("The value is not the name of a stage"));
    }
    let (none, patch) = (None::<Uuid>, Json(json!({ (change.field.as_str()): change.value })));
    match on {
        OnRecord::Contact => {
            let params: Params<'_> = &[&id, &patch, &none];
            tx.optional::<String>(sql!("contacts/update"), params).await?.ok_or_else(missing)?;
        }
        OnRecord::Deal if stage.is_some() => {
            tx.optional::<Uuid>(sql!("deals/move"), &[&id, &none, &stage]).await?.ok_or_else(missing)?;
        }
        OnRecord::Deal => {
            let params: Params<'_> = &[&id, &patch, &none, &none, &none, &false, &none];
            tx.optional::<Uuid>(sql!("deals/update"), params).await?.ok_or_else(missing)?;
        }
        OnRecord::Activity => {
            let params: Params<'_> = &[&id, &patch, &none, &false, &none, &false];
            tx.optional::<Uuid>(sql!("activities/update"), params).await?.ok_or_else(missing)?;
        }
    }
    Ok(json!({ (format!("{}_id", on.name())): id }))
}

/// When the night ends for a number, if it is night there. An invalid number is refused when the text is sent.
pub(super) async fn quiet_until(tx: &Tx<'_>, number: &str) -> Result<Option<Time>> {
    let Ok(number) = telephony::e164(number) else { return Ok(None) };
    tx.optional(sql!("jobs/quiet_until"), &[&number]).await
}

/// What a webhook sends: the workflow's payload, or else everything that is known.
pub(super) fn payload(action: &Action, context: &Context) -> Value {
    match action {
        Action::Webhook(workflow::Webhook { payload: Some(payload), .. }) => payload.clone(),
        Action::Webhook(_) => context.for_webhook(),
        _ => Value::Null,
    }
}

/// Carries out an action outside of a transaction.
pub(super) async fn run(app: &App, db: &TenantDb, call: &ExternalCall) -> Result<Outcome> {
    let done = match &call.action {
        Action::SendSms(text) => send_text(app, db, call, text).await,
        Action::SendEmail(mail) => send_mail(app, db, call, mail).await,
        Action::Webhook(webhook) => deliver(app, call, webhook).await,
        Action::SendNotification(note) => notify(app, db, call, note).await,
        _ => Err(Error::Internal("an action that is of the database".into())),
    };
    match done {
        Err(Error::NoKey(_)) => Ok(Outcome::ForOthers),
        done => done,
    }
}

/// The outcome of what was not given to a provider: a refusal fails the step, a passing condition is tried again, and
/// any other error stays an error.
fn not_sent(e: Error) -> Result<Outcome> {
    if let Some(why) = e.sentence() {
        return Ok(Outcome::Failed(why.into()));
    }
    match &e {
        Error::Suspended => Ok(Outcome::Later("The company was suspended: nothing was sent".into())),
        _ if e.is_unavailable() || e.is_undone() => {
            Ok(Outcome::Later("The database could not take it: nothing was sent".into()))
        }
        _ => Err(e),
    }
}

/// The number by which a run texts somebody, where its action names none and they know one; an impossible recipient is
/// refused later.
async fn sender(db: &TenantDb, execution: Uuid, to: &str) -> Result<Option<String>> {
    let Ok(to) = telephony::e164(to) else { return Ok(None) };
    db.optional(sql!("jobs/workflow_sender"), &[&execution, &to]).await
}

async fn send_text(app: &App, db: &TenantDb, call: &ExternalCall, text: &workflow::SendSms) -> Result<Outcome> {
    let from = match text.from_number.clone().filter(|number| !number.is_empty()) {
        Some(number) => Some(number),
        None => match sender(db, call.execution, &text.to).await {
            Ok(number) => number,
            Err(e) => return not_sent(e),
        },
    };
    let text = Text {
        to: text.to.clone(),
        body: Some(text.body.clone()),
        contact: call.contact,
        from,
        execution: Some(call.execution),
        ..Text::default()
    };
    let to = text.to.clone();
    let sent = match telephony::send(app, db, text).await {
        Ok(sent) => sent,
        Err(e) if e.is_refusal() => {
            // Night may have fallen since the step began.
            return match db.tx(async |tx| quiet_until(tx, &to).await).await {
                Ok(Some(until)) => Ok(Outcome::Night(until)),
                Ok(None) => not_sent(e),
                Err(e) => not_sent(e),
            };
        }
        Err(e) => return not_sent(e),
    };
    Ok(match &sent.outcome {
        Ok(taken) => Outcome::Done(json!({ "message_id": sent.message.id, "sid": taken.sid })),
        Err(failure) => failed(failure, telephony::words(failure)),
    })
}

async fn send_mail(app: &App, db: &TenantDb, call: &ExternalCall, mail: &workflow::SendEmail) -> Result<Outcome> {
    // A template may put several lines into a subject.
    let subject = mail.subject.split(char::is_control).map(str::trim).collect::<Vec<_>>().join(" ");
    let mail = Mail {
        to: mail.to.trim().to_owned(),
        subject: subject.chars().take(500).collect(),
        body: mail.body.clone(),
        cc: mail.cc.clone().filter(|list| !list.trim().is_empty()),
        contact: call.contact,
        execution: Some(call.execution),
        ..Mail::default()
    };
    let sent = match mailing::send(app, db, mail).await {
        Ok(sent) => sent,
        Err(e) => return not_sent(e),
    };
    Ok(match &sent.outcome {
        Ok(_) => Outcome::Done(json!({ "email_id": sent.id })),
        Err(failure) => failed(failure, mailing::words(failure)),
    })
}

fn failed(failure: &Failure, why: String) -> Outcome {
    if *failure == Failure::Busy { Outcome::Later(why) } else { Outcome::Failed(why) }
}

async fn deliver(app: &App, call: &ExternalCall, to: &workflow::Webhook) -> Result<Outcome> {
    let Some(sealed) = &call.secret else {
        return Ok(Outcome::Failed("The workflow has no signing secret: save it again".into()));
    };
    let secret = &app.sealer.open(call.company, &workflow::secret_name(call.workflow), sealed)?;
    let now = Timestamp::now();
    let body = json!({ "type": call.event, "timestamp": now.to_string(), "data": call.data }).to_string();
    if body.len() > webhook::MAX_BODY_BYTES {
        return Ok(Outcome::Failed("The payload is too large".into()));
    }
    let id = format!("msg_{}", call.step.simple());
    let delivery = webhook::Delivery { url: &to.url, id: &id, timestamp: now.as_second(), secret, body };
    Ok(match app.webhooks.deliver(&delivery).await {
        Ok(status) => Outcome::Done(json!({ "webhook_id": id, "status": status })),
        Err(Failure::Refused { message, .. } | Failure::Denied(message) | Failure::Closed(message)) => {
            Outcome::Failed(message)
        }
        Err(Failure::Busy) => Outcome::Later("The address could not be reached, or asked for patience".into()),
        Err(Failure::Unclear) => Outcome::Later("The address gave no answer in time".into()),
    })
}

async fn notify(app: &App, db: &TenantDb, call: &ExternalCall, note: &workflow::SendNotification) -> Result<Outcome> {
    let users = if note.users.is_empty() { vec![call.owner] } else { note.users.clone() };
    let users: Vec<Uuid> = db.all(sql!("jobs/workflow_recipients"), &[&users]).await?;
    let link = match call.event.parse() {
        Ok(Trigger::Scheduled) | Err(_) => None,
        Ok(Trigger::ActivityCompleted) => Some("/activities"),
        Ok(Trigger::EmailOpened | Trigger::InboundSms) => Some("/inbox"),
        Ok(trigger) if trigger.records().first() == Some(&OnRecord::Deal) => Some("/deals"),
        Ok(_) => Some("/contacts"),
    };
    for user in &users {
        // A notification belongs to its reader, so it is written in their name.
        let theirs = TenantDb::for_company(&app.db, call.company, *user);
        let params: Params<'_> = &[&call.step, &note.title, &note.message, &link];
        theirs.optional::<Uuid>(sql!("jobs/workflow_notify"), params).await?;
    }
    Ok(if users.is_empty() {
        Outcome::Failed("None of these users belongs to the company".into())
    } else {
        Outcome::Done(json!({ "users": users }))
    })
}
