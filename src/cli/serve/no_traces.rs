//! What stands for traces in a program that was built without them: it says so to whoever expects some.

/// Nothing.
#[derive(Debug)]
pub(super) struct Traces;

impl Traces {
    /// Nothing, whatever the environment says.
    pub(super) fn from_environment() -> anyhow::Result<Traces> {
        Ok(Traces)
    }

    /// Says so if a collector is waiting.
    pub(super) fn tell(&self) {
        let is_set = |name| std::env::var_os(name).is_some_and(|endpoint| !endpoint.is_empty());
        if is_set("OTEL_EXPORTER_OTLP_ENDPOINT") || is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
            tracing::warn!("this program was built without traces: cargo's feature `otlp` has them");
        }
    }

    /// Nothing is left to be sent.
    pub(super) fn finish(self) {}
}
