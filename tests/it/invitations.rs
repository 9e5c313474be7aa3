//! Invitations (contract: invitations).

use crate::support::{
    database::until,
    server::{api_url, config, start_server},
    smtp::Inbox,
    world::{PASSWORD, Person, World},
};
use ringfence::config::{Config, Switch};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const SEND: &str = "/api/invitations/send";
const ACCEPT: &str = "/api/invitations/accept";

fn email() -> String {
    format!("invited-{}@Example.com", Uuid::new_v4().simple())
}

fn body(email: &str) -> Value {
    json!({"email": email, "first_name": "Ada", "last_name": "Lovelace"})
}

/// Sends an invitation through a server with a mail server; returns the mail.
async fn invite(by: &Person, body: Value) -> String {
    let inbox = Inbox::open().await;
    let base = start_server(Config { smtp_url: Some(inbox.url()), ..config() }, &api_url());
    let sent = by.at(&base).post(SEND, body).await.expect(200);
    assert_eq!((&sent["success"], &sent["expires_in_days"]), (&json!(true), &json!(7)));
    inbox.next().await.data
}

#[tokio::test]
async fn a_mail_to_strangers_has_no_link_but_its_own() {
    let acme = World::new().await;
    let path = format!("/api/companies/{}", acme.company);
    for bait in
        ["Your payroll is on hold - see https://evil.example/pay now", "Go to WWW.evil.example", "ask me@evil.example"]
    {
        acme.admin.put(&path, json!({ "name": format!("{bait} {}", Uuid::now_v7()) })).await.expect(200);
        let mut new = body(&email());
        new["first_name"] = json!(bait);
        let mail = invite(&acme.admin, new).await;
        assert!(
            !mail.to_lowercase().contains("evil") && mail.contains("Hello,") && mail.contains("join a team"),
            "{mail}"
        );
    }
    let mut new = body(&email());
    new["first_name"] = json!(format!("{}!", "Ada ".repeat(20)));
    assert!(!invite(&acme.admin, new).await.contains('!'));
}

/// The token in the link of a mail.
fn token(mail: &str) -> String {
    let (_, token) = mail.split_once("http://localhost:5173/auth/accept-invitation?token=").unwrap();
    token.split_whitespace().next().unwrap().to_owned()
}

async fn invited(by: &Person, email: &str) -> String {
    token(&invite(by, body(email)).await)
}

async fn accept(token: &str, password: &str) -> crate::support::world::Answer {
    Person::nobody().post(ACCEPT, json!({"token": token, "password": password})).await
}

#[tokio::test]
async fn an_invitation_becomes_an_account_once() {
    let acme = World::new().await;
    let email = email();
    let mut body = body(&email);
    body["first_name"] = json!("Ada\r\nBcc: everybody@example.com");
    let mail = invite(&acme.admin, body).await;
    let (head, text) = mail.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("Bcc") && text.contains(&acme.name), "{mail}");
    // Without this header, a mail reader may show the transfer encoding undecoded (RFC 2045, 4).
    assert!(head.contains("\r\nMIME-Version: 1.0\r\n"), "{mail}");
    let id = head.lines().find_map(|line| line.strip_prefix("Message-ID: <")).expect(head);
    assert!(id.ends_with("@example.com>"), "{mail}");
    assert!(text.lines().all(|line| !line.starts_with("Bcc")), "{mail}");
    let token = token(&mail);
    assert_eq!(token.len(), 43);

    let shown = Person::nobody().get(&format!("/api/invitations/verify/{token}")).await.expect(200);
    let mut fields: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields.join(" "), "email first_name last_name role valid");
    assert_eq!((&shown["valid"], &shown["role"]), (&json!(true), &json!("company_user")));
    assert_eq!(shown["email"], json!(email.to_lowercase()));

    for weak in ["weak", "correct-horse-7", "Correct-Horse"] {
        assert!(accept(&token, weak).await.detail(400).contains("Password must"));
    }
    let accepted = accept(&token, "Correct7Horse").await.expect(200);
    assert_eq!((&accepted["success"], &accepted["user"]["email"]), (&json!(true), &json!(email.to_lowercase())));
    assert_eq!(accepted["user"].as_object().unwrap().len(), 5);
    let person = acme.member.with_token(accepted["access_token"].as_str().unwrap());
    let me = person.get("/api/users/me").await.expect(200);
    assert_eq!((&me["company_id"], &me["status"]), (&json!(acme.company), &json!("active")));
    person.get("/api/contacts/").await.expect(200);

    assert_eq!(accept(&token, PASSWORD).await.detail(400), "Invalid or expired invitation");
    let used = Person::nobody().get(&format!("/api/invitations/verify/{token}")).await;
    assert_eq!(used.detail(400), "Invalid or expired invitation");
}

#[tokio::test]
async fn admins_invite_and_others_do_not() {
    let acme = World::new().await;
    for role in ["company_user", "Admin", "Super Admin"] {
        acme.person(role).await.post(SEND, body(&email())).await.detail(403);
    }
    Person::nobody().post(SEND, body(&email())).await.detail(403);
    crate::support::twilio::with_key(&acme).await;
    let staff = acme.super_admin().await;
    assert_eq!(staff.post(SEND, body(&email())).await.detail(400), "User must belong to a company");
    let other = World::new().await;
    for taken in [&acme.member.email, &other.member.email.to_uppercase()] {
        assert!(acme.admin.post(SEND, body(taken)).await.detail(400).contains("already"));
    }
    let international = format!(" renée-{}@müller.example", Uuid::new_v4().simple());
    acme.admin.post(SEND, body(&international)).await.expect(200);
    for sender in [&acme.admin, &acme.person("super_admin").await] {
        let mut root = body(&email());
        root["user_role"] = json!("super_admin");
        sender.post(SEND, root).await.detail(403);
        let mut admin = body(&email());
        admin["user_role"] = json!("company_admin");
        sender.post(SEND, admin).await.expect(200);
    }
    for (field, bad) in [
        ("email", json!("nobody")),
        ("email", json!("ann@gmail")),
        ("email", json!("ann@[127.0.0.1]")),
        ("email", json!("a@x.io\r\nBcc: b@x.io")),
        ("first_name", json!("")),
        ("last_name", json!("<b>x</b>")),
        ("first_name", json!("\u{0}")),
        ("user_role", json!("")),
        ("user_role", json!("x".repeat(51))),
        ("user_role", json!(null)),
    ] {
        let mut body = body(&email());
        body[field] = bad;
        acme.admin.post(SEND, body).await.expect(422);
    }
}

/// No mail is sent to an address with an account, but the attempt counts all the same.
#[tokio::test]
async fn no_company_keeps_another_from_inviting_somebody() {
    let (acme, other) = (World::new().await, World::new().await);
    let base = start_server(Config { rate_limits: Switch::On, ..config() }, &api_url());
    let invite = async |world: &World| world.admin.at(&base).post(SEND, body(&acme.member.email)).await.status;
    for _ in 0..20 {
        assert_eq!(invite(&acme).await, 400);
    }
    assert_eq!((invite(&acme).await, invite(&other).await), (429, 400));
}

#[tokio::test]
async fn an_old_or_unknown_token_is_of_no_use() {
    let acme = World::new().await;
    let token = invited(&acme.admin, &email()).await;
    let stored: i64 = acme
        .value(
            "select count(*) from invitations where tenant_id = $1 and token_hash = sha256($2)",
            &[&acme.company, &token.as_bytes()],
        )
        .await;
    assert_eq!(stored, 1, "only a hash is kept");
    acme.db
        .execute(
            "update invitations set expires_at = now() - interval '1 second' where tenant_id = $1",
            &[&acme.company],
        )
        .await
        .unwrap();
    for token in [token.as_str(), "unknown", "%00", "a%2Fb"] {
        let answer = Person::nobody().get(&format!("/api/invitations/verify/{token}")).await;
        assert_eq!(answer.detail(400), "Invalid or expired invitation");
        assert_eq!(accept(token, PASSWORD).await.detail(400), "Invalid or expired invitation");
    }
    accept("", PASSWORD).await.detail(400);
    Person::nobody().post(ACCEPT, json!({"token": "x"})).await.expect(422);
    Person::nobody().post(ACCEPT, json!({"token": "x".repeat(300), "password": PASSWORD})).await.expect(422);
}

#[tokio::test]
async fn a_person_who_has_an_account_by_now_is_told_so() {
    let acme = World::new().await;
    let email = email();
    let token = invited(&acme.admin, &email).await;
    let account = json!({"email": email, "password": PASSWORD, "first_name": "A", "last_name": "B"});
    Person::nobody().post("/api/auth/register", account).await.expect(200);
    assert!(accept(&token, PASSWORD).await.detail(400).contains("already registered"));
    let company: Option<Uuid> =
        acme.value("select company_id from users where email = $1", &[&email.to_lowercase()]).await;
    assert_eq!(company, None);
}

#[tokio::test]
async fn two_people_with_one_link_make_one_account() {
    let acme = World::new().await;
    let token = invited(&acme.admin, &email()).await;
    let (a, b) = tokio::join!(accept(&token, PASSWORD), accept(&token, PASSWORD));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

#[tokio::test]
async fn without_a_mail_server_it_leaves_as_the_companys_own_mail_or_is_refused() {
    let acme = World::new().await;
    let to = email();
    assert!(acme.admin.post(SEND, body(&to)).await.detail(400).contains("SendGrid"));
    let left = "select count(*) from invitations where tenant_id = $1";
    assert_eq!(acme.value::<i64>(left, &[&acme.company]).await, 0);
    let key = crate::support::twilio::with_key(&acme).await;
    acme.admin.post(SEND, body(&to)).await.expect(200);
    let mails = crate::support::twilio::mails(&key);
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0]["from"]["email"], "sales@acme.example");
    let token = token(mails[0]["content"][0]["value"].as_str().unwrap());
    accept(&token, PASSWORD).await.expect(200);

    // As a mail of the company, it is not sent to suppressed addresses.
    let to = email();
    acme.admin.post("/api/suppressions/", json!({"channel": "email", "address": to})).await.expect(200);
    assert!(acme.admin.post(SEND, body(&to)).await.detail(400).contains("not to write"));
    assert_eq!(crate::support::twilio::mails(&key).len(), 1);
    let left = "select count(*) from invitations where tenant_id = $1 and accepted_at is null";
    assert_eq!(acme.value::<i64>(left, &[&acme.company]).await, 0);
}

#[tokio::test]
async fn an_invitation_that_cannot_be_mailed_is_withdrawn() {
    let acme = World::new().await;
    let inbox = Inbox::answering("550 no").await;
    let base = start_server(Config { smtp_url: Some(inbox.url()), ..config() }, &api_url());
    acme.admin.at(&base).post(SEND, body(&email())).await.detail(502);
    let left: i64 = acme.value("select count(*) from invitations where tenant_id = $1", &[&acme.company]).await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn an_invitation_ends_with_the_admin_who_made_it() {
    let acme = World::new().await;
    let deputy = acme.person("company_admin").await;
    let token = invited(&deputy, &email()).await;
    acme.admin.put(&format!("/api/users/{}", deputy.id), json!({"role": "company_user"})).await.expect(200);
    Person::nobody().get(&format!("/api/invitations/verify/{token}")).await.expect(400);
    accept(&token, PASSWORD).await.expect(400);
    acme.admin.put(&format!("/api/users/{}", deputy.id), json!({"role": "company_admin"})).await.expect(200);
    accept(&token, PASSWORD).await.expect(200);
}

/// Of several invitations to one person the last one counts, and none outlives the account.
#[tokio::test]
async fn nobody_comes_back_by_an_older_invitation() {
    let acme = World::new().await;
    let copy = "insert into invitations (tenant_id, company_id, user_id, email, first_name, last_name, user_role, token_hash, expires_at)
        select tenant_id, company_id, user_id, email, first_name, last_name, 'company_admin', sha256($2::text::bytea), expires_at
        from invitations where tenant_id = $1 and email = $3 order by created_at limit 1";
    for way in ["fired", "leaves", "renamed", "made by an admin"] {
        let email = email().to_lowercase();
        let (first, second) = (invited(&acme.admin, &email).await, invited(&acme.admin, &email).await);
        accept(&first, PASSWORD).await.expect(400);
        let (sooner, later) = (format!("sooner {email}"), format!("later {email}"));
        acme.db.execute(copy, &[&acme.company, &sooner, &email]).await.unwrap();
        let person = if way == "made by an admin" {
            let new = json!({"email": email, "password": PASSWORD, "first_name": "A", "last_name": "B", "role": "company_user"});
            acme.admin.post(&format!("/api/companies/{}/users", acme.company), new).await.expect(200);
            let session = Person::nobody()
                .post("/api/auth/login", json!({"email": email, "password": PASSWORD}))
                .await
                .expect(200);
            Person::nobody().with_token(session["access_token"].as_str().unwrap())
        } else {
            let made = accept(&second, PASSWORD).await.expect(200);
            accept(&sooner, PASSWORD).await.expect(400);
            acme.db.execute(copy, &[&acme.company, &later, &email]).await.unwrap();
            Person::nobody().with_token(made["access_token"].as_str().unwrap())
        };
        let me = person.get("/api/auth/me").await.expect(200)["id"].as_str().unwrap().to_owned();
        match way {
            "leaves" => drop(person.delete("/api/users/me").await.expect(200)),
            "renamed" => {
                let other = format!("renamed-{email}");
                drop(person.put("/api/users/me", json!({"email": other})).await.expect(200));
            }
            _ => drop(acme.admin.delete(&format!("/api/users/{me}")).await.expect(200)),
        }
        for token in [&second, &sooner, &later] {
            assert_eq!(accept(token, PASSWORD).await.status, 400, "{way}");
        }
        // A new invitation works.
        accept(&invited(&acme.admin, &email).await, PASSWORD).await.expect(200);
    }
}

/// By the older one, somebody would have a role that they are no longer meant to have.
#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_whose_sender_has_gone_away_takes_the_place_of_the_older_one() {
    let inbox = Inbox::held_after(1).await;
    let base = start_server(Config { smtp_url: Some(inbox.url()), ..config() }, &api_url());
    let acme = World::new().await;
    let (admin, email) = (acme.admin.at(&base), email());
    admin.post(SEND, body(&email)).await.expect(200);
    let older = token(&inbox.next().await.data);
    let sending = tokio::spawn(async move { admin.post(SEND, body(&email)).await });
    let newer = token(&inbox.next().await.data);
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    // As long as it takes the server to hear of it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    inbox.release();
    let status = async |token: &str| Person::nobody().get(&format!("/api/invitations/verify/{token}")).await.status;
    until("the older one is void", async || status(&older).await == 400).await;
    assert_eq!(status(&newer).await, 200);
}
