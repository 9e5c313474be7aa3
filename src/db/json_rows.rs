//! Writes rows as JSON straight from the database's messages. A page has hundreds of values, and making a struct of
//! each row and a `String` of each text first would take most of the request's time.

use super::{
    Column, Fault, FromRow,
    answer_memory::Room,
    connection::Reply,
    row::{IntoRows, Places, Row, Values, find_next, find_places},
};
use crate::wire::Time;
use bytes::BytesMut;
use postgres_types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use serde::Serialize;
use std::{marker::PhantomData, sync::Arc};
use uuid::Uuid;

/// A [`FromRow`] that can be written as JSON without building the struct.
pub trait WriteRow: FromRow + 'static {
    /// The index of each field's column; an error if one is missing or of another type.
    fn places(columns: &[Column]) -> Result<Vec<usize>, WriteError>;
    /// Appends one row's members, each preceded by a comma; `places` are the indexes from [`WriteRow::places`].
    fn write_row(row: &Values<'_>, places: &[usize], out: &mut Vec<u8>) -> Result<(), WriteError>;
}

/// About how many bytes a JSON member takes beyond its value in the database: its name, and the text form of an id or a
/// time.
const MEMBER_OVERHEAD_BYTES: usize = 32;

/// The minimum size of a piece of a large response, in bytes; the last piece may be smaller.
const MIN_CHUNK_BYTES: usize = 64 << 10;

/// The error for a row whose columns do not fit its struct.
pub type WriteError = Box<dyn std::error::Error + Send + Sync>;

/// The rows of a list.
#[derive(Debug)]
pub struct Rows<T> {
    reply: Reply,
    of: PhantomData<T>,
}

impl<T> Rows<T> {
    pub(super) fn new(reply: Reply) -> Self {
        Self { reply, of: PhantomData }
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self::new(Reply::default())
    }
}

impl<T: WriteRow> Rows<T> {
    /// The JSON array.
    pub fn json(&self) -> Result<Vec<u8>, WriteError> {
        let Some(columns) = self.reply.columns().filter(|_| !self.is_empty()) else { return Ok(b"[]".to_vec()) };
        let places = T::places(columns)?;
        let mut out = Vec::with_capacity(self.reply.bytes() + self.len() * columns.len() * MEMBER_OVERHEAD_BYTES + 2);
        self.reply.each_raw(|row| {
            let before = if out.is_empty() { b'[' } else { b',' };
            write_element::<T>(before, row, &places, &mut out)
        })?;
        out.push(b']');
        Ok(out)
    }

    /// Whether the rows take so much memory that their JSON should be made in [`Rows::pieces`].
    pub fn is_large(&self) -> bool {
        self.reply.is_large()
    }

    /// The JSON array in pieces; the memory of the rows is freed as they are written.
    pub fn pieces(self) -> Result<Pieces<T>, WriteError> {
        let (columns, rows, room) = self.reply.into_parts();
        let columns = columns.unwrap_or_default();
        let places = if rows.len() == 0 { Vec::new() } else { T::places(&columns)? };
        let (rows, found) = (rows.into_iter(), Vec::new());
        Ok(Pieces { columns, places, rows, found, before: Some(b'['), _room: room, of: PhantomData })
    }
}

/// A JSON array in pieces.
pub struct Pieces<T> {
    columns: Arc<[Column]>,
    places: Vec<usize>,
    rows: IntoRows,
    found: Places,
    /// What precedes the next element; `None` after the end.
    before: Option<u8>,
    _room: Room,
    of: PhantomData<fn() -> T>,
}

impl<T: WriteRow> Iterator for Pieces<T> {
    type Item = Result<Vec<u8>, WriteError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut before = self.before?;
        let mut out = Vec::with_capacity(2 * MIN_CHUNK_BYTES);
        let written = loop {
            if out.len() >= MIN_CHUNK_BYTES {
                break Ok(Some(b','));
            }
            let Some(bytes) = self.rows.next() else {
                out.extend_from_slice(if before == b'[' { b"[]" } else { b"]" });
                break Ok(None);
            };
            let element = find_places(&bytes, &mut self.found).map_err(WriteError::from).and_then(|()| {
                let row = Values { columns: &self.columns, bytes: &bytes, places: &self.found };
                write_element::<T>(before, &row, &self.places, &mut out)
            });
            if let Err(e) = element {
                break Err(e);
            }
            before = b',';
        };
        self.before = written.as_ref().copied().unwrap_or_default();
        Some(written.map(|_| out))
    }
}

/// The maximum size of a row, in bytes, whose JSON is written unparsed. The database writes numbers out (`1e299` has
/// 300 digits), and the memory of a response of one row is not counted while its client reads it.
const MAX_UNPARSED_BYTES: usize = 64 << 10;

/// One row as a JSON object, written like those of [`Rows`].
#[derive(Debug)]
pub struct Written<T> {
    json: Vec<u8>,
    of: PhantomData<T>,
}

impl<T> Written<T> {
    /// The JSON object.
    pub fn into_json(self) -> Vec<u8> {
        self.json
    }
}

impl<T: WriteRow + Serialize> FromRow for Written<T> {
    const NAME: &'static str = T::NAME;

    fn from_row(row: &Row) -> Result<Self, Fault> {
        let unfit = |e: WriteError| Fault::Unfit(e.to_string());
        let values = row.values();
        if values.bytes.len() > MAX_UNPARSED_BYTES {
            let json = serde_json::to_vec(&T::from_row(row)?).map_err(|e| unfit(e.into()))?;
            return Ok(Self { json, of: PhantomData });
        }
        let mut json = Vec::with_capacity(values.bytes.len() + values.columns.len() * MEMBER_OVERHEAD_BYTES);
        let places = T::places(values.columns).map_err(unfit)?;
        write_object::<T>(&values, &places, &mut json).map_err(unfit)?;
        Ok(Self { json, of: PhantomData })
    }
}

/// Appends an element of an array and the bracket or comma before it.
fn write_element<T: WriteRow>(
    before: u8,
    row: &Values<'_>,
    places: &[usize],
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    out.push(before);
    write_object::<T>(row, places, out)
}

fn write_object<T: WriteRow>(row: &Values<'_>, places: &[usize], out: &mut Vec<u8>) -> Result<(), WriteError> {
    let start = out.len();
    T::write_row(row, places, out)?;
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
    Ok(())
}

impl<T> Rows<T> {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.reply.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of these columns in the last row.
    pub fn last(&self, columns: &[&str]) -> Result<Option<Vec<Value>>, Fault> {
        let Some(row) = self.reply.last()? else { return Ok(None) };
        columns.iter().map(|column| row.try_get(*column)).collect::<Result<_, _>>().map(Some)
    }
}

/// A value of any type, as the database encodes it; `None` is null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(pub Option<Vec<u8>>);

impl<'a> FromSql<'a> for Value {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, WriteError> {
        Ok(Self(Some(raw.to_vec())))
    }
    fn from_sql_null(_: &Type) -> Result<Self, WriteError> {
        Ok(Self(None))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Value {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, WriteError> {
        let Some(raw) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(raw);
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    to_sql_checked!();
}

/// The index of a field's column, which is usually `next`.
pub fn place<T: Field>(columns: &[Column], name: &str, next: &mut usize) -> Result<usize, WriteError> {
    let place = find_next(columns, name, next)?;
    let kind = &columns[place].kind;
    if T::accepts(kind) { Ok(place) } else { Err(format!("the column {name} is of another type: {kind}").into()) }
}

/// Appends a column's value.
pub fn write_value<T: Field>(row: &Values<'_>, place: Option<usize>, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let (column, value) = row.get(place.ok_or("a field without a column")?).ok_or("a row without a column")?;
    let written = match value {
        Some(value) => T::write(&column.kind, value, out),
        None => T::write_null(out),
    };
    written.map_err(|e| format!("the column {}: {e}", column.name).into())
}

/// A type whose values can be appended as JSON from what the server sent, without a copy.
pub trait Field {
    /// Whether columns of this type hold such values.
    fn accepts(kind: &Type) -> bool;
    /// Appends a value of an accepted type.
    fn write(kind: &Type, raw: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError>;
    /// Appends a null; an error unless the field may be null.
    fn write_null(_: &mut Vec<u8>) -> Result<(), WriteError> {
        Err(Box::new(postgres_types::WasNull))
    }
}

impl<T: Field> Field for Option<T> {
    fn accepts(kind: &Type) -> bool {
        T::accepts(kind)
    }
    #[inline]
    fn write(kind: &Type, raw: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
        T::write(kind, raw, out)
    }
    fn write_null(out: &mut Vec<u8>) -> Result<(), WriteError> {
        out.extend_from_slice(b"null");
        Ok(())
    }
}

/// Whether this text needs escaping in JSON: it has a control character, a quote or a backslash. Checks sixteen bytes
/// at a time, for which processors have instructions.
fn needs_escape(text: &[u8]) -> bool {
    let special = |bytes: &[u8; 16]| bytes.iter().fold(false, |f, b| f | (*b < b' ') | (*b == b'"') | (*b == b'\\'));
    let (sixteens, rest) = text.as_chunks();
    let last = match text.last_chunk() {
        Some(last) => special(last),
        None => {
            let mut last = [b' '; 16];
            last[..rest.len()].copy_from_slice(rest);
            special(&last)
        }
    };
    sixteens.iter().fold(last, |found, bytes| found | special(bytes))
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// The server sends UTF-8, which tokio-postgres asks for when it connects.
impl Field for String {
    fn accepts(kind: &Type) -> bool {
        <&str as FromSql>::accepts(kind)
    }
    fn write(_: &Type, raw: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
        if needs_escape(raw) {
            return Ok(serde_json::to_writer(out, str::from_utf8(raw)?)?);
        }
        quoted(raw, out);
        Ok(())
    }
}

impl Field for Uuid {
    fn accepts(kind: &Type) -> bool {
        <Uuid as FromSql>::accepts(kind)
    }
    fn write(_: &Type, raw: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
        quoted(Uuid::from_slice(raw)?.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes(), out);
        Ok(())
    }
}

impl Field for Time {
    fn accepts(kind: &Type) -> bool {
        <Time as FromSql>::accepts(kind)
    }
    fn write(kind: &Type, raw: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
        let (text, length) = Time::from_sql(kind, raw)?.digits();
        quoted(&text[..length], out);
        Ok(())
    }
}

/// The database's own text is JSON already. `jsonb` is preceded by its format number.
impl Field for serde_json::Value {
    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::JSON | Type::JSONB)
    }
    fn write(kind: &Type, raw: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
        let text = if *kind == Type::JSONB { raw.strip_prefix(&[1]).ok_or("jsonb of another format")? } else { raw };
        out.extend_from_slice(text);
        Ok(())
    }
}

/// Types that are decoded first and then serialized.
macro_rules! copied {
    ($($ty:ty)*) => {$(
        impl Field for $ty {
            fn accepts(kind: &Type) -> bool {
                <$ty as FromSql>::accepts(kind)
            }
            fn write(kind: &Type, raw: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
                Ok(serde_json::to_writer(out, &<$ty>::from_sql(kind, raw)?)?)
            }
        }
    )*};
}
copied! { bool i32 i64 f64 Vec<String> Vec<Uuid> Vec<u8> }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_escaped_as_json_wants() {
        for length in 0..40 {
            for place in 0..length {
                for byte in 0..=127u8 {
                    for around in ["a", "\u{1f}\u{7f}é", "€"] {
                        let mut text: Vec<u8> = around.bytes().filter(|b| *b >= b' ').cycle().take(length).collect();
                        text[place] = byte;
                        let Ok(text) = String::from_utf8(text) else { continue };
                        let mut out = Vec::new();
                        String::write(&Type::TEXT, text.as_bytes(), &mut out).unwrap();
                        assert_eq!(out, serde_json::to_vec(&text).unwrap());
                    }
                }
            }
        }
    }
}
