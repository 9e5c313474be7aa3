//! The sides of a comparison, and how they take turns. A machine's speed changes within a second, by a third and more where
//! others use its processors too. So turns are short, and what a second has in store is the same for all sides: of the same
//! script against itself, ratios of turns of a tenth of a second are within 2 % of each other, of whole seconds within 30 %.

use crate::shared::{Latencies, Postgres};
use anyhow::Result;
use std::time::Duration;

/// What came of a side.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub per_second: f64,
    /// Processor time of the server and of the database for one request, in microseconds.
    pub server_cpu: f64,
    pub database_cpu: f64,
    /// Milliseconds.
    pub p50: f64,
    pub p99: f64,
}

/// One side, which is warm, and rests until it is its turn.
pub trait Side {
    /// Asks for so long. What it was asked last may be answered a moment later.
    fn turn(&mut self, time: Duration) -> Result<()>;
    /// What came of all turns; none if nothing both began and ended in one.
    fn finish(self: Box<Self>) -> Result<Option<Figures>>;
}

/// What a side did in its turns.
#[derive(Default)]
pub struct Done {
    /// How long each request took that both began and ended in one of them, in microseconds.
    pub micros: Vec<u32>,
    /// How many ended, that of which the end was waited for too.
    pub ended: usize,
    /// How long all turns were.
    pub time: Duration,
    /// Processor time of all, in microseconds.
    pub server_cpu: f64,
    pub database_cpu: f64,
}

impl Done {
    /// None if nothing did.
    pub fn figures(self) -> Option<Figures> {
        let latencies = Latencies::of(self.micros);
        (latencies.count() > 0).then(|| Figures {
            per_second: latencies.count() as f64 / self.time.as_secs_f64(),
            server_cpu: self.server_cpu / self.ended as f64,
            database_cpu: self.database_cpu / self.ended as f64,
            p50: latencies.at(0.5),
            p99: latencies.at(0.99),
        })
    }
}

/// The shortest turn: what is under way at its end, which counts for nobody, is little beside it.
const SHORTEST: Duration = Duration::from_millis(100);
/// In a turn a connection asks about so many times.
const REQUESTS: u32 = 50;

/// How long a turn is, of altogether so much time for each side, when half of the requests take so long at the most.
pub fn length(usual: Duration, time: Duration) -> Duration {
    (usual * REQUESTS).clamp(SHORTEST.min(time), time)
}

/// Lets sides take turns of this length, for so much time each. Who is first changes, because the first one fills the
/// processor's caches, and works beside what the last one left under way.
pub fn take_turns(
    sides: &mut [Box<dyn Side + '_>],
    length: Duration,
    time: Duration,
    postgres: &Postgres,
    round: usize,
) -> Result<()> {
    let turns = (time.as_secs_f64() / length.as_secs_f64()).round().max(1.0) as usize;
    for turn in round..round + turns {
        for place in 0..sides.len() {
            let place = if turn.is_multiple_of(2) { place } else { sides.len() - 1 - place };
            sides[place].turn(length)?;
            postgres.rest();
        }
    }
    Ok(())
}
