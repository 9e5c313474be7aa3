//! What the OpenAPI document says beyond the types of the handlers.

use crate::api::{Route, routes};
use aide::openapi::{
    Info, OpenApi, Operation, Parameter, ParameterData, ParameterSchemaOrContent, PathStyle, ReferenceOr, SchemaObject,
    SecurityScheme, Tag,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The version of the API (contract: conventions), which is not the program's.
pub(crate) const VERSION: &str = "1.0.0";

/// Completes the document: what routes do, in groups, for whom, and what may be empty.
pub(crate) fn complete(api: &mut OpenApi) {
    api.info = Info {
        title: "Ringfence".into(),
        version: VERSION.into(),
        description: Some(include_str!("openapi.md").into()),
        ..Info::default()
    };
    let mut routes_of = BTreeMap::<String, usize>::new();
    for route in routes() {
        let mut id = format!("{}_{}", name(route.area), route.handler.replace("::", "_"));
        // A handler may serve several routes.
        let number = *routes_of.entry(id.clone()).and_modify(|number| *number += 1).or_insert(1);
        if number > 1 {
            id += &format!("_{number}");
        }
        if let Some(operation) = operation(api, route) {
            operation.operation_id = Some(id);
            describe(operation, route);
        }
    }
    say_that_blank_is_none(api);
    drop_unreferenced(api);
    let mut tags: Vec<_> = routes().map(tag).collect();
    tags.dedup();
    api.tags = tags.into_iter().map(|name| Tag { name, ..Tag::default() }).collect();
    let bearer = SecurityScheme::Http {
        scheme: "bearer".into(),
        bearer_format: Some("JWT".into()),
        description: Some("The access_token of POST /api/auth/login.".into()),
        extensions: Default::default(),
    };
    let components = api.components.get_or_insert_default();
    components.security_schemes.insert("bearer".into(), ReferenceOr::Item(bearer));
}

/// `ringfence::api::contacts` is the area `contacts`.
fn name(module: &'static str) -> &'static str {
    module.rsplit("::").next().unwrap_or(module)
}

/// The group of a route: `twilio settings`.
fn tag(route: &Route) -> String {
    name(route.area).replace('_', " ")
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

/// Drops the schemas that no operation refers to: parameters are written out, and leave the type of their query behind.
fn drop_unreferenced(api: &mut OpenApi) {
    let mut open = references(&json!(api.paths));
    let schemas = &mut api.components.get_or_insert_default().schemas;
    let mut used = BTreeSet::new();
    while let Some(name) = open.pop() {
        if let Some(schema) = schemas.get(&name)
            && used.insert(name)
        {
            open.extend(references(schema.json_schema.as_value()));
        }
    }
    schemas.retain(|name, _| used.contains(name));
}

/// The names of the schemas to which a part of the document refers.
fn references(part: &Value) -> Vec<String> {
    match part {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(|reference| reference.as_str()?.rsplit('/').next());
            own.map(str::to_owned).into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(parts) => parts.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// Documents that an optional id in a request may be an empty string, which means none (`wire::blank_is_none`), and so
/// may everything but text in a query.
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

/// Lets a schema with such a `type` and `format` be an empty string as well.
fn may_be_blank(schema: Option<&mut serde_json::Map<String, Value>>, is_it: impl Fn(&str, Option<&str>) -> bool) {
    let Some(schema) = schema else { return };
    let kind = schema.get("type").map(ToString::to_string).unwrap_or_default();
    if !is_it(&kind, schema.get("format").and_then(|format| format.as_str())) {
        return;
    }
    let (notes, form): (serde_json::Map<_, _>, serde_json::Map<_, _>) = std::mem::take(schema)
        .into_iter()
        .partition(|(key, _)| ["description", "default", "examples"].contains(&key.as_str()));
    *schema = notes;
    schema.insert("anyOf".into(), json!([form, {"type": "string", "maxLength": 0}]));
}

/// Adds what a handler's type does not say: summary, group, and path parameters.
fn describe(operation: &mut Operation, route: &Route) {
    operation.summary = Some(route.summary.trim().trim_end_matches('.').into());
    operation.tags = vec![tag(route)];
    let variable = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    for part in variable {
        // The URL of a tracking pixel has a token where the contract has an id.
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
