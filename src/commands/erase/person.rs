//! Erases a person: their contacts and accounts, what belongs to those, and what is said of them elsewhere.

use super::{BATCH_SIZE, Counts, Erasure, OBJECTS, add, record, tables};
use crate::{
    clients::storage::Storage,
    db::{Params, Sql},
    sql,
};
use anyhow::{Context, bail};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};
use tokio_postgres::{Client, GenericClient, types::ToSql};
use uuid::Uuid;

/// The rows by which a person is known.
pub(super) struct Person {
    /// In lower case.
    email: Option<String>,
    /// The only company in which they are erased; `None` for all.
    company: Option<Uuid>,
    /// The contacts in each company; where only the address is known, an entry with the nil UUID.
    contacts: Vec<Found>,
    /// The accounts.
    pub(super) users: Vec<Found>,
}

/// A contact or a user.
pub(super) struct Found {
    /// Its id.
    pub(super) id: Uuid,
    tenant: Uuid,
    /// In E.164; without a number, a text that is none.
    number: String,
}

impl Person {
    /// Somebody without an address, by a contact.
    pub(super) async fn of_contact(db: &Client, id: Uuid) -> anyhow::Result<Self> {
        let row =
            db.query_opt(sql!("ops/erase/find_contact").text, &[&id]).await?.context("there is no such contact")?;
        if let Some(email) = row.get::<_, Option<String>>("email") {
            bail!("this contact has the address {email}: ringfence erase person {email}");
        }
        let contact = Found { id, tenant: row.get("tenant_id"), number: row.get("number") };
        Ok(Self { email: None, company: None, contacts: vec![contact], users: Vec::new() })
    }

    /// Everybody with an address, in lower case; in all companies, or in one.
    pub(super) async fn of_address(db: &Client, email: &str, company: Option<Uuid>) -> anyhow::Result<Self> {
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
    pub(super) async fn count(&self, db: &Client, storage: Option<&Storage>) -> anyhow::Result<Counts> {
        let mut gone: BTreeMap<String, BTreeSet<Uuid>> = BTreeMap::new();
        for rows in self.rows(db).await? {
            let found = db.query(&*rows.ids, &rows.params).await?;
            gone.entry(rows.table.into_owned()).or_default().extend(found.iter().map(|row| row.get::<_, Uuid>("id")));
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
    pub(super) async fn erase(&self, db: &mut Client, mut erasure: Erasure<'_>) -> anyhow::Result<Counts> {
        // First: once the rows with the address are gone, an interrupted erasure is not found again.
        if let Some(email) = &self.email {
            db.execute(sql!("ops/erase/keep_erased_address").text, &[&self.company, email]).await?;
        }
        for rows in self.rows(db).await? {
            erasure.delete(db, &rows.table, &rows.ids, &rows.params, BATCH_SIZE).await?;
        }
        for contact in &self.contacts {
            db.execute(sql!("ops/erase/recount_conversations").text, &[&contact.tenant]).await?;
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

    /// The rows that are erased with the contacts and the accounts, in the order in which they must be: a statement
    /// reads others' rows to know whose a row is.
    async fn rows(&self, db: &Client) -> anyhow::Result<Vec<Rows<'_>>> {
        let mut rows = Vec::new();
        for contact in &self.contacts {
            rows.extend(contact.rows(&self.email));
        }
        for user in &self.users {
            let mut tables_and_ids =
                vec![("notifications".to_owned(), "select id from notifications where user_id = $1".to_owned())];
            // Nobody else sees the rows of a user without a company.
            if user.tenant == user.id {
                let others =
                    tables(db).await?.into_iter().map(|(table, _)| table).filter(|table| table != "notifications");
                tables_and_ids.extend(others.map(|table| {
                    let ids = format!("select id from {table} where tenant_id = $1 and company_id is null");
                    (table, ids)
                }));
            }
            rows.extend(tables_and_ids.into_iter().map(|(table, ids)| Rows {
                table: table.into(),
                ids: ids.into(),
                params: vec![&user.id],
            }));
        }
        Ok(rows)
    }
}

/// Rows of one table that are erased with a person.
struct Rows<'a> {
    table: Cow<'a, str>,
    /// The statement that returns their ids.
    ids: Cow<'a, str>,
    params: Vec<&'a (dyn ToSql + Sync)>,
}

impl Found {
    /// The rows that are erased with a contact with this address.
    fn rows<'a>(&'a self, email: &'a Option<String>) -> impl Iterator<Item = Rows<'a>> {
        let Self { id, tenant, number } = self;
        let rows: [(&str, Sql, Vec<&(dyn ToSql + Sync)>); 13] = [
            ("invitations", sql!("ops/erase/of_person/invitations"), vec![tenant, email]),
            ("workflow_executions", sql!("ops/erase/of_person/workflow_executions"), vec![tenant, id, email, number]),
            ("workflow_events", sql!("ops/erase/of_person/workflow_events"), vec![tenant, id, email, number]),
            ("jobs", sql!("ops/erase/of_person/jobs"), vec![tenant, id, number]),
            ("files", sql!("ops/erase/of_person/files"), vec![tenant, id, email]),
            ("conversations", sql!("ops/erase/of_person/conversations"), vec![tenant, id, number]),
            ("sms_messages", sql!("ops/erase/of_person/sms_messages"), vec![tenant, id, number]),
            ("scheduled_sms", sql!("ops/erase/of_person/scheduled_sms"), vec![tenant, id, number]),
            ("calls", sql!("ops/erase/of_person/calls"), vec![tenant, id, number]),
            ("emails", sql!("ops/erase/of_person/emails"), vec![tenant, id, email]),
            ("campaign_recipients", sql!("ops/erase/of_person/campaign_recipients"), vec![tenant, email]),
            ("notifications", sql!("ops/erase/of_person/notifications"), vec![tenant, id, email, number]),
            ("activities", sql!("ops/erase/of_person/activities"), vec![tenant, id]),
        ];
        rows.into_iter().map(|(table, ids, params)| Rows { table: table.into(), ids: ids.text.into(), params })
    }
}
