//! The JSON of the HTTP contract, shared by server and client.
//!
//! Owns the spelling of requests, answers, problems and webhook bodies, and the JSON Schemas derived from them. Does no I/O and knows no
//! status codes beyond the numbers that a problem carries. The stored forms are other types (`job`), on purpose: a row must stay
//! readable when the contract grows. Called by `server`, `client`, `queue` (through a render function that `app` hands in) and `cli`.

pub mod capabilities;
pub mod deliveries;
pub mod document;
pub mod duration;
mod fields;
pub mod fingerprint;
mod inputs;
pub mod plan;
pub mod problem;
pub mod query;
pub mod schema;
pub mod spec;
pub mod stats;
pub mod view;

pub use capabilities::Capabilities;
pub use deliveries::{
    DeliveryAttemptView, DeliveryList, DeliveryView, ReceiverList, ReceiverView, RedeliveredView,
};
pub use fingerprint::fingerprint;
pub use plan::PlanView;
pub use problem::{Mistake, ProblemDetails};
pub use stats::StatsView;
pub use view::{
    AttemptError, AttemptView, JobList, JobView, Links, OutputView, SourceView, TimingsView, WarningView,
    WebhookBody, WebhookView,
};
