//! Who may do what: API keys, their scopes, and the ring of all keys that a request is held against.
//!
//! Pure vocabulary: no files (that is `config`), no headers (that is `server`), no clock. Made by `config` from `keys.toml`, handed on by
//! `app` as a [`Keys`], in which a reload swaps the whole ring; asked by `server` (may this request?) and by `queue` (what share has its
//! sender?).

mod key;
mod ring;
mod token;

use std::sync::Arc;

use tokio::sync::watch;

pub use key::{Key, Scope, Scopes, WEIGHT_MAX};
pub use ring::Keyring;
pub use token::{HashError, Token, TokenHash};

/// The ring as it is now: whoever holds one sees every reload, and can wait for the next.
pub type Keys = watch::Receiver<Arc<Keyring>>;

/// A ring that never changes.
pub fn fixed(ring: Keyring) -> Keys {
    // The sender may go: what it sent stays readable.
    watch::Sender::new(Arc::new(ring)).subscribe()
}
