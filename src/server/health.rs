//! `/health/live`: this process answers. `/health/ready`: it can take jobs, tried and not assumed.

use std::time::Duration;

use futures_util::future::join_all;
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::body::Body;
use super::call::Call;
use super::respond;
use crate::job::Readiness;

/// Longest time that one probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Answered by the event loop alone.
pub(super) fn live() -> Response<Body> {
    respond::json(StatusCode::OK, &json!({"status": "live"}))
}

/// Asks every probe at once.
pub(super) async fn ready(call: &Call) -> Response<Body> {
    if call.state.is_draining() {
        let answer = json!({"status": "not ready", "checks": {"server": "shutting down"}});
        return respond::json(StatusCode::SERVICE_UNAVAILABLE, &answer);
    }
    let probes = call.state.services.probes.iter().map(|probe| async move {
        let readiness = tokio::time::timeout(PROBE_TIMEOUT, probe.readiness()).await;
        let slow = || Readiness::NotReady("did not answer in time".to_owned());
        (probe.name(), readiness.unwrap_or_else(|_| slow()))
    });
    let mut all_ready = true;
    let mut checks = Map::new();
    for (name, readiness) in join_all(probes).await {
        let text = match readiness {
            Readiness::Ready => "ready".to_owned(),
            Readiness::NotReady(why) => {
                all_ready = false;
                tracing::warn!(probe = name, why, "not ready");
                why
            }
        };
        checks.insert(name.to_owned(), Value::from(text));
    }
    let (status, word) = match all_ready {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let isolation = &call.state.services.isolation;
    respond::json(status, &json!({"status": word, "checks": checks, "isolation": isolation}))
}
