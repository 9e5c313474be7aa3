//! Quotes: what a company offers, for how much, and until when.

use super::prelude::*;
use crate::pdf;
use jiff::civil;
use serde_json::Value;

routes! {
    /// The company's quotes, newest first
    tenant get "/api/quotes/" => list;
    /// Adds a quote, which gets the company's next number
    tenant post "/api/quotes/" => create;
    /// One quote
    tenant get "/api/quotes/{quote_id}" => get;
    /// Changes the given fields of a quote
    tenant patch "/api/quotes/{quote_id}" => update;
    /// Changes the given fields of a quote
    tenant put "/api/quotes/{quote_id}" => update;
    /// Deletes a quote; its number is not reused
    tenant delete "/api/quotes/{quote_id}" => delete;
    /// The quote as a PDF for the customer
    tenant get "/api/quotes/{quote_id}/download" => download;
}

row! {
    /// An offer; `amount` is the price, which the lines explain.
    pub struct Quote {
        id: Uuid,
        quote_number: String,
        title: String,
        amount: f64,
        status: String,
        client_id: Option<Uuid>,
        deal_id: Option<Uuid>,
        owner_id: Uuid,
        valid_until: Option<String>,
        description: Option<String>,
        terms: Option<String>,
        notes: Option<String>,
        sent_at: Option<Time>,
        accepted_at: Option<Time>,
        line_items: Value,
        created_at: Time,
        updated_at: Time,
    }
}

words! {
    enum QuoteStatus { Draft = "draft", Sent = "sent", Accepted = "accepted", Rejected = "rejected", Expired = "expired" }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    status: Option<QuoteStatus>,
}

/// A line: what is sold, how many, at what price.
#[derive(Debug, Serialize, Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct LineItem {
    #[garde(length(chars, min = 1, max = 1000))]
    description: String,
    /// 1 if absent; up to three decimals.
    #[serde(default = "one", deserialize_with = "wire::number")]
    #[garde(range(min = 0.001, max = 999_999_999.0), custom(wire::decimals::<3>))]
    quantity: f64,
    /// In minor units of the company's currency, such as cents.
    #[serde(deserialize_with = "wire::number")]
    #[garde(range(min = -1_000_000_000_000_i64, max = 1_000_000_000_000_i64))]
    unit_price: i64,
    /// Percent of the discounted price; up to four decimals.
    #[serde(default, deserialize_with = "wire::number")]
    #[garde(range(min = 0.0, max = 100.0), custom(wire::decimals::<4>))]
    tax: f64,
    /// Percent; up to four decimals.
    #[serde(default, deserialize_with = "wire::number")]
    #[garde(range(min = 0.0, max = 100.0), custom(wire::decimals::<4>))]
    discount: f64,
}

fn one() -> f64 {
    1.0
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewQuote {
    #[garde(length(chars, min = 1, max = 255))]
    title: String,
    #[serde(deserialize_with = "wire::number")]
    #[garde(range(min = -wire::MAX_MONEY, max = wire::MAX_MONEY))]
    amount: f64,
    /// A contact's id. Ignored if it is not a valid id.
    #[serde(default, deserialize_with = "wire::fitting")]
    #[schemars(with = "wire::Fitting<Uuid>")]
    client_id: Option<Uuid>,
    /// A deal's id. Ignored if it is not a valid id.
    #[serde(default, deserialize_with = "wire::fitting")]
    #[schemars(with = "wire::Fitting<Uuid>")]
    deal_id: Option<Uuid>,
    /// A date, or a time at midnight.
    #[serde(default, deserialize_with = "date")]
    valid_until: Option<String>,
    #[garde(length(chars, max = wire::MAX_TEXT_CHARS))]
    description: Option<String>,
    #[garde(length(chars, max = wire::MAX_TEXT_CHARS))]
    terms: Option<String>,
    #[garde(length(chars, max = wire::MAX_TEXT_CHARS))]
    notes: Option<String>,
    status: Option<QuoteStatus>,
    /// At most 200 lines.
    #[garde(length(max = 200), dive)]
    line_items: Option<Vec<LineItem>>,
}

/// The fields to change; null leaves a field unchanged.
#[derive(Debug, Default, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default)]
#[garde(allow_unvalidated)]
struct QuotePatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, min = 1, max = 255))]
    title: Option<String>,
    #[serde(deserialize_with = "wire::optional_number", skip_serializing_if = "Option::is_none")]
    #[garde(range(min = -wire::MAX_MONEY, max = wire::MAX_MONEY))]
    amount: Option<f64>,
    #[serde(deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    valid_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, max = wire::MAX_TEXT_CHARS))]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, max = wire::MAX_TEXT_CHARS))]
    terms: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, max = wire::MAX_TEXT_CHARS))]
    notes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<QuoteStatus>,
    /// A contact's id; any other text removes the contact.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>")]
    client_id: Option<Value>,
    /// A deal's id; any other text removes the deal.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>")]
    deal_id: Option<Value>,
    /// Replaces all lines; at most 200.
    #[serde(skip_serializing)]
    #[garde(length(max = 200), dive)]
    line_items: Option<Vec<LineItem>>,
}

/// `YYYY-MM-DD`, or a time at midnight.
fn date<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let Some(text) = Option::<String>::deserialize(d)? else { return Ok(None) };
    let midnight = wire::as_written(&text).filter(|time| time.time() == civil::Time::midnight());
    let wrong = || serde::de::Error::custom("Input should be a date such as 2026-12-31");
    midnight.map(|time| Some(time.date().to_string())).ok_or_else(wrong)
}

/// The reference in a change: the id, and whether it is removed.
fn reference(given: &Option<Value>) -> (Option<Uuid>, bool) {
    let id = given.as_ref().and_then(|given| given.as_str()?.parse().ok());
    (id, given.is_some() && id.is_none())
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, page: Paging) -> Result<Paged<Quote>> {
    match filter.status {
        None => page.list(&db, list!("quotes/list").planned_once(), &[]).await,
        Some(status) => page.list(&db, list!("quotes/of_status").planned_once(), &[&status.word()]).await,
    }
}

async fn create(db: TenantDb, Json(new): Json<NewQuote>) -> Result<wire::Created<Quote>> {
    let NewQuote { title, amount, client_id, deal_id, valid_until, description, terms, notes, .. } = &new;
    let lines = new.line_items.as_deref().unwrap_or_default();
    let (status, lines) = (new.status.unwrap_or(QuoteStatus::Draft).word(), Jsonb(lines));
    let params: Params<'_> =
        &[title, amount, client_id, deal_id, valid_until, description, terms, notes, &status, &lines];
    let quote = db.tx(async |tx| {
        let id: Uuid = tx.one(sql!("quotes/create"), params).await?;
        tx.one(sql!("quotes/get"), &[&id]).await
    });
    Ok(wire::Created(quote.await?))
}

async fn get(db: TenantDb, Path(id): Path<Uuid>) -> Result<Written<Quote>> {
    db.one(sql!("quotes/get"), &[&id]).await
}

async fn update(db: TenantDb, Path(id): Path<Uuid>, change: Change<QuotePatch>) -> Result<Json<Quote>> {
    let patch = change.checked_against(db.one::<Quote>(sql!("quotes/get"), &[&id])).await?;
    let ((client, no_client), (deal, no_deal)) = (reference(&patch.client_id), reference(&patch.deal_id));
    let columns = Jsonb(&patch);
    let params: Params<'_> = &[&id, &columns, &client, &no_client, &deal, &no_deal];
    let quote = db.tx(async |tx| {
        tx.optional::<Uuid>(sql!("quotes/update"), params).await?;
        let quote: Quote = tx.one(sql!("quotes/get"), &[&id]).await?;
        let Some(lines) = &patch.line_items else { return Ok(quote) };
        tx.all::<Uuid>(sql!("quotes/replace_lines"), &[&id, &Jsonb(lines)]).await?;
        tx.one(sql!("quotes/get"), &[&id]).await
    });
    Ok(Json(quote.await?))
}

async fn delete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.optional::<Uuid>(sql!("quotes/delete"), &[&id]).await.or_not_found("Quote")?;
    Ok(message("Quote deleted successfully"))
}

async fn download(app: State<App>, db: TenantDb, Path(id): Path<Uuid>) -> Result<wire::Pdf> {
    let printed: Value = db.optional(sql!("quotes/document"), &[&id]).await.or_not_found("Quote")?;
    let unreadable = |e: &dyn std::fmt::Display| Error::Internal(format!("the quote's document: {e}").into());
    let company = Uuid::deserialize(&printed["company"]["id"]).map_err(|e| unreadable(&e))?;
    let logo_key = printed["logo_key"].as_str().map(str::to_owned);
    let mut quote: pdf::quote::Quote = serde_json::from_value(printed).map_err(|e| unreadable(&e))?;
    let permit = pdf::permit(company).await?;
    if let Some(key) = logo_key {
        // A quote without its logo is better than none.
        quote.company.logo = app.storage.read_all(&key).await.unwrap_or_else(|e| {
            tracing::warn!(error = %format!("{e:#}"), "a quote is printed without its logo");
            None
        });
    }
    let rendered = permit.run_blocking(move || pdf::quote::render(&quote).map(|body| (quote.number, body))).await?;
    let (number, body) = rendered.map_err(|e| unreadable(&e))?;
    Ok(wire::Pdf { name: number, body })
}
