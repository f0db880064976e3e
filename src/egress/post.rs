//! One POST and the beginning of its answer: how webhooks are sent.
//!
//! Owns the deadline over the whole exchange and the cap on the answer. It follows no redirect, repeats nothing and judges no status.
//! Called by the webhook deliverer, thousands of times a second when it is busy: a request on a kept-alive connection costs a few
//! allocations.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};
use url::Url;

use super::error::{EgressError, Phase};
use super::{Egress, guard, headers};

/// What the server calls itself towards others, unless the request's headers say otherwise.
pub(super) const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("minilab/", env!("CARGO_PKG_VERSION")));

/// A POST to send once.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where to; judged again when it is sent.
    pub url: Url,
    /// Headers to send; `Host`, `Content-Length` and a `User-Agent` are added.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Time for everything: connecting, sending, and the answer with its body.
    pub timeout: Duration,
    /// Bytes of the answer's body that are read; the rest is cut off and its connection closed.
    pub answer_bytes_max: usize,
}

/// What came back. The receiver has decided once its status line is here: a body that is too long, breaks off or outlasts the deadline
/// only makes the answer `truncated`, because sending the same event again would be the worse mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code, redirects (3xx) included.
    pub status: u16,
    /// The wait that the receiver asks for.
    pub retry_after: Option<Duration>,
    /// The body, or its beginning.
    pub body: Bytes,
    /// There was more, or there should have been.
    pub truncated: bool,
    /// From the call to the end of the body as it was read.
    pub latency: Duration,
}

impl Egress {
    /// Sends one POST and reads the answer, all within `timeout` (connecting also within the connect timeout of [`super::Config`]).
    ///
    /// # Errors
    /// [`EgressError`] when no status came back: forbidden address, lookup, connection, TLS, timeout, or an answer that is not HTTP.
    pub async fn post(&self, post: Post) -> Result<Answer, EgressError> {
        let started = Instant::now();
        let deadline = tokio::time::Instant::now() + post.timeout;
        let request = self.request(Method::POST, &post.url, post.headers, post.body)?;
        let response = self.send(request, deadline, post.timeout).await?;
        let (head, body) = response.into_parts();
        let (body, truncated) = read_beginning(body, post.answer_bytes_max, deadline).await;
        Ok(Answer {
            status: head.status.as_u16(),
            retry_after: headers::retry_after(&head.headers),
            body,
            truncated,
            latency: started.elapsed(),
        })
    }

    /// Builds a request to a URL that is vetted here once more: it may come from a row written under other settings.
    pub(super) fn request(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, EgressError> {
        self.inner.guard.vet(url)?;
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = guard::request_uri(url)?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: tokio::time::Instant,
        limit: Duration,
    ) -> Result<Response<Incoming>, EgressError> {
        match tokio::time::timeout_at(deadline, self.inner.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(client_error(&error)),
            Err(_) => Err(EgressError::Timeout { phase: Phase::Answer, limit }),
        }
    }
}

/// What hyper's client means: an error of our connector as it was, an unreadable answer, or a broken connection.
fn client_error(error: &(dyn std::error::Error + 'static)) -> EgressError {
    let mut cause = Some(error);
    let mut deepest = error;
    while let Some(current) = cause {
        if let Some(ours) = current.downcast_ref::<EgressError>() {
            return ours.clone();
        }
        if let Some(http) = current.downcast_ref::<hyper::Error>() {
            return http_error(http);
        }
        deepest = current;
        cause = current.source();
    }
    EgressError::Interrupted(deepest.to_string())
}

/// The same for errors of a connection that stands.
pub(super) fn http_error(error: &hyper::Error) -> EgressError {
    if error.is_parse() || error.is_user() {
        EgressError::Protocol(error.to_string())
    } else {
        EgressError::Interrupted(error.to_string())
    }
}

/// Up to `max` bytes of a body, and whether that is not all of it. Dropping the rest makes hyper close the connection.
async fn read_beginning(mut body: Incoming, max: usize, deadline: tokio::time::Instant) -> (Bytes, bool) {
    let mut parts = Parts::default();
    while !body.is_end_stream() {
        match tokio::time::timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                let Ok(mut data) = frame.into_data() else { continue };
                let room = max - parts.len();
                if data.len() > room {
                    data.truncate(room);
                    parts.push(data);
                    return (parts.join(), true);
                }
                parts.push(data);
            }
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => return (parts.join(), true),
        }
    }
    (parts.join(), false)
}

/// The pieces of a body; a single one, the usual case, is kept without a copy.
#[derive(Default)]
struct Parts {
    first: Bytes,
    rest: BytesMut,
}

impl Parts {
    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn push(&mut self, data: Bytes) {
        if self.len() == 0 { self.first = data } else { self.rest.extend_from_slice(&data) }
    }

    fn join(self) -> Bytes {
        if self.rest.is_empty() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.len());
        whole.extend_from_slice(&self.first);
        whole.extend_from_slice(&self.rest);
        whole.freeze()
    }
}
