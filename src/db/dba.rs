//! The connection of the commands that work across companies by design (import, archive, erasure), and the advice for
//! an administrator who lacks the rights for a command.

use super::{connect, migrate};
use crate::{sql, terminal};
use anyhow::{Context, Error, bail};
use std::fmt;
use tokio_postgres::{Client, error::SqlState};
use uuid::Uuid;

/// Connects as `ringfence_dba`, which bypasses the policies. Fails if that role does not see every row, because an
/// import would then insert some rows twice.
pub async fn connect_as_dba(admin_url: &str) -> anyhow::Result<Client> {
    let client = connect(admin_url).await?;
    migrate::require_current(&client).await?;
    become_dba(&client).await?;
    client.batch_execute("set timezone = 'UTC'; set work_mem = '128MB'; set gin_pending_list_limit = '64MB'").await?;
    Ok(client)
}

/// Switches a connection to `ringfence_dba`. If that role does not see every row, the error says what it lacks.
pub async fn become_dba(client: &Client) -> anyhow::Result<()> {
    client
        .batch_execute("set role ringfence_dba")
        .await
        .context("the administrator must be a superuser, or a member of ringfence_dba: `grant ringfence_dba to …`")?;
    if let Some(row) = client.query_opt(sql!("lint/dba_role").text, &[]).await? {
        let [finding, remedy]: [&str; 2] = [row.get("finding"), row.get("remedy")];
        bail!("{finding}: {remedy}");
    }
    Ok(())
}

/// A company that a command works on. Displayed as its name and its id, because names change and resemble each other.
#[derive(Clone, Debug)]
pub struct Company {
    /// Its id.
    pub id: Uuid,
    /// Its name, as its admins have written it.
    pub name: String,
}

impl fmt::Display for Company {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", terminal::plain(&self.name), self.id)
    }
}

/// The company with this id or exactly this name; an ambiguous name is refused (`app.find_company`).
pub async fn find_company(client: &Client, given: &str) -> anyhow::Result<Company> {
    let row = client.query_one(sql!("ops/find_company").text, &[&given]).await?;
    let id: Option<Uuid> = row.get("id");
    let id = id.with_context(|| format!("there is no company named \"{given}\", and none of that id"))?;
    Ok(Company { id, name: row.get("name") })
}

/// Adds to an error for lack of privilege who may run the command.
pub fn refused(e: impl Into<Error>, who_may: &'static str) -> Error {
    let e = e.into();
    let code = e.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    if code == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        e.context(format!("the administrator must be {who_may}"))
    } else {
        e
    }
}
