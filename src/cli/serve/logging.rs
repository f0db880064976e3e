//! Logs: on standard error, for people on a terminal, as JSON lines otherwise.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;

/// Starts logging with these directives, which `config` has checked. A program that has set up logs of its own keeps them.
pub(super) fn start(directives: &str) {
    let filter = EnvFilter::builder().parse_lossy(directives);
    let is_terminal = io::stderr().is_terminal();
    let colors = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logs = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colors);
    let started = if is_terminal {
        logs.try_init()
    } else {
        logs.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logs were already set up");
    }
}
