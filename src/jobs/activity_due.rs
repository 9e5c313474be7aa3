//! Tells the owner of an activity that it is due.

use crate::{
    App, Result,
    db::{TenantDb, platform::Job},
    sql,
};
use uuid::Uuid;

pub(super) async fn run(app: &App, db: &TenantDb, job: &Job) -> Result<()> {
    // A notification is its reader's own, so it is written in their name. The activity may be somebody else's since the job was made.
    let owner: Option<Uuid> = db.optional(sql!("jobs/activity_owner"), &[&job.record_id]).await?;
    let theirs = TenantDb::for_company(&app.db, job.company_id, owner.unwrap_or(job.user_id));
    theirs
        .tx(async |tx| {
            // In a statement of its own: the next one sees what was waited for, such as another time.
            if tx.optional::<Uuid>(sql!("jobs/hold"), &[&job.id]).await?.is_some() {
                tx.optional::<bool>(sql!("jobs/activity_due"), &[&job.id]).await?;
            }
            Ok(())
        })
        .await
}
