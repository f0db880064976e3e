//! How much is under way, and how long a job takes a thread: what the dispatcher needs to know before it claims more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Work that the pool's threads should find waiting, so that tiny jobs never wait for a transaction.
const LOOK_AHEAD: Duration = Duration::from_millis(10);
/// Most jobs claimed beyond the threads that are free.
const LOOK_AHEAD_JOBS_MAX: u64 = 32;
/// Until jobs have been timed they count as long: nothing is claimed ahead.
const FIRST_GUESS: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Load {
    ready: AtomicUsize,
    fetching: AtomicUsize,
    /// Moving average of the time on a thread, in microseconds.
    job_micros: AtomicU64,
    freed: Notify,
}

/// What a job under way occupies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A thread, or a place in front of one.
    Ready,
    /// A connection to its source.
    Fetch,
}

/// A job's place among those under way; free again when dropped. It travels with the work: to the pool thread and no further.
#[derive(Debug)]
pub(super) struct Slot {
    load: Arc<Load>,
    kind: Kind,
    began: Option<Instant>,
}

impl Load {
    pub(super) fn new() -> Arc<Load> {
        Arc::new(Load {
            ready: AtomicUsize::new(0),
            fetching: AtomicUsize::new(0),
            job_micros: AtomicU64::new(micros(FIRST_GUESS)),
            freed: Notify::new(),
        })
    }

    /// Occupies a place.
    pub(super) fn take(self: &Arc<Load>, kind: Kind) -> Slot {
        self.count(kind).fetch_add(1, Ordering::AcqRel);
        Slot { load: Arc::clone(self), kind, began: None }
    }

    /// Whether no thread has anything to do.
    pub(super) fn is_idle(&self) -> bool {
        self.ready.load(Ordering::Acquire) == 0
    }

    /// Threads that are free, of so many, and some more while jobs are tiny.
    pub(super) fn ready_room(&self, workers: usize) -> usize {
        let workers = workers as u64;
        let per_job = self.job_micros.load(Ordering::Relaxed).max(1);
        let ahead = micros(LOOK_AHEAD).saturating_mul(workers) / per_job;
        let slots = usize::try_from(workers + ahead.min(LOOK_AHEAD_JOBS_MAX)).unwrap_or(usize::MAX);
        slots.saturating_sub(self.ready.load(Ordering::Acquire))
    }

    /// Fetches that may begin, of so many at once.
    pub(super) fn fetch_room(&self, fetches_max: usize) -> usize {
        fetches_max.saturating_sub(self.fetching.load(Ordering::Acquire))
    }

    /// Resolves when a place has become free.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn count(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Ready => &self.ready,
            Kind::Fetch => &self.fetching,
        }
    }
}

impl Slot {
    /// A fetched job waits for a thread like any other.
    pub(super) fn become_ready(&mut self) {
        if self.kind == Kind::Fetch {
            *self = self.load.take(Kind::Ready);
        }
    }

    /// A thread has begun: from now on the job's time counts.
    pub(super) fn begin(&mut self) {
        self.began = Some(Instant::now());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(began) = self.began {
            let average = self.load.job_micros.load(Ordering::Relaxed);
            self.load
                .job_micros
                .store(average - average / 8 + micros(began.elapsed()) / 8, Ordering::Relaxed);
        }
        self.load.count(self.kind).fetch_sub(1, Ordering::AcqRel);
        self.load.freed.notify_one();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_claimed_ahead_until_jobs_have_shown_to_be_tiny() {
        let load = Load::new();
        assert_eq!(load.ready_room(2), 2);
        for _ in 0..100 {
            let mut slot = load.take(Kind::Ready);
            slot.begin();
        }
        assert_eq!(load.ready_room(2), 2 + 32);
        let _busy = load.take(Kind::Ready);
        assert_eq!(load.ready_room(2), 1 + 32);
    }

    #[test]
    fn a_fetched_job_gives_its_connection_back_and_takes_a_thread() {
        let load = Load::new();
        let mut slot = load.take(Kind::Fetch);
        assert_eq!((load.fetch_room(4), load.ready_room(2)), (3, 2));
        slot.become_ready();
        assert_eq!((load.fetch_room(4), load.ready_room(2)), (4, 1));
        drop(slot);
        assert!(load.is_idle());
    }
}
