//! The sides of a comparison, and how they take turns. A machine's speed changes within a second, by a third and more where
//! others use its processors too. So turns are short, and what a second has in store is the same for all sides: of the same
//! script against itself, ratios of turns of a tenth of a second are within 2 % of each other, of whole seconds within 30 %.

use crate::shared::Latencies;
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
    /// Asks for so long, and leaves nothing to do behind.
    fn turn(&mut self, time: Duration) -> Result<()>;
    /// What came of all turns; none if nothing both began and ended in one.
    fn finish(self: Box<Self>) -> Result<Option<Figures>>;
}

/// What a side did in its turns.
#[derive(Default)]
pub struct Done {
    /// How long requests took, in microseconds.
    pub micros: Vec<u32>,
    /// How many ended.
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
            per_second: self.ended as f64 / self.time.as_secs_f64(),
            server_cpu: self.server_cpu / self.ended as f64,
            database_cpu: self.database_cpu / self.ended as f64,
            p50: latencies.at(0.5),
            p99: latencies.at(0.99),
        })
    }
}

/// The shortest turn: what is under way at its end is little beside it.
const SHORTEST: Duration = Duration::from_millis(100);
/// In a turn a connection asks about so many times.
const REQUESTS: u32 = 50;
/// Turns at the least.
const LEAST: u32 = 4;

/// How many turns there are, of altogether so much time for each side, when half of the requests take so long at the most.
pub fn turns(usual: Duration, time: Duration) -> u32 {
    let length = (usual * REQUESTS).max(SHORTEST);
    ((time.as_secs_f64() / length.as_secs_f64()) as u32).max(LEAST)
}

/// Lets sides take so many turns, for so much time each. Who is first changes, and whom one comes after: the first one fills
/// the processor's caches.
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
