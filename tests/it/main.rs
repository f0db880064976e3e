//! The integration tests, one binary.

#![allow(clippy::unwrap_used)] // A test that finds something missing fails there and then.

mod cli_jobs;
mod cli_serve;
mod config;
mod crash;
mod examples;
mod hostile;
mod readme;
mod server_http;
mod server_read;
mod server_submit;
mod store;
mod store_model;
mod support;
mod webhooks;
mod wire;
mod work;
