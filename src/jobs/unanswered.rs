//! Closes a text or call whose answer never came: its server died between asking Twilio and writing it down.

use crate::{
    App, Result,
    db::{TenantDb, platform::Job},
    sql,
};

pub(super) async fn run(_: &App, db: &TenantDb, job: &Job) -> Result<()> {
    db.optional::<bool>(sql!("jobs/unanswered"), &[&job.id, &job.record_id]).await.map(drop)
}
