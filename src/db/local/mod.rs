//! The private PostgreSQL cluster behind `make run`, `make test` and the benchmark.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};
use std::{env, process};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::kill;
use nix::sys::statvfs::{Statvfs, statvfs};
use nix::unistd::{Pid, Uid, User, geteuid};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

mod programs;

/// The port number, which only names the socket: the server does not listen on a network.
const PORT: u16 = 55432;
const ADMIN: &str = "ringfence_admin";
const DATABASE: &str = "ringfence";
const TEMPORARY: &str = "ringfence-test-";
const START_LOCK: &str = "start.lock";
const USERS_LOCK: &str = "users.lock";
const LOG: &str = "data/server.log";
/// How often a server that must keep running is checked, and the pause after a failed start.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
const RESTART_DELAY: Duration = Duration::from_secs(5);

/// A private PostgreSQL server, reachable through a unix socket that only its owner (and root) can open. Its superuser
/// is `ringfence_admin`.
///
/// Dropping it does the same as [`Cluster::close`], ignoring errors.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    socket: PathBuf,
    programs: PathBuf,
    owner: User,
    temporary: bool,
    /// A lock held shared by every process that uses the cluster; `None` once it is closed.
    users: Option<File>,
    keeper: Option<Keeper>,
}

/// The thread that restarts a server; it ends when `stop` is dropped.
#[derive(Debug)]
struct Keeper {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

/// The default data folder: `/var/lib/ringfence` for root, otherwise `.ringfence` in the current
/// directory.
pub fn default_folder() -> PathBuf {
    if geteuid().is_root() { "/var/lib/ringfence".into() } else { ".ringfence".into() }
}

impl Cluster {
    /// Starts the cluster kept in `folder` (creating it the first time), or attaches to it when
    /// another ringfence process runs it already.
    pub async fn open(folder: &Path) -> Result<Self> {
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || Self::at(&folder, false)).await?
    }

    /// A throw-away cluster in a temporary folder, tuned for speed instead of durability and deleted when closed. Also
    /// deletes those that killed processes left behind.
    pub async fn temporary() -> Result<Self> {
        let random = RandomState::new().build_hasher().finish();
        let folder = format!("/tmp/{TEMPORARY}{}-{random:016x}", process::id());
        tokio::task::spawn_blocking(move || Self::at(folder.as_ref(), true)).await?
    }

    /// The address of `database` for `user`, in the form that tokio-postgres, psql and pgbench accept.
    pub fn url(&self, user: &str, database: &str) -> String {
        let [user, database] = [user, database].map(percent_encoded);
        let socket = percent_encoded(&self.socket.to_string_lossy());
        format!("postgres://{user}@/{database}?host={socket}&port={PORT}")
    }

    /// The addresses of Ringfence's database, which is created if missing, for the API's login and for the
    /// administrator.
    pub async fn own_database(&self) -> Result<(String, String)> {
        let client = super::connect(&self.url(ADMIN, "postgres")).await?;
        if client.query_opt("select from pg_database where datname = $1", &[&DATABASE]).await?.is_none() {
            client.batch_execute(&format!("create database {DATABASE}")).await?;
        }
        // Whoever is let into these can hold up the whole server from there.
        for shared in ["postgres", "template1"] {
            if client.query_one("select has_database_privilege('public', $1, 'connect')", &[&shared]).await?.get(0) {
                client.batch_execute(&format!("revoke connect on database {shared} from public")).await?;
            }
        }
        Ok((self.url("ringfence_api", DATABASE), self.url(ADMIN, DATABASE)))
    }

    /// The folder that holds all files of the cluster.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of the server's programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Where `program` (psql, pgbench, …) is: beside the server's programs, otherwise on the PATH.
    pub fn bin(&self, program: &str) -> PathBuf {
        let beside = self.programs.join(program);
        if beside.is_file() { beside } else { program.into() }
    }

    /// Restarts the server whenever it is gone (crashed, killed, or stopped with `pg_ctl`) until the cluster is closed.
    /// Closing leaves the server running for other processes that use it.
    pub fn keep_running(&mut self) {
        let server = Self {
            folder: self.folder.clone(),
            socket: self.socket.clone(),
            programs: self.programs.clone(),
            owner: self.owner.clone(),
            temporary: self.temporary,
            // Dropping it stops nothing.
            users: None,
            keeper: None,
        };
        let (stop, stopped) = mpsc::channel();
        let look_after = move || {
            let mut pause = CHECK_INTERVAL;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
                pause = CHECK_INTERVAL;
                if server.accepts() {
                    continue;
                }
                tracing::error!("PostgreSQL is gone: starting it again");
                match server.start_again() {
                    Ok(()) => tracing::info!("PostgreSQL is back"),
                    Err(error) => {
                        tracing::error!(error = %format!("{error:#}"), "PostgreSQL cannot be started");
                        pause = RESTART_DELAY;
                    }
                }
            }
        };
        self.keeper = Some(Keeper { stop, thread: thread::spawn(look_after) });
    }

    fn start_again(&self) -> Result<()> {
        // Another process that uses the cluster may be doing the same.
        let start = lock_file(&self.folder, START_LOCK)?;
        with_path(&self.folder, start.lock())?;
        self.launch()
    }

    /// Stops the server unless another process uses it; a temporary one is also deleted.
    pub async fn close(mut self) -> Result<()> {
        tokio::task::spawn_blocking(move || self.shut()).await?
    }

    fn at(folder: &Path, temporary: bool) -> Result<Self> {
        let major = fs::read_to_string(folder.join("data/PG_VERSION")).ok();
        let programs = programs::find(folder, major.as_deref().map(str::trim))?;
        if !folder.is_dir() {
            with_path(folder, fs::create_dir_all(folder))?;
            // Regardless of the umask: the server's user must pass through here to its own folders.
            with_path(folder, fs::set_permissions(folder, PermissionsExt::from_mode(0o755)))?;
        }
        let folder = with_path(folder, folder.canonicalize())?;
        let start = lock_file(&folder, START_LOCK)?;
        with_path(&folder, start.lock())?;
        let users = lock_file(&folder, USERS_LOCK)?;
        with_path(&folder, users.lock_shared())?;
        let owner = server_user(&folder)?;
        let socket = socket_folder(&folder, &owner);
        let cluster = Self { folder, socket, programs, owner, temporary, users: Some(users), keeper: None };
        if temporary {
            cluster.sweep();
        }
        let launched = cluster.launch();
        // Released before a failed cluster is dropped, because that takes this lock itself.
        drop(start);
        launched.map(|()| cluster)
    }

    fn launch(&self) -> Result<()> {
        let data = self.folder.join("data");
        let exists = data.metadata().map(|data| data.uid());
        if let Ok(uid) = exists {
            ensure!(
                uid == self.owner.uid.as_raw(),
                "The database in {} belongs to user {uid}, but its server would run as {}: choose \
                 another folder, or run this as the user who made it.",
                self.folder.display(),
                self.owner.name
            );
            ensure!(data.join("PG_VERSION").exists(), "{} is not a database: choose another folder.", data.display());
        }
        if let Err(error) = self.command("pg_ctl").arg("--version").output() {
            bail!(
                "The server runs as user {}, who cannot reach {} ({error}): open the way with chmod o+x on it \
                 and what it is in, or choose another folder.",
                self.owner.name,
                self.folder.display()
            );
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.accepts() {
            // The eighth line of the file is the server's state; it may be starting or stopping.
            let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            if state.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "The server in {} has been starting or stopping for a minute: look into {LOG} \
                 there, then try again.",
                self.folder.display()
            );
            sleep(Duration::from_millis(50));
        }
        if exists.is_err() {
            self.create(&data)?;
        }
        self.start()
    }

    fn create(&self, data: &Path) -> Result<()> {
        // Renamed when complete, so that an interrupted creation is never taken for a database.
        let new = self.folder.join("data.new");
        if new.exists() {
            with_path(&new, fs::remove_dir_all(&new))?;
        }
        self.private_folder(&new)?;
        let mut failure = String::new();
        // Sorted by bytes, and with the capital letters of every script: not every system has this as one locale.
        for locale in [&["--locale=C.UTF-8"][..], &["--locale=C", "--lc-ctype=en_US.UTF-8"]] {
            let mut initdb = self.command("initdb");
            initdb.args(["-D", "data.new", "-U", ADMIN, "--auth=trust", "--encoding=UTF8"]);
            initdb.args(locale).args(["--data-checksums", "--no-instructions"]);
            if self.temporary {
                initdb.arg("--no-sync");
            }
            let output = initdb.output().context("initdb does not run")?;
            if output.status.success() {
                return with_path(data, fs::rename(&new, data));
            }
            failure = text(&output);
            if !failure.contains("locale name") {
                break;
            }
        }
        Err(self.trouble("could not create a database", &failure))
    }

    fn start(&self) -> Result<()> {
        self.private_folder(&self.socket)?;
        let settings = self.folder.join("ringfence.conf");
        with_path(&settings, fs::write(&settings, self.settings()))?;
        with_path(&settings, fs::set_permissions(&settings, PermissionsExt::from_mode(0o644)))?;
        let log = self.folder.join(LOG);
        if log.metadata().is_ok_and(|log| log.len() > 1 << 20) {
            with_path(&log, fs::remove_file(&log))?;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let old = log.metadata().map_or(0, |log| log.len());
            // Relative names: pg_ctl starts the server through a shell, which would expand a folder's name.
            let output = self
                .command("pg_ctl")
                .args(["start", "-s", "-w", "-t", "120", "-D", "data", "-l", LOG])
                .args(["-o", "-c config_file=ringfence.conf"])
                .output()
                .context("pg_ctl does not run")?;
            if output.status.success() {
                return Ok(());
            }
            if self.accepts() {
                return self.launch();
            }
            let log = fs::read(&log).unwrap_or_default();
            let log = String::from_utf8_lossy(log.get(old as usize..).unwrap_or_default());
            let failure = text(&output) + &log;
            // The last queries of a killed server end on their own.
            let orphans = failure.contains("shared memory block");
            if !(orphans || self.forget_dead_server()) || Instant::now() > deadline {
                return Err(self.trouble("could not start PostgreSQL", &failure));
            }
            sleep(Duration::from_millis(250));
        }
    }

    /// Removes the lock files of a dead server. PostgreSQL takes any process with their pid for its server, even
    /// another program after a reboot, or a zombie in a container whose first process reaps none.
    fn forget_dead_server(&self) -> bool {
        let dead = |file: &PathBuf| {
            let pid = fs::read_to_string(file).unwrap_or_default();
            let pid = pid.lines().next().unwrap_or_default();
            fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.contains("(postgres) ") || stat.contains(") Z "))
        };
        let socket = self.socket.join(format!(".s.PGSQL.{PORT}.lock"));
        let files = [self.folder.join("data/postmaster.pid"), socket];
        let removed = files.iter().filter(|file| dead(file) && fs::remove_file(file).is_ok());
        removed.count() > 0
    }

    /// The server's settings. Errors are not logged, because their texts quote values.
    fn settings(&self) -> String {
        let buffers = if self.temporary { 128 } else { (memory() / 4 / (1 << 20)).clamp(16, 2048) };
        // During heavy writes, creating WAL files instead of recycling them would delay everybody's commits.
        let durability = if self.temporary {
            "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
        } else {
            "min_wal_size = 1GB\nmax_wal_size = 4GB\n"
        };
        format!(
            "# Written at each start: settings of your own belong in data/postgresql.conf, and \
             those below win.\n\
             include 'data/postgresql.conf'\n\
             cluster_name = 'ringfence'\n\
             listen_addresses = ''\n\
             port = {PORT}\n\
             unix_socket_directories = '{socket}'\n\
             unix_socket_permissions = 0700\n\
             max_connections = 200\n\
             shared_buffers = {buffers}MB\n\
             jit = off\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n\
             log_min_messages = log\n\
             log_min_error_statement = panic\n\
             log_error_verbosity = terse\n\
             log_statement = none\n\
             log_checkpoints = off\n\
             {durability}",
            socket = self.socket.display()
        )
    }

    fn shut(&mut self) -> Result<()> {
        if let Some(Keeper { stop, thread }) = self.keeper.take() {
            drop(stop);
            let _ = thread.join();
        }
        let Some(users) = self.users.take() else {
            return Ok(());
        };
        let start = lock_file(&self.folder, START_LOCK)?;
        with_path(&self.folder, start.lock())?;
        with_path(&self.folder, users.unlock())?;
        if let Err(TryLockError::WouldBlock) = users.try_lock() {
            return Ok(());
        }
        // A server that does not respond is not signalled: its pid may belong to another program now.
        if self.accepts() {
            let mode = if self.temporary { "immediate" } else { "fast" };
            let output = self
                .command("pg_ctl")
                .args(["stop", "-s", "-w", "-t", "60", "-D", "data", "-m", mode])
                .output()
                .context("pg_ctl does not run")?;
            if self.accepts() {
                return Err(self.trouble("could not stop PostgreSQL", &text(&output)));
            }
        }
        let _ = fs::remove_dir(&self.socket);
        if self.temporary {
            with_path(&self.folder, fs::remove_dir_all(&self.folder))?;
        }
        Ok(())
    }

    /// Deletes the temporary clusters whose process is gone.
    fn sweep(&self) {
        for entry in fs::read_dir("/tmp").into_iter().flatten().flatten() {
            let (folder, name) = (entry.path(), entry.file_name());
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY)) else {
                continue;
            };
            let pid = name.split('-').next().and_then(|pid| pid.parse().ok());
            let gone = pid.is_some_and(|pid| kill(Pid::from_raw(pid), None).is_err());
            let ours = entry.metadata().is_ok_and(|m| m.is_dir() && m.uid() == geteuid().as_raw());
            if !ours || !(gone || folder.join(USERS_LOCK).exists()) {
                continue;
            }
            // The lock is more reliable than the pid, which may belong to another program by now.
            let Ok(users) = lock_file(&folder, USERS_LOCK) else {
                continue;
            };
            if users.try_lock().is_ok() {
                drop(Self {
                    socket: folder.join("socket"),
                    programs: self.programs.clone(),
                    owner: server_user(&folder).unwrap_or_else(|_| self.owner.clone()),
                    folder,
                    temporary: true,
                    users: Some(users),
                    keeper: None,
                });
            }
        }
    }

    fn accepts(&self) -> bool {
        UnixStream::connect(self.socket.join(format!(".s.PGSQL.{PORT}"))).is_ok()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = as_owner(&self.owner, &self.programs.join(program));
        command.current_dir(&self.folder);
        command
    }

    /// Creates a folder that only the server's user can access.
    fn private_folder(&self, folder: &Path) -> Result<()> {
        let uid = self.owner.uid.as_raw();
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => with_path(folder, chown(folder, Some(uid), Some(self.owner.gid.as_raw()))),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // An empty folder may be left from an interrupted start.
                if fs::remove_dir(folder).is_ok() {
                    return self.private_folder(folder);
                }
                let found = with_path(folder, folder.symlink_metadata())?;
                ensure!(
                    found.is_dir() && found.uid() == uid && found.mode() & 0o077 == 0,
                    "{} is not a private folder of user {}: delete it and try again.",
                    folder.display(),
                    self.owner.name
                );
                Ok(())
            }
            Err(error) => with_path(folder, Err(error)),
        }
    }

    fn trouble(&self, what: &str, output: &str) -> anyhow::Error {
        let folder = self.folder.display();
        if output.contains("No space left on device") || disk_is_full(&self.folder) {
            return full(&self.folder);
        }
        if output.contains("shared memory block") {
            return anyhow!(
                "Queries of a server that crashed still run in {folder}: try again when they have \
                 ended, or end the processes called postgres that belong to it."
            );
        }
        if output.contains("Cannot allocate memory") {
            return anyhow!("There is too little free memory for PostgreSQL: end other programs.");
        }
        let mut lines: Vec<_> = output.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines.split_off(lines.len().saturating_sub(5)).join("\n  ");
        anyhow!("Ringfence {what} in {folder}. The last that was heard of it:\n  {last}")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.shut();
    }
}

/// The user that runs the server in `folder`. For root, as which PostgreSQL refuses to run, the owner of its data.
fn server_user(folder: &Path) -> Result<User> {
    let uid = |path: &Path| path.symlink_metadata().ok().map(|found| Uid::from_raw(found.uid()));
    // Only in a folder of root's: elsewhere, another user could have put the data there.
    if geteuid().is_root()
        && uid(folder).is_some_and(Uid::is_root)
        && let Some(made_by) = uid(&folder.join("data")).filter(|made_by| !made_by.is_root())
        && let Some(user) = User::from_uid(made_by)?
    {
        return Ok(user);
    }
    unprivileged()
}

fn unprivileged() -> Result<User> {
    let uid = geteuid();
    if !uid.is_root() {
        return User::from_uid(uid)?
            .with_context(|| format!("User {uid} has no name, which PostgreSQL needs: add it to /etc/passwd."));
    }
    ["postgres", "_postgres", "nobody"]
        .into_iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .context("PostgreSQL does not run as root: add a user named postgres.")
}

/// A command without our environment, which a server that outlives us must not inherit.
fn as_owner(owner: &User, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C");
    command.stdin(Stdio::null());
    if geteuid().is_root() {
        command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
    }
    command
}

fn lock_file(folder: &Path, name: &str) -> Result<File> {
    let file = folder.join(name);
    with_path(&file, File::options().write(true).create(true).truncate(false).mode(0o600).open(&file))
}

/// The socket's folder: inside `folder`, unless its path would be too long for a socket (104 bytes on some systems) or
/// need quoting in the server's settings.
fn socket_folder(folder: &Path, owner: &User) -> PathBuf {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let inside = folder.join("socket");
    if inside.to_str().is_some_and(|path| path.len() <= 85 && path.chars().all(plain)) {
        return inside;
    }
    // FNV-1a, because the standard hasher may differ from one build to the next.
    let hash = folder
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    let root = geteuid().is_root() && Path::new("/run").is_dir();
    let parent = if root { "/run" } else { "/tmp" };
    format!("{parent}/ringfence-{}-{hash:016x}", owner.uid).into()
}

/// The memory of this machine, or of the container that we run in, in bytes.
fn memory() -> u64 {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let machine = read("/proc/meminfo")
        .split_whitespace()
        .nth(1)
        .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
        .map_or(1 << 30, |kilobytes| kilobytes * 1024);
    let container = read("/sys/fs/cgroup/memory.max").trim().parse().unwrap_or(u64::MAX);
    machine.min(container)
}

/// Whether the disk is full: often the log, which is on it, does not say so.
fn disk_is_full(folder: &Path) -> bool {
    // The width of these integers depends on the system.
    let free = |disk: Statvfs| u128::from(disk.blocks_available()) * u128::from(disk.fragment_size());
    statvfs(folder).is_ok_and(|disk| free(disk) < 32 << 20)
}

fn full(path: &Path) -> anyhow::Error {
    anyhow!("The disk is full: free some space, or choose another folder than {}.", path.display())
}

/// Says what to do about a failure at `path`.
fn with_path<T>(path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => full(path),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            anyhow!("This user may not write {}: choose another folder, or run this as its owner.", path.display())
        }
        _ => anyhow!("{} cannot be used: {error}.", path.display()),
    })
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|part| String::from_utf8_lossy(part)).concat()
}

fn percent_encoded(text: &str) -> String {
    const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, &RESERVED).to_string()
}
