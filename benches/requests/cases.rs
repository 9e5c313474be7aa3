//! The requests that are measured, and their equivalents for pgbench.

use crate::{
    pgbench::{Script, given, in_context},
    shared::{self, ADDED, Connection, Server, request},
};
use anyhow::{Context, Result, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ringfence::{
    commands::demo,
    db::{Plan, Sql},
    list, sql,
};
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

/// A company of the database.
pub struct Company {
    pub name: &'static str,
    id: Uuid,
    pub contacts: i64,
    /// The number of texts that its user may see.
    pub messages: i64,
    user: Uuid,
    /// The version of its user's tokens.
    version: i32,
    token: String,
    /// Some of its contacts, and their names.
    sample: Vec<(Uuid, String)>,
    /// Where a page far down in its texts starts: the API's cursor, and the row before the page.
    cursor: String,
    before: (String, Uuid),
}

/// The number of a company's contacts that are requested in turns.
const SAMPLE: i64 = 8;
/// The number of people who log in, in turns.
const PEOPLE: i64 = 32;
/// A schema with what a handler's statement calls, written by hand.
const BY_HAND: &str = include_str!("by_hand.sql");

/// The smallest, the median and the largest company.
pub async fn companies(admin: &Client, server: &Server) -> Result<Vec<Company>> {
    admin.batch_execute(BY_HAND).await?;
    let by_size = "select c.company_id, count(*), min(u.user_id::text)::uuid, min(u.token_version)
        from contacts c join lateral (select user_id, token_version from app.caller u where u.company_id = c.company_id limit 1) u on true
        group by 1 order by 2";
    let sizes = admin.query(by_size, &[]).await?;
    ensure!(sizes.len() >= 3, "the database has fewer than three companies with contacts");
    let mut companies = Vec::new();
    for (name, at) in [("smallest", 0), ("median", sizes.len() / 2), ("largest", sizes.len() - 1)] {
        let row = &sizes[at];
        let (id, contacts, user): (Uuid, i64, Uuid) = (row.get(0), row.get(1), row.get(2));
        let sample = "select id, first_name || ' ' || last_name from contacts
            where tenant_id = $1 and not is_deleted order by hashtext(id::text) limit $2";
        let sample = admin.query(sample, &[&id, &SAMPLE]).await?.iter().map(|r| (r.get(0), r.get(1))).collect();
        let visible =
            "select count(*) from sms_messages where tenant_id = $1 and (company_id is not null or user_id = $2)";
        let messages: i64 = admin.query_one(visible, &[&id, &user]).await?.get(0);
        let version = row.get(3);
        let token = shared::token(user, version)?;
        let (cursor, before) = far_down(server, &token, messages).await?;
        companies.push(Company { name, id, contacts, messages, user, version, token, sample, cursor, before });
    }
    Ok(companies)
}

/// Walks down a list of this many texts to where nine tenths of them are above.
async fn far_down(server: &Server, token: &str, messages: i64) -> Result<(String, (String, Uuid))> {
    let above = messages * 9 / 10;
    ensure!(above > 0, "a company has no texts to page through");
    let limit = above.min(1000);
    let mut connection = Connection::open(server.address).await?;
    let (mut cursor, mut last) = (String::new(), Value::Null);
    for _ in 0..above / limit {
        let path = format!("/api/sms/messages?limit={limit}&cursor={cursor}");
        let (status, head, body) = connection.ask_all(&request("GET", &path, token, "")).await?;
        ensure!(status == 200, "a page was answered {status}");
        let link = head.lines().find_map(|line| line.strip_prefix("link: ")).context("a page without a next one")?;
        cursor = link.split("cursor=").nth(1).and_then(|rest| rest.split('>').next()).unwrap_or_default().to_owned();
        last = serde_json::from_slice::<Vec<Value>>(body)?.pop().context("an empty page")?;
    }
    let text = |name: &str| last[name].as_str().map(str::to_owned).with_context(|| format!("a text without {name}"));
    Ok((cursor, (text("created_at")?, text("id")?.parse()?)))
}

/// The n-th request.
type Request = Box<dyn Fn(usize) -> Vec<u8>>;
/// Whether a response is right.
type Right = Box<dyn Fn(&[u8]) -> bool>;

/// A request, and which responses are right.
pub struct Question {
    pub request: Request,
    pub right: Right,
}

/// A request, and its equivalents for pgbench.
pub struct Case {
    pub operation: &'static str,
    /// The company, and the number of its contacts.
    pub company: Option<(&'static str, i64)>,
    pub question: Question,
    /// The same statement in the same context.
    pub context: Script,
    /// The same statements with the company written into them, run as a role that no policy applies to.
    pub no_policies: Option<Script>,
    /// Only the statement with the company written into it.
    pub by_hand: Option<Script>,
}

impl Case {
    pub fn name(&self) -> String {
        self.company.map_or(self.operation.into(), |(company, _)| format!("{}, {company}", self.operation))
    }
}

/// A statement, its parameters, and the replacements that write the company into it. `:row` is one of several values.
struct Statement<'a> {
    sql: Sql,
    parameters: &'a [&'a str],
    by_hand: &'a [(&'a str, &'a str)],
    /// What pgbench runs before it.
    setup: &'a str,
    /// Variables besides the company and its user.
    variables: Vec<(String, String)>,
    rows: Vec<String>,
}

impl<'a> Statement<'a> {
    fn of(sql: Sql, parameters: &'a [&'a str], by_hand: &'a [(&'a str, &'a str)]) -> Self {
        Self { sql, parameters, by_hand, setup: "", variables: Vec::new(), rows: Vec::new() }
    }

    fn scripts(self, company: &Company) -> Result<[Script; 3]> {
        let mut text = self.sql.text.to_owned();
        for (from, to) in self.by_hand {
            // A replacement that no longer applies must not go unnoticed.
            ensure!(text.contains(from), "sql/{}.sql has no '{from}' any more", self.sql.name);
            text = text.replace(from, to);
        }
        let [with, without] = [self.sql.text, text.as_str()].map(|text| given(text, self.parameters));
        let contents = [in_context(self.sql, &with), in_context(self.sql, &without), format!("{without};\n")];
        let mut variables = self.variables;
        variables.extend([("me".into(), company.user.to_string()), ("company".into(), company.id.to_string())]);
        variables.push(("version".into(), company.version.to_string()));
        variables.extend(self.rows.iter().enumerate().map(|(i, row)| (format!("row{i}"), row.clone())));
        let mut scripts = contents.into_iter().enumerate().map(|(kind, text)| Script {
            texts: (0..self.rows.len().max(1))
                .map(|i| format!("{}{}", self.setup, text.replace(":row", &format!(":row{i}"))))
                .collect(),
            variables: variables.clone(),
            without_policies: kind > 0,
            plan: if kind == 2 { self.sql.plan } else { Plan::Auto },
        });
        let mut next = || scripts.next().context("three scripts");
        Ok([next()?, next()?, next()?])
    }
}

fn starts_with(start: &'static [u8]) -> Right {
    Box::new(move |body| body.starts_with(start))
}

/// Accepts a list that has this word once in each of `rows` rows.
fn has(word: &'static [u8], rows: i64) -> Right {
    let found = move |body: &[u8]| body.windows(word.len()).filter(|w| *w == word).count() as i64;
    Box::new(move |body| body.starts_with(b"[") && found(body) == rows)
}

/// The cases for a company.
pub fn of_company(company: &Company) -> Result<Vec<Case>> {
    let Company { contacts, messages, .. } = *company;
    let ids: Vec<String> = company.sample.iter().map(|(id, _)| id.to_string()).collect();
    let one = |path: &str| -> Request {
        let bytes = request("GET", path, &company.token, "");
        Box::new(move |_| bytes.clone())
    };
    let each = |paths: Vec<String>| -> Request {
        let all: Vec<_> = paths.iter().map(|path| request("GET", path, &company.token, "")).collect();
        Box::new(move |n| all[n % all.len()].clone())
    };
    let newest = list!("sms/list").planned_once();
    let texts: &[(&str, &str)] = &[("where true", "where tenant_id = :company")];
    let (token, patched) = (company.token.clone(), ids.clone());
    let patch = move |n: usize| {
        let body = format!(r#"{{"phone":"+1 555 {:06}"}}"#, n % 1_000_000);
        request("PATCH", &format!("/api/contacts/{}", patched[n % patched.len()]), &token, &body)
    };
    let token = company.token.clone();
    let post = move |_: usize| {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let body = json!({"first_name": "Ada", "last_name": ADDED, "email": email, "phone": "+1 555 000000"});
        request("POST", "/api/contacts/", &token, &body.to_string())
    };
    let search = |(_, name): &(Uuid, String)| format!("/api/search?q={}", utf8_percent_encode(name, NON_ALPHANUMERIC));
    let contact = || starts_with(br#"{"first_name":"#);
    let message = br#""direction":"#;
    let below = messages - messages * 9 / 10;

    Ok(vec![
        company.case(
            "get by id",
            each(ids.iter().map(|id| format!("/api/contacts/{id}")).collect()),
            contact(),
            Statement {
                rows: ids.clone(),
                ..Statement::of(sql!("contacts/get"), &[":row"], &[("where id", "where tenant_id = :company and id")])
            },
        )?,
        company.case(
            "first page",
            one("/api/contacts/?limit=50"),
            has(br#""first_name":"#, contacts.min(50)),
            Statement::of(
                list!("contacts/list").planned_once().first,
                &["50", "0"],
                &[("where not", "where tenant_id = :company and not")],
            ),
        )?,
        company.case(
            "newest page",
            one("/api/sms/messages?limit=50"),
            has(message, messages.min(50)),
            Statement::of(newest.first, &["50", "0"], texts),
        )?,
        company.case(
            "deep page",
            one(&format!("/api/sms/messages?limit=50&cursor={}", company.cursor)),
            has(message, below.min(50)),
            Statement {
                variables: vec![("time".into(), company.before.0.clone()), ("id".into(), company.before.1.to_string())],
                ..Statement::of(newest.behind, &["50", "0", ":time", ":id"], texts)
            },
        )?,
        company.case(
            "search",
            each(company.sample.iter().map(search).collect()),
            starts_with(br#"[{"kind":"contact""#),
            Statement {
                rows: company.sample.iter().map(|(_, name)| name.clone()).collect(),
                ..Statement::of(
                    sql!("search/find").planned_anew(),
                    &[":row", "20"],
                    &[("where not", "where tenant_id = :company and not")],
                )
            },
        )?,
        company.case(
            "create",
            Box::new(post),
            contact(),
            Statement {
                // The database accepts any text as an e-mail address.
                setup: "\\set email random(1, 9000000000000000000)\n",
                variables: vec![("last".into(), ADDED.into())],
                ..Statement::of(
                    sql!("contacts/create"),
                    &["'Ada'", ":last", ":email", "'+1 555 000000'", "null", "null", "null", "null"],
                    &[
                        ("insert into contacts (", "insert into contacts (tenant_id, company_id, "),
                        ("values (", "values (:company, :company, "),
                        ("app.user_id()", ":me"),
                    ],
                )
            },
        )?,
        company.case(
            "update",
            Box::new(patch),
            contact(),
            Statement {
                setup: "\\set phone random(100000, 999999)\n",
                rows: ids.clone(),
                ..Statement::of(
                    sql!("contacts/update"),
                    &[":row", r#"('{"phone":"+1 555 ' || :phone || '"}')::jsonb"#, "null"],
                    &[("where c.id", "where c.tenant_id = :company and c.id")],
                )
            },
        )?,
        company.case(
            "inbox",
            one("/api/inbox/?limit=50"),
            has(br#""message_type":"#, messages.min(50)),
            Statement::of(
                sql!("inbox/list").planned_once(),
                &["50", "0"],
                &[
                    ("from sms_messages m)", "from sms_messages m where m.tenant_id = :company)"),
                    ("from emails e where", "from emails e where e.tenant_id = :company and"),
                    ("from calls c)", "from calls c where c.tenant_id = :company)"),
                ],
            ),
        )?,
        company.case(
            "dashboard",
            one("/api/analytics/dashboard"),
            starts_with(br#"{"kpis""#),
            Statement::of(
                sql!("analytics/dashboard").planned_once(),
                &["null::date", "null::date", "null::uuid", "null::uuid"],
                &[
                    ("from deal_sums w\n  where", "from deal_sums w\n  where w.tenant_id = :company and"),
                    ("app.deals_beside_weeks(s.starts", "by_hand.deals_beside_weeks(:company, s.starts"),
                    ("join pipeline_stages s on", "join pipeline_stages s on s.tenant_id = :company and"),
                    ("from activities x where", "from activities x where x.tenant_id = :company and"),
                ],
            ),
        )?,
    ])
}

impl Company {
    /// All of its deals at once, compressed: megabytes, of which the client only checks that they are gzip.
    pub fn all_deals(&self) -> Question {
        let text = request("GET", "/api/deals/", &self.token, "");
        let text = String::from_utf8_lossy(&text).replacen("\r\n", "\r\naccept-encoding: gzip\r\n", 1).into_bytes();
        Question { request: Box::new(move |_| text.clone()), right: starts_with(&[0x1f, 0x8b]) }
    }

    fn case(&self, operation: &'static str, request: Request, right: Right, statement: Statement) -> Result<Case> {
        let [context, no_policies, by_hand] = statement.scripts(self)?;
        let (no_policies, by_hand) = (Some(no_policies), Some(by_hand));
        let company = Some((self.name, self.contacts));
        Ok(Case { operation, company, question: Question { request, right }, context, no_policies, by_hand })
    }
}

/// Logging in: pgbench runs its statements but hashes nothing.
pub async fn login(admin: &Client) -> Result<Case> {
    let people = "select u.id::text, u.email, k.password_hash from users u join app.credentials k on k.user_id = u.id
        where u.user_role = 'company_admin' order by hashtext(u.email) limit $1";
    let people: Vec<[String; 3]> =
        admin.query(people, &[&PEOPLE]).await?.iter().map(|r| std::array::from_fn(|i| r.get(i))).collect();
    let all: Vec<_> = people
        .iter()
        .map(|[_, email, _]| json!({"email": email, "password": demo::PASSWORD}).to_string())
        .map(|body| request("POST", "/api/auth/login", "", &body))
        .collect();
    let script = |i| {
        let find = given(sql!("platform/login").text, &[&format!(":email{i}")]);
        let note = given(sql!("platform/logged_in").text, &[&format!(":id{i}"), &format!(":hash{i}"), "null"]);
        format!("{find};\n{note};\n")
    };
    let texts = (0..people.len()).map(script);
    let variables = people.iter().enumerate().flat_map(|(i, person)| {
        ["id", "email", "hash"].into_iter().zip(person).map(move |(name, value)| (format!("{name}{i}"), value.clone()))
    });
    Ok(Case {
        operation: "login",
        company: None,
        question: Question {
            request: Box::new(move |n| all[n % all.len()].clone()),
            right: starts_with(br#"{"access_token":"#),
        },
        context: Script {
            texts: texts.collect(),
            variables: variables.collect(),
            without_policies: false,
            plan: Plan::Auto,
        },
        no_policies: None,
        by_hand: None,
    })
}
