//! Starts a scheduled workflow when it is due. Times that were missed while no worker ran count as one. The run and the
//! next time are written in one transaction, so that no time counts twice.

use crate::{
    App, Result,
    db::{TenantDb, platform::Job},
    row, sql,
    wire::Time,
    workflow::Schedule,
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

row! {
    /// When a workflow ran, and when it is to run.
    pub struct Due {
        schedule: Option<Value>,
        last_executed_at: Option<Time>,
        next_run_at: Option<Time>,
        schedule_set_at: Option<Time>,
        timezone: String,
    }
}

pub(super) async fn run(_: &App, db: &TenantDb, job: &Job) -> Result<()> {
    db.tx(async |tx| {
        let Some(due) = tx.optional::<Due>(sql!("jobs/workflow_due"), &[&job.record_id, &job.id]).await? else {
            return Ok(());
        };
        let now = Timestamp::now();
        let schedule: Option<Schedule> = due.schedule.as_ref().and_then(|given| Schedule::deserialize(given).ok());
        let interval = Schedule::interval(schedule.as_ref());
        let (is_due, next) = match interval {
            Some(minutes) => due.by_interval(SignedDuration::from_mins(minutes.into()), now),
            None => due.by_cron(schedule.as_ref(), now),
        };
        if is_due {
            tx.optional::<Uuid>(sql!("jobs/workflow_tick"), &[&job.record_id]).await?;
        }
        let by_cron = interval.is_none().then_some(Time(next));
        tx.optional::<Uuid>(sql!("jobs/workflow_next"), &[&job.id, &job.record_id, &Time(next), &by_cron]).await?;
        Ok(())
    })
    .await
}

impl Due {
    /// Whether it is due, and when to check again, by an interval.
    fn by_interval(&self, interval: SignedDuration, now: Timestamp) -> (bool, Timestamp) {
        let due = self.last_executed_at.map_or(now, |last| last.0 + interval);
        if due <= now { (true, now + interval) } else { (false, due) }
    }

    /// Whether it is due, and when to check again, by a cron expression.
    fn by_cron(&self, schedule: Option<&Schedule>, now: Timestamp) -> (bool, Timestamp) {
        let after = |moment| schedule.and_then(|schedule| schedule.next(&self.timezone, moment));
        // A cron expression without further times is checked again after a year.
        let next = after(now).unwrap_or(now + SignedDuration::from_hours(24 * 365));
        // No worker may have been running when it was set.
        let first = || after(self.schedule_set_at.map_or(now, |set| set.0)).unwrap_or(next);
        let due = self.next_run_at.map_or_else(first, |due| due.0);
        if due <= now { (true, next) } else { (false, due) }
    }
}
