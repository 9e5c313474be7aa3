//! A large table that is partitioned by company works as before, and its partitions are no way around the policies.

use crate::support::{
    archive::{self, AS_IT_WAS},
    command::{ringfence, run, text},
    database::{OwnDatabase, enter},
    seed::Seeded,
    server::{config, start_server},
    walk::{same_reads, walk_routes, walk_tables},
    world::World,
};
use ringfence::{
    commands::{
        archive as archive_command, doctor,
        erase::{self, Erase},
    },
    config::{Config, Switch},
    db,
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_matrix_holds_where_large_tables_are_partitioned() {
    let own = OwnDatabase::new().await;
    let server = start_server(Config { worker: Switch::Off, ..config() }, &own.api);
    let a = Seeded::within(&own.admin).await;
    let b = World::alone_at(&own, &server).await;
    let before = a.checksums().await;
    let script = include_str!("../../sql/ops/partition/by_company.sql");
    for table in ["sms_messages", "calls", "activities", "campaign_recipients", "workflow_executions", "workflow_steps"]
    {
        let settings = format!("set ops.target = '{table}'; set ops.partitions = '4'");
        b.db.batch_execute(&settings).await.unwrap();
        b.db.batch_execute(script).await.unwrap_or_else(|e| panic!("{table}: {e:?}"));
    }
    // A table that functions depend on is not partitioned.
    b.db.batch_execute("set ops.target = 'contacts'").await.unwrap();
    let refused = b.db.batch_execute(script).await.unwrap_err();
    assert!(refused.as_db_error().unwrap().message().contains("app.contacts_containing"), "{refused:?}");

    let after = a.checksums().await;
    for (table, sum) in &before {
        assert_eq!(after.get(table), Some(sum), "rows of {table}");
    }
    let mut api = db::connect(&own.api).await.unwrap();
    let mut findings = doctor::findings(&api, doctor::rules()).await.unwrap();
    // The canary is not a login.
    findings.retain(|found| found.rule != "lint/operator_grants");
    assert!(findings.is_empty(), "{findings:#?}");
    doctor::check_before_serving(&own.api).await.unwrap();

    let off = "alter table calls_p0 disable trigger all";
    b.db.batch_execute(off).await.unwrap();
    let said = doctor::check_before_serving(&own.api).await.unwrap_err().to_string();
    assert!(said.contains("alter table calls_p0 enable trigger all"), "{said}");
    b.db.batch_execute(&off.replace("disable", "enable")).await.unwrap();
    doctor::check_before_serving(&own.api).await.unwrap();

    // A page of messages reads only the partition of its company.
    let rows = "select count(*) from pg_partition_tree('sms_messages') where isleaf";
    assert_eq!(b.value::<i64>(rows, &[]).await, 4);
    let tx = api.transaction().await.unwrap();
    tx.batch_execute(&enter(a.world.company, a.world.admin.id)).await.unwrap();
    let explain = "explain (analyze, costs off, timing off) select id from sms_messages order by created_at desc, id desc limit 50";
    let plan: Vec<String> = tx.query(explain, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let read = |line: &&String| line.contains("_p") && !line.contains("never executed");
    assert_eq!(plan.iter().filter(read).count(), 1, "{plan:#?}");
    tx.rollback().await.unwrap();

    // A server with older prepared statements goes on, and one that is started now responds alike.
    let fresh = start_server(Config { worker: Switch::Off, ..config() }, &own.api);
    same_reads(&a, &fresh, &server).await;
    let activity = json!({"type": "call", "subject": "S", "due_date": "2999-01-01T00:00:00Z"});
    let made = b.member.post("/api/activities/", activity).await.expect(200);
    let path = format!("/api/activities/{}", made["id"].as_str().unwrap());
    assert_eq!(b.member.get(&path).await.expect(200)["subject"], "S");
    walk_routes(&a, &b, &fresh).await;
    let context = enter(b.company, b.admin.id);
    walk_tables(&a, &mut api, "another company's admin", &[context]).await;
    let plan = text(&run(ringfence(&own, &["backfill", "plan"]), "").stdout);
    assert!(plan.contains("calls is partitioned"), "{plan}");

    // A company is exported, erased, and imported again.
    let (path, kept, before) = (archive::file(), a.checksums().await, archive::rows(&b.db, b.company).await);
    archive_command::export(&own.admin, &b.name, &path, &own.store()).await.unwrap();
    let options = erase::Options { dry_run: false, yes: true };
    let company = Erase::Company { company: b.name.clone(), options };
    erase::run(&own.admin, &company, &own.store()).await.unwrap();
    assert!(archive::rows(&b.db, b.company).await.values().all(Vec::is_empty));
    archive_command::import(&own.admin, &path, AS_IT_WAS, &own.store()).await.unwrap();
    assert_eq!(archive::rows(&b.db, b.company).await, before);
    assert_eq!(a.checksums().await, kept);
    std::fs::remove_file(path).unwrap();
    drop((a, b, api));
    own.drop().await;
}
