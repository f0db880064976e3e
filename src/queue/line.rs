//! Who waits behind whom: the order of the waiting line in memory, so that a place in it is known without asking the store.
//!
//! Ids sort by age, so a line per priority is a sorted deque: entering is at the end, leaving mostly at the front, and a place is one
//! binary search. The store stays the truth about who is claimed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::job::{Job, JobId, Status};

/// Jobs moved into their line at a time.
const PROMOTED_MAX: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Line {
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    /// By negated priority, so that the first line is served first; the time is when the job became due.
    due: BTreeMap<i16, VecDeque<(JobId, Timestamp)>>,
    due_count: usize,
    later: BTreeSet<(Timestamp, JobId, i8)>,
    /// Those of either who have to run alone: from when on, and whether they wait for all others.
    suspects: BTreeMap<JobId, (Timestamp, bool)>,
}

impl Line {
    /// A queued job enters.
    pub(super) fn enter(&self, id: JobId, priority: i8, run_at: Timestamp, now: Timestamp) {
        let mut places = self.lock();
        if run_at > now {
            places.later.insert((run_at, id, priority));
        } else {
            places.insert_due(id, priority, run_at);
        }
    }

    /// A job has changed: it enters or leaves as its status says.
    pub(super) fn update(&self, job: &Job, now: Timestamp) {
        self.leave(job);
        if job.status == Status::Queued {
            self.enter(job.id, job.spec.priority, job.run_at, now);
            if let Some(suspicion) = job.suspicion {
                self.suspect(job.id, job.run_at, suspicion.is_retried);
            }
        }
    }

    /// A job in the line has to run alone; `is_retried`: it also waits until nothing else is to be done.
    pub(super) fn suspect(&self, id: JobId, run_at: Timestamp, is_retried: bool) {
        self.lock().suspects.insert(id, (run_at, is_retried));
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

    /// A job leaves, wherever it stood.
    pub(super) fn leave(&self, job: &Job) {
        let mut places = self.lock();
        places.suspects.remove(&job.id);
        places.remove_due(job.id, job.spec.priority);
        if !places.later.is_empty() {
            let entry = (job.run_at, job.id, job.spec.priority);
            let scheduled = job.spec.run_at.map(|run_at| (run_at, job.id, job.spec.priority));
            if !places.later.remove(&entry)
                && let Some(scheduled) = scheduled
            {
                places.later.remove(&scheduled);
            }
        }
    }

    /// Place from 1 among the due jobs; `None` when it isn't there.
    pub(super) fn position(&self, id: JobId, priority: i8, now: Timestamp) -> Option<u64> {
        let mut places = self.lock();
        places.promote(now);
        let key = -i16::from(priority);
        let line = places.due.get(&key)?;
        let index = line.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let ahead: usize = places.due.range(..key).map(|(_, line)| line.len()).sum();
        Some((ahead + index) as u64 + 1)
    }

    /// Jobs in the line, due or not.
    pub(super) fn len(&self) -> usize {
        let places = self.lock();
        places.due_count + places.later.len()
    }

    /// Since when the job that has waited longest has been due.
    pub(super) fn oldest(&self, now: Timestamp) -> Option<Timestamp> {
        let mut places = self.lock();
        places.promote(now);
        places.due.values().filter_map(|line| line.front()).map(|(_, since)| *since).min()
    }

    /// Whether a job is due, and when the next one will be.
    pub(super) fn next_due(&self, now: Timestamp) -> (bool, Option<Timestamp>) {
        let mut places = self.lock();
        places.promote(now);
        (places.due_count > 0, places.later.first().map(|(at, _, _)| *at))
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn insert_due(&mut self, id: JobId, priority: i8, since: Timestamp) {
        let line = self.due.entry(-i16::from(priority)).or_default();
        if let Err(index) = line.binary_search_by_key(&id, |(id, _)| *id) {
            line.insert(index, (id, since));
            self.due_count += 1;
        }
    }

    fn remove_due(&mut self, id: JobId, priority: i8) {
        let key = -i16::from(priority);
        let Some(line) = self.due.get_mut(&key) else { return };
        if let Ok(index) = line.binary_search_by_key(&id, |(id, _)| *id) {
            line.remove(index);
            self.due_count -= 1;
        }
        if line.is_empty() {
            self.due.remove(&key);
        }
    }

    /// Moves what has become due into its line, some at a time: when many jobs come due at one moment, nobody may wait for all of them.
    fn promote(&mut self, now: Timestamp) {
        for _ in 0..PROMOTED_MAX {
            let Some(&(at, id, priority)) = self.later.first().filter(|(at, _, _)| *at <= now) else {
                return;
            };
            self.later.pop_first();
            self.insert_due(id, priority, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1000);

    #[test]
    fn places_follow_priority_and_then_age() {
        let line = Line::default();
        let ids: Vec<JobId> = (0..4).map(|_| JobId::new()).collect();
        line.enter(ids[1], 0, NOW, NOW);
        line.enter(ids[0], 0, NOW, NOW);
        line.enter(ids[2], 5, NOW, NOW);
        line.enter(ids[3], 0, Timestamp::from_millis(5000), NOW);
        let place = |id: usize, priority| line.position(ids[id], priority, NOW);
        assert_eq!(place(2, 5), Some(1));
        assert_eq!(place(0, 0), Some(2));
        assert_eq!(place(1, 0), Some(3));
        assert_eq!(place(3, 0), None);
        assert_eq!(line.len(), 4);
        assert_eq!(line.next_due(NOW), (true, Some(Timestamp::from_millis(5000))));
        assert_eq!(line.position(ids[3], 0, Timestamp::from_millis(5000)), Some(4));
    }
}
