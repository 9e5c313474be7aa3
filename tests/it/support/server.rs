//! Servers of the product with settings for tests, on threads of the test process.

use crate::support::log;
use ringfence::{
    App, clients,
    config::{Config, Switch},
    db::{self, Db},
    server, store_owner, workbook,
};
use std::{
    net::SocketAddr,
    sync::{LazyLock, mpsc},
    time::Duration,
};
use tokio::net::{TcpSocket, TcpStream};

/// `DATABASE_URL`: the API's own login.
pub fn api_url() -> String {
    url("DATABASE_URL")
}

/// `DATABASE_ADMIN_URL`: an administrator, who bypasses the policies.
pub fn admin_url() -> String {
    url("DATABASE_ADMIN_URL")
}

fn url(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `make test`"))
}

/// The settings of the servers in these tests.
pub fn config() -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        metrics_listen: None,
        development: Some(false),
        jwt_secret: vec!["a secret that only the tests know".into()],
        secret_key: vec!["5e".repeat(32)],
        smtp_url: None,
        mail_from: "Ringfence <noreply@example.com>".into(),
        public_url: crate::support::twilio::PUBLIC_URL.into(),
        twilio_url: crate::support::twilio::url(),
        sendgrid_url: crate::support::twilio::url(),
        relay_url: None,
        webhook_allow: Vec::new(),
        frontend_url: "http://localhost:5173".into(),
        cors_origins: vec!["http://localhost:5173".into()],
        rate_limits: Switch::Off,
        worker: Switch::On,
        storage_url: Some(store_of("")),
        upload_limit: bytesize::ByteSize::mib(10),
        deleted_files_days: 30,
        workflow_runs_days: 90,
        proxy_hops: 0,
        database_replica_url: None,
        prepared_statements: Switch::On,
        pool_size: Some(4),
        threads: None,
    }
}

/// URL of the file store of the database at this URL. Each database has its own store; the store of the shared database
/// is kept between runs, adopted by the database of each run in turn, and never swept.
pub fn store_of(database: &str) -> String {
    let name = database.split('?').next().and_then(|url| url.rsplit('/').next()).unwrap_or_default();
    match name.starts_with("own_") {
        true => format!("file://{}/stores/{name}", env!("CARGO_TARGET_TMPDIR")),
        false => concat!("file://", env!("CARGO_TARGET_TMPDIR"), "/files").into(),
    }
}

/// Starts a server on its own thread and runtime, so that it outlives the test that started it. On the shared database
/// it runs no jobs, because a test process that ends would take other tests' jobs with it: a test that waits for jobs
/// uses [`World::alone`].
pub fn start_server(mut config: Config, database: &str) -> String {
    log::watch();
    if database == api_url() {
        config.worker = Switch::Off;
    }
    if config.storage_url == self::config().storage_url {
        config.storage_url = Some(store_of(database));
    }
    let is_shared = database == api_url() || config.storage_url == Some(store_of(""));
    let db = Db::of(database, &config).unwrap();
    // The test binary cannot read workbooks.
    let _ = workbook::PROGRAM.set(env!("CARGO_BIN_EXE_ringfence").into());
    let (address, started) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            if is_shared {
                let store = clients::storage::Storage::open(config.storage_url.as_deref().unwrap()).unwrap();
                store_owner::adopt(&db::connect(&admin_url()).await.unwrap(), &store).await.unwrap();
            }
            let listener = tokio::net::TcpListener::bind(config.listen).await.unwrap();
            let (at, metrics) = (listener.local_addr().unwrap(), config.metrics_listen);
            tokio::spawn(async move {
                // The first request may be for the metrics.
                while let Some(metrics) = metrics
                    && TcpStream::connect(metrics).await.is_err()
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                address.send(at).unwrap();
            });
            server::serve(App::new(db, config).unwrap(), listener, std::future::pending()).await.unwrap();
        });
    });
    format!("http://{}", started.recv().unwrap())
}

/// URL of the server of the shared database: of a running one, `TEST_SERVER`, or of one that is started.
pub static SERVER: LazyLock<String> =
    LazyLock::new(|| std::env::var("TEST_SERVER").unwrap_or_else(|_| start_server(config(), &api_url())));

/// URL of the server of all tests that do not start their own.
pub fn shared_server() -> &'static str {
    &SERVER
}

/// An address for a server to listen on, kept reserved so that no other socket gets it.
pub fn free() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    // Servers set SO_REUSEADDR, too, and can therefore bind this address again.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    std::mem::forget(socket);
    address
}
