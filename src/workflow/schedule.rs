//! The schedule of a workflow.

use crate::{Error, Result, wire};
use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    tz::{TimeZone, TimeZoneDatabase},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A schedule: a number of minutes after the last run, or the times of a cron expression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Schedule {
    /// Minutes from one run to the next, 1 to 525600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_minutes: Option<u32>,
    /// Five fields: minute, hour, day of the month, month, day of the week; such as `0 9 * * MON-FRI`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time zone of the cron expression, such as `Europe/Berlin`. Default: the company's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// The longest gap when clocks go forward, except where a country skips a day.
const MAX_CLOCK_GAP: SignedDuration = SignedDuration::from_hours(3);
/// The interval in minutes if a workflow has no schedule (contract: workflows, "Engine").
const DEFAULT_INTERVAL_MINUTES: u32 = 60;

impl Schedule {
    /// Checks the schedule; what is wrong is a 422.
    pub fn check(&self) -> Result<()> {
        let wrong = |field: &str, why: &str| Err(Error::invalid("body", &format!("schedule{field}"), why));
        match (self.every_minutes, &self.cron) {
            (Some(minutes), None) if (1..=525_600).contains(&minutes) => Ok(()),
            (Some(_), None) => wrong(".every_minutes", "Input should be from 1 to 525600"),
            (None, Some(cron)) => {
                let zone = self.timezone.as_deref().unwrap_or("UTC");
                if wire::time_zone(zone).is_none() {
                    return wrong(".timezone", "Input should be a time zone such as Europe/Berlin");
                }
                match after(cron, known(zone), Timestamp::now()) {
                    Some(_) => Ok(()),
                    None => wrong(".cron", "Input should be a cron expression of five fields, such as 0 9 * * MON-FRI"),
                }
            }
            _ => wrong("", "Either every_minutes or cron is needed"),
        }
    }

    /// The next time of a cron expression after `now`. An invalid zone of the company counts as UTC.
    pub fn next(&self, company_zone: &str, now: Timestamp) -> Option<Timestamp> {
        after(self.cron.as_deref()?, known(self.timezone.as_deref().unwrap_or(company_zone)), now)
    }

    /// The minutes from one run to the next; `None` for a cron expression.
    pub fn interval(given: Option<&Self>) -> Option<u32> {
        given.map_or(Some(DEFAULT_INTERVAL_MINUTES), |schedule| schedule.every_minutes)
    }
}

/// Looks up a zone in the list that decides which names are accepted ([`wire::time_zone`]), not in the machine's.
fn known(zone: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(zone).unwrap_or(TimeZone::UTC)
}

/// The next time of a cron expression. A clock time that the zone skips is moved later by the gap, and of one that
/// occurs twice the first counts; but what runs every hour follows elapsed hours.
fn after(cron: &str, zone: TimeZone, now: Timestamp) -> Option<Timestamp> {
    // A sixth field would be the zone.
    if cron.len() > 200 || cron.split_whitespace().count() != 5 {
        return None;
    }
    let times = cronexpr::parse_crontab(&format!("{cron} UTC")).ok()?;
    let next =
        |clock: DateTime| Some(times.find_next(clock.to_zoned(TimeZone::UTC).ok()?.timestamp()).ok()?.datetime());
    if ["*", "*/1", "0-23", "0-23/1"].contains(&cron.split_whitespace().nth(1)?) {
        // Uses one offset until the next begins.
        let (mut since, mut offset) = (now, zone.to_offset(now));
        let mut clock = offset.to_datetime(now);
        loop {
            let at = offset.to_timestamp(next(clock)?).ok()?;
            let Some(change) = zone.following(since).next().filter(|change| change.timestamp() <= at) else {
                return Some(at);
            };
            (since, offset) = (change.timestamp(), change.offset());
            clock = offset.to_datetime(since).checked_sub(SignedDuration::from_nanos(1)).ok()?;
        }
    }
    // Starts before a gap that may just have passed: times inside it come after it.
    let mut clock = now.checked_sub(MAX_CLOCK_GAP).ok()?.to_zoned(zone.clone()).datetime();
    loop {
        clock = next(clock)?;
        let at = clock.to_zoned(zone.clone()).ok()?.timestamp();
        if at > now {
            return Some(at);
        }
    }
}
