//! Finds PostgreSQL's server programs, and installs them if there are none.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{User, geteuid};

use super::{as_owner, text, unprivileged};
use crate::db::migrate::{self, NEEDED};

struct Server {
    version: (i32, i32),
    programs: PathBuf,
    extensions: bool,
}

impl Server {
    /// Whether row-level security is sound: earlier releases let rows slip past it.
    fn is_recent(&self) -> bool {
        migrate::has_fixes(self.version.0, self.version.1)
    }

    fn at(programs: PathBuf, owner: &User) -> Option<Self> {
        if !["initdb", "pg_ctl", "postgres"].iter().all(|name| programs.join(name).is_file()) {
            return None;
        }
        let output = as_owner(owner, &programs.join("postgres")).arg("--version").output().ok()?;
        let version = text(&output);
        let (major, minor) = version.split_whitespace().nth(2)?.split_once('.')?;
        let version = (major.parse().ok()?, minor.parse().ok()?);
        let shown = as_owner(owner, &programs.join("initdb")).args(["--show", "-D", "/"]).output();
        let shown = text(&shown.ok()?);
        let share = shown.lines().find_map(|line| line.strip_prefix("share_path="));
        let extensions = share.is_some_and(|share| {
            ["btree_gin", "pg_trgm"].iter().all(|name| {
                let control = format!("{share}/extension/{name}.control");
                Path::new(&control).is_file()
            })
        });
        Some(Self { version, programs, extensions })
    }

    fn all(owner: &User) -> Vec<Self> {
        let mut folders: Vec<PathBuf> = path_folders()
            .filter_map(|folder| Some(folder.join("postgres").canonicalize().ok()?.parent()?.into()))
            .collect();
        if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
            folders.push(text(&output).trim().into());
        }
        for (parent, prefix, rest) in [
            ("/usr/lib/postgresql", "", "bin"),
            ("/usr/lib", "postgresql", "bin"),
            ("/usr", "pgsql-", "bin"),
            ("/usr/libexec", "postgresql", ""),
            ("/opt/homebrew/opt", "postgresql", "bin"),
            ("/usr/local/opt", "postgresql", "bin"),
        ] {
            for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(prefix) {
                    folders.extend(entry.path().join(rest).canonicalize());
                }
            }
        }
        folders.sort();
        folders.dedup();
        folders.into_iter().filter_map(|folder| Self::at(folder, owner)).collect()
    }
}

/// The newest suitable server; of version `major` if the data is of that version already.
pub(super) fn find(folder: &Path, major: Option<&str>) -> Result<PathBuf> {
    for installed in [false, true] {
        // Determined again after installing: a package may create the user, too.
        let servers = Server::all(&unprivileged()?);
        let fits = |server: &&Server| {
            server.is_recent() && server.extensions && major.is_none_or(|major| major == server.version.0.to_string())
        };
        if let Some(best) = servers.iter().filter(fits).max_by_key(|server| server.version) {
            return Ok(best.programs.clone());
        }
        if let Some(newest) = servers.iter().max_by_key(|server| server.version) {
            let (found, minor) = newest.version;
            if !newest.is_recent() {
                bail!(
                    "PostgreSQL {found}.{minor} is installed, but Ringfence needs {NEEDED}, whose \
                     row-level security is sound: update it, or install a newer one from \
                     https://www.postgresql.org/download/."
                );
            }
            if let Some(major) = major
                && newest.extensions
            {
                bail!(
                    "The database in {} was made by PostgreSQL {major}, but only {found}.{minor} \
                     is here: install PostgreSQL {major} again, or choose another folder.",
                    folder.display(),
                );
            }
        }
        if !installed {
            install()?;
        }
    }
    bail!(
        "Ringfence needs {NEEDED} with the extensions btree_gin and pg_trgm, and this system's \
         packages did not bring them: install it from https://www.postgresql.org/download/."
    )
}

/// The commands of each package manager. Debian's packages would start a server on port 5432; a temporary file, which
/// outranks the administrator's settings, prevents that.
const INSTALLERS: [(&str, &str); 7] = [
    (
        "apt-get",
        "export DEBIAN_FRONTEND=noninteractive
own=/etc/postgresql-common/createcluster.d/zz-ringfence.conf
trap 'exit 1' INT TERM
trap 'rm -f \"$own\"' EXIT
mkdir -p \"${own%/*}\"
echo 'create_main_cluster = false' >\"$own\"
apt-get -o DPkg::Lock::Timeout=300 update
apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends postgresql postgresql-contrib",
    ),
    (
        "dnf",
        "dnf module enable -y postgresql:16 || true
dnf install -y postgresql postgresql-server postgresql-contrib",
    ),
    ("yum", "yum install -y postgresql postgresql-server postgresql-contrib"),
    ("apk", "apk add postgresql postgresql-client postgresql-contrib"),
    ("pacman", "pacman -Sy --needed --noconfirm postgresql"),
    ("zypper", "zypper --non-interactive install postgresql postgresql-server postgresql-contrib"),
    ("brew", "brew install postgresql@17"),
];

fn install() -> Result<()> {
    let on_path = |name: &str| path_folders().any(|folder| folder.join(name).is_file());
    let (manager, script) = INSTALLERS.into_iter().find(|(name, _)| on_path(name)).with_context(|| {
        format!(
            "Ringfence needs {NEEDED} with its contributed extensions: install it from \
                 https://www.postgresql.org/download/."
        )
    })?;
    let mut command = if manager == "brew" || geteuid().is_root() {
        Command::new("sh")
    } else {
        ensure!(
            on_path("sudo"),
            "PostgreSQL is not installed, and installing it takes root: install {NEEDED} with its \
             contributed extensions through {manager}."
        );
        let mut sudo = Command::new("sudo");
        sudo.arg("sh");
        sudo
    };
    command.args(["-ec", script]).stdin(Stdio::null());
    eprintln!(
        "PostgreSQL with its contributed extensions is not installed; {} now runs:\n{script}\n",
        command.get_program().to_string_lossy()
    );
    // Its output joins ours on stderr, because stdout may be read by a program.
    ensure!(
        command.stdout(io::stderr()).status().is_ok_and(|status| status.success()),
        "{manager} could not install PostgreSQL: see its message above, or install {NEEDED} \
         yourself."
    );
    Ok(())
}

fn path_folders() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).collect::<Vec<_>>().into_iter()
}
