//! A request's body on its way in: its limits in bytes and time, its digest, and what happens to a body that nobody wants any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Version};
use prometheus_client::metrics::counter::Counter;

use super::activity::Activity;
use super::digest::Expected;
use super::error::{ApiError, Code};
use super::state::{State, UploadMark};

/// Bytes of an unwanted body that are still read, so that the client gets to see its answer instead of a reset connection.
const DRAIN_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// How long that may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// Slowest that a body may arrive, in bytes a second: the slowest modem is many times as fast, and who sends less only wants to hold the
/// connection.
const RATE_MIN: u64 = 256;
/// The rate is judged over this much waiting, or over [`super::Config::body_idle_timeout`] if that is longer.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// A body that nobody has asked for yet. Dropped before its end, it is drained within limits (HTTP/1) or refused (HTTP/2).
pub(super) struct Arriving {
    body: Option<Incoming>,
    activity: Arc<Activity>,
    http2: bool,
    /// The client waits for `100 Continue`, which hyper sends when the body is first asked for.
    waits: bool,
    broken: bool,
}

impl Arriving {
    pub(super) fn new(body: Incoming, head: &Parts, activity: Arc<Activity>) -> Arriving {
        let body = (!body.is_end_stream()).then_some(body);
        let waits = head.headers.contains_key(header::EXPECT);
        Arriving { body, activity, http2: head.version == Version::HTTP_2, waits, broken: false }
    }

    /// Takes the body out of its request; nothing is left in its place.
    pub(super) fn take(&mut self) -> Arriving {
        let activity = Arc::clone(&self.activity);
        Arriving {
            body: self.body.take(),
            activity,
            http2: self.http2,
            waits: self.waits,
            broken: self.broken,
        }
    }

    /// What the connection that brings it is doing.
    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        self.waits = false;
        loop {
            match self.body.as_mut()?.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Some(Ok(bytes));
                    }
                }
                Some(Err(error)) => {
                    self.broken = true;
                    return Some(Err(error));
                }
                None => {
                    // hyper takes a stream that was reset without an error for one that has ended.
                    let is_ended = self.body.as_ref().is_none_or(Body::is_end_stream);
                    self.broken = self.http2 && !is_ended;
                    self.body = None;
                    return None;
                }
            }
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        if self.http2 {
            return;
        }
        self.activity.mark_body_unread();
        if self.waits || self.broken {
            return;
        }
        let drain = async move {
            let mut left = DRAIN_BYTES_MAX;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                left = match left.checked_sub(length) {
                    Some(left) => left,
                    None => return,
                };
            }
        };
        tokio::spawn(tokio::time::timeout(DRAIN_TIME_MAX, drain));
    }
}

/// A body that is being received.
pub(super) struct Upload {
    arriving: Arriving,
    bytes_max: u64,
    announced: Option<u64>,
    received: u64,
    idle: Duration,
    pace: Pace,
    expected: Option<Expected>,
    counter: Counter,
    mark: UploadMark,
}

impl Upload {
    /// Judges what the head says of the body. Nothing is read yet.
    pub(super) fn begin(state: &Arc<State>, head: &Parts, arriving: Arriving) -> Result<Upload, ApiError> {
        let announced = check_framing(head, state.config.body_bytes_max)?;
        Ok(Upload {
            arriving,
            bytes_max: state.config.body_bytes_max,
            announced,
            received: 0,
            idle: state.config.body_idle_timeout,
            pace: Pace::over(state.config.body_idle_timeout.max(RATE_WINDOW)),
            expected: Expected::of(&head.headers)?,
            counter: state.services.metrics.received_bytes.clone(),
            mark: state.begin_upload(),
        })
    }

    /// The next bytes; `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        let asked = Instant::now();
        let Ok(next) = tokio::time::timeout(self.idle, self.arriving.next()).await else {
            self.arriving.broken = true;
            let detail = format!("No byte of the body arrived for {} s.", self.idle.as_secs_f32());
            return Err(ApiError::new(Code::RequestTimeout, detail));
        };
        let is_whole = self.announced == Some(self.received);
        let bytes = match next {
            Some(Ok(bytes)) => bytes,
            // That nothing follows was on its way, too, when the stream was reset or the connection ended.
            Some(Err(_)) if self.arriving.http2 && is_whole => return Ok(None),
            Some(Err(error)) => return Err(ended_early().because(error)),
            None if self.arriving.broken && !is_whole => return Err(ended_early()),
            None => return Ok(None),
        };
        self.received += bytes.len() as u64;
        if !self.pace.is_kept(asked.elapsed(), bytes.len() as u64) {
            self.arriving.broken = true;
            let detail = format!("The body arrives at less than {RATE_MIN} bytes a second.");
            return Err(ApiError::new(Code::RequestTimeout, detail));
        }
        self.counter.inc_by(bytes.len() as u64);
        if self.received > self.bytes_max {
            return Err(too_large(self.bytes_max));
        }
        if let Some(expected) = &mut self.expected {
            expected.update(&bytes);
        }
        Ok(Some(bytes))
    }

    /// Reads what is left and checks the digest that the client has announced. The mark counts it among the uploads for as long as memory is held
    /// for it.
    pub(super) async fn finish(mut self) -> Result<UploadMark, ApiError> {
        while self.chunk().await?.is_some() {}
        // The body of a connection that was dropped here just ends.
        let complete = self.announced.is_none_or(|announced| announced == self.received);
        if !complete || self.arriving.activity.is_cut() {
            return Err(ended_early());
        }
        if let Some(expected) = self.expected.take() {
            expected.verify()?;
        }
        Ok(self.mark)
    }
}

/// How fast a body comes while it is waited for: time that this server takes for itself is not the sender's.
#[derive(Debug)]
struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn over(window: Duration) -> Pace {
        Pace { window, waited: Duration::ZERO, bytes: 0 }
    }

    /// Adds a wait and what came of it; `false` when a whole window has brought too little.
    fn is_kept(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.window {
            return true;
        }
        let is_kept = self.bytes >= RATE_MIN * self.waited.as_secs();
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        is_kept
    }
}

fn ended_early() -> ApiError {
    ApiError::new(Code::InvalidRequest, "The body ended before its announced end.")
}

fn too_large(bytes_max: u64) -> ApiError {
    let detail =
        format!("The body is larger than {bytes_max} bytes, the limit of this server (setting limits.body).");
    ApiError::new(Code::BodyTooLarge, detail)
}

/// Whether a body of this length, coding and framing is read at all; the length, if it is announced.
fn check_framing(head: &Parts, bytes_max: u64) -> Result<Option<u64>, ApiError> {
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(coding) =
        text(header::CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        let coding: String = coding.chars().take(64).collect();
        let detail =
            format!("Bodies in the content coding {coding:?} are not read; send the bytes as they are.");
        return Err(ApiError::new(Code::UnsupportedFormat, detail));
    }
    match text(header::CONTENT_LENGTH).map(str::parse::<u64>) {
        Some(Ok(length)) if length > bytes_max => Err(too_large(bytes_max)),
        Some(length) => Ok(length.ok()),
        None => {
            let framed =
                head.version == Version::HTTP_2 || head.headers.contains_key(header::TRANSFER_ENCODING);
            if framed || head.method != Method::POST {
                return Ok(None);
            }
            // A body that came all the same would be taken for the next request.
            let error = ApiError::new(Code::LengthRequired, "Send a Content-Length, or the body in chunks.");
            Err(error.header(header::CONNECTION, HeaderValue::from_static("close")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dribbler_is_told_from_a_slow_line() {
        let second = Duration::from_secs(1);
        let kept = |bytes: u64| {
            let mut pace = Pace::over(10 * second);
            (0..30).all(|_| pace.is_kept(second, bytes))
        };
        assert!(kept(RATE_MIN) && !kept(RATE_MIN - 1) && !kept(1));
        let mut pace = Pace::over(10 * second);
        assert!(pace.is_kept(9 * second, 0) && pace.is_kept(second, 2560), "a pause may be made up for");
        assert!(pace.is_kept(9 * second, 0) && !pace.is_kept(second, 2559));
    }
}
