//! Deletes the history of workflows that is older than a company needs it: runs that are at their end, their steps, and the
//! events that caused them.

use crate::{App, wire::Time};
use jiff::{SignedDuration, Timestamp};

/// Rows of one transaction, of runs and of events.
const BATCH: i32 = 1000;

/// Deletes once an hour, whichever server or worker asks first.
pub(super) async fn in_turn(app: &App) -> anyhow::Result<()> {
    if !super::is_first_in_hour(app, "forget_runs").await? {
        return Ok(());
    }
    let rows = forget(app).await?;
    if rows > 0 {
        tracing::info!(rows, "deleted old runs of workflows");
    }
    Ok(())
}

/// Deletes all that is older than the setting says; answers how many rows. Days that are 0 keep everything.
pub async fn forget(app: &App) -> crate::Result<i64> {
    let days = i64::from(app.config.workflow_runs_days);
    if days == 0 {
        return Ok(0);
    }
    let before = Time(Timestamp::now() - SignedDuration::from_hours(24 * days));
    let mut all = 0;
    loop {
        let rows = app.db.platform().forget_workflow_runs(before, BATCH).await?;
        all += rows;
        if rows == 0 {
            return Ok(all);
        }
    }
}
