//! Exports of a company's deals: as a CSV table of all of them, and as a PDF report.

use super::{super::prelude::*, Deals};
use crate::{db::Tx, pdf};
use aide::{OperationOutput, generate::GenContext, openapi::Operation};
use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};

/// Number of deals read at a time. A large company's deals do not fit into memory, and one transaction would hold a
/// connection for as long as a slow client reads, so each part is read in its own transaction.
const BATCH_SIZE: i64 = 2000;
const COLUMNS: [&str; 7] = ["Deal Title", "Value", "Status", "Stage", "Created Date", "Close Date", "Company"];
/// Placeholder for a missing value.
const MISSING: &str = "N/A";

row! {
    /// A deal as a line of the table.
    pub struct Line as "Deal" {
        id: Uuid,
        created_at: Time,
        title: String,
        value: String,
        status: String,
        stage: Option<String>,
        created: String,
        closed: Option<String>,
        company: Option<String>,
    }
}

/// A CSV table that is built while it is sent.
pub(super) struct Csv(Body);

impl IntoResponse for Csv {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
            (header::CONTENT_DISPOSITION, format!("attachment; filename={}.csv", name())),
        ];
        (headers, self.0).into_response()
    }
}

impl OperationOutput for Csv {
    type Inner = Self;
    fn inferred_responses(_: &mut GenContext, _: &mut Operation) -> Vec<(Option<u16>, aide::openapi::Response)> {
        vec![(Some(200), wire::binary("text/csv; charset=utf-8"))]
    }
}

/// The name of an export made today.
fn name() -> String {
    format!("analytics-{}", jiff::Timestamp::now().strftime("%Y%m%d"))
}

/// A cell that a spreadsheet does not take for a formula.
fn harmless(text: &str) -> String {
    // Spreadsheets skip a byte-order mark; what follows it counts.
    let shown = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let formula =
        shown.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) || text.starts_with(['\t', '\r', '\n']);
    if formula { format!("'{text}") } else { text.to_owned() }
}

/// These rows as CSV.
fn table<'a>(rows: impl IntoIterator<Item = [&'a str; 7]>) -> Result<Bytes> {
    let unwritable = |e: csv::Error| Error::Internal(e.to_string().into());
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        writer.write_record(row.map(harmless)).map_err(unwritable)?;
    }
    Ok(writer.into_inner().map_err(|e| Error::Internal(e.to_string().into()))?.into())
}

/// The deal after which a part of the table begins: its creation time and id.
type Place = (Time, Uuid);

/// The part of the table after a deal, the company that it belongs to, and where the next part begins, if any.
async fn part(db: &UserDb, f: &Deals, (made, deal): Place) -> Result<(Bytes, Option<Uuid>, Option<Place>)> {
    let of: Params<'_> = &[&f.date_from, &f.date_to, &f.user_id, &f.pipeline_id, &made, &deal, &BATCH_SIZE];
    let read = async |tx: &Tx<'_>| {
        let lines: Vec<Line> = tx.all(sql!("analytics/export_rows"), of).await?;
        Ok((lines, tx.caller().company_id))
    };
    let (lines, company) = db.tx(read).await?;
    let rows = lines.iter().map(|line| {
        let [stage, closed, company] = [&line.stage, &line.closed, &line.company]
            .map(|text| text.as_deref().filter(|text| !text.trim().is_empty()).unwrap_or(MISSING));
        [&line.title, &line.value, &line.status, stage, &line.created, closed, company]
    });
    let last = lines.last().filter(|_| lines.len() as i64 == BATCH_SIZE);
    Ok((table(rows)?, company, last.map(|last| (last.created_at, last.id))))
}

/// Breaks off: the status is already sent, and a truncated table must not look complete.
fn broken(why: String) -> std::io::Error {
    std::io::Error::other(why)
}

pub(super) async fn csv(db: UserDb, Query(f): Query<Deals>) -> Result<Csv> {
    let start = ("0001-01-01T00:00:00".parse().unwrap_or(Time(jiff::Timestamp::UNIX_EPOCH)), Uuid::nil());
    let (first, begun_in, next) = part(&db, &f, start).await?;
    let rest = stream::try_unfold((db, f, begun_in, next), async |(db, f, begun_in, next)| {
        let Some(place) = next else { return Ok(None) };
        let (text, company, next) = part(&db, &f, place).await.map_err(|e| broken(e.for_log()))?;
        if company != begun_in {
            return Err(broken("the caller has another company now".into()));
        }
        Ok(Some((text, (db, f, begun_in, next))))
    });
    let begin = [Ok(table([COLUMNS])?), Ok::<_, std::io::Error>(first)];
    Ok(Csv(Body::from_stream(stream::iter(begin).chain(rest))))
}

pub(super) async fn pdf(db: UserDb, Query(f): Query<Deals>) -> Result<wire::Pdf> {
    let of: Params<'_> = &[&f.date_from, &f.date_to, &f.user_id, &f.pipeline_id];
    let unprintable = |e: &dyn std::fmt::Display| Error::Internal(format!("the report's document: {e}").into());
    let printed: serde_json::Value = db.one(sql!("analytics/export_totals").planned_once(), of).await?;
    let whose = Uuid::deserialize(&printed["whose"]).map_err(|e| unprintable(&e))?;
    let report: pdf::report::Report = serde_json::from_value(printed).map_err(|e| unprintable(&e))?;
    let permit = pdf::permit(whose).await?;
    let body = permit.run_blocking(move || pdf::report::render(&report)).await?.map_err(|e| unprintable(&e))?;
    Ok(wire::Pdf { name: name(), body })
}
