//! The memory budget: every attempt holds its share before a decoder starts, so that the process never outgrows its limit.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry::Metrics;

/// Unit of the budget: fine enough for thumbnails, coarse enough for a semaphore.
const UNIT_BYTES: u64 = 64 * 1024;

/// The budget. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct MemoryBudget {
    units: Arc<Semaphore>,
    units_max: u32,
    metrics: Arc<Metrics>,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct MemoryGrant {
    permit: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

impl MemoryGrant {
    /// Gives back what is more than so many bytes.
    pub(super) fn shrink_to(&mut self, bytes: u64) {
        let kept = usize::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(usize::MAX).max(1);
        let surplus = self.permit.num_permits().saturating_sub(kept);
        if let Some(surplus) = self.permit.split(surplus) {
            self.metrics.memory_granted_bytes.dec_by(bytes_of(surplus.num_permits()));
        }
    }
}

impl Drop for MemoryGrant {
    fn drop(&mut self) {
        self.metrics.memory_granted_bytes.dec_by(bytes_of(self.permit.num_permits()));
    }
}

fn bytes_of(units: usize) -> i64 {
    i64::try_from(units as u64 * UNIT_BYTES).unwrap_or(i64::MAX)
}

impl MemoryBudget {
    pub(super) fn new(bytes_max: u64, metrics: Arc<Metrics>) -> MemoryBudget {
        let units_max = u32::try_from((bytes_max / UNIT_BYTES).max(1)).unwrap_or(u32::MAX);
        metrics.memory_limit_bytes.set(bytes_of(units_max as usize));
        MemoryBudget { units: Arc::new(Semaphore::new(units_max as usize)), units_max, metrics }
    }

    /// Bytes that nobody holds.
    pub(super) fn free_bytes(&self) -> u64 {
        self.units.available_permits() as u64 * UNIT_BYTES
    }

    /// Takes a share, waiting in line for it. More than there is counts as all there is: such a job runs alone.
    pub(super) async fn take(&self, bytes: u64) -> MemoryGrant {
        let permit = Arc::clone(&self.units).acquire_many_owned(self.units_for(bytes)).await;
        self.granted(permit.expect("the semaphore is never closed"))
    }

    /// Takes a share if it is free and nobody waits.
    pub(super) fn try_take(&self, bytes: u64) -> Option<MemoryGrant> {
        let permit = Arc::clone(&self.units).try_acquire_many_owned(self.units_for(bytes)).ok()?;
        Some(self.granted(permit))
    }

    fn units_for(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.units_max)
    }

    fn granted(&self, permit: OwnedSemaphorePermit) -> MemoryGrant {
        self.metrics.memory_granted_bytes.inc_by(bytes_of(permit.num_permits()));
        MemoryGrant { permit, metrics: Arc::clone(&self.metrics) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shares_are_given_back_and_an_outsized_job_runs_alone() {
        let metrics = Metrics::new();
        let budget = MemoryBudget::new(10 * UNIT_BYTES, Arc::clone(&metrics));
        let small = budget.take(1).await;
        assert_eq!(budget.free_bytes(), 9 * UNIT_BYTES);
        let mut outsized = Box::pin(budget.take(u64::MAX));
        assert!(futures_util::poll!(&mut outsized).is_pending());
        assert!(budget.try_take(1).is_none(), "nobody is served before those who wait");
        drop(small);
        let mut outsized = outsized.await;
        assert_eq!(budget.free_bytes(), 0);
        outsized.shrink_to(3 * UNIT_BYTES);
        outsized.shrink_to(u64::MAX);
        assert_eq!(budget.free_bytes(), 7 * UNIT_BYTES);
        drop(outsized);
        drop(budget.try_take(1).unwrap());
        assert_eq!(metrics.memory_granted_bytes.get(), 0);
    }
}
