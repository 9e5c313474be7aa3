//! The header Idempotency-Key: nothing is done twice, and nobody gets another client's response.

use crate::support::{
    database::{OwnDatabase, until, waiting_for},
    server::{config, start_server},
    twilio::Account,
    world::{Answer, PASSWORD, Person, World, answer, leave},
};
use reqwest::multipart;
use ringfence::{
    commands::erase::{self, Erase, Options},
    config::Config,
    db,
};
use serde_json::{Value, json};
use std::sync::OnceLock;
use tokio::io::AsyncWriteExt;
use tokio_postgres::Client;
use uuid::Uuid;

const NOTE: &str = "/api/activities/";

fn note(subject: &str) -> Value {
    json!({"type": "note", "subject": subject})
}

fn key() -> String {
    Uuid::new_v4().to_string()
}

async fn with_key(who: &Person, path: &str, key: &str, body: &Value) -> Answer {
    answer(who.request("POST", path).header("idempotency-key", key).json(body)).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|v| v == "true")
}

async fn notes(world: &World) -> i64 {
    world.value("select count(*) from activities where tenant_id = $1", &[&world.company]).await
}

/// Adds a workflow, whose state shows how often it was toggled.
async fn switch(world: &World) -> (Uuid, String) {
    let insert = "insert into workflows (tenant_id, company_id, owner_id, name, trigger, status)
        values ($1, $1, $2, 'Switch ' || gen_random_uuid(), 'deal_won', 'inactive') returning id";
    let id: Uuid = world.value(insert, &[&world.company, &world.admin.id]).await;
    (id, format!("/api/workflows/{id}/toggle"))
}

async fn status(world: &World, id: Uuid) -> String {
    world.value("select status from workflows where id = $1", &[&id]).await
}

/// Locks the company's workflows on a separate connection.
async fn hold(database: &str, world: &World) -> Client {
    let holder = db::connect(database).await.unwrap();
    let lock = format!("begin; select from workflows where tenant_id = '{}' for update", world.company);
    holder.batch_execute(&lock).await.unwrap();
    holder
}

#[tokio::test]
async fn a_repeat_is_answered_like_the_first_and_does_nothing() {
    let acme = World::new().await;
    let key = key();
    let first = with_key(&acme.member, NOTE, &key, &note("Once")).await;
    assert!(!is_replayed(&first));
    for path in [NOTE, NOTE.trim_end_matches('/'), NOTE] {
        let again = with_key(&acme.member, path, &key, &note("Once")).await;
        assert!(is_replayed(&again), "{}", again.text);
        assert_eq!((again.status, &again.text), (first.status, &first.text));
        for name in ["content-type", "cache-control", "x-content-type-options"] {
            assert_eq!(again.headers.get(name), first.headers.get(name), "{name}");
        }
        assert_ne!(again.headers["x-request-id"], first.headers["x-request-id"]);
    }
    assert_eq!(notes(&acme).await, 1);

    // Without the header each request is separate; with it, a refusal is stored, too.
    for subject in ["Each", "Other"] {
        assert!(!is_replayed(&acme.member.post(NOTE, note(subject)).await));
    }
    assert_eq!(notes(&acme).await, 3);
    let wrong = note("Each");
    let refused = with_key(&acme.member, NOTE, "k", &wrong).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let again = with_key(&acme.member, NOTE, "k", &wrong).await;
    assert!(is_replayed(&again));
    assert_eq!((again.status, again.text), (400, refused.text));
}

#[tokio::test]
async fn a_key_is_of_one_request_route_user_and_company() {
    let (acme, other) = (World::new().await, World::new().await);
    let key = key();
    with_key(&acme.member, NOTE, &key, &note("A")).await.expect(200);
    let refused = with_key(&acme.member, NOTE, &key, &note("B")).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body["detail"][0]["msg"].as_str().unwrap().contains("another request"), "{}", refused.text);
    assert_eq!(refused.body["detail"][0]["loc"], json!(["header", "Idempotency-Key"]));
    assert_eq!(notes(&acme).await, 1);

    for who in [&acme.admin, &other.member] {
        for body in [note("A"), note("A")] {
            with_key(who, NOTE, &key, &body).await.expect(200);
        }
    }
    assert_eq!((notes(&acme).await, notes(&other).await), (2, 1));
    let pipeline = json!({"name": "Another route"});
    let made = with_key(&acme.member, "/api/pipelines", &key, &pipeline).await;
    assert!(!is_replayed(&made) && made.status < 300, "{}", made.text);

    // The same path with other ids is another request.
    let ((one, path), (_, elsewhere)) = (switch(&acme).await, switch(&acme).await);
    with_key(&acme.member, &path, &key, &json!({})).await.expect(200);
    assert_eq!(with_key(&acme.member, &elsewhere, &key, &json!({})).await.status, 422);
    assert_eq!(status(&acme, one).await, "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_is_carried_out() {
    let acme = World::new().await;
    for round in 0..10 {
        let key = key();
        let body = note(&format!("Round {round}"));
        let all = futures_util::future::join_all((0..8).map(|_| with_key(&acme.member, NOTE, &key, &body))).await;
        let done: Vec<_> = all.iter().filter(|answer| answer.status == 200).collect();
        assert!(all.iter().all(|answer| [200, 409].contains(&answer.status)), "{all:?}");
        assert_eq!(done.iter().filter(|answer| !is_replayed(answer)).count(), 1);
        assert!(done.iter().all(|answer| answer.text == done[0].text));
        assert_eq!(notes(&acme).await, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_while_the_first_is_under_way_is_told_so() {
    let acme = World::new().await;
    let (id, path) = switch(&acme).await;
    let key = key();
    let holder = hold(&crate::support::server::admin_url(), &acme).await;
    let first = tokio::spawn({
        let (who, path, key) = (acme.member.clone(), path.clone(), key.clone());
        async move { with_key(&who, &path, &key, &json!({})).await }
    });
    waiting_for(&holder, &acme.db).await;
    let meanwhile = with_key(&acme.member, &path, &key, &json!({})).await.detail(409);
    assert!(meanwhile.contains("under way"), "{meanwhile}");
    holder.batch_execute("rollback").await.unwrap();
    let first = first.await.unwrap();
    assert_eq!(first.status, 200);
    let again = with_key(&acme.member, &path, &key, &json!({})).await;
    assert!(is_replayed(&again));
    assert_eq!(again.text, first.text);
    assert_eq!(status(&acme, id).await, "active", "switched once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_finds_the_answer_when_it_comes_back() {
    let own = OwnDatabase::new().await;
    let base = start_server(config(), &own.api);
    let acme = World::alone_at(&own, &base).await;
    let (id, path) = switch(&acme).await;
    let key = key();
    let holder = hold(&own.admin, &acme).await;
    let text = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nidempotency-key: {key}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
        acme.member.token.as_ref().unwrap()
    );
    let mut stream = acme.member.connect().await;
    stream.write_all(text.as_bytes()).await.unwrap();
    waiting_for(&holder, &acme.db).await;
    leave(stream).await;
    let again = async || with_key(&acme.member, &path, &key, &json!({})).await;
    assert_eq!(again().await.status, 409, "it goes on without its client");
    holder.batch_execute("rollback").await.unwrap();
    let first = OnceLock::new();
    until("it is done", async || {
        let answer = again().await;
        answer.status != 409 && first.set(answer).is_ok()
    })
    .await;
    let first = first.into_inner().unwrap();
    assert!(is_replayed(&first), "a repeat carried it out");
    assert_eq!(first.expect(200)["status"], "active");
    assert_eq!(status(&acme, id).await, "active", "switched once");
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_given_back_only_when_nothing_was_done() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let (id, path) = switch(&acme).await;
    let (busy, broken) = (key(), key());
    let send = |key: &str| {
        let (who, path, key) = (acme.member.clone(), path.clone(), key.to_owned());
        tokio::spawn(async move { with_key(&who, &path, &key, &json!({})).await })
    };

    // The request timed out waiting for a lock: the key may be used again.
    let holder = hold(&own.admin, &acme).await;
    send(&busy).await.unwrap().detail(503);
    holder.batch_execute("rollback").await.unwrap();
    let again = send(&busy).await.unwrap();
    assert!(!is_replayed(&again));
    assert_eq!(again.expect(200)["status"], "active");

    // The connection broke during the request, which was rolled back.
    let holder = hold(&own.admin, &acme).await;
    let first = send(&broken);
    let pid = waiting_for(&holder, &acme.db).await;
    acme.db.execute("select pg_terminate_backend($1)", &[&pid]).await.unwrap();
    first.await.unwrap().detail(503);
    holder.batch_execute("rollback").await.unwrap();
    let again = send(&broken).await.unwrap();
    assert!(!is_replayed(&again));
    assert_eq!(again.expect(200)["status"], "inactive");
    assert_eq!(status(&acme, id).await, "inactive");
    own.drop().await;
}

#[tokio::test]
async fn the_effect_and_the_answer_are_one_commit() {
    let acme = World::new().await;
    with_key(&acme.member, NOTE, "a", &note("One statement")).await.expect(200);
    let several = with_key(&acme.member, "/api/pipelines", "a", &json!({"name": "Several statements"})).await;
    assert!(several.status < 300, "{}", several.text);
    let made = several.body["id"].as_str().unwrap().parse::<Uuid>().unwrap();
    acme.db.execute("delete from pipelines where tenant_id = $1 and id <> $2", &[&acme.company, &made]).await.unwrap();
    for (table, route) in [("activities", NOTE), ("pipelines", "/api/pipelines")] {
        let together = format!(
            "select k.xmin = t.xmin from {table} t, app.idempotency_keys k where t.tenant_id = $1 and k.tenant_id = $1 and k.route = $2"
        );
        assert!(acme.value::<bool>(&together, &[&acme.company, &route]).await, "{table}");
    }
}

#[tokio::test]
async fn a_key_under_which_nothing_was_committed_goes_to_the_next() {
    let acme = World::new().await;
    let (id, path) = switch(&acme).await;
    let state = "update app.idempotency_keys set status = null, body = null, committed = $2 where tenant_id = $1";
    let send = async || with_key(&acme.member, &path, "a", &json!({})).await;
    send().await.expect(200);
    // As left by a server that died between two commits, and by one that died before the commit.
    acme.db.execute(state, &[&acme.company, &true]).await.unwrap();
    let unknown = send().await.detail(409);
    assert!(unknown.contains("may have been carried out"), "{unknown}");
    assert_eq!(status(&acme, id).await, "active");
    acme.db.execute(state, &[&acme.company, &false]).await.unwrap();
    let again = send().await;
    assert!(!is_replayed(&again));
    assert_eq!(again.expect(200)["status"], "inactive");
    assert!(is_replayed(&send().await));
    assert_eq!(status(&acme, id).await, "inactive");

    // A program from before that does not say that it commits.
    let take = "select holder from app.take_idempotency_key($1, 'x', 'k', 'asked')";
    let context = format!(
        "set role ringfence_api; set app.user_id = '{}'; set app.company_id = '{}'",
        acme.member.id, acme.company
    );
    acme.db.batch_execute(&context).await.unwrap();
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    for id in [first, second] {
        assert_eq!(acme.value::<Uuid>(take, &[&id]).await, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_sent_is_committed_before_it_leaves() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let account = Account::of(&acme).await;
    // Twilio's response cannot be recorded while this is locked.
    acme.db
        .batch_execute(
            "create function public.wait() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(7); return new; end $$;
            create trigger wait before update on sms_messages for each row execute function wait();
            select pg_advisory_lock(7)",
        )
        .await
        .unwrap();
    let text = json!({"to": "+14155550123", "body": "Hello"});
    let first = tokio::spawn({
        let (who, text) = (acme.member.clone(), text.clone());
        async move { with_key(&who, "/api/sms/send", "a", &text).await }
    });
    let watch = db::connect(&own.admin).await.unwrap();
    waiting_for(&acme.db, &watch).await;
    assert_eq!(account.asked().len(), 1);
    let known = "select k.committed and k.status is null from app.idempotency_keys k, sms_messages m";
    assert!(watch.query_one(known, &[]).await.unwrap().get::<_, bool>(0));
    with_key(&acme.member, "/api/sms/send", "a", &text).await.detail(409);
    acme.db.batch_execute("select pg_advisory_unlock(7)").await.unwrap();
    let first = first.await.unwrap();
    assert_eq!(first.status, 200, "{}", first.text);
    let again = with_key(&acme.member, "/api/sms/send", "a", &text).await;
    assert!(is_replayed(&again));
    assert_eq!((again.text, account.asked().len()), (first.text, 1));
    own.drop().await;
}

#[tokio::test]
async fn a_text_is_sent_once_and_a_failure_is_not_tried_again() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let send = async |to: &str, key: &str| {
        with_key(&acme.member, "/api/sms/send", key, &json!({"to": to, "body": "Hello"})).await
    };
    let first = send("+14155550123", "a").await;
    let again = send("+14155550123", "a").await;
    assert_eq!((first.status, is_replayed(&again)), (200, true));
    assert_eq!(first.text, again.text);
    // Twilio drops the connection: the text may have been sent.
    let unclear = send("+14155550002", "b").await;
    let again = send("+14155550002", "b").await;
    assert_eq!((unclear.status, is_replayed(&again)), (502, true));
    assert_eq!(unclear.text, again.text);
    assert_eq!(account.asked().len(), 2, "{:?}", account.asked());
}

#[tokio::test]
async fn after_a_day_a_key_is_free_again() {
    let acme = World::new().await;
    with_key(&acme.member, NOTE, "old", &note("A")).await.expect(200);
    with_key(&acme.member, NOTE, "older", &note("Older")).await.expect(200);
    let age = "update app.idempotency_keys set created_at = now() - interval '24 hours 1 second' where tenant_id = $1";
    acme.db.execute(age, &[&acme.company]).await.unwrap();
    let fresh = with_key(&acme.member, NOTE, "old", &note("B")).await;
    assert!(!is_replayed(&fresh));
    fresh.expect(200);
    assert!(is_replayed(&with_key(&acme.member, NOTE, "old", &note("B")).await));
    assert_eq!(notes(&acme).await, 3);
    // Old keys are deleted, a few at a time and the oldest first.
    let old =
        "select count(*) from app.idempotency_keys where tenant_id = $1 and created_at < now() - interval '24 hours'";
    until("what is old goes", async || {
        with_key(&acme.member, NOTE, &key(), &note(&key())).await.expect(200);
        acme.value::<i64>(old, &[&acme.company]).await == 0
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_none_and_a_route_that_takes_none_are_refused() {
    let acme = World::new().await;
    let long = "x".repeat(256);
    for wrong in ["", &long, "a\tb"] {
        with_key(&acme.member, NOTE, wrong, &note("A")).await.detail(400);
    }
    let bytes = acme.member.request("POST", NOTE).header("idempotency-key", "ä".as_bytes()).json(&note("A"));
    answer(bytes).await.detail(400);
    let two = acme.member.request("POST", NOTE).header("idempotency-key", "a").header("idempotency-key", "b");
    answer(two.json(&note("A"))).await.detail(400);
    let login = json!({"email": acme.member.email, "password": PASSWORD});
    let public = with_key(&Person::nobody(), "/api/auth/login", "a", &login).await.detail(400);
    assert!(public.contains("signed in"), "{public}");
    let part = multipart::Part::bytes(b"email\n".to_vec()).file_name("a.csv").mime_str("text/csv").unwrap();
    let form = multipart::Form::new().part("file", part);
    let import = acme.member.request("POST", "/api/contacts/upload-csv").header("idempotency-key", "a").multipart(form);
    assert!(answer(import).await.detail(400).contains("file"));
    assert_eq!(notes(&acme).await, 0);

    // Refused clients and unknown routes store no key.
    with_key(&Person::nobody(), NOTE, "a", &note("A")).await.expect(403);
    with_key(&acme.member.with_token("wrong"), NOTE, "a", &note("A")).await.expect(401);
    with_key(&acme.member, "/api/nowhere", "a", &note("A")).await.expect(404);
    let large = json!({"type": "note", "subject": "x".repeat(2 << 20)});
    with_key(&acme.member, NOTE, "a", &large).await.expect(413);
    let taken = "select count(*) from app.idempotency_keys where tenant_id = $1";
    assert_eq!(acme.value::<i64>(taken, &[&acme.company]).await, 0);

    // The longest key, and one on a route that is not a POST, where it is ignored.
    with_key(&acme.member, NOTE, &"x".repeat(255), &note("A")).await.expect(200);
    let get = acme.member.request("GET", NOTE).header("idempotency-key", "");
    assert_eq!(answer(get).await.status, 200);
}

#[tokio::test]
async fn somebody_without_company_and_somebody_who_changes_their_password_have_keys_too() {
    let acme = World::new().await;
    let staff = acme.super_admin().await;
    let company = json!({"name": format!("Made once {}", Uuid::new_v4())});
    let first = with_key(&staff, "/api/companies/", "a", &company).await;
    assert!(first.status < 300, "{}", first.text);
    let again = with_key(&staff, "/api/companies/", "a", &company).await;
    assert!(is_replayed(&again));
    assert_eq!((again.status, again.text), (first.status, first.text));

    // The token ends with the first request; its response is stored all the same.
    let change = json!({"current_password": PASSWORD, "new_password": "Another-Horse-8"});
    let path = "/api/users/me/change-password";
    let first = with_key(&acme.member, path, "a", &change).await;
    assert_eq!(first.status, 200, "{}", first.text);
    with_key(&acme.member, path, "a", &change).await.expect(401);
    let login = json!({"email": acme.member.email, "password": "Another-Horse-8"});
    let token = Person::nobody().post("/api/auth/login", login).await.expect(200)["access_token"].clone();
    let again = with_key(&acme.member.with_token(token.as_str().unwrap()), path, "a", &change).await;
    assert!(is_replayed(&again));
    assert_eq!((again.status, again.text), (first.status, first.text));
}

#[tokio::test]
async fn what_is_kept_cannot_be_read_in_the_database_and_goes_with_a_person() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { pool_size: Some(2), ..config() }).await;
    let contact = json!({"first_name": "Ada", "last_name": "Secretname", "email": "ada@secret.example"});
    let first = with_key(&acme.member, "/api/contacts/", "secretkey", &contact).await;
    assert_eq!(first.status, 200);
    let kept =
        "select concat_ws(' ', t::text, encode(request, 'escape'), encode(body, 'escape'), encode(key_hash, 'escape'))
        from app.idempotency_keys t where tenant_id = $1";
    let kept: String = acme.value(kept, &[&acme.company]).await;
    assert!(kept.contains("/api/contacts/") && !kept.to_lowercase().contains("secret"), "{kept}");

    // A sealed response of another row or another database cannot be opened.
    with_key(
        &acme.member,
        "/api/contacts/",
        "other",
        &json!({"first_name": "B", "last_name": "B", "email": "b@x.example"}),
    )
    .await
    .expect(200);
    let swap = "update app.idempotency_keys t set body = o.body from app.idempotency_keys o where o.id <> t.id";
    acme.db.execute(swap, &[]).await.unwrap();
    let swapped = with_key(&acme.member, "/api/contacts/", "secretkey", &contact).await;
    assert_eq!(swapped.status, 500);
    assert!(!swapped.text.contains("b@x.example"));

    let storage = own.store();
    let options = Options { dry_run: false, yes: true };
    let person = Erase::Person { email: Some("ada@secret.example".into()), company: None, contact: None, options };
    erase::run(&own.admin, &person, &storage).await.unwrap();
    let answers: i64 = acme.value("select count(body) from app.idempotency_keys", &[]).await;
    assert_eq!(answers, 0);
    let again = with_key(&acme.member, "/api/contacts/", "secretkey", &contact).await.detail(409);
    assert!(again.contains("may have been carried out"), "{again}");
    let company = Erase::Company { company: acme.name.clone(), options };
    erase::run(&own.admin, &company, &storage).await.unwrap();
    assert_eq!(acme.value::<i64>("select count(*) from app.idempotency_keys", &[]).await, 0);
    own.drop().await;
}

/// A refresh token opens nothing else, not even stored responses.
#[tokio::test]
async fn a_refresh_is_done_as_often_as_it_is_asked_for() {
    let acme = World::new().await;
    let login = json!({"email": acme.member.email, "password": PASSWORD});
    let session = Person::nobody().post("/api/auth/login", login).await.expect(200);
    let refreshing = acme.member.with_token(session["refresh_token"].as_str().unwrap());
    for _ in 0..2 {
        let fresh = with_key(&refreshing, "/api/auth/refresh", "once", &json!({})).await;
        assert!(!is_replayed(&fresh));
        let token = fresh.expect(200)["access_token"].as_str().unwrap().to_owned();
        acme.member.with_token(&token).get("/api/auth/me").await.expect(200);
    }
}
