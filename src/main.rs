//! The program: the server, and the commands of those who run it.

use anyhow::{Context, bail};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getpgrp, tcgetpgrp},
};
use ringfence::{
    App, archive, backfill, backup,
    clients::storage::Storage,
    config::{Config, Database, LogFormat},
    db::{self, Db, local::Cluster, migrate},
    demo, doctor, erase, import, log, operator, passwords, say,
    seal::Sealer,
    secrets, server, sql,
    store::{self, Claim},
    terminal::{self, Measure},
    wire, workbook,
};
use std::{io::Write, path::PathBuf, process::ExitCode};
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
};
use tokio_postgres::error::SqlState;

/// A request allocates a few hundred small texts and frees them on whatever thread it ends, where this one is quicker:
/// `make bench` shows a fifth less processor time for a page of contacts. Without huge pages, which would keep twice the
/// memory that is used.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Ringfence: a CRM backend for many companies in one database, kept apart by PostgreSQL's row-level security.
///
/// Without a command it serves the API. Without DATABASE_URL it brings a private PostgreSQL and demo data along.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    database: Database,
    /// How log lines look: human at a terminal, json otherwise
    #[arg(long, env = "RINGFENCE_LOG_FORMAT", value_enum, global = true, help_heading = "Log")]
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
    /// Work on jobs, such as reminders, without serving; any number of workers share them
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
    User(User),
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
    /// Logins of operators are made where they are missing, but on the server of the backup, where they were removed. One that is
    /// there keeps its rights, and has its companies in the copy only if it is the login that was backed up. Tokens end, so that
    /// everybody logs in anew. Who was erased since the backup is there again: repeat those erasures in the copy.
    Restore(backup::Restore),
    /// Look after the store of files
    #[command(subcommand)]
    Files(Files),
    /// Bring the database of the old backend over: a dry run first, then as often as needed (needs DATABASE_ADMIN_URL)
    ///
    /// Stop the old backend before. Each run brings what is new in the old database: rows that came over before are not
    /// touched and never come again, also when they were changed there or deleted here. An interrupted run is completed by
    /// the next one. Rows that do not fit are left out and written to the report, with their table, id and reason; so is
    /// everything that was changed on the way. Nobody becomes a super admin by it, and texts that were due are not sent.
    #[command(
        after_help = "Example:\n  ringfence import --from postgres://reader@old/crm --files /srv/old/uploads --dry-run"
    )]
    Import(import::Options),
    /// Take all of one company out into a file, or bring it in from one (needs DATABASE_ADMIN_URL)
    #[command(subcommand)]
    Archive(Archive),
    /// Erase a company or a person for good (needs DATABASE_ADMIN_URL)
    #[command(subcommand)]
    Erase(erase::Erase),
    /// Look after what is sealed with RINGFENCE_SECRET_KEY: change the key
    #[command(subcommand)]
    Secrets(secrets::Command),
    /// Run a command with a private PostgreSQL, whose addresses are in DATABASE_URL and DATABASE_ADMIN_URL, and for psql in PGHOST and so on
    Local {
        /// A throw-away one, deleted at the end
        #[arg(long)]
        temporary: bool,
        /// The command
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Subcommand)]
enum Archive {
    /// Write a company's rows and files to a zip with one file of JSON lines a table and a manifest with checksums
    ///
    /// Password hashes and providers' credentials are not in it. Have a super admin suspend the company before, if it moves: what
    /// it sends after the export is due in the file, and what becomes due after the import would be sent from both places.
    Export {
        /// The company's exact name
        #[arg(long)]
        company: String,
        /// The new file
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Add the company of such a file to a database that does not have it, under the same ids
    ///
    /// It comes in suspended, so that nothing is sent twice while the company is still at work where it came from. Its users
    /// reset their passwords by mail, an admin enters the providers' credentials again, and nobody comes in as super admin.
    /// A user who has an account in the database already, by its id, keeps it as it is, and becomes a former member of the
    /// company that comes in: what they made there is the company's. People who were erased here and are in the file are named.
    Import {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        options: archive::Options,
    },
}

#[derive(Subcommand)]
enum Files {
    /// Delete what no file needs any more: left by broken uploads, or deleted long ago. Servers do it once an hour
    Sweep {
        /// Only say what would be deleted
        #[arg(long)]
        dry_run: bool,
    },
    /// Make the store this database's, whosever it was: for one that takes another's place (needs DATABASE_ADMIN_URL)
    ///
    /// A store is one database's, for it deletes there what it does not know. Stop the servers and workers of the other one before,
    /// or give it another store: what it writes to this one from now on does not last.
    Adopt,
}

#[derive(Subcommand)]
enum User {
    /// Give a user a company; a new account asks for its password (or reads it from standard input)
    Assign {
        /// The person's e-mail address
        email: String,
        /// The company's exact name
        #[arg(long)]
        company: String,
        /// The role, when it is to change, such as company_admin or "Sales Rep". A new account, and whoever comes from another company and is no super admin, is company_user
        #[arg(long)]
        role: Option<String>,
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
            eprintln!("ringfence: {}", explain(&e));
            ExitCode::FAILURE
        }
    }
}

/// The settings may be given before a command or behind it. They are shown for those that serve, and hidden for the others.
fn parse() -> Cli {
    let settings = Config::augment_args(clap::Command::new("settings"));
    let mut program = Cli::command();
    for command in program.get_subcommands_mut() {
        if !["serve", "worker"].contains(&command.get_name()) {
            let hidden = settings.get_arguments().map(|setting| setting.clone().hide(true));
            *command = std::mem::take(command).args(hidden);
        }
    }
    Cli::from_arg_matches(&program.get_matches()).unwrap_or_else(|e| e.exit())
}

/// The error and its causes in one line; a database error by what it says, since this is the administrator's terminal.
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
        Command::Local { temporary, command } => return local(cli.database, cli.config, temporary, command).await,
        Command::Doctor => {
            let mut config = cli.config;
            let healthy = located(cli.database, async |at| {
                let storage = config.known_storage(at.folder.as_deref())?;
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
        Command::Files(Files::Sweep { dry_run }) => {
            with_app(cli.database, cli.config, async |app| sweep(&app, dry_run).await).await?
        }
        Command::Files(Files::Adopt) => {
            with_storage(cli.database, cli.config, async |admin, storage| {
                store::adopt(&db::connect_as_dba(admin).await?, storage).await?;
                say!("The store of files is this database's now. Give any other database a store of its own.");
                Ok(())
            })
            .await?;
        }
        Command::Import(options) => import_old(cli.database, cli.config, &options).await?,
        Command::Archive(command) => export_or_import(cli.database, cli.config, &command).await?,
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
            administer(cli.database, async |admin| super_admin(admin, &email).await).await?;
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
        Command::User(User::Assign { email, company, role }) => {
            administer(cli.database, async |admin| assign(admin, &email, &company, role.as_deref()).await).await?;
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
        let (api, admin) = (cluster.url("ringfence_api", DATABASE), cluster.url("ringfence_admin", DATABASE));
        ensure_database(&cluster).await?;
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

/// The database's name in a private cluster.
const DATABASE: &str = "ringfence";

async fn ensure_database(cluster: &Cluster) -> anyhow::Result<()> {
    let client = db::connect(&cluster.url("ringfence_admin", "postgres")).await?;
    if client.query_opt("select from pg_database where datname = $1", &[&DATABASE]).await?.is_none() {
        client.batch_execute(&format!("create database {DATABASE}")).await?;
    }
    Ok(())
}

async fn serve(database: Database, mut config: Config) -> anyhow::Result<()> {
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
/// later.
async fn check_store(app: &App) -> anyhow::Result<()> {
    match store::is_ours(app, Claim::Unless).await {
        Ok(true) => Ok(()),
        Ok(false) => bail!(store::ANOTHERS),
        Err(e) => {
            tracing::warn!(error = %format!("{e:#}"), "the store of files does not answer");
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
    with_app(database, config, work).await
}

/// Runs something with all that a server has, but for its socket.
async fn with_app(
    database: Database,
    mut config: Config,
    run: impl AsyncFnOnce(App) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    located(database, async |at| {
        config.settle(at.folder.as_deref())?;
        doctor::check_before_serving(&at.api).await?;
        db::check_pooler(&at.api, &config).await?;
        run(App::new(Db::of(&at.api, &config)?, config)?).await
    })
    .await
}

async fn import_old(database: Database, config: Config, options: &import::Options) -> anyhow::Result<()> {
    with_stores(database, config, async |admin, sealer, storage| {
        let outcomes = import::run(admin, options, sealer, storage).await?;
        terminal::print(format_args!("{}", outcomes.summary(options)));
        Ok(())
    })
    .await
}

async fn export_or_import(database: Database, config: Config, command: &Archive) -> anyhow::Result<()> {
    with_storage(database, config, async |admin, storage| {
        match command {
            Archive::Export { company, to } => {
                let manifest = archive::export(admin, company, to, storage).await?;
                say!("{} are in {}.", manifest.summary(), to.display());
                if let Some(lack) = manifest.lack() {
                    bail!(lack);
                }
            }
            Archive::Import { file, options } => {
                let archive::Imported { manifest, elsewhere, due, erased } =
                    archive::import(admin, file, *options, storage).await?;
                let state = if options.active { "" } else { " It is suspended until a super admin makes it active." };
                say!("{} came in.{state} Its users reset their passwords by mail.", manifest.summary());
                if let Some(told) = due.and_then(|due| due.told("export")) {
                    say!("{told}");
                }
                if !erased.is_empty() {
                    say!(
                        "These were erased here and are there again. Erase them again, each by `ringfence erase person ADDRESS --company \"{}\"`:\n  {}",
                        manifest.company(),
                        erased.join("\n  ")
                    );
                }
                if !elsewhere.is_empty() {
                    say!(
                        "These have an account here already, which stays as it is; what they made there is the company's, \
                         and `ringfence user assign` moves them:\n  {}",
                        elsewhere.join("\n  ")
                    );
                }
            }
        }
        Ok(())
    })
    .await
}

async fn erase_for_good(database: Database, config: Config, what: &erase::Erase) -> anyhow::Result<()> {
    with_storage(database, config, async |admin, storage| {
        let erased = erase::run(admin, what, storage).await?;
        let (erase::Erase::Company { options, .. } | erase::Erase::Person { options, .. }) = what;
        terminal::print(format_args!(
            "{}{}{}",
            if options.dry_run { "Would be erased:\n" } else { "Erased:\n" },
            erase::summary(&erased.counts),
            erased.told()
        ));
        Ok(())
    })
    .await
}

/// Runs something with the administrator's address and the store of files.
async fn with_storage(
    database: Database,
    mut config: Config,
    run: impl AsyncFnOnce(&str, &Storage) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    located(database, async |at| {
        let admin = at.admin()?;
        run(admin, &config.open_storage(at.folder.as_deref())?).await
    })
    .await
}

/// Runs something with the administrator's address, the keys of secrets and the store of files.
async fn with_stores(
    database: Database,
    mut config: Config,
    run: impl AsyncFnOnce(&str, &Sealer, &Storage) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    located(database, async |at| {
        let admin = at.admin()?;
        config.settle_secret_key(at.folder.as_deref())?;
        let storage = config.open_storage(at.folder.as_deref())?;
        run(admin, &Sealer::new(&config.secret_key)?, &storage).await
    })
    .await
}

async fn sweep(app: &App, dry_run: bool) -> anyhow::Result<()> {
    let bar = terminal::progress("objects looked at", Measure::Number);
    let swept = ringfence::jobs::sweep_files::sweep(app, dry_run, |seen| bar.set_position(seen)).await?;
    bar.finish_and_clear();
    let what = if dry_run { "would be deleted" } else { "deleted" };
    let bytes = bytesize::ByteSize(swept.bytes);
    say!("{} objects looked at, {} {what} ({bytes}).", swept.seen, swept.deleted);
    Ok(())
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

async fn local(
    database: Database,
    mut config: Config,
    temporary: bool,
    command: Vec<String>,
) -> anyhow::Result<ExitCode> {
    let folder = database.data.unwrap_or_else(db::local::default_folder);
    let mut cluster = match temporary {
        true => Cluster::temporary().await?,
        false => Cluster::open(&folder).await?,
    };
    cluster.keep_running();
    let run = async {
        ensure_database(&cluster).await?;
        let admin = cluster.url("ringfence_admin", DATABASE);
        let api = cluster.url("ringfence_api", DATABASE);
        migrate::migrate(&admin, Some(&api)).await?;
        let (program, arguments) = command.split_first().context("no command given")?;
        let mut child = tokio::process::Command::new(program);
        child.args(arguments).env("DATABASE_URL", &api).env("DATABASE_ADMIN_URL", &admin);
        // psql may be where the server is, and nowhere else.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain([cluster.programs().to_owned()]);
        child.env("PATH", std::env::join_paths(folders)?);
        if temporary {
            // Of a database that ends with the command, whatever store the environment names for another one.
            config.storage_url = None;
            config.settle_storage(Some(cluster.folder()))?;
            child.env("RINGFENCE_STORAGE_URL", config.storage_url.unwrap_or_default());
        } else {
            // This program finds its files and keys as it would if it had opened the folder.
            config.settle(Some(&folder))?;
            child.env("RINGFENCE_STORAGE_URL", config.storage_url.unwrap_or_default());
            child.env("RINGFENCE_JWT_SECRET", config.jwt_secret.join(","));
            child.env("RINGFENCE_SECRET_KEY", config.secret_key.join(","));
        }
        // So that psql and its like are there without an argument.
        child.envs(db::libpq_environment(&admin)?);
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut child = child.spawn().with_context(|| format!("cannot run {program}"))?;
        // The command ends as it would without this program, which stays until it has.
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

/// Whether a terminal's Ctrl-C reaches this program, and with it what it has begun.
fn is_in_foreground() -> bool {
    std::fs::File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal) == Ok(getpgrp()))
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

/// An address as accounts have it.
fn address(given: &str) -> String {
    given.trim().to_lowercase()
}

async fn super_admin(admin: &tokio_postgres::Client, email: &str) -> anyhow::Result<String> {
    let email = address(email);
    let user = match admin.query_opt(sql!("ops/find_user").text, &[&email]).await? {
        Some(row) => row.get::<_, uuid::Uuid>("id"),
        None => add_user(admin, &email, "Super", "Admin").await?,
    };
    admin.execute(sql!("ops/set_role").text, &[&user, &Some("super_admin")]).await?;
    Ok(format!("{email} is a super admin now."))
}

/// The roles of companies (contract: conventions, "Roles and permissions"). The API takes any word, which a typing error is, too.
const ROLES: [&str; 7] =
    ["company_admin", "company_user", "Admin", "Sales Manager", "Sales Rep", "Regular User", "Support"];

async fn assign(
    admin: &mut tokio_postgres::Client,
    email: &str,
    company: &str,
    role: Option<&str>,
) -> anyhow::Result<String> {
    let (email, role) = (address(email), role.map(str::trim));
    match role {
        Some("") => bail!("the role must not be empty"),
        Some("super_admin") => bail!("a super admin is made by `ringfence super-admin`"),
        Some(role) if !ROLES.contains(&role) => bail!("\"{role}\" is none of the roles: {}", ROLES.join(", ")),
        _ => {}
    }
    let company_id = db::company_named(admin, company).await?;
    let known = admin.query_opt(sql!("ops/find_user").text, &[&email]).await?;
    let left: Option<String> = known.as_ref().and_then(|row| row.get("company"));
    let left = left.filter(|left| left != company);
    let (user, role) = match known {
        // What somebody was in another company says nothing about this one, and what they are of the platform stays.
        Some(row) => {
            let (user, was): (uuid::Uuid, &str) = (row.get("id"), row.get("user_role"));
            let moves = left.is_some() && was != "super_admin";
            let role = role.or(moves.then_some("company_user"));
            let ends = left.is_some() || role.is_some_and(|role| role != was && role != "company_admin");
            if ends && let Some(row) = admin.query_opt(sql!("ops/without_admin").text, &[&vec![user]]).await? {
                let of: &str = row.get("name");
                bail!("{email} is the last admin of {of}: make somebody else an admin there first");
            }
            (user, role)
        }
        None => {
            let first_name = email.split('@').next().unwrap_or("New");
            (add_user(admin, &email, first_name, "").await?, role.or(Some("company_user")))
        }
    };
    let tx = admin.transaction().await?;
    tx.execute(sql!("ops/assign_company").text, &[&user, &company_id]).await.map_err(|e| {
        match e.as_db_error().filter(|e| *e.code() == SqlState::UNIQUE_VIOLATION) {
            Some(taken) => anyhow::anyhow!(
                "{} has a row already with a key that one of {email}'s historical rows has, in {} ({}): after `ringfence backfill run` \
                 the table app.backfill_collision names such rows. Delete one of the two, or change its key",
                left.as_deref().unwrap_or(company),
                taken.table().unwrap_or_default(),
                taken.constraint().unwrap_or_default()
            ),
            None => e.into(),
        }
    })?;
    let role: String = tx.query_one(sql!("ops/set_role").text, &[&user, &role]).await?.get("user_role");
    tx.commit().await?;
    let from = left.map(|left| format!(", and no longer to {left}; what they made there stays there"));
    Ok(format!("{email} belongs to {company} now, with the role {role}{}.", from.unwrap_or_default()))
}

async fn add_user(admin: &tokio_postgres::Client, email: &str, first: &str, last: &str) -> anyhow::Result<uuid::Uuid> {
    // As the API has it.
    if wire::new_address(email, &()).is_err() || email.chars().count() > 255 {
        bail!("\"{email}\" is not an e-mail address that mail gets to");
    }
    let missing = format!("there is no account {email} yet: give the new one's password on standard input");
    let password = terminal::new_password(&format!("the new account {email}"), &missing)?;
    if let Some(problem) = passwords::problem(&password, email, true) {
        bail!("{problem}");
    }
    let hash = passwords::hash_now(&password)?;
    Ok(admin.query_one(sql!("ops/add_user").text, &[&email, &hash, &first, &last]).await?.get("id"))
}
