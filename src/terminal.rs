//! What a command says and asks at the terminal.

use anyhow::bail;
use std::{
    fmt,
    io::{self, IsTerminal, Read, Write},
};

/// `println!` for commands: whoever reads may have had enough, as `head` has, and the work goes on to its end all the same.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::terminal::print(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// The same without the end of a line.
pub fn print(text: fmt::Arguments<'_>) {
    if let Err(e) = io::stdout().write_fmt(text)
        && e.kind() != io::ErrorKind::BrokenPipe
    {
        panic!("cannot write to standard output: {e}");
    }
}

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
