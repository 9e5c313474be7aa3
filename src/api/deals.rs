//! Deals: what a company hopes to sell, and how far it has come.

use super::prelude::*;
use serde_json::{Map, Value};

routes! {
    /// The company's deals, in order of creation
    tenant get "/api/deals/" => list;
    /// Adds a deal
    tenant post "/api/deals/" => create;
    /// One deal
    tenant get "/api/deals/{deal_id}" => get;
    /// Changes the given fields of a deal
    tenant patch "/api/deals/{deal_id}" => update;
    /// Deletes a deal
    tenant delete "/api/deals/{deal_id}" => delete;
    /// Moves a deal to another stage of its pipeline
    tenant patch "/api/deals/{deal_id}/move" => move_to;
    /// A deal's moves between stages, newest first
    tenant get "/api/deals/{deal_id}/history" => history;
}

row! {
    /// Something that may be sold; `company` is the client's name, `contact` the person's.
    pub struct Deal {
        id: Uuid,
        title: String,
        value: f64,
        currency: String,
        stage_id: Uuid,
        stage_name: Option<String>,
        pipeline_id: Uuid,
        company: Option<String>,
        contact: Option<String>,
        contact_id: Option<Uuid>,
        description: Option<String>,
        expected_close_date: Option<Time>,
        actual_close_date: Option<Time>,
        stage_entered_at: Time,
        status: String,
        /// Percent.
        probability: Option<f64>,
        lost_reason: Option<String>,
        won_reason: Option<String>,
        tags: Value,
        custom_fields: Value,
        owner_id: Uuid,
        created_at: Time,
        updated_at: Time,
    }
}

row! {
    /// A move of a deal; the first one has no previous stage.
    pub struct Move {
        id: Uuid,
        from_stage_id: Option<Uuid>,
        from_stage: Option<String>,
        to_stage_id: Uuid,
        to_stage: Option<String>,
        user_id: Uuid,
        user_name: Option<String>,
        created_at: Time,
    }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// Only the deals of this stage.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    stage: Option<Uuid>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewDeal {
    #[garde(length(chars, min = 1, max = 255))]
    title: String,
    #[serde(deserialize_with = "wire::number")]
    #[garde(range(min = -wire::MAX_MONEY, max = wire::MAX_MONEY))]
    value: f64,
    /// A stage's id or its name.
    stage_id: String,
    /// A pipeline's id; anything else means the company's default pipeline.
    #[serde(default, deserialize_with = "wire::fitting")]
    #[schemars(with = "wire::Fitting<Uuid>")]
    pipeline_id: Option<Uuid>,
    #[garde(length(chars, max = 255))]
    company: Option<String>,
    /// A contact's id. Ignored if it is not a valid id.
    #[serde(default, deserialize_with = "wire::fitting")]
    #[schemars(with = "wire::Fitting<Uuid>")]
    contact: Option<Uuid>,
    #[garde(length(chars, max = wire::MAX_TEXT_CHARS))]
    description: Option<String>,
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    expected_close_date: Option<Time>,
    /// `open`, `won`, `lost` or `abandoned`, case-insensitive; anything else becomes `open`.
    status: Option<String>,
}

/// The fields to change; null leaves a field unchanged, except `contact`.
#[derive(Debug, Default, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default)]
#[garde(allow_unvalidated)]
struct DealPatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, min = 1, max = 255))]
    title: Option<String>,
    #[serde(deserialize_with = "wire::optional_number", skip_serializing_if = "Option::is_none")]
    #[garde(range(min = -wire::MAX_MONEY, max = wire::MAX_MONEY))]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, max = 255))]
    company: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, max = wire::MAX_TEXT_CHARS))]
    description: Option<String>,
    #[serde(deserialize_with = "wire::blank_is_none", skip_serializing_if = "Option::is_none")]
    expected_close_date: Option<Time>,
    /// Percent.
    #[serde(deserialize_with = "wire::optional_number", skip_serializing_if = "Option::is_none")]
    #[garde(range(min = 0.0, max = 100.0))]
    probability: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, max = 3))]
    currency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, max = 255))]
    lost_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, max = 255))]
    won_reason: Option<String>,
    /// At most 100, of at most 100 characters each.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(few_and_short)))]
    tags: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(wire::fields)))]
    custom_fields: Option<Map<String, Value>>,
    /// Case-insensitive; an unknown status becomes `open`.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// A contact's id. Empty or null removes the contact unless `contact_id` names it; anything else changes nothing.
    #[serde(deserialize_with = "wire::nullable", skip_serializing)]
    contact: Option<Option<String>>,
    /// Id of the contact shown with the deal, whose name may be empty or hidden.
    #[serde(deserialize_with = "wire::fitting", skip_serializing)]
    #[schemars(with = "wire::Fitting<Uuid>")]
    contact_id: Option<Uuid>,
    #[serde(deserialize_with = "wire::blank_is_none", skip_serializing)]
    pipeline_id: Option<Uuid>,
    /// A stage of the deal's pipeline.
    #[serde(deserialize_with = "wire::blank_is_none", skip_serializing)]
    stage_id: Option<Uuid>,
}

fn few_and_short(list: &[Value], _: &()) -> garde::Result {
    let is_long = |tag: &Value| {
        tag.as_str().map_or_else(|| tag.to_string().len(), |text| text.chars().count()) > wire::MAX_TAG_CHARS
    };
    if list.len() > wire::MAX_TAGS || list.iter().any(is_long) {
        return Err(garde::Error::new("A deal has at most 100 tags of at most 100 characters"));
    }
    Ok(())
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct Target {
    /// A stage's id or its name; the deal stays where it is if empty.
    to_stage_id: Option<String>,
}

/// A new deal.
#[derive(Serialize, JsonSchema)]
struct Created {
    #[serde(flatten)]
    deal: Deal,
    message: &'static str,
}

fn status(text: &str) -> &'static str {
    match text.to_lowercase().as_str() {
        "won" => "won",
        "lost" => "lost",
        "abandoned" => "abandoned",
        _ => "open",
    }
}

/// A stage by id or by name. The frontend writes five of the names in its own way.
fn stage(text: &str) -> (Option<Uuid>, Option<&str>) {
    let name = match text {
        "qualification" => "Qualification",
        "proposal" => "Proposal",
        "negotiation" => "Negotiation",
        "closed-won" => "Closed Won",
        "closed-lost" => "Closed Lost",
        other => other,
    };
    text.parse().map_or((None, Some(name)), |id| (Some(id), None))
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, page: Paging<{ page::NO_LIMIT }>) -> Result<Paged<Deal>> {
    FilterIds { stage: filter.stage, ..FilterIds::default() }.must_be_there(&db).await?;
    let deals = match &filter.stage {
        None => page.list(&db, list!("deals/list").planned_once(), &[]).await,
        Some(stage) => page.list(&db, list!("deals/of_stage").planned_once(), &[stage]).await,
    };
    deals.or_empty_without_company()
}

async fn create(db: TenantDb, Json(new): Json<NewDeal>) -> Result<Json<Created>> {
    let NewDeal { title, value, stage_id, pipeline_id, company, contact, description, expected_close_date, .. } = &new;
    let (stage_id, stage_name) = stage(stage_id);
    let status = status(new.status.as_deref().unwrap_or_default());
    let params: Params<'_> = &[
        title,
        value,
        pipeline_id,
        &stage_id,
        &stage_name,
        contact,
        company,
        description,
        expected_close_date,
        &status,
    ];
    let deal = db.one(sql!("deals/create"), params).await.must_have_company()?;
    Ok(Json(Created { deal, message: "Deal created successfully" }))
}

async fn get(db: TenantDb, Path(id): Path<Uuid>) -> Result<Written<Deal>> {
    db.one(sql!("deals/get"), &[&id]).await.or_not_found_without_company()
}

async fn update(db: TenantDb, Path(id): Path<Uuid>, change: Change<DealPatch>) -> Result<Written<Deal>> {
    let mut patch = change.checked_against(db.one::<Deal>(sql!("deals/get"), &[&id])).await?;
    patch.status = patch.status.map(|text| status(&text).to_owned());
    let contact = patch.contact.as_ref().map(|given| given.as_deref().unwrap_or_default());
    let (clear, contact) = (contact == Some(""), contact.and_then(|text| text.trim().parse::<Uuid>().ok()));
    let shown = patch.contact_id;
    let params: Params<'_> = &[&id, &Jsonb(&patch), &patch.pipeline_id, &patch.stage_id, &contact, &clear, &shown];
    db.one(sql!("deals/update"), params).await.or_not_found_without_company()
}

async fn move_to(db: TenantDb, Path(id): Path<Uuid>, Json(target): Json<Target>) -> Result<Written<Deal>> {
    let to = target.to_stage_id.as_deref().filter(|text| !text.is_empty());
    let (stage_id, stage_name) = to.map_or((None, None), stage);
    db.one(sql!("deals/move"), &[&id, &stage_id, &stage_name]).await.or_not_found_without_company()
}

async fn delete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.one::<Deal>(sql!("deals/delete"), &[&id]).await.or_not_found_without_company()?;
    Ok(message("Deal deleted successfully"))
}

async fn history(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Vec<Move>>> {
    let moves = db.tx(async |tx| {
        tx.one::<Deal>(sql!("deals/get"), &[&id]).await?;
        tx.all(sql!("deals/history"), &[&id]).await
    });
    Ok(Json(moves.await.without_company(Error::not_found("Deal"))?))
}
