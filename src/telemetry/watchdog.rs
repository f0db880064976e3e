//! Times the event loops from outside: an OS thread asks each runtime to run a task, and measures how late it runs.
//!
//! That shows a runtime of which no thread is free in time; a blocked thread beside a free one shows in what the threads are at ([`Polls`]).
//! A runtime at work is asked every 20 ms. What is measured is the rest of a stall that a heartbeat has met, at most 20 ms less than all of
//! it; so a stall of 70 ms is always told as one of more than 50. A runtime with nothing to do is asked ten times a second: little can stall
//! it, and a server that idles is to let its machine sleep. Called by `app`; it never touches what the runtimes work on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::{Metrics, Poll, Polls, RuntimeLabel};

/// Between two looks, and between two heartbeats of a runtime at work.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Between two heartbeats of a runtime that has nothing to do.
const IDLE_INTERVAL: Duration = Duration::from_millis(100);
/// A runtime that has worked less than this since the last look, while nothing that has a name is being polled, has nothing to do.
const IDLE_WORK: Duration = Duration::from_millis(1);
/// A stall that is worth a line in the log: anything longer is felt as a freeze.
const STALL_WARNED: Duration = Duration::from_millis(50);
/// A stall that is told before it has ended: it may never end.
const STALL_ALARMED: Duration = Duration::from_secs(2);

/// A running watchdog; stops when dropped.
#[derive(Debug)]
pub struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches these runtimes, each under the name that its metric carries.
    pub fn start(runtimes: Vec<(&'static str, Handle)>, metrics: Arc<Metrics>) -> std::io::Result<Watchdog> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let watch = move || {
            let mut hearts: Vec<Heart> = runtimes.into_iter().map(Heart::new).collect();
            let mut blocked = None;
            while !stopped.load(Ordering::Relaxed) {
                for heart in &mut hearts {
                    heart.look(&metrics);
                }
                tell_of_blocked(&metrics.polls, &mut blocked);
                std::thread::sleep(LOOK_INTERVAL);
            }
        };
        let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(watch)?;
        Ok(Watchdog { stop, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread only sleeps and spawns; it can't panic, and there is nobody left to tell if it did.
            drop(thread.join());
        }
    }
}

/// One runtime's heartbeats, one at a time: a task is spawned, and the time until it runs is the stall.
struct Heart {
    runtime: &'static str,
    handle: Handle,
    /// When the task under way was spawned; `None` between two.
    asked: Option<Instant>,
    /// When the last one was.
    last_asked: Option<Instant>,
    /// What the runtime's threads had worked at the last look, as far as they have told.
    worked: Duration,
    /// Microseconds from spawning to running, plus one; 0 until it has run.
    answered: Arc<AtomicU64>,
    /// What the threads were at when the stall became worth telling.
    hint: Option<&'static str>,
    is_alarmed: bool,
}

impl Heart {
    fn new((runtime, handle): (&'static str, Handle)) -> Heart {
        let answered = Arc::new(AtomicU64::new(0));
        Heart {
            runtime,
            handle,
            asked: None,
            last_asked: None,
            worked: Duration::ZERO,
            answered,
            hint: None,
            is_alarmed: false,
        }
    }

    fn look(&mut self, metrics: &Metrics) {
        if let Some(asked) = self.asked {
            match self.answered.swap(0, Ordering::AcqRel) {
                0 => return self.still_waiting(asked.elapsed(), &metrics.polls),
                answered => {
                    self.asked = None;
                    self.record(Duration::from_micros(answered - 1), metrics);
                }
            }
        }
        let is_due = self.last_asked.is_none_or(|last| last.elapsed() >= IDLE_INTERVAL);
        if self.has_worked(&metrics.polls) || is_due {
            self.ask();
        }
    }

    /// Whether the runtime has been at work since the last look, or is.
    fn has_worked(&mut self, polls: &Polls) -> bool {
        let metrics = self.handle.metrics();
        let threads = 0..metrics.num_workers();
        // A thread tells what it has worked when it has nothing more to do; while it works, the names of that work tell.
        let worked = threads.map(|thread| metrics.worker_total_busy_duration(thread)).sum();
        let before = std::mem::replace(&mut self.worked, worked);
        polls.longest().is_some() || worked.saturating_sub(before) >= IDLE_WORK
    }

    fn ask(&mut self) {
        let asked = Instant::now();
        (self.asked, self.last_asked) = (Some(asked), Some(asked));
        (self.hint, self.is_alarmed) = (None, false);
        let answered = Arc::clone(&self.answered);
        self.handle.spawn(async move {
            let micros = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
            answered.store(micros + 1, Ordering::Release);
        });
    }

    fn still_waiting(&mut self, stall: Duration, polls: &Polls) {
        if stall >= STALL_WARNED && self.hint.is_none() {
            self.hint = polls.longest().filter(|poll| poll.lasts() >= STALL_WARNED / 2).map(|poll| poll.name);
        }
        if stall >= STALL_ALARMED && !self.is_alarmed {
            self.is_alarmed = true;
            tracing::error!(runtime = self.runtime, task = self.hint, "the event loop does not answer");
        }
    }

    fn record(&self, stall: Duration, metrics: &Metrics) {
        let label = RuntimeLabel { runtime: self.runtime };
        metrics.event_loop_stall_seconds.get_or_create_owned(&label).observe(stall.as_secs_f64());
        if stall.as_secs_f64() > metrics.event_loop_stall_max_seconds.get() {
            metrics.event_loop_stall_max_seconds.set(stall.as_secs_f64());
        }
        if stall >= STALL_WARNED {
            // Without a task that was at it all the time, the machine had no processor to spare.
            let stall_ms = u64::try_from(stall.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(runtime = self.runtime, stall_ms, task = self.hint, "the event loop stalled");
        }
    }
}

/// Tells once of a poll that takes too long: it may block one thread while others still answer heartbeats.
fn tell_of_blocked(polls: &Polls, told: &mut Option<Poll>) {
    let Some(poll) = polls.longest().filter(|poll| poll.lasts() >= STALL_WARNED) else { return };
    if *told != Some(poll) {
        *told = Some(poll);
        tracing::warn!(
            task = poll.name,
            "a thread of the event loop has been at one thing for more than 50 ms"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_blocked_loop_is_seen_and_the_other_is_not_blamed() {
        let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (blocked, free) = (runtime(), runtime());
        let metrics = Metrics::new();
        let watched = vec![("blocked", blocked.handle().clone()), ("free", free.handle().clone())];
        let watchdog = Watchdog::start(watched, Arc::clone(&metrics)).unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let polls = Arc::clone(&metrics);
        let work = blocked.spawn(async move {
            polls.polls.named("the culprit", async move { held.recv().is_err() }).await
        });
        eventually("what it is at shows", || {
            metrics
                .polls
                .longest()
                .is_some_and(|poll| poll.name == "the culprit" && poll.lasts() > 4 * STALL_WARNED)
        });
        drop(release);
        assert!(blocked.block_on(work).unwrap());
        eventually("its stall shows", || metrics.event_loop_stall_max_seconds.get() >= 0.08);
        drop(watchdog);
        let text = metrics.render();
        let heartbeats = |runtime: &str| {
            let begin = format!("minilab_event_loop_stall_seconds_count{{runtime=\"{runtime}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&begin)).unwrap();
            line.parse::<u32>().unwrap()
        };
        assert!(heartbeats("free") > heartbeats("blocked"), "{text}");
    }

    #[test]
    fn a_runtime_with_nothing_to_do_is_left_alone() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let metrics = Metrics::new();
        let mut heart = Heart::new(("main", runtime.handle().clone()));
        heart.look(&metrics);
        assert!(heart.asked.is_some(), "the first look asks");
        eventually("it answers", || heart.answered.load(Ordering::Acquire) > 0);
        eventually("it sleeps", || {
            heart.look(&metrics);
            heart.asked.is_none()
        });
        eventually("it has nothing to do", || !heart.has_worked(&metrics.polls));
        let began = Instant::now();
        let work = runtime.spawn(async move {
            while began.elapsed() < 2 * IDLE_WORK {
                std::hint::spin_loop();
            }
        });
        runtime.block_on(work).unwrap();
        eventually("work shows", || heart.has_worked(&metrics.polls));
    }

    #[test]
    fn the_hint_names_who_was_at_it() {
        let polls = Polls::default();
        let mut heart = Heart::new((
            "main",
            tokio::runtime::Builder::new_current_thread().build().unwrap().handle().clone(),
        ));
        heart.still_waiting(STALL_WARNED, &polls);
        assert_eq!(heart.hint, None);
        futures_util::FutureExt::now_or_never(polls.named("/v1/jobs", async {
            let began = Instant::now();
            while began.elapsed() < STALL_WARNED {
                std::hint::spin_loop();
            }
            heart.still_waiting(STALL_WARNED, &polls);
            let mut told = None;
            tell_of_blocked(&polls, &mut told);
            assert_eq!(told.map(|poll| poll.name), Some("/v1/jobs"));
        }));
        assert_eq!(heart.hint, Some("/v1/jobs"));
    }
}
