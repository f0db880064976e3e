//! `GET /v1/jobs/{id}`: the job, its ETag, and waiting for news of it.

use std::time::Duration;

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::super::body::Body;
use super::super::call::Call;
use super::super::error::ApiError;
use super::super::{conditional, respond};
use crate::job::{Job, Status};

/// Longest pause that is suggested between two looks.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Answers with the job.
pub(in crate::server) async fn read(call: &Call) -> Result<Response<Body>, ApiError> {
    let wait = call.wait()?;
    let id = call.own_job_id().await?;
    let job = match (wait, conditional::seen_version(call.headers())) {
        (None, _) => call.job().await?,
        (Some(wait), None) => call.wait_terminal(id, wait).await?,
        (Some(wait), Some(seen)) => call.wait_change(id, seen, wait).await?,
    };
    if let Some(mut unchanged) = conditional::check(call.headers(), &etag(&job))? {
        suggest_pause(call, &mut unchanged, &job);
        return Ok(unchanged);
    }
    Ok(show(call, StatusCode::OK, &job))
}

/// The job as an answer.
pub(in crate::server) fn show(call: &Call, status: StatusCode, job: &Job) -> Response<Body> {
    let mut response = respond::json(status, &call.view(job));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    respond::set(&mut response, header::ETAG, etag(job));
    suggest_pause(call, &mut response, job);
    response
}

/// `"v7"`.
pub(in crate::server) fn etag(job: &Job) -> String {
    format!("\"v{}\"", job.version)
}

/// `Retry-After` until the job has ended: a second, or until it may run.
fn suggest_pause(call: &Call, response: &mut Response<Body>, job: &Job) {
    if !job.status.is_terminal() {
        let pause = pause(call, job).as_secs();
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(pause));
    }
}

/// Time after which another look may tell something new.
pub(in crate::server) fn pause(call: &Call, job: &Job) -> Duration {
    let until_due = match job.status {
        Status::Queued => job.run_at.since(call.state.services.clock.now()),
        _ => Duration::ZERO,
    };
    until_due.clamp(Duration::from_secs(1), RETRY_AFTER_MAX)
}
