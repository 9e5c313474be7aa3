//! The faults: each begins, lasts and has ended when [`Fault::strike`] returns.

use super::rig::{Disk, Rig};
use crate::support::{proxy::Mode, random::below};
use nix::sys::signal::Signal;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    PostgresKilled,
    BackendKilled,
    ConnectionsCut,
    DatabaseGone,
    PoolExhausted,
    ProvidersSlow,
    ProvidersGone,
    ProvidersCut,
    ProvidersSilent,
    ProvidersBroken,
    WorkersKilled,
    DiskFull,
    ClockStepped,
    ServerTerminated,
    ServerKilled,
}

pub const ALL: [Fault; 15] = [
    Fault::PostgresKilled,
    Fault::BackendKilled,
    Fault::ConnectionsCut,
    Fault::DatabaseGone,
    Fault::PoolExhausted,
    Fault::ProvidersSlow,
    Fault::ProvidersGone,
    Fault::ProvidersCut,
    Fault::ProvidersSilent,
    Fault::ProvidersBroken,
    Fault::WorkersKilled,
    Fault::DiskFull,
    Fault::ClockStepped,
    Fault::ServerTerminated,
    Fault::ServerKilled,
];

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Fault::PostgresKilled => "PostgreSQL killed",
            Fault::BackendKilled => "a backend killed",
            Fault::ConnectionsCut => "connections cut",
            Fault::DatabaseGone => "database unreachable",
            Fault::PoolExhausted => "pool exhausted",
            Fault::ProvidersSlow => "providers slow",
            Fault::ProvidersGone => "providers dead",
            Fault::ProvidersCut => "providers cut off",
            Fault::ProvidersSilent => "providers silent",
            Fault::ProvidersBroken => "providers broken",
            Fault::WorkersKilled => "workers killed",
            Fault::DiskFull => "disk full",
            Fault::ClockStepped => "clock stepped",
            Fault::ServerTerminated => "server terminated",
            Fault::ServerKilled => "server killed",
        }
    }

    /// Whether the fault ends the server itself, and with it its clients' connections.
    pub fn ends_server(self) -> bool {
        matches!(self, Fault::ServerTerminated | Fault::ServerKilled)
    }

    /// Why this fault cannot be caused here.
    pub fn impossible(self, rig: &Rig) -> Option<&'static str> {
        match (self, &rig.disk) {
            (Fault::DiskFull, Disk::Unlimited(why)) => Some(why),
            _ => None,
        }
    }

    pub async fn strike(self, rig: &Rig) {
        let seconds = async |n| tokio::time::sleep(Duration::from_secs(n)).await;
        match self {
            Fault::PostgresKilled => {
                rig.kill_postgres();
                seconds(1).await;
                rig.database_is_back().await;
            }
            Fault::BackendKilled => {
                rig.kill_backend().await;
                seconds(1).await;
                rig.database_is_back().await;
            }
            Fault::ConnectionsCut => {
                rig.database.set(Mode::Cut);
                seconds(5).await;
                rig.database.set(Mode::Pass);
            }
            Fault::DatabaseGone => {
                rig.database.set(Mode::Gone);
                seconds(3).await;
                rig.database.set(Mode::Pass);
            }
            Fault::PoolExhausted => {
                // Longer than a request waits for a connection, while each connection waits for a response.
                rig.database.set(Mode::Stall);
                seconds(7).await;
                rig.database.set(Mode::Pass);
            }
            Fault::ProvidersSlow => {
                rig.twilio.set(Mode::Slow(Duration::from_secs(3)));
                rig.mail.set(Mode::Slow(Duration::from_millis(500)));
                seconds(8).await;
                providers(rig, Mode::Pass);
            }
            Fault::ProvidersGone => {
                providers(rig, Mode::Gone);
                seconds(5).await;
                providers(rig, Mode::Pass);
            }
            Fault::ProvidersCut => {
                providers(rig, Mode::Cut);
                seconds(5).await;
                providers(rig, Mode::Pass);
            }
            Fault::ProvidersSilent => {
                // Longer than the timeout for a response; the requests arrive afterwards.
                providers(rig, Mode::Stall);
                seconds(20).await;
                providers(rig, Mode::Pass);
            }
            Fault::ProvidersBroken => {
                rig.providers.set_broken(true);
                seconds(6).await;
                rig.providers.set_broken(false);
            }
            Fault::WorkersKilled => {
                for _ in 0..8 {
                    // From the moment at which a provider has a message, and a little later each time: while its
                    // response is on the way or being recorded, or the next message is being sent.
                    let _ = tokio::time::timeout(Duration::from_secs(2), rig.providers.delivered()).await;
                    tokio::time::sleep(Duration::from_micros(below(20_000) as u64)).await;
                    rig.kill_worker();
                }
            }
            Fault::DiskFull => {
                rig.fill_disk(true);
                seconds(5).await;
                rig.fill_disk(false);
            }
            Fault::ClockStepped => {
                // As if the database's clock were ten minutes later: claims of current work have ended.
                rig.twilio.set(Mode::Slow(Duration::from_secs(2)));
                rig.mail.set(Mode::Slow(Duration::from_secs(1)));
                let admin = rig.admin().await;
                for _ in 0..3 {
                    seconds(2).await;
                    let step = "update campaign_recipients set tried_at = tried_at - interval '10 minutes' where state = 'sending';
                        update jobs set run_at = run_at - interval '10 minutes' where kind <> 'activity_due'";
                    admin.batch_execute(step).await.unwrap();
                }
                seconds(3).await;
                providers(rig, Mode::Pass);
            }
            Fault::ServerTerminated => {
                let status = rig.stop_server(Signal::SIGTERM).await;
                assert!(status.success(), "{status}");
                rig.start_server().await;
            }
            Fault::ServerKilled => {
                rig.stop_server(Signal::SIGKILL).await;
                rig.start_server().await;
            }
        }
    }
}

fn providers(rig: &Rig, mode: Mode) {
    rig.twilio.set(mode);
    rig.mail.set(mode);
}
