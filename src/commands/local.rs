//! `ringfence local`: runs a command with a private PostgreSQL.

use crate::{
    config::{Config, Database},
    db::{self, local::Cluster, migrate},
};
use anyhow::Context;
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getpgrp, tcgetpgrp},
};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Runs a command with a private cluster; returns its exit code.
pub async fn run(
    database: Database,
    mut config: Config,
    temporary: bool,
    command: Vec<String>,
) -> anyhow::Result<ExitCode> {
    let folder = database.data.unwrap_or_else(db::local::default_folder);
    let mut cluster = if temporary { Cluster::temporary().await? } else { Cluster::open(&folder).await? };
    cluster.keep_running();
    let run = async {
        let (api, admin) = cluster.own_database().await?;
        migrate::migrate(&admin, Some(&api)).await?;
        let (program, arguments) = command.split_first().context("no command given")?;
        let mut child = tokio::process::Command::new(program);
        child.args(arguments).env("DATABASE_URL", &api).env("DATABASE_ADMIN_URL", &admin);
        // psql may be installed only where the server is.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain([cluster.programs().to_owned()]);
        child.env("PATH", std::env::join_paths(folders)?);
        if temporary {
            // This database ends with the command, so its store is not the one that the environment names.
            config.storage_url = None;
            child.env("RINGFENCE_STORAGE_URL", config.store_of_files(Some(cluster.folder()))?);
        } else {
            // The command gets the files and keys that it would find if it had opened the folder itself.
            config.resolve(Some(&folder))?;
            child.env("RINGFENCE_STORAGE_URL", config.storage_url.unwrap_or_default());
            child.env("RINGFENCE_JWT_SECRET", config.jwt_secret.join(","));
            child.env("RINGFENCE_SECRET_KEY", config.secret_key.join(","));
        }
        // So that psql and similar programs need no arguments.
        child.envs(db::libpq_environment(&admin)?);
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut child = child.spawn().with_context(|| format!("cannot run {program}"))?;
        // The command ends as it would without this program, which waits for it.
        let status = loop {
            let told = tokio::select! {
                status = child.wait() => break status?,
                _ = int.recv() => Signal::SIGINT,
                _ = term.recv() => Signal::SIGTERM,
            };
            let heard = told == Signal::SIGINT && is_in_foreground();
            if let Some(pid) = child.id().filter(|_| !heard) {
                let _ = kill(Pid::from_raw(pid.cast_signed()), told);
            }
        };
        Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
    };
    let code = run.await;
    let closed = cluster.close().await;
    code.and_then(|code| closed.map(|()| code))
}

/// Whether a terminal's Ctrl-C reaches this program, and so also the command.
fn is_in_foreground() -> bool {
    std::fs::File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal) == Ok(getpgrp()))
}
