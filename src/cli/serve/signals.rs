//! SIGTERM and Ctrl-C: the first one asks to finish, the second one hardly waits. SIGHUP: read the configuration again.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

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

/// How long a process that was told twice takes to give back what it is working on.
const HURRY_TIME: Duration = Duration::from_secs(1);

/// Does this at each SIGHUP, one after the other, off the event loop. Signals are caught from this call on.
pub(super) fn at_each_hangup(
    mut reload: impl FnMut() + Send + 'static,
) -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut hangups = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangups.recv().await.is_some() {
            let reloading = tokio::task::spawn_blocking(move || {
                reload();
                reload
            });
            match reloading.await {
                Ok(again) => reload = again,
                Err(error) => return tracing::error!(%error, "reloading panicked; it is not done again"),
            }
        }
    })
}

/// Two futures: one resolves at the first signal, one at the second, a second after which the process ends with code 1 in any case.
/// Signals are caught from this call on, not only when the futures are polled.
pub(super) fn both()
-> std::io::Result<(impl Future<Output = ()> + Send + 'static, impl Future<Output = ()> + Send + 'static)> {
    let mut signals =
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
    let (told_twice, hurry) = oneshot::channel();
    let first = async move {
        let name = signals.next().await;
        tracing::info!(signal = name, "asked to stop; once more to stop at once");
        tokio::spawn(async move {
            signals.next().await;
            // Nobody listens any more once all attempts have ended.
            let _heard = told_twice.send(());
            tokio::time::sleep(HURRY_TIME).await;
            std::process::exit(1);
        });
    };
    let second = async move {
        if hurry.await.is_err() {
            std::future::pending().await
        }
    };
    Ok((first, second))
}
