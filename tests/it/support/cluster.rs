//! Helpers for tests that start their own PostgreSQL cluster.

use std::{
    os::unix::{
        fs::{DirBuilderExt, MetadataExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};
use tokio_postgres::config::Host;

/// A command that runs as the owner of this folder: neither PostgreSQL nor PgBouncer runs as root.
pub fn as_owner(of: &Path, program: &Path) -> Command {
    let owner = of.metadata().unwrap();
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C");
    if nix::unistd::geteuid().is_root() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command
}

/// Creates a private folder with the same owner as another one.
pub fn folder_like(of: &Path, folder: &Path) {
    std::fs::DirBuilder::new().mode(0o700).create(folder).unwrap();
    let owner = of.metadata().unwrap();
    std::os::unix::fs::chown(folder, Some(owner.uid()), Some(owner.gid())).unwrap();
}

/// The folder of a database's unix socket.
pub fn socket(url: &str) -> PathBuf {
    let config: tokio_postgres::Config = url.parse().unwrap();
    match &config.get_hosts()[0] {
        Host::Unix(folder) => folder.clone(),
        Host::Tcp(host) => panic!("the tests' own PostgreSQL has a unix socket, not {host}"),
    }
}
