//! A database handle that can only see what its caller may see: the security of the product.
//!
//! A request is one transaction in one network round trip: `begin; enter; <the handler's statement>; commit` are prepared
//! before and written together. *Enter* reads `app.caller` and sets the context for this transaction only, so identity is
//! the database's at every request; its answer is looked at before any other. Without context the policies show nothing
//! and refuse every write, so a statement that travelled with a refused *enter* has done nothing.

use super::{Db, FromRow, Params, Plan, Rows, Sql, WriteRow};
use crate::{Error, Result, sql};
use deadpool_postgres::{HookError, Object};
use std::{
    marker::PhantomData,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task,
};
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

const BEGIN: &str = "begin";
const COMMIT: &str = "commit";
const ENTER: Sql = sql!("platform/enter");
const ENTER_JOB: Sql = sql!("platform/enter_job");

/// Who the server has proof of: a verified token, or the row of a job or webhook.
#[derive(Clone, Copy, Debug)]
pub enum Identity {
    /// The user of a verified token and the token's version.
    Token(Uuid, i32),
    /// A company whose work is done, and the user of the row that asks for it.
    Job {
        /// The company.
        company: Uuid,
        /// The row's user, who may have left.
        user: Uuid,
    },
}

/// What `app.caller` says of the one whose transaction it is.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user's id.
    pub user_id: Uuid,
    /// The user's company, if any.
    pub company_id: Option<Uuid>,
    /// The user's role.
    pub role: String,
}

/// A door: who comes in by it. The extractor's type is the route's permission.
pub trait Door: Send + Sync + 'static {
    /// Whether one needs a company.
    const COMPANY: bool;
    /// Which roles are let in, when not all are.
    const ROLE: Option<RoleRule> = None;
}

/// Which roles come in by a door, and what the others are told.
pub struct RoleRule {
    /// Whether a role does.
    pub admits: fn(&str) -> bool,
    /// The sentence of the 403.
    pub refusal: &'static str,
}

/// Any signed-in user.
pub struct AnyUser;
impl Door for AnyUser {
    const COMPANY: bool = false;
}

/// Any member of a company.
pub struct Member;
impl Door for Member {
    const COMPANY: bool = true;
}

/// `company_admin` of a company, or `super_admin` (contract: roles and permissions).
pub struct CompanyAdmin;
impl Door for CompanyAdmin {
    const COMPANY: bool = false;
    const ROLE: Option<RoleRule> = Some(RoleRule {
        admits: |role| matches!(role, "company_admin" | "super_admin"),
        refusal: "Only a company admin may do this",
    });
}

/// One of the labels that may edit a company's users, or `super_admin` (contract: roles and permissions).
pub struct TeamAdmin;
impl Door for TeamAdmin {
    const COMPANY: bool = false;
    const ROLE: Option<RoleRule> = Some(RoleRule {
        admits: |role| matches!(role, "company_admin" | "Admin" | "admin" | "Super Admin" | "super_admin"),
        refusal: "Only an admin may do this",
    });
}

/// Who may write a company's Twilio settings and numbers (contract: roles and permissions).
pub struct SettingsAdmin;
impl Door for SettingsAdmin {
    const COMPANY: bool = true;
    const ROLE: Option<RoleRule> = Some(RoleRule {
        admits: |role| matches!(role, "company_admin" | "Admin" | "super_admin"),
        refusal: "Only an admin may do this",
    });
}

/// The platform's own staff: the exact role `super_admin`.
pub struct SuperAdmin;
impl Door for SuperAdmin {
    const COMPANY: bool = false;
    const ROLE: Option<RoleRule> =
        Some(RoleRule { admits: |role| role == "super_admin", refusal: "Only a super admin may do this" });
}

/// What a handler gets instead of a pool: statements of one caller.
pub struct Scoped<D> {
    db: Db,
    who: Identity,
    door: PhantomData<D>,
}

impl<D> Clone for Scoped<D> {
    fn clone(&self) -> Self {
        Self { db: self.db.clone(), who: self.who, door: PhantomData }
    }
}

/// Any signed-in user's handle, with or without company.
pub type UserDb = Scoped<AnyUser>;
/// A company member's handle; without a company every call is [`Error::NoCompany`].
pub type TenantDb = Scoped<Member>;

impl Db {
    /// The handle of somebody the server has proof of.
    pub(crate) fn scoped<D: Door>(&self, who: Identity) -> Scoped<D> {
        Scoped { db: self.clone(), who, door: PhantomData }
    }
}

impl TenantDb {
    /// The handle of a job or a verified webhook. Works when the user has left; refuses a blocked company.
    pub fn for_company(db: &Db, company: Uuid, user: Uuid) -> Self {
        db.scoped(Identity::Job { company, user })
    }
}

/// Prepares what every request needs, so that the first one of a connection is not slower than the others.
pub(super) async fn warm_up(client: &mut deadpool_postgres::ClientWrapper) -> Result<(), HookError> {
    for text in [BEGIN, ENTER.text, COMMIT] {
        client.prepare_cached(text).await.map_err(HookError::Backend)?;
    }
    Ok(())
}

impl<D: Door> Scoped<D> {
    /// All rows of a statement.
    pub async fn all<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<Vec<T>> {
        many(self.rows(q, p).await?)
    }

    /// All rows of a statement, as the answer of a list.
    pub async fn list<T: WriteRow>(&self, q: Sql, p: Params<'_>) -> Result<Rows<T>> {
        Ok(Rows::new(self.rows(q, p).await?))
    }

    /// The first row; `NotFound` when there is none, which is also what another company's row looks like.
    pub async fn one<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<T> {
        first(self.rows(q, p).await?)?.ok_or(Error::not_found(T::NAME))
    }

    /// The first row, if any.
    pub async fn optional<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<Option<T>> {
        first(self.rows(q, p).await?)
    }

    /// One statement in one round trip. Where the role decides, it is looked at before the statement is sent.
    async fn rows(&self, q: Sql, p: Params<'_>) -> Result<Vec<Row>> {
        if D::ROLE.is_some() {
            return self.tx(async |tx| tx.rows(q, p).await).await;
        }
        let client = self.db.client().await?;
        let begin = client.prepare_cached(BEGIN).await?;
        let enter = self.prepare_enter(&client).await?;
        let statement = client.prepare_cached(q.text).await?;
        let commit = client.prepare_cached(COMMIT).await?;
        // All four are queued at the first poll. Dropping this future after it loses the answer and leaves nothing open;
        // dropping it before has sent nothing.
        let (begun, entered, rows, committed) = tokio::join!(
            biased;
            client.execute(&begin, &[]),
            self.enter(&client, &enter, q.plan),
            client.query(&statement, p),
            client.execute(&commit, &[]),
        );
        begun?;
        self.admit(entered?)?;
        let rows = rows?;
        committed?;
        Ok(rows)
    }

    /// Runs `f` in one transaction: commits on `Ok`, rolls back otherwise, also when the caller goes away or panics.
    /// An error of a statement spoils the transaction, even if `f` swallows it.
    pub async fn tx<T>(&self, f: impl AsyncFnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        let client = self.db.client().await?;
        let begin = client.prepare_cached(BEGIN).await?;
        let enter = self.prepare_enter(&client).await?;
        let commit = client.prepare_cached(COMMIT).await?;
        let mut open = Open { client: &client, done: false };
        let (begun, entered) =
            tokio::join!(biased; client.execute(&begin, &[]), self.enter(&client, &enter, Plan::Auto));
        begun?;
        let tx = Tx { client: &client, caller: self.admit(entered?)?, spoilt: AtomicBool::new(false) };
        let out = f(&tx).await?;
        if tx.spoilt.load(Relaxed) {
            return Err(Error::Internal("a handler went on after a failed statement".into()));
        }
        open.done = true;
        client.execute(&commit, &[]).await?;
        Ok(out)
    }

    async fn prepare_enter(&self, client: &Object) -> Result<Statement> {
        let enter = match self.who {
            Identity::Token(..) => ENTER,
            Identity::Job { .. } => ENTER_JOB,
        };
        Ok(client.prepare_cached(enter.text).await?)
    }

    async fn enter(
        &self,
        client: &Object,
        enter: &Statement,
        plan: Plan,
    ) -> Result<Option<Row>, tokio_postgres::Error> {
        let plan = plan.mode();
        match &self.who {
            Identity::Token(user, version) => client.query_opt(enter, &[user, version, &D::COMPANY, &plan]).await,
            Identity::Job { company, user } => client.query_opt(enter, &[company, user, &plan]).await,
        }
    }

    fn admit(&self, row: Option<Row>) -> Result<Caller> {
        let row = row.ok_or(Error::InvalidToken)?;
        if row.try_get("blocked")? {
            return Err(Error::Suspended);
        }
        let caller = Caller {
            user_id: row.try_get("user_id")?,
            company_id: row.try_get("company_id")?,
            role: row.try_get("role")?,
        };
        if let Some(company) = caller.company_id {
            tracing::Span::current().record("company", tracing::field::display(company));
        }
        if D::COMPANY && caller.company_id.is_none() {
            return Err(Error::NoCompany);
        }
        match D::ROLE {
            Some(rule) if !(rule.admits)(&caller.role) => Err(Error::Forbidden(rule.refusal.into())),
            _ => Ok(caller),
        }
    }
}

/// An open transaction in the caller's name.
pub struct Tx<'a> {
    client: &'a Object,
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
        many(self.rows(q, p).await?)
    }

    /// The first row; `NotFound` when there is none.
    pub async fn one<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<T> {
        first(self.rows(q, p).await?)?.ok_or(Error::not_found(T::NAME))
    }

    /// The first row, if any.
    pub async fn optional<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<Option<T>> {
        first(self.rows(q, p).await?)
    }

    async fn rows(&self, q: Sql, p: Params<'_>) -> Result<Vec<Row>> {
        let run = async { self.client.query(&self.client.prepare_cached(q.text).await?, p).await };
        let rows = run.await;
        if rows.is_err() {
            self.spoilt.store(true, Relaxed);
        }
        Ok(rows?)
    }
}

/// Queues a rollback when a transaction is left without commit, whatever the reason, so that the connection goes back to
/// the pool clean. The message is queued behind all that was sent before it; nobody needs to wait for its answer.
struct Open<'a> {
    client: &'a Object,
    done: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.done {
            let rollback = pin!(self.client.batch_execute("rollback"));
            let _ = rollback.poll(&mut task::Context::from_waker(task::Waker::noop()));
        }
    }
}

fn many<T: FromRow>(rows: Vec<Row>) -> Result<Vec<T>> {
    Ok(rows.iter().map(T::from_row).collect::<Result<_, _>>()?)
}

fn first<T: FromRow>(rows: Vec<Row>) -> Result<Option<T>> {
    Ok(rows.first().map(T::from_row).transpose()?)
}
