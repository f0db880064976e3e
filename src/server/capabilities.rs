//! `GET /v1/capabilities`, and documents that are made once at start.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::body::Body;
use super::call::Call;
use super::config::Config;
use super::state::Services;
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
    pub(super) fn capabilities(config: &Config, services: &Services) -> Prepared {
        Prepared::json(&Capabilities::new(Settings {
            body_bytes_max: config.body_bytes_max,
            outputs_max: config.outputs_max,
            operations_max: config.operations_max,
            timeout: config.timeout_default,
            presets: config.presets.keys().cloned().collect(),
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

/// Answers with the capabilities.
pub(super) fn show(call: &Call) -> Response<Body> {
    call.state.capabilities.answer(call)
}
