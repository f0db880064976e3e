//! What operations ask of the world outside their image, judged where only the server's settings know: URLs, names of fonts.

use serde_json::{Map, Value};

use super::fields::{Reader, URL_BYTES_MAX};
use super::spec::Verdict;
use crate::pipeline::{Input, params};

/// Judges the URLs (by their text) and the fonts that a specification's operations name.
pub(super) fn vet(object: &Map<String, Value>, reader: &mut Reader<'_>) {
    list(object.get("operations"), "/operations", reader);
    let outputs = object.get("outputs").and_then(Value::as_array);
    for (index, output) in outputs.into_iter().flatten().take(reader.rules.outputs_max).enumerate() {
        list(output.get("operations"), &format!("/outputs/{index}/operations"), reader);
    }
}

fn list(operations: Option<&Value>, pointer: &str, reader: &mut Reader<'_>) {
    let operations = operations.and_then(Value::as_array);
    for (index, operation) in operations.into_iter().flatten().take(reader.rules.operations_max).enumerate() {
        let pointer = format!("{pointer}/{index}");
        if let Some(Input::Url(url)) = operation.get("input").and_then(Input::read) {
            vet_url(&url, format!("{pointer}/input/url"), reader);
        }
        if let Some(font) = operation.get("font").and_then(Value::as_str) {
            let valid: Vec<&str> = reader.rules.fonts.names().collect();
            if !valid.contains(&font) {
                reader.problem(format!("{pointer}/font"), params::unknown("font", font, &valid));
            }
        }
    }
}

fn vet_url(url: &str, pointer: String, reader: &mut Reader<'_>) {
    if url.len() > URL_BYTES_MAX {
        reader.problem(pointer, format!("is longer than {URL_BYTES_MAX} bytes"));
    } else if let Err(refusal) = (reader.rules.vet_url)(url) {
        reader.refused(&pointer, refusal, Verdict::SourceForbidden);
    }
}
