//! The integration tests, one binary.

mod config;
mod store;
mod support;
mod work;
