//! `serve`: the server as a program.
//!
//! Owns what an operator sees of it: the first lines, logs, signals, the exit code. Building and running the rooms is `app`'s.

mod crash;
mod flags;
mod logging;
mod signals;
#[cfg_attr(not(feature = "otlp"), path = "no_traces.rs")]
mod traces;

use anyhow::Context;

use super::exit::Exit;
use super::screen::Screen;
use crate::app::App;
use crate::app::reload::Reloader;
use crate::config::{self, Sources};

/// Threads for short file work of uploads and downloads; images have threads of their own.
const BLOCKING_THREADS_MAX: usize = 64;

/// Events of sockets that a thread takes from the kernel at a time, when it has slept and while it is busy. The tasks that they wake stand in
/// line before whatever comes next; when ten thousand connections ask at once, the rest of them wait in the kernel, and timers, jobs and
/// webhooks get their turns between. A thread's own line holds 256.
const SOCKET_EVENTS_MAX: usize = 128;
const SOCKET_EVENTS_BUSY_MAX: usize = 64;

pub(super) use flags::{DataDirArgs, ServeArgs};
use traces::Traces;

/// Runs a server until it is asked to stop.
pub(super) fn run(args: &ServeArgs, screen: &Screen) -> anyhow::Result<Exit> {
    let sources = args.sources();
    let loaded = config::load(&sources)?;
    let traces = Traces::from_environment().context("traces can't be exported")?;
    logging::start(&loaded.settings.log, &traces);
    #[cfg(not(feature = "otlp"))]
    traces.tell();
    if let Some(file) = &loaded.file {
        tracing::info!(file = %file.display(), "read the configuration file");
    }
    for notice in &loaded.notices {
        tracing::warn!("{notice}");
    }
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .max_io_events_per_tick(SOCKET_EVENTS_MAX)
        .max_io_events_per_busy_tick(SOCKET_EVENTS_BUSY_MAX)
        .build()?;
    let ended = runtime.block_on(async {
        let (stop, hurry) = signals::both().context("cannot catch signals")?;
        let app = App::start(loaded.settings).await?;
        match app.crash_mark() {
            Ok(file) => crash::mark_into(file),
            Err(error) => tracing::warn!(%error, "a crash of this process can't be told from a kill"),
        }
        let reloads =
            signals::at_each_hangup(reload(sources, app.reloader())).context("cannot catch signals")?;
        tokio::spawn(reloads);
        welcome(&app.address().to_string(), screen)?;
        app.run_until(stop, hurry).await?;
        Ok(Exit::Ok)
    });
    traces.finish();
    ended
}

/// Reads everything again and exchanges what can be exchanged while running. A mistake is logged and changes nothing.
fn reload(sources: Sources, reloader: Reloader) -> impl FnMut() + Send + 'static {
    move || {
        let reloaded = config::load(&sources)
            .map_err(anyhow::Error::from)
            .and_then(|loaded| Ok(reloader.reload(loaded.settings)?));
        match reloaded {
            Ok(()) => tracing::info!("keys, secrets and presets were read again"),
            Err(error) => tracing::error!(%error, "nothing was reloaded; everything stays as it was"),
        }
    }
}

/// Every connection is a descriptor, and the usual soft limit of 1,024 is far below what the settings promise. The hard limit stays.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open descriptors stays as it is; many connections may have to wait");
    }
}

/// The line that programs wait for, and the three that a newcomer needs.
fn welcome(address: &str, screen: &Screen) -> std::io::Result<()> {
    let url = format!("http://{address}");
    if screen.is_json() {
        return screen.document(&serde_json::json!({"listening": url}));
    }
    screen.line(&format!("minilab listening on {url}"))?;
    screen
        .line(&format!("  submit   curl --data-binary @photo.jpg '{url}/v1/jobs?width=800&format=webp'"))?;
    screen.line(&format!(
        "  collect  curl '{url}/v1/jobs/ID?wait=30'; curl -o photo.webp {url}/v1/jobs/ID/outputs/output"
    ))?;
    screen.line(&format!("  look     {url}/"))
}
