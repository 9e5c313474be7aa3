//! A fake of Twilio's REST API and SendGrid's mail API: checks credentials and records requests. The last four digits
//! of the recipient's number determine the response.

use crate::support::world::{Answer, Person, World, answer};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock, Mutex, mpsc},
};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Gives the company a SendGrid key of its own.
pub async fn with_key(world: &World) -> String {
    let (account, key) = (Account::new(), format!("SG.{}", Uuid::new_v4().simple()));
    let settings = json!({"account_sid": account.sid, "auth_token": account.token, "sendgrid_api_key": key,
        "sendgrid_from_email": "sales@acme.example"});
    world.admin.post("/api/twilio-settings/", settings).await.expect(201);
    key
}

pub const PUBLIC_URL: &str = "https://crm.example";

type Form = BTreeMap<String, String>;

/// Holds an account's responses until it is released.
#[derive(Clone)]
pub struct Slow {
    asked: Arc<Semaphore>,
    released: Arc<Semaphore>,
}

impl Slow {
    async fn hold(&self) {
        self.asked.add_permits(1);
        let _permit = self.released.acquire().await.unwrap();
    }

    /// Waits until the account gets a request.
    pub async fn asked(&self) {
        self.asked.acquire().await.unwrap().forget();
    }

    /// Responds to the held requests, and to all from now on at once.
    pub fn release(&self) {
        self.released.add_permits(Semaphore::MAX_PERMITS);
    }
}

/// Waits while the account is slow.
async fn slowly(account: &str) {
    let slow = ACCOUNTS.lock().unwrap()[account].slow.clone();
    if let Some(slow) = slow {
        slow.hold().await;
    }
}

/// What the fake knows about an account.
#[derive(Default)]
struct Known {
    token: String,
    asked: Vec<Form>,
    numbers: Vec<Value>,
    slow: Option<Slow>,
}

static ACCOUNTS: LazyLock<Mutex<HashMap<String, Known>>> = LazyLock::new(Default::default);

static URL: LazyLock<String> = LazyLock::new(|| {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let base = "/2010-04-01/Accounts";
            let router = Router::new()
                .route(&format!("{base}/{{account}}/Messages.json"), post(create))
                .route(&format!("{base}/{{account}}/Calls.json"), post(create))
                .route(&format!("{base}/{{account}}/IncomingPhoneNumbers.json"), get(numbers))
                .route(&format!("{base}/{{file}}"), get(account))
                .route("/v3/mail/send", post(mail))
                .with_state(());
            axum::serve(listener, router).await.unwrap();
        });
    });
    format!("http://{}", told.recv().unwrap())
});

pub fn url() -> String {
    URL.clone()
}

fn refusal(status: u16, code: i64) -> Response {
    let body = json!({"code": code, "message": "Twilio's own words", "status": status});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

fn is_known(account: &str, headers: &HeaderMap) -> bool {
    let accounts = ACCOUNTS.lock().unwrap();
    let Some(known) = accounts.get(account) else { return false };
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{account}:{}", known.token)));
    headers.get("authorization").is_some_and(|v| *v == *expected)
}

async fn create(State(()): State<()>, Path(account): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    if !is_known(&account, &headers) {
        return refusal(401, 20003);
    }
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    let form: Form = url::form_urlencoded::parse(&body).into_owned().collect();
    let to = form["To"].clone();
    ACCOUNTS.lock().unwrap().get_mut(&account).unwrap().asked.push(form);
    slowly(&account).await;
    match &to[to.len() - 4..] {
        "0001" => refusal(400, 21211),
        "0002" => panic!("drops the connection"),
        "0003" => "not JSON".into_response(),
        "0004" => refusal(503, 20503),
        "0005" => refusal(400, 21610),
        _ => {
            let sid = format!("SM{}", Uuid::new_v4().simple());
            (StatusCode::CREATED, Json(json!({"sid": sid, "status": "queued"}))).into_response()
        }
    }
}

static MAILS: LazyLock<Mutex<HashMap<String, Vec<Value>>>> = LazyLock::new(Default::default);

/// The mails sent with this SendGrid key, in order.
pub fn mails(key: &str) -> Vec<Value> {
    MAILS.lock().unwrap().get(key).cloned().unwrap_or_default()
}

/// The status for each SendGrid key, and the beginning of the recipient addresses that it applies to.
static SAYS: LazyLock<Mutex<HashMap<String, (StatusCode, &str)>>> = LazyLock::new(Default::default);

/// From now on, SendGrid responds with this status to mails with this key to addresses that begin with `to`.
pub fn sendgrid_says(key: &str, status: u16, to: &'static str) {
    SAYS.lock().unwrap().insert(key.into(), (StatusCode::from_u16(status).unwrap(), to));
}

async fn mail(headers: HeaderMap, Json(mail): Json<Value>) -> Response {
    let key = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    let to = mail["personalizations"][0]["to"][0]["email"].as_str().unwrap().to_owned();
    let said = SAYS.lock().unwrap().get(&key).copied();
    if let Some((status, _)) = said.filter(|(_, of)| to.starts_with(of)) {
        // What it finds wrong with a mail is the same for everybody.
        let field = (status == StatusCode::BAD_REQUEST).then_some("ip_pool_name");
        return (status, Json(json!({"errors": [{"message": "SendGrid's own words", "field": field}]})))
            .into_response();
    }
    MAILS.lock().unwrap().entry(key).or_default().push(mail);
    match to.split('@').next().unwrap() {
        "refused" => {
            let fault = json!({"message": "SendGrid's own words", "field": "personalizations.0.to.0.email"});
            (StatusCode::BAD_REQUEST, Json(json!({"errors": [fault]}))).into_response()
        }
        "dropped" => panic!("drops the connection"),
        "busy" => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => (StatusCode::ACCEPTED, [("x-message-id", "sg-1")]).into_response(),
    }
}

async fn numbers(Path(account): Path<String>, headers: HeaderMap) -> Response {
    if !is_known(&account, &headers) {
        return refusal(401, 20003);
    }
    slowly(&account).await;
    let numbers = ACCOUNTS.lock().unwrap()[&account].numbers.clone();
    Json(json!({"incoming_phone_numbers": numbers, "next_page_uri": null})).into_response()
}

async fn account(Path(file): Path<String>, headers: HeaderMap) -> Response {
    let account = file.trim_end_matches(".json");
    if is_known(account, &headers) {
        slowly(account).await;
        Json(json!({"status": "active"})).into_response()
    } else {
        refusal(401, 20003)
    }
}

/// A number that no other test has.
pub fn number() -> String {
    let random = Uuid::new_v4().as_u128();
    format!("+1{}{:07}9", 20 + random % 70, (random >> 64) % 10_000_000)
}

/// An account at the fake Twilio.
#[derive(Clone)]
pub struct Account {
    pub sid: String,
    pub token: String,
    /// The company's number.
    pub number: String,
}

impl Account {
    /// An account that Twilio knows and no company has entered.
    pub fn new() -> Self {
        let sid = format!("AC{}", Uuid::new_v4().simple());
        let token = format!("token{}", Uuid::new_v4().simple());
        let known = Known { token: token.clone(), ..Known::default() };
        ACCOUNTS.lock().unwrap().insert(sid.clone(), known);
        Self { sid, token, number: number() }
    }

    /// An account that the company has entered, with one number.
    pub async fn of(world: &World) -> Self {
        let account = Self::new();
        let settings = json!({"account_sid": account.sid, "auth_token": account.token, "phone_number": ""});
        let entered = world.admin.post("/api/twilio-settings/", settings).await.expect(201);
        assert_eq!(entered["is_verified"], true);
        world.admin.post("/api/sms/phone-numbers", json!({"phone_number": account.number})).await.expect(200);
        account
    }

    /// Removes the account: Twilio does not know it any more.
    pub fn is_away(&self) {
        ACCOUNTS.lock().unwrap().remove(&self.sid);
    }

    /// From now on, responses of the account are held until they are released.
    pub fn is_slow(&self) -> Slow {
        let slow = Slow { asked: Arc::new(Semaphore::new(0)), released: Arc::new(Semaphore::new(0)) };
        ACCOUNTS.lock().unwrap().get_mut(&self.sid).unwrap().slow = Some(slow.clone());
        slow
    }

    /// The requests to the account, in order.
    pub fn asked(&self) -> Vec<Form> {
        ACCOUNTS.lock().unwrap()[&self.sid].asked.clone()
    }

    /// Sets the account's phone numbers.
    pub fn has(&self, numbers: &[&str]) {
        let number = |n: &&str| {
            json!({"sid": format!("PN{n}"), "phone_number": n, "friendly_name": "Line",
            "capabilities": {"sms": true, "voice": true, "mms": false}})
        };
        ACCOUNTS.lock().unwrap().get_mut(&self.sid).unwrap().numbers = numbers.iter().map(number).collect();
    }

    /// Calls a webhook as Twilio does, signed with this account's token.
    pub async fn tells(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        signed_with(&self.token, path, fields).await
    }

    /// Calls a webhook like [`Account::tells`], but of another server than the shared one.
    pub async fn tells_at(&self, base: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        signed_at(&Person::visitor(base), &self.token, path, fields).await
    }
}

pub async fn signed_with(token: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    signed_at(&Person::nobody(), token, path, fields).await
}

async fn signed_at(at: &Person, token: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let mut sorted = fields.to_vec();
    sorted.sort();
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).unwrap();
    mac.update(format!("{PUBLIC_URL}{path}").as_bytes());
    for (name, value) in sorted {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let request = at.request("post", path).header("x-twilio-signature", signature).form(fields);
    answer(request).await
}
