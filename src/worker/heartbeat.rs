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
    job: JobId,
}

impl Drop for HoldGuard {
    fn drop(&mut self) {
        self.leases.held.remove(&self.job);
    }
}

impl HeldLeases {
    pub(super) fn hold(&self, lease: Lease, control: Arc<AttemptControl>) -> HoldGuard {
        self.held.insert(lease.job, Held { lease, control, extended_at: Instant::now() });
        HoldGuard { leases: self.clone(), job: lease.job }
    }

    fn leases(&self) -> Vec<Lease> {
        self.held.iter().map(|held| held.lease).collect()
    }

    /// Applies what the store said of these leases.
    fn apply(&self, leases: &[Lease], answers: &[Extended]) {
        for (lease, answer) in leases.iter().zip(answers) {
            let Some(mut held) = self.held.get_mut(&lease.job).filter(|held| held.lease == *lease) else {
                continue;
            };
            held.extended_at = Instant::now();
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
            while !stopped.load(Ordering::Acquire) {
                std::thread::park_timeout(lease_duration / 3);
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
    match runtime.block_on(queue.extend(held.clone())) {
        Ok(answers) => leases.apply(&held, &answers),
        Err(error) => tracing::error!(%error, leases = held.len(), "leases could not be extended"),
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
