//! The program's log: lines with ids and no personal data, on standard error.

use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts the log at the level that `RUST_LOG` names (by default `info`). Without a format it is for a person at a
/// terminal, and JSON elsewhere.
pub fn start(format: Option<LogFormat>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,refinery_core=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(discreet(filter)).with_writer(std::io::stderr);
    let human = format.map_or_else(|| std::io::stderr().is_terminal(), |f| f == LogFormat::Human);
    if human { log.with_target(false).compact().init() } else { log.json().init() }
}

/// The filter without the levels at which libraries log what passes through them: parameters of statements, mails,
/// headers.
pub fn discreet(mut filter: EnvFilter) -> EnvFilter {
    for talkative in ["tokio_postgres=warn", "lettre=info", "hyper=info", "hyper_util=info"] {
        filter = filter.add_directive(talkative.parse().expect("a level that exists"));
    }
    filter
}
