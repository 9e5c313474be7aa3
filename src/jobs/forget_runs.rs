//! Deletes workflow history that is older than its retention: finished runs, their steps, and the events that caused
//! them.

use crate::{App, wire::Time};
use jiff::{SignedDuration, Timestamp};

/// The maximum number of runs, and of events, deleted in one transaction.
const BATCH_SIZE: i32 = 1000;

/// Deletes once an hour, on whichever server or worker is first.
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

/// Deletes everything older than the setting says; returns the number of rows. A setting of 0 days keeps everything.
pub async fn forget(app: &App) -> crate::Result<i64> {
    let days = i64::from(app.config.workflow_runs_days);
    if days == 0 {
        return Ok(0);
    }
    let before = Time(Timestamp::now() - SignedDuration::from_hours(24 * days));
    let mut all = 0;
    loop {
        let rows = app.db.platform().forget_workflow_runs(before, BATCH_SIZE).await?;
        all += rows;
        if rows == 0 {
            return Ok(all);
        }
    }
}
