//! The program: the server, and the commands of those who run it.

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use ringfence::{
    clients::storage::Storage,
    commands::{
        archive, backfill, backup, demo, doctor, erase, files, import, local,
        location::{administer, located, with_server_storage, with_storage},
        operator, secrets, serve, user,
    },
    config::{Config, Database, LogFormat},
    db::{Db, migrate},
    log, say,
    seal::Sealer,
    terminal, workbook,
};
use std::process::ExitCode;
use tokio::runtime;

/// A request allocates a few hundred small strings and may free them on another thread, at which mimalloc is faster:
/// `make bench` shows a fifth less processor time for a page of contacts. Without huge pages, which would keep twice
/// the memory in use.
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
    /// Missing logins of operators are created, except on the server of the backup, where they have been removed since.
    /// An existing login keeps its rights, and has its companies in the copy only if it is the login that was backed
    /// up. All tokens end, so everybody has to log in again. People who were erased since the backup are present again:
    /// repeat those erasures in the copy.
    Restore(backup::Restore),
    /// Manage the store of files
    #[command(subcommand)]
    Files(files::Command),
    /// Import the database of the old backend: a dry run first, then as often as needed (needs DATABASE_ADMIN_URL)
    ///
    /// Stop the old backend first. Each run imports what is new in the old database: rows that were imported before are
    /// left alone and never imported again, even if they were changed there or deleted here. An interrupted run is
    /// completed by the next one. Rows that do not fit are left out and written to the report, with their table, id and
    /// reason; so is every change that the import makes to a row. Nobody becomes a super admin, and texts that were due
    /// are not sent.
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
    /// Run a command with a private PostgreSQL, its addresses in DATABASE_URL and DATABASE_ADMIN_URL, and in PGHOST and
    /// so on for psql
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
        Ok(_) if terminal::has_failed() => ExitCode::FAILURE,
        Ok(code) => code,
        Err(e) => {
            eprintln!("ringfence: {}", terminal::plain_lines(&explain(&e)));
            ExitCode::FAILURE
        }
    }
}

/// The settings may be given before or after a command. The help of commands that serve shows them; the others' help
/// hides them.
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

/// The error and its causes in one line; a database error in the server's words, since this is the administrator's
/// terminal.
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
        Command::Serve => serve::serve(cli.database, cli.config).await?,
        Command::Worker => serve::worker(cli.database, cli.config).await?,
        Command::Openapi => say!("{}", serde_json::to_string_pretty(&ringfence::api::router().1)?),
        Command::Local { temporary, command } => return local::run(cli.database, cli.config, temporary, command).await,
        Command::Doctor => {
            let mut config = cli.config;
            let healthy = located(cli.database, async |at| {
                let storage = config.known_storage(at.folder.as_deref())?;
                let sealer = config.known_sealer(at.folder.as_deref())?;
                doctor::run(&at.api, storage.as_ref(), sealer.as_ref()).await
            });
            let healthy = healthy.await?;
            return Ok(exit_code(healthy));
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
                        terminal::print(format_args!("{}", demo::summary(&loaded.logins)));
                    }),
                }
            });
            loaded.await?;
        }
        Command::Files(files::Command::Sweep { dry_run }) => {
            let days = cli.config.deleted_files_days;
            let sweep = async |db: &Db, storage: &Storage| files::sweep(db, storage, days, dry_run).await;
            with_server_storage(cli.database, cli.config, dry_run, sweep).await?;
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
                config.resolve_secret_key(at.folder.as_deref())?;
                secrets::run(&command, at.admin()?, &Sealer::new(&config.secret_key)?).await
            });
            return Ok(exit_code(done.await?));
        }
        Command::SuperAdmin { email } => {
            administer(cli.database, async |admin| user::super_admin(admin, &email).await).await?;
        }
        Command::Backfill(command) => {
            let fine = located(cli.database, async |at| backfill::run(command, at.admin()?).await).await?;
            return Ok(exit_code(fine));
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

fn exit_code(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn import_old(database: Database, mut config: Config, options: &import::Options) -> anyhow::Result<()> {
    located(database, async |at| {
        let admin = at.admin()?;
        config.resolve_secret_key(at.folder.as_deref())?;
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
            erased.summary()
        ));
        Ok(())
    })
    .await
}
