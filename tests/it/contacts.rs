//! Contacts (contract: contacts).

use crate::support::world::World;
use serde_json::json;
use uuid::Uuid;

#[tokio::test]
async fn create_answers_the_contact_and_lists_it() {
    let acme = World::new().await;
    let made = acme.member.post("/api/contacts/", json!({"first_name": "Ada", "last_name": "Lovelace", "email": "Ada@x.io", "status": "CUSTOMER", "source": "web"})).await.expect(200);
    assert_eq!(made["owner_id"], json!(acme.member.id));
    assert_eq!((&made["status"], &made["type"], &made["email"]), (&json!("NEW"), &json!("Lead"), &json!("Ada@x.io")));
    assert_eq!((&made["phone"], &made["is_deleted"]), (&json!(null), &json!(false)));
    let listed = acme.admin.get("/api/contacts").await.expect(200);
    assert_eq!(listed, json!([made]));
    let id = made["id"].as_str().unwrap();
    assert_eq!(acme.admin.get(&format!("/api/contacts/{id}")).await.expect(200), made);
}

/// A time that PostgreSQL can store but a calendar cannot breaks no list.
#[tokio::test]
async fn times_beyond_the_calendar_are_shown_as_the_nearest() {
    let acme = World::new().await;
    acme.contact("Ada", "L").await;
    for (odd, shown) in [("infinity", "9999-12-30"), ("-infinity", "0001-01-01"), ("4000-01-01 BC", "0001-01-01")] {
        let set = "update contacts set created_at = $2::text::timestamptz where tenant_id = $1";
        acme.db.execute(set, &[&acme.company, &odd]).await.unwrap();
        let listed = acme.admin.get("/api/contacts/").await.expect(200);
        assert!(listed[0]["created_at"].as_str().unwrap().starts_with(shown), "{odd}: {listed}");
    }
}

#[tokio::test]
async fn an_email_is_used_once_in_a_company_and_freely_across() {
    let (acme, other) = (World::new().await, World::new().await);
    let ada = json!({"first_name": "Ada", "last_name": "L", "email": "ada@x.io"});
    let made = acme.admin.post("/api/contacts/", ada.clone()).await.expect(200);
    let again = json!({"first_name": "A", "last_name": "L", "email": " ADA@x.io\u{a0}\t"});
    assert!(acme.admin.post("/api/contacts/", again.clone()).await.detail(400).contains("already exists"));
    other.admin.post("/api/contacts/", ada.clone()).await.expect(200);
    let path = format!("/api/contacts/{}", made["id"].as_str().unwrap());
    acme.admin.delete(&path).await.expect(200);
    acme.admin.get(&path).await.expect(404);
    assert_eq!(acme.admin.post("/api/contacts/", again).await.expect(200)["email"], "ADA@x.io");
    let second = acme.contact("B", "B").await;
    let path = format!("/api/contacts/{}", second["id"].as_str().unwrap());
    assert!(acme.admin.patch(&path, json!({"email": "ada@X.io "})).await.detail(400).contains("already exists"));
    assert_eq!(acme.admin.patch(&path, json!({"email": " b@x.io "})).await.expect(200)["email"], "b@x.io");
}

#[tokio::test]
async fn update_changes_the_given_fields_only() {
    let acme = World::new().await;
    let made = acme.contact("Ada", "Lovelace").await;
    let path = format!("/api/contacts/{}", made["id"].as_str().unwrap());
    let changed = acme.member.patch(&path, json!({"status": "customer", "phone": "+1 555", "owner_id": "", "company_id": Uuid::nil(), "is_deleted": true})).await.expect(200);
    assert_eq!(
        (&changed["status"], &changed["phone"], &changed["owner_id"]),
        (&json!("CUSTOMER"), &json!("+1 555"), &made["owner_id"])
    );
    assert_eq!((&changed["is_deleted"], &changed["first_name"]), (&json!(false), &json!("Ada")));
    assert!(changed["updated_at"].as_str() > made["updated_at"].as_str());
    let changed = acme.member.put(&path, json!({"phone": null, "owner_id": acme.member.id})).await.expect(200);
    assert_eq!((&changed["phone"], &changed["owner_id"]), (&json!(null), &json!(acme.member.id)));
    acme.member.patch(&path, json!({"status": "nonsense"})).await.expect(422);
    acme.member.patch(&path, json!({"first_name": null})).await.expect(422);
    assert!(acme.member.patch(&path, json!({"email": "none"})).await.detail(400).contains("email"));
}

/// An import adds addresses of any form, and the edit form sends back everything that it was shown.
#[tokio::test]
async fn an_old_address_stays_and_no_new_one_is_like_it() {
    let acme = World::new().await;
    let id: Uuid = acme.contact("Ada", "L").await["id"].as_str().unwrap().parse().unwrap();
    let path = format!("/api/contacts/{id}");
    for old in ["n/a", "", "none"] {
        acme.db.execute("update contacts set email = $2 where id = $1", &[&id, &old]).await.unwrap();
        let mut record = acme.member.get(&path).await.expect(200);
        for name in ["Bea", "Carl"] {
            record["first_name"] = json!(name);
            let saved = acme.member.patch(&path, record.clone()).await.expect(200);
            assert_eq!((&saved["first_name"], &saved["email"]), (&json!(name), &json!(old)));
            record["email"] = json!(format!(" {old} "));
        }
        for new in ["nobody", &format!("{old}.")] {
            let answer = acme.member.patch(&path, json!({"email": new, "first_name": "Dora"})).await;
            assert_eq!(answer.detail(400), "The email must contain @");
        }
        assert_eq!(acme.member.get(&path).await.expect(200)["first_name"], "Carl");
    }
    for answer in [
        World::new().await.member.patch(&path, json!({"email": "none"})).await,
        acme.member.patch(&format!("/api/contacts/{}", Uuid::now_v7()), json!({"email": "none"})).await,
    ] {
        assert_eq!(answer.detail(404), "Contact not found");
    }
}

#[tokio::test]
async fn a_historical_contact_is_not_given_away() {
    let acme = World::new().await;
    let historical = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email)
        values ($1, null, $2, 'Ada', 'L', 'ada@x.io') returning id";
    let id: Uuid = acme.value(historical, &[&acme.company, &acme.member.id]).await;
    let path = format!("/api/contacts/{id}");
    let refused = acme.member.patch(&path, json!({"owner_id": acme.admin.id, "first_name": "Bea"})).await.detail(400);
    assert_eq!(refused, "This contact has no company yet: only you see it, and it cannot be given away");
    assert_eq!(acme.member.patch(&path, json!({"owner_id": Uuid::now_v7()})).await.detail(404), "Owner not found");
    let saved = acme.member.patch(&path, json!({"owner_id": acme.member.id, "last_name": "M"})).await.expect(200);
    assert_eq!((&saved["first_name"], &saved["last_name"]), (&json!("Ada"), &json!("M")));
}

#[tokio::test]
async fn an_owner_of_another_company_is_an_unknown_one() {
    let (acme, other) = (World::new().await, World::new().await);
    let of = |owner: Uuid| json!({"first_name": "A", "last_name": "B", "email": "a@x.io", "owner_id": owner});
    let foreign = acme.admin.post("/api/contacts/", of(other.admin.id)).await;
    let unknown = acme.admin.post("/api/contacts/", of(Uuid::now_v7())).await;
    assert_eq!((foreign.detail(404), unknown.detail(404)), ("Owner not found".into(), "Owner not found".into()));
    let made = acme.contact("A", "B").await;
    let path = format!("/api/contacts/{}", made["id"].as_str().unwrap());
    assert_eq!(acme.admin.patch(&path, json!({"owner_id": other.admin.id})).await.detail(404), "Owner not found");
    acme.admin
        .post("/api/contacts/", json!({"first_name": "A", "last_name": "B", "email": "a@x.io", "owner_id": "x"}))
        .await
        .expect(422);
}

#[tokio::test]
async fn list_searches_filters_and_pages() {
    let acme = World::new().await;
    for (first, last) in [("Ada", "Lovelace"), ("Bob", "Adams"), ("Carl", "50%_Off"), ("Dora", "Moore")] {
        acme.contact(first, last).await;
    }
    let names = |found: serde_json::Value| -> Vec<String> {
        found.as_array().unwrap().iter().map(|c| c["first_name"].as_str().unwrap().to_owned()).collect()
    };
    let find = async |query: &str| names(acme.admin.get(&format!("/api/contacts/?{query}")).await.expect(200));
    assert_eq!(find("").await, ["Ada", "Bob", "Carl", "Dora"]);
    assert_eq!(find("search=aDa").await, ["Ada", "Bob"]);
    assert_eq!(find("search=%25").await, [""; 0]);
    assert_eq!(find("search=50%25_").await, ["Carl"]);
    assert_eq!(find("q=OVEL").await, ["Ada"]);
    assert_eq!(find("q=0%25_o").await, ["Carl"]);
    assert_eq!(find("q=ad&search=lov").await, ["Ada"]);
    assert_eq!(find("q=\\").await, [""; 0]);
    assert_eq!(find("skip=1&limit=2").await, ["Bob", "Carl"]);
    assert_eq!(find("skip=9&limit=2&q=carl&skip=0&q=ad").await, ["Ada", "Bob"]);
    assert_eq!(find("limit=0").await, [""; 0]);
    assert_eq!(find("status=new&type=Lead").await.len(), 4);
    assert_eq!(find("status=bogus").await, [""; 0]);
    assert_eq!(find("type=lead").await, [""; 0]);
    assert_eq!(find(&format!("owner_id={}", acme.member.id)).await, [""; 0]);
    assert_eq!(find("owner_id=&search=&status=&type=&v=1.0.0").await.len(), 4);
    for bad in ["limit=-1", "skip=-1", "limit=x", "owner_id=x", "limit=99999999999999999999"] {
        acme.admin.get(&format!("/api/contacts/?{bad}")).await.expect(422);
    }
}

#[tokio::test]
async fn without_a_company_there_are_no_contacts() {
    let acme = World::new().await;
    let (contact, lone) = (acme.contact("Ada", "L").await, acme.lone().await);
    assert_eq!(lone.get("/api/contacts/").await.expect(200), json!([]));
    let new = json!({"first_name": "A", "last_name": "B", "email": "a@x.io"});
    assert_eq!(lone.post("/api/contacts/", new).await.detail(400), "User must belong to a company");
    lone.get(&format!("/api/contacts/{}", contact["id"].as_str().unwrap())).await.expect(404);
}

#[tokio::test]
async fn summary_counts_the_own_company_only() {
    let (acme, other) = (World::new().await, World::new().await);
    for (world, employer) in [(&acme, "Initech"), (&acme, "Initech"), (&acme, ""), (&other, "Secret Ltd")] {
        let email = format!("{}@x.io", Uuid::new_v4());
        world
            .admin
            .post("/api/contacts/", json!({"first_name": "A", "last_name": "B", "email": email, "company": employer}))
            .await
            .expect(200);
    }
    let summary = acme.member.get("/api/contacts/stats/summary").await.expect(200);
    assert_eq!(summary, json!({"total_contacts": 3, "total_companies": 1, "companies_breakdown": {"Initech": 2}}));
}

/// Each contact starts all workflows, and a statement times out after half a minute.
#[tokio::test]
async fn an_import_for_many_workflows_takes_more_statements() {
    let acme = World::new().await;
    let listens = "insert into workflows (tenant_id, company_id, owner_id, name, trigger, status)
        select $1, $1, $2, 'W' || n, 'contact_created', 'active' from generate_series(1, 50) n";
    acme.db.execute(listens, &[&acme.company, &acme.admin.id]).await.unwrap();
    let rows: String = (0..150).map(|n| format!("{}@import.example\n", n % 149)).collect();
    let csv = format!("email\n{rows}");
    let imported = acme.admin.upload("/api/contacts/upload-csv", "c.csv", "text/csv", csv).await.expect(200);
    assert_eq!((&imported["created_count"], &imported["failed_count"]), (&json!(149), &json!(1)));
    assert_eq!(imported["errors"], json!(["Row 150: A contact with the email 0@import.example already exists"]));
    let statements = "select count(distinct cmin::text) from contacts where tenant_id = $1";
    assert_eq!(acme.value::<i64>(statements, &[&acme.company]).await, 2);
    let runs = "select count(*) from workflow_executions where tenant_id = $1";
    assert_eq!(acme.value::<i64>(runs, &[&acme.company]).await, 149 * 50);
    acme.db.execute("update workflows set status = 'inactive' where tenant_id = $1", &[&acme.company]).await.unwrap();
    acme.db.execute("delete from jobs where tenant_id = $1", &[&acme.company]).await.unwrap();
}
