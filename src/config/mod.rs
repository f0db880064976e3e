//! Configuration: defaults < file < environment < flags.
//!
//! Owns the table of settings, their layers and the making of every room's own `Config`; imports those types and nothing else of the
//! rooms. Reports every mistake at once. It reads the environment and arguments only as handed in, once, at start. Called by `cli` and by
//! programs that embed the server; `app` takes the [`Settings`].

mod error;
pub mod keys;
mod kind;
mod layers;
mod lines;
mod machine;
mod settings;
mod suggest;
mod table;

pub use error::{ConfigError, Mistake, Origin};
pub use kind::Kind;
pub use layers::{DEFAULT_FILE, Sources};
pub use settings::{Loaded, Settings, load};
pub use table::{Group, SETTINGS, Setting, find};
