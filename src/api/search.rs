//! One search over what a company sells with.

use super::prelude::*;

routes! {
    /// Finds contacts, deals, quotes and files that have a text
    tenant get "/api/search" => find;
}

row! {
    /// Something that was found.
    pub struct Hit {
        /// `contact`, `deal`, `quote` or `file`.
        kind: String,
        id: Uuid,
        title: String,
        /// What tells it from others: an employer, a client, a number, a folder.
        subtitle: Option<String>,
        created_at: Time,
    }
}

#[derive(Deserialize, JsonSchema)]
struct Search {
    /// Any part of a name, in any case; three characters or more find fast. At most 200.
    #[serde(default)]
    q: String,
    /// How many of each kind at most: 1 to 100, 20 when left out.
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
    // No text finds nothing, and the caller is looked at all the same.
    let limit = if q.is_empty() { 0 } else { limit };
    db.list(sql!("search/find").planned_anew(), &[&q, &limit]).await.or_empty_without_company()
}
