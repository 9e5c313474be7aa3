//! Erases a company.

use super::{BATCH_SIZE, Counts, Erasure, OBJECTS, add, record, tables};
use crate::{
    sql,
    terminal::{self, Measure},
};
use futures_util::TryStreamExt;
use tokio_postgres::Client;
use uuid::Uuid;

/// The number of its rows by table.
pub(super) async fn count(db: &Client, id: Uuid) -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    for (table, condition) in
        tables(db).await?.into_iter().map(|(t, _)| (t, "tenant_id = $1")).chain([("users".into(), "company_id = $1")])
    {
        let rows: i64 = db.query_one(&format!("select count(*) from {table} where {condition}"), &[&id]).await?.get(0);
        counts.insert(table, rows.unsigned_abs());
    }
    Ok(counts)
}

/// Erases all of it, its users and its log; returns what was there.
pub(super) async fn erase(db: &mut Client, id: Uuid, mut erasure: Erasure<'_>) -> anyhow::Result<Counts> {
    // From here on nobody adds rows, and running jobs are waited for by their locks.
    db.execute(sql!("ops/suspend_company").text, &[&id]).await?;
    let tables = tables(db).await?;
    for _ in 0..3 {
        for (table, of_itself) in &tables {
            let limit = if *of_itself { i64::MAX } else { BATCH_SIZE };
            erasure.delete(db, table, &format!("select id from {table} where tenant_id = $1"), &[&id], limit).await?;
        }
    }
    // Objects to which no row refers any more.
    if let Some(storage) = erasure.storage {
        let objects: Vec<_> = storage.list_below(&id.to_string()).try_collect().await?;
        erasure.bar.finish_and_clear();
        let bar = terminal::progress("contents of files", Measure::Of(objects.len() as u64));
        for object in &objects {
            storage.delete(&object.location).await?;
            add(&mut erasure.counts, OBJECTS, 1);
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    erasure.bar.finish_and_clear();
    let _last = terminal::progress("users and the log", Measure::Time);
    let Erasure { mut counts, .. } = erasure;
    let users = count(db, id).await?.remove("users").unwrap_or_default();
    add(&mut counts, "users", users);
    let tx = db.transaction().await?;
    for table in tx.query(sql!("ops/erase/company_tables").text, &[]).await? {
        tx.execute(&format!("delete from {} where company_id = $1", table.get::<_, String>(0)), &[&id]).await?;
    }
    for statement in [
        sql!("ops/erase/forget_log"),
        sql!("ops/erase/forget_members"),
        sql!("ops/erase/forget_users"),
        sql!("ops/erase/forget_names"),
        sql!("ops/erase/forget_company"),
    ] {
        tx.execute(statement.text, &[&id]).await?;
    }
    record(&tx, "company", &counts).await?;
    tx.commit().await?;
    Ok(counts)
}
