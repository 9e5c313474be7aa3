//! `ringfence secrets`: reseals under the newest key what is sealed under an older one, while servers run.
//!
//! Each value is replaced only if it is still the one that was opened, so what a server writes meanwhile stays. An
//! interrupted run is completed by the next one.

use crate::{
    db::{Sql, connect_as_dba},
    idempotency, say,
    seal::{Sealer, hexadecimal},
    sql,
    terminal::{self, Measure},
};
use clap::Subcommand;
use futures_util::TryStreamExt;
use indicatif::{HumanCount, ProgressBar};
use std::{fmt, pin::pin, time::Duration};
use tokio_postgres::{Client, types::ToSql};
use uuid::Uuid;

/// What to do with sealed secrets.
#[derive(Subcommand)]
pub enum Command {
    /// Reseal everything under the newest key of RINGFENCE_SECRET_KEY, while servers run (needs DATABASE_ADMIN_URL)
    ///
    /// To change the key without an outage:
    ///
    /// 1. Generate a new key: openssl rand -hex 32
    ///
    /// 2. Restart each server and worker with RINGFENCE_SECRET_KEY=OLD,NEW. They still seal with the old key, and can already
    ///    open what others seal with the new one.
    ///
    /// 3. Restart each of them with RINGFENCE_SECRET_KEY=NEW,OLD. From now on they seal with the new key.
    ///
    /// 4. Run this command with the same RINGFENCE_SECRET_KEY=NEW,OLD, first with --dry-run. It can be interrupted and
    ///    repeated, and costs the servers next to nothing.
    ///
    /// 5. Remove the old key: RINGFENCE_SECRET_KEY=NEW. Links in mails that were sent before step 3, such as those to
    ///    unsubscribe, are signed with the old key and cannot be resealed: they stop working without it. Keep it in the list
    ///    until the last of these mails is 30 days old, unless the old key has leaked.
    ///
    /// An older backup needs the old key. Passwords and tokens do not depend on this key; RINGFENCE_JWT_SECRET is
    /// changed by steps 2, 3 and, after 7 days, 5 alone.
    Rotate {
        /// Only open everything and count it, without changing anything
        #[arg(long)]
        dry_run: bool,
    },
}

/// The number of values that are opened and then replaced by one statement.
const BATCH_SIZE: usize = 200;
/// How many passes to make: servers that were not restarted go on sealing under the old key.
const MAX_PASSES: usize = 5;
const PASS_DELAY: Duration = Duration::from_millis(200);
/// How many of the values that cannot be opened are named.
const MAX_NAMED: u64 = 20;

/// Where sealed values are kept: their name, and the statement that replaces them.
const PLACES: [(&str, Sql); 3] = [
    ("providers' credentials", sql!("ops/secrets/replace_credentials")),
    ("requests with an Idempotency-Key", sql!("ops/secrets/replace_requests")),
    ("their answers", sql!("ops/secrets/replace_answers")),
];

/// Runs the command at the administrator's address of a database; false if something is left under an older key.
pub async fn run(command: &Command, admin: &str, sealer: &Sealer) -> anyhow::Result<bool> {
    let Command::Rotate { dry_run } = *command;
    let (reading, writing) = (connect_as_dba(admin).await?, connect_as_dba(admin).await?);
    writing.batch_execute("set lock_timeout = '5s'").await?;
    let bar = terminal::progress("values sealed anew", Measure::Number);
    let mut done = Pass::default();
    let mut left = true;
    for _ in 0..MAX_PASSES {
        let pass = Pass::over(&reading, (!dry_run).then_some(&writing), sealer, &bar).await?;
        let found = pass.counts.iter().sum::<u64>() + pass.overtaken;
        done.add(&pass);
        left = found > 0;
        if dry_run || !left {
            break;
        }
        // Lets requests in progress finish.
        tokio::time::sleep(PASS_DELAY).await;
    }
    bar.finish_and_clear();
    let key = hexadecimal(&sealer.newest());
    if dry_run {
        say!("Would be sealed anew under the newest key ({key}): {done}. Nothing was changed.")
    } else {
        say!("Sealed anew under the newest key ({key}): {done}.")
    }
    if done.unopened > 0 {
        say!(
            "{} cannot be opened and stay as they are: give RINGFENCE_SECRET_KEY every key that was in use, or have these credentials entered again.",
            HumanCount(done.unopened)
        );
    } else if left && !dry_run {
        say!(
            "A server or worker still seals under an older key: start all of them with the newest key first, then run this again."
        );
    } else if !dry_run {
        say!("Nothing is sealed under an older key. When to take it away: ringfence secrets rotate --help");
    }
    Ok(done.unopened == 0 && (dry_run || !left))
}

/// The result of one pass over everything.
#[derive(Default)]
struct Pass {
    /// The number of resealed values by place; in a dry run, of those that would be resealed.
    counts: [u64; PLACES.len()],
    /// The number of values that a server replaced first.
    overtaken: u64,
    /// The number of values that none of the keys opens.
    unopened: u64,
}

impl Pass {
    /// Visits what is not under the newest key, and replaces it over `writing`, if given.
    async fn over(
        reading: &Client,
        writing: Option<&Client>,
        sealer: &Sealer,
        bar: &ProgressBar,
    ) -> anyhow::Result<Self> {
        let mut pass = Self::default();
        let newest = sealer.newest();
        let asked: [&(dyn ToSql + Sync); 3] = [&newest.as_slice(), &idempotency::REQUEST, &idempotency::ANSWER];
        let rows = reading.query_raw(sql!("ops/secrets/sealed").text, asked).await?;
        let mut rows = pin!(rows);
        let mut batches: [Batch; PLACES.len()] = Default::default();
        while let Some(row) = rows.try_next().await? {
            let place = usize::try_from(row.get::<_, i32>("place"))?;
            let (id, field, was): (Uuid, String, Vec<u8>) = (row.get("id"), row.get("field"), row.get("sealed"));
            match sealer.reseal(id, &field, &was) {
                Ok(sealed) => batches[place].push(id, field, was, sealed),
                Err(e) => {
                    pass.unopened += 1;
                    if pass.unopened <= MAX_NAMED {
                        bar.suspend(|| eprintln!("cannot be opened: {field} of {id}: {e}"));
                    }
                }
            }
            if batches[place].ids.len() >= BATCH_SIZE {
                pass.settle(place, std::mem::take(&mut batches[place]), writing).await?;
                bar.set_position(pass.counts.iter().sum());
            }
        }
        for (place, batch) in batches.into_iter().enumerate() {
            pass.settle(place, batch, writing).await?;
        }
        Ok(pass)
    }

    async fn settle(&mut self, place: usize, batch: Batch, writing: Option<&Client>) -> anyhow::Result<()> {
        let found = u64::try_from(batch.ids.len())?;
        let replaced = match writing {
            Some(db) if found > 0 => {
                let Batch { ids, fields, were, sealed } = batch;
                db.execute(PLACES[place].1.text, &[&ids, &fields, &were, &sealed]).await?
            }
            _ => found,
        };
        self.counts[place] += replaced;
        self.overtaken += found - replaced;
        Ok(())
    }

    fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, count)| *sum += count);
        // Each pass finds the same ones.
        self.unopened = other.unopened;
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.counts.iter().zip(PLACES).map(|(count, (name, _))| format!("{} {name}", HumanCount(*count)));
        f.write_str(&named.collect::<Vec<_>>().join(", "))
    }
}

/// Values of one place that are replaced together.
#[derive(Default)]
struct Batch {
    ids: Vec<Uuid>,
    fields: Vec<String>,
    were: Vec<Vec<u8>>,
    sealed: Vec<Vec<u8>>,
}

impl Batch {
    fn push(&mut self, id: Uuid, field: String, was: Vec<u8>, sealed: Vec<u8>) {
        self.ids.push(id);
        self.fields.push(field);
        self.were.push(was);
        self.sealed.push(sealed);
    }
}
