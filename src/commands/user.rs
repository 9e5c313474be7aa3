//! `ringfence user` and `ringfence super-admin`: accounts, their company and role.

use crate::{
    db::{self, Company},
    passwords, sql, terminal, wire,
};
use anyhow::bail;
use clap::Subcommand;
use tokio_postgres::{Client, error::SqlState};
use uuid::Uuid;

/// What to do with users.
#[derive(Subcommand)]
pub enum Command {
    /// Give a user a company; a new account asks for its password (or reads it from standard input)
    Assign {
        /// The person's e-mail address
        email: String,
        /// The company's id, or its exact name
        #[arg(long)]
        company: String,
        /// A new role, such as company_admin or "Sales Rep". Without it the role stays, but new accounts become
        /// company_user, and so do users from another company, except for super admins
        #[arg(long)]
        role: Option<String>,
    },
}

/// An address in the form that accounts have.
fn address(given: &str) -> String {
    given.trim().to_lowercase()
}

/// Makes somebody a super admin of the platform; returns what was done.
pub async fn super_admin(admin: &Client, email: &str) -> anyhow::Result<String> {
    let email = address(email);
    let user = match admin.query_opt(sql!("ops/user/find").text, &[&email]).await? {
        Some(row) => row.get::<_, Uuid>("id"),
        None => add_user(admin, &email, "Super", "Admin").await?,
    };
    let row = admin.query_one(sql!("ops/user/set_role").text, &[&user, &Some(db::SUPER_ADMIN)]).await?;
    let lets_in = "update users set status = 'active', is_active = true where id";
    if row.get("may_enter") {
        return Ok(format!("{email} is a super admin now."));
    }
    Ok(format!(
        "{email} is a super admin now, and the account stays suspended: another super admin lifts that, or \"{lets_in} = '{user}'\" at psql."
    ))
}

/// The roles in companies (contract: conventions, "Roles and permissions"). The API accepts any word, typing errors
/// too.
const ROLES: [&str; 7] =
    ["company_admin", "company_user", "Admin", "Sales Manager", "Sales Rep", "Regular User", "Support"];

/// Runs the command as an administrator of the database; returns what was done.
pub async fn run(command: Command, admin: &mut Client) -> anyhow::Result<String> {
    let Command::Assign { email, company, role } = command;
    assign(admin, &email, &company, role.as_deref()).await
}

async fn assign(admin: &mut Client, email: &str, company: &str, role: Option<&str>) -> anyhow::Result<String> {
    let (email, role) = (address(email), role.map(str::trim));
    match role {
        Some("") => bail!("the role must not be empty"),
        Some(db::SUPER_ADMIN) => bail!("a super admin is made by `ringfence super-admin`"),
        Some(role) if !ROLES.contains(&role) => bail!("\"{role}\" is none of the roles: {}", ROLES.join(", ")),
        _ => {}
    }
    let company = db::find_company(admin, company).await?;
    let known = admin.query_opt(sql!("ops/user/find").text, &[&email]).await?;
    let left = known
        .as_ref()
        .and_then(|row| Some(Company { id: row.get::<_, Option<_>>("company_id")?, name: row.get("company") }));
    let left = left.filter(|left| left.id != company.id);
    let (user, role) = match known {
        // A role in another company means nothing in this one, but a super admin stays one.
        Some(row) => {
            let (user, was): (Uuid, &str) = (row.get("id"), row.get("user_role"));
            let moves = left.is_some() && was != db::SUPER_ADMIN;
            let role = role.or(moves.then_some("company_user"));
            let ends = left.is_some() || role.is_some_and(|role| role != was && role != "company_admin");
            if ends && let Some(row) = admin.query_opt(sql!("ops/without_admin").text, &[&vec![user]]).await? {
                let of = terminal::plain(row.get("name"));
                bail!("{email} is the last admin of {of}: make somebody else an admin there first");
            }
            (user, role)
        }
        None => {
            let first_name = email.split('@').next().unwrap_or("New");
            (add_user(admin, &email, first_name, "").await?, role.or(Some("company_user")))
        }
    };
    let tx = admin.transaction().await?;
    tx.execute(sql!("ops/user/assign_company").text, &[&user, &company.id]).await.map_err(|e| {
        match e.as_db_error().filter(|e| *e.code() == SqlState::UNIQUE_VIOLATION) {
            Some(taken) => anyhow::anyhow!(
                "{} has a row already with a key that one of {email}'s historical rows has, in {} ({}): after `ringfence backfill run` \
                 the table app.backfill_collision names such rows. Delete one of the two, or change its key",
                left.as_ref().unwrap_or(&company),
                taken.table().unwrap_or_default(),
                taken.constraint().unwrap_or_default()
            ),
            None => e.into(),
        }
    })?;
    let role: String = tx.query_one(sql!("ops/user/set_role").text, &[&user, &role]).await?.get("user_role");
    tx.commit().await?;
    let from = left.map(|left| format!(", and no longer to {left}; what they made there stays there"));
    Ok(format!("{email} belongs to {company} now, with the role {role}{}.", from.unwrap_or_default()))
}

async fn add_user(admin: &Client, email: &str, first: &str, last: &str) -> anyhow::Result<Uuid> {
    // By the API's rules.
    if wire::new_address(email, &()).is_err() || email.chars().count() > 255 {
        bail!("\"{email}\" is not an e-mail address that mail gets to");
    }
    let missing = format!("there is no account {email} yet: give the new one's password on standard input");
    let password = terminal::new_password(&format!("the new account {email}"), &missing)?;
    if let Some(problem) = passwords::problem(&password, email, true) {
        bail!("{problem}");
    }
    let hash = passwords::hash_now(&password)?;
    Ok(admin.query_one(sql!("ops/user/add").text, &[&email, &hash, &first, &last]).await?.get("id"))
}
