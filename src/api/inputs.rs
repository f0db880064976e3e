//! What operations ask of the world outside their image, judged where only the server's settings know: URLs.

use serde_json::{Map, Value};

use super::fields::{Reader, URL_BYTES_MAX};
use super::spec::Verdict;
use crate::pipeline::Input;

/// Judges the inputs of a specification's operations that are URLs, by their text.
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
        let Some(Input::Url(url)) = operation.get("input").and_then(Input::read) else { continue };
        let pointer = format!("{pointer}/{index}/input/url");
        if url.len() > URL_BYTES_MAX {
            reader.problem(pointer, format!("is longer than {URL_BYTES_MAX} bytes"));
        } else if let Err(refusal) = (reader.rules.vet_url)(&url) {
            reader.refused(&pointer, refusal, Verdict::SourceForbidden);
        }
    }
}
