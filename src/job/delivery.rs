//! Webhook deliveries: one event of one job to one URL, with its attempts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::receiver::Standing;
use super::{JobId, KeyId};
use crate::clock::Timestamp;

/// What may be told to a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Event {
    /// Every output was made and stored.
    #[serde(rename = "job.succeeded")]
    Succeeded,
    /// The job was given up.
    #[serde(rename = "job.failed")]
    Failed,
    /// The job was stopped on request.
    #[serde(rename = "job.cancelled")]
    Cancelled,
}

impl Event {
    /// All of them: what a webhook hears unless it chooses.
    pub const ALL: [Event; 3] = [Event::Succeeded, Event::Failed, Event::Cancelled];

    /// The name in specs and bodies.
    pub fn name(self) -> &'static str {
        match self {
            Event::Succeeded => "job.succeeded",
            Event::Failed => "job.failed",
            Event::Cancelled => "job.cancelled",
        }
    }

    /// The event with this name.
    pub fn from_name(name: &str) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.name() == name)
    }

    /// The event that a job's end is, if it has ended.
    pub fn of(status: super::Status) -> Option<Event> {
        match status {
            super::Status::Succeeded => Some(Event::Succeeded),
            super::Status::Failed => Some(Event::Failed),
            super::Status::Cancelled => Some(Event::Cancelled),
            super::Status::Queued | super::Status::Running => None,
        }
    }
}

/// Identifies a delivery over all its attempts: the `webhook-id` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(Uuid);

impl DeliveryId {
    /// A new id.
    pub fn new() -> DeliveryId {
        DeliveryId(Uuid::now_v7())
    }

    /// The sixteen bytes, as stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// From the stored sixteen bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> DeliveryId {
        DeliveryId(Uuid::from_bytes(bytes))
    }
}

impl Default for DeliveryId {
    fn default() -> DeliveryId {
        DeliveryId::new()
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "msg_{}", self.0.as_simple())
    }
}

impl FromStr for DeliveryId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<DeliveryId, uuid::Error> {
        Uuid::parse_str(text.strip_prefix("msg_").unwrap_or("")).map(DeliveryId)
    }
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryStatus {
    /// Waiting for its next attempt, or being sent.
    Pending,
    /// A receiver answered 2xx.
    Delivered,
    /// The schedule ended, or the receiver answered 410.
    Failed,
}

impl DeliveryStatus {
    /// All of them, in the order of a delivery's life.
    pub const ALL: [DeliveryStatus; 3] =
        [DeliveryStatus::Pending, DeliveryStatus::Delivered, DeliveryStatus::Failed];

    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            DeliveryStatus::Pending => "pending",
            DeliveryStatus::Delivered => "delivered",
            DeliveryStatus::Failed => "failed",
        }
    }

    /// The status with this name.
    pub fn from_name(name: &str) -> Option<DeliveryStatus> {
        DeliveryStatus::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// A delivery to be stored in the transaction that ends its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// The event.
    pub event: Event,
    /// Where to.
    pub url: String,
    /// Scheme, host and port of `url`: what shares its patience with others.
    pub receiver: String,
    /// The body, fixed at the time of the event.
    pub body: Bytes,
    /// `traceparent` of the submit, passed on with every attempt.
    pub trace_parent: Option<String>,
}

/// A delivery whose attempt is due; claimed under a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// Its job.
    pub job: JobId,
    /// The key that submitted the job, whose secrets sign.
    pub owner: Option<KeyId>,
    /// The event.
    pub event: Event,
    /// Where to.
    pub url: String,
    /// Scheme, host and port of `url`.
    pub receiver: String,
    /// The body.
    pub body: Bytes,
    /// This attempt's number, from 1; also the fence of [`crate::store::JobStore::finish_delivery`].
    pub attempt: u32,
    /// The same counted from the last time that somebody asked for the delivery to be sent again: its place in the schedule.
    pub scheduled_attempt: u32,
    /// `traceparent` of the submit.
    pub trace_parent: Option<String>,
    /// What is known of the receiver.
    pub standing: Standing,
}

/// How a delivery attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryResult {
    /// Where the delivery stands now.
    pub status: DeliveryStatus,
    /// The receiver's HTTP status, if it answered.
    pub response_status: Option<u16>,
    /// What went wrong, for people; without internal addresses.
    pub error: Option<String>,
    /// When to try again, while pending.
    pub next_attempt_at: Option<Timestamp>,
    /// Whether the receiver was asked at all: not if its address is off limits, or it is disabled.
    pub is_sent: bool,
    /// From asking to the end of the answer.
    pub latency: Duration,
    /// The answer's beginning, at most [`ANSWER_BYTES_KEPT`].
    pub answer: Bytes,
}

/// Bytes of an answer that the log of deliveries keeps.
pub const ANSWER_BYTES_KEPT: usize = 4 * 1024;

/// One attempt in the log of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryAttempt {
    /// From 1. One is missing where the server died before it could be recorded.
    pub number: u32,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How long it took.
    pub latency: Duration,
    /// The receiver's HTTP status, if it answered.
    pub response_status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// The answer's beginning.
    pub answer: Bytes,
}

impl DeliveryAttempt {
    /// The entry for an attempt that has just been recorded.
    pub fn new(number: u32, result: &DeliveryResult, now: Timestamp) -> DeliveryAttempt {
        DeliveryAttempt {
            number,
            ended_at: now,
            latency: result.latency,
            response_status: result.response_status,
            error: result.error.clone(),
            answer: result.answer.slice(..result.answer.len().min(ANSWER_BYTES_KEPT)),
        }
    }
}

/// A delivery as the log shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Its id.
    pub id: DeliveryId,
    /// Its job.
    pub job: JobId,
    /// The event.
    pub event: Event,
    /// Where to.
    pub url: String,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// Attempts begun.
    pub attempts_begun: u32,
    /// When the event happened.
    pub created_at: Timestamp,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
    /// When the next attempt is due; `None` also while one is under way.
    pub next_attempt_at: Option<Timestamp>,
    /// Attempts recorded, oldest first; the latest only, where many deliveries are listed.
    pub attempts: Vec<DeliveryAttempt>,
}

/// What a job shows of its last delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookState {
    /// Where it stands; `None` until the job has ended with an event that the webhook wants.
    pub status: Option<DeliveryStatus>,
    /// Attempts made.
    pub attempts: u32,
    /// The receiver's last HTTP status.
    pub last_status: Option<u16>,
    /// When the next attempt is due.
    pub next_attempt_at: Option<Timestamp>,
}
