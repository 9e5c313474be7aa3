//! Erases a company, or a person as data protection requires, for good. Rows are deleted in batches, so that no lock is
//! held for long, and an interrupted erasure is completed by the same command. `ops.erasures` records that it was done,
//! but not whom it concerned.

use crate::{
    clients::storage::Storage,
    db::{self, Company, Params, connect_as_dba},
    sql,
    store_owner::{self, Claim},
    terminal::{self, Measure},
};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use futures_util::TryStreamExt;
use indicatif::ProgressBar;
use std::collections::{BTreeMap, BTreeSet};
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

/// The mails of a person: the contact's, and mails without a contact that came from the address or went to nobody else.
const MAILS: &str = "contact_id = $2 or contact_id is null and strpos(lower(from_email || to_email), $3) > 0
    and array[$3] @> (select array_agg(m.address) from app.mailboxes(case direction when 'inbound' then from_email else to_email end) m)";

/// The text of a notification, in SQL.
const NOTE: &str = "(notifications.title || ' ' || notifications.message)";

/// The condition that a number is the contact's, however it is written.
fn is_theirs(number: &str) -> String {
    format!("$4 = app.e164({number})")
}

/// The tables and conditions of the rows that are erased with a contact; `$1` is the tenant, `$2` the contact, `$3` the
/// address, `$4` the number in E.164.
fn of_person() -> Vec<(&'static str, String)> {
    let [from, to] = ["from_address", "to_address"].map(is_theirs);
    let texts = format!("contact_id = $2 or contact_id is null and ({from} or {to})");
    let scheduled = format!("contact_id = $2 or contact_id is null and {to}");
    let said = |data: &str| {
        format!(
            "record_id = $2 or {data} ->> 'contact_id' = $2::text
               or exists (select from unnest(array[{data} ->> 'from', {data} ->> 'to', {data} ->> 'signer_email']) f, app.mailboxes(f) m where m.address = $3)
               or {} or {}
               or record_id in (select id from emails where tenant_id = $1 and ({MAILS}))
               or record_id in (select id from sms_messages where tenant_id = $1 and ({texts}))",
            is_theirs(&format!("({data} ->> 'from')")),
            is_theirs(&format!("({data} ->> 'to')"))
        )
    };
    let rows = [
        ("invitations", "email = $3".to_owned()),
        // Erased while the rows that tell whose run it is exist; the steps are erased with their run.
        (
            "workflow_executions",
            format!(
                "{} or at_event -> 'contact' ->> 'id' = $2::text
                   or record_id in (select d.id from deals d where d.tenant_id = $1 and d.contact_id = $2)
                   or record_id in (select a.id from activities a where a.tenant_id = $1 and a.contact_id = $2)",
                said("trigger_data")
            ),
        ),
        ("workflow_events", said("details")),
        (
            "jobs",
            format!(
                "record_id = $2 or record_id in (select id from scheduled_sms where tenant_id = $1 and ({scheduled}))
                   or kind = 'workflow_run' and not exists (select from workflow_executions x where x.tenant_id = $1 and x.id = jobs.record_id)"
            ),
        ),
        // Files that came with the person's mails, unless another mail has them too. What the company sent is its own.
        (
            "files",
            format!(
                "contact_id = $2 or id in (
                   select unnest(attachments) from emails where tenant_id = $1 and direction = 'inbound' and ({MAILS})
                   except select unnest(attachments) from emails where tenant_id = $1 and ({MAILS}) is not true)"
            ),
        ),
        // Erased while their texts exist, unless somebody else has texts in it.
        (
            "conversations",
            format!(
                "({} or id in (select conversation_id from sms_messages where tenant_id = $1 and ({texts})))
                   and not exists (select from sms_messages
                     where tenant_id = $1 and conversation_id = conversations.id and ({texts}) is not true)",
                is_theirs("to_number")
            ),
        ),
        ("sms_messages", texts.clone()),
        ("scheduled_sms", scheduled.clone()),
        ("calls", texts.clone()),
        ("emails", MAILS.to_owned()),
        ("campaign_recipients", "ops.bare_address(email) = $3".to_owned()),
        (
            "notifications",
            format!(
                r"strpos(link, $2::text) > 0 or ops.names(to_jsonb({NOTE}), $3)
                    or length($4) > 7 and exists (select from regexp_matches({NOTE}, '\+?\d[\d ().-]*\d', 'g') number where {})
                    or exists (select from contacts c where c.tenant_id = $1 and c.id = $2 and btrim(c.first_name) <> '' and btrim(c.last_name) <> ''
                      and {NOTE} ~ ('(?<!\w)' || regexp_replace(concat(btrim(c.first_name), ' ', btrim(c.last_name)), '[][\\.^$*+?(){{}}|]', '\\\&', 'g') || '(?!\w)'))",
                is_theirs("number[1]")
            ),
        ),
        ("activities", "contact_id = $2".to_owned()),
    ];
    let all = |condition: &str| {
        // Every statement names all four parameters, so that their types are known.
        format!("tenant_id = $1 and num_nonnulls($2::uuid, $3::text, $4::text) > 0 and ({condition})")
    };
    rows.into_iter().map(|(table, condition)| (table, all(&condition))).collect()
}

/// Erases after confirmation; returns what was erased, or would be.
pub async fn run(admin_url: &str, erase: &Erase, storage: &Storage) -> anyhow::Result<Erased> {
    let mut db = connect_as_dba(admin_url).await?;
    match erase {
        Erase::Company { company, options } => {
            let found = db::find_company(&db, company).await?;
            let counts = count_company(&db, found.id).await?;
            let operators = names(&db, sql!("ops/erase/operators_of_company").text, &[&found.id]).await?;
            let last_super_admin = is_last_super_admin(&db, &[], Some(found.id)).await?;
            let question = format!("the company {found}");
            let id = found.id;
            let mut erased =
                Erased { counts, company: Some(found), without_admin: Vec::new(), last_super_admin, operators };
            if goes_on(&question, &erased.counts, *options)? {
                let storage = own(&db, storage, *options).await?;
                erased.counts = erase_company(&mut db, id, Erasure::begin(&erased.counts, storage)).await?;
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

async fn count_company(db: &Client, id: Uuid) -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    for (table, condition) in
        tables(db).await?.into_iter().map(|(t, _)| (t, "tenant_id = $1")).chain([("users".into(), "company_id = $1")])
    {
        let count: i64 = db.query_one(&format!("select count(*) from {table} where {condition}"), &[&id]).await?.get(0);
        counts.insert(table, count.unsigned_abs());
    }
    Ok(counts)
}

async fn erase_company(db: &mut Client, id: Uuid, mut erasure: Erasure<'_>) -> anyhow::Result<Counts> {
    // From here on nobody adds rows, and running jobs are waited for by their locks.
    db.execute(sql!("ops/suspend_company").text, &[&id]).await?;
    let tables = tables(db).await?;
    for _ in 0..3 {
        for (table, of_itself) in &tables {
            let limit = if *of_itself { i64::MAX } else { BATCH_SIZE };
            erasure.delete(db, table, "tenant_id = $1", &[&id], limit).await?;
        }
    }
    // Objects to which no row refers any more.
    if let Some(storage) = erasure.storage {
        let objects: Vec<_> = storage.list_below(&id.to_string()).try_collect().await?;
        erasure.bar.finish_and_clear();
        let bar = terminal::progress("contents of files", Measure::Of(objects.len() as u64));
        for object in &objects {
            storage.delete(&object.location).await?;
            add(&mut erasure.counts, OBJECTS, 1);
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    erasure.bar.finish_and_clear();
    let _last = terminal::progress("users and the log", Measure::Time);
    let Erasure { mut counts, .. } = erasure;
    let users = count_company(db, id).await?.remove("users").unwrap_or_default();
    add(&mut counts, "users", users);
    let tx = db.transaction().await?;
    for table in tx.query(sql!("ops/erase/company_tables").text, &[]).await? {
        tx.execute(&format!("delete from {} where company_id = $1", table.get::<_, String>(0)), &[&id]).await?;
    }
    for statement in [
        sql!("ops/erase/forget_log"),
        sql!("ops/erase/forget_members"),
        sql!("ops/erase/forget_users"),
        sql!("ops/erase/forget_names"),
        sql!("ops/erase/forget_company"),
    ] {
        tx.execute(statement.text, &[&id]).await?;
    }
    record(&tx, "company", &counts).await?;
    tx.commit().await?;
    Ok(counts)
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

    /// Deletes and counts in batches, each in a transaction of its own; files with their contents.
    async fn delete(
        &mut self,
        db: &Client,
        table: &str,
        condition: &str,
        params: Params<'_>,
        limit: i64,
    ) -> anyhow::Result<()> {
        self.bar.set_message(table.to_owned());
        if table == "files" {
            return self.delete_files(db, condition, params).await;
        }
        let statement = format!(
            "delete from {table} where id in (select id from {table} where ({condition}) order by id limit {limit})"
        );
        loop {
            let rows = db.execute(&statement, params).await?;
            add(&mut self.counts, table, rows);
            self.bar.inc(rows);
            if rows < limit.unsigned_abs() {
                return Ok(());
            }
        }
    }

    /// Deletes files, and then their contents; what an interruption leaves is deleted by the next sweep.
    async fn delete_files(&mut self, db: &Client, condition: &str, params: Params<'_>) -> anyhow::Result<()> {
        let statement = format!(
            "delete from files where id in (select id from files where ({condition}) order by id limit {BATCH_SIZE}) returning object_key"
        );
        loop {
            let rows = db.query(&statement, params).await?;
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

/// The rows by which a person is known.
struct Person {
    /// In lower case.
    email: Option<String>,
    /// The only company in which they are erased; `None` for all.
    company: Option<Uuid>,
    /// The contacts in each company; where only the address is known, an entry with the nil UUID.
    contacts: Vec<Found>,
    users: Vec<Found>,
}

struct Found {
    id: Uuid,
    tenant: Uuid,
    /// In E.164; without a number, a text that is none.
    number: String,
}

impl Person {
    async fn of_contact(db: &Client, id: Uuid) -> anyhow::Result<Self> {
        let row =
            db.query_opt(sql!("ops/erase/find_contact").text, &[&id]).await?.context("there is no such contact")?;
        if let Some(email) = row.get::<_, Option<String>>("email") {
            bail!("this contact has the address {email}: ringfence erase person {email}");
        }
        let contact = Found { id, tenant: row.get("tenant_id"), number: row.get("number") };
        Ok(Self { email: None, company: None, contacts: vec![contact], users: Vec::new() })
    }

    async fn of_address(db: &Client, email: &str, company: Option<Uuid>) -> anyhow::Result<Self> {
        let mut person = Self { email: Some(email.to_owned()), company, contacts: Vec::new(), users: Vec::new() };
        for row in db.query(sql!("ops/erase/people_of_address").text, &[&email, &company]).await? {
            let found = Found { id: row.get("id"), tenant: row.get("tenant_id"), number: row.get("number") };
            match row.get("kind") {
                "user" => person.users.push(found),
                _ => person.contacts.push(found),
            }
        }
        if person.contacts.is_empty() && person.users.is_empty() {
            bail!(
                "nobody has this address: no contact, no user, no mail, no campaign, no invitation, no workflow and no log"
            );
        }
        Ok(person)
    }

    /// What [`Self::erase`] would count.
    async fn count(&self, db: &Client, storage: Option<&Storage>) -> anyhow::Result<Counts> {
        let mut gone: BTreeMap<String, BTreeSet<Uuid>> = BTreeMap::new();
        let mut add_rows = async |table: &str, condition: &str, params: Params<'_>| -> anyhow::Result<()> {
            let rows = db.query(&format!("select id from {table} where {condition}"), params).await?;
            gone.entry(table.to_owned()).or_default().extend(rows.iter().map(|row| row.get::<_, Uuid>("id")));
            Ok(())
        };
        for contact in &self.contacts {
            for (table, condition) in of_person() {
                add_rows(table, &condition, &contact.params(&self.email)).await?;
            }
        }
        for user in &self.users {
            for (table, condition) in of_user(db, user).await? {
                add_rows(&table, &condition, &[&user.id]).await?;
            }
        }
        let mut counts: Counts = gone.iter().map(|(table, ids)| (table.clone(), ids.len() as u64)).collect();
        let of = |table: &str| Vec::from_iter(gone.get(table).into_iter().flatten());
        let mut objects = 0;
        for row in db.query(sql!("ops/erase/files_with_content").text, &[&of("files")]).await? {
            if let Some(storage) = storage {
                objects += u64::from(storage.has(&object_store::path::Path::parse(row.get::<_, &str>(0))?).await?);
            }
        }
        add(&mut counts, OBJECTS, objects);
        let known = self.contacts.iter().filter(|contact| !contact.id.is_nil()).count();
        add(&mut counts, "contacts", known as u64);
        add(&mut counts, "users", self.users.len() as u64);
        self.forget(db, &of("emails"), &of("workflow_executions"), false, &mut counts).await?;
        self.forget_changes(db, false, &mut counts).await?;
        Ok(counts)
    }

    /// Removes the address and the number from what stays, if `really`, and counts the rows. Mails and runs that are
    /// erased anyway are not counted.
    async fn forget(
        &self,
        db: &Client,
        mails: &[&Uuid],
        runs: &[&Uuid],
        really: bool,
        counts: &mut Counts,
    ) -> anyhow::Result<()> {
        let [mut in_mails, mut in_steps, mut in_companies] = [const { BTreeSet::<Uuid>::new() }; 3];
        for found in self.contacts.iter().chain(&self.users) {
            let (tenant, email, number) = (&found.tenant, &self.email, &found.number);
            let statements: [(&mut BTreeSet<Uuid>, &str, Params<'_>); 3] = [
                (&mut in_mails, sql!("ops/erase/forget_address").text, &[tenant, email, &mails, &really]),
                (&mut in_steps, sql!("ops/erase/forget_steps").text, &[tenant, email, number, &runs, &really]),
                (&mut in_companies, sql!("ops/erase/forget_registration").text, &[tenant, email, number, &really]),
            ];
            for (rows, statement, params) in statements {
                rows.extend(db.query(statement, params).await?.iter().map(|row| row.get::<_, Uuid>("id")));
            }
        }
        add(counts, "emails, the address in them", in_mails.len() as u64);
        add(counts, "workflow_steps, what they did", in_steps.len() as u64);
        add(counts, "companies, the address in them", in_companies.len() as u64);
        Ok(())
    }

    async fn forget_changes(&self, db: &impl GenericClient, really: bool, counts: &mut Counts) -> anyhow::Result<()> {
        let users = Vec::from_iter(self.users.iter().map(|found| found.id));
        let params: Params<'_> = &[&self.email, &users, &self.tenants(), &really];
        let changes = db.query(sql!("ops/erase/forget_changes").text, params).await?;
        add(counts, "audit_log, what it says of them", changes.len() as u64);
        Ok(())
    }

    fn tenants(&self) -> Vec<Uuid> {
        self.contacts.iter().chain(&self.users).map(|found| found.tenant).collect()
    }

    /// Erases the contact and the account last, together with the record, so that they are found until all is gone.
    async fn erase(&self, db: &mut Client, mut erasure: Erasure<'_>) -> anyhow::Result<Counts> {
        // First: once the rows with the address are gone, an interrupted erasure is not found again.
        if let Some(email) = &self.email {
            db.execute(sql!("ops/erase/keep_erased_address").text, &[&self.company, email]).await?;
        }
        for contact in &self.contacts {
            let params = contact.params(&self.email);
            for (table, condition) in of_person() {
                erasure.delete(db, table, &condition, &params, BATCH_SIZE).await?;
            }
            db.execute(sql!("ops/erase/recount_conversations").text, &[&contact.tenant]).await?;
        }
        for user in &self.users {
            for (table, condition) in of_user(db, user).await? {
                erasure.delete(db, &table, &condition, &[&user.id], BATCH_SIZE).await?;
            }
        }
        erasure.bar.set_message("the address in others");
        let Erasure { mut counts, bar: _bar, .. } = erasure;
        self.forget(db, &[], &[], true, &mut counts).await?;
        let tx = db.transaction().await?;
        for contact in &self.contacts {
            add(&mut counts, "contacts", tx.execute("delete from contacts where id = $1", &[&contact.id]).await?);
        }
        for user in &self.users {
            add(&mut counts, "users", tx.execute(sql!("ops/erase/forget_user").text, &[&user.id]).await?);
        }
        tx.execute(sql!("ops/erase/forget_answers").text, &[&self.tenants()]).await?;
        self.forget_changes(&tx, true, &mut counts).await?;
        record(&tx, "person", &counts).await?;
        tx.commit().await?;
        Ok(counts)
    }
}

impl Found {
    fn params<'a>(&'a self, email: &'a Option<String>) -> [&'a (dyn tokio_postgres::types::ToSql + Sync); 4] {
        [&self.tenant, &self.id, email, &self.number]
    }
}

/// The tables and conditions of the rows that are erased with a user's account, `$1`.
async fn of_user(db: &Client, user: &Found) -> anyhow::Result<Vec<(String, String)>> {
    let mut rows = vec![("notifications".to_owned(), "user_id = $1".to_owned())];
    // Nobody else sees the rows of a user without a company.
    if user.tenant == user.id {
        let others = tables(db).await?.into_iter().filter(|(table, _)| table != "notifications");
        rows.extend(others.map(|(table, _)| (table, "tenant_id = $1 and company_id is null".to_owned())));
    }
    Ok(rows)
}
