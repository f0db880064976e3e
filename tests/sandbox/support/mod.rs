//! Shared with the integration tests, which use more of it.
#![allow(dead_code)]

#[path = "../../it/support/images.rs"]
pub(crate) mod images;
#[path = "../../it/support/process.rs"]
pub(crate) mod process;
#[path = "../../it/support/raw.rs"]
pub(crate) mod raw;
#[path = "../../it/support/server.rs"]
pub(crate) mod server;
