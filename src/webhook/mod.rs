//! Webhooks: telling receivers how a job ended, signed and at least once.
//!
//! Owns signatures, the schedule of attempts and the deliverer. It changes deliveries only through `queue` and opens no connection but
//! through `egress`; the body was fixed in the transaction that ended the job, and is sent as it is. Built and run by `app`.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod deliverer;
mod message;
pub mod receivers;
pub mod schedule;
pub mod secrets;
pub mod signature;

use std::time::Duration;

pub use deliverer::Deliverer;
pub use secrets::Secrets;

/// Settings of the deliverer.
#[derive(Clone, Debug)]
pub struct Config {
    /// Secrets that sign; a reload swaps them.
    pub secrets: secrets::Current,
    /// Deliveries under way at once, in all and to one receiver.
    pub bounds: receivers::Bounds,
    /// Time for one attempt in all, the answer's body included. Default 15 s.
    pub attempt_timeout: Duration,
    /// Bytes of an answer's body that are read. Default 64 KiB.
    pub answer_bytes_max: usize,
    /// How long attempts under way may go on once the server is told to stop. Default 30 s, the server's grace.
    pub grace: Duration,
}

impl Config {
    /// The defaults with these secrets.
    pub fn new(secrets: secrets::Current) -> Config {
        Config {
            secrets,
            bounds: receivers::Bounds::default(),
            attempt_timeout: Duration::from_secs(15),
            answer_bytes_max: 64 * 1024,
            grace: Duration::from_secs(30),
        }
    }
}
