//! Contacts: the people a company deals with.

mod import;

use super::prelude::*;

routes! {
    /// The company's contacts, in order of creation
    tenant get "/api/contacts/" => list;
    /// Adds a contact
    tenant post "/api/contacts/" => create;
    /// One contact
    tenant get "/api/contacts/{contact_id}" => get;
    /// Changes the given fields of a contact
    tenant put "/api/contacts/{contact_id}" => update;
    /// Changes the given fields of a contact
    tenant patch "/api/contacts/{contact_id}" => update;
    /// Deletes a contact
    tenant delete "/api/contacts/{contact_id}" => delete;
    /// Number of contacts, in total and by employer
    tenant get "/api/contacts/stats/summary" => summary;
    /// Imports contacts from a CSV file
    tenant post "/api/contacts/upload-csv" limit 50 << 20 => import::csv;
    /// Imports contacts from an Excel file
    tenant post "/api/contacts/upload-excel" limit 50 << 20 => import::excel;
}

/// The constraint that keeps two contacts of a company from having the same address.
const EMAIL_KEY: &str = "contacts_tenant_email_key";
const EMAIL_TAKEN: &str = "A contact with this email already exists";

row! {
    /// A person the company deals with; `company` is their employer.
    pub struct Contact {
        first_name: String,
        last_name: String,
        email: String,
        phone: Option<String>,
        company: Option<String>,
        title: Option<String>,
        kind as "type": Option<String>,
        id: Uuid,
        owner_id: Uuid,
        status: String,
        created_at: Time,
        updated_at: Time,
        is_deleted: bool,
    }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// The start of a first or last name, case-insensitive.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    search: Option<String>,
    /// Any part of the name, e-mail, phone or employer, case-insensitive.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    q: Option<String>,
    /// The exact type.
    #[serde(default, rename = "type", deserialize_with = "wire::blank_is_none")]
    kind: Option<String>,
    /// The status, case-insensitive; an unknown one matches nothing.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    status: Option<String>,
    /// The owner's id.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    owner_id: Option<Uuid>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewContact {
    #[garde(length(chars, max = 100))]
    first_name: String,
    #[garde(length(chars, max = 100))]
    last_name: String,
    #[garde(length(chars, max = 255))]
    email: String,
    #[garde(length(chars, max = 50))]
    phone: Option<String>,
    #[garde(length(chars, max = 200))]
    company: Option<String>,
    #[garde(length(chars, max = 200))]
    title: Option<String>,
    #[garde(length(chars, max = 100))]
    r#type: Option<String>,
    /// A user of the company; the caller if absent or empty.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    owner_id: Option<Uuid>,
}

/// The fields to change; omitted fields keep their values.
#[derive(Debug, Default, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default)]
#[garde(allow_unvalidated)]
struct ContactPatch {
    #[serde(deserialize_with = "wire::given", skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, max = 100))]
    first_name: Option<String>,
    #[serde(deserialize_with = "wire::given", skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, max = 100))]
    last_name: Option<String>,
    #[serde(deserialize_with = "wire::given", skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, max = 255))]
    email: Option<String>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 50)))]
    phone: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 200)))]
    company: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 200)))]
    title: Option<Option<String>>,
    #[serde(deserialize_with = "wire::nullable", skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 100)))]
    r#type: Option<Option<String>>,
    #[serde(deserialize_with = "wire::given", skip_serializing_if = "Option::is_none")]
    status: Option<ContactStatus>,
    /// A user of the company. An empty string changes nothing.
    #[serde(deserialize_with = "wire::blank_is_none", skip_serializing_if = "Option::is_none")]
    owner_id: Option<Uuid>,
}

words! {
    enum ContactStatus {
        New = "NEW",
        Lead = "LEAD",
        Prospect = "PROSPECT",
        Contacted = "CONTACTED",
        Qualified = "QUALIFIED",
        Unqualified = "UNQUALIFIED",
        Customer = "CUSTOMER",
        Inactive = "INACTIVE",
    }
}

row! {
    /// Numbers of contacts and employers.
    pub struct Summary {
        total_contacts: i64,
        total_companies: i64,
        companies_breakdown: serde_json::Value,
    }
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, page: Paging) -> Result<Paged<Contact>> {
    let Filter { search, q, kind, status, owner_id: owner } = filter;
    FilterIds { owner, ..FilterIds::default() }.must_be_there(&db).await?;
    let contacts = match (search, q) {
        (None, None) if kind.is_none() && status.is_none() && owner.is_none() => {
            page.list(&db, list!("contacts/list").planned_once(), &[]).await
        }
        (None, None) => page.list(&db, list!("contacts/filter").planned_anew(), &[&kind, &status, &owner]).await,
        (Some(start), None) => {
            page.list(&db, list!("contacts/find_by_prefix").planned_anew(), &[&start, &kind, &status, &owner]).await
        }
        (start, Some(part)) => {
            page.list(&db, list!("contacts/find").planned_anew(), &[&part, &start, &kind, &status, &owner]).await
        }
    };
    contacts.or_empty_without_company()
}

async fn create(db: TenantDb, Json(new): Json<NewContact>) -> Result<Written<Contact>> {
    let NewContact { first_name, last_name, email, phone, company, title, r#type, owner_id } = &new;
    let email = address(email).map_err(refused)?;
    db.one(sql!("contacts/create"), &[first_name, last_name, &email, phone, company, title, r#type, owner_id])
        .await
        .on_constraint(EMAIL_KEY, EMAIL_TAKEN)
        .must_have_company()
}

async fn get(db: TenantDb, Path(id): Path<Uuid>) -> Result<Written<Contact>> {
    db.one(sql!("contacts/get"), &[&id]).await.or_not_found_without_company()
}

async fn update(db: TenantDb, Path(id): Path<Uuid>, change: Change<ContactPatch>) -> Result<Written<Contact>> {
    let mut patch = change.checked_against(db.one::<Contact>(sql!("contacts/get"), &[&id])).await?;
    if let Some(email) = &mut patch.email {
        *email = email.trim().to_owned();
        check_address(&db, id, email).await?;
    }
    db.one(sql!("contacts/update"), &[&id, &Jsonb(&patch), &patch.owner_id])
        .await
        .on_constraint(EMAIL_KEY, EMAIL_TAKEN)
        .or_not_found_without_company()
}

async fn delete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.one::<Contact>(sql!("contacts/delete"), &[&id]).await.or_not_found_without_company()?;
    Ok(message("Contact deleted successfully"))
}

async fn summary(db: TenantDb) -> Result<Written<Summary>> {
    db.one(sql!("contacts/summary"), &[]).await
}

/// Refuses an invalid new address of a contact; the stored address is always allowed.
async fn check_address(db: &TenantDb, id: Uuid, email: &str) -> Result<()> {
    let Err(why) = address(email) else { return Ok(()) };
    let stored: Contact = db.one(sql!("contacts/get"), &[&id]).await.or_not_found_without_company()?;
    if stored.email.trim() == email { Ok(()) } else { Err(refused(why)) }
}

/// The trimmed address, because the unique key treats `a@b` and ` a@b` as different. Imported addresses have any form,
/// so only an `@` and the absence of control characters are required.
fn address(email: &str) -> Result<&str, &'static str> {
    let email = email.trim();
    if email.contains(|c: char| c.is_control() || "\u{2028}\u{2029}".contains(c)) {
        return Err("email has a line break or another control character");
    }
    if email.contains('@') { Ok(email) } else { Err("email must contain @") }
}

fn refused(why: &str) -> Error {
    Error::bad_request(format!("The {why}"))
}
