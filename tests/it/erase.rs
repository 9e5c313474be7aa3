//! Erasure of a company and of a person: all of it, nothing of anybody else, and a record without names.

use crate::{isolation::Seeded, schema::OwnDatabase};
use ringfence::{
    clients::storage::Storage,
    db,
    erase::{self, Counts, Erase, Options},
};
use serde_json::Value;
use std::collections::BTreeMap;
use tokio_postgres::Client;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

fn storage() -> Storage {
    Storage::open(concat!("file://", env!("CARGO_TARGET_TMPDIR"), "/erase")).unwrap()
}

async fn put(storage: &Storage, key: &str) {
    let mut writing = storage.write(key, &TaskTracker::new()).await.unwrap();
    writing.put(bytes::Bytes::from_static(b"x")).await.unwrap();
    writing.finish().await.unwrap();
    writing.keep();
}

/// Every row that speaks of one of these, by table.
async fn mentions(db: &Client, marks: &[String]) -> BTreeMap<String, i64> {
    let marks: Vec<String> = marks.iter().map(|mark| format!("%{mark}%")).collect();
    let tables = "select c.oid::regclass::text from pg_class c where c.relkind in ('r', 'p')
        and c.relnamespace in ('public'::regnamespace, 'app'::regnamespace, 'ops'::regnamespace)";
    let mut found = BTreeMap::new();
    for table in db.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let sql = format!("select count(*) from {table} t where to_jsonb(t)::text like any ($1)");
        found.insert(table, db.query_one(&sql, &[&marks]).await.unwrap().get(0));
    }
    // The records of backfills and of the staff's questions hold no company's rows.
    let kept = |table: &str| table.starts_with("app.backfill") || table == "app.staff_log";
    found.retain(|table, rows| *rows > 0 && !kept(table));
    found
}

const NOW: Options = Options { dry_run: false, yes: true };
const DRY: Options = Options { dry_run: true, yes: false };

async fn erased(own: &OwnDatabase, what: Erase) -> Counts {
    erase::run(&own.admin, &what, &storage()).await.unwrap_or_else(|e| panic!("{e:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_company_goes_with_everything() {
    let own = OwnDatabase::new().await;
    let (gone, stays) = (Seeded::within(&own.admin).await, Seeded::within(&own.admin).await);
    let admin = db::connect(&own.admin).await.unwrap();
    let name = gone.world.name.clone();
    // One who was in the other company before has rows there.
    let mover = stays.world.person("company_user").await;
    let theirs =
        "insert into activities (tenant_id, company_id, owner_id, type, subject) values ($1, $1, $2, 'note', 'Stays')";
    admin.execute(theirs, &[&stays.world.company, &mover.id]).await.unwrap();
    admin.execute("select app.assign_company($1, $2)", &[&mover.id, &gone.world.company]).await.unwrap();
    let (ours, theirs) =
        (format!("{}/{}", gone.world.company, Uuid::now_v7()), format!("{}/{}", stays.world.company, Uuid::now_v7()));
    put(&storage(), &ours).await;
    put(&storage(), &theirs).await;
    let of_others = stays.checksums().await;
    let marks = gone.marks().await;

    let dry = erased(&own, Erase::Company { name: name.clone(), options: DRY }).await;
    assert!(dry["contacts"] > 0 && dry["users"] > 0, "{dry:?}");
    let counts = erased(&own, Erase::Company { name: name.clone(), options: NOW }).await;
    for (table, rows) in dry {
        // Some rows go with those that they belong to.
        assert!(
            counts[&table] >= 1
                || rows == 0
                || ["deal_stage_history", "pipeline_stages", "quote_lines", "jobs"].contains(&table.as_str()),
            "{table}: {counts:?}"
        );
    }
    let own_marks: Vec<String> = marks
        .into_iter()
        .filter(|m| !m.contains(&mover.id.to_string()))
        .map(|m| m.trim_matches('%').to_owned())
        .collect();
    assert_eq!(mentions(&admin, &own_marks).await, BTreeMap::new());
    assert_eq!(storage().read_all(&ours).await.unwrap(), None);
    assert!(storage().read_all(&theirs).await.unwrap().is_some());
    let mut after = stays.checksums().await;
    let mut before = of_others;
    // The one who moved is nobody any more, and the other company's rows stay theirs.
    for table in ["users", "app.credentials", "app.caller", "members"] {
        before.remove(table);
        after.remove(table);
    }
    assert_eq!(after, before);
    let moved = admin.query_one("select first_name, is_deleted from users where id = $1", &[&mover.id]).await.unwrap();
    assert_eq!((moved.get::<_, String>(0), moved.get::<_, bool>(1)), ("Deleted".into(), true));
    let record = admin.query_one("select kind, counts from ops.erasures", &[]).await.unwrap();
    let (kind, counts): (String, Value) = (record.get(0), record.get(1));
    assert_eq!((kind.as_str(), counts["contacts"].as_u64()), ("company", Some(1)));
    assert!(admin.execute("delete from ops.erasures", &[]).await.is_err(), "the record is only added to");
    assert!(erase::run(&own.admin, &Erase::Company { name, options: NOW }, &storage()).await.is_err());
    drop((admin, gone, stays));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_goes_and_the_companys_records_stay() {
    let own = OwnDatabase::new().await;
    let (seeded, other) = (Seeded::within(&own.admin).await, Seeded::within(&own.admin).await);
    let (world, company) = (&seeded.world, seeded.world.company);
    let email: String = world.value("select email from contacts where tenant_id = $1", &[&company]).await;
    let untouched = other.checksums().await;
    let person = |options| Erase::Person { email: email.to_uppercase(), company: None, options };
    let dry = erased(&own, person(DRY)).await;
    assert_eq!(
        (dry["contacts"], dry["sms_messages"], dry["calls"], dry["emails"], dry["files"]),
        (1, 2, 2, 2, 1),
        "{dry:?}"
    );
    assert_eq!(world.value::<i64>("select count(*) from contacts where tenant_id = $1", &[&company]).await, 1);

    let unasked =
        Erase::Person { email: email.clone(), company: None, options: Options { dry_run: false, yes: false } };
    let refused = erase::run(&own.admin, &unasked, &storage()).await.unwrap_err().to_string();
    assert!(refused.contains("--yes"), "{refused}");
    erased(&own, person(NOW)).await;
    for table in ["contacts", "sms_messages", "calls", "emails", "files", "activities"] {
        let left: i64 = world.value(&format!("select count(*) from {table} where tenant_id = $1"), &[&company]).await;
        assert_eq!(left, 0, "{table}");
    }
    for (table, column) in [("deals", "contact_id"), ("quotes", "client_id")] {
        let kept: i64 = world
            .value(&format!("select count(*) from {table} where tenant_id = $1 and {column} is null"), &[&company])
            .await;
        assert_eq!(kept, 1, "{table}");
    }
    assert_eq!(mentions(&world.db, std::slice::from_ref(&email)).await, BTreeMap::new());

    // A user: no name, no way in, and no trace of the address.
    let address = world.admin.email.clone();
    erased(&own, Erase::Person { email: address.clone(), company: Some(world.name.clone()), options: NOW }).await;
    assert_eq!(mentions(&world.db, &[address]).await, BTreeMap::new());
    let user = "select is_deleted and first_name = 'Deleted' and not exists (select from app.credentials k where k.user_id = u.id)
        and not exists (select from app.caller c where c.user_id = u.id) from users u where id = $1";
    assert!(world.value::<bool>(user, &[&world.admin.id]).await);
    assert!(world.value::<i64>("select count(*) from deals where owner_id = $1", &[&world.admin.id]).await > 0);
    assert_eq!(other.checksums().await, untouched);
    drop((seeded, other));
    own.drop().await;
}
