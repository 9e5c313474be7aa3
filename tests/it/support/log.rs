//! Checks that the log of the whole suite contains nothing private: everything that tests send is remembered, and a log
//! line of a test server that contains any of it aborts the test process.

use crate::support::{
    server::config,
    world::{PASSWORD, Person},
};
use reqwest::{RequestBuilder, header::AUTHORIZATION};
use ringfence::log;
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    io::{self, Write},
    sync::{LazyLock, Mutex, Once},
};
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

/// Minimum length of a remembered text, in bytes: a shorter one may be in a line for another reason.
const SHORTEST: usize = 12;

/// How a signed token begins: the base64 of `{"`.
const TOKEN: &str = "eyJ";

/// Private texts, by their first bytes.
type Private = HashMap<[u8; SHORTEST], HashSet<String>>;

static PRIVATE: LazyLock<Mutex<Private>> = LazyLock::new(|| {
    let (config, mut private) = (config(), Private::new());
    for secret in config.jwt_secret.into_iter().chain(config.secret_key).chain([PASSWORD.to_owned()]) {
        add(&mut private, secret);
    }
    Mutex::new(private)
});

/// Adds the text as it is and as JSON escapes it, because log lines are JSON.
fn add(private: &mut Private, text: String) {
    let written = Value::from(text.as_str()).to_string();
    for text in [written[1..written.len() - 1].to_owned(), text] {
        if let Some(start) = text.as_bytes().first_chunk() {
            private.entry(*start).or_default().insert(text);
        }
    }
}

/// Starts the log of this process as the program does, but at debug level.
pub fn watch() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let filter = log::discreet(EnvFilter::new("debug"));
        tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(|| Watch).init();
    });
}

/// Remembers what this request sends: its token, long segments of its path, query values, and texts in its body.
pub fn remember(request: &RequestBuilder) {
    let Some(request) = request.try_clone().and_then(|request| request.build().ok()) else { return };
    let url = request.url();
    // A shorter segment may be one of the API's own words.
    let parts = url.path_segments().into_iter().flatten().filter(|part| part.len() > 24).map(str::to_owned);
    let mut texts: Vec<String> = parts.chain(url.query_pairs().map(|(_, value)| value.into_owned())).collect();
    if let Some(token) = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        texts.push(token.trim_start_matches("Bearer ").to_owned());
    }
    if let Some(body) = request.body().and_then(|body| body.as_bytes()) {
        match serde_json::from_slice(body) {
            Ok(json) => collect(&json, &mut texts),
            Err(_) => texts.extend(url::form_urlencoded::parse(body).map(|(_, value)| value.into_owned())),
        }
    }
    let mut private = PRIVATE.lock().unwrap();
    texts.into_iter().filter(|text| !is_harmless(text)).for_each(|text| add(&mut private, text));
}

fn collect(json: &Value, texts: &mut Vec<String>) {
    match json {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, texts)),
        _ => {}
    }
}

/// Ids and times belong in a log; a word of the API, such as a role or a trigger, says nothing about anybody.
fn is_harmless(text: &str) -> bool {
    let is_word = text.len() < 32 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_word || Uuid::try_parse(text).is_ok() || text.parse::<jiff::Timestamp>().is_ok()
}

/// The private text in a line, if there is one.
fn private_part(line: &str) -> Option<String> {
    let private = PRIVATE.lock().unwrap();
    let starts = line.as_bytes().windows(SHORTEST).enumerate();
    let mut known = starts.filter_map(|(at, start)| Some((&line.as_bytes()[at..], private.get(start)?)));
    let found = known.find_map(|(rest, texts)| texts.iter().find(|text| rest.starts_with(text.as_bytes())));
    found.cloned().or_else(|| line.contains(TOKEN).then(|| TOKEN.to_owned()))
}

/// Checks every line, and writes those above debug level to standard error, which tests capture.
struct Watch;

const DEBUG: &[u8] = br#""level":"DEBUG""#;

const WARN: &str = r#""level":"WARN""#;

const ERROR: &str = r#""level":"ERROR""#;

/// The warnings and errors of this process.
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Whether a server in this process has logged a warning that contains this text.
pub fn has_warned(what: &str) -> bool {
    WARNINGS.lock().unwrap().iter().any(|line| line.contains(what))
}

impl Write for Watch {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        if let Some(found) = private_part(&text) {
            eprintln!("a line of the log has what nobody may read there, {found:?}: {text}");
            std::process::abort();
        }
        if text.contains(WARN) || text.contains(ERROR) {
            WARNINGS.lock().unwrap().push(text.into_owned());
        }
        if !line.windows(DEBUG.len()).any(|part| part == DEBUG) {
            io::stderr().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_was_sent_is_found_in_a_line() {
    let somebody = Person::visitor("http://localhost").with_token("a-bearers-own-token");
    let request = somebody.request("POST", "/api/sms/send?q=a%20searched%20name");
    remember(&request.json(
        &serde_json::json!({"to": "+15550100999", "parts": [{"text": "Dear \"Ann\", hello, 👋"}], "id": Uuid::nil()}),
    ));
    remember(&somebody.request("POST", "/t/a-long-token-of-a-link-in-a-mail").form(&[("Body", "a text from outside")]));
    let sent = ["a searched name", "a-bearers-own-token", "+15550100999", "Dear \"Ann\", hello, 👋", PASSWORD];
    for text in sent.into_iter().chain(["a-long-token-of-a-link-in-a-mail", "a text from outside"]) {
        let line = serde_json::json!({"fields": {"message": format!("failed: {text}.")}}).to_string();
        let written = Value::from(text).to_string();
        assert_eq!(private_part(&line).as_deref(), Some(written.trim_matches('"')), "{line}");
    }
    assert_eq!(private_part("Bearer eyJhbGciOiJIUzI1NiJ9.e30.x").as_deref(), Some(TOKEN));
    assert_eq!(private_part(&format!(r#"{{"message":"sent","id":"{}"}}"#, Uuid::nil())), None);
}
