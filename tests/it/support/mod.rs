//! What the integration tests share.

pub(crate) mod command;
pub(crate) mod faults;
pub(crate) mod images;
pub(crate) mod jobs;
pub(crate) mod lab;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod receiver;
pub(crate) mod server;
