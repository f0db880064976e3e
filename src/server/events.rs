//! Server-sent events (WHATWG): of one job until it has ended, or of all jobs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::auth::Caller;
use super::body::{Body, StreamError};
use super::call::{self, Call, gone_job};
use super::error::ApiError;
use super::respond;
use super::state::State;
use crate::job::Job;
use crate::queue::{Feed, FeedItem, Queue, Watch};

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
    let (state, begun) = (Arc::clone(&call.state), false);
    Ok(stream(call, JobStream { state, watch, begun }.run()))
}

/// `GET /v1/events`.
pub(super) fn of_all(call: &Call) -> Result<Response<Body>, ApiError> {
    // What is no number of ours can't be resumed from either: like one that is too old, it is told so by a reset.
    let named = call.headers().contains_key("last-event-id");
    let after = named.then(|| last_event(call).map_or(SEQUENCE_MAX, |sequence| sequence.min(SEQUENCE_MAX)));
    let feed = call.state.services.queue.feed(after);
    let (state, caller) = (Arc::clone(&call.state), call.caller.clone());
    Ok(stream(call, AllStream { state, caller, feed, begun: false }.run()))
}

fn last_event(call: &Call) -> Option<u64> {
    call.header("last-event-id")?.trim().parse().ok()
}

/// The answer; it ends when the caller may no longer read it.
fn stream(
    call: &Call,
    events: impl Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
) -> Response<Body> {
    let mut response = Response::new(Body::stream(events.take_until(Box::pin(call.shut_out())), None));
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
                Ok(Some(job)) => event(job.version, &job, &services.queue)?,
                Ok(None) => return None,
            };
            Some((Ok(event), this))
        })
    }
}

struct AllStream {
    state: Arc<State>,
    caller: Caller,
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
                next = tokio::time::timeout(COMMENT_INTERVAL, next_seen(&mut this.feed, &this.caller)) => next,
                () = this.state.draining() => return None,
            };
            let event = match next {
                Err(_silence) => Bytes::from_static(b":\n\n"),
                Ok(Some(FeedItem::Job { sequence, job })) => {
                    event(sequence, &job, &this.state.services.queue)?
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

/// The next item that the caller may see.
async fn next_seen(feed: &mut Feed, caller: &Caller) -> Option<FeedItem> {
    loop {
        match feed.next().await? {
            FeedItem::Job { job, .. } if !caller.sees_job(&job) => {}
            item => return Some(item),
        }
    }
}

/// Sent at once, so that the client learns that it is connected.
fn greeting() -> Bytes {
    Bytes::from(format!("retry: {RECONNECT_MILLIS}\n\n"))
}

/// One event. JSON has no line breaks of its own, so the data is one line. `None` ends the stream: a job without JSON is a bug.
fn event(id: u64, job: &Job, queue: &Queue) -> Option<Bytes> {
    let json = call::json_bytes(&call::view(queue, job)).ok()?;
    let mut event = format!("event: job\nid: {id}\ndata: ").into_bytes();
    event.extend_from_slice(&json);
    event.extend_from_slice(b"\n\n");
    Some(event.into())
}
