//! The dedicated blocking threads.
//!
//! A fixed number of OS threads at a lower scheduling priority than the event loop's. A panic is caught and reported; a thread that is
//! stuck past its job's deadline is replaced by a fresh one, so that capacity never leaks away, and ends by itself when its work does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

use super::isolation::Isolation;
use crate::job::{Probe, Readiness};
use crate::telemetry::Metrics;

/// Added to the niceness of pool threads: the event loop is served first.
const NICENESS: i32 = 10;

/// Threads alive at most, as a multiple of those wanted: stuck ones still take processor time.
const ALIVE_FACTOR_MAX: usize = 4;

/// Stack of a pool thread in bytes, reserved and not committed: decoders of nested formats recurse.
const STACK_BYTES: usize = 8 << 20;

/// Where work stands: nobody has begun it, a thread is at it, or whoever wanted it has given it up.
const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

struct Work {
    run: Box<dyn FnOnce() + Send>,
    stage: Arc<AtomicU8>,
}

/// The pool. Cheap to clone; the threads end when the last clone is dropped.
#[derive(Clone)]
pub struct Pool {
    sender: mpsc::Sender<Work>,
    shared: Arc<Shared>,
}

struct Shared {
    threads: usize,
    isolation: Arc<Isolation>,
    receiver: Mutex<mpsc::Receiver<Work>>,
    metrics: Arc<Metrics>,
    started: AtomicUsize,
    alive: AtomicUsize,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// Work handed to the pool.
pub(super) struct Running<T> {
    result: oneshot::Receiver<std::thread::Result<T>>,
    stage: Arc<AtomicU8>,
    pool: Pool,
}

/// What became of work that was waited for.
pub(super) enum Ended<T> {
    /// It returned.
    Returned(T),
    /// It panicked, with this message.
    Panicked(String),
}

impl Pool {
    /// Starts `threads` threads that run attempts themselves.
    pub fn start(threads: usize, metrics: Arc<Metrics>) -> std::io::Result<Pool> {
        Pool::isolated(threads, metrics, Arc::new(Isolation::threads()))
    }

    /// Starts `threads` threads that run attempts where `isolation` says.
    pub fn isolated(
        threads: usize,
        metrics: Arc<Metrics>,
        isolation: Arc<Isolation>,
    ) -> std::io::Result<Pool> {
        let (sender, receiver) = mpsc::channel();
        let shared = Arc::new(Shared {
            threads: threads.max(1),
            isolation,
            receiver: Mutex::new(receiver),
            metrics,
            started: AtomicUsize::new(0),
            alive: AtomicUsize::new(0),
        });
        let pool = Pool { sender, shared };
        for _ in 0..threads.max(1) {
            pool.add_thread()?;
        }
        Ok(pool)
    }

    /// Where attempts run.
    pub fn isolation(&self) -> &Arc<Isolation> {
        &self.shared.isolation
    }

    /// Hands work to the next free thread.
    pub(super) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        let (sender, result) = oneshot::channel();
        let stage = Arc::new(AtomicU8::new(WAITING));
        let run = Box::new(move || {
            // Nobody listening any more means that the attempt was given up.
            let _unheard = sender.send(catch_unwind(AssertUnwindSafe(work)));
        });
        let work = Work { run, stage: Arc::clone(&stage) };
        // The receiver lives in `shared`, as long as this pool does.
        let _always_open = self.sender.send(work);
        Running { result, stage, pool: self.clone() }
    }

    fn add_thread(&self) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let number = shared.started.fetch_add(1, Ordering::Relaxed);
        std::thread::Builder::new().name(format!("pool-{number}")).stack_size(STACK_BYTES).spawn(
            move || {
                lower_priority();
                shared.alive.fetch_add(1, Ordering::AcqRel);
                shared.metrics.pool_threads.inc();
                serve(&shared);
                shared.metrics.pool_threads.dec();
                shared.alive.fetch_sub(1, Ordering::AcqRel);
            },
        )?;
        Ok(())
    }
}

/// Takes work until the pool is gone, or until the work it did was given up and somebody else has its place.
fn serve(shared: &Shared) {
    loop {
        let next = shared.receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        if !advance(&work.stage, WAITING, BEGUN) {
            continue;
        }
        shared.metrics.pool_threads_busy.inc();
        (work.run)();
        shared.metrics.pool_threads_busy.dec();
        if work.stage.load(Ordering::Acquire) == GIVEN_UP {
            return;
        }
    }
}

/// Whether work stood at one stage and stands at the next now.
fn advance(stage: &AtomicU8, from: u8, to: u8) -> bool {
    stage.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

impl<T> Running<T> {
    /// Waits for the end.
    pub(super) async fn ended(&mut self) -> Ended<T> {
        match (&mut self.result).await {
            Ok(Ok(value)) => Ended::Returned(value),
            Ok(Err(panic)) => Ended::Panicked(panic_message(panic.as_ref())),
            Err(_) => Ended::Panicked("the pool thread ended".to_owned()),
        }
    }

    /// Takes the work back unless a thread has begun it; whether nobody will.
    pub(super) fn withdraw(&self) -> bool {
        advance(&self.stage, WAITING, GIVEN_UP)
    }

    /// Gives the work up. A thread that is at it is stuck: a fresh one takes its place.
    pub(super) fn abandon(self) {
        if self.withdraw() || !advance(&self.stage, BEGUN, GIVEN_UP) {
            return;
        }
        let shared = &self.pool.shared;
        if shared.alive.load(Ordering::Acquire) >= shared.threads * ALIVE_FACTOR_MAX {
            tracing::error!("too many pool threads are stuck; no more are added until some of them end");
            self.stage.store(BEGUN, Ordering::Release);
            return;
        }
        match self.pool.add_thread() {
            Ok(()) => {
                self.pool.shared.metrics.pool_threads_replaced.inc();
            }
            Err(error) => {
                tracing::error!(%error, "a stuck pool thread could not be replaced");
                // Should it ever be done, it serves on.
                self.stage.store(BEGUN, Ordering::Release);
            }
        }
    }
}

pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// On Linux niceness belongs to the thread. Elsewhere it belongs to the process, and lowering it would slow the event loop, too.
pub(super) fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "a thread keeps the event loop's priority");
    }
    #[cfg(not(target_os = "linux"))]
    let _only_on_linux = NICENESS;
}

#[async_trait::async_trait]
impl Probe for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    async fn readiness(&self) -> Readiness {
        match self.shared.alive.load(Ordering::Acquire) {
            0 => Readiness::NotReady("no pool thread is alive".to_owned()),
            _ => Readiness::Ready,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_reported_and_the_thread_serves_on() {
        let pool = Pool::start(1, Metrics::new()).unwrap();
        match pool.run(|| -> u32 { panic!("on purpose") }).ended().await {
            Ended::Panicked(message) => assert_eq!(message, "on purpose"),
            Ended::Returned(_) => panic!("it should have panicked"),
        }
        assert!(matches!(pool.run(|| 7).ended().await, Ended::Returned(7)));
    }

    #[tokio::test]
    async fn a_stuck_thread_is_replaced() {
        let metrics = Metrics::new();
        let pool = Pool::start(1, Arc::clone(&metrics)).unwrap();
        let (release, stuck) = mpsc::channel::<()>();
        let (begin, begun) = oneshot::channel();
        let running = pool.run(move || {
            begin.send(()).unwrap();
            stuck.recv()
        });
        begun.await.unwrap();
        assert!(!running.withdraw());
        running.abandon();
        assert!(matches!(pool.run(|| 7).ended().await, Ended::Returned(7)));
        assert_eq!(metrics.pool_threads_replaced.get(), 1);
        drop(release);
    }

    #[tokio::test]
    async fn work_that_nobody_has_begun_is_taken_back_and_no_thread_replaced() {
        let metrics = Metrics::new();
        let pool = Pool::start(1, Arc::clone(&metrics)).unwrap();
        let (release, busy) = mpsc::channel::<()>();
        let (begin, begun) = oneshot::channel();
        let mut first = pool.run(move || {
            begin.send(()).unwrap();
            busy.recv().is_err()
        });
        begun.await.unwrap();
        let mut second = pool.run(|| 2);
        assert!(second.withdraw());
        pool.run(|| 3).abandon();
        drop(release);
        assert!(matches!(first.ended().await, Ended::Returned(true)));
        assert!(matches!(second.ended().await, Ended::Panicked(_)), "it must not have run");
        assert!(matches!(pool.run(|| 7).ended().await, Ended::Returned(7)));
        assert_eq!((metrics.pool_threads_replaced.get(), metrics.pool_threads.get()), (0, 1));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn pool_threads_yield_to_the_event_loop() {
        let pool = Pool::start(1, Metrics::new()).unwrap();
        let nice = pool.run(|| rustix::process::getpriority_process(None)).ended().await;
        let own = rustix::process::getpriority_process(None).unwrap();
        assert!(matches!(nice, Ended::Returned(Ok(nice)) if nice > own || own == 19));
    }
}
