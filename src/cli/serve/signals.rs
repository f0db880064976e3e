//! SIGTERM and Ctrl-C: the first one asks to finish, the second one does not wait.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The two signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Resolves at the first signal. From then on another one ends the process at once with code 1. Signals are caught from this call on,
/// not only when the future is polled.
pub(super) fn first() -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut signals =
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
    Ok(async move {
        let name = signals.next().await;
        tracing::info!(signal = name, "asked to stop; once more to stop at once");
        tokio::spawn(async move {
            signals.next().await;
            std::process::exit(1);
        });
    })
}
