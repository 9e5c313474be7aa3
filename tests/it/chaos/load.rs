//! Users of several companies at work: what they write has a marker, and what they read is checked.

use super::rig::Rig;
use crate::support::{random::below, server::config};
use reqwest::{RequestBuilder, multipart};
use ringfence::auth::{Keys, TokenKind};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use uuid::Uuid;

const COMPANIES: usize = 4;
/// Number of tasks per company; each makes one request at a time.
const AT_ONCE: usize = 3;
/// The longest pause between two requests of a task, in milliseconds.
const PAUSE: usize = 60;
/// The longest time that a request may take.
const TIMEOUT: Duration = Duration::from_secs(75);
const RECIPIENTS: usize = 8;

/// Kinds of rows that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Contact,
    /// Requested with an `Idempotency-Key` until there is a response.
    Activity,
    Deal,
    File,
    Text,
    Scheduled,
    Campaign,
}

/// A row that a user has requested.
#[derive(Clone)]
pub struct Written {
    pub kind: Kind,
    pub company: usize,
    /// The row's id, once it was acknowledged.
    pub id: Option<String>,
    /// What the row must say by now: a contact its phone, others nothing. Several values while the outcome is unknown.
    pub says: Vec<String>,
}

pub struct Company {
    pub id: Uuid,
    pub tag: String,
    pub account: String,
    number: String,
    people: [Uuid; 2],
}

/// A request that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    pub what: &'static str,
    /// The status, or 0 if the connection ended.
    pub status: u16,
    pub begun: Instant,
    pub ended: Instant,
}

#[derive(Default)]
pub struct Ledger {
    pub written: BTreeMap<String, Written>,
    pub failures: Vec<Failure>,
    /// Broken promises.
    pub violations: Vec<String>,
    /// When this was last done for a company.
    pub done: HashMap<(usize, &'static str), Instant>,
    pub requests: u64,
}

pub struct Load {
    pub companies: Vec<Company>,
    pub ledger: Mutex<Ledger>,
    base: String,
    http: reqwest::Client,
    keys: Keys,
    tokens: Mutex<HashMap<Uuid, (String, Instant)>>,
    counter: AtomicU64,
    stop: AtomicBool,
    rest: AtomicBool,
}

impl Load {
    /// Creates the companies and starts their users.
    pub async fn start(rig: &Rig) -> (Arc<Self>, JoinSet<()>) {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().unwrap();
        let keys = Keys::new(&config().jwt_secret).unwrap();
        let mut load = Self {
            companies: Vec::new(),
            ledger: Mutex::default(),
            base: rig.base.clone(),
            http,
            keys,
            tokens: Mutex::default(),
            counter: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            rest: AtomicBool::new(false),
        };
        let admin = rig.admin().await;
        for n in 0..COMPANIES {
            let tag = format!("c{n}");
            let add = "insert into companies (name) values ($1) returning id";
            let id: Uuid = admin.query_one(add, &[&format!("Chaos {tag}")]).await.unwrap().get(0);
            let mut people = [Uuid::nil(); 2];
            for (person, role) in people.iter_mut().zip(["company_admin", "company_user"]) {
                let add = "select id from app.add_user($1, 'x', 'A', 'B', $2, $3, 'active')";
                let email = format!("{role}@{tag}.example");
                *person = admin.query_one(add, &[&email, &role, &id]).await.unwrap().get(0);
            }
            let account = format!("AC{n:032}");
            let company = Company { id, tag, account, number: format!("+1415555010{n}"), people };
            load.furnish(&company).await;
            load.companies.push(company);
        }
        let load = Arc::new(load);
        let mut tasks = JoinSet::new();
        for task in 0..COMPANIES * AT_ONCE {
            let load = load.clone();
            tasks.spawn(async move { load.work(task % COMPANIES).await });
        }
        (load, tasks)
    }

    /// Adds a Twilio account, a number, and a workflow that sends and writes for each deal.
    async fn furnish(&self, company: &Company) {
        let admin = company.people[0];
        let ask = async |path: &str, body: Value| {
            let answer = self.request(admin, "POST", path).json(&body).send().await.unwrap();
            assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        };
        let account = json!({"account_sid": company.account, "auth_token": "a token of the account, 32 long or more", "phone_number": ""});
        ask("/api/twilio-settings/", account).await;
        ask("/api/sms/phone-numbers", json!({"phone_number": company.number})).await;
        let actions = json!([
            {"type": "send_sms", "config": {"to": "+14155550199", "body": "wf {{ deal.title }}"}},
            {"type": "create_task", "config": {"subject": "task {{ deal.title }}"}},
        ]);
        let workflow = json!({"name": "Chaos", "trigger_type": "deal_created", "is_active": true, "actions": actions});
        ask("/api/workflows/", workflow).await;
    }

    /// Stops the users.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// Pauses the users, or lets them go on.
    pub fn rest(&self, rest: bool) {
        self.rest.store(rest, Relaxed);
    }

    pub fn violation(&self, what: String) {
        println!("    VIOLATION: {what}");
        self.ledger.lock().unwrap().violations.push(what);
    }

    fn request(&self, person: Uuid, method: &str, path: &str) -> RequestBuilder {
        let mut tokens = self.tokens.lock().unwrap();
        let fresh = || (self.keys.issue(TokenKind::Access, person, 1).unwrap(), Instant::now());
        let token = tokens.entry(person).or_insert_with(fresh);
        if token.1.elapsed() > Duration::from_secs(300) {
            *token = fresh();
        }
        self.http.request(method.parse().unwrap(), format!("{}{path}", self.base)).bearer_auth(&token.0)
    }

    /// Sends a request and returns the body of a success; errors are recorded. Other statuses than `expected` that no
    /// fault explains are violations.
    async fn ask(
        &self,
        company: usize,
        what: &'static str,
        request: RequestBuilder,
        expected: &[u16],
    ) -> Result<Vec<u8>, u16> {
        let id = Uuid::new_v4().to_string();
        let begun = Instant::now();
        let answer = async {
            let answer = request.header("x-request-id", &id).send().await?;
            let status = answer.status().as_u16();
            let echoed = answer.headers().get("x-request-id").is_some_and(|echo| *echo == *id);
            Ok::<_, reqwest::Error>((status, echoed, answer.bytes().await?.to_vec()))
        };
        let answer = answer.await;
        let ended = Instant::now();
        let mut ledger = self.ledger.lock().unwrap();
        ledger.requests += 1;
        let status = answer.as_ref().map_or(0, |(status, ..)| *status);
        match answer {
            Ok((_, false, _)) => {
                drop(ledger);
                self.violation(format!("{what} got the answer to another request"));
                Err(status)
            }
            Ok((200..=299, _, body)) => {
                ledger.done.insert((company, what), ended);
                Ok(body)
            }
            Ok((_, _, body)) if !expected.contains(&status) && ![429, 502, 503].contains(&status) => {
                drop(ledger);
                self.violation(format!("{what}: {status} {}", String::from_utf8_lossy(&body)));
                Err(status)
            }
            _ if expected.contains(&status) => Err(status),
            _ => {
                ledger.failures.push(Failure { what, status, begun, ended });
                Err(status)
            }
        }
    }

    async fn ask_json(&self, company: usize, what: &'static str, request: RequestBuilder) -> Option<Value> {
        let body = self.ask(company, what, request, &[]).await.ok()?;
        serde_json::from_slice(&body).map_err(|e| self.violation(format!("{what}: no JSON: {e}"))).ok()
    }

    /// Records a row that is about to be requested; returns its marker.
    fn note(&self, kind: Kind, company: usize) -> String {
        let n = self.counter.fetch_add(1, Relaxed);
        let marker = format!("{}-{n}-{}", self.companies[company].tag, kind.word());
        let written = Written { kind, company, id: None, says: vec![String::new()] };
        self.ledger.lock().unwrap().written.insert(marker.clone(), written);
        marker
    }

    /// Records that a row was acknowledged.
    fn acknowledged(&self, marker: &str, answer: &Value) {
        let id = answer["id"].as_str().or(answer["message_id"].as_str()).unwrap_or_default().to_owned();
        if let Some(written) = self.ledger.lock().unwrap().written.get_mut(marker) {
            written.id = Some(id);
        }
    }

    async fn work(&self, company: usize) {
        let mut contacts: Vec<(String, String)> = Vec::new();
        while !self.stop.load(Relaxed) {
            tokio::time::sleep(Duration::from_millis(10 + below(PAUSE) as u64)).await;
            if self.rest.load(Relaxed) {
                continue;
            }
            let person = self.companies[company].people[below(2)];
            match below(100) {
                0..16 => {
                    if let Some(made) = self.contact(company, person).await {
                        contacts.push(made);
                    }
                }
                16..28 if !contacts.is_empty() => {
                    let at = below(contacts.len());
                    let known = self.change(company, person, &contacts[at]).await;
                    if !known {
                        contacts.swap_remove(at);
                    }
                }
                28..46 if !contacts.is_empty() => {
                    let (id, marker) = &contacts[below(contacts.len())];
                    self.read(company, person, id, marker).await;
                }
                46..60 => self.list(company, person).await,
                60..68 => self.strange(company, person).await,
                68..78 => self.activity(company, person).await,
                78..84 => self.deal(company, person).await,
                84..90 => self.text(company, person).await,
                90..94 => self.file(company, person).await,
                94..98 => self.scheduled(company, person).await,
                98 => self.campaign(company, person).await,
                _ => {}
            }
        }
    }

    async fn contact(&self, company: usize, person: Uuid) -> Option<(String, String)> {
        let marker = self.note(Kind::Contact, company);
        let new = json!({"first_name": marker, "last_name": self.companies[company].tag,
            "email": format!("{marker}@{}.example", self.companies[company].tag)});
        let request = self.request(person, "POST", "/api/contacts/").json(&new);
        let made = self.ask_json(company, "add a contact", request).await?;
        if made["first_name"] != json!(marker) {
            self.violation(format!("asked for contact {marker}, and was answered {made}"));
        }
        self.acknowledged(&marker, &made);
        Some((made["id"].as_str()?.to_owned(), marker))
    }

    /// Changes a contact; returns whether its new value is known.
    async fn change(&self, company: usize, person: Uuid, (id, marker): &(String, String)) -> bool {
        let phone = format!("+1{}", self.counter.fetch_add(1, Relaxed));
        if let Some(written) = self.ledger.lock().unwrap().written.get_mut(marker) {
            written.says.push(phone.clone());
        }
        let request = self.request(person, "PATCH", &format!("/api/contacts/{id}")).json(&json!({"phone": phone}));
        let Some(changed) = self.ask_json(company, "change a contact", request).await else { return false };
        if changed["id"] != json!(id) || changed["phone"] != json!(phone) {
            self.violation(format!("changed contact {marker}, and was answered {changed}"));
        }
        if let Some(written) = self.ledger.lock().unwrap().written.get_mut(marker) {
            written.says = vec![phone];
        }
        true
    }

    async fn read(&self, company: usize, person: Uuid, id: &str, marker: &str) {
        let request = self.request(person, "GET", &format!("/api/contacts/{id}"));
        let Some(read) = self.ask_json(company, "read a contact", request).await else { return };
        if read["id"] != json!(id) || read["first_name"] != json!(marker) {
            self.violation(format!("read contact {marker}, and was answered {read}"));
        }
    }

    async fn list(&self, company: usize, person: Uuid) {
        let (path, what) = match below(3) {
            0 => (format!("/api/contacts/?limit=20&skip={}", below(50)), "last_name"),
            1 => ("/api/contacts/?limit=20&search=c".to_owned(), "last_name"),
            _ => ("/api/deals/?limit=20".to_owned(), "title"),
        };
        let Some(rows) = self.ask_json(company, "list", self.request(person, "GET", &path)).await else { return };
        let tag = &self.companies[company].tag;
        let is_own = |row: &Value| row[what].as_str().is_some_and(|text| text.split('-').next() == Some(tag));
        for row in rows.as_array().into_iter().flatten().filter(|row| !is_own(row)) {
            self.violation(format!("{tag} was shown {row}"));
        }
    }

    /// Requests a contact of another company.
    async fn strange(&self, company: usize, person: Uuid) {
        let other = {
            let ledger = self.ledger.lock().unwrap();
            let mut others =
                ledger.written.values().rev().take(200).filter(|w| w.company != company && w.kind == Kind::Contact);
            others.find_map(|w| w.id.clone())
        };
        let Some(other) = other else { return };
        let request = self.request(person, "GET", &format!("/api/contacts/{other}"));
        if let Ok(body) = self.ask(company, "read another company's contact", request, &[404]).await {
            self.violation(format!(
                "{} read another company's contact: {}",
                self.companies[company].tag,
                String::from_utf8_lossy(&body)
            ));
        }
    }

    async fn activity(&self, company: usize, person: Uuid) {
        let marker = self.note(Kind::Activity, company);
        let new = json!({"type": "note", "subject": marker});
        let mut last = 0;
        // 15 seconds after a server died, the database rolls back what was in progress.
        for _ in 0..100 {
            let request =
                self.request(person, "POST", "/api/activities/").header("idempotency-key", &marker).json(&new);
            match self.ask(company, "add an activity", request, &[409]).await {
                Ok(body) => {
                    let made: Value = serde_json::from_slice(&body).unwrap_or_default();
                    if made["subject"] != json!(marker) {
                        self.violation(format!("asked for activity {marker}, and was answered {made}"));
                    }
                    return self.acknowledged(&marker, &made);
                }
                Err(status) => last = status,
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        // Effect and response are one commit, so a key is either stored with its response or free.
        if last == 409 {
            self.violation(format!("the key of {marker} stays taken and has no answer"));
        }
    }

    async fn deal(&self, company: usize, person: Uuid) {
        let marker = self.note(Kind::Deal, company);
        let new = json!({"title": marker, "value": below(1000), "stage_id": "Lead"});
        let request = self.request(person, "POST", "/api/deals/").json(&new);
        if let Some(made) = self.ask_json(company, "add a deal", request).await {
            self.acknowledged(&marker, &made);
        }
    }

    async fn text(&self, company: usize, person: Uuid) {
        let marker = self.note(Kind::Text, company);
        let new = json!({"to": format!("+1415666{:04}", below(500)), "body": marker});
        let request = || self.request(person, "POST", "/api/sms/send").json(&new);
        if below(2) == 0 {
            if let Some(sent) = self.ask_json(company, "send a text", request()).await {
                self.acknowledged(&marker, &sent);
            }
            return;
        }
        // If the server died while it sent the text, the key stays taken: it is unknown whether the text was sent.
        for _ in 0..20 {
            let keyed = request().header("idempotency-key", &marker);
            match self.ask(company, "send a text", keyed, &[409]).await {
                Ok(body) => return self.acknowledged(&marker, &serde_json::from_slice(&body).unwrap_or_default()),
                // The provider's response is stored for the key by now.
                Err(502) => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
            }
        }
    }

    async fn scheduled(&self, company: usize, person: Uuid) {
        let marker = self.note(Kind::Scheduled, company);
        let at = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3)).to_string();
        let from = &self.companies[company].number;
        let new = json!({"from_number": from, "to": format!("+1415777{:04}", below(500)), "body": marker, "scheduled_at": at});
        let request = self.request(person, "POST", "/api/sms/scheduled").json(&new);
        if let Some(made) = self.ask_json(company, "schedule a text", request).await {
            self.acknowledged(&marker, &made);
        }
    }

    async fn file(&self, company: usize, person: Uuid) {
        let marker = self.note(Kind::File, company);
        let content = marker.repeat(6000 / marker.len());
        let part =
            multipart::Part::text(content.clone()).file_name(format!("{marker}.txt")).mime_str("text/plain").unwrap();
        let form = multipart::Form::new().part("file", part);
        let request = self.request(person, "POST", "/api/files/upload").multipart(form);
        let Some(made) = self.ask_json(company, "upload a file", request).await else { return };
        self.acknowledged(&marker, &made);
        let path = format!("/api/files/{}/download", made["id"].as_str().unwrap_or_default());
        let request = self.request(person, "GET", &path);
        if let Ok(read) = self.ask(company, "download a file", request, &[]).await
            && read != content.as_bytes()
        {
            self.violation(format!("file {marker} has other content"));
        }
    }

    async fn campaign(&self, company: usize, person: Uuid) {
        let marker = self.note(Kind::Campaign, company);
        let recipients: Vec<String> =
            (0..RECIPIENTS).map(|n| format!("{marker}-{n}@{}.example", self.companies[company].tag)).collect();
        let new = json!({"campaign_name": marker, "subject": marker, "body": "Hello", "recipients": recipients});
        let request = self.request(person, "POST", "/api/email-campaigns/").json(&new);
        let Some(made) = self.ask_json(company, "add a campaign", request).await else { return };
        self.acknowledged(&marker, &made);
        let path = format!("/api/email-campaigns/{}/send", made["id"].as_str().unwrap_or_default());
        // What matters is whether it is sent, not this response: a second request is refused.
        let _ = self.ask(company, "send a campaign", self.request(person, "POST", &path), &[]).await;
    }
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Contact => "contact",
            Kind::Activity => "activity",
            Kind::Deal => "deal",
            Kind::File => "file",
            Kind::Text => "text",
            Kind::Scheduled => "scheduled",
            Kind::Campaign => "campaign",
        }
    }
}
