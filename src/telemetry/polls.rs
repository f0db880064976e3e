//! What the threads of the event loops are at: the name of the work that each is polling, and since when.
//!
//! A poll should take microseconds; one that takes long blocks everything else on its thread, and its name is the hint where to look. Kept
//! per thread, so asking costs the same however many connections there are. Told by the rooms, asked by the watchdog.

use std::future::Future;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use dashmap::DashMap;

/// See the module.
#[derive(Debug, Default)]
pub struct Polls {
    threads: DashMap<ThreadId, Poll>,
}

/// Work that a thread is polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Its name: a route, a room, or another word from a closed set.
    pub name: &'static str,
    /// Since when.
    pub since: Instant,
}

impl Poll {
    /// How long it has been going on.
    pub fn lasts(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Polls {
    /// The same work under a name.
    pub async fn named<F: Future>(&self, name: &'static str, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| {
            let _polling = self.begin(name);
            work.as_mut().poll(context)
        })
        .await
    }

    /// The poll that has been going on longest, in whatever thread.
    pub fn longest(&self) -> Option<Poll> {
        self.threads.iter().map(|poll| *poll).min_by_key(|poll| poll.since)
    }

    fn begin(&self, name: &'static str) -> Polling<'_> {
        let thread = std::thread::current().id();
        let outer = self.threads.insert(thread, Poll { name, since: Instant::now() });
        Polling { polls: self, thread, outer }
    }
}

/// A poll goes on as long as this lives; work inside of other work hides it meanwhile.
struct Polling<'a> {
    polls: &'a Polls,
    thread: ThreadId,
    outer: Option<Poll>,
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        match self.outer {
            Some(outer) => drop(self.polls.threads.insert(self.thread, outer)),
            None => drop(self.polls.threads.remove(&self.thread)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_is_at_the_innermost_work_and_at_none_while_that_waits() {
        let polls = Polls::default();
        let name = || polls.longest().map(|poll| poll.name);
        let inner = polls.named("inner", async {
            assert_eq!(name(), Some("inner"));
            tokio::task::yield_now().await;
        });
        let outer = polls.named("outer", async {
            assert_eq!(name(), Some("outer"));
            inner.await;
            assert_eq!(name(), Some("outer"));
        });
        let mut outer = Box::pin(outer);
        assert!(futures_util::poll!(&mut outer).is_pending());
        assert_eq!(name(), None);
        outer.await;
        assert_eq!(name(), None);
    }
}
