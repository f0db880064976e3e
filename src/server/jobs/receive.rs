//! The three body forms of a submit: what is asked for, and the image if it came along.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hyper::header;
use serde_json::Value;

use super::super::call::Call;
use super::super::config::{Config, Presets};
use super::super::error::{ApiError, Code};
use super::super::multipart;
use super::super::spool::Gathering;
use super::super::state::State;
use super::super::upload::Upload;
use super::inputs;
use crate::api::document;
use crate::api::query::{self, Query};
use crate::api::spec::{self, Refusal, Rejected, Rules, SPEC_BYTES_MAX, Verdict};
use crate::blob::Received;
use crate::clock::Timestamp;
use crate::egress::{self, Egress, Refused, RefusedKind};
use crate::job::JobSpec;
use crate::pipeline::{Assets, Warning};

/// How a submit spells its specification and its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The body is the image, the query the specification.
    Raw,
    /// A form with both as parts.
    Multipart,
    /// The body is the specification, which names the image's URL.
    Json,
}

/// What the query says of the request itself.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    pub(super) dry_run: bool,
    query: Query,
}

/// A submit that was received: a valid specification, and the image unless it must be fetched.
pub(super) struct Request {
    pub(super) spec: JobSpec,
    pub(super) received: Option<Received>,
    pub(super) assets: Vec<(String, Received)>,
    /// Of the query; those of the plan come later.
    pub(super) warnings: Vec<Warning>,
    pub(super) dry_run: bool,
    pub(super) wait: Option<Duration>,
}

/// The form by Content-Type: anything but the two that mean something else is the image.
pub(super) fn form(call: &Call) -> Form {
    let Some(content_type) = call.header(header::CONTENT_TYPE.as_str()) else { return Form::Raw };
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        Form::Json
    } else if media_type.eq_ignore_ascii_case("multipart/form-data") {
        Form::Multipart
    } else {
        Form::Raw
    }
}

impl Form {
    /// Reads the query. A form may carry its specification there as well as the raw body does, as long as it has no part `job`: so its
    /// mistakes are judged later.
    pub(super) fn intent(self, call: &Call) -> Intent {
        let query = match self {
            Form::Raw | Form::Multipart => query::read_raw(call.query()),
            Form::Json => query::read_controls(call.query()),
        };
        Intent { dry_run: query.dry_run, query }
    }
}

/// Receives the body. The specification is judged before the image is read wherever that is possible.
pub(super) async fn receive(call: &mut Call, form: Form, intent: Intent) -> Result<Request, ApiError> {
    let state = Arc::clone(&call.state);
    let arriving = call.body.take();
    let wait = intent.query.wait_seconds.map(Duration::from_secs);
    let dry_run = intent.dry_run;
    let upload = Upload::begin(&state, &call.head, arriving)?;
    let (mut assets, mut warnings) = (Vec::new(), Vec::new());
    let (spec, received) = match form {
        Form::Raw => {
            let spec;
            (spec, warnings) = of_query(&state, intent.query)?;
            (spec, Some(raw(&state, upload).await?))
        }
        Form::Multipart => {
            let controls = query::read_controls(call.query()).problems;
            let read_job = |bytes: &[u8]| of_json(&state, bytes, spec::Form::Upload, controls.clone());
            let form = multipart::read(&state, &call.head, upload, read_job).await?;
            let spec = match form.job {
                Some(spec) => spec,
                None => {
                    let spec;
                    (spec, warnings) = of_query(&state, intent.query)?;
                    spec
                }
            };
            assets = form.assets;
            (spec, Some(form.file))
        }
        Form::Json => {
            let bytes = whole(upload).await?;
            (of_json(&state, &bytes, spec::Form::Url, intent.query.problems)?, None)
        }
    };
    inputs::check(&state, &spec, &assets)?;
    Ok(Request { spec, received, assets, warnings, dry_run, wait })
}

/// The image as the body.
async fn raw(state: &Arc<State>, mut upload: Upload) -> Result<Received, ApiError> {
    let mut gathering = Gathering::new(state);
    while let Some(chunk) = upload.chunk().await? {
        gathering.push(&chunk).await?;
    }
    let mark = upload.finish().await?;
    let received = gathering.finish().await?;
    drop(mark);
    if let Received::Inline(bytes) = &received
        && bytes.trim_ascii_start().starts_with(b"{")
    {
        let detail = "The body is JSON text, not an image. If it is a specification, send it with Content-Type: \
                      application/json.";
        return Err(ApiError::new(Code::UnsupportedFormat, detail));
    }
    Ok(received)
}

/// A specification as the body.
async fn whole(mut upload: Upload) -> Result<BytesMut, ApiError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = upload.chunk().await? {
        if bytes.len() + chunk.len() > SPEC_BYTES_MAX {
            let detail = format!("The specification is larger than {SPEC_BYTES_MAX} bytes.");
            return Err(ApiError::new(Code::BodyTooLarge, detail));
        }
        bytes.extend_from_slice(&chunk);
    }
    drop(upload.finish().await?);
    Ok(bytes)
}

/// The specification, and what a person may want to know of its query.
fn of_query(state: &State, mut query: Query) -> Result<(JobSpec, Vec<Warning>), ApiError> {
    let (judged, replaced) = with_rules(state, |rules| {
        let judged = spec::read(&query.document, spec::Form::Upload, rules);
        (judged, spec::replaced_outputs(&query.document, rules).map(str::to_owned))
    });
    query.warnings.extend(replaced.map(|preset| Warning {
        code: "preset_outputs_replaced",
        detail: format!(
            "the query says what to make, in place of all that the preset {preset:?} would; leave its options of outputs out to get that, or \
             write the outputs in JSON"
        ),
        output: None,
    }));
    match (judged, query.problems) {
        (Ok(spec), problems) if problems.is_empty() => Ok((spec, query.warnings)),
        (judged, problems) => Err(match query::merged(problems, judged.err()) {
            Some(rejected) => rejected.into(),
            None => ApiError::internal("a specification was rejected without a reason"),
        }),
    }
}

fn of_json(
    state: &State,
    bytes: &[u8],
    form: spec::Form,
    query_problems: Vec<crate::pipeline::Problem>,
) -> Result<JobSpec, ApiError> {
    let document: Value = document::read(bytes).map_err(|error| unreadable(bytes, &error))?;
    let judged = with_rules(state, |rules| spec::read(&document, form, rules));
    match judged {
        Ok(spec) if query_problems.is_empty() => Ok(spec),
        Ok(_) => Err(Rejected { verdict: Verdict::Invalid, problems: query_problems }.into()),
        Err(mut rejected) => {
            if !query_problems.is_empty() {
                rejected.verdict = Verdict::Invalid;
                rejected.problems.extend(query_problems);
            }
            Err(rejected.into())
        }
    }
}

fn unreadable(bytes: &[u8], error: &serde_json::Error) -> ApiError {
    let detail = if bytes.is_empty() {
        "The specification is empty.".to_owned()
    } else if error.to_string().starts_with("recursion limit") {
        "The specification is nested too deeply: more than 127 levels.".to_owned()
    } else {
        format!("The specification is not valid JSON: {error}.")
    };
    ApiError::new(Code::InvalidJson, detail)
}

/// Judges under this server's settings.
fn with_rules<T>(state: &State, judge: impl FnOnce(&Rules<'_>) -> T) -> T {
    let services = &state.services;
    let presets = Arc::clone(&services.presets.borrow());
    with_rules_of(&state.config, &presets, &services.egress, &services.assets, services.clock.now(), judge)
}

/// The same for a server that is not running yet.
pub(in crate::server) fn with_rules_of<T>(
    config: &Config,
    presets: &Presets,
    egress: &Egress,
    assets: &Assets,
    now: Timestamp,
    judge: impl FnOnce(&Rules<'_>) -> T,
) -> T {
    judge(&Rules {
        now,
        operations_max: config.operations_max,
        outputs_max: config.outputs_max,
        timeout_default: config.timeout_default,
        max_attempts_default: config.max_attempts_default,
        presets,
        fonts: assets.fonts(),
        destinations: &config.destinations,
        vet_url: &|url| egress.vet_url(url).map(drop).map_err(refusal),
        vet_headers: &|headers| egress::vet_headers(headers).map(drop).map_err(refusal),
    })
}

fn refusal(refused: Refused) -> Refusal {
    match refused.kind {
        RefusedKind::Malformed => Refusal::Malformed(refused.reason),
        RefusedKind::Forbidden => Refusal::Forbidden(refused.reason),
    }
}
