//! Reading a job specification: JSON in, [`JobSpec`] or every mistake out.
//!
//! Owns the table of a spec's fields ([`FIELDS`]) and the rules between them. Types, ranges and unknown names are judged by the same tables
//! that make the schema ([`super::schema`]) and the capabilities. Never resolves a name, never reads an image. Called by `server` at
//! submit, and by `config` to judge presets at start.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::duration;
use super::fields::{self, Reader};
use super::inputs;
use crate::clock::Timestamp;
use crate::job::{JobSpec, SourceSpec};
use crate::pipeline::ops::Operation;
use crate::pipeline::output::Destination;
use crate::pipeline::params::{self, Kind, Param};
use crate::pipeline::{Analysis, Fonts, OutputSpec, Pipeline, Problem};

/// Most bytes of a specification as JSON.
pub const SPEC_BYTES_MAX: usize = 256 * 1024;
/// Most bytes of a tag.
pub const TAG_BYTES_MAX: usize = 128;
/// Most pairs of metadata.
pub const METADATA_PAIRS_MAX: usize = 50;
/// Most bytes of metadata, names and values together.
pub const METADATA_BYTES_MAX: usize = 8 * 1024;
/// Most attempts that may be asked for.
pub const ATTEMPTS_MAX: u32 = 100;
/// Longest `timeout`.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);
/// Longest `expires_in`.
pub const EXPIRES_IN_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How far ahead `run_at` may lie.
pub const RUN_AT_AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Mistakes told at once; more are only counted.
const PROBLEMS_MAX: usize = 100;

/// The fields of a specification.
pub const FIELDS: &[Param] = &[
    field("source", Kind::Any, None, "Where the image comes from; left out when it comes with the request."),
    field("operations", Kind::Any, None, "Run once, in order, before the operations of every output."),
    field("outputs", Kind::Any, None, "What is made: 1 to 20 results, all from one decode."),
    field("analyze", Kind::Any, None, "What is told of the source; with it, outputs may be left out."),
    field("auto_orient", Kind::Boolean, Some("true"), "Whether the EXIF orientation is applied at decode."),
    field(
        "preset",
        Kind::Text { bytes_max: 128 },
        None,
        "Fields to start from; given ones replace them, outputs all at once.",
    ),
    field("webhook", Kind::Any, None, "Whom to tell when the job has ended."),
    field("priority", Kind::Integer { min: -100, max: 100 }, Some("0"), "Higher first, then oldest first."),
    field("run_at", Kind::Any, None, "Not before this moment (RFC 3339), at most 366 days ahead."),
    field("timeout", Kind::Any, Some("\"60s\""), "Time one attempt may take, fetching included: 1ms to 1h."),
    field(
        "max_attempts",
        Kind::Integer { min: 1, max: ATTEMPTS_MAX as i64 },
        Some("8"),
        "Attempts before a transient failure is final.",
    ),
    field("expires_in", Kind::Any, None, "How long results are kept after success: 1s to 30d."),
    field("tag", Kind::Text { bytes_max: TAG_BYTES_MAX }, None, "Free label to list by."),
    field("metadata", Kind::Any, None, "Up to 50 pairs of text, 8 KiB in all, given back untouched."),
];

const fn field(name: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Param {
    Param { name, kind, default, doc }
}

/// How the image comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With the request.
    Upload,
    /// By `source.url`.
    Url,
}

/// Why an address given in a spec is turned down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It makes no sense.
    Malformed(String),
    /// It points where this server must not reach.
    Forbidden(String),
}

/// Judges a URL by its text.
pub type VetUrl<'a> = dyn Fn(&str) -> Result<(), Refusal> + Sync + 'a;

/// Judges pairs of name and value as request headers.
pub type VetHeaders<'a> = dyn Fn(&[(String, String)]) -> Result<(), Refusal> + Sync + 'a;

/// What a spec is judged by.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The present moment.
    pub now: Timestamp,
    /// Most operations of a job, those of its outputs included.
    pub operations_max: usize,
    /// Most outputs of a job.
    pub outputs_max: usize,
    /// `timeout` when none is given.
    pub timeout_default: Duration,
    /// `max_attempts` when none is given.
    pub max_attempts_default: u32,
    /// Presets by name: a spec's fields.
    pub presets: &'a BTreeMap<String, Value>,
    /// Fonts that may be named.
    pub fonts: &'a Fonts,
    /// Names of the destinations.
    pub destinations: &'a [String],
    /// Judges the text of a URL, without any lookup.
    pub vet_url: &'a VetUrl<'a>,
    /// Judges headers for fetching a source.
    pub vet_headers: &'a VetHeaders<'a>,
}

/// The code under which a spec is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has mistakes.
    Invalid,
    /// Its only mistake is a source that this server must not fetch.
    SourceForbidden,
    /// Its only mistake is a webhook that this server must not call.
    WebhookForbidden,
}

/// A spec that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Under which code.
    pub verdict: Verdict,
    /// Every mistake.
    pub problems: Vec<Problem>,
}

/// Reads a specification. The document may be of any shape and size that its parser let through.
///
/// # Errors
/// [`Rejected`] with every mistake, each with its JSON Pointer.
pub fn read(document: &Value, form: Form, rules: &Rules<'_>) -> Result<JobSpec, Rejected> {
    let mut reader = Reader::new(rules);
    let Some(given) = document.as_object() else {
        reader.problem("", "must be a JSON object such as {\"outputs\":[{\"format\":\"webp\"}]}");
        return Err(reader.rejected());
    };
    let object = with_preset(given, &mut reader);
    params::check(&object, FIELDS, &[], "", &mut reader.problems);
    let source = source(&object, form, &mut reader);
    let pipeline = pipeline(&object, &mut reader);
    inputs::vet(&object, &mut reader);
    let webhook = fields::webhook(&object, &mut reader);
    let run_at = fields::run_at(&object, &mut reader);
    let timeout = fields::duration(&object, "timeout", Duration::from_millis(1), TIMEOUT_MAX, &mut reader);
    let expires_in =
        fields::duration(&object, "expires_in", Duration::from_secs(1), EXPIRES_IN_MAX, &mut reader);
    let metadata = fields::metadata(&object, &mut reader);
    let tag = fields::tag(&object, &mut reader);
    let Some(source) = source.filter(|_| reader.problems.is_empty()) else { return Err(reader.rejected()) };
    let whole = |name: &str| object.get(name).and_then(Value::as_f64);
    Ok(JobSpec {
        source,
        pipeline,
        preset: object.get("preset").and_then(Value::as_str).map(str::to_owned),
        webhook,
        priority: whole("priority").map_or(0, |priority| priority as i8),
        run_at,
        timeout: timeout.unwrap_or(rules.timeout_default),
        max_attempts: whole("max_attempts").map_or(rules.max_attempts_default, |attempts| attempts as u32),
        expires_in,
        tag,
        metadata,
    })
}

/// Judges the fields of a preset: everything a spec may say, but neither a source nor another preset.
pub fn check_preset(name: &str, fields: &Value, rules: &Rules<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(object) = fields.as_object() else {
        return vec![Problem {
            pointer: String::new(),
            detail: format!("preset {name:?} must be a table of fields"),
        }];
    };
    for field in ["source", "preset"] {
        if object.contains_key(field) {
            problems.push(Problem {
                pointer: format!("/{field}"),
                detail: "can't be part of a preset".to_owned(),
            });
        }
    }
    let mut complete = object.clone();
    complete.retain(|field, _| field != "source" && field != "preset");
    if !complete.contains_key("outputs") {
        complete.insert("outputs".to_owned(), serde_json::json!([{}]));
    }
    if let Err(rejected) = read(&Value::Object(complete), Form::Upload, rules) {
        problems.extend(rejected.problems);
    }
    problems
}

/// The preset whose outputs a specification replaces with its own.
pub fn replaced_outputs<'a>(given: &'a Value, rules: &Rules<'_>) -> Option<&'a str> {
    let name = given.get("preset")?.as_str()?;
    let preset = rules.presets.get(name)?;
    (given.get("outputs").is_some() && preset.get("outputs").is_some()).then_some(name)
}

/// The fields as given, over those of the preset they name. A `null` counts as left out.
fn with_preset<'a>(given: &'a Map<String, Value>, reader: &mut Reader<'_>) -> Cow<'a, Map<String, Value>> {
    let Some(name) = given.get("preset").and_then(Value::as_str) else { return Cow::Borrowed(given) };
    let Some(preset) = reader.rules.presets.get(name) else {
        let valid: Vec<&str> = reader.rules.presets.keys().map(String::as_str).collect();
        let detail = if valid.is_empty() {
            format!("unknown preset {:?}; this server has none", name.chars().take(64).collect::<String>())
        } else {
            params::unknown("preset", name, &valid)
        };
        reader.problem("/preset", detail);
        // The outputs that it would have brought are not missed beside it.
        let mut given = given.clone();
        given.entry("outputs").or_insert_with(|| serde_json::json!([{}]));
        return Cow::Owned(given);
    };
    let mut merged = preset.as_object().cloned().unwrap_or_default();
    for (field, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        merged.insert(field.clone(), value.clone());
    }
    Cow::Owned(merged)
}

fn source(object: &Map<String, Value>, form: Form, reader: &mut Reader<'_>) -> Option<SourceSpec> {
    let given = object.get("source").filter(|value| !value.is_null());
    match (form, given) {
        (Form::Upload, None) => Some(SourceSpec::Upload),
        (Form::Upload, Some(_)) => {
            reader.problem("/source", "the image comes with this request: leave `source` out");
            None
        }
        (Form::Url, None) => {
            let detail = "is required in a JSON request: {\"url\":\"https://…\"}. To send the image itself, make it the \
                          body of the request or send multipart/form-data";
            reader.problem("/source", detail);
            None
        }
        (Form::Url, Some(value)) => fields::source(value, reader),
    }
}

fn pipeline(object: &Map<String, Value>, reader: &mut Reader<'_>) -> Pipeline {
    let outputs = object.get("outputs").filter(|value| !value.is_null());
    let operations = object.get("operations").filter(|value| !value.is_null());
    let in_outputs = outputs.and_then(Value::as_array).into_iter().flatten();
    let lists = in_outputs.map(|output| list_length(output.get("operations")));
    let lists: Vec<usize> = std::iter::once(list_length(operations)).chain(lists).collect();
    let count: usize = lists.iter().sum();
    let mut pipeline = Pipeline {
        auto_orient: object.get("auto_orient").and_then(Value::as_bool).unwrap_or(true),
        ..Pipeline::default()
    };
    if count > reader.rules.operations_max {
        let most = reader.rules.operations_max;
        let pointer = longest_list(&lists);
        reader.problem(pointer, format!("a job has at most {most} operations in all, not {count}"));
        return pipeline;
    }
    if let Some(operations) = operations {
        pipeline.operations = Operation::read_list(operations, "/operations", &mut reader.problems);
    }
    if let Some(items) = object.get("analyze").filter(|value| !value.is_null()) {
        pipeline.analyze = Analysis::read_list(items, "/analyze", &mut reader.problems);
    }
    let analyzes = list_length(object.get("analyze")) > 0;
    if analyzes && list_length(outputs) == 0 && outputs.is_none_or(Value::is_array) {
        if list_length(operations) > 0 {
            reader.problem("/operations", "do nothing without outputs: analyze looks at the source as it is");
        }
        return pipeline;
    }
    pipeline.outputs = read_outputs(outputs, reader);
    pipeline
}

/// Where most of the operations stand: in the job's own list (the first length), or in that of an output.
fn longest_list(lengths: &[usize]) -> String {
    // Of equals the last is taken: from behind, so that the job's own list comes before those of its outputs.
    match lengths.iter().enumerate().rev().max_by_key(|(_, length)| **length) {
        None | Some((0, _)) => "/operations".to_owned(),
        Some((index, _)) => format!("/outputs/{}/operations", index - 1),
    }
}

fn list_length(value: Option<&Value>) -> usize {
    value.and_then(Value::as_array).map_or(0, Vec::len)
}

fn read_outputs(outputs: Option<&Value>, reader: &mut Reader<'_>) -> Vec<OutputSpec> {
    let most = reader.rules.outputs_max;
    let list = match outputs.and_then(Value::as_array) {
        Some(list) if (1..=most).contains(&list.len()) => list,
        _ => {
            let came = outputs
                .and_then(Value::as_array)
                .map_or_else(String::new, |list| format!(", not {}", list.len()));
            let detail =
                format!("must be a list of 1 to {most} outputs such as [{{\"format\":\"webp\"}}]{came}");
            reader.problem("/outputs", detail);
            return Vec::new();
        }
    };
    let given: Vec<&str> = list.iter().filter_map(|value| value.get("name")?.as_str()).collect();
    let mut read: Vec<OutputSpec> = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let pointer = format!("/outputs/{index}");
        let Some(mut output) = OutputSpec::read(value, index, &pointer, &mut reader.problems) else {
            continue;
        };
        let is_named = value.get("name").is_some_and(|name| !name.is_null());
        if !is_named && given.contains(&output.name.as_str()) {
            let taken = read.iter().map(|earlier| earlier.name.as_str()).chain(given.iter().copied());
            output.name = free_name(&taken.collect::<Vec<_>>(), list.len());
        }
        if read.iter().any(|earlier| earlier.name == output.name) {
            let detail = format!("the name {:?} is taken by an output before this one", output.name);
            reader.problem(format!("{pointer}/name"), detail);
        }
        if let Some(destination) = &output.destination {
            known_destination(destination, &read, &pointer, reader);
        }
        read.push(output);
    }
    read
}

/// A default name for an output whose own default somebody else was given: the next number that nobody has.
fn free_name(taken: &[&str], outputs: usize) -> String {
    let mut names = (outputs + 1..).map(|number| format!("output-{number}"));
    names.find(|name| !taken.contains(&name.as_str())).expect("there are more numbers than outputs")
}

/// A destination must be there, and its key not be another output's.
fn known_destination(wanted: &Destination, earlier: &[OutputSpec], pointer: &str, reader: &mut Reader<'_>) {
    let valid: Vec<&str> = reader.rules.destinations.iter().map(String::as_str).collect();
    if !valid.contains(&wanted.name.as_str()) {
        let detail = match valid.is_empty() {
            true => "this server has no destinations; they are named in its settings".to_owned(),
            false => params::unknown("destination", &wanted.name, &valid),
        };
        reader.problem(format!("{pointer}/destination/name"), detail);
    } else if earlier.iter().any(|output| output.destination.as_ref() == Some(wanted)) {
        let detail = "an output before this one is delivered there";
        reader.problem(format!("{pointer}/destination/key"), detail);
    }
}

/// Cuts the list of mistakes to a length that can be answered.
pub(super) fn capped(mut problems: Vec<Problem>) -> Vec<Problem> {
    if problems.len() > PROBLEMS_MAX {
        let more = problems.len() - PROBLEMS_MAX;
        problems.truncate(PROBLEMS_MAX);
        problems.push(Problem { pointer: String::new(), detail: format!("and {more} more mistakes") });
    }
    problems
}

/// How a duration is spelled in answers: the inverse of what `timeout` and `expires_in` read.
pub fn spell_duration(duration: Duration) -> String {
    duration::spell(duration)
}
