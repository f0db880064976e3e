//! The integration tests, one binary.

mod config;
mod store;
mod store_model;
mod support;
mod work;
