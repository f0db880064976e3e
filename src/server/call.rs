//! One request on its way through a handler.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::http::request::Parts;

use super::activity::Activity;
use super::auth::{self, Caller};
use super::error::{ApiError, Code};
use super::state::State;
use super::upload::Arriving;
use crate::access::Scope;
use crate::api::JobView;
use crate::api::query::WAIT_SECONDS_MAX;
use crate::job::{Job, JobId};
use crate::queue::{Lookup, Queue, QueueError};

/// A request: its head, its body to come, and what its address has named.
pub(super) struct Call {
    pub(super) state: Arc<State>,
    pub(super) head: Parts,
    pub(super) body: Arriving,
    /// Address of this server that the client has connected to.
    pub(super) local: IpAddr,
    /// Who asks.
    pub(super) caller: Caller,
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
        caller: Caller,
        activity: Arc<Activity>,
    ) -> Call {
        let body = Arriving::new(body, &head, activity);
        Call { state, head, body, local, caller, parameters: Vec::new() }
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
        let lookup = self.state.services.queue.get(self.job_id()?).await?;
        self.found(lookup)
    }

    /// The id in the address, of a job that the caller sees: for who is about to wait for it or to change it.
    pub(super) async fn own_job_id(&self) -> Result<JobId, ApiError> {
        let id = self.job_id()?;
        if self.caller.confined_to().is_some() {
            self.job().await?;
        }
        Ok(id)
    }

    /// The job of a lookup. What the caller may not see never was.
    pub(super) fn found(&self, lookup: Lookup) -> Result<Arc<Job>, ApiError> {
        match lookup {
            Lookup::Job(job) if self.caller.sees_job(&job) => Ok(job),
            Lookup::Gone(owner) if self.caller.sees(owner.as_ref()) => Err(gone_job()),
            Lookup::Job(_) | Lookup::Gone(_) | Lookup::Unknown => Err(unknown_job()),
        }
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

    /// Waits until the job has ended, the time is over or the server is about to stop; the job as it is then. Refused once the caller may
    /// no longer know.
    pub(super) async fn wait_terminal(&self, id: JobId, limit: Duration) -> Result<Arc<Job>, ApiError> {
        self.unless_over(id, self.state.services.queue.wait_terminal(id, limit)).await
    }

    /// The same until the job is another than the one seen.
    pub(super) async fn wait_change(
        &self,
        id: JobId,
        seen: u64,
        limit: Duration,
    ) -> Result<Arc<Job>, ApiError> {
        self.unless_over(id, self.state.services.queue.wait_change(id, seen, limit)).await
    }

    async fn unless_over(
        &self,
        id: JobId,
        waiting: impl Future<Output = Result<Lookup, QueueError>>,
    ) -> Result<Arc<Job>, ApiError> {
        tokio::select! {
            lookup = waiting => self.found(lookup?),
            () = self.state.draining() => self.found(self.state.services.queue.get(id).await?),
            () = self.shut_out() => Err(auth::no_longer()),
        }
    }

    /// Resolves once the caller may no longer do what it asks for.
    pub(super) fn shut_out(&self) -> impl Future<Output = ()> + Send + use<> {
        let (caller, keys) = (self.caller.clone(), self.state.services.keys.clone());
        let scope = if self.head.method == Method::POST { Scope::Submit } else { Scope::Read };
        async move { caller.shut_out(keys, scope).await }
    }

    /// The job as clients see it.
    pub(super) fn view(&self, job: &Job) -> JobView {
        view(&self.state.services.queue, job)
    }
}

/// A job as clients see it.
pub(super) fn view(queue: &Queue, job: &Job) -> JobView {
    let forecast = queue.forecast(job);
    JobView::new(job, forecast.position, "").starting(forecast.starts_at)
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
