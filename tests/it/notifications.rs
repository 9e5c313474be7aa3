//! Notifications (contract: notifications).

use crate::support::world::{Person, World};
use serde_json::json;
use uuid::Uuid;

async fn notify(world: &World, whose: &Person, company: Option<Uuid>, title: &str) -> Uuid {
    let sql = "insert into notifications (tenant_id, company_id, user_id, title, message, type) values (coalesce($1::uuid, $2), $1, $2, $3, 'M', 'warning') returning id";
    world.value(sql, &[&company, &whose.id, &title]).await
}

#[tokio::test]
async fn a_person_reads_marks_and_deletes_the_own_ones_only() {
    let acme = World::new().await;
    let company = Some(acme.company);
    let (first, second) =
        (notify(&acme, &acme.member, company, "one").await, notify(&acme, &acme.member, company, "two").await);
    notify(&acme, &acme.admin, company, "of the admin").await;
    let list = acme.member.get("/api/notifications/").await.expect(200);
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(
        (&list[0]["title"], &list[0]["type"], &list[0]["read"], &list[0]["link"]),
        (&json!("two"), &json!("warning"), &json!(false), &json!(null))
    );
    assert_eq!(acme.member.get("/api/notifications/unread-count").await.expect(200), json!({"count": 2}));

    let mark = |id: Uuid| format!("/api/notifications/{id}/mark-read");
    assert_eq!(acme.admin.send("POST", &mark(first), None).await.detail(404), "Notification not found");
    acme.member.send("POST", &mark(first), None).await.expect(200);
    assert_eq!(acme.member.get("/api/notifications/?unread_only=true").await.expect(200)[0]["title"], "two");
    assert_eq!(acme.member.get("/api/notifications/?limit=1").await.expect(200).as_array().unwrap().len(), 1);
    acme.member.send("POST", "/api/notifications/mark-all-read", None).await.expect(200);
    assert_eq!(acme.member.get("/api/notifications/unread-count").await.expect(200), json!({"count": 0}));
    assert_eq!(acme.admin.get("/api/notifications/unread-count").await.expect(200), json!({"count": 1}));

    acme.admin.delete(&format!("/api/notifications/{second}")).await.expect(404);
    acme.member.delete(&format!("/api/notifications/{second}")).await.expect(200);
    acme.member.delete(&format!("/api/notifications/{second}")).await.expect(404);
    acme.member.delete("/api/notifications/").await.expect(200);
    assert_eq!(acme.member.get("/api/notifications/").await.expect(200), json!([]));
    assert_eq!(acme.admin.get("/api/notifications").await.expect(200).as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn they_work_without_a_company_and_stay_in_the_one_they_are_of() {
    let (acme, other) = (World::new().await, World::new().await);
    let lone = acme.lone().await;
    notify(&acme, &lone, None, "early").await;
    assert_eq!(lone.get("/api/notifications/").await.expect(200)[0]["title"], "early");
    acme.db.execute("select app.assign_company($1, $2)", &[&lone.id, &acme.company]).await.unwrap();
    notify(&acme, &lone, Some(acme.company), "at acme").await;
    assert_eq!(lone.get("/api/notifications/").await.expect(200).as_array().unwrap().len(), 2);
    acme.db.execute("select app.assign_company($1, $2)", &[&lone.id, &other.company]).await.unwrap();
    assert_eq!(lone.get("/api/notifications/").await.expect(200), json!([]));
    acme.db.execute("select app.assign_company($1, $2)", &[&lone.id, &acme.company]).await.unwrap();
    assert_eq!(lone.get("/api/notifications/").await.expect(200).as_array().unwrap().len(), 2);
}
