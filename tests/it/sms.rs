//! SMS messages (contract: sms).

use crate::world::World;
use serde_json::json;
use uuid::Uuid;

#[tokio::test]
async fn the_feed_is_newest_first_with_filters_and_pages() {
    let acme = World::new().await;
    let contact: Uuid = acme.contact("Ada", "L").await["id"].as_str().unwrap().parse().unwrap();
    for (minutes, direction, body) in [(3, "inbound", "a"), (2, "outbound", "b"), (1, "outbound", "c")] {
        let sql = "insert into sms_messages (tenant_id, company_id, user_id, contact_id, direction, status, from_address, to_address, body, created_at)
            values ($1, $1, $2, $3, $4, 'sent', '+15550100', '+15550101', $5, now() - make_interval(mins => $6))";
        acme.db.execute(sql, &[&acme.company, &acme.member.id, &contact, &direction, &body, &minutes]).await.unwrap();
    }
    let bodies = async |query: &str| -> String {
        let list = acme.admin.get(&format!("/api/sms/messages{query}")).await.expect(200);
        list.as_array().unwrap().iter().map(|m| m["body"].as_str().unwrap()).collect()
    };
    assert_eq!(bodies("").await, "cba");
    assert_eq!(bodies("?type=sent").await, "cb");
    assert_eq!(bodies("?type=received").await, "a");
    assert_eq!(bodies("?type=whatever").await, "cba");
    assert_eq!(bodies("?skip=1&limit=1").await, "b");
    let message = acme.admin.get("/api/sms/messages?limit=1").await.expect(200)[0].clone();
    let mut keys: Vec<&String> = message.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "body",
            "contact_id",
            "created_at",
            "direction",
            "from_address",
            "id",
            "is_auto_response",
            "read_at",
            "sent_at",
            "status",
            "to_address"
        ]
    );
    assert_eq!(
        (&message["sent_at"], &message["contact_id"], &message["read_at"]),
        (&message["created_at"], &json!(contact), &json!(null))
    );
    assert_eq!(acme.lone().await.get("/api/sms/messages").await.detail(403), "No company associated with user");
}
