//! Who waits behind whom: the order of the waiting line in memory, so that a place in it is known without asking the store.
//!
//! Ids sort by age, so an owner's line per priority is a sorted deque: entering is at the end, leaving mostly at the front, and a place is
//! one binary search. Whose turn it is among owners, `fair` knows. The store stays the truth about who is claimed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::crowd::{Crowd, Entry};
use super::estimate::Load;
use super::fair::{Charge, Owner, Shares};
use crate::access::Keys;
use crate::clock::Timestamp;
use crate::job::{Job, JobId, Status};
use crate::store::Waiting;

/// Jobs moved into their line at a time.
const PROMOTED_MAX: usize = 256;
/// A running job that has outlasted what was expected of it is expected to take this part of that more.
const OVERTIME_PART: u32 = 4;

/// Where a job stands in the waiting line, and when an attempt of it is likely to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Place from 1 among the jobs that are due, in the order in which they are likely to begin; `None` unless queued and due.
    pub position: Option<u64>,
    /// When it is likely to begin; `None` unless queued, and while no job has ended since the start, from which that could be told.
    pub starts_at: Option<Timestamp>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Line {
    places: Mutex<Places>,
    keys: Keys,
    workers: u32,
    processors: u32,
}

#[derive(Debug, Default)]
struct Places {
    /// By owner and negated priority, so that an owner's first line is served first.
    due: HashMap<Owner, BTreeMap<i16, VecDeque<Place>>>,
    due_count: usize,
    later: BTreeMap<(Timestamp, JobId), Later>,
    /// Jobs of each owner that wait, due or not, and those on their way into the line.
    by_owner: HashMap<Owner, usize>,
    /// Those that have to run alone: from when on, and whether they wait until nothing else is to be done.
    suspects: BTreeMap<JobId, (Timestamp, bool)>,
    running: HashMap<JobId, Running>,
    crowd: Crowd,
    shares: Shares,
}

/// An attempt under way.
#[derive(Clone, Debug)]
struct Running {
    charge: Charge,
    since: Timestamp,
    /// None while it fetches its source.
    entry: Option<Entry>,
    /// What it is planned to need.
    memory_bytes: u64,
}

/// How an owner stands: what waits and runs of its jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Jobs waiting, due or not.
    pub(super) queued: u64,
    /// Jobs running.
    pub(super) running: u64,
    /// What these are planned to need in memory.
    pub(super) memory_bytes: u64,
    /// Since when the job that has waited longest has been due.
    pub(super) oldest: Option<Timestamp>,
}

/// A due job.
#[derive(Clone, Copy, Debug)]
struct Place {
    id: JobId,
    /// Since when it has been due.
    since: Timestamp,
    kind: usize,
    load: Option<Load>,
}

/// A job that is due later.
#[derive(Clone, Debug)]
struct Later {
    owner: Owner,
    priority: i8,
    kind: usize,
    load: Option<Load>,
}

impl Line {
    /// An empty line. The keys tell the weights of owners, `workers` how many jobs run at a time, `processors` how many of those at full speed.
    pub(super) fn new(keys: Keys, workers: usize, processors: usize) -> Line {
        let [workers, processors] =
            [workers, processors].map(|count| u32::try_from(count).unwrap_or(u32::MAX).max(1));
        let crowd = Crowd::new(workers, processors);
        let places = Mutex::new(Places { crowd, ..Places::default() });
        Line { places, keys, workers, processors }
    }

    /// A queued job enters of whose image nothing is known here.
    pub(super) fn enter(&self, waiting: Waiting, now: Timestamp) {
        self.enter_with(waiting, None, now);
    }

    fn enter_with(&self, waiting: Waiting, load: Option<Load>, now: Timestamp) {
        let mut places = self.lock();
        let Waiting { id, priority, run_at, is_suspect, is_retried, needs_fetch, owner } = waiting;
        if is_suspect {
            places.suspects.insert(id, (run_at, is_retried));
        }
        let kind = usize::from(needs_fetch);
        if run_at > now {
            if places
                .later
                .insert((run_at, id), Later { owner: owner.clone(), priority, kind, load })
                .is_none()
            {
                places.count(&owner, 1);
            }
        } else {
            places.insert_due(
                &owner,
                priority,
                Place { id, since: run_at, kind, load },
                self.weight(&owner),
                true,
            );
        }
    }

    /// A job has changed: it enters or leaves as its status says, and its owner is charged for what it takes. If that is known now, for an
    /// attempt has ended: the time of a worker that it took.
    pub(super) fn update(&self, job: &Job, now: Timestamp) -> Option<Duration> {
        self.lock().take_out(job);
        match job.status {
            Status::Running => {
                let weight = self.weight(&job.owner);
                let mut places = self.lock();
                let places = &mut *places;
                if !places.running.contains_key(&job.id) {
                    let charge = places.shares.begin(&job.owner, weight, Load::of(job));
                    let since = job.started_at.unwrap_or(now);
                    let (entry, memory_bytes) = (None, job.memory_bytes);
                    places.running.insert(job.id, Running { charge, since, entry, memory_bytes });
                }
                if let Some(running) = places.running.get_mut(&job.id)
                    && running.entry.is_none()
                    && !job.needs_fetch()
                {
                    running.entry = Some(places.crowd.enter(now));
                }
                None
            }
            Status::Queued => {
                let taken = self.lock().settle(job, now);
                let waiting = Waiting {
                    id: job.id,
                    priority: job.spec.priority,
                    run_at: job.run_at,
                    is_suspect: job.suspicion.is_some(),
                    is_retried: job.suspicion.is_some_and(|suspicion| suspicion.is_retried),
                    needs_fetch: job.needs_fetch(),
                    owner: job.owner.clone(),
                };
                self.enter_with(waiting, Load::of(job), now);
                taken
            }
            Status::Succeeded | Status::Failed | Status::Cancelled => self.lock().settle(job, now),
        }
    }

    /// A job leaves for good, wherever it stood; the time of a worker that it took, if it was running.
    pub(super) fn leave(&self, job: &Job, now: Timestamp) -> Option<Duration> {
        let mut places = self.lock();
        places.take_out(job);
        places.settle(job, now)
    }

    /// How an owner stands.
    pub(super) fn standing(&self, owner: &Owner, now: Timestamp) -> Standing {
        let mut places = self.lock();
        places.promote(now, |owner| self.weight(owner));
        let lines = places.due.get(owner).into_iter().flat_map(BTreeMap::values);
        let mut standing = Standing {
            queued: places.by_owner.get(owner).copied().unwrap_or(0) as u64,
            oldest: lines.filter_map(VecDeque::front).map(|place| place.since).min(),
            ..Standing::default()
        };
        for running in places.running.values().filter(|running| running.charge.owner() == owner) {
            standing.running += 1;
            standing.memory_bytes = standing.memory_bytes.saturating_add(running.memory_bytes);
        }
        standing
    }

    /// What running jobs are planned to need in memory.
    pub(super) fn running_memory_bytes(&self) -> u64 {
        self.lock().running.values().map(|running| running.memory_bytes).sum()
    }

    /// How many of `places_max` an owner's jobs may take.
    pub(super) fn places(&self, owner: &Owner, places_max: usize) -> usize {
        self.keys.borrow().places(owner.as_ref(), places_max)
    }

    /// Whose jobs come next, of those whose source is stored and of those that must fetch it.
    pub(super) fn turns(&self, ready: usize, fetch: usize, now: Timestamp) -> (Vec<Owner>, Vec<Owner>) {
        let mut places = self.lock();
        places.promote(now, |owner| self.weight(owner));
        (places.shares.turns(0, ready), places.shares.turns(1, fetch))
    }

    /// Takes one of the places that an owner may have, before its job is stored; gives it back with [`Line::release`]. `None`: there are
    /// no more.
    pub(super) fn reserve(&self, owner: &Owner, places_max: usize) -> Option<()> {
        let allowed = self.places(owner, places_max);
        let mut places = self.lock();
        if places.by_owner.get(owner).copied().unwrap_or(0) >= allowed {
            return None;
        }
        places.count(owner, 1);
        Some(())
    }

    /// Gives back what [`Line::reserve`] has taken: the job has its own place by now, or needs none.
    pub(super) fn release(&self, owner: &Owner) {
        self.lock().count(owner, -1);
    }

    /// Whether an owner may have one more place.
    pub(super) fn has_place(&self, owner: &Owner, places_max: usize) -> bool {
        let allowed = self.places(owner, places_max);
        self.lock().by_owner.get(owner).copied().unwrap_or(0) < allowed
    }

    /// How long it takes until the first waiting job of this owner begins, if that can be told.
    pub(super) fn moves_in(&self, owner: &Owner, now: Timestamp) -> Option<Duration> {
        let places = self.lock();
        let (_, work) = places.shares.ahead(owner, 0);
        Some(self.takes(work?, &places, now))
    }

    /// Whether a due job in the line has to run alone, of those who wait for all others, or of the rest.
    pub(super) fn has_suspects(&self, is_retried: bool, now: Timestamp) -> bool {
        self.lock().suspects.values().any(|(run_at, waits)| *run_at <= now && *waits == is_retried)
    }

    /// Those in the line that are due and have to run alone.
    pub(super) fn suspects(&self, now: Timestamp) -> BTreeSet<JobId> {
        let places = self.lock();
        places.suspects.iter().filter(|(_, (run_at, _))| *run_at <= now).map(|(id, _)| *id).collect()
    }

    /// The store knows of no more suspects, asked after these were seen; who has come since stays.
    pub(super) fn forget_suspects(&self, seen: &BTreeSet<JobId>) {
        self.lock().suspects.retain(|id, _| !seen.contains(id));
    }

    /// Where a queued job stands, and when it is likely to begin.
    pub(super) fn forecast(&self, job: &Job, now: Timestamp) -> Forecast {
        let mut places = self.lock();
        places.promote(now, |owner| self.weight(owner));
        let Some(before) = places.before(job) else {
            let is_later = places.later.contains_key(&(job.run_at, job.id));
            return Forecast { position: None, starts_at: is_later.then_some(job.run_at) };
        };
        let (ahead, work) = places.shares.ahead(&job.owner, before);
        let is_next = places.running.len() + ahead < self.workers as usize;
        let wait = match is_next {
            true => Some(Duration::ZERO),
            false => work.map(|work| self.takes(work, &places, now)),
        };
        Forecast { position: Some(ahead as u64 + 1), starts_at: wait.map(|wait| now.plus(wait)) }
    }

    /// How long so much work takes after what is under way: as many jobs as have a processor each get on at full speed.
    fn takes(&self, work: Duration, places: &Places, now: Timestamp) -> Duration {
        (work + places.left_of_running(now)) / self.workers.min(self.processors)
    }

    /// Jobs in the line, due or not.
    pub(super) fn len(&self) -> usize {
        let places = self.lock();
        places.due_count + places.later.len()
    }

    /// Since when the job that has waited longest has been due.
    pub(super) fn oldest(&self, now: Timestamp) -> Option<Timestamp> {
        let mut places = self.lock();
        places.promote(now, |owner| self.weight(owner));
        let lines = places.due.values().flat_map(BTreeMap::values);
        lines.filter_map(VecDeque::front).map(|place| place.since).min()
    }

    /// Whether a job is due, and when the next one will be.
    pub(super) fn next_due(&self, now: Timestamp) -> (bool, Option<Timestamp>) {
        let mut places = self.lock();
        places.promote(now, |owner| self.weight(owner));
        (places.due_count > 0, places.later.keys().next().map(|(at, _)| *at))
    }

    fn weight(&self, owner: &Owner) -> u32 {
        self.keys.borrow().weight(owner.as_ref())
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn count(&mut self, owner: &Owner, by: isize) {
        let count = self.by_owner.entry(owner.clone()).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            self.by_owner.remove(owner);
        }
    }

    fn insert_due(&mut self, owner: &Owner, priority: i8, place: Place, weight: u32, is_new: bool) {
        let line = self.due.entry(owner.clone()).or_default().entry(-i16::from(priority)).or_default();
        if let Err(index) = line.binary_search_by_key(&place.id, |place| place.id) {
            line.insert(index, place);
            self.due_count += 1;
            self.shares.enter(owner, weight, place.kind, place.load);
            if is_new {
                self.count(owner, 1);
            }
        }
    }

    /// Takes a job out of the line, wherever it stood.
    fn take_out(&mut self, job: &Job) {
        self.suspects.remove(&job.id);
        self.remove_due(job);
        if !self.later.is_empty() {
            let scheduled = std::iter::once(job.run_at).chain(job.spec.run_at);
            let removed = scheduled.filter(|at| self.later.remove(&(*at, job.id)).is_some()).count();
            if removed > 0 {
                self.count(&job.owner, -1);
            }
        }
    }

    fn remove_due(&mut self, job: &Job) {
        let key = -i16::from(job.spec.priority);
        let Some(lines) = self.due.get_mut(&job.owner) else { return };
        let Some(line) = lines.get_mut(&key) else { return };
        let Ok(index) = line.binary_search_by_key(&job.id, |place| place.id) else { return };
        let (kind, load) = line.remove(index).map_or((0, None), |place| (place.kind, place.load));
        if line.is_empty() {
            lines.remove(&key);
        }
        if lines.is_empty() {
            self.due.remove(&job.owner);
        }
        self.due_count -= 1;
        self.shares.leave(&job.owner, kind, load);
        self.count(&job.owner, -1);
    }

    /// How many jobs of its owner stand before a due job.
    fn before(&self, job: &Job) -> Option<usize> {
        let lines = self.due.get(&job.owner)?;
        let key = -i16::from(job.spec.priority);
        let index = lines.get(&key)?.binary_search_by_key(&job.id, |place| place.id).ok()?;
        let ahead: usize = lines.range(..key).map(|(_, line)| line.len()).sum();
        Some(ahead + index)
    }

    /// An attempt that was charged has ended: the time it took of a worker is known now. Fetching holds none.
    fn settle(&mut self, job: &Job, now: Timestamp) -> Option<Duration> {
        let Running { charge, since, entry, .. } = self.running.remove(&job.id)?;
        let fetching = Duration::from_millis(job.timings.fetch);
        let taken = now.since(since).saturating_sub(fetching);
        let alone = entry.map_or(taken, |entry| self.crowd.alone(taken, &entry, now));
        if entry.is_some() {
            self.crowd.leave(now);
        }
        self.shares.settle(&charge, alone, self.running.is_empty());
        Some(taken)
    }

    /// What attempts under way are likely to take together from now on, each on a processor of its own.
    fn left_of_running(&self, now: Timestamp) -> Duration {
        let left = self.running.values().map(|running| {
            let expected = running.charge.expected();
            let passed = now.since(running.since);
            let done = running.entry.map_or(passed, |entry| self.crowd.alone(passed, &entry, now));
            expected.saturating_sub(done).max(expected / OVERTIME_PART)
        });
        left.sum()
    }

    /// Moves what has become due into its line, some at a time: when many jobs come due at one moment, nobody may wait for all of them.
    fn promote(&mut self, now: Timestamp, weight: impl Fn(&Owner) -> u32) {
        for _ in 0..PROMOTED_MAX {
            let Some(first) = self.later.first_entry().filter(|first| first.key().0 <= now) else { return };
            let ((since, id), Later { owner, priority, kind, load }) = first.remove_entry();
            self.insert_due(&owner, priority, Place { id, since, kind, load }, weight(&owner), false);
        }
    }
}

#[cfg(test)]
mod tests;
