//! Registering a company (contract: registration).

use crate::support::world::{Answer, Person, World};
use serde_json::{Value, json};
use uuid::Uuid;

fn company(name: &str, email: &str) -> Value {
    json!({"company_name": name, "admin_email": email, "admin_password": "Horse123x", "admin_first_name": "Ann", "admin_last_name": "Bee", "phone": ""})
}

async fn register(body: Value) -> Answer {
    Person::nobody().post("/api/register/company", body).await
}

fn fresh(start: &str) -> String {
    format!("{start}{}", Uuid::new_v4().simple())
}

#[tokio::test]
async fn a_company_comes_with_its_admin_and_a_trial() {
    let world = World::new().await;
    let (name, email) = (fresh("Acme "), format!("{}@example.com", fresh("Ann")));
    let made = register(company(&format!(" {name} "), &email)).await.expect(200);
    assert_eq!((&made["success"], &made["admin_email"]), (&json!(true), &json!(email.to_lowercase())));
    let admin = world.admin.with_token(made["access_token"].as_str().unwrap());
    let me = admin.get("/api/auth/me").await.expect(200);
    assert_eq!((&me["role"], &me["company_id"]), (&json!("company_admin"), &made["company_id"]));
    let id: Uuid = made["company_id"].as_str().unwrap().parse().unwrap();
    let row = "select name || '|' || plan || '|' || status || '|' || subscription_status || '|' || (trial_ends_at - created_at) || '|' || monthly_price from companies where id = $1";
    assert_eq!(world.value::<String>(row, &[&id]).await, format!("{name}|pro|active|trial|14 days|0"));
    admin.get("/api/contacts/").await.expect(200);
}

#[tokio::test]
async fn a_name_and_an_address_are_taken_once() {
    let (name, email) = (fresh("Acme "), format!("{}@example.com", fresh("ann")));
    let path = |what: &str, value: &str| format!("/api/register/check-{what}/{}", value.replace(' ', "%20"));
    let free = async |path: &str| Person::nobody().get(path).await.expect(200)["available"].as_bool().unwrap();
    assert!(free(&path("company", &name)).await && free(&path("email", &email)).await);
    register(company(&name, &email)).await.expect(200);
    assert!(!free(&path("company", &name)).await && !free(&path("email", &email.to_uppercase())).await);
    assert!(!free(&path("company", &format!(" {name} "))).await, "it is registered without blanks around it");
    assert!(register(company(&name, &format!("x{email}"))).await.detail(400).contains("already exists"));
    assert_eq!(register(company(&fresh("Acme "), &email.to_uppercase())).await.detail(400), "Email already registered");
    assert!(free(&path("email", &format!("x{email}"))).await, "a refused registration leaves nothing");
}

#[tokio::test]
async fn fields_are_checked() {
    for (field, value) in [
        ("company_name", "x"),
        ("company_name", "   "),
        ("company_name", "<b>x</b>"),
        ("admin_email", "none"),
        ("admin_password", "Short1"),
        ("admin_password", "password1"),
        ("admin_password", "NODIGITS"),
        ("admin_password", "Passwort2026"),
        ("admin_first_name", " "),
    ] {
        let mut body = company(&fresh("Acme "), &format!("{}@example.com", fresh("ann")));
        body[field] = json!(value);
        let answer = register(body).await.expect(422);
        assert_eq!(answer["detail"][0]["loc"][1], field, "{value}: {answer}");
    }
}
