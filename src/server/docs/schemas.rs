//! JSON Schemas in the words of a reference: types with their ranges, objects as lists of fields.
//!
//! Owns no page; `docs` asks.

use std::fmt::Write as _;

use serde_json::Value;

use super::super::html::{escape, prose};
use super::{members, text};

/// Deepest object within an object that is written out; deeper ones are called objects.
const DEPTH_MAX: usize = 3;

/// An id made of a title.
pub(super) fn anchor(title: &str) -> String {
    title
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .collect()
}

/// Every schema of the document.
pub(super) fn all(document: &Value) -> String {
    let mut body = String::new();
    for (name, schema) in members(&document["components"]["schemas"]) {
        let inside = if schema.get("properties").is_some() {
            fields(schema)
        } else {
            format!("<p class=\"type\">{}</p>\n", type_of(schema))
        };
        let _always_ok = writeln!(
            body,
            "<article class=\"panel card\" id=\"schema-{}\"><h3>{}</h3>\n<p>{}</p>\n{inside}</article>",
            anchor(name),
            escape(name),
            prose(text(&schema["description"])),
        );
    }
    body
}

/// The fields of an object.
pub(super) fn fields(schema: &Value) -> String {
    fields_at(schema, 0)
}

fn fields_at(schema: &Value, depth: usize) -> String {
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|known| known == name))
    };
    let mut list = String::new();
    for (name, property) in
        members(&schema["properties"]).filter(|(_, property)| property.get("const").is_none())
    {
        let must = if required(name) { " <span class=\"must\">required</span>" } else { "" };
        let _always_ok = writeln!(
            list,
            "<dt><code>{}</code>{must}</dt><dd>{} <span class=\"type\">{}{}</span>{}</dd>",
            escape(name),
            prose(text(&property["description"])),
            type_of(property),
            default_of(property),
            nested(property, depth),
        );
    }
    if list.is_empty() { String::new() } else { format!("<dl class=\"fields\">\n{list}</dl>\n") }
}

/// The fields of an object inside of another, or of a list's items.
fn nested(property: &Value, depth: usize) -> String {
    let inner = if property["items"].is_object() { &property["items"] } else { property };
    if depth < DEPTH_MAX && inner.get("properties").is_some() {
        fields_at(inner, depth + 1)
    } else {
        String::new()
    }
}

fn default_of(schema: &Value) -> String {
    match &schema["default"] {
        Value::Null => String::new(),
        default => format!(", default <code>{}</code>", escape(&plain(default))),
    }
}

/// A value as one writes it: text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The type of a value, with what bounds it, as HTML.
pub(super) fn type_of(schema: &Value) -> String {
    if let Some(target) = schema["$ref"].as_str() {
        let name = target.rsplit('/').next().unwrap_or_default();
        return format!("<a href=\"#schema-{}\">{}</a>", anchor(name), escape(name));
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> =
            words.iter().map(|word| format!("<code>{}</code>", escape(&plain(word)))).collect();
        return words.join(" | ");
    }
    if let Some(value) = schema.get("const") {
        return format!("<code>{}</code>", escape(&plain(value)));
    }
    for word in ["oneOf", "anyOf"] {
        if let Some(branches) = schema[word].as_array() {
            return alternatives(branches);
        }
    }
    match &schema["type"] {
        Value::Array(types) => {
            types.iter().map(|name| one(text(name), schema)).collect::<Vec<_>>().join(" or ")
        }
        Value::String(name) => one(name, schema),
        _ => "anything".to_owned(),
    }
}

fn alternatives(branches: &[Value]) -> String {
    let named =
        branches.iter().filter(|branch| branch["title"].is_string() && branch.get("properties").is_some());
    let names: Vec<String> = named
        .map(|branch| text(&branch["title"]))
        .map(|name| format!("<a href=\"#op-{0}\">{0}</a>", escape(name)))
        .collect();
    if names.len() == branches.len() {
        return names.join(" | ");
    }
    branches.iter().map(type_of).collect::<Vec<_>>().join(" or ")
}

/// A type by its name.
fn one(name: &str, schema: &Value) -> String {
    match name {
        "array" => {
            let most =
                schema["maxItems"].as_u64().map(|most| format!(", at most {most}")).unwrap_or_default();
            format!("list of {}{most}", type_of(&schema["items"]))
        }
        "object" => match schema.get("additionalProperties") {
            Some(values) if values.is_object() => format!("object of {}", type_of(values)),
            _ => "object".to_owned(),
        },
        "integer" | "number" => {
            format!("{}{}", if name == "integer" { "whole number" } else { "number" }, range(schema))
        }
        "string" => {
            match (schema["format"].as_str(), schema["pattern"].as_str(), schema["maxLength"].as_u64()) {
                (Some(format), ..) => format!("text ({})", escape(format)),
                (None, Some(pattern), _) => format!("text like <code>{}</code>", escape(pattern)),
                (None, None, Some(most)) => format!("text, at most {most} bytes"),
                _ => "text".to_owned(),
            }
        }
        "boolean" => "true or false".to_owned(),
        other => escape(other),
    }
}

fn range(schema: &Value) -> String {
    match (&schema["minimum"], &schema["maximum"]) {
        (Value::Null, Value::Null) => String::new(),
        (least, Value::Null) => format!(", from {least}"),
        (Value::Null, most) => format!(", up to {most}"),
        (least, most) => format!(", {least} to {most}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_told_in_words() {
        for (schema, words) in [
            (json!({"type": "integer", "minimum": 1, "maximum": 9}), "whole number, 1 to 9"),
            (json!({"type": ["string", "null"]}), "text or null"),
            (json!({"enum": ["a", "b"]}), "<code>a</code> | <code>b</code>"),
            (json!({"$ref": "#/components/schemas/JobView"}), "<a href=\"#schema-jobview\">JobView</a>"),
            (
                json!({"type": "array", "items": {"type": "boolean"}, "maxItems": 3}),
                "list of true or false, at most 3",
            ),
            (json!({"oneOf": [{"type": "number"}, {"const": "max"}]}), "number or <code>max</code>"),
        ] {
            assert_eq!(type_of(&schema), words);
        }
    }
}
