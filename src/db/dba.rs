//! The connection of the commands that work across companies by design: import, archive, erasure; and what an administrator is
//! told who may not do something.

use super::{connect, migrate};
use crate::{sql, terminal};
use anyhow::{Context, Error, bail};
use std::fmt;
use tokio_postgres::{Client, error::SqlState};
use uuid::Uuid;

/// A connection as `ringfence_dba`, which sees past the policies; refused where that role cannot, since an import that does
/// not see everything would bring some of it twice.
pub async fn connect_as_dba(admin_url: &str) -> anyhow::Result<Client> {
    let client = connect(admin_url).await?;
    migrate::require_current(&client).await?;
    become_dba(&client).await?;
    client.batch_execute("set timezone = 'UTC'; set work_mem = '128MB'; set gin_pending_list_limit = '64MB'").await?;
    Ok(client)
}

/// Has a connection act as `ringfence_dba`, if that role sees every row; and says what is needed for it otherwise.
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

/// A company that a command works on. It is shown as its name and, because names change and look like each other, its id.
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

/// The company with this id or exactly this name; a name that can mean another one too is refused (`app.find_company`).
pub async fn find_company(client: &Client, given: &str) -> anyhow::Result<Company> {
    let row = client.query_one(sql!("ops/find_company").text, &[&given]).await?;
    let id: Option<Uuid> = row.get("id");
    let id = id.with_context(|| format!("there is no company named \"{given}\", and none of that id"))?;
    Ok(Company { id, name: row.get("name") })
}

/// The error, and who may do it when the administrator lacks the rights.
pub fn refused(e: impl Into<Error>, who_may: &'static str) -> Error {
    let e = e.into();
    let code = e.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    if code == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        e.context(format!("the administrator must be {who_may}"))
    } else {
        e
    }
}
