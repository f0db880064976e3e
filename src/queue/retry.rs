//! Whether a failed attempt is followed by another, and when.
//!
//! Transient failures wait a time uniform in [d/2, d] with d = min(900, 2·3^(n−1)) seconds after the n-th attempt; a timeout is tried
//! once more, a name that can't be resolved twice more. Everything else is final at once.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::{Code, Failure, Job, Outcome};

/// Longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(900);

/// Attempts that may end in a timeout before it is final.
const TIMEOUTS_MAX: u32 = 2;

/// Attempts that may find no address under a source's name before that is final: a misspelt name should not be told half an hour later.
const UNRESOLVED_MAX: u32 = 3;

/// The wait after the n-th attempt (from 1); `unit` is uniform in 0..1.
pub fn wait_after(attempt: u32, unit: f64) -> Duration {
    let exponent = attempt.saturating_sub(1).min(10);
    let longest = Duration::from_secs(2 * 3u64.pow(exponent)).min(WAIT_MAX);
    longest.mul_f64(0.5 + 0.5 * unit.clamp(0.0, 1.0))
}

/// What a failure of this job's running attempt leads to.
pub fn outcome(job: &Job, failure: Failure, now: Timestamp, unit: f64) -> Outcome {
    let attempts = job.attempts_counted();
    let allowed = match failure.code {
        Code::Timeout => TIMEOUTS_MAX.min(job.spec.max_attempts),
        // Of what is not found, only a name may be found later.
        Code::SourceNotFound if failure.retryable => UNRESOLVED_MAX.min(job.spec.max_attempts),
        _ if failure.retryable => job.spec.max_attempts,
        _ => 1,
    };
    if attempts < allowed {
        Outcome::Retry(failure, now.plus(wait_after(attempts, unit)))
    } else {
        Outcome::Failed(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_three_up_to_fifteen_minutes() {
        let longest: Vec<u64> = (1..=8).map(|attempt| wait_after(attempt, 1.0).as_secs()).collect();
        assert_eq!(longest, [2, 6, 18, 54, 162, 486, 900, 900]);
        assert_eq!(wait_after(3, 0.0), Duration::from_secs(9));
        assert_eq!(wait_after(4_000_000, 1.0), WAIT_MAX);
    }

    #[test]
    fn a_name_without_an_address_is_tried_three_times_and_a_missing_file_once() {
        let spec = serde_json::json!({"source": "upload", "pipeline": {"outputs": []}, "priority": 0, "timeout": 1, "max_attempts": 8});
        let spec = serde_json::from_value(spec).unwrap();
        let now = Timestamp::from_millis(0);
        let mut job =
            Job::submitted(crate::job::JobId::new(), std::sync::Arc::new(spec), None, 0, Vec::new(), now);
        let tries = |job: &Job, retryable| {
            matches!(
                outcome(job, Failure::new(Code::SourceNotFound, "", retryable), now, 0.0),
                Outcome::Retry(..)
            )
        };
        let again = [1, 2, 3].map(|_| {
            job.claim(now);
            tries(&job, true)
        });
        assert_eq!(again, [true, true, false]);
        job.attempt = 1;
        assert!(!tries(&job, false));
    }
}
