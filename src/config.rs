//! The program's settings: each flag is also an environment variable.

use crate::{clients::storage::Storage, seal::Sealer};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Where the database is. Without addresses, a private cluster is started in a folder of its own.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Database")]
pub struct Database {
    /// The database, with the API's own login, ringfence_api (postgres://ringfence_api:password@host/database)
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// The same database, with the login of an administrator, for migrations and the commands that need one
    #[arg(long, env = "DATABASE_ADMIN_URL", hide_env_values = true)]
    pub database_admin_url: Option<String>,
    /// Folder of the private cluster and its keys, used when DATABASE_URL is not set
    #[arg(long, env = "RINGFENCE_DATA", value_name = "FOLDER")]
    pub data: Option<PathBuf>,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq)]
pub enum LogFormat {
    /// For a person at a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// A switch.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// What `ringfence serve` needs to know besides the database.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct Config {
    /// Address to listen on
    #[arg(long, env = "RINGFENCE_LISTEN", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    /// Address on which Prometheus reads metrics (GET /metrics). They contain no company's data, but keep the address
    /// private. Unless it is set, nothing is measured
    #[arg(long, env = "RINGFENCE_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
    /// Development mode: reset codes and invitation links are logged when there is no SMTP server, and missing secrets
    /// are generated. By default on with the private cluster and off with DATABASE_URL
    #[arg(long, env = "RINGFENCE_DEVELOPMENT", value_parser = clap::builder::BoolishValueParser::new(), num_args = 0..=1, default_missing_value = "true")]
    pub development: Option<bool>,
    /// Secret that signs the tokens, at least 32 bytes; while it is being changed, several, newest first, separated by
    /// commas
    #[arg(long, env = "RINGFENCE_JWT_SECRET", hide_env_values = true, value_delimiter = ',')]
    pub jwt_secret: Vec<String>,
    /// Key that seals stored provider secrets, 32 bytes in hexadecimal; while it is being changed, several, newest
    /// first, separated by commas
    #[arg(long, env = "RINGFENCE_SECRET_KEY", hide_env_values = true, value_delimiter = ',')]
    pub secret_key: Vec<String>,
    /// SMTP server for reset codes and invitations (smtp://… or smtps://user:password@host)
    #[arg(long, env = "RINGFENCE_SMTP_URL", hide_env_values = true)]
    pub smtp_url: Option<String>,
    /// Sender of reset codes and invitations
    #[arg(long, env = "RINGFENCE_MAIL_FROM", default_value = "Ringfence <noreply@localhost>")]
    pub mail_from: String,
    /// Address of the frontend, for links in mails
    #[arg(long, env = "RINGFENCE_FRONTEND_URL", default_value = "http://localhost:5173")]
    pub frontend_url: String,
    /// Address at which providers such as Twilio, and the recipients of mails, reach this server; callbacks are signed
    /// with it. While it is an address of this machine, Twilio is not asked to call back, opened mails are not counted,
    /// and campaigns are sent in development mode only
    #[arg(long, env = "RINGFENCE_PUBLIC_URL", default_value = "http://localhost:8000")]
    pub public_url: String,
    /// Twilio's REST API
    #[arg(long, env = "RINGFENCE_TWILIO_URL", default_value = "https://api.twilio.com")]
    pub twilio_url: String,
    /// SendGrid's API
    #[arg(long, env = "RINGFENCE_SENDGRID_URL", default_value = "https://api.sendgrid.com")]
    pub sendgrid_url: String,
    /// SMTP server for the mail of companies that have no SendGrid key; without it they need one
    #[arg(long, env = "RINGFENCE_RELAY_URL", hide_env_values = true)]
    pub relay_url: Option<String>,
    /// In development mode only: addresses (host:port) that the webhooks of workflows may call although they are not
    /// public, by http too
    #[arg(long, env = "RINGFENCE_WEBHOOK_ALLOW", value_delimiter = ',')]
    pub webhook_allow: Vec<String>,
    /// Origins of browsers that may call the API, such as https://crm.example.com
    #[arg(
        long,
        env = "RINGFENCE_CORS_ORIGINS",
        value_delimiter = ',',
        default_value = "http://localhost:5173,http://localhost:3000,http://127.0.0.1:5173,http://127.0.0.1:3000"
    )]
    pub cors_origins: Vec<String>,
    /// Whether attempts to log in, register or reset a password are limited; "off" is for load tests
    #[arg(long, env = "RINGFENCE_RATE_LIMITS", value_enum, default_value = "on")]
    pub rate_limits: Switch,
    /// Whether this process also works on jobs, such as reminders; "off" leaves them to `ringfence worker`
    #[arg(long, env = "RINGFENCE_WORKER", value_enum, default_value = "on")]
    pub worker: Switch,
    /// Number of trusted proxies in front of the server: that many entries at the end of X-Forwarded-For are trusted
    #[arg(long, env = "RINGFENCE_PROXY_HOPS", default_value_t = 0)]
    pub proxy_hops: usize,
    /// Where files are stored: file:///folder, s3://bucket/…, gs://bucket/… or az://container/…, with the provider's
    /// usual variables (AWS_…, GOOGLE_…, AZURE_…). Required with DATABASE_URL; by default the folder `files` beside the
    /// private cluster's data. Each database needs a store of its own
    #[arg(long, env = "RINGFENCE_STORAGE_URL", hide_env_values = true)]
    pub storage_url: Option<String>,
    /// Maximum size of an uploaded file
    #[arg(long, env = "RINGFENCE_UPLOAD_LIMIT", default_value = "10MiB")]
    pub upload_limit: bytesize::ByteSize,
    /// Number of days for which the content of a deleted file is kept
    #[arg(long, env = "RINGFENCE_DELETED_FILES_DAYS", default_value_t = 30)]
    pub deleted_files_days: u16,
    /// Number of days for which ended workflow runs are kept, with their steps and events; 0 keeps them forever
    #[arg(long, env = "RINGFENCE_WORKFLOW_RUNS_DAYS", default_value_t = 90)]
    pub workflow_runs_days: u16,
    /// A streaming standby of the database, for reads: like DATABASE_URL, at another address. The caller is still
    /// checked at DATABASE_URL in each request, and whatever the standby does not have yet or cannot do is read there,
    /// too
    #[arg(long, env = "DATABASE_REPLICA_URL", hide_env_values = true)]
    pub database_replica_url: Option<String>,
    /// Whether statements are prepared once per connection. "off" sends each statement with its text, which is slower,
    /// for poolers that do not support prepared statements across connections, such as PgBouncer before 1.21 in
    /// transaction mode
    #[arg(long, env = "RINGFENCE_PREPARED_STATEMENTS", value_enum, default_value = "on")]
    pub prepared_statements: Switch,
    /// Maximum number of connections to the database, and the same number to the standby. One company gets at most
    /// three quarters of them. By default six per processor, from 12 to 64, with a database on this machine, of which
    /// two per processor run short statements at a time, and 16 with one elsewhere. Each server has its own pool: add
    /// them up
    #[arg(long, env = "RINGFENCE_POOL_SIZE", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub pool_size: Option<usize>,
    /// Number of threads that serve requests; large responses and password hashing have their own. By default one for
    /// every two processors with a database on this machine, and one per processor with one elsewhere
    #[arg(long, env = "RINGFENCE_THREADS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub threads: Option<usize>,
}

impl Config {
    /// The number of connections that a server opens to the database at this address.
    pub fn connections(&self, url: &str) -> anyhow::Result<usize> {
        self.pool_size.map_or_else(|| crate::db::default_pool_size(url), Ok)
    }

    /// The number of threads that serve requests. Without an address, the database is the private cluster.
    pub fn threads(&self, url: Option<&str>) -> usize {
        self.threads.unwrap_or_else(|| crate::db::default_threads(url))
    }

    /// Whether development mode is on. Unless set, it is on with the private cluster only.
    pub fn is_development(&self) -> bool {
        self.development.unwrap_or(false)
    }

    /// The address of the standby, if there is one.
    pub fn standby_url(&self) -> Option<&str> {
        self.database_replica_url.as_deref().filter(|url| !url.is_empty())
    }

    /// The address at which others reach this server, without the slash at its end.
    pub fn public_base(&self) -> &str {
        self.public_url.trim_end_matches('/')
    }

    /// The address at which others reach this server; `None` while it is an address of this machine, which is the
    /// default.
    pub fn reachable_base(&self) -> Option<&str> {
        let host = url::Url::parse(&self.public_url).ok()?.host_str()?.to_owned();
        let is_local = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
        (!is_local).then(|| self.public_base())
    }

    /// The address below which the recipients of campaigns unsubscribe, if they can reach it. In development mode it
    /// may be an address of this machine, where campaigns are tried out.
    pub fn unsubscribe_base(&self) -> Option<&str> {
        if self.is_development() { Some(self.public_base()) } else { self.reachable_base() }
    }

    /// Fills in the settings that were not given, and refuses those that cannot be. `folder` is the private cluster's,
    /// which holds the files and the secrets that development mode generates.
    pub fn resolve(&mut self, folder: Option<&Path>) -> anyhow::Result<()> {
        let development = *self.development.get_or_insert(folder.is_some());
        if !development && self.webhook_allow.iter().any(|place| !place.is_empty()) {
            bail!("RINGFENCE_WEBHOOK_ALLOW is for development: without it webhooks reach public addresses only");
        }
        for (name, address) in [
            ("RINGFENCE_PUBLIC_URL", &self.public_url),
            ("RINGFENCE_FRONTEND_URL", &self.frontend_url),
            ("RINGFENCE_TWILIO_URL", &self.twilio_url),
            ("RINGFENCE_SENDGRID_URL", &self.sendgrid_url),
        ] {
            if !is_address(address) {
                bail!("{name}: {address:?} is no address such as https://crm.example.com");
            }
        }
        self.cors_origins.retain(|text| !text.trim().is_empty());
        for text in &mut self.cors_origins {
            let refusal = format!("RINGFENCE_CORS_ORIGINS: {text:?} is no origin such as https://crm.example.com");
            *text = origin(text.trim()).context(refusal)?;
        }
        let file = folder.map(|folder| folder.join("keys").join("jwt-secret"));
        resolve_secret(&mut self.jwt_secret, "RINGFENCE_JWT_SECRET", file, development)?;
        self.resolve_secret_key(folder)?;
        self.storage_url = Some(self.store_of_files(folder)?);
        Ok(())
    }

    /// Fills in the key of secrets, if it was not given.
    pub fn resolve_secret_key(&mut self, folder: Option<&Path>) -> anyhow::Result<()> {
        let development = *self.development.get_or_insert(folder.is_some());
        let keys = folder.map(|folder| folder.join("keys"));
        resolve_secret(&mut self.secret_key, "RINGFENCE_SECRET_KEY", keys.map(|k| k.join("secret-key")), development)
    }

    /// The address of the store of files. It is required outside of development mode, so that files do not end up in
    /// the folder in which a command happens to run.
    pub fn store_of_files(&self, folder: Option<&Path>) -> anyhow::Result<String> {
        if let Some(url) = self.storage_url.as_ref().filter(|url| !url.is_empty()) {
            return Ok(url.clone());
        }
        if !self.development.unwrap_or(folder.is_some()) {
            bail!(
                "RINGFENCE_STORAGE_URL is not set: say where the files of this database are, the same for each of its servers, workers \
                 and commands, e.g. RINGFENCE_STORAGE_URL=file:///var/lib/ringfence/files"
            );
        }
        let folder = folder.map_or_else(crate::db::local::default_folder, Path::to_owned);
        let files = std::path::absolute(folder.join("files"))?;
        let url = url::Url::from_directory_path(&files);
        Ok(url.map_err(|()| anyhow::anyhow!("{} cannot be a folder for files", files.display()))?.into())
    }

    /// Opens the store of files, for a command that needs no other setting; a command that only looks at it makes no
    /// folder.
    pub fn open_storage(&self, folder: Option<&Path>, only_looks: bool) -> anyhow::Result<Storage> {
        let url = self.store_of_files(folder)?;
        if only_looks { Storage::look_at(&url) } else { Storage::open(&url) }
    }

    /// Opens the store of files if its address is known, for a command that only looks at it.
    pub fn known_storage(&self, folder: Option<&Path>) -> anyhow::Result<Option<Storage>> {
        let is_known = folder.is_some() || self.storage_url.as_deref().is_some_and(|url| !url.is_empty());
        is_known.then(|| self.open_storage(folder, true)).transpose()
    }

    /// The keys of secrets if they are known, for a command that only looks whether they open what is sealed.
    pub fn known_sealer(&mut self, folder: Option<&Path>) -> anyhow::Result<Option<Sealer>> {
        let is_known = folder.is_some() || self.secret_key.iter().any(|key| !key.is_empty());
        if !is_known {
            return Ok(None);
        }
        self.resolve_secret_key(folder)?;
        Sealer::new(&self.secret_key).map(Some)
    }
}

/// Whether a text is the address of a server over HTTP to which paths can be appended.
pub(crate) fn is_address(text: &str) -> bool {
    let is_http = text.starts_with("http://") || text.starts_with("https://");
    is_http && !text.contains(char::is_whitespace) && url::Url::parse(text).is_ok_and(|url| url.has_host())
}

/// An origin as browsers write it (RFC 6454, 6.2). Its scheme may be an app's own.
fn origin(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let end = &url[url::Position::BeforePath..];
    let is_bare = url.has_host() && matches!(end, "" | "/") && url.username().is_empty() && url.password().is_none();
    let is_one = !text.contains('*');
    (is_bare && is_one).then(|| url[..url::Position::BeforePath].to_owned())
}

fn resolve_secret(
    secret: &mut Vec<String>,
    name: &str,
    file: Option<PathBuf>,
    development: bool,
) -> anyhow::Result<()> {
    secret.retain(|s| !s.is_empty());
    if secret.is_empty() {
        if !development {
            bail!("{name} is not set: give it 32 random bytes, e.g. {name}=$(openssl rand -hex 32)");
        }
        secret.push(kept_secret(file)?);
    }
    Ok(())
}

/// The secret in this file, made up the first time; without a file, one for this run.
fn kept_secret(file: Option<PathBuf>) -> anyhow::Result<String> {
    let fresh = || crate::seal::hexadecimal(&crate::auth::random::<32>());
    let Some(file) = file else { return Ok(fresh()) };
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let secret = fresh();
            write_private(&file, &secret).with_context(|| format!("cannot write {}", file.display()))?;
            Ok(secret)
        }
        Err(e) => Err(e).with_context(|| format!("cannot read {}", file.display())),
    }
}

fn write_private(file: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?.write_all(text.as_bytes())
}
