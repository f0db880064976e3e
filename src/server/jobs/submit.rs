//! `POST /v1/jobs`: from a request to an acknowledged job.
//!
//! In this order: may it be submitted at all (before the body is asked for) → specification → body → image header and plan → stored →
//! acknowledged. A client that hangs up once its body is there has still submitted: nothing then depends on its connection.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode, Version};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use super::super::body::Body;
use super::super::call::{Call, gone_job};
use super::super::error::{ApiError, Code};
use super::super::limits::STREAMS_MAX;
use super::super::respond;
use super::super::state::State;
use super::super::trace;
use super::idempotency::Key;
use super::inspect::{self, Inspected, InspectedAsset};
use super::read;
use super::receive::{self, Form, Intent, Request};
use crate::api::PlanView;
use crate::api::query::WAIT_SECONDS_MAX;
use crate::blob::{BlobKey, Received};
use crate::job::{Job, JobId, JobSpec, KeyId, Warning};
use crate::queue::{SourceBytes, Submission, Submitted};
use crate::telemetry::trace::passed_on;

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What became of a submit, before anybody waits for the job.
enum Outcome {
    /// A dry run.
    Planned(PlanView),
    /// The job, whether it had been submitted before, and how long the query asks to wait.
    Entered { job: Arc<Job>, replayed: bool, wait: Option<Duration> },
}

/// Answers a submit.
pub(in crate::server) async fn submit(mut call: Call) -> Result<Response<Body>, ApiError> {
    let form = receive::form(&call);
    let intent = form.intent(&call);
    if !intent.dry_run {
        admit(&call)?;
    }
    let key = Key::begin(&call)?;
    let preferred = preferred_wait(&call);
    let task = if call.head.version == Version::HTTP_2 {
        // hyper drops this future as soon as the client resets its stream, even if the whole body is here by then.
        let Some(place) = call.body.activity().begin_submit() else { return Err(too_many()) };
        tokio::spawn(receive_and_take(call, form, intent, key, place).in_current_span())
    } else {
        // In the connection's own task, so that no part of the body has to wake another one; hyper stays with it when the client hangs up.
        let request = receive::receive(&mut call, form, intent).await?;
        tokio::spawn(take(call, request, key).in_current_span())
    };
    let (call, outcome) = task.await.map_err(ApiError::internal)??;
    let (job, replayed, asked) = match outcome {
        Outcome::Planned(plan) => return Ok(respond::json(StatusCode::OK, &plan)),
        Outcome::Entered { job, replayed, wait } => (job, replayed, wait),
    };
    let mut response = acknowledge(&call, job, asked.or(preferred)).await?;
    if asked.is_none() && response.status() == StatusCode::OK {
        let applied = preferred.map_or(0, |wait| wait.as_secs());
        respond::set(&mut response, PREFERENCE_APPLIED, format!("wait={applied}"));
    }
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Receives the body, too; its connection has a place less until it is done.
async fn receive_and_take(
    mut call: Call,
    form: Form,
    intent: Intent,
    key: Option<Key>,
    _place: OwnedSemaphorePermit,
) -> Result<(Call, Outcome), ApiError> {
    let request = receive::receive(&mut call, form, intent).await?;
    take(call, request, key).await
}

/// Does what a request asks for, whoever waits for it.
async fn take(call: Call, request: Request, key: Option<Key>) -> Result<(Call, Outcome), ApiError> {
    let outcome = if request.dry_run {
        Outcome::Planned(plan(&call.state, request).await.map_err(|error| hinted(&call, error))?)
    } else {
        let wait = request.wait;
        let trace_parent = passed_on(trace::parent(call.headers()));
        let (job, replayed) = complete(&call.state, call.caller.owner(), request, key, trace_parent)
            .await
            .map_err(|error| hinted(&call, error))?;
        Outcome::Entered { job, replayed, wait }
    };
    Ok((call, outcome))
}

/// Adds what `curl -d` does to an image, where it may be the reason.
fn hinted(call: &Call, error: ApiError) -> ApiError {
    let is_form = call
        .header(header::CONTENT_TYPE.as_str())
        .is_some_and(|form| form.starts_with("application/x-www-form-urlencoded"));
    match error.code() {
        Code::UnsupportedFormat | Code::CorruptImage if is_form => error.and_also(
            "If `curl -d` has sent it, try `curl --data-binary`: the other leaves out bytes of the image.",
        ),
        _ => error,
    }
}

/// Whether a submission would be taken now.
fn admit(call: &Call) -> Result<(), ApiError> {
    if call.state.is_draining() {
        let error =
            ApiError::new(Code::ShuttingDown, "The server is about to stop; submit to its successor.");
        return Err(error.retry_after(Duration::from_secs(5)));
    }
    Ok(call.state.services.queue.admit(&call.caller.owner())?)
}

fn too_many() -> ApiError {
    let detail = format!(
        "{STREAMS_MAX} submits of this connection are under way, and streams of theirs were reset; wait until they are done."
    );
    ApiError::new(Code::RateLimited, detail).retry_after(Duration::from_secs(1))
}

/// `Prefer: wait=N` (RFC 7240); more than we wait is cut, what can't be read is ignored.
fn preferred_wait(call: &Call) -> Option<Duration> {
    let values = call.headers().get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split([',', ';']));
    let seconds: u64 = preferences.find_map(|preference| {
        let (name, value) = preference.trim().split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse().ok())?
    })?;
    Some(Duration::from_secs(seconds.min(WAIT_SECONDS_MAX)))
}

/// Plans and stores nothing.
async fn plan(state: &Arc<State>, request: Request) -> Result<PlanView, ApiError> {
    Ok(match request.received {
        None => PlanView::of_spec(&request.spec),
        Some(received) => {
            let mut inspected = inspect::inspect(state, received, request.assets, request.spec).await?;
            inspected.plan.warnings.splice(0..0, request.warnings);
            PlanView::of_image(&inspected.source, inspected.plan)
        }
    })
}

/// Inspects, stores and submits; whatever goes wrong leaves nothing behind.
async fn complete(
    state: &Arc<State>,
    owner: Option<KeyId>,
    request: Request,
    key: Option<Key>,
    trace_parent: Option<String>,
) -> Result<(Arc<Job>, bool), ApiError> {
    let Some(received) = request.received else {
        return enter(state, Entry::fetched(owner, request.spec, trace_parent), key).await;
    };
    let Inspected { received, assets, spec, source, sha256, plan, memory_bytes } =
        inspect::inspect(state, received, request.assets, request.spec).await?;
    let id = JobId::new();
    let mut stored = Stored { state, id, keys: Vec::new() };
    let bytes = stored.put(BlobKey::Source(id), received).await?;
    let mut entry = Entry {
        submission: Submission {
            id,
            owner,
            spec,
            source: Some((source, bytes)),
            assets: Vec::with_capacity(assets.len()),
            memory_bytes,
            warnings: request.warnings.into_iter().chain(plan.warnings).map(Warning::from).collect(),
            trace_parent,
            idempotency_key: None,
        },
        sha256: Some(sha256),
        asset_digests: Vec::with_capacity(assets.len()),
    };
    for InspectedAsset { info, sha256, received } in assets {
        let bytes = stored.put(BlobKey::Asset { job: id, name: info.name.clone() }, received).await?;
        entry.asset_digests.push((info.name.clone(), sha256));
        entry.submission.assets.push((info, bytes));
    }
    let entered = enter(state, entry, key).await;
    // A store that fails while it commits may have kept the row all the same: then the images stay, and the sweep decides later.
    let is_needed = match &entered {
        Ok((_, replayed)) => !replayed,
        Err(error) => error.code() == Code::StoreUnavailable,
    };
    if !is_needed {
        stored.remove().await;
    }
    entered
}

/// The blobs of a job that is not entered yet.
struct Stored<'a> {
    state: &'a State,
    id: JobId,
    keys: Vec<BlobKey>,
}

impl Stored<'_> {
    /// Stores what does not fit into the row; if that fails, nothing of the job is left.
    async fn put(&mut self, key: BlobKey, received: Received) -> Result<SourceBytes, ApiError> {
        let spool = match received {
            Received::Inline(bytes) => return Ok(SourceBytes::Inline(bytes)),
            Received::Spooled(spool) => spool,
        };
        if let Err(error) = self.state.services.blobs.put_spool(&key, spool).await {
            self.remove().await;
            return Err(error.into());
        }
        self.keys.push(key);
        Ok(SourceBytes::Blob)
    }

    /// A blob that can't be removed now is found by the sweep for orphans.
    async fn remove(&self) {
        for key in &self.keys {
            if let Err(error) = self.state.services.blobs.delete(key).await {
                tracing::warn!(job.id = %self.id, %error, "an image of a refused submit could not be removed");
            }
        }
    }
}

/// A submission without its idempotency key, and what the key's fingerprint needs.
struct Entry {
    submission: Submission,
    sha256: Option<[u8; 32]>,
    asset_digests: Vec<(String, [u8; 32])>,
}

impl Entry {
    /// Of a job whose source will be fetched.
    fn fetched(owner: Option<KeyId>, spec: JobSpec, trace_parent: Option<String>) -> Entry {
        let submission = Submission {
            id: JobId::new(),
            owner,
            spec,
            source: None,
            assets: Vec::new(),
            memory_bytes: 0,
            warnings: Vec::new(),
            trace_parent,
            idempotency_key: None,
        };
        Entry { submission, sha256: None, asset_digests: Vec::new() }
    }
}

/// The job, and whether it had been submitted before.
async fn enter(state: &State, mut entry: Entry, key: Option<Key>) -> Result<(Arc<Job>, bool), ApiError> {
    let id = entry.submission.id;
    if let Some(key) = &key {
        entry.submission.idempotency_key =
            Some(key.claim(&entry.submission.spec, entry.sha256.as_ref(), &entry.asset_digests));
    }
    match state.services.queue.submit(entry.submission).await? {
        Submitted::Created(job) => {
            tracing::debug!(job.id = %id, "submitted");
            Ok((job, false))
        }
        Submitted::Replayed(job) => Ok((job, true)),
        Submitted::ReplayedGone(_) => Err(gone_job()),
        Submitted::IdempotencyMismatch => {
            let detail =
                "This Idempotency-Key came with another specification or image before; use a new one.";
            Err(ApiError::new(Code::IdempotencyMismatch, detail))
        }
    }
}

/// 202; or 200 when the job ended while the client was willing to wait.
async fn acknowledge(call: &Call, job: Arc<Job>, wait: Option<Duration>) -> Result<Response<Body>, ApiError> {
    let job = match wait {
        Some(wait) => match call.wait_terminal(job.id, wait).await {
            // The key was withdrawn meanwhile: nothing more is told, but the job was taken.
            Err(error) if error.code() == Code::Unauthorized => job,
            waited => waited?,
        },
        None => job,
    };
    let ended = wait.is_some() && job.status.is_terminal();
    let status = if ended { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = read::show(call, status, &job);
    respond::set(&mut response, header::LOCATION, format!("/v1/jobs/{}", job.id));
    Ok(response)
}
