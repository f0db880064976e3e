//! The integration tests, one binary.

// What a test cannot go on without may fail it.
#![allow(clippy::unwrap_used)]

mod store;
mod store_model;
mod support;
