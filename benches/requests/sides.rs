//! The sides of a comparison, and how they take turns. A machine's speed changes within a second, by a third or more if
//! others use its processors too. So turns are short, and all sides get the same conditions: of the same script against
//! itself, ratios of turns of a tenth of a second are within 2 % of each other, of whole seconds within 30 %.

use crate::shared::Latencies;
use anyhow::Result;
use std::time::Duration;

/// The figures of a side.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub per_second: f64,
    /// Processor time of the server and of the database for one request, in microseconds.
    pub server_cpu: f64,
    pub database_cpu: f64,
    /// Percentiles of time per request, in milliseconds.
    pub p50: f64,
    pub p99: f64,
}

/// One side, which is warmed up, and rests between its turns.
pub trait Side {
    /// Sends requests for this time, and leaves none unfinished.
    fn turn(&mut self, time: Duration) -> Result<()>;
    /// The figures of all turns; `None` if nothing both began and ended in one.
    fn finish(self: Box<Self>) -> Result<Option<Figures>>;
}

/// What a side did in its turns.
#[derive(Default)]
pub struct Done {
    /// How long requests took, in microseconds.
    pub micros: Vec<u32>,
    /// The number of requests that ended.
    pub ended: usize,
    /// The total time of all turns.
    pub time: Duration,
    /// The processor time of all requests, in microseconds.
    pub server_cpu: f64,
    pub database_cpu: f64,
}

impl Done {
    /// The figures; `None` if no request ended.
    pub fn figures(self) -> Option<Figures> {
        let latencies = Latencies::of(self.micros);
        (latencies.count() > 0).then(|| Figures {
            per_second: self.ended as f64 / self.time.as_secs_f64(),
            server_cpu: self.server_cpu / self.ended as f64,
            database_cpu: self.database_cpu / self.ended as f64,
            p50: latencies.at(0.5),
            p99: latencies.at(0.99),
        })
    }
}

/// The shortest turn: requests in progress at its end hardly matter.
const SHORTEST: Duration = Duration::from_millis(100);
/// The number of requests per connection in a turn.
const REQUESTS: u32 = 50;
/// The minimum number of turns.
const LEAST: u32 = 4;

/// The number of turns, for a total time per side and a median time per request.
pub fn turns(usual: Duration, time: Duration) -> u32 {
    let length = (usual * REQUESTS).max(SHORTEST);
    ((time.as_secs_f64() / length.as_secs_f64()) as u32).max(LEAST)
}

/// Lets the sides take this many turns, for a total time each. The order changes, and so does whom a side comes after:
/// the first one fills the processor's caches.
pub fn take_turns(sides: &mut [Box<dyn Side + '_>], turns: u32, time: Duration, round: usize) -> Result<()> {
    let count = sides.len();
    for turn in (0..turns as usize).map(|turn| turn + round) {
        for place in 0..count {
            let place = if (turn / count).is_multiple_of(2) { turn + place } else { turn + count - place };
            sides[place % count].turn(time / turns)?;
        }
    }
    Ok(())
}
