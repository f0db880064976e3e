//! Webhooks: telling receivers how a job ended, signed and at least once.
//!
//! Owns signatures and the schedule of attempts. It never changes jobs itself and opens no connection but through `egress`.

pub mod schedule;
pub mod signature;
