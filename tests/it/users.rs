//! The caller's own account and the team (contract: users).

use crate::support::{
    database::{OwnDatabase, waiting_behind, waiting_for},
    server::admin_url,
    world::{PASSWORD, Person, World, answer},
};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use std::{pin::pin, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and some more";

fn path(person: &Person) -> String {
    format!("/api/users/{}", person.id)
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap()).collect()
}

async fn change_email(of: &Person, email: &str) -> crate::support::world::Answer {
    of.put("/api/users/me", json!({ "email": email })).await
}

#[tokio::test]
async fn a_user_has_every_field() {
    let acme = World::new().await;
    let me = acme.member.get("/api/users/me").await.expect(200);
    let mut fields: Vec<_> = me.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let wanted = "avatar bio company_id created_at department email first_name id is_active last_name location phone role status team_id title user_role";
    assert_eq!(fields.join(" "), wanted);
    assert_eq!((&me["role"], &me["user_role"]), (&json!("company_user"), &json!("company_user")));
    assert_eq!((&me["company_id"], &me["status"]), (&json!(acme.company), &json!("active")));
    assert_eq!(acme.admin.get(&path(&acme.member)).await.expect(200), me);
    let lone = acme.lone().await.get("/api/users/me").await.expect(200);
    assert_eq!(lone["company_id"], Value::Null);
}

#[tokio::test]
async fn the_list_is_the_company_in_the_order_in_which_people_came() {
    let (acme, other) = (World::new().await, World::new().await);
    let gone = acme.person("company_user").await;
    acme.admin.delete(&path(&gone)).await.expect(200);
    let late = acme.person("Sales Rep").await;
    let list = acme.member.get("/api/users").await.expect(200);
    assert_eq!(ids(&list), [acme.admin.id, acme.member.id, late.id].map(|id| id.to_string()));
    assert_eq!(acme.lone().await.get("/api/users/").await.expect(200), json!([]));
    assert_eq!(acme.super_admin().await.get("/api/users/").await.expect(200), json!([]));
    assert_eq!(ids(&other.member.get("/api/users/").await.expect(200)).len(), 2);
}

#[tokio::test]
async fn another_companys_user_is_an_unknown_one() {
    let (acme, other) = (World::new().await, World::new().await);
    let unknown = format!("/api/users/{}", Uuid::now_v7());
    for stranger in [&other.admin, &other.member, &acme.lone().await] {
        let answer = stranger.get(&path(&acme.member)).await;
        assert_eq!(answer.detail(404), "User not found");
        assert_eq!(stranger.get(&unknown).await.detail(404), "User not found");
    }
    let change = json!({"first_name": "Stolen", "role": "Support"});
    for label in ["company_admin", "Admin", "admin", "Super Admin"] {
        let admin = other.person(label).await;
        assert_eq!(admin.put(&path(&acme.member), change.clone()).await.detail(404), "User not found");
        assert_eq!(admin.put(&unknown, change.clone()).await.detail(404), "User not found");
        assert_eq!(admin.delete(&path(&acme.member)).await.detail(404), "User not found");
    }
    let kept = acme.member.get("/api/users/me").await.expect(200);
    assert_eq!((&kept["first_name"], &kept["role"]), (&json!("Company First"), &json!("company_user")));
    acme.admin.get("/api/users/not-an-id").await.expect(422);
    acme.admin.put("/api/users/not-an-id", change).await.expect(422);
    acme.admin.delete("/api/users/not-an-id").await.expect(422);
}

#[tokio::test]
async fn the_own_profile_changes_field_by_field_and_never_the_role() {
    let acme = World::new().await;
    let change = json!({
        "first_name": "Ada", "phone": "+1 555", "title": "Countess", "department": "Engines", "location": "London", "bio": "…",
        "role": "super_admin", "user_role": "super_admin", "status": "suspended", "company_id": Uuid::nil(), "is_deleted": true,
    });
    let changed = acme.member.put("/api/users/me", change).await.expect(200);
    assert_eq!((&changed["first_name"], &changed["last_name"]), (&json!("Ada"), &json!("Company Last")));
    assert_eq!((&changed["role"], &changed["status"]), (&json!("company_user"), &json!("active")));
    assert_eq!((&changed["company_id"], &changed["bio"]), (&json!(acme.company), &json!("…")));
    let changed = acme.member.put("/api/users/me", json!({"bio": null, "phone": ""})).await.expect(200);
    assert_eq!((&changed["bio"], &changed["phone"], &changed["title"]), (&json!(null), &json!(""), &json!("Countess")));
    acme.member.put("/api/users/me", json!({})).await.expect(200);
    let same = acme.member.put("/api/users/me", json!({"email": null})).await.expect(200);
    assert_eq!(same["email"], json!(acme.member.email));
    acme.lone().await.put("/api/users/me", json!({"first_name": "Lone"})).await.expect(200);
    for bad in [
        json!({"first_name": null}),
        json!({"last_name": "  "}),
        json!({"first_name": "<b>Ada</b>"}),
        json!({"first_name": "x".repeat(256)}),
        json!({"phone": "1".repeat(51)}),
        json!({"title": "x".repeat(256)}),
        json!({"bio": "x".repeat(501)}),
        json!({"bio": "\u{0}"}),
        json!({"phone": 5}),
        json!({"email": "nobody"}),
        json!([]),
    ] {
        acme.member.put("/api/users/me", bad).await.expect(422);
    }
}

#[tokio::test]
async fn an_email_is_lower_case_and_one_persons() {
    let (acme, other) = (World::new().await, World::new().await);
    let taken = other.member.email.to_uppercase();
    assert_eq!(change_email(&acme.member, &taken).await.detail(400), "Email already in use");
    let by_admin = acme.admin.put(&path(&acme.member), json!({ "email": taken })).await;
    assert_eq!(by_admin.detail(400), "Email already in use");
    let by_staff = acme.super_admin().await.put(&path(&acme.member), json!({ "email": taken })).await;
    assert_eq!(by_staff.detail(400), "Email already in use");
    let fresh = format!("Fresh-{}@Example.com", Uuid::new_v4().simple());
    assert_eq!(change_email(&acme.member, &fresh).await.expect(200)["email"], json!(fresh.to_lowercase()));
    change_email(&acme.member, &fresh).await.expect(200);
    other.admin.delete(&path(&other.member)).await.expect(200);
    change_email(&acme.member, &taken).await.expect(200);
}

#[tokio::test]
async fn an_old_address_stays_and_no_new_one_is_like_it() {
    let acme = World::new().await;
    for old in ["ann@localhost", "a..b@example.com", "a b@example.com"] {
        let old = old.replace('@', &format!("-{}@", Uuid::new_v4().simple()));
        change_email(&acme.member, &old).await.expect(422);
        acme.admin.put(&path(&acme.member), json!({ "email": old })).await.expect(422);
        acme.db.execute("update users set email = $2 where id = $1", &[&acme.member.id, &old]).await.unwrap();
        let same = json!({"email": old.to_uppercase(), "first_name": "Ann"});
        for answer in [
            acme.member.put("/api/users/me", same.clone()).await,
            acme.admin.put(&path(&acme.member), same.clone()).await,
            acme.super_admin().await.put(&path(&acme.member), same).await,
        ] {
            assert_eq!(answer.expect(200)["email"], json!(old));
        }
    }
}

#[tokio::test]
async fn an_old_name_stays_and_no_new_one_is_like_it() {
    let acme = World::new().await;
    let staff = acme.super_admin().await;
    for [first, last] in [["", " "], ["<b>Ann</b>", "\u{200b}"]] {
        let set = "update users set first_name = $2, last_name = $3 where id = $1";
        acme.db.execute(set, &[&acme.member.id, &first, &last]).await.unwrap();
        let record = acme.member.get("/api/users/me").await.expect(200);
        for (n, person, at) in [
            (1, &acme.member, "/api/users/me".to_owned()),
            (2, &acme.admin, path(&acme.member)),
            (3, &staff, path(&acme.member)),
        ] {
            let saved = person.put(&at, record.clone()).await.expect(200);
            assert_eq!((&saved["first_name"], &saved["last_name"]), (&json!(first), &json!(last)));
            let other = json!({"first_name": "Bea", "last_name": format!("<i>{n}</i>")});
            let refused = person.put(&at, other).await.expect(422);
            assert_eq!(refused["detail"][0]["loc"], json!(["body", "last_name"]));
            assert_eq!(acme.member.get("/api/users/me").await.expect(200)["first_name"], json!(first));
        }
    }
}

#[tokio::test]
async fn the_list_has_pictures_up_to_a_size_and_each_user_has_theirs() {
    let acme = World::new().await;
    let picture = "update users set avatar = repeat('x', 20 << 20) where company_id = $1";
    acme.db.execute(picture, &[&acme.company]).await.unwrap();
    let list = acme.admin.get("/api/users/").await.expect(200);
    let first = list.as_array().unwrap().iter().map(|user| user["avatar"].is_string());
    assert_eq!(first.collect::<Vec<_>>(), [true, false]);
    let alone = acme.admin.get(&format!("/api/users/{}", list[1]["id"].as_str().unwrap())).await.expect(200);
    assert!(alone["avatar"].is_string());
}

#[tokio::test]
async fn a_picture_is_a_jpeg_or_png_of_at_most_5_mib() {
    const PATH: &str = "/api/users/me/avatar";
    let acme = World::new().await;
    let set = acme.member.upload(PATH, "me.png", "image/png", PNG).await.expect(200);
    let url = set["avatar"].as_str().unwrap();
    assert!(url.starts_with("data:image/png;base64,iVBORw0KGgo"), "{url}");
    assert_eq!(acme.member.get("/api/users/me").await.expect(200)["avatar"], json!(url));
    let mut jpeg = vec![0xff; 5 << 20];
    jpeg[1] = 0xd8;
    for mime in ["image/jpeg", "image/jpg"] {
        let set = acme.member.upload("/api/users/me/avatar/", "me", mime, jpeg.clone()).await.expect(200);
        assert!(set["avatar"].as_str().unwrap().starts_with("data:image/jpeg;base64,/9j"));
    }
    let set = acme.member.upload(PATH, "me.jpg", "image/jpeg", PNG).await.expect(200);
    assert_eq!(set["avatar"], json!(url));
    jpeg.push(0);
    let sentence = "The picture must not be larger than 5 MiB";
    assert_eq!(acme.member.upload(PATH, "me", "image/jpeg", jpeg.clone()).await.detail(400), sentence);
    jpeg.resize((6 << 20) + 1, 0);
    assert_eq!(acme.member.upload(PATH, "me", "image/jpeg", jpeg).await.detail(400), sentence);
    for (mime, bytes) in [("image/gif", PNG), ("image/png", b"GIF89a".as_slice()), ("image/jpeg", b"")] {
        assert!(acme.member.upload(PATH, "me", mime, bytes).await.detail(400).contains("JPEG or PNG"));
    }
    let nameless = Form::new().part("other", Part::bytes(PNG)).text("file2", "x");
    answer(acme.member.request("post", PATH).multipart(nameless)).await.expect(422);
    acme.member.post(PATH, json!({"file": "x"})).await.expect(422);
    let broken = acme.member.request("post", PATH).header("content-type", "multipart/form-data; boundary=x");
    answer(broken.body("--x\r\nbroken")).await.expect(422);
    acme.lone().await.upload(PATH, "me.png", "image/png", PNG).await.expect(200);
}

/// A stalled upload loses its turn, and nothing is read for a token that has ended.
#[tokio::test]
async fn a_picture_that_does_not_come_is_not_waited_for() {
    const PART: &str =
        "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.png\"\r\ncontent-type: image/png\r\n\r\n";
    let acme = World::new().await;
    let answer = async |mut stream: TcpStream| {
        let mut answer = Vec::with_capacity(4096);
        let read = tokio::time::timeout(Duration::from_secs(50), stream.read_buf(&mut answer)).await;
        read.expect("an answer").unwrap();
        String::from_utf8(answer).unwrap()
    };
    let left = acme.person("company_user").await;
    left.post("/api/auth/logout", json!({})).await.expect(200);
    let mut stream = left.connect().await;
    let head = format!(
        "POST /api/users/me/avatar HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 6000000\r\ncontent-type: multipart/form-data; boundary=b\r\n\r\n{PART}",
        left.token.as_deref().unwrap()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(answer(stream).await.starts_with("HTTP/1.1 401"));
    let other = World::new().await;
    let begin = async |of: &Person| {
        let mut stream = of.begin("/api/users/me/avatar", "multipart/form-data; boundary=b", 6_000_000).await;
        stream.write_all(PART.as_bytes()).await.unwrap();
        stream
    };
    let (own, others) = (begin(&acme.member).await, begin(&other.member).await);
    let mut slow = pin!(async { tokio::join!(answer(own), answer(others)) });
    let table = async {
        let csv = b"first_name,last_name,email\nAda,Lovelace,ada@example.com\n".to_vec();
        acme.admin.upload("/api/contacts/upload-csv", "c.csv", "text/csv", csv).await
    };
    tokio::select! {
        _ = &mut slow => panic!("a table waits for pictures"),
        answer = table => answer.expect(200),
    };
    let (slow, _) = slow.await;
    assert!(slow.starts_with("HTTP/1.1 422") && slow.contains("too long to arrive"), "{slow}");
}

#[tokio::test]
async fn a_new_password_needs_the_current_one_and_ends_the_tokens() {
    const PATH: &str = "/api/users/me/change-password";
    let acme = World::new().await;
    let from = |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    let wrong = acme.member.post(PATH, from("Wrong-Horse-7", "Better-Horse-8")).await;
    assert_eq!(wrong.detail(400), "Current password is incorrect");
    for weak in ["short", "better-horse-8", "BETTER-HORSE-8", "Better-Horse", "BetterHorse8"] {
        assert!(acme.member.post(PATH, from(PASSWORD, weak)).await.detail(400).contains("Password must"));
    }
    acme.member.post(PATH, json!({"new_password": "Better-Horse-8"})).await.expect(422);
    acme.member.post(PATH, from(PASSWORD, "Better-Horse-8")).await.expect(200);
    acme.member.get("/api/users/me").await.expect(401);
    let login = |password: &'static str| json!({"email": acme.member.email, "password": password});
    Person::nobody().post("/api/auth/login", login(PASSWORD)).await.expect(401);
    Person::nobody().post("/api/auth/login", login("Better-Horse-8")).await.expect(200);
}

#[tokio::test]
async fn a_password_that_was_reset_meanwhile_is_not_changed() {
    let acme = World::new().await;
    let other = ringfence::db::connect(&admin_url()).await.unwrap();
    let reset =
        format!("begin; update app.credentials set password_hash = 'reset' where user_id = '{}'", acme.member.id);
    other.batch_execute(&reset).await.unwrap();
    let change = json!({"current_password": PASSWORD, "new_password": "Better-Horse-8"});
    let changing = acme.member.post("/api/users/me/change-password", change);
    let (changed, ()) = tokio::join!(changing, async {
        waiting_for(&other, &acme.db).await;
        other.batch_execute("commit").await.unwrap();
    });
    assert_eq!(changed.detail(400), "Current password is incorrect");
    let hash = "select password_hash from app.credentials where user_id = $1";
    assert_eq!(acme.value::<String>(hash, &[&acme.member.id]).await, "reset");
    acme.member.get("/api/users/me").await.expect(200);
}

/// Suspending a company locks its row first, and then the rows of its users in `app.caller`.
#[tokio::test]
async fn a_change_of_a_user_waits_for_a_change_of_their_company() {
    let acme = World::new().await;
    let other = ringfence::db::connect(&admin_url()).await.unwrap();
    let company = format!("begin; select from companies where id = '{}' for update", acme.company);
    other.batch_execute(&company).await.unwrap();
    let me = path(&acme.member);
    let (changed, ()) = tokio::join!(acme.admin.put(&me, json!({"status": "active"})), async {
        waiting_for(&other, &acme.db).await;
        let callers = format!("update app.caller set blocked = blocked where company_id = '{}'", acme.company);
        other.batch_execute(&callers).await.unwrap();
        other.batch_execute("commit").await.unwrap();
    });
    changed.expect(200);
}

#[tokio::test]
async fn an_account_without_password_has_no_current_one() {
    let acme = World::new().await;
    acme.db.execute("delete from app.credentials where user_id = $1", &[&acme.member.id]).await.unwrap();
    let body = json!({"current_password": "", "new_password": "Better-Horse-8"});
    acme.member.post("/api/users/me/change-password", body).await.detail(400);
}

#[tokio::test]
async fn leaving_takes_the_person_and_leaves_what_they_made() {
    let acme = World::new().await;
    let contact =
        acme.member.post("/api/contacts/", json!({"first_name": "A", "last_name": "B", "email": "a@x.io"})).await;
    let contact = contact.expect(200);
    acme.member.put("/api/users/me", json!({"phone": "+1 555 0100", "bio": "Secret"})).await.expect(200);
    acme.member.delete("/api/users/me").await.expect(200);
    acme.member.get("/api/users/me").await.expect(401);
    let login = json!({"email": acme.member.email, "password": PASSWORD});
    Person::nobody().post("/api/auth/login", login).await.expect(401);
    let row: Value = acme.value("select to_jsonb(u) from users u where id = $1", &[&acme.member.id]).await;
    assert_eq!((&row["first_name"], &row["last_name"]), (&json!("Deleted"), &json!("user")));
    assert_eq!((&row["phone"], &row["bio"], &row["is_deleted"]), (&json!(null), &json!(null), &json!(true)));
    assert_eq!(row["email"], json!(format!("deleted-{}@deleted.invalid", acme.member.id)));
    let path = format!("/api/contacts/{}", contact["id"].as_str().unwrap());
    assert_eq!(acme.admin.get(&path).await.expect(200), contact);
    assert_eq!(ids(&acme.admin.get("/api/users/").await.expect(200)), [acme.admin.id.to_string()]);
    acme.lone().await.delete("/api/users/me").await.expect(200);
}

#[tokio::test]
async fn the_last_admin_stays_while_there_are_others() {
    let acme = World::new().await;
    assert!(acme.admin.delete("/api/users/me").await.detail(400).contains("at least one admin"));
    let deputy = acme.person("Admin").await;
    assert!(deputy.delete(&path(&acme.admin)).await.detail(400).contains("at least one admin"));
    let demotion = json!({"role": "company_user"});
    for admin in [&acme.admin, &deputy, &acme.super_admin().await] {
        assert!(admin.put(&path(&acme.admin), demotion.clone()).await.detail(400).contains("at least one admin"));
    }
    let promoted = acme.admin.put(&path(&acme.member), json!({"role": "company_admin"})).await.expect(200);
    assert_eq!((&promoted["role"], &promoted["user_role"]), (&json!("company_admin"), &json!("company_admin")));
    acme.admin.put(&path(&acme.admin), demotion).await.expect(200);
    deputy.delete("/api/users/me").await.expect(200);
    acme.admin.delete("/api/users/me").await.expect(200);
    acme.member.delete("/api/users/me").await.expect(200);
}

/// Whichever comes first, there is an admin afterwards if there is any user.
#[tokio::test]
async fn nobody_comes_to_a_company_whose_last_admin_is_leaving() {
    for leaves_first in [true, false] {
        let own = OwnDatabase::new().await;
        let other = ringfence::db::connect(&own.admin).await.unwrap();
        // One waits while the other one's password is hashed, which comes after everything else.
        let patient = format!("alter role ringfence_api in database {} set lock_timeout = '25s'", own.name);
        other.batch_execute(&patient).await.unwrap();
        let acme = World::alone(&own).await;
        acme.member.delete("/api/users/me").await.expect(200);
        other.batch_execute(&format!("begin; select app.lock_admins('{}')", acme.company)).await.unwrap();
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let colleague =
            json!({"email": email, "password": PASSWORD, "first_name": "A", "last_name": "B", "role": "company_user"});
        let to = format!("/api/companies/{}/users", acme.company);
        let wait = async |number: i64| waiting_behind(&other, &acme.db, number).await;
        let (left, came, ()) = tokio::join!(
            async {
                wait(if leaves_first { 0 } else { 1 }).await;
                acme.admin.delete("/api/users/me").await
            },
            async {
                wait(if leaves_first { 1 } else { 0 }).await;
                acme.admin.post(&to, colleague).await
            },
            async {
                wait(2).await;
                other.batch_execute("commit").await.unwrap();
            }
        );
        let expected = if leaves_first { (200, 403) } else { (400, 200) };
        assert_eq!((left.status, came.status), expected, "{} {}", left.text, came.text);
        drop((acme, other));
        own.drop().await;
    }
}

/// A removal that waited for the other one is checked again.
#[tokio::test]
async fn two_admins_who_remove_each_other_do_not_both_succeed() {
    for role in ["company_admin", "Admin"] {
        for demotes in [false, true] {
            let acme = World::new().await;
            let set = "update users set user_role = $2 where company_id = $1";
            acme.db.execute(set, &[&acme.company, &role]).await.unwrap();
            let holder = ringfence::db::connect(&admin_url()).await.unwrap();
            holder.batch_execute(&format!("begin; select app.lock_admins('{}')", acme.company)).await.unwrap();
            let remove = async |by: &Person, whom: &Person| match demotes {
                true => by.put(&path(whom), json!({"role": "company_user"})).await,
                false => by.delete(&path(whom)).await,
            };
            let (one, two, ()) =
                tokio::join!(remove(&acme.admin, &acme.member), remove(&acme.member, &acme.admin), async {
                    waiting_behind(&holder, &acme.db, 2).await;
                    holder.batch_execute("commit").await.unwrap();
                });
            let refused = if one.status == 200 { two } else { one };
            assert_eq!(refused.detail(403), "Your account has changed: log in again");
            let left = "select count(*) from users where company_id = $1 and not is_deleted and user_role = $2";
            assert_eq!(acme.value::<i64>(left, &[&acme.company, &role]).await, 1);
        }
    }
}

#[tokio::test]
async fn an_admin_changes_four_fields_of_a_colleague() {
    let acme = World::new().await;
    let change = json!({"first_name": "Ada", "role": "Sales Manager", "phone": "1", "status": "suspended", "company_id": Uuid::nil()});
    let changed = acme.admin.put(&path(&acme.member), change).await.expect(200);
    assert_eq!((&changed["first_name"], &changed["role"]), (&json!("Ada"), &json!("Sales Manager")));
    assert_eq!((&changed["phone"], &changed["status"]), (&json!(null), &json!("active")));
    assert_eq!(changed["company_id"], json!(acme.company));
    for nothing in [json!({"email": null, "role": null}), json!({"role": ""})] {
        assert_eq!(acme.admin.put(&path(&acme.member), nothing).await.expect(200), changed);
    }
    for bad in [
        json!({"first_name": null}),
        json!({"last_name": null}),
        json!({"role": "x".repeat(51)}),
        json!({"email": "x"}),
    ] {
        acme.admin.put(&path(&acme.member), bad).await.expect(422);
    }
    for label in ["company_user", "Sales Manager", "Regular User", "super_admin ", "SUPER_ADMIN"] {
        let person = acme.person(label).await;
        person.put(&path(&acme.member), json!({"first_name": "No"})).await.detail(403);
        person.put(&path(&person), json!({"role": "company_admin"})).await.detail(403);
        person.delete(&path(&acme.member)).await.detail(403);
    }
}

#[tokio::test]
async fn only_a_super_admin_makes_or_changes_a_super_admin() {
    let acme = World::new().await;
    for label in ["company_admin", "Admin", "admin", "Super Admin"] {
        let admin = acme.person(label).await;
        for target in [&acme.member, &admin] {
            admin.put(&path(target), json!({"role": "super_admin"})).await.detail(403);
        }
    }
    let staff = acme.person("super_admin").await;
    acme.admin.put(&path(&staff), json!({"email": "mine@example.com"})).await.detail(403);
    acme.admin.delete(&path(&staff)).await.detail(403);
    staff.put("/api/users/me", json!({"first_name": "Staff"})).await.expect(200);
    let made = acme.super_admin().await.put(&path(&acme.member), json!({"role": "super_admin"})).await.expect(200);
    assert_eq!(made["role"], json!("super_admin"));
}

#[tokio::test]
async fn a_super_admin_changes_and_deletes_users_of_any_company() {
    let (acme, staff) = (World::new().await, World::new().await.super_admin().await);
    let changed = staff.put(&path(&acme.member), json!({"last_name": "Changed"})).await.expect(200);
    assert_eq!((&changed["last_name"], &changed["company_id"]), (&json!("Changed"), &json!(acme.company)));
    staff.delete(&path(&acme.member)).await.expect(200);
    acme.member.get("/api/users/me").await.expect(401);
    assert_eq!(staff.put(&path(&acme.member), json!({})).await.detail(404), "User not found");
    assert_eq!(staff.delete(&path(&acme.member)).await.detail(404), "User not found");
    assert!(staff.delete(&path(&staff)).await.detail(400).contains("own account"));
    assert!(staff.delete(&path(&acme.admin)).await.status == 200, "the last of a company");
}

#[tokio::test]
async fn a_deleted_user_is_gone_at_once_and_the_email_is_free() {
    let acme = World::new().await;
    assert!(acme.admin.delete(&path(&acme.admin)).await.detail(400).contains("own account"));
    acme.admin.delete(&path(&acme.member)).await.expect(200);
    acme.member.get("/api/users/me").await.expect(401);
    acme.admin.get(&path(&acme.member)).await.detail(404);
    acme.admin.put(&path(&acme.member), json!({})).await.detail(404);
    acme.admin.delete(&path(&acme.member)).await.detail(404);
    let again = json!({"email": acme.member.email, "first_name": "A", "last_name": "B", "password": PASSWORD});
    acme.admin.post(&format!("/api/companies/{}/users", acme.company), again).await.expect(200);
}

#[tokio::test]
async fn an_admins_change_approves_one_who_waits() {
    let acme = World::new().await;
    for admin in [&acme.person("Admin").await, &acme.super_admin().await] {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let body = json!({"email": email, "password": PASSWORD, "first_name": "A", "last_name": "B", "company_id": acme.company});
        let waiting = Person::nobody().post("/api/auth/register", body).await.expect(200);
        assert_eq!(waiting["access_token"], json!(""));
        let login = json!({"email": email, "password": PASSWORD});
        Person::nobody().post("/api/auth/login", login.clone()).await.expect(401);
        let id = waiting["user"]["id"].as_str().unwrap();
        let approved = admin.put(&format!("/api/users/{id}"), json!({"role": "company_user"})).await.expect(200);
        assert_eq!((&approved["status"], &approved["role"]), (&json!("active"), &json!("company_user")));
        let session = Person::nobody().post("/api/auth/login", login).await.expect(200);
        let person = acme.member.with_token(session["access_token"].as_str().unwrap());
        person.get("/api/contacts/").await.expect(200);
    }
    let suspended = acme.person("company_user").await;
    acme.db.execute("update users set status = 'suspended' where id = $1", &[&suspended.id]).await.unwrap();
    assert_eq!(acme.admin.put(&path(&suspended), json!({})).await.expect(200)["status"], json!("suspended"));
}
