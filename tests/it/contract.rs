//! The API as the frontend knows it: every endpoint, the common conventions (contract: conventions), and the OpenAPI
//! document.

use crate::support::{
    server::{api_url, config, start_server},
    twilio::Account,
    world::{Answer, Person, World, answer},
};
use ringfence::api::{self, Access};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn endpoints() -> BTreeSet<String> {
    let lines = include_str!("endpoints.txt").lines();
    lines.filter(|line| line.contains(' ') && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn the_routes_are_the_endpoints_of_the_contract() {
    let served: BTreeSet<String> = api::routes().map(|r| format!("{} {}", r.method.to_uppercase(), r.path)).collect();
    let wanted = endpoints();
    assert_eq!(wanted.difference(&served).collect::<Vec<_>>(), Vec::<&String>::new(), "not served");
    assert_eq!(served.difference(&wanted).collect::<Vec<_>>(), Vec::<&String>::new(), "not in tests/it/endpoints.txt");
}

#[tokio::test]
async fn the_openapi_document_has_every_route_with_its_types() {
    let document = Person::nobody().get("/openapi.json").await.expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for route in api::routes() {
        let operation = &document["paths"][route.path][route.method];
        let name = format!("{} {}", route.method, route.path);
        assert!(operation["summary"].is_string(), "{name} is not in the document");
        let answer = ["200", "201"].map(|status| &operation["responses"][status]["content"]);
        let answer = answer.into_iter().find_map(Value::as_object);
        let mime = match (route.method, route.path) {
            (_, path) if ["/download", "/twiml", "/webhook/incoming", "/pdf"].iter().any(|end| path.ends_with(end)) => {
                "application/"
            }
            (_, path) if path.ends_with("/csv") => "text/csv",
            (_, path) if path.starts_with("/api/unsubscribe/") => "text/html",
            ("get", path) if path.contains("/track/open/") => "image/gif",
            _ => "application/json",
        };
        assert!(
            answer.is_some_and(|a| a.iter().any(|(kind, a)| kind.starts_with(mime) && a["schema"].is_object())),
            "{name} has no answer's type: {operation}"
        );
        assert_eq!(
            operation["security"].is_array(),
            route.access != Access::public || route.path == "/api/auth/register",
            "{name}: security"
        );
        for part in route.path.split('/').filter(|p| p.starts_with('{')) {
            let part = part.trim_matches(['{', '}']);
            let parameters = operation["parameters"].as_array().unwrap();
            assert!(
                parameters.iter().any(|p| p["name"] == part && p["in"] == "path"),
                "{name} lacks its parameter {part}"
            );
        }
    }
    let list = document["paths"]["/api/contacts/"]["get"]["parameters"].as_array().unwrap();
    for name in ["skip", "limit", "cursor", "count", "search", "type", "status", "owner_id"] {
        assert!(list.iter().any(|p| p["name"] == name && p["in"] == "query"), "{name}");
    }
    let headers = &document["paths"]["/api/contacts/"]["get"]["responses"]["200"]["headers"];
    assert!(headers["Link"]["schema"].is_object() && headers["X-Total-Count"]["schema"].is_object(), "{headers}");
    let upload = &document["paths"]["/api/files/upload"]["post"]["requestBody"]["content"]["multipart/form-data"];
    let mut parts: Vec<_> = upload["schema"]["properties"].as_object().unwrap().keys().collect();
    parts.sort();
    assert_eq!(parts, ["category", "file", "folder_id", "tags"]);
    let references = document.to_string();
    for reference in references.split("\"$ref\":\"#").skip(1).map(|r| r.split('"').next().unwrap()) {
        assert!(document.pointer(reference).is_some(), "{reference} points nowhere");
    }
}

/// What generators of clients need: a name for each function, no type without use, and one version.
#[tokio::test]
async fn the_openapi_document_names_every_operation_and_keeps_no_unused_type() {
    let document = Person::nobody().get("/openapi.json").await.expect(200);
    let mut names = BTreeSet::new();
    for route in api::routes() {
        let name = document["paths"][route.path][route.method]["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name} is the name of two operations");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
    }
    for name in ["contacts_list", "files_folders_create", "quotes_update", "quotes_update_2"] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    let mut used = BTreeSet::new();
    let mut open = vec![&document["paths"]];
    while let Some(part) = open.pop() {
        let reference = part["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        open.extend(reference.filter(|reference| used.insert(*reference)).and_then(|to| document.pointer(to)));
        open.extend(part.as_object().into_iter().flat_map(|fields| fields.values()));
        open.extend(part.as_array().into_iter().flatten());
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(used.contains(format!("/components/schemas/{name}").as_str()), "nothing refers to {name}");
    }
    let health = Person::nobody().get("/health").await.expect(200);
    assert_eq!(document["info"]["version"], health["version"]);
    assert!(document["tags"].as_array().unwrap().contains(&json!({"name": "twilio settings"})), "{}", document["tags"]);
}

#[tokio::test]
async fn the_docs_page_loads_nothing_from_elsewhere() {
    let page = Person::nobody().get("/docs").await;
    assert_eq!(page.status, 200);
    assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let html = page.text.split("<script>").next().unwrap();
    assert!(!html.contains("src=\"http") && !html.contains("href=\"http"), "{html}");
    assert!(page.text.contains("/openapi.json"));
    // The page has what is added to the library's page.
    let start = page.text.rsplit("<script>").next().unwrap();
    assert!(html.contains("name=\"viewport\"") && start.contains("\"docExpansion\": \"none\""), "{start}");
}

#[tokio::test]
async fn both_slash_forms_are_served_without_redirect() {
    let world = World::new().await;
    Account::of(&world).await;
    for route in api::routes().filter(|r| r.method == "get" && !r.path.contains('{') && r.access != Access::platform) {
        let bare = route.path.trim_end_matches('/');
        for path in [bare.to_owned(), format!("{bare}/"), format!("{bare}/?v=1.0.0"), format!("{bare}?v=1.0.0")] {
            let answer = world.admin.get(&path).await;
            assert!([200, 403].contains(&answer.status), "{path}: {}", answer.status);
        }
    }
    let new = json!({"first_name": "A", "last_name": "B", "email": "a@x.io"});
    world.admin.post("/api/contacts", new).await.expect(200);
}

#[tokio::test]
async fn the_pages_outside_the_api() {
    let nobody = Person::nobody();
    assert_eq!(
        nobody.get("/health").await.expect(200),
        json!({"status": "healthy", "service": "ringfence", "version": "1.0.0"})
    );
    assert!(nobody.get("/").await.expect(200)["docs"].is_string());
    assert_eq!(nobody.get("/livez").await.status, 200);
    assert_eq!(nobody.get("/readyz").await.expect(200), json!({"status": "ready"}));
    assert_eq!(nobody.get("/api/nothing").await.detail(404), "Not Found");
    assert_eq!(nobody.delete("/health").await.detail(405), "Method Not Allowed");
    assert_eq!(nobody.put("/api/contacts/", json!({})).await.detail(405), "Method Not Allowed");
}

#[tokio::test]
async fn a_missing_wrong_or_expired_token() {
    let world = World::new().await;
    let me = async |header: Option<&str>| -> Answer {
        let request = Person::nobody().request("get", "/api/auth/me");
        answer(match header {
            Some(value) => request.header("authorization", value),
            None => request,
        })
        .await
    };
    assert_eq!(me(None).await.detail(403), "Not authenticated");
    for wrong in ["Basic YTpi", "Bearer", ""] {
        assert_eq!(me(Some(wrong)).await.detail(403), "Invalid authentication credentials", "{wrong}");
    }
    let token = world.admin.token.clone().unwrap();
    let (body, signature) = token.rsplit_once('.').unwrap();
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.";
    let altered = format!("{body}.{}", signature.chars().rev().collect::<String>());
    for wrong in ["x", "a.b.c", unsigned, &altered, &format!("{body}.")] {
        let answer = me(Some(&format!("Bearer {wrong}"))).await;
        assert_eq!(answer.detail(401), "Could not validate credentials", "{wrong}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    assert_eq!(me(Some(&format!("bearer {token}"))).await.status, 200, "the scheme's case does not matter");
}

#[tokio::test]
async fn tokens_of_other_secrets_and_algorithms_are_refused_and_old_secrets_still_verify() {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    let world = World::new().await;
    let secret = config().jwt_secret.remove(0);
    let token = world.admin.token.clone().unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid;
    let now = jiff::Timestamp::now().as_second();
    let claims = |exp: i64, typ: &str| json!({"sub": world.admin.id, "typ": typ, "ver": 1, "iat": now, "exp": now + exp, "jti": world.admin.id});
    let sign = |algorithm, claims: Value, secret: &str| {
        let header = Header { kid: kid.clone(), ..Header::new(algorithm) };
        encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    let status = async |token: &str| world.admin.with_token(token).get("/api/auth/me").await.status;
    assert_eq!(status(&sign(Algorithm::HS256, claims(60, "access"), &secret)).await, 200);
    assert_eq!(
        status(&sign(Algorithm::HS256, claims(60, "access"), "another secret of more than 32 bytes")).await,
        401
    );
    assert_eq!(status(&sign(Algorithm::HS512, claims(60, "access"), &secret)).await, 401);
    assert_eq!(status(&sign(Algorithm::HS256, claims(-60, "access"), &secret)).await, 401, "expired");
    assert_eq!(
        status(&sign(Algorithm::HS256, claims(60, "refresh"), &secret)).await,
        401,
        "a refresh token is for refreshing"
    );

    let mut newer = config();
    newer.jwt_secret.insert(0, "the next secret, also of 32 bytes or more".into());
    let base = start_server(newer, &api_url());
    assert_eq!(world.admin.at(&base).get("/api/auth/me").await.status, 200);
    let mut other = config();
    other.jwt_secret = vec!["quite another secret, of 32 bytes or more".into()];
    assert_eq!(world.admin.at(&start_server(other, &api_url())).get("/api/auth/me").await.status, 401);
}

#[tokio::test]
async fn errors_have_the_contracts_shape_and_the_request_id() {
    let world = World::new().await;
    let request = world.admin.request("get", "/api/contacts/not-a-uuid").header("x-request-id", "from-the-client");
    let bad = answer(request).await;
    let problem = &bad.clone().expect(422)["detail"][0];
    assert!(problem["type"].is_string() && problem["msg"].is_string());
    assert_eq!(problem["loc"], json!(["path", "contact_id"]));
    assert_eq!(
        (&bad.headers["x-request-id"], &bad.body["request_id"]),
        (&"from-the-client".parse().unwrap(), &json!("from-the-client"))
    );
    assert_eq!((&bad.body["status"], &bad.body["title"]), (&json!(422), &json!("Unprocessable Entity")));
    assert_eq!(bad.headers["x-content-type-options"], "nosniff");
    let own = world.admin.get("/api/auth/me").await;
    assert!(own.headers["x-request-id"].len() > 10);
    // A request id like those of jobs in the audit log.
    let posing = answer(world.admin.request("get", "/api/auth/me").header("x-request-id", "job 123")).await;
    assert_ne!(posing.headers["x-request-id"], "job 123");
    assert_eq!(own.headers["cache-control"], "no-store");
    let missing = world.admin.post("/api/contacts/", json!({"first_name": "A", "last_name": 1})).await.expect(422);
    assert_eq!(missing["detail"][0]["loc"], json!(["body", "last_name"]));
    let absent = world.admin.post("/api/contacts/", json!({"first_name": "A", "last_name": "B"})).await.expect(422);
    assert_eq!(
        (&absent["detail"][0]["loc"], &absent["detail"][0]["msg"]),
        (&json!(["body", "email"]), &json!("Field required"))
    );
    let broken = answer(world.admin.request("post", "/api/contacts/").body("{bad")).await.expect(422);
    assert_eq!(broken["detail"][0]["loc"], json!(["body"]));
    let words = json!({"type": "call", "subject": "S", "duration_minutes": "long"});
    let words = world.admin.post("/api/activities/", words).await.expect(422);
    assert_eq!(words["detail"][0]["msg"], "Input should be a whole number");
    let long = world
        .admin
        .post("/api/contacts/", json!({"first_name": "A", "last_name": "B", "email": "a@x", "type": "t".repeat(101)}))
        .await
        .expect(422);
    assert_eq!(long["detail"][0]["loc"], json!(["body", "type"]));
}

#[tokio::test]
async fn a_broken_rule_is_said_in_the_words_of_the_frontend() {
    let world = World::new().await;
    let pipeline = |name: &str| ("/api/pipelines", json!({"name": name}));
    let file = |tags: Vec<String>| ("/api/files/", json!({"name": "F", "tags": tags}));
    let line = json!({"description": "", "unit_price": 1, "tax": 101});
    let quote = ("/api/quotes/", json!({"title": "Q", "amount": 1, "line_items": [line]}));
    for ((path, body), loc, msg) in [
        (pipeline(&"x".repeat(256)), json!(["body", "name"]), "Input should not exceed 255 characters"),
        (pipeline(""), json!(["body", "name"]), "Input should not be empty"),
        (file(vec!["x".into(); 101]), json!(["body", "tags"]), "Input should not exceed 100 items"),
        (file(vec!["x".repeat(101)]), json!(["body", "tags", 0]), "Input should not exceed 100 characters"),
        (quote.clone(), json!(["body", "line_items", 0, "description"]), "Input should not be empty"),
        (quote, json!(["body", "line_items", 0, "tax"]), "Input should be at most 100"),
    ] {
        let refused = world.admin.post(path, body).await.expect(422);
        let problems = refused["detail"].as_array().unwrap().iter().map(|p| (&p["loc"], &p["msg"]));
        assert!(problems.clone().any(|problem| problem == (&loc, &json!(msg))), "{msg}: {refused}");
    }
}

#[tokio::test]
async fn a_number_may_come_as_a_text() {
    let world = World::new().await;
    let who = &world.admin;
    let new = |minutes: Value| {
        let subject = uuid::Uuid::now_v7();
        json!({"type": "call", "subject": subject, "duration_minutes": minutes, "priority": " 2 "})
    };
    for (given, minutes) in
        [(json!("30"), 30), (json!(30.0), 30), (json!("30.0"), 30), (json!(" 3 "), 3), (json!("+4"), 4)]
    {
        let made = who.post("/api/activities/", new(given)).await.expect(200);
        assert_eq!([&made["duration_minutes"], &made["priority"]], [&json!(minutes), &json!(2)]);
    }
    for bad in [
        json!(""),
        json!("30.5"),
        json!(30.5),
        json!("half"),
        json!(true),
        json!("3_0"),
        json!([30]),
        json!("1e999"),
        json!(-3),
    ] {
        let refused = who.post("/api/activities/", new(bad)).await.expect(422);
        assert_eq!(refused["detail"][0]["loc"], json!(["body", "duration_minutes"]));
    }
    let wide = who.post("/api/activities/", new(json!("3000000000"))).await.expect(422);
    let range = "Input should be a whole number from -2147483648 to 2147483647";
    assert_eq!(wide["detail"][0]["msg"], range);
    let made = who.post("/api/activities/", new(json!(null))).await.expect(200);
    let path = format!("/api/activities/{}", made["id"].as_str().unwrap());
    let changed = who.patch(&path, json!({"duration_minutes": "45", "priority": "1.0"})).await.expect(200);
    assert_eq!([&changed["duration_minutes"], &changed["priority"]], [&json!(45), &json!(1)]);
    assert_eq!(who.patch(&path, json!({"duration_minutes": null})).await.expect(200)["duration_minutes"], json!(null));

    let pipeline = who.get("/api/pipelines").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
    let stage = json!({"name": "Late", "order_index": "7", "probability": "12.5"});
    let stage = who.post(&format!("/api/pipelines/{pipeline}/stages"), stage).await.expect(200);
    assert_eq!([&stage["order_index"], &stage["probability"]], [&json!(7), &json!(12.5)]);
    let path = format!("/api/pipeline-stages/{}", stage["id"].as_str().unwrap());
    assert_eq!(who.patch(&path, json!({"probability": " 40 "})).await.expect(200)["probability"], json!(40.0));
    who.patch(&path, json!({"probability": "140"})).await.expect(422);

    let line = json!({"description": "A", "quantity": "2.5", "unit_price": "1999", "tax": "19", "discount": "10"});
    let quote = who.post("/api/quotes/", json!({"title": "Q", "amount": "1", "line_items": [line]})).await.expect(201);
    assert_eq!(
        quote["line_items"],
        json!([{"description": "A", "quantity": 2.5, "unit_price": 1999, "tax": 19, "discount": 10}])
    );
    let deal = who.post("/api/deals/", json!({"title": "D", "value": "4400", "stage_id": "Lead"})).await.expect(200);
    let path = format!("/api/deals/{}", deal["id"].as_str().unwrap());
    assert_eq!(who.patch(&path, json!({"probability": "35"})).await.expect(200)["probability"], json!(35.0));
}

#[tokio::test]
async fn a_boolean_may_come_as_a_text_or_a_number() {
    let world = World::new().await;
    let who = &world.admin;
    let pipeline = who.get("/api/pipelines").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
    let stages = format!("/api/pipelines/{pipeline}/stages");
    let stage = |closed: Value| json!({"name": "Late", "order_index": 7, "is_closed": closed, "is_won": null});
    for (given, closed) in [(json!("True"), true), (json!("off"), false), (json!(1), true), (json!(0), false)] {
        let made = who.post(&stages, stage(given.clone())).await.expect(200);
        assert_eq!([&made["is_closed"], &made["is_won"]], [&json!(closed), &json!(false)]);
        let path = format!("/api/pipeline-stages/{}", made["id"].as_str().unwrap());
        assert_eq!(who.patch(&path, json!({"is_won": given})).await.expect(200)["is_won"], json!(closed));
    }
    for bad in [json!("maybe"), json!(""), json!(2), json!([true])] {
        let problem = &who.post(&stages, stage(bad)).await.expect(422)["detail"][0];
        let said = [&problem["loc"], &problem["msg"]];
        assert_eq!(said, [&json!(["body", "is_closed"]), &json!("Input should be true or false")]);
    }
    let template = json!({"name": "T", "body": "B", "is_static": "no", "use_ai_enhancement": "1"});
    let template = who.post("/api/sms/templates", template).await.expect(200);
    assert_eq!([&template["is_static"], &template["use_ai_enhancement"]], [&json!(false), &json!(true)]);
    let workflow = json!({"name": "W", "trigger_type": "deal_won", "is_active": "yes"});
    assert_eq!(who.post("/api/workflows/", workflow).await.expect(200)["status"], "active");
    let settings = json!({"settings": {"add_unknown_senders": "false"}});
    let settings = who.put(&format!("/api/companies/{}", world.company), settings).await.expect(200);
    assert_eq!(settings["settings"]["add_unknown_senders"], json!(false));
}

#[tokio::test]
async fn times_are_utc_without_zone() {
    let world = World::new().await;
    let made = world.contact("Ada", "L").await;
    let id: uuid::Uuid = made["id"].as_str().unwrap().parse().unwrap();
    world.db.execute("update contacts set created_at = '2026-12-31 01:00+01', updated_at = '2026-11-23 03:57:04.2825Z' where id = $1", &[&id]).await.unwrap();
    let read = world.admin.get(&format!("/api/contacts/{id}")).await.expect(200);
    assert_eq!(
        (&read["created_at"], &read["updated_at"]),
        (&json!("2026-12-31T00:00:00"), &json!("2026-11-23T03:57:04.282500"))
    );
}

#[tokio::test]
async fn browsers_of_known_origins_may_call() {
    let nobody = Person::nobody();
    let preflight = async |origin: &str, path: &str| {
        let request = nobody.request("options", path).header("origin", origin);
        answer(
            request
                .header("access-control-request-method", "PATCH")
                .header("access-control-request-headers", "authorization,x-any"),
        )
        .await
    };
    for path in ["/api/contacts/", "/api/contacts"] {
        let known = preflight("http://localhost:5173", path).await;
        assert_eq!(known.status, 200);
        for (name, value) in
            [("origin", "http://localhost:5173"), ("credentials", "true"), ("headers", "authorization,x-any")]
        {
            assert_eq!(known.headers[format!("access-control-allow-{name}")], value);
        }
        assert!(known.headers["access-control-allow-methods"].to_str().unwrap().contains("PATCH"));
        assert_eq!(known.headers["access-control-max-age"], "600");
    }
    let foreign = preflight("https://evil.example", "/api/contacts/").await;
    assert_eq!(foreign.status, 400);
    assert!(!foreign.headers.contains_key("access-control-allow-origin"));
    for (path, status) in [("/api/contacts/", 403), ("/api/nothing", 404)] {
        let error = answer(nobody.request("get", path).header("origin", "http://localhost:5173")).await;
        assert_eq!(
            (error.status, &error.headers["access-control-allow-origin"]),
            (status, &"http://localhost:5173".parse().unwrap())
        );
    }
}
