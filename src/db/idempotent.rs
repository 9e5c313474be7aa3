//! Transactions of a request with an Idempotency-Key: one commit makes both its effect and its response.
//!
//! Each transaction of such a request locks the key's row and stays open when its handler is done with it, until the
//! response is stored. Before the request uses another connection or an outside service, what it did is committed
//! ([`commit_held`]) together with a note that the key is used, so that no other request can start again with it.

use super::{
    Caller, Db, Sql,
    platform::{COMMIT_KEY, HOLD_KEY, KEEP_ANSWER},
    pool::Lease,
    tenant::first,
};
use crate::{Error, Result};
use std::{cell::RefCell, mem};
use uuid::Uuid;

tokio::task_local! {
    static HELD: RefCell<Held>;
}

/// The state of a key while its request is carried out.
pub(crate) struct Held {
    db: Db,
    id: Uuid,
    /// Whether the handler is in a transaction.
    busy: bool,
    open: Option<Open>,
    note: Note,
}

/// Whether the key's row says that something was committed under it.
#[derive(Clone, Copy, PartialEq)]
enum Note {
    None,
    /// A commit was tried and its outcome is unknown: nothing more may be done.
    Unknown,
    Committed,
}

/// An open transaction that its handler is done with.
struct Open {
    connection: Lease,
    caller: Caller,
    locate: bool,
}

/// Carries out a request whose key is in the row with this id; also returns the state of the key.
pub(crate) async fn hold<T>(db: &Db, id: Uuid, work: impl Future<Output = T>) -> (T, Held) {
    let new = || Held { db: db.clone(), id, busy: false, open: None, note: Note::None };
    let held = async {
        let done = work.await;
        (done, HELD.with(|held| held.replace(new())))
    };
    HELD.scope(RefCell::new(new()), held).await
}

/// Commits what the request has done so far, if it has a key.
pub(crate) async fn commit_held() -> Result<()> {
    let take = |held: &RefCell<Held>| {
        let mut held = held.borrow_mut();
        held.may_go_on()?;
        let note = mem::replace(&mut held.note, Note::Unknown);
        Ok::<_, Error>((held.db.clone(), held.id, note, held.open.take()))
    };
    let Ok(taken) = HELD.try_with(take) else { return Ok(()) };
    // Boxed, because every request passes here and few have a key.
    Box::pin(commit(taken?)).await
}

async fn commit((db, id, note, open): (Db, Uuid, Note, Option<Open>)) -> Result<()> {
    match open {
        Some(mut open) => {
            if note == Note::None {
                tell(&mut open.connection, COMMIT_KEY, id).await?;
            }
            open.commit(&db).await?;
        }
        None if note == Note::None => {
            let mut connection = db.lease().await?;
            let [statement] = connection.prepare([COMMIT_KEY.text]).await?;
            mine(first(&connection.run(&[(&statement, &[&id])]).await?.last()?)?)?;
        }
        None => {}
    }
    HELD.with(|held| held.borrow_mut().note = Note::Committed);
    Ok(())
}

/// Whether the current request has a key.
pub(super) fn is_held() -> bool {
    HELD.try_with(|_| ()).is_ok()
}

/// A transaction of a request with a key.
pub(super) struct Keyed(Uuid);

impl Keyed {
    /// The next transaction of the current request, if that has a key; commits the one before.
    pub(super) async fn next() -> Result<Option<Self>> {
        let Ok(open) = HELD.try_with(|held| held.borrow().open.is_some()) else { return Ok(None) };
        if open {
            commit_held().await?;
        }
        HELD.with(|held| {
            let mut held = held.borrow_mut();
            held.may_go_on()?;
            held.busy = true;
            Ok(Some(Self(held.id)))
        })
    }

    /// Locks the key's row.
    pub(super) async fn lock(&self, connection: &mut Lease) -> Result<()> {
        tell(connection, HOLD_KEY, self.0).await
    }

    /// Leaves the transaction open until the response is stored.
    pub(super) fn leave(self, connection: Lease, caller: Caller, locate: bool) {
        HELD.with(|held| held.borrow_mut().open = Some(Open { connection, caller, locate }));
    }
}

impl Drop for Keyed {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| held.borrow_mut().busy = false);
    }
}

impl Open {
    async fn commit(mut self, db: &Db) -> Result<()> {
        db.commit(&mut self.connection, &self.caller, self.locate).await
    }
}

/// Runs a statement on the key's row within a transaction.
async fn tell(connection: &mut Lease, what: Sql, id: Uuid) -> Result<()> {
    let [statement] = connection.prepare([what.text]).await?;
    mine(first(&connection.within(&statement, &[&id]).await?)?)
}

/// An error if the key is no longer this request's: while it waits before its first transaction, a repeat can take it.
fn mine(is_mine: Option<bool>) -> Result<()> {
    match is_mine {
        Some(true) => Ok(()),
        _ => Err(Error::Conflict("Another request with this key is under way".into())),
    }
}

impl Held {
    fn may_go_on(&self) -> Result<()> {
        if self.busy || self.note == Note::Unknown {
            return Err(Error::Internal("a request with a key goes on within a transaction or after a failure".into()));
        }
        Ok(())
    }

    /// Whether something was committed under the key, or may have been.
    pub(crate) fn is_used(&self) -> bool {
        self.note != Note::None
    }

    /// Stores the response, with its body sealed, in the same commit as what is not yet committed. Also returns whether
    /// there was any such: then an error means that it was not done.
    pub(crate) async fn keep(mut self, status: i32, kind: Option<&str>, body: &[u8]) -> (bool, Result<()>) {
        let Some(mut open) = self.open.take() else {
            return (false, self.db.platform().keep_idempotent_answer(self.id, status, kind, body).await);
        };
        let kept = async {
            let [statement] = open.connection.prepare([KEEP_ANSWER.text]).await?;
            open.connection.within(&statement, &[&self.id, &status, &kind, &body]).await?;
            open.commit(&self.db).await
        };
        (true, kept.await)
    }

    /// Releases the key. Commits the open transaction if something was committed before, and otherwise rolls it back.
    pub(crate) async fn give_back(mut self) -> Result<()> {
        let open = self.open.take();
        if let Some(open) = open.filter(|_| self.is_used()) {
            open.commit(&self.db).await?;
        }
        self.db.platform().release_idempotency_key(self.id).await
    }

    /// Leaves the key taken, because the request's outcome is unknown; what it did is committed.
    pub(crate) async fn leave_unanswered(self) -> Result<()> {
        match self.open {
            Some(open) => open.commit(&self.db).await,
            None => Ok(()),
        }
    }
}
