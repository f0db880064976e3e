//! When each key was used last, and how often within a minute.
//!
//! In memory: a restart forgets it. Told by `service` once per request, asked by `stats`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::job::KeyId;

const SECONDS: usize = 60;

/// The use of every key that was shown since the start; there are at most as many as keys.
#[derive(Debug, Default)]
pub(super) struct Usage {
    keys: Mutex<HashMap<KeyId, Use>>,
}

#[derive(Debug)]
struct Use {
    last: Timestamp,
    /// Requests by second: which since the epoch, and how many.
    seconds: [(i64, u64); SECONDS],
}

/// How a key is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyRequests {
    /// Requests in the sixty seconds up to now.
    pub(super) last_minute: u64,
    /// When the last one came.
    pub(super) last_at: Option<Timestamp>,
}

impl Usage {
    /// A request came with this key.
    pub(super) fn note(&self, key: &KeyId, now: Timestamp) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.contains_key(key) {
            keys.insert(key.clone(), Use { last: now, seconds: [(i64::MIN, 0); SECONDS] });
        }
        let Some(used) = keys.get_mut(key) else { return };
        let second = now.as_seconds();
        let bucket = &mut used.seconds[usize::try_from(second.rem_euclid(SECONDS as i64)).unwrap_or(0)];
        if bucket.0 != second {
            *bucket = (second, 0);
        }
        bucket.1 += 1;
        used.last = now;
    }

    /// How a key is used at this moment.
    pub(super) fn of(&self, key: &KeyId, now: Timestamp) -> KeyRequests {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(used) = keys.get(key) else { return KeyRequests::default() };
        let is_recent = |second: i64| (0..SECONDS as i64).contains(&now.as_seconds().saturating_sub(second));
        let last_minute =
            used.seconds.iter().filter(|(second, _)| is_recent(*second)).map(|(_, count)| count).sum();
        KeyRequests { last_minute, last_at: Some(used.last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_minute() {
        let usage = Usage::default();
        let [one, two] = [1, 2].map(KeyId::from_random);
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        for second in [100, 100, 130, 159] {
            usage.note(&one, at(second));
        }
        let told = |second| usage.of(&one, at(second)).last_minute;
        assert_eq!([told(159), told(160), told(189), told(190), told(219)], [4, 2, 2, 1, 0]);
        assert_eq!(usage.of(&one, at(500)).last_at, Some(at(159)));
        assert_eq!(usage.of(&two, at(159)), KeyRequests::default());
    }
}
