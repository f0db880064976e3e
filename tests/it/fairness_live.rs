//! Fairness through the front door: one key's bulk on a working server, and another key's single job beside it.
//!
//! `TEST_FAIRNESS=full` sends 1,000 jobs before it; otherwise they are few, and so are the seconds.

use std::time::Duration;

use minilab::access::{Key, Scope, Token};
use minilab::clock::{Clock, Timestamp};
use minilab::config::keys::{self, KeyRecord};
use minilab::job::KeyId;
use serde_json::Value;

use crate::support::images;
use crate::support::raw::{self, RawAnswer};
use crate::support::server::TestServer;

const WORKERS: usize = 2;

/// Jobs that may begin between a job's submit and its start: those whose turn came before it was stored, as many as there are workers, and
/// what the dispatcher claims ahead while jobs are tiny.
const AHEAD_MAX: usize = 2 * WORKERS;

fn token(number: u64) -> String {
    Token::new(&KeyId::from_random(number), [number as u8; 32]).reveal().to_owned()
}

fn record(number: u64) -> KeyRecord {
    let id = KeyId::from_random(number);
    let key = Key {
        hash: Token::new(&id, [number as u8; 32]).hash(),
        id,
        name: format!("key {number}"),
        scopes: [Scope::Submit, Scope::Read].into_iter().collect(),
        weight: 1,
        requests_per_minute: None,
        queue_share: None,
        is_revoked: false,
    };
    KeyRecord { key, webhook_secrets: vec![], created_at: None, changed_at: None, revoked_at: None }
}

fn ask(server: &TestServer, key: u64, method: &str, path: &str, body: &[u8]) -> RawAnswer {
    let bearer = format!("Bearer {}", token(key));
    raw::request(&server.url, method, path, &[("authorization", &bearer)], body)
}

fn time(job: &Value, field: &str) -> Timestamp {
    Timestamp::parse(job[field].as_str().unwrap_or_else(|| panic!("{field} of {job}"))).unwrap()
}

/// Every job of a key.
fn jobs(server: &TestServer, key: u64) -> Vec<Value> {
    let (mut jobs, mut path) = (Vec::new(), "/v1/jobs?limit=200".to_owned());
    loop {
        let page = ask(server, key, "GET", &path, b"");
        jobs.extend(page.json()["jobs"].as_array().unwrap().iter().cloned());
        let next = page.head.lines().find_map(|line| line.strip_prefix("link: <")?.split('>').next());
        match next {
            Some(next) => path = next.to_owned(),
            None => return jobs,
        }
    }
}

#[test]
fn another_keys_bulk_delays_a_job_by_one_job_per_worker() {
    let bulk = if std::env::var("TEST_FAIRNESS").is_ok_and(|size| size == "full") { 1000 } else { 120 };
    let server = TestServer::with(|settings| {
        keys::change(&settings.data_dir, |file| file.keys = vec![record(1), record(2)]).unwrap();
        settings.worker.workers = WORKERS;
    });
    // All of them become due at once, so that the line is long when work begins.
    let patience = Duration::from_millis(500 + 12 * bulk);
    let due = Clock::System.now().plus(patience);
    let image = images::large();
    let path = format!("/v1/jobs?width=400&format=webp&priority=100&run_at={due}");
    for _ in 0..bulk {
        assert_eq!(ask(&server, 1, "POST", &path, &image).status, 202);
    }
    let stats = || ask(&server, 1, "GET", "/v1/stats", b"").json();
    while stats()["finished_last_minute"].as_u64().unwrap() < 10 {
        std::thread::yield_now();
    }
    let answer = ask(&server, 2, "POST", "/v1/jobs?width=400&format=webp&wait=60", &image);
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    let single = answer.json();
    let waiting = stats()["jobs"]["queued"].as_u64().unwrap();
    assert!(waiting > bulk / 3, "only {waiting} still waited: that says nothing");
    let (submitted, began) = (time(&single, "created_at"), time(&single, "started_at"));
    let others: Vec<Value> =
        jobs(&server, 1).into_iter().filter(|job| job["started_at"].is_string()).collect();
    let between = others.iter().filter(|job| (submitted..began).contains(&time(job, "started_at"))).count();
    let ended = others.iter().filter(|job| job["finished_at"].is_string());
    let taken: Vec<Duration> =
        ended.map(|job| time(job, "finished_at").since(time(job, "started_at"))).collect();
    let mean = taken.iter().sum::<Duration>() / u32::try_from(taken.len()).unwrap();
    println!(
        "{bulk} jobs of one key, {waiting} of them waiting, {mean:?} each: the other key's waited {:?}, {between} began before it",
        began.since(submitted)
    );
    assert!(between <= AHEAD_MAX, "{between} jobs of the bulk began before the single one");
}
