//! The Job resource and what else goes out.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::job::{AssetInfo, AttemptRecord, Event, Failure, Job, SourceInfo, Status, Warning};

/// A job as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// UUIDv7.
    pub id: String,
    /// Grows with every change; the ETag is `"v<version>"`.
    pub version: u64,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    #[schemars(with = "String", extend("enum" = ["queued", "running", "succeeded", "failed", "cancelled"]))]
    pub status: Status,
    /// Free label to list by.
    pub tag: Option<String>,
    /// Given back untouched.
    pub metadata: BTreeMap<String, String>,
    /// −100..100, higher first.
    pub priority: i8,
    /// Attempts begun that count.
    pub attempt: u32,
    /// Attempts before a transient failure is final.
    pub max_attempts: u32,
    /// Stages done over stages planned, 0..1.
    pub progress: f32,
    /// Place in the waiting line, from 1, while queued and due.
    pub queue_position: Option<u64>,
    /// RFC 3339 UTC with milliseconds, like every time here.
    pub created_at: String,
    /// Not before this moment.
    pub run_at: String,
    /// When the last attempt began.
    pub started_at: Option<String>,
    /// When the job ended.
    pub finished_at: Option<String>,
    /// When the job and its results will be removed.
    pub expires_at: Option<String>,
    /// Where the last attempt's time went.
    pub timings_ms: TimingsView,
    /// The source, once it is stored and was looked into.
    pub source: Option<SourceView>,
    /// The images that came with it for its operations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<AssetView>,
    /// Results; empty unless succeeded.
    pub outputs: Vec<OutputView>,
    /// Facts found by `analyze`, by name.
    pub analysis: BTreeMap<String, serde_json::Value>,
    /// What differs from what one may have expected.
    pub warnings: Vec<WarningView>,
    /// Why the job failed, or why its last attempt did.
    pub error: Option<AttemptError>,
    /// Attempts, oldest first: the latest sixteen that have ended, and the one under way.
    #[serde(default)]
    pub attempts: Vec<AttemptView>,
    /// The webhook, if one was asked for.
    pub webhook: Option<WebhookView>,
    /// Where to go from here.
    pub links: Links,
}

/// Milliseconds by part of the last attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimingsView {
    /// From being due to being claimed.
    pub queued: u64,
    /// Fetching `source.url`.
    pub fetch: u64,
    /// Decoding.
    pub decode: u64,
    /// All operations.
    pub operations: u64,
    /// All encoders.
    pub encode: u64,
    /// Storing the outputs.
    pub store: u64,
}

/// The stored source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceView {
    /// Format by content.
    pub format: String,
    /// Width in pixels as stored, before orientation.
    pub width: u32,
    /// Height in pixels as stored, before orientation.
    pub height: u32,
    /// Size in bytes.
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// Frames; 1 for a still image.
    pub frames: u32,
}

/// An image that came with a job for its operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssetView {
    /// What operations call it.
    pub name: String,
    /// Format by content.
    pub format: String,
    /// Width in pixels as stored, before orientation.
    pub width: u32,
    /// Height in pixels as stored, before orientation.
    pub height: u32,
    /// Size in bytes.
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
}

impl AssetView {
    fn new(asset: &AssetInfo) -> AssetView {
        AssetView {
            name: asset.name.clone(),
            format: asset.format.name().to_owned(),
            width: asset.width,
            height: asset.height,
            bytes: asset.bytes,
            sha256: asset.sha256.clone(),
        }
    }
}

/// One result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputView {
    /// Name from the spec.
    pub name: String,
    /// Format of the bytes.
    pub format: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Size in bytes.
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// Quality used, for lossy formats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// Where to download it; relative in answers. In webhooks absolute and signed: it works without an API key for a while.
    pub url: String,
    /// Where it was delivered to, such as `s3://bucket/prefix/key`, if the specification named a destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// A remark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WarningView {
    /// Stable snake_case code.
    pub code: String,
    /// Sentence for people.
    pub detail: String,
    /// Output concerned, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptError {
    /// Stable snake_case code; `/problems/<code>` explains it.
    pub code: String,
    /// Sentence for people.
    pub detail: String,
    /// Whether another try may end differently.
    pub retryable: bool,
    /// Output concerned, if it is one.
    pub output: Option<String>,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    /// From 1, counting every attempt that was begun.
    pub number: u32,
    /// `running`, `succeeded`, `failed` or `cancelled`; or, for one that doesn't count, `released` by a server that was stopping, `lost` with
    /// its lease, `died` with the server's process or its own.
    #[schemars(extend("enum" = ["running", "succeeded", "failed", "cancelled", "released", "lost", "died"]))]
    pub status: String,
    /// When it began.
    pub started_at: String,
    /// When its end was recorded.
    pub finished_at: Option<String>,
    /// Milliseconds in between.
    pub duration_ms: Option<u64>,
    /// What went wrong.
    pub error: Option<AttemptError>,
}

/// The webhook of a job and how its last delivery stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookView {
    /// Where to, without its query.
    pub url: String,
    /// `pending`, `delivered` or `failed`; null until the job has ended with an event that the webhook wants.
    pub status: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// The receiver's last HTTP status.
    pub last_status: Option<u16>,
    /// When the next attempt is due.
    pub next_attempt_at: Option<String>,
}

/// Where to go from a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Links {
    /// The job.
    #[serde(rename = "self")]
    pub this: String,
    /// Its server-sent events.
    pub events: String,
    /// `POST` here to cancel.
    pub cancel: String,
}

/// A page of jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobList {
    /// Newest first.
    pub jobs: Vec<JobView>,
}

/// The body of a webhook (Standard Webhooks 1.0).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookBody {
    /// `job.succeeded`, `job.failed` or `job.cancelled`.
    #[serde(rename = "type")]
    pub event: String,
    /// When it happened.
    pub timestamp: String,
    /// The job as it ended, with absolute links.
    pub data: JobView,
}

impl JobView {
    /// The view of a job. `base` is put before every link: empty in answers, the public URL in webhooks.
    pub fn new(job: &Job, queue_position: Option<u64>, base: &str) -> JobView {
        let path = format!("{base}/v1/jobs/{}", job.id);
        let time = |timestamp: Option<Timestamp>| timestamp.map(|timestamp| timestamp.to_string());
        let outputs = job.outputs.iter().map(|output| OutputView {
            name: output.name.clone(),
            format: output.format.name().to_owned(),
            width: output.width,
            height: output.height,
            bytes: output.bytes,
            sha256: output.sha256.clone(),
            quality: output.quality,
            url: format!("{path}/outputs/{}", output.name),
            location: output.location.clone(),
        });
        let warnings = job.warnings.iter().cloned().map(WarningView::from);
        JobView {
            id: job.id.to_string(),
            version: job.version,
            status: job.status,
            tag: job.spec.tag.clone(),
            metadata: job.spec.metadata.clone(),
            priority: job.spec.priority,
            attempt: job.attempts_counted(),
            max_attempts: job.spec.max_attempts,
            progress: job.progress,
            queue_position,
            created_at: job.created_at.to_string(),
            run_at: job.run_at.to_string(),
            started_at: time(job.started_at),
            finished_at: time(job.finished_at),
            expires_at: time(job.expires_at),
            timings_ms: TimingsView {
                queued: job.timings.queued,
                fetch: job.timings.fetch,
                decode: job.timings.decode,
                operations: job.timings.operations,
                encode: job.timings.encode,
                store: job.timings.store,
            },
            source: job.source.as_ref().and_then(SourceView::new),
            assets: job.assets.iter().map(AssetView::new).collect(),
            outputs: outputs.collect(),
            analysis: job.analysis.clone(),
            warnings: warnings.collect(),
            error: job.error.as_ref().map(AttemptError::new),
            attempts: attempts(job),
            webhook: webhook(job),
            links: Links {
                this: path.clone(),
                events: format!("{path}/events"),
                cancel: format!("{path}/cancel"),
            },
        }
    }
}

impl AttemptError {
    fn new(failure: &Failure) -> AttemptError {
        AttemptError {
            code: failure.code.name().to_owned(),
            detail: failure.detail.clone(),
            retryable: failure.retryable,
            output: failure.output.clone(),
        }
    }
}

/// The attempts that have ended and the one under way.
fn attempts(job: &Job) -> Vec<AttemptView> {
    let ended = |attempt: &AttemptRecord| AttemptView {
        number: attempt.number,
        status: attempt.end.name().to_owned(),
        started_at: attempt.started_at.to_string(),
        finished_at: Some(attempt.finished_at.to_string()),
        duration_ms: u64::try_from(attempt.finished_at.since(attempt.started_at).as_millis()).ok(),
        error: attempt.error.as_ref().map(AttemptError::new),
    };
    let running = job.started_at.filter(|_| job.status == Status::Running).map(|started_at| AttemptView {
        number: job.attempt,
        status: Status::Running.name().to_owned(),
        started_at: started_at.to_string(),
        finished_at: None,
        duration_ms: None,
        error: None,
    });
    job.attempts.iter().map(ended).chain(running).collect()
}

impl SourceView {
    /// The view of a source that somebody has looked into.
    pub fn new(source: &SourceInfo) -> Option<SourceView> {
        let image = source.image.as_ref()?;
        Some(SourceView {
            format: image.format.name().to_owned(),
            width: image.width,
            height: image.height,
            bytes: source.bytes,
            sha256: source.sha256.clone(),
            frames: image.frames,
        })
    }
}

impl From<Warning> for WarningView {
    fn from(warning: Warning) -> WarningView {
        WarningView { code: warning.code, detail: warning.detail, output: warning.output }
    }
}

impl WebhookBody {
    /// The body that tells of this event, with links under `public_url`. `sign` gives the query that lets a path pass without an API key.
    pub fn new(
        job: &Job,
        event: Event,
        timestamp: Timestamp,
        public_url: &str,
        sign: impl Fn(&str) -> String,
    ) -> WebhookBody {
        let mut data = JobView::new(job, None, public_url);
        for output in &mut data.outputs {
            let path = format!("/v1/jobs/{}/outputs/{}", job.id, output.name);
            output.url = format!("{public_url}{path}?{}", sign(&path));
        }
        WebhookBody { event: event.name().to_owned(), timestamp: timestamp.to_string(), data }
    }
}

/// An address without its query: what a receiver put there is its secret.
pub(super) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

fn webhook(job: &Job) -> Option<WebhookView> {
    let spec = job.spec.webhook.as_ref()?;
    let state = job.webhook.as_ref()?;
    Some(WebhookView {
        url: without_query(&spec.url).to_owned(),
        status: state.status.map(|status| status.name().to_owned()),
        attempts: state.attempts,
        last_status: state.last_status,
        next_attempt_at: state.next_attempt_at.map(|timestamp| timestamp.to_string()),
    })
}
