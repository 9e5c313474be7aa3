//! `?skip=&limit=` (contract: conventions, "Types").

use crate::{App, Error, wire};
use axum::{extract::FromRequestParts, http::request::Parts};
use schemars::JsonSchema;
use serde::Deserialize;

/// No limit unless one is given: for lists of which the frontend shows all.
pub const ALL: i64 = i64::MAX;

/// A page of a list: `skip` rows are left out, at most `limit` follow. `LIMIT` is the area's default; a limit over 1000
/// counts as 1000, a negative number is refused.
#[derive(Debug, Clone, Copy)]
pub struct Page<const LIMIT: i64 = 100> {
    /// Rows to leave out.
    pub skip: i64,
    /// Rows to return at most.
    pub limit: i64,
}

#[derive(Deserialize, JsonSchema)]
struct Raw {
    /// Rows to leave out (default 0).
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    skip: Option<i64>,
    /// Rows to return at most (the default is the list's own; 1000 at most).
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    limit: Option<i64>,
}

impl<const LIMIT: i64> FromRequestParts<App> for Page<LIMIT> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        let raw: Raw = wire::query(parts.uri.query())?;
        let page = Self { skip: raw.skip.unwrap_or(0), limit: raw.limit.map_or(LIMIT, |limit| limit.min(1000)) };
        for (name, value) in [("skip", page.skip), ("limit", page.limit)] {
            if value < 0 {
                return Err(Error::invalid("query", name, "Input should be greater than or equal to 0"));
            }
        }
        Ok(page)
    }
}

impl<const LIMIT: i64> aide::OperationInput for Page<LIMIT> {
    fn operation_input(ctx: &mut aide::generate::GenContext, operation: &mut aide::openapi::Operation) {
        wire::document_query::<Raw>(ctx, operation);
    }
}

/// The `limit` and `offset` of the lists that refuse a limit outside of 1 to 100; 50 and 0 when left out.
pub fn bounded(limit: Option<i64>, offset: Option<i64>) -> Result<(i64, i64), Error> {
    let (limit, offset) = (limit.unwrap_or(50), offset.unwrap_or(0));
    if !(1..=100).contains(&limit) {
        return Err(Error::invalid("query", "limit", "Input should be from 1 to 100"));
    }
    if offset < 0 {
        return Err(Error::invalid("query", "offset", "Input should be greater than or equal to 0"));
    }
    Ok((limit, offset))
}
