//! Time: the system's clock, one that doesn't follow its jumps, or one that a test moves by hand. Nothing else in the crate asks the system
//! for the date.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 with milliseconds, stored as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment plus a duration; saturates.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment minus a duration; saturates.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Time from `earlier` to here, zero when it lies ahead.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339; fractions finer than a millisecond are cut.
    pub fn parse(text: &str) -> Option<Timestamp> {
        text.parse::<jiff::Timestamp>().ok().map(|timestamp| Timestamp(timestamp.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => write!(formatter, "{timestamp:.3}"),
            Err(_) => write!(formatter, "{}ms", self.0),
        }
    }
}

/// Where the time comes from. Cheap to clone; all clones of a manual clock move together.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's wall clock.
    #[default]
    System,
    /// The time of day as it was at the start, and since then what has really passed: see [`Clock::steady`].
    Steady(Arc<Mutex<Steady>>),
    /// A clock that stands still until it is moved.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A manual clock standing at this moment.
    pub fn manual(at: Timestamp) -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(at.as_millis())))
    }

    /// A clock for leases, waits and expiry: it starts with the system's time of day, never goes backwards, and counts what really passes
    /// (a suspended machine's sleep included). When somebody sets the system's clock, it draws near by at most a tenth of the time that
    /// passes: two hours in twenty. So nothing comes due in a heap, nothing expires early, and nothing stands still until yesterday has
    /// passed again.
    pub fn steady() -> Clock {
        Clock::Steady(Arc::new(Mutex::new(Steady::starting(wall_nanos(), passed_nanos()))))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => Timestamp(wall_nanos() / NANOS_PER_MILLI),
            Clock::Steady(steady) => {
                let mut steady = steady.lock().unwrap_or_else(PoisonError::into_inner);
                Timestamp(steady.at(wall_nanos(), passed_nanos()) / NANOS_PER_MILLI)
            }
            Clock::Manual(millis) => Timestamp(millis.load(Ordering::SeqCst)),
        }
    }

    /// Steps a steady clock to the system's time of day if the two have been more than a day apart for ten minutes, and says by how many
    /// seconds: such a clock began on a machine that did not know the date (it has no battery, or slept for days), and would stay wrong
    /// for years. What waits for a moment comes due in a heap then, so it is for who knows that nothing is under way.
    pub fn step_if_far(&self) -> Option<i64> {
        let Clock::Steady(steady) = self else { return None };
        steady.lock().unwrap_or_else(PoisonError::into_inner).step(wall_nanos(), passed_nanos())
    }

    /// The time of day as others know it at this moment: for what they compare with their own clocks, such as a signature's timestamp.
    pub fn wall(&self) -> Timestamp {
        match self {
            Clock::Steady(_) => Clock::System.now(),
            Clock::System | Clock::Manual(_) => self.now(),
        }
    }

    /// Moves a manual clock forward; the system's clock can't be moved and stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Clock::Manual(millis) = self {
            millis.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// Sets a manual clock, backwards too; the system's clock can't be moved and stays as it is.
    pub fn set(&self, to: Timestamp) {
        if let Clock::Manual(millis) = self {
            millis.store(to.as_millis(), Ordering::SeqCst);
        }
    }
}

const NANOS_PER_MILLI: i64 = 1_000_000;

/// A steady clock draws near the system's by this part of the time that passes.
const CATCH_UP: i64 = 10;

/// A difference that is worth a line in the log.
const JUMP_NANOS: i64 = 10_000 * NANOS_PER_MILLI;

/// A difference that is no correction: more than a day and the hour of a wrong time zone.
const FAR_NANOS: i64 = 25 * 3600 * 1000 * NANOS_PER_MILLI;

/// How long a difference lasts before it counts as the truth and not as somebody's slip.
const FAR_FOR_NANOS: i64 = 10 * 60 * 1000 * NANOS_PER_MILLI;

/// Where a steady clock stands; all in nanoseconds.
#[derive(Debug)]
pub struct Steady {
    shown: i64,
    /// Of the clock that nobody sets, at the last look.
    passed: i64,
    is_apart: bool,
    /// Since when the system's clock has been far away.
    far_since: Option<i64>,
}

impl Steady {
    fn starting(wall: i64, passed: i64) -> Steady {
        Steady { shown: wall, passed, is_apart: false, far_since: None }
    }

    /// The moment to show when the system's clock shows `wall` and the clock that nobody sets shows `passed`.
    fn at(&mut self, wall: i64, passed: i64) -> i64 {
        let step = passed.saturating_sub(self.passed).max(0);
        self.passed = self.passed.max(passed);
        let apart = wall.saturating_sub(self.shown.saturating_add(step));
        self.shown += step + apart.clamp(-(step / CATCH_UP), step / CATCH_UP);
        let is_apart = apart.abs() >= JUMP_NANOS;
        if is_apart && !self.is_apart {
            let seconds = apart / (1000 * NANOS_PER_MILLI);
            tracing::warn!(seconds, "the system's clock was set; this server's own draws near it slowly");
        }
        self.is_apart = is_apart;
        self.far_since = (apart.abs() >= FAR_NANOS).then(|| self.far_since.unwrap_or(self.passed));
        self.shown
    }

    /// Steps to the system's clock if it has been far away for long; by how many seconds.
    fn step(&mut self, wall: i64, passed: i64) -> Option<i64> {
        let shown = self.at(wall, passed);
        self.far_since.filter(|since| self.passed - since >= FAR_FOR_NANOS)?;
        (self.shown, self.is_apart, self.far_since) = (wall, false, None);
        Some((wall - shown) / (1000 * NANOS_PER_MILLI))
    }
}

/// Nanoseconds since 1970 by the system's clock, which can be set.
fn wall_nanos() -> i64 {
    let since_epoch =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}

/// Nanoseconds by a clock that nobody can set; on Linux it goes on while the machine is suspended.
fn passed_nanos() -> i64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let passed = rustix::time::clock_gettime(clock);
    passed.tv_sec.saturating_mul(1_000_000_000).saturating_add(passed.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_rfc_3339_with_milliseconds() {
        let moment = Timestamp::from_millis(1_763_726_400_007);
        assert_eq!(moment.to_string(), "2025-11-21T12:00:00.007Z");
        assert_eq!(Timestamp::parse("2025-11-21T13:00:00.0079+01:00"), Some(moment));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn a_steady_clock_goes_with_the_system_and_does_not_jump_with_it() {
        const SECOND: i64 = 1000 * NANOS_PER_MILLI;
        const HOUR: i64 = 3600 * SECOND;
        let mut steady = Steady::starting(1_000_000 * SECOND, 7 * SECOND);
        let start = 1_000_000 * SECOND;
        assert_eq!(steady.at(start + SECOND, 8 * SECOND), start + SECOND);
        // A gentle correction is followed.
        assert_eq!(
            steady.at(start + 2 * SECOND + NANOS_PER_MILLI, 9 * SECOND),
            start + 2 * SECOND + NANOS_PER_MILLI
        );
        let mut jumped = |hours: i64| {
            let (mut shown, mut slowest, mut fastest) = (Vec::new(), i64::MAX, 0);
            let (from, passed) = (steady.shown, steady.passed);
            for second in 1..=600 {
                let before = steady.shown;
                let now = steady.at(from + hours * HOUR + second * SECOND, passed + second * SECOND);
                (slowest, fastest) = (slowest.min(now - before), fastest.max(now - before));
                shown.push(now);
            }
            (slowest, fastest)
        };
        assert_eq!(jumped(2), (SECOND * 11 / 10, SECOND * 11 / 10));
        assert_eq!(jumped(-24), (SECOND * 9 / 10, SECOND * 9 / 10));
        assert_eq!(jumped(0), (SECOND, SECOND));
        // A reading that comes late, from another thread, moves nothing back.
        let (shown, passed) = (steady.shown, steady.passed);
        assert_eq!(steady.at(shown, passed - SECOND), shown);
    }

    #[test]
    fn a_clock_that_began_without_the_date_is_set_right_once_that_is_sure() {
        const SECOND: i64 = 1000 * NANOS_PER_MILLI;
        const DAY: i64 = 24 * 3600 * SECOND;
        let right = |passed: i64| 20_000 * DAY + passed;
        let mut steady = Steady::starting(SECOND, 0);
        assert_eq!(steady.step(right(SECOND), SECOND), None, "a minute may be a slip");
        assert_eq!(steady.step(right(599 * SECOND), 599 * SECOND), None);
        assert_eq!(steady.step(602 * SECOND, 602 * SECOND), None, "and it was one");
        assert_eq!(steady.step(right(700 * SECOND), 700 * SECOND), None);
        let stepped = steady.step(right(1300 * SECOND), 1300 * SECOND).unwrap();
        assert!((stepped - 20_000 * 24 * 3600).abs() < 600, "{stepped}");
        assert_eq!(steady.at(right(1301 * SECOND), 1301 * SECOND), right(1301 * SECOND));
        let (mut passed, mut wall) = (steady.passed, steady.shown - DAY);
        for _ in 0..700 {
            (passed, wall) = (passed + SECOND, wall + SECOND);
            assert_eq!(steady.step(wall, passed), None, "yesterday is near");
        }
    }

    #[test]
    fn a_steady_clock_shows_the_time_of_day() {
        let clock = Clock::steady();
        let (shown, wall) = (clock.now(), clock.wall());
        assert!(wall.since(shown) < Duration::from_secs(5) && shown.since(wall) < Duration::from_secs(5));
    }

    #[test]
    fn manual_clones_move_together() {
        let clock = Clock::manual(Timestamp::from_millis(1000));
        let other = clock.clone();
        clock.advance(Duration::from_secs(2));
        assert_eq!(other.now(), Timestamp::from_millis(3000));
        assert_eq!(Timestamp::from_millis(1).since(Timestamp::from_millis(5)), Duration::ZERO);
    }
}
