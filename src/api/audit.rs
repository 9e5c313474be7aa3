//! The audit log: who changed what. The database writes it (migrations/V0034__audit_log.sql), and nobody changes it.

use super::prelude::*;

routes! {
    /// Who changed what in the company, newest first
    admin get "/api/audit/" => list;
}

row! {
    /// One change. `before` and `after` have the changed columns; `before` is null for a new record, `after` for a
    /// deleted one.
    pub struct Change {
        id: Uuid,
        created_at: Time,
        table_name: String,
        record_id: Option<Uuid>,
        action: String,
        before: Option<serde_json::Value>,
        after: Option<serde_json::Value>,
        user_id: Option<Uuid>,
        user_name: Option<String>,
        role: Option<String>,
        db_role: Option<String>,
        request_id: Option<String>,
    }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// Name of the table.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    table: Option<String>,
    /// Id of the record.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    record_id: Option<Uuid>,
    /// Id of the user who changed it.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    user_id: Option<Uuid>,
}

async fn list(db: Scoped<CompanyAdmin>, Query(filter): Query<Filter>, page: Paging) -> Result<Paged<Change>> {
    let Filter { table, record_id, user_id } = filter;
    FilterIds { user: user_id, ..FilterIds::default() }.must_be_there(&db).await?;
    page.list(&db, list!("audit/list").planned_anew(), &[&table, &record_id, &user_id]).await
}
