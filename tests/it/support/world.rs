//! A company to test with, and HTTP clients for its users. Each test creates its own company in a shared database, so
//! the suite itself is a test of isolation.

use crate::support::{
    database::OwnDatabase,
    log,
    server::{SERVER, admin_url, config, start_server},
};
use reqwest::{Method, header::HeaderMap, multipart};
use ringfence::{
    auth::{Keys, TokenKind},
    clients,
    config::Config,
    db, passwords,
};
use serde_json::{Value, json};
use std::sync::LazyLock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_postgres::{Client, types::ToSql};
use uuid::Uuid;

/// The password of every user in tests.
pub const PASSWORD: &str = "Correct-Horse-7";

pub static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::new(&config().jwt_secret).unwrap());

pub static HASH: LazyLock<String> = LazyLock::new(|| passwords::hash_now(PASSWORD).unwrap());

/// A user with a token, or a client without one.
#[derive(Clone)]
pub struct Person {
    pub id: Uuid,
    pub email: String,
    pub token: Option<String>,
    base: String,
    http: reqwest::Client,
}

/// The response to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// The body as JSON; null if it is not JSON.
    pub body: Value,
    pub text: String,
    pub headers: HeaderMap,
}

impl Answer {
    /// Checks the status, and returns the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }

    /// Checks the status of an error, and returns its `detail`.
    #[track_caller]
    pub fn detail(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        self.body["detail"].as_str().unwrap_or_else(|| panic!("detail is no sentence: {}", self.text)).to_owned()
    }
}

impl Person {
    fn new(id: Uuid, email: &str, token: Option<String>, base: &str) -> Self {
        clients::use_ring();
        Self { id, email: email.into(), token, base: base.into(), http: reqwest::Client::new() }
    }

    /// A client without a token.
    pub fn nobody() -> Self {
        Self::new(Uuid::nil(), "", None, &SERVER)
    }

    /// A client of this server without a token.
    pub fn visitor(base: &str) -> Self {
        Self::new(Uuid::nil(), "", None, base)
    }

    /// The same person at another server.
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.into(), ..self.clone() }
    }

    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let request = self.request(method, path);
        answer(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(&body)).await
    }
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, Some(&body)).await
    }
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, Some(&body)).await
    }
    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None).await
    }

    /// The server's host and port.
    pub fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// Opens a connection to the server, for what no HTTP client would send.
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// Sends the head of a POST, and returns when its handler waits for the body.
    pub async fn begin(&self, path: &str, kind: &str, length: usize) -> TcpStream {
        let mut stream = self.connect().await;
        let token = self.token.as_deref().unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut go_on).await.unwrap();
        assert!(go_on.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&go_on));
        stream
    }

    /// Sends one file as the multipart part `file`.
    pub async fn upload(&self, path: &str, name: &str, mime: &str, bytes: impl Into<Vec<u8>>) -> Answer {
        let part = multipart::Part::bytes(bytes.into()).file_name(name.to_owned()).mime_str(mime).unwrap();
        answer(self.request("POST", path).multipart(multipart::Form::new().part("file", part))).await
    }
}

/// Goes away from a request that has no answer yet, and returns when the server has noticed: it closes its end.
pub async fn leave(mut stream: TcpStream) {
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

/// Sends a request and reads the response.
pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
    log::remember(&request);
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null), text, headers }
}

/// A company with an admin and a member, and the administrator's connection to its database.
pub struct World {
    pub company: Uuid,
    pub name: String,
    pub admin: Person,
    pub member: Person,
    pub db: Client,
}

impl World {
    pub async fn new() -> Self {
        Self::named("Company").await
    }

    /// A company in a database of its own, with a server whose jobs no other test's worker takes.
    pub async fn alone(own: &OwnDatabase) -> Self {
        Self::served(own, config()).await
    }

    /// A company in a database of its own, with a server of these settings.
    pub async fn served(own: &OwnDatabase, config: Config) -> Self {
        Self::alone_at(own, &start_server(config, &own.api)).await
    }

    /// A company in a database of its own, at a server that runs already.
    pub async fn alone_at(own: &OwnDatabase, base: &str) -> Self {
        let world = Self::within(&own.admin, "Company").await;
        Self { admin: world.admin.at(base), member: world.member.at(base), ..world }
    }

    /// A company whose name and users' addresses begin with `start`.
    pub async fn named(start: &str) -> Self {
        Self::within(&admin_url(), start).await
    }

    /// A company in this database, whose users call the shared server.
    pub async fn within(database: &str, start: &str) -> Self {
        let db = db::connect(database).await.unwrap();
        let name = format!("{start} {}", Uuid::new_v4().simple());
        let company =
            db.query_one("insert into companies (name) values ($1) returning id", &[&name]).await.unwrap().get(0);
        let admin = add_person(&db, start, "company_admin", Some(company)).await;
        let member = add_person(&db, start, "company_user", Some(company)).await;
        Self { company, name, admin, member, db }
    }

    /// Another user of the company.
    pub async fn person(&self, role: &str) -> Person {
        add_person(&self.db, "person", role, Some(self.company)).await
    }

    /// A user without company.
    pub async fn lone(&self) -> Person {
        add_person(&self.db, "lone", "Regular User", None).await
    }

    /// One of the platform's own staff.
    pub async fn super_admin(&self) -> Person {
        add_person(&self.db, "super", "super_admin", None).await
    }

    /// A contact of the company, made by its admin.
    pub async fn contact(&self, first: &str, last: &str) -> Value {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let body = serde_json::json!({"first_name": first, "last_name": last, "email": email});
        self.admin.post("/api/contacts/", body).await.expect(200)
    }

    /// Adds an active workflow without actions for each of these triggers, so that events are recorded.
    pub async fn listen(&self, triggers: &[&str]) {
        let insert = "insert into workflows (tenant_id, company_id, owner_id, name, trigger, status)
            select $1, $1, $2, 'Listens to ' || t, t, 'active' from unnest($3::text[]) t";
        self.db.execute(insert, &[&self.company, &self.admin.id, &triggers]).await.unwrap();
    }

    /// A historical SMS (without company) of one of the company's users.
    pub async fn historical_sms(&self, of: &Person, body: &str) -> Uuid {
        let insert = "insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body)
            values ($1, null, $2, 'inbound', 'received', '+15550100', '+15550101', $3) returning id";
        self.db.query_one(insert, &[&self.company, &of.id, &body]).await.unwrap().get(0)
    }

    /// Makes all jobs of a kind in the database due. A worker that already has one of them may still postpone it.
    pub async fn make_due(&self, kind: &str) {
        self.db.execute("update jobs set run_at = now() where kind = $1", &[&kind]).await.unwrap();
    }

    /// One value, read as the administrator.
    pub async fn value<T: for<'a> tokio_postgres::types::FromSql<'a>>(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> T {
        self.db.query_one(sql, params).await.unwrap().get(0)
    }
}

/// Adds an active user and signs a token for them.
pub async fn add_person(db: &Client, start: &str, role: &str, company: Option<Uuid>) -> Person {
    let email = format!("{}-{}@example.com", start.to_lowercase().replace(' ', "-"), Uuid::new_v4().simple());
    let (first, last) = (format!("{start} First"), format!("{start} Last"));
    let add = "select id from app.add_user($1, $2, $3, $4, $5, $6, 'active')";
    let id: Uuid = db.query_one(add, &[&email, &*HASH, &first, &last, &role, &company]).await.unwrap().get(0);
    Person::new(id, &email, Some(KEYS.issue(TokenKind::Access, id, 1).unwrap()), &SERVER)
}

/// Quiet hours that are the whole day in this time zone except for one minute, which has just passed.
pub async fn night_in(world: &World, zone: &str) -> Value {
    let hours = "select to_char(t - interval '2 minutes', 'HH24:MI'), to_char(t - interval '3 minutes', 'HH24:MI')
        from (select now() at time zone $1) here (t)";
    let hours = world.db.query_one(hours, &[&zone]).await.unwrap();
    json!({"from": hours.get::<_, String>(0), "to": hours.get::<_, String>(1)})
}

/// Adds an active workflow; returns its path.
pub async fn workflow(who: &Person, trigger: &str, actions: Value) -> String {
    let new = json!({"name": Uuid::new_v4(), "trigger_type": trigger, "is_active": true, "actions": actions});
    format!("/api/workflows/{}", who.post("/api/workflows/", new).await.expect(200)["id"].as_str().unwrap())
}
