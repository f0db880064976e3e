//! Times the event loop from outside: an OS thread asks the runtime to run a task, and measures how late it runs.
//! It sees a runtime of which no worker is free in time; a blocked worker beside a free one it does not see. Called by `app`, once for each runtime; it never touches what the runtime works on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Metrics;

/// Between two heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(5);
/// A stall that is worth a line in the log: anything longer is felt as a freeze.
const STALL_WARNED: Duration = Duration::from_millis(50);

/// A running watchdog; stops when dropped.
#[derive(Debug)]
pub struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches the runtime of this handle.
    pub fn start(runtime: tokio::runtime::Handle, metrics: Arc<Metrics>) -> std::io::Result<Watchdog> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || watch(&runtime, &metrics, &stopped))?;
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

/// One heartbeat at a time: a task is spawned, and the time until it has run is the stall.
fn watch(runtime: &tokio::runtime::Handle, metrics: &Metrics, stop: &AtomicBool) {
    let started = Instant::now();
    let answered = Arc::new(AtomicU64::new(0));
    let mut longest = Duration::ZERO;
    let mut sequence = 0;
    while !stop.load(Ordering::Relaxed) {
        sequence += 1;
        let asked = Instant::now();
        let (to, number) = (Arc::clone(&answered), sequence);
        let watcher = std::thread::current();
        runtime.spawn(async move {
            to.store(number, Ordering::Release);
            watcher.unpark();
        });
        while answered.load(Ordering::Acquire) < sequence && !stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(STALL_WARNED);
        }
        let stall = asked.elapsed();
        metrics.event_loop_stall_seconds.observe(stall.as_secs_f64());
        if stall > longest {
            longest = stall;
            metrics.event_loop_stall_max_seconds.set(longest.as_secs_f64());
        }
        if stall > STALL_WARNED {
            tracing::warn!(
                stall_ms = u64::try_from(stall.as_millis()).unwrap_or(u64::MAX),
                uptime_s = started.elapsed().as_secs(),
                "the event loop stalled"
            );
        }
        std::thread::sleep(HEARTBEAT_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_loop_is_seen() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let metrics = Metrics::new();
        let watchdog = Watchdog::start(runtime.handle().clone(), Arc::clone(&metrics)).unwrap();
        let blocked = runtime.spawn(async { std::thread::sleep(Duration::from_millis(120)) });
        runtime.block_on(blocked).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while metrics.event_loop_stall_max_seconds.get() < 0.08 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        drop(watchdog);
        assert!(metrics.event_loop_stall_max_seconds.get() >= 0.08);
    }
}
