//! A list's statement and two that are derived from it: the page after a given row, and the number of rows.
//!
//! The file has the condition of a page after a row as a comment, `-- cursor: and (created_at, id) > ($3, $4)`. So the
//! statement without it is the file as it stands, with its own plan, and both keep the same columns and filters. A line
//! that starts with `/* cut */` may end a page before its limit; the number of rows is counted without it.

use super::{Plan, Sql};

/// The statements of a list whose last parameters are `limit` and `skip`, followed by those of the cursor, if any.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// The page that starts after `skip` rows.
    pub first: Sql,
    /// The page that starts after the cursor's row.
    pub behind: Sql,
    /// Counts the rows of all pages.
    pub count: Sql,
    /// The columns that order the list: what a cursor holds, in the order of its parameters.
    pub key: &'static [&'static str],
    /// Whether a page may end before its limit, so that a page that is not full need not be the last.
    pub is_cut: bool,
}

impl List {
    /// [`Sql::planned_once`] for all statements of the list.
    pub const fn planned_once(self) -> Self {
        self.planned(Plan::Once)
    }

    /// [`Sql::planned_anew`] for all statements of the list.
    pub const fn planned_anew(self) -> Self {
        self.planned(Plan::Anew)
    }

    const fn planned(self, plan: Plan) -> Self {
        Self {
            first: Sql { plan, ..self.first },
            behind: Sql { plan, ..self.behind },
            count: Sql { plan, ..self.count },
            ..self
        }
    }
}

/// A marker comment in a list's statement, and what replaces it in a derived statement.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    comment: &'static str,
    /// Not longer than the comment, so that a derived statement fits into the length of its original.
    becomes: &'static str,
}

impl Mark {
    /// Precedes the condition of a page after a row.
    pub const CURSOR: Self = Self { comment: "-- cursor:", becomes: "" };
    /// Precedes what ends a page before its limit.
    pub const CUT: Self = Self { comment: "/* cut */", becomes: "--" };

    const fn is_at(self, at: usize, text: &[u8]) -> bool {
        let comment = self.comment.as_bytes();
        let mut same = 0;
        while same < comment.len() && at + same < text.len() && text[at + same] == comment[same] {
            same += 1;
        }
        same == comment.len()
    }

    /// Whether the statement has this marker.
    pub const fn is_in(self, text: &str) -> bool {
        let mut at = 0;
        while at < text.len() && !self.is_at(at, text.as_bytes()) {
            at += 1;
        }
        at < text.len()
    }

    /// The statement with the marker replaced.
    pub const fn replaced<const LENGTH: usize>(self, text: &str) -> [u8; LENGTH] {
        let (text, becomes) = (text.as_bytes(), self.becomes.as_bytes());
        let mut out = [b' '; LENGTH];
        let mut at = 0;
        while at < LENGTH {
            if self.is_at(at, text) {
                let mut done = 0;
                while done < becomes.len() {
                    out[at + done] = becomes[done];
                    done += 1;
                }
                at += self.comment.len();
            } else {
                out[at] = text[at];
                at += 1;
            }
        }
        out
    }
}

impl Sql {
    /// A statement derived from this one, with the same plan.
    pub const fn made(self, text: &'static [u8]) -> Self {
        match str::from_utf8(text) {
            Ok(text) => Self { text, ..self },
            Err(_) => panic!("the statement is not UTF-8"),
        }
    }
}

/// `list!("contacts/list")` is the list of `sql/contacts/list.sql`, ordered by `created_at` and `id`, or by the columns
/// that follow the path.
#[macro_export]
macro_rules! list {
    ($path:literal) => {
        $crate::list!($path, "created_at", "id")
    };
    ($path:literal, $($key:literal),+) => {{
        const FIRST: $crate::db::Sql = $crate::sql!($path);
        const ALL: &str = concat!(
            "select count(*) from (",
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $path, ".sql")),
            ") list"
        );
        const BEHIND: [u8; FIRST.text.len()] = $crate::db::Mark::CURSOR.replaced(FIRST.text);
        const COUNT: [u8; ALL.len()] = $crate::db::Mark::CUT.replaced(ALL);
        const LIST: $crate::db::List = $crate::db::List {
            first: FIRST,
            behind: FIRST.made(&BEHIND),
            count: FIRST.made(&COUNT),
            key: &[$($key),+],
            is_cut: $crate::db::Mark::CUT.is_in(FIRST.text),
        };
        const {
            assert!(
                $crate::db::Mark::CURSOR.is_in(FIRST.text),
                "the statement of a list needs the condition of its cursor"
            );
        }
        LIST
    }};
}
