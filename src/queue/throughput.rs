//! How many jobs ended in the last minute: sixty one-second buckets.

use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;

const SECONDS: usize = 60;

/// See the module.
#[derive(Debug)]
pub(super) struct Throughput {
    /// Second since the epoch, and the jobs that ended in it.
    buckets: Mutex<[(i64, u64); SECONDS]>,
}

impl Default for Throughput {
    fn default() -> Throughput {
        Throughput { buckets: Mutex::new([(i64::MIN, 0); SECONDS]) }
    }
}

impl Throughput {
    /// A job has ended.
    pub(super) fn count(&self, now: Timestamp) {
        let second = now.as_seconds();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = &mut buckets[usize::try_from(second.rem_euclid(SECONDS as i64)).unwrap_or(0)];
        if bucket.0 != second {
            *bucket = (second, 0);
        }
        bucket.1 += 1;
    }

    /// Jobs that ended in the sixty seconds up to now.
    pub(super) fn last_minute(&self, now: Timestamp) -> u64 {
        let second = now.as_seconds();
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets
            .iter()
            .filter(|(at, _)| (0..SECONDS as i64).contains(&second.saturating_sub(*at)))
            .map(|(_, count)| count)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_minute_counts() {
        let throughput = Throughput::default();
        for second in [1000, 1030, 1059] {
            throughput.count(Timestamp::from_millis(second * 1000));
        }
        assert_eq!(throughput.last_minute(Timestamp::from_millis(1_059_999)), 3);
        assert_eq!(throughput.last_minute(Timestamp::from_millis(1_060_000)), 2);
        assert_eq!(throughput.last_minute(Timestamp::from_millis(2_000_000)), 0);
    }
}
