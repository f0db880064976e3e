//! When a webhook is tried again, and when it is not.
//!
//! Owns the plan of attempts and the meaning of an answer. Pure: no clock and no randomness of its own, both are handed in. Called by the
//! deliverer after each attempt, and by whoever needs to know how long a delivery may take (the lifetime of signed links).

use std::time::Duration;

/// Wait before each attempt, counted from the end of the one before. The plan that Standard Webhooks recommends.
const WAITS: [Duration; 10] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];

/// Attempts that a delivery gets at most.
pub const ATTEMPTS_MAX: u32 = WAITS.len() as u32;

/// Part by which a wait is stretched or shortened at random, so that receivers which failed together are not tried together.
const JITTER: f64 = 0.2;
/// How many times its planned length a wait may have because the receiver asked for it.
const RETRY_AFTER_FACTOR: u32 = 2;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The receiver answered.
    Status {
        /// HTTP status code.
        code: u16,
        /// The wait that it asks for.
        retry_after: Option<Duration>,
    },
    /// No answer: refused, unreachable, too slow, not HTTP.
    Failed,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Received (2xx); done.
    Delivered,
    /// The receiver wants no more of it (410); done.
    Gone,
    /// Try again after this long.
    RetryAfter(Duration),
    /// That was the last planned attempt.
    GiveUp,
}

/// Judges attempt number `attempt` (the first is 1). `unit` is a random number in 0..1 that places the next attempt within ±20 % of the
/// plan; what lies outside counts as the nearest end. A `Retry-After` can stretch that wait to twice its length, never shorten it: ten
/// hasty attempts would use up three days of patience in a minute.
pub fn verdict(attempt: u32, answered: Answered, unit: f64) -> Verdict {
    let asked = match answered {
        Answered::Status { code: 200..=299, .. } => return Verdict::Delivered,
        Answered::Status { code: 410, .. } => return Verdict::Gone,
        Answered::Status { retry_after, .. } => retry_after.unwrap_or_default(),
        Answered::Failed => Duration::ZERO,
    };
    let Some(planned) = WAITS.get(attempt.max(1) as usize) else { return Verdict::GiveUp };
    let wait = planned.mul_f64(1.0 - JITTER + 2.0 * JITTER * unit.clamp(0.0, 1.0));
    Verdict::RetryAfter(asked.clamp(wait, wait * RETRY_AFTER_FACTOR))
}

/// Longest time that the plan can take from the end of attempt `attempt` to the start of the last one, without what receivers add by
/// `Retry-After`. With 0 it is the whole plan, counted from the event.
pub fn longest_after(attempt: u32) -> Duration {
    let left: Duration = WAITS.iter().skip(attempt as usize).sum();
    left.mul_f64(1.0 + JITTER)
}

/// How long the links of a webhook's body work: until a day after its last attempt, however long receivers let us wait (`Retry-After` can
/// double every wait).
pub fn link_lifetime() -> Duration {
    longest_after(0) * RETRY_AFTER_FACTOR + LINK_GRACE
}

/// Time that a receiver has for fetching results after it was told at last.
const LINK_GRACE: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn status(code: u16, retry_after: Option<u64>) -> Answered {
        Answered::Status { code, retry_after: retry_after.map(Duration::from_secs) }
    }

    #[test]
    fn the_plan_is_that_of_the_contract() {
        let minutes = [5.0 / 60.0, 5.0, 30.0, 120.0, 300.0, 600.0, 840.0, 1200.0, 1440.0];
        for (attempt, minutes) in (1..).zip(minutes) {
            let planned = Duration::from_secs_f64(minutes * 60.0);
            for (unit, factor) in [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2), (-3.0, 0.8), (7.0, 1.2)] {
                let Verdict::RetryAfter(wait) = verdict(attempt, Answered::Failed, unit) else {
                    panic!("attempt {attempt} must be followed by another")
                };
                let difference = wait.abs_diff(planned.mul_f64(factor));
                assert!(difference < Duration::from_millis(1), "attempt {attempt}, unit {unit}: {wait:?}");
            }
        }
        assert_eq!(ATTEMPTS_MAX, 10);
        assert_eq!(verdict(10, Answered::Failed, 0.5), Verdict::GiveUp);
        assert_eq!(verdict(11, status(503, Some(5)), 0.5), Verdict::GiveUp);
        assert_eq!(verdict(u32::MAX, Answered::Failed, 0.5), Verdict::GiveUp);
    }

    #[test]
    fn only_2xx_is_success_and_only_410_stops() {
        for code in 100..=999 {
            let expected = match code {
                200..=299 => Verdict::Delivered,
                410 => Verdict::Gone,
                _ => Verdict::RetryAfter(seconds(5)),
            };
            assert_eq!(verdict(1, status(code, None), 0.5), expected, "{code}");
        }
        assert_eq!(verdict(10, status(204, None), 0.5), Verdict::Delivered);
        assert_eq!(verdict(10, status(410, None), 0.5), Verdict::Gone);
    }

    #[test]
    fn retry_after_stretches_a_wait_up_to_twice() {
        let wait = |asked| verdict(2, status(429, Some(asked)), 0.5);
        assert_eq!(wait(1), Verdict::RetryAfter(seconds(300)));
        assert_eq!(wait(420), Verdict::RetryAfter(seconds(420)));
        assert_eq!(wait(86_400), Verdict::RetryAfter(seconds(600)));
        assert_eq!(wait(u64::MAX), Verdict::RetryAfter(seconds(600)));
    }

    #[test]
    fn the_longest_way_is_the_sum_of_the_longest_waits() {
        for from in 0..=ATTEMPTS_MAX {
            let mut sum = Duration::ZERO;
            for attempt in from.max(1)..ATTEMPTS_MAX {
                if let Verdict::RetryAfter(wait) = verdict(attempt, Answered::Failed, 1.0) {
                    sum += wait;
                }
            }
            assert!(sum.abs_diff(longest_after(from)) < Duration::from_millis(1), "{from}");
        }
        assert_eq!(longest_after(0), seconds((75 * 3600 + 35 * 60 + 5) * 6 / 5));
        assert_eq!(link_lifetime(), longest_after(0) * 2 + seconds(86_400));
    }
}
