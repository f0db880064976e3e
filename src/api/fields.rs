//! The fields of a specification that are more than one value: source, webhook, times, metadata.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::duration;
use super::spec::{
    self, METADATA_BYTES_MAX, METADATA_PAIRS_MAX, RUN_AT_AHEAD_MAX, Refusal, Rejected, Rules, Verdict,
};
use crate::clock::Timestamp;
use crate::job::{Event, Header, SourceSpec, WebhookSpec};
use crate::pipeline::Problem;
use crate::pipeline::params::{self, Kind, Param};

/// Most bytes of a URL that is looked at; more precise rules are the address guard's.
pub(super) const URL_BYTES_MAX: usize = 8 * 1024;

/// The fields of `source`.
pub(super) const SOURCE: &[Param] = &[
    Param {
        name: "url",
        kind: Kind::Text { bytes_max: URL_BYTES_MAX },
        default: None,
        doc: "http or https, with a public address. Fetched inside the job.",
    },
    Param {
        name: "headers",
        kind: Kind::Any,
        default: None,
        doc: "Sent with that request; erased once the source is stored, never shown.",
    },
];

/// The fields of `webhook`.
pub(super) const WEBHOOK: &[Param] = &[
    Param {
        name: "url",
        kind: Kind::Text { bytes_max: URL_BYTES_MAX },
        default: None,
        doc: "http or https, with a public address.",
    },
    Param {
        name: "events",
        kind: Kind::Any,
        default: None,
        doc: "Events to be told; all of them by default.",
    },
];

/// What is gathered while a spec is read.
pub(super) struct Reader<'a> {
    pub(super) rules: &'a Rules<'a>,
    pub(super) problems: Vec<Problem>,
    /// How many of the problems are addresses that must not be reached, and what the first of them is.
    forbidden: usize,
    verdict: Verdict,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rules: &'a Rules<'a>) -> Reader<'a> {
        Reader { rules, problems: Vec::new(), forbidden: 0, verdict: Verdict::Invalid }
    }

    pub(super) fn problem(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.problems.push(Problem { pointer: pointer.into(), detail: detail.into() });
    }

    pub(super) fn refused(&mut self, pointer: &str, refusal: Refusal, verdict: Verdict) {
        match refusal {
            Refusal::Malformed(detail) => self.problem(pointer, detail),
            Refusal::Forbidden(detail) => {
                self.problem(pointer, detail);
                if self.forbidden == 0 {
                    self.verdict = verdict;
                }
                self.forbidden += 1;
            }
        }
    }

    pub(super) fn rejected(self) -> Rejected {
        let only_forbidden = self.forbidden == self.problems.len();
        let verdict = if only_forbidden { self.verdict } else { Verdict::Invalid };
        Rejected { verdict, problems: spec::capped(self.problems) }
    }

    /// Checks an object's fields against a table; `None` when it is no object.
    fn object<'v>(
        &mut self,
        value: &'v Value,
        params: &[Param],
        pointer: &str,
        example: &str,
    ) -> Option<&'v Map<String, Value>> {
        match value.as_object() {
            Some(object) => {
                params::check(object, params, &[], pointer, &mut self.problems);
                Some(object)
            }
            None => {
                self.problem(pointer, format!("must be an object such as {example}"));
                None
            }
        }
    }

    /// The vetted `url` of an object.
    fn url(&mut self, object: &Map<String, Value>, pointer: &str, verdict: Verdict) -> Option<String> {
        let pointer = format!("{pointer}/url");
        match object.get("url") {
            None | Some(Value::Null) => {
                self.problem(pointer, "is required");
                None
            }
            // Another type, or too long: the table has said so.
            Some(value) => {
                let url = value.as_str().filter(|url| url.len() <= URL_BYTES_MAX)?;
                if let Err(refusal) = (self.rules.vet_url)(url) {
                    self.refused(&pointer, refusal, verdict);
                }
                Some(url.to_owned())
            }
        }
    }
}

/// `source` of a JSON request.
pub(super) fn source(value: &Value, reader: &mut Reader<'_>) -> Option<SourceSpec> {
    let example = "{\"url\":\"https://example.com/photo.jpg\"}";
    let object = reader.object(value, SOURCE, "/source", example)?;
    let url = reader.url(object, "/source", Verdict::SourceForbidden);
    let headers = source_headers(object.get("headers"), reader);
    Some(SourceSpec::Url { url: url?, headers })
}

fn source_headers(value: Option<&Value>, reader: &mut Reader<'_>) -> Vec<Header> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Vec::new() };
    let pointer = "/source/headers";
    let Some(pairs) = text_pairs(value) else {
        reader.problem(pointer, "must be an object of texts such as {\"authorization\":\"Bearer …\"}");
        return Vec::new();
    };
    if let Err(refusal) = (reader.rules.vet_headers)(&pairs) {
        reader.refused(pointer, refusal, Verdict::SourceForbidden);
    }
    pairs.into_iter().map(|(name, value)| Header { name: name.to_ascii_lowercase(), value }).collect()
}

/// The pairs of an object whose values are all text.
fn text_pairs(value: &Value) -> Option<Vec<(String, String)>> {
    let pair = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    value.as_object()?.iter().map(pair).collect()
}

/// `webhook`.
pub(super) fn webhook(object: &Map<String, Value>, reader: &mut Reader<'_>) -> Option<WebhookSpec> {
    let value = object.get("webhook").filter(|value| !value.is_null())?;
    let example = "{\"url\":\"https://example.com/hook\"}";
    let webhook = reader.object(value, WEBHOOK, "/webhook", example)?;
    let url = reader.url(webhook, "/webhook", Verdict::WebhookForbidden);
    let events = events(webhook.get("events"), reader);
    Some(WebhookSpec { url: url?, events })
}

fn events(value: Option<&Value>, reader: &mut Reader<'_>) -> Vec<Event> {
    let names = Event::ALL.map(Event::name);
    let Some(value) = value.filter(|value| !value.is_null()) else { return Event::ALL.to_vec() };
    let Some(list) = value.as_array().filter(|list| (1..=names.len()).contains(&list.len())) else {
        reader.problem("/webhook/events", format!("must be a list of one or more of {}", names.join(", ")));
        return Vec::new();
    };
    let mut events = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let name = value.as_str().unwrap_or_default();
        match Event::from_name(name) {
            Some(event) if !events.contains(&event) => events.push(event),
            Some(_) => {}
            None => {
                reader.problem(format!("/webhook/events/{index}"), params::unknown("event", name, &names));
            }
        }
    }
    events
}

/// `run_at`: a moment, at most so far ahead; one in the past means at once.
pub(super) fn run_at(object: &Map<String, Value>, reader: &mut Reader<'_>) -> Option<Timestamp> {
    let value = object.get("run_at").filter(|value| !value.is_null())?;
    match value.as_str().and_then(Timestamp::parse) {
        Some(moment) if moment <= reader.rules.now.plus(RUN_AT_AHEAD_MAX) => Some(moment),
        Some(_) => {
            reader.problem("/run_at", "lies more than 366 days ahead");
            None
        }
        None => {
            reader.problem("/run_at", "must be a time (RFC 3339) such as \"2026-11-21T12:00:00Z\"");
            None
        }
    }
}

/// A duration within inclusive bounds.
pub(super) fn duration(
    object: &Map<String, Value>,
    name: &str,
    least: Duration,
    most: Duration,
    reader: &mut Reader<'_>,
) -> Option<Duration> {
    let value = object.get(name).filter(|value| !value.is_null())?;
    let read = value.as_str().and_then(duration::parse).filter(|duration| (least..=most).contains(duration));
    if read.is_none() {
        let (least, most) = (duration::spell(least), duration::spell(most));
        let detail =
            format!("must be a duration from {least} to {most}: a whole number and ms, s, m, h or d");
        reader.problem(format!("/{name}"), detail);
    }
    read
}

/// `tag`: the table has judged its length; here what can't be shown on a line.
pub(super) fn tag(object: &Map<String, Value>, reader: &mut Reader<'_>) -> Option<String> {
    let tag = object.get("tag")?.as_str()?;
    if tag.is_empty() || tag.chars().any(char::is_control) {
        reader.problem("/tag", "must be text without control characters, and not empty");
    }
    Some(tag.to_owned())
}

/// `metadata`.
pub(super) fn metadata(object: &Map<String, Value>, reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let Some(value) = object.get("metadata").filter(|value| !value.is_null()) else { return BTreeMap::new() };
    let Some(pairs) = value.as_object() else {
        reader.problem("/metadata", "must be an object of texts such as {\"user_id\":\"42\"}");
        return BTreeMap::new();
    };
    if pairs.len() > METADATA_PAIRS_MAX {
        let detail = format!("has {} pairs; at most {METADATA_PAIRS_MAX} are kept", pairs.len());
        reader.problem("/metadata", detail);
        return BTreeMap::new();
    }
    let mut metadata = BTreeMap::new();
    for (name, value) in pairs {
        match value.as_str() {
            Some(text) => drop(metadata.insert(name.clone(), text.to_owned())),
            None => {
                let pointer = format!("/metadata/{}", params::escape_pointer_token(name));
                reader.problem(pointer, "must be text; write other values as JSON text");
            }
        }
    }
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        let detail = format!("takes {bytes} bytes; at most {METADATA_BYTES_MAX} are kept");
        reader.problem("/metadata", detail);
    }
    metadata
}
