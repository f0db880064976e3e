//! `GET /metrics`.

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::Body;
use super::call::Call;
use super::respond;

const OPEN: &str = "application/openmetrics-text";

/// Answers in OpenMetrics to who asks for it, as Prometheus does, and to all others in the older text format.
pub(super) fn show(call: &Call) -> Response<Body> {
    let metrics = &call.state.services.metrics;
    let asks_for_open = call.header("accept").is_some_and(|accepted| accepted.contains(OPEN));
    let mut response = match asks_for_open {
        true => {
            let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            respond::text(StatusCode::OK, media_type, metrics.render())
        }
        false => {
            respond::text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.render_plain())
        }
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}
