//! What a command says and asks at the terminal.

use crate::wire;
use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    borrow::Cow,
    fmt,
    io::{self, IsTerminal, Read, Write},
    time::Duration,
};

/// `println!` for commands: whoever reads may have had enough, as `head` has, and the work goes on to its end all the same.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::terminal::print(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Makes a text that came from others, such as a company's name, safe on its line: without the control and format characters
/// with which it could make the terminal show something else.
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.contains(wire::is_hidden) { text.replace(wire::is_hidden, "").into() } else { text.into() }
}

/// Does what [`plain`] does, and keeps line breaks.
pub fn plain_lines(text: &str) -> String {
    text.replace(|c| wire::is_hidden(c) && c != '\n', "")
}

/// Prints a text without a line break behind it, for [`say!`] and commands that bring their own.
pub fn print(text: fmt::Arguments<'_>) {
    if let Err(e) = io::stdout().write_all(plain_lines(&text.to_string()).as_bytes())
        && e.kind() != io::ErrorKind::BrokenPipe
    {
        panic!("cannot write to standard output: {e}");
    }
}

/// How it is told how far something has come.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// By number, of so many.
    Of(u64),
    /// By number, of nobody knows how many.
    Number,
    /// In bytes, of so many.
    BytesOf(u64),
    /// In bytes, of nobody knows how many.
    Bytes,
    /// By the time that it has taken.
    Time,
}

/// How often what stands still shows that it is alive.
const TICK: Duration = Duration::from_millis(200);

/// What a command is at and how far it has come, in a line of standard error that changes, and nothing where that is no
/// terminal. The line is gone when the bar is, unless it was finished before.
pub fn progress(what: impl Into<Cow<'static, str>>, measure: Measure) -> ProgressBar {
    let (total, how_far) = match measure {
        Measure::Of(total) => (Some(total), "{wide_bar} {human_pos}/{human_len}, {per_sec}, {eta} left"),
        Measure::Number => (None, "{human_pos}, {per_sec}"),
        Measure::BytesOf(total) => (Some(total), "{wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left"),
        Measure::Bytes => (None, "{bytes}, {bytes_per_sec}"),
        Measure::Time => (None, "{elapsed}"),
    };
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new).with_message(what);
    if let Ok(style) = ProgressStyle::with_template(&format!("{{msg:>24}} {{spinner}} {how_far}")) {
        bar.set_style(style);
    }
    // However short the work is, who looks has seen what it was.
    bar.tick();
    bar.enable_steady_tick(TICK);
    bar
}

/// Goes on when somebody at a terminal types the word after what is said; otherwise `undone` is said.
pub fn confirm(what: fmt::Arguments<'_>, word: &str, undone: &str) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        bail!("{undone}: say --yes, or run it at a terminal and confirm");
    }
    write!(io::stdout(), "{what}Type {word} to go on: ")?;
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if answer.trim() != word {
        bail!("{undone}");
    }
    Ok(())
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
