//! Logging in and out, accounts that people make for themselves, and forgotten passwords.

use super::prelude::*;
use crate::{
    auth::{self, RefreshDb, TokenKind},
    db::platform::{Account, NewUser, registered},
    passwords, server,
};
use std::time::Duration;

routes! {
    /// Logs in with e-mail and password
    public post "/api/auth/login" limit MAX_PUBLIC_BODY_BYTES => login;
    /// Creates an account; with a company, and without an admin's token, it is pending until an admin approves it
    public post "/api/auth/register" limit MAX_PUBLIC_BODY_BYTES => register;
    /// The caller's account
    user get "/api/auth/me" => me;
    /// Revokes all tokens of the caller
    user post "/api/auth/logout" => logout;
    /// Issues a new access token for an access or refresh token
    user post "/api/auth/refresh" => refresh;
    /// Mails a code for resetting the password
    public post "/api/auth/forgot-password" limit MAX_PUBLIC_BODY_BYTES => forgot_password;
    /// Sets a new password with a mailed reset code
    public post "/api/auth/reset-password" limit MAX_PUBLIC_BODY_BYTES => reset_password;
}

row! {
    /// An account, as its owner sees it on login and registration.
    pub struct AuthUser as "User" {
        id: Uuid,
        email: String,
        first_name: String,
        last_name: String,
        role: String,
        company_id: Option<Uuid>,
        team_id: Option<Uuid>,
        is_active: bool,
    }
}

impl From<Account> for AuthUser {
    fn from(a: Account) -> Self {
        let Account { id, email, first_name, last_name, role, company_id, team_id, .. } = a;
        Self { id, email, first_name, last_name, role, company_id, team_id, is_active: true }
    }
}

/// Tokens with their user; both tokens are empty while the account waits for approval.
#[derive(Serialize, JsonSchema)]
struct Session {
    access_token: String,
    refresh_token: String,
    token_type: &'static str,
    user: AuthUser,
}

impl Session {
    fn of(app: &App, account: Account) -> Result<Self> {
        let token = |kind| match account.status.as_str() {
            "active" => app.keys.issue(kind, account.id, account.token_version),
            _ => Ok(String::new()),
        };
        Ok(Self {
            access_token: token(TokenKind::Access)?,
            refresh_token: token(TokenKind::Refresh)?,
            token_type: "bearer",
            user: account.into(),
        })
    }
}

#[derive(Deserialize, Validate, JsonSchema)]
struct Login {
    #[serde(deserialize_with = "wire::address")]
    #[garde(custom(wire::old_address), length(chars, max = 255))]
    #[schemars(email)]
    email: String,
    #[garde(length(bytes, max = 4096))]
    password: String,
}

async fn login(app: State<App>, client: Client, Json(body): Json<Login>) -> Result<Json<Session>> {
    let email = body.email;
    let attempt = client.limit(&app, "login", &email, 10, Duration::from_secs(15 * 60)).await?;
    // Retry if the stored hash was replaced while it was verified: by another login, or with a new password.
    for _ in 0..3 {
        let found = app.db.platform().login(&email).await?;
        let right = app.hasher.verify(&body.password, found.as_ref().map(|(_, hash)| hash.as_str())).await?;
        let found = found.filter(|(account, _)| right && account.status == "active");
        let (account, hash) = found.ok_or(Error::WrongCredentials)?;
        if account.suspended {
            return Err(Error::Suspended);
        }
        let rehashed = if passwords::is_outdated(&hash) { Some(app.hasher.hash(&body.password).await?) } else { None };
        if app.db.platform().logged_in(account.id, &hash, rehashed.as_deref()).await? {
            if let Err(e) = attempt.give_back(&app).await {
                tracing::warn!(error = %e.for_log(), "a login with the right password counts as an attempt");
            }
            return Session::of(&app, account).map(Json);
        }
    }
    Err(Error::WrongCredentials)
}

#[derive(Deserialize, Validate, JsonSchema)]
struct Register {
    #[serde(deserialize_with = "wire::address")]
    #[garde(custom(wire::new_address), length(chars, max = 255))]
    #[schemars(email)]
    email: String,
    #[garde(skip)]
    password: String,
    #[garde(custom(wire::name))]
    first_name: String,
    #[garde(custom(wire::name))]
    last_name: String,
    /// A label, by default `Regular User`; an admin role needs an admin's token.
    #[garde(length(chars, min = 1, max = 50))]
    role: Option<String>,
    /// A company's id.
    #[garde(skip)]
    company_id: Option<String>,
}

async fn register(
    app: State<App>,
    client: Client,
    caller: Option<UserDb>,
    Json(body): Json<Register>,
) -> Result<Json<Session>> {
    let email = body.email;
    client.limit(&app, "register", &email, 20, Duration::from_secs(60 * 60)).await?;
    let company = body.company_id.as_deref().filter(|id| !id.is_empty());
    // The caller may be an admin of the named company who sets somebody's initial password.
    let check = if company.is_some() { passwords::check_start } else { passwords::check };
    check(&body.password, &email, true)?;
    let company: Option<Uuid> =
        company.map(str::parse).transpose().map_err(|_| Error::bad_request("Invalid company_id"))?;
    let hash = app.hasher.hash(&body.password).await?;
    let user =
        NewUser { email: &email, hash: &hash, first_name: body.first_name.trim(), last_name: body.last_name.trim() };
    let role = body.role.as_deref().unwrap_or("Regular User");
    let account = match caller {
        Some(db) => db.tx(async |tx| tx.register_user(&user, role, company).await).await,
        None => app.db.platform().register_user(&user, role, company).await,
    };
    Session::of(&app, registered(account)?).map(Json)
}

async fn me(db: UserDb) -> Result<Written<AuthUser>> {
    db.one(sql!("auth/me"), &[]).await
}

async fn logout(db: UserDb) -> Result<Json<Message>> {
    db.all::<i32>(sql!("auth/end_tokens"), &[]).await?;
    Ok(message("Successfully logged out"))
}

#[derive(Serialize, JsonSchema)]
struct Refreshed {
    access_token: String,
    token_type: &'static str,
}

async fn refresh(app: State<App>, RefreshDb { db, version }: RefreshDb) -> Result<Json<Refreshed>> {
    let user = db.tx(async |tx| Ok(tx.caller().user_id)).await?;
    Ok(Json(Refreshed { access_token: app.keys.issue(TokenKind::Access, user, version)?, token_type: "bearer" }))
}

#[derive(Deserialize, Validate, JsonSchema)]
struct ForgotPassword {
    #[serde(deserialize_with = "wire::address")]
    #[garde(custom(wire::old_address), length(chars, max = 255))]
    #[schemars(email)]
    email: String,
}

/// The response and its timing are the same whether or not the account exists: a background task looks it up.
async fn forgot_password(app: State<App>, client: Client, Json(body): Json<ForgotPassword>) -> Result<Json<Message>> {
    let email = body.email;
    client.limit(&app, "forgot", &email, 5, Duration::from_secs(15 * 60)).await?;
    let State(asked) = app.clone();
    app.background.spawn(server::as_part_of_request(async move {
        if let Err(e) = mail_code(&asked, &email).await {
            tracing::warn!(error = %e.for_log(), "a reset code could not be mailed");
        }
    }));
    Ok(message("If an account with that email exists, a reset code has been sent to it"))
}

/// Mails a code to an address that has an account.
async fn mail_code(app: &App, email: &str) -> Result<()> {
    let code = format!("{:06}", u32::from_le_bytes(auth::random()) % 1_000_000);
    let (platform, hash) = (app.db.platform(), app.keys.code_hash(email, &code));
    if !platform.start_password_reset(email, &hash).await? {
        return Ok(());
    }
    let text = format!(
        "Your code to reset the password is {code}. It is valid for 15 minutes.\n\nIf you did not ask for it, ignore this mail.\n"
    );
    let goes_on = || !app.background.is_closed();
    // When another code was asked for meanwhile, this one is void, and its mail must not be the last that arrives.
    let is_wanted = || async { platform.is_reset_code(email, &hash).await.unwrap_or(true) };
    app.mailer.send_patiently(email, "Your password reset code", text, goes_on, is_wanted).await
}

#[derive(Deserialize, Validate, JsonSchema)]
struct ResetPassword {
    #[serde(deserialize_with = "wire::address")]
    #[garde(custom(wire::old_address), length(chars, max = 255))]
    #[schemars(email)]
    email: String,
    #[garde(length(bytes, max = 100))]
    reset_code: String,
    #[garde(skip)]
    new_password: String,
}

async fn reset_password(app: State<App>, client: Client, Json(body): Json<ResetPassword>) -> Result<Json<Message>> {
    let email = body.email;
    client.limit(&app, "reset", &email, 10, Duration::from_secs(15 * 60)).await?;
    // A code has six digits: this limit keeps attackers from guessing one by requesting code after code.
    client.limit(&app, "reset of a day", &email, 20, Duration::from_secs(24 * 60 * 60)).await?;
    passwords::check(&body.new_password, &email, true)?;
    let hash = app.hasher.hash(&body.new_password).await?;
    let code = app.keys.code_hash(&email, body.reset_code.trim());
    if !app.db.platform().finish_password_reset(&email, &code, &hash).await? {
        return Err(Error::bad_request("Invalid or expired reset code"));
    }
    Ok(message("Password has been reset successfully"))
}
