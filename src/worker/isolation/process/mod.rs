//! Attempts in processes of their own.
//!
//! `children` keeps them, `job` and `look` give them work and judge what comes of it, `parent` is one of them as the server sees it,
//! `starter` the thread that starts them, `wire` the server's end of the socket in between, `message` what is said over it. `child` and
//! `map` run on the other side, walled in by `sandbox`.

mod child;
mod children;
mod job;
mod look;
mod map;
mod message;
mod parent;
mod starter;
mod wire;

pub use child::{Look, Work};
pub(super) use child::{is_requested, live};
pub(super) use children::Children;
pub use parent::StartError;
