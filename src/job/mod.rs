//! The vocabulary of jobs: ids, specs, records, leases, outcomes, deliveries. No I/O and no locks.
//!
//! The state machine lives here as pure methods of [`Job`] ([`transition`]); every engine of `store` loads a job, calls one of them and
//! saves it, so that two engines can't disagree about what a verb means. `serde` on these types is the *stored* form, pinned by the wire
//! tests; what clients see are the types of `api`.

pub mod delivery;
pub mod failure;
pub mod history;
pub mod id;
pub mod key_id;
pub mod probe;
pub mod receiver;
pub mod record;
pub mod spec;
pub mod status;
pub mod transition;

pub use delivery::{
    ANSWER_BYTES_KEPT, Delivery, DeliveryAttempt, DeliveryId, DeliveryRecord, DeliveryResult, DeliveryStatus,
    Event, NewDelivery, WebhookState,
};
pub use failure::{Code, Failure};
pub use history::{AttemptEnd, AttemptRecord, Suspicion};
pub use id::JobId;
pub use key_id::{KeyId, KeyIdError};
pub use probe::{Probe, Readiness};
pub use receiver::{Receiver, Standing, receiver_of};
pub use record::{AssetInfo, ImageInfo, Job, Output, SourceInfo, Timings, Warning};
pub use spec::{Header, JobSpec, SourceSpec, WebhookSpec};
pub use status::Status;
pub use transition::{Attempt, Lease, Loss, Outcome, Render, Retention};

/// Lower-case hex, as digests are written.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string can't fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
