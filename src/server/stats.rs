//! `GET /v1/stats`: what the dashboard draws. Who sees only its own jobs gets its own figures.

use hyper::{Response, StatusCode};

use super::body::Body;
use super::call::Call;
use super::error::ApiError;
use super::respond;
use crate::access::Key;
use crate::api::StatsView;
use crate::api::stats::{Covers, DeliveryCounts, JobCounts, KeyUseView, MemoryView, WorkersView};
use crate::queue::Stats;

/// Answers from memory; the store is asked for what a single key has kept, and not often.
pub(super) async fn show(call: &Call) -> Result<Response<Body>, ApiError> {
    let services = &call.state.services;
    let metrics = &services.metrics;
    let (covers, stats, busy, granted_bytes) = match call.caller.confined_to() {
        None => {
            let (busy, granted) = (metrics.pool_threads_busy.get(), metrics.memory_granted_bytes.get());
            (Covers::Server, services.queue.stats(), busy, granted)
        }
        Some(key) => {
            let stats = services.queue.stats_of(key).await?;
            // What runs and is still being fetched holds no thread.
            let busy = signed(stats.running).min(metrics.pool_threads.get());
            (Covers::Key, stats, busy, signed(stats.running_memory_bytes))
        }
    };
    let view = StatsView {
        covers,
        jobs: jobs(&stats),
        oldest_queued_seconds: stats.oldest_queued_seconds,
        finished_last_minute: stats.finished_last_minute,
        wait_seconds_last_minute: stats.wait_seconds_last_minute,
        worker_seconds_last_minute: stats.worker_seconds_last_minute,
        workers: WorkersView { busy, total: metrics.pool_threads.get() },
        memory: MemoryView { granted_bytes, limit_bytes: metrics.memory_limit_bytes.get() },
        event_loop_stall_max_ms: metrics.event_loop_stall_max_seconds.get() * 1000.0,
        deliveries: DeliveryCounts {
            pending: stats.deliveries_pending,
            delivered: stats.deliveries_delivered,
            failed: stats.deliveries_failed,
        },
        isolation: services.isolation.clone(),
        keys: keys(call),
    };
    Ok(respond::json(StatusCode::OK, &view))
}

fn jobs(stats: &Stats) -> JobCounts {
    JobCounts {
        queued: stats.queued,
        running: stats.running,
        succeeded: stats.succeeded,
        failed: stats.failed,
        cancelled: stats.cancelled,
    }
}

/// What the keys use that the caller may know of, by name.
fn keys(call: &Call) -> Vec<KeyUseView> {
    let ring = call.state.services.keys.borrow().clone();
    let mut seen: Vec<_> = ring.in_use().filter(|key| call.caller.sees(Some(&key.id))).collect();
    seen.sort_by(|one, other| (&one.name, one.id.as_str()).cmp(&(&other.name, other.id.as_str())));
    seen.into_iter().map(|key| view(call, key)).collect()
}

fn view(call: &Call, key: &Key) -> KeyUseView {
    let services = &call.state.services;
    let used = services.queue.use_of(&key.id);
    let requests = call.state.usage.of(&key.id, services.clock.now());
    KeyUseView {
        id: key.id.to_string(),
        name: key.name.clone(),
        scopes: key.scopes.list().iter().map(ToString::to_string).collect(),
        weight: key.weight,
        queued: used.queued,
        queue_places: used.queue_places,
        running: used.running,
        finished_last_minute: used.finished_last_minute,
        worker_seconds_last_minute: used.worker_seconds_last_minute,
        requests_last_minute: requests.last_minute,
        requests_per_minute: key.requests_per_minute,
        last_used_at: requests.last_at.map(|at| at.to_string()),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
