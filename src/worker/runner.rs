//! The dispatcher: claims what fits into free threads and memory, and sees every attempt to its end.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::attempt;
use super::control::{AttemptControl, Stop};
use super::heartbeat::{Heartbeat, HeldLeases};
use super::memory::MemoryBudget;
use super::rooms::Rooms;
use super::{Config, Pool};
use crate::blob::Blobs;
use crate::egress::Egress;
use crate::queue::{Claimed, Queue};
use crate::telemetry::Metrics;

/// Work that the pool's threads should find waiting, so that tiny jobs never wait for a transaction.
const LOOK_AHEAD: Duration = Duration::from_millis(10);
/// Most jobs claimed beyond the threads that are free.
const LOOK_AHEAD_JOBS_MAX: u64 = 32;
/// Pause after the store refused a claim.
const CLAIM_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// See the module.
pub struct Runner {
    rooms: Arc<Rooms>,
    load: Arc<Load>,
    attempts: JoinSet<()>,
    controls: Vec<std::sync::Weak<AttemptControl>>,
    _heartbeat: Heartbeat,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Runner").field("attempts", &self.attempts.len()).finish_non_exhaustive()
    }
}

/// How much is under way.
#[derive(Debug, Default)]
struct Load {
    ready: AtomicUsize,
    fetching: AtomicUsize,
    /// Moving average of a job's time, in microseconds.
    job_micros: AtomicU64,
    freed: Notify,
}

/// Counts an attempt while it is under way.
struct Slot {
    load: Arc<Load>,
    is_fetch: bool,
    since: Instant,
}

impl Slot {
    fn take(load: &Arc<Load>, is_fetch: bool) -> Slot {
        let slot = Slot { load: Arc::clone(load), is_fetch, since: Instant::now() };
        slot.count().fetch_add(1, Ordering::AcqRel);
        slot
    }

    fn count(&self) -> &AtomicUsize {
        if self.is_fetch { &self.load.fetching } else { &self.load.ready }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.count().fetch_sub(1, Ordering::AcqRel);
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        if !self.is_fetch {
            let average = self.load.job_micros.load(Ordering::Relaxed);
            self.load.job_micros.store(average - average / 8 + micros / 8, Ordering::Relaxed);
        }
        self.load.freed.notify_one();
    }
}

impl Runner {
    /// Prepares to work; [`Runner::run`] begins.
    pub fn new(
        queue: Queue,
        blobs: Blobs,
        egress: Egress,
        pool: Pool,
        metrics: Arc<Metrics>,
        config: Config,
    ) -> std::io::Result<Runner> {
        let leases = HeldLeases::default();
        let runtime = tokio::runtime::Handle::current();
        let heartbeat = Heartbeat::start(queue.clone(), leases.clone(), config.lease_duration, runtime)?;
        let memory = MemoryBudget::new(config.memory_bytes_max, Arc::clone(&metrics));
        let rooms = Arc::new(Rooms { queue, blobs, egress, pool, memory, leases, metrics, config });
        // Until jobs have been timed they count as long: nothing is claimed ahead.
        let load = Load { job_micros: AtomicU64::new(1_000_000), ..Load::default() };
        Ok(Runner {
            rooms,
            load: Arc::new(load),
            attempts: JoinSet::new(),
            controls: Vec::new(),
            _heartbeat: heartbeat,
        })
    }

    /// Works until `shutdown` resolves, then claims no more, lets running attempts end within the grace period and gives back the rest.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        loop {
            let is_more = self.claim().await;
            while self.attempts.try_join_next().is_some() {}
            if is_more {
                continue;
            }
            let load = Arc::clone(&self.load);
            let queue = self.rooms.queue.clone();
            let news = async {
                tokio::select! {
                    () = queue.work_arrived(), if self.has_room() => {}
                    () = load.freed.notified() => {}
                }
            };
            tokio::select! {
                () = &mut shutdown => break,
                () = news => {}
            }
        }
        self.drain().await;
    }

    fn has_room(&self) -> bool {
        self.ready_room() > 0 || self.fetch_room() > 0
    }

    /// Threads that are free, and some more while jobs are tiny.
    fn ready_room(&self) -> usize {
        let workers = self.rooms.config.workers as u64;
        let micros = self.load.job_micros.load(Ordering::Relaxed).max(1);
        let look_ahead = u64::try_from(LOOK_AHEAD.as_micros()).unwrap_or(u64::MAX) * workers / micros;
        let slots = workers + look_ahead.min(LOOK_AHEAD_JOBS_MAX);
        usize::try_from(slots).unwrap_or(usize::MAX).saturating_sub(self.load.ready.load(Ordering::Acquire))
    }

    fn fetch_room(&self) -> usize {
        self.rooms.config.source.fetches_max.saturating_sub(self.load.fetching.load(Ordering::Acquire))
    }

    /// Claims once; whether it is worth claiming again at once.
    async fn claim(&mut self) -> bool {
        let (ready, fetches) = (self.ready_room(), self.fetch_room());
        if ready == 0 && fetches == 0 {
            return false;
        }
        let is_idle = self.load.ready.load(Ordering::Acquire) == 0;
        let memory = self.rooms.memory.free_bytes();
        let mut claimed = self.rooms.queue.claim(ready, fetches, memory).await;
        let is_stuck = is_idle && ready > 0 && matches!(&claimed, Ok(none) if none.is_empty());
        if is_stuck && self.rooms.queue.has_due_work() {
            // The head of the line may need more than there is, since the limit was lowered after it was submitted: it runs alone.
            claimed = self.rooms.queue.claim(1, 0, u64::MAX).await;
        }
        match claimed {
            Ok(claimed) => {
                let is_more = claimed.len() >= ready.max(1) && self.has_room();
                for claimed in claimed {
                    self.start(claimed);
                }
                is_more
            }
            Err(error) => {
                tracing::error!(%error, "no jobs could be claimed");
                tokio::time::sleep(CLAIM_RETRY_INTERVAL).await;
                false
            }
        }
    }

    fn start(&mut self, claimed: Claimed) {
        let slot = Slot::take(&self.load, claimed.job.needs_fetch());
        // The claim was made within the free memory. Where that has gone to a fetched image meanwhile, the attempt waits for it, not the
        // dispatcher: it holds its lease by then, hears of a cancel, and nobody else is kept waiting.
        let grant = match &claimed.job.source {
            Some(_) => self.rooms.memory.try_take(claimed.job.memory_bytes),
            None => None,
        };
        let (queue, lease) = (self.rooms.queue.clone(), claimed.lease);
        let show_progress = Box::new(move |progress| queue.progress(&lease, progress));
        let control = Arc::new(AttemptControl::new(Arc::clone(&self.rooms.metrics), show_progress));
        if self.controls.len() >= 2 * self.attempts.len() + 64 {
            self.controls.retain(|control| control.strong_count() > 0);
        }
        self.controls.push(Arc::downgrade(&control));
        let rooms = Arc::clone(&self.rooms);
        self.attempts.spawn(async move {
            attempt::run(rooms, claimed, grant, control).await;
            drop(slot);
        });
    }

    async fn drain(mut self) {
        let all_ended = async { while self.attempts.join_next().await.is_some() {} };
        if tokio::time::timeout(self.rooms.config.grace, all_ended).await.is_ok() {
            return;
        }
        tracing::warn!(
            attempts = self.attempts.len(),
            "the grace period is over: running attempts are given back"
        );
        for control in self.controls.iter().filter_map(std::sync::Weak::upgrade) {
            control.stop(Stop::Released);
        }
        let all_ended = async { while self.attempts.join_next().await.is_some() {} };
        // What does not even notice is taken back when the store is opened next.
        let _in_time = tokio::time::timeout(Duration::from_secs(2), all_ended).await;
    }
}
