//! Every metric by name, the watchdog that times the event loop, and the trace that spans belong to.
//!
//! Owns names, labels and buckets; labels come from closed sets only. One [`Metrics`] is made by `app` and handed to every room; nothing
//! here is global. Reading it never blocks writers.

pub mod complaint;
pub mod polls;
pub(crate) mod trace;
pub mod watchdog;

pub use complaint::Complaint;
pub use polls::{Poll, Polls};

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A gauge of a fraction.
pub type FractionGauge = Gauge<f64, AtomicU64>;

/// Label `status`: a job's or a delivery's status, or an HTTP status class such as `2xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabel {
    /// The word.
    pub status: &'static str,
}

/// Labels `op` and `format`: a stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OpLabel {
    /// An operation's name, `decode`, `encode` or `analyze`.
    pub op: &'static str,
    /// What is decoded or encoded; empty, which is as good as no label, for what works on pixels.
    pub format: &'static str,
}

/// Label `outcome`: how a webhook attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// `delivered`, `retry`, `failed`.
    pub outcome: &'static str,
}

/// Label `runtime`: one of the event loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RuntimeLabel {
    /// `main` for everything, `health` for the small one that answers at `health_listen`.
    pub runtime: &'static str,
}

/// Label `cause`: what a process for images ended of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CauseLabel {
    /// `stopped`, `recycled`, `crashed`, `memory`, `timeout`, `cancelled`, `panic`, `nonsense`, `lost`, `not_started`.
    pub cause: &'static str,
}

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What the threads of the event loops are at.
    pub polls: Polls,
    /// Jobs acknowledged.
    pub jobs_submitted: Counter,
    /// Jobs ended, by status.
    pub jobs_finished: Family<StatusLabel, Counter>,
    /// From being due to being claimed.
    pub job_wait_seconds: Histogram,
    /// From being claimed to being ended.
    pub job_run_seconds: Histogram,
    /// Pipeline stages on the pool's threads.
    pub operation_seconds: Family<OpLabel, Histogram>,
    /// Threads of the blocking pool.
    pub pool_threads: Gauge,
    /// Those at work.
    pub pool_threads_busy: Gauge,
    /// Threads replaced because they were stuck past their deadline.
    pub pool_threads_replaced: Counter,
    /// Processes for images started.
    pub children_started: Counter,
    /// Those that have ended, by cause.
    pub children_ended: Family<CauseLabel, Counter>,
    /// Those that live.
    pub children_alive: Gauge,
    /// Memory granted to running attempts.
    pub memory_granted_bytes: Gauge,
    /// Memory that may be granted.
    pub memory_limit_bytes: Gauge,
    /// Jobs in the store, by status.
    pub jobs_current: Family<StatusLabel, Gauge>,
    /// Age of the oldest job in the waiting line; 0 when it is empty.
    pub oldest_queued_job_seconds: FractionGauge,
    /// What a commit of the store that is synced takes until it is on stable storage.
    pub store_commit_seconds: Histogram,
    /// Webhook deliveries in the store, by status.
    pub deliveries_current: Family<StatusLabel, Gauge>,
    /// Webhook attempts, by outcome.
    pub webhook_attempts: Family<OutcomeLabel, Counter>,
    /// How late an event loop was in serving a heartbeat, by runtime.
    pub event_loop_stall_seconds: Family<RuntimeLabel, Histogram>,
    /// The longest stall of any since the start.
    pub event_loop_stall_max_seconds: FractionGauge,
    /// HTTP answers, by status class.
    pub http_responses: Family<StatusLabel, Counter>,
    /// Open connections.
    pub http_connections: Gauge,
    /// Bytes of request bodies received.
    pub received_bytes: Counter,
    /// Bytes of outputs and sources sent.
    pub sent_bytes: Counter,
}

fn stage_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 3.0, 12))
}

fn stall_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 12))
}

impl Metrics {
    /// Fresh metrics, all zero.
    pub fn new() -> Arc<Metrics> {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("minilab"),
            polls: Polls::default(),
            jobs_submitted: Counter::default(),
            jobs_finished: Family::default(),
            job_wait_seconds: Histogram::new(exponential_buckets(0.001, 3.0, 13)),
            job_run_seconds: Histogram::new(exponential_buckets(0.001, 3.0, 11)),
            operation_seconds: Family::new_with_constructor(stage_histogram),
            pool_threads: Gauge::default(),
            pool_threads_busy: Gauge::default(),
            pool_threads_replaced: Counter::default(),
            children_started: Counter::default(),
            children_ended: Family::default(),
            children_alive: Gauge::default(),
            memory_granted_bytes: Gauge::default(),
            memory_limit_bytes: Gauge::default(),
            jobs_current: Family::default(),
            oldest_queued_job_seconds: FractionGauge::default(),
            store_commit_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            deliveries_current: Family::default(),
            webhook_attempts: Family::default(),
            event_loop_stall_seconds: Family::new_with_constructor(stall_histogram),
            event_loop_stall_max_seconds: FractionGauge::default(),
            http_responses: Family::default(),
            http_connections: Gauge::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("jobs_submitted", "Jobs acknowledged", self.jobs_submitted.clone());
        to.register("jobs_finished", "Jobs ended, by status", self.jobs_finished.clone());
        to.register("jobs_current", "Jobs in the store, by status", self.jobs_current.clone());
        to.register("pool_threads", "Threads of the blocking pool", self.pool_threads.clone());
        to.register("pool_threads_busy", "Pool threads at work", self.pool_threads_busy.clone());
        to.register(
            "pool_threads_replaced",
            "Pool threads replaced as stuck",
            self.pool_threads_replaced.clone(),
        );
        to.register(
            "deliveries_current",
            "Webhook deliveries in the store, by status",
            self.deliveries_current.clone(),
        );
        to.register("children_started", "Processes for images started", self.children_started.clone());
        to.register(
            "children_ended",
            "Processes for images that have ended, by cause",
            self.children_ended.clone(),
        );
        to.register("children_alive", "Processes for images that live", self.children_alive.clone());
        to.register("webhook_attempts", "Webhook attempts, by outcome", self.webhook_attempts.clone());
        to.register("http_responses", "HTTP answers, by status class", self.http_responses.clone());
        to.register("http_connections", "Open connections", self.http_connections.clone());
        let in_seconds = [
            ("job_wait", "From being due to being claimed", &self.job_wait_seconds),
            ("job_run", "From being claimed to the end of the attempt", &self.job_run_seconds),
            ("store_commit", "Until a commit of the store is on stable storage", &self.store_commit_seconds),
        ];
        for (name, help, histogram) in in_seconds {
            to.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        to.register_with_unit(
            "event_loop_stall",
            "How late an event loop served a heartbeat, by runtime",
            Unit::Seconds,
            self.event_loop_stall_seconds.clone(),
        );
        to.register_with_unit(
            "operation",
            "Pipeline stages, by operation; of decoding and encoding also by format",
            Unit::Seconds,
            self.operation_seconds.clone(),
        );
        to.register_with_unit(
            "oldest_queued_job",
            "Age of the oldest waiting job",
            Unit::Seconds,
            self.oldest_queued_job_seconds.clone(),
        );
        to.register_with_unit(
            "event_loop_stall_max",
            "Longest stall since the start",
            Unit::Seconds,
            self.event_loop_stall_max_seconds.clone(),
        );
        to.register_with_unit(
            "memory_granted",
            "Memory granted to running attempts",
            Unit::Bytes,
            self.memory_granted_bytes.clone(),
        );
        to.register_with_unit(
            "memory_limit",
            "Memory that may be granted",
            Unit::Bytes,
            self.memory_limit_bytes.clone(),
        );
        to.register_with_unit(
            "received",
            "Request bodies received",
            Unit::Bytes,
            self.received_bytes.clone(),
        );
        to.register_with_unit("sent", "Outputs and sources sent", Unit::Bytes, self.sent_bytes.clone());
    }

    /// The OpenMetrics text format, version 1.0.0.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            tracing::error!("metrics could not be rendered");
        }
        text
    }

    /// The Prometheus text format, version 0.0.4, for who does not ask for OpenMetrics: there the family of a counter is named as its one
    /// sample is, and neither units nor an end are told.
    pub fn render_plain(&self) -> String {
        let mut plain = String::new();
        let open = self.render();
        let mut counters = open.lines().filter_map(|line| {
            line.strip_prefix("# TYPE ")?.strip_suffix(" counter").map(|name| format!("{name} "))
        });
        let mut counter = counters.next();
        for line in open.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
            let about = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
            let of_counter =
                about.zip(counter.as_ref()).and_then(|(about, name)| about.strip_prefix(name.as_str()));
            match (of_counter, counter.as_ref()) {
                (Some(rest), Some(name)) => {
                    let word = &line[..line.len() - rest.len() - name.len()];
                    plain.push_str(&format!("{word}{}_total {rest}\n", name.trim_end()));
                    if line.starts_with("# TYPE ") {
                        counter = counters.next();
                    }
                }
                _ => {
                    plain.push_str(line);
                    plain.push('\n');
                }
            }
        }
        plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_documented_ones() {
        let metrics = Metrics::new();
        metrics.jobs_submitted.inc();
        metrics.jobs_finished.get_or_create(&StatusLabel { status: "succeeded" }).inc();
        metrics.operation_seconds.get_or_create(&OpLabel { op: "resize", format: "" }).observe(0.01);
        metrics.operation_seconds.get_or_create(&OpLabel { op: "decode", format: "jpeg" }).observe(0.01);
        metrics.store_commit_seconds.observe(0.002);
        metrics.webhook_attempts.get_or_create(&OutcomeLabel { outcome: "delivered" }).inc();
        metrics.event_loop_stall_seconds.get_or_create(&RuntimeLabel { runtime: "main" }).observe(0.01);
        metrics.children_ended.get_or_create(&CauseLabel { cause: "recycled" }).inc();
        let text = metrics.render();
        for name in [
            "minilab_jobs_submitted_total 1",
            "minilab_jobs_finished_total{status=\"succeeded\"} 1",
            "minilab_job_wait_seconds_bucket",
            "minilab_job_run_seconds_bucket",
            "minilab_operation_seconds_count{op=\"resize\",format=\"\"} 1",
            "minilab_operation_seconds_count{op=\"decode\",format=\"jpeg\"} 1",
            "minilab_store_commit_seconds_count 1",
            "minilab_pool_threads_busy 0",
            "minilab_oldest_queued_job_seconds 0",
            "minilab_webhook_attempts_total{outcome=\"delivered\"} 1",
            "minilab_event_loop_stall_seconds_count{runtime=\"main\"} 1",
            "minilab_memory_granted_bytes 0",
            "minilab_children_started_total 0",
            "minilab_children_ended_total{cause=\"recycled\"} 1",
            "minilab_children_alive 0",
        ] {
            assert!(text.contains(name), "{name} is missing in\n{text}");
        }
        let plain = metrics.render_plain();
        for line in [
            "# HELP minilab_jobs_submitted_total Jobs acknowledged.",
            "# TYPE minilab_jobs_submitted_total counter",
            "minilab_jobs_submitted_total 1",
            "# TYPE minilab_received_bytes_total counter",
            "# TYPE minilab_job_wait_seconds histogram",
            "# TYPE minilab_memory_granted_bytes gauge",
        ] {
            assert!(plain.lines().any(|told| told == line), "{line} is missing in\n{plain}");
        }
        let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(samples(&plain), samples(&text));
        assert!(!plain.contains("# UNIT") && !plain.contains("# EOF"), "{plain}");
    }
}
