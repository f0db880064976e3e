//! Reloading: what of the settings can be exchanged while the server runs.
//!
//! Owns the sending ends; the rooms hold the receiving ones and see the new state at their next look. All or nothing: settings with a
//! mistake change nothing. Called by `cli` on SIGHUP, and by programs that embed the server.

use std::sync::Arc;

use tokio::sync::watch;

use super::AppError;
use crate::access::{Keyring, Keys};
use crate::config::Settings;
use crate::webhook::Secrets;
use crate::webhook::secrets;

/// Exchanges API keys and webhook secrets of a running server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloader {
    keys: Arc<watch::Sender<Arc<Keyring>>>,
    secrets: Arc<watch::Sender<Arc<Secrets>>>,
}

impl Reloader {
    /// With what the server starts with.
    pub(super) fn new(keyring: Arc<Keyring>, secrets: Secrets) -> Reloader {
        Reloader {
            keys: Arc::new(watch::Sender::new(keyring)),
            secrets: Arc::new(watch::Sender::new(Arc::new(secrets))),
        }
    }

    /// The keys, for the rooms that ask for them.
    pub(super) fn keys(&self) -> Keys {
        self.keys.subscribe()
    }

    /// The secrets, for who signs.
    pub(super) fn secrets(&self) -> secrets::Current {
        self.secrets.subscribe()
    }

    /// Takes over the keys and secrets of these settings, which [`Settings::read_keys`] has read. Reads files if nobody has: call it off
    /// the event loop then.
    ///
    /// # Errors
    /// When they can't be used; then everything stays as it was.
    pub fn reload(&self, mut settings: Settings) -> Result<(), AppError> {
        if settings.keyring.is_none() {
            settings.read_keys()?;
        }
        if settings.webhook_secrets.server.is_empty() {
            return Err(AppError::NoWebhookSecret);
        }
        if let Some(keyring) = settings.keyring {
            self.keys.send_replace(keyring);
        }
        self.secrets.send_replace(Arc::new(settings.webhook_secrets));
        Ok(())
    }
}
