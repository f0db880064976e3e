//! Minilab: a fire-and-forget image job server.
//!
//! Submit an image and what to do with it, get a job id at once, collect the results later. A program that embeds the server starts with
//! [`config::Settings`] and [`app::App`]; one that talks to a server starts with [`client::Client`]. What follows is the map of the house.
#![doc = include_str!("ARCHITECTURE.md")]
pub mod access;
pub mod api;
pub mod app;
pub mod blob;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod destination;
pub mod egress;
pub mod job;
pub mod links;
pub mod pipeline;
pub mod queue;
pub mod sandbox;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod webhook;
pub mod worker;

pub use worker::isolation::child_main_if_requested;
