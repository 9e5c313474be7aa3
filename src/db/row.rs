//! Rows into structs, by column name.

use super::connection::{Column, Fault};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::DataRowBody;
use postgres_types::{FromSql, Type};
use std::{io, ops::Range, sync::Arc};

/// A row as the server sent it.
#[derive(Debug)]
pub struct Row {
    columns: Arc<[Column]>,
    values: bytes::Bytes,
    places: Places,
}

impl Row {
    pub(super) fn new(columns: Arc<[Column]>) -> Self {
        Self { places: Vec::with_capacity(columns.len()), columns, values: bytes::Bytes::new() }
    }

    /// Becomes another row of the same statement.
    pub(super) fn load(&mut self, body: &DataRowBody) -> io::Result<()> {
        self.values = body.buffer_bytes().clone();
        find_places(body, &mut self.places)
    }

    /// Its columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The value of a column, by its place or its name, if it is of this type.
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
        let value = value.clone().map(|value| &self.values[value]);
        T::from_sql_nullable(&column.kind, value).map_err(|e| Fault::Unfit(format!("the column {}: {e}", column.name)))
    }
}

/// Where the values of a row are in it; null is none.
pub(super) type Places = Vec<Option<Range<usize>>>;

/// Finds them.
pub(super) fn find_places(body: &DataRowBody, places: &mut Places) -> io::Result<()> {
    places.clear();
    let mut ranges = body.ranges();
    while let Some(place) = ranges.next()? {
        places.push(place);
    }
    Ok(())
}

/// The values of a row as the server sent them.
pub struct Values<'a> {
    pub(super) columns: &'a [Column],
    pub(super) bytes: &'a [u8],
    pub(super) places: &'a [Option<Range<usize>>],
}

impl<'a> Values<'a> {
    /// The type of a column and its value; null is none.
    pub fn get(&self, place: usize) -> Option<(&'a Type, Option<&'a [u8]>)> {
        let (column, value) = self.columns.get(place).zip(self.places.get(place))?;
        Some((&column.kind, value.clone().map(|value| &self.bytes[value])))
    }
}

/// Where the column of this name is.
pub(super) fn place_of(columns: &[Column], name: &str) -> Result<usize, Fault> {
    let place = columns.iter().position(|column| *column.name == *name);
    place.ok_or_else(|| Fault::Unfit(format!("the statement has no column {name}")))
}

/// What tells a column.
pub trait Place {
    /// Where it is in the row.
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
    /// What an error calls it, as in "Contact not found".
    const NAME: &'static str;
    /// Reads one row.
    fn from_row(row: &Row) -> Result<Self, Fault>;
}

/// The column of this name. It is mostly at `next`, because statements name their columns in the order of the struct's
/// fields; looking through all names for each field of each row takes longer than reading the values.
pub fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str, next: &mut usize) -> Result<T, Fault> {
    let is_it = |column: &Column| *column.name == *name;
    if !row.columns().get(*next).is_some_and(is_it) {
        *next = Place::find(name, row)?;
    }
    *next += 1;
    row.try_get(*next - 1)
}

/// Declares a response struct whose fields are the statement's columns. A field whose name on the wire is a word of Rust
/// is written `kind as "type": String`; its column has the wire's name too.
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
                Ok(vec![$($crate::db::place::<$ty>(columns, $crate::row!(@wire $field $($wire)?))?),*])
            }
            fn write_row(row: &$crate::db::Values<'_>, places: &[usize], out: &mut Vec<u8>) -> Result<(), $crate::db::WriteError> {
                let mut places = places.iter().copied();
                $($crate::db::write_column::<$ty>(row, places.next(), $crate::row!(@key $field $($wire)?), out)?;)*
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

/// A statement of one column.
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
