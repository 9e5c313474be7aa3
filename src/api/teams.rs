//! The teams of a company.

use super::prelude::*;

routes! {
    /// The company's teams, by name
    tenant get "/api/teams/" => list;
}

row! {
    /// A team; users refer to it by `team_id`.
    pub struct Team {
        id: Uuid,
        name: String,
        description: Option<String>,
        team_lead_id: Option<Uuid>,
        member_count: i32,
        created_at: Time,
        updated_at: Time,
    }
}

async fn list(db: TenantDb) -> Result<Rows<Team>> {
    db.list(sql!("teams/list"), &[]).await
}
