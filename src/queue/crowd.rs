//! How much longer an attempt takes because others are under way.
//!
//! There are more workers than processors, so that some compute while one waits for the disk. With all of them busy each job takes longer than
//! by itself, and what was measured on an idle server told the starts of a burst up to a third too early. So jobs are known by the time that
//! they take on a processor of their own: measured time divided by how many there were for each processor meanwhile, in the mean. Pure
//! arithmetic; used by `line`.

use std::time::Duration;

use crate::clock::Timestamp;

/// How many attempts are under way, and were; those that still fetch their source don't count. The default is of no processors: time is as it was
/// measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Crowd {
    workers: u32,
    processors: u32,
    under_way: u32,
    /// Time that attempts have been under way, all of them together, until then.
    sum: Duration,
    until: Option<Timestamp>,
}

/// When an attempt began, and how it stood then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    at: Timestamp,
    sum: Duration,
}

impl Crowd {
    /// Nobody yet, of `workers` that share `processors`.
    pub(super) fn new(workers: u32, processors: u32) -> Crowd {
        Crowd { workers, processors, ..Crowd::default() }
    }

    /// An attempt begins.
    pub(super) fn enter(&mut self, now: Timestamp) -> Entry {
        self.pass(now);
        self.under_way += 1;
        Entry { at: now, sum: self.sum }
    }

    /// An attempt ends.
    pub(super) fn leave(&mut self, now: Timestamp) {
        self.pass(now);
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// What an attempt that has taken so long would have taken with a processor to itself.
    pub(super) fn alone(&self, taken: Duration, entry: &Entry, now: Timestamp) -> Duration {
        let meanwhile = self.sum_at(now).saturating_sub(entry.sum).as_secs_f64();
        let passed = now.since(entry.at).as_secs_f64();
        let each = meanwhile / (passed * f64::from(self.processors));
        // No time has passed, or the clock went back: nothing is known. Who has a processor of their own gets no more than that.
        if each.is_finite() && each > 1.0 { taken.div_f64(each) } else { taken }
    }

    fn pass(&mut self, now: Timestamp) {
        self.sum = self.sum_at(now);
        self.until = Some(now);
    }

    fn sum_at(&self, now: Timestamp) -> Duration {
        let passed = self.until.map_or(Duration::ZERO, |until| now.since(until));
        // More than there are workers wait for one.
        self.sum.saturating_add(passed.saturating_mul(self.under_way.min(self.workers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn second(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn time_is_shared_only_where_there_are_more_attempts_than_processors() {
        let mut crowd = Crowd::new(4, 2);
        let first = crowd.enter(second(0));
        let taken = |seconds| Duration::from_secs(seconds);
        assert_eq!(crowd.alone(taken(4), &first, second(4)), taken(4), "alone");
        let others = [4, 4, 4, 4, 4].map(|at| crowd.enter(second(at)));
        // Four on two processors, half of the speed; two wait.
        assert_eq!(crowd.alone(taken(6), &others[0], second(10)), taken(3));
        for _ in 0..4 {
            crowd.leave(second(10));
        }
        // Six seconds among four, then six between two.
        assert_eq!(crowd.alone(taken(12), &others[0], second(16)), taken(8));
        assert_eq!(crowd.alone(taken(1), &others[0], second(4)), taken(1), "no time has passed");
        assert_eq!(crowd.alone(taken(1), &others[0], second(2)), taken(1), "the clock went back");
    }
}
