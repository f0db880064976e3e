//! One request on its way through a handler.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::http::request::Parts;

use super::activity::Activity;
use super::error::{ApiError, Code};
use super::state::State;
use super::upload::Arriving;
use crate::api::JobView;
use crate::api::query::WAIT_SECONDS_MAX;
use crate::job::{Job, JobId};
use crate::queue::Lookup;

/// A request: its head, its body to come, and what its address has named.
pub(super) struct Call {
    pub(super) state: Arc<State>,
    pub(super) head: Parts,
    pub(super) body: Arriving,
    /// Address of this server that the client has connected to.
    pub(super) local: IpAddr,
    /// What stands in the address where the route has a name in braces.
    pub(super) parameters: Vec<String>,
}

impl Call {
    /// A request as it came.
    pub(super) fn new(
        state: Arc<State>,
        head: Parts,
        body: Incoming,
        local: IpAddr,
        activity: Arc<Activity>,
    ) -> Call {
        let body = Arriving::new(body, &head, activity);
        Call { state, head, body, local, parameters: Vec::new() }
    }

    /// The headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// A header as text; `None` also when it is none.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The query, or nothing.
    pub(super) fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// A named part of the address.
    pub(super) fn parameter(&self, index: usize) -> &str {
        self.parameters.get(index).map_or("", String::as_str)
    }

    /// The job's id in the address. What is no id can't be found.
    pub(super) fn job_id(&self) -> Result<JobId, ApiError> {
        self.parameter(0).parse().map_err(|_| unknown_job())
    }

    /// The job that the address names, as it is now.
    pub(super) async fn job(&self) -> Result<Arc<Job>, ApiError> {
        found(self.state.services.queue.get(self.job_id()?).await?)
    }

    /// Seconds of `?wait=`, if that is given. Other parameters of the query are refused.
    pub(super) fn wait(&self) -> Result<Option<Duration>, ApiError> {
        self.wait_beside(&[])
    }

    /// The same beside parameters that somebody else reads.
    pub(super) fn wait_beside(&self, others: &[&str]) -> Result<Option<Duration>, ApiError> {
        let mut wait = None;
        for (name, value) in form_urlencoded::parse(self.query().as_bytes()) {
            if others.contains(&name.as_ref()) {
                continue;
            }
            if name != "wait" {
                return Err(ApiError::parameter(&name, "is not known here; `wait` is"));
            }
            let seconds = value.parse().ok().filter(|seconds| *seconds <= WAIT_SECONDS_MAX);
            let wrong =
                || ApiError::parameter("wait", format!("must be whole seconds from 0 to {WAIT_SECONDS_MAX}"));
            wait = Some(Duration::from_secs(seconds.ok_or_else(wrong)?));
        }
        Ok(wait)
    }

    /// Waits until the job has ended, the time is over or the server is about to stop; the job as it is then.
    pub(super) async fn wait_terminal(&self, id: JobId, limit: Duration) -> Result<Arc<Job>, ApiError> {
        let queue = &self.state.services.queue;
        tokio::select! {
            lookup = queue.wait_terminal(id, limit) => found(lookup?),
            () = self.state.draining() => found(queue.get(id).await?),
        }
    }

    /// The job as clients see it.
    pub(super) fn view(&self, job: &Job) -> JobView {
        JobView::new(job, self.state.services.queue.position(job), "")
    }
}

/// The job of a lookup.
pub(super) fn found(lookup: Lookup) -> Result<Arc<Job>, ApiError> {
    match lookup {
        Lookup::Job(job) => Ok(job),
        Lookup::Gone(_) => Err(gone_job()),
        Lookup::Unknown => Err(unknown_job()),
    }
}

/// The job was there once.
pub(super) fn gone_job() -> ApiError {
    ApiError::new(Code::Gone, "This job was deleted or has expired.")
}

/// There never was such a job.
pub(super) fn unknown_job() -> ApiError {
    ApiError::new(Code::NotFound, "There is no job with this id.")
}

/// JSON bytes of a serialisable value, for bodies that are put together by hand.
pub(super) fn json_bytes(value: &impl serde::Serialize) -> Result<Bytes, ApiError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(ApiError::internal)
}
