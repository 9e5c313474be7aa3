//! Registering a company with its first admin.

use super::prelude::*;
use crate::{
    auth::TokenKind,
    db::platform::{self, NewUser},
};
use std::time::Duration;

routes! {
    /// Registers a company and its admin, who is logged in at once
    public post "/api/register/company" limit MAX_PUBLIC_BODY_BYTES => company;
    /// Whether an e-mail address is free
    public get "/api/register/check-email/{email}" => check_email;
    /// Whether a company name is free
    public get "/api/register/check-company/{company_name}" => check_company;
}

#[derive(Deserialize, Validate, JsonSchema)]
struct NewCompany {
    /// 2 to 100 characters.
    #[garde(custom(valid_company_name))]
    company_name: String,
    #[serde(deserialize_with = "wire::address")]
    #[garde(custom(wire::new_address), length(chars, max = 255))]
    #[schemars(email)]
    admin_email: String,
    #[garde(skip)]
    admin_password: String,
    #[garde(custom(wire::name))]
    admin_first_name: String,
    #[garde(custom(wire::name))]
    admin_last_name: String,
    #[garde(length(chars, max = 50))]
    phone: Option<String>,
}

fn valid_company_name(name: &str, _: &()) -> garde::Result {
    match name.trim().chars().count() {
        2..=100 => wire::company_name(name, &()),
        _ => Err(garde::Error::new("Company name must have 2 to 100 characters")),
    }
}

#[derive(Serialize, JsonSchema)]
struct Registered {
    success: bool,
    message: &'static str,
    company_id: Uuid,
    admin_email: String,
    trial_ends_at: Time,
    access_token: Option<String>,
}

async fn company(app: State<App>, client: Client, Json(body): Json<NewCompany>) -> Result<Json<Registered>> {
    let email = body.admin_email;
    client.limit(&app, "company", &email, 10, Duration::from_secs(60 * 60)).await?;
    if let Some(problem) = crate::passwords::problem(&body.admin_password, &email, false) {
        return Err(Error::invalid("body", "admin_password", problem));
    }
    let hash = app.hasher.hash(&body.admin_password).await?;
    let admin = NewUser {
        email: &email,
        hash: &hash,
        first_name: body.admin_first_name.trim(),
        last_name: body.admin_last_name.trim(),
    };
    let made = app
        .db
        .platform()
        .register_company(body.company_name.trim(), &admin, body.phone.as_deref())
        .await
        .on_constraint("companies_name_key", "A company with this name already exists");
    let made = platform::registered(made)?;
    Ok(Json(Registered {
        success: true,
        message: "Company registered successfully",
        company_id: made.company_id,
        admin_email: email,
        trial_ends_at: made.trial_ends_at,
        access_token: Some(app.keys.issue(TokenKind::Access, made.admin.id, made.admin.token_version)?),
    }))
}

/// Whether an address or a name is available.
#[derive(Serialize, JsonSchema)]
struct Availability {
    available: bool,
    message: &'static str,
}

async fn check_email(app: State<App>, client: Client, Path(email): Path<String>) -> Result<Json<Availability>> {
    client.limit(&app, "check", "", 30, Duration::from_secs(60)).await?;
    let taken = app.db.platform().email_taken(&email.trim().to_lowercase()).await?;
    Ok(Json(Availability {
        available: !taken,
        message: if taken { platform::EMAIL_REGISTERED } else { "Email is available" },
    }))
}

async fn check_company(app: State<App>, client: Client, Path(name): Path<String>) -> Result<Json<Availability>> {
    client.limit(&app, "check", "", 30, Duration::from_secs(60)).await?;
    let taken = app.db.platform().company_name_taken(name.trim()).await?;
    Ok(Json(Availability {
        available: !taken,
        message: if taken { "Company name already exists" } else { "Company name is available" },
    }))
}
