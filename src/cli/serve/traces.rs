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

/// The environment: what a variable says, nothing if it is empty.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

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
    /// As the environment has it; fails where it names a collector that can't be one. Reads files and starts a thread: call it at start.
    pub(super) fn from_environment() -> anyhow::Result<Traces> {
        let variables: Variables = &|name| std::env::var(name).ok().filter(|value| !value.is_empty());
        if !is_wanted(variables)? {
            return Ok(Traces(None));
        }
        let client = Client {
            egress: Egress::new(&egress::Config::default())?,
            runtime: Builder::new_current_thread().enable_all().build()?,
            timeout: timeout(variables),
        };
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build()?;
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource(variables));
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

/// Whether there is a collector, and nobody has switched traces off. The exporter finds it by itself, but would learn only with the first
/// export that `localhost:4318` has no scheme, and nobody would see a trace.
fn is_wanted(variables: Variables) -> anyhow::Result<bool> {
    let is = |name, word| variables(name).is_some_and(|value: String| value.eq_ignore_ascii_case(word));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return Ok(false);
    }
    let Some((name, endpoint)) = ENDPOINTS.iter().find_map(|name| Some((name, variables(name)?))) else {
        return Ok(false);
    };
    let is_http = |url: url::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    anyhow::ensure!(
        url::Url::parse(&endpoint).is_ok_and(is_http),
        "{name} must be an http or https URL, such as http://127.0.0.1:4318; it is {endpoint:?}"
    );
    Ok(true)
}

/// How long an export may take. What is no number counts as not said, as the specification has it.
fn timeout(variables: Variables) -> Duration {
    let milliseconds = TIMEOUTS.iter().find_map(|name| variables(name)?.parse().ok());
    milliseconds.map_or(TIMEOUT, Duration::from_millis)
}

/// Whether the environment says what this service is called.
fn is_named(variables: Variables) -> bool {
    let attributes = variables("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    variables("OTEL_SERVICE_NAME").is_some()
        || attributes.split(',').any(|attribute| attribute.trim_start().starts_with("service.name="))
}

/// Who we are: what the environment says, or the program's name.
fn resource(variables: Variables) -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    if is_named(variables) { resource.build() } else { resource.with_service_name("minilab").build() }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An environment of these variables alone.
    fn with<T>(set: &[(&str, &str)], judge: impl FnOnce(Variables) -> T) -> T {
        judge(&|name| set.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).to_owned()))
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    #[test]
    fn traces_are_made_for_a_collector_and_unless_switched_off() {
        let wanted = |set: &[(&str, &str)]| with(set, is_wanted).unwrap();
        assert!(!wanted(&[]));
        assert!(wanted(&[ENDPOINT]));
        assert!(wanted(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector.example.com/v1/traces")]));
        assert!(wanted(&[ENDPOINT, ("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "otlp")]));
        for off in
            [("OTEL_SDK_DISABLED", "true"), ("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")]
        {
            assert!(!wanted(&[ENDPOINT, off]), "{off:?}");
            // What is switched off need not make sense.
            assert!(!wanted(&[(ENDPOINT.0, "nonsense"), off]), "{off:?}");
        }
    }

    #[test]
    fn an_endpoint_that_can_be_none_is_refused_by_name() {
        for name in ENDPOINTS {
            for value in
                ["localhost:4318", "collector", "//collector:4318", "grpc://collector:4317", "http://"]
            {
                let error = with(&[(name, value)], is_wanted).unwrap_err().to_string();
                assert!(error.starts_with(name) && error.contains(value), "{error}");
            }
        }
        // The more special variable is the one that is used.
        let mixed = [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318/v1/traces"),
            (ENDPOINT.0, "nonsense"),
        ];
        assert!(with(&mixed, is_wanted).unwrap());
    }

    #[test]
    fn the_time_for_an_export_is_what_the_more_special_variable_says() {
        let [special, general] = TIMEOUTS;
        assert_eq!(with(&[], timeout), TIMEOUT);
        assert_eq!(with(&[(general, "250")], timeout), Duration::from_millis(250));
        assert_eq!(with(&[(general, "250"), (special, "9")], timeout), Duration::from_millis(9));
        assert_eq!(with(&[(general, "250"), (special, "soon")], timeout), Duration::from_millis(250));
        assert_eq!(with(&[(general, "-1")], timeout), TIMEOUT);
    }

    #[test]
    fn a_service_without_a_name_has_the_programs() {
        let named = |set: &[(&str, &str)]| with(set, is_named);
        assert!(!named(&[]) && !named(&[("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=shop,host.name=a")]));
        assert!(named(&[("OTEL_SERVICE_NAME", "prints")]));
        assert!(named(&[("OTEL_RESOURCE_ATTRIBUTES", "host.name=a, service.name=prints")]));
        let ours = with(&[], resource);
        let of = |key| ours.get(&opentelemetry::Key::new(key)).map(|value| value.to_string());
        assert_eq!(of("service.name").as_deref(), Some("minilab"));
        assert_eq!(of("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
    }
}
