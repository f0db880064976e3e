//! The state machine: every change of a job is one of these pure methods, run by a store inside one transaction.
//!
//! `version` grows with every change. Progress inside a running attempt is published live without a transaction, as the stored version
//! plus at most [`LIVE_VERSIONS`] − 1; therefore every change made to a running job adds [`LIVE_VERSIONS`], and what a client has
//! seen never goes backwards, not even across a crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::delivery::{DeliveryResult, NewDelivery};
use super::history::{self, DEATHS_MAX};
use super::{
    AttemptEnd, AttemptRecord, Code, DeliveryId, DeliveryStatus, Event, Failure, Job, JobId, Output,
    SourceInfo, SourceSpec, Status, Suspicion, Timings, Warning, WebhookState, receiver_of,
};
use crate::clock::Timestamp;
use crate::pipeline::Input;

/// Longest that results are kept beyond their time because their delivery came late.
const KEPT_AFTER_DELIVERY_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Versions that live progress of one attempt may use up between two stored ones.
pub const LIVE_VERSIONS: u64 = 1000;

/// The right to run one attempt until a time. `(job, attempt)` is the fence: whoever holds an older attempt is told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// Fresh per boot: who holds it.
    pub worker: uuid::Uuid,
}

/// What an attempt has to show, whatever its outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Where the time went.
    pub timings: Timings,
    /// What the pipeline found out of the source.
    pub analysis: BTreeMap<String, serde_json::Value>,
    /// What the pipeline remarked.
    pub warnings: Vec<Warning>,
    /// Whether the pipeline has begun: only then can the process be said to have survived it.
    pub has_run: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Every output was made and stored.
    Succeeded(Vec<Output>),
    /// Given up.
    Failed(Failure),
    /// A transient failure; try again at this moment.
    Retry(Failure, Timestamp),
    /// The attempt was given back unused (a drain): it doesn't count.
    Released,
    /// The attempt's own process died: it is counted apart. Try again at this moment, unless that happens too often.
    Died(Failure, Timestamp),
    /// Stopped on request.
    Cancelled,
}

/// How an attempt went missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its lease ran out, or its process ended for reasons that are no job's: nobody is to blame.
    Lease,
    /// The process that ran it died, for all that is known of one of its jobs.
    Process,
    /// The server died, while the attempt ran in a process of its own: the image had no part in it, once its header was read.
    Server,
}

/// Makes the body of a webhook from the job as it ended; handed to the store so that the body is fixed inside the transaction.
pub type Render = Arc<dyn Fn(&Job, Event, Timestamp) -> Bytes + Send + Sync>;

/// How long ended jobs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Succeeded jobs that name no time of their own. Default 24 h.
    pub succeeded: Duration,
    /// Failed and cancelled jobs. Default 7 d.
    pub failed: Duration,
    /// Tombstones of removed jobs, answered with 410. Default 30 d.
    pub tombstones: Duration,
    /// Ended deliveries. Default 7 d.
    pub deliveries: Duration,
    /// Idempotency keys. Default 24 h.
    pub idempotency_keys: Duration,
}

impl Default for Retention {
    fn default() -> Retention {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Retention {
            succeeded: DAY,
            failed: 7 * DAY,
            tombstones: 30 * DAY,
            deliveries: 7 * DAY,
            idempotency_keys: DAY,
        }
    }
}

impl Job {
    /// A new job, queued. `source` and `memory_bytes` are known when the image came with the request.
    pub fn submitted(
        id: JobId,
        spec: Arc<super::JobSpec>,
        source: Option<SourceInfo>,
        memory_bytes: u64,
        warnings: Vec<Warning>,
        now: Timestamp,
    ) -> Job {
        let webhook = spec.webhook.as_ref().map(|_| WebhookState {
            status: None,
            attempts: 0,
            last_status: None,
            next_attempt_at: None,
        });
        Job {
            id,
            owner: None,
            version: 1,
            status: Status::Queued,
            attempt: 0,
            forgiven: 0,
            attempts: Vec::new(),
            suspicion: None,
            progress: 0.0,
            memory_bytes,
            cancel_requested: false,
            created_at: now,
            run_at: spec.run_at.unwrap_or(now).max(now),
            started_at: None,
            finished_at: None,
            expires_at: None,
            timings: Timings::default(),
            source,
            assets: Vec::new(),
            outputs: Vec::new(),
            analysis: BTreeMap::new(),
            warnings,
            error: None,
            webhook,
            trace_parent: None,
            spec,
        }
    }

    /// Whether anything must be fetched or found out before it is known what the pipeline needs: of the source, or of an image that an
    /// operation names by its URL.
    pub fn needs_fetch(&self) -> bool {
        let is_unread = self.source.as_ref().is_some_and(|source| source.image.is_none());
        let names_url = || self.spec.pipeline.inputs().any(|(_, input)| matches!(input, Input::Url(_)));
        is_unread || self.lacks_source() || names_url()
    }

    /// Whether the source is still where its URL says: no image has been looked into before it is stored here.
    fn lacks_source(&self) -> bool {
        self.source.is_none() && matches!(self.spec.source, SourceSpec::Url { .. })
    }

    /// Whether this lease still holds.
    pub fn is_held_by(&self, lease: &Lease) -> bool {
        self.id == lease.job && self.status == Status::Running && self.attempt == lease.attempt
    }

    /// An attempt begins.
    pub fn claim(&mut self, now: Timestamp) {
        self.version += 1;
        self.status = Status::Running;
        self.attempt += 1;
        self.progress = 0.0;
        self.timings = Timings {
            queued: u64::try_from(now.since(self.run_at).as_millis()).unwrap_or(u64::MAX),
            ..Timings::default()
        };
        self.started_at = Some(now);
        self.cancel_requested = false;
    }

    /// An attempt of a suspect begins; `is_alone` if nothing else runs, so that a death of the process would speak against it.
    pub fn claim_suspect(&mut self, is_alone: bool, now: Timestamp) {
        self.claim(now);
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.is_alone = is_alone;
        }
    }

    /// The running attempt has stored the source that it fetched, whose headers are erased with that; or has looked into it, and knows what
    /// it needs.
    pub fn set_source(&mut self, source: SourceInfo, memory_bytes: u64) {
        self.version += LIVE_VERSIONS;
        self.source = Some(source);
        self.memory_bytes = memory_bytes;
        if let SourceSpec::Url { headers, .. } = &self.spec.source
            && !headers.is_empty()
        {
            let mut spec = (*self.spec).clone();
            if let SourceSpec::Url { headers, .. } = &mut spec.source {
                headers.clear();
            }
            self.spec = Arc::new(spec);
        }
    }

    /// The running attempt ends. A cancel that was asked for meanwhile turns a retry or a release into the end; an attempt that
    /// succeeded all the same stays a success.
    pub fn finish(&mut self, outcome: Outcome, attempt: Attempt, retention: &Retention, now: Timestamp) {
        self.version += LIVE_VERSIONS;
        self.timings = Timings { queued: self.timings.queued, ..attempt.timings };
        if !attempt.warnings.is_empty() {
            // What the submit told beside the plan's own stays.
            self.warnings.retain(|known| !attempt.warnings.contains(known));
            self.warnings.extend(attempt.warnings);
        }
        let cancel_requested = std::mem::take(&mut self.cancel_requested);
        let is_survived = match &outcome {
            Outcome::Succeeded(_) => true,
            // It was not seen through.
            Outcome::Released => false,
            // What failed before its image was touched says nothing about the image.
            Outcome::Failed(_) | Outcome::Retry(..) | Outcome::Died(..) | Outcome::Cancelled => {
                attempt.has_run
            }
        };
        match &mut self.suspicion {
            // It has neither cleared itself nor shown any guilt.
            Some(suspicion) if !is_survived => suspicion.is_alone = false,
            _ => self.suspicion = None,
        }
        match &outcome {
            Outcome::Succeeded(_) => self.remember(AttemptEnd::Succeeded, None, now),
            Outcome::Failed(failure) | Outcome::Retry(failure, _) => {
                self.remember(AttemptEnd::Failed, Some(failure.clone()), now);
            }
            Outcome::Died(failure, _) => {
                let is_last = history::own_deaths(&self.attempts) + 1 >= DEATHS_MAX;
                let end = if is_last { AttemptEnd::Failed } else { AttemptEnd::Died };
                self.remember(end, Some(failure.clone()), now);
            }
            Outcome::Released => self.remember(AttemptEnd::Released, None, now),
            Outcome::Cancelled => self.remember(AttemptEnd::Cancelled, None, now),
        }
        match outcome {
            Outcome::Succeeded(outputs) => {
                self.progress = 1.0;
                self.outputs = outputs;
                self.analysis = attempt.analysis;
                self.error = None;
                self.end(Status::Succeeded, retention, now);
            }
            Outcome::Failed(failure) => {
                self.error = Some(failure);
                self.end(Status::Failed, retention, now);
            }
            Outcome::Cancelled => self.end(Status::Cancelled, retention, now),
            Outcome::Retry(..) | Outcome::Released | Outcome::Died(..) if cancel_requested => {
                self.end(Status::Cancelled, retention, now);
            }
            Outcome::Retry(failure, at) => {
                self.error = Some(failure);
                self.requeue(at);
            }
            Outcome::Died(failure, at) => {
                // The last of them stands in the history as the failure that it is.
                if history::own_deaths(&self.attempts) == 0 {
                    let detail = format!("{}, {DEATHS_MAX} times in a row", failure.detail);
                    self.error = Some(Failure::new(failure.code, detail, false));
                    self.end(Status::Failed, retention, now);
                } else {
                    self.error = Some(failure);
                    self.forgiven += 1;
                    self.requeue(at);
                }
            }
            Outcome::Released => {
                self.forgiven += 1;
                self.requeue(now);
            }
        }
    }

    /// The attempt went missing: back to the queue, without counting it. Whose process died becomes a suspect, unless its source was still
    /// being fetched, which is stored before anybody looks into it; after [`DEATHS_MAX`] deaths in which it was alone, nobody else can have
    /// been the cause.
    pub fn reap(&mut self, loss: Loss, retention: &Retention, now: Timestamp) {
        self.version += LIVE_VERSIONS;
        let end = match loss {
            Loss::Lease => AttemptEnd::Lost,
            Loss::Process | Loss::Server => AttemptEnd::Died,
        };
        let is_fetch = self.lacks_source() && self.suspicion.is_none();
        self.remember(end, None, now);
        // The header of what was fetched is looked at in the server itself, wherever the rest is done.
        let is_unread = self.source.as_ref().is_some_and(|source| source.image.is_none());
        let is_suspect = match loss {
            Loss::Lease => false,
            Loss::Process => !is_fetch,
            Loss::Server => is_unread,
        };
        if is_suspect {
            let suspicion = self.suspicion.get_or_insert_default();
            suspicion.deaths += u32::from(suspicion.is_alone);
        }
        let deaths = self.suspicion.as_mut().map_or(0, |suspicion| {
            suspicion.is_alone = false;
            suspicion.deaths
        });
        if std::mem::take(&mut self.cancel_requested) {
            self.end(Status::Cancelled, retention, now);
        } else if deaths >= DEATHS_MAX {
            let detail =
                format!("the server died {deaths} times while it was running this job and nothing else");
            self.error = Some(Failure::new(Code::Crashed, detail, false));
            self.end(Status::Failed, retention, now);
        } else {
            self.forgiven += 1;
            self.requeue(now);
        }
    }

    /// Attempts that count against `max_attempts`.
    pub fn attempts_counted(&self) -> u32 {
        self.attempt.saturating_sub(self.forgiven)
    }

    /// Cancels: at once while queued, by asking the attempt while running; `false` when the job had ended or was asked before.
    pub fn cancel(&mut self, retention: &Retention, now: Timestamp) -> bool {
        match self.status {
            Status::Queued => {
                self.version += 1;
                self.end(Status::Cancelled, retention, now);
                true
            }
            Status::Running if !self.cancel_requested => {
                self.version += LIVE_VERSIONS;
                self.cancel_requested = true;
                true
            }
            Status::Running | Status::Succeeded | Status::Failed | Status::Cancelled => false,
        }
    }

    /// Puts a failed or cancelled job back into the queue with its attempts counted from zero again; `false` in any other state, or when
    /// an uploaded source was never stored and so can't be had again.
    pub fn retry(&mut self, now: Timestamp) -> bool {
        let source_lost = self.source.is_none() && self.spec.source == SourceSpec::Upload;
        if !matches!(self.status, Status::Failed | Status::Cancelled) || source_lost {
            return false;
        }
        self.version += 1;
        self.forgiven = self.attempt;
        self.error = None;
        // What took the process down before is tried alone again, with a clean record.
        self.suspicion = self.suspicion.map(|_| Suspicion { is_retried: true, ..Suspicion::default() });
        self.finished_at = None;
        self.expires_at = None;
        self.timings = Timings::default();
        self.requeue(now);
        if let Some(webhook) = &mut self.webhook {
            *webhook = WebhookState { status: None, attempts: 0, last_status: None, next_attempt_at: None };
        }
        true
    }

    /// The delivery that this job's end calls for, if its webhook wants the event. Part of the change that ends the job.
    pub fn announce(&mut self, render: &Render, now: Timestamp) -> Option<NewDelivery> {
        let event = Event::of(self.status)?;
        let webhook = self.spec.webhook.clone().filter(|webhook| webhook.events.contains(&event))?;
        self.webhook = Some(WebhookState {
            status: Some(DeliveryStatus::Pending),
            attempts: 0,
            last_status: None,
            next_attempt_at: Some(now),
        });
        let receiver = receiver_of(&webhook.url);
        let body = render(self, event, now);
        let trace_parent = self.trace_parent.clone();
        Some(NewDelivery { id: DeliveryId::new(), event, url: webhook.url, receiver, body, trace_parent })
    }

    /// A delivery of this job has made its `attempts`-th attempt. Whoever is told late has as long to fetch the results as one who is told
    /// at once, up to a day, and so has whoever sends a delivery again that was given up.
    pub fn delivery_attempted(&mut self, attempts: u32, result: &DeliveryResult, now: Timestamp) {
        self.version += 1;
        let came_late = attempts > 1 && result.status != DeliveryStatus::Pending;
        if let (true, Some(finished_at), Some(expires_at)) = (came_late, self.finished_at, self.expires_at) {
            let kept = expires_at.since(finished_at).min(KEPT_AFTER_DELIVERY_MAX);
            self.expires_at = Some(expires_at.max(now.plus(kept)));
        }
        self.webhook = Some(WebhookState {
            status: Some(result.status),
            attempts,
            last_status: result.response_status,
            next_attempt_at: result.next_attempt_at,
        });
    }

    /// The delivery that this job shows is to be sent again.
    pub fn redelivered(&mut self, now: Timestamp) {
        self.version += 1;
        if let Some(webhook) = &mut self.webhook {
            webhook.status = Some(DeliveryStatus::Pending);
            webhook.next_attempt_at = Some(now);
        }
    }

    fn remember(&mut self, end: AttemptEnd, error: Option<Failure>, now: Timestamp) {
        let started_at = self.started_at.unwrap_or(now);
        let record = AttemptRecord { number: self.attempt, started_at, finished_at: now, end, error };
        history::remember(&mut self.attempts, record);
    }

    fn requeue(&mut self, at: Timestamp) {
        self.status = Status::Queued;
        self.progress = 0.0;
        self.run_at = at;
    }

    fn end(&mut self, status: Status, retention: &Retention, now: Timestamp) {
        self.status = status;
        self.finished_at = Some(now);
        let kept = match status {
            Status::Succeeded => self.spec.expires_in.unwrap_or(retention.succeeded),
            _ => retention.failed,
        };
        self.expires_at = Some(now.plus(kept));
    }
}

#[cfg(test)]
mod tests;
