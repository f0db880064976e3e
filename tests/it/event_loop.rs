//! The event loop stays free while every pool thread is busy: seen by the server's own watchdog, and by a client that asks for status.

use std::time::{Duration, Instant};

use crate::support::process::ServerProcess;
use crate::support::raw::request;

/// Jobs that keep both threads busy while status is asked for.
const JOBS: usize = 4;
/// Heartbeats that may come later than [`LATE`], out of a hundred: the machine that runs the tests has other things to do, too.
const LATE_PERCENT_MAX: u64 = 2;
/// Upper bound of the histogram bucket that holds what people would not feel.
const LATE: &str = "0.064";

/// Longest that half of the status reads may take. The watchdog sees a loop of which no thread is free; one blocked thread beside a free
/// one shows only here.
const STATUS_READ_MAX: Duration = Duration::from_millis(50);

/// The value of the metric line that begins like this.
fn metric(metrics: &str, begin: &str) -> u64 {
    let line =
        metrics.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{begin} is missing"));
    line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
}

#[test]
fn status_is_answered_while_all_threads_work() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--workers", "2"]);
    let photo = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/path.jpg")).unwrap();
    let slow = "/v1/jobs?width=1500&format=webp";
    let ids: Vec<String> = (0..JOBS)
        .map(|_| request(&server.url, "POST", slow, &[], &photo).json()["id"].as_str().unwrap().to_owned())
        .collect();
    let mut seen_busy = 0;
    let mut reads = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(180);
    for id in &ids {
        loop {
            let asked = Instant::now();
            let job = request(&server.url, "GET", &format!("/v1/jobs/{id}"), &[], b"").json();
            reads.push(asked.elapsed());
            match job["status"].as_str().unwrap() {
                "succeeded" => break,
                "running" => seen_busy += 1,
                "queued" => {}
                other => panic!("{other}: {job}"),
            }
            assert!(Instant::now() < deadline, "the jobs did not end in time");
        }
    }
    assert!(seen_busy > 10, "the jobs were too short to say anything: {seen_busy}");
    reads.sort();
    let median = reads[reads.len() / 2];
    assert!(median < STATUS_READ_MAX, "half of {} status reads took {median:?} or more", reads.len());
    let metrics = String::from_utf8(request(&server.url, "GET", "/metrics", &[], b"").body).unwrap();
    let heartbeats = metric(&metrics, "minilab_event_loop_stall_seconds_count{runtime=\"main\"}");
    let bucket = format!("minilab_event_loop_stall_seconds_bucket{{le=\"{LATE}\",runtime=\"main\"}}");
    let in_time = metric(&metrics, &bucket);
    let late = heartbeats - in_time;
    assert!(heartbeats > 50, "only {heartbeats} heartbeats");
    assert!(late * 100 <= heartbeats * LATE_PERCENT_MAX, "{late} of {heartbeats} heartbeats came late");
}
