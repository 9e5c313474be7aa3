//! Rows into structs, by column name.

use crate::wire::Time;
use postgres_types::{FromSql, Json};
use serde::Serialize;
use serde_json::value::RawValue;
use std::marker::PhantomData;
use tokio_postgres::{Column, Row};
use uuid::Uuid;

/// A struct whose fields are a statement's columns.
pub trait FromRow: Sized {
    /// What an error calls it, as in "Contact not found".
    const NAME: &'static str;
    /// Reads one row.
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error>;
}

/// A [`FromRow`] that can be written as JSON without being made: its texts stay where the database's answer has them.
pub trait WriteRow: FromRow {
    /// Appends one row as a JSON object.
    fn write_row(row: &Row, out: &mut Vec<u8>) -> Result<(), WriteError>;
}

/// A row whose columns do not fit its struct.
pub type WriteError = Box<dyn std::error::Error + Send + Sync>;

/// The rows of a list, which become its JSON answer one after the other, without a struct for each in between.
#[derive(Debug)]
pub struct Rows<T> {
    rows: Vec<Row>,
    of: PhantomData<T>,
}

impl<T> Rows<T> {
    pub(super) fn new(rows: Vec<Row>) -> Self {
        Self { rows, of: PhantomData }
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<T: WriteRow> Rows<T> {
    /// The JSON array.
    pub fn json(&self) -> Result<Vec<u8>, WriteError> {
        let mut out = Vec::with_capacity(self.rows.len() * 512 + 2);
        out.push(b'[');
        for (i, row) in self.rows.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            T::write_row(row, &mut out)?;
        }
        out.push(b']');
        Ok(out)
    }
}

/// What a field of a row is while the row is there: the same value, without a copy of its text.
pub trait Field {
    /// It.
    type Borrowed<'a>: FromSql<'a> + Serialize;
}

macro_rules! fields {
    ($($ty:ty => $borrowed:ty,)*) => {$(impl Field for $ty { type Borrowed<'a> = $borrowed; })*};
}
fields! {
    String => &'a str,
    Uuid => Uuid,
    Time => Time,
    bool => bool,
    i32 => i32,
    i64 => i64,
    f64 => f64,
    serde_json::Value => Json<&'a RawValue>,
}

impl<T: Field> Field for Option<T> {
    type Borrowed<'a> = Option<T::Borrowed<'a>>;
}

/// The column of this name. It is mostly at `next`, because statements name their columns in the order of the struct's
/// fields; looking through all names for each field of each row takes longer than reading the values.
pub fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str, next: &mut usize) -> Result<T, tokio_postgres::Error> {
    let is_it = |column: &Column| column.name() == name;
    if !row.columns().get(*next).is_some_and(is_it) {
        let Some(place) = row.columns().iter().position(is_it) else { return row.try_get(name) };
        *next = place;
    }
    *next += 1;
    row.try_get(*next - 1)
}

/// Declares a response struct whose fields are the statement's columns.
#[macro_export]
macro_rules! row {
    ($(#[$meta:meta])* pub struct $name:ident $(as $label:literal)? { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Serialize, schemars::JsonSchema)]
        #[allow(unreachable_pub, reason = "an area may keep its types in a private part of it")]
        pub struct $name {
            $($(#[$fmeta])* #[allow(missing_docs, reason = "a wire field is explained by the contract and its name")] pub $field: $ty,)*
        }
        impl $crate::db::FromRow for $name {
            const NAME: &'static str = $crate::row!(@name $name $($label)?);
            fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
                let mut next = 0;
                Ok(Self { $($field: $crate::db::column(row, stringify!($field), &mut next)?,)* })
            }
        }
        impl $crate::db::WriteRow for $name {
            fn write_row(row: &tokio_postgres::Row, out: &mut Vec<u8>) -> Result<(), $crate::db::WriteError> {
                #[derive(serde::Serialize)]
                struct Borrowed<'a> {
                    $($(#[$fmeta])* $field: <$ty as $crate::db::Field>::Borrowed<'a>,)*
                    #[serde(skip)]
                    row: std::marker::PhantomData<&'a ()>,
                }
                let mut next = 0;
                let row = Borrowed {
                    $($field: $crate::db::column(row, stringify!($field), &mut next)?,)*
                    row: std::marker::PhantomData,
                };
                Ok(serde_json::to_writer(out, &row)?)
            }
        }
    };
    (@name $name:ident) => { stringify!($name) };
    (@name $name:ident $label:literal) => { $label };
}

/// A statement of one column.
macro_rules! scalar {
    ($($ty:ty)*) => {$(
        impl FromRow for $ty {
            const NAME: &'static str = "Record";
            fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
                row.try_get(0)
            }
        }
    )*};
}
scalar! { bool i32 i64 String uuid::Uuid serde_json::Value }
