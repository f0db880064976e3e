//! A streamed GET with redirects: how a job's source is fetched.
//!
//! Owns the walk along redirects (each hop judged like the first), the deadline over all hops and the body, and the cap on its bytes.
//! It stores nothing and never looks into the bytes. Called by the worker.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response};
use tokio::time::Instant;
use url::Url;

use super::error::{EgressError, Phase};
use super::post::http_error;
use super::{Egress, headers};

/// Redirects that are followed.
pub const REDIRECTS_MAX: usize = 3;

/// A GET to send.
#[derive(Clone, Debug)]
pub struct Get {
    /// Where to; judged again when it is sent.
    pub url: Url,
    /// Headers of the caller; a redirect to another origin drops them for good.
    pub headers: HeaderMap,
    /// Time for everything: all connections, all redirects, the whole body.
    pub timeout: Duration,
    /// Largest body that is taken, in bytes.
    pub bytes_max: u64,
}

/// An answer whose body is still arriving. Dropping it closes the connection.
#[derive(Debug)]
pub struct Fetched {
    /// Status code: 200 or 203.
    pub status: u16,
    /// Size that the source has announced, in bytes; within `bytes_max`.
    pub content_length: Option<u64>,
    /// Media type that the source claims; the bytes decide.
    pub content_type: Option<String>,
    body: Incoming,
    received: u64,
    bytes_max: u64,
    deadline: Instant,
    timeout: Duration,
}

impl Egress {
    /// Requests a source, following up to [`REDIRECTS_MAX`] redirects, and returns once the head of the final answer is here.
    ///
    /// # Errors
    /// [`EgressError`]: any status but 200 and 203, an encoded or partial body, one announced larger than `bytes_max`, a forbidden
    /// address or redirect, or trouble on the way.
    pub async fn get(&self, get: Get) -> Result<Fetched, EgressError> {
        let Get { mut url, mut headers, timeout, bytes_max } = get;
        let deadline = Instant::now() + timeout;
        for _ in 0..=REDIRECTS_MAX {
            let mut sent = headers.clone();
            sent.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            let request = self.request(Method::GET, &url, sent, Bytes::new())?;
            let response = self.send(request, deadline, timeout).await?;
            let Some(next) = redirect(&url, &response)? else {
                return Fetched::new(response, bytes_max, deadline, timeout);
            };
            if next.origin() != url.origin() {
                headers.clear();
            }
            url = next;
        }
        Err(EgressError::TooManyRedirects { limit: REDIRECTS_MAX })
    }
}

/// Where a response redirects to, if it does.
fn redirect(from: &Url, response: &Response<Incoming>) -> Result<Option<Url>, EgressError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let unusable = || EgressError::Protocol("it redirects without a usable Location".to_owned());
    let location = response.headers().get(header::LOCATION).ok_or_else(unusable)?;
    let location = std::str::from_utf8(location.as_bytes()).map_err(|_| unusable())?;
    let mut next = from.join(location).map_err(|_| unusable())?;
    next.set_fragment(None);
    Ok(Some(next))
}

impl Fetched {
    fn new(
        response: Response<Incoming>,
        bytes_max: u64,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Fetched, EgressError> {
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        if !matches!(status, 200 | 203) {
            return Err(EgressError::Status(status, headers::retry_after(&head.headers)));
        }
        let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if let Some(encoding) = text(header::CONTENT_ENCODING)
            && !encoding.trim().is_empty()
            && !encoding.trim().eq_ignore_ascii_case("identity")
        {
            return Err(EgressError::Protocol(format!(
                "it is encoded as {encoding:?}, which was not asked for"
            )));
        }
        // hyper has checked the header against the framing of the message; what it does not know has no announced size.
        let content_length = hyper::body::Body::size_hint(&body).exact();
        if content_length.is_some_and(|length| length > bytes_max) {
            return Err(EgressError::TooLarge { limit: bytes_max });
        }
        let content_type = text(header::CONTENT_TYPE).map(str::to_owned);
        Ok(Fetched { status, content_length, content_type, body, received: 0, bytes_max, deadline, timeout })
    }

    /// The next piece of the body, `None` at its end.
    ///
    /// # Errors
    /// [`EgressError::TooLarge`] at the first byte over `bytes_max`, [`EgressError::Timeout`] past the deadline,
    /// [`EgressError::Interrupted`] when the body ends before its announced size.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, EgressError> {
        loop {
            let frame = match tokio::time::timeout_at(self.deadline, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(http_error(&error)),
                Ok(None) => return Ok(None),
                Err(_) => return Err(EgressError::Timeout { phase: Phase::Body, limit: self.timeout }),
            };
            let Ok(data) = frame.into_data() else { continue };
            self.received += data.len() as u64;
            if self.received > self.bytes_max {
                return Err(EgressError::TooLarge { limit: self.bytes_max });
            }
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
    }
}
