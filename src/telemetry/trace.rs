//! Spans and the trace that they belong to (W3C Trace Context).
//!
//! Owns how a span finds its parent, and what it passes on as `traceparent`. Without the feature `otlp`, or with nobody to export traces
//! to, spans are only there for the log, and what came in is passed on as it was. Where traces are sent is `cli`'s.

use tracing::Span;

/// A span with this name and these fields. `$kind` is what OpenTelemetry calls a span's kind; the log need not know it. Numbers are `i64`,
/// the only whole ones that OpenTelemetry has.
macro_rules! span {
    ($name:literal, $kind:literal, $($fields:tt)*) => {{
        #[cfg(feature = "otlp")]
        let span = tracing::info_span!($name, otel.kind = $kind, $($fields)*);
        #[cfg(not(feature = "otlp"))]
        let span = tracing::info_span!($name, $($fields)*);
        span
    }};
}
pub(crate) use span;

/// Makes a span, which nobody may have entered yet, part of the trace that this `traceparent` names. It is only asked for where somebody
/// wants to know.
pub(crate) fn follow(span: &Span, parent: impl FnOnce() -> Option<String>) {
    #[cfg(feature = "otlp")]
    otlp::follow(span, parent);
    #[cfg(not(feature = "otlp"))]
    let (_, _) = (span, parent);
}

/// The `traceparent` of the current span for whoever acts on its behalf, or the one that was given to it.
pub(crate) fn passed_on(given: Option<String>) -> Option<String> {
    #[cfg(feature = "otlp")]
    return otlp::current().or(given);
    #[cfg(not(feature = "otlp"))]
    given
}

/// A stage of the current span's work begins.
pub(crate) fn stage(name: &'static str) {
    #[cfg(feature = "otlp")]
    otlp::stage(name);
    #[cfg(not(feature = "otlp"))]
    let _ = name;
}

/// What the span stands for has failed for this reason, a word from a closed set.
pub(crate) fn failed(span: &Span, reason: &'static str) {
    #[cfg(feature = "otlp")]
    otlp::failed(span, reason);
    #[cfg(not(feature = "otlp"))]
    let (_, _) = (span, reason);
}

#[cfg(feature = "otlp")]
mod otlp {
    use opentelemetry::Context;
    use opentelemetry::trace::{
        SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    };
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    pub(super) fn follow(span: &Span, parent: impl FnOnce() -> Option<String>) {
        if span.is_disabled() {
            return;
        }
        if let Some(parent) = parent().as_deref().and_then(remote) {
            // Without a layer for traces there is nothing to be part of.
            let _nobody_exports = span.set_parent(Context::new().with_remote_span_context(parent));
        }
    }

    pub(super) fn current() -> Option<String> {
        let context = Span::current().context();
        let span = context.span();
        let context = span.span_context();
        let flags = context.trace_flags().to_u8();
        context.is_valid().then(|| format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id()))
    }

    pub(super) fn stage(name: &'static str) {
        Span::current().add_event(name, Vec::new());
    }

    pub(super) fn failed(span: &Span, reason: &'static str) {
        span.set_status(Status::error(reason));
    }

    /// Reads what `server` has found valid, or an older version of this program has stored.
    fn remote(parent: &str) -> Option<SpanContext> {
        let mut fields = parent.split('-').skip(1);
        let trace = TraceId::from_hex(fields.next()?).ok()?;
        let span = SpanId::from_hex(fields.next()?).ok()?;
        let flags = TraceFlags::new(u8::from_str_radix(fields.next()?, 16).ok()?) & TraceFlags::SAMPLED;
        let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
        context.is_valid().then_some(context)
    }

    #[cfg(test)]
    mod tests {
        use std::sync::{Arc, Mutex};

        use opentelemetry::trace::TracerProvider;
        use opentelemetry_sdk::error::OTelSdkResult;
        use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
        use tracing_subscriber::layer::SubscriberExt;

        use super::super::{failed, follow, passed_on, stage};
        use super::*;

        const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

        /// Keeps what it is given. The SDK's own is behind a feature that drags in more than a test is worth.
        #[derive(Clone, Debug, Default)]
        struct Kept(Arc<Mutex<Vec<SpanData>>>);

        impl SpanExporter for Kept {
            async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
                self.0.lock().unwrap().extend(batch);
                Ok(())
            }
        }

        #[test]
        fn a_span_is_part_of_its_parents_trace_and_passes_it_on() {
            let exporter = Kept::default();
            let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
            let subscriber = tracing_subscriber::registry().with(layer);
            let told = tracing::subscriber::with_default(subscriber, || {
                let span = span!("attempt", "consumer", job.attempt = 2);
                follow(&span, || Some(PARENT.to_owned()));
                let told = span.in_scope(|| {
                    stage("decode");
                    passed_on(None).unwrap()
                });
                failed(&span, "timeout");
                told
            });
            let spans = exporter.0.lock().unwrap().clone();
            let [span] = spans.as_slice() else { panic!("{spans:?}") };
            assert_eq!(span.span_context.trace_id().to_string(), PARENT[3..35]);
            assert_eq!(span.parent_span_id.to_string(), PARENT[36..52]);
            assert_eq!(told, format!("{}{}-01", &PARENT[..36], span.span_context.span_id()));
            assert_eq!(span.events.events[0].name, "decode");
            assert_eq!(span.status, Status::error("timeout"));
        }

        #[test]
        fn without_anybody_to_export_to_what_came_in_is_passed_on() {
            let span = span!("request", "server", request.id = "1");
            follow(&span, || Some(PARENT.to_owned()));
            let told = span.in_scope(|| passed_on(Some(PARENT.to_owned())));
            assert_eq!(told.as_deref(), Some(PARENT));
        }

        #[test]
        fn what_is_no_parent_is_none() {
            for bad in
                ["", "00", "nonsense", "00-0-0-00", &PARENT[..50], &PARENT.replace("4bf92f3577b34da6", "xyz")]
            {
                assert!(remote(bad).is_none(), "{bad}");
            }
        }
    }
}
