//! How many jobs ended in the last minute and how long they had waited for their turn: sixty one-second buckets.

use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;

const SECONDS: usize = 60;

/// See the module.
#[derive(Debug)]
pub(super) struct Throughput {
    buckets: Mutex<[Bucket; SECONDS]>,
}

/// One second.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Which, since the epoch.
    second: i64,
    /// Jobs that ended in it.
    ended: u64,
    /// Those among them that had been claimed.
    claimed: u64,
    /// Milliseconds that these had waited, together.
    waited: u64,
}

impl Bucket {
    const fn new(second: i64) -> Bucket {
        Bucket { second, ended: 0, claimed: 0, waited: 0 }
    }
}

impl Default for Throughput {
    fn default() -> Throughput {
        Throughput { buckets: Mutex::new([Bucket::new(i64::MIN); SECONDS]) }
    }
}

impl Throughput {
    /// A job has ended; `waited` is how long it had waited to be claimed, in milliseconds, if it ever was.
    pub(super) fn count(&self, now: Timestamp, waited: Option<u64>) {
        let second = now.as_seconds();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = &mut buckets[usize::try_from(second.rem_euclid(SECONDS as i64)).unwrap_or(0)];
        if bucket.second != second {
            *bucket = Bucket::new(second);
        }
        bucket.ended += 1;
        if let Some(waited) = waited {
            bucket.claimed += 1;
            bucket.waited = bucket.waited.saturating_add(waited);
        }
    }

    /// Jobs that ended in the sixty seconds up to now.
    pub(super) fn last_minute(&self, now: Timestamp) -> u64 {
        self.sum(now).ended
    }

    /// Mean wait in seconds of the jobs that ended in the sixty seconds up to now; `None` when there are none.
    pub(super) fn wait_seconds(&self, now: Timestamp) -> Option<f64> {
        let sum = self.sum(now);
        (sum.claimed > 0).then(|| sum.waited as f64 / 1000.0 / sum.claimed as f64)
    }

    fn sum(&self, now: Timestamp) -> Bucket {
        let second = now.as_seconds();
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = buckets
            .iter()
            .filter(|bucket| (0..SECONDS as i64).contains(&second.saturating_sub(bucket.second)));
        recent.fold(Bucket::new(second), |sum, bucket| Bucket {
            second,
            ended: sum.ended + bucket.ended,
            claimed: sum.claimed + bucket.claimed,
            waited: sum.waited.saturating_add(bucket.waited),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_minute_counts() {
        let throughput = Throughput::default();
        for second in [1000, 1030, 1059] {
            throughput.count(Timestamp::from_millis(second * 1000), Some(500));
        }
        assert_eq!(throughput.last_minute(Timestamp::from_millis(1_059_999)), 3);
        assert_eq!(throughput.last_minute(Timestamp::from_millis(1_060_000)), 2);
        assert_eq!(throughput.last_minute(Timestamp::from_millis(2_000_000)), 0);
    }
    #[test]
    fn the_mean_wait_is_that_of_jobs_that_had_a_turn() {
        let throughput = Throughput::default();
        let now = Timestamp::from_millis(1_000_000);
        assert_eq!(throughput.wait_seconds(now), None);
        for waited in [Some(1000), Some(2000), None] {
            throughput.count(now, waited);
        }
        assert_eq!(throughput.wait_seconds(now), Some(1.5));
        assert_eq!(throughput.last_minute(now), 3);
    }
}
