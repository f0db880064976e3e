//! How many requests a key makes: a bucket of tokens for each key that has a rate.
//!
//! A bucket holds a minute's worth and fills steadily, so a key may spend its minute at once and then goes on at its rate. What is left is
//! told with every answer in `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10). Buckets are in memory: a
//! restart fills them. Asked by `auth`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::error::{ApiError, Code};
use crate::clock::Timestamp;
use crate::job::KeyId;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Milliseconds in which a bucket fills.
const WINDOW: u64 = 60_000;

/// The buckets of a server; there are at most as many as keys with a rate.
#[derive(Debug, Default)]
pub(super) struct Rates {
    buckets: Mutex<HashMap<KeyId, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Requests that are left, in parts of a request: [`WINDOW`] of them are one.
    left: u64,
    at: Timestamp,
}

/// What a request has left of its key's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    per_minute: u32,
    left: u64,
    /// Whether this request was within the rate.
    is_kept: bool,
    /// Time until one more request is.
    next_in: Duration,
}

impl Rates {
    /// Takes one request from a key's bucket, if there is one in it.
    pub(super) fn take(&self, key: &KeyId, per_minute: u32, now: Timestamp) -> Quota {
        let (rate, full) = (u64::from(per_minute), u64::from(per_minute) * WINDOW);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(key.clone()).or_insert(Bucket { left: full, at: now });
        let passed = u64::try_from(now.since(bucket.at).as_millis()).unwrap_or(u64::MAX);
        // A rate that was lowered by a reload makes a fuller bucket overflow.
        bucket.left = bucket.left.saturating_add(passed.saturating_mul(rate)).min(full);
        bucket.at = now;
        let is_kept = bucket.left >= WINDOW;
        if is_kept {
            bucket.left -= WINDOW;
        }
        let missing = WINDOW.saturating_sub(bucket.left);
        let next_in = Duration::from_millis(missing.div_ceil(rate.max(1)));
        Quota { per_minute, left: bucket.left / WINDOW, is_kept, next_in }
    }
}

impl Quota {
    /// Refuses a request beyond the rate.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        if self.is_kept {
            return Ok(());
        }
        let detail = format!("This key may make {} requests a minute.", self.per_minute);
        Err(ApiError::new(Code::RateLimited, detail).retry_after(Duration::from_secs(self.seconds())))
    }

    /// Tells what is left.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let policy = format!("\"key\";q={};w={}", self.per_minute, WINDOW / 1000);
        let state = format!("\"key\";r={};t={}", self.left, self.seconds());
        for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, state)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }

    /// Whole seconds until one more request is within the rate.
    fn seconds(&self) -> u64 {
        u64::try_from(self.next_in.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_at_once_and_then_at_the_rate() {
        let (rates, key) = (Rates::default(), KeyId::from_random(1));
        let take = |millis: i64| rates.take(&key, 30, Timestamp::from_millis(millis));
        for left in (0..30).rev() {
            let quota = take(1000);
            assert_eq!((quota.is_kept, quota.left), (true, left));
        }
        let refused = take(1000);
        assert_eq!((refused.is_kept, refused.next_in), (false, Duration::from_secs(2)));
        assert_eq!(refused.check().unwrap_err().code(), Code::RateLimited);
        assert!(!take(2999).is_kept && take(3000).is_kept && !take(3000).is_kept);
        assert_eq!(take(63_000_000).left, 29, "a bucket never holds more");
        let other = rates.take(&KeyId::from_random(2), 1, Timestamp::from_millis(0));
        let mut headers = HeaderMap::new();
        other.tell(&mut headers);
        assert_eq!(headers["ratelimit"], "\"key\";r=0;t=60");
        assert_eq!(headers["ratelimit-policy"], "\"key\";q=1;w=60");
    }
}
