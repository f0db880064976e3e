//! The integration tests, one binary.

// A test's panic is its report.
#![allow(clippy::unwrap_used)]

mod access;
mod access_cli;
mod analyze;
mod anomaly;
mod anomaly_verbs;
mod assets;
mod cancel;
mod cli_jobs;
mod cli_serve;
mod cli_webhooks;
mod client;
mod clock_jumps;
mod config;
mod crash;
mod destinations;
mod doctor;
mod drain;
mod egress;
mod event_loop;
mod examples;
mod fairness;
mod fairness_live;
mod health;
mod hostile;
mod logs;
mod origins;
mod presets;
mod readme;
mod server_http;
mod server_http2;
mod server_read;
mod server_submit;
mod siege;
mod sources;
mod store;
mod store_model;
mod support;
mod suspects;
mod webhook_keys;
mod webhook_kills;
mod webhook_receivers;
mod webhooks;
mod wire;
mod work;
