//! Teams of a company.

use crate::support::world::World;
use serde_json::json;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

#[tokio::test]
async fn a_company_lists_its_teams_and_users_name_theirs() {
    let acme = World::new().await;
    let add = "insert into teams (tenant_id, company_id, user_id, team_lead_id, name, description, is_deleted)
        values ($1, $1, $2, $2, $3, 'Sells', $4) returning id";
    let north: Uuid = acme.value(add, &[&acme.company, &acme.admin.id, &"North", &false]).await;
    let east: Uuid = acme.value(add, &[&acme.company, &acme.admin.id, &"East", &false]).await;
    acme.db.execute(add, &[&acme.company, &acme.admin.id, &"Gone", &true]).await.unwrap();
    acme.db.execute("update users set team_id = $2 where id = $1", &[&acme.member.id, &north]).await.unwrap();

    let teams = acme.member.get("/api/teams").await.expect(200);
    let names: Vec<_> = teams.as_array().unwrap().iter().map(|t| &t["name"]).collect();
    assert_eq!(names, ["East", "North"]);
    assert_eq!((&teams[1]["id"], &teams[1]["member_count"]), (&json!(north), &json!(1)));
    assert_eq!((&teams[0]["team_lead_id"], &teams[0]["description"]), (&json!(acme.admin.id), &json!("Sells")));
    assert_eq!(teams[0]["id"], json!(east));
    let users = acme.admin.get("/api/users/").await.expect(200);
    let member = users.as_array().unwrap().iter().find(|u| u["id"] == json!(acme.member.id)).unwrap();
    assert_eq!(member["team_id"], json!(north));

    let colleague = json!({"email": format!("{}@example.com", Uuid::new_v4()), "first_name": "C", "last_name": "D",
        "password": "Another-Horse-8"});
    let colleague = acme.admin.post(&format!("/api/companies/{}/users", acme.company), colleague).await.expect(200);
    let colleague = colleague["id"].as_str().unwrap();
    let join = "update users set team_id = $2 where id::text = $1";
    acme.db.execute(join, &[&colleague, &north]).await.unwrap();
    assert_eq!(acme.admin.get("/api/teams").await.expect(200)[1]["member_count"], 2);
    acme.admin.delete(&format!("/api/users/{colleague}")).await.expect(200);
    assert_eq!(acme.admin.get("/api/teams").await.expect(200)[1]["member_count"], 1, "who is gone is no member");

    let other = World::new().await;
    assert_eq!(other.admin.get("/api/teams/").await.expect(200), json!([]));
    assert_eq!(other.lone().await.get("/api/teams/").await.detail(403), "No company associated with user");
    let join = "update users set team_id = $2 where id = $1";
    let refused = acme.db.execute(join, &[&other.member.id, &north]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::FOREIGN_KEY_VIOLATION), "nobody is in another company's team");

    acme.db.execute("select app.assign_company($1, $2)", &[&acme.member.id, &other.company]).await.unwrap();
    let team: Option<Uuid> = acme.value("select team_id from users where id = $1", &[&acme.member.id]).await;
    assert_eq!(team, None, "who moves leaves the team");
}
