//! A database handle that can only see what its caller may see: the core of the product's security.
//!
//! A request is one transaction in one network round trip: *enter* and the handler's statement are prepared beforehand
//! and written together with one Sync after them; the server runs everything up to the Sync in one transaction and
//! commits there. *Enter* reads `app.caller` and sets the context for this transaction only, so the database decides at
//! every request who the caller is; its result is checked before any other. Without a context the policies show nothing
//! and refuse every write, so a statement that was sent along with a refused *enter* has no effect.

use super::{
    Db, Fault, FromRow, Params, Plan, Row, Rows, Sql, WriteRow,
    connection::{Answer, Connection, Reply},
    idempotent::{self, Keyed},
    pool::Lease,
};
use crate::{Error, Result, server, sql};
use std::{
    io,
    marker::PhantomData,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};
use tokio::sync::Mutex;
use uuid::Uuid;

const BEGIN: &str = "begin";
const ENTER: Sql = sql!("platform/enter");
const ENTER_JOB: Sql = sql!("platform/enter_job");
const UNFINISHED: Sql = sql!("platform/unfinished_restore");

/// What is said of a database into which a restore has not ended.
pub const UNFINISHED_RESTORE: &str =
    "a restore into this database has not ended: wait for it, or restore again into an empty database";

/// An identity that the server has proof of: a verified token, or the row of a job or webhook.
#[derive(Clone, Copy, Debug)]
pub enum Identity {
    /// The user of a verified token and the token's version.
    Token(Uuid, i32),
    /// A company for which work is done, and the user of the row that asks for it.
    Job {
        /// The company.
        company: Uuid,
        /// The row's user, who may have left.
        user: Uuid,
        /// Whether the work is done even for a suspended company.
        even_suspended: bool,
    },
}

impl Identity {
    fn user(&self) -> Uuid {
        let (Identity::Token(user, _) | Identity::Job { user, .. }) = self;
        *user
    }
}

/// The caller of a transaction, according to `app.caller`.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user's id.
    pub user_id: Uuid,
    /// The user's company, if any.
    pub company_id: Option<Uuid>,
    /// The user's role.
    pub role: String,
}

/// The role of the platform's own staff.
pub const SUPER_ADMIN: &str = "super_admin";

impl Caller {
    /// Whether the caller works for the platform.
    pub fn is_super_admin(&self) -> bool {
        self.role == SUPER_ADMIN
    }

    /// The caller that *enter* let in.
    pub(super) fn from_entered(row: &Row) -> Result<Self, Fault> {
        Ok(Self {
            user_id: row.try_get("user_id")?,
            company_id: row.try_get("company_id")?,
            role: row.try_get("role")?,
        })
    }
}

/// Who may use a route. The type parameter of a handler's extractor names it.
pub trait Permission: Send + Sync + 'static {
    /// Whether the caller needs a company.
    const NEEDS_COMPANY: bool;
    /// The roles that are let in; `None` lets in all.
    const ROLE: Option<RoleRule> = None;
}

/// The roles that are let in, and the error for all others.
pub struct RoleRule {
    /// Whether a role is let in.
    pub allows: fn(&str) -> bool,
    /// The message of the 403.
    pub refusal: &'static str,
}

/// Any signed-in user.
pub struct AnyUser;
impl Permission for AnyUser {
    const NEEDS_COMPANY: bool = false;
}

/// Any member of a company.
pub struct Member;
impl Permission for Member {
    const NEEDS_COMPANY: bool = true;
}

/// `company_admin` of a company, or `super_admin` (contract: roles and permissions).
pub struct CompanyAdmin;
impl CompanyAdmin {
    /// The message for everybody else.
    pub const REFUSAL: &'static str = "Only a company admin may do this";
}
impl Permission for CompanyAdmin {
    const NEEDS_COMPANY: bool = false;
    const ROLE: Option<RoleRule> =
        Some(RoleRule { allows: |role| matches!(role, "company_admin" | SUPER_ADMIN), refusal: Self::REFUSAL });
}

/// One of the labels that may edit a company's users, or `super_admin` (contract: roles and permissions).
pub struct TeamAdmin;
impl Permission for TeamAdmin {
    const NEEDS_COMPANY: bool = false;
    const ROLE: Option<RoleRule> = Some(RoleRule {
        allows: |role| matches!(role, "company_admin" | "Admin" | "admin" | "Super Admin" | SUPER_ADMIN),
        refusal: "Only an admin may do this",
    });
}

/// Who may write a company's Twilio settings and numbers (contract: roles and permissions).
pub struct SettingsAdmin;
impl Permission for SettingsAdmin {
    const NEEDS_COMPANY: bool = true;
    const ROLE: Option<RoleRule> = Some(RoleRule {
        allows: |role| matches!(role, "company_admin" | "Admin" | SUPER_ADMIN),
        refusal: "Only an admin may do this",
    });
}

/// The platform's own staff: the exact role `super_admin`.
pub struct SuperAdmin;
impl Permission for SuperAdmin {
    const NEEDS_COMPANY: bool = false;
    const ROLE: Option<RoleRule> =
        Some(RoleRule { allows: |role| role == SUPER_ADMIN, refusal: "Only a super admin may do this" });
}

/// What a handler gets instead of a pool: it runs statements in the name of one caller.
pub struct Scoped<D> {
    pub(super) db: Db,
    pub(super) who: Identity,
    /// For a request that only reads: the WAL position (LSN) that a standby must have replayed to answer it.
    pub(super) reads: Option<u64>,
    permission: PhantomData<D>,
}

impl<D> Clone for Scoped<D> {
    fn clone(&self) -> Self {
        Self { db: self.db.clone(), who: self.who, reads: self.reads, permission: PhantomData }
    }
}

/// Any signed-in user's handle, with or without company.
pub type UserDb = Scoped<AnyUser>;
/// A company member's handle; without a company every call is [`Error::NoCompany`].
pub type TenantDb = Scoped<Member>;

impl Db {
    /// Commits a caller's transaction, and notes the WAL position (LSN) after it if `locate` is set.
    pub(super) async fn commit(&self, connection: &mut Lease, caller: &Caller, locate: bool) -> Result<()> {
        if locate {
            let change = self.unlocated(caller.user_id);
            let position = connection.commit_and_locate().await?;
            change.settle();
            self.leave_position(caller, position);
        } else {
            connection.commit().await?;
        }
        Ok(())
    }

    /// The handle for an identity that the server has proof of.
    pub(crate) fn scoped<D: Permission>(&self, who: Identity) -> Scoped<D> {
        Scoped { db: self.clone(), who, reads: None, permission: PhantomData }
    }
}

impl TenantDb {
    /// The handle of a job or a verified webhook. Works when the user has left; refuses a suspended company.
    pub fn for_company(db: &Db, company: Uuid, user: Uuid) -> Self {
        db.scoped(Identity::Job { company, user, even_suspended: false })
    }

    /// The handle for recording a provider's response: the message has been sent, even if its sender has logged out or
    /// changed companies since, or their company has been suspended.
    pub fn for_answer(db: &Db, company: Uuid, user: Uuid) -> Self {
        db.scoped(Identity::Job { company, user, even_suspended: true })
    }

    /// The handle for recording an opt-out from a company's messages, which counts even while the company is suspended.
    pub fn for_opt_out(db: &Db, company: Uuid, user: Uuid) -> Self {
        db.scoped(Identity::Job { company, user, even_suspended: true })
    }
}

impl<D> Scoped<D> {
    /// The handle for a request that only reads: a standby that has replayed this WAL position (LSN) may answer it
    /// (src/db/standby.rs).
    pub(crate) fn reading(self, from: Option<u64>) -> Self {
        Self { reads: from, ..self }
    }
}

/// Prepares what every request needs. A database into which a restore has not ended counts as one that is away: it has
/// work that may have been done, and that the restore is about to cancel. One that is still empty has nothing that
/// could be prepared.
pub(super) async fn prepare(connection: &mut Connection) -> Result<(), Fault> {
    let [_, _, unfinished] = connection.prepare([BEGIN, ENTER.text, UNFINISHED.text]).await?;
    let reply = connection.run(&[(&unfinished, &[])]).await?.last()?;
    match reply.first()?.map(|row| row.try_get(0usize)).transpose()? {
        Some(false) => Ok(()),
        _ => Err(Fault::Lost(io::Error::other(UNFINISHED_RESTORE))),
    }
}

impl<D: Permission> Scoped<D> {
    /// All rows of a statement.
    pub async fn all<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<Vec<T>> {
        many(&self.rows(q, p).await?)
    }

    /// All rows of a statement, as the response of a list.
    pub async fn list<T: WriteRow>(&self, q: Sql, p: Params<'_>) -> Result<Rows<T>> {
        Ok(Rows::new(self.rows(q, p).await?))
    }

    /// The first row; `NotFound` if there is none, or if it is another company's.
    pub async fn one<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<T> {
        first(&self.rows(q, p).await?)?.ok_or(Error::not_found(T::NAME))
    }

    /// The first row, if any.
    pub async fn optional<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<Option<T>> {
        first(&self.rows(q, p).await?)
    }

    /// Runs one statement in one round trip. If the role decides, it is checked before the statement is sent; that path
    /// is boxed, because it is rarer, and a request's future is copied several times on its way to the handler.
    async fn rows(&self, q: Sql, p: Params<'_>) -> Result<Reply> {
        if let Some(reply) = self.on_standby(q, p).await? {
            return Ok(reply);
        }
        let locate = self.leaves_position(Some(q));
        if D::ROLE.is_some() || idempotent::is_held() {
            return Box::pin(self.transaction(locate, async |tx| tx.rows(q, p).await)).await;
        }
        let mut connection = self.db.connection_for(&self.who).await?;
        let [enter, statement] = connection.prepare([self.enter().text, q.text]).await?;
        let entering = self.entering(q.plan);
        let statements: &[(_, Params<'_>)] = &[(&enter, &entering.params()), (&statement, p)];
        let (mut answer, position) = if locate {
            let change = self.db.unlocated(self.who.user());
            let located = connection.run_and_locate(statements).await?;
            change.settle();
            located
        } else {
            (connection.run(statements).await?, None)
        };
        let caller = self.admit(&connection, &mut answer, 0)?;
        let mut reply = answer.last()?;
        if locate {
            self.db.leave_position(&caller, position);
        }
        reply.room().belong(caller.company_id)?;
        Ok(reply)
    }

    /// Who the caller is right now, according to the primary.
    pub(super) async fn known(&self) -> Result<Caller> {
        let mut connection = self.db.connection_for(&self.who).await?;
        let [enter] = connection.prepare([self.enter().text]).await?;
        let entering = self.entering(Plan::Auto);
        let mut answer = connection.run(&[(&enter, &entering.params())]).await?;
        let caller = self.admit(&connection, &mut answer, 0)?;
        answer.last()?;
        Ok(caller)
    }

    /// Runs `f` in one transaction: commits on `Ok` (with the response, if the request has a key: src/db/idempotent.rs)
    /// and rolls back otherwise, also if the client goes away or `f` panics. A failed statement spoils the transaction,
    /// even if `f` ignores the error.
    pub async fn tx<T>(&self, f: impl AsyncFnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.transaction(self.leaves_position(None), f).await
    }

    async fn transaction<T>(&self, locate: bool, f: impl AsyncFnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        let keyed = Keyed::next().await?;
        let mut connection = self.db.lease_for(&self.who).await?;
        let [begin, enter] = connection.prepare([BEGIN, self.enter().text]).await?;
        let entering = self.entering(Plan::Auto);
        let mut answer = connection.begin(&[(&begin, &[]), (&enter, &entering.params())]).await?;
        let caller = self.admit(&connection, &mut answer, 1)?;
        answer.last()?;
        if let Some(keyed) = &keyed {
            keyed.lock(&mut connection).await?;
        }
        let tx = Tx { connection: Mutex::new(&mut connection), caller, spoilt: AtomicBool::new(false) };
        let out = f(&tx).await?;
        if tx.spoilt.load(Relaxed) {
            return Err(Error::Internal("a handler went on after a failed statement".into()));
        }
        let caller = tx.caller;
        match keyed {
            Some(keyed) => keyed.leave(connection, caller, locate),
            None => self.db.commit(&mut connection, &caller, locate).await?,
        }
        Ok(out)
    }

    fn enter(&self) -> Sql {
        match self.who {
            Identity::Token(..) => ENTER,
            Identity::Job { .. } => ENTER_JOB,
        }
    }

    fn entering(&self, plan: Plan) -> Entering {
        Entering {
            who: self.who,
            company: D::NEEDS_COMPANY,
            plan: plan.mode(),
            request: server::request_id(),
            began_in: server::company(),
        }
    }

    /// Checks the result of *enter*, the statement at index `place`.
    fn admit(&self, connection: &Lease, answer: &mut Answer, place: usize) -> Result<Caller> {
        let Some(entered) = answer.replies.get(place) else {
            let failed = answer.refused.take().map(Error::from);
            return Err(failed.unwrap_or(Error::Internal("the context was not set".into())));
        };
        let row = entered.first()?.ok_or(Error::InvalidToken)?;
        if row.try_get("suspended")? {
            return Err(Error::Suspended);
        }
        let caller = Caller::from_entered(&row)?;
        if let Identity::Token(..) = self.who {
            server::note_company(caller.company_id);
        }
        self.db.learn(connection, &caller);
        if let Some(company) = caller.company_id {
            tracing::Span::current().record("company", tracing::field::display(company));
        }
        if D::NEEDS_COMPANY && caller.company_id.is_none() {
            return Err(Error::NoCompany);
        }
        match D::ROLE {
            Some(rule) if !(rule.allows)(&caller.role) => Err(Error::Forbidden(rule.refusal.into())),
            _ => Ok(caller),
        }
    }
}

/// The parameters of *enter*.
struct Entering {
    who: Identity,
    company: bool,
    plan: &'static str,
    /// Empty outside of a request.
    request: String,
    began_in: Option<Uuid>,
}

impl Entering {
    fn params(&self) -> Vec<&(dyn postgres_types::ToSql + Sync)> {
        match &self.who {
            Identity::Token(user, version) => {
                vec![user, version, &self.company, &self.plan, &self.request, &self.began_in]
            }
            Identity::Job { company, user, even_suspended } => {
                vec![company, user, &self.plan, even_suspended, &self.request]
            }
        }
    }
}

/// An open transaction in the caller's name.
pub struct Tx<'a> {
    connection: Mutex<&'a mut Lease>,
    caller: Caller,
    spoilt: AtomicBool,
}

impl Tx<'_> {
    /// Whose transaction it is.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// All rows of a statement.
    pub async fn all<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<Vec<T>> {
        many(&self.rows(q, p).await?)
    }

    /// The first row; `NotFound` when there is none.
    pub async fn one<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<T> {
        first(&self.rows(q, p).await?)?.ok_or(Error::not_found(T::NAME))
    }

    /// The first row, if any.
    pub async fn optional<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<Option<T>> {
        first(&self.rows(q, p).await?)
    }

    async fn rows(&self, q: Sql, p: Params<'_>) -> Result<Reply> {
        let mut connection = self.connection.lock().await;
        // Spoilt until the statement has ended: a call that is dropped half-way has failed too.
        let spoilt = self.spoilt.swap(true, Relaxed);
        let [statement] = connection.prepare([q.text]).await?;
        let mut reply = connection.within(&statement, p).await?;
        reply.room().belong(self.caller.company_id)?;
        self.spoilt.store(spoilt, Relaxed);
        Ok(reply)
    }
}

pub(super) fn many<T: FromRow>(reply: &Reply) -> Result<Vec<T>> {
    let mut all = Vec::with_capacity(reply.len());
    reply.each(|row| {
        all.push(T::from_row(row)?);
        Ok::<_, Fault>(())
    })?;
    Ok(all)
}

pub(super) fn first<T: FromRow>(reply: &Reply) -> Result<Option<T>> {
    Ok(reply.first()?.as_ref().map(T::from_row).transpose()?)
}
