//! The rooms that every attempt works with, put together once by the runner.

use std::sync::Arc;

use super::Config;
use super::heartbeat::HeldLeases;
use super::memory::MemoryBudget;
use super::pool::Pool;
use crate::blob::Blobs;
use crate::egress::Egress;
use crate::pipeline::Assets;
use crate::queue::Queue;
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
}
