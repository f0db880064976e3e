//! Parameters as data: one table per operation (and one for the output options) gives validation, JSON Schema and documentation.
//!
//! Owns the check of types, ranges, words and unknown names; rules between several fields belong to the operation itself. Reports every
//! mistake with its JSON Pointer, never only the first. Called by `ops` and `output`, and by `api` for the documents it reads itself.

use serde_json::{Map, Value, json};

use super::{
    assets::Input,
    color, gravity,
    gravity::Gravity,
    length::{AspectRatio, Length, Offset, whole},
    region,
};

/// Something wrong with a spec, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// JSON Pointer (RFC 6901) into the document that was read.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Name in JSON and in the query.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Default as JSON text; `None` when leaving it out means something that is not a value.
    pub default: Option<&'static str>,
    /// One sentence with units.
    pub doc: &'static str,
}

/// The values a parameter takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Whole number in an inclusive range.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// Number in an inclusive range.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// CSS hex or CSS colour name.
    Color,
    /// Compass word or focal point.
    Gravity,
    /// Pixels (an integer in the range) or a percentage string such as `"50%"`.
    Length {
        /// Smallest number of pixels.
        min: i64,
        /// Largest number of pixels.
        max: i64,
    },
    /// A length, or one word that stands for one.
    LengthOr {
        /// Smallest number of pixels.
        min: i64,
        /// Largest number of pixels.
        max: i64,
        /// The word.
        word: &'static str,
    },
    /// A list of rectangles `{"left", "top", "width", "height"}`, each side a length.
    Regions,
    /// Pixels either way, or a percentage string such as `"-5%"`.
    Offset {
        /// Largest number of pixels, either way.
        most: i64,
    },
    /// The name of an asset, or `{"url": "https://…"}`.
    Input,
    /// A ratio such as `"16:9"`.
    AspectRatio,
    /// Text of at most so many bytes.
    Text {
        /// Most bytes of UTF-8.
        bytes_max: usize,
    },
    /// Anything; the owner of the table reads it by itself.
    Any,
}

/// Checks the fields of `object` against a table and reports every mistake: wrong types, values out of range, unknown words, unknown names.
/// `also` lists further names that are allowed and are read by the caller; `pointer` is where the object itself lies. A `null` counts as left out.
pub fn check(
    object: &Map<String, Value>,
    params: &[Param],
    also: &[&str],
    pointer: &str,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in object {
        let at = || format!("{pointer}/{}", escape_pointer_token(name));
        if let Some(param) = params.iter().find(|param| param.name == name) {
            if let Some(detail) = (!value.is_null()).then(|| mistake(param.kind, value)).flatten() {
                problems.push(Problem { pointer: at(), detail });
            }
        } else if !also.contains(&name.as_str()) {
            let valid: Vec<&str> =
                also.iter().copied().chain(params.iter().map(|param| param.name)).collect();
            problems.push(Problem { pointer: at(), detail: unknown("parameter", name, &valid) });
        }
    }
}

/// The sentence for a name that is not known: what was probably meant, and every valid name.
pub fn unknown(what: &str, name: &str, valid: &[&str]) -> String {
    let shown: String = name.chars().take(64).collect();
    let list = valid.join(", ");
    match nearest(name, valid) {
        Some(meant) => format!("unknown {what} {shown:?}; did you mean {meant:?}? Valid: {list}"),
        None => format!("unknown {what} {shown:?}. Valid: {list}"),
    }
}

/// What is wrong with a value of this kind, or `None`.
fn mistake(kind: Kind, value: &Value) -> Option<String> {
    let expected = match kind {
        Kind::Integer { min, max } => {
            if whole(value).is_some_and(|number| (min..=max).contains(&number)) {
                return None;
            }
            format!("must be a whole number from {min} to {max}")
        }
        Kind::Number { min, max } => {
            if value.as_f64().is_some_and(|number| (min..=max).contains(&number)) {
                return None;
            }
            format!("must be a number from {min} to {max}")
        }
        Kind::Boolean => (!value.is_boolean()).then(|| "must be true or false".to_owned())?,
        Kind::Choice(words) => match value.as_str() {
            Some(word) if words.contains(&word) => return None,
            Some(word) => return Some(unknown("value", word, words)),
            None => format!("must be one of {}", words.join(", ")),
        },
        Kind::Color => match value.as_str() {
            Some(text) if color::parse(text).is_some() => return None,
            _ => {
                "must be a colour: #rgb, #rgba, #rrggbb, #rrggbbaa or a CSS name such as \"white\"".to_owned()
            }
        },
        Kind::Gravity => match (Gravity::read(value), value) {
            (Some(_), _) => return None,
            (None, Value::String(word)) => {
                return Some(format!(
                    "{}, or a focal point such as {{\"x\":0.5,\"y\":0.3}}",
                    unknown("gravity", word, &gravity::WORDS)
                ));
            }
            _ => format!(
                "must be one of {}, or a focal point {{\"x\":0..1,\"y\":0..1}}",
                gravity::WORDS.join(", ")
            ),
        },
        Kind::Length { min, max } => match Length::read(value) {
            Some(Length::Percent(share)) if share > 0.0 || min == 0 => return None,
            Some(Length::Pixels(pixels)) if (min..=max).contains(&i64::from(pixels)) => return None,
            _ => format!(
                "must be a whole number of pixels from {min} to {max}, or a percentage{} such as \"50%\"",
                if min > 0 { " above 0" } else { "" }
            ),
        },
        Kind::LengthOr { min, max, word } => {
            if value == word {
                return None;
            }
            return mistake(Kind::Length { min, max }, value).map(|detail| format!("{detail}; or {word:?}"));
        }
        Kind::Regions => return region::mistake(value),
        Kind::Offset { most } => match Offset::read(value) {
            Some(Offset::Percent(_)) => return None,
            Some(Offset::Pixels(pixels)) if i64::from(pixels).abs() <= most => return None,
            _ => format!(
                "must be a whole number of pixels from -{most} to {most}, or a percentage such as \"-5%\""
            ),
        },
        Kind::Input => match Input::read(value) {
            Some(_) => return None,
            None => "must be the name of an asset (a to z, 0 to 9, _ and -, at most 64), or {\"url\":\"https://…\"}".to_owned(),
        },
        Kind::AspectRatio => match value.as_str() {
            Some(text) if AspectRatio::parse(text).is_some() => return None,
            _ => format!(
                "must be a ratio of two whole numbers up to {} such as \"16:9\"",
                AspectRatio::PARTS_MAX
            ),
        },
        Kind::Text { bytes_max } => match value.as_str() {
            Some(text) if text.len() <= bytes_max => return None,
            _ => format!("must be text of at most {bytes_max} bytes"),
        },
        Kind::Any => return None,
    };
    Some(format!("{expected}, not {}", show(value)))
}

/// A checked object in the form that serde takes: without `null`s, whole numbers as such also where they were written `800.0`.
pub fn plain(object: &Map<String, Value>, params: &[Param]) -> Map<String, Value> {
    let plain = |name: &String, value: &Value| match params
        .iter()
        .find(|param| param.name == name)
        .map(|param| param.kind)
    {
        Some(Kind::Integer { .. } | Kind::Offset { .. }) => {
            whole(value).map_or_else(|| value.clone(), Value::from)
        }
        _ => value.clone(),
    };
    object
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), plain(name, value)))
        .collect()
}

/// A value cut to what fits into a sentence.
fn show(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.len() > 64 => "a long text".to_owned(),
        other => other.to_string(),
    }
}

/// The valid name at most two edits away (one for short names), if there is one.
fn nearest<'a>(name: &str, valid: &[&'a str]) -> Option<&'a str> {
    if name.len() > 64 {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    let near = |candidate: &str| if candidate.len() <= 4 { 1 } else { 2 };
    valid
        .iter()
        .map(|candidate| (distance(&name, candidate), *candidate))
        .filter(|(edits, candidate)| *edits <= near(candidate))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace) between two short texts: Levenshtein's recurrence, one row at a time.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

/// JSON Schema (2020-12) of an object with these parameters: `{"type":"object","properties":…,"additionalProperties":false}`.
pub fn schema(params: &[Param]) -> Value {
    let properties: Map<String, Value> =
        params.iter().map(|param| (param.name.to_owned(), param_schema(param))).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

/// JSON Schema of one parameter, with its description and default.
fn param_schema(param: &Param) -> Value {
    let mut schema = match param.kind {
        Kind::Integer { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Number { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Choice(words) => json!({"type": "string", "enum": words}),
        Kind::Color => json!({"type": "string", "examples": ["#ffffff", "#00000080", "rebeccapurple"]}),
        Kind::Gravity => json!({"oneOf": [
            {"type": "string", "enum": gravity::WORDS},
            {"type": "object", "required": ["x", "y"], "additionalProperties": false, "properties": {
                "x": {"type": "number", "minimum": 0, "maximum": 1},
                "y": {"type": "number", "minimum": 0, "maximum": 1},
            }},
        ]}),
        Kind::Length { min, max } => length_schema(min, max),
        Kind::LengthOr { min, max, word } => json!({"oneOf": [length_schema(min, max), {"const": word}]}),
        Kind::Regions => {
            let (start, extent) =
                (length_schema(0, region::PIXELS_MAX), length_schema(1, region::PIXELS_MAX));
            let sides = json!({"left": start, "top": start, "width": extent, "height": extent});
            let item = json!({"type": "object", "properties": sides, "additionalProperties": false,
                "required": ["left", "top", "width", "height"]});
            json!({"type": "array", "minItems": 1, "maxItems": region::REGIONS_MAX, "items": item})
        }
        Kind::Offset { most } => json!({"oneOf": [
            {"type": "integer", "minimum": -most, "maximum": most},
            {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?%$"},
        ]}),
        Kind::Input => json!({"oneOf": [
            {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"},
            {"type": "object", "required": ["url"], "additionalProperties": false, "properties": {
                "url": {"type": "string", "maxLength": 8192},
            }},
        ]}),
        Kind::AspectRatio => json!({"type": "string", "pattern": "^[0-9]+:[0-9]+$"}),
        Kind::Text { bytes_max } => json!({"type": "string", "maxLength": bytes_max}),
        Kind::Any => json!({}),
    };
    schema["description"] = Value::from(param.doc);
    if let Some(default) = param.default.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        schema["default"] = default;
    }
    schema
}

fn length_schema(min: i64, max: i64) -> Value {
    let share = match min {
        ..=0 => "^[0-9]+(\\.[0-9]+)?%$",
        _ => "^([0-9]*[1-9][0-9]*(\\.[0-9]+)?|[0-9]+\\.[0-9]*[1-9][0-9]*)%$",
    };
    json!({"oneOf": [
        {"type": "integer", "minimum": min, "maximum": max},
        {"type": "string", "pattern": share},
    ]})
}

/// A value from a query string as JSON of the parameter's kind: `800`, `true` or `1`, `50%`, `north`, `0.5,0.3` or `{"x":0.5,"y":0.3}` (a focal
/// point). What does not parse stays text, so that [`check`] reports it.
pub fn from_text(param: &Param, text: &str) -> Value {
    let number = || text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number);
    let integer = || text.parse::<i64>().ok().map(Value::from);
    let read = match param.kind {
        Kind::Integer { .. } | Kind::Length { .. } | Kind::LengthOr { .. } | Kind::Offset { .. } => integer(),
        Kind::Number { .. } => integer().or_else(number),
        Kind::Boolean => match text {
            "true" | "1" => Some(Value::Bool(true)),
            "false" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        Kind::Gravity if text.starts_with('{') => serde_json::from_str(text).ok(),
        Kind::Gravity => text.split_once(',').and_then(|(x, y)| {
            Some(json!({"x": x.trim().parse::<f64>().ok()?, "y": y.trim().parse::<f64>().ok()?}))
        }),
        Kind::Choice(_)
        | Kind::Color
        | Kind::AspectRatio
        | Kind::Regions
        | Kind::Input
        | Kind::Text { .. }
        | Kind::Any => None,
    };
    read.unwrap_or_else(|| Value::from(text))
}

/// One token of a JSON Pointer, escaped as RFC 6901 §3 says (`~` → `~0`, `/` → `~1`) and cut to 64 characters.
pub fn escape_pointer_token(token: &str) -> String {
    token.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Param] = &[
        Param { name: "width", kind: Kind::Integer { min: 1, max: 100 }, default: None, doc: "Width." },
        Param { name: "dpr", kind: Kind::Number { min: 0.1, max: 8.0 }, default: Some("1"), doc: "Ratio." },
        Param { name: "enlarge", kind: Kind::Boolean, default: Some("false"), doc: "Grow." },
        Param {
            name: "fit",
            kind: Kind::Choice(&["inside", "cover"]),
            default: Some("\"inside\""),
            doc: "Fit.",
        },
        Param { name: "gravity", kind: Kind::Gravity, default: Some("\"center\""), doc: "Where." },
        Param { name: "background", kind: Kind::Color, default: None, doc: "Colour." },
        Param { name: "left", kind: Kind::Length { min: 0, max: 9 }, default: None, doc: "Left." },
        Param { name: "aspect_ratio", kind: Kind::AspectRatio, default: None, doc: "Ratio." },
        Param { name: "filename", kind: Kind::Text { bytes_max: 4 }, default: None, doc: "Name." },
    ];

    fn problems(value: Value) -> Vec<Problem> {
        let mut problems = Vec::new();
        check(value.as_object().unwrap(), TABLE, &["op"], "/operations/0", &mut problems);
        problems
    }

    #[test]
    fn right_values_pass() {
        let right = json!({"op": "x", "width": 100, "dpr": 1, "enlarge": true, "fit": "cover", "gravity": {"x": 0.5, "y": 1},
            "background": "#fff", "left": "50%", "aspect_ratio": "4:3", "filename": null});
        assert_eq!(problems(right), []);
        assert_eq!(problems(json!({"width": 100.0})), []);
    }

    #[test]
    fn every_mistake_is_reported_with_its_pointer() {
        let wrong = json!({"width": 0, "dpr": "2", "enlarge": 1, "fit": "coverr", "gravity": "smartt", "background": 3, "left": 10,
            "aspect_ratio": "4", "filename": "too long", "hieght": 3, "a/b~c": 1});
        let found = problems(wrong);
        let pointers: Vec<&str> = found.iter().map(|problem| problem.pointer.as_str()).collect();
        let names = [
            "width",
            "dpr",
            "enlarge",
            "fit",
            "gravity",
            "background",
            "left",
            "aspect_ratio",
            "filename",
            "hieght",
            "a~1b~0c",
        ];
        assert_eq!(pointers, names.map(|name| format!("/operations/0/{name}")));
        assert!(found[3].detail.contains("did you mean \"cover\""), "{}", found[3].detail);
        assert!(found[4].detail.contains("northwest"), "{}", found[4].detail);
        assert!(found[9].detail.contains("Valid: op, width, dpr"), "{}", found[9].detail);
    }

    #[test]
    fn text_becomes_json_by_kind() {
        let read =
            |name: &str, text: &str| from_text(TABLE.iter().find(|param| param.name == name).unwrap(), text);
        assert_eq!(read("width", "80"), json!(80));
        assert_eq!(read("width", "8x"), json!("8x"));
        assert_eq!(read("dpr", "1.5"), json!(1.5));
        assert_eq!(read("enlarge", "1"), json!(true));
        assert_eq!(read("gravity", "0.5,0.25"), json!({"x": 0.5, "y": 0.25}));
        assert_eq!(read("gravity", r#"{"x": 0.5, "y": 0.25}"#), json!({"x": 0.5, "y": 0.25}));
        assert_eq!(read("gravity", "{x}"), json!("{x}"));
        assert_eq!(read("left", "50%"), json!("50%"));
        assert_eq!(read("background", "#fff"), json!("#fff"));
    }

    #[test]
    fn schemas_carry_bounds_defaults_and_descriptions() {
        let schema = schema(TABLE);
        assert_eq!(
            schema["properties"]["width"],
            json!({"type": "integer", "minimum": 1, "maximum": 100, "description": "Width."})
        );
        assert_eq!(schema["properties"]["fit"]["default"], json!("inside"));
    }
}
