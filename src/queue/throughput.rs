//! The last minute, of everybody and of each key: how many jobs ended, how long they had waited for their turn, and how much time of
//! workers was used. Sixty one-second buckets each; there are as many as keys, and one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::KeyId;

const SECONDS: usize = 60;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Throughput {
    minutes: Mutex<Minutes>,
}

#[derive(Debug, Default)]
struct Minutes {
    everybody: Minute,
    keys: HashMap<KeyId, Minute>,
}

#[derive(Debug)]
struct Minute([Bucket; SECONDS]);

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
    /// Microseconds of workers that attempts had taken that ended in it.
    worked: u64,
}

/// What happened in the sixty seconds up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct LastMinute {
    /// Jobs that ended.
    pub(super) ended: u64,
    /// Mean wait in seconds of those that had a turn; `None` when there are none.
    pub(super) wait_seconds: Option<f64>,
    /// Time of workers that attempts had taken that ended, in seconds.
    pub(super) worker_seconds: f64,
}

impl Bucket {
    const fn new(second: i64) -> Bucket {
        Bucket { second, ended: 0, claimed: 0, waited: 0, worked: 0 }
    }
}

impl Default for Minute {
    fn default() -> Minute {
        Minute([Bucket::new(i64::MIN); SECONDS])
    }
}

impl Minute {
    fn bucket(&mut self, now: Timestamp) -> &mut Bucket {
        let second = now.as_seconds();
        let bucket = &mut self.0[usize::try_from(second.rem_euclid(SECONDS as i64)).unwrap_or(0)];
        if bucket.second != second {
            *bucket = Bucket::new(second);
        }
        bucket
    }

    fn sum(&self, now: Timestamp) -> LastMinute {
        let second = now.as_seconds();
        let recent = self
            .0
            .iter()
            .filter(|bucket| (0..SECONDS as i64).contains(&second.saturating_sub(bucket.second)));
        let sum = recent.fold(Bucket::new(second), |sum, bucket| Bucket {
            second,
            ended: sum.ended + bucket.ended,
            claimed: sum.claimed + bucket.claimed,
            waited: sum.waited.saturating_add(bucket.waited),
            worked: sum.worked.saturating_add(bucket.worked),
        });
        LastMinute {
            ended: sum.ended,
            wait_seconds: (sum.claimed > 0).then(|| sum.waited as f64 / 1000.0 / sum.claimed as f64),
            worker_seconds: Duration::from_micros(sum.worked).as_secs_f64(),
        }
    }
}

impl Throughput {
    /// A job has ended; `waited` is how long it had waited to be claimed, in milliseconds, if it ever was.
    pub(super) fn ended(&self, owner: Option<&KeyId>, now: Timestamp, waited: Option<u64>) {
        self.note(owner, now, |bucket| {
            bucket.ended += 1;
            if let Some(waited) = waited {
                bucket.claimed += 1;
                bucket.waited = bucket.waited.saturating_add(waited);
            }
        });
    }

    /// An attempt has ended that took this long of a worker.
    pub(super) fn worked(&self, owner: Option<&KeyId>, now: Timestamp, taken: Duration) {
        let micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        self.note(owner, now, |bucket| bucket.worked = bucket.worked.saturating_add(micros));
    }

    /// The last minute of one key, or of everybody.
    pub(super) fn last_minute(&self, of: Option<&KeyId>, now: Timestamp) -> LastMinute {
        let minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        match of {
            None => minutes.everybody.sum(now),
            Some(key) => minutes.keys.get(key).map(|minute| minute.sum(now)).unwrap_or_default(),
        }
    }

    fn note(&self, owner: Option<&KeyId>, now: Timestamp, change: impl Fn(&mut Bucket)) {
        let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        change(minutes.everybody.bucket(now));
        let Some(owner) = owner else { return };
        if !minutes.keys.contains_key(owner) {
            minutes.keys.insert(owner.clone(), Minute::default());
        }
        if let Some(minute) = minutes.keys.get_mut(owner) {
            change(minute.bucket(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_minute_counts() {
        let throughput = Throughput::default();
        for second in [1000, 1030, 1059] {
            throughput.ended(None, Timestamp::from_millis(second * 1000), Some(500));
        }
        let ended = |millis| throughput.last_minute(None, Timestamp::from_millis(millis)).ended;
        assert_eq!([ended(1_059_999), ended(1_060_000), ended(2_000_000)], [3, 2, 0]);
    }

    #[test]
    fn the_mean_wait_is_that_of_jobs_that_had_a_turn() {
        let throughput = Throughput::default();
        let now = Timestamp::from_millis(1_000_000);
        assert_eq!(throughput.last_minute(None, now).wait_seconds, None);
        for waited in [Some(1000), Some(2000), None] {
            throughput.ended(None, now, waited);
        }
        let minute = throughput.last_minute(None, now);
        assert_eq!((minute.wait_seconds, minute.ended), (Some(1.5), 3));
    }

    #[test]
    fn each_key_has_a_minute_of_its_own() {
        let throughput = Throughput::default();
        let now = Timestamp::from_millis(1_000_000);
        let [one, two] = [1, 2].map(KeyId::from_random);
        throughput.ended(Some(&one), now, Some(1000));
        throughput.worked(Some(&one), now, Duration::from_millis(1500));
        throughput.worked(None, now, Duration::from_millis(500));
        let minute = |of| throughput.last_minute(of, now);
        assert_eq!(minute(Some(&one)), LastMinute { ended: 1, wait_seconds: Some(1.0), worker_seconds: 1.5 });
        assert_eq!(minute(Some(&two)), LastMinute::default());
        assert_eq!((minute(None).ended, minute(None).worker_seconds), (1, 2.0));
    }
}
