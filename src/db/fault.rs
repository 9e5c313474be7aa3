//! Errors of PostgreSQL and of the connection to it.

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorResponseBody;
use std::{fmt, io};
use tokio_postgres::error::SqlState;

/// Why a call to the database failed.
#[derive(Debug)]
pub enum Fault {
    /// The server reported an error.
    Refused(Box<Refusal>),
    /// There is no connection, or it broke: the statements may have been executed.
    Lost(io::Error),
    /// The statement and its use do not fit together, for example its parameters: a bug in this program.
    Unfit(String),
    /// The response exceeds the maximum size; the statements may have been executed.
    TooLarge,
    /// Other responses use up the memory at the moment; the statements may have been executed.
    NoRoom,
}

/// An error that the server reported (PostgreSQL, "Error and Notice Message Fields").
#[derive(Debug)]
pub struct Refusal {
    code: SqlState,
    message: String,
    constraint: Option<String>,
    table: Option<String>,
    column: Option<String>,
}

/// What precedes the name of the table whose row a statement waited for, in the error field "Where" in English.
const TABLE_OF_ROW: &str = "in relation \"";

impl Fault {
    pub(super) fn read(body: &ErrorResponseBody) -> io::Result<Self> {
        Ok(Fault::Refused(Box::new(Refusal::read(body)?)))
    }

    /// The SQLSTATE, if the server reported an error.
    pub fn code(&self) -> Option<&SqlState> {
        self.as_db_error().map(|refusal| &refusal.code)
    }

    /// The error that the server reported, if it did.
    pub fn as_db_error(&self) -> Option<&Refusal> {
        match self {
            Fault::Refused(refusal) => Some(refusal),
            Fault::Lost(_) | Fault::Unfit(_) | Fault::TooLarge | Fault::NoRoom => None,
        }
    }
}

impl Refusal {
    /// The SQLSTATE.
    pub fn code(&self) -> &SqlState {
        &self.code
    }
    /// The server's message, which may quote values.
    pub fn message(&self) -> &str {
        &self.message
    }
    /// The constraint that was violated.
    pub fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }
    /// The table that the error is about, or whose row the statement waited for.
    pub fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }
    /// The column that the error is about.
    pub fn column(&self) -> Option<&str> {
        self.column.as_deref()
    }

    pub(super) fn read(body: &ErrorResponseBody) -> io::Result<Self> {
        let mut refusal = Self {
            code: SqlState::INTERNAL_ERROR,
            message: String::new(),
            constraint: None,
            table: None,
            column: None,
        };
        let mut waited_for = None;
        let mut fields = body.fields();
        while let Some(field) = fields.next()? {
            let text = || String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => refusal.code = SqlState::from_code(&text()),
                b'M' => refusal.message = text(),
                b'n' => refusal.constraint = Some(text()),
                b't' => refusal.table = Some(text()),
                b'W' => {
                    waited_for =
                        text().split_once(TABLE_OF_ROW).and_then(|(_, rest)| Some(rest.split_once('"')?.0.to_owned()))
                }
                b'c' => refusal.column = Some(text()),
                _ => {}
            }
        }
        refusal.table = refusal.table.or(waited_for);
        Ok(refusal)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Refused(refusal) => write!(f, "{}", refusal.message),
            Fault::Lost(e) => write!(f, "the connection to the database is lost: {e}"),
            Fault::Unfit(why) => f.write_str(why),
            Fault::TooLarge => f.write_str("the answer is larger than one may be"),
            Fault::NoRoom => f.write_str("there is no room for the answer"),
        }
    }
}

impl std::error::Error for Fault {}

impl From<io::ErrorKind> for Fault {
    fn from(e: io::ErrorKind) -> Self {
        Fault::Lost(e.into())
    }
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        Fault::Lost(e)
    }
}
