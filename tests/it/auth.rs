//! Login, logout, registration and forgotten passwords (contract: auth; tests/README.md, promises 1 to 9).

use crate::support::{
    database::{until, waiting_for},
    server::{admin_url, api_url, config, start_server},
    smtp::Inbox,
    world::{PASSWORD, Person, World},
};
use ringfence::{
    App, Error,
    config::{Config, Switch},
    db::{self, Db},
    passwords::{HASHING, Hasher},
    server,
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};
use uuid::Uuid;

fn fresh() -> String {
    format!("{}@example.com", Uuid::new_v4().simple())
}

async fn login(email: &str, password: &str) -> crate::support::world::Answer {
    Person::nobody().post("/api/auth/login", json!({"email": email, "password": password})).await
}

#[tokio::test]
async fn login_answers_tokens_and_the_user() {
    let acme = World::new().await;
    let session = login(&acme.admin.email.to_uppercase(), PASSWORD).await.expect(200);
    assert_eq!(session["token_type"], "bearer");
    let user = json!({"id": acme.admin.id, "email": acme.admin.email, "first_name": "Company First", "last_name": "Company Last",
        "role": "company_admin", "company_id": acme.company, "team_id": null, "is_active": true});
    assert_eq!(session["user"], user);
    let token = session["access_token"].as_str().unwrap();
    assert_eq!(acme.admin.with_token(token).get("/api/auth/me").await.expect(200), user);
    let seen: bool =
        acme.value("select last_login > now() - interval '1 minute' from users where id = $1", &[&acme.admin.id]).await;
    assert!(seen);
}

#[tokio::test]
async fn every_failed_login_is_the_same() {
    let acme = World::new().await;
    for state in ["status = 'suspended'", "status = 'pending'", "is_active = false", "is_deleted = true"] {
        let person = acme.person("company_user").await;
        acme.db.execute(&format!("update users set {state} where id = $1"), &[&person.id]).await.unwrap();
        assert_eq!(login(&person.email, PASSWORD).await.detail(401), "Incorrect email or password", "{state}");
        assert_eq!(person.get("/api/auth/me").await.status, 401, "a token while {state}");
    }
    assert_eq!(login(&acme.admin.email, "wrong").await.detail(401), "Incorrect email or password");
    assert_eq!(login(&fresh(), PASSWORD).await.detail(401), "Incorrect email or password");
    acme.db.execute("update companies set status = 'suspended' where id = $1", &[&acme.company]).await.unwrap();
    login(&acme.admin.email, PASSWORD).await.expect(403);
}

#[tokio::test]
async fn an_imported_bcrypt_hash_logs_in_once_and_is_replaced() {
    let acme = World::new().await;
    // The old backend cut passwords at 72 bytes.
    let long = format!("Aa1!{}", "x".repeat(100));
    for (password, stored) in [("Old-Horse-5", bcrypt::hash("Old-Horse-5", 4)), (&*long, bcrypt::hash(&long[..72], 4))]
    {
        let person = acme.person("company_user").await;
        let set = "update app.credentials set password_hash = $2 where user_id = $1";
        acme.db.execute(set, &[&person.id, &stored.unwrap()]).await.unwrap();
        login(&person.email, "Old-Horse-6").await.expect(401);
        login(&person.email, password).await.expect(200);
        let hash: String =
            acme.value("select password_hash from app.credentials where user_id = $1", &[&person.id]).await;
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        login(&person.email, password).await.expect(200);
    }
}

#[tokio::test]
async fn a_login_does_not_bring_back_a_password_that_was_changed_meanwhile() {
    let acme = World::new().await;
    let person = acme.person("company_user").await;
    let set = "update app.credentials set password_hash = $2 where user_id = $1";
    acme.db.execute(set, &[&person.id, &bcrypt::hash("Old-Horse-5", 4).unwrap()]).await.unwrap();
    // The login reads the old hash, and waits for the row to replace it.
    acme.db.batch_execute("begin").await.unwrap();
    acme.db.execute(set, &[&person.id, &bcrypt::hash("New-Horse-6", 4).unwrap()]).await.unwrap();
    let overtaken = tokio::spawn({
        let email = person.email.clone();
        async move { login(&email, "Old-Horse-5").await.status }
    });
    waiting_for(&acme.db, &db::connect(&admin_url()).await.unwrap()).await;
    acme.db.batch_execute("commit").await.unwrap();
    assert_eq!(overtaken.await.unwrap(), 401);
    login(&person.email, "Old-Horse-5").await.expect(401);
    // Two simultaneous first logins with the right password both succeed, though each replaces the hash.
    let (one, two) = tokio::join!(login(&person.email, "New-Horse-6"), login(&person.email, "New-Horse-6"));
    assert_eq!((one.status, two.status), (200, 200));
}

#[tokio::test]
async fn refresh_takes_either_token_and_a_refresh_token_nothing_else() {
    let acme = World::new().await;
    let session = login(&acme.admin.email, PASSWORD).await.expect(200);
    for kind in ["access_token", "refresh_token"] {
        let person = acme.admin.with_token(session[kind].as_str().unwrap());
        let fresh = person.send("POST", "/api/auth/refresh", None).await.expect(200);
        assert_eq!(fresh["token_type"], "bearer");
        acme.admin.with_token(fresh["access_token"].as_str().unwrap()).get("/api/auth/me").await.expect(200);
    }
    let refresh = acme.admin.with_token(session["refresh_token"].as_str().unwrap());
    refresh.get("/api/auth/me").await.expect(401);
    refresh.get("/api/contacts/").await.expect(401);
}

#[tokio::test]
async fn logout_ends_every_token() {
    let acme = World::new().await;
    let session = login(&acme.admin.email, PASSWORD).await.expect(200);
    acme.admin.send("POST", "/api/auth/logout", None).await.expect(200);
    for token in [acme.admin.token.as_deref(), session["access_token"].as_str(), session["refresh_token"].as_str()] {
        let person = acme.admin.with_token(token.unwrap());
        person.get("/api/auth/me").await.expect(401);
        person.send("POST", "/api/auth/refresh", None).await.expect(401);
    }
    login(&acme.admin.email, PASSWORD).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refreshed_during_a_logout_ends_with_it() {
    let acme = World::new().await;
    for _ in 0..6 {
        let session = login(&acme.member.email, PASSWORD).await.expect(200);
        let mut thieves = tokio::task::JoinSet::new();
        let (begun, mut begin) = tokio::sync::mpsc::channel(6);
        for _ in 0..6 {
            let begun = begun.clone();
            let thief = acme.member.with_token(session["refresh_token"].as_str().unwrap());
            thieves.spawn(async move {
                let mut tokens = Vec::new();
                loop {
                    let fresh = thief.send("POST", "/api/auth/refresh", None).await;
                    if fresh.status != 200 {
                        return tokens;
                    }
                    tokens.push(fresh.body["access_token"].as_str().unwrap().to_owned());
                    let _ = begun.try_send(());
                }
            });
        }
        begin.recv().await.unwrap();
        let member = acme.member.with_token(session["access_token"].as_str().unwrap());
        member.send("POST", "/api/auth/logout", None).await.expect(200);
        for token in thieves.join_all().await.concat() {
            acme.member.with_token(&token).get("/api/auth/me").await.expect(401);
        }
    }
}

fn account(email: &str, role: &str, company: Value) -> Value {
    json!({"email": email, "password": PASSWORD, "first_name": "Ann", "last_name": "Bee", "role": role, "company_id": company})
}

#[tokio::test]
async fn a_stranger_registers_without_company() {
    let email = fresh();
    let body = json!({"email": email.to_uppercase(), "password": PASSWORD, "first_name": "Ann", "last_name": "Bee"});
    let session = Person::nobody().post("/api/auth/register", body).await.expect(200);
    assert_eq!((&session["user"]["email"], &session["user"]["role"]), (&json!(email), &json!("Regular User")));
    assert_eq!(session["user"]["company_id"], Value::Null);
    let person = Person::nobody().with_token(session["access_token"].as_str().unwrap());
    person.get("/api/auth/me").await.expect(200);
    let again = Person::nobody().post("/api/auth/register", account(&email, "x", json!(null))).await;
    assert!(again.detail(400).contains("already registered"));
    login(&email, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_stranger_who_names_a_company_waits_for_its_admin() {
    let (acme, other) = (World::new().await, World::new().await);
    let email = fresh();
    let session = Person::nobody()
        .post("/api/auth/register", account(&email, "Sales Rep", json!(acme.company)))
        .await
        .expect(200);
    assert_eq!((&session["access_token"], &session["refresh_token"]), (&json!(""), &json!("")));
    login(&email, PASSWORD).await.expect(401);
    let users = acme.admin.get("/api/users/").await.expect(200);
    let pending = users.as_array().unwrap().iter().find(|u| u["email"] == json!(email)).unwrap();
    assert_eq!((&pending["status"], &pending["role"]), (&json!("pending"), &json!("Sales Rep")));
    let path = format!("/api/users/{}", pending["id"].as_str().unwrap());
    other.admin.put(&path, json!({"first_name": "Ann"})).await.expect(404);
    acme.member.put(&path, json!({"first_name": "Ann"})).await.expect(403);
    login(&email, PASSWORD).await.expect(401);
    acme.admin.put(&path, json!({"first_name": "Ann"})).await.expect(200);
    login(&email, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn nobody_registers_as_an_admin_without_an_admins_token() {
    let (acme, other) = (World::new().await, World::new().await);
    for role in ["super_admin", "Super Admin", "company_admin", "Admin", "admin", "SUPER_ADMIN", "Company Admin"] {
        for company in [json!(null), json!(acme.company)] {
            for who in [Person::nobody(), acme.member.clone(), other.admin.clone()] {
                let answer = who.post("/api/auth/register", account(&fresh(), role, company.clone())).await;
                if answer.status == 200 {
                    assert_eq!(answer.body["user"]["role"], "Regular User", "{role}");
                    assert!(company.is_null() || answer.body["access_token"] == "", "{role}");
                } else {
                    answer.expect(403);
                }
            }
        }
    }
    let made = acme
        .admin
        .post("/api/auth/register", account(&fresh(), "company_admin", json!(acme.company)))
        .await
        .expect(200);
    assert_eq!((&made["user"]["role"], &made["user"]["company_id"]), (&json!("company_admin"), &json!(acme.company)));
    let label =
        acme.admin.post("/api/auth/register", account(&fresh(), "Super Admin", json!(acme.company))).await.expect(200);
    assert_eq!(label["user"]["role"], "Super Admin", "an ordinary label, which an admin may give");
    acme.admin.post("/api/auth/register", account(&fresh(), "super_admin", json!(acme.company))).await.expect(403);
    Person::nobody().with_token("x").post("/api/auth/register", account(&fresh(), "x", json!(null))).await.expect(401);
}

#[tokio::test]
async fn registration_checks_its_fields() {
    let acme = World::new().await;
    let nobody = Person::nobody();
    for (password, word) in [
        ("Aa1!xyz", "8 characters"),
        ("aaaaaa1!", "uppercase"),
        ("AAAAAA1!", "lowercase"),
        ("Aaaaaaa!", "digit"),
        ("Aaaaaaa1", "special"),
    ] {
        let mut body = account(&fresh(), "x", json!(null));
        body["password"] = json!(password);
        assert!(nobody.post("/api/auth/register", body).await.detail(400).contains(word), "{password}");
    }
    let own = format!("ann1-{}", fresh());
    for (email, password, word) in [(&own, format!("A{}", &own[1..]), "email"), (&fresh(), "P@ssw0rd".into(), "common")]
    {
        let mut body = account(email, "x", json!(null));
        body["password"] = json!(password);
        assert!(nobody.post("/api/auth/register", body).await.detail(400).contains(word), "{password}");
    }
    let guessable = "Password1! Password123! Passw0rd! P@ssw0rd1 Password@123 Welcome1! Qwerty123! \
        Admin123! @Dmin123! Pa$$w0rd! 1Password! Summer2026! L3tme1n!!";
    for password in guessable.split_ascii_whitespace() {
        let mut body = account(&fresh(), "x", json!(null));
        body["password"] = json!(password);
        assert!(nobody.post("/api/auth/register", body.clone()).await.detail(400).contains("common"), "{password}");
        // Accepted with a company, where the team chooses the passwords of its new members.
        body["company_id"] = json!(acme.company);
        nobody.post("/api/auth/register", body).await.expect(200);
    }
    let domain = format!("{}.example", Uuid::new_v4().simple());
    for (name, password, status) in
        [("long-name", "Is-Long-Name-1", 400), ("al", &*format!("Al@{domain}-1"), 400), ("al", "Also-Good-1", 200)]
    {
        let mut body = account(&format!("{name}@{domain}"), "x", json!(null));
        body["password"] = json!(password);
        let answer = nobody.post("/api/auth/register", body).await;
        assert_eq!((answer.status, answer.text.contains("contain your email")), (status, status == 400), "{password}");
    }
    let (long, mut body) = ("Пароль é1 ".repeat(8), account(&own, "x", json!(null)));
    body["password"] = json!(long);
    nobody.post("/api/auth/register", body).await.expect(200);
    login(&own, &long).await.expect(200);
    for (name, word) in [("", "empty"), ("  ", "empty"), ("<b>Bob</b>", "HTML"), (&*"x".repeat(256), "exceed 255")] {
        let mut body = account(&fresh(), "x", json!(null));
        body["first_name"] = json!(name);
        let answer = nobody.post("/api/auth/register", body).await.expect(422);
        assert!(answer["detail"][0]["msg"].as_str().unwrap().contains(word), "{answer}");
    }
    for company in [json!("nonsense"), json!(Uuid::now_v7())] {
        nobody.post("/api/auth/register", account(&fresh(), "x", company)).await.detail(400);
    }
    let mut plain = account(&fresh(), "x", json!(null));
    plain["role"] = json!(null);
    assert_eq!(nobody.post("/api/auth/register", plain).await.expect(200)["user"]["role"], "Regular User");
    let local = Uuid::new_v4().simple();
    for address in
        ["none", "@x.example", "ann@", "ann@gmail", "a..b@x.example", "ann@[127.0.0.1]", "a b@x.example", "ann@x."]
    {
        let refused = nobody.post("/api/auth/register", account(address, "x", json!(null))).await.expect(422);
        assert_eq!(refused["detail"][0]["loc"], json!(["body", "email"]), "{address}");
    }
    for address in
        [format!("Renée{local}@x.example"), format!("info{local}@müller.example"), format!("\t{local}@x.example ")]
    {
        let made = nobody.post("/api/auth/register", account(&address, "x", json!(null))).await.expect(200);
        assert_eq!(made["user"]["email"], json!(address.trim().to_lowercase()));
        login(&address, PASSWORD).await.expect(200);
        assert!(
            nobody
                .post("/api/auth/register", account(&address, "x", json!(null)))
                .await
                .detail(400)
                .contains("already")
        );
    }
    // A deleted user's address is free again, and gets a new account.
    acme.db.execute("update users set is_deleted = true where id = $1", &[&acme.member.id]).await.unwrap();
    let made = nobody.post("/api/auth/register", account(&acme.member.email, "x", json!(null))).await.expect(200);
    assert_ne!(made["user"]["id"], json!(acme.member.id));
}

#[tokio::test]
async fn an_old_address_of_any_form_logs_in() {
    let acme = World::new().await;
    for start in ["renée", "a..b", "a b"] {
        let person = acme.person("company_user").await;
        let address = format!("{start}-{}@gmail", person.id.simple());
        acme.db.execute("update users set email = $2 where id = $1", &[&person.id, &address]).await.unwrap();
        login(&format!(" {} ", address.to_uppercase()), PASSWORD).await.expect(200);
        let nobody = Person::nobody();
        nobody.post("/api/auth/forgot-password", json!({"email": address})).await.expect(200);
        let reset = json!({"email": address, "reset_code": "none", "new_password": "New-Horse-99"});
        assert_eq!(nobody.post("/api/auth/reset-password", reset).await.detail(400), "Invalid or expired reset code");
    }
    for none in ["", "ann", "@gmail", "ann@", " @ "] {
        login(none, PASSWORD).await.expect(422);
    }
}

/// By then the previous code is void, so the mail must arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_the_mail_server_does_not_take_at_once_is_mailed_later() {
    let inbox = Inbox::open().await;
    inbox.says_to_senders("451 try again later");
    let base = start_server(Config { smtp_url: Some(inbox.url()), ..config() }, &api_url());
    let acme = World::new().await;
    let asked = Person::visitor(&base).post("/api/auth/forgot-password", json!({"email": acme.member.email})).await;
    asked.expect(200);
    inbox.hears_of_sender().await;
    inbox.says_to_senders("250 ok");
    assert!(inbox.next().await.data.contains("Your code to reset the password"));
}

/// The mail that arrives last has the code that counts.
#[tokio::test(flavor = "multi_thread")]
async fn the_mail_of_a_code_that_is_void_is_not_tried_again() {
    let inbox = Inbox::open().await;
    inbox.says_to_senders("451 try again later");
    let base = start_server(Config { smtp_url: Some(inbox.url()), ..config() }, &api_url());
    let acme = World::new().await;
    let (visitor, email) = (Person::visitor(&base), &acme.member.email);
    let ask = async || visitor.post("/api/auth/forgot-password", json!({"email": email})).await.expect(200);
    ask().await;
    inbox.hears_of_sender().await;
    inbox.says_to_senders("250 ok");
    ask().await;
    let mail = inbox.next().await.data;
    // The first one would be tried again after ten seconds.
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert!(inbox.rest().await.is_empty());
    let code: String = mail.split("password is ").nth(1).unwrap().chars().take(6).collect();
    let reset = json!({"email": email, "reset_code": code, "new_password": "New-Horse-99"});
    visitor.post("/api/auth/reset-password", reset).await.expect(200);
}

#[tokio::test]
async fn a_forgotten_password_is_reset_by_the_mailed_code() {
    let inbox = Inbox::open().await;
    let mut settings = config();
    settings.smtp_url = Some(inbox.url());
    let base = start_server(settings, &api_url());
    let acme = World::new().await;
    let nobody = Person::nobody().at(&base);

    let known = nobody.post("/api/auth/forgot-password", json!({"email": acme.admin.email.to_uppercase()})).await;
    let unknown = nobody.post("/api/auth/forgot-password", json!({"email": fresh()})).await;
    assert_eq!(known.clone().expect(200)["message"], unknown.expect(200)["message"]);
    assert!(known.body.get("code").is_none());
    let mail = inbox.next().await;
    assert!(mail.to.contains(&acme.admin.email));
    let code: String = mail.data.split("password is ").nth(1).unwrap().chars().take(6).collect();
    assert!(code.chars().all(|c| c.is_ascii_digit()));
    let stored: Vec<u8> =
        acme.value("select reset_code_hash from app.credentials where user_id = $1", &[&acme.admin.id]).await;
    assert!(!String::from_utf8_lossy(&stored).contains(&code));

    let reset = async |email: &str, code: &str, password: &str| {
        nobody
            .post("/api/auth/reset-password", json!({"email": email, "reset_code": code, "new_password": password}))
            .await
    };
    assert!(reset(&acme.admin.email, &code, "weak").await.detail(400).contains("8 characters"));
    assert_eq!(reset(&fresh(), &code, "New-Horse-99").await.detail(400), "Invalid or expired reset code");
    assert_eq!(reset(&acme.member.email, &code, "New-Horse-99").await.detail(400), "Invalid or expired reset code");
    reset(&acme.admin.email, &code, "New-Horse-99").await.expect(200);
    reset(&acme.admin.email, &code, "New-Horse-98").await.expect(400);
    acme.admin.get("/api/auth/me").await.expect(401);
    login(&acme.admin.email, PASSWORD).await.expect(401);
    login(&acme.admin.email, "New-Horse-99").await.expect(200);

    // After five wrong codes the right one is void; so is an old code.
    nobody.post("/api/auth/forgot-password", json!({"email": acme.member.email})).await.expect(200);
    let code: String = inbox.next().await.data.split("password is ").nth(1).unwrap().chars().take(6).collect();
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for _ in 0..5 {
        reset(&acme.member.email, wrong, "New-Horse-99").await.expect(400);
    }
    reset(&acme.member.email, &code, "New-Horse-99").await.expect(400);
    nobody.post("/api/auth/forgot-password", json!({"email": acme.member.email})).await.expect(200);
    let code: String = inbox.next().await.data.split("password is ").nth(1).unwrap().chars().take(6).collect();
    let age = "update app.credentials set reset_expires_at = now() - interval '1 second' where user_id = $1";
    acme.db.execute(age, &[&acme.member.id]).await.unwrap();
    reset(&acme.member.email, &code, "New-Horse-99").await.expect(400);
}

/// Work that only an existing account causes follows the response, so that its time does not reveal the account.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_begun_behind_the_answer() {
    let inbox = Inbox::open().await;
    let acme = World::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = Person::visitor(&format!("http://{}", listener.local_addr().unwrap()));
    let config = Config { worker: Switch::Off, smtp_url: Some(inbox.url()), ..config() };
    let app = App::new(Db::new(&api_url(), 2).unwrap(), config).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(app, listener, async move { drop(stopped.await) }));
    acme.db.batch_execute("begin").await.unwrap();
    let lock = "select from app.credentials where user_id = $1 for update";
    acme.db.execute(lock, &[&acme.admin.id]).await.unwrap();
    nobody.post("/api/auth/forgot-password", json!({"email": acme.admin.email})).await.expect(200);
    let watch = db::connect(&admin_url()).await.unwrap();
    waiting_for(&acme.db, &watch).await;
    // A stop waits for this work.
    stop.send(()).unwrap();
    acme.db.batch_execute("rollback").await.unwrap();
    assert!(inbox.next().await.to.contains(&acme.admin.email));
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn attempts_are_limited_by_address_and_account_over_all_servers() {
    let mut settings = config();
    settings.rate_limits = Switch::On;
    settings.proxy_hops = 1;
    let servers = [start_server(settings.clone(), &api_url()), start_server(settings, &api_url())];
    let acme = World::new().await;
    let attempt = async |server: usize, from: &str, email: &str, password: &str| {
        let request = Person::nobody().at(&servers[server]).request("post", "/api/auth/login");
        // What a client writes itself precedes what the proxy adds, and is ignored.
        let forwarded = format!("203.0.113.{}, {from}", rand_byte());
        crate::support::world::answer(
            request.header("x-forwarded-for", forwarded).json(&json!({"email": email, "password": password})),
        )
        .await
    };
    // The network of one customer, where each attempt comes from another address.
    let network = format!("2001:db8:{:x}:{:x}", std::process::id() & 0xffff, rand_byte());
    let here = format!("{network}::1");
    for i in 0..10 {
        attempt(i % 2, &format!("{network}::{i:x}"), &acme.admin.email, "wrong").await.expect(401);
    }
    let refused = attempt(0, &here, &acme.admin.email, PASSWORD).await;
    assert_eq!(refused.status, 429);
    let wait: u32 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=900).contains(&wait));
    attempt(1, "2001:db8:0:ffff::1", &acme.admin.email, PASSWORD).await.expect(200);
    attempt(1, &here, &acme.member.email, PASSWORD).await.expect(200);
    // Somebody who knows the password is not guessing.
    for i in 0..12 {
        attempt(i % 2, "203.0.113.7", &acme.member.email, PASSWORD).await.expect(200);
    }
    let names: i64 = acme
        .value("select count(*) from app.rate_limits where bucket like '%@%' or bucket like '%' || $1 || '%'", &[&here])
        .await;
    assert_eq!(names, 0, "buckets are hashes");

    // Where there is no account, an address has the limit that an account has.
    let ask = async |from: &str, path: &str| {
        crate::support::world::answer(
            Person::nobody().at(&servers[0]).request("get", path).header("x-forwarded-for", from),
        )
        .await
    };
    let (there, path) = (format!("{network}::2"), format!("/api/register/check-email/{}", acme.admin.email));
    for _ in 0..30 {
        ask(&there, &path).await.expect(200);
    }
    assert_eq!(ask(&there, "/api/register/check-company/Acme").await.status, 429);
    ask("203.0.113.9", &path).await.expect(200);

    // Giving one's own address does not count.
    let me = acme.member.at(&servers[0]);
    let ask = async |email: &str| me.put("/api/users/me", json!({"email": email, "bio": "B"})).await;
    for _ in 0..20 {
        ask(&acme.admin.email).await.expect(400);
        ask(&acme.member.email).await.expect(200);
    }
    assert_eq!(ask(&acme.admin.email).await.status, 429);
    ask(&acme.member.email).await.expect(200);
    // Nor does an admin learn more by giving addresses to other users.
    let (path, admin) = (format!("/api/users/{}", acme.member.id), acme.admin.at(&servers[1]));
    for _ in 0..20 {
        admin.put(&path, json!({"email": acme.admin.email})).await.expect(400);
        admin.put(&path, json!({"email": acme.member.email})).await.expect(200);
    }
    assert_eq!(admin.put(&path, json!({"email": acme.admin.email})).await.status, 429);
}

fn rand_byte() -> u8 {
    ringfence::auth::random::<1>()[0]
}

/// Hashing has its own threads, fewer than there are processors, so reads get responses while many users log in.
#[tokio::test(flavor = "multi_thread")]
async fn logins_do_not_keep_reads_waiting() {
    const LOGINS: usize = 100;
    for processors in 1..=256 {
        let threads = Hasher::threads(processors);
        assert!((1..=4).contains(&threads) && (threads < processors || processors == 1), "{threads} of {processors}");
    }
    let acme = World::new().await;
    let logged_in = Arc::new(AtomicUsize::new(0));
    let logins: Vec<_> = (0..LOGINS)
        .map(|_| {
            let (email, logged_in) = (acme.member.email.clone(), logged_in.clone());
            tokio::spawn(async move {
                login(&email, PASSWORD).await.expect(200);
                logged_in.fetch_add(1, Relaxed);
            })
        })
        .collect();
    until("a login", async || logged_in.load(Relaxed) > 0).await;
    for _ in 0..5 {
        acme.admin.get("/api/contacts/").await.expect(200);
    }
    assert!(logged_in.load(Relaxed) < LOGINS, "the reads waited for all logins");
    for login in logins {
        login.abort();
    }
}

#[tokio::test]
async fn only_so_many_wait_for_their_password_to_be_looked_at() {
    let hasher = Hasher::new(1).unwrap();
    let mut waiting = Vec::new();
    let busy = loop {
        let mut hash = Box::pin(hasher.hash(PASSWORD));
        match futures_util::poll!(&mut hash) {
            Poll::Pending => waiting.push(hash),
            Poll::Ready(done) => break done.err(),
        }
        assert!(waiting.len() < 100_000, "as many as want to");
    };
    assert!(matches!(busy, Some(Error::Busy(_))), "{busy:?}");
    assert!(waiting.len() >= 256, "a company that comes to work at once");
    // Cancelled logins make room, and are not hashed.
    drop(waiting);
    hasher.hash(PASSWORD).await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn hashing_comes_after_everything_else() {
    let hasher = Hasher::new(2).unwrap();
    let hash = hasher.hash(PASSWORD).await.unwrap();
    assert!(hasher.verify(PASSWORD, Some(&hash)).await.unwrap());
    assert!(!hasher.verify("another", Some(&hash)).await.unwrap());
    assert!(!hasher.verify(PASSWORD, None).await.unwrap());
    // (name, niceness) of this program's threads (proc(5)).
    let threads = || -> Vec<(String, i64)> {
        let all = std::fs::read_dir("/proc/self/task").unwrap();
        let stats = all.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
        stats
            .map(|stat| {
                let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
                (name.to_owned(), rest.split_whitespace().nth(16).unwrap().parse().unwrap())
            })
            .collect()
    };
    // A thread that another test has just started may not have its priority yet.
    until("they come after everything else", async || {
        let (hashing, others): (Vec<_>, Vec<_>) = threads().into_iter().partition(|(name, _)| name == HASHING);
        let most = others.iter().map(|(_, niceness)| *niceness).max().unwrap();
        hashing.len() >= 2 && hashing.iter().all(|(_, niceness)| *niceness > most)
    })
    .await;
}
