//! The statements of `sql/`.

use postgres_types::ToSql;

/// A statement's parameters.
pub type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// One statement of `sql/`: its path there and its text.
#[derive(Clone, Copy, Debug)]
pub struct Sql {
    /// The path below `sql/`, without the ending.
    pub name: &'static str,
    /// The statement.
    pub text: &'static str,
    /// How PostgreSQL plans it.
    pub plan: Plan,
}

/// Whether a prepared statement is planned for its parameters at each call. PostgreSQL decides by estimated costs,
/// which ignore how unequal companies are, so a statement may override that. *Enter* sets it, which costs no round
/// trip; inside `tx` it is always `Auto`.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// PostgreSQL decides.
    Auto,
    /// One plan for all calls: planning a short statement takes longer than running it.
    Once,
    /// A plan for each call: the best one depends on the parameters.
    Anew,
}

impl Sql {
    /// The statement with one plan for all calls, for statements whose best plan does not depend on their parameters.
    pub const fn planned_once(self) -> Self {
        Self { plan: Plan::Once, ..self }
    }

    /// The statement with a plan for each call, for a search, whose text decides which index is best.
    pub const fn planned_anew(self) -> Self {
        Self { plan: Plan::Anew, ..self }
    }
}

impl Plan {
    /// The value of `plan_cache_mode`.
    pub fn mode(self) -> &'static str {
        match self {
            Plan::Auto => "auto",
            Plan::Once => "force_generic_plan",
            Plan::Anew => "force_custom_plan",
        }
    }
}

/// `sql!("contacts/list")` is the text of `sql/contacts/list.sql`; a missing file does not compile.
#[macro_export]
macro_rules! sql {
    ($path:literal) => {
        $crate::db::Sql {
            name: $path,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $path, ".sql")),
            plan: $crate::db::Plan::Auto,
        }
    };
}
