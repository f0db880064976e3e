//! JSON Schemas of what is sent in, made from the tables that judge it.

use serde_json::{Value, json};

use super::fields::{SOURCE, WEBHOOK};
use super::spec::{FIELDS, METADATA_PAIRS_MAX};
use crate::job::Event;
use crate::pipeline::output::{OUTPUT_PARAMS, destination_schema};
use crate::pipeline::params::Param;
use crate::pipeline::{ANALYSES, ops, params};

const DURATION_PATTERN: &str = "^[0-9]+(ms|s|m|h|d)$";
/// Shares of width and height.
const FOCAL_POINT_PATTERN: &str = r"^(0(\.[0-9]+)?|1(\.0+)?),(0(\.[0-9]+)?|1(\.0+)?)$";

/// Schema of a job specification; `operations_max` and `outputs_max` are the server's settings.
pub fn spec(operations_max: usize, outputs_max: usize) -> Value {
    let mut schema = params::schema(FIELDS);
    let fields = &mut schema["properties"];
    let mut output = output();
    output["properties"]["operations"] = operations(operations_max);
    put(&mut fields["source"], source());
    put(&mut fields["operations"], operations(operations_max));
    put(
        &mut fields["outputs"],
        json!({"type": "array", "minItems": 1, "maxItems": outputs_max, "items": output}),
    );
    put(&mut fields["analyze"], analyze());
    put(&mut fields["webhook"], webhook());
    put(&mut fields["run_at"], json!({"type": "string", "format": "date-time"}));
    put(&mut fields["timeout"], json!({"type": "string", "pattern": DURATION_PATTERN}));
    put(&mut fields["expires_in"], json!({"type": "string", "pattern": DURATION_PATTERN}));
    put(&mut fields["metadata"], text_map(METADATA_PAIRS_MAX));
    schema
}

/// Schema of a parameter of the raw form, where an object of the specification is text.
pub fn in_query(param: &Param) -> Value {
    let mut schema = params::schema(&[*param])["properties"][param.name].take();
    match param.name {
        "analyze" => put(&mut schema, analyze()),
        "webhook" => put(&mut schema, json!({"type": "string", "format": "uri"})),
        "run_at" => put(&mut schema, json!({"type": "string", "format": "date-time"})),
        "timeout" | "expires_in" => put(&mut schema, json!({"type": "string", "pattern": DURATION_PATTERN})),
        // After the words.
        "gravity" => schema["oneOf"][1] = json!({"type": "string", "pattern": FOCAL_POINT_PATTERN}),
        _ => {}
    }
    schema
}

/// Schema of one output without its operations.
pub fn output() -> Value {
    let mut schema = params::schema(OUTPUT_PARAMS);
    schema["properties"]["destination"] = destination_schema();
    schema
}

fn operations(most: usize) -> Value {
    let each: Vec<Value> = ops::REGISTRY.iter().map(ops::Registration::schema).collect();
    json!({"type": "array", "maxItems": most, "items": {"oneOf": each}})
}

fn analyze() -> Value {
    let names: Vec<&str> = ANALYSES.iter().map(|item| item.name).collect();
    json!({"type": "array", "uniqueItems": true, "items": {"type": "string", "enum": names}})
}

fn source() -> Value {
    let mut schema = params::schema(SOURCE);
    put(&mut schema["properties"]["url"], json!({"format": "uri"}));
    put(
        &mut schema["properties"]["headers"],
        json!({"type": "object", "additionalProperties": {"type": "string"}}),
    );
    schema["required"] = json!(["url"]);
    schema
}

fn webhook() -> Value {
    let mut schema = params::schema(WEBHOOK);
    let events = Event::ALL.map(Event::name);
    put(&mut schema["properties"]["url"], json!({"format": "uri"}));
    let list = json!({"type": "array", "minItems": 1, "items": {"type": "string", "enum": events}});
    put(&mut schema["properties"]["events"], list);
    schema["required"] = json!(["url"]);
    schema
}

fn text_map(most: usize) -> Value {
    json!({"type": "object", "maxProperties": most, "additionalProperties": {"type": "string"}})
}

/// Adds members to a schema; those that are there stay.
fn put(schema: &mut Value, more: Value) {
    let (Value::Object(schema), Value::Object(more)) = (schema, more) else { return };
    for (name, value) in more {
        schema.entry(name).or_insert(value);
    }
}
