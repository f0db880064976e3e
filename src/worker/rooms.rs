//! The rooms that every attempt works with, put together once by the runner.

use std::sync::Arc;

use super::Config;
use super::error::{WorkError, not_looked_at, panicked};
use super::heartbeat::HeldLeases;
use super::memory::MemoryBudget;
use super::pool::Pool;
use crate::blob::{Blobs, SpoolFile, SpoolReader};
use crate::clock::Timestamp;
use crate::egress::Egress;
use crate::pipeline::Assets;
use crate::queue::{Queue, Turn};
use crate::telemetry::Metrics;

/// What every attempt works with.
pub(super) struct Rooms {
    pub(super) queue: Queue,
    pub(super) blobs: Blobs,
    pub(super) egress: Egress,
    pub(super) assets: Arc<Assets>,
    pub(super) pool: Pool,
    pub(super) memory: MemoryBudget,
    pub(super) leases: HeldLeases,
    pub(super) metrics: Arc<Metrics>,
    pub(super) config: Config,
    /// What was submitted before was planned by an earlier process.
    pub(super) started_at: Timestamp,
}

impl Rooms {
    /// Looks at an image off the event loop, in turn with everybody else who looks at one.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(Turn) -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let turn = self.queue.turn_to_look().await;
        tokio::task::spawn_blocking(move || work(turn)).await.map_err(panicked)
    }

    /// The same for what has been fetched.
    pub(super) async fn look_into<T: Send + 'static>(
        &self,
        spool: &SpoolFile,
        work: impl FnOnce(Turn, SpoolReader) -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let turn = self.queue.turn_to_look().await;
        spool.with_reader(move |reader| work(turn, reader)).await.map_err(not_looked_at)
    }
}
