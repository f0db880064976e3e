//! Inbound HTTP: from the socket to the verbs of `queue`, and back.
//!
//! Owns connections and their limits, the `router` (the API's table of contents), bodies on their way in and out, problem
//! details, the page and the OpenAPI document. Never decides what becomes of a job (that is `queue`), never reads pixels (that is
//! `pipeline`, off the event loop). Built by `app`.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod activity;
mod auth;
mod body;
mod call;
mod capabilities;
mod conditional;
mod config;
mod connection;
mod cors;
mod deliveries;
mod digest;
mod disposition;
mod docs;
mod error;
mod events;
mod farewell;
mod guard;
mod health;
mod html;
mod jobs;
mod limits;
mod link;
mod metrics;
mod multipart;
mod openapi;
mod outputs;
mod page;
mod phase;
mod presets;
mod problems;
mod proxy;
mod range;
mod rate;
mod respond;
mod router;
mod service;
mod source;
mod spool;
mod state;
mod stats;
mod stored;
mod trace;
mod upload;
mod usage;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub use config::{Config, Presets};
pub use cors::Origins;
pub use presets::preset_mistakes;
pub use state::Services;

use phase::Phase;
use service::Door;
use state::State;

use crate::telemetry::Complaint;

/// Pause after an `accept` that failed for want of descriptors or memory: others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections of the health door at a time.
const HEALTH_CONNECTIONS_MAX: usize = 256;

/// A second listener for `/health/*` and `/metrics` alone, served on another runtime: it answers however busy this one is, and however
/// many connections others hold.
#[derive(Debug)]
pub struct HealthDoor {
    /// Where to listen, not blocking.
    pub listener: std::net::TcpListener,
    /// Who serves.
    pub runtime: tokio::runtime::Handle,
}

/// Serves until `shutdown` resolves. Then it stops accepting at once, lets what is under way end within [`Config::grace`] (readiness is 503
/// meanwhile) and returns when the connections are gone, or cut when the grace is over. The health door is served until its runtime ends.
pub async fn run(
    listener: TcpListener,
    health: Option<HealthDoor>,
    config: Config,
    services: Services,
    shutdown: impl Future<Output = ()> + Send,
) {
    let connections_max = config.connections_max.clamp(1, Semaphore::MAX_PERMITS);
    let grace = config.grace;
    let (announcer, phases) = phase::channel();
    let address = listener.local_addr().ok();
    // Pages and documents are made here: too much work for a thread that others wait for.
    let prepare = move || State::new(config, services, phases, address);
    let state = match tokio::task::spawn_blocking(prepare).await {
        Ok(state) => Arc::new(state),
        Err(error) => return tracing::error!(%error, "the server could not prepare what it shows"),
    };
    let places = Arc::new(Semaphore::new(connections_max));
    if let Some(door) = health {
        door.runtime.spawn(serve_health(door.listener, Arc::clone(&state)));
    }
    tokio::select! {
        () = accept(listener, &state, &places, Door::Main) => {}
        () = shutdown => {}
    }
    // A connection holds its place as long as it has a socket.
    let all_gone = async {
        announcer.tell(Phase::Draining).await;
        places.acquire_many(u32::try_from(connections_max).unwrap_or(u32::MAX)).await
    };
    if tokio::time::timeout(grace, all_gone).await.is_err() {
        let open = connections_max - places.available_permits();
        tracing::warn!(connections = open, "the grace is over; connections are cut");
        announcer.tell(Phase::Closing).await;
    }
}

async fn serve_health(listener: std::net::TcpListener, state: Arc<State>) {
    match TcpListener::from_std(listener) {
        Ok(listener) => {
            let places = Arc::new(Semaphore::new(HEALTH_CONNECTIONS_MAX));
            accept(listener, &state, &places, Door::Health).await;
        }
        Err(error) => tracing::error!(%error, "the health address can't be served"),
    }
}

/// Accepts connections, each as soon as there is a place for it.
async fn accept(listener: TcpListener, state: &Arc<State>, places: &Arc<Semaphore>, door: Door) {
    let mut trouble = Complaint::default();
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                if trouble.is_over() {
                    tracing::info!("connections are accepted again");
                }
                tokio::spawn(connection::serve((stream, place), Arc::clone(state), door));
                tracing::trace!(%peer, "accepted");
            }
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                if trouble.is_news(&error) {
                    tracing::error!(%error, "no connection can be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether an error of `accept` concerns the one connection only (see accept(2)), so that the next may be fine.
fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::ConnectionRefused)
}
