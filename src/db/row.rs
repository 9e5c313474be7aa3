//! Reads rows into structs, by column name.

use super::{Column, Fault};
use bytes::{Buf, Bytes, BytesMut};
use postgres_types::FromSql;
use std::{io, sync::Arc, vec};

/// Rows as the server sent them, in the pieces in which they were read. A page has dozens of rows, and a `Bytes` for
/// each would add a reference count for each.
#[derive(Debug, Default)]
pub(super) struct DataRows {
    pieces: Vec<Bytes>,
    count: usize,
}

/// The size of a message's header in bytes: its type, and its length, which counts itself (PostgreSQL, "Message
/// Formats").
const HEADER_BYTES: usize = 5;

/// The row at the beginning of these bytes and the length of its message, if it is complete.
fn first_row(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (&[b'D', a, b, c, d], rest) = bytes.split_first_chunk::<HEADER_BYTES>()? else { return None };
    let length = (u32::from_be_bytes([a, b, c, d]) as usize).checked_sub(4)?;
    Some((rest.get(..length)?, HEADER_BYTES + length))
}

impl DataRows {
    /// Takes the complete rows at the beginning of the input; returns their size in bytes.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> usize {
        let mut whole = 0;
        while let Some((_, length)) = first_row(&input[whole..]) {
            whole += length;
            self.count += 1;
        }
        if whole > 0 {
            self.pieces.push(input.split_to(whole).freeze());
        }
        whole
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The size of the rows, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Iterates over the rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().flat_map(|piece| {
            let mut rest = &piece[..];
            std::iter::from_fn(move || {
                let (row, length) = first_row(rest)?;
                rest = &rest[length..];
                Some(row)
            })
        })
    }
}

/// Iterates over the rows; the memory of a piece is freed with its last row.
impl IntoIterator for DataRows {
    type Item = Bytes;
    type IntoIter = IntoRows;

    fn into_iter(self) -> IntoRows {
        IntoRows { pieces: self.pieces.into_iter(), piece: Bytes::new() }
    }
}

pub(super) struct IntoRows {
    pieces: vec::IntoIter<Bytes>,
    piece: Bytes,
}

impl Iterator for IntoRows {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.piece.is_empty() {
            self.piece = self.pieces.next()?;
        }
        let (row, length) = first_row(&self.piece)?;
        let row = self.piece.slice_ref(row);
        self.piece.advance(length);
        Some(row)
    }
}

/// A row as the server sent it.
#[derive(Debug)]
pub struct Row {
    columns: Arc<[Column]>,
    values: Vec<u8>,
    places: Places,
}

impl Row {
    pub(super) fn new(columns: Arc<[Column]>) -> Self {
        Self { places: Vec::with_capacity(columns.len()), columns, values: Vec::new() }
    }

    /// Replaces the values by another row of the same statement.
    pub(super) fn load(&mut self, row: &[u8]) -> io::Result<()> {
        self.values.clear();
        self.values.extend_from_slice(row);
        find_places(row, &mut self.places)
    }

    /// Its columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Its values, not decoded.
    pub(super) fn values(&self) -> Values<'_> {
        Values { columns: &self.columns, bytes: &self.values, places: &self.places }
    }

    /// The value of a column, by its index or name; an error if it is of another type.
    pub fn try_get<'a, P: Place, T: FromSql<'a>>(&'a self, place: P) -> Result<T, Fault> {
        let place = place.find(self)?;
        let (column, value) = self
            .columns
            .get(place)
            .zip(self.places.get(place))
            .ok_or_else(|| Fault::Unfit(format!("the statement has no column {place}")))?;
        if !T::accepts(&column.kind) {
            return Err(Fault::Unfit(format!("the column {} is of another type: {}", column.name, column.kind)));
        }
        let value = value.of(&self.values);
        T::from_sql_nullable(&column.kind, value).map_err(|e| Fault::Unfit(format!("the column {}: {e}", column.name)))
    }
}

/// Where a value is in its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    start: u32,
    /// The length in bytes; negative for null.
    length: i32,
}

impl Extent {
    /// The value; `None` is null.
    fn of(self, row: &[u8]) -> Option<&[u8]> {
        let length = usize::try_from(self.length).ok()?;
        row.get(self.start as usize..)?.get(..length)
    }
}

/// Where the values of a row are in its bytes.
pub(super) type Places = Vec<Extent>;

/// Finds the values of a row: their number, then each preceded by its length, which is negative for null.
pub(super) fn find_places(row: &[u8], places: &mut Places) -> io::Result<()> {
    places.clear();
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (count, mut rest) = row.split_first_chunk().ok_or_else(cut)?;
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk().ok_or_else(cut)?;
        let length = i32::from_be_bytes(*length);
        places.push(Extent { start: (row.len() - behind.len()) as u32, length });
        rest = behind.get(length.max(0) as usize..).ok_or_else(cut)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(cut()) }
}

/// The values of a row as the server sent them.
pub struct Values<'a> {
    pub(super) columns: &'a [Column],
    pub(super) bytes: &'a [u8],
    pub(super) places: &'a [Extent],
}

impl<'a> Values<'a> {
    /// A column and its value; a value of `None` is null.
    pub fn get(&self, place: usize) -> Option<(&'a Column, Option<&'a [u8]>)> {
        let (column, value) = self.columns.get(place).zip(self.places.get(place))?;
        Some((column, value.of(self.bytes)))
    }
}

/// The index of the column with this name.
pub(super) fn place_of(columns: &[Column], name: &str) -> Result<usize, Fault> {
    let place = columns.iter().position(|column| *column.name == *name);
    place.ok_or_else(|| Fault::Unfit(format!("the statement has no column {name}")))
}

/// A column's index or name.
pub trait Place {
    /// The index of the column in the row.
    fn find(self, row: &Row) -> Result<usize, Fault>;
}

impl Place for usize {
    fn find(self, _: &Row) -> Result<usize, Fault> {
        Ok(self)
    }
}

impl Place for &str {
    fn find(self, row: &Row) -> Result<usize, Fault> {
        place_of(&row.columns, self)
    }
}

/// A struct whose fields are a statement's columns.
pub trait FromRow: Sized {
    /// Its name in error messages, as in "Contact not found".
    const NAME: &'static str;
    /// Reads one row.
    fn from_row(row: &Row) -> Result<Self, Fault>;
}

/// The index of the column with this name. It is usually `next`, because statements return their columns in the order
/// of the struct's fields; searching all names for each field of each row takes longer than reading the values.
pub(super) fn find_next(columns: &[Column], name: &str, next: &mut usize) -> Result<usize, Fault> {
    let is_it = |column: &Column| *column.name == *name;
    if !columns.get(*next).is_some_and(is_it) {
        *next = place_of(columns, name)?;
    }
    *next += 1;
    Ok(*next - 1)
}

/// The value of the column with this name, which is usually at `next`.
pub fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str, next: &mut usize) -> Result<T, Fault> {
    row.try_get(find_next(row.columns(), name, next)?)
}

/// Declares a response struct whose fields are the statement's columns. A field whose name on the wire is a Rust
/// keyword is written `kind as "type": String`; its column has the wire's name too.
#[macro_export]
macro_rules! row {
    ($(#[$meta:meta])* pub struct $name:ident $(as $label:literal)? {
        $($(#[doc = $doc:literal])* $field:ident $(as $wire:literal)?: $ty:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Serialize, schemars::JsonSchema)]
        #[allow(unreachable_pub, reason = "an area may keep its types in a private part of it")]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                $(#[serde(rename = $wire)])?
                #[allow(missing_docs, reason = "a wire field is explained by the contract and its name")]
                pub $field: $ty,
            )*
        }
        impl $crate::db::FromRow for $name {
            const NAME: &'static str = $crate::row!(@name $name $($label)?);
            fn from_row(row: &$crate::db::Row) -> Result<Self, $crate::db::Fault> {
                let mut next = 0;
                Ok(Self { $($field: $crate::db::column(row, $crate::row!(@wire $field $($wire)?), &mut next)?,)* })
            }
        }
        impl $crate::db::WriteRow for $name {
            fn places(columns: &[$crate::db::Column]) -> Result<Vec<usize>, $crate::db::WriteError> {
                let mut next = 0;
                Ok(vec![$($crate::db::place::<$ty>(columns, $crate::row!(@wire $field $($wire)?), &mut next)?),*])
            }
            fn write_row(row: &$crate::db::Values<'_>, places: &[usize], out: &mut Vec<u8>) -> Result<(), $crate::db::WriteError> {
                let mut places = places.iter().copied();
                $(
                    out.extend_from_slice($crate::row!(@key $field $($wire)?).as_bytes());
                    $crate::db::write_value::<$ty>(row, places.next(), out)?;
                )*
                Ok(())
            }
        }
    };
    (@wire $field:ident) => { stringify!($field) };
    (@wire $field:ident $wire:literal) => { $wire };
    (@key $field:ident) => { concat!(",\"", stringify!($field), "\":") };
    (@key $field:ident $wire:literal) => { concat!(",\"", $wire, "\":") };
    (@name $name:ident) => { stringify!($name) };
    (@name $name:ident $label:literal) => { $label };
}

/// Types that can be read from a row of one column.
macro_rules! scalar {
    ($($ty:ty)*) => {$(
        impl FromRow for $ty {
            const NAME: &'static str = "Record";
            fn from_row(row: &Row) -> Result<Self, Fault> {
                row.try_get(0)
            }
        }
    )*};
}
scalar! { bool i32 i64 String Option<String> Vec<u8> uuid::Uuid serde_json::Value crate::wire::Time }

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as the server sends it: a byte for its type, its length including that of the length, and its content.
    fn message(kind: u8, content: &[u8]) -> Vec<u8> {
        [&[kind][..], &(content.len() as u32 + 4).to_be_bytes(), content].concat()
    }

    #[test]
    fn rows_are_taken_whole_wherever_they_are_cut() {
        let values: [&[u8]; 3] = [b"\0\x02\0\0\0\x02ab\xff\xff\xff\xff", b"\0\0", b"\0\x01\0\0\0\0"];
        let rows: Vec<u8> = values.iter().flat_map(|row| message(b'D', row)).collect();
        let end = message(b'C', b"SELECT 3\0");
        let all = [rows.clone(), end.clone()].concat();
        for cut in 0..=all.len() {
            let mut taken = DataRows::default();
            let mut input = BytesMut::from(&all[..cut]);
            let mut bytes = taken.take(&mut input);
            input.extend_from_slice(&all[cut..]);
            bytes += taken.take(&mut input);
            assert_eq!((&input[..], bytes, taken.bytes(), taken.len()), (&end[..], rows.len(), rows.len(), 3));
            assert!(taken.iter().eq(values));
            assert!(taken.into_iter().eq(values));
        }
        let mut places = Places::new();
        find_places(values[0], &mut places).unwrap();
        assert_eq!(places, [Extent { start: 6, length: 2 }, Extent { start: 12, length: -1 }]);
        assert_eq!([places[0].of(values[0]), places[1].of(values[0])], [Some(&b"ab"[..]), None]);
        for cut in 0..values[0].len() {
            assert!(find_places(&values[0][..cut], &mut places).is_err(), "{cut}");
        }
    }
}
