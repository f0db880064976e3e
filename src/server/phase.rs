//! Where the server's life stands, and how everybody learns of it: connections, long polls, event streams.
//!
//! Whoever is told has work to do, be it to close a socket. Ten thousand who are told at once stand in one line, and what the loop has to do
//! besides stands behind them: it was late by 170 ms. So they are told a few at a time, and others have their turns between. Knows nothing of
//! what is done about it. Told by the server's `run`, heard by `connection` and `State`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// Groups of listeners, each told on its own: some forty in each when 10,000 listen.
const GROUPS: usize = 256;
/// Listeners that are told before others have their turns: a millisecond's work for one thread, where each closes a socket.
const TOLD_AT_ONCE: usize = 32;
/// How long those turns are.
const PAUSE: Duration = Duration::from_millis(1);

/// Where the server's life stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Requests are served.
    Serving,
    /// What is under way may end.
    Draining,
    /// Nothing is waited for any more.
    Closing,
}

/// Tells of phases. Whoever listens when this is dropped hears of that.
#[derive(Debug)]
pub(super) struct Announcer(Box<[watch::Sender<Phase>]>);

/// Where phases are heard of.
#[derive(Debug)]
pub(super) struct Phases {
    groups: Box<[watch::Receiver<Phase>]>,
    /// The group that is joined next.
    next: AtomicUsize,
}

/// Both ends; the phase is [`Phase::Serving`].
pub(super) fn channel() -> (Announcer, Phases) {
    let (senders, groups): (Vec<_>, Vec<_>) = (0..GROUPS).map(|_| watch::channel(Phase::Serving)).unzip();
    (Announcer(senders.into()), Phases { groups: groups.into(), next: AtomicUsize::new(0) })
}

impl Announcer {
    /// Begins a phase. [`Phases::now`] knows at once, the last of those who listen when this returns.
    pub(super) async fn tell(&self, phase: Phase) {
        let mut told = 0;
        for group in &self.0 {
            group.send_replace(phase);
            // One receiver of each is kept for those to come.
            told += group.receiver_count().saturating_sub(1);
            if told >= TOLD_AT_ONCE {
                told = 0;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Phases {
    /// The phase that has begun last.
    pub(super) fn now(&self) -> Phase {
        // The first group is told first.
        self.groups.first().map_or(Phase::Closing, |group| *group.borrow())
    }

    /// For one who wants to hear of the next phase. A phase that is being told now is still news.
    pub(super) fn listen(&self) -> watch::Receiver<Phase> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % GROUPS;
        self.groups[number].clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Many times what may be told at once.
    const LISTENERS: usize = 2_000;

    #[tokio::test]
    async fn others_have_their_turns_while_a_crowd_is_told() {
        let (announcer, phases) = channel();
        let [listening, heard] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        for _ in 0..LISTENERS {
            let mut listener = phases.listen();
            let (listening, heard) = (Arc::clone(&listening), Arc::clone(&heard));
            tokio::spawn(async move {
                listening.fetch_add(1, Ordering::Relaxed);
                let phase = listener.wait_for(|phase| *phase != Phase::Serving).await;
                assert_eq!(*phase.unwrap(), Phase::Draining);
                heard.fetch_add(1, Ordering::Relaxed);
            });
        }
        while listening.load(Ordering::Relaxed) < LISTENERS {
            tokio::task::yield_now().await;
        }
        assert_eq!((phases.now(), heard.load(Ordering::Relaxed)), (Phase::Serving, 0));
        let telling = tokio::spawn(async move { announcer.tell(Phase::Draining).await });
        let (mut before, mut most) = (0, 0);
        while before < LISTENERS {
            tokio::task::yield_now().await;
            let now = heard.load(Ordering::Relaxed);
            (most, before) = (most.max(now - before), now);
        }
        telling.await.unwrap();
        assert_eq!(phases.now(), Phase::Draining);
        assert!(most <= TOLD_AT_ONCE + LISTENERS.div_ceil(GROUPS), "{most} were told in one turn");
    }

    #[tokio::test]
    async fn who_listens_late_hears_of_it_and_of_the_end() {
        let (announcer, phases) = channel();
        announcer.tell(Phase::Draining).await;
        for _ in 0..GROUPS {
            let mut late = phases.listen();
            late.changed().await.unwrap();
            assert_eq!(*late.borrow_and_update(), Phase::Draining);
        }
        let mut listener = phases.listen();
        listener.changed().await.unwrap();
        drop(announcer);
        assert!(listener.changed().await.is_err());
    }
}
