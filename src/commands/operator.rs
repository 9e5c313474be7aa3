//! `ringfence operator`: logins for people who use psql, each restricted to one company by the role that logged in.

use crate::{
    auth,
    db::{self, Company},
    passwords, sql, terminal,
};
use anyhow::bail;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, Subcommand};
use tokio_postgres::Client;
use uuid::Uuid;

/// What to do with operators.
#[derive(Subcommand)]
pub enum Command {
    /// Create a login for a person, for one company or several
    ///
    /// Operators log in with psql and see their company's rows, whatever they set or `set role` to; historical rows
    /// stay hidden. With several companies they choose one for each connection: select app.use_company('Acme'); The
    /// command asks for the password, or reads it from standard input. In psql, start with: \i sql/ops/operator.psql
    Add(Add),
    /// List the operators of this database, with their companies and rights
    List,
    /// Give an operator one more company; they choose one of theirs for each connection
    Grant(Grant),
    /// Take a company from an operator, also in open connections; the login stays
    ///
    /// From then on they choose their company for each connection, even if only one is left, so that nobody continues
    /// in another company by accident.
    Revoke(Grant),
    /// Remove an operator: close their connections, and drop the login
    Remove {
        /// The login's name
        name: String,
    },
}

/// A new operator.
#[derive(Args)]
pub struct Add {
    /// The login's name, which must be new on the database server, because logins belong to the whole server
    name: String,
    /// A company's id, or its exact name; may be given several times
    #[arg(long, required = true)]
    company: Vec<String>,
    /// Allow them to add and change the company's rows; deleting is left to the API
    #[arg(long)]
    write: bool,
    /// Hide names, addresses, texts and other personal data: allow only the columns that sql/platform/operators.sql
    /// calls open
    #[arg(long, conflicts_with = "write")]
    no_personal_data: bool,
    /// Generate a password and print it once, instead of asking for one
    #[arg(long)]
    generate_password: bool,
}

/// An operator and a company.
#[derive(Args)]
pub struct Grant {
    /// The login's name
    name: String,
    /// The company's id, or its exact name
    #[arg(long)]
    company: String,
}

/// Runs the command as an administrator; returns what to print.
pub async fn run(command: Command, admin: &Client) -> anyhow::Result<String> {
    carry_out(command, admin).await.map_err(|e| {
        db::refused(e, "a superuser, or a member of ringfence_owner and ringfence_platform who may create roles")
    })
}

async fn carry_out(command: Command, admin: &Client) -> anyhow::Result<String> {
    match command {
        Command::Add(add) => add.run(admin).await,
        Command::List => list(admin).await,
        Command::Grant(Grant { name, company }) => {
            let company = db::find_company(admin, &company).await?;
            admin.execute(sql!("ops/operator/grant").text, &[&name, &company.id.to_string()]).await?;
            let choose = format!("select app.use_company('{}');", terminal::plain(&company.name).replace('\'', "''"));
            Ok(format!("{name} has {company} now. Who has several companies, or has lost one, chooses: {choose}"))
        }
        Command::Revoke(Grant { name, company }) => {
            let company = db::find_company(admin, &company).await?;
            admin.execute(sql!("ops/operator/revoke").text, &[&name, &company.id.to_string()]).await?;
            let left = "select from app.operator_grant where db_role = $1::text::name and granted_company_id is not null limit 1";
            let rest = match admin.query_opt(left, &[&name]).await? {
                Some(_) => {
                    " In each connection they choose from now on, also if one is left: select * from app.my_companies();"
                }
                None => " Nothing is left here that they see; `ringfence operator remove` ends the login.",
            };
            Ok(format!("{name} no longer has {company}.{rest}"))
        }
        Command::Remove { name } => {
            admin.execute(sql!("ops/operator/remove").text, &[&name]).await?;
            let is_left = "select from pg_roles where rolname = $1::text::name";
            Ok(match admin.query_opt(is_left, &[&name]).await? {
                None => format!("{name} is removed."),
                Some(_) => format!(
                    "{name} may log in no more and has no rights here. The role cannot be dropped, because a grant, or something \
                     in another database, depends on it: `drop owned by` it in each database, then `drop role`."
                ),
            })
        }
    }
}

impl Add {
    async fn run(self, admin: &Client) -> anyhow::Result<String> {
        let Self { name, company, write, no_personal_data, generate_password } = self;
        if name.is_empty() {
            bail!("the operator needs a name");
        }
        if name.len() > 63 {
            bail!("the name is longer than the 63 bytes that PostgreSQL keeps");
        }
        let password = if generate_password {
            URL_SAFE_NO_PAD.encode(auth::random::<18>())
        } else {
            let missing = "give the operator's password on standard input, or --generate-password";
            let password = terminal::new_password(&name, missing)?;
            if let Some(problem) = passwords::problem(&password, &name, true) {
                bail!("{problem}");
            }
            password
        };
        let mut companies = Vec::new();
        for given in &company {
            companies.push(db::find_company(admin, given).await?);
        }
        let ids: Vec<String> = companies.iter().map(|company| company.id.to_string()).collect();
        // As its SCRAM verifier, so that no log of the server can contain the password.
        let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
        admin
            .execute(sql!("ops/operator/add").text, &[&name, &ids, &write, &!no_personal_data, &verifier])
            .await
            .map_err(with_hint)?;
        let shown = if generate_password { format!("Password, shown this once: {password}\n") } else { String::new() };
        let may = if write { "reads and writes" } else { "reads" };
        let names: Vec<String> = companies.iter().map(Company::to_string).collect();
        Ok(format!("{shown}{name} {may} the rows of {}.", names.join(", ")))
    }
}

/// Adds the database's hint to its error message.
fn with_hint(e: tokio_postgres::Error) -> anyhow::Error {
    match e.as_db_error().and_then(|db| Some(format!("{}. {}", db.message(), db.hint()?))) {
        Some(text) => anyhow::anyhow!(text),
        None => e.into(),
    }
}

async fn list(admin: &Client) -> anyhow::Result<String> {
    let rows = admin.query(sql!("ops/operator/list").text, &[]).await?;
    if rows.is_empty() {
        return Ok("There are no operators: `ringfence operator add NAME --company COMPANY` makes one.".into());
    }
    let mut table = vec![["operator", "may", "personal data", "connections", "companies"].map(str::to_owned)];
    for row in rows {
        let (writes, personal): (bool, bool) = (row.get("writes"), row.get("personal_data"));
        let (ids, names): (Vec<Uuid>, Vec<String>) = (row.get("ids"), row.get("names"));
        let companies: Vec<_> = ids.into_iter().zip(names).map(|(id, name)| Company { id, name }.to_string()).collect();
        let chooses = if row.get("lost_one") { ", to be chosen" } else { "" };
        table.push([
            row.get("name"),
            if writes { "read, write" } else { "read" }.into(),
            if personal { "yes" } else { "no" }.into(),
            row.get::<_, i64>("connections").to_string(),
            if companies.is_empty() { "no company".into() } else { companies.join(", ") + chooses },
        ]);
    }
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let line = |row: &[String; 5]| {
        let [name, may, personal, connections, companies] = row;
        let [a, b, c, d] = widths;
        format!("{name:a$}  {may:b$}  {personal:c$}  {connections:>d$}  {companies}")
    };
    Ok(table.iter().map(line).collect::<Vec<_>>().join("\n"))
}
