//! The program as a process, and psql.

use crate::support::{
    database::OwnDatabase,
    server::{config, store_of},
};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Output, Stdio},
};

/// The program with the URLs of this database and its store, and no other `RINGFENCE_` setting of the environment.
pub fn ringfence(own: &OwnDatabase, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RINGFENCE_")) {
        command.env_remove(name);
    }
    command.args(arguments).env("DATABASE_URL", &own.api).env("DATABASE_ADMIN_URL", &own.admin).env_remove("RUST_LOG");
    command.env("RINGFENCE_STORAGE_URL", store_of(&own.api));
    command
}

/// The program with the tests' own secrets, in development mode.
pub fn configured(own: &OwnDatabase, arguments: &[&str]) -> Command {
    let (mut command, config) = (ringfence(own, arguments), config());
    command.env("RINGFENCE_JWT_SECRET", &config.jwt_secret[0]).env("RINGFENCE_SECRET_KEY", &config.secret_key[0]);
    command.env("RINGFENCE_DEVELOPMENT", "true").env("RINGFENCE_LISTEN", "127.0.0.1:0").env("RUST_LOG", "off");
    command
}

/// Starts a server, waits until it serves, and returns its address.
pub fn serve(command: &mut Command) -> (Child, String) {
    let mut server = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let base =
        lines.find_map(|l| l.unwrap().strip_prefix("Ringfence serves on ").map(str::to_owned)).expect("it serves");
    std::thread::spawn(move || lines.for_each(drop));
    (server, base)
}

/// Runs a command to its end with this standard input.
pub fn run(mut command: Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What psql prints for this input.
pub fn psql(url: &str, input: &str) -> String {
    use std::io::Write;
    let mut child = Command::new("psql")
        .args(["-X", "-d", url])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql comes with PostgreSQL");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    text(&output.stdout) + &text(&output.stderr)
}
