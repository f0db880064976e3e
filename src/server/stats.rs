//! `GET /v1/stats`: what the dashboard draws.

use hyper::{Response, StatusCode};

use super::body::Body;
use super::call::Call;
use super::respond;
use crate::api::StatsView;
use crate::api::stats::{DeliveryCounts, JobCounts, MemoryView, WorkersView};

/// Answers from memory; the store is not asked.
pub(super) fn show(call: &Call) -> Response<Body> {
    let stats = call.state.services.queue.stats();
    let metrics = &call.state.services.metrics;
    let view = StatsView {
        jobs: JobCounts {
            queued: stats.queued,
            running: stats.running,
            succeeded: stats.succeeded,
            failed: stats.failed,
            cancelled: stats.cancelled,
        },
        oldest_queued_seconds: stats.oldest_queued_seconds,
        finished_last_minute: stats.finished_last_minute,
        wait_seconds_last_minute: stats.wait_seconds_last_minute,
        workers: WorkersView { busy: metrics.pool_threads_busy.get(), total: metrics.pool_threads.get() },
        memory: MemoryView {
            granted_bytes: metrics.memory_granted_bytes.get(),
            limit_bytes: metrics.memory_limit_bytes.get(),
        },
        event_loop_stall_max_ms: metrics.event_loop_stall_max_seconds.get() * 1000.0,
        deliveries: DeliveryCounts {
            pending: stats.deliveries_pending,
            delivered: stats.deliveries_delivered,
            failed: stats.deliveries_failed,
        },
        isolation: call.state.services.isolation.clone(),
    };
    respond::json(StatusCode::OK, &view)
}
