//! The results: ratios, the bars that they are held against, a table, and the files.

use crate::sides::Figures;
use anyhow::Result;
use serde::Serialize;
use std::fmt;

/// The number of connections at which sides are compared if one number has to do.
pub const USUAL: usize = 8;
/// The maximum resident memory, in MiB.
pub const MEMORY: f64 = 128.0;
/// What others request while reads are measured.
pub const LOGINS: &str = "login storm";
pub const LARGE: &str = "large answers";
/// The operations that change something.
const CHANGES: [&str; 2] = ["create", "update"];

/// The measurements of one case on this many connections.
pub struct Measured {
    pub operation: &'static str,
    pub company: Option<(&'static str, i64)>,
    pub connections: usize,
    pub rounds: Vec<Round>,
}

pub struct Round {
    pub server: Figures,
    /// The server on [`USUAL`] connections, if `connections` is another number.
    pub usual: Option<Figures>,
    pub context: Figures,
    pub by_hand: Option<Figures>,
    pub no_policies: Option<Figures>,
}

/// One side: medians of the rounds.
#[derive(Serialize, Clone)]
pub struct Side {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub server_cpu_us: f64,
    pub database_cpu_us: f64,
}

/// A ratio of two sides. It is computed for each round, so that a slow minute affects both sides.
#[derive(Serialize, Clone, Copy)]
pub struct Ratio {
    /// The median of the rounds.
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Ratio {
    fn of(rounds: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let least = rounds.clone().reduce(f64::min)?;
        let most = rounds.clone().reduce(f64::max)?;
        Some(Self { median: median(rounds), least, most })
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, least, most } = self;
        f.pad(&format!("{median:.2} {least:.2}–{most:.2}"))
    }
}

/// The result of a case.
#[derive(Serialize, Clone)]
pub struct Row {
    pub operation: &'static str,
    pub company: &'static str,
    pub contacts: i64,
    pub connections: usize,
    pub server: Side,
    /// The same statements in the same context.
    pub pgbench: Side,
    /// The statement with the company written into it, alone and without policies.
    pub by_hand: Option<Side>,
    /// The same without policies, in as many statements as the handler's.
    pub no_policies: Option<Side>,
    /// The server's throughput relative to pgbench's.
    pub to_pgbench: Ratio,
    /// The server's median time per request relative to pgbench's.
    pub p50: Ratio,
    /// The server's 99th percentile of time per request relative to pgbench's.
    pub p99: Ratio,
    pub to_by_hand: Option<Ratio>,
    /// What the policies cost: throughput without them relative to throughput with them.
    pub policies: Option<Ratio>,
    /// How much longer the tail is: the server's p99/p50 relative to pgbench's.
    pub tail: Ratio,
    /// The server's throughput relative to that on [`USUAL`] connections.
    pub to_usual: Option<Ratio>,
}

/// A read while others send other requests.
pub struct Beside {
    pub operation: &'static str,
    pub company: &'static str,
    /// What the others request, and how many they are.
    pub load: &'static str,
    pub clients: usize,
    pub rounds: Vec<Disturbed>,
}

pub struct Disturbed {
    pub alone: Figures,
    pub beside: Figures,
    pub others_per_second: f64,
}

/// The result of [`Beside`].
#[derive(Serialize, Clone)]
pub struct Read {
    pub operation: &'static str,
    pub company: &'static str,
    pub load: &'static str,
    pub clients: usize,
    pub alone: Side,
    pub beside: Side,
    /// The responses that the others get per second.
    pub others_per_second: f64,
    /// p99 next to them, relative to p99 alone.
    pub ratio: f64,
}

impl Beside {
    pub fn read(&self) -> Read {
        let Self { operation, company, load, clients, ref rounds } = *self;
        Read {
            operation,
            company,
            load,
            clients,
            alone: side(rounds.iter().map(|r| &r.alone)),
            beside: side(rounds.iter().map(|r| &r.beside)),
            others_per_second: median(rounds.iter().map(|r| r.others_per_second)),
            ratio: median(rounds.iter().map(|r| r.beside.p99 / r.alone.p99)),
        }
    }
}

/// The maximum resident memory so far, in MiB.
#[derive(Serialize, Clone)]
pub struct Memory {
    pub after: String,
    pub mib: f64,
}

/// Where and on what it was measured.
#[derive(Serialize)]
pub struct Setting {
    pub version: &'static str,
    pub at: String,
    pub processors: usize,
    pub postgresql: String,
    pub pool_size: usize,
    pub companies: u32,
    pub contacts: u64,
    pub messages: u64,
    pub deals: u64,
    pub activities: u64,
    pub seconds: u64,
    pub rounds: usize,
}

/// A requirement, and how it was met.
#[derive(Serialize, Clone)]
pub struct Bar {
    pub what: &'static str,
    pub bar: f64,
    pub at_least: bool,
    pub worst: f64,
    /// The measurement with the worst value.
    pub of: String,
    pub met: usize,
    pub all: usize,
}

impl Bar {
    pub fn is_met(&self) -> bool {
        self.met == self.all
    }

    fn of(what: &'static str, bar: f64, at_least: bool, found: Vec<(f64, String)>) -> Option<Self> {
        let keeps = |value: f64| if at_least { value >= bar } else { value <= bar };
        let worse =
            |a: &&(f64, String), b: &&(f64, String)| if at_least { b.0.total_cmp(&a.0) } else { a.0.total_cmp(&b.0) };
        let (worst, of) = found.iter().max_by(worse)?.clone();
        let met = found.iter().filter(|(value, _)| keeps(*value)).count();
        Some(Self { what, bar, at_least, worst, of, met, all: found.len() })
    }
}

/// All results.
#[derive(Serialize)]
pub struct Results {
    pub setting: Setting,
    pub bars: Vec<Bar>,
    pub requests: Vec<Row>,
    pub beside: Vec<Read>,
    pub memory: Vec<Memory>,
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2))
}

fn side<'a>(rounds: impl Iterator<Item = &'a Figures> + Clone) -> Side {
    let of = |figure: fn(&Figures) -> f64| median(rounds.clone().map(figure));
    Side {
        per_second: of(|f| f.per_second),
        p50_ms: of(|f| f.p50),
        p99_ms: of(|f| f.p99),
        server_cpu_us: of(|f| f.server_cpu),
        database_cpu_us: of(|f| f.database_cpu),
    }
}

impl Measured {
    /// The result; `None` without a round.
    pub fn row(&self) -> Option<Row> {
        let rounds = &self.rounds;
        let maybe = |get: fn(&Round) -> Option<&Figures>| {
            let found = rounds.iter().filter_map(get);
            found.clone().next().map(|_| side(found))
        };
        let ratio = |of: fn(&Round) -> Option<f64>| Ratio::of(rounds.iter().filter_map(of));
        let (company, contacts) = self.company.unwrap_or_default();
        Some(Row {
            operation: self.operation,
            company,
            contacts,
            connections: self.connections,
            server: side(rounds.iter().map(|r| &r.server)),
            pgbench: side(rounds.iter().map(|r| &r.context)),
            by_hand: maybe(|r| r.by_hand.as_ref()),
            no_policies: maybe(|r| r.no_policies.as_ref()),
            to_pgbench: ratio(|r| Some(r.server.per_second / r.context.per_second))?,
            p50: ratio(|r| Some(r.server.p50 / r.context.p50))?,
            p99: ratio(|r| Some(r.server.p99 / r.context.p99))?,
            to_by_hand: ratio(|r| Some(r.server.per_second / r.by_hand.as_ref()?.per_second)),
            policies: ratio(|r| Some(r.no_policies.as_ref()?.per_second / r.context.per_second)),
            tail: ratio(|r| Some(r.server.p99 / r.server.p50 / (r.context.p99 / r.context.p50)))?,
            to_usual: ratio(|r| Some(r.server.per_second / r.usual.as_ref()?.per_second)),
        })
    }
}

impl Row {
    pub fn name(&self) -> String {
        [self.operation, self.company].join(" ").trim_end().to_owned()
    }
}

/// The requirements, and what was found.
pub fn bars(rows: &[Row], beside: &[Read], memory: &[Memory]) -> Vec<Bar> {
    let at = |row: &Row| format!("{}, {} connections", row.name(), row.connections);
    // pgbench does not hash, so it says nothing about how long a login takes.
    let requests = || rows.iter().filter(|row| row.operation != "login");
    let of = |operation: &'static str| {
        let found = requests().filter(move |r| r.operation == operation && r.connections == USUAL);
        found.map(|r| (r.to_pgbench.median, at(r))).collect::<Vec<_>>()
    };
    let most = rows.iter().map(|row| row.connections).max().unwrap_or(0);
    let many = rows.iter().filter(|row| row.connections == most && most > USUAL);
    // How much slower a request of the largest company is than of the smallest, if PostgreSQL alone is not.
    let sizes = requests()
        .filter(|row| row.company == "largest" && row.connections == USUAL && !CHANGES.contains(&row.operation));
    let sizes = sizes.filter_map(|large| {
        let small = rows.iter().find(|r| {
            r.operation == large.operation && r.company == "smallest" && r.connections == large.connections
        })?;
        let slower = |side: fn(&Row) -> &Side| side(small).per_second / side(large).per_second;
        (slower(|r| &r.pgbench) <= 1.3).then(|| (slower(|r| &r.server), at(large)))
    });
    let sizes = sizes.collect();
    let many = many.filter_map(|row| Some((row.to_usual?.median, row.name()))).collect();
    let tails = requests().map(|row| (row.tail.median, at(row))).collect();
    let policies = requests().filter_map(|row| Some((row.policies?.median, at(row)))).collect();
    let storms = beside.iter().filter(|read| read.load == LOGINS);
    let storms = storms.map(|s| (s.ratio, format!("{} {}", s.operation, s.company))).collect();
    let memory = memory.iter().map(|m| (m.mib, m.after.clone())).collect();
    [
        Bar::of("Throughput of the most connections to that of 8", 0.9, true, many),
        Bar::of("Throughput to pgbench's: get by id", 0.5, true, of("get by id")),
        Bar::of("Throughput to pgbench's: newest page", 0.7, true, of("newest page")),
        Bar::of("Throughput to pgbench's: inbox", 0.7, true, of("inbox")),
        Bar::of("Throughput to pgbench's: create", 0.7, true, of("create")),
        Bar::of("Throughput to pgbench's: update", 0.7, true, of("update")),
        Bar::of("Throughput of the smallest company to that of the largest", 1.3, false, sizes),
        Bar::of("p99/p50 to pgbench's", 2.0, false, tails),
        Bar::of("Throughput of pgbench without policies to that with them", 1.1, false, policies),
        Bar::of("p99 of reads while 256 log in, to that while nobody does", 2.0, false, storms),
        Bar::of("Resident memory, MiB", MEMORY, false, memory),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Results {
    pub fn print(&self) {
        println!(
            "\n{:<22} {:>8} {:>5} {:>9} {:>8} {:>8} {:>7} {:>7} {:>9} {:>15} {:>15} {:>15} {:>15} {:>15} {:>15}",
            "",
            "contacts",
            "conn",
            "server/s",
            "p50 ms",
            "p99 ms",
            "cpu µs",
            "db µs",
            "pgbench/s",
            "ratio",
            "p50",
            "p99",
            "tail",
            "by hand",
            "policies"
        );
        let optional = |value: Option<Ratio>| value.map_or("-".to_owned(), |value| value.to_string());
        for row in &self.requests {
            let Side { per_second, p50_ms, p99_ms, server_cpu_us, database_cpu_us } = row.server;
            println!(
                "{:<22} {:>8} {:>5} {per_second:>9.0} {p50_ms:>8.3} {p99_ms:>8.3} {server_cpu_us:>7.0} {database_cpu_us:>7.0} {:>9.0} {:>15} {:>15} {:>15} {:>15} {:>15} {:>15}",
                row.name(),
                row.contacts,
                row.connections,
                row.pgbench.per_second,
                row.to_pgbench,
                row.p50,
                row.p99,
                row.tail,
                optional(row.to_by_hand),
                optional(row.policies),
            );
        }
        println!(
            "\nMedians of {} rounds; of ratios the least and the most, too. ratio: the server's throughput to that of pgbench with the\n\
            same statements; p50, p99: its latency to pgbench's; tail: p99/p50 of the server to that of pgbench; by hand: its\n\
            throughput to that of the statement alone with the company written into it; policies: pgbench without them to with\n\
            them, as many statements; cpu, db: processor time of server and database a request.",
            self.setting.rounds
        );
        for Read { operation, company, load, clients, alone, beside, others_per_second, .. } in &self.beside {
            println!(
                "{operation}, {company}, beside {load} of {clients} ({others_per_second:.0}/s): p50 {:.2} ms, alone {:.2}; \
                p99 {:.2} ms, alone {:.2}",
                beside.p50_ms, alone.p50_ms, beside.p99_ms, alone.p99_ms
            );
        }
        println!();
        for bar in &self.bars {
            let sign = if bar.at_least { ">=" } else { "<=" };
            let met = if bar.is_met() { "met" } else { "MISSED" };
            println!(
                "{met:<6} {} {sign} {}: {} of {}, worst {:.2} ({})",
                bar.what, bar.bar, bar.met, bar.all, bar.worst, bar.of
            );
        }
    }

    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}
