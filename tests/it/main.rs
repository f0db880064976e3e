//! The integration tests, one binary.

mod config;
mod crash;
mod hostile;
mod server_http;
mod server_read;
mod server_submit;
mod store;
mod store_model;
mod support;
mod wire;
mod work;
