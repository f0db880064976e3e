//! What the dashboard draws.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answer of `GET /v1/stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatsView {
    /// Jobs by status.
    pub jobs: JobCounts,
    /// Age in seconds of the job that has waited longest; null when none waits.
    pub oldest_queued_seconds: Option<f64>,
    /// Jobs that ended in the last minute.
    pub finished_last_minute: u64,
    /// Mean time in seconds that those of them that ran had waited for their turn; null when there are none.
    #[serde(default)]
    pub wait_seconds_last_minute: Option<f64>,
    /// The blocking pool.
    pub workers: WorkersView,
    /// Memory of running attempts.
    pub memory: MemoryView,
    /// Longest stall of the event loop since the start, in milliseconds.
    pub event_loop_stall_max_ms: f64,
    /// Webhook deliveries by status.
    pub deliveries: DeliveryCounts,
    /// How attempts are kept apart from the server: `thread`, or for instance `process (landlock ABI 7, seccomp, rlimits)`.
    pub isolation: String,
}

/// Jobs by status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobCounts {
    /// Waiting.
    pub queued: u64,
    /// Under way.
    pub running: u64,
    /// Done.
    pub succeeded: u64,
    /// Given up.
    pub failed: u64,
    /// Stopped on request.
    pub cancelled: u64,
}

/// Threads of the blocking pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkersView {
    /// At work.
    pub busy: i64,
    /// In all.
    pub total: i64,
}

/// Memory of running attempts, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryView {
    /// Granted.
    pub granted_bytes: i64,
    /// That may be granted.
    pub limit_bytes: i64,
}

/// Deliveries by status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryCounts {
    /// Waiting for an attempt, or being sent.
    pub pending: u64,
    /// Answered with 2xx.
    pub delivered: u64,
    /// Given up.
    pub failed: u64,
}
