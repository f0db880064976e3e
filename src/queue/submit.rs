//! Submitting: from a valid spec and a stored source to an acknowledged job.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashSet;

use super::{Queue, QueueError, Shared};
use crate::job::{AssetInfo, Job, JobId, JobSpec, KeyId, SourceInfo, Warning};
use crate::store::{IdempotencyKey, Inserted, NewJob};

/// What a job takes on the disk beside its source and a result of the same size: rows, indexes, the log, whole blocks.
const JOB_BYTES: u64 = 64 * 1024;

/// A job to be submitted.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Its id, chosen before the source was stored under it.
    pub id: JobId,
    /// The API key that submits it.
    pub owner: Option<KeyId>,
    /// What to do.
    pub spec: JobSpec,
    /// The image that came with the request; `None` when it must be fetched.
    pub source: Option<(SourceInfo, SourceBytes)>,
    /// Images that came with the request for its operations.
    pub assets: Vec<(AssetInfo, SourceBytes)>,
    /// Planned memory of an attempt; 0 while unknown.
    pub memory_bytes: u64,
    /// What the plan remarked.
    pub warnings: Vec<Warning>,
    /// `traceparent` of the request.
    pub trace_parent: Option<String>,
    /// Commits with the job.
    pub idempotency_key: Option<IdempotencyClaim>,
}

/// A client's idempotency key and what it was sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyClaim {
    /// The client's key.
    pub key: String,
    /// SHA-256 over the canonical spec and every part's digest.
    pub fingerprint: [u8; 32],
}

/// Where the bytes of a submitted source or asset are.
#[derive(Clone, Debug)]
pub enum SourceBytes {
    /// Here; they are stored in the job's own transaction.
    Inline(Bytes),
    /// Already stored under their [`crate::blob::BlobKey`].
    Blob,
}

/// What became of a submission. After anything but `Created` the caller removes the blob it had stored.
#[derive(Clone, Debug)]
pub enum Submitted {
    /// The job is on stable storage.
    Created(Arc<Job>),
    /// The same submission was acknowledged before: the job as it is now.
    Replayed(Arc<Job>),
    /// The same submission was acknowledged before, and its job is gone.
    ReplayedGone(JobId),
    /// The idempotency key was used for something else.
    IdempotencyMismatch,
}

/// Holds an idempotency key while its submission is in flight.
#[derive(Debug)]
pub struct KeyGuard {
    key: (Option<KeyId>, String),
    keys: Arc<DashSet<(Option<KeyId>, String)>>,
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        self.keys.remove(&self.key);
    }
}

/// Counts a submission while it is on its way into the line.
struct Place {
    shared: Arc<Shared>,
    /// Whose share it counts in.
    owner: Option<KeyId>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.submits_in_flight.fetch_sub(1, Ordering::AcqRel);
        self.shared.line.release(&self.owner);
    }
}

impl Queue {
    /// Whether a submission of this owner would be taken now; asked before its body is received.
    pub fn admit(&self, owner: &Option<KeyId>) -> Result<(), QueueError> {
        let shared = &self.shared;
        let in_flight = shared.submits_in_flight.load(Ordering::Acquire);
        if shared.line.len() + in_flight >= shared.config.queued_max {
            return Err(QueueError::Full { retry_after: self.place_expected_in() });
        }
        if !shared.line.has_place(owner, shared.config.queued_max) {
            return Err(self.share_full(owner));
        }
        self.require_space()
    }

    /// Claims an idempotency key of this owner for one submission; `None` while another holds it.
    pub fn begin_key(&self, owner: &Option<KeyId>, key: &str) -> Option<KeyGuard> {
        let keys = Arc::clone(&self.shared.keys_in_flight);
        let key = (owner.clone(), key.to_owned());
        keys.insert(key.clone()).then(|| KeyGuard { key, keys })
    }

    /// Stores the job. When this returns `Created`, job and source are on stable storage. Runs to its end even if the caller goes away.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, QueueError> {
        let place = self.take_place(&submission.owner)?;
        self.take_space(&submission).await?;
        let queue = self.clone();
        let task = tokio::spawn(async move {
            let submitted = queue.insert(submission).await;
            if matches!(submitted, Err(QueueError::StorageFull)) {
                // Not at the next turn: until then others would eat the room that the store has just given up for those who free some.
                // A look that fails is reported by housekeeping, which looks again.
                let _ = queue.look_at_space().await;
            }
            drop(place);
            submitted
        });
        task.await.unwrap_or_else(|error| {
            Err(QueueError::Unavailable(format!("the submission was abandoned: {error}")))
        })
    }

    async fn insert(&self, submission: Submission) -> Result<Submitted, QueueError> {
        let shared = &self.shared;
        let (source, inline_source) = match submission.source {
            Some((info, SourceBytes::Inline(bytes))) => {
                (Some(SourceInfo { inline: true, ..info }), Some(bytes))
            }
            Some((info, SourceBytes::Blob)) => (Some(SourceInfo { inline: false, ..info }), None),
            None => (None, None),
        };
        let mut job = Job::submitted(
            submission.id,
            Arc::new(submission.spec),
            source,
            submission.memory_bytes,
            submission.warnings,
            shared.clock.now(),
        );
        job.owner = submission.owner;
        job.trace_parent = submission.trace_parent;
        let mut inline_assets = Vec::new();
        for (info, bytes) in submission.assets {
            let inline = matches!(bytes, SourceBytes::Inline(_));
            if let SourceBytes::Inline(bytes) = bytes {
                inline_assets.push((info.name.clone(), bytes));
            }
            job.assets.push(AssetInfo { inline, ..info });
        }
        let kept = shared.config.retention.idempotency_keys;
        let idempotency_key = submission
            .idempotency_key
            .map(|IdempotencyClaim { key, fingerprint }| IdempotencyKey { key, fingerprint, kept });
        let new = NewJob { job, inline_source, inline_assets, idempotency_key };
        Ok(match shared.store.insert(new).await? {
            Inserted::Created(job) => {
                shared.metrics.jobs_submitted.inc();
                Submitted::Created(self.publish(job))
            }
            Inserted::Duplicate(job) => Submitted::Replayed(Arc::new(job)),
            Inserted::DuplicateGone(id) => Submitted::ReplayedGone(id),
            Inserted::Mismatch => Submitted::IdempotencyMismatch,
        })
    }

    fn take_place(&self, owner: &Option<KeyId>) -> Result<Place, QueueError> {
        let shared = Arc::clone(&self.shared);
        let places = shared.config.queued_max;
        shared.line.reserve(owner, places).ok_or_else(|| self.share_full(owner))?;
        shared.submits_in_flight.fetch_add(1, Ordering::AcqRel);
        let place = Place { shared, owner: owner.clone() };
        // This submission counts among those in flight already.
        let taken = place.shared.line.len() + place.shared.submits_in_flight.load(Ordering::Acquire);
        if taken > places {
            return Err(QueueError::Full { retry_after: self.place_expected_in() });
        }
        self.require_space()?;
        Ok(place)
    }

    /// Takes the job's share of the room found at the last look. Where it is used up, looks again: within the second between two looks, a
    /// small disk can be filled to its last byte.
    async fn take_space(&self, submission: &Submission) -> Result<(), QueueError> {
        let source_bytes = submission.source.as_ref().map_or(0, |(info, _)| info.bytes);
        let asset_bytes: u64 = submission.assets.iter().map(|(info, _)| info.bytes).sum();
        let share = i64::try_from(2 * source_bytes + asset_bytes + JOB_BYTES).unwrap_or(i64::MAX);
        if self.shared.space_bytes.fetch_sub(share, Ordering::AcqRel) >= share {
            return Ok(());
        }
        self.look_at_space().await?;
        self.require_space()
    }

    /// Refuses what is new while the room left is kept for what was taken already.
    fn require_space(&self) -> Result<(), QueueError> {
        match self.shared.is_space_low.load(Ordering::Acquire) {
            true => Err(QueueError::StorageFull),
            false => Ok(()),
        }
    }

    /// Why an owner gets no more places; one is free again when the first of its jobs begins.
    fn share_full(&self, owner: &Option<KeyId>) -> QueueError {
        if owner.is_none() {
            return QueueError::Full { retry_after: self.place_expected_in() };
        }
        let moves_in = self.shared.line.moves_in(owner, self.shared.clock.now());
        let seconds = moves_in.map_or(1, |wait| wait.as_secs() + 1).clamp(1, 60);
        QueueError::ShareFull { retry_after: Duration::from_secs(seconds) }
    }

    /// When a full line is likely to have moved: the mean time between two jobs' ends in the last minute, 1 s to 60 s.
    pub(super) fn place_expected_in(&self) -> Duration {
        let finished = self.shared.throughput.last_minute(None, self.shared.clock.now()).ended;
        Duration::from_secs((60 / finished.max(1)).clamp(1, 60))
    }
}
