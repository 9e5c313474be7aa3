//! The users of a company.

use super::{super::prelude::*, Company, denied};
use crate::{
    db::{
        Caller,
        platform::{NewUser, registered},
    },
    passwords,
    server::Client,
};
use std::time::Duration;

row! {
    /// A user of a company.
    pub struct CompanyUser {
        id: Uuid,
        email: String,
        first_name: String,
        last_name: String,
        user_role: String,
        status: String,
        created_at: Time,
    }
}

pub(super) async fn list(db: UserDb, Path(id): Path<Uuid>) -> Result<Json<Vec<CompanyUser>>> {
    let users = db.tx(async |tx| match tx.caller() {
        me if me.is_super_admin() => {
            tx.any_company::<Company>(id).await?;
            tx.users_of_company(id).await
        }
        me if me.company_id == Some(id) => tx.all(sql!("companies/users"), &[]).await,
        _ => Err(denied()),
    });
    Ok(Json(users.await?))
}

words! {
    #[derive(Default)]
    pub(super) enum CoreRole {
        SuperAdmin = "super_admin",
        CompanyAdmin = "company_admin",
        #[default]
        CompanyUser = "company_user",
    }
}

#[derive(Deserialize, Validate, JsonSchema)]
pub(super) struct NewColleague {
    #[serde(deserialize_with = "wire::address")]
    #[garde(custom(wire::new_address), length(chars, max = 255))]
    #[schemars(email)]
    email: String,
    #[garde(custom(wire::name))]
    first_name: String,
    #[garde(custom(wire::name))]
    last_name: String,
    #[garde(skip)]
    password: String,
    #[serde(default)]
    #[garde(skip)]
    user_role: CoreRole,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct AddedColleague {
    id: Uuid,
    email: String,
    message: &'static str,
}

/// Two transactions, because hashing takes too long to keep one open. The first refuses unauthorized callers.
pub(super) async fn add(
    app: State<App>,
    client: Client,
    db: Scoped<CompanyAdmin>,
    Path(id): Path<Uuid>,
    Json(new): Json<NewColleague>,
) -> Result<Json<AddedColleague>> {
    db.tx(async |tx| {
        if may_add(tx.caller(), id, new.user_role)? {
            return Ok(());
        }
        tx.any_company::<Company>(id).await.map(drop)
    })
    .await?;
    // Logins of all companies wait while the server hashes.
    client.limit(&app, "colleague", &id.to_string(), 100, Duration::from_secs(60 * 60)).await?;
    let email = new.email;
    passwords::check_start(&new.password, &email, false)?;
    let hash = app.hasher.hash(&new.password).await?;
    let user =
        NewUser { email: &email, hash: &hash, first_name: new.first_name.trim(), last_name: new.last_name.trim() };
    let made = db.tx(async |tx| tx.register_user(&user, new.user_role.word(), Some(id)).await).await;
    let made = registered(made)?;
    Ok(Json(AddedColleague { id: made.id, email: made.email, message: "User created successfully" }))
}

/// Refuses what the caller may not grant; false if the company's existence is still to be checked.
fn may_add(caller: &Caller, company: Uuid, role: CoreRole) -> Result<bool> {
    let is_own = caller.company_id == Some(company);
    if caller.is_super_admin() {
        Ok(is_own)
    } else if !is_own {
        Err(denied())
    } else if role == CoreRole::SuperAdmin {
        Err(Error::Forbidden("Only a super admin can grant the super admin role".into()))
    } else {
        Ok(true)
    }
}
