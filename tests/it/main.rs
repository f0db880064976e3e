//! The integration tests, one binary.

mod config;
mod crash;
mod hostile;
mod readme;
mod store;
mod store_model;
mod support;
mod work;
mod webhooks;
