//! Writes a company to one file and reads it back: to move a company to another database, or to hand over its data.
//!
//! The file is a zip. `tables/<table>.ndjson` has one row per line, with its columns' names; `objects/<file id>` is the
//! content of a file; `manifest.json` has the version of the schema, and the number of rows and SHA-256 of each entry.
//! Password hashes and providers' credentials are left out: users reset their passwords by mail, and a sealed secret
//! cannot be opened under another key.

mod export;
mod import;

pub use export::export;
pub use import::{Imported, Options, import};

use crate::{clients::storage::Storage, db::Company, say, sql};
use anyhow::bail;
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};
use tokio_postgres::GenericClient;
use uuid::Uuid;

/// What to do with a company's archive.
#[derive(Subcommand)]
pub enum Command {
    /// Write a company's rows and files to a zip: a file of JSON lines for each table, and a manifest with checksums
    ///
    /// Password hashes and providers' credentials are not in it. If the company moves, have a super admin suspend it
    /// first: otherwise messages that it sends after the export are still due in the file, and messages that become due
    /// after the import are sent from both places.
    Export {
        /// The company's id, or its exact name
        #[arg(long)]
        company: String,
        /// The file to write, which must not exist
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Add the company of an export to a database that does not have it, under the same ids
    ///
    /// The company is suspended, so that nothing is sent twice while it is still active where it came from. Its users
    /// reset their passwords by mail, an admin enters the providers' credentials again, and nobody becomes a super
    /// admin. A user whose id already has an account in the database keeps that account as it is, and becomes a former
    /// member of the imported company: what they made there belongs to the company. The output lists people in the file
    /// who were erased here.
    Import {
        /// The zip that `ringfence archive export` wrote
        file: PathBuf,
        /// How to import it
        #[command(flatten)]
        options: Options,
    },
}

/// The version of the file format that this program writes and reads.
const FORMAT: u32 = 1;
/// The prefix of entries with the contents of files.
const OBJECTS: &str = "objects/";

/// Runs the command at the administrator's address of a database, with its store of files.
pub async fn run(command: &Command, admin: &str, storage: &Storage) -> anyhow::Result<()> {
    match command {
        Command::Export { company, to } => {
            let manifest = export(admin, company, to, storage).await?;
            say!("{} are in {}.", manifest.summary(), to.display());
            if let Some(lack) = manifest.lack() {
                bail!(lack);
            }
        }
        Command::Import { file, options } => {
            let Imported { manifest, elsewhere, due, erased } = import(admin, file, *options, storage).await?;
            let state = if options.active { "" } else { " It is suspended until a super admin makes it active." };
            say!("{} came in.{state} Its users reset their passwords by mail.", manifest.summary());
            if let Some(told) = due.and_then(|due| due.told("export")) {
                say!("{told}");
            }
            if !erased.is_empty() {
                say!(
                    "These were erased here and are there again. Erase them again, each by `ringfence erase person ADDRESS --company {}`:\n  {}",
                    manifest.company_id,
                    erased.join("\n  ")
                );
            }
            if !elsewhere.is_empty() {
                say!(
                    "These have an account here already, which stays as it is; what they made there is the company's, \
                     and `ringfence user assign` moves them:\n  {}",
                    elsewhere.join("\n  ")
                );
            }
        }
    }
    Ok(())
}

/// The manifest of an archive.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The newest migration of the database that it comes from.
    schema: i32,
    company_id: Uuid,
    company: String,
    /// What every archive leaves out, in words.
    left_out: Vec<String>,
    /// Files whose content was not in the store.
    missing_objects: Vec<Uuid>,
    /// The other entries of the zip.
    entries: BTreeMap<String, Entry>,
}

/// One entry of an archive.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The number of rows, for a table.
    pub rows: u64,
    /// The uncompressed size, in bytes.
    pub bytes: u64,
    /// The SHA-256 of the uncompressed bytes, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Names the company, and counts its rows and its files with content.
    pub fn summary(&self) -> String {
        let files = self.entries.keys().filter(|name| name.starts_with(OBJECTS)).count();
        let company = Company { id: self.company_id, name: self.company.clone() };
        format!("{company}: {} rows and the content of {files} files", self.rows())
    }

    fn rows(&self) -> u64 {
        self.entries.values().fold(0, |rows, entry| rows.saturating_add(entry.rows))
    }

    /// The uncompressed size of all entries with this prefix, in bytes.
    fn bytes(&self, start: &str) -> u64 {
        let entries = self.entries.iter().filter(|(name, _)| name.starts_with(start));
        entries.fold(0, |bytes, (_, entry)| bytes.saturating_add(entry.bytes))
    }

    /// Why the archive is incomplete, if it is.
    pub fn lack(&self) -> Option<String> {
        let files = self.missing_objects.len();
        (files > 0).then(|| {
            format!(
                "files whose content is not in the store: {files}; manifest.json has their ids. Is RINGFENCE_STORAGE_URL the server's?"
            )
        })
    }
}

/// The tables of a company, each with the condition on its rows; `$1` is the company.
async fn tables(db: &impl GenericClient) -> anyhow::Result<Vec<(String, &'static str)>> {
    let mut tables = vec![("companies".to_owned(), "id = $1")];
    for row in db.query(sql!("ops/archive/tenant_tables").text, &[]).await? {
        tables.push((row.get(0), "tenant_id = $1"));
    }
    // Users and members come last: a company's first member creates a pipeline, unless there is one.
    tables.extend([("users".to_owned(), "company_id = $1"), ("members".to_owned(), "tenant_id = $1")]);
    Ok(tables)
}

async fn columns(db: &impl GenericClient, table: &str) -> anyhow::Result<String> {
    let columns = db.query(sql!("import/columns").text, &[&table]).await?;
    let names: Vec<String> = columns.iter().map(|row| row.get("name")).collect();
    Ok(names.join(", "))
}
