//! Whatever is sent, the response is a 4xx in the contract's shape, and nothing has changed.

use crate::support::world::{Answer, Person, World, answer};
use ringfence::api::{self, Access, Route};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use uuid::Uuid;

/// The path of a route, with the id of a row for each name in it.
async fn path(route: &Route, world: &World, person: &Person) -> String {
    let mut path = String::new();
    for part in route.path.split('/').skip(1) {
        let part = match part {
            "{contact_id}" => world.contact("A", "B").await["id"].as_str().unwrap().to_owned(),
            "{user_id}" => world.person("company_user").await.id.to_string(),
            "{company_id}" => world.company.to_string(),
            "{notification_id}" => {
                let sql = "insert into notifications (tenant_id, company_id, user_id, title, message) values ($1, $1, $2, 'T', 'M') returning id";
                world.value::<Uuid>(sql, &[&world.company, &person.id]).await.to_string()
            }
            "{token}" | "{email}" | "{company_name}" => "unknown".into(),
            part if part.starts_with('{') => row(part, world, person).await.to_string(),
            part => part.to_owned(),
        };
        path += "/";
        path += &part;
    }
    path
}

/// Adds a row of the company, by the name that paths have for its id.
async fn row(name: &str, world: &World, person: &Person) -> Uuid {
    let table = match name {
        "{pipeline_id}" => "pipelines",
        "{stage_id}" => "pipeline_stages",
        "{deal_id}" => "deals",
        "{activity_id}" => "activities",
        "{quote_id}" => "quotes",
        "{folder_id}" => "folders",
        "{file_id}" => "files",
        "{template_id}" => "sms_templates",
        "{number_id}" => "phone_numbers",
        "{scheduled_id}" => "scheduled_sms",
        "{call_id}" => "calls",
        "{conversation_id}" => "conversations",
        "{suppression_id}" => "suppressions",
        "{email_id}" | "{message_id}" => "emails",
        "{workflow_id}" => "workflows",
        "{execution_id}" => "workflow_executions",
        "{campaign_id}" => "campaigns",
        _ => panic!("say in `row` of tests/it/bad_input.rs how a row for {name} is made"),
    };
    let stage = "select id, pipeline_id from pipeline_stages where tenant_id = $1 order by order_index limit 1";
    let stage = world.db.query_one(stage, &[&world.company]).await.unwrap();
    let (stage, pipeline): (Uuid, Uuid) = (stage.get(0), stage.get(1));
    let own = format!("tenant_id, company_id, owner_id) values ('{0}', '{0}', '{1}'", world.company, person.id);
    let said = own.replace("owner_id", "user_id");
    let insert = match table {
        "pipelines" => return pipeline,
        "pipeline_stages" => return stage,
        "deals" => format!("(title, pipeline_id, stage_id, {own}")
            .replace("values (", &format!("values ('T', '{pipeline}', '{stage}', ")),
        "activities" => format!("(subject, type, {own}").replace("values (", "values ('T', 'call', "),
        "workflow_executions" => format!("(workflow_id, event, status, {said}").replace(
            "values (",
            &format!("values ('{}', 'deal_won', 'success', ", Box::pin(row("{workflow_id}", world, person)).await),
        ),
        "workflows" => format!("(name, {own}").replace("values (", &format!("values ('{}', ", Uuid::new_v4())),
        "quotes" => format!("(quote_number, title, amount, {own}")
            .replace("values (", &format!("values ('{}', 'T', 1, ", Uuid::new_v4())),
        "folders" => format!("(name, {own}").replace("values (", "values ('T', "),
        "sms_templates" => format!("(name, body, {said}").replace("values (", "values ('T', 'T', "),
        "phone_numbers" => {
            format!("(phone_number, {said}").replace("values (", &format!("values ('{}', ", Uuid::new_v4()))
        }
        "scheduled_sms" => format!("(from_address, to_address, body, scheduled_at, {said}")
            .replace("values (", "values ('T', 'T', 'T', now() + interval '1 day', "),
        "calls" => format!("(direction, status, from_address, to_address, {said}")
            .replace("values (", "values ('inbound', 'completed', 'T', 'T', "),
        "conversations" => format!("(to_number, from_twilio_number, {said}")
            .replace("values (", &format!("values ('{}', 'T', ", Uuid::new_v4())),
        "emails" => format!("(direction, status, from_email, to_email, subject, body, {said}")
            .replace("values (", "values ('outbound', 'draft', 'T', 'T', 'T', 'T', "),
        "campaigns" => format!("(campaign_name, subject, body, status, total_recipients, {said}")
            .replace("values (", "values ('T', 'T', 'T', 'draft', 1, "),
        "suppressions" => format!("(channel, address, reason, {said}")
            .replace("values (", &format!("values ('sms', '{}', 'admin', ", Uuid::new_v4())),
        _ => format!("(name, original_name, {own}").replace("values (", "values ('T', 'T', "),
    };
    world.value(&format!("insert into {table} {insert}) returning id"), &[]).await
}

#[track_caller]
fn refused(answer: &Answer, what: &str) {
    assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text);
    shaped(answer, what);
}

/// Checks that a response is no 5xx, and that an error has the contract's shape and nothing of the database.
#[track_caller]
fn shaped(answer: &Answer, what: &str) {
    assert!(answer.status < 500, "{what}: {} {}", answer.status, answer.text);
    if answer.status >= 400 {
        let detail = &answer.body["detail"];
        let list = |d: &Value| {
            d.as_array().is_some_and(|l| {
                !l.is_empty() && l.iter().all(|p| p["type"].is_string() && p["msg"].is_string() && p["loc"].is_array())
            })
        };
        assert!(if answer.status == 422 { list(detail) } else { detail.is_string() }, "{what}: {}", answer.text);
        for word in [
            "SQLSTATE",
            "syntax for type",
            "violates",
            "duplicate key",
            "relation \"",
            "invalid byte sequence",
            "panicked",
        ] {
            assert!(!answer.text.contains(word), "{what}: {}", answer.text);
        }
    }
}

/// The routes with a body.
fn writing() -> impl Iterator<Item = &'static Route> {
    api::routes().filter(|r| ["post", "put", "patch"].contains(&r.method))
}

async fn caller(world: &World, route: &Route) -> Person {
    match route.access {
        Access::platform => world.super_admin().await,
        _ => world.person("company_admin").await,
    }
}

/// The fields of a route's JSON body, from the OpenAPI document.
fn fields(document: &Value, route: &Route) -> Option<Vec<String>> {
    let schema = &document["paths"][route.path][route.method]["requestBody"]["content"]["application/json"]["schema"];
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#'))?,
        None => schema,
    };
    Some(schema["properties"].as_object()?.keys().cloned().collect())
}

/// A body that most routes with these fields accept.
fn good(route: &Route, fields: &[String]) -> Value {
    let email = format!("{}@example.com", Uuid::new_v4().simple());
    let mut body = json!({});
    for known in fields {
        let good = match known.as_str() {
            "email" | "admin_email" => json!(email),
            "password" | "admin_password" | "new_password" => json!("Another-Horse-8"),
            "first_name" | "last_name" | "admin_first_name" | "admin_last_name" => json!("S"),
            "name" | "company_name" | "campaign_name" => json!(format!("N {email}")),
            "token" | "reset_code" | "current_password" => json!("unknown"),
            "title" | "subject" => json!(format!("N {email}")),
            "value" | "amount" | "order_index" => json!(1),
            "type" if route.path.starts_with("/api/activities") => json!("call"),
            "to" | "to_number" | "phone_number" => json!("+14155550123"),
            "address" => json!("+14155550123"),
            "channel" => json!("sms"),
            "to_email" => json!(email),
            "recipients" => json!([email]),
            "message" | "html_content" => json!("Hello"),
            "body" => json!("Hello"),
            "from_number" => json!(""),
            "scheduled_at" => json!("2999-01-01T00:00:00Z"),
            "account_sid" => json!(format!("AC{}", "0".repeat(32))),
            "auth_token" => json!("0".repeat(32)),
            "stage_id" if route.method == "post" => json!("Lead"),
            _ => continue,
        };
        body[known] = good;
    }
    body
}

/// Bodies of unauthenticated requests are read before anything is known of the client, so they must be small.
#[tokio::test]
async fn bodies_of_strangers_are_small() {
    let nobody = Person::nobody();
    let document = nobody.get("/openapi.json").await.expect(200);
    let larger = [
        ("/api/sms/webhook/incoming", 64 << 10),
        ("/api/sms/webhook/status", 64 << 10),
        ("/api/calls/webhook", 64 << 10),
        // These are read only once the key in the URL has proved who sends them.
        ("/api/emails/webhook/inbound", 32 << 20),
        ("/api/emails/webhook/events", 1 << 20),
    ];
    for route in writing().filter(|route| route.access == Access::public) {
        let name = format!("{} {}", route.method, route.path);
        let limit =
            larger.iter().find(|(path, _)| *path == route.path).map_or(api::MAX_PUBLIC_BODY_BYTES, |(_, limit)| *limit);
        assert_eq!(
            route.limit,
            Some(limit),
            "{name}: `limit MAX_PUBLIC_BODY_BYTES`, or a larger one with its reason here"
        );
        if fields(&document, route).is_none() {
            continue;
        }
        let padded = |bytes: usize| format!("{{\"x\": \"{}\"}}", "x".repeat(bytes - 9)).into_bytes();
        for (bytes, is_too_large) in [(limit, false), (limit + 1, true)] {
            let request = nobody.request(route.method, route.path).header("content-type", "application/json");
            let status = answer(request.body(padded(bytes))).await.status;
            assert_eq!(status == 413, is_too_large, "{name} with {bytes} bytes: {status}");
        }
    }
}

#[tokio::test]
async fn malformed_bodies_are_refused_everywhere() {
    let world = World::new().await;
    let document = Person::nobody().get("/openapi.json").await.expect(200);
    for route in writing() {
        let Some(_) = fields(&document, route) else { continue };
        let name = format!("{} {}", route.method, route.path);
        let who = caller(&world, route).await;
        let path = path(route, &world, &who).await;
        let send = async |bytes: Vec<u8>, mime: &str| {
            answer(who.request(route.method, &path).header("content-type", mime).body(bytes)).await
        };
        for body in ["", "{", "[]", "null", "1", "\"x\"", "{\"a\":1}}", "{\"a\" 1}", "\u{feff}{}"] {
            let answer = send(body.as_bytes().to_vec(), "application/json").await;
            // An empty change changes nothing.
            assert!((400..500).contains(&answer.status), "{name} with {body:?}: {} {}", answer.status, answer.text);
            shaped(&answer, &format!("{name} with {body:?}"));
        }
        refused(
            &send(b"{\"email\": \"\xff\xfe\"}".to_vec(), "application/json").await,
            &format!("{name} with broken UTF-8"),
        );
        refused(&send(vec![b'['; 100_000], "application/json").await, &format!("{name} with deep nesting"));
        let large =
            send(format!("{{\"first_name\": \"{}\"}}", "x".repeat(10_000_000)).into_bytes(), "application/json").await;
        refused(&large, &format!("{name} with 10 MB"));
        assert_eq!(large.status, 413, "{name} with 10 MB");
    }
}

#[tokio::test]
async fn no_value_of_any_field_breaks_a_route() {
    let world = World::new().await;
    let document = Person::nobody().get("/openapi.json").await.expect(200);
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e308),
        json!([]),
        json!({"a": 1}),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("a\u{0}@b.c"),
        json!("x".repeat(5_000)),
        json!("x".repeat(300) + "@example.com"),
        json!("<script>alert(1)</script>"),
        json!("'; drop table users; --"),
        json!("🦀\u{202e}\u{ffff}"),
        json!("\r\nBcc: x@y.z"),
        json!("00000000-0000-0000-0000-000000000000"),
        json!("not-a-known-value"),
    ];
    for route in writing() {
        let Some(fields) = fields(&document, route) else { continue };
        let name = format!("{} {}", route.method, route.path);
        for field in &fields {
            let who = caller(&world, route).await;
            let path = path(route, &world, &who).await;
            for value in &values {
                // All other fields are valid, so that the field under test decides.
                let mut body = good(route, &fields);
                body[field] = value.clone();
                let answer = who.send(route.method, &path, Some(&body)).await;
                shaped(&answer, &format!("{name} with {field} = {:.60}", value.to_string()));
            }
        }
    }
}

#[tokio::test]
async fn no_path_or_query_breaks_a_route() {
    let world = World::new().await;
    let odd = [
        "x",
        "%00",
        "a%00b",
        "%ff",
        "1",
        "..",
        "%2e%2e%2f",
        "00000000-0000-0000-0000-00000000000g",
        "%F0%9F%A6%80",
        "'%20or%201=1--",
    ];
    for route in api::routes() {
        let who = caller(&world, route).await;
        for text in odd.iter().copied().chain([&*"x".repeat(2_000)]) {
            if route.path.contains('{') {
                let path: String = route
                    .path
                    .split('/')
                    .map(|p| if p.starts_with('{') { text } else { p })
                    .collect::<Vec<_>>()
                    .join("/");
                let answer = who
                    .send(route.method, &path, ["post", "put", "patch"].contains(&route.method).then_some(&json!({})))
                    .await;
                // A link in a mail leads to a page.
                if route.path.starts_with("/api/unsubscribe/") && text != ".." {
                    assert!(answer.status < 500 && answer.text.contains("</html>"), "{} {path}", route.method);
                    continue;
                }
                shaped(&answer, &format!("{} {path}", route.method));
                // An image in a mail is never an error.
                let never = route.path.contains("/track/");
                if route.path.contains("_id}") && !text.contains("..") && !never {
                    refused(&answer, &format!("{} {path}", route.method));
                }
            }
            if route.method == "get" && !route.path.contains('{') {
                let analytics = [
                    "date_from",
                    "date_to",
                    "user_id",
                    "pipeline_id",
                    "activity_type",
                    "source",
                    "group_by",
                    "metrics",
                ];
                let usual =
                    ["skip", "limit", "cursor", "count", "search", "q", "type", "status", "owner_id", "unread_only"];
                let more = route.path.starts_with("/api/analytics").then_some(analytics);
                for key in usual.into_iter().chain(more.into_iter().flatten()) {
                    let answer = who.get(&format!("{}?{key}={text}", route.path)).await;
                    shaped(&answer, &format!("{}?{key}={text}", route.path));
                }
            }
        }
    }
    let many = format!("/api/contacts/?search={}", "%25".repeat(3_000));
    shaped(&world.admin.get(&many).await, "a long search");
    for (skip, status) in [("9223372036854775807", 200), ("9223372036854775808", 422)] {
        assert_eq!(world.admin.get(&format!("/api/contacts/?skip={skip}")).await.status, status);
    }
}

/// A screen sends filters that nobody has filled in.
#[tokio::test]
async fn a_blank_parameter_of_a_list_counts_as_none() {
    let world = World::new().await;
    let document = Person::nobody().get("/openapi.json").await.expect(200);
    for route in api::routes().filter(|r| r.method == "get" && !r.path.contains('{')) {
        let who = caller(&world, route).await;
        let plain = who.get(route.path).await.status;
        let parameters = document["paths"][route.path]["get"]["parameters"].as_array();
        for name in parameters.into_iter().flatten().filter_map(|parameter| parameter["name"].as_str()) {
            for query in [format!("{name}="), format!("{name}=a%00b&{name}=")] {
                let path = format!("{}?{query}", route.path);
                assert_eq!(who.get(&path).await.status, plain, "{path}");
            }
        }
    }
}

/// Pseudo-random numbers that are the same each time (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }

    /// Corrupts some of these bytes.
    fn harm(&mut self, bytes: &mut Vec<u8>) {
        const ODD: [&[u8]; 14] = [
            b"\0",
            b"\xff\xfe",
            b"\r\n",
            b"\r\n\r\n",
            b"\"",
            b"}",
            b"[[[[",
            b"%00",
            b"%",
            b"1e999",
            b"-9223372036854775809",
            b"\xf0\x9f\xa6\x80",
            b"\\ud800",
            b"null",
        ];
        let at = self.below(bytes.len());
        match self.below(6) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => drop(bytes.splice(at..at, ODD[self.below(ODD.len())].iter().copied())),
            2 => bytes.truncate(at.max(1)),
            3 => drop(bytes.drain(at..(at + 1 + self.below(20)).min(bytes.len()))),
            4 => {
                let part = bytes[at..(at + 1 + self.below(200)).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
            _ => bytes[at] = self.below(256) as u8,
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}

/// Sends these bytes and reads to the end; then closes its side if the server waits for more.
async fn say(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that rejects the beginning does not read to the end.
    let _ = stream.write_all(bytes).await;
    let mut said = Vec::new();
    let end = tokio::time::timeout(Duration::from_millis(200), stream.read_to_end(&mut said)).await;
    if end.is_err() {
        let _ = stream.shutdown().await;
        let end = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut said)).await;
        assert!(end.is_ok(), "no end after {}", String::from_utf8_lossy(bytes));
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// Valid requests in which some bytes of the head or the body are corrupted, sent as they are.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_malformed_requests_break_nothing() {
    const REQUESTS: usize = 10_000;
    const AT_ONCE: usize = 8;
    let world = World::new().await;
    let document = Person::nobody().get("/openapi.json").await.expect(200);
    let mut requests = Vec::new();
    for route in api::routes() {
        let who = caller(&world, route).await;
        let query = ["", "?limit=5&skip=0", "?search=a&status=active"][requests.len() % 3];
        let path = path(route, &world, &who).await + if route.method == "get" { query } else { "" };
        let head = format!(
            "{} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {}\r\nidempotency-key: {}\r\n",
            route.method.to_uppercase(),
            who.token.as_deref().unwrap_or_default(),
            Uuid::new_v4()
        );
        let (kind, body) = match fields(&document, route) {
            Some(fields) => ("application/json", good(route, &fields).to_string()),
            None if route.method == "get" || route.method == "delete" => ("", String::new()),
            None => (
                "multipart/form-data; boundary=b",
                "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"c.csv\"\r\ncontent-type: text/csv\r\n\r\nemail\na@x.example\n\r\n--b--\r\n".to_owned(),
            ),
        };
        requests.push((head, kind, body));
    }
    let address = world.admin.request("GET", "/").build().unwrap().url().authority().to_owned();
    let requests = Arc::new(requests);
    let mut tasks = JoinSet::new();
    for task in 0..AT_ONCE {
        let (requests, address) = (requests.clone(), address.clone());
        tasks.spawn(async move {
            let (mut dice, mut statuses) = (Dice(0x9e37_79b9 + task as u64), BTreeMap::<u16, usize>::new());
            for n in (task..REQUESTS).step_by(AT_ONCE) {
                let (head, kind, body) = &requests[n % requests.len()];
                let (mut head, mut body) = (head.clone().into_bytes(), body.clone().into_bytes());
                let harms_body = !body.is_empty() && dice.below(4) > 0;
                for _ in 0..=dice.below(3) {
                    dice.harm(if harms_body { &mut body } else { &mut head });
                }
                let length = if dice.below(20) == 0 { body.len() + dice.below(50) } else { body.len() };
                head.extend(format!("content-type: {kind}\r\ncontent-length: {length}\r\n\r\n").bytes());
                head.extend(body);
                let said = say(&address, &head).await;
                let asked = || String::from_utf8_lossy(&head).into_owned();
                let status = said.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
                assert!(status.is_some() || said.is_empty(), "{said}\nto\n{}", asked());
                assert!(status.unwrap_or(0) < 500, "{said}\nto\n{}", asked());
                *statuses.entry(status.unwrap_or(0)).or_default() += 1;
            }
            statuses
        });
    }
    let mut statuses = BTreeMap::<u16, usize>::new();
    while let Some(done) = tasks.join_next().await {
        done.unwrap().into_iter().for_each(|(status, times)| *statuses.entry(status).or_default() += times);
    }
    assert_eq!(statuses.values().sum::<usize>(), REQUESTS);
    let refused: usize = statuses.iter().filter(|(status, _)| **status >= 400).map(|(_, times)| times).sum();
    assert!(refused > REQUESTS / 2, "{statuses:?}");
    Person::nobody().get("/readyz").await.expect(200);
}

#[tokio::test]
async fn a_refused_change_changes_nothing() {
    let world = World::new().await;
    let made = world.contact("Ada", "Lovelace").await;
    let path = format!("/api/contacts/{}", made["id"].as_str().unwrap());
    for bad in [
        json!({"first_name": "B", "email": "none"}),
        json!({"first_name": "B", "status": "nonsense"}),
        json!({"first_name": "B", "phone": "\u{0}"}),
        json!({"first_name": "B", "owner_id": Uuid::now_v7()}),
        json!({"first_name": "B", "title": "x".repeat(201)}),
    ] {
        refused(&world.admin.patch(&path, bad.clone()).await, &bad.to_string());
    }
    assert_eq!(world.admin.get(&path).await.expect(200), made);
}

/// Records may be older than rules, and clients send back everything that they were shown.
#[tokio::test]
async fn what_breaks_a_rule_can_be_saved_as_it_is_stored() {
    let acme = World::new().await;
    let (who, stranger) = (&acme.admin, World::new().await.admin);
    let id = |record: &Value| record["id"].as_str().unwrap().to_owned();
    let pipeline = id(&who.get("/api/pipelines").await.expect(200)[0]);
    let stages = format!("/api/pipelines/{pipeline}/stages");
    let stage = id(&who.get(&stages).await.expect(200)[0]);
    let deal = json!({"title": "T", "value": 5, "stage_id": stage});
    let deal = id(&who.post("/api/deals/", deal).await.expect(200));
    let quote = id(&who.post("/api/quotes/", json!({"title": "T", "amount": 5})).await.expect(201));
    let activity = id(&who.post("/api/activities/", json!({"type": "call", "subject": "S"})).await.expect(200));
    let file = id(&who.post("/api/files/", json!({"name": "F"})).await.expect(200));
    let folder = id(&who.post("/api/files/folders", json!({"name": "F"})).await.expect(200));
    let template = id(&who.post("/api/sms/templates", json!({"name": "T", "body": "B"})).await.expect(200));
    let many = json!(vec!["tag"; 101]);
    let long = json!(["short", "x".repeat(101)]);
    let tags = "tags = array_fill('tag'::text, array[101])";
    let long_tag = "tags = array['short', repeat('x', 101)]";
    let deal_tags = "tags = (select jsonb_agg('tag'::text) from generate_series(1, 101))";
    for (table, id, list, path, field, set, stored) in [
        ("deals", &deal, "", format!("/api/deals/{deal}"), "title", "title = ''", json!("")),
        ("deals", &deal, "", format!("/api/deals/{deal}"), "tags", deal_tags, many.clone()),
        ("quotes", &quote, "", format!("/api/quotes/{quote}"), "title", "title = ''", json!("")),
        ("activities", &activity, "", format!("/api/activities/{activity}"), "subject", "subject = ''", json!("")),
        ("pipelines", &pipeline, "", format!("/api/pipelines/{pipeline}"), "name", "name = ''", json!("")),
        ("pipeline_stages", &stage, &stages, format!("/api/pipeline-stages/{stage}"), "name", "name = ''", json!("")),
        ("files", &file, "", format!("/api/files/{file}"), "name", "name = ''", json!("")),
        ("files", &file, "", format!("/api/files/{file}"), "tags", tags, many.clone()),
        ("files", &file, "", format!("/api/files/{file}"), "tags", long_tag, long),
        (
            "folders",
            &folder,
            "/api/files/folders",
            format!("/api/files/folders/{folder}"),
            "name",
            "name = ''",
            json!(""),
        ),
        ("folders", &folder, "/api/files/folders", format!("/api/files/folders/{folder}"), "tags", tags, many),
        (
            "sms_templates",
            &template,
            "/api/sms/templates",
            format!("/api/sms/templates/{template}"),
            "name",
            "name = ''",
            json!(""),
        ),
    ] {
        let change = format!("update {table} set {set} where id = $1");
        acme.db.execute(&change, &[&id.parse::<Uuid>().unwrap()]).await.unwrap_or_else(|e| panic!("{change}: {e:?}"));
        let record = match list {
            "" => who.get(&path).await.expect(200),
            list => {
                let listed = who.get(list).await.expect(200);
                listed.as_array().unwrap().iter().find(|record| record["id"] == json!(id)).unwrap().clone()
            }
        };
        assert_eq!(record[field], stored, "{path}");
        let method = if table == "sms_templates" { "PUT" } else { "PATCH" };
        let saved = who.send(method, &path, Some(&record)).await.expect(200);
        assert_eq!(saved[field], stored, "{path}");
        let mut other = record.clone();
        other[field] = if stored.is_string() { json!("x".repeat(256)) } else { json!(vec!["other"; 102]) };
        let refused = who.send(method, &path, Some(&other)).await.expect(422);
        assert_eq!(refused["detail"][0]["loc"], json!(["body", field]), "{path}");
        // Another company's record reveals nothing of what is stored.
        let refused = stranger.send(method, &path, Some(&record)).await.expect(422);
        let problems = refused["detail"].as_array().unwrap();
        assert!(problems.iter().any(|problem| problem["loc"][1] == json!(field)), "{path}: {refused}");
    }
}
