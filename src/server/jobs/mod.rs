//! The verbs on jobs, one file each (changes of an existing job share one).

pub(super) mod change;
pub(super) mod idempotency;
pub(super) mod inputs;
mod inspect;
pub(super) mod list;
pub(super) mod read;
pub(super) mod receive;
pub(super) mod submit;
