//! A database of the old backend, and its import.

use crate::support::{
    database::{OwnDatabase, create_database, with_database},
    server::{admin_url, config},
};
use ringfence::{
    commands::import::{self, Options, Outcomes},
    db,
    seal::Sealer,
};
use std::{collections::BTreeSet, path::PathBuf};
use tokio_postgres::Client;
use uuid::Uuid;

pub const PASSWORD: &str = "Old-Horse-battery-5";

pub const COMPANIES: usize = 12;

/// A database as the old backend left it.
pub struct Old {
    pub name: String,
    pub url: String,
    pub db: Client,
    pub folder: PathBuf,
}

impl Old {
    pub async fn new(scale: usize) -> Self {
        Self::with(scale, "").await
    }

    /// Creates the database with these options of `create database`.
    pub async fn with(scale: usize, how: &str) -> Self {
        let name = format!("old_{}", Uuid::new_v4().simple());
        create_database(&name, how).await;
        let url = with_database(&admin_url(), &name);
        let db = db::connect(&url).await.unwrap();
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        let rows = include_str!("old_rows.sql").replace("{companies}", &COMPANIES.to_string());
        let rows = rows.replace("{scale}", &scale.to_string()).replace("{hash}", &hash);
        db.batch_execute(include_str!("old_database.sql")).await.unwrap();
        db.batch_execute(&rows).await.unwrap_or_else(|e| panic!("{e:?}"));
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&name);
        std::fs::create_dir_all(folder.join("a")).unwrap();
        for i in 1..=15 {
            let place = if i % 2 == 0 { folder.join("a") } else { folder.clone() };
            std::fs::write(place.join(format!("file{i}.txt")), format!("content {i}")).unwrap();
        }
        Self { name, url, db, folder }
    }

    pub fn options(&self) -> Options {
        Options {
            from: self.url.clone(),
            files: Some(self.folder.clone()),
            dry_run: false,
            report: self.folder.join("report.csv"),
        }
    }

    /// Table, id, action and reason of each line of the report.
    pub fn report(&self) -> Vec<[String; 4]> {
        let mut lines = csv::Reader::from_path(self.folder.join("report.csv")).unwrap();
        lines.records().map(|line| std::array::from_fn(|i| line.as_ref().unwrap()[i].to_owned())).collect()
    }

    pub async fn ids(&self, sql: &str, params: &[&(dyn tokio_postgres::types::ToSql + Sync)]) -> BTreeSet<Uuid> {
        self.db.query(sql, params).await.unwrap_or_else(|e| panic!("{sql}: {e:?}")).iter().map(|r| r.get(0)).collect()
    }

    pub async fn drop(self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
        drop(self.db);
        let drop = format!("drop database {} with (force)", self.name);
        db::connect(&admin_url()).await.unwrap().batch_execute(&drop).await.unwrap();
    }
}

pub async fn bring(own: &OwnDatabase, options: &Options) -> Outcomes {
    try_to_bring(own, options).await.unwrap_or_else(|e| panic!("{e:?}"))
}

/// Imports; the report replaces the last one.
pub async fn try_to_bring(own: &OwnDatabase, options: &Options) -> anyhow::Result<Outcomes> {
    let _ = std::fs::remove_file(&options.report);
    import_into(own, options).await
}

pub async fn import_into(own: &OwnDatabase, options: &Options) -> anyhow::Result<Outcomes> {
    let sealer = Sealer::new(&config().secret_key).unwrap();
    import::run(&own.admin, options, &sealer, &own.store()).await
}

/// Number of conversations whose counters do not match their texts, plus company texts that are not in the conversation
/// with their customer.
pub async fn miscounted(db: &Client) -> i64 {
    let wrong = "select (select count(*) from conversations c, lateral (
            select count(*) as texts, count(*) filter (where m.direction = 'inbound' and m.read_at is null) as unread, max(m.created_at) as last_at
            from sms_messages m where m.conversation_id = c.id) m
          where (c.message_count, c.unread_count) <> (m.texts, m.unread) or c.last_message_at < m.last_at)
        + (select count(*) from sms_messages m left join conversations c on c.tenant_id = m.tenant_id and c.id = m.conversation_id
          where m.company_id is not null
            and c.to_number is distinct from case m.direction when 'inbound' then m.from_address else m.to_address end)";
    db.query_one(wrong, &[]).await.unwrap().get(0)
}

/// Adds a file of a company to the old database; returns its id.
pub async fn add_file(old: &Old, company: i32, path: &str, size: i64) -> Uuid {
    let add = "insert into files (id, name, original_name, size, storage_path, owner_id, company_id, created_at, updated_at, is_active, is_deleted)
        values (gen_random_uuid(), $2, $2, $3, $2, md5('user' || ($1::int - 1) * 6 + 1)::uuid, md5('company' || $1::int)::uuid, '2025-01-01', '2025-01-01', true, false)
        returning id";
    old.db.query_one(add, &[&company, &path, &size]).await.unwrap_or_else(|e| panic!("{e:?}")).get(0)
}
