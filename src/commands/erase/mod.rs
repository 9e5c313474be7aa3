//! Erases a company, or a person as data protection requires, for good. Rows are deleted in batches, so that no lock is
//! held for long, and an interrupted erasure is completed by the same command. `ops.erasures` records that it was done,
//! but not whom it concerned.

mod company;
mod person;

use crate::{
    clients::storage::Storage,
    db::{self, Company, Params, connect_as_dba},
    sql,
    store_owner::{self, Claim},
    terminal::{self, Measure},
};
use anyhow::bail;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use person::Person;
use std::collections::BTreeMap;
use tokio_postgres::{Client, GenericClient};
use uuid::Uuid;

/// What to erase.
#[derive(Subcommand, Clone, Debug)]
pub enum Erase {
    /// Erase a company: every row, file, secret and account
    ///
    /// The company is suspended first. Accounts of people who also have rows in a company to which they belonged before
    /// stay there, without name and address. If anybody may want the company back, export it first: ringfence archive
    /// export.
    Company {
        /// The company's id, or its exact name
        company: String,
        /// How
        #[command(flatten)]
        options: Options,
    },
    /// Erase a person: the contacts and the account with an e-mail address, and its invitations and campaign recipients
    ///
    /// For a contact, this erases the contact itself, its texts, calls, e-mails, scheduled texts, conversation,
    /// activities and files, including those that have its number or address and name no other contact, and files that
    /// came with its mails. If somebody else has the number too, the conversation stays, with their texts. Mails of
    /// others that mention the address, and mails that also went to others, stay without it. Workflow events and runs
    /// that the person triggered or signed for are erased, as is what steps of other runs did for them, what the audit
    /// log says about them, and a company's own address and number, if they are the person's. Deals and quotes are the
    /// company's own records: they stay, without the contact, and so do files that the company sent. Free text
    /// elsewhere that mentions the person is not searched. An entry that forbids writing to the address stays, because
    /// it protects the person.
    ///
    /// A hash of the address is kept, so that the next import of the old database leaves the person out.
    ///
    /// For a user, this erases the name, the address, the profile, the password and the notifications. What they made
    /// in a company stays there without their name, and their mails stay without the address. Historical rows of a user
    /// without a company are erased, because nobody else could see them.
    Person {
        /// The person's e-mail address
        #[arg(required_unless_present = "contact", conflicts_with = "contact")]
        email: Option<String>,
        /// Erase the person only in this company, given by its id or its exact name
        #[arg(long)]
        company: Option<String>,
        /// The id of a contact without an address, instead of an address
        #[arg(long, value_name = "ID", conflicts_with = "company")]
        contact: Option<Uuid>,
        /// How
        #[command(flatten)]
        options: Options,
    },
}

/// How to erase.
#[derive(Args, Clone, Copy, Debug)]
pub struct Options {
    /// Only count what would be erased, without erasing it
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
}

/// The number of erased rows by table; `objects` are contents of files.
pub type Counts = BTreeMap<String, u64>;

/// What was erased, or would be.
#[derive(Debug)]
pub struct Erased {
    /// The number of rows by table.
    pub counts: Counts,
    /// The company that was erased, or in which the person was.
    pub company: Option<Company>,
    /// Companies that are left with users, but without an admin.
    pub without_admin: Vec<String>,
    /// Whether no super admin is left, because the last one was erased.
    pub last_super_admin: bool,
    /// Operators' logins that are left without a company in this database.
    pub operators: Vec<String>,
}

impl Erased {
    /// What remains to be done by hand, one matter per line.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        if !self.without_admin.is_empty() {
            text += &format!(
                "Left without an admin: {}. `ringfence user assign EMAIL --company NAME --role company_admin` makes one.\n",
                self.without_admin.join(", ")
            );
        }
        if self.last_super_admin {
            text += "Left without a super admin: `ringfence super-admin EMAIL` makes one.\n";
        }
        if !self.operators.is_empty() {
            text += &format!(
                "Operators without a company here: {}. `ringfence operator remove` ends a login.\n",
                self.operators.join(", ")
            );
        }
        text
    }
}

const OBJECTS: &str = "objects";

/// Rows of one statement.
const BATCH_SIZE: i64 = 2000;

/// Erases after confirmation; returns what was erased, or would be.
pub async fn run(admin_url: &str, erase: &Erase, storage: &Storage) -> anyhow::Result<Erased> {
    let mut db = connect_as_dba(admin_url).await?;
    match erase {
        Erase::Company { company, options } => {
            let found = db::find_company(&db, company).await?;
            let counts = company::count(&db, found.id).await?;
            let operators = names(&db, sql!("ops/erase/operators_of_company").text, &[&found.id]).await?;
            let last_super_admin = is_last_super_admin(&db, &[], Some(found.id)).await?;
            let question = format!("the company {found}");
            let id = found.id;
            let mut erased =
                Erased { counts, company: Some(found), without_admin: Vec::new(), last_super_admin, operators };
            if goes_on(&question, &erased.counts, *options)? {
                let storage = own(&db, storage, *options).await?;
                erased.counts = company::erase(&mut db, id, Erasure::begin(&erased.counts, storage)).await?;
            }
            Ok(erased)
        }
        Erase::Person { email, company, contact, options } => {
            let company = match company {
                None => None,
                Some(name) => Some(db::find_company(&db, name).await?),
            };
            let only = company.as_ref().map(|company| company.id);
            let person = match (email, contact) {
                (Some(email), _) if !email.contains('@') => bail!("{email:?} is no address"),
                (Some(email), _) => Person::of_address(&db, &email.trim().to_lowercase(), only).await?,
                (None, Some(contact)) => Person::of_contact(&db, *contact).await?,
                (None, None) => bail!("whom? Say an address, or a contact"),
            };
            let storage = own(&db, storage, *options).await?;
            let counts = person.count(&db, storage).await?;
            let users = Vec::from_iter(person.users.iter().map(|user| user.id));
            let without_admin = names(&db, sql!("ops/without_admin").text, &[&users]).await?;
            let last_super_admin = is_last_super_admin(&db, &users, None).await?;
            let mut erased = Erased { counts, company, without_admin, last_super_admin, operators: Vec::new() };
            if goes_on("this person", &erased.counts, *options)? {
                erased.counts = person.erase(&mut db, Erasure::begin(&erased.counts, storage)).await?;
            }
            Ok(erased)
        }
    }
}

/// The column `name` of a statement's rows.
async fn names(db: &Client, statement: &str, params: Params<'_>) -> anyhow::Result<Vec<String>> {
    Ok(db.query(statement, params).await?.iter().map(|row| terminal::plain(row.get("name")).into_owned()).collect())
}

/// Whether a super admin is among these users, or those of a company, and no other is left.
async fn is_last_super_admin(db: &Client, users: &[Uuid], company: Option<Uuid>) -> anyhow::Result<bool> {
    Ok(db.query_one(sql!("ops/erase/last_super_admin").text, &[&users, &company]).await?.get(0))
}

/// The store, if it belongs to this database: in another one's, a company that has moved has the same keys.
async fn own<'a>(db: &Client, storage: &'a Storage, options: Options) -> anyhow::Result<Option<&'a Storage>> {
    let claim = if options.dry_run { Claim::No } else { Claim::IfUnowned };
    let standing = store_owner::of_administrator(db, storage, claim).await?;
    if let Err(problem) = &standing {
        tracing::warn!("no content of a file is erased: {problem}");
    }
    Ok(standing.is_ok().then_some(storage))
}

fn goes_on(what: &str, counts: &Counts, options: Options) -> anyhow::Result<bool> {
    if !options.dry_run && !options.yes {
        let what = format_args!("This erases {what} for good:\n{}", summary(counts));
        terminal::confirm(what, "erase", "nothing was erased")?;
    }
    Ok(!options.dry_run)
}

/// The counts, one table per line.
pub fn summary(counts: &Counts) -> String {
    counts.iter().filter(|(_, rows)| **rows > 0).map(|(table, rows)| format!("{rows:>10} {table}\n")).collect()
}

/// The tables of companies, referencing tables before referenced ones, each with whether it references itself.
async fn tables(db: &Client) -> anyhow::Result<Vec<(String, bool)>> {
    let tables = db.query(sql!("ops/erase/tables_to_erase").text, &[]).await?;
    Ok(tables.iter().map(|row| (row.get("name"), row.get("of_itself"))).collect())
}

async fn record(db: &impl GenericClient, kind: &str, counts: &Counts) -> anyhow::Result<()> {
    let counts = serde_json::to_value(counts)?;
    db.execute(sql!("ops/erase/record_erasure").text, &[&kind, &counts]).await?;
    Ok(())
}

fn add(counts: &mut Counts, what: &str, rows: u64) {
    *counts.entry(what.to_owned()).or_default() += rows;
}

/// An erasure in progress.
struct Erasure<'a> {
    /// `None` if it belongs to another database.
    storage: Option<&'a Storage>,
    /// What has been erased so far.
    counts: Counts,
    bar: ProgressBar,
}

impl<'a> Erasure<'a> {
    /// Starts the erasure of what was counted before.
    fn begin(counted: &Counts, storage: Option<&'a Storage>) -> Self {
        // Contents are erased with the rows of their files.
        let rows = counted.iter().filter(|(what, _)| *what != OBJECTS).map(|(_, rows)| rows).sum();
        Self { storage, counts: Counts::new(), bar: terminal::progress("erasing", Measure::Of(rows)) }
    }

    /// Deletes and counts the rows of a table whose ids a statement returns, in batches, each in a transaction of its
    /// own; files with their contents.
    async fn delete(
        &mut self,
        db: &Client,
        table: &str,
        ids: &str,
        params: Params<'_>,
        batch_size: i64,
    ) -> anyhow::Result<()> {
        self.bar.set_message(table.to_owned());
        let batch = format!(
            "delete from {table} where id in (select r.id from (\n{ids}\n) r order by r.id limit {batch_size})"
        );
        if table == "files" {
            return self.delete_files(db, &batch, params).await;
        }
        loop {
            let rows = db.execute(&batch, params).await?;
            add(&mut self.counts, table, rows);
            self.bar.inc(rows);
            if rows < batch_size.unsigned_abs() {
                return Ok(());
            }
        }
    }

    /// Deletes files, and then their contents; what an interruption leaves is deleted by the next sweep.
    async fn delete_files(&mut self, db: &Client, batch: &str, params: Params<'_>) -> anyhow::Result<()> {
        let batch = format!("{batch} returning object_key");
        loop {
            let rows = db.query(&batch, params).await?;
            for row in &rows {
                if let (Some(storage), Some(key)) = (self.storage, row.get::<_, Option<String>>(0)) {
                    let key = object_store::path::Path::parse(&key)?;
                    add(&mut self.counts, OBJECTS, u64::from(storage.has(&key).await?));
                    storage.delete(&key).await?;
                }
                self.bar.inc(1);
            }
            add(&mut self.counts, "files", rows.len() as u64);
            if rows.len() < usize::try_from(BATCH_SIZE)? {
                return Ok(());
            }
        }
    }
}
