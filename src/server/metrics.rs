//! `GET /metrics`.

use hyper::{Response, StatusCode};

use super::body::Body;
use super::call::Call;
use super::respond;

/// Answers in the text format that Prometheus reads.
pub(super) fn show(call: &Call) -> Response<Body> {
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    respond::text(StatusCode::OK, media_type, call.state.services.metrics.render())
}
