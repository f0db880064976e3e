//! Logs: on standard error, for people on a terminal, as JSON lines otherwise. Spans that are exported as traces are taken from here, too.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, registry};

use super::traces::Traces;

/// Starts logging with these directives, which `config` has checked. A program that has set up logs of its own keeps them.
pub(super) fn start(directives: &str, traces: &Traces) {
    let filter = EnvFilter::builder().parse_lossy(directives);
    let is_terminal = io::stderr().is_terminal();
    let colors = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logs = fmt::layer().with_writer(io::stderr).with_ansi(colors);
    let started = if is_terminal {
        subscriber(logs, filter, traces).try_init()
    } else {
        let logs = logs.json().flatten_event(true).with_current_span(true).with_span_list(false);
        subscriber(logs, filter, traces).try_init()
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logs were already set up");
    }
}

/// What logs, and nothing else.
#[cfg(not(feature = "otlp"))]
fn subscriber(
    logs: impl Layer<Registry> + Send + Sync + 'static,
    filter: EnvFilter,
    _: &Traces,
) -> impl Subscriber + Send + Sync {
    registry().with(logs).with(filter)
}

/// What logs and exports, each by its own choice.
#[cfg(feature = "otlp")]
fn subscriber(
    logs: impl Layer<Registry> + Send + Sync + 'static,
    filter: EnvFilter,
    traces: &Traces,
) -> impl Subscriber + Send + Sync {
    registry().with(logs.with_filter(filter)).with(traces.layer())
}
