//! What happens to every request, whatever it asks for: limits of its head, the guard, the route, and the headers of every answer.

use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use tracing::Instrument;
use tracing::field::Empty;

use super::activity::Activity;
use super::auth::{self, Caller};
use super::body::Body;
use super::call::Call;
use super::cors::Visit;
use super::error::{ApiError, Code};
use super::proxy::Client;
use super::rate::Quota;
use super::state::State;
use super::{guard, limits, router, trace};
use crate::telemetry::StatusLabel;
use crate::telemetry::trace::{failed, follow, span};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Which listener a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The one for everything.
    Main,
    /// The one that answers for the server's health alone, on threads of its own.
    Health,
}

/// Addresses of the two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// Of this server.
    pub(super) local: IpAddr,
    /// Of whoever has connected.
    pub(super) peer: IpAddr,
}

/// Answers a request. Never fails: what goes wrong is an answer, too.
pub(super) async fn answer(
    state: Arc<State>,
    activity: Arc<Activity>,
    door: Door,
    ends: Ends,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let http2 = request.version() == Version::HTTP_2;
    let in_flight = activity.begin(http2);
    let request_id = format!("{:016x}", rand::random::<u64>());
    let is_head = request.method() == Method::HEAD;
    let (head, body) = request.into_parts();
    let client = Client::of(ends.peer, &head.headers, &state.config.trusted_proxies);
    let span = span!(
        "request",
        "server",
        request.id = request_id,
        client.address = %client.address,
        http.request.method = %head.method,
        url.path = head.uri.path(),
        http.response.status_code = Empty
    );
    follow(&span, || trace::parent(&head.headers));
    tracing::debug!(parent: &span, "request");
    let caller = Caller::identify(&state.services.keys, &head.headers);
    if matches!(caller, Caller::Nobody { tried: true }) {
        // For who watches the log for those that try keys.
        tracing::info!(parent: &span, client = %client.address, "a request came with a key that opens nothing");
    }
    let visit = Visit::of(&state.config.allow_origins, &head.headers, !matches!(caller, Caller::Master));
    let quota = auth::admit(&state, &caller);
    let call = Call::new(Arc::clone(&state), head, body, ends.local, caller, Arc::clone(&activity));
    let handled = AssertUnwindSafe(handle(call, client, &visit, quota, door)).catch_unwind();
    let mut response = match handled.instrument(span.clone()).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => span.in_scope(|| error.into_response(&request_id)),
        Err(_) => span.in_scope(|| ApiError::internal("a handler panicked").into_response(&request_id)),
    };
    span.record("http.response.status_code", i64::from(response.status().as_u16()));
    if response.status().is_server_error() {
        failed(&span, class(response.status()));
    }
    finish(&mut response, &request_id, is_head);
    visit.tell(response.headers_mut());
    if let Some(quota) = quota {
        quota.tell(response.headers_mut());
    }
    if !http2 && activity.is_body_unread() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let label = StatusLabel { status: class(response.status()) };
    state.services.metrics.http_responses.get_or_create(&label).inc();
    Ok(response.map(|body| body.holding(in_flight)))
}

async fn handle(
    call: Call,
    client: Client,
    visit: &Visit,
    quota: Option<Quota>,
    door: Door,
) -> Result<Response<Body>, ApiError> {
    limits::check_head(&call.head, &call.state.config)?;
    let authority = guard::authority(&call.head)?;
    if matches!(call.caller, Caller::Master) {
        let named = &call.state.config.allow_origins;
        guard::check(&call.state.hosts, named, &call.head, authority, call.local, client.is_https)?;
    }
    if let Some(answer) = visit.preflight(&call.head) {
        return Ok(answer);
    }
    quota.map_or(Ok(()), |quota| quota.check())?;
    if door == Door::Health && !router::is_about_health(call.head.uri.path()) {
        let detail = "Only /health/live, /health/ready and /metrics are answered at this address.";
        return Err(ApiError::new(Code::NotFound, detail));
    }
    let metrics = Arc::clone(&call.state.services.metrics);
    metrics.polls.named(router::name(call.head.uri.path()), router::dispatch(call)).await
}

/// Headers of every answer; and for HEAD all of them, but no body.
fn finish(response: &mut Response<Body>, request_id: &str, is_head: bool) {
    if is_head {
        if let Some(length) = response.body().length().filter(|_| response.status() != StatusCode::NO_CONTENT)
        {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
