//! Pipelines and their stages: the ways in which a company sells.

use super::prelude::*;

routes! {
    /// The company's pipelines, the default one first
    tenant get "/api/pipelines" => list;
    /// Adds a pipeline
    tenant post "/api/pipelines" => create;
    /// One pipeline
    tenant get "/api/pipelines/{pipeline_id}" => get;
    /// Changes the given fields of a pipeline
    tenant patch "/api/pipelines/{pipeline_id}" => update;
    /// Deletes a pipeline without deals
    tenant delete "/api/pipelines/{pipeline_id}" => delete;
    /// The stages of a pipeline, in their order
    tenant get "/api/pipelines/{pipeline_id}/stages" => stages;
    /// Adds a stage to a pipeline
    tenant post "/api/pipelines/{pipeline_id}/stages" => create_stage;
    /// Changes the given fields of a stage
    tenant patch "/api/pipeline-stages/{stage_id}" => update_stage;
    /// Deletes a stage without deals
    tenant delete "/api/pipeline-stages/{stage_id}" => delete_stage;
    /// Reorders the stages of a pipeline
    tenant patch "/api/pipelines/{pipeline_id}/reorder-stages" => reorder;
}

const DEFAULT_KEY: &str = "pipelines_tenant_default_key";
const DEFAULT_TAKEN: &str = "Another pipeline became the default at the same moment: try again";

row! {
    /// A way in which the company sells.
    pub struct Pipeline {
        id: Uuid,
        name: String,
        description: Option<String>,
        is_default: bool,
        order_index: i32,
        company_id: Option<Uuid>,
        is_active: bool,
        is_deleted: bool,
        created_at: Time,
        updated_at: Time,
    }
}

row! {
    /// A step of a pipeline.
    pub struct Stage {
        id: Uuid,
        pipeline_id: Uuid,
        name: String,
        description: Option<String>,
        order_index: i32,
        /// Percent.
        probability: f64,
        is_closed: bool,
        is_won: bool,
        is_active: bool,
        is_deleted: bool,
        created_at: Time,
        updated_at: Time,
    }
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewPipeline {
    #[garde(length(chars, min = 1, max = 255))]
    name: String,
    #[garde(length(chars, max = 500))]
    description: Option<String>,
    /// Whether it becomes the company's default.
    #[serde(default, deserialize_with = "wire::optional_boolean")]
    is_default: Option<bool>,
}

/// The fields to change. Omitted fields keep their values, and so do `name` and `is_default` if null.
#[derive(Debug, Default, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default)]
#[garde(allow_unvalidated)]
struct PipelinePatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, min = 1, max = 255))]
    name: Option<String>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 500)))]
    description: Option<Option<String>>,
    #[serde(deserialize_with = "wire::optional_boolean", skip_serializing_if = "Option::is_none")]
    is_default: Option<bool>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewStage {
    #[garde(length(chars, min = 1, max = 255))]
    name: String,
    #[garde(length(chars, max = 500))]
    description: Option<String>,
    #[serde(deserialize_with = "wire::number")]
    order_index: i32,
    /// Percent.
    #[serde(default, deserialize_with = "wire::optional_number")]
    #[garde(range(min = 0.0, max = 100.0))]
    probability: Option<f64>,
    #[serde(default, deserialize_with = "wire::optional_boolean")]
    is_closed: Option<bool>,
    #[serde(default, deserialize_with = "wire::optional_boolean")]
    is_won: Option<bool>,
}

/// The fields to change; null leaves a field unchanged.
#[derive(Debug, Default, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default)]
#[garde(allow_unvalidated)]
struct StagePatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, min = 1, max = 255))]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, max = 500))]
    description: Option<String>,
    /// Percent.
    #[serde(deserialize_with = "wire::optional_number", skip_serializing_if = "Option::is_none")]
    #[garde(range(min = 0.0, max = 100.0))]
    probability: Option<f64>,
    #[serde(deserialize_with = "wire::optional_boolean", skip_serializing_if = "Option::is_none")]
    is_closed: Option<bool>,
    #[serde(deserialize_with = "wire::optional_boolean", skip_serializing_if = "Option::is_none")]
    is_won: Option<bool>,
}

/// The new places of stages; stages of another pipeline are ignored.
#[derive(Deserialize, Validate, JsonSchema)]
struct Order {
    #[garde(length(max = 1000))]
    stages: Vec<Place>,
}

#[derive(Debug, Serialize, Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct Place {
    id: Uuid,
    #[serde(deserialize_with = "wire::number")]
    order_index: i32,
}

async fn list(db: TenantDb) -> Result<Rows<Pipeline>> {
    db.list(sql!("pipelines/list"), &[]).await.or_empty_without_company()
}

async fn create(db: TenantDb, Json(new): Json<NewPipeline>) -> Result<Json<Pipeline>> {
    let pipeline = db
        .one(sql!("pipelines/create"), &[&new.name, &new.description, &new.is_default])
        .await
        .on_constraint(DEFAULT_KEY, DEFAULT_TAKEN)
        .must_have_company()?;
    Ok(Json(pipeline))
}

async fn get(db: TenantDb, Path(id): Path<Uuid>) -> Result<Written<Pipeline>> {
    db.one(sql!("pipelines/get"), &[&id]).await.or_not_found_without_company()
}

async fn update(db: TenantDb, Path(id): Path<Uuid>, change: Change<PipelinePatch>) -> Result<Json<Pipeline>> {
    let patch = change.checked_against(db.one::<Pipeline>(sql!("pipelines/get"), &[&id])).await?;
    let pipeline = db
        .one(sql!("pipelines/update"), &[&id, &Jsonb(&patch)])
        .await
        .on_constraint(DEFAULT_KEY, DEFAULT_TAKEN)
        .or_not_found_without_company()?;
    Ok(Json(pipeline))
}

async fn delete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.one::<Pipeline>(sql!("pipelines/delete"), &[&id]).await.or_not_found_without_company()?;
    Ok(message("Pipeline deleted successfully"))
}

async fn stages(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Vec<Stage>>> {
    let stages = db.tx(async |tx| {
        tx.one::<Pipeline>(sql!("pipelines/get"), &[&id]).await?;
        tx.all(sql!("pipelines/stages"), &[&id]).await
    });
    Ok(Json(stages.await.without_company(Error::not_found("Pipeline"))?))
}

async fn create_stage(db: TenantDb, Path(id): Path<Uuid>, Json(new): Json<NewStage>) -> Result<Json<Stage>> {
    let NewStage { name, description, order_index, probability, is_closed, is_won } = &new;
    let params: Params<'_> = &[&id, name, description, order_index, probability, is_closed, is_won];
    let stage = db.optional(sql!("pipelines/create_stage"), params).await;
    stage.without_company(Error::not_found("Pipeline")).or_not_found("Pipeline").map(Json)
}

async fn update_stage(db: TenantDb, Path(id): Path<Uuid>, change: Change<StagePatch>) -> Result<Written<Stage>> {
    let patch = change.checked_against(db.one::<Stage>(sql!("pipelines/stage"), &[&id])).await?;
    let params: Params<'_> = &[&id, &Jsonb(&patch)];
    db.one(sql!("pipelines/update_stage"), params).await.or_not_found_without_company()
}

async fn delete_stage(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.one::<Stage>(sql!("pipelines/delete_stage"), &[&id]).await.or_not_found_without_company()?;
    Ok(message("Stage deleted successfully"))
}

async fn reorder(db: TenantDb, Path(id): Path<Uuid>, Json(order): Json<Order>) -> Result<Json<Message>> {
    let reordered = db.tx(async |tx| {
        tx.one::<Pipeline>(sql!("pipelines/get"), &[&id]).await?;
        tx.all::<Uuid>(sql!("pipelines/reorder"), &[&id, &Jsonb(&order.stages)]).await
    });
    reordered.await.without_company(Error::not_found("Pipeline"))?;
    Ok(message("Stages reordered successfully"))
}
