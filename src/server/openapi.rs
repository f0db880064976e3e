//! `GET /openapi.json`: OpenAPI 3.1, made once at start from the types that the handlers use and the tables that judge requests.

mod operations;

use hyper::Response;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::auth::{self, Need};
use super::body::Body;
use super::call::Call;
use super::config::Config;
use super::router::ROUTES;
use crate::access::Scope;
use crate::api;

/// Answers with the document.
pub(super) fn show(call: &Call) -> Response<Body> {
    call.state.openapi.answer(call)
}

/// The whole document, of a server that asks for keys or of one that does not.
pub(super) fn document(config: &Config, public_url: &str, asks_for_keys: bool) -> Value {
    let mut paths = operations::paths();
    secure(&mut paths, asks_for_keys);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Minilab",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A fire-and-forget image job server: submit an image, get a job id at once, collect the results later.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": if public_url.is_empty() { "/" } else { public_url }}],
        "paths": paths,
        "webhooks": operations::webhooks(),
        "components": {
            "schemas": schemas(config),
            "securitySchemes": {"key": {
                "type": "http", "scheme": "bearer",
                "description": "An API key, `mlk_…`. A server without keys asks for none.",
            }},
            "responses": {"Problem": {
                "description": "What is wrong, as RFC 9457 spells it.",
                "content": {"application/problem+json": {"schema": reference("ProblemDetails")}},
            }},
        },
    })
}

/// Says of every operation what it asks of its caller, from the table that judges: nothing, a key with a scope, or a link instead.
fn secure(paths: &mut Value, asks_for_keys: bool) {
    for route in ROUTES {
        for (method, action) in route.methods {
            let key = |scope: Scope| json!({"key": [scope.name()]});
            let security = match auth::need(*action) {
                Need::Nothing => json!([]),
                Need::Scope(scope) if asks_for_keys => json!([key(scope)]),
                Need::Scope(scope) | Need::ScopeOrLink(scope) => json!([{}, key(scope)]),
            };
            paths[route.path][method.as_str().to_lowercase()]["security"] = security;
        }
    }
}

/// The component with this name.
fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Schemas of everything that goes in or out.
fn schemas(config: &Config) -> Value {
    // As they are written, not as they may be read: a field that is null is there all the same.
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    generator.subschema_for::<api::JobView>();
    generator.subschema_for::<api::JobList>();
    generator.subschema_for::<api::PlanView>();
    generator.subschema_for::<api::StatsView>();
    generator.subschema_for::<api::Capabilities>();
    generator.subschema_for::<api::ProblemDetails>();
    generator.subschema_for::<api::WebhookBody>();
    generator.subschema_for::<api::DeliveryList>();
    generator.subschema_for::<api::ReceiverList>();
    generator.subschema_for::<api::RedeliveredView>();
    let mut schemas: Map<String, Value> = generator.take_definitions(true);
    schemas.insert("JobSpec".to_owned(), api::schema::spec(config.operations_max, config.outputs_max));
    Value::Object(schemas)
}

#[cfg(test)]
mod tests {
    use super::*;
    /// Every `$ref` of a document.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(target)) = object.get("$ref") {
                    found.push(target.clone());
                }
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn document_and_router_know_the_same_routes() {
        let document = document(&Config::default(), "", false);
        let paths = document["paths"].as_object().unwrap();
        for route in ROUTES {
            let item = paths.get(route.path).unwrap_or_else(|| panic!("{} is not documented", route.path));
            let documented: Vec<&String> = item.as_object().unwrap().keys().collect();
            let served: Vec<String> =
                route.methods.iter().map(|(method, _)| method.as_str().to_lowercase()).collect();
            assert_eq!(documented, served.iter().collect::<Vec<_>>(), "{}", route.path);
        }
        assert_eq!(paths.len(), ROUTES.len(), "{:?}", paths.keys());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document(&Config::default(), "http://127.0.0.1:8080", true);
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20);
        for target in found {
            assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}");
        }
    }

    #[test]
    fn who_may_do_what_is_said() {
        let of = |asks: bool, path: &str, method: &str| {
            document(&Config::default(), "", asks)["paths"][path][method]["security"].clone()
        };
        for asks in [false, true] {
            assert_eq!(of(asks, "/docs", "get"), json!([]));
            assert_eq!(of(asks, "/v1/jobs/{id}/outputs/{name}", "get"), json!([{}, {"key": ["read"]}]));
        }
        assert_eq!(of(false, "/v1/jobs", "post"), json!([{}, {"key": ["submit"]}]));
        assert_eq!(of(true, "/v1/jobs", "post"), json!([{"key": ["submit"]}]));
        assert_eq!(of(true, "/v1/receivers/enable", "post"), json!([{"key": ["admin"]}]));
    }

    #[test]
    fn every_parameter_of_a_query_has_a_type() {
        let document = document(&Config::default(), "", false);
        let parameters = document["paths"]["/v1/jobs"]["post"]["parameters"].as_array().unwrap();
        for parameter in parameters {
            let schema = &parameter["schema"];
            assert!(schema["type"].is_string() || schema["oneOf"].is_array(), "{parameter}");
            assert_ne!(schema["type"], "object", "{parameter}");
        }
        let analyze = parameters.iter().find(|parameter| parameter["name"] == "analyze").unwrap();
        assert_eq!(analyze["explode"], false, "words between commas");
    }

    #[test]
    fn the_specification_is_documented_from_its_tables() {
        let document = document(&Config::default(), "", false);
        let spec = &document["components"]["schemas"]["JobSpec"]["properties"];
        let operations =
            spec["outputs"]["items"]["properties"]["operations"]["items"]["oneOf"].as_array().unwrap();
        assert_eq!(operations.len(), crate::pipeline::REGISTRY.len());
        assert_eq!(spec["outputs"]["maxItems"], 20);
        assert!(spec["metadata"]["description"].is_string());
    }
}
