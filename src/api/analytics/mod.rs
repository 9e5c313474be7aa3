//! Analytics: the figures of a company. Every report is one statement that builds the whole response, so that its
//! figures are from one moment; days and months are in the company's time zone. A caller without a company sees no rows
//! and gets a report of zeros; so does a filter by an unknown id or another company's (contract: analytics).

mod export;

use super::prelude::*;
use crate::db::{Fault, FromRow, Row};
use jiff::civil::Date;
use postgres_types::ToSql;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, str::FromStr};

routes! {
    /// The deals of a period by stage and by owner
    user get "/api/analytics/pipeline" => pipeline;
    /// The activities of a period by type, member and day of the week
    user get "/api/analytics/activities" => activities;
    /// Revenue won in each of the last six months
    user get "/api/analytics/revenue" => revenue;
    /// Sales and activities of each member
    user get "/api/analytics/users" => users;
    /// Delivery of the mail sent in a period
    user get "/api/analytics/emails" => emails;
    /// The calls of a period
    user get "/api/analytics/calls" => calls;
    /// The contacts of a period and how many of them bought
    user get "/api/analytics/contacts" => contacts;
    /// Documents that were sent for signature
    user get "/api/analytics/documents" => documents;
    /// Revenue, deals and activities of a period, optionally by day, week, month, member or team
    user get "/api/analytics/custom" => custom;
    /// Key figures for managers
    user get "/api/analytics/dashboard" => dashboard;
    /// The deals of a period as a table
    user get "/api/analytics/export/csv" => export::csv;
    /// The deals of a period in figures and charts
    user get "/api/analytics/export/pdf" => export::pdf;
}

/// A day, `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, ToSql)]
#[postgres(transparent)]
struct Day(Date);

impl FromStr for Day {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "Input should be a date such as 2026-12-31";
        if text.len() != 10 {
            return Err(expected);
        }
        // To PostgreSQL, year 0 is 1 BC.
        text.parse().ok().filter(|day: &Date| day.year() > 0).map(Day).ok_or(expected)
    }
}

impl JsonSchema for Day {
    fn schema_name() -> Cow<'static, str> {
        "Day".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date" })
    }
}

/// A report: `filters`, as the server understood them, and the figures.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
struct Report(#[schemars(with = "serde_json::Map<String, Value>")] Box<RawValue>);

impl FromRow for Report {
    const NAME: &'static str = "Report";
    fn from_row(row: &Row) -> Result<Self, Fault> {
        row.try_get::<_, Jsonb<Box<RawValue>>>(0).map(|json| Self(json.0))
    }
}

/// Filters for deals; an absent or empty one matches all.
#[derive(Deserialize, JsonSchema)]
struct Deals {
    /// First day of creation to include.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    date_from: Option<Day>,
    /// Last day to include.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    date_to: Option<Day>,
    /// Id of the owner.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    user_id: Option<Uuid>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    pipeline_id: Option<Uuid>,
}

/// Filters for activities; an absent or empty one matches all.
#[derive(Deserialize, JsonSchema)]
struct Activities {
    /// First day of creation to include.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    date_from: Option<Day>,
    /// Last day to include.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    date_to: Option<Day>,
    /// Id of the owner.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    user_id: Option<Uuid>,
    /// `call`, `email`, `meeting` or `task`; anything else matches nothing.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    activity_type: Option<String>,
}

/// Filters for mail or calls; an absent or empty one matches all.
#[derive(Deserialize, JsonSchema)]
struct Traffic {
    /// First day to include.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    date_from: Option<Day>,
    /// Last day to include.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    date_to: Option<Day>,
    /// Id of the owner.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    user_id: Option<Uuid>,
}

/// Filters for contacts; an absent or empty one matches all.
#[derive(Deserialize, JsonSchema)]
struct Contacts {
    /// First day of creation to include.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    date_from: Option<Day>,
    /// Last day to include.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    date_to: Option<Day>,
    /// Source of the contacts. It is not recorded, so any value matches nothing.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    source: Option<String>,
}

/// Filters for documents; an absent or empty one matches all.
#[derive(Deserialize, JsonSchema)]
struct Documents {
    /// First day to include.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    date_from: Option<Day>,
    /// Last day to include.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    date_to: Option<Day>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    document_type: Option<String>,
}

/// Filters and grouping; an absent or empty filter matches all.
#[derive(Deserialize, JsonSchema)]
struct Custom {
    /// Comma-separated metrics. A record always has all figures.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    metrics: Option<String>,
    /// First day of creation to include.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    date_from: Option<Day>,
    /// Last day to include.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    date_to: Option<Day>,
    /// Id of the owner.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    user_id: Option<Uuid>,
    /// Id of the owners' team.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    team_id: Option<Uuid>,
    /// Id of a pipeline; applies to deals only.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    pipeline_id: Option<Uuid>,
    /// How to group the results; one record for all if absent.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    group_by: Option<Grouping>,
}

words! {
    enum Grouping { Day = "day", Week = "week", Month = "month", User = "user", Team = "team" }
}

/// The filters as the server understood them.
#[derive(Serialize, JsonSchema)]
struct CustomFilters {
    metrics: Vec<String>,
    date_from: Option<String>,
    date_to: Option<String>,
    user_id: Option<Uuid>,
    team_id: Option<Uuid>,
    pipeline_id: Option<Uuid>,
    group_by: Option<Grouping>,
}

#[derive(Serialize, JsonSchema)]
struct CustomSummary {
    /// Number of records in `results`.
    total_records: usize,
    date_range: String,
    generated_at: Time,
}

/// Figures of a period.
#[derive(Serialize, JsonSchema)]
struct CustomReport {
    filters: CustomFilters,
    /// One record, or a list of them with `group_by`.
    results: Value,
    summary: CustomSummary,
}

async fn pipeline(db: UserDb, Query(f): Query<Deals>) -> Result<Json<Report>> {
    let of: Params<'_> = &[&f.date_from, &f.date_to, &f.user_id, &f.pipeline_id];
    db.one(sql!("analytics/pipeline").planned_once(), of).await.map(Json)
}

async fn activities(db: UserDb, Query(f): Query<Activities>) -> Result<Json<Report>> {
    let of: Params<'_> = &[&f.date_from, &f.date_to, &f.user_id, &f.activity_type];
    db.one(sql!("analytics/activities").planned_anew(), of).await.map(Json)
}

async fn revenue(db: UserDb) -> Result<Json<Report>> {
    db.one(sql!("analytics/revenue").planned_once(), &[]).await.map(Json)
}

async fn users(db: UserDb) -> Result<Json<Report>> {
    db.one(sql!("analytics/users").planned_once(), &[]).await.map(Json)
}

async fn emails(db: UserDb, Query(f): Query<Traffic>) -> Result<Json<Report>> {
    db.one(sql!("analytics/emails").planned_once(), &[&f.date_from, &f.date_to, &f.user_id]).await.map(Json)
}

async fn calls(db: UserDb, Query(f): Query<Traffic>) -> Result<Json<Report>> {
    db.one(sql!("analytics/calls").planned_anew(), &[&f.date_from, &f.date_to, &f.user_id]).await.map(Json)
}

async fn contacts(db: UserDb, Query(f): Query<Contacts>) -> Result<Json<Report>> {
    db.one(sql!("analytics/contacts").planned_anew(), &[&f.date_from, &f.date_to, &f.source]).await.map(Json)
}

async fn documents(db: UserDb, Query(f): Query<Documents>) -> Result<Json<Report>> {
    db.one(sql!("analytics/documents").planned_once(), &[&f.date_from, &f.date_to, &f.document_type]).await.map(Json)
}

async fn custom(db: UserDb, Query(f): Query<Custom>) -> Result<Json<CustomReport>> {
    let unit = f.group_by.map(Grouping::word);
    let of: Params<'_> = &[&f.date_from, &f.date_to, &f.user_id, &f.pipeline_id, &f.team_id, &unit];
    let results: Value = match f.group_by {
        None => db.one(sql!("analytics/custom").planned_once(), &of[..5]).await?,
        Some(Grouping::User | Grouping::Team) => db.one(sql!("analytics/custom_by_owner").planned_once(), of).await?,
        Some(_) => db.one(sql!("analytics/custom_by_time").planned_once(), of).await?,
    };
    let [date_from, date_to] = [f.date_from, f.date_to].map(|day| day.map(|day| day.0.to_string()));
    let date_range = match (&date_from, &date_to) {
        (None, None) => "All time".to_owned(),
        (from, to) => format!("{} to {}", from.as_deref().unwrap_or("the beginning"), to.as_deref().unwrap_or("now")),
    };
    let metrics = f.metrics.as_deref().unwrap_or("revenue,deals,activities").split(',').map(str::trim);
    let metrics = metrics.filter(|metric| !metric.is_empty()).map(str::to_owned).collect();
    let (user_id, team_id, pipeline_id, group_by) = (f.user_id, f.team_id, f.pipeline_id, f.group_by);
    let filters = CustomFilters { metrics, date_from, date_to, user_id, team_id, pipeline_id, group_by };
    let total_records = results.as_array().map_or(1, Vec::len);
    let summary = CustomSummary { total_records, date_range, generated_at: Time(jiff::Timestamp::now()) };
    Ok(Json(CustomReport { filters, results, summary }))
}

async fn dashboard(db: UserDb, Query(f): Query<Deals>) -> Result<Json<Report>> {
    let of: Params<'_> = &[&f.date_from, &f.date_to, &f.user_id, &f.pipeline_id];
    db.one(sql!("analytics/dashboard").planned_once(), of).await.map(Json)
}
