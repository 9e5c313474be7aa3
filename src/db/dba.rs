//! The connection of the commands that work across companies by design: import, archive, erasure; and what an administrator is
//! told who may not do something.

use super::{connect, migrate};
use crate::sql;
use anyhow::{Context, Error, bail};
use tokio_postgres::{Client, error::SqlState};
use uuid::Uuid;

/// A connection as `ringfence_dba`, which sees past the policies; refused where that role cannot, since an import that does
/// not see everything would bring some of it twice.
pub async fn connect_as_dba(admin_url: &str) -> anyhow::Result<Client> {
    let client = connect(admin_url).await?;
    migrate::require_current(&client).await?;
    client
        .batch_execute("set role ringfence_dba")
        .await
        .context("this needs the role ringfence_dba: `grant ringfence_dba to …` your administrator")?;
    let bypasses = "select rolbypassrls from pg_roles where rolname = current_user";
    if !client.query_one(bypasses, &[]).await?.get::<_, bool>(0) {
        bail!(
            "ringfence_dba does not bypass row-level security: a superuser must run \"alter role ringfence_dba bypassrls\""
        );
    }
    client.batch_execute("set timezone = 'UTC'; set work_mem = '128MB'; set gin_pending_list_limit = '64MB'").await?;
    Ok(client)
}

/// The id of the company with exactly this name.
pub async fn company_named(client: &Client, name: &str) -> anyhow::Result<Uuid> {
    let found = client.query_opt(sql!("ops/find_company").text, &[&name]).await?;
    Ok(found.with_context(|| format!("there is no company named \"{name}\""))?.get("id"))
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
