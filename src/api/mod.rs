//! The API: one module an area. `areas!` is the only list of them, `routes!` the only list of an area's routes.

use crate::App;
use aide::{
    axum::ApiRouter,
    openapi::{
        Info, OpenApi, Operation, Parameter, ParameterData, ParameterSchemaOrContent, PathStyle, ReferenceOr,
        SchemaObject, SecurityScheme, Tag,
    },
};
use axum::Router;

/// What every area's file opens with.
mod prelude {
    pub(super) use crate::{
        App, Error, Result,
        api::{Access, PUBLIC_BODY_LIMIT, Route},
        db::{CompanyAdmin, Params, Rows, Scoped, SettingsAdmin, SuperAdmin, TeamAdmin, TenantDb, UserDb, Written},
        error::{OrNotFound, ResultExt},
        filter_ids::Named,
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

/// The maximum size of a body, in bytes, that is read before anything is known of its sender; many can arrive at once.
pub const PUBLIC_BODY_LIMIT: usize = 16 << 10;

/// One entry of the route table: what the router is built from and what the isolation test walks.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Who may call it.
    pub access: Access,
    /// The method, in lower case.
    pub method: &'static str,
    /// The path, as the contract writes it; the form with or without a slash at the end is served too.
    pub path: &'static str,
    /// How many bytes its body may have, where that is not what others' may.
    pub limit: Option<usize>,
    /// The area it belongs to.
    pub area: &'static str,
    /// What it does, a sentence.
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

/// The route table of an area: `/// what it does`, then access, method, path and handler. A route that takes files, or that is
/// for everybody and takes a body, names the bytes its body may have after the path:
/// `tenant post "/api/files/" limit 50 << 20 => upload;`.
macro_rules! routes {
    ($($(#[doc = $summary:literal])+ $access:ident $method:ident $path:literal $(limit $limit:expr)? => $handler:path;)*) => {
        /// This area's routes.
        pub const ROUTES: &[Route] = &[$(Route {
            access: Access::$access,
            method: stringify!($method),
            path: $path,
            // The limit, if the route names one: the last of a list that has it behind a `None`.
            limit: [None, $(Some($limit))?].as_slice().last().copied().flatten(),
            area: module_path!(),
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

/// A closed list of words, each with its variant: `words! { enum Channel { Sms = "sms", Email = "email" } }`. A query takes one
/// by `wire::blank_is_none`.
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$of_variant:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
        $vis enum $name {
            $($(#[$of_variant])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// As it is on the wire and in the database.
            $vis fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("Input should be one of {}", [$($word),*].join(", "))),
                }
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

/// The entry for a path as the router matched it, with or without the slash at its end.
pub fn find(method: &str, path: &str) -> Option<&'static Route> {
    routes().find(|r| r.method == method && r.path.trim_end_matches('/') == path.trim_end_matches('/'))
}

/// A path's other form, with or without the slash at the end: the frontend uses both, and a redirect would break multipart.
pub(crate) fn other_form(path: &str) -> String {
    path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned)
}

/// A text without the blanks around it, if anything is left.
fn filled(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The router of all areas, and the OpenAPI 3.1 document that their handlers' types make.
pub fn router() -> (Router<App>, OpenApi) {
    aide::generate::infer_responses(true);
    aide::generate::extract_schemas(true);
    let mut api = OpenApi {
        info: Info {
            title: "Ringfence".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            description: Some(include_str!("description.md").into()),
            ..Info::default()
        },
        ..OpenApi::default()
    };
    let router = router_with_docs().finish_api(&mut api);
    for route in routes() {
        if let Some(operation) = operation(&mut api, route) {
            describe(operation, route);
        }
    }
    say_that_blank_is_none(&mut api);
    let mut areas: Vec<_> = routes().map(|r| name(r.area)).collect();
    areas.dedup();
    api.tags = areas.into_iter().map(|name| Tag { name: name.into(), ..Tag::default() }).collect();
    let bearer = SecurityScheme::Http {
        scheme: "bearer".into(),
        bearer_format: Some("JWT".into()),
        description: Some("The access_token of POST /api/auth/login.".into()),
        extensions: Default::default(),
    };
    let components = api.components.get_or_insert_default();
    components.security_schemes.insert("bearer".into(), ReferenceOr::Item(bearer));
    (router, api)
}

/// `ringfence::api::contacts` is the area `contacts`.
fn name(module: &'static str) -> &'static str {
    module.rsplit("::").next().unwrap_or(module)
}

fn operation<'a>(api: &'a mut OpenApi, route: &Route) -> Option<&'a mut Operation> {
    match api.paths.as_mut()?.paths.get_mut(route.path)? {
        ReferenceOr::Item(item) => match route.method {
            "get" => item.get.as_mut(),
            "post" => item.post.as_mut(),
            "put" => item.put.as_mut(),
            "patch" => item.patch.as_mut(),
            "delete" => item.delete.as_mut(),
            _ => None,
        },
        ReferenceOr::Reference { .. } => None,
    }
}

/// In what is sent, an optional id may be an empty string, which means that there is none (`wire::blank_is_none`), and so
/// may whatever is no text in a query.
fn say_that_blank_is_none(api: &mut OpenApi) {
    let mut bodies = Vec::new();
    for route in routes() {
        let Some(operation) = operation(api, route) else { continue };
        for parameter in &mut operation.parameters {
            if let ReferenceOr::Item(Parameter::Query { parameter_data, .. }) = parameter
                && let ParameterSchemaOrContent::Schema(schema) = &mut parameter_data.format
            {
                may_be_blank(schema.json_schema.as_object_mut(), |kind, format| {
                    format.is_some()
                        || kind.is_empty()
                        || ["integer", "number", "boolean"].iter().any(|other| kind.contains(other))
                });
            }
        }
        if let Some(ReferenceOr::Item(body)) = &operation.request_body {
            bodies.extend(
                body.content.values().filter_map(|content| content.schema.as_ref()?.json_schema.get("$ref").cloned()),
            );
        }
    }
    let schemas = &mut api.components.get_or_insert_default().schemas;
    for body in bodies {
        let name = body.as_str().and_then(|reference| reference.rsplit('/').next());
        let Some(schema) = name.and_then(|name| schemas.get_mut(name)) else { continue };
        let schema = schema.json_schema.as_object_mut();
        let properties = schema.and_then(|schema| schema.get_mut("properties")?.as_object_mut());
        for property in properties.into_iter().flat_map(|properties| properties.values_mut()) {
            may_be_blank(property.as_object_mut(), |kind, format| kind.contains("null") && format == Some("uuid"));
        }
    }
}

/// Lets what has a `type` and `format` of this kind be an empty string as well.
fn may_be_blank(
    schema: Option<&mut serde_json::Map<String, serde_json::Value>>,
    is_it: impl Fn(&str, Option<&str>) -> bool,
) {
    let Some(schema) = schema else { return };
    let kind = schema.get("type").map(ToString::to_string).unwrap_or_default();
    if !is_it(&kind, schema.get("format").and_then(|format| format.as_str())) {
        return;
    }
    let (notes, form): (serde_json::Map<_, _>, serde_json::Map<_, _>) = std::mem::take(schema)
        .into_iter()
        .partition(|(key, _)| ["description", "default", "examples"].contains(&key.as_str()));
    *schema = notes;
    schema.insert("anyOf".into(), serde_json::json!([form, {"type": "string", "maxLength": 0}]));
}

/// Adds what a handler's type does not tell: the sentence, the group, and the names in the path.
fn describe(operation: &mut Operation, route: &Route) {
    operation.summary = Some(route.summary.trim().trim_end_matches('.').into());
    operation.tags = vec![name(route.area).into()];
    let variable = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    for part in variable {
        // The address of a picture in a mail has a token where the contract has an id.
        let is_id = part.ends_with("_id") && !route.path.contains("/track/");
        let schema = if is_id {
            schemars::json_schema!({"type": "string", "format": "uuid"})
        } else {
            schemars::json_schema!({"type": "string"})
        };
        let parameter_data = ParameterData {
            name: part.into(),
            description: None,
            required: true,
            deprecated: None,
            format: ParameterSchemaOrContent::Schema(SchemaObject {
                json_schema: schema,
                external_docs: None,
                example: None,
            }),
            example: None,
            examples: Default::default(),
            explode: None,
            extensions: Default::default(),
        };
        let parameter = Parameter::Path { parameter_data, style: PathStyle::Simple };
        operation.parameters.insert(0, ReferenceOr::Item(parameter));
    }
}
