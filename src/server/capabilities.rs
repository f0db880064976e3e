//! `GET /v1/capabilities`, made anew when presets are exchanged, and documents that are made once at start.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::body::Body;
use super::call::Call;
use super::config::{Config, Presets};
use super::state::{Services, State};
use super::{conditional, respond};
use crate::api::capabilities::{Capabilities, Settings};

/// A JSON document that does not change while the server runs, with its ETag.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    json: Bytes,
    etag: String,
}

impl Prepared {
    /// What this server can do.
    fn capabilities(config: &Config, presets: &Presets, services: &Services) -> Prepared {
        Prepared::json(&Capabilities::new(Settings {
            body_bytes_max: config.body_bytes_max,
            outputs_max: config.outputs_max,
            operations_max: config.operations_max,
            timeout: config.timeout_default,
            presets: presets.keys().cloned().collect(),
            assets: services.assets.names().map(str::to_owned).collect(),
            fonts: services.assets.fonts().names().map(str::to_owned).collect(),
            destinations: config.destinations.clone(),
            assets_max: config.assets_max,
            asset_bytes_max: config.asset_bytes_max,
            image: services.image_limits,
        }))
    }

    /// Any document.
    pub(super) fn json(document: &impl Serialize) -> Prepared {
        let json = serde_json::to_vec(document).unwrap_or_default();
        let etag = format!("\"{}\"", crate::job::hex(&Sha256::digest(&json)[..8]));
        Prepared { json: json.into(), etag }
    }

    /// The document, unless the client has it.
    pub(super) fn answer(&self, call: &Call) -> Response<Body> {
        if let Ok(Some(unchanged)) = conditional::check(call.headers(), &self.etag) {
            return unchanged;
        }
        let mut response = respond::text(StatusCode::OK, "application/json", self.json.clone());
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        respond::set(&mut response, header::ETAG, self.etag.clone());
        response
    }
}

/// The capabilities, and the presets that they name.
pub(super) struct CapabilitiesNow(Mutex<(Arc<Presets>, Prepared)>);

impl CapabilitiesNow {
    /// As they are at start.
    pub(super) fn new(config: &Config, services: &Services) -> CapabilitiesNow {
        let presets = Arc::clone(&services.presets.borrow());
        let prepared = Prepared::capabilities(config, &presets, services);
        CapabilitiesNow(Mutex::new((presets, prepared)))
    }

    fn get(&self, config: &Config, services: &Services) -> Prepared {
        let presets = Arc::clone(&services.presets.borrow());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&known.0, &presets) {
            let prepared = Prepared::capabilities(config, &presets, services);
            *known = (presets, prepared);
        }
        known.1.clone()
    }
}

/// Answers with the capabilities.
pub(super) fn show(call: &Call) -> Response<Body> {
    let State { capabilities, config, services, .. } = &*call.state;
    capabilities.get(config, services).answer(call)
}
