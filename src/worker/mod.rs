//! Doing the work: claims jobs that fit into free threads and memory, runs them on a dedicated pool of blocking threads, stores what
//! comes out, and reports the end to `queue`.
//!
//! The event loop only waits here; decoding, operations and encoding happen on the [`Pool`]'s threads, which run at a lower scheduling
//! priority than the loop's. How one attempt is executed on such a thread is `execute`'s business alone: behind it, a process in a sandbox
//! can take the thread's place ([`isolation`]). Built and run by `app`; knows `queue`, `blob`, `egress`, `destination` and `pipeline`, never HTTP.

mod assets;
mod attempt;
mod control;
mod deliver;
mod error;
mod execute;
mod fetch;
mod heartbeat;
pub mod isolation;
mod load;
mod memory;
mod pool;
mod rooms;
mod runner;

use std::time::Duration;

pub use pool::Pool;
pub use runner::Runner;

use crate::destination::Destinations;
use crate::pipeline::Limits;

/// Settings of the worker.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads of the pool. Default: one more than cores, so that none idles while an image is read from the disk or a job is claimed.
    pub workers: usize,
    /// Memory that all running attempts may be planned for, in bytes. Default: 60 % of the cgroup's limit or of RAM.
    pub memory_bytes_max: u64,
    /// What an image may cost.
    pub limits: Limits,
    /// How sources are fetched.
    pub source: SourceConfig,
    /// Where results may be delivered to. Default: nowhere.
    pub destinations: Destinations,
    /// How long running attempts may go on once the server is told to stop. Default 30 s.
    pub grace: Duration,
    /// How long a claimed job is safe from being given to somebody else; the same as the queue's. Default 30 s.
    pub lease_duration: Duration,
    /// Where attempts run. Default: on the pool's threads.
    pub isolation: isolation::Config,
}

/// Settings for fetching `source.url`.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Time for one fetch in all. Default 60 s.
    pub total_timeout: Duration,
    /// Time from a request to the first bytes of its answer. Default 30 s.
    pub answer_timeout: Duration,
    /// Largest source, in bytes. Default 64 MiB.
    pub bytes_max: u64,
    /// Largest image fetched for an operation, in bytes. Default 8 MiB.
    pub asset_bytes_max: u64,
    /// Fetches under way at once. Default 16.
    pub fetches_max: usize,
}

impl Default for SourceConfig {
    fn default() -> SourceConfig {
        SourceConfig {
            total_timeout: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(30),
            bytes_max: 64 << 20,
            asset_bytes_max: 8 << 20,
            fetches_max: 16,
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        let limits = Limits::default();
        Config {
            workers: std::thread::available_parallelism().map_or(1, usize::from) + 1,
            memory_bytes_max: limits.memory_bytes_max,
            limits,
            source: SourceConfig::default(),
            destinations: Destinations::default(),
            grace: Duration::from_secs(30),
            lease_duration: Duration::from_secs(30),
            isolation: isolation::Config::default(),
        }
    }
}
