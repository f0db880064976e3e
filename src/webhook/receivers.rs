//! How many deliveries may be under way to each receiver: a place is taken before an attempt and freed by the answer.
//!
//! A receiver starts with a few places. Each delivery that it takes within a second earns it one more; each failure and each second of
//! silence halves them. So what hangs or is dead soon has few attempts out, and what is quick is fed as fast as it eats. Those that have
//! taken nothing since they last failed share one half of all places among themselves, so that no number of dead receivers can fill all.
//! Pure bookkeeping, no time of its own. Used by the deliverer.

use std::collections::HashMap;

/// What the deliverer may do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Deliveries under way in all. Default 1024.
    pub in_flight_max: usize,
    /// Places of a receiver that is slow or failing, or of which nothing is known. Default 4.
    pub places_min: usize,
    /// Places of a receiver that has been answering within a second. Default 64.
    pub places_max: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { in_flight_max: 1024, places_min: 4, places_max: 64 }
    }
}

/// Receivers remembered without a delivery under way, because they have earned places.
const IDLE_MAX: usize = 4096;

/// One receiver.
#[derive(Debug)]
struct Receiver {
    in_flight: usize,
    places: usize,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Receivers {
    bounds: Bounds,
    known: HashMap<String, Receiver>,
    in_flight: usize,
    /// Of these, to receivers that have taken nothing since they last failed.
    in_flight_failing: usize,
    ended: u64,
}

impl Receivers {
    pub(super) fn new(bounds: Bounds) -> Receivers {
        Receivers { bounds, known: HashMap::new(), in_flight: 0, in_flight_failing: 0, ended: 0 }
    }

    /// Deliveries that may be begun now in all.
    pub(super) fn room(&self) -> usize {
        self.bounds.in_flight_max.saturating_sub(self.in_flight)
    }

    /// The same to receivers that are failing.
    pub(super) fn failing_room(&self) -> usize {
        (self.bounds.in_flight_max / 2).saturating_sub(self.in_flight_failing)
    }

    /// Free places of a receiver that is not among [`Receivers::places_of`].
    pub(super) fn places(&self) -> usize {
        self.bounds.places_min
    }

    /// Free places of those that have another number.
    pub(super) fn places_of(&self) -> HashMap<String, usize> {
        let free = |receiver: &Receiver| receiver.places.saturating_sub(receiver.in_flight);
        let others = self.known.iter().filter(|(_, receiver)| free(receiver) != self.bounds.places_min);
        others.map(|(name, receiver)| (name.clone(), free(receiver))).collect()
    }

    /// Whether somebody may have to wait for a place: a receiver has none left, those that are failing, or all.
    pub(super) fn is_any_full(&self) -> bool {
        let is_full = |receiver: &Receiver| receiver.in_flight >= receiver.places;
        self.room() == 0 || self.failing_room() == 0 || self.known.values().any(is_full)
    }

    /// Deliveries that were under way and are no longer, so far.
    pub(super) fn ended(&self) -> u64 {
        self.ended
    }

    /// A delivery is under way.
    pub(super) fn begin(&mut self, name: &str, is_failing: bool) {
        let bounds = self.bounds;
        let receiver = match self.known.get_mut(name) {
            Some(receiver) => receiver,
            None => {
                let new = Receiver { in_flight: 0, places: bounds.places_min };
                self.known.entry(name.to_owned()).or_insert(new)
            }
        };
        receiver.in_flight += 1;
        self.in_flight += 1;
        self.in_flight_failing += usize::from(is_failing);
    }

    /// It was taken within a second.
    pub(super) fn was_quick(&mut self, name: &str) {
        if let Some(receiver) = self.known.get_mut(name) {
            receiver.places = (receiver.places + 1).min(self.bounds.places_max);
        }
    }

    /// It was not taken, or there has been no answer for a second.
    pub(super) fn was_slow(&mut self, name: &str) {
        if let Some(receiver) = self.known.get_mut(name) {
            receiver.places = (receiver.places / 2).max(self.bounds.places_min);
        }
    }

    /// It is no longer under way.
    pub(super) fn end(&mut self, name: &str, is_failing: bool) {
        self.in_flight -= 1;
        self.ended += 1;
        self.in_flight_failing -= usize::from(is_failing);
        let Some(receiver) = self.known.get_mut(name) else { return };
        receiver.in_flight -= 1;
        let is_idle = receiver.in_flight == 0;
        if is_idle && (receiver.places == self.bounds.places_min || self.known.len() > IDLE_MAX) {
            self.known.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(receivers: &Receivers, name: &str) -> usize {
        receivers.places_of().get(name).copied().unwrap_or(receivers.places())
    }

    #[test]
    fn places_are_earned_and_lost() {
        let mut receivers = Receivers::new(Bounds::default());
        assert_eq!((free(&receivers, "a"), receivers.room()), (4, 1024));
        for _ in 0..100 {
            receivers.begin("a", false);
            receivers.was_quick("a");
            receivers.end("a", false);
        }
        assert_eq!(free(&receivers, "a"), 64);
        for expected in [32, 16, 8, 4, 4] {
            receivers.begin("a", false);
            receivers.was_slow("a");
            receivers.end("a", false);
            assert_eq!(free(&receivers, "a"), expected);
        }
        assert!(receivers.known.is_empty());
        assert_eq!(receivers.room(), 1024);
    }

    #[test]
    fn a_full_receiver_has_no_place_and_failing_ones_share_half_of_all() {
        let mut receivers = Receivers::new(Bounds { in_flight_max: 10, ..Bounds::default() });
        for _ in 0..4 {
            receivers.begin("dead", true);
        }
        assert!(receivers.is_any_full());
        receivers.begin("other", true);
        assert_eq!(free(&receivers, "dead"), 0);
        assert_eq!((receivers.room(), receivers.failing_room()), (5, 0));
        receivers.end("other", true);
        assert_eq!((receivers.room(), receivers.failing_room()), (6, 1));
        receivers.end("dead", true);
        assert_eq!((receivers.is_any_full(), receivers.ended()), (false, 2));
        (0..2).for_each(|_| receivers.begin("other", true));
        assert!(receivers.is_any_full(), "of those that fail, none may begin");
        // What loses places while they are taken has none until enough are free.
        receivers.begin("quick", false);
        (0..60).for_each(|_| receivers.was_quick("quick"));
        (0..20).for_each(|_| receivers.begin("quick", false));
        receivers.was_slow("quick");
        receivers.was_slow("quick");
        assert_eq!(free(&receivers, "quick"), 0);
    }
}
