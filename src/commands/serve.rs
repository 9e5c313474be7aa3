//! `ringfence serve` and `ringfence worker`.

use super::{
    demo, doctor,
    location::{Location, with_app},
};
use crate::{
    App,
    config::{Config, Database},
    db::{self, Db, migrate},
    say, server, spool, store_owner, terminal,
};
use anyhow::Context;
use std::io::{self, Write};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// Serves the API until the program is told to stop.
pub async fn serve(database: Database, mut config: Config) -> anyhow::Result<()> {
    server::allow_connections();
    // Before the database is touched, so that a second start fails at once and in one sentence.
    let listener = TcpListener::bind(config.listen).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow::anyhow!(
                "{} is in use by another program: stop it, or listen elsewhere with --listen 127.0.0.1:8001",
                config.listen
            )
        }
        _ => anyhow::anyhow!("cannot listen on {}: {e}", config.listen),
    })?;
    let (stop, at_once) = stop_signals()?;
    let mut stop = Box::pin(stop);
    let at = tokio::select! {
        at = Location::open(database) => at?,
        () = &mut stop => return Ok(()),
    };
    let served = async {
        config.resolve(at.folder.as_deref())?;
        spool::probe()?;
        let mut logins = Vec::new();
        if let Ok(admin) = at.admin() {
            migrate::migrate(admin, Some(&at.api)).await?;
            if at.is_private() {
                logins = demo::load(admin).await?.logins;
            }
        }
        doctor::check_before_serving(&at.api).await?;
        db::check_pooler(&at.api, &config).await?;
        let address = listener.local_addr()?;
        let app = App::new(Db::of(&at.api, &config)?, config)?;
        app.db.check_standby().await?;
        // The first connection is opened now, so that the first request does not wait for it.
        app.db.ping().await.map_err(|_| anyhow::anyhow!("the database does not answer"))?;
        check_store(&app).await?;
        check_secrets(&app).await?;
        terminal::print(format_args!(
            "\nRingfence serves on http://{address}\nAPI documentation: http://{address}/docs\n{}",
            demo::summary(&logins)
        ));
        say!("\nCtrl-C stops it.");
        unless(at_once, server::serve(app, listener, stop)).await.context("the server stopped")
    };
    let served = served.await;
    served.and(at.close().await)
}

/// Refuses a store that is not this database's, where files that come in would not last. One that does not answer or
/// cannot be written to may do so later; until then a server takes no files, and is not ready.
async fn check_store(app: &App) -> anyhow::Result<()> {
    match store_owner::look(app).await {
        Ok(standing) => Ok(standing?),
        Err(e) => {
            tracing::error!(error = %format!("{e:#}"), "the store of files cannot be used: no file is taken before it can");
            Ok(())
        }
    }
}

/// Says in the log when credentials cannot be opened: all that needs none of them works.
async fn check_secrets(app: &App) -> anyhow::Result<()> {
    let keys = app.db.platform().sealing_keys().await?;
    if let Some(problem) = app.sealer.problem(keys.iter().map(|key| (&key.id[..], key.credentials))) {
        tracing::error!("{problem}");
    }
    Ok(())
}

/// Works on jobs until the program is told to stop.
pub async fn worker(database: Database, config: Config) -> anyhow::Result<()> {
    let (stop, at_once) = stop_signals()?;
    let work = async |app: App| {
        check_store(&app).await?;
        check_secrets(&app).await?;
        say!("Ringfence works on jobs. Ctrl-C stops it.");
        unless(at_once, server::work(app, stop)).await.context("the worker stopped")
    };
    with_app(database, config, work).await
}

/// Two signals: the first SIGINT or SIGTERM, which lets what is under way finish, and a SIGINT after that, which does not.
fn stop_signals() -> anyhow::Result<(impl Future<Output = ()> + Send + 'static, impl Future<Output = ()>)> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stopping = CancellationToken::new();
    let stopped = stopping.clone();
    let stop = async move {
        tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
        tell("Stopping: what is under way may finish, for half a minute at most.");
        stopping.cancel();
    };
    let at_once = async move {
        stopped.cancelled().await;
        let Ok(mut again) = signal(SignalKind::interrupt()) else { return std::future::pending().await };
        tell("Ctrl-C stops it at once.");
        again.recv().await;
    };
    Ok((stop, at_once))
}

/// Says something at the terminal, which may be gone.
fn tell(words: &str) {
    let _ = writeln!(io::stderr(), "{words}");
}

/// Serves to the end, unless somebody cannot wait for it.
async fn unless(at_once: impl Future<Output = ()>, serving: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::select! {
        served = serving => served,
        () = at_once => Err(io::Error::other("what was under way may not have finished")),
    }
}
