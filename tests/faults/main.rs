//! Disks that fail under the real binary: `strace` makes the k-th fsync or write of every thread fail, and whatever was acknowledged must be
//! there after a restart. Needs `strace` and the right to trace (`.ci/run` installs it). Without them it says so and checks nothing, unless
//! `TEST_STRACE=required`, which makes that a failure.
//!
//! `TEST_FAULTS` says how many faults of each kind (default 4).

// A test's panic is its report.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

// Shared with the integration tests, which use more of it.
#[allow(dead_code)]
#[path = "../it/support/images.rs"]
mod images;
#[allow(dead_code)]
#[path = "../it/support/raw.rs"]
mod raw;

/// Longest that the server may refuse after there is room again.
const RECOVERY: Duration = Duration::from_secs(5);
/// Submissions while a fault is about to happen.
const SUBMITS: usize = 12;

/// A server, perhaps under `strace`.
struct Server {
    child: Child,
    url: String,
}

/// What a start came to.
enum Start {
    Listening(Server),
    /// It ended by itself, with this on its standard error.
    Refused(String),
}

impl Server {
    /// Starts on a data directory; `inject` is a rule of `strace -e inject=`.
    fn start(data: &Path, inject: Option<&str>) -> Start {
        let mut command = match inject {
            None => Command::new(env!("CARGO_BIN_EXE_minilab")),
            Some(rule) => {
                let mut strace = Command::new("strace");
                let calls = rule.split(':').next().unwrap();
                strace.args(["-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e"]);
                strace.arg(format!("trace={calls}")).arg("-e").arg(format!("inject={rule}"));
                strace.arg(env!("CARGO_BIN_EXE_minilab"));
                strace
            }
        };
        command.args(["serve", "--listen", "127.0.0.1:0", "--workers", "2", "--data-dir"]).arg(data);
        command.env("MINILAB_LOG", "off").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        match line.trim().strip_prefix("minilab listening on ") {
            Some(url) => {
                std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
                let mut stderr = child.stderr.take().unwrap();
                std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
                Start::Listening(Server { child, url: url.to_owned() })
            }
            None => {
                let output = child.wait_with_output().unwrap();
                Start::Refused(String::from_utf8_lossy(&output.stderr).into_owned())
            }
        }
    }

    /// Submits an image; the status and the job's id if it was acknowledged.
    fn submit(&self, image: &[u8]) -> (u16, Option<String>) {
        let answer = raw::request(&self.url, "POST", "/v1/jobs?width=20&format=png", &[], image);
        let id = (answer.status == 202).then(|| answer.json()["id"].as_str().unwrap().to_owned());
        (answer.status, id)
    }

    /// The job once it has ended, at most 20 s from now.
    fn ended(&self, id: &str) -> serde_json::Value {
        let answer = raw::request(&self.url, "GET", &format!("/v1/jobs/{id}?wait=9"), &[], b"");
        assert_eq!(answer.status, 200, "an acknowledged job is gone: {id}");
        answer.json()
    }

    /// Kills the server itself, whose process id is in the directory's lock; `strace` follows it.
    fn kill(mut self, data: &Path) {
        let pid: i32 = std::fs::read_to_string(data.join("lock")).unwrap().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }
}

/// Whether `strace` can do what these tests need; says so if not.
fn can_trace(test: &str) -> bool {
    let tried = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).output();
    let is_able = matches!(tried, Ok(output) if output.status.success());
    let is_required = std::env::var("TEST_STRACE").is_ok_and(|needed| needed == "required");
    assert!(
        is_able || !is_required,
        "{test}: strace is not installed or may not trace here, and is required"
    );
    if !is_able {
        eprintln!("{test}: not checked, because strace is not installed or may not trace here");
    }
    is_able
}

fn faults() -> u32 {
    std::env::var("TEST_FAULTS").map_or(4, |faults| faults.parse().unwrap())
}

/// After a restart without faults every acknowledged job is there, and is done.
fn check(data: &Path, acknowledged: &[String]) {
    let Start::Listening(server) = Server::start(data, None) else { panic!("it does not start again") };
    for id in acknowledged {
        let job = server.ended(id);
        assert_eq!(job["status"], "succeeded", "{job}");
    }
    server.kill(data);
}

#[test]
fn after_a_failed_fsync_nothing_is_acknowledged_that_is_not_there() {
    if !can_trace("after_a_failed_fsync_nothing_is_acknowledged_that_is_not_there") {
        return;
    }
    let (small, large) = (images::small(), images::large());
    let (mut acknowledged_in_all, mut refused_in_all, mut starts_refused) = (0, 0, 0);
    for nth in 1..=faults() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        // Every fourth disk fails while the store is being made, the others while it works.
        let nth = match nth % 4 {
            0 => nth / 4,
            _ => {
                let Start::Listening(server) = Server::start(&data, None) else {
                    panic!("it does not start")
                };
                server.kill(&data);
                nth - nth / 4
            }
        };
        let rule = format!("fsync,fdatasync:error=EIO:when={nth}");
        let server = match Server::start(&data, Some(&rule)) {
            Start::Listening(server) => server,
            Start::Refused(complaint) => {
                assert!(complaint.contains("minilab: "), "no sentence: {complaint}");
                starts_refused += 1;
                check(&data, &[]);
                continue;
            }
        };
        let (mut acknowledged, mut is_broken) = (Vec::new(), false);
        for number in 0..SUBMITS {
            let image = if number % 3 == 0 { &large } else { &small };
            match server.submit(image) {
                (202, id) => {
                    assert!(!is_broken, "it goes on after a failed fsync of the store");
                    acknowledged.extend(id);
                }
                (503, _) => {
                    refused_in_all += 1;
                    // An image's own failed fsync concerns that image alone; the store's concerns everything.
                    // The look itself may be what a fault strikes, or be late on a busy machine: what the store says of itself counts.
                    let ready = raw::request(&server.url, "GET", "/health/ready", &[], b"").json();
                    let store = ready["checks"]["store"].as_str().unwrap_or_default();
                    is_broken |= store != "ready" && !store.contains("in time");
                }
                (status, _) => panic!("{status} after a failed fsync"),
            }
        }
        server.kill(&data);
        check(&data, &acknowledged);
        acknowledged_in_all += acknowledged.len();
    }
    println!(
        "{} failed fsyncs: {acknowledged_in_all} jobs acknowledged, 0 lost; {refused_in_all} submits and {starts_refused} starts refused",
        faults()
    );
    assert!(refused_in_all + starts_refused > 0, "no fault has struck");
}

/// Files in a directory and those under it.
fn files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[test]
fn an_image_that_gets_no_name_is_refused_and_leaves_nothing() {
    if !can_trace("an_image_that_gets_no_name_is_refused_and_leaves_nothing") {
        return;
    }
    for (error, refusal) in [("ENOSPC", 507), ("EIO", 503)] {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let Start::Listening(server) = Server::start(&data, None) else { panic!("it does not start") };
        server.kill(&data);
        // Every second time that a thread wants to rename a file, it fails.
        let rule = format!("rename,renameat,renameat2:error={error}:when=1+2");
        let Start::Listening(server) = Server::start(&data, Some(&rule)) else { panic!("it does not start") };
        let (mut acknowledged, mut refused) = (Vec::new(), 0);
        for _ in 0..SUBMITS {
            match server.submit(&images::large()) {
                (202, id) => acknowledged.extend(id),
                (status, _) => {
                    assert_eq!(status, refusal, "after {error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0, "no rename has failed");
        let blobs = data.join("blobs");
        assert_eq!((files(&blobs.join("sources")), files(&blobs.join("spool"))), (acknowledged.len(), 0));
        server.kill(&data);
        check(&data, &acknowledged);
    }
}

#[test]
fn directories_that_a_start_had_no_room_for_are_made_when_they_are_needed() {
    if !can_trace("directories_that_a_start_had_no_room_for_are_made_when_they_are_needed") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // Who makes those for all blobs finds the disk full before it has half of them, and gives up at the next kind. Then there is room again.
    let rule = "mkdir,mkdirat:error=ENOSPC:when=100..101";
    let Start::Listening(server) = Server::start(&data, Some(rule)) else { panic!("it does not start") };
    assert!(std::fs::read_dir(data.join("blobs/sources")).unwrap().count() < 100, "no fault has struck");
    let acknowledged: Vec<_> = (0..SUBMITS)
        .map(|_| match server.submit(&images::large()) {
            (202, Some(id)) => id,
            (status, _) => panic!("{status}, though there is room now"),
        })
        .collect();
    server.kill(&data);
    check(&data, &acknowledged);
    assert_eq!(std::fs::read_dir(data.join("blobs/sources")).unwrap().count(), 256);
}

#[test]
fn a_full_disk_refuses_and_the_server_recovers_by_itself() {
    if !can_trace("a_full_disk_refuses_and_the_server_recovers_by_itself") {
        return;
    }
    let (mut acknowledged_in_all, mut refused_in_all, mut starts_refused) = (0, 0, 0);
    let mut slowest = Duration::ZERO;
    for nth in 0..faults() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        // The store is made in peace; then so many writes of each thread fail.
        let Start::Listening(server) = Server::start(&data, None) else { panic!("it does not start") };
        server.kill(&data);
        let (first, last) = (5 + 3 * nth, 12 + 3 * nth);
        let rule = format!("pwrite64:error=ENOSPC:when={first}..{last}");
        let server = match Server::start(&data, Some(&rule)) {
            Start::Listening(server) => server,
            Start::Refused(complaint) => {
                assert!(complaint.contains("minilab: "), "no sentence: {complaint}");
                starts_refused += 1;
                check(&data, &[]);
                continue;
            }
        };
        let (mut acknowledged, mut refused_at, mut recovered) = (Vec::new(), None, false);
        let began = Instant::now();
        while began.elapsed() < 4 * RECOVERY && !recovered {
            match server.submit(&images::small()) {
                (202, id) => {
                    acknowledged.extend(id);
                    recovered = refused_at.is_some();
                }
                (507 | 503, _) => {
                    refused_in_all += 1;
                    refused_at.get_or_insert_with(Instant::now);
                    std::thread::sleep(Duration::from_millis(50));
                }
                (status, _) => panic!("{status} on a full disk"),
            }
            if acknowledged.len() > 60 {
                break;
            }
        }
        if let Some(refused_at) = refused_at {
            assert!(recovered, "it has not recovered");
            slowest = slowest.max(refused_at.elapsed());
        }
        server.kill(&data);
        check(&data, &acknowledged);
        acknowledged_in_all += acknowledged.len();
    }
    println!(
        "{} full disks: {acknowledged_in_all} jobs acknowledged, 0 lost; {refused_in_all} submits and {starts_refused} starts refused; \
         slowest recovery {slowest:?}",
        faults()
    );
    assert!(refused_in_all > 0, "no write has failed while the server was running");
    assert!(slowest < RECOVERY, "{slowest:?}");
}
