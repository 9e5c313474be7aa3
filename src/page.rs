//! Pages of lists: by `?skip=&limit=` (contract: conventions, "Types"), or by a cursor, with which a page after a
//! million rows costs as much as the first one.

use crate::{
    App, Error, Result,
    db::{List, Params, Permission, Rows, Scoped, Value, WriteRow},
    wire,
};
use aide::{
    generate::GenContext,
    openapi::{Header, HeaderStyle, Operation, ParameterSchemaOrContent, ReferenceOr, SchemaObject},
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use postgres_types::ToSql;
use schemars::{JsonSchema, json_schema};
use serde::Deserialize;

/// No default limit: for lists that the frontend shows whole.
pub const NO_LIMIT: i64 = i64::MAX;
/// Maximum limit of a page; with a cursor it always applies.
const MAX_LIMIT: i64 = 1000;
/// The header with the number of rows of the whole list.
pub const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// A page of a list: at most `limit` rows after the first `skip`. `LIMIT` is the area's default; a limit over 1000
/// counts as 1000, a negative number is refused.
#[derive(Debug, Clone, Copy)]
pub struct Page<const LIMIT: i64 = 100> {
    /// Number of rows to skip.
    pub skip: i64,
    /// Maximum number of rows.
    pub limit: i64,
}

#[derive(Deserialize, JsonSchema)]
struct Raw {
    /// Number of rows to skip (default 0).
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    skip: Option<i64>,
    /// Maximum number of rows, up to 1000 (the default depends on the list).
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    limit: Option<i64>,
}

impl<const LIMIT: i64> FromRequestParts<App> for Page<LIMIT> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        let Raw { skip, limit } = wire::query(parts.uri.query())?;
        Self::new(skip, limit)
    }
}

impl<const LIMIT: i64> Page<LIMIT> {
    fn new(skip: Option<i64>, limit: Option<i64>) -> Result<Self> {
        // Few enough that a statement can add the limit to them.
        let skip = skip.unwrap_or(0).min(i64::MAX / 2);
        let page = Self { skip, limit: limit.map_or(LIMIT, |limit| limit.min(MAX_LIMIT)) };
        for (name, value) in [("skip", page.skip), ("limit", page.limit)] {
            if value < 0 {
                return Err(Error::invalid("query", name, "Input should be greater than or equal to 0"));
            }
        }
        Ok(page)
    }
}

impl<const LIMIT: i64> aide::OperationInput for Page<LIMIT> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        wire::document_query::<Raw>(ctx, operation);
    }
}

/// A [`Page`], or the page after a cursor, and whether the rows of the whole list are counted.
pub struct Paging<const LIMIT: i64 = 100> {
    page: Page<LIMIT>,
    count: bool,
    walk: Option<Box<Walk>>,
}

/// A request that goes from page to page by a cursor.
struct Walk {
    app: App,
    uri: Uri,
    /// Where the page starts; empty for the first one.
    cursor: String,
}

#[derive(Deserialize, JsonSchema)]
struct RawWalk {
    /// Empty for the first page, then as in the `Link` header of the previous page. With a cursor, a list without a
    /// limit has a limit of 1000.
    cursor: Option<String>,
    /// Whether the response has the number of rows of the whole list, in the header `X-Total-Count`.
    #[serde(default, deserialize_with = "wire::flag")]
    count: bool,
}

impl<const LIMIT: i64> FromRequestParts<App> for Paging<LIMIT> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        Self::new(Page::from_request_parts(parts, app).await?, parts, app)
    }
}

impl<const LIMIT: i64> aide::OperationInput for Paging<LIMIT> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        Page::<LIMIT>::operation_input(ctx, operation);
        wire::document_query::<RawWalk>(ctx, operation);
    }
}

impl<const LIMIT: i64> Paging<LIMIT> {
    fn new(mut page: Page<LIMIT>, parts: &Parts, app: &App) -> Result<Self> {
        let RawWalk { cursor, count } = wire::query(parts.uri.query())?;
        let walk = cursor.map(|cursor| Box::new(Walk { app: app.clone(), uri: parts.uri.clone(), cursor }));
        if walk.is_some() {
            page.limit = page.limit.min(MAX_LIMIT);
            if page.skip > 0 {
                return Err(Error::invalid(
                    "query",
                    "cursor",
                    "A page starts at a cursor or after some rows, not both",
                ));
            }
        }
        Ok(Self { page, count, walk })
    }

    /// The page of this list, whose statement takes `params`, followed by `limit`, `skip` and the cursor.
    pub async fn list<T: WriteRow, D: Permission>(
        &self,
        db: &Scoped<D>,
        list: List,
        params: Params<'_>,
    ) -> Result<Paged<T>> {
        let start = self.walk.as_ref().map_or(Ok(Vec::new()), |walk| walk.start(&list))?;
        let mut given: Vec<&(dyn ToSql + Sync)> = Vec::with_capacity(params.len() + 2 + start.len());
        given.extend_from_slice(params);
        given.push(&self.page.limit);
        given.push(&self.page.skip);
        given.extend(start.iter().map(|value| value as &(dyn ToSql + Sync)));
        let rows = db.list(if start.is_empty() { list.first } else { list.behind }, &given).await?;
        let next = match &self.walk {
            Some(walk) if list.is_cut || i64::try_from(rows.len()) == Ok(self.page.limit) => walk.next(&list, &rows)?,
            _ => None,
        };
        let total = if self.count {
            let mut all = params.to_vec();
            all.push(&NO_LIMIT);
            all.push(&0_i64);
            Some(db.one(list.count, &all).await?)
        } else {
            None
        };
        Ok(Paged { rows, next, total })
    }
}

impl Walk {
    /// The values after which the page starts; none for the first page.
    fn start(&self, list: &List) -> Result<Vec<Value>> {
        if self.cursor.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.app.cursors.open(&what(list), &self.cursor).and_then(|content| unpack(&content));
        key.ok_or_else(|| Error::invalid("query", "cursor", "Input should be a cursor that this list has given"))
    }

    /// The `Link` header of a page (RFC 8288): the same query after its last row, if it has one, without the count.
    fn next<T>(&self, list: &List, rows: &Rows<T>) -> Result<Option<HeaderValue>> {
        let Some(key) = rows.last(list.key)? else { return Ok(None) };
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let given = url::form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes());
        query.extend_pairs(given.filter(|(name, _)| !["skip", "offset", "cursor", "count"].contains(&&**name)));
        query.append_pair("cursor", &self.app.cursors.sign(&what(list), pack(&key)));
        let link = HeaderValue::try_from(format!("<{}?{}>; rel=\"next\"", self.uri.path(), query.finish()));
        link.map(Some).map_err(|e| Error::Internal(e.to_string().into()))
    }
}

/// What a cursor is bound to: the list that issued it.
fn what(list: &List) -> Vec<u8> {
    [list.first.name, "\0", &list.key.join(" "), "\0"].concat().into_bytes()
}

/// Each value with its length before it; null has the length -1.
fn pack(key: &[Value]) -> Vec<u8> {
    let mut content = Vec::new();
    for Value(value) in key {
        let length = value.as_ref().map_or(-1, |value| value.len() as i32);
        content.extend_from_slice(&length.to_be_bytes());
        content.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    content
}

fn unpack(mut content: &[u8]) -> Option<Vec<Value>> {
    let mut key = Vec::new();
    while let Some((length, rest)) = content.split_first_chunk() {
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let (value, rest) = rest.split_at_checked(length.unwrap_or(0))?;
        key.push(Value(length.map(|_| value.to_vec())));
        content = rest;
    }
    Some(key)
}

/// A page of a list, with a link to the next one if it was requested by a cursor.
#[derive(Debug)]
pub struct Paged<T> {
    rows: Rows<T>,
    next: Option<HeaderValue>,
    total: Option<i64>,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self { rows: Rows::default(), next: None, total: None }
    }
}

impl<T: WriteRow> IntoResponse for Paged<T> {
    fn into_response(self) -> Response {
        let mut response = self.rows.into_response();
        if let Some(next) = self.next {
            response.headers_mut().insert(header::LINK, next);
        }
        if let Some(total) = self.total {
            response.headers_mut().insert(TOTAL_COUNT, total.into());
        }
        response
    }
}

impl<T: JsonSchema> aide::OperationOutput for Paged<T> {
    type Inner = Vec<T>;
    fn operation_response(ctx: &mut GenContext, operation: &mut Operation) -> Option<aide::openapi::Response> {
        let mut response = Rows::<T>::operation_response(ctx, operation)?;
        let mut add = |name: &str, kind: &str, description: &str| {
            let json_schema = json_schema!({ "type": kind });
            let schema = SchemaObject { json_schema, external_docs: None, example: None };
            let header = Header {
                description: Some(description.into()),
                style: HeaderStyle::Simple,
                required: false,
                deprecated: None,
                format: ParameterSchemaOrContent::Schema(schema),
                example: None,
                examples: Default::default(),
                extensions: Default::default(),
            };
            response.headers.insert(name.into(), ReferenceOr::Item(header));
        };
        add(
            "Link",
            "string",
            "With `cursor`: the address of the next page, as `rel=\"next\"` (RFC 8288). The last page has none.",
        );
        add("X-Total-Count", "integer", "With `count=true`: the number of rows of the whole list.");
        Some(response)
    }
    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        wire::documented(Some(200), Self::operation_response(ctx, operation))
    }
}

/// The [`Paging`] of the lists that refuse a limit outside of 1 to 100.
pub struct Bounded(pub Paging);

#[derive(Deserialize, JsonSchema)]
struct RawBounded {
    /// Maximum number of rows, from 1 to 100 (default 50).
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    limit: Option<i64>,
    /// Number of rows to skip (default 0).
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    offset: Option<i64>,
}

impl FromRequestParts<App> for Bounded {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let RawBounded { limit, offset } = wire::query(parts.uri.query())?;
        let (limit, offset) = (up_to_100("limit", limit.unwrap_or(50))?, offset.unwrap_or(0));
        if offset < 0 {
            return Err(Error::invalid("query", "offset", "Input should be greater than or equal to 0"));
        }
        Paging::new(Page { skip: offset.min(i64::MAX / 2), limit }, parts, app).map(Self)
    }
}

impl aide::OperationInput for Bounded {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        wire::document_query::<RawBounded>(ctx, operation);
        wire::document_query::<RawWalk>(ctx, operation);
    }
}

/// The value of a parameter, which must be from 1 to 100.
pub fn up_to_100(name: &str, value: i64) -> Result<i64> {
    if (1..=100).contains(&value) {
        Ok(value)
    } else {
        Err(Error::invalid("query", name, "Input should be from 1 to 100"))
    }
}
