//! Reloading: what of the settings can be exchanged while the server runs.
//!
//! Owns the sending ends; the rooms hold the receiving ones and see the new state at their next look. All or nothing: settings with a
//! mistake change nothing. Called by `cli` on SIGHUP, and by programs that embed the server.

use std::sync::Arc;

use tokio::sync::watch;

use super::AppError;
use crate::access::{Keyring, Keys};
use crate::clock::Clock;
use crate::config::Settings;
use crate::egress::Egress;
use crate::pipeline::Assets;
use crate::server::{self, Presets};
use crate::webhook::Secrets;
use crate::webhook::secrets;

/// What can be exchanged, as it is now.
#[derive(Clone, Debug)]
pub(super) struct Exchangeable {
    keys: Arc<watch::Sender<Arc<Keyring>>>,
    secrets: Arc<watch::Sender<Arc<Secrets>>>,
    presets: Arc<watch::Sender<Arc<Presets>>>,
}

impl Exchangeable {
    /// What the server starts with.
    pub(super) fn of(settings: &Settings) -> Exchangeable {
        let keyring = settings.keyring.clone().unwrap_or_default();
        Exchangeable {
            keys: Arc::new(watch::Sender::new(keyring)),
            secrets: Arc::new(watch::Sender::new(Arc::new(settings.webhook_secrets.clone()))),
            presets: Arc::new(watch::Sender::new(Arc::new(settings.server.presets.clone()))),
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

    /// The presets, for who reads specifications.
    pub(super) fn presets(&self) -> watch::Receiver<Arc<Presets>> {
        self.presets.subscribe()
    }
}

/// What presets are judged with: that is not exchanged.
pub(super) struct Judge {
    pub(super) server: server::Config,
    pub(super) egress: Egress,
    pub(super) assets: Arc<Assets>,
    pub(super) clock: Clock,
}

/// Exchanges API keys, webhook secrets and presets of a running server. Cheap to clone.
#[derive(Clone)]
pub struct Reloader {
    current: Exchangeable,
    judge: Arc<Judge>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reloader").field("current", &self.current).finish_non_exhaustive()
    }
}

impl Reloader {
    pub(super) fn new(current: Exchangeable, judge: Judge) -> Reloader {
        Reloader { current, judge: Arc::new(judge) }
    }

    /// Takes over the keys, webhook secrets and presets of these settings; whatever else differs waits for the next start. Reads the data
    /// directory's keys if [`Settings::read_keys`] has not: call it off the event loop then.
    ///
    /// # Errors
    /// When something of it can't be used; then everything stays as it was.
    pub fn reload(&self, mut settings: Settings) -> Result<(), AppError> {
        if settings.keyring.is_none() {
            settings.read_keys()?;
        }
        if settings.webhook_secrets.server.is_empty() {
            return Err(AppError::NoWebhookSecret);
        }
        let Judge { server, egress, assets, clock } = &*self.judge;
        let judged = server::Config { presets: settings.server.presets, ..server.clone() };
        let mistakes = server::preset_mistakes(&judged, egress, assets, clock.now());
        if !mistakes.is_empty() {
            return Err(AppError::Presets(mistakes));
        }
        if let Some(keyring) = settings.keyring {
            self.current.keys.send_replace(keyring);
        }
        self.current.secrets.send_replace(Arc::new(settings.webhook_secrets));
        self.current.presets.send_replace(Arc::new(judged.presets));
        Ok(())
    }
}
