//! News of all jobs in one numbered sequence, for who looks at the whole server.
//!
//! The last few hundred items are kept, so that a reader who was cut off can go on where it stopped. Numbers start at the time of the
//! boot in microseconds: an item of an earlier boot is always "too old", never mistaken for one of this boot.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::job::Job;

/// Items kept for readers who are behind.
const ITEMS_MAX: usize = 1024;
/// Memory that they may take, about.
const BYTES_MAX: usize = 16 << 20;

/// What a reader gets.
#[derive(Clone, Debug)]
pub enum FeedItem {
    /// A job has changed.
    Job {
        /// Number of this item; the reader may resume after it.
        sequence: u64,
        /// The record.
        job: Arc<Job>,
    },
    /// Something was missed: the reader should look at the list again. Resume after this number.
    Reset {
        /// The newest number given out so far.
        sequence: u64,
    },
}

/// The items kept, with their numbers, oldest first.
type Items = Arc<Mutex<Kept>>;

#[derive(Debug, Default)]
struct Kept {
    /// Each with its number and what it takes in memory, about.
    items: VecDeque<(u64, usize, Arc<Job>)>,
    /// What they take together.
    bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ring {
    items: Items,
    newest: watch::Sender<u64>,
}

impl Ring {
    pub(super) fn new(boot: Timestamp) -> Ring {
        let first = u64::try_from(boot.as_millis()).unwrap_or(0).saturating_mul(1000);
        Ring { items: Arc::default(), newest: watch::Sender::new(first) }
    }

    pub(super) fn push(&self, job: &Arc<Job>) {
        let bytes = job.bytes_estimated();
        let mut kept = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = *self.newest.borrow() + 1;
        kept.items.push_back((sequence, bytes, Arc::clone(job)));
        kept.bytes += bytes;
        while kept.items.len() > ITEMS_MAX || (kept.bytes > BYTES_MAX && kept.items.len() > 1) {
            let dropped = kept.items.pop_front().map_or(0, |(_, bytes, _)| bytes);
            kept.bytes -= dropped;
        }
        self.newest.send_replace(sequence);
    }

    /// Reads on after a number, or from now on.
    pub(super) fn read(&self, after: Option<u64>) -> Feed {
        let receiver = self.newest.subscribe();
        let newest = *receiver.borrow();
        Feed {
            items: Arc::clone(&self.items),
            next: after.unwrap_or(newest).saturating_add(1),
            newest: receiver,
        }
    }
}

/// A reader of the feed.
#[derive(Debug)]
pub struct Feed {
    items: Items,
    newest: watch::Receiver<u64>,
    next: u64,
}

impl Feed {
    /// Waits for the next item. `None` when the queue is gone.
    pub async fn next(&mut self) -> Option<FeedItem> {
        loop {
            let newest = *self.newest.borrow_and_update();
            if self.next <= newest || self.next > newest.saturating_add(1) {
                return Some(self.take(newest));
            }
            self.newest.changed().await.ok()?;
        }
    }

    fn take(&mut self, newest: u64) -> FeedItem {
        let items = &self.items.lock().unwrap_or_else(PoisonError::into_inner).items;
        let oldest = items.front().map_or(u64::MAX, |(sequence, ..)| *sequence);
        let item = self.next.checked_sub(oldest).and_then(|offset| items.get(usize::try_from(offset).ok()?));
        match item {
            Some((sequence, _, job)) => {
                self.next = sequence + 1;
                FeedItem::Job { sequence: *sequence, job: Arc::clone(job) }
            }
            None => {
                self.next = newest + 1;
                FeedItem::Reset { sequence: newest }
            }
        }
    }
}
