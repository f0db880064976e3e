//! The integration tests, one binary.

mod store;
mod store_model;
mod support;
mod work;
