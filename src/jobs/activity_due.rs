//! Tells the owner of an activity that it is due.

use crate::{
    App, Result,
    db::{TenantDb, platform::Job},
    sql,
};

pub(super) async fn run(_: &App, db: &TenantDb, job: &Job) -> Result<()> {
    db.optional::<bool>(sql!("jobs/activity_due"), &[&job.id]).await.map(drop)
}
