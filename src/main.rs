//! The program: the server, and the commands of those who run it.

use anyhow::{Context, bail};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use ringfence::{
    App,
    clients::storage::Storage,
    commands::{archive, backfill, backup, demo, doctor, erase, files, import, local, operator, secrets, user},
    config::{Config, Database, LogFormat},
    db::{self, Db, local::Cluster, migrate},
    log, say,
    seal::Sealer,
    server, sql, store, terminal, workbook,
};
use std::{io::Write, path::PathBuf, process::ExitCode};
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
};

/// A request allocates a few hundred small texts and frees them on whatever thread it ends, where this one is quicker:
/// `make bench` shows a fifth less processor time for a page of contacts. Without huge pages, which would keep twice the
/// memory that is used.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Ringfence: a CRM backend for many companies in one database, kept apart by PostgreSQL's row-level security.
///
/// Without a command, it serves the API. Without DATABASE_URL, it starts a private PostgreSQL with demo data.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    database: Database,
    /// Format of the log lines; by default human at a terminal and json otherwise
    #[arg(long, env = "RINGFENCE_LOG_FORMAT", value_enum, help_heading = "Log")]
    log_format: Option<LogFormat>,
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API (the default)
    Serve,
    /// Bring the database to this version: roles, tables, policies (needs DATABASE_ADMIN_URL)
    Migrate,
    /// Load demo data, or with --companies a large database for measurements
    Demo {
        /// Make this many companies of unequal size
        #[arg(long)]
        companies: Option<u32>,
        #[command(flatten)]
        amounts: demo::Amounts,
    },
    /// Check that the database keeps companies apart; changes nothing, exit code 1 when it finds something
    Doctor,
    /// Work on jobs, such as reminders, without serving the API; any number of workers share them
    Worker,
    /// Print the OpenAPI document
    Openapi,
    /// Make somebody a super admin of the platform; a new account asks for its password
    SuperAdmin {
        /// The person's e-mail address
        email: String,
    },
    /// Manage users
    #[command(subcommand)]
    User(user::Command),
    /// Manage operators: people at psql, each held to a company by their login
    #[command(subcommand)]
    Operator(operator::Command),
    /// Give historical rows, which have no company, the company they belong to
    #[command(subcommand)]
    Backfill(backfill::Command),
    /// Back the database up into a folder: pg_dump, the logins of operators, and the number of rows to compare with
    Backup(backup::Backup),
    /// Restore a backup into an empty database, and check it: the numbers of rows, and the rules of `doctor`
    ///
    /// Missing logins of operators are created, except on the server of the backup, where they have been removed since. An
    /// existing login keeps its rights, and has its companies in the copy only if it is the login that was backed up. All tokens
    /// end, so everybody has to log in again. People who were erased since the backup are present again: repeat those erasures in
    /// the copy.
    Restore(backup::Restore),
    /// Manage the store of files
    #[command(subcommand)]
    Files(files::Command),
    /// Import the database of the old backend: a dry run first, then as often as needed (needs DATABASE_ADMIN_URL)
    ///
    /// Stop the old backend first. Each run imports what is new in the old database: rows that were imported before are left
    /// alone and never imported again, even if they were changed there or deleted here. An interrupted run is completed by the
    /// next one. Rows that do not fit are left out and written to the report, with their table, id and reason; so is every
    /// change that the import makes to a row. Nobody becomes a super admin, and texts that were due are not sent.
    #[command(
        after_help = "Example:\n  ringfence import --from postgres://reader@old/crm --files /srv/old/uploads --dry-run"
    )]
    Import(import::Options),
    /// Export all of a company to a file, or import it from one (needs DATABASE_ADMIN_URL)
    #[command(subcommand)]
    Archive(archive::Command),
    /// Erase a company or a person for good (needs DATABASE_ADMIN_URL)
    #[command(subcommand)]
    Erase(erase::Erase),
    /// Manage the secrets that RINGFENCE_SECRET_KEY seals: rotate the key
    #[command(subcommand)]
    Secrets(secrets::Command),
    /// Run a command with a private PostgreSQL, its addresses in DATABASE_URL and DATABASE_ADMIN_URL, and in PGHOST and so on for psql
    Local {
        /// Use a temporary PostgreSQL, which is deleted at the end
        #[arg(long)]
        temporary: bool,
        /// The command to run
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    if let Some(code) = workbook::run_if_asked() {
        return code;
    }
    let cli = parse();
    log::start(cli.log_format);
    let threads = cli.config.threads(cli.database.database_url.as_deref());
    let runtime = match runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("ringfence: cannot start threads: {e}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("ringfence: {}", terminal::plain_lines(&explain(&e)));
            ExitCode::FAILURE
        }
    }
}

/// The settings may be given before a command or behind it. The help of commands that serve shows them; that of the others hides
/// them.
fn parse() -> Cli {
    let settings = Config::augment_args(clap::Command::new("settings"));
    let mut program = Cli::command().mut_args(|setting| setting.global(true));
    for command in program.get_subcommands_mut() {
        if !["serve", "worker"].contains(&command.get_name()) {
            let hidden = settings.get_arguments().map(|setting| setting.clone().global(true).hide(true));
            *command = std::mem::take(command).args(hidden);
        }
    }
    Cli::from_arg_matches(&program.get_matches()).unwrap_or_else(|e| e.exit())
}

/// The error and its causes in one line; a database error in the server's words, since this is the administrator's terminal.
fn explain(e: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in e.chain() {
        let db = cause.downcast_ref::<tokio_postgres::Error>().and_then(|e| e.as_db_error());
        let text = db.map_or_else(|| cause.to_string(), |db| db.message().to_owned());
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        if db.is_some() {
            break;
        }
    }
    parts.join(": ")
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(cli.database, cli.config).await?,
        Command::Worker => worker(cli.database, cli.config).await?,
        Command::Openapi => say!("{}", serde_json::to_string_pretty(&ringfence::api::router().1)?),
        Command::Local { temporary, command } => return local::run(cli.database, cli.config, temporary, command).await,
        Command::Doctor => {
            let healthy = located(cli.database, async |at| {
                let storage = cli.config.known_storage(at.folder.as_deref())?;
                doctor::run(&at.api, storage.as_ref()).await
            });
            let healthy = healthy.await?;
            return Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Migrate => {
            let version = located(cli.database, async |at| migrate::migrate(at.admin()?, Some(&at.api)).await).await?;
            say!("The database is at migration {version}.");
        }
        Command::Demo { companies, amounts } => {
            let loaded = located(cli.database, async |at| {
                migrate::migrate(at.admin()?, Some(&at.api)).await?;
                match companies {
                    Some(companies) => demo::generate(at.admin()?, companies, amounts).await,
                    None => demo::load(at.admin()?).await.map(|loaded| {
                        if !loaded.is_new {
                            say!("Nothing was added: the database has companies already.");
                        }
                        terminal::print(format_args!("{}", demo_logins(&loaded.logins)));
                    }),
                }
            });
            loaded.await?;
        }
        Command::Files(files::Command::Sweep { dry_run }) => {
            with_app(cli.database, cli.config, dry_run, async |app| files::sweep(&app, dry_run).await).await?;
        }
        Command::Files(files::Command::Adopt { dry_run, yes }) => {
            let adopt = async |admin: &str, storage: &Storage| files::adopt(admin, storage, dry_run, yes).await;
            with_storage(cli.database, cli.config, dry_run, adopt).await?;
        }
        Command::Import(options) => import_old(cli.database, cli.config, &options).await?,
        Command::Archive(command) => {
            let only_reads = matches!(command, archive::Command::Export { .. });
            let run = async |admin: &str, storage: &Storage| archive::run(&command, admin, storage).await;
            with_storage(cli.database, cli.config, only_reads, run).await?;
        }
        Command::Erase(what) => erase_for_good(cli.database, cli.config, &what).await?,
        Command::Secrets(command) => {
            let mut config = cli.config;
            let done = located(cli.database, async |at| {
                config.settle_secret_key(at.folder.as_deref())?;
                secrets::run(&command, at.admin()?, &Sealer::new(&config.secret_key)?).await
            });
            return Ok(if done.await? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::SuperAdmin { email } => {
            administer(cli.database, async |admin| user::super_admin(admin, &email).await).await?;
        }
        Command::Backfill(command) => {
            let fine = located(cli.database, async |at| backfill::run(command, at.admin()?).await).await?;
            return Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Backup(backup) => {
            located(cli.database, async |at| backup.run(at.admin()?, &at.program("pg_dump")).await).await?;
        }
        Command::Restore(restore) => {
            located(cli.database, async |at| restore.run(at.admin()?, &at.api, &at.program("pg_restore")).await)
                .await?;
        }
        Command::Operator(command) => {
            administer(cli.database, async |admin| operator::run(command, admin).await).await?;
        }
        Command::User(command) => {
            administer(cli.database, async |admin| user::run(command, admin).await).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the database is: at the given addresses, or in the private cluster.
struct Location {
    cluster: Option<Cluster>,
    folder: Option<PathBuf>,
    api: String,
    admin: Option<String>,
}

impl Location {
    async fn open(given: Database) -> anyhow::Result<Self> {
        let filled = |url: Option<String>| url.filter(|u| !u.is_empty());
        if let Some(api) = filled(given.database_url.clone()) {
            return Ok(Self { cluster: None, folder: None, api, admin: filled(given.database_admin_url) });
        }
        if filled(given.database_admin_url).is_some() {
            bail!("DATABASE_ADMIN_URL is set and DATABASE_URL is not: set both, or neither for a private PostgreSQL");
        }
        let folder = given.data.unwrap_or_else(db::local::default_folder);
        let mut cluster = Cluster::open(&folder).await?;
        cluster.keep_running();
        let (api, admin) = cluster.own_database().await?;
        Ok(Self { cluster: Some(cluster), folder: Some(folder), api, admin: Some(admin) })
    }

    fn admin(&self) -> anyhow::Result<&str> {
        self.admin.as_deref().context(
            "this command is an administrator's: set DATABASE_ADMIN_URL to the address of one for this database",
        )
    }

    /// One of PostgreSQL's programs, of the private cluster's version when there is one.
    fn program(&self, name: &str) -> PathBuf {
        self.cluster.as_ref().map_or_else(|| name.into(), |cluster| cluster.bin(name))
    }

    async fn close(self) -> anyhow::Result<()> {
        match self.cluster {
            Some(cluster) => cluster.close().await,
            None => Ok(()),
        }
    }
}

/// Does something with the database, and closes it whatever came of that; an error of the work is told rather than one of the
/// closing.
async fn located<T>(database: Database, work: impl AsyncFnOnce(&Location) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let at = Location::open(database).await?;
    let done = work(&at).await;
    let closed = at.close().await;
    done.and_then(|done| closed.map(|()| done))
}

async fn serve(database: Database, mut config: Config) -> anyhow::Result<()> {
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
    let mut stop = Box::pin(stop_signal()?);
    let at = tokio::select! {
        at = Location::open(database) => at?,
        () = &mut stop => return Ok(()),
    };
    let served = async {
        config.settle(at.folder.as_deref())?;
        let mut logins = Vec::new();
        if let Some(admin) = &at.admin {
            migrate::migrate(admin, Some(&at.api)).await?;
            if at.cluster.is_some() {
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
        terminal::print(format_args!(
            "\nRingfence serves on http://{address}\nAPI documentation: http://{address}/docs\n{}",
            demo_logins(&logins)
        ));
        say!("\nCtrl-C stops it.");
        server::serve(app, listener, stop).await.context("the server stopped")
    };
    let served = served.await;
    served.and(at.close().await)
}

/// Refuses a store that is another database's, where files that come in would not last. One that does not answer may do so
/// later; until then a server takes no files, and is not ready.
async fn check_store(app: &App) -> anyhow::Result<()> {
    match store::look(app).await {
        Ok(true) => Ok(()),
        Ok(false) => bail!(store::ANOTHERS),
        Err(e) => {
            tracing::warn!(error = %format!("{e:#}"), "cannot see whose the store of files is: no file is taken before");
            Ok(())
        }
    }
}

async fn worker(database: Database, config: Config) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let work = async |app: App| {
        check_store(&app).await?;
        say!("Ringfence works on jobs. Ctrl-C stops it.");
        server::work(app, stop).await.context("the worker stopped")
    };
    with_app(database, config, false, work).await
}

/// Runs something with all that a server has, but for its socket; for what only looks at the store of files none is made.
async fn with_app(
    database: Database,
    mut config: Config,
    only_looks: bool,
    run: impl AsyncFnOnce(App) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    located(database, async |at| {
        config.settle(at.folder.as_deref())?;
        doctor::check_before_serving(&at.api).await?;
        db::check_pooler(&at.api, &config).await?;
        let storage = config.open_storage(at.folder.as_deref(), only_looks)?;
        run(App::with(Db::of(&at.api, &config)?, config, storage)?).await
    })
    .await
}

async fn import_old(database: Database, mut config: Config, options: &import::Options) -> anyhow::Result<()> {
    located(database, async |at| {
        let admin = at.admin()?;
        config.settle_secret_key(at.folder.as_deref())?;
        let storage = config.open_storage(at.folder.as_deref(), options.dry_run)?;
        let outcomes = import::run(admin, options, &Sealer::new(&config.secret_key)?, &storage).await?;
        terminal::print(format_args!("{}", outcomes.summary(options)));
        Ok(())
    })
    .await
}

async fn erase_for_good(database: Database, config: Config, what: &erase::Erase) -> anyhow::Result<()> {
    let (erase::Erase::Company { options, .. } | erase::Erase::Person { options, .. }) = what;
    with_storage(database, config, options.dry_run, async |admin, storage| {
        let erased = erase::run(admin, what, storage).await?;
        terminal::print(format_args!(
            "{}{}:\n{}{}",
            if options.dry_run { "Would be erased" } else { "Erased" },
            erased.company.as_ref().map(|company| format!(", of {company}")).unwrap_or_default(),
            erase::summary(&erased.counts),
            erased.told()
        ));
        Ok(())
    })
    .await
}

/// Runs something with the administrator's address and the store of files; none is made for what only looks.
async fn with_storage(
    database: Database,
    config: Config,
    only_looks: bool,
    run: impl AsyncFnOnce(&str, &Storage) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    located(database, async |at| {
        let admin = at.admin()?;
        run(admin, &config.open_storage(at.folder.as_deref(), only_looks)?).await
    })
    .await
}

fn demo_logins(logins: &[demo::Login]) -> String {
    let mut text = String::new();
    if !logins.is_empty() {
        text += "\nDemo logins:\n";
    }
    for login in logins {
        text += &format!("  {:<28} {:<14} {} ({})\n", login.email, login.password, login.role, login.company);
    }
    text
}

/// Done at the first SIGINT or SIGTERM; a second one ends the program at once.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
        let _ = writeln!(std::io::stderr(), "Stopping: what is under way may finish.");
    })
}

/// Runs something as the administrator of a migrated database: under their own name when the policies let them see every
/// company, which the platform's own do, and otherwise as ringfence_dba.
async fn administer(
    database: Database,
    work: impl AsyncFnOnce(&mut tokio_postgres::Client) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let done = located(database, async |at| {
        let admin = at.admin()?;
        let mut client = db::connect(admin).await?;
        migrate::require_current(&client).await?;
        if !client.query_one(sql!("ops/sees_all").text, &[]).await?.get::<_, bool>(0) {
            client = db::connect_as_dba(admin).await?;
        }
        work(&mut client).await
    });
    say!("{}", done.await?);
    Ok(())
}
