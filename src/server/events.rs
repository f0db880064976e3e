//! Server-sent events (WHATWG): of one job until it has ended, or of all jobs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::{Body, StreamError};
use super::call::{self, Call, gone_job};
use super::error::ApiError;
use super::respond;
use super::state::State;
use crate::api::JobView;
use crate::job::Job;
use crate::queue::{Feed, FeedItem, Watch};

/// How often a silent stream says that it is alive.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);
/// How long a client shall wait before it connects again, in milliseconds.
const RECONNECT_MILLIS: u64 = 2000;
/// No number that a client may name makes the next one overflow.
const SEQUENCE_MAX: u64 = u64::MAX / 2;

/// `GET /v1/jobs/{id}/events`.
pub(super) async fn of_job(call: &Call) -> Result<Response<Body>, ApiError> {
    let job = call.job().await?;
    let seen = last_event(call).filter(|seen| *seen <= job.version);
    if job.status.is_terminal() && seen == Some(job.version) {
        // The one answer that keeps an EventSource from connecting again.
        return Ok(respond::empty(StatusCode::NO_CONTENT));
    }
    let mut watch = call.state.services.queue.watch(job.id).await?.ok_or_else(gone_job)?;
    if let Some(seen) = seen {
        watch.skip_to(seen);
    }
    Ok(stream(JobStream { state: Arc::clone(&call.state), watch, begun: false }.run()))
}

/// `GET /v1/events`.
pub(super) fn of_all(call: &Call) -> Result<Response<Body>, ApiError> {
    // What is no number of ours can't be resumed from either: like one that is too old, it is told so by a reset.
    let named = call.headers().contains_key("last-event-id");
    let after = named.then(|| last_event(call).map_or(SEQUENCE_MAX, |sequence| sequence.min(SEQUENCE_MAX)));
    let feed = call.state.services.queue.feed(after);
    Ok(stream(AllStream { state: Arc::clone(&call.state), feed, begun: false }.run()))
}

fn last_event(call: &Call) -> Option<u64> {
    call.header("last-event-id")?.trim().parse().ok()
}

fn stream(events: impl Stream<Item = Result<Bytes, StreamError>> + Send + 'static) -> Response<Body> {
    let mut response = Response::new(Body::stream(events, None));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather answers (nginx) would hold the events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct JobStream {
    state: Arc<State>,
    watch: Watch,
    begun: bool,
}

impl JobStream {
    fn run(self) -> impl Stream<Item = Result<Bytes, StreamError>> {
        futures_util::stream::unfold(self, |mut this| async move {
            if !this.begun {
                this.begun = true;
                return Some((Ok(greeting()), this));
            }
            let State { services, .. } = &*this.state;
            let next = tokio::select! {
                next = tokio::time::timeout(COMMENT_INTERVAL, this.watch.next()) => next,
                () = this.state.draining() => return None,
            };
            let event = match next {
                Err(_silence) => Bytes::from_static(b":\n\n"),
                Ok(Some(job)) => event(job.version, &job, services.queue.position(&job))?,
                Ok(None) => return None,
            };
            Some((Ok(event), this))
        })
    }
}

struct AllStream {
    state: Arc<State>,
    feed: Feed,
    begun: bool,
}

impl AllStream {
    fn run(self) -> impl Stream<Item = Result<Bytes, StreamError>> {
        futures_util::stream::unfold(self, |mut this| async move {
            if !this.begun {
                this.begun = true;
                return Some((Ok(greeting()), this));
            }
            let next = tokio::select! {
                next = tokio::time::timeout(COMMENT_INTERVAL, this.feed.next()) => next,
                () = this.state.draining() => return None,
            };
            let event = match next {
                Err(_silence) => Bytes::from_static(b":\n\n"),
                Ok(Some(FeedItem::Job { sequence, job })) => {
                    event(sequence, &job, this.state.services.queue.position(&job))?
                }
                Ok(Some(FeedItem::Reset { sequence })) => {
                    Bytes::from(format!("event: reset\nid: {sequence}\ndata: {{}}\n\n"))
                }
                Ok(None) => return None,
            };
            Some((Ok(event), this))
        })
    }
}

/// Sent at once, so that the client learns that it is connected.
fn greeting() -> Bytes {
    Bytes::from(format!("retry: {RECONNECT_MILLIS}\n\n"))
}

/// One event. JSON has no line breaks of its own, so the data is one line. `None` ends the stream: a job without JSON is a bug.
fn event(id: u64, job: &Job, position: Option<u64>) -> Option<Bytes> {
    let json = call::json_bytes(&JobView::new(job, position, "")).ok()?;
    let mut event = format!("event: job\nid: {id}\ndata: ").into_bytes();
    event.extend_from_slice(&json);
    event.extend_from_slice(b"\n\n");
    Some(event.into())
}
