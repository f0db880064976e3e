//! One attempt: what is sent, and what follows from the answer.
//!
//! Pure: time and randomness are handed in, and nothing is sent from here. Used by the deliverer.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};

use super::schedule::{Answered, Verdict, verdict};
use super::signature::{Secret, sign_with_all};
use crate::clock::Timestamp;
use crate::egress::{Answer, EgressError};
use crate::job::{ANSWER_BYTES_KEPT, Delivery, DeliveryResult, DeliveryStatus};

/// An answer that takes longer is a slow one.
pub(super) const QUICK: Duration = Duration::from_secs(1);

/// The headers of Standard Webhooks 1.0, signed with the time of this attempt, and the trace that the submit belonged to.
pub(super) fn headers(
    delivery: &Delivery,
    secrets: &[Secret],
    wall: Timestamp,
    trace_parent: Option<&str>,
) -> HeaderMap {
    let id = delivery.id.to_string();
    let timestamp = wall.as_seconds();
    let signature = sign_with_all(secrets, &id, timestamp, &delivery.body);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("minilab/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in
        [("webhook-id", id), ("webhook-timestamp", timestamp.to_string()), ("webhook-signature", signature)]
    {
        let value = HeaderValue::try_from(value).expect("ids, numbers and base64 are visible ASCII");
        headers.insert(name, value);
    }
    if let Some(Ok(value)) = trace_parent.map(HeaderValue::from_str) {
        headers.insert(HeaderName::from_static("traceparent"), value);
    }
    headers
}

/// Whether a receiver took a delivery, and within a second.
pub(super) fn is_quick(answer: &Result<Answer, EgressError>) -> bool {
    answer.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status) && answer.latency <= QUICK)
}

/// The result of a delivery to a receiver that is disabled: nothing is sent.
pub(super) fn disabled() -> DeliveryResult {
    let error = "the receiver is disabled: it did nothing but fail for 120 h; once it is enabled, this can be sent again";
    unsent(error.to_owned())
}

/// What follows from an answer, or from there being none after `elapsed`. An address that is off limits stays so: that is final. `unit` is
/// a random number in 0..1.
pub(super) fn judge(
    delivery: &Delivery,
    answer: Result<Answer, EgressError>,
    elapsed: Duration,
    unit: f64,
    now: Timestamp,
) -> DeliveryResult {
    let (answered, response_status, mut error, latency, answer) = match answer {
        Ok(Answer { status, retry_after, body, latency, .. }) => {
            let error = (!(200..300).contains(&status))
                .then(|| format!("the receiver answered with status {status}"));
            (Answered::Status { code: status, retry_after }, Some(status), error, latency, body)
        }
        Err(error @ EgressError::Forbidden(_)) => return unsent(error.to_string()),
        Err(error) => (Answered::Failed, None, Some(error.to_string()), elapsed, Bytes::new()),
    };
    let (status, next_attempt_at) = match verdict(delivery.scheduled_attempt, answered, unit) {
        Verdict::Delivered => {
            error = None;
            (DeliveryStatus::Delivered, None)
        }
        Verdict::Gone | Verdict::GiveUp => (DeliveryStatus::Failed, None),
        Verdict::RetryAfter(wait) => (DeliveryStatus::Pending, Some(now.plus(wait))),
    };
    // A copy: a slice would keep all that was read.
    let answer = Bytes::copy_from_slice(&answer[..answer.len().min(ANSWER_BYTES_KEPT)]);
    DeliveryResult { status, response_status, error, next_attempt_at, is_sent: true, latency, answer }
}

fn unsent(error: String) -> DeliveryResult {
    DeliveryResult {
        status: DeliveryStatus::Failed,
        response_status: None,
        error: Some(error),
        next_attempt_at: None,
        is_sent: false,
        latency: Duration::ZERO,
        answer: Bytes::new(),
    }
}
