//! What the threads of this engine share: the gauges as last committed, and whether the disk can still be trusted.
//!
//! Written by the writer alone. The lock is held for a copy, never over I/O.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::store::{Counts, StoreError};

/// One per store.
#[derive(Debug)]
pub(super) struct Shared {
    counts: Mutex<Counts>,
    broken: OnceLock<String>,
    commits: AtomicU64,
}

impl Shared {
    /// With the gauges as counted at open.
    pub(super) fn new(counts: Counts) -> Shared {
        Shared { counts: Mutex::new(counts), broken: OnceLock::new(), commits: AtomicU64::new(0) }
    }

    /// The gauges.
    pub(super) fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group has been committed.
    pub(super) fn committed(&self, counts: Counts) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// Groups committed since open.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// From now on everything is refused; the refusal.
    pub(super) fn break_down(&self, cause: &str) -> StoreError {
        refusal(self.broken.get_or_init(|| cause.to_owned()))
    }

    /// The refusal, once something broke.
    pub(super) fn broken(&self) -> Option<StoreError> {
        self.broken.get().map(|cause| refusal(cause))
    }
}

fn refusal(cause: &str) -> StoreError {
    StoreError::Unavailable(format!("{cause}; a restart is needed"))
}
