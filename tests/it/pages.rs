//! Pages by a cursor, the number of rows, and compressed responses.

use crate::support::{
    server::{api_url, config, start_server},
    world::{Answer, Person, World, answer},
};
use flate2::read::GzDecoder;
use ringfence::config::Config;
use serde_json::{Value, json};
use std::{collections::HashSet, io::Read};
use uuid::Uuid;

/// Ids to filter the lists of [`fill`] by.
struct Filled {
    contact: Uuid,
    stage: Uuid,
    deal: Uuid,
    folder: Uuid,
    workflow: Uuid,
}

/// Adds seven rows of each kind; two or three of them have the same time.
async fn fill(world: &World) -> Filled {
    let contact: Uuid = world.contact("Zed", "Zorn").await["id"].as_str().unwrap().parse().unwrap();
    let stage = "select id from pipeline_stages where tenant_id = $1 order by order_index limit 1";
    let stage: Uuid = world.value(stage, &[&world.company]).await;
    let rows = format!(
        "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email, type, created_at)
           select '{a}', '{a}', '{m}', 'Ada', 'L', i || '@x.io', 'Lead', t from moment;
         insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body, created_at)
           select '{a}', '{a}', '{m}', 'outbound', 'sent', '+15550100', '+15550101', 'sms' || i, t from moment;
         insert into calls (tenant_id, company_id, user_id, direction, status, from_address, to_address, created_at)
           select '{a}', '{a}', '{m}', 'outbound', 'completed', '+15550100', '+15550101', t from moment;
         insert into emails (tenant_id, company_id, user_id, direction, status, from_email, to_email, subject, body, is_deleted, created_at)
           select '{a}', '{a}', '{m}', d, s, 'a@x.io', 'b@x.io', s || i, 'B', trash, t from moment,
             (values ('inbound', 'received', false), ('outbound', 'sent', false), ('outbound', 'draft', false), ('inbound', 'received', true)) v (d, s, trash);
         insert into deals (tenant_id, company_id, owner_id, title, pipeline_id, stage_id, contact_id, created_at)
           select '{a}', '{a}', '{m}', 'D' || i, s.pipeline_id, s.id, '{contact}', t from moment, pipeline_stages s where s.id = '{stage}';
         insert into activities (tenant_id, company_id, owner_id, type, subject, due_date, contact_id, deal_id, created_at)
           select '{a}', '{a}', '{m}', 'call', 'A' || i, case when i < 5 then t end, '{contact}',
             (select id from deals where tenant_id = '{a}' and title = 'D1'), t from moment;
         insert into quotes (tenant_id, company_id, owner_id, quote_number, title, amount, created_at)
           select '{a}', '{a}', '{m}', 'Q' || i, 'Q' || i, 1, t from moment;
         insert into folders (tenant_id, company_id, owner_id, name) values ('{a}', '{a}', '{m}', 'F');
         insert into files (tenant_id, company_id, owner_id, name, original_name, category, folder_id, created_at)
           select '{a}', '{a}', '{m}', 'F' || i, 'F', 'c', (select id from folders where tenant_id = '{a}'), t from moment;
         insert into conversations (tenant_id, company_id, user_id, to_number, from_twilio_number, conversation_status, last_message_at)
           select '{a}', '{a}', '{m}', '+1555020' || i, '+15550100', 'blocked', t from moment;
         insert into campaigns (tenant_id, company_id, user_id, campaign_name, subject, body, status, total_recipients, created_at)
           select '{a}', '{a}', '{m}', 'C' || i, 'S', 'B', 'draft', 1, t from moment;
         insert into notifications (tenant_id, company_id, user_id, title, message, created_at)
           select '{a}', '{a}', '{m}', 'N' || i, 'M', t from moment;
         insert into suppressions (tenant_id, company_id, user_id, channel, address, reason, created_at)
           select '{a}', '{a}', '{m}', 'email', i || '@x.io', 'bounce', t from moment;
         insert into workflows (tenant_id, company_id, owner_id, name, status, created_at)
           select '{a}', '{a}', '{m}', 'W' || i, 'paused', t from moment;
         insert into workflow_executions (tenant_id, company_id, user_id, workflow_id, event, status, created_at)
           select '{a}', '{a}', '{m}', (select id from workflows where tenant_id = '{a}' and name = 'W1'), 'deal_won', 'success', t from moment;
         insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
           select '{a}', '{a}', '{m}', '+15550100', '+15550101', 'B', t + interval '100 years' from moment;
         insert into audit_log (tenant_id, company_id, table_name, action, user_id, created_at)
           select '{a}', '{a}', 'teams', 'update', '{m}', t from moment;",
        a = world.company,
        m = world.member.id
    );
    let moment = "create temporary table moment as select i, timestamptz '2026-01-01' + make_interval(secs => i / 3) as t from generate_series(1, 7) i";
    world.db.batch_execute(&format!("{moment}; {rows}")).await.unwrap();
    let id = async |what: &str| world.value::<Uuid>(&format!("select id from {what}"), &[&world.company]).await;
    let deal = id("deals where tenant_id = $1 and title = 'D1'").await;
    let folder = id("folders where tenant_id = $1").await;
    let workflow = id("workflows where tenant_id = $1 and name = 'W1'").await;
    Filled { contact, stage, deal, folder, workflow }
}

fn next(answer: &Answer) -> Option<String> {
    let link = answer.headers.get("link")?.to_str().unwrap();
    Some(link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned())
}

/// All rows from a page on, following the links.
async fn walk(who: &Person, first: &str) -> Vec<Value> {
    let (mut rows, mut page) = (Vec::new(), Some(first.to_owned()));
    while let Some(path) = page {
        let answer = who.get(&path).await;
        page = next(&answer);
        let found = answer.expect(200);
        assert!(rows.len() < 100, "{first} does not end");
        rows.extend(found.as_array().unwrap().iter().cloned());
    }
    rows
}

#[tokio::test]
async fn a_cursor_walks_each_list_once_in_its_order() {
    let world = World::new().await;
    let Filled { contact, stage, deal, folder, workflow } = fill(&world).await;
    for (list, rows) in [
        ("contacts/?", 8),
        ("contacts/?type=Lead", 8),
        ("contacts/?search=ad", 7),
        ("contacts/?q=x.io", 7),
        ("sms/messages?", 7),
        ("sms/messages?type=sent", 7),
        ("calls/?", 7),
        ("calls/?type=outgoing", 7),
        ("deals/?", 7),
        (&*format!("deals/?stage={stage}"), 7),
        ("activities/?", 7),
        ("activities/?type=call", 7),
        (&*format!("activities/?contact_id={contact}"), 7),
        (&*format!("activities/?deal_id={deal}"), 7),
        ("quotes/?", 7),
        ("quotes/?status=draft", 7),
        ("files/?", 7),
        ("files/?category=c", 7),
        (&*format!("files/?folder_id={folder}"), 7),
        ("emails/?", 7),
        ("emails/?type=sent", 7),
        ("emails/?type=draft", 7),
        ("emails/?type=trash", 7),
        ("emails/?type=all", 21),
        ("inbox/?", 28),
        ("inbox/?direction=inbound", 7),
        ("inbox/?message_type=voice", 7),
        ("inbox/sms?", 7),
        ("inbox/emails?status=sent", 7),
        ("conversations/?status=blocked", 7),
        ("email-campaigns/?", 7),
        ("email-campaigns/?status=draft", 7),
        ("notifications/?", 7),
        ("notifications/?unread_only=true", 7),
        ("suppressions/?", 7),
        ("workflows/?status=paused", 7),
        (&*format!("workflows/{workflow}/executions?"), 7),
        ("sms/scheduled?", 7),
        ("audit/?table=teams", 7),
        (&*format!("audit/?table=teams&user_id={}", world.member.id), 7),
    ] {
        let who = if list.starts_with("audit") { &world.admin } else { &world.member };
        let plain = who.get(&format!("/api/{list}&limit=100&count=true")).await;
        assert_eq!(plain.headers["x-total-count"], rows.to_string(), "{list}");
        assert!(!plain.headers.contains_key("link"), "{list}");
        let plain = plain.expect(200);
        assert_eq!(plain.as_array().unwrap().len(), rows, "{list}");
        for limit in [1, 2, 3, 7, 50] {
            let walked = walk(who, &format!("/api/{list}&limit={limit}&cursor=")).await;
            assert_eq!(json!(walked), plain, "{list} by {limit}");
        }
    }
}

#[tokio::test]
async fn a_page_behind_a_cursor_does_not_move_with_what_is_before_it() {
    let world = World::new().await;
    fill(&world).await;
    let first = world.member.get("/api/deals/?cursor=&limit=3").await;
    let behind = next(&first).unwrap();
    let second = world.member.get(&behind).await.expect(200);
    for deal in first.expect(200).as_array().unwrap() {
        world.member.delete(&format!("/api/deals/{}", deal["id"].as_str().unwrap())).await.expect(200);
    }
    assert_eq!(world.member.get(&behind).await.expect(200), second, "although the row of the cursor is gone");
}

#[tokio::test]
async fn a_link_keeps_the_query_and_costs_nothing_to_who_does_not_ask() {
    let world = World::new().await;
    fill(&world).await;
    let get = async |query: &str| world.member.get(&format!("/api/contacts/{query}")).await;
    for plain in ["", "?limit=2", "?skip=2&limit=2", "?count=false", "?count="] {
        let page = get(plain).await;
        assert_eq!(page.status, 200);
        assert!(!page.headers.contains_key("link") && !page.headers.contains_key("x-total-count"), "{plain}");
    }
    let first = get("?type=Lead&v=a%20%3E%26b&limit=2&cursor=&count=true&skip=0").await;
    assert_eq!(first.headers["x-total-count"], "8");
    let link = next(&first).unwrap();
    assert!(
        link.starts_with("/api/contacts/?type=Lead&v=a+%3E%26b&limit=2&cursor=") && !link.contains("count"),
        "{link}"
    );
    let second = world.member.get(&link).await;
    assert_eq!(second.clone().expect(200), get("?type=Lead&limit=2&skip=2").await.expect(200));
    assert!(!second.headers.contains_key("x-total-count"));
    assert!(next(&get("?cursor=&limit=9").await).is_none(), "a page that is not full is the last one");
    assert!(next(&get("?cursor=&limit=0").await).is_none());
    let inbox = next(&world.member.get("/api/inbox/?direction=outbound&offset=0&limit=2&cursor=").await).unwrap();
    assert!(inbox.starts_with("/api/inbox/?direction=outbound&limit=2&cursor="), "{inbox}");
    let browser = world.member.request("GET", "/api/contacts/").header("origin", "http://localhost:5173");
    let exposed = answer(browser).await.headers["access-control-expose-headers"].to_str().unwrap().to_lowercase();
    assert!(exposed.contains("link") && exposed.contains("x-total-count"), "{exposed}");
    let lone = world.lone().await;
    assert_eq!(lone.get("/api/contacts/?cursor=&count=true").await.expect(200), json!([]));
    assert_eq!(lone.get("/api/calls/?cursor=").await.status, 403);
}

#[tokio::test]
async fn a_cursor_that_was_not_given_by_this_list_is_refused() {
    let world = World::new().await;
    fill(&world).await;
    let cursor = async |list: &str| -> String {
        let link = next(&world.member.get(&format!("/api/{list}limit=2&cursor=")).await).unwrap();
        link.rsplit_once("cursor=").unwrap().1.to_owned()
    };
    let (good, other) = (cursor("contacts/?").await, cursor("deals/?").await);
    let mut forged = vec!["x".to_owned(), "%00".into(), "%ff".into(), "'".into(), "A".repeat(5_000), other];
    forged.extend([1, 10, good.len() / 2, good.len() - 1].map(|cut| good[..cut].to_owned()));
    for at in 0..good.len() {
        let with = if &good[at..=at] == "A" { "B" } else { "A" };
        forged.push(format!("{}{with}{}", &good[..at], &good[at + 1..]));
    }
    forged.push(format!("{good}AAAA"));
    let mut config = config();
    config.secret_key = vec!["a1".repeat(32)];
    let elsewhere = world.member.at(&start_server(config.clone(), &api_url()));
    assert_eq!(elsewhere.get(&format!("/api/contacts/?cursor={good}")).await.status, 422, "another server's");
    config.secret_key.push("5e".repeat(32));
    let newer = world.member.at(&start_server(config, &api_url()));
    assert_eq!(newer.get(&format!("/api/contacts/?cursor={good}")).await.status, 200, "an older key's");
    for cursor in forged {
        let refused = world.member.get(&format!("/api/contacts/?cursor={cursor}")).await;
        assert_eq!(refused.clone().expect(422)["detail"][0]["loc"], json!(["query", "cursor"]), "{cursor}");
    }
    for bad in ["cursor=&skip=1", "count=x", "cursor=&limit=-1", &format!("skip=1&cursor={good}")] {
        world.member.get(&format!("/api/contacts/?{bad}")).await.expect(422);
    }
    for bad in ["cursor=&offset=1", "cursor=&limit=101", &format!("cursor={good}")] {
        world.member.get(&format!("/api/inbox/?{bad}")).await.expect(422);
    }
}

#[tokio::test]
async fn another_companys_cursor_shows_ones_own_rows() {
    let (acme, other) = (World::new().await, World::new().await);
    let workflow = fill(&acme).await.workflow;
    fill(&other).await;
    let stranger = World::new().await;
    for list in [
        "contacts/?",
        "sms/messages?",
        "calls/?",
        "deals/?",
        "activities/?",
        "quotes/?",
        "files/?",
        "emails/?",
        "inbox/?",
        "conversations/?",
        "email-campaigns/?",
        "notifications/?",
        "suppressions/?",
        "workflows/?",
        "sms/scheduled?",
    ] {
        let link = next(&acme.member.get(&format!("/api/{list}limit=1&cursor=")).await).unwrap();
        let link = link.replace("limit=1&", "limit=100&");
        let theirs = other.member.get(&link).await.expect(200);
        let whole = other.member.get(&format!("/api/{list}limit=100")).await.expect(200);
        let own = whole.as_array().unwrap();
        assert!(theirs.as_array().unwrap().iter().all(|row| own.contains(row)), "{list}");
        assert_eq!(stranger.member.get(&link).await.expect(200), json!([]), "{list}");
        assert_eq!(Person::nobody().get(&link).await.status, 403, "{list}");
    }
    let link = next(&acme.member.get("/api/notifications/?limit=1&cursor=").await).unwrap();
    acme.admin.get(&link).await.expect(200).as_array().unwrap().iter().for_each(|row| {
        assert!(!row["title"].as_str().unwrap().starts_with('N'), "a colleague's notification: {row}");
    });
    let link = next(&acme.admin.get("/api/audit/?limit=1&cursor=").await).unwrap();
    assert_eq!(acme.member.get(&link).await.status, 403);
    let own = other.admin.get("/api/audit/?limit=1000").await.expect(200).as_array().unwrap().clone();
    for row in other.admin.get(&link.replace("limit=1&", "limit=100&")).await.expect(200).as_array().unwrap() {
        assert!(own.contains(row), "another company's change: {row}");
    }
    let link = next(&acme.member.get(&format!("/api/workflows/{workflow}/executions?limit=1&cursor=")).await).unwrap();
    assert_eq!(other.member.get(&link).await.status, 404);
    let unknown = link.replace(&workflow.to_string(), &Uuid::now_v7().to_string());
    assert_eq!(acme.member.get(&unknown).await.status, 404);
}

#[tokio::test]
async fn a_cursor_goes_on_where_a_page_of_long_mails_ends_early() {
    let world = World::new().await;
    let long = "insert into emails (tenant_id, company_id, user_id, direction, status, from_email, to_email, subject, body)
        select $1, $1, $2, 'inbound', 'received', 'a@x.io', 'b@x.io', i::text, repeat('x', 1 << 20) from generate_series(1, 20) i";
    world.db.execute(long, &[&world.company, &world.member.id]).await.unwrap();
    for list in ["emails/?", "emails/?type=all&", "inbox/?"] {
        let first = world.member.get(&format!("/api/{list}limit=100&cursor=&count=true")).await;
        assert_eq!(first.headers["x-total-count"], "20", "{list}");
        let second = world.member.get(&next(&first).unwrap()).await;
        let last = world.member.get(&next(&second).unwrap()).await;
        assert!(next(&last).is_none(), "{list}");
        let pages = [first, second, last].map(|page| page.expect(200).as_array().unwrap().clone());
        assert_eq!(pages.each_ref().map(Vec::len), [16, 4, 0], "{list}");
        let mails: HashSet<&str> = pages.iter().flatten().map(|mail| mail["id"].as_str().unwrap()).collect();
        assert_eq!(mails.len(), 20, "{list}");
    }
}

/// A response as it went over the wire.
async fn raw(who: &Person, path: &str, headers: &[(&str, &str)]) -> (reqwest::header::HeaderMap, Vec<u8>) {
    let request = headers.iter().fold(who.request("GET", path), |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    (response.headers().clone(), response.bytes().await.unwrap().to_vec())
}

fn unzip(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut text).unwrap();
    text
}

#[tokio::test]
async fn large_answers_are_compressed_for_who_asks() {
    let world = World::new().await;
    fill(&world).await;
    let zip = [("accept-encoding", "br;q=0.5, gzip, identity;q=0.1")];
    for path in ["/api/contacts/", "/api/inbox/", "/openapi.json", "/docs"] {
        let (plain_headers, plain) = raw(&world.member, path, &[]).await;
        let (headers, bytes) = raw(&world.member, path, &zip).await;
        assert!(plain.len() > 1024, "{path}");
        assert!(!plain_headers.contains_key("content-encoding"), "{path}");
        assert_eq!(headers["content-encoding"], "gzip", "{path}");
        assert_eq!(headers["content-type"], plain_headers["content-type"], "{path}");
        assert!(headers.get_all("vary").iter().any(|v| v.to_str().unwrap().contains("accept-encoding")), "{path}");
        assert!(headers.get("content-length").is_none_or(|l| l.to_str().unwrap() == bytes.len().to_string()), "{path}");
        assert!(bytes.len() < plain.len() / 2, "{path}: {} of {}", bytes.len(), plain.len());
        assert_eq!(unzip(&bytes), plain, "{path}");
    }
    for (path, asked) in [
        ("/health", "gzip"),
        ("/api/contacts/?limit=1", "gzip"),
        ("/api/contacts/", "identity"),
        ("/api/contacts/", "gzip;q=0"),
        ("/api/contacts/", "nonsense"),
        ("/api/contacts/", "identity;q=0"),
        ("/api/contacts/", "*;q=0"),
        ("/api/contacts/", "gzip;q=0, identity;q=0, *"),
        ("/api/auth/me", "gzip"),
    ] {
        let (headers, bytes) = raw(&world.member, path, &[("accept-encoding", asked)]).await;
        assert!(!headers.contains_key("content-encoding"), "{path} for {asked}");
        serde_json::from_slice::<Value>(&bytes).unwrap();
        let status =
            async |path: &str| answer(world.member.request("GET", path).header("accept-encoding", asked)).await.status;
        assert_eq!([status(path).await, status("/api/nothing").await], [200, 404], "{path} for {asked}");
    }
}

#[tokio::test]
async fn what_may_hold_a_secret_or_is_packed_already_is_not_compressed() {
    let world = World::new().await;
    let settings = "insert into twilio_settings (tenant_id, company_id, user_id, account_sid, sendgrid_from_email)
        values ($1, $1, $2, repeat('\u{fc}', 255), repeat('\u{fc}', 255))";
    world.db.execute(settings, &[&world.company, &world.member.id]).await.unwrap();
    let (headers, bytes) = raw(&world.member, "/api/twilio-settings/", &[("accept-encoding", "gzip")]).await;
    assert!(!headers.contains_key("content-encoding") && bytes.len() > 1024, "{}", bytes.len());
    // Secrets that are shown once are in responses to changes, which are never compressed.
    let new = json!({"type": "call", "subject": "A", "description": "d".repeat(2_000)});
    let change = world.member.request("POST", "/api/activities/").header("accept-encoding", "gzip").json(&new);
    let made = answer(change).await;
    assert!(!made.headers.contains_key("content-encoding") && made.text.len() > 1024, "{}", made.text);

    let content: Vec<u8> = b"a line of text that is packed easily\n".repeat(200);
    let part = reqwest::multipart::Part::bytes(content.clone()).file_name("a.txt").mime_str("text/plain").unwrap();
    let form = reqwest::multipart::Form::new().part("file", part);
    let file = answer(world.member.request("POST", "/api/files/upload").multipart(form)).await.expect(200);
    let path = format!("/api/files/{}/download", file["id"].as_str().unwrap());
    let (headers, bytes) = raw(&world.member, &path, &[("accept-encoding", "gzip")]).await;
    assert!(!headers.contains_key("content-encoding") && headers["accept-ranges"] == "bytes" && bytes == content);
    let (headers, bytes) = raw(&world.member, &path, &[("accept-encoding", "gzip"), ("range", "bytes=2-1999")]).await;
    assert_eq!(headers["content-range"], format!("bytes 2-1999/{}", content.len()));
    assert!(!headers.contains_key("content-encoding") && bytes == content[2..2000]);
}

/// Peak memory of this process, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

/// Status, length, first bytes and last byte of a response, which is not held as a whole.
async fn taken(who: &Person, path: &str) -> (u16, usize, Vec<u8>, Option<u8>) {
    let mut answer = who.request("get", path).send().await.unwrap();
    let (status, mut length, mut first, mut last) = (answer.status().as_u16(), 0, Vec::new(), None);
    while let Some(piece) = answer.chunk().await.unwrap() {
        length += piece.len();
        if first.is_empty() {
            first = piece.to_vec();
        }
        last = piece.last().copied();
    }
    (status, length, first, last)
}

/// The size of a list of all rows depends on the company.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_refused_before_it_is_held() {
    const LENGTH: usize = 990_000;
    let (world, other) = (World::new().await, World::new().await);
    let stage = "select id, pipeline_id from pipeline_stages where tenant_id = $1 order by order_index limit 1";
    world.member.get("/api/pipelines").await.expect(200);
    let stage = world.db.query_one(stage, &[&world.company]).await.unwrap();
    let insert = "insert into deals (tenant_id, company_id, owner_id, pipeline_id, stage_id, title, value, description)
        select $1, $1, $2, $3, $4, 'Deal ' || n, 1, repeat('012345678', $5) || E'\n' from generate_series(1, 100) n";
    let (stage, pipeline): (Uuid, Uuid) = (stage.get(0), stage.get(1));
    let times = (LENGTH / 9) as i32;
    world.db.execute(insert, &[&world.company, &world.member.id, &pipeline, &stage, &times]).await.unwrap();

    let refused = world.member.get("/api/deals/").await;
    assert_eq!(refused.detail(400), "The answer is too large: ask for less at once, such as a page by limit and skip");
    let page = world.member.get("/api/deals/?limit=10").await.expect(200);
    let lengths: Vec<usize> =
        page.as_array().unwrap().iter().map(|deal| deal["description"].as_str().unwrap().len()).collect();
    assert_eq!(lengths, [LENGTH + 1; 10]);
    assert_eq!(page[9]["title"], "Deal 10");
    // Large responses are written and compressed on other threads than small ones.
    let (headers, bytes) = raw(&world.member, "/api/deals/?limit=10", &[("accept-encoding", "gzip")]).await;
    assert_eq!(
        (&headers["content-encoding"], &headers["content-type"]),
        (&"gzip".parse().unwrap(), &"application/json".parse().unwrap())
    );
    assert_eq!(serde_json::from_slice::<Value>(&unzip(&bytes)).unwrap(), page);

    // Waiting for a connection must not matter here.
    let server = start_server(Config { pool_size: Some(20), ..config() }, &api_url());
    let (member, other) = (world.member.at(&server), other.member.at(&server));
    let before = peak();
    let many = (0..10).map(|n| {
        let who = &member;
        async move { taken(who, if n % 4 == 0 { "/api/deals/" } else { "/api/deals/?limit=50" }).await }
    });
    let others = async {
        for _ in 0..10 {
            other.get("/api/deals/").await.expect(200);
            assert_eq!(member.get("/api/contacts/").await.expect(200), json!([]));
        }
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(many), others);
    let mut whole = 0;
    for (n, (status, length, first, last)) in answers.into_iter().enumerate() {
        match status {
            200 => {
                assert!(n % 4 > 0 && length > 50 * LENGTH && first[0] == b'[' && last == Some(b']'), "{n}");
                whole += 1;
            }
            400 => assert_eq!(n % 4, 0),
            _ => assert!(status == 503 && String::from_utf8_lossy(&first).contains("large answers"), "{n}: {status}"),
        }
    }
    assert!(whole > 0);
    let grown = peak().saturating_sub(before);
    assert!(grown < 600 << 20, "{grown} bytes more than before");
    assert_eq!(member.get("/api/deals/?limit=50").await.status, 200, "the room is given back");
}
