//! Contacts from a file: CSV, or the first sheet of a workbook, which is read as CSV.
//!
//! Bad rows do not stop the others: each is reported by its number, counted from 1 below the header.

use super::super::prelude::*;
use crate::{db::Tx, wire::Upload, workbook};
use std::collections::{BTreeMap, HashSet};

/// Maximum number of rows in a file: more would hold a transaction, and the memory of its rows, for too long.
const MAX_ROWS: usize = 200_000;
/// Maximum number of rows in a statement. It is divided by the number of workflows that new contacts trigger, because
/// each row starts a run of each, but not below `MIN_CHUNK_ROWS`: a statement must end before its timeout.
const CHUNK_ROWS: usize = 5_000;
const MIN_CHUNK_ROWS: usize = 50;
/// Maximum number of unterminated quotes: after each one, the rest of the file is parsed again.
const MAX_UNTERMINATED_QUOTES: usize = 20;
/// Maximum number of errors reported; the others are only counted.
const MAX_ERRORS: usize = 10;

/// The text columns and their maximum lengths in characters; the remaining column is `owner_id`.
const COLUMNS: [(&str, usize); 7] = [
    ("email", 255),
    ("first_name", 100),
    ("last_name", 100),
    ("phone", 50),
    ("company", 200),
    ("title", 200),
    ("type", 100),
];

/// The result of an import.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Outcome {
    message: String,
    created_count: usize,
    failed_count: usize,
    /// The first ten problems, `Row <n>: …`.
    errors: Vec<String>,
}

pub(super) async fn csv(db: TenantDb, upload: Upload) -> Result<Json<Outcome>> {
    let company = check_caller(&db).await?;
    let file = upload.read(&wire::IMPORTS, company).await?;
    check_ending(&file.name, &[".csv"], "The file must be a CSV file: its name ends in .csv")?;
    import(db, file.bytes).await
}

pub(super) async fn excel(db: TenantDb, upload: Upload) -> Result<Json<Outcome>> {
    let company = check_caller(&db).await?;
    let file = upload.read(&wire::IMPORTS, company).await?;
    check_ending(&file.name, &[".xlsx", ".xls"], "The file must be an Excel workbook: its name ends in .xlsx or .xls")?;
    // The header, and one row more than allowed, so that an excess is noticed.
    import(db, workbook::to_csv(file.bytes, 1 + MAX_ROWS + 1).await?).await
}

fn check_ending(name: &str, endings: &[&str], otherwise: &'static str) -> Result<()> {
    let name = name.to_lowercase();
    if endings.iter().any(|e| name.ends_with(e)) { Ok(()) } else { Err(Error::bad_request(otherwise)) }
}

/// The caller's company. An unauthorized caller cannot make the server read 50 MiB.
async fn check_caller(db: &TenantDb) -> Result<Uuid> {
    db.tx(async |tx| tx.caller().company_id.ok_or(Error::NoCompany)).await.must_have_company()
}

async fn import(db: TenantDb, csv: Vec<u8>) -> Result<Json<Outcome>> {
    let file = tokio::task::spawn_blocking(move || read(&csv)).await;
    let Contents { rows, mut failures } = file.map_err(|e| Error::Internal(e.to_string().into()))??;
    let created_count = db.tx(async |tx| insert(tx, rows, &mut failures).await).await.must_have_company()?;
    let contacts = if created_count == 1 { "contact" } else { "contacts" };
    Ok(Json(Outcome {
        message: format!("Imported {created_count} {contacts}"),
        created_count,
        failed_count: failures.count,
        errors: failures.first.into_iter().map(|(row, why)| format!("Row {row}: {why}")).collect(),
    }))
}

async fn insert(tx: &Tx<'_>, mut rows: Vec<Row>, failures: &mut Failures) -> Result<usize> {
    let owners: HashSet<Uuid> = rows.iter().filter_map(|r| r.owner).collect();
    if !owners.is_empty() {
        let owners = Vec::from_iter(owners);
        let known: HashSet<Uuid> = tx.all(sql!("contacts/colleagues"), &[&owners]).await?.into_iter().collect();
        rows.retain(|row| {
            let fits = row.owner.is_none_or(|owner| known.contains(&owner));
            if !fits {
                failures.add(row.number, "Owner not found");
            }
            fits
        });
    }
    let mut created = rows.len();
    let listening: i64 = tx.one(sql!("contacts/listening"), &[]).await?;
    let size = CHUNK_ROWS / usize::try_from(listening).unwrap_or_default().max(1);
    for chunk in rows.chunks(size.max(MIN_CHUNK_ROWS)) {
        let column = |cell: fn(&Row) -> &str| Vec::from_iter(chunk.iter().map(cell));
        let optional = |cell: fn(&Row) -> &Option<Box<str>>| Vec::from_iter(chunk.iter().map(|r| cell(r).as_deref()));
        let ids = Vec::from_iter(chunk.iter().map(|r| r.id));
        let owners = Vec::from_iter(chunk.iter().map(|r| r.owner));
        let existing: Vec<Uuid> = tx
            .all(
                sql!("contacts/import"),
                &[
                    &ids,
                    &column(|r| &r.first_name),
                    &column(|r| &r.last_name),
                    &column(|r| &r.email),
                    &optional(|r| &r.phone),
                    &optional(|r| &r.company),
                    &optional(|r| &r.title),
                    &column(|r| &r.kind),
                    &owners,
                ],
            )
            .await?;
        created -= existing.len();
        let existing: HashSet<Uuid> = existing.into_iter().collect();
        for row in chunk.iter().filter(|r| existing.contains(&r.id)) {
            failures.add(row.number, format!("A contact with the email {} already exists", row.email));
        }
    }
    Ok(created)
}

/// The rows of a file that can be imported, and what is wrong with the rest.
struct Contents {
    rows: Vec<Row>,
    failures: Failures,
}

struct Row {
    number: usize,
    id: Uuid,
    email: Box<str>,
    first_name: Box<str>,
    last_name: Box<str>,
    phone: Option<Box<str>>,
    company: Option<Box<str>>,
    title: Option<Box<str>>,
    kind: Box<str>,
    owner: Option<Uuid>,
}

/// Rows that are not imported: how many, and why the first ones failed.
#[derive(Default)]
struct Failures {
    count: usize,
    first: BTreeMap<usize, String>,
}

impl Failures {
    fn add(&mut self, row: usize, why: impl Into<String>) {
        self.count += 1;
        self.first.insert(row, why.into());
        if self.first.len() > MAX_ERRORS {
            self.first.pop_last();
        }
    }
}

/// The position of each column in a file.
struct Columns {
    text: [Option<usize>; COLUMNS.len()],
    owner: Option<usize>,
}

fn read(file: &[u8]) -> Result<Contents> {
    let text = str::from_utf8(file)
        .map_err(|_| Error::bad_request("The file is not UTF-8 text: save it as \"CSV UTF-8\" and try again"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let header = text.lines().find(|line| !line.trim().is_empty()).ok_or(Error::bad_request("The file is empty"))?;
    let delimiter = if header.matches('\t').count() > header.matches(',').count() { b'\t' } else { b',' };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
    let unreadable = |_| Error::bad_request("The file cannot be read as CSV");

    let names = Vec::from_iter(reader.headers().map_err(unreadable)?.iter().map(|name| name.trim().to_lowercase()));
    let place = |wanted: &str| names.iter().position(|name| name == wanted);
    let columns = Columns { text: COLUMNS.map(|(name, _)| place(name)), owner: place("owner_id") };
    if place("email").is_none() {
        return Err(Error::bad_request("The file has no column \"email\" in its first row"));
    }

    let (mut rows, mut failures) = (Vec::new(), Failures::default());
    let mut record = csv::StringRecord::new();
    let (mut number, mut torn) = (0, 0);
    // The offset in the text at which the reader began.
    let mut start = 0;
    while reader.read_record(&mut record).map_err(unreadable)? {
        number += 1;
        let begin = start + record.position().map_or(0, |at| at.byte() as usize);
        let end = start + reader.position().byte() as usize;
        let record_text = &text[begin..end];
        if let Some(line) = record_text.contains('"').then(|| torn_line(record_text, delimiter)).flatten() {
            torn += 1;
            if torn > MAX_UNTERMINATED_QUOTES {
                return Err(Error::bad_request("The file has many quotes that never end: is it a CSV file?"));
            }
            failures.add(number, "a quote in it never ends");
            // The text after this line is other rows.
            start = begin + line;
            reader = csv::ReaderBuilder::new()
                .delimiter(delimiter)
                .flexible(true)
                .has_headers(false)
                .from_reader(&text.as_bytes()[start..]);
            continue;
        }
        if number > MAX_ROWS {
            return Err(Error::bad_request("The file has more than 200000 rows: split the file and import its parts"));
        }
        // A table often ends with empty rows.
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        match read_row(number, &record, &columns) {
            Ok(row) => rows.push(row),
            Err(why) => failures.add(number, why),
        }
    }
    if rows.is_empty() && failures.count == 0 {
        return Err(Error::bad_request("The file is empty: there is no row below its header"));
    }
    Ok(Contents { rows, failures })
}

/// Where the first line of a record ends, if a quote in it is unterminated: no other quote follows, or the one that
/// closes it was meant to open another cell, some lines below.
fn torn_line(record: &str, delimiter: u8) -> Option<usize> {
    enum Cell {
        Begins,
        Plain,
        Quoted,
        /// Unless the next character is a quote too: two stand for one.
        Ended,
    }
    let is_end = |c: char| c == '\r' || c == '\n';
    let lines = record.trim_end_matches(is_end);
    let start = lines.len() - lines.trim_start_matches(is_end).len();
    let lines = &lines[start..];
    let line = lines.find(is_end);
    let (mut cell, mut is_odd) = (Cell::Begins, false);
    for &byte in lines.as_bytes() {
        cell = match (cell, byte) {
            (Cell::Begins | Cell::Ended, b'"') => Cell::Quoted,
            (Cell::Quoted, b'"') => Cell::Ended,
            (Cell::Quoted, _) => Cell::Quoted,
            (_, b'\r' | b'\n') => Cell::Begins,
            (_, byte) if byte == delimiter => Cell::Begins,
            (Cell::Ended, _) => {
                is_odd = true;
                Cell::Plain
            }
            _ => Cell::Plain,
        };
    }
    let is_torn = matches!(cell, Cell::Quoted) || is_odd && line.is_some();
    is_torn.then_some(start + line.unwrap_or(lines.len()))
}

fn read_row(number: usize, record: &csv::StringRecord, columns: &Columns) -> Result<Row, String> {
    let cell = |place: Option<usize>| place.and_then(|i| record.get(i)).map(str::trim).filter(|text| !text.is_empty());
    let mut cells = [None; COLUMNS.len()];
    for ((cell_of_row, place), (name, max)) in cells.iter_mut().zip(columns.text).zip(COLUMNS) {
        *cell_of_row = cell(place);
        let text = cell_of_row.unwrap_or_default();
        if text.contains('\0') {
            return Err(format!("{name} has a character that text cannot have"));
        }
        if text.chars().count() > max {
            return Err(format!("{name} is longer than {max} characters"));
        }
    }
    let [email, first_name, last_name, phone, company, title, kind] = cells;
    let email = super::address(email.ok_or("email is missing")?)?.to_lowercase();
    // Lowercasing turns some letters into two.
    if email.chars().count() > COLUMNS[0].1 {
        return Err("email is too long".into());
    }
    // Without a valid id, the owner is the caller (contract: contacts).
    let owner = cell(columns.owner).and_then(|text| text.parse().ok());
    Ok(Row {
        number,
        id: Uuid::now_v7(),
        email: email.into(),
        first_name: first_name.unwrap_or_default().into(),
        last_name: last_name.unwrap_or_default().into(),
        phone: phone.map(Into::into),
        company: company.map(Into::into),
        title: title.map(Into::into),
        kind: kind.unwrap_or("Lead").into(),
        owner,
    })
}
