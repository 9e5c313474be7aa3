//! The API: one module per area. `areas!` is the only list of them, `routes!` the only list of an area's routes.

use crate::{App, openapi};
use aide::{axum::ApiRouter, openapi::OpenApi};
use axum::Router;

/// What every area's module imports.
mod prelude {
    pub(super) use crate::{
        App, Error, Result,
        api::{Access, MAX_PUBLIC_BODY_BYTES, Route},
        db::{CompanyAdmin, Params, Rows, Scoped, SettingsAdmin, SuperAdmin, TeamAdmin, TenantDb, UserDb, Written},
        error::{OrNotFound, ResultExt},
        filter_ids::FilterIds,
        list,
        page::{self, Bounded, Page, Paged, Paging},
        row,
        server::Client,
        sql,
        wire::{self, Change, Json, Message, Path, Query, Time, message},
    };
    pub(super) use axum::extract::State;
    pub(super) use garde::Validate;
    pub(super) use postgres_types::Json as Jsonb;
    pub(super) use schemars::JsonSchema;
    pub(super) use serde::{Deserialize, Serialize};
    pub(super) use uuid::Uuid;
}

/// Maximum size, in bytes, of a body that is read before its sender is known; many can arrive at once.
pub const MAX_PUBLIC_BODY_BYTES: usize = 16 << 10;

/// One entry of the route table: what the router is built from and what the isolation test walks.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Who may call it.
    pub access: Access,
    /// The method, in lower case.
    pub method: &'static str,
    /// The path as the contract writes it; it is also served with its trailing slash added or removed.
    pub path: &'static str,
    /// Maximum size of the body in bytes, if it differs from the default.
    pub limit: Option<usize>,
    /// The area it belongs to.
    pub area: &'static str,
    /// The function that handles it, from its area: `folders::list`.
    pub handler: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
}

/// Who may call a route. The handler's extractor enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "the words of the route tables")]
pub enum Access {
    /// Anybody.
    public,
    /// Any signed-in user, with or without a company.
    user,
    /// A member of a company.
    tenant,
    /// An admin of the company.
    admin,
    /// A super admin.
    platform,
}

/// The route table of an area: `/// what it does`, then access, method, path and handler. A route that takes files, and
/// a public route that takes a body, states its body limit in bytes after the path: `tenant post "/api/files/" limit 50
/// << 20 => upload;`.
macro_rules! routes {
    ($($(#[doc = $summary:literal])+ $access:ident $method:ident $path:literal $(limit $limit:expr)? => $handler:path;)*) => {
        /// This area's routes.
        pub const ROUTES: &[Route] = &[$(Route {
            access: Access::$access,
            method: stringify!($method),
            path: $path,
            // The route's limit or `None`: the last element of a list that starts with `None`.
            limit: [None, $(Some($limit))?].as_slice().last().copied().flatten(),
            area: module_path!(),
            handler: stringify!($handler),
            summary: concat!($($summary),+),
        },)*];

        /// This area's router, with its part of the OpenAPI document.
        pub fn router() -> aide::axum::ApiRouter<App> {
            aide::axum::ApiRouter::new()$(
                .api_route(
                    $path,
                    aide::axum::routing::$method($handler)
                        $(.layer(axum::extract::DefaultBodyLimit::max($limit)))?,
                )
                .route(
                    &super::other_form($path),
                    axum::routing::$method($handler)$(.layer(axum::extract::DefaultBodyLimit::max($limit)))?,
                )
            )*
        }
    };
}

/// An enum with a word for each variant: `words! { enum Channel { Sms = "sms", Email = "email" } }`. Words are read
/// case-insensitively, in a query with `wire::blank_is_none`.
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$of_variant:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
        $vis enum $name {
            $($(#[$of_variant])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// The word on the wire and in the database.
            #[allow(dead_code, reason = "what is only stored as a part of JSON is serialized")]
            $vis fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                [$(($word, Self::$variant)),*]
                    .into_iter()
                    .find_map(|(word, variant)| word.eq_ignore_ascii_case(text).then_some(variant))
                    .ok_or_else(|| format!("Input should be one of {}", [$($word),*].join(", ")))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! areas {
    ($($area:ident)*) => {
        $(pub mod $area;)*

        fn router_with_docs() -> ApiRouter<App> {
            ApiRouter::new()$(.merge($area::router()))*
        }

        /// Every route of the API.
        pub fn routes() -> impl Iterator<Item = &'static Route> {
            [$($area::ROUTES),*].into_iter().flatten()
        }
    };
}

areas! { audit auth registration users invitations companies teams notifications contacts pipelines deals activities quotes files search twilio_settings sms calls emails campaigns inbox conversations suppressions workflows analytics webhooks }

/// The entry for a path as the router matched it, with or without a trailing slash.
pub fn find(method: &str, path: &str) -> Option<&'static Route> {
    routes().find(|r| r.method == method && r.path.trim_end_matches('/') == path.trim_end_matches('/'))
}

/// The path with its trailing slash added or removed: the frontend uses both, and a redirect would break multipart.
pub(crate) fn other_form(path: &str) -> String {
    path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned)
}

/// The trimmed text, if anything is left.
fn non_blank(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The router of all areas, and the OpenAPI 3.1 document generated from their handlers' types.
pub fn router() -> (Router<App>, OpenApi) {
    aide::generate::infer_responses(true);
    aide::generate::extract_schemas(true);
    let mut api = OpenApi::default();
    let router = router_with_docs().finish_api(&mut api);
    openapi::complete(&mut api);
    (router, api)
}
