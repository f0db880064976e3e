//! One connection: HTTP/1.1 or HTTP/2 by its first bytes, watched for silence, ended politely when the server stops.

use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;

use super::activity::{Activity, Patience, Verdict, Watched};
use super::farewell::Seat;
use super::limits::{HEADERS_READ_MAX, READ_BUFFER_BYTES_MIN, STREAMS_MAX};
use super::phase::Phase;
use super::service::{self, Door, Ends};
use super::state::State;

/// Bytes that one HTTP/2 stream may send before they are read: bounds the memory of uploads as `max_buf_size` does for HTTP/1.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// How often a silent HTTP/2 peer is asked whether it still lives, and how long its answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Once the server stops, how long a connection with nothing under way is listened to: for a request that is just arriving.
const LAST_CALL: Duration = Duration::from_millis(250);

/// Serves a connection to its end.
pub(super) async fn serve(seat: Seat, state: Arc<State>, door: Door) {
    let (stream, _) = &seat;
    // Answers are written whole; waiting for more to send would only delay them.
    let _delay_at_worst = stream.set_nodelay(true);
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return };
    let ends = Ends { local: local.ip(), peer: peer.ip() };
    state.services.metrics.http_connections.inc();
    let gauge = state.services.metrics.http_connections.clone();
    drive(seat, ends, &state, door).await;
    gauge.dec();
}

async fn drive(seat: Seat, ends: Ends, state: &Arc<State>, door: Door) {
    let config = &state.config;
    let patience = Patience {
        header: config.header_timeout,
        stall: config.body_idle_timeout,
        idle: config.idle_timeout,
    };
    let activity = Activity::new();
    let io = TokioIo::new(Watched::new(seat, Arc::clone(&activity), state.farewell.clone()));
    let answer = {
        let (state, activity) = (Arc::clone(state), Arc::clone(&activity));
        service_fn(move |request| {
            service::answer(Arc::clone(&state), Arc::clone(&activity), door, ends, request)
        })
    };
    let builder = builder(state);
    let mut connection = std::pin::pin!(builder.serve_connection(io, answer));
    let mut check = std::pin::pin!(tokio::time::sleep(patience.header));
    let mut last_call = std::pin::pin!(tokio::time::sleep(LAST_CALL));
    let mut is_last_call = false;
    let mut phase = state.phases.listen();
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection ended early");
                }
                return;
            }
            () = check.as_mut() => {
                let wait = match activity.verdict(&patience) {
                    Verdict::Stalled => return activity.mark_cut(),
                    Verdict::Fine(wait) => wait,
                    Verdict::Idle => {
                        connection.as_mut().graceful_shutdown();
                        patience.idle
                    }
                };
                check.as_mut().reset(tokio::time::Instant::now() + wait);
            }
            // Who asks how the server is doing is answered to its end.
            changed = phase.changed(), if door == Door::Main => {
                if changed.is_err() || *phase.borrow() == Phase::Closing {
                    return activity.mark_cut();
                }
                connection.as_mut().graceful_shutdown();
                is_last_call = true;
                last_call.as_mut().reset(tokio::time::Instant::now() + LAST_CALL);
            }
            // A head that never ends, or has not begun, would hold up the stop; hyper waits for it.
            () = last_call.as_mut(), if is_last_call => {
                if activity.is_quiet() {
                    return activity.mark_cut();
                }
                last_call.as_mut().reset(tokio::time::Instant::now() + LAST_CALL);
            }
        }
    }
}

/// Both protocols with their limits. Times are kept by [`Activity`]: hyper's own header timeout would also end idle connections.
fn builder(state: &State) -> auto::Builder<TokioExecutor> {
    let head_bytes = state.config.header_bytes_max.max(READ_BUFFER_BYTES_MIN);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(HEADERS_READ_MAX)
        .max_buf_size(head_bytes)
        // A client may close its side, or the whole connection, as soon as its request is sent: that request counts. Answers nobody waits
        // for end by themselves: long polls after their time, event streams with the next comment.
        .half_close(true)
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(STREAM_WINDOW_BYTES as usize)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}
