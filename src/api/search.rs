//! One search over a company's contacts, deals, quotes and files.

use super::prelude::*;

routes! {
    /// Finds contacts, deals, quotes and files by text
    tenant get "/api/search" => find;
}

row! {
    /// A search result.
    pub struct Hit {
        /// `contact`, `deal`, `quote` or `file`.
        kind: String,
        id: Uuid,
        title: String,
        /// Distinguishes similar results: an employer, a client, a number, a folder.
        subtitle: Option<String>,
        created_at: Time,
    }
}

#[derive(Deserialize, JsonSchema)]
struct Search {
    /// Any part of a name, case-insensitive; fast from three characters on, at most 200.
    #[serde(default)]
    q: String,
    /// Maximum number of results of each kind, 1 to 100 (default 20).
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    limit: Option<i64>,
}

async fn find(db: TenantDb, Query(search): Query<Search>) -> Result<Rows<Hit>> {
    let (q, limit) = (search.q.trim(), search.limit.unwrap_or(20));
    if q.chars().count() > 200 {
        return Err(Error::invalid("query", "q", "String should have at most 200 characters"));
    }
    if !(1..=100).contains(&limit) {
        return Err(Error::invalid("query", "limit", "Input should be between 1 and 100"));
    }
    // An empty text finds nothing, but the caller is still checked.
    let limit = if q.is_empty() { 0 } else { limit };
    db.list(sql!("search/find").planned_anew(), &[&q, &limit]).await.or_empty_without_company()
}
