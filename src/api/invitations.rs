//! Invitations: an admin names a person, who creates their account through a mailed link.

use super::prelude::*;
use crate::{
    auth::{self, TokenKind},
    clients::mail::OutgoingEmail,
    db::{
        SUPER_ADMIN,
        platform::{Account, Invitation, registered},
    },
    idempotency, mailing, passwords,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use std::time::Duration;

routes! {
    /// Invites a person into the caller's company by mail
    admin post "/api/invitations/send" => send;
    /// Creates the account of an invitation, once, and logs in
    public post "/api/invitations/accept" limit MAX_PUBLIC_BODY_BYTES => accept;
    /// Whether an invitation can still be accepted, and whom it names
    public get "/api/invitations/verify/{token}" => verify;
}

#[derive(Deserialize, Validate, JsonSchema)]
struct NewInvitation {
    #[serde(deserialize_with = "wire::address")]
    #[garde(custom(wire::new_address), length(chars, max = 255))]
    #[schemars(email)]
    email: String,
    #[garde(custom(wire::name))]
    first_name: String,
    #[garde(custom(wire::name))]
    last_name: String,
    /// Any role but `super_admin`.
    #[serde(default = "company_user")]
    #[garde(length(chars, min = 1, max = 50))]
    user_role: String,
}

fn company_user() -> String {
    "company_user".into()
}

#[derive(Serialize, JsonSchema)]
struct Sent {
    success: bool,
    message: &'static str,
    expires_in_days: u8,
}

row! {
    /// An invitation that was stored.
    pub struct Stored as "Invitation" {
        id: Uuid,
        company: String,
        is_suppressed: bool,
    }
}

async fn send(
    app: State<App>,
    client: Client,
    db: Scoped<CompanyAdmin>,
    Json(new): Json<NewInvitation>,
) -> Result<Json<Sent>> {
    let company = db.tx(async |tx| tx.caller().company_id.ok_or(Error::NoCompany)).await.must_have_company()?;
    if new.user_role == SUPER_ADMIN {
        return Err(Error::Forbidden("An invitation cannot grant the super admin role".into()));
    }
    let email = new.email;
    // A limit per company, so that other companies' invitations do not count.
    client.limit(&app, "invite", &format!("{company} {email}"), 20, Duration::from_secs(60 * 60)).await?;
    if app.db.platform().email_taken(&email).await? {
        return Err(Error::bad_request("A user with this email already exists"));
    }
    let token = BASE64_URL_SAFE_NO_PAD.encode(auth::random::<32>());
    let (first_name, last_name) = (new.first_name.trim(), new.last_name.trim());
    let stored: Stored =
        db.one(sql!("invitations/send"), &[&email, &first_name, &last_name, &new.user_role, &hash(&token)]).await?;
    let text = letter(first_name, &stored.company, &app.config.frontend_url, &token);
    let State(sender) = app.clone();
    // An invitation that has left takes the place of those before it, also when whoever sent it has gone away.
    app.run_to_completion(deliver(sender, db, stored, email, text)).await??;
    Ok(Json(Sent { success: true, message: "Invitation sent successfully", expires_in_days: 7 }))
}

/// The mail is sent between two transactions. If that fails, the invitation is withdrawn; otherwise it replaces earlier
/// ones.
async fn deliver(app: App, db: Scoped<CompanyAdmin>, stored: Stored, email: String, text: String) -> Result<()> {
    if let Err(e) = mail(&app, &db, &stored, email.clone(), text).await {
        db.all::<Uuid>(sql!("invitations/withdraw"), &[&stored.id]).await?;
        return Err(e);
    }
    db.all::<Uuid>(sql!("invitations/supersede"), &[&stored.id, &email]).await.map(drop)
}

/// Sends through the platform's mail server or, without one, as the company's mail.
async fn mail(app: &App, db: &Scoped<CompanyAdmin>, invitation: &Stored, to: String, text: String) -> Result<()> {
    let subject = "You have been invited to join a team";
    if app.mailer.has_server() {
        return app.mailer.send(&to, subject, text).await;
    }
    let missing = "There is no way to send the invitation: enter a SendGrid key in the settings first";
    let route = mailing::route(app, db).await?.ok_or(Error::bad_request(missing))?;
    if invitation.is_suppressed {
        return Err(Error::bad_request("The company has been told not to write to this address"));
    }
    idempotency::leaving().await?;
    let email = OutgoingEmail { to, subject: subject.into(), text: Some(text), ..route.email(invitation.id) };
    route.deliver(app, &email).await.map(drop).map_err(|failure| Error::BadGateway(mailing::words(&failure).into()))
}

/// Maximum number of characters of a name in a mail.
const MAX_NAME_CHARS: usize = 60;

/// Names are unverified input: each appears only in the text, as a short line, and not if it looks like a link.
fn letter(first_name: &str, company: &str, frontend: &str, token: &str) -> String {
    let harmless = |name: &str| {
        let line: String = name.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_NAME_CHARS).collect();
        let is_link = line.contains(['/', '@']) || line.to_lowercase().contains("www.");
        (!is_link && !line.is_empty()).then_some(line)
    };
    format!(
        "Hello{},\n\nyou have been invited to join {}. Choose your password here; the link is valid for 7 days:\n\n\
         {}/auth/accept-invitation?token={token}\n\nIf you do not know this company, ignore this mail.\n",
        harmless(first_name).map(|name| format!(" {name}")).unwrap_or_default(),
        harmless(company).as_deref().unwrap_or("a team"),
        frontend.trim_end_matches('/'),
    )
}

/// Only the hash is stored, so that a reader of the database cannot use a link.
fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token).to_vec()
}

fn void() -> Error {
    Error::bad_request("Invalid or expired invitation")
}

#[derive(Serialize, JsonSchema)]
struct Verified {
    valid: bool,
    #[serde(flatten)]
    invitation: Invitation,
}

async fn verify(app: State<App>, client: Client, Path(token): Path<String>) -> Result<Json<Verified>> {
    // High limits, here and in `accept`: tokens cannot be guessed, and many invited people may share an office.
    client.limit(&app, "invitation", "", 300, Duration::from_secs(60)).await?;
    let invitation = app.db.platform().invitation(&hash(&token)).await?.ok_or_else(void)?;
    Ok(Json(Verified { valid: true, invitation }))
}

#[derive(Deserialize, Validate, JsonSchema)]
struct Acceptance {
    #[garde(length(bytes, max = 255))]
    token: String,
    #[garde(skip)]
    password: String,
}

#[derive(Serialize, JsonSchema)]
struct Accepted {
    success: bool,
    message: &'static str,
    access_token: String,
    user: AcceptedUser,
}

#[derive(Serialize, JsonSchema)]
struct AcceptedUser {
    id: Uuid,
    email: String,
    first_name: String,
    last_name: String,
    role: String,
}

async fn accept(app: State<App>, client: Client, Json(body): Json<Acceptance>) -> Result<Json<Accepted>> {
    client.limit(&app, "accept", "", 100, Duration::from_secs(15 * 60)).await?;
    let (platform, token) = (app.db.platform(), hash(&body.token));
    let invitation = platform.invitation(&token).await?.ok_or_else(void)?;
    passwords::check(&body.password, &invitation.email, false)?;
    let password = app.hasher.hash(&body.password).await?;
    let account = platform.accept_invitation(&token, &password).await;
    let account = registered(account)?.ok_or_else(void)?;
    let access_token = app.keys.issue(TokenKind::Access, account.id, account.token_version)?;
    let Account { id, email, first_name, last_name, role, .. } = account;
    let user = AcceptedUser { id, email, first_name, last_name, role };
    Ok(Json(Accepted { success: true, message: "Invitation accepted", access_token, user }))
}
