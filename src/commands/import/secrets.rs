//! Seals the companies' provider credentials, which are plain text in the old database.

use super::source::Columns;
use crate::{seal::Sealer, sql};
use tokio_postgres::{GenericClient, Transaction};
use uuid::Uuid;

/// The query for the credentials.
pub(super) const SECRETS: &str = "select id, company_id, auth_token, sendgrid_api_key from twilio_settings";

/// Seals the credentials of imported companies that have none here yet.
pub(super) async fn seal(
    old: &Transaction<'_>,
    columns: &Columns,
    stand_ins: &str,
    db: &impl GenericClient,
    sealer: &Sealer,
) -> anyhow::Result<()> {
    for row in old.query(&format!("{stand_ins}{SECRETS}"), &[]).await? {
        let (id, company): (Uuid, Option<Uuid>) = (row.get("id"), row.get("company_id"));
        let Some(company) = company else { continue };
        for (column, name) in [("auth_token", "twilio_auth_token"), ("sendgrid_api_key", "sendgrid_api_key")] {
            let secret: Option<String> = row.get(column);
            if let Some((sealed, last_four)) = sealer.seal(company, name, secret.as_deref().unwrap_or_default())? {
                db.execute(sql!("import/secret").text, &[&id, &company, &name, &sealed, &last_four]).await?;
            }
        }
    }
    if ["twilio_auth_token", "sendgrid_api_key"].iter().all(|name| columns["companies"].contains_key(*name)) {
        let unused = "select id from companies where coalesce(twilio_auth_token, sendgrid_api_key, '') <> ''";
        for row in old.query(unused, &[]).await? {
            let id: Uuid = row.get(0);
            db.execute(sql!("import/unused_secret").text, &[&id]).await?;
        }
    }
    Ok(())
}
