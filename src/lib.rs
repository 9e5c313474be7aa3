//! Ringfence: a multi-tenant CRM backend whose tenancy lives in PostgreSQL.
//!
//! A request is *extract, query, map*: an area of [`api`] takes a handle from [`db`] that can only see its caller's
//! rows and runs one statement of `sql/`. What each company may see is decided by the policies in `migrations/`.
pub mod api;
pub mod auth;
pub mod clients;
pub mod commands;
pub mod config;
pub mod db;
mod drain;
pub mod error;
pub mod fair_limit;
pub mod filter_ids;
pub mod idempotency;
pub mod jobs;
pub mod links;
pub mod log;
pub mod mailing;
pub mod metrics;
mod openapi;
pub mod page;
pub mod passwords;
pub mod pdf;
pub mod read_your_writes;
pub mod refusals;
pub mod seal;
pub mod server;
pub mod signed;
pub mod spool;
pub mod store_owner;
mod streaming;
pub mod telephony;
pub mod terminal;
pub mod wire;
pub mod workbook;
pub mod workflow;

pub use error::{Error, Result};

use std::{ops::Deref, sync::Arc};

/// What all handlers share; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of an [`App`].
pub struct Parts {
    /// The database; handlers get a scoped handle through their extractor.
    pub db: db::Db,
    /// The keys of the tokens.
    pub keys: auth::Keys,
    /// Password hashing.
    pub hasher: passwords::Hasher,
    /// The keys that seal providers' secrets.
    pub sealer: seal::Sealer,
    /// The keys of links for people who are not signed in.
    pub links: links::Links,
    /// The keys of the cursors of lists.
    pub cursors: signed::Signer,
    /// The keys that seal the WAL position (LSN) of a change.
    pub positions: seal::Sealer,
    /// The files' content.
    pub storage: clients::storage::Storage,
    /// Whether the store is this database's, as last checked; `None` before the first check.
    pub store: tokio::sync::watch::Sender<Option<store_owner::Standing>>,
    /// Outgoing mail of the platform itself.
    pub mailer: clients::mail::Mailer,
    /// Texts and calls.
    pub twilio: clients::twilio::Twilio,
    /// Companies' mail through their own accounts.
    pub sendgrid: clients::sendgrid::SendGrid,
    /// Requests to URLs that companies' workflows name.
    pub webhooks: clients::webhook::Webhooks,
    /// Refusals to be recorded.
    pub refusals: refusals::Refusals,
    /// The metrics, if they are configured.
    pub metrics: Option<metrics::Metrics>,
    /// The settings.
    pub config: config::Config,
    /// Work that continues after its response; a graceful shutdown closes this and waits for it.
    pub background: tokio_util::task::TaskTracker,
}

impl App {
    /// Builds the application on a database; `config` must be settled.
    pub fn new(db: db::Db, config: config::Config) -> anyhow::Result<Self> {
        let storage = clients::storage::Storage::open(config.storage_url.as_deref().unwrap_or_default())?;
        Self::with(db, config, storage)
    }

    /// Builds the application like [`App::new`], with an open store of files.
    pub fn with(db: db::Db, config: config::Config, storage: clients::storage::Storage) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Parts {
            db,
            keys: auth::Keys::new(&config.jwt_secret)?,
            hasher: passwords::Hasher::new(passwords::Hasher::threads(processors()))?,
            sealer: seal::Sealer::new(&config.secret_key)?,
            links: links::Links::new(&config.secret_key),
            cursors: signed::Signer::new(&config.secret_key, "cursors"),
            positions: seal::Sealer::of(&config.secret_key, "positions")?,
            storage,
            store: tokio::sync::watch::Sender::new(None),
            mailer: clients::mail::Mailer::new(&config)?,
            twilio: clients::twilio::Twilio::new(&config)?,
            sendgrid: clients::sendgrid::SendGrid::new(&config)?,
            webhooks: clients::webhook::Webhooks::new(&config)?,
            refusals: refusals::Refusals::default(),
            metrics: config.metrics_listen.map(|_| metrics::Metrics::new()).transpose()?,
            background: tokio_util::task::TaskTracker::new(),
            config,
        })))
    }

    /// Runs work of a request that continues if its client disconnects. It is outside of the request's transaction, so
    /// what the request has done so far is committed first.
    pub(crate) async fn run_to_completion<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        idempotency::leaving().await?;
        let work = server::as_part_of_request(db::note_position(work));
        let done = self.background.spawn(work).await;
        let (done, left) = done.map_err(|_| Error::Internal("work that goes on by itself panicked".into()))?;
        db::leave_noted(left);
        Ok(done)
    }
}

/// The number of processors that the program may use; two if the system does not say.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get())
}

impl Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}
