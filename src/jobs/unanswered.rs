//! Closes a text or call whose outcome is missing: its server died between calling Twilio and recording the response.

use crate::{
    App, Result,
    db::{TenantDb, platform::Job},
    sql,
};

pub(super) async fn run(_: &App, db: &TenantDb, job: &Job) -> Result<()> {
    db.optional::<bool>(sql!("jobs/unanswered"), &[&job.id, &job.record_id]).await.map(drop)
}
