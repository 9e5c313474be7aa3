//! The rows of a list as its JSON answer, written straight from the database's messages. A page has hundreds of values, and
//! making a struct of each row and a `String` of each text before they are written takes most of the request's time.

use super::{Fault, FromRow, connection::Reply, row::Row};
use crate::wire::Time;
use bytes::BytesMut;
use postgres_types::{FromSql, IsNull, Json, ToSql, Type, to_sql_checked};
use serde::Serialize;
use serde_json::value::RawValue;
use std::marker::PhantomData;
use uuid::Uuid;

/// A [`FromRow`] that can be written as JSON without being made.
pub trait WriteRow: FromRow {
    /// The names of the columns, in the order of the fields.
    const COLUMNS: &'static [&'static str];
    /// Appends one row's members, each with a comma behind it; `places` are those of the columns.
    fn write_row(row: &Row, places: &[usize], out: &mut Vec<u8>) -> Result<(), WriteError>;
}

/// A row whose columns do not fit its struct.
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
        let place = |name: &&str| {
            let place = columns.iter().position(|column| *column.name == **name);
            place.ok_or_else(|| format!("the statement has no column {name}"))
        };
        let places = T::COLUMNS.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let mut out = Vec::with_capacity(self.reply.len() * 512 + 2);
        out.push(b'[');
        self.reply.each(|row| {
            out.push(b'{');
            T::write_row(row, &places, &mut out)?;
            end(&mut out, b'}');
            out.push(b',');
            Ok::<_, WriteError>(())
        })?;
        end(&mut out, b']');
        Ok(out)
    }
}

impl<T> Rows<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.reply.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of these columns in the last row.
    pub fn last(&self, columns: &[&str]) -> Result<Option<Vec<Value>>, Fault> {
        let Some(row) = self.reply.last()? else { return Ok(None) };
        columns.iter().map(|column| row.try_get(*column)).collect::<Result<_, _>>().map(Some)
    }
}

/// A value as the database writes it, of whatever type; null is none.
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

/// Closes a list whose members have a comma behind them.
fn end(out: &mut Vec<u8>, close: u8) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = close,
        _ => out.push(close),
    }
}

/// Appends `key`, which has its colon, and the column's value.
pub fn write_column<T: Field>(row: &Row, place: Option<usize>, key: &str, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let place = place.ok_or("a field without a column")?;
    out.extend_from_slice(key.as_bytes());
    row.try_get::<_, T::Borrowed<'_>>(place)?.write(out)?;
    out.push(b',');
    Ok(())
}

/// What a field of a row is while the row is there: the same value, without a copy of its text.
pub trait Field {
    /// It.
    type Borrowed<'a>: FromSql<'a> + Write;
}

/// A value that can be appended as JSON.
pub trait Write {
    /// Appends it.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), WriteError>;
}

fn serialize(value: impl Serialize, out: &mut Vec<u8>) -> Result<(), WriteError> {
    Ok(serde_json::to_writer(out, &value)?)
}

impl Write for &str {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), WriteError> {
        // No branch for each byte, so that the compiler looks at many at once.
        let special = |b: u8| (b < b' ') | (b == b'"') | (b == b'\\');
        if self.bytes().fold(false, |found, b| found | special(b)) {
            return serialize(self, out);
        }
        out.push(b'"');
        out.extend_from_slice(self.as_bytes());
        out.push(b'"');
        Ok(())
    }
}

impl Write for Uuid {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), WriteError> {
        (&*self.hyphenated().encode_lower(&mut Uuid::encode_buffer())).write(out)
    }
}

impl Write for Time {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), WriteError> {
        let (text, length) = self.digits();
        out.push(b'"');
        out.extend_from_slice(&text[..length]);
        out.push(b'"');
        Ok(())
    }
}

/// The database's own text, which is JSON already.
impl Write for Json<&RawValue> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), WriteError> {
        out.extend_from_slice(self.0.get().as_bytes());
        Ok(())
    }
}

impl<T: Write> Write for Option<T> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), WriteError> {
        match self {
            Some(value) => value.write(out),
            None => {
                out.extend_from_slice(b"null");
                Ok(())
            }
        }
    }
}

impl<T: Field> Field for Option<T> {
    type Borrowed<'a> = Option<T::Borrowed<'a>>;
}

macro_rules! fields {
    ($($ty:ty => $borrowed:ty,)*) => {$(impl Field for $ty { type Borrowed<'a> = $borrowed; })*};
}
fields! {
    String => &'a str,
    Uuid => Uuid,
    Time => Time,
    serde_json::Value => Json<&'a RawValue>,
}

/// Fields that are copied anyway.
macro_rules! copied {
    ($($ty:ty)*) => {$(
        impl Field for $ty {
            type Borrowed<'a> = $ty;
        }
        impl Write for $ty {
            fn write(&self, out: &mut Vec<u8>) -> Result<(), WriteError> {
                serialize(self, out)
            }
        }
    )*};
}
copied! { bool i32 i64 f64 Vec<String> Vec<Uuid> Vec<u8> }
