//! Examines the old database before anything is imported. What is missing, or cannot be read, or may not be, is
//! reported or refused: if it were left out silently, it would seem never to have been there.

use super::{
    files, secrets,
    tables::{self, TABLES, Table},
};
use crate::sql;
use anyhow::bail;
use futures_util::StreamExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
};
use tokio_postgres::Transaction;
use uuid::Uuid;

/// The columns of the old database's tables, by table and name, each with the condition that a value says something.
pub(super) type Columns = BTreeMap<String, BTreeMap<String, String>>;

/// What was found in the old database.
pub(super) struct Look {
    /// The tables and columns that exist.
    pub(super) columns: Columns,
    /// Stand-ins for what is missing, which precede each query: `with … `, or nothing.
    pub(super) stand_ins: String,
}

/// Finds the tables and columns that exist. Refuses a database that is not the old backend's, or in which something
/// would stay hidden.
pub(super) async fn look(old: &Transaction<'_>) -> anyhow::Result<Look> {
    let (mut columns, mut unreadable, mut hiding) = (Columns::new(), BTreeMap::<String, Vec<String>>::new(), vec![]);
    let mut json = BTreeSet::new();
    for row in old.query(sql!("import/old_columns").text, &[]).await? {
        let (table, column): (String, String) = (row.get("table_name"), row.get("column_name"));
        if !row.get::<_, bool>("is_readable") {
            unreadable.entry(table.clone()).or_default().push(column.clone());
        }
        if row.get("hides_rows") && hiding.last() != Some(&table) {
            hiding.push(table.clone());
        }
        if row.get("is_json") {
            json.insert((table.clone(), column.clone()));
        }
        columns.entry(table).or_default().insert(column, row.get("says_something"));
    }
    if columns.contains_key("refinery_schema_history") {
        bail!("--from is a database of Ringfence itself, and not of the old backend");
    }
    let known = columns.get("users").is_some_and(|users| users.contains_key("hashed_password"));
    if !known || !columns.contains_key("companies") {
        bail!("--from has no tables companies and users of the old backend");
    }
    let row = old.query_one(sql!("import/old_login").text, &[]).await?;
    let login: String = row.get("login");
    if !unreadable.is_empty() || !row.get::<_, bool>("may_enter") {
        let parts = unreadable.iter().map(|(table, names)| {
            if names.len() == columns[table].len() { table.clone() } else { format!("{table} ({})", names.join(", ")) }
        });
        let parts = if unreadable.is_empty() { "anything".to_owned() } else { parts.collect::<Vec<_>>().join(", ") };
        bail!(
            "{login} may not read {parts} of --from: run \"grant usage on schema public to {login}; grant select on all tables in schema public to {login}\" there"
        );
    }
    if !hiding.is_empty() {
        bail!(
            "policies hide rows of {} of --from from {login}: run \"alter role {login} bypassrls\" there as a superuser, or import as one",
            hiding.join(", ")
        );
    }
    let stand_ins = stand_ins(&columns, &json);
    check_form(old, &columns, &stand_ins).await?;
    if row.get::<_, &str>("encoding") == "SQL_ASCII" {
        check_texts(old, &columns).await?;
    }
    Ok(Look { columns, stand_ins })
}

/// The known tables and columns that the old database lacks: `table` or `table.column`.
pub(super) fn missing(columns: &Columns) -> Vec<String> {
    let mut missing = Vec::new();
    for table in TABLES {
        let lacking = match columns.get(table.old) {
            None => vec![table.old.to_owned()],
            Some(there) => {
                let lacking = table.old_columns().filter(|(name, _)| !there.contains_key(*name));
                lacking.map(|(name, _)| format!("{}.{name}", table.old)).collect()
            }
        };
        // Two descriptions may read the same table.
        missing.extend(lacking.into_iter().filter(|what| !missing.contains(what)).collect::<Vec<_>>());
    }
    missing
}

/// Stand-ins for tables that are missing (without rows) or lack columns (with nulls): an installation may be older than
/// what this program knows. They also convert `json` to `jsonb`.
fn stand_ins(columns: &Columns, json: &BTreeSet<(String, String)>) -> String {
    let mut known: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for table in TABLES {
        known.entry(table.old).or_default().extend(table.old_columns());
    }
    let made = known.into_iter().filter_map(|(table, known)| {
        let there = columns.get(table);
        let lacking = known.iter().filter(|(name, _)| there.is_none_or(|there| !there.contains_key(**name)));
        let nulls: Vec<String> = lacking.map(|(name, kind)| format!("null::{kind} as {name}")).collect();
        let is_old_json =
            |name: &str| known.get(name) == Some(&"jsonb") && json.contains(&(table.to_owned(), name.to_owned()));
        let Some(there) = there else {
            return Some(format!("{table} as not materialized (select {} where false)", nulls.join(", ")));
        };
        if nulls.is_empty() && !there.keys().any(|name| is_old_json(name)) {
            return None;
        }
        let there = there
            .keys()
            .map(|name| if is_old_json(name) { format!("{} as {name}", to_jsonb(name)) } else { super::quoted(name) });
        let all = there.chain(nulls).collect::<Vec<_>>().join(", ");
        Some(format!("{table} as not materialized (select {all} from public.{table})"))
    });
    let made: Vec<String> = made.collect();
    if made.is_empty() { String::new() } else { format!("with {} ", made.join(", ")) }
}

/// Converts `json` to `jsonb`, leaving out the character U+0000, which only the former can contain.
fn to_jsonb(column: &str) -> String {
    format!(r"regexp_replace({column}::text, '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g')::jsonb")
}

/// The query for a table's rows in the form of its staging table.
pub(super) fn select(table: &Table, stand_ins: &str) -> String {
    let expressions = expressions(table).map(|(_, expression)| expression).collect::<Vec<_>>().join(", ");
    format!("{stand_ins}select {expressions} from {} order by {}", rows(table), table.order)
}

/// The old rows of a table, as they follow `from`.
fn rows(table: &Table) -> String {
    table.rows.map_or_else(|| table.old.to_owned(), |rows| format!("({rows}) {}", table.old))
}

/// The columns of a staging table, each with the expression that reads it. A number that its type here cannot hold is
/// read as null.
fn expressions(table: &Table) -> impl Iterator<Item = (&'static str, String)> {
    let columns = table.columns().map(|(name, kind, expression)| {
        let value = expression.map_or_else(|| name.to_owned(), |expression| format!("({expression})"));
        let value = match (fits(&value, kind), expression, kind) {
            (Some(fits), ..) => format!("case when {fits} then {value}::{kind} end"),
            (None, None, "timestamptz") => format!("{value} at time zone 'UTC'"),
            _ => format!("{value}::{kind}"),
        };
        (name, value)
    });
    columns.chain([("altered", altered(table))])
}

/// The condition that a number fits its type here; `None` for other types.
fn fits(value: &str, kind: &str) -> Option<String> {
    let (least, most) = match kind {
        "int" => (i32::MIN.into(), i32::MAX.into()),
        "bigint" => (i64::MIN, i64::MAX),
        _ => return None,
    };
    Some(format!("{value}::numeric between {least} and {most}"))
}

/// What the expressions change in a row, as an array of reasons.
fn altered(table: &Table) -> String {
    let told = table.altered.iter().map(|(when, what)| format!("case when {when} then '{what}' end"));
    let numbers = table.columns().filter_map(|(name, kind, expression)| {
        let fits = fits(&expression.map_or_else(|| name.to_owned(), |expression| format!("({expression})")), kind)?;
        Some(format!("case when not {fits} then '{name} is too large a number: as if it were missing' end"))
    });
    format!("array_remove(array[{}]::text[], null)", told.chain(numbers).collect::<Vec<_>>().join(", "))
}

/// The savepoint to which the old database's transaction returns after a value that cannot be read.
pub(super) const SAVEPOINT: &str = "reading";

/// After an error, finds a value of a table that cannot be read, as `column of id`: in the first such column, the row
/// with the smallest id.
pub(super) async fn unreadable(
    old: &Transaction<'_>,
    table: &Table,
    stand_ins: &str,
) -> anyhow::Result<Option<String>> {
    old.batch_execute(&format!("rollback to {SAVEPOINT}")).await?;
    let rows = rows(table);
    let is_readable = async |expression: &str, only: &str| -> anyhow::Result<bool> {
        match old.query_one(&format!("{stand_ins}select count({expression}) from {rows} where {only}"), &[]).await {
            Ok(_) => Ok(true),
            Err(e) if is_value(&e) => {
                old.batch_execute(&format!("rollback to {SAVEPOINT}")).await?;
                Ok(false)
            }
            Err(e) => Err(e.into()),
        }
    };
    for (column, expression) in expressions(table) {
        if is_readable(&expression, "true").await? {
            continue;
        }
        let ids = old.query(&format!("{stand_ins}select id from {rows} where id is not null order by id"), &[]).await?;
        let ids: Vec<Uuid> = ids.iter().map(|row| row.get(0)).collect();
        let (mut first, mut end) = (0, ids.len());
        while end - first > 1 {
            let middle = first + (end - first) / 2;
            let half = format!("id between '{}' and '{}'", ids[first], ids[middle - 1]);
            if is_readable(&expression, &half).await? { first = middle } else { end = middle }
        }
        return Ok(ids.get(first).map(|id| format!("{column} of {id}")));
    }
    Ok(None)
}

/// Whether the database could not read or write a value.
pub(super) fn is_value(e: &tokio_postgres::Error) -> bool {
    e.code().is_some_and(|code| code.code().starts_with("22"))
}

/// Checks that the tables can be read. An installation may lack what a later version added, but not the columns that
/// say to whom a row belongs.
async fn check_form(old: &Transaction<'_>, columns: &Columns, stand_ins: &str) -> anyhow::Result<()> {
    let mut queries = vec![];
    for table in TABLES {
        let Some(there) = columns.get(table.old) else { continue };
        if let Some(name) = table.essential_columns().find(|name| !there.contains_key(*name)) {
            bail!("{} of --from has no column {name}, without which nobody knows whose its rows are", table.old);
        }
        queries.push((table.old, select(table, stand_ins)));
    }
    let others = [("files", files::STORED), ("twilio_settings", secrets::SECRETS)];
    queries.extend(others.map(|(table, query)| (table, format!("{stand_ins}{query}"))));
    for (table, query) in queries.iter().filter(|(table, _)| columns.contains_key(*table)) {
        if let Err(e) = old.prepare(query).await {
            let Some(e) = e.as_db_error().filter(|e| e.code().code().starts_with("42")) else { return Err(e.into()) };
            bail!(
                "{table} of --from has another form, so that it cannot be read as the old backend's: {}",
                e.message()
            );
        }
    }
    Ok(())
}

/// Checks texts of a database in SQL_ASCII, which are not converted: they must be UTF-8.
async fn check_texts(old: &Transaction<'_>, columns: &Columns) -> anyhow::Result<()> {
    let mut wrong: Vec<String> = Vec::new();
    for (table, there) in columns {
        let read: Vec<&str> = there.keys().map(String::as_str).filter(|name| tables::is_read(table, name)).collect();
        if read.is_empty() {
            continue;
        }
        let bytes: Vec<String> = read.iter().map(|name| format!("convert_to({name}::text, 'SQL_ASCII')")).collect();
        let query = format!("select id::text, {} from {table}", bytes.join(", "));
        let none: [&str; 0] = [];
        let mut rows = pin!(old.query_raw(&query, none).await?);
        while let Some(row) = rows.next().await {
            let row = row?;
            let columns = read.iter().enumerate().filter(|(i, _)| {
                row.get::<_, Option<&[u8]>>(i + 1).is_some_and(|bytes| str::from_utf8(bytes).is_err())
            });
            let id = row.get::<_, Option<&str>>(0).unwrap_or_default();
            wrong.extend(columns.map(|(_, name)| format!("{table}.{name} of {id}")));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let more = wrong.len().saturating_sub(10);
    wrong.truncate(10);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    bail!(
        "texts of --from are no UTF-8, and its encoding, SQL_ASCII, does not say what they are: {}{more}. Correct them there; \
         where they are Latin-1, by \"update … set … = convert_from(convert(convert_to(…, 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'UTF8') where id = '…'\"",
        wrong.join(", ")
    )
}
