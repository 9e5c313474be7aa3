//! A list's statement and what is made of it: the page behind a row, and the number of rows.
//!
//! The file has the condition of a page behind a row as a comment, `-- cursor: and (created_at, id) > ($3, $4)`. So the
//! statement without it is the file as it stands, with its own plan, and both keep the same columns and filters.

use super::{Plan, Sql};

/// The statement of a list whose last two parameters are `limit` and `skip`; those of the cursor follow them.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// The page that starts after `skip` rows.
    pub first: Sql,
    /// The page that starts behind a row.
    pub behind: Sql,
    /// How many rows there are, when all of them are asked for.
    pub count: Sql,
    /// The columns by which it is ordered: what a cursor holds, in the order of its parameters.
    pub key: &'static [&'static str],
}

impl List {
    /// [`Sql::planned_once`].
    pub const fn planned_once(self) -> Self {
        self.planned(Plan::Once)
    }

    /// [`Sql::planned_anew`].
    pub const fn planned_anew(self) -> Self {
        self.planned(Plan::Anew)
    }

    const fn planned(self, plan: Plan) -> Self {
        Self {
            first: Sql { plan, ..self.first },
            behind: Sql { plan, ..self.behind },
            count: Sql { plan, ..self.count },
            key: self.key,
        }
    }
}

/// What stands before the condition of a page behind a row.
const MARK: &[u8] = b"-- cursor:";

/// The statement with these conditions in force; one that has none does not compile.
pub const fn behind<const LENGTH: usize>(text: &str) -> [u8; LENGTH] {
    let text = text.as_bytes();
    let mut out = [b' '; LENGTH];
    let (mut at, mut found) = (0, false);
    while at < LENGTH {
        let mut same = 0;
        while same < MARK.len() && at + same < LENGTH && text[at + same] == MARK[same] {
            same += 1;
        }
        if same == MARK.len() {
            found = true;
            at += same;
        } else {
            out[at] = text[at];
            at += 1;
        }
    }
    assert!(found, "the statement of a list needs the condition of its cursor");
    out
}

/// `list!("contacts/list")` is the list of `sql/contacts/list.sql`, ordered by `created_at` and `id`, or by the columns that
/// are named behind it.
#[macro_export]
macro_rules! list {
    ($path:literal) => {
        $crate::list!($path, "created_at", "id")
    };
    ($path:literal, $($key:literal),+) => {{
        const FIRST: $crate::db::Sql = $crate::sql!($path);
        const BEHIND: [u8; FIRST.text.len()] = $crate::db::behind(FIRST.text);
        const LIST: $crate::db::List = $crate::db::List {
            first: FIRST,
            behind: match str::from_utf8(&BEHIND) {
                Ok(text) => $crate::db::Sql { text, ..FIRST },
                Err(_) => panic!("the statement is not UTF-8"),
            },
            count: $crate::db::Sql {
                text: concat!(
                    "select count(*) from (",
                    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $path, ".sql")),
                    ") list"
                ),
                ..FIRST
            },
            key: &[$($key),+],
        };
        LIST
    }};
}
