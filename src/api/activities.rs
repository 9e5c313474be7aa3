//! Activities: the calls, meetings, mails and tasks of a company's people.

use super::prelude::*;
use serde_json::{Map, Value};

routes! {
    /// The company's activities, by due date
    tenant get "/api/activities/" => list;
    /// Adds an activity
    tenant post "/api/activities/" => create;
    /// One activity
    tenant get "/api/activities/{activity_id}" => get;
    /// Changes the given fields of an activity
    tenant patch "/api/activities/{activity_id}" => update;
    /// Completes an activity, or reopens it
    tenant patch "/api/activities/{activity_id}/complete" => complete;
    /// Deletes an activity
    tenant delete "/api/activities/{activity_id}" => delete;
}

row! {
    /// Something to do, or done.
    pub struct Activity {
        id: Uuid,
        subject: String,
        /// Empty when there is none.
        description: String,
        kind as "type": String,
        status: String,
        contact_id: Option<Uuid>,
        deal_id: Option<Uuid>,
        due_date: Option<Time>,
        completed_at: Option<Time>,
        duration_minutes: Option<i32>,
        location: Option<String>,
        outcome: Option<String>,
        /// 0 low, 1 medium, 2 high.
        priority: i32,
        owner_id: Uuid,
        created_at: Time,
        updated_at: Time,
    }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// `call`, `email`, `meeting`, `task`, `note` or `deadline`; an unknown type matches nothing.
    #[serde(default, rename = "type", deserialize_with = "wire::blank_is_none")]
    kind: Option<String>,
    /// Another name for `type`, which takes precedence.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    activity_type: Option<String>,
    /// `pending`, `completed`, `overdue` or `cancelled`; an unknown status matches nothing. `overdue` also matches
    /// pending activities past their due date.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    status: Option<String>,
    /// Only completed activities, or only the others. Ignored if `status` is given.
    #[serde(default, deserialize_with = "wire::optional_flag")]
    completed: Option<bool>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    contact_id: Option<Uuid>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    deal_id: Option<Uuid>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewActivity {
    /// Case-insensitive; an unknown type becomes `task`.
    r#type: String,
    #[garde(length(chars, min = 1, max = 255))]
    subject: String,
    #[garde(length(chars, max = wire::MAX_TEXT_CHARS))]
    description: Option<String>,
    /// Case-insensitive; an unknown status becomes `pending`.
    status: Option<String>,
    /// A date or a time. Ignored if it cannot be parsed.
    #[serde(default, deserialize_with = "wire::fitting")]
    #[schemars(with = "wire::Fitting<Time>")]
    due_date: Option<Time>,
    #[serde(default, deserialize_with = "wire::optional_number")]
    #[garde(range(min = 0))]
    duration_minutes: Option<i32>,
    /// 0, 1, 2 or `low`, `medium`, `high`.
    #[serde(default, deserialize_with = "priority")]
    #[garde(range(min = 0, max = 2))]
    priority: Option<i32>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    contact_id: Option<Uuid>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    deal_id: Option<Uuid>,
}

/// The fields to change. Omitted fields keep their values; null clears a nullable field.
#[derive(Debug, Default, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default)]
#[garde(allow_unvalidated)]
struct ActivityPatch {
    /// Case-insensitive; an unknown type becomes `task`.
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    /// Another name for `type`, which takes precedence.
    #[serde(skip_serializing)]
    activity_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, min = 1, max = 255))]
    subject: Option<String>,
    /// Another name for `subject`, which takes precedence.
    #[serde(skip_serializing)]
    #[garde(length(chars, min = 1, max = 255))]
    title: Option<String>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = wire::MAX_TEXT_CHARS)))]
    description: Option<Option<String>>,
    /// Case-insensitive; an unknown status becomes `pending`.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// 0, 1, 2 or `low`, `medium`, `high`. The stored value is accepted too: old activities have other numbers.
    #[serde(deserialize_with = "priority", skip_serializing_if = "Option::is_none")]
    #[garde(range(min = 0, max = 2))]
    priority: Option<i32>,
    /// A date or a time. An empty string or the date of the stored time changes nothing.
    #[serde(deserialize_with = "unless_blank", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    due_date: Option<Option<Due>>,
    #[serde(deserialize_with = "wire::nullable_number", skip_serializing_if = "Option::is_none")]
    #[garde(inner(range(min = 0)))]
    duration_minutes: Option<Option<i32>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 255)))]
    location: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 500)))]
    outcome: Option<Option<String>>,
    #[serde(deserialize_with = "unless_blank", skip_serializing_if = "Option::is_none")]
    completed_at: Option<Option<Time>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(wire::fields)))]
    custom_fields: Option<Map<String, Value>>,
    /// A contact's id. An empty string changes nothing; null removes the contact.
    #[serde(deserialize_with = "unless_blank", skip_serializing)]
    contact_id: Option<Option<Uuid>>,
    /// A deal's id. An empty string changes nothing; null removes the deal.
    #[serde(deserialize_with = "unless_blank", skip_serializing)]
    deal_id: Option<Option<Uuid>>,
}

/// A time, or a date without one: the screen sends back only the date of a time (contract: activities).
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Due {
    At(Time),
    On(String),
}

impl std::str::FromStr for Due {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time: Time = text.parse()?;
        let (is_day, written) = (text.len() <= "2026-12-31".len(), time.to_string());
        let day = written.strip_suffix("T00:00:00").filter(|_| is_day);
        Ok(day.map_or(Self::At(time), |day| Self::On(day.to_owned())))
    }
}

/// A text field of a change: absent or empty is `None`, `null` is `Some(None)`.
fn unless_blank<'de, D, T>(d: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    match Option::<String>::deserialize(d)? {
        None => Ok(Some(None)),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => text.parse().map(|value| Some(Some(value))).map_err(serde::de::Error::custom),
    }
}

fn priority<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<i32>, D::Error> {
    let value = Option::<Value>::deserialize(d)?;
    let number = match &value {
        None => return Ok(None),
        Some(Value::String(word)) => match word.to_lowercase().as_str() {
            "low" => Some(0),
            "medium" => Some(1),
            "high" => Some(2),
            _ => wire::Number::read(&Value::String(word.clone())).ok(),
        },
        Some(value) => wire::Number::read(value).ok(),
    };
    number.map(Some).ok_or_else(|| serde::de::Error::custom("Input should be 0, 1, 2, low, medium or high"))
}

/// An activity after a change.
#[derive(Serialize, JsonSchema)]
struct Changed {
    #[serde(flatten)]
    activity: Activity,
    message: &'static str,
}

fn kind(text: &str) -> &'static str {
    ["call", "email", "meeting", "note", "deadline"]
        .into_iter()
        .find(|k| text.eq_ignore_ascii_case(k))
        .unwrap_or("task")
}

fn status(text: &str) -> &'static str {
    ["completed", "overdue", "cancelled"].into_iter().find(|s| text.eq_ignore_ascii_case(s)).unwrap_or("pending")
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, page: Paging<{ page::NO_LIMIT }>) -> Result<Paged<Activity>> {
    let Filter { kind, activity_type, status, completed, contact_id: contact, deal_id: deal } = filter;
    let (kind, status) =
        (kind.or(activity_type).map(|word| word.to_lowercase()), status.map(|word| word.to_lowercase()));
    let completed = completed.filter(|_| status.is_none());
    FilterIds { contact, deal, ..FilterIds::default() }.must_be_there(&db).await?;
    let is_whole = kind.is_none() && status.is_none() && completed.is_none() && contact.or(deal).is_none();
    let activities = if is_whole {
        page.list(&db, list!("activities/list", "due_order", "created_at", "id").planned_once(), &[]).await
    } else {
        let some = list!("activities/filter", "due_order", "created_at", "id").planned_anew();
        page.list(&db, some, &[&kind, &status, &completed, &contact, &deal]).await
    };
    activities.or_empty_without_company()
}

async fn create(db: TenantDb, Json(new): Json<NewActivity>) -> Result<Json<Changed>> {
    let (kind, status) = (kind(&new.r#type), status(new.status.as_deref().unwrap_or_default()));
    let NewActivity { subject, description, due_date, duration_minutes, priority, contact_id, deal_id, .. } = &new;
    let params: Params<'_> =
        &[&kind, subject, description, &status, due_date, duration_minutes, priority, contact_id, deal_id];
    let activity = db.one(sql!("activities/create"), params).await.must_have_company()?;
    Ok(Json(Changed { activity, message: "Activity created successfully" }))
}

async fn get(db: TenantDb, Path(id): Path<Uuid>) -> Result<Written<Activity>> {
    db.one(sql!("activities/get"), &[&id]).await.or_not_found_without_company()
}

async fn update(db: TenantDb, Path(id): Path<Uuid>, change: Change<ActivityPatch>) -> Result<Json<Changed>> {
    let mut patch = change.checked_against(db.one::<Activity>(sql!("activities/get"), &[&id])).await?;
    patch.r#type = patch.r#type.or(patch.activity_type.take()).map(|text| kind(&text).to_owned());
    patch.subject = patch.subject.or(patch.title.take());
    patch.status = patch.status.map(|text| status(&text).to_owned());
    let (contact, deal) = (patch.contact_id.flatten(), patch.deal_id.flatten());
    let (no_contact, no_deal) = (patch.contact_id == Some(None), patch.deal_id == Some(None));
    let params: Params<'_> = &[&id, &Jsonb(&patch), &contact, &no_contact, &deal, &no_deal];
    let activity = db.one(sql!("activities/update"), params).await.or_not_found_without_company()?;
    Ok(Json(Changed { activity, message: "Activity updated successfully" }))
}

async fn complete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Changed>> {
    let activity: Activity = db.one(sql!("activities/complete"), &[&id]).await.or_not_found_without_company()?;
    let message = if activity.status == "completed" { "Activity completed" } else { "Activity reopened" };
    Ok(Json(Changed { activity, message }))
}

async fn delete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.one::<Activity>(sql!("activities/delete"), &[&id]).await.or_not_found_without_company()?;
    Ok(message("Activity deleted successfully"))
}
