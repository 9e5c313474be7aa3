//! The leaks that were reproduced on the backend which this one replaces, by their numbers: each is refused here, and A's
//! rows stay as they were.

use crate::world::{PASSWORD, Person, World};
use serde_json::{Value, json};
use uuid::Uuid;

async fn two() -> (World, World, Value, String) {
    let (a, b) = (World::new().await, World::new().await);
    let contact = a.contact("Ada", "Secret").await;
    let path = format!("/api/contacts/{}", contact["id"].as_str().unwrap());
    (a, b, contact, path)
}

#[tokio::test]
async fn l1_l2_l3_a_contact_by_its_id() {
    let (a, b, contact, path) = two().await;
    let unknown = format!("/api/contacts/{}", Uuid::now_v7());
    for who in [&b.admin, &b.member, &b.lone().await, &b.super_admin().await] {
        for (method, body) in [
            ("GET", None),
            ("PUT", Some(json!({"first_name": "x", "owner_id": b.admin.id}))),
            ("PATCH", Some(json!({}))),
            ("DELETE", None),
        ] {
            let (theirs, nobodys) =
                (who.send(method, &path, body.as_ref()).await, who.send(method, &unknown, body.as_ref()).await);
            assert_eq!(
                (theirs.detail(404), nobodys.detail(404)),
                ("Contact not found".into(), "Contact not found".into()),
                "{method}"
            );
        }
    }
    assert_eq!(a.admin.get(&path).await.expect(200), contact);
}

#[tokio::test]
async fn l4_l38_figures_are_of_the_own_company() {
    let (a, b, ..) = two().await;
    a.db.execute("update contacts set company = 'Employer of A' where tenant_id = $1", &[&a.company]).await.unwrap();
    let empty = json!({"total_contacts": 0, "total_companies": 0, "companies_breakdown": {}});
    assert_eq!(b.admin.get("/api/contacts/stats/summary").await.expect(200), empty);
    for who in [b.lone().await, b.super_admin().await] {
        let answer = who.get("/api/contacts/stats/summary").await;
        assert!(!answer.text.contains("Employer"), "{}", answer.text);
    }
}

#[tokio::test]
async fn l5_l6_an_import_neither_sees_nor_removes_another_companys_contacts() {
    let (a, _, contact, path) = two().await;
    let email = contact["email"].as_str().unwrap();
    let csv = format!("email,first_name\n{email},Imported\n");
    for deleted in [false, true] {
        if deleted {
            a.admin.delete(&path).await.expect(200);
        }
        let world = World::new().await;
        let answer = world.admin.upload("/api/contacts/upload-csv", "c.csv", "text/csv", csv.clone()).await.expect(200);
        assert_eq!((&answer["created_count"], &answer["errors"]), (&json!(1), &json!([])), "{answer}");
    }
    let kept: i64 = a.value("select count(*) from contacts where tenant_id = $1", &[&a.company]).await;
    assert_eq!(kept, 1, "A's deleted row is still there");
}

#[tokio::test]
async fn l7_an_owner_of_another_company() {
    let (a, b, ..) = two().await;
    let body = |owner: Uuid| json!({"first_name": "x", "last_name": "y", "email": "x@y.z", "owner_id": owner});
    let theirs = b.admin.post("/api/contacts/", body(a.admin.id)).await;
    let nobodys = b.admin.post("/api/contacts/", body(Uuid::now_v7())).await;
    assert_eq!(theirs.detail(404), nobodys.detail(404));
    let csv = format!("email,owner_id\nx@y.z,{}\n", a.admin.id);
    let answer = b.admin.upload("/api/contacts/upload-csv", "c.csv", "text/csv", csv).await.expect(200);
    assert_eq!(answer["created_count"], 0, "{answer}");
}

#[tokio::test]
async fn l30_l31_l32_a_user_of_another_company() {
    let (a, b, ..) = two().await;
    let path = format!("/api/users/{}", a.admin.id);
    for role in ["company_admin", "admin", "Admin", "Super Admin", "company_user"] {
        let who = b.person(role).await;
        who.get(&path).await.expect(404);
        let change = json!({"email": "stolen@example.com", "role": "company_user"});
        for answer in [who.put(&path, change).await, who.delete(&path).await] {
            assert!(
                [403, 404].contains(&answer.status) && !answer.text.contains(&a.admin.email),
                "{role}: {}",
                answer.text
            );
        }
    }
    assert_eq!(a.admin.get("/api/auth/me").await.expect(200)["email"], json!(a.admin.email));
}

#[tokio::test]
async fn l33_l34_a_stranger_registers_into_a_company_or_as_staff() {
    let a = World::new().await;
    for role in ["company_admin", "super_admin", "Super Admin", "Admin"] {
        for company in [json!(a.company), json!(null)] {
            let email = format!("{}@example.com", Uuid::new_v4());
            let body = json!({"email": email, "password": PASSWORD, "first_name": "x", "last_name": "y", "role": role, "company_id": company});
            let made = Person::nobody().post("/api/auth/register", body).await.expect(200);
            let token = made["access_token"].as_str().unwrap();
            assert_eq!(token.is_empty(), !company.is_null());
            let who = Person::nobody().with_token(token);
            for path in [
                "/api/contacts/stats/summary".to_owned(),
                "/api/companies/".into(),
                format!("/api/companies/{}", a.company),
                format!("/api/companies/{}/users", a.company),
            ] {
                let answer = who.get(&path).await;
                assert!([401, 403].contains(&answer.status), "{path}: {}", answer.text);
            }
            assert_eq!(
                who.put(&format!("/api/companies/{}", a.company), json!({"status": "suspended"})).await.status / 100,
                4
            );
        }
    }
}

#[tokio::test]
async fn l35_the_reset_code_is_not_in_the_answer() {
    let a = World::new().await;
    let answer = Person::nobody().post("/api/auth/forgot-password", json!({"email": a.admin.email})).await;
    assert_eq!(answer.clone().expect(200).as_object().unwrap().keys().collect::<Vec<_>>(), ["message"]);
    assert!(!answer.text.chars().any(|c| c.is_ascii_digit()), "{}", answer.text);
}

#[tokio::test]
async fn l36_l37_an_admin_makes_no_super_admin() {
    let (a, b, ..) = two().await;
    let email = || format!("{}@example.com", Uuid::new_v4());
    let new = json!({"email": email(), "first_name": "x", "last_name": "y", "password": PASSWORD, "user_role": "super_admin"});
    b.admin.post(&format!("/api/companies/{}/users", b.company), new.clone()).await.expect(403);
    b.admin.post(&format!("/api/companies/{}/users", a.company), new).await.expect(403);
    let invitation = json!({"email": email(), "first_name": "x", "last_name": "y", "user_role": "super_admin"});
    assert_eq!(b.admin.post("/api/invitations/send", invitation).await.status / 100, 4);
    b.admin.put(&format!("/api/users/{}", b.member.id), json!({"role": "super_admin"})).await.expect(403);
    b.admin.put(&format!("/api/users/{}", b.admin.id), json!({"role": "super_admin"})).await.expect(403);
    b.admin.put("/api/users/me", json!({"role": "super_admin", "user_role": "super_admin"})).await.expect(200);
    let made: i64 =
        b.value("select count(*) from users where company_id = $1 and user_role = 'super_admin'", &[&b.company]).await;
    assert_eq!(made, 0);
}

#[tokio::test]
async fn l46_l47_tokens_of_the_deleted_and_the_suspended() {
    let a = World::new().await;
    let gone = a.person("company_user").await;
    a.admin.delete(&format!("/api/users/{}", gone.id)).await.expect(200);
    gone.get("/api/contacts/").await.expect(401);
    let staff = a.super_admin().await;
    staff.put(&format!("/api/companies/{}", a.company), json!({"status": "suspended"})).await.expect(200);
    assert!(!a.admin.get("/api/contacts/").await.detail(403).is_empty());
    staff.put(&format!("/api/companies/{}", a.company), json!({"status": "active"})).await.expect(200);
    a.admin.get("/api/contacts/").await.expect(200);
}

#[tokio::test]
async fn l48_a_refresh_token_opens_nothing() {
    let a = World::new().await;
    let session = Person::nobody()
        .post("/api/auth/login", json!({"email": a.admin.email, "password": PASSWORD}))
        .await
        .expect(200);
    let refresh = a.admin.with_token(session["refresh_token"].as_str().unwrap());
    refresh.get("/api/contacts/").await.expect(401);
    refresh.send("POST", "/api/auth/refresh", None).await.expect(200);
}
