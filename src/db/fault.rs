//! Why PostgreSQL did not do what it was asked.

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorResponseBody;
use std::{fmt, io};
use tokio_postgres::error::SqlState;

/// Why the database did not do what it was asked.
#[derive(Debug)]
pub enum Fault {
    /// The server said no.
    Refused(Box<Refusal>),
    /// There is no connection, or it broke: what was asked may have been done.
    Lost(io::Error),
    /// The statement and what it was called with do not fit together: a mistake of ours.
    Unfit(String),
    /// The answer is larger than one may be; what was asked may have been done.
    TooLarge,
    /// There is no room for the answer beside the others of this moment; what was asked may have been done.
    NoRoom,
}

/// What the server says when it refuses (PostgreSQL, "Error and Notice Message Fields").
#[derive(Debug)]
pub struct Refusal {
    code: SqlState,
    message: String,
    constraint: Option<String>,
    table: Option<String>,
    column: Option<String>,
}

/// How PostgreSQL, speaking English, names the table of the row that it was waiting for, in the field that says where it happened.
const TABLE_OF_ROW: &str = "in relation \"";

impl Fault {
    pub(super) fn read(body: &ErrorResponseBody) -> io::Result<Self> {
        Ok(Fault::Refused(Box::new(Refusal::read(body)?)))
    }

    /// The SQLSTATE of a refusal.
    pub fn code(&self) -> Option<&SqlState> {
        self.as_db_error().map(|refusal| &refusal.code)
    }

    /// The refusal, if it is one.
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
    /// The server's sentence, which may quote values.
    pub fn message(&self) -> &str {
        &self.message
    }
    /// The constraint that was violated.
    pub fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }
    /// The table that it is about, or that of the row for which it waited.
    pub fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }
    /// The column that it is about.
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
