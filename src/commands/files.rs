//! `ringfence files`: sweeps the store of files, and changes to which database it belongs.

use crate::{
    clients::storage::Storage,
    db::{self, Db},
    jobs, say,
    store_owner::{self, Contents},
    terminal::{self, Measure},
};
use clap::Subcommand;

/// What to do with the store of files.
#[derive(Subcommand)]
pub enum Command {
    /// Delete objects that no file needs any more: left by interrupted uploads, or deleted long ago. Servers do this
    /// once an hour
    Sweep {
        /// Only show what would be deleted
        #[arg(long)]
        dry_run: bool,
    },
    /// Make this database the owner of the store, when it takes another one's place or gets another store (needs
    /// DATABASE_ADMIN_URL)
    ///
    /// A store belongs to one database, which deletes objects there that it does not know. First stop the servers and
    /// workers of the other database, or give it another store: what it writes to this one from now on is deleted, and
    /// its servers refuse uploads as soon as they see the new owner. The next sweep deletes what this database does not
    /// know; until then, `ringfence files adopt` of the other database takes the store back. A database that has had a
    /// store does not take an empty one without this command: the volume of its own may not be mounted.
    Adopt {
        /// Only count the objects in the store
        #[arg(long)]
        dry_run: bool,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// Deletes objects that no file needs any more, or says what would be deleted.
pub async fn sweep(db: &Db, storage: &Storage, deleted_files_days: u16, dry_run: bool) -> anyhow::Result<()> {
    let bar = terminal::progress("objects looked at", Measure::Number);
    let progress = |seen| bar.set_position(seen);
    let swept = jobs::sweep_files::sweep(db, storage, deleted_files_days, dry_run, progress).await?;
    bar.finish_and_clear();
    let what = if dry_run { "would be deleted" } else { "deleted" };
    let bytes = bytesize::ByteSize(swept.bytes);
    say!("{} objects looked at, {} {what} ({bytes}).", swept.seen, swept.deleted);
    Ok(())
}

/// Assigns the store to an administrator's database, whichever it belonged to, after confirmation.
pub async fn adopt(admin: &str, storage: &Storage, dry_run: bool, yes: bool) -> anyhow::Result<()> {
    let db = db::connect_as_dba(admin).await?;
    let bar = terminal::progress("objects looked at", Measure::Number);
    let Contents { objects, unknown } = store_owner::count(&db, storage, |seen| bar.set_position(seen)).await?;
    bar.finish_and_clear();
    let unknown = match unknown {
        0 => "This database knows all of them.".to_owned(),
        _ => format!("This database does not know {unknown} of them, and sweeps would delete those."),
    };
    say!("{objects} objects are in the store. {unknown}");
    if dry_run {
        return Ok(());
    }
    if !yes {
        let what = "This makes the store this database's. The servers of any other one take no files from then on.\n";
        terminal::confirm(format_args!("{what}"), "adopt", "the store is whose it was")?;
    }
    store_owner::adopt(&db, storage).await?;
    say!("The store of files is this database's now. Give any other database a store of its own.");
    Ok(())
}
