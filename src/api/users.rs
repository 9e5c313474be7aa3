//! Users: the caller's own account and the company's team.

use super::prelude::*;
use crate::{
    db::{Permission, platform::EMAIL_KEY},
    wire::Upload,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::time::Duration;

routes! {
    /// The caller's account
    user get "/api/users/me" => me;
    /// Changes the given fields of the caller's account
    user put "/api/users/me" => update_me;
    /// Deletes the caller's account; their records stay with the company
    user delete "/api/users/me" => delete_me;
    /// Sets the caller's picture
    user post "/api/users/me/avatar" limit 6 << 20 => avatar;
    /// Sets a new password for the caller and revokes all their tokens
    user post "/api/users/me/change-password" => change_password;
    /// The company's users, in order of creation
    tenant get "/api/users/" => list;
    /// One user of the company
    user get "/api/users/{user_id}" => get;
    /// Changes the given fields of a user, and approves a pending one
    admin put "/api/users/{user_id}" => update;
    /// Deletes a user and revokes their tokens at once
    admin delete "/api/users/{user_id}" => delete;
}

const EMAIL_TAKEN: &str = "Email already in use";
const MAX_PICTURE_BYTES: usize = 5 << 20;

row! {
    /// A user; `role` and `user_role` are the same.
    pub struct User {
        id: Uuid,
        email: String,
        first_name: String,
        last_name: String,
        role: String,
        user_role: String,
        company_id: Option<Uuid>,
        phone: Option<String>,
        title: Option<String>,
        department: Option<String>,
        location: Option<String>,
        bio: Option<String>,
        avatar: Option<String>,
        team_id: Option<Uuid>,
        is_active: bool,
        created_at: Time,
        status: String,
    }
}

/// The fields to change; omitted fields keep their values. `role` cannot be changed.
#[derive(Debug, Default, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default)]
struct ProfilePatch {
    #[serde(deserialize_with = "wire::optional_address", skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(wire::old_address)), length(chars, max = 255))]
    #[schemars(email)]
    email: Option<String>,
    #[serde(deserialize_with = "wire::given", skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(wire::name)))]
    first_name: Option<String>,
    #[serde(deserialize_with = "wire::given", skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(wire::name)))]
    last_name: Option<String>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 50)))]
    phone: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 100)))]
    title: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 100)))]
    department: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 100)))]
    location: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 500)))]
    bio: Option<Option<String>>,
}

/// The fields to change; omitted fields keep their values.
#[derive(Debug, Default, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default)]
struct UserPatch {
    #[serde(deserialize_with = "wire::optional_address", skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(wire::old_address)), length(chars, max = 255))]
    #[schemars(email)]
    email: Option<String>,
    #[serde(deserialize_with = "wire::given", skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(wire::name)))]
    first_name: Option<String>,
    #[serde(deserialize_with = "wire::given", skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(wire::name)))]
    last_name: Option<String>,
    /// `company_admin`, `company_user` or any label; only a super admin may grant `super_admin`. An empty string
    /// changes nothing.
    #[serde(deserialize_with = "wire::blank_is_none", skip_serializing_if = "Option::is_none")]
    #[serde(rename(serialize = "user_role"))]
    #[garde(length(chars, max = 50))]
    role: Option<String>,
}

async fn me(db: UserDb) -> Result<Written<User>> {
    db.one(sql!("users/me"), &[]).await
}

async fn update_me(app: State<App>, client: Client, db: UserDb, change: Change<ProfilePatch>) -> Result<Json<User>> {
    let patch = change.checked_against(db.one::<User>(sql!("users/me"), &[])).await?;
    if let Some(email) = &patch.email {
        check_address(&app, &client, &db, None, email).await?;
    }
    let user = db.one(sql!("users/update_me"), &[&Jsonb(&patch)]).await;
    Ok(Json(user.on_constraint(EMAIL_KEY, EMAIL_TAKEN)?))
}

/// Refuses an address that the caller, or the given user, may not have; their stored address is always allowed. The
/// response reveals whether an address is taken, so attempts are limited. A super admin may give others any address.
async fn check_address<D: Permission>(
    app: &App,
    client: &Client,
    db: &Scoped<D>,
    other: Option<Uuid>,
    email: &str,
) -> Result<()> {
    let known = db.tx(async |tx| {
        let me = tx.caller().clone();
        let stored: Option<String> = tx.optional(sql!("users/email"), &[&other.unwrap_or(me.user_id)]).await?;
        Ok((stored, me))
    });
    let (stored, me) = known.await?;
    if stored.as_deref() == Some(email) || (other.is_some() && me.is_super_admin()) {
        return Ok(());
    }
    wire::new_address(email, &()).map_err(|e| Error::invalid("body", "email", e.to_string()))?;
    client.limit(app, "new address", &me.user_id.to_string(), 20, Duration::from_secs(60 * 60)).await.map(drop)
}

async fn delete_me(db: UserDb) -> Result<Json<Message>> {
    db.one::<Uuid>(sql!("users/leave"), &[]).await?;
    Ok(message("Account deleted successfully"))
}

/// The stored picture.
#[derive(Serialize, JsonSchema)]
struct Avatar {
    avatar: String,
    message: &'static str,
}

/// Checks the caller before it reads the picture.
async fn avatar(db: UserDb, upload: Upload) -> Result<Json<Avatar>> {
    let whose = db.tx(async |tx| Ok(tx.caller().company_id.unwrap_or(tx.caller().user_id))).await?;
    // The screen shows a sentence; other routes respond with 413.
    let file = upload
        .read(&wire::PICTURES, whose)
        .await
        .map_err(|e| if matches!(e, Error::TooLarge) { too_large() } else { e })?;
    let avatar = data_url(&file.kind.as_deref().unwrap_or_default().to_lowercase(), &file.bytes)?;
    db.one::<Uuid>(sql!("users/set_avatar"), &[&avatar]).await?;
    Ok(Json(Avatar { avatar, message: "Avatar uploaded successfully" }))
}

#[derive(Deserialize, Validate, JsonSchema)]
struct ChangePassword {
    #[garde(length(bytes, max = 4096))]
    current_password: String,
    #[garde(skip)]
    new_password: String,
}

/// Two transactions, because hashing takes too long to keep one open.
async fn change_password(
    app: State<App>,
    client: Client,
    db: UserDb,
    Json(body): Json<ChangePassword>,
) -> Result<Json<Message>> {
    let (email, stored): (String, _) = db
        .tx(async |tx| {
            let email = tx.one(sql!("users/email"), &[&tx.caller().user_id]).await?;
            Ok((email, tx.my_password_hash().await?))
        })
        .await?;
    client.limit(&app, "password", &email, 10, Duration::from_secs(15 * 60)).await?;
    let incorrect = || Error::bad_request("Current password is incorrect");
    if !app.hasher.verify(&body.current_password, Some(&stored)).await? {
        return Err(incorrect());
    }
    crate::passwords::check(&body.new_password, &email, true)?;
    let hash = app.hasher.hash(&body.new_password).await?;
    if !db.tx(async |tx| tx.change_my_password(&hash, &stored).await).await? {
        return Err(incorrect());
    }
    Ok(message("Password changed successfully"))
}

/// All pictures of a company may exceed the size of a response, so those beyond 32 MiB are only in single users'
/// routes.
async fn list(db: TenantDb) -> Result<Rows<User>> {
    db.list(sql!("users/list"), &[]).await.or_empty_without_company()
}

async fn get(db: UserDb, Path(id): Path<Uuid>) -> Result<Written<User>> {
    db.one(sql!("users/get"), &[&id]).await
}

async fn update(
    app: State<App>,
    client: Client,
    db: Scoped<TeamAdmin>,
    Path(id): Path<Uuid>,
    change: Change<UserPatch>,
) -> Result<Json<User>> {
    if let Some(email) = &change.given().email {
        check_address(&app, &client, &db, Some(id), email).await?;
    }
    let user = db.tx(async |tx| {
        let write = async |columns: Value| {
            if tx.caller().is_super_admin() {
                tx.update_any_user::<User>(id, &columns).await
            } else {
                tx.one(sql!("users/update"), &[&id, &columns]).await
            }
        };
        // An empty change returns the stored user; a super admin gets another company's user, too.
        let patch = change.checked_against(write(json!({}))).await?;
        write(json!(patch)).await
    });
    Ok(Json(user.await.on_constraint(EMAIL_KEY, EMAIL_TAKEN)?))
}

async fn delete(db: Scoped<TeamAdmin>, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    let deleted = db.tx(async |tx| match tx.caller() {
        me if me.user_id == id => Err(Error::bad_request("You cannot delete your own account here")),
        me if me.is_super_admin() => tx.delete_any_user(id).await,
        _ => Ok(tx.optional::<Uuid>(sql!("users/delete"), &[&id]).await?.is_some()),
    });
    if !deleted.await? {
        return Err(Error::not_found("User"));
    }
    Ok(message("User deleted successfully"))
}

/// The picture as a data URL, with its actual type: many programs save a PNG as JPEG, or a JPEG as PNG.
fn data_url(kind: &str, bytes: &[u8]) -> Result<String> {
    let is = [("image/jpeg", b"\xff\xd8\xff".as_slice()), ("image/png", b"\x89PNG\r\n\x1a\n")];
    let is = is.into_iter().find(|(_, magic)| bytes.starts_with(magic));
    let is = is.filter(|_| ["image/jpeg", "image/jpg", "image/png"].contains(&kind));
    let (kind, _) = is.ok_or(Error::bad_request("The picture must be a JPEG or PNG file"))?;
    if bytes.len() > MAX_PICTURE_BYTES {
        return Err(too_large());
    }
    Ok(format!("data:{kind};base64,{}", BASE64_STANDARD.encode(bytes)))
}

fn too_large() -> Error {
    Error::bad_request("The picture must not be larger than 5 MiB")
}
