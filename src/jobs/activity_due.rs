//! Tells the owner of an activity that it is due.

use crate::{
    App, Result,
    db::{TenantDb, platform::Job},
    sql,
};
use uuid::Uuid;

pub(super) async fn run(app: &App, db: &TenantDb, job: &Job) -> Result<()> {
    // A notification belongs to its reader, so it is written in the name of the activity's current owner.
    let owner: Option<Uuid> = db.optional(sql!("jobs/activity_owner"), &[&job.record_id]).await?;
    let theirs = TenantDb::for_company(&app.db, job.company_id, owner.unwrap_or(job.user_id));
    theirs
        .tx(async |tx| {
            // A separate statement: the next one sees what this one waited for, such as another time.
            if tx.optional::<Uuid>(sql!("jobs/hold"), &[&job.id]).await?.is_some() {
                tx.optional::<bool>(sql!("jobs/activity_due"), &[&job.id]).await?;
            }
            Ok(())
        })
        .await
}
