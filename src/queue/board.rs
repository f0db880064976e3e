//! The live view of jobs: a concurrent map that answers status reads and wakes those who wait.
//!
//! A view, not a truth: it is bounded, everything in it was committed before (but for the progress of running attempts), and what it has
//! dropped the store answers for. Versions decide: an older record never replaces a newer one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::watch;

use crate::job::{Job, JobId, KeyId, Status};

/// What the board knows of a job.
#[derive(Clone, Debug)]
pub(super) enum Card {
    /// Its newest record.
    Job(Arc<Job>),
    /// It was removed; late news of it is ignored. Whose it was.
    Gone(Option<KeyId>),
    /// Somebody watches it, and nothing is known yet.
    Blank,
}

#[derive(Debug)]
struct Slot {
    card: Card,
    /// What the record takes in memory, about.
    bytes: usize,
    /// Made when somebody starts to watch.
    watchers: Option<watch::Sender<Card>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Board {
    slots: DashMap<JobId, Slot>,
    /// Ids in the order in which they came, for dropping the oldest.
    order: Mutex<VecDeque<JobId>>,
    jobs_max: usize,
    bytes: AtomicUsize,
    bytes_max: usize,
}

/// Slots looked at when one has to go; running and watched ones stay.
const DROPS_TRIED_MAX: usize = 32;

impl Board {
    pub(super) fn new(jobs_max: usize, bytes_max: usize) -> Board {
        let (slots, order, bytes) = (DashMap::new(), Mutex::default(), AtomicUsize::new(0));
        Board { slots, order, jobs_max, bytes, bytes_max }
    }

    /// Shows a record unless a newer one is shown; whether it did. If so, `spread` runs before anybody can show the next: who keeps a
    /// view of his own sees the changes of a job in their order. It must not come back to the board.
    pub(super) fn put(&self, job: &Arc<Job>, spread: impl FnOnce()) -> bool {
        self.set(job.id, Card::Job(Arc::clone(job)), spread)
    }

    /// The job was removed; `spread` as in [`Board::put`].
    pub(super) fn remove(&self, job: &Job, spread: impl FnOnce()) {
        self.set(job.id, Card::Gone(job.owner.clone()), spread);
    }

    pub(super) fn get(&self, id: JobId) -> Card {
        self.slots.get(&id).map_or(Card::Blank, |slot| slot.card.clone())
    }

    /// Changes the record of a running attempt in place: progress. `change` says whether it did anything; `spread` as in [`Board::put`].
    pub(super) fn touch(
        &self,
        id: JobId,
        change: impl FnOnce(&mut Job) -> bool,
        spread: impl FnOnce(&Arc<Job>),
    ) {
        let Some(mut slot) = self.slots.get_mut(&id) else { return };
        let Card::Job(job) = &mut slot.card else { return };
        let mut changed = (**job).clone();
        if !change(&mut changed) {
            return;
        }
        *job = Arc::new(changed);
        let shown = Arc::clone(job);
        if let Some(watchers) = &slot.watchers {
            watchers.send_replace(Card::Job(Arc::clone(&shown)));
        }
        spread(&shown);
    }

    /// Starts watching; from now on the slot stays until the watcher is dropped.
    pub(super) fn watch(&self, id: JobId) -> Watch {
        let mut is_new = false;
        let mut slot = self.slots.entry(id).or_insert_with(|| {
            is_new = true;
            Slot { card: Card::Blank, bytes: 0, watchers: None }
        });
        let card = slot.card.clone();
        let receiver = slot.watchers.get_or_insert_with(|| watch::Sender::new(card)).subscribe();
        drop(slot);
        if is_new {
            self.remember(id);
        }
        Watch { receiver, seen: 0, ended: false }
    }

    fn set(&self, id: JobId, card: Card, spread: impl FnOnce()) -> bool {
        let is_new = match self.slots.entry(id) {
            Entry::Occupied(mut entry) => {
                let slot = entry.get_mut();
                let is_news = match (&slot.card, &card) {
                    (Card::Gone(_), _) => false,
                    (Card::Job(old), Card::Job(new)) => new.version > old.version,
                    _ => true,
                };
                if !is_news {
                    return false;
                }
                if let Some(watchers) = &slot.watchers {
                    watchers.send_replace(card.clone());
                }
                slot.card = card;
                let before = std::mem::replace(&mut slot.bytes, slot.card.bytes());
                self.bytes.fetch_add(slot.bytes, Ordering::Relaxed);
                self.bytes.fetch_sub(before, Ordering::Relaxed);
                spread();
                false
            }
            Entry::Vacant(entry) => {
                let bytes = card.bytes();
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                let _locked = entry.insert(Slot { card, bytes, watchers: None });
                spread();
                true
            }
        };
        if is_new {
            self.remember(id);
        }
        true
    }

    /// Notes a new slot and drops the oldest that nobody needs while there are too many.
    fn remember(&self, id: JobId) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.push_back(id);
        let mut tries = DROPS_TRIED_MAX;
        let is_over = |order: &VecDeque<JobId>| {
            order.len() > self.jobs_max || self.bytes.load(Ordering::Relaxed) > self.bytes_max
        };
        while is_over(&order) && tries > 0 {
            tries -= 1;
            let Some(oldest) = order.pop_front() else { return };
            match self.slots.remove_if(&oldest, |_, slot| !slot.is_needed()) {
                Some((_, slot)) => {
                    self.bytes.fetch_sub(slot.bytes, Ordering::Relaxed);
                }
                None if self.slots.contains_key(&oldest) => order.push_back(oldest),
                None => {}
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.slots.len()
    }
}

impl Card {
    fn bytes(&self) -> usize {
        match self {
            Card::Job(job) => job.bytes_estimated(),
            Card::Gone(_) | Card::Blank => 0,
        }
    }
}

impl Slot {
    fn is_needed(&self) -> bool {
        let is_watched = self.watchers.as_ref().is_some_and(|watchers| watchers.receiver_count() > 0);
        let is_running = matches!(&self.card, Card::Job(job) if job.status == Status::Running);
        is_watched || is_running
    }
}

/// News of one job: every look sees its newest record.
#[derive(Debug)]
pub struct Watch {
    receiver: watch::Receiver<Card>,
    seen: u64,
    ended: bool,
}

impl Watch {
    /// Waits for a record newer than the last one given. `None` after the one that ended the job, and when the job is removed.
    pub async fn next(&mut self) -> Option<Arc<Job>> {
        while !self.ended {
            match &*self.receiver.borrow_and_update() {
                Card::Job(job) if job.version > self.seen => {
                    self.seen = job.version;
                    self.ended = job.status.is_terminal();
                    return Some(Arc::clone(job));
                }
                Card::Gone(_) => break,
                Card::Job(_) | Card::Blank => {}
            }
            // An error means that the board is gone, and with it the server.
            if self.receiver.changed().await.is_err() {
                break;
            }
        }
        self.ended = true;
        None
    }

    /// Counts everything up to this version as given.
    pub fn skip_to(&mut self, version: u64) {
        self.seen = version;
    }

    /// The newest record, if one is known.
    pub fn current(&self) -> Option<Arc<Job>> {
        match &*self.receiver.borrow() {
            Card::Job(job) => Some(Arc::clone(job)),
            Card::Gone(_) | Card::Blank => None,
        }
    }

    /// Resolves when the job is removed or somebody asks for it to be cancelled; never otherwise.
    pub async fn cancelled(&mut self) {
        let is_cancelled = |card: &Card| match card {
            Card::Job(job) => job.cancel_requested,
            Card::Gone(_) => true,
            Card::Blank => false,
        };
        if self.receiver.wait_for(is_cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::job::{JobSpec, SourceSpec};
    use crate::pipeline::Pipeline;

    fn job() -> Job {
        let spec = JobSpec {
            source: SourceSpec::Upload,
            pipeline: Pipeline::default(),
            preset: None,
            webhook: None,
            priority: 0,
            run_at: None,
            timeout: std::time::Duration::from_secs(60),
            max_attempts: 8,
            expires_in: None,
            tag: None,
            metadata: Default::default(),
        };
        Job::submitted(JobId::new(), Arc::new(spec), None, 0, vec![], Timestamp::from_millis(0))
    }

    #[test]
    fn an_older_record_never_replaces_a_newer_one_and_gone_is_final() {
        let board = Board::new(10, usize::MAX);
        let old = job();
        let mut new = old.clone();
        new.claim(Timestamp::from_millis(5));
        assert!(board.put(&Arc::new(new.clone()), || {}));
        assert!(!board.put(&Arc::new(old), || {}));
        assert!(matches!(board.get(new.id), Card::Job(shown) if shown.version == 2));
        board.remove(&new, || {});
        new.version = 99;
        assert!(!board.put(&Arc::new(new.clone()), || {}));
        assert!(matches!(board.get(new.id), Card::Gone(_)));
    }

    #[test]
    fn the_board_is_bounded_but_keeps_running_and_watched_jobs() {
        let board = Board::new(10, usize::MAX);
        let mut running = job();
        running.claim(Timestamp::from_millis(5));
        let watched = job();
        board.put(&Arc::new(running.clone()), || {});
        board.put(&Arc::new(watched.clone()), || {});
        let watch = board.watch(watched.id);
        for _ in 0..1000 {
            board.put(&Arc::new(job()), || {});
        }
        assert!(board.len() <= 10);
        assert!(matches!(board.get(running.id), Card::Job(_)));
        assert!(watch.current().is_some());
        drop(watch);
        for _ in 0..100 {
            board.put(&Arc::new(job()), || {});
        }
        assert!(matches!(board.get(watched.id), Card::Blank));
    }

    #[test]
    fn the_board_is_bounded_in_bytes_too() {
        let mut large = job();
        Arc::make_mut(&mut large.spec).metadata.insert("a".to_owned(), "x".repeat(8000));
        let bytes = large.bytes_estimated();
        assert!((8000..40_000).contains(&bytes), "{bytes}");
        let board = Board::new(1000, 10 * bytes);
        for _ in 0..100 {
            large.id = JobId::new();
            board.put(&Arc::new(large.clone()), || {});
        }
        assert!((5..=10).contains(&board.len()), "{}", board.len());
    }

    #[tokio::test]
    async fn a_watcher_sees_the_newest_record_and_then_the_end() {
        let board = Board::new(10, usize::MAX);
        let mut job = job();
        let mut watch = board.watch(job.id);
        board.put(&Arc::new(job.clone()), || {});
        assert_eq!(watch.next().await.unwrap().version, 1);
        job.claim(Timestamp::from_millis(5));
        board.put(&Arc::new(job.clone()), || {});
        let progress = |job: &mut Job| {
            job.version += 1;
            true
        };
        board.touch(job.id, progress, |_| {});
        assert_eq!(watch.next().await.unwrap().version, 3);
        job.version = 50;
        job.status = Status::Succeeded;
        board.put(&Arc::new(job.clone()), || {});
        assert_eq!(watch.next().await.unwrap().status, Status::Succeeded);
        assert!(watch.next().await.is_none());
    }

    #[test]
    fn news_is_spread_before_anybody_can_show_newer() {
        let (board, mut job) = (Board::new(10, usize::MAX), job());
        let id = job.id;
        let spread = std::cell::Cell::new(0);
        let is_locked = || {
            spread.set(spread.get() + 1);
            assert!(board.slots.try_get(&id).is_locked());
        };
        board.put(&Arc::new(job.clone()), is_locked);
        job.claim(Timestamp::from_millis(5));
        board.put(&Arc::new(job.clone()), is_locked);
        let gone = job.clone();
        board.put(&Arc::new(job), || panic!("that was no news"));
        board.touch(id, |_| true, |_| is_locked());
        board.remove(&gone, is_locked);
        assert_eq!(spread.get(), 4);
    }
}
