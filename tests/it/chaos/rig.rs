//! What runs during faults: a PostgreSQL that survives a crash, a server and two workers as real processes behind
//! proxies, fake providers, and a small disk for files.

use super::providers::Providers;
use crate::support::{
    command::ringfence,
    database::OwnDatabase,
    proxy::{Proxy, Target},
    random::below,
    server::config,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use ringfence::{
    clients,
    db::{self, local::Cluster, migrate},
};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};
use tokio_postgres::Client;
use uuid::Uuid;

/// Number of the server's database connections.
pub const POOL: usize = 8;
/// Size of the disk for files, if it is a separate one, in bytes: enough for an hour of uploads.
const DISK: u64 = 512 << 20;

pub struct Rig {
    pub providers: Providers,
    pub database: Proxy,
    pub twilio: Proxy,
    pub mail: Proxy,
    pub base: String,
    pub disk: Disk,
    own: OwnDatabase,
    cluster: Option<Cluster>,
    folder: PathBuf,
    server: Mutex<Child>,
    workers: Mutex<Vec<Child>>,
}

/// How the disk for files becomes full.
pub enum Disk {
    /// A separate disk with this folder.
    Mounted(PathBuf),
    /// The server may only write files of a few bytes.
    Limited,
    /// It cannot become full, for this reason.
    Unlimited(&'static str),
}

impl Rig {
    pub async fn new() -> Self {
        clients::use_ring();
        let folder = PathBuf::from(format!("/tmp/ringfence-chaos-{}", Uuid::new_v4().simple()));
        let mut cluster = Cluster::open(&folder).await.unwrap();
        cluster.keep_running();
        let postgres = db::connect(&cluster.url("ringfence_admin", "postgres")).await.unwrap();
        postgres.batch_execute("create database chaos").await.unwrap();
        let (admin, direct) = (cluster.url("ringfence_admin", "chaos"), cluster.url("ringfence_api", "chaos"));
        migrate::migrate(&admin, None).await.unwrap();

        let at: tokio_postgres::Config = admin.parse().unwrap();
        let tokio_postgres::config::Host::Unix(socket) = &at.get_hosts()[0] else { panic!("{admin} is no socket") };
        let socket = socket.join(format!(".s.PGSQL.{}", at.get_ports()[0]));
        let providers = Providers::open().await;
        let database = Proxy::to(Target::Socket(socket)).await;
        let twilio = Proxy::to(Target::Port(providers.http)).await;
        let mail = Proxy::to(Target::Port(providers.smtp)).await;
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let base = format!("http://127.0.0.1:{free}");
        let disk = Disk::new(&folder);
        let own = OwnDatabase { name: "chaos".into(), admin, api: direct };
        let nothing = || Mutex::new(Command::new("true").spawn().unwrap());
        let rig = Self {
            providers,
            database,
            twilio,
            mail,
            base,
            disk,
            own,
            cluster: Some(cluster),
            folder,
            server: nothing(),
            workers: Mutex::default(),
        };
        rig.start_server().await;
        for _ in 0..2 {
            let worker = rig.program("worker").spawn().unwrap();
            rig.workers.lock().unwrap().push(worker);
        }
        rig
    }

    /// Connects as an administrator, without a proxy.
    pub async fn admin(&self) -> Client {
        db::connect(&self.own.admin).await.unwrap()
    }

    /// The program with these settings; its warnings go to a file.
    fn program(&self, command: &str) -> Command {
        let mut program = ringfence(&self.own, &[command]);
        if matches!(self.disk, Disk::Limited) && command == "serve" {
            // Writing too much is an error, and does not kill the server.
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
            for (name, value) in program.get_envs() {
                match value {
                    Some(value) => shell.env(name, value),
                    None => shell.env_remove(name),
                };
            }
            program = shell;
        }
        let config = config();
        let log = File::options().create(true).append(true).open(self.folder.join(format!("{command}.log"))).unwrap();
        let port = self.database.port;
        program
            .env("DATABASE_URL", format!("postgres://ringfence_api@127.0.0.1:{port}/chaos?sslmode=disable"))
            .env_remove("DATABASE_ADMIN_URL")
            .env("RINGFENCE_LISTEN", self.base.trim_start_matches("http://"))
            .env("RINGFENCE_JWT_SECRET", &config.jwt_secret[0])
            .env("RINGFENCE_SECRET_KEY", &config.secret_key[0])
            .env("RINGFENCE_PUBLIC_URL", &config.public_url)
            .env("RINGFENCE_TWILIO_URL", format!("http://127.0.0.1:{}", self.twilio.port))
            .env("RINGFENCE_SENDGRID_URL", format!("http://127.0.0.1:{}", self.twilio.port))
            .env("RINGFENCE_RELAY_URL", format!("smtp://127.0.0.1:{}", self.mail.port))
            .env("RINGFENCE_STORAGE_URL", format!("file://{}", self.files().display()))
            .env("RINGFENCE_RATE_LIMITS", "off")
            .env("RINGFENCE_WORKER", "off")
            .env("RINGFENCE_POOL_SIZE", POOL.to_string())
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .stderr(log);
        program
    }

    /// The folder of the store.
    pub fn files(&self) -> PathBuf {
        self.folder.join("disk").join("files")
    }

    pub async fn start_server(&self) {
        *self.server.lock().unwrap() = self.program("serve").spawn().unwrap();
        let start = Instant::now();
        let ready = async || reqwest::get(format!("{}/readyz", self.base)).await.is_ok_and(|r| r.status() == 200);
        while !ready().await {
            assert!(start.elapsed() < Duration::from_secs(60), "the server does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Signals the server and waits for its end.
    pub async fn stop_server(&self, signal: Signal) -> ExitStatus {
        send(self.server.lock().unwrap().id(), signal);
        let start = Instant::now();
        loop {
            if let Some(status) = self.server.lock().unwrap().try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(70), "the server does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the server that was started last still runs.
    pub fn is_server_up(&self) -> bool {
        self.server.lock().unwrap().try_wait().unwrap().is_none()
    }

    /// Kills one of the workers and starts another one.
    pub fn kill_worker(&self) {
        let mut workers = self.workers.lock().unwrap();
        let one = below(workers.len());
        workers[one].kill().unwrap();
        workers[one].wait().unwrap();
        workers[one] = self.program("worker").spawn().unwrap();
    }

    /// Kills PostgreSQL's postmaster with SIGKILL.
    pub fn kill_postgres(&self) {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        send(file.lines().next().unwrap().parse().unwrap(), Signal::SIGKILL);
    }

    /// Kills one of the server's backends: PostgreSQL then ends all of them and recovers.
    pub async fn kill_backend(&self) {
        let pid = "select pid from pg_stat_activity where usename = 'ringfence_api' order by random() limit 1";
        let pid: i32 = self.admin().await.query_one(pid, &[]).await.unwrap().get(0);
        send(pid.try_into().unwrap(), Signal::SIGKILL);
    }

    /// Waits until the database responds.
    pub async fn database_is_back(&self) {
        let start = Instant::now();
        let answers = async || match db::connect(&self.own.admin).await {
            Ok(client) => client.simple_query("select 1").await.is_ok(),
            Err(_) => false,
        };
        while !answers().await {
            assert!(start.elapsed() < Duration::from_secs(60), "PostgreSQL does not come back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs the isolation matrix against the running server, in a separate process.
    pub async fn isolation(&self) -> Result<Duration, String> {
        let start = Instant::now();
        let ran = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["isolation::", "--test-threads", "2"])
            .env("DATABASE_URL", &self.own.api)
            .env("DATABASE_ADMIN_URL", &self.own.admin)
            .env("TEST_SERVER", &self.base)
            .output();
        let ran = ran.await.unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        if ran.status.success() { Ok(start.elapsed()) } else { Err(said) }
    }

    /// Fills the disk, or frees the space again.
    pub fn fill_disk(&self, full: bool) {
        match &self.disk {
            Disk::Mounted(disk) => {
                let filler = disk.join("filler");
                if full {
                    let mut file = File::create(filler).unwrap();
                    while file.write_all(&[0; 4096]).is_ok() {}
                } else {
                    fs::remove_file(filler).unwrap();
                }
            }
            Disk::Limited => {
                let pid = self.server.lock().unwrap().id().to_string();
                let limit = if full { "--fsize=4096:" } else { "--fsize=unlimited:" };
                assert!(Command::new("prlimit").args(["--pid", &pid, limit]).status().unwrap().success());
            }
            Disk::Unlimited(_) => {}
        }
    }

    pub async fn close(mut self) {
        if let Some(cluster) = self.cluster.take() {
            self.end();
            cluster.close().await.unwrap();
        }
    }

    fn end(&self) {
        let mut server = self.server.lock().unwrap();
        for process in self.workers.lock().unwrap().iter_mut().chain([&mut *server]) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.end();
        drop(self.cluster.take());
        if let Disk::Mounted(disk) = &self.disk {
            let _ = Command::new("umount").arg(disk).status();
        }
        if std::thread::panicking() {
            println!("What was left behind is in {}: serve.log, worker.log, data/server.log", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

impl Disk {
    fn new(folder: &Path) -> Self {
        let disk = folder.join("disk");
        fs::create_dir(&disk).unwrap();
        let works = |command: &mut Command| {
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let mount = ["-t", "tmpfs", "-o", &format!("size={DISK},mode=0700"), "tmpfs"];
        if geteuid().is_root() && works(Command::new("mount").args(mount).arg(&disk)) {
            Disk::Mounted(disk)
        } else if works(Command::new("prlimit").arg("--version")) {
            Disk::Limited
        } else {
            Disk::Unlimited("this user may not mount a disk, and there is no prlimit")
        }
    }
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}
