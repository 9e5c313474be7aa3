//! Rows into structs, by column name.

use tokio_postgres::Row;

/// A struct whose fields are a statement's columns.
pub trait FromRow: Sized {
    /// What an error calls it, as in "Contact not found".
    const NAME: &'static str;
    /// Reads one row.
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error>;
}

/// Declares a response struct whose fields are the statement's columns.
#[macro_export]
macro_rules! row {
    ($(#[$meta:meta])* pub struct $name:ident $(as $label:literal)? { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Serialize, schemars::JsonSchema)]
        pub struct $name {
            $($(#[$fmeta])* #[allow(missing_docs, reason = "a wire field is explained by the contract and its name")] pub $field: $ty,)*
        }
        impl $crate::db::FromRow for $name {
            const NAME: &'static str = $crate::row!(@name $name $($label)?);
            fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
                Ok(Self { $($field: row.try_get(stringify!($field))?,)* })
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
