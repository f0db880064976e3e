//! Whose turn it is: worker time is shared by weight among the owners whose jobs wait.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng 1996) on virtual time: an owner's account advances by what its jobs take of a worker,
//! divided by its weight, and the account that is furthest behind is served next. A job is charged what its image and its operations are
//! likely to take (`estimate`), or what the owner's last jobs took while its image is unknown, and the difference when it has ended. Who comes back after a pause starts where the others are: a pause earns nothing, so one job that comes
//! while another owner's ten thousand wait is served next, and those ten thousand can't be hurried by having waited. Priority orders
//! the jobs of one owner: were it to order owners, whoever always asks for the highest would take everything.
//!
//! Pure arithmetic. Accounts are kept for as long as the process lives: there are as many as keys. Used by `line`.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

use super::estimate::{Class, Load, Rates};
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
    /// What images take.
    rates: Rates,
}

#[derive(Clone, Debug, Default)]
struct Account {
    /// Virtual time of its next job's start.
    at: u64,
    weight: u64,
    /// Moving average of what its jobs take in microseconds, once one was measured.
    average: Option<u64>,
    /// Jobs that wait, by kind.
    waiting: [usize; KINDS],
    /// What those have a worker do of which that is known: how many of each class, and their work together.
    loads: Vec<(Class, usize, u64)>,
}

/// What a job was charged when it began.
#[derive(Clone, Debug)]
pub(super) struct Charge {
    owner: Owner,
    micros: u64,
    weight: u64,
    load: Option<Load>,
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
    fn total(&self) -> usize {
        self.waiting.iter().sum()
    }

    /// Where it stands among those with jobs of each kind.
    fn places(&self) -> [Option<u64>; KINDS] {
        self.waiting.map(|waiting| (waiting > 0).then_some(self.at))
    }

    fn enter(&mut self, kind: usize, load: Option<Load>) {
        self.waiting[kind] += 1;
        let Some(Load { class, work }) = load else { return };
        match self.loads.iter_mut().find(|(known, ..)| *known == class) {
            Some((_, count, together)) => (*count, *together) = (*count + 1, together.saturating_add(work)),
            None => self.loads.push((class, 1, work)),
        }
    }

    fn leave(&mut self, kind: usize, load: Option<Load>) {
        self.waiting[kind] = self.waiting[kind].saturating_sub(1);
        let Some(Load { class, work }) = load else { return };
        for (_, count, together) in self.loads.iter_mut().filter(|(known, ..)| *known == class) {
            (*count, *together) = (count.saturating_sub(1), together.saturating_sub(work));
        }
        self.loads.retain(|(_, count, _)| *count > 0);
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
    pub(super) fn enter(&mut self, owner: &Owner, weight: u32, kind: usize, load: Option<Load>) {
        let start = self.now;
        self.change(owner, |account| {
            if account.total() == 0 {
                account.at = account.at.max(start);
            }
            account.weight = u64::from(weight);
            account.enter(kind, load);
        });
    }

    /// A job of this owner, of which the same is known as when it came, waits no more.
    pub(super) fn leave(&mut self, owner: &Owner, kind: usize, load: Option<Load>) {
        if self.accounts.contains_key(owner) {
            self.change(owner, |account| account.leave(kind, load));
        }
    }

    /// A job of this owner has begun: its expected time is charged.
    pub(super) fn begin(&mut self, owner: &Owner, weight: u32, load: Option<Load>) -> Charge {
        let account = self.accounts.get(owner);
        let known = load.and_then(|load| self.rates.expected(load.class, load.work));
        let average = account.and_then(|account| account.average).or(self.average);
        let (micros, weight) = (known.or(average).unwrap_or(FIRST_GUESS), u64::from(weight));
        self.now = self.now.max(account.map_or(0, |account| account.at));
        self.change(owner, |account| {
            account.weight = weight;
            account.at = account.at.saturating_add(virtual_time(micros, weight));
        });
        Charge { owner: owner.clone(), micros, weight, load }
    }

    /// What an account's next job takes: the mean of those that wait; without any, of those that were.
    fn expected(&self, account: &Account) -> u64 {
        let average = account.average.or(self.average).unwrap_or(FIRST_GUESS);
        let (mut micros, mut jobs) = (0_u64, 0_usize);
        for (class, count, work) in &account.loads {
            let Some(expected) = self.rates.expected(*class, *work) else { continue };
            micros = micros.saturating_add(expected);
            jobs += count;
        }
        let unknown = account.total().saturating_sub(jobs) as u64;
        micros = micros.saturating_add(average.saturating_mul(unknown));
        micros.checked_div(account.total() as u64).unwrap_or(average)
    }

    /// How far its next job moves an account on.
    fn step(&self, account: &Account) -> u64 {
        virtual_time(self.expected(account), account.weight)
    }

    /// A job has ended after this much time of a worker: what it was charged is put right. `is_idle`: nothing runs any more.
    pub(super) fn settle(&mut self, charge: &Charge, taken: Duration, is_idle: bool) {
        let micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX).max(1);
        self.average = Some(averaged(self.average, micros));
        if let Some(load) = charge.load {
            self.rates.learn(load, micros);
        }
        if self.accounts.contains_key(&charge.owner) {
            let charged = virtual_time(charge.micros, charge.weight);
            self.change(&charge.owner, |account| {
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
                let step = self.step(&self.accounts[owner]);
                served.push(Reverse((at.saturating_add(step), owner, left - 1)));
            }
        }
        turns
    }

    /// Of the job with `before` others of its owner before it: how many jobs go first, its owner's included, and how long a single worker
    /// would take for these. No time while nothing has been measured.
    pub(super) fn ahead(&self, owner: &Owner, before: usize) -> (usize, Option<Duration>) {
        let Some(own) = self.accounts.get(owner) else { return (before, None) };
        let own_step = self.step(own);
        let start = own.at.saturating_add(own_step.saturating_mul(before as u64));
        let mut jobs = before;
        let mut micros = self.expected(own).saturating_mul(before as u64);
        let others = self.accounts.iter().filter(|(other, account)| *other != owner && account.total() > 0);
        for (_, account) in others {
            let lead = start.saturating_sub(account.at);
            let first = usize::try_from(lead.div_ceil(self.step(account).max(1))).unwrap_or(usize::MAX);
            let first = first.min(account.total());
            jobs += first;
            micros = micros.saturating_add(self.expected(account).saturating_mul(first as u64));
        }
        (jobs, self.average.map(|_| Duration::from_micros(micros)))
    }

    /// Changes an account, a new one if need be, and keeps the order of those who wait in step with it.
    fn change(&mut self, owner: &Owner, change: impl FnOnce(&mut Account)) {
        if !self.accounts.contains_key(owner) {
            self.accounts.insert(owner.clone(), Account { at: self.now, weight: 1, ..Account::default() });
        }
        let Some(account) = self.accounts.get_mut(owner) else { return };
        let before = account.places();
        change(account);
        self.furthest = self.furthest.max(account.at);
        let moves = before.into_iter().zip(account.places()).zip(&mut self.waiting);
        for ((old, new), waiting) in moves.filter(|((old, new), _)| old != new) {
            if let Some(at) = old {
                waiting.remove(&(at, owner.clone()));
            }
            if let Some(at) = new {
                waiting.insert((at, owner.clone()));
            }
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
        shares.leave(&next, READY, None);
        let charge = shares.begin(&next, weight, None);
        shares.settle(&charge, taken(&next), false);
        next
    }

    #[test]
    fn one_job_is_served_next_however_many_of_another_owner_wait() {
        let (bulk, single) = (owner(1), owner(2));
        let mut shares = Shares::default();
        for _ in 0..10_000 {
            shares.enter(&bulk, 1, READY, None);
        }
        for _ in 0..500 {
            assert_eq!(serve(&mut shares, &[], |_| second()), bulk);
        }
        shares.enter(&single, 1, READY, None);
        assert_eq!(shares.ahead(&single, 0).0, 0);
        assert_eq!(serve(&mut shares, &[], |_| second()), single);
        assert_eq!(serve(&mut shares, &[], |_| second()), bulk);
    }

    #[test]
    fn who_was_away_has_saved_nothing_up() {
        let (busy, back) = (owner(1), owner(2));
        let mut shares = Shares::default();
        shares.enter(&back, 1, READY, None);
        assert_eq!(serve(&mut shares, &[], |_| second()), back);
        for _ in 0..100 {
            shares.enter(&busy, 1, READY, None);
        }
        for _ in 0..50 {
            assert_eq!(serve(&mut shares, &[], |_| second()), busy);
        }
        for _ in 0..50 {
            shares.enter(&back, 1, READY, None);
        }
        let served = (0..20).filter(|_| serve(&mut shares, &[], |_| second()) == back).count();
        assert!((9..=11).contains(&served), "{served} of 20");
    }

    #[test]
    fn worker_time_is_shared_by_weight_not_jobs_by_number() {
        let (heavy, light) = (owner(1), owner(2));
        let weights = [(heavy.clone(), 3), (light.clone(), 1)];
        let mut shares = Shares::default();
        for _ in 0..4000 {
            shares.enter(&heavy, 3, READY, None);
            shares.enter(&light, 1, READY, None);
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
        shares.enter(&one, 1, READY, None);
        shares.leave(&one, READY, None);
        let charge = shares.begin(&one, 1, None);
        shares.settle(&charge, 3600 * second(), true);
        // The other's thousand come first, yet they owe the hour to nobody.
        for _ in 0..1000 {
            shares.enter(&two, 1, READY, None);
        }
        assert_eq!(serve(&mut shares, &[], |_| second()), two);
        shares.enter(&one, 1, READY, None);
        let next: Vec<Owner> = (0..2).map(|_| serve(&mut shares, &[], |_| second())).collect();
        assert!(next.contains(&one), "{next:?}");
    }

    #[test]
    fn turns_and_forecast_agree() {
        let owners = [owner(1), owner(2), None];
        let mut shares = Shares::default();
        for (owner, jobs, weight) in [(&owners[0], 9, 1), (&owners[1], 5, 2), (&owners[2], 3, 1)] {
            for _ in 0..jobs {
                shares.enter(owner, weight, READY, None);
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
        shares.enter(&one, 1, 0, None);
        shares.enter(&one, 1, 1, None);
        shares.enter(&two, 1, 1, None);
        assert_eq!(shares.turns(0, 9), vec![one.clone()]);
        let charge = shares.begin(&one, 1, None);
        shares.leave(&one, 0, None);
        assert_eq!(charge.expected(), Duration::from_micros(FIRST_GUESS));
        assert_eq!(shares.turns(1, 9), [two, one]);
        assert!(shares.turns(0, 9).is_empty());
    }

    #[test]
    fn a_job_is_charged_by_its_image_and_the_mean_of_those_that_wait_is_foretold() {
        let (big, small) = (owner(1), owner(2));
        let load = |work| Some(Load { class: Class::any(), work });
        let mut shares = Shares::default();
        shares.enter(&big, 1, READY, load(1000));
        shares.leave(&big, READY, load(1000));
        let charge = shares.begin(&big, 1, load(1000));
        assert_eq!(charge.expected(), Duration::from_micros(FIRST_GUESS));
        shares.settle(&charge, second(), false);
        for work in [4000, 6000] {
            shares.enter(&big, 1, READY, load(work));
        }
        shares.enter(&small, 1, READY, load(100));
        assert_eq!(shares.ahead(&big, 1).1, Some(second() * 5 + second() / 10));
        shares.leave(&big, READY, load(4000));
        assert_eq!(shares.begin(&big, 1, load(4000)).expected(), 4 * second());
        // What is left is the larger one alone; of a job nothing is known of, one knows what others took.
        shares.enter(&big, 1, READY, None);
        assert_eq!(shares.expected(&shares.accounts[&big]), 3_500_000);
    }
}
