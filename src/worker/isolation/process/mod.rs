//! Attempts in processes of their own.
//!
//! `children` keeps and judges them, `parent` is one of them as the server sees it, `wire` the server's end of the socket in between,
//! `message` what is said over it. `child` and `map` run on the other side, walled in by `sandbox`.

mod child;
mod children;
mod map;
mod message;
mod parent;
mod wire;

pub use child::Work;
pub(super) use child::{is_requested, live};
pub(super) use children::Children;
pub use parent::StartError;
