//! Templates for text messages.

use crate::api::prelude::*;

row! {
    /// A text with a name; `usage_count` is how often it was sent.
    pub struct Template {
        id: Uuid,
        name: String,
        category: Option<String>,
        body: String,
        is_static: bool,
        use_ai_enhancement: bool,
        usage_count: i32,
        created_at: Time,
    }
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
pub(super) struct NewTemplate {
    #[garde(length(chars, min = 1, max = 255))]
    name: String,
    #[garde(length(chars, min = 1, max = 1600))]
    body: String,
    #[garde(length(chars, max = 100))]
    category: Option<String>,
    /// Whether placeholders such as `{name}` are left as they are (default true).
    #[serde(default, deserialize_with = "wire::optional_boolean")]
    is_static: Option<bool>,
    /// Names of its placeholders: a JSON array as a string.
    #[garde(length(chars, max = 5000))]
    variables: Option<String>,
    #[serde(default, deserialize_with = "wire::optional_boolean")]
    use_ai_enhancement: Option<bool>,
    #[garde(length(chars, max = 50))]
    ai_tone: Option<String>,
}

pub(super) async fn list(db: TenantDb) -> Result<Rows<Template>> {
    db.list(sql!("sms/templates"), &[]).await
}

pub(super) async fn create(db: TenantDb, Json(new): Json<NewTemplate>) -> Result<Written<Template>> {
    let (is_static, ai) = (new.is_static.unwrap_or(true), new.use_ai_enhancement.unwrap_or(false));
    let tone = new.ai_tone.as_deref().unwrap_or("professional");
    let NewTemplate { name, body, category, variables, .. } = &new;
    db.one(sql!("sms/create_template"), &[name, category, body, &is_static, variables, &ai, &tone]).await
}

pub(super) async fn update(
    db: TenantDb,
    Path(id): Path<Uuid>,
    change: Change<NewTemplate>,
) -> Result<Written<Template>> {
    let new = change.checked_against(db.one::<Template>(sql!("sms/template"), &[&id])).await?;
    let (is_static, ai) = (new.is_static.unwrap_or(true), new.use_ai_enhancement.unwrap_or(false));
    let tone = new.ai_tone.as_deref().unwrap_or("professional");
    let NewTemplate { name, body, category, variables, .. } = &new;
    let params: Params<'_> = &[&id, name, category, body, &is_static, variables, &ai, &tone];
    db.one(sql!("sms/update_template"), params).await
}

pub(super) async fn delete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.optional::<Uuid>(sql!("sms/delete_template"), &[&id]).await.or_not_found("Template")?;
    Ok(message("Template deleted successfully"))
}
