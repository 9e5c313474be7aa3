//! Everything that runs before a company is known, or across companies. To review what may cross companies, read this
//! file and the functions that it calls, which belong to `ringfence_platform`.

use super::{
    Db, FromRow, Params, Permission, Scoped, Sql, Tx,
    connection::Reply,
    tenant::{first, many},
};
use crate::{Error, Result, error::ResultExt, page::Page, row, sql, wire::Time};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// Locks the row of a request's idempotency key (src/db/idempotent.rs).
pub(super) const HOLD_KEY: Sql = sql!("platform/hold_idempotency_key");
/// Notes that something is committed under an idempotency key.
pub(super) const COMMIT_KEY: Sql = sql!("platform/commit_idempotency_key");
/// Stores the response of a request with an idempotency key.
pub(super) const KEEP_ANSWER: Sql = sql!("platform/keep_idempotent_answer");

/// How many jobs of one company a worker runs at the same time, and how many of these may be of one kind: other due
/// jobs must not wait for the workflow runs of an import, whose provider may be slow.
const MAX_JOBS_OF_COMPANY: i32 = 20;
const MAX_JOBS_OF_KIND: i32 = 16;

row! {
    /// The account of a signed-in user, from which tokens and responses are made.
    pub struct Account as "User" {
        /// The user's id.
        id: Uuid,
        /// Lower-cased.
        email: String,
        /// First name.
        first_name: String,
        /// Last name.
        last_name: String,
        /// The role, `user_role` in the database.
        role: String,
        /// The company, if any.
        company_id: Option<Uuid>,
        /// The team, if any.
        team_id: Option<Uuid>,
        /// `active`, `suspended` or `pending`.
        status: String,
        /// The version that tokens carry.
        token_version: i32,
        /// Whether the company is suspended.
        suspended as "blocked": bool,
    }
}

/// What registering a company made.
pub struct Registered {
    /// The company.
    pub company_id: Uuid,
    /// The end of the trial.
    pub trial_ends_at: Time,
    /// Its admin.
    pub admin: Account,
}

/// The data of a new user.
pub struct NewUser<'a> {
    /// Lower-cased.
    pub email: &'a str,
    /// The hash of the password.
    pub hash: &'a str,
    /// First name.
    pub first_name: &'a str,
    /// Last name.
    pub last_name: &'a str,
}

/// The unique key of the addresses of users who are not deleted.
pub const EMAIL_KEY: &str = "users_email_key";
/// The error for an address that already has an account.
pub const EMAIL_REGISTERED: &str = "Email already registered";

/// Turns the error for an address that already has an account into a 400.
pub fn registered<T>(made: Result<T>) -> Result<T> {
    made.on_constraint(EMAIL_KEY, EMAIL_REGISTERED)
}

row! {
    /// An invitation that can be accepted.
    pub struct Invitation {
        /// The person's address.
        email: String,
        /// First name.
        first_name: String,
        /// Last name.
        last_name: String,
        /// The role the account will have.
        role: String,
    }
}

row! {
    /// A claimed job (src/jobs/mod.rs).
    pub struct Job {
        /// Its id; the statement that does its work deletes the row.
        id: Uuid,
        /// The company in which it runs.
        company_id: Uuid,
        /// The user in whose name it runs, who may have left.
        user_id: Uuid,
        /// The kind of job.
        kind: String,
        /// The record that it is about.
        record_id: Uuid,
    }
}

row! {
    /// A company that claims a phone number as its own.
    pub struct NumberOwner {
        /// The company.
        company_id: Uuid,
        /// The user in whose name incoming messages are stored.
        user_id: Uuid,
    }
}

row! {
    /// The request that holds an idempotency key: the current one, or another (src/idempotency.rs).
    pub struct HeldKey {
        /// The id of that request.
        holder: Uuid,
        /// What that request asked, sealed.
        request: Vec<u8>,
        /// The status of the response, if there is one.
        status: Option<i32>,
        /// The content type of the response.
        content_type: Option<String>,
        /// The body of the response, sealed.
        body: Option<Vec<u8>>,
    }
}

row! {
    /// How far the job queue is behind, over all companies.
    pub struct QueueState {
        /// The number of jobs that are due and not started.
        due: i64,
        /// How long the oldest of these has been due, in seconds.
        seconds: f64,
    }
}

row! {
    /// Which database this is.
    pub struct DatabaseIdentity as "DatabaseIdentity" {
        /// The database's own id; a restored copy gets another.
        id: Uuid,
        /// Whether it has any of the given files.
        has_one: bool,
        /// Whether it has used a store of files before, or has files with content.
        had_store: bool,
    }
}

row! {
    /// A key under which credentials of companies are sealed.
    pub struct SealingKey as "SealingKey" {
        /// Its id, with which what it has sealed begins (src/seal.rs).
        id: Vec<u8>,
        /// How many credentials it has sealed.
        credentials: i64,
    }
}

/// Whether this server and the database fit together.
pub struct Readiness {
    /// The number of the newest migration that ran.
    pub version: i32,
    /// The newest migration of the oldest program that works with the schema.
    pub oldest_program: i32,
    /// Why the policies would not restrict the role that this server logs in as, if so.
    pub login_problem: Option<String>,
    /// Whether a restore into the database has not ended.
    pub is_unfinished: bool,
}

/// A handle without company or user, for the closed list of things that need none.
pub struct Platform {
    db: Db,
}

impl Db {
    /// The handle for what precedes a company.
    pub fn platform(&self) -> Platform {
        Platform { db: self.clone() }
    }
}

impl Platform {
    /// The account of an e-mail address (lower-cased) with its password's hash.
    pub async fn login(&self, email: &str) -> Result<Option<(Account, String)>> {
        let rows = self.rows(sql!("platform/login"), &[&email]).await?;
        let Some(row) = rows.first()? else { return Ok(None) };
        Ok(Some((Account::from_row(&row)?, row.try_get("password_hash")?)))
    }

    /// Records a login with this password hash; `rehashed` replaces a hash of an older kind. False if the hash has
    /// changed.
    pub async fn logged_in(&self, user: Uuid, hash: &str, rehashed: Option<&str>) -> Result<bool> {
        self.one(sql!("platform/logged_in"), &[&user, &hash, &rehashed]).await
    }

    /// Whether a user who is not deleted has this address (lower-cased).
    pub async fn email_taken(&self, email: &str) -> Result<bool> {
        self.one(sql!("platform/email_taken"), &[&email]).await
    }

    /// Whether a company has exactly this name.
    pub async fn company_name_taken(&self, name: &str) -> Result<bool> {
        self.one(sql!("platform/company_name_taken"), &[&name]).await
    }

    /// A company with its first admin.
    pub async fn register_company(&self, name: &str, admin: &NewUser<'_>, phone: Option<&str>) -> Result<Registered> {
        let NewUser { email, hash, first_name, last_name } = admin;
        let params: Params<'_> = &[&name, email, hash, first_name, last_name, &phone];
        let rows = self.rows(sql!("platform/register_company"), params).await?;
        let row = rows.first()?.ok_or(Error::Internal("no row of a registration".into()))?;
        Ok(Registered {
            company_id: row.try_get("new_company_id")?,
            trial_ends_at: row.try_get("trial_ends_at")?,
            admin: Account::from_row(&row)?,
        })
    }

    /// Creates an account for a stranger: never with an admin label; pending if it belongs to a company.
    pub async fn register_user(&self, user: &NewUser<'_>, role: &str, company: Option<Uuid>) -> Result<Account> {
        self.one(sql!("platform/register_user"), &register_params(user, &role, &company)).await
    }

    /// Stores a reset code's hash for 15 minutes; false if there is no such account.
    pub async fn start_password_reset(&self, email: &str, code_hash: &[u8]) -> Result<bool> {
        self.one(sql!("platform/start_password_reset"), &[&email, &code_hash]).await
    }

    /// Whether this is the account's reset code still.
    pub async fn is_reset_code(&self, email: &str, code_hash: &[u8]) -> Result<bool> {
        self.one(sql!("platform/is_reset_code"), &[&email, &code_hash]).await
    }

    /// Sets a new password by a reset code; false when the code is wrong, used, expired, or tried too often.
    pub async fn finish_password_reset(&self, email: &str, code_hash: &[u8], hash: &str) -> Result<bool> {
        self.one(sql!("platform/finish_password_reset"), &[&email, &code_hash, &hash]).await
    }

    /// The open invitation of a token.
    pub async fn invitation(&self, token_hash: &[u8]) -> Result<Option<Invitation>> {
        self.optional(sql!("platform/invitation"), &[&token_hash]).await
    }

    /// Turns an invitation into an account, once.
    pub async fn accept_invitation(&self, token_hash: &[u8], hash: &str) -> Result<Option<Account>> {
        self.optional(sql!("platform/accept_invitation"), &[&token_hash, &hash]).await
    }

    /// The companies that claim a phone number, and the users in whose names its messages are stored.
    pub async fn companies_of_number(&self, number: &str, account: &str) -> Result<Vec<NumberOwner>> {
        self.all(sql!("platform/companies_of_number"), &[&number, &account]).await
    }

    /// The companies that say an account is theirs and have a call of this id in it.
    pub async fn companies_of_call(&self, account: &str, call: &str) -> Result<Vec<NumberOwner>> {
        self.all(sql!("platform/companies_of_call"), &[&account, &call]).await
    }

    /// Claims at most `limit` due jobs of these kinds for five minutes, taking turns between companies and between each
    /// company's kinds; `running` has the company and kind of each job that the worker is running.
    pub async fn claim_jobs(&self, kinds: &[&str], limit: i32, running: &[(Uuid, &str)]) -> Result<Vec<Job>> {
        let (companies, their_kinds): (Vec<Uuid>, Vec<&str>) = running.iter().copied().unzip();
        let params: Params<'_> = &[&kinds, &limit, &MAX_JOBS_OF_COMPANY, &MAX_JOBS_OF_KIND, &companies, &their_kinds];
        self.all(sql!("platform/claim_jobs"), params).await
    }

    /// Puts a claimed job back with increasing delays; after ten attempts it is given up.
    pub async fn retry_job(&self, job: Uuid, error: &str) -> Result<()> {
        self.rows(sql!("platform/retry_job"), &[&job, &error]).await.map(drop)
    }

    /// Of the objects whose keys end with these ids, the keys of those that must stay, because their file exists or was
    /// deleted after `since`.
    pub async fn kept_objects(&self, ids: &[Uuid], since: Time) -> Result<Vec<String>> {
        let params: Params<'_> = &[&ids, &since];
        self.all(sql!("platform/kept_objects"), params).await
    }

    /// Which database this is, and whether it has any of these files, even a deleted one.
    pub async fn identify(&self, files: &[Uuid]) -> Result<DatabaseIdentity> {
        self.one(sql!("platform/identify"), &[&files]).await
    }

    /// Notes that the database uses a store of files.
    pub async fn note_store(&self) -> Result<()> {
        self.rows(sql!("platform/note_store"), &[]).await.map(drop)
    }

    /// The keys under which the companies' credentials are sealed.
    pub async fn sealing_keys(&self) -> Result<Vec<SealingKey>> {
        self.all(sql!("platform/sealing_keys"), &[]).await
    }

    /// Deletes at most `limit` workflow runs and events older than `before`; returns the number of deleted rows.
    pub async fn forget_workflow_runs(&self, before: Time, limit: i32) -> Result<i64> {
        self.one(sql!("platform/forget_workflow_runs"), &[&before, &limit]).await
    }

    /// Counts an attempt in a bucket (a hash, never personal data), and refuses more than `allowed` attempts in `per`.
    pub async fn rate_limit(&self, bucket: &str, allowed: i32, per: Duration) -> Result<()> {
        let seconds = per.as_secs_f64();
        match self.one::<i32>(sql!("platform/rate_limit"), &[&bucket, &allowed, &seconds]).await? {
            0 => Ok(()),
            wait => Err(Error::TooManyRequests(wait.unsigned_abs())),
        }
    }

    /// Takes back one counted attempt in each of these buckets.
    pub async fn return_attempts(&self, buckets: &[String]) -> Result<()> {
        self.rows(sql!("platform/return_attempts"), &[&buckets]).await.map(drop)
    }

    /// Stores the response of the request with this key, with its body sealed.
    pub async fn keep_idempotent_answer(&self, id: Uuid, status: i32, kind: Option<&str>, body: &[u8]) -> Result<()> {
        self.rows(KEEP_ANSWER, &[&id, &status, &kind, &body]).await.map(drop)
    }

    /// Releases the idempotency key of a request.
    pub async fn release_idempotency_key(&self, id: Uuid) -> Result<()> {
        self.rows(sql!("platform/release_idempotency_key"), &[&id]).await.map(drop)
    }

    /// How far the job queue is behind.
    pub async fn queue_state(&self) -> Result<QueueState> {
        self.one(sql!("platform/queue_state"), &[]).await
    }

    /// Records refusals: who was refused what and why, how often, and the id of the last such request.
    pub async fn note_refusals(
        &self,
        users: &[Uuid],
        routes: &[String],
        reasons: &[&str],
        times: &[i32],
        request_ids: &[String],
    ) -> Result<()> {
        let params: Params = &[&users, &routes, &reasons, &times, &request_ids];
        self.rows(sql!("platform/note_refusals"), params).await.map(drop)
    }

    /// What readiness depends on, in one round trip, because monitoring asks often.
    pub async fn readiness(&self) -> Result<Readiness> {
        let mut connection = self.db.connection().await?;
        let asked = [
            sql!("platform/schema_version"),
            sql!("platform/oldest_program"),
            sql!("platform/login_role"),
            sql!("platform/unfinished_restore"),
        ];
        let [version, oldest, login, unfinished] = connection.prepare(asked.map(|q| q.text)).await?;
        let answer = connection.run(&[(&version, &[]), (&oldest, &[]), (&login, &[]), (&unfinished, &[])]).await?;
        match (answer.refused, &answer.replies[..]) {
            (Some(refused), _) => Err(refused.into()),
            (None, [version, oldest, login, unfinished]) => Ok(Readiness {
                version: only(version)?,
                oldest_program: only(oldest)?,
                login_problem: only(login)?,
                is_unfinished: only(unfinished)?,
            }),
            _ => Err(Error::Internal("a statement without a reply".into())),
        }
    }

    async fn one<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<T> {
        self.optional(q, p).await?.ok_or(Error::not_found(T::NAME))
    }

    async fn optional<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<Option<T>> {
        first(&self.rows(q, p).await?)
    }

    async fn all<T: FromRow>(&self, q: Sql, p: Params<'_>) -> Result<Vec<T>> {
        many(&self.rows(q, p).await?)
    }

    /// Runs a single statement, which is a transaction of its own and has no context.
    async fn rows(&self, q: Sql, p: Params<'_>) -> Result<Reply> {
        let mut connection = self.db.connection().await?;
        let [statement] = connection.prepare([q.text]).await?;
        Ok(connection.run(&[(&statement, p)]).await?.last()?)
    }
}

/// The only row of a reply.
fn only<T: FromRow>(reply: &Reply) -> Result<T> {
    first(reply)?.ok_or(Error::not_found(T::NAME))
}

fn register_params<'a>(
    user: &'a NewUser<'a>,
    role: &'a &'a str,
    company: &'a Option<Uuid>,
) -> [&'a (dyn postgres_types::ToSql + Sync); 6] {
    [&user.email, &user.hash, &user.first_name, &user.last_name, role, company]
}

impl<D: Permission> Scoped<D> {
    /// The company's Twilio account with its sealed token, in one round trip, because each callback needs it.
    pub async fn twilio_account<T: FromRow>(&self) -> Result<Option<T>> {
        self.optional(sql!("platform/twilio_account").planned_once(), &[]).await
    }

    /// Takes the caller's idempotency key for a route on behalf of the request `id`, unless another request holds it.
    pub async fn take_idempotency_key(&self, id: Uuid, route: &str, key: &str, request: &[u8]) -> Result<HeldKey> {
        self.one(sql!("platform/take_idempotency_key"), &[&id, &route, &key, &request]).await
    }
}

/// What crosses companies inside a signed-in caller's transaction. The SQL functions check the caller's role
/// themselves.
impl Tx<'_> {
    /// Creates an account for the caller: active if the caller is an admin of that company or a super admin.
    pub async fn register_user(&self, user: &NewUser<'_>, role: &str, company: Option<Uuid>) -> Result<Account> {
        self.one(sql!("platform/register_user"), &register_params(user, &role, &company)).await
    }

    /// The hash of the caller's own password.
    pub async fn my_password_hash(&self) -> Result<String> {
        self.one(sql!("platform/my_password_hash"), &[]).await
    }

    /// Sets the caller's own password if its hash is still `verified`, and invalidates all their tokens. False if the
    /// hash has changed.
    pub async fn change_my_password(&self, hash: &str, verified: &str) -> Result<bool> {
        self.one(sql!("platform/change_my_password"), &[&hash, &verified]).await
    }

    /// Stores a company's sealed secret for a provider; `None` deletes it. Another company's requires a super admin.
    pub async fn keep_company_secret(
        &self,
        company: Uuid,
        name: &str,
        secret: Option<&(Vec<u8>, String)>,
    ) -> Result<()> {
        let (sealed, last_four) = secret.map(|(sealed, last_four)| (sealed, last_four)).unzip();
        self.optional::<bool>(sql!("platform/keep_company_secret"), &[&name, &sealed, &last_four, &company])
            .await
            .map(drop)
    }

    /// Sets the SID of a company's Twilio account; another's requires a super admin. False if it has no Twilio
    /// settings.
    pub async fn set_account_sid(&self, company: Uuid, sid: &str) -> Result<bool> {
        self.one(sql!("platform/set_account_sid"), &[&company, &sid]).await
    }

    /// Takes phone numbers, which Twilio has just confirmed as this account's, from other companies; returns those that
    /// another company keeps because it has the same account.
    pub async fn take_numbers(&self, numbers: &[&str], account_sid: &str) -> Result<Vec<String>> {
        self.all(sql!("platform/take_numbers"), &[&numbers, &account_sid]).await
    }

    /// Whether the address that the caller's mail bears is another company's, which had it first.
    pub async fn sender_is_taken(&self) -> Result<bool> {
        self.one(sql!("platform/sender_is_taken"), &[]).await
    }

    /// A sealed secret of the caller's company.
    pub async fn company_secret(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.optional(sql!("platform/company_secret"), &[&name]).await
    }

    /// The last four characters of a secret of the caller's company.
    pub async fn company_secret_hint(&self, name: &str) -> Result<Option<String>> {
        self.optional(sql!("platform/company_secret_hint"), &[&name]).await
    }

    /// Every company except the caller's own; only for super admins.
    pub async fn all_companies<T: FromRow>(&self, status: Option<&str>, page: Page) -> Result<Vec<T>> {
        self.all(sql!("platform/all_companies"), &[&status, &page.skip, &page.limit]).await
    }

    /// Any company; only for super admins.
    pub async fn any_company<T: FromRow>(&self, company: Uuid) -> Result<T> {
        self.one(sql!("platform/any_company"), &[&company]).await
    }

    /// Creates a company without users; only for super admins.
    pub async fn create_company<T: FromRow>(&self, p: Params<'_>) -> Result<T> {
        self.one(sql!("platform/create_company"), p).await
    }

    /// Changes the given columns of any company; only for super admins.
    pub async fn update_any_company<T: FromRow>(&self, company: Uuid, patch: &Value) -> Result<T> {
        self.one(sql!("platform/update_any_company"), &[&company, patch]).await
    }

    /// Deletes a company without users, with all it owns; false if there is none. Only for super admins.
    pub async fn delete_company(&self, company: Uuid) -> Result<bool> {
        self.one(sql!("platform/delete_company"), &[&company]).await
    }

    /// The users of any company; only for super admins.
    pub async fn users_of_company<T: FromRow>(&self, company: Uuid) -> Result<Vec<T>> {
        self.all(sql!("platform/users_of_company"), &[&company]).await
    }

    /// Changes the given columns of any user; only for super admins.
    pub async fn update_any_user<T: FromRow>(&self, user: Uuid, patch: &Value) -> Result<T> {
        self.one(sql!("platform/update_any_user"), &[&user, patch]).await
    }

    /// Deletes any user; false if there is none. Only for super admins.
    pub async fn delete_any_user(&self, user: Uuid) -> Result<bool> {
        self.one(sql!("platform/delete_any_user"), &[&user]).await
    }
}
