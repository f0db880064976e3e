//! The log of webhook deliveries, what was given up, and receivers that take nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::job::{DeliveryAttempt, DeliveryRecord, Receiver};

/// Deliveries, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryList {
    /// Newest first.
    pub deliveries: Vec<DeliveryView>,
}

/// One event on its way to one webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryView {
    /// The `webhook-id` of every attempt.
    pub id: String,
    /// The job.
    pub job: String,
    /// `job.succeeded`, `job.failed` or `job.cancelled`.
    pub event: String,
    /// Where to, without its query.
    pub url: String,
    /// `pending`, `delivered` or `failed`.
    pub status: String,
    /// When the event happened.
    pub created_at: String,
    /// When it was delivered or given up.
    pub ended_at: Option<String>,
    /// When the next attempt is due; null also while one is under way.
    pub next_attempt_at: Option<String>,
    /// Attempts begun.
    pub attempts_begun: u32,
    /// Attempts that have ended, oldest first. In a list of many deliveries, the last one alone.
    pub attempts: Vec<DeliveryAttemptView>,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryAttemptView {
    /// From 1. One is missing where the server died before it could be recorded.
    pub number: u32,
    /// When it was sent.
    pub at: String,
    /// The receiver's HTTP status; null if it did not answer.
    pub status: Option<u16>,
    /// Milliseconds from connecting to the end of the answer.
    pub latency_ms: u64,
    /// What went wrong.
    pub error: Option<String>,
    /// The first 4 KiB of the answer; null if there were none. What is no UTF-8 is shown as `\u{FFFD}`.
    pub answer: Option<String>,
}

/// Receivers that take nothing at present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReceiverList {
    /// By name.
    pub receivers: Vec<ReceiverView>,
}

/// A receiver of webhooks: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReceiverView {
    /// Such as `https://example.com`.
    pub receiver: String,
    /// `well`, `failing`, or `disabled` after 120 hours in which it did nothing but fail.
    pub status: String,
    /// Its first failure since its last success.
    pub failing_since: Option<String>,
    /// When it was disabled; nothing is sent to it until it is enabled.
    pub disabled_at: Option<String>,
    /// When it was asked last.
    pub attempted_at: String,
}

/// How many deliveries will be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RedeliveredView {
    /// Deliveries that are due now.
    pub deliveries: u64,
}

impl DeliveryList {
    /// The list of these.
    pub fn new(records: &[DeliveryRecord]) -> DeliveryList {
        DeliveryList { deliveries: records.iter().map(DeliveryView::new).collect() }
    }
}

impl DeliveryView {
    fn new(record: &DeliveryRecord) -> DeliveryView {
        let time = |timestamp: Option<Timestamp>| timestamp.map(|timestamp| timestamp.to_string());
        DeliveryView {
            id: record.id.to_string(),
            job: record.job.to_string(),
            event: record.event.name().to_owned(),
            url: super::view::without_query(&record.url).to_owned(),
            status: record.status.name().to_owned(),
            created_at: record.created_at.to_string(),
            ended_at: time(record.ended_at),
            next_attempt_at: time(record.next_attempt_at),
            attempts_begun: record.attempts_begun,
            attempts: record.attempts.iter().map(DeliveryAttemptView::new).collect(),
        }
    }
}

impl DeliveryAttemptView {
    fn new(attempt: &DeliveryAttempt) -> DeliveryAttemptView {
        let answer =
            (!attempt.answer.is_empty()).then(|| String::from_utf8_lossy(&attempt.answer).into_owned());
        DeliveryAttemptView {
            number: attempt.number,
            at: attempt.ended_at.minus(attempt.latency).to_string(),
            status: attempt.response_status,
            latency_ms: u64::try_from(attempt.latency.as_millis()).unwrap_or(u64::MAX),
            error: attempt.error.clone(),
            answer,
        }
    }
}

impl ReceiverView {
    /// What is told of a receiver.
    pub fn new(receiver: &Receiver) -> ReceiverView {
        ReceiverView {
            receiver: receiver.name.clone(),
            status: receiver.standing().name().to_owned(),
            failing_since: receiver.failing_since.map(|since| since.to_string()),
            disabled_at: receiver.disabled_at.map(|at| at.to_string()),
            attempted_at: receiver.attempted_at.to_string(),
        }
    }
}
