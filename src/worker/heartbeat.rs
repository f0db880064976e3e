//! Keeps the leases of running attempts alive, from an OS thread that work on the CPU can't starve.
//!
//! A lease that could not be extended for two thirds of its length is given up by the attempt itself (self-fence): by the time somebody
//! else may claim the job, this process has stopped working on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::runtime::Handle;

use super::control::{AttemptControl, Stop};
use crate::job::{JobId, Lease};
use crate::queue::{Extended, Queue};

struct Held {
    lease: Lease,
    control: Arc<AttemptControl>,
    extended_at: Instant,
}

/// The leases that this process holds.
#[derive(Clone, Default)]
pub(super) struct HeldLeases {
    held: Arc<DashMap<JobId, Held>>,
}

/// A lease among the held ones; leaves when dropped.
pub(super) struct HoldGuard {
    leases: HeldLeases,
    lease: Lease,
}

impl Drop for HoldGuard {
    fn drop(&mut self) {
        // By now a later attempt of the same job may be held: a retry can be claimed before this one has tidied up.
        self.leases.held.remove_if(&self.lease.job, |_, held| held.lease == self.lease);
    }
}

impl HeldLeases {
    pub(super) fn hold(&self, lease: Lease, control: Arc<AttemptControl>) -> HoldGuard {
        self.held.insert(lease.job, Held { lease, control, extended_at: Instant::now() });
        HoldGuard { leases: self.clone(), lease }
    }

    fn leases(&self) -> Vec<Lease> {
        self.held.iter().map(|held| held.lease).collect()
    }

    /// Applies what the store said of these leases when it was asked; they run from that moment, however late the answer came.
    fn apply(&self, leases: &[Lease], answers: &[Extended], asked: Instant) {
        for (lease, answer) in leases.iter().zip(answers) {
            let Some(mut held) = self.held.get_mut(&lease.job).filter(|held| held.lease == *lease) else {
                continue;
            };
            held.extended_at = asked;
            match answer {
                Extended::Held => {}
                Extended::CancelRequested => held.control.stop(Stop::Cancelled),
                Extended::Lost => held.control.stop(Stop::Lost),
            }
        }
    }

    /// Gives up every lease that was not extended for this long.
    fn fence(&self, age_max: Duration) {
        for held in self.held.iter().filter(|held| held.extended_at.elapsed() >= age_max) {
            tracing::error!(job.id = %held.lease.job, job.attempt = held.lease.attempt, "the lease could not be extended");
            held.control.stop(Stop::Lost);
        }
    }
}

/// The running heartbeat; stops when dropped.
pub(super) struct Heartbeat {
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Heartbeat {
    /// Extends the held leases three times within their length.
    pub(super) fn start(
        queue: Queue,
        leases: HeldLeases,
        lease_duration: Duration,
        runtime: Handle,
    ) -> std::io::Result<Heartbeat> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
            loop {
                std::thread::park_timeout(lease_duration / 3);
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                beat(&queue, &leases, lease_duration, &runtime);
            }
        })?;
        Ok(Heartbeat { stop, thread: Mutex::new(Some(thread)) })
    }
}

fn beat(queue: &Queue, leases: &HeldLeases, lease_duration: Duration, runtime: &Handle) {
    let held = leases.leases();
    if held.is_empty() {
        return;
    }
    let asked = Instant::now();
    // A store that hangs must not keep the fence below from falling: what it answers later comes too late to be relied on.
    let in_time = async { tokio::time::timeout(lease_duration / 3, queue.extend(held.clone())).await };
    match runtime.block_on(in_time) {
        Ok(Ok(answers)) => leases.apply(&held, &answers, asked),
        Ok(Err(error)) => tracing::error!(%error, leases = held.len(), "leases could not be extended"),
        Err(_) => {
            tracing::error!(leases = held.len(), "leases could not be extended: the store does not answer")
        }
    }
    leases.fence(lease_duration * 2 / 3);
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // It may be in the middle of a transaction; nobody has to wait for that.
            thread.thread().unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    fn lease(job: JobId, attempt: u32) -> Lease {
        Lease { job, attempt, worker: uuid::Uuid::nil() }
    }

    fn control() -> Arc<AttemptControl> {
        Arc::new(AttemptControl::new(Metrics::new(), Box::new(|_| {})))
    }

    #[test]
    fn an_attempt_that_ends_late_leaves_its_successor_held() {
        let (leases, job) = (HeldLeases::default(), JobId::new());
        let first = leases.hold(lease(job, 1), control());
        let second = leases.hold(lease(job, 2), control());
        drop(first);
        assert_eq!(leases.leases(), [lease(job, 2)]);
        drop(second);
        assert!(leases.leases().is_empty());
    }

    #[test]
    fn what_was_not_extended_in_time_is_given_up() {
        let (leases, job, control) = (HeldLeases::default(), JobId::new(), control());
        let _held = leases.hold(lease(job, 1), Arc::clone(&control));
        leases.fence(Duration::from_secs(3600));
        assert_eq!(control.stop_reason(), None);
        leases.apply(&[lease(job, 2)], &[Extended::Lost], Instant::now());
        assert_eq!(control.stop_reason(), None);
        leases.fence(Duration::ZERO);
        assert_eq!(control.stop_reason(), Some(Stop::Lost));
    }
}
