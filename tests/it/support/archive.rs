//! Helpers for company archives.

use ringfence::commands::archive::Options;
use std::{collections::BTreeMap, path::PathBuf};
use tokio_postgres::Client;
use uuid::Uuid;

pub const AS_IT_WAS: Options = Options { active: true, keep_due: true };

pub fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.zip", Uuid::new_v4().simple()))
}

/// The company's rows per table, as text, without the users' `token_version`.
pub async fn rows(db: &Client, company: Uuid) -> BTreeMap<String, Vec<String>> {
    let tables = "select table_name from app.protected_table union all values ('notifications'), ('members')";
    let mut all = BTreeMap::new();
    let tables: Vec<String> = db.query(tables, &[]).await.unwrap().iter().map(|r| r.get(0)).collect();
    let conditions = tables.iter().map(|t| (t.as_str(), "tenant_id = $1"));
    for (table, condition) in conditions.chain([("companies", "id = $1"), ("users", "company_id = $1")]) {
        let row = if table == "users" { "(to_jsonb(t) - 'token_version')" } else { "t" };
        let sql = format!("select {row}::text from {table} t where {condition} order by 1");
        let rows = db.query(&sql, &[&company]).await.unwrap();
        all.insert(table.to_owned(), rows.iter().map(|r| r.get(0)).collect());
    }
    all
}
