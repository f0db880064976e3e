//! The raw form: a job specification in the query, the image as the body.
//!
//! Turns query parameters into the JSON document that [`super::spec::read`] reads, so that both forms have one set of rules, and maps the
//! pointers of its mistakes back to parameter names. Called by `server` at submit.

use serde_json::{Map, Value, json};

use super::spec::{FIELDS, Rejected};
use crate::pipeline::output::OUTPUT_PARAMS;
use crate::pipeline::params::{self, Kind, Param};
use crate::pipeline::{Problem, Warning, ops};

/// Longest `wait` in seconds.
pub const WAIT_SECONDS_MAX: u64 = 60;

/// Parameters of the request itself, beside the specification.
pub const CONTROLS: &[Param] = &[
    Param {
        name: "dry_run",
        kind: Kind::Boolean,
        default: Some("false"),
        doc: "Answer with the plan and store nothing.",
    },
    Param {
        name: "wait",
        kind: Kind::Integer { min: 0, max: WAIT_SECONDS_MAX as i64 },
        default: None,
        doc: "Seconds to wait for the job's end before answering.",
    },
];

/// Parameters of `resize` that the query has; the rest need JSON.
const RESIZE: [&str; 8] =
    ["width", "height", "fit", "gravity", "enlarge", "dpr", "background", "shrink_on_load"];

/// Fields of a specification that the query has.
const JOB: [&str; 9] =
    ["analyze", "preset", "webhook", "tag", "priority", "run_at", "timeout", "max_attempts", "expires_in"];

/// A query as read: the specification's document and what concerns the request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// The specification as JSON.
    pub document: Value,
    /// Whether only the plan is wanted.
    pub dry_run: bool,
    /// Seconds to wait for the end, at most [`WAIT_SECONDS_MAX`].
    pub wait_seconds: Option<u64>,
    /// Mistakes of names and types.
    pub problems: Vec<Problem>,
    /// What is no mistake, and does nothing.
    pub warnings: Vec<Warning>,
}

/// Every parameter of the raw form, each once.
pub fn raw_params() -> Vec<Param> {
    let mut all: Vec<Param> = Vec::with_capacity(32);
    let resize = ops::registration("resize").map_or(&[] as &[Param], |registration| registration.params);
    let resize = resize.iter().filter(|param| RESIZE.contains(&param.name));
    let output = OUTPUT_PARAMS.iter().filter(|param| is_scalar(param));
    let job = FIELDS.iter().filter(|param| JOB.contains(&param.name));
    for param in resize.chain(output).chain(job).chain(CONTROLS) {
        if !all.iter().any(|known| known.name == param.name) {
            all.push(*param);
        }
    }
    all
}

/// Output options that fit into a query; the one output is named `output`.
fn is_scalar(param: &Param) -> bool {
    param.name != "name" && !matches!(param.kind, Kind::Any)
}

/// Reads the query of the raw form.
pub fn read_raw(query: &str) -> Query {
    let (flat, mut read) = read_flat(query, &raw_params());
    let mut document = Map::new();
    for name in JOB {
        if let Some(value) = flat.get(name) {
            let value = match (name, value.as_str()) {
                ("webhook", _) => json!({"url": value}),
                ("analyze", Some(words)) => words.split(',').map(str::trim).collect(),
                _ => value.clone(),
            };
            document.insert(name.to_owned(), value);
        }
    }
    let mut output =
        pick(&flat, |name| OUTPUT_PARAMS.iter().any(|param| is_scalar(param) && param.name == name));
    let has_size = flat.contains_key("width") || flat.contains_key("height");
    if has_size {
        let mut resize = pick(&flat, |name| RESIZE.contains(&name));
        resize.insert("op".to_owned(), Value::from("resize"));
        output.insert("operations".to_owned(), json!([resize]));
    } else {
        // The colour is also laid behind what is transparent.
        let idle = pick(&flat, |name| RESIZE.contains(&name) && name != "background");
        read.warnings.extend(idle.into_iter().map(|(name, _)| Warning {
            code: "option_ignored",
            detail: format!("{name} says how to scale, and neither width nor height is given"),
            output: None,
        }));
    }
    // A preset's outputs stay unless the query says something about its own; who only wants to know gets none.
    let needs_none = document.contains_key("preset") || document.contains_key("analyze");
    if !output.is_empty() || !needs_none {
        document.insert("outputs".to_owned(), json!([output]));
    }
    read.document = Value::Object(document);
    read
}

/// Reads the query of the other forms, whose specification is JSON.
pub fn read_controls(query: &str) -> Query {
    read_flat(query, CONTROLS).1
}

fn pick(flat: &Map<String, Value>, wanted: impl Fn(&str) -> bool) -> Map<String, Value> {
    flat.iter().filter(|(name, _)| wanted(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The parameters as JSON values, judged one by one.
fn read_flat(query: &str, table: &[Param]) -> (Map<String, Value>, Query) {
    let mut flat = Map::new();
    let mut read = Query::default();
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        let value = match table.iter().find(|param| param.name == name) {
            Some(param) => params::from_text(param, &text),
            None => Value::from(text.as_ref()),
        };
        if flat.insert(name.clone().into_owned(), value).is_some() {
            let pointer = format!("/{}", params::escape_pointer_token(&name));
            read.problems.push(Problem { pointer, detail: "is given more than once".to_owned() });
        }
    }
    params::check(&flat, table, &[], "", &mut read.problems);
    read.dry_run = flat.get("dry_run").and_then(Value::as_bool).unwrap_or(false);
    read.wait_seconds =
        flat.get("wait").and_then(Value::as_u64).filter(|seconds| *seconds <= WAIT_SECONDS_MAX);
    (flat, read)
}

/// Adds a specification's mistakes to those of the query, under the names that the query uses and without saying anything twice.
#[must_use]
pub fn merged(query: Vec<Problem>, spec: Option<Rejected>) -> Option<Rejected> {
    let Some(mut rejected) = spec else {
        let verdict = super::spec::Verdict::Invalid;
        return (!query.is_empty()).then_some(Rejected { verdict, problems: query });
    };
    let mut problems = query;
    let mut found_more = false;
    for problem in rejected.problems {
        let pointer = flat_pointer(&problem.pointer);
        if !problems.iter().any(|known| known.pointer == pointer) {
            problems.push(Problem { pointer, detail: problem.detail });
            found_more = true;
        }
    }
    if !found_more || problems.len() > 1 {
        rejected.verdict = super::spec::Verdict::Invalid;
    }
    rejected.problems = problems;
    Some(rejected)
}

/// `/outputs/0/operations/0/width` → `/width`, `/webhook/url` → `/webhook`.
fn flat_pointer(pointer: &str) -> String {
    let rest = pointer.strip_prefix("/outputs/0/operations/0").or_else(|| pointer.strip_prefix("/outputs/0"));
    match rest {
        Some("") | None if pointer.starts_with("/webhook/") => "/webhook".to_owned(),
        Some(rest) => rest.to_owned(),
        None => pointer.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_makes_a_resize_and_the_rest_is_the_output() {
        let query = read_raw("width=800&format=webp&quality=70&tag=a+b&webhook=https%3A%2F%2Fa.example%2F");
        assert_eq!(query.problems, []);
        assert_eq!(
            query.document,
            json!({
                "webhook": {"url": "https://a.example/"}, "tag": "a b",
                "outputs": [{"format": "webp", "quality": 70, "operations": [{"width": 800, "op": "resize"}]}],
            })
        );
    }

    #[test]
    fn without_a_size_there_is_no_resize() {
        assert_eq!(read_raw("fit=cover&format=png").document, json!({"outputs": [{"format": "png"}]}));
        assert_eq!(read_raw("").document, json!({"outputs": [{}]}));
        assert_eq!(read_raw("preset=a").document, json!({"preset": "a"}));
    }

    #[test]
    fn mistakes_are_named_as_the_query_names_them() {
        let query = read_raw("width=0&hieght=3&wait=61&fit=round&format=webp&format=png&dry_run=yes");
        let mut pointers: Vec<&str> = query.problems.iter().map(|problem| problem.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/dry_run", "/fit", "/format", "/hieght", "/wait", "/width"]);
        assert_eq!(query.wait_seconds, None, "nobody waits longer than is allowed");
        assert_eq!(flat_pointer("/outputs/0/operations/0/width"), "/width");
        assert_eq!(flat_pointer("/outputs/0/quality"), "/quality");
        assert_eq!(flat_pointer("/webhook/url"), "/webhook");
        assert_eq!(flat_pointer("/timeout"), "/timeout");
    }

    #[test]
    fn other_forms_take_only_what_concerns_the_request() {
        let query = read_controls("wait=5&dry_run=1&width=3");
        assert_eq!((query.wait_seconds, query.dry_run), (Some(5), true));
        assert_eq!(query.problems.len(), 1);
        assert!(query.problems[0].detail.contains("dry_run, wait"), "{}", query.problems[0].detail);
    }
}
