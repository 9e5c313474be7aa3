//! Rows into structs, by column name.

use postgres_types::FromSql;
use tokio_postgres::{Column, Row};

/// A struct whose fields are a statement's columns.
pub trait FromRow: Sized {
    /// What an error calls it, as in "Contact not found".
    const NAME: &'static str;
    /// Reads one row.
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error>;
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
            fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
                let mut next = 0;
                Ok(Self { $($field: $crate::db::column(row, $crate::row!(@wire $field $($wire)?), &mut next)?,)* })
            }
        }
        impl $crate::db::WriteRow for $name {
            const COLUMNS: &'static [&'static str] = &[$($crate::row!(@wire $field $($wire)?)),*];
            fn write_row(row: &tokio_postgres::Row, places: &[usize], out: &mut Vec<u8>) -> Result<(), $crate::db::WriteError> {
                let mut places = places.iter().copied();
                $($crate::db::write_column::<$ty>(row, places.next(), $crate::row!(@key $field $($wire)?), out)?;)*
                Ok(())
            }
        }
    };
    (@wire $field:ident) => { stringify!($field) };
    (@wire $field:ident $wire:literal) => { $wire };
    (@key $field:ident) => { concat!("\"", stringify!($field), "\":") };
    (@key $field:ident $wire:literal) => { concat!("\"", $wire, "\":") };
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
scalar! { bool i32 i64 String Vec<u8> uuid::Uuid serde_json::Value }
