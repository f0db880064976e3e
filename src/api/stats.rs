//! What the dashboard draws.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answer of `GET /v1/stats`. A key without the scope `admin` is told of its own jobs: `jobs`, `oldest_queued_seconds`,
/// `finished_last_minute`, the waits and worker times, `workers.busy`, `memory.granted_bytes` and `deliveries` count these alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatsView {
    /// Whose jobs are counted.
    #[serde(default)]
    pub covers: Covers,
    /// Jobs by status.
    pub jobs: JobCounts,
    /// Age in seconds of the job that has waited longest; null when none waits.
    pub oldest_queued_seconds: Option<f64>,
    /// Jobs that ended in the last minute.
    pub finished_last_minute: u64,
    /// Mean time in seconds that those of them that ran had waited for their turn; null when there are none.
    #[serde(default)]
    pub wait_seconds_last_minute: Option<f64>,
    /// Time of workers, in seconds, that attempts had taken that ended in the last minute: what the `worker_seconds_last_minute` of keys
    /// are shares of.
    #[serde(default)]
    pub worker_seconds_last_minute: f64,
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
    /// What each API key uses, by name; for a key without the scope `admin` its own use alone. Empty where nobody needs a key.
    #[serde(default)]
    pub keys: Vec<KeyUseView>,
}

/// Whose jobs are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Covers {
    /// Everybody's.
    #[default]
    Server,
    /// Those of the key that asks.
    Key,
}

/// What one API key uses, and what it may.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyUseView {
    /// Its public id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do: `submit`, `read`, `admin`.
    pub scopes: Vec<String>,
    /// Its share of worker time relative to others that want some at the same moment.
    pub weight: u32,
    /// Jobs of it that wait.
    pub queued: u64,
    /// Jobs that may wait.
    pub queue_places: u64,
    /// Jobs of it under way.
    pub running: u64,
    /// Jobs of it that ended in the last minute.
    pub finished_last_minute: u64,
    /// Time of workers, in seconds, that its attempts had taken that ended in the last minute.
    pub worker_seconds_last_minute: f64,
    /// Requests that came with it in the last minute, refused ones included.
    pub requests_last_minute: u64,
    /// Requests that it may make a minute; null: as many as it likes.
    pub requests_per_minute: Option<u32>,
    /// When a request came with it last (RFC 3339); null: none has since the server's start.
    pub last_used_at: Option<String>,
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
