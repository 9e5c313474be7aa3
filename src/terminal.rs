//! What commands print and ask at the terminal.

use crate::wire;
use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    borrow::Cow,
    fmt,
    io::{self, IsTerminal, Read, Write},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

/// `println!` for commands: whoever reads may have had enough, as `head` has, or the disk may be full, and the work
/// goes on to its end all the same.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::terminal::print(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Makes a foreign text, such as a company's name, safe to print: removes the control and format characters with which
/// it could make the terminal show something else.
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.contains(wire::is_hidden) { text.replace(wire::is_hidden, "").into() } else { text.into() }
}

/// Like [`plain`], but keeps line breaks.
pub fn plain_lines(text: &str) -> String {
    text.replace(|c| wire::is_hidden(c) && c != '\n', "")
}

/// Whether something could not be printed.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a text without a line break behind it, for [`say!`] and commands that bring their own. The first failure is
/// told on standard error, and ends no work.
pub fn print(text: fmt::Arguments<'_>) {
    let mut out = io::stdout();
    let printed = out.write_all(plain_lines(&text.to_string()).as_bytes()).and_then(|()| out.flush());
    if let Err(e) = printed
        && e.kind() != io::ErrorKind::BrokenPipe
        && !HAS_FAILED.swap(true, Relaxed)
    {
        let _ = writeln!(io::stderr(), "ringfence: cannot write to standard output: {e}");
    }
}

/// Whether something could not be printed: the program's exit status says it, since its output is not complete.
pub fn has_failed() -> bool {
    HAS_FAILED.load(Relaxed)
}

/// How progress is measured.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// A number, of this total.
    Of(u64),
    /// A number, of an unknown total.
    Number,
    /// Bytes, of this total.
    BytesOf(u64),
    /// Bytes, of an unknown total.
    Bytes,
    /// The elapsed time.
    Time,
}

/// How often a progress bar is redrawn while it stands still.
const TICK_INTERVAL: Duration = Duration::from_millis(200);

/// Shows what a command is doing and its progress, in a changing line of standard error, if that is a terminal. The
/// line disappears with the bar, unless it was finished before.
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
    // Shows even the shortest work.
    bar.tick();
    bar.enable_steady_tick(TICK_INTERVAL);
    bar
}

/// Returns if the user at the terminal types `word` after `what` is printed; otherwise fails with `undone`.
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
/// the error if there is none.
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
