//! Jobs to put into a store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use minilab::clock::Timestamp;
use minilab::job::{
    Attempt, DeliveryResult, DeliveryStatus, Event, Header, ImageInfo, Job, JobId, JobSpec, Lease, Outcome,
    Output, Render, SourceInfo, SourceSpec, WebhookSpec,
};
use minilab::pipeline::{Format, Pipeline};
use minilab::store::{ClaimRequest, DeliveryRequest, Finish, NewJob};

/// The moment at which every history begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_763_726_400_000);

/// A moment so many milliseconds after [`START`].
pub(crate) fn at(millis: u64) -> Timestamp {
    START.plus(Duration::from_millis(millis))
}

/// An upload with no operations, as a spec that can still be changed.
pub(crate) fn spec() -> JobSpec {
    JobSpec {
        source: SourceSpec::Upload,
        pipeline: Pipeline::default(),
        preset: None,
        webhook: None,
        priority: 0,
        run_at: None,
        timeout: Duration::from_secs(60),
        max_attempts: 8,
        expires_in: None,
        tag: None,
        metadata: BTreeMap::from([("user".to_owned(), "42".to_owned())]),
    }
}

/// The same with a source to be fetched with a secret header.
pub(crate) fn url_spec() -> JobSpec {
    let headers = vec![Header { name: "authorization".to_owned(), value: "Bearer secret".to_owned() }];
    JobSpec { source: SourceSpec::Url { url: "https://example.com/a.jpg".to_owned(), headers }, ..spec() }
}

/// A webhook that hears everything.
pub(crate) fn webhook(url: &str) -> Option<WebhookSpec> {
    Some(WebhookSpec { url: url.to_owned(), events: Event::ALL.to_vec() })
}

/// What is known of a small JPEG.
pub(crate) fn source(inline: bool) -> SourceInfo {
    let image = ImageInfo { format: Format::Jpeg, width: 640, height: 480, frames: 1 };
    SourceInfo { image: Some(image), bytes: 5, sha256: "5".repeat(64), inline }
}

/// A new job of this spec; an upload's source is stored, among the blobs.
pub(crate) fn new_job(spec: JobSpec, now: Timestamp) -> NewJob {
    let stored = (spec.source == SourceSpec::Upload).then(|| source(false));
    let memory_bytes = if stored.is_some() { 100 } else { 0 };
    let job = Job::submitted(JobId::new(), Arc::new(spec), stored, memory_bytes, Vec::new(), now);
    NewJob { job, inline_source: None, inline_assets: Vec::new(), idempotency_key: None }
}

/// Room for everything.
pub(crate) fn request(worker: uuid::Uuid) -> ClaimRequest {
    ClaimRequest {
        worker,
        ready_max: usize::MAX,
        fetch_max: usize::MAX,
        memory_bytes_max: u64::MAX,
        lease_duration: Duration::from_secs(30),
        ready_turns: Vec::new(),
        fetch_turns: Vec::new(),
    }
}

/// A webhook body that shows what it was made from.
pub(crate) fn render() -> Render {
    Arc::new(|job, event, now| Bytes::from(format!("{} {} v{} {now}", event.name(), job.id, job.version)))
}

/// An output that lives in the store.
pub(crate) fn output(name: &str, attempt: u32) -> Output {
    Output {
        name: name.to_owned(),
        format: Format::Png,
        width: 2,
        height: 1,
        bytes: 3,
        sha256: "3".repeat(64),
        quality: None,
        filename: None,
        attempt,
        inline: true,
        location: None,
    }
}

/// An attempt that ends like this, with nothing to show.
pub(crate) fn ending(lease: Lease, outcome: Outcome) -> Finish {
    Finish { lease, outcome, attempt: Attempt::default(), inline_outputs: Vec::new() }
}

/// An attempt that succeeds with one small output.
pub(crate) fn success(lease: Lease) -> Finish {
    let outcome = Outcome::Succeeded(vec![output("output", lease.attempt)]);
    Finish {
        inline_outputs: vec![("output".to_owned(), Bytes::from_static(b"png"))],
        ..ending(lease, outcome)
    }
}

/// Everything due, whoever is to get it.
pub(crate) fn deliveries(limit: usize) -> DeliveryRequest {
    let lease_duration = Duration::from_secs(30);
    DeliveryRequest { limit, failing_max: limit, places: limit, places_of: HashMap::new(), lease_duration }
}

/// The end of an attempt at a delivery.
pub(crate) fn attempted(
    status: DeliveryStatus,
    response_status: Option<u16>,
    next_attempt_at: Option<Timestamp>,
) -> DeliveryResult {
    let is_well = response_status.is_some_and(|status| status < 300);
    let answer = Bytes::from_static(if is_well { b"" } else { b"no" });
    DeliveryResult {
        status,
        response_status,
        error: (!is_well).then(|| "it did not work".to_owned()),
        next_attempt_at,
        is_sent: true,
        latency: Duration::from_millis(7),
        answer,
    }
}
