//! Traces over OTLP (HTTP, protobuf), to the collector that the environment names.
//!
//! Owns where traces go and how they get there. Everything is set by OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`,
//! `OTEL_TRACES_SAMPLER`, …), which operators set for all their programs alike. Spans wait in a bounded queue for a thread of their own
//! with an event loop of its own: exporting never holds up the server; what the collector does not take in time is dropped. Which spans
//! there are, and what they have in common with their parents, is known by `telemetry::trace`.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::{Builder, Runtime};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use crate::egress::{self, Egress, Way};

/// The variables that name a collector, the more special one first.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// The variables that say how long an export may take, in milliseconds, and the time if none does; as the specification has it.
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a collector's answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long the end of the program waits for the collector to take what is left.
const FLUSH_TIME: Duration = Duration::from_secs(5);

/// Where traces go, if anywhere.
#[derive(Debug)]
pub(super) struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// As the environment has it. Reads files and starts a thread: call it at start.
    pub(super) fn from_environment() -> anyhow::Result<Traces> {
        let set = |name: &&&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        let is = |name, word| std::env::var(name).is_ok_and(|value| value.eq_ignore_ascii_case(word));
        let is_off = is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none");
        if is_off || ENDPOINTS.iter().find(set).is_none() {
            return Ok(Traces(None));
        }
        let timeout = TIMEOUTS.iter().find_map(|name| std::env::var(name).ok()?.parse().ok());
        let client = Client {
            egress: Egress::new(&egress::Config::default())?,
            runtime: Builder::new_current_thread().enable_all().build()?,
            timeout: timeout.map_or(TIMEOUT, Duration::from_millis),
        };
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build()?;
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource());
        Ok(Traces(Some(provider.build())))
    }

    /// What makes traces of spans.
    pub(super) fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    {
        let provider = self.0.as_ref()?;
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("minilab"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false);
        // What is logged is another matter: a quiet log makes no gaps in traces.
        let ours = Targets::new().with_target("minilab", LevelFilter::INFO);
        Some(layer.with_filter(ours))
    }

    /// Sends what is left, and waits for that a while. Not on an event loop.
    pub(super) fn finish(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown_with_timeout(FLUSH_TIME)) {
            tracing::warn!(%error, "the last traces were not exported");
        }
    }
}

/// Who we are: what the environment says, or the program's name.
fn resource() -> Resource {
    let attributes = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_named = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty())
        || attributes.split(',').any(|attribute| attribute.trim_start().starts_with("service.name="));
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    if is_named { resource.build() } else { resource.with_service_name("minilab").build() }
}

/// Our own client for requests to what the operator has named, on the exporter's thread. Never by the proxy.
#[derive(Debug)]
struct Client {
    egress: Egress,
    runtime: Runtime,
    timeout: Duration,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = request.map(|body| Full::new(body).map_err(|never| match never {}).boxed());
        let exchange = async {
            let response = self.egress.send_trusted(request, Way::Direct, self.timeout).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        // The thread is the exporter's own, and no other future runs on it.
        self.runtime.block_on(async { tokio::time::timeout(self.timeout, exchange).await })?
    }
}
