//! The only module that can open a connection to the database.

mod address;
mod admission;
mod answer_memory;
mod connect;
mod connection;
mod dba;
mod fault;
mod idempotent;
mod json_rows;
mod list;
pub mod local;
pub mod migrate;
pub mod platform;
mod pool;
mod pooler;
mod retry;
mod row;
mod standby;
mod statement;
mod tenant;

pub use address::{connect, libpq_environment};
pub use connection::Column;
pub use dba::{Company, become_dba, connect_as_dba, find_company, refused};
pub use fault::{Fault, Refusal};
pub(crate) use idempotent::{Held, commit_held, hold};
pub use json_rows::{Field, Rows, Value, WriteError, WriteRow, Written, place, write_value};
pub use list::{List, Mark};
pub(crate) use pool::NoConnection;
pub use pool::{Db, PoolState, default_pool_size, default_threads};
pub use pooler::check_pooler;
pub use retry::{JOB_PATIENCE, REQUEST_PATIENCE, WriteRetry, keep_answer, retry_webhook, retry_write};
pub use row::{FromRow, Row, Values, column};
pub(crate) use standby::{leave_noted, note_position};
pub use statement::{Params, Plan, Sql};
pub use tenant::{
    AnyUser, Caller, CompanyAdmin, Identity, Member, Permission, RoleRule, SUPER_ADMIN, Scoped, SettingsAdmin,
    SuperAdmin, TeamAdmin, TenantDb, Tx, UNFINISHED_RESTORE, UserDb,
};
