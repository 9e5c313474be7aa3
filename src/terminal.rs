//! What a command asks the person at the terminal.

use anyhow::bail;
use std::io::{IsTerminal, Read};

/// A new password for `whom`: asked for twice at a terminal, otherwise the first line of standard input. `missing` is
/// said when there is none.
pub fn new_password(whom: &str, missing: &str) -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        let first = rpassword::prompt_password(format!("Password for {whom}: "))?;
        if rpassword::prompt_password("The same again: ")? != first {
            bail!("the two passwords differ");
        }
        return Ok(first);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => bail!("{missing}"),
    }
}
