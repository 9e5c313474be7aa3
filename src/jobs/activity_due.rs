//! Tells the owner of an activity that it is due.

use crate::{
    App, Result,
    db::{TenantDb, platform::Job},
    sql,
};
use uuid::Uuid;

pub(super) async fn run(_: &App, db: &TenantDb, job: &Job) -> Result<()> {
    db.tx(async |tx| {
        // In a statement of its own: the next one sees what was waited for, such as another time.
        if tx.optional::<Uuid>(sql!("jobs/hold"), &[&job.id]).await?.is_some() {
            tx.optional::<bool>(sql!("jobs/activity_due"), &[&job.id]).await?;
        }
        Ok(())
    })
    .await
}
