//! Demo data: two small companies to look at, or many large ones to measure with.

use crate::{
    commands::backfill,
    db, passwords, say, sql,
    terminal::{self, Measure},
};
use anyhow::{Context, bail};
use clap::Args;
use tokio_postgres::Transaction;
use uuid::Uuid;

/// The password of everybody in the demo; it is no secret.
pub const PASSWORD: &str = "Demo-Ring-2026";

/// An account that one can log in with.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// The address.
    pub email: String,
    /// The password.
    pub password: String,
    /// The company's name.
    pub company: String,
    /// The role.
    pub role: String,
}

struct Company {
    name: &'static str,
    domain: &'static str,
    city: &'static str,
    contacts: i32,
    people: [Person; 3],
    texts: &'static [&'static str],
    /// What it sells.
    goods: &'static [&'static str],
}

struct Person {
    first: &'static str,
    last: &'static str,
    role: &'static str,
    title: &'static str,
}

const COMPANIES: [Company; 2] = [
    Company {
        name: "Harbor & Vale Realty",
        domain: "harborvale.example",
        city: "Seattle",
        contacts: 24,
        people: [
            Person { first: "Olivia", last: "Hart", role: "company_admin", title: "Broker" },
            Person { first: "Marcus", last: "Reyes", role: "company_user", title: "Agent" },
            Person { first: "Priya", last: "Nair", role: "company_user", title: "Agent" },
        ],
        texts: &[
            "The house on Alder Street is back on the market. Shall we visit it on Saturday?",
            "Your loan papers have arrived at our office.",
            "Saturday at eleven is fine, we will bring my mother.",
            "The seller accepts your offer with a later handover.",
            "The inspection is booked for Tuesday at nine.",
            "Is the garage part of the sale?",
            "It is, and so is the workbench. I have asked twice.",
            "Here is the list of apartments near the ferry.",
            "We would rather have two bathrooms than a view.",
            "The appraisal came in above the price. Congratulations!",
            "The keys are ready, come by whenever you like.",
            "We have moved in. Thank you for everything!",
        ],
        goods: &["Sale of the house", "Search mandate", "Rental management", "Valuation"],
    },
    Company {
        name: "Bluepeak Solar",
        domain: "bluepeak.example",
        city: "Denver",
        contacts: 16,
        people: [
            Person { first: "Daniel", last: "Okafor", role: "company_admin", title: "Managing Director" },
            Person { first: "Sofia", last: "Lindqvist", role: "company_user", title: "Sales Engineer" },
            Person { first: "Tom", last: "Becker", role: "company_user", title: "Installer" },
        ],
        texts: &[
            "Your roof has room for eighteen panels. The plan is in your inbox.",
            "The inverter is here: we can install it on Thursday.",
            "Can the battery go into the cellar?",
            "It can, if the cellar stays above freezing.",
            "The grid operator has approved your connection.",
            "What happens with the panels when it hails?",
            "They are tested with ice of the size of a golf ball.",
            "The scaffolding comes down tomorrow morning.",
            "We made 41 kWh yesterday, more than we can use!",
            "Please send a picture of your meter, front and side.",
            "Your yearly check is due. Does next week suit you?",
            "Wednesday after two, please.",
        ],
        goods: &["Roof array, 18 panels", "Battery storage, 10 kWh", "Wallbox", "Maintenance plan"],
    },
];

impl Person {
    fn email(&self, company: &Company) -> String {
        format!("{}@{}", self.first.to_lowercase(), company.domain)
    }
}

/// The result of loading the demo.
pub struct Loaded {
    /// The accounts that one can log in with.
    pub logins: Vec<Login>,
    /// Whether the demo was added just now.
    pub is_new: bool,
}

/// The logins as a table; empty if there are none.
pub fn summary(logins: &[Login]) -> String {
    let mut text = String::new();
    if !logins.is_empty() {
        text += "\nDemo logins:\n";
    }
    for login in logins {
        text += &format!("  {:<28} {:<14} {} ({})\n", login.email, login.password, login.role, login.company);
    }
    text
}

/// Loads the two companies into a database that has none.
pub async fn load(admin_url: &str) -> anyhow::Result<Loaded> {
    let mut client = db::connect(admin_url).await?;
    let tx = client.transaction().await?;
    lock(&tx).await?;
    let mut logins = Vec::new();
    for company in &COMPANIES {
        for person in &company.people {
            logins.push(Login {
                email: person.email(company),
                password: PASSWORD.into(),
                company: company.name.into(),
                role: person.role.into(),
            });
        }
    }
    let emails = Vec::from_iter(logins.iter().map(|l| &l.email));
    let there = tx.query_one(sql!("demo/people_there").text, &[&emails]).await?;
    if there.get("any_company") {
        let there: Vec<String> = there.get("emails");
        logins.retain(|l| there.contains(&l.email));
        return Ok(Loaded { logins, is_new: false });
    }
    let hash = passwords::hash_now(PASSWORD)?;
    for company in &COMPANIES {
        add(&tx, company, &hash).await?;
    }
    tx.commit().await?;
    Ok(Loaded { logins, is_new: true })
}

/// Takes a lock, because two loads at the same time would load everything twice.
async fn lock(tx: &Transaction<'_>) -> anyhow::Result<()> {
    Ok(tx.batch_execute("select pg_advisory_xact_lock(hashtext('ringfence demo'))").await?)
}

async fn add(tx: &Transaction<'_>, company: &Company, hash: &str) -> anyhow::Result<()> {
    let id = tx.query_one(sql!("demo/company").text, &[&company.name, &company.domain, &company.city]).await?;
    let id: Uuid = id.get("id");
    for person in &company.people {
        let Person { first, last, role, title } = person;
        let email = person.email(company);
        tx.execute(sql!("demo/person").text, &[&id, &email, first, last, role, title, &hash]).await?;
    }
    let contacts = [company.contacts];
    tx.execute(
        sql!("demo/contacts").text,
        &[&[id].as_slice(), &[1].as_slice(), &contacts.as_slice(), &contacts.as_slice()],
    )
    .await?;
    tx.execute(sql!("demo/sms").text, &[&id, &company.texts]).await?;
    tx.execute(sql!("demo/deals").text, &[&id, &company.goods]).await?;
    let others = [
        sql!("demo/quotes"),
        sql!("demo/activities"),
        sql!("demo/folders"),
        sql!("demo/calls"),
        sql!("demo/emails"),
        sql!("demo/campaigns"),
        sql!("demo/historical"),
        sql!("demo/notifications"),
        sql!("demo/workflows"),
    ];
    for more in others {
        tx.execute(more.text, &[&id]).await?;
    }
    Ok(())
}

/// The prefix of generated companies' names.
const GENERATED: &str = "Generated ";
/// The e-mail address of the largest company's admin (sql/demo/generated_companies.sql).
const GENERATED_ADMIN: &str = "admin@company1.generated.example";
/// The maximum number of rows of one statement.
const BATCH_SIZE: i32 = 10_000;

/// How many rows [`generate`] makes, over all companies.
#[derive(Args, Clone, Copy, Debug, Default)]
#[group(requires = "companies")]
pub struct Amounts {
    /// Number of contacts, over all companies
    #[arg(long, default_value_t = 1_000_000)]
    pub contacts: u64,
    /// Number of messages, over all companies
    #[arg(long, default_value_t = 0)]
    pub messages: u64,
    /// Number of mails, over all companies
    #[arg(long, default_value_t = 0)]
    pub emails: u64,
    /// Number of calls, over all companies
    #[arg(long, default_value_t = 0)]
    pub calls: u64,
    /// Number of deals, over all companies
    #[arg(long, default_value_t = 0)]
    pub deals: u64,
    /// Number of activities, over all companies
    #[arg(long, default_value_t = 0)]
    pub activities: u64,
    /// Number of historical messages, which have no company
    #[arg(long, default_value_t = 0)]
    pub historical: u64,
}

/// Adds many companies of very unequal size: of a thousand, the largest has a tenth of all rows. All or nothing; adds
/// nothing if it ran before.
pub async fn generate(admin_url: &str, companies: u32, amounts: Amounts) -> anyhow::Result<()> {
    if companies == 0 {
        bail!("give --companies a number above 0");
    }
    let mut client = db::connect(admin_url).await?;
    let tx = client.transaction().await?;
    lock(&tx).await?;
    let there: i64 = tx.query_one(sql!("demo/generated").text, &[&GENERATED]).await?.get(0);
    if there > 0 {
        say!("The database has {there} generated companies already: nothing was added.");
        return Ok(());
    }
    let contacts = shares(amounts.contacts, companies)?;
    let largest = contacts[0].max(1);
    let people =
        Vec::from_iter(contacts.iter().map(|n| 1 + (i64::from(*n) * 19 / i64::from(largest)).clamp(1, 19) as i32));
    let hash = passwords::hash_now(PASSWORD)?;
    let ids = tx.query(sql!("demo/generated_companies").text, &[&GENERATED, &people, &hash]).await?;
    let ids = Vec::from_iter(ids.iter().map(|row| row.get::<_, Uuid>("id")));
    // The search index takes new rows in large batches instead of one by one.
    tx.batch_execute("set local gin_pending_list_limit = '64MB'; set local work_mem = '128MB'").await?;
    let mut made = Vec::new();
    for (what, statement, total) in [
        ("contacts", sql!("demo/contacts"), amounts.contacts),
        ("messages", sql!("demo/generated_messages"), amounts.messages),
        ("mails", sql!("demo/generated_emails"), amounts.emails),
        ("calls", sql!("demo/generated_calls"), amounts.calls),
        ("deals", sql!("demo/generated_deals"), amounts.deals),
        ("activities", sql!("demo/generated_activities"), amounts.activities),
        ("historical messages", sql!("demo/generated_historical"), amounts.historical),
    ] {
        let shares = shares(total, companies)?;
        if what == "historical messages" && total > 0 {
            backfill::leave_room(&tx, "sms_messages").await?;
        }
        fill(&tx, statement, what, &ids, &shares).await?;
        made.push(format!("{total} {what} ({} of the largest)", shares[0]));
    }
    tx.commit().await?;
    // It warns of each table of PostgreSQL's that is not this administrator's.
    client.batch_execute("set client_min_messages = error").await?;
    client.batch_execute("vacuum analyze").await?;
    say!(
        "{companies} companies with {}. Log in as the largest one's admin with {GENERATED_ADMIN} and {PASSWORD}",
        made.join(", ")
    );
    Ok(())
}

/// Divides `total` so that the n-th part is proportional to 1 / n^0.9.
fn shares(total: u64, parts: u32) -> anyhow::Result<Vec<i32>> {
    let total = i32::try_from(total).context("a number of rows is too large")?;
    let weight = |n: u32| f64::from(n).powf(-0.9);
    let all: f64 = (1..=parts).map(weight).sum();
    let mut shares = Vec::from_iter((1..=parts).map(|n| (f64::from(total) * weight(n) / all) as i32));
    // What is left by rounding down is less than one for each.
    let rest = total - shares.iter().sum::<i32>();
    shares.iter_mut().take(rest.unsigned_abs() as usize).for_each(|share| *share += 1);
    Ok(shares)
}

/// Runs a statement that takes arrays of companies, first and last numbers and totals, in batches.
async fn fill(
    tx: &Transaction<'_>,
    sql: db::Sql,
    what: &'static str,
    ids: &[Uuid],
    totals: &[i32],
) -> anyhow::Result<()> {
    let statement = tx.prepare(sql.text).await?;
    let bar = terminal::progress(what, Measure::Of(totals.iter().map(|n| u64::from(n.unsigned_abs())).sum()));
    let (mut batch, mut room) = (Batch::default(), BATCH_SIZE);
    for (id, total) in ids.iter().zip(totals) {
        let mut done = 0;
        while done < *total {
            let rows = room.min(total - done);
            batch.add(*id, done + 1, done + rows, *total);
            (done, room) = (done + rows, room - rows);
            if room == 0 {
                bar.inc(batch.run(tx, &statement).await?);
                (batch, room) = (Batch::default(), BATCH_SIZE);
            }
        }
    }
    bar.inc(batch.run(tx, &statement).await?);
    bar.finish();
    Ok(())
}

#[derive(Default)]
struct Batch {
    companies: Vec<Uuid>,
    first: Vec<i32>,
    last: Vec<i32>,
    total: Vec<i32>,
}

impl Batch {
    fn add(&mut self, company: Uuid, first: i32, last: i32, total: i32) {
        self.companies.push(company);
        self.first.push(first);
        self.last.push(last);
        self.total.push(total);
    }

    async fn run(&self, tx: &Transaction<'_>, statement: &tokio_postgres::Statement) -> anyhow::Result<u64> {
        Ok(tx.execute(statement, &[&self.companies, &self.first, &self.last, &self.total]).await?)
    }
}
