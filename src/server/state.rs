//! What every request may use: the other rooms, the settings, and what was prepared once at start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use super::capabilities::{CapabilitiesNow, Prepared};
use super::config::{Config, Presets};
use super::farewell::Farewell;
use super::page::Page;
use super::phase::{Phase, Phases};
use super::rate::Rates;
use super::usage::Usage;
use super::{docs, guard, openapi, problems};
use crate::access::Keys;
use crate::blob::Blobs;
use crate::clock::Clock;
use crate::egress::Egress;
use crate::job::Probe;
use crate::pipeline::{self, Assets};
use crate::queue::Queue;
use crate::telemetry::Metrics;

/// The rooms that the front end speaks to.
#[derive(Clone)]
pub struct Services {
    /// The verbs on jobs.
    pub queue: Queue,
    /// Sources and outputs.
    pub blobs: Blobs,
    /// Judges addresses at submit.
    pub egress: Egress,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// The API keys.
    pub keys: Keys,
    /// The presets, which a reload may exchange.
    pub presets: watch::Receiver<Arc<Presets>>,
    /// The time.
    pub clock: Clock,
    /// Asked by `/health/ready`.
    pub probes: Vec<Arc<dyn Probe>>,
    /// The assets of the settings.
    pub assets: Arc<Assets>,
    /// What an image may cost.
    pub image_limits: pipeline::Limits,
    /// How attempts are kept apart from the server, in words.
    pub isolation: String,
}

/// What every request may use.
pub(super) struct State {
    pub(super) config: Config,
    pub(super) services: Services,
    pub(super) phases: Phases,
    pub(super) farewell: Farewell,
    pub(super) hosts: guard::Hosts,
    pub(super) capabilities: CapabilitiesNow,
    pub(super) openapi: Prepared,
    pub(super) docs: docs::Docs,
    pub(super) page: Page,
    pub(super) problems: problems::Pages,
    pub(super) rates: Rates,
    pub(super) usage: Usage,
    uploads: AtomicUsize,
}

/// An upload is under way as long as this lives.
pub(super) struct UploadMark(Arc<State>);

impl Drop for UploadMark {
    fn drop(&mut self) {
        self.0.uploads.fetch_sub(1, Ordering::Relaxed);
    }
}

impl State {
    /// Prepares everything that does not change while the server runs.
    pub(super) fn new(
        config: Config,
        services: Services,
        phases: Phases,
        address: Option<SocketAddr>,
    ) -> State {
        let public_url = match (&config.public_url, address) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(address)) => format!("http://{address}"),
            (None, None) => String::new(),
        };
        let document = openapi::document(&config, &public_url, !services.keys.borrow().is_open());
        State {
            hosts: guard::Hosts::new(&public_url),
            capabilities: CapabilitiesNow::new(&config, &services),
            openapi: Prepared::json(&document),
            docs: docs::Docs::new(&document),
            page: Page::new(),
            problems: problems::Pages::new(),
            rates: Rates::default(),
            usage: Usage::default(),
            uploads: AtomicUsize::new(0),
            config,
            services,
            phases,
            farewell: Farewell::start(),
        }
    }

    /// Whether the server is about to stop.
    pub(super) fn is_draining(&self) -> bool {
        self.phases.now() != Phase::Serving
    }

    /// Resolves when the server is about to stop.
    pub(super) async fn draining(&self) {
        let mut phase = self.phases.listen();
        // An error means that the server is gone already.
        let _ended = phase.wait_for(|phase| *phase != Phase::Serving).await.is_err();
    }

    /// Marks an upload as under way.
    pub(super) fn begin_upload(self: &Arc<State>) -> UploadMark {
        self.uploads.fetch_add(1, Ordering::Relaxed);
        UploadMark(Arc::clone(self))
    }

    /// Uploads under way.
    pub(super) fn uploads(&self) -> usize {
        self.uploads.load(Ordering::Relaxed)
    }
}
