//! A backup that is restored has every row, every rule, and keeps companies apart.

use crate::{
    commands::{ringfence, run, text},
    isolation::{Seeded, tables, walk_tables},
    schema::{OwnDatabase, with_database},
    world::World,
};
use ringfence::{backup::Backup, db, doctor};
use std::collections::BTreeMap;
use tokio_postgres::Client;
use uuid::Uuid;

async fn contents(client: &Client) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for table in tables(client).await {
        let sql = format!(
            "select count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' order by t::text)), '') from {table} t"
        );
        all.insert(table, client.query_one(&sql, &[]).await.unwrap().get(0));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_copy_has_every_row_and_keeps_companies_apart() {
    let own = OwnDatabase::new().await;
    let a = Seeded::within(&own.admin).await;
    let b = World::within(&own.admin, "Other").await;
    let operator = format!("op_{}", Uuid::new_v4().simple());
    let add = "select app.add_operator($1::text::name, array[$2], true)";
    b.db.execute(add, &[&operator, &b.name]).await.unwrap();
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("backup-{}", own.name));
    let path = folder.to_str().unwrap();
    // One that fails leaves nothing of anybody, and is no obstacle to the next one.
    let no_pg_dump = std::path::Path::new("/nowhere/pg_dump");
    let failed = Backup { folder: folder.clone() }.run(&own.admin, no_pg_dump).await;
    assert!(failed.is_err() && !folder.with_added_extension("partial").exists());
    let made = run(ringfence(&own, &["backup", path]), "");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let again = run(ringfence(&own, &["backup", path]), "");
    assert!(text(&again.stderr).contains("exists already"), "{}", text(&again.stderr));
    let roles = std::fs::read_to_string(folder.join("roles.sql")).unwrap();
    assert!(
        roles.contains(&operator) && !roles.to_lowercase().contains("password") && !roles.contains("SCRAM"),
        "{roles}"
    );
    let before = contents(&b.db).await;

    let full = run(ringfence(&own, &["restore", path]), "");
    assert!(text(&full.stderr).contains("has tables already"), "{}", text(&full.stderr));

    // The cluster has lost the login, and the copy is in a new database.
    let cluster = db::connect(&crate::world::admin_url()).await.unwrap();
    cluster.batch_execute(&format!("drop role {operator}")).await.unwrap();
    let name = format!("copy_{}", Uuid::new_v4().simple());
    cluster.batch_execute(&format!("create database {name}")).await.unwrap();
    let copy = OwnDatabase { admin: with_database(&own.admin, &name), api: with_database(&own.api, &name), name };
    let nothing = run(ringfence(&copy, &["restore", "/nowhere"]), "");
    assert!(text(&nothing.stderr).contains("is no backup"), "{}", text(&nothing.stderr));
    let restored = run(ringfence(&copy, &["restore", path]), "");
    assert!(restored.status.success(), "{}", text(&restored.stderr));

    let copied = db::connect(&copy.admin).await.unwrap();
    assert_eq!(contents(&copied).await, before);
    let mut api = db::connect(&copy.api).await.unwrap();
    let findings = doctor::findings(&api, doctor::rules()).await.unwrap();
    assert!(findings.is_empty(), "{findings:#?}");
    doctor::check_before_serving(&copy.api).await.unwrap();
    let a = a.at(copied);
    let context = format!(
        "select set_config('app.company_id', '{}', true), set_config('app.user_id', '{}', true)",
        b.company, b.admin.id
    );
    walk_tables(&a, &mut api, "another company's admin at the copy", &[context]).await;
    let mut at_psql = db::connect(&copy.admin.replace("ringfence_admin", &operator)).await.unwrap();
    let companies = at_psql.query("select name from companies", &[]).await.unwrap();
    assert_eq!(companies.iter().map(|r| r.get::<_, &str>(0)).collect::<Vec<_>>(), [b.name.as_str()]);
    walk_tables(&a, &mut at_psql, "another company's operator at the copy", &[]).await;
    drop(at_psql);
    a.world.db.execute("select app.remove_operator($1::text::name)", &[&operator]).await.unwrap();
    drop((a, api));
    copy.drop().await;
    own.drop().await;
    std::fs::remove_dir_all(folder).unwrap();
}
