//! The search over contacts, deals, quotes and files.

use crate::support::world::{Person, World};
use serde_json::json;

async fn found(who: &Person, q: &str) -> Vec<(String, String)> {
    let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", q).finish();
    let list = who.get(&format!("/api/search?{query}")).await.expect(200);
    let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(|h| (text(&h["kind"]), text(&h["title"]))).collect()
}

#[tokio::test]
async fn finds_any_part_in_all_kinds_of_the_own_company() {
    let (acme, other) = (World::new().await, World::new().await);
    acme.contact("Zoë", "Windmill").await;
    for (who, title) in [(&acme.admin, "A windmill for Zoë"), (&other.admin, "Their windmill")] {
        who.post("/api/deals/", json!({"title": title, "value": 1, "stage_id": "Lead"})).await.expect(200);
    }
    acme.admin.post("/api/quotes/", json!({"title": "Windmill, 50% off_", "amount": 10})).await.expect(201);
    acme.admin.post("/api/files/", json!({"name": "WINDMILL.pdf"})).await.expect(200);
    let kinds = |found: Vec<(String, String)>| found.into_iter().map(|f| f.0).collect::<Vec<_>>().join(" ");
    assert_eq!(kinds(found(&acme.admin, "indmil").await), "contact deal quote file");
    assert_eq!(found(&other.admin, "windmill").await, [("deal".into(), "Their windmill".into())]);
    assert_eq!(found(&acme.member, "ZOË").await.len(), 2);
    assert_eq!(found(&acme.member, "50% off_").await.len(), 1, "no character is a wildcard");
    assert_eq!(found(&acme.member, "50%of").await.len(), 0);
    assert_eq!(found(&acme.member, "w_ndmill").await.len(), 0);
    assert_eq!(found(&acme.member, "'; drop table deals; \\").await.len(), 0);
    assert_eq!(kinds(found(&acme.member, "w").await), "contact deal quote file");
    for n in 1..=3 {
        acme.contact("Mira", &format!("Millstone {n}")).await;
        let title = format!("Millstone {n}");
        acme.admin.post("/api/deals/", json!({"title": title, "value": 1, "stage_id": "Lead"})).await.expect(200);
        acme.admin.post("/api/quotes/", json!({"title": title, "amount": 1})).await.expect(201);
        acme.admin.post("/api/files/", json!({"name": format!("{title}.pdf")})).await.expect(200);
    }
    let latest = acme.member.get("/api/search?q=millstone&limit=1").await.expect(200);
    let titles: Vec<_> = latest.as_array().unwrap().iter().map(|hit| hit["title"].as_str().unwrap()).collect();
    assert_eq!(
        titles,
        ["Mira Millstone 3", "Millstone 3", "Millstone 3", "Millstone 3.pdf"],
        "the newest of each kind"
    );
    assert_eq!(found(&acme.member, "  ").await, []);
    acme.member.get(&format!("/api/search?q={}", "x".repeat(201))).await.expect(422);
    acme.member.get("/api/search?q=x&limit=0").await.expect(422);
    assert_eq!(acme.lone().await.get("/api/search?q=windmill").await.expect(200), json!([]));
    let deals = acme.admin.get("/api/deals/").await.expect(200);
    acme.admin.delete(&format!("/api/deals/{}", deals[0]["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(kinds(found(&acme.admin, "windmill").await), "contact quote file", "what is deleted is not found");
}
