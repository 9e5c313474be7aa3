//! Records requests that were refused for want of a company or by the database, for people at psql. A refused
//! transaction is rolled back, so they are written afterwards.

use crate::App;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use uuid::Uuid;

/// Refusals are collected for this long before they are written in one statement.
const PAUSE: Duration = Duration::from_secs(1);
/// Maximum number of different refusals collected; the metrics count all.
const MAX_ENTRIES: usize = 1000;

/// Refusals that are not yet written.
#[derive(Default)]
pub struct Refusals(Mutex<HashMap<Refusal, Last>>);

#[derive(PartialEq, Eq, Hash)]
struct Refusal {
    user: Uuid,
    /// The route, with its method.
    route: String,
    reason: &'static str,
}

#[derive(Default)]
struct Last {
    times: i32,
    request_id: String,
}

impl Refusals {
    /// Notes a refusal. If this returns true, it is the first one and [`Refusals::write_soon`] must be called.
    pub(crate) fn note(&self, user: Uuid, route: String, reason: &'static str, request_id: &str) -> bool {
        let refusal = Refusal { user, route, reason };
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = gathered.is_empty();
        if gathered.len() < MAX_ENTRIES || gathered.contains_key(&refusal) {
            let last = gathered.entry(refusal).or_default();
            last.times = last.times.saturating_add(1);
            request_id.clone_into(&mut last.request_id);
        }
        is_first
    }

    /// Collects for a moment, then writes what there is.
    pub(crate) async fn write_soon(&self, app: &App) {
        tokio::time::sleep(PAUSE).await;
        let gathered = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let (mut users, mut routes, mut reasons, mut times, mut ids) = (vec![], vec![], vec![], vec![], vec![]);
        for (Refusal { user, route, reason }, last) in gathered {
            users.push(user);
            routes.push(route);
            reasons.push(reason);
            times.push(last.times);
            ids.push(last.request_id);
        }
        if let Err(e) = app.db.platform().note_refusals(&users, &routes, &reasons, &times, &ids).await {
            tracing::warn!(error = %e.for_log(), "refusals could not be written down");
        }
    }
}
