//! Whose turn it is: worker time is shared by weight among the owners whose jobs wait.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng 1996) on virtual time: an owner's account advances by what its jobs take of a worker,
//! divided by its weight, and the account that is furthest behind is served next. A job is charged what the owner's last jobs took, and the
//! difference when it has ended. Who comes back after a pause starts where the others are: a pause earns nothing, so one job that comes
//! while another owner's ten thousand wait is served next, and those ten thousand can't be hurried by having waited. Priority orders
//! the jobs of one owner: were it to order owners, whoever always asks for the highest would take everything.
//!
//! Pure arithmetic. Accounts are kept for as long as the process lives: there are as many as keys. Used by `line`.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

use crate::job::KeyId;

/// Whose jobs; `None` are those of no key.
pub(super) type Owner = Option<KeyId>;

/// Microseconds that a job is expected to take while nothing has been measured.
const FIRST_GUESS: u64 = 100_000;
/// A job's share in the moving average of what an owner's jobs take: one eighth.
const AVERAGE_OVER: u64 = 8;
/// Virtual time per microsecond and unit of weight: large enough for every weight to divide without loss that matters.
const SCALE: u64 = 1000;

/// The two kinds of lines: jobs whose source is stored, and jobs that must be fetched first.
pub(super) const KINDS: usize = 2;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shares {
    accounts: HashMap<Owner, Account>,
    /// Owners with jobs waiting, by kind, the one served next first.
    waiting: [BTreeSet<(u64, Owner)>; KINDS],
    /// Where the account stood that was served last: new ones begin here.
    now: u64,
    /// Where the account stands that has advanced furthest.
    furthest: u64,
    /// Moving average over everybody's jobs in microseconds, once one was measured.
    average: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    /// Virtual time of its next job's start.
    at: u64,
    weight: u64,
    /// Moving average of what its jobs take in microseconds, once one was measured.
    average: Option<u64>,
    /// Jobs that wait, by kind.
    waiting: [usize; KINDS],
}

/// What a job was charged when it began.
#[derive(Clone, Debug)]
pub(super) struct Charge {
    owner: Owner,
    micros: u64,
    weight: u64,
}

impl Charge {
    /// Who was charged.
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// How long the job is expected to take.
    pub(super) fn expected(&self) -> Duration {
        Duration::from_micros(self.micros)
    }
}

impl Account {
    fn step(&self, average: Option<u64>) -> u64 {
        virtual_time(self.expected(average), self.weight)
    }

    fn expected(&self, average: Option<u64>) -> u64 {
        self.average.or(average).unwrap_or(FIRST_GUESS)
    }

    fn total(&self) -> usize {
        self.waiting.iter().sum()
    }
}

fn virtual_time(micros: u64, weight: u64) -> u64 {
    micros.saturating_mul(SCALE) / weight.max(1)
}

fn averaged(average: Option<u64>, micros: u64) -> u64 {
    average.map_or(micros, |average| (average * (AVERAGE_OVER - 1) + micros) / AVERAGE_OVER)
}

impl Shares {
    /// A job of this owner, who has this weight now, has begun to wait.
    pub(super) fn enter(&mut self, owner: &Owner, weight: u32, kind: usize) {
        let start = self.now;
        let fresh = Account { at: start, weight: 1, average: None, waiting: [0; KINDS] };
        self.change(owner, fresh, |account| {
            if account.total() == 0 {
                account.at = account.at.max(start);
            }
            account.weight = u64::from(weight);
            account.waiting[kind] += 1;
        });
    }

    /// A job of this owner waits no more.
    pub(super) fn leave(&mut self, owner: &Owner, kind: usize) {
        let Some(account) = self.accounts.get(owner).copied() else { return };
        self.change(owner, account, |account| {
            account.waiting[kind] = account.waiting[kind].saturating_sub(1)
        });
    }

    /// A job of this owner has begun: its expected time is charged.
    pub(super) fn begin(&mut self, owner: &Owner, weight: u32) -> Charge {
        let start = self.now;
        let fresh = Account { at: start, weight: 1, average: None, waiting: [0; KINDS] };
        let account = self.accounts.get(owner).copied().unwrap_or(fresh);
        let (micros, weight) = (account.expected(self.average), u64::from(weight));
        self.now = self.now.max(account.at);
        self.change(owner, account, |account| {
            account.weight = weight;
            account.at = account.at.saturating_add(virtual_time(micros, weight));
        });
        Charge { owner: owner.clone(), micros, weight }
    }

    /// A job has ended after this much time of a worker: what it was charged is put right. `is_idle`: nothing runs any more.
    pub(super) fn settle(&mut self, charge: &Charge, taken: Duration, is_idle: bool) {
        let micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX).max(1);
        self.average = Some(averaged(self.average, micros));
        if let Some(account) = self.accounts.get(&charge.owner).copied() {
            let charged = virtual_time(charge.micros, charge.weight);
            self.change(&charge.owner, account, |account| {
                account.average = Some(averaged(account.average, micros));
                account.at = account.at.saturating_sub(charged);
                account.at = account.at.saturating_add(virtual_time(micros, charge.weight));
            });
        }
        if is_idle && self.waiting.iter().all(BTreeSet::is_empty) {
            // Nobody was kept waiting: whoever has used much owes nobody anything.
            self.now = self.now.max(self.furthest);
        }
    }

    /// The owners of the next `most` jobs of a kind, in order.
    pub(super) fn turns(&self, kind: usize, most: usize) -> Vec<Owner> {
        let mut untouched = self.waiting[kind].iter().peekable();
        let mut served: BinaryHeap<Reverse<(u64, &Owner, usize)>> = BinaryHeap::new();
        let mut turns = Vec::new();
        while turns.len() < most {
            let is_untouched_next = match (untouched.peek(), served.peek()) {
                (Some((at, _)), Some(Reverse((served_at, ..)))) => at <= served_at,
                (Some(_), None) => true,
                (None, _) => false,
            };
            let next = if is_untouched_next {
                untouched.next().map(|(at, owner)| (*at, owner, self.accounts[owner].waiting[kind]))
            } else {
                served.pop().map(|Reverse(next)| next)
            };
            let Some((at, owner, left)) = next else { break };
            turns.push(owner.clone());
            if left > 1 {
                let step = self.accounts[owner].step(self.average);
                served.push(Reverse((at.saturating_add(step), owner, left - 1)));
            }
        }
        turns
    }

    /// Of the job with `before` others of its owner before it: how many jobs go first, its owner's included, and how long a single worker
    /// would take for these. No time while nothing has been measured.
    pub(super) fn ahead(&self, owner: &Owner, before: usize) -> (usize, Option<Duration>) {
        let Some(own) = self.accounts.get(owner) else { return (before, None) };
        let own_step = own.step(self.average);
        let start = own.at.saturating_add(own_step.saturating_mul(before as u64));
        let mut jobs = before;
        let mut micros = own.expected(self.average).saturating_mul(before as u64);
        let others = self.accounts.iter().filter(|(other, account)| *other != owner && account.total() > 0);
        for (_, account) in others {
            let lead = start.saturating_sub(account.at);
            let first =
                usize::try_from(lead.div_ceil(account.step(self.average).max(1))).unwrap_or(usize::MAX);
            let first = first.min(account.total());
            jobs += first;
            micros = micros.saturating_add(account.expected(self.average).saturating_mul(first as u64));
        }
        (jobs, self.average.map(|_| Duration::from_micros(micros)))
    }

    /// Changes an account and keeps the order of those who wait in step with it.
    fn change(&mut self, owner: &Owner, fallback: Account, change: impl FnOnce(&mut Account)) {
        let before = self.accounts.get(owner).copied();
        let mut after = before.unwrap_or(fallback);
        change(&mut after);
        self.furthest = self.furthest.max(after.at);
        for kind in 0..KINDS {
            let place = |account: Account| (account.waiting[kind] > 0).then_some(account.at);
            let (old, new) = (before.and_then(place), place(after));
            if old == new {
                continue;
            }
            if let Some(at) = old {
                self.waiting[kind].remove(&(at, owner.clone()));
            }
            if let Some(at) = new {
                self.waiting[kind].insert((at, owner.clone()));
            }
        }
        match self.accounts.get_mut(owner) {
            Some(account) => *account = after,
            None => drop(self.accounts.insert(owner.clone(), after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: usize = 0;

    fn owner(number: u64) -> Owner {
        Some(KeyId::from_random(number))
    }

    fn second() -> Duration {
        Duration::from_secs(1)
    }

    /// Serves the next job of whoever is next, for this long.
    fn serve(shares: &mut Shares, weights: &[(Owner, u32)], taken: impl Fn(&Owner) -> Duration) -> Owner {
        let next = shares.turns(READY, 1).remove(0);
        let weight = weights.iter().find(|(owner, _)| *owner == next).map_or(1, |(_, weight)| *weight);
        shares.leave(&next, READY);
        let charge = shares.begin(&next, weight);
        shares.settle(&charge, taken(&next), false);
        next
    }

    #[test]
    fn one_job_is_served_next_however_many_of_another_owner_wait() {
        let (bulk, single) = (owner(1), owner(2));
        let mut shares = Shares::default();
        for _ in 0..10_000 {
            shares.enter(&bulk, 1, READY);
        }
        for _ in 0..500 {
            assert_eq!(serve(&mut shares, &[], |_| second()), bulk);
        }
        shares.enter(&single, 1, READY);
        assert_eq!(shares.ahead(&single, 0).0, 0);
        assert_eq!(serve(&mut shares, &[], |_| second()), single);
        assert_eq!(serve(&mut shares, &[], |_| second()), bulk);
    }

    #[test]
    fn worker_time_is_shared_by_weight_not_jobs_by_number() {
        let (heavy, light) = (owner(1), owner(2));
        let weights = [(heavy.clone(), 3), (light.clone(), 1)];
        let mut shares = Shares::default();
        for _ in 0..4000 {
            shares.enter(&heavy, 3, READY);
            shares.enter(&light, 1, READY);
        }
        // The heavier one's jobs take ten times as long: for three times the time it gets three jobs to the other's ten.
        let taken = |next: &Owner| if *next == heavy { second() } else { second() / 10 };
        let served: Vec<Owner> = (0..1300).map(|_| serve(&mut shares, &weights, taken)).collect();
        let heavies = served.iter().filter(|next| **next == heavy).count();
        assert!((285..=315).contains(&heavies), "{heavies} of 1300");
    }

    #[test]
    fn a_pause_earns_nothing_and_use_without_competition_costs_nothing() {
        let (one, two) = (owner(1), owner(2));
        let mut shares = Shares::default();
        shares.enter(&one, 1, READY);
        shares.leave(&one, READY);
        let charge = shares.begin(&one, 1);
        shares.settle(&charge, 3600 * second(), true);
        // The other's thousand come first, yet they owe the hour to nobody.
        for _ in 0..1000 {
            shares.enter(&two, 1, READY);
        }
        assert_eq!(serve(&mut shares, &[], |_| second()), two);
        shares.enter(&one, 1, READY);
        let next: Vec<Owner> = (0..2).map(|_| serve(&mut shares, &[], |_| second())).collect();
        assert!(next.contains(&one), "{next:?}");
    }

    #[test]
    fn turns_and_forecast_agree() {
        let owners = [owner(1), owner(2), None];
        let mut shares = Shares::default();
        for (owner, jobs, weight) in [(&owners[0], 9, 1), (&owners[1], 5, 2), (&owners[2], 3, 1)] {
            for _ in 0..jobs {
                shares.enter(owner, weight, READY);
            }
        }
        let turns = shares.turns(READY, 100);
        assert_eq!(turns.len(), 17);
        for owner in &owners {
            let places = turns.iter().enumerate().filter(|(_, turn)| *turn == owner).map(|(place, _)| place);
            for (before, place) in places.enumerate() {
                let told = shares.ahead(owner, before).0;
                // Owners that stand at the same point may go either way.
                assert!(told.abs_diff(place) <= 2, "{owner:?} {before}: {told} {place}");
            }
        }
        assert_eq!(shares.turns(READY, 4).len(), 4);
        assert_eq!(shares.ahead(&owners[0], 3).1, None, "nothing has been measured");
    }

    #[test]
    fn the_two_kinds_wait_apart_and_share_one_account() {
        let (one, two) = (owner(1), owner(2));
        let mut shares = Shares::default();
        shares.enter(&one, 1, 0);
        shares.enter(&one, 1, 1);
        shares.enter(&two, 1, 1);
        assert_eq!(shares.turns(0, 9), vec![one.clone()]);
        let charge = shares.begin(&one, 1);
        shares.leave(&one, 0);
        assert_eq!(charge.expected(), Duration::from_micros(FIRST_GUESS));
        assert_eq!(shares.turns(1, 9), [two, one]);
        assert!(shares.turns(0, 9).is_empty());
    }
}
