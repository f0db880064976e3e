//! One attempt from claim to finish: source, memory, thread, outputs, outcome.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::assets::{self, Given};
use super::control::{AttemptControl, Stop};
use super::deliver::{Wanted, deliver};
use super::error::{Judge, WorkError, panicked_with};
use super::execute::{Executed, Source, Task, timed_out};
use super::fetch::{self, FetchedSource};
use super::load::Slot;
use super::memory::MemoryGrant;
use super::pool::Ended;
use super::rooms::Rooms;
use crate::blob::{BlobKey, INLINE_BYTES_MAX};
use crate::job::{Attempt, Job, Lease, Outcome, Output, SourceInfo, Timings, Warning};
use crate::pipeline::{Encoded, Input};
use crate::queue::{Claimed, Finish, QueueError};
use crate::telemetry::Complaint;
use crate::telemetry::trace::{failed, follow, span, stage};

/// Between two looks whether a thread has started the clock.
const CLOCK_LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long a thread may go on after it was asked to stop, or its time was up, before it counts as stuck and is replaced.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// Between two tries to record an end that the store could not commit.
const FINISH_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// What a pool thread will need.
struct Prepared {
    source: Source,
    given: Vec<Given>,
    memory_bytes: u64,
}

/// Results that are stored but not yet published.
struct Stored {
    outputs: Vec<Output>,
    inline: Vec<(String, Bytes)>,
    analysis: BTreeMap<String, serde_json::Value>,
    warnings: Vec<Warning>,
}

/// One running attempt.
pub(super) struct Run {
    rooms: Arc<Rooms>,
    lease: Lease,
    control: Arc<AttemptControl>,
    fetch_time: Duration,
    store_time: Duration,
    /// Blobs stored so far; removed again unless they are published.
    unpublished: Vec<BlobKey>,
}

/// Drives a claimed job to its end. `grant` is the memory of a job whose needs were known at the claim, if it
/// was free.
pub(super) async fn run(
    rooms: Arc<Rooms>,
    claimed: Claimed,
    grant: Option<MemoryGrant>,
    slot: Slot,
    control: Arc<AttemptControl>,
) {
    let Claimed { job, lease, inline_source } = claimed;
    let span = span!("attempt", "consumer", job.id = %lease.job, job.attempt = i64::from(lease.attempt), job.status = Empty);
    follow(&span, || job.trace_parent.clone());
    let _held = rooms.leases.hold(lease, Arc::clone(&control));
    let mut watch = rooms.queue.watch_attempt(lease.job);
    let mut run = Run {
        rooms,
        lease,
        control: Arc::clone(&control),
        fetch_time: Duration::ZERO,
        store_time: Duration::ZERO,
        unpublished: Vec::new(),
    };
    let attempt = async {
        let result = run.work(&job, inline_source, grant, slot).await;
        run.end(&job, result).await;
    }
    .instrument(span);
    tokio::pin!(attempt);
    tokio::select! {
        () = &mut attempt => return,
        () = watch.cancelled() => control.stop(Stop::Cancelled),
    }
    attempt.await;
}

impl Run {
    async fn work(
        &mut self,
        job: &Job,
        inline_source: Option<Bytes>,
        grant: Option<MemoryGrant>,
        mut slot: Slot,
    ) -> Result<Stored, WorkError> {
        if let Some(image) = job.source.as_ref().and_then(|source| source.image) {
            self.control.source_is(image.format);
        }
        let prepared = if job.needs_fetch() {
            let prepared = self.fetch(job, inline_source).await?;
            slot.become_ready();
            prepared
        } else {
            let given = assets::gather(&self.rooms, job).await?;
            let source = self.stored_source(job, inline_source)?;
            let memory_bytes = self.memory_needed(job, &source, &given).await?;
            Prepared { source, given, memory_bytes }
        };
        let mut grant = Arc::new(match grant.filter(|_| prepared.memory_bytes <= job.memory_bytes) {
            Some(grant) => grant,
            None => self.unless_stopped(self.rooms.memory.take(prepared.memory_bytes)).await?,
        });
        let assets = assets::load(prepared.given).await?;
        let made =
            self.execute(job, (prepared.source, assets), (prepared.memory_bytes, &grant), slot).await?;
        if let Some(grant) = Arc::get_mut(&mut grant) {
            // Only the outputs are left of what it was planned for, and delivering them may take a while.
            grant.shrink_to(made.outputs.iter().map(|(encoded, _)| encoded.bytes.len() as u64).sum());
        }
        self.store(job, made).await
    }

    /// What the job was planned for, or more: an asset of the settings may have become another with the last start.
    async fn memory_needed(&self, job: &Job, source: &Source, given: &[Given]) -> Result<u64, WorkError> {
        let is_own = |name: &String| job.assets.iter().any(|asset| asset.name == *name);
        let is_of_settings = |input: &Input| matches!(input, Input::Named(name) if !is_own(name));
        let is_older = job.created_at < self.rooms.started_at;
        if !is_older || !job.spec.pipeline.inputs().any(|(_, input)| is_of_settings(input)) {
            return Ok(job.memory_bytes);
        }
        let (inputs, asset_bytes) = (assets::look(&self.rooms, given).await?, assets::bytes(given));
        let (_, planned) = fetch::look(&self.rooms, source, &job.spec, inputs, asset_bytes).await?;
        Ok(planned.max(job.memory_bytes))
    }

    fn stored_source(&self, job: &Job, inline_source: Option<Bytes>) -> Result<Source, WorkError> {
        match inline_source {
            Some(bytes) => Ok(Source::Bytes(bytes)),
            None if job.source.as_ref().is_some_and(|source| source.inline) => {
                Err(super::error::source_unreadable(crate::blob::BlobError::NotFound))
            }
            None => Ok(Source::File(self.rooms.blobs.local_path(&BlobKey::Source(job.id)))),
        }
    }

    /// Fetches within the attempt's time whatever isn't there, and finds out what it needs.
    async fn fetch(&mut self, job: &Job, inline_source: Option<Bytes>) -> Result<Prepared, WorkError> {
        let began = Instant::now();
        stage("fetch");
        let fetching = tokio::time::timeout(job.spec.timeout, self.gather(job, inline_source));
        let gathered = self.unless_stopped(fetching).await;
        self.fetch_time = began.elapsed();
        let gathered = gathered.and_then(|gathered| gathered.map_err(|_| timed_out(&job.spec))).flatten();
        if gathered.is_err() && job.source.is_none() {
            // If the job was deleted meanwhile, nobody else removes what was fetched for it.
            self.unpublished.push(BlobKey::Source(job.id));
        }
        gathered
    }

    /// First the source, which is on stable storage before anybody looks into any image; then what operations name.
    async fn gather(&self, job: &Job, inline_source: Option<Bytes>) -> Result<Prepared, WorkError> {
        let (source, info) = match &job.source {
            Some(info) => (self.stored_source(job, inline_source)?, info.clone()),
            None => self.fetch_source(job).await?,
        };
        let given = assets::gather(&self.rooms, job).await?;
        let inputs = assets::look(&self.rooms, &given).await?;
        let looked = fetch::look(&self.rooms, &source, &job.spec, inputs, assets::bytes(&given));
        let (header, memory_bytes) = looked.await?;
        self.control.source_is(header.format);
        if info.image.is_none() {
            self.record_source(SourceInfo { image: Some((&header).into()), ..info }, None, memory_bytes)
                .await?;
        }
        Ok(Prepared { source, given, memory_bytes })
    }

    /// Fetches the source and hands it to the queue.
    async fn fetch_source(&self, job: &Job) -> Result<(Source, SourceInfo), WorkError> {
        let FetchedSource { info, inline } = fetch::fetch(&self.rooms, job.id, &job.spec).await?;
        self.record_source(info.clone(), inline.clone(), 0).await?;
        let source = match inline {
            Some(bytes) => Source::Bytes(bytes),
            None => Source::File(self.rooms.blobs.local_path(&BlobKey::Source(job.id))),
        };
        Ok((source, info))
    }

    async fn record_source(
        &self,
        info: SourceInfo,
        inline: Option<Bytes>,
        memory_bytes: u64,
    ) -> Result<(), WorkError> {
        let stored = self.rooms.queue.set_source(self.lease, info, inline, memory_bytes).await.retry()?;
        stored.map(drop).ok_or(WorkError::Lost)
    }

    /// Runs the pipeline on a pool thread. The clock starts when a thread takes it, less what a fetch has used: waiting for memory or for
    /// a thread is not the job's fault. The thread holds the memory as long as it runs, even if nobody waits for it any more.
    async fn execute(
        &self,
        job: &Job,
        (source, assets): (Source, Vec<(Input, Source)>),
        (memory_bytes, grant): (u64, &Arc<MemoryGrant>),
        mut slot: Slot,
    ) -> Result<Executed, WorkError> {
        let task = Task {
            source,
            assets,
            settings_assets: Arc::clone(&self.rooms.assets),
            spec: Arc::clone(&job.spec),
            limits: self.rooms.config.limits,
            memory_bytes,
        };
        let control = Arc::clone(&self.control);
        let timeout = job.spec.timeout.saturating_sub(self.fetch_time);
        let grant = Arc::downgrade(grant);
        let isolation = Arc::clone(self.rooms.pool.isolation());
        let span = Span::current();
        stage("wait");
        let mut running = self.rooms.pool.run(move || {
            let _of_the_attempt = span.entered();
            let _held = grant.upgrade();
            slot.begin();
            control.start_clock(timeout);
            let executed = isolation.execute(task, &control);
            // The thread is as good as free: what follows waits for disks and not for processors.
            drop(slot);
            executed
        });
        let in_time = tokio::select! {
            ended = running.ended() => Some(ended),
            _ = self.control.stopped() => None,
            () = self.out_of_time() => None,
        };
        let ended = match in_time {
            Some(ended) => ended,
            None if running.withdraw() => return Err(self.given_up(job)),
            None => match tokio::time::timeout(STUCK_AFTER, running.ended()).await {
                Ok(ended) => ended,
                Err(_stuck) => {
                    running.abandon();
                    return Err(self.given_up(job));
                }
            },
        };
        match ended {
            Ended::Returned(Err(WorkError::Cancelled)) => {
                Err(stopped(self.control.stop_reason().unwrap_or(Stop::Cancelled)))
            }
            Ended::Returned(result) => result,
            Ended::Panicked(message) => Err(panicked_with(&message)),
        }
    }

    /// Resolves when the clock has run out; it may not have started yet.
    async fn out_of_time(&self) {
        loop {
            match self.control.time_left() {
                Some(Duration::ZERO) => return,
                Some(left) => tokio::time::sleep(left).await,
                None => tokio::time::sleep(CLOCK_LOOK_INTERVAL).await,
            }
        }
    }

    fn given_up(&self, job: &Job) -> WorkError {
        self.control.stop_reason().map_or_else(|| timed_out(&job.spec), stopped)
    }

    /// Stores every output: small ones travel with the finishing transaction, others become blobs under this attempt's keys. Then delivers
    /// those that are wanted elsewhere.
    async fn store(&mut self, job: &Job, made: Executed) -> Result<Stored, WorkError> {
        let began = Instant::now();
        stage("store");
        let mut stored = Stored {
            outputs: Vec::new(),
            inline: Vec::new(),
            analysis: made.analysis,
            warnings: made.warnings,
        };
        let mut wanted = Vec::new();
        for ((encoded, digest), spec) in made.outputs.into_iter().zip(&job.spec.pipeline.outputs) {
            let (output, bytes) = self.output(encoded, &digest, spec.filename.clone());
            if let Some(destination) = spec.destination.clone() {
                wanted.push(Wanted { index: stored.outputs.len(), destination, bytes: bytes.clone() });
            }
            if output.inline {
                stored.inline.push((output.name.clone(), bytes));
            } else {
                let key =
                    BlobKey::Output { job: job.id, attempt: self.lease.attempt, name: output.name.clone() };
                self.unpublished.push(key.clone());
                self.rooms.blobs.put(&key, bytes).await.retry()?;
            }
            stored.outputs.push(output);
        }
        if !wanted.is_empty() {
            // Whoever has lost the lease is stopped here: an attempt that came later may be delivering already.
            self.unless_stopped(deliver(&self.rooms, wanted, &mut stored.outputs)).await??;
        }
        self.store_time = began.elapsed();
        Ok(stored)
    }

    /// The record of an output, and its bytes.
    fn output(&self, encoded: Encoded, digest: &[u8], filename: Option<String>) -> (Output, Bytes) {
        let Encoded { name, format, width, height, quality, bytes } = encoded;
        let bytes = Bytes::from(bytes);
        let inline = bytes.len() <= INLINE_BYTES_MAX;
        let output = Output {
            name,
            format,
            width,
            height,
            bytes: bytes.len() as u64,
            sha256: crate::job::hex(digest),
            quality,
            filename,
            attempt: self.lease.attempt,
            inline,
            location: None,
        };
        (output, bytes)
    }

    /// Records how the attempt ended. While the store can't commit, tries again as long as the lease is held.
    async fn end(&mut self, job: &Job, result: Result<Stored, WorkError>) {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let timings = Timings {
            fetch: millis(self.fetch_time),
            store: millis(self.store_time),
            ..self.control.timings()
        };
        let has_run = self.control.time_left().is_some();
        let mut attempt = Attempt { timings, has_run, ..Attempt::default() };
        let mut inline_outputs = Vec::new();
        let retry_outcome = |failure| {
            crate::queue::retry::outcome(job, failure, self.rooms.queue.clock().now(), rand::random())
        };
        let outcome = match result {
            Ok(stored) => {
                attempt.analysis = stored.analysis;
                attempt.warnings = stored.warnings;
                inline_outputs = stored.inline;
                Outcome::Succeeded(stored.outputs)
            }
            Err(WorkError::Retry(failure)) => retry_outcome(failure),
            Err(WorkError::Discard(failure)) => Outcome::Failed(failure),
            Err(WorkError::Crashed(failure)) => {
                let wait = crate::queue::retry::wait_after(1, rand::random());
                Outcome::Died(failure, self.rooms.queue.clock().now().plus(wait))
            }
            Err(WorkError::Cancelled) => Outcome::Cancelled,
            Err(WorkError::Released) => Outcome::Released,
            Err(WorkError::Lost) => return self.drop_unpublished().await,
        };
        let is_success = matches!(outcome, Outcome::Succeeded(_));
        if let Outcome::Failed(failure) | Outcome::Retry(failure, _) | Outcome::Died(failure, _) = &outcome {
            failed(&Span::current(), failure.code.name());
        }
        let finish = Finish { lease: self.lease, outcome, attempt, inline_outputs };
        match self.finish(finish).await {
            Some(job) => {
                Span::current().record("job.status", job.status.name());
                tracing::debug!(job.status = %job.status, duration_ms = millis(began(&job)), "the attempt has ended");
                if !is_success {
                    self.drop_unpublished().await;
                }
            }
            None => self.drop_unpublished().await,
        }
    }

    async fn finish(&self, finish: Finish) -> Option<Arc<Job>> {
        let mut trouble = Complaint::default();
        loop {
            match self.rooms.queue.finish(finish.clone()).await {
                Ok(job) => return job,
                Err(QueueError::Corrupt(detail)) => {
                    tracing::error!(detail, "the end of the attempt could not be recorded");
                    return None;
                }
                Err(error) if trouble.is_news(&error) => {
                    tracing::warn!(%error, "the end of the attempt could not be recorded yet");
                }
                Err(_) => {}
            }
            if self.control.stop_reason() == Some(Stop::Lost) {
                return None;
            }
            tokio::time::sleep(FINISH_RETRY_INTERVAL).await;
        }
    }

    async fn drop_unpublished(&mut self) {
        self.rooms.queue.drop_unpublished(std::mem::take(&mut self.unpublished)).await;
    }

    /// Waits for something, unless the attempt is asked to stop first.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, WorkError> {
        tokio::select! {
            done = work => Ok(done),
            reason = self.control.stopped() => Err(stopped(reason)),
        }
    }
}

fn stopped(reason: Stop) -> WorkError {
    match reason {
        Stop::Cancelled => WorkError::Cancelled,
        Stop::Released => WorkError::Released,
        Stop::Lost => WorkError::Lost,
    }
}

/// Time since the attempt began.
fn began(job: &Job) -> Duration {
    match (job.started_at, job.finished_at) {
        (Some(started), Some(finished)) => finished.since(started),
        _ => Duration::ZERO,
    }
}
