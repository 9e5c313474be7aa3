//! Reads Excel workbooks, each in a process of its own.
//!
//! In a workbook, a kilobyte can demand a terabyte: a count of strings, a far-away cell, a cycle of sectors, a zip
//! bomb. A failed allocation ends a whole Rust process, so workbooks are not read in the one that serves requests. The
//! program starts itself with [`ARGUMENT`], without environment and with limits on memory and time; that process reads
//! the workbook and prints its first sheet as CSV.

use crate::{Error, Result};
use anyhow::{Context, bail};
use calamine::{Data, Range, Reader, Xls, Xlsx};
use nix::sys::resource::{Resource, setrlimit};
use std::{
    borrow::Cow,
    io::{Cursor, Read},
    path::PathBuf,
    process::{ExitCode, Stdio},
    sync::OnceLock,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    sync::Semaphore,
};

const ARGUMENT: &str = "read-workbook";
/// Limits on reading a workbook: memory in bytes, and time.
const MAX_MEMORY_BYTES: u64 = 1 << 30;
const TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum size of the CSV, in bytes: as for an upload.
const MAX_CSV_BYTES: u64 = 50 << 20;
/// Workbooks that are read at a time.
static READERS: Semaphore = Semaphore::const_new(2);
const UNREADABLE: &str = "The workbook cannot be read: it is damaged, protected by a password or too large. Save it again, split it, or save it as CSV";

/// The program that reads workbooks, if not the running one: in tests.
pub static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The first sheet of a workbook (.xlsx or .xls, whatever its name says), as CSV of at most `rows` rows.
pub async fn to_csv(book: Vec<u8>, rows: usize) -> Result<Vec<u8>> {
    let _permit = READERS.acquire().await.map_err(|_| Error::Unavailable)?;
    match tokio::time::timeout(TIMEOUT, read_apart(book, rows)).await {
        Ok(Ok(Some(csv))) => Ok(csv),
        Ok(Ok(None)) | Err(_) => Err(Error::bad_request(UNREADABLE)),
        Ok(Err(e)) => Err(Error::Internal(format!("cannot start the reader of workbooks: {e}").into())),
    }
}

async fn read_apart(book: Vec<u8>, rows: usize) -> std::io::Result<Option<Vec<u8>>> {
    let program = match PROGRAM.get() {
        Some(program) => program.clone(),
        // Not by path, where there may be a newer program by now.
        None if cfg!(target_os = "linux") => "/proc/self/exe".into(),
        None => std::env::current_exe()?,
    };
    let mut command = Command::new(program);
    command.arg(ARGUMENT).arg(rows.to_string()).env_clear();
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { return Ok(None) };
    let give = async {
        // A reader that has seen enough closes the pipe; its exit status counts.
        let _ = input.write_all(&book).await;
        drop((input, book));
    };
    let mut csv = Vec::new();
    let mut output = output.take(MAX_CSV_BYTES + 1);
    let take = output.read_to_end(&mut csv);
    let ((), taken) = tokio::join!(give, take);
    taken?;
    if csv.len() as u64 > MAX_CSV_BYTES {
        return Ok(None);
    }
    Ok(child.wait().await?.success().then_some(csv))
}

/// Reads a workbook from standard input if the program was started for that; comes first in `main`.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let rows = arguments.next()?.parse().ok()?;
    Some(match read(rows) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

fn read(rows: usize) -> anyhow::Result<()> {
    for (resource, limit) in
        [(Resource::RLIMIT_AS, MAX_MEMORY_BYTES), (Resource::RLIMIT_CPU, TIMEOUT.as_secs()), (Resource::RLIMIT_CORE, 0)]
    {
        setrlimit(resource, limit, limit)?;
    }
    let mut book = Vec::new();
    std::io::stdin().lock().read_to_end(&mut book)?;
    let mut out = csv::Writer::from_writer(std::io::stdout().lock());
    for row in first_sheet(book)?.rows().take(rows) {
        out.write_record(row.iter().map(|cell| text(cell).into_owned().into_bytes()))?;
    }
    Ok(out.flush()?)
}

fn first_sheet(book: Vec<u8>) -> anyhow::Result<Range<Data>> {
    let sheet = if book.starts_with(b"PK") {
        Xlsx::new(Cursor::new(book))?.worksheet_range_at(0).transpose()?
    } else if book.starts_with(b"\xD0\xCF\x11\xE0") {
        Xls::new(Cursor::new(book))?.worksheet_range_at(0).transpose()?
    } else {
        bail!("no workbook");
    };
    sheet.context("no sheet")
}

/// A cell as a person would type it: phone numbers are whole numbers, and Excel has no whole numbers.
fn text(cell: &Data) -> Cow<'_, str> {
    match cell {
        Data::Empty | Data::Error(_) => "".into(),
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => text.into(),
        Data::Int(number) => number.to_string().into(),
        Data::Float(number) => number.to_string().into(),
        Data::Bool(yes) => if *yes { "TRUE" } else { "FALSE" }.into(),
        Data::DateTime(time) if time.is_datetime() => {
            let (year, month, day, hour, minute, second, _) = time.to_ymd_hms_milli();
            let date = format!("{year:04}-{month:02}-{day:02}");
            match (hour, minute, second) {
                (0, 0, 0) => date.into(),
                _ => format!("{date} {hour:02}:{minute:02}:{second:02}").into(),
            }
        }
        Data::DateTime(duration) => duration.to_string().into(),
    }
}
