//! Companies (contract: companies).

use crate::support::{
    database::OwnDatabase,
    server::{config, start_server},
    world::{PASSWORD, Person, World},
};
use ringfence::db;
use serde_json::{Value, json};
use uuid::Uuid;

fn path(company: impl std::fmt::Display) -> String {
    format!("/api/companies/{company}")
}

fn unique(start: &str) -> String {
    format!("{start}-{}", Uuid::new_v4().simple())
}

#[tokio::test]
async fn members_read_their_own_company_and_strangers_none() {
    let (acme, other) = (World::new().await, World::new().await);
    let gone = acme.person("company_user").await;
    acme.admin.delete(&format!("/api/users/{}", gone.id)).await.expect(200);
    let company = acme.member.get(&path(acme.company)).await.expect(200);
    let mut fields: Vec<_> = company.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let wanted = "address city created_at currency days_remaining domain email id logo_url name phone plan settings state status subscription_status timezone trial_ends_at user_count zip";
    assert_eq!(fields.join(" "), wanted);
    assert_eq!((&company["user_count"], &company["settings"]), (&json!(2), &json!({})));
    assert_eq!((&company["timezone"], &company["currency"]), (&json!("UTC"), &json!("USD")));
    for id in [acme.company, Uuid::now_v7()] {
        for stranger in [&other.member, &other.admin, &other.person("Super Admin").await, &acme.lone().await] {
            assert_eq!(stranger.get(&path(id)).await.detail(403), "Access denied to this company");
            assert_eq!(stranger.get(&format!("{}/users", path(id))).await.detail(403), "Access denied to this company");
        }
    }
    let staff = acme.super_admin().await;
    assert_eq!(staff.get(&path(acme.company)).await.expect(200), company);
    assert_eq!(staff.get(&path(Uuid::now_v7())).await.detail(404), "Company not found");
    staff.get(&path("nonsense")).await.expect(422);
    acme.member.get(&path("nonsense")).await.expect(422);
    Person::nobody().get(&path(acme.company)).await.detail(403);
}

#[tokio::test]
async fn a_trial_has_days_remaining() {
    let acme = World::new().await;
    let set = "update companies set subscription_status = 'trial', trial_ends_at = now() + $2 * interval '1 day' where id = $1";
    for (days, remaining) in [(3.5, 3), (-2.0, 0)] {
        acme.db.execute(set, &[&acme.company, &days]).await.unwrap();
        let company = acme.member.get(&path(acme.company)).await.expect(200);
        assert_eq!((&company["days_remaining"], &company["subscription_status"]), (&json!(remaining), &json!("trial")));
    }
    let endless = "update companies set trial_ends_at = null where id = $1";
    acme.db.execute(endless, &[&acme.company]).await.unwrap();
    assert_eq!(acme.member.get(&path(acme.company)).await.expect(200)["days_remaining"], Value::Null);
    acme.db
        .execute("update companies set subscription_status = 'active' where id = $1", &[&acme.company])
        .await
        .unwrap();
    assert_eq!(acme.member.get(&path(acme.company)).await.expect(200)["days_remaining"], Value::Null);
}

#[tokio::test]
async fn admins_change_their_company() {
    let acme = World::new().await;
    let change = json!({
        "name": format!(" {} ", unique("Renamed")), "email": "", "phone": "+1 555", "address": "1 Road", "city": "Town", "state": "TX",
        "zip": "7", "timezone": "europe/berlin", "currency": "EUR", "logo_url": "https://x.io/l.png", "domain": unique("d"),
        "settings": {}, "id": Uuid::nil(), "subscription_status": "expired", "trial_ends_at": "2030-01-01", "unknown": 1,
    });
    let changed = acme.admin.put(&path(acme.company), change.clone()).await.expect(200);
    assert_eq!(changed["name"], json!(change["name"].as_str().unwrap().trim()));
    assert_eq!(
        (&changed["zip"], &changed["currency"], &changed["user_count"]),
        (&json!("7"), &json!("EUR"), &json!(2))
    );
    assert_eq!((&changed["timezone"], &changed["id"]), (&json!("Europe/Berlin"), &json!(acme.company)));
    assert_eq!(changed["subscription_status"], json!("active"));
    assert_eq!(acme.member.get(&path(acme.company)).await.expect(200), changed);
    let nothing = json!({"settings": null, "plan": null, "status": null});
    assert_eq!(acme.admin.put(&path(acme.company), nothing).await.expect(200), changed);
    let odd = acme.admin.put(&path(acme.company), json!({"plan": 5})).await.expect(422);
    let odd = &odd["detail"][0];
    assert_eq!([&odd["type"], &odd["loc"]], [&json!("value_error"), &json!(["body", "plan"])]);
    let label = acme.person("Admin").await;
    let changed = label.put(&path(acme.company), json!({"city": null, "domain": ""})).await.expect(200);
    assert_eq!((&changed["city"], &changed["domain"], &changed["zip"]), (&json!(null), &json!(null), &json!("7")));
    for (field, bad) in [
        ("name", json!(null)),
        ("name", json!(" ")),
        ("name", json!("<i>x</i>")),
        ("name", json!("x".repeat(256))),
        ("timezone", json!(null)),
        ("timezone", json!("")),
        ("timezone", json!("Mars/Olympus")),
        ("timezone", json!("factory")),
        ("timezone", json!("posixrules")),
        ("timezone", json!("localtime")),
        ("timezone", json!("../../etc/passwd")),
        ("currency", json!(null)),
        ("currency", json!("x".repeat(11))),
        ("phone", json!("1".repeat(51))),
        ("address", json!("x".repeat(256))),
        ("state", json!("x".repeat(101))),
        ("zip", json!("1".repeat(21))),
        ("domain", json!("x".repeat(256))),
        ("logo_url", json!("x".repeat(501))),
        ("city", json!("\u{0}")),
        ("settings", json!({"unknown": true})),
        ("settings", json!([])),
        ("plan", json!("gold")),
        ("status", json!("deleted")),
        ("twilio_auth_token", json!("x".repeat(256))),
        ("twilio_account_sid", json!("AC/../../x?y=1#")),
    ] {
        acme.admin.put(&path(acme.company), json!({field: bad})).await.expect(422);
    }
}

#[tokio::test]
async fn others_do_not_change_a_company() {
    let (acme, other) = (World::new().await, World::new().await);
    let change = json!({"city": "Stolen", "twilio_auth_token": "stolen-stolen-stolen"});
    for role in ["company_user", "admin", "Super Admin", "Sales Manager"] {
        acme.person(role).await.put(&path(acme.company), change.clone()).await.detail(403);
    }
    for id in [acme.company, Uuid::now_v7()] {
        let answer = other.admin.put(&path(id), change.clone()).await;
        assert_eq!(answer.detail(403), "Access denied to this company");
    }
    acme.lone().await.put(&path(acme.company), change).await.detail(403);
    for field in [json!({"plan": "enterprise"}), json!({"status": "active"}), json!({"plan": "free", "city": "X"})] {
        acme.admin.put(&path(acme.company), field).await.detail(403);
    }
    assert_eq!(acme.member.get(&path(acme.company)).await.expect(200)["city"], Value::Null);
    let secrets: i64 =
        acme.value("select count(*) from app.company_secrets where company_id = $1", &[&acme.company]).await;
    assert_eq!(secrets, 0);
}

#[tokio::test]
async fn what_breaks_a_rule_can_be_saved_as_it_is_stored() {
    let (acme, other) = (World::new().await, World::new().await);
    let (name, domain) = (format!("<b>{}</b>", acme.name), unique("Domain"));
    let set =
        "update companies set name = $2, domain = $3, logo_url = 'logo.png', timezone = 'Mars/Olympus' where id = $1";
    acme.db.execute(set, &[&acme.company, &name, &domain]).await.unwrap();
    let set = "update companies set domain = lower($2) where id = $1";
    acme.db.execute(set, &[&other.company, &domain]).await.unwrap();
    let stored = acme.admin.get(&path(acme.company)).await.expect(200);
    let mut record = stored.clone();
    record.as_object_mut().unwrap().retain(|field, _| !["plan", "status"].contains(&field.as_str()));
    for (person, city) in [(&acme.admin, "Town"), (&acme.super_admin().await, "City")] {
        record["city"] = json!(city);
        let saved = person.put(&path(acme.company), record.clone()).await.expect(200);
        for field in ["name", "domain", "logo_url", "timezone"] {
            assert_eq!(saved[field], stored[field], "{field}");
        }
        assert_eq!(saved["city"], json!(city));
        for (field, new) in [("name", "<i>x</i>"), ("logo_url", "other.png"), ("timezone", "Mars/Base")] {
            let mut other = record.clone();
            other[field] = json!(new);
            let refused = person.put(&path(acme.company), other).await.expect(422);
            assert_eq!(refused["detail"][0]["loc"], json!(["body", field]));
        }
        person.put(&path(other.company), json!({"name": name})).await.expect(422);
    }
}

/// The migration lowercases stored domains, except those that another company has.
#[tokio::test]
async fn stored_domains_become_lower_where_nobody_else_has_them() {
    let own = OwnDatabase::new().await;
    let db = db::connect(&own.admin).await.unwrap();
    let add = "insert into companies (name, domain) values ('A', 'A.Example'), ('B', 'B.Example'), ('C', 'b.example'), ('D', null), ('E', 'e.example')";
    db.batch_execute(add).await.unwrap();
    let migration = include_str!("../../migrations/V0072__kept_as_it_was.sql");
    db.batch_execute(&migration[migration.find("set role ringfence_platform").unwrap()..]).await.unwrap();
    let domains = db.query("select domain from companies order by name", &[]).await.unwrap();
    let domains: Vec<Option<String>> = domains.iter().map(|row| row.get(0)).collect();
    let wanted = [Some("a.example"), Some("B.Example"), Some("b.example"), None, Some("e.example")];
    assert_eq!(domains, wanted.map(|domain| domain.map(str::to_owned)));
    drop(db);
    own.drop().await;
}

#[tokio::test]
async fn names_and_domains_are_taken_once() {
    let (acme, other) = (World::new().await, World::new().await);
    let domain = unique("domain");
    acme.admin.put(&path(acme.company), json!({ "domain": domain })).await.expect(200);
    let staff = acme.super_admin().await;
    for person in [&other.admin, &staff] {
        let answer = person.put(&path(other.company), json!({ "domain": domain })).await;
        assert!(answer.detail(400).contains("already in use"));
        let answer = person.put(&path(other.company), json!({ "name": acme.name })).await;
        assert!(answer.detail(400).contains("already exists"));
    }
    let shouted = json!({ "domain": domain.to_uppercase() });
    assert!(other.admin.put(&path(other.company), shouted).await.detail(400).contains("already in use"));
    for unseen in ["\u{200b}", "\u{2060}\u{3164}", "\u{202e} \u{ad}"] {
        let answer = other.admin.put(&path(other.company), json!({ "name": unseen })).await;
        assert_eq!(answer.expect(422)["detail"][0]["msg"], "The name must not be empty");
    }
    let new = json!({"name": unique("New"), "domain": domain});
    assert!(staff.post("/api/companies/", new).await.detail(400).contains("already in use"));
    assert!(staff.post("/api/companies/", json!({"name": acme.name})).await.detail(400).contains("already exists"));
}

/// At a terminal, companies are told apart by their names.
#[tokio::test]
async fn a_name_is_what_it_looks_like() {
    let acme = World::new().await;
    let staff = acme.super_admin().await;
    let registered = async |name: &str| {
        let email = format!("{}@example.com", unique("a"));
        let new = json!({"company_name": name, "admin_email": email, "admin_password": PASSWORD,
            "admin_first_name": "A", "admin_last_name": "B"});
        Person::nobody().post("/api/register/company", new).await
    };
    let id = Uuid::new_v4();
    for (name, problem) in [
        (format!("{}\u{200b}", acme.name), "must not contain invisible characters"),
        (format!("A\u{202e}{}", unique("B")), "must not contain invisible characters"),
        (format!("\u{1b}[2J{}", unique("B")), "must not contain invisible characters"),
        (format!("A\n{}", unique("B")), "must not contain invisible characters"),
        (format!("A\u{2028}{}", unique("B")), "must not contain invisible characters"),
        (id.to_string(), "must not be an id"),
        (format!(" {} ", id.simple()), "must not be an id"),
    ] {
        for answer in [
            acme.admin.put(&path(acme.company), json!({ "name": name })).await,
            staff.put(&path(acme.company), json!({ "name": name })).await,
            staff.post("/api/companies/", json!({ "name": name })).await,
            registered(&name).await,
        ] {
            let said = answer.expect(422)["detail"][0]["msg"].as_str().unwrap().to_owned();
            assert!(said.contains(problem), "{name:?}: {said}");
        }
    }
    for name in [unique("Gärtnerei Süß ❤️"), unique("شركة"), unique("株式会社")] {
        acme.admin.put(&path(acme.company), json!({ "name": name })).await.expect(200);
    }
}

#[tokio::test]
async fn secrets_are_sealed_and_never_shown() {
    let acme = World::new().await;
    let token = "a-very-secret-token-9876";
    let body = json!({"twilio_auth_token": format!(" {token}\n"), "sendgrid_api_key": "short"});
    let answer = acme.admin.put(&path(acme.company), body).await;
    assert!(answer.status == 200 && !answer.text.contains(token) && !answer.text.contains("twilio"), "{}", answer.text);
    let kept = "select name, sealed, last_four from app.company_secrets where company_id = $1 order by name";
    let rows = acme.db.query(kept, &[&acme.company]).await.unwrap();
    let names: Vec<(String, String)> = rows.iter().map(|row| (row.get("name"), row.get("last_four"))).collect();
    let wanted = [("sendgrid_api_key", ""), ("twilio_auth_token", "9876")];
    assert_eq!(names, wanted.map(|(name, last)| (name.to_owned(), last.to_owned())));
    let sealed: Vec<u8> = rows[1].get("sealed");
    let sealer = ringfence::seal::Sealer::new(&crate::support::server::config().secret_key).unwrap();
    assert_eq!(sealer.open(acme.company, "twilio_auth_token", &sealed).unwrap(), token);
    let forget = json!({"twilio_account_sid": null, "twilio_auth_token": " ", "city": "X"});
    acme.admin.put(&path(acme.company), forget).await.expect(200);
    let staff = acme.super_admin().await;
    staff.put(&path(acme.company), json!({"sendgrid_api_key": "SG.of-the-platform"})).await.expect(200);
    let rows = acme.db.query(kept, &[&acme.company]).await.unwrap();
    let names: Vec<(String, String)> = rows.iter().map(|row| (row.get("name"), row.get("last_four"))).collect();
    assert_eq!(names, [("sendgrid_api_key".to_owned(), "form".to_owned())]);
    assert_eq!(
        staff.put(&path(Uuid::now_v7()), json!({"sendgrid_api_key": "x"})).await.detail(404),
        "Company not found"
    );
    // A change that fails keeps no secret either.
    let other = World::new().await;
    let body = json!({"name": acme.name, "twilio_auth_token": token});
    other.admin.put(&path(other.company), body).await.detail(400);
    assert_eq!(other.db.query(kept, &[&other.company]).await.unwrap().len(), 0);
}

#[tokio::test]
async fn settings_are_merged() {
    let acme = World::new().await;
    acme.db.execute("update companies set settings = '{\"kept\": 1}' where id = $1", &[&acme.company]).await.unwrap();
    for person in [&acme.admin, &acme.super_admin().await] {
        let changed = person.put(&path(acme.company), json!({"settings": {}})).await.expect(200);
        assert_eq!(changed["settings"], json!({"kept": 1}));
    }
}

#[tokio::test]
async fn a_super_admin_makes_changes_and_deletes_companies() {
    let acme = World::new().await;
    let staff = acme.super_admin().await;
    let name = unique("Made");
    let made = staff.post("/api/companies", json!({"name": format!(" {name} "), "plan": "pro", "domain": ""})).await;
    let made = made.expect(200);
    assert_eq!((&made["name"], &made["plan"], &made["domain"]), (&json!(name), &json!("pro"), &json!(null)));
    assert_eq!((&made["timezone"], &made["currency"]), (&json!("UTC"), &json!("USD")));
    assert_eq!((&made["user_count"], &made["status"]), (&json!(0), &json!("active")));
    let id = made["id"].as_str().unwrap();
    let changed =
        staff.put(&path(id), json!({"plan": "enterprise", "status": "pending", "city": "X"})).await.expect(200);
    assert_eq!((&changed["plan"], &changed["status"]), (&json!("enterprise"), &json!("pending")));
    assert_eq!(staff.get(&path(id)).await.expect(200), changed);
    staff.delete(&path(id)).await.expect(200);
    assert_eq!(staff.delete(&path(id)).await.detail(404), "Company not found");
    assert_eq!(staff.put(&path(id), json!({})).await.detail(404), "Company not found");
    assert_eq!(staff.get(&path(id)).await.detail(404), "Company not found");
    for bad in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "<b>x</b>"}),
        json!({"name": "x", "plan": "gold"}),
        json!({"name": "x", "timezone": "Nowhere"}),
        json!({"name": "x", "currency": ""}),
        json!({"name": "x", "domain": "x".repeat(256)}),
    ] {
        staff.post("/api/companies/", bad).await.expect(422);
    }
    for person in [&acme.admin, &acme.member, &acme.person("Super Admin").await, &acme.lone().await] {
        person.post("/api/companies/", json!({"name": unique("Mine")})).await.detail(403);
        person.get("/api/companies/").await.detail(403);
        person.delete(&path(acme.company)).await.detail(403);
    }
}

#[tokio::test]
async fn a_company_goes_with_all_it_owned_when_nobody_is_in_it() {
    let acme = World::new().await;
    let staff = acme.super_admin().await;
    acme.contact("Ada", "Lovelace").await;
    acme.historical_sms(&acme.member, "old").await;
    let deal = json!({"title": "D", "value": 1, "stage_id": "Lead"});
    let deal = acme.member.post("/api/deals/", deal).await.expect(200);
    let call = json!({"type": "call", "subject": "S", "due_date": "2099-01-01", "deal_id": deal["id"]});
    acme.member.post("/api/activities/", call).await.expect(200);
    let lines = json!([{"description": "x", "unit_price": 1}]);
    let quote = json!({"title": "Q", "amount": 1, "deal_id": deal["id"], "line_items": lines});
    acme.member.post("/api/quotes/", quote).await.expect(201);
    let folder = acme.member.post("/api/files/folders", json!({"name": "F"})).await.expect(200);
    acme.member.post("/api/files/folders", json!({"name": "G", "parent_id": folder["id"]})).await.expect(200);
    acme.member.post("/api/files/", json!({"name": "x", "folder_id": folder["id"]})).await.expect(200);
    acme.admin.put(&path(acme.company), json!({"sendgrid_api_key": "SG.secret-secret"})).await.expect(200);
    let refusal = async || staff.delete(&path(acme.company)).await.detail(400);
    assert_eq!(refusal().await, "The company has 2 users: remove them first");
    acme.member.delete("/api/users/me").await.expect(200);
    assert_eq!(refusal().await, "The company has 1 user: remove them first");
    acme.admin.delete("/api/users/me").await.expect(200);
    staff.delete(&path(acme.company)).await.expect(200);
    let tables = "select table_name from app.protected_table union all select 'members'";
    for table in acme.db.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let left: i64 =
            acme.value(&format!("select count(*) from {table} where tenant_id = $1"), &[&acme.company]).await;
        assert_eq!(left, 0, "{table}");
    }
    let log = "select array_agg(distinct table_name) from audit_log where tenant_id = $1 and action = 'delete'";
    assert_eq!(acme.value::<Vec<String>>(log, &[&acme.company]).await, ["companies", "company_secrets"]);
}

/// Deletions that take longer than a statement may are left to the command, which uses several transactions.
#[tokio::test(flavor = "multi_thread")]
async fn a_company_that_is_too_large_is_left_to_the_command() {
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    let slow = "create function public.slow() returns trigger language plpgsql as 'begin perform pg_sleep(9); return old; end';
        create trigger slow before delete on contacts for each row execute function public.slow()";
    let limit = format!("alter role ringfence_api in database {} set statement_timeout = '3s'", own.name);
    admin.batch_execute(&format!("{slow}; {limit}")).await.unwrap();
    let base = start_server(config(), &own.api);
    let acme = World::alone_at(&own, &base).await;
    acme.contact("Ada", "Lovelace").await;
    let staff = acme.super_admin().await.at(&base);
    acme.member.delete("/api/users/me").await.expect(200);
    acme.admin.delete("/api/users/me").await.expect(200);
    let said = staff.delete(&path(acme.company)).await.detail(409);
    assert!(said.contains(&format!("ringfence erase company {}", acme.company)), "{said}");
    assert_eq!(acme.value::<i64>("select count(*) from contacts", &[]).await, 1);
    admin.batch_execute("drop trigger slow on contacts").await.unwrap();
    staff.delete(&path(acme.company)).await.expect(200);
    drop((acme, admin));
    own.drop().await;
}

#[tokio::test]
async fn the_list_is_of_every_other_company_by_status() {
    let acme = World::new().await;
    let staff = acme.person("super_admin").await;
    let other = World::new().await;
    staff.put(&path(other.company), json!({"status": "suspended"})).await.expect(200);
    other.member.get("/api/users/me").await.detail(403);
    let found = async |query: &str| {
        let mut ids = Vec::new();
        for skip in (0..).step_by(1000) {
            let page = staff.get(&format!("/api/companies/?limit=1000&skip={skip}{query}")).await.expect(200);
            let page = page.as_array().unwrap().clone();
            ids.extend(page.iter().map(|company| company["id"].as_str().unwrap().to_owned()));
            if page.len() < 1000 {
                return ids;
            }
        }
        unreachable!()
    };
    let (all, suspended, active) = (found("").await, found("&status=suspended").await, found("&status=active").await);
    let id = other.company.to_string();
    assert!(all.contains(&id) && suspended.contains(&id) && !active.contains(&id));
    assert!(!all.contains(&acme.company.to_string()), "the own company");
    assert_eq!(staff.get("/api/companies?limit=1").await.expect(200).as_array().unwrap().len(), 1);
    staff.get("/api/companies/?status=gone").await.expect(422);
    staff.get("/api/companies/?limit=-1").await.expect(422);
    staff.put(&path(other.company), json!({"status": "active"})).await.expect(200);
    other.member.get("/api/users/me").await.expect(200);
}

#[tokio::test]
async fn members_and_super_admins_see_a_companys_people() {
    let acme = World::new().await;
    let list = acme.member.get(&format!("{}/users", path(acme.company))).await.expect(200);
    assert_eq!(list.as_array().unwrap().len(), 2);
    let mut fields: Vec<_> = list[0].as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields.join(" "), "created_at email first_name id last_name status user_role");
    let staff = acme.super_admin().await;
    assert_eq!(staff.get(&format!("{}/users", path(acme.company))).await.expect(200), list);
    assert_eq!(staff.get(&format!("{}/users", path(Uuid::now_v7()))).await.detail(404), "Company not found");
}

#[tokio::test]
async fn admins_make_accounts_for_colleagues() {
    let (acme, other) = (World::new().await, World::new().await);
    let url = format!("{}/users", path(acme.company));
    let email = format!("{}@Example.com", unique("New"));
    let colleague = |role: &str| json!({"email": email, "first_name": "A", "last_name": "B", "password": "Correct7Horse", "user_role": role});
    for person in [&acme.member, &acme.person("Admin").await, &other.member, &acme.lone().await] {
        person.post(&url, colleague("company_user")).await.detail(403);
    }
    for id in [acme.company, Uuid::now_v7()] {
        let answer = other.admin.post(&format!("{}/users", path(id)), colleague("company_user")).await;
        assert_eq!(answer.detail(403), "Access denied to this company");
    }
    acme.admin.post(&url, colleague("super_admin")).await.detail(403);
    acme.admin.post(&url, colleague("Sales Rep")).await.expect(422);
    let mut weak = colleague("company_user");
    weak["password"] = json!("weak");
    assert!(acme.admin.post(&url, weak).await.detail(400).contains("Password must"));
    let mut fixed = colleague("company_user");
    (fixed["email"], fixed["password"]) = (json!(format!("{}@example.com", unique("fixed"))), json!("Welcome1!"));
    acme.admin.post(&url, fixed).await.expect(200);
    let mut nameless = colleague("company_user");
    nameless["first_name"] = json!(" ");
    acme.admin.post(&url, nameless).await.expect(422);
    let made = acme.admin.post(&url, colleague("company_admin")).await.expect(200);
    assert_eq!(made["email"], json!(email.to_lowercase()));
    let again = acme.admin.post(&url, colleague("company_user")).await;
    assert_eq!(again.detail(400), "Email already registered");
    let session = Person::nobody().post("/api/auth/login", json!({"email": email, "password": "Correct7Horse"})).await;
    let user = session.expect(200)["user"].clone();
    assert_eq!((&user["role"], &user["company_id"]), (&json!("company_admin"), &json!(acme.company)));

    let staff = acme.super_admin().await;
    let body = |role: &str| json!({"email": format!("{}@x.io", unique("s")), "first_name": "A", "last_name": "B", "password": PASSWORD, "user_role": role});
    let unknown = staff.post(&format!("{}/users", path(Uuid::now_v7())), body("company_user")).await;
    assert_eq!(unknown.detail(404), "Company not found");
    staff.post(&url, body("super_admin")).await.expect(200);
    let mut plain = body("company_user");
    plain.as_object_mut().unwrap().remove("user_role");
    let made = staff.post(&url, plain).await.expect(200);
    let role: String =
        acme.value("select user_role from users where id = $1::text::uuid", &[&made["id"].as_str()]).await;
    assert_eq!(role, "company_user");
}

/// Users of a company whose subscription has ended cannot get in, and no other route changes that.
#[tokio::test]
async fn a_company_that_a_super_admin_makes_active_lets_its_people_in() {
    let acme = World::new().await;
    let staff = acme.super_admin().await;
    for ended in ["expired", "suspended"] {
        let end = "update companies set subscription_status = $2 where id = $1";
        acme.db.execute(end, &[&acme.company, &ended]).await.unwrap();
        acme.member.get("/api/contacts/").await.detail(403);
        let kept = staff.put(&path(acme.company), json!({"name": unique("Ended")})).await.expect(200);
        assert_eq!(kept["subscription_status"], ended);
        // A form may send the status along with what is changed.
        let whole = json!({"name": kept["name"], "city": ended, "status": "active"});
        let kept = staff.put(&path(acme.company), whole).await.expect(200);
        assert_eq!([&kept["city"], &kept["subscription_status"]], [ended; 2]);
        acme.member.get("/api/contacts/").await.detail(403);
        let opened = staff.put(&path(acme.company), json!({"status": "active"})).await.expect(200);
        assert_eq!([&opened["status"], &opened["subscription_status"]], [&json!("active"), &json!("active")]);
        acme.member.get("/api/contacts/").await.expect(200);
    }
    let logged = "select count(*) from audit_log where tenant_id = $1 and user_id = $2 and after ->> 'subscription_status' = 'active'";
    assert_eq!(acme.value::<i64>(logged, &[&acme.company, &staff.id]).await, 2);
    let end = "update companies set status = 'suspended', subscription_status = 'expired' where id = $1";
    acme.db.execute(end, &[&acme.company]).await.unwrap();
    let opened = staff.put(&path(acme.company), json!({"city": "Graz", "status": "active"})).await.expect(200);
    assert_eq!(opened["subscription_status"], "active");
    let host = format!("{}.Example", Uuid::new_v4());
    let end = "update companies set subscription_status = 'expired', domain = $2 where id = $1";
    acme.db.execute(end, &[&acme.company, &host]).await.unwrap();
    let form = json!({"domain": host, "city": "Graz", "status": "active"});
    assert_eq!(staff.put(&path(acme.company), form).await.expect(200)["subscription_status"], "active");
    acme.db
        .execute("update companies set subscription_status = 'trial' where id = $1", &[&acme.company])
        .await
        .unwrap();
    let trial = staff.put(&path(acme.company), json!({"status": "active"})).await.expect(200);
    assert_eq!(trial["subscription_status"], "trial");
}
