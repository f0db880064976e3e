//! Children that are killed, stopped and lost while the real server is busy; and a server that is.

use std::path::Path;
use std::time::Duration;

use minilab::client::{Client, Submission};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::support::images;
use super::support::process::ServerProcess;

/// The server's children, by their process ids.
fn children(server: u32) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // "pid (name) state parent …": the name may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?);
        (parent.parse() == Ok(server) && state != "Z").then(|| Pid::from_raw(pid)).flatten()
    });
    processes.collect()
}

fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Whether a list of system calls holds for it.
fn is_walled_in(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    status.is_ok_and(|status| status.contains("Seccomp:\t2"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn spec() -> Value {
    json!({
        "timeout": "2s", "operations": [{"op": "resize", "width": 300}, {"op": "blur", "sigma": 2}],
        "outputs": [{"format": "webp"}, {"format": "png"}],
    })
}

/// How many jobs ended so.
async fn ended(client: &Client, ids: &[String]) -> (usize, usize) {
    let (mut succeeded, mut unlucky) = (0, 0);
    for id in ids {
        let job = client.wait(id, Some(Duration::from_secs(120)), |_| {}).await.unwrap();
        let code = job.error.as_ref().map(|error| error.code.clone());
        match (job.status.name(), code.as_deref()) {
            ("succeeded", _) => succeeded += 1,
            // Whoever is hit three times in a row, or stopped twice, has had no luck.
            ("failed", Some("crashed" | "timeout")) => unlucky += 1,
            _ => panic!("{job:?}"),
        }
    }
    (succeeded, unlucky)
}

pub(crate) fn children_die_under_load() {
    let kills: usize = std::env::var("TEST_SANDBOX_KILLS").map_or(25, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path(), &["--workers", "2", "--isolation", "process"]);
    let image = images::large();
    runtime().block_on(async {
        let client = Client::new(&server.url).unwrap();
        let signals = [Signal::KILL, Signal::SEGV, Signal::STOP, Signal::KILL, Signal::SEGV];
        let mut ids = Vec::new();
        for number in 0..kills {
            for _ in 0..3 {
                ids.push(client.submit(&Submission::bytes(image.clone()).spec(spec())).await.unwrap().id);
            }
            let children = children(server.pid());
            if let Some(child) = children.get(rand::random_range(0..children.len().max(1))) {
                // It may have ended by itself.
                let _gone = kill_process(*child, signals[number % signals.len()]);
            }
        }
        let (succeeded, unlucky) = ended(&client, &ids).await;
        assert_eq!(succeeded + unlucky, ids.len());
        assert!(unlucky * 5 <= ids.len(), "{unlucky} of {} had no luck", ids.len());
    });
    assert!(server.is_running(), "the server has ended");
    assert!(children(server.pid()).len() <= 2, "children were left behind");
}

pub(crate) fn the_servers_death_makes_no_suspects() {
    let directory = tempfile::tempdir().unwrap();
    let slow = json!({"timeout": "60s", "outputs": [{"format": "avif", "effort": 9}]});
    let image = images::picture(image::ImageFormat::Png, 1200, 900, 3);
    let id = runtime().block_on(async {
        let mut id = None;
        // Thread mode would fail it at the third death, and run it alone before.
        for _ in 0..4 {
            let server =
                ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process"]);
            let client = Client::new(&server.url).unwrap();
            if id.is_none() {
                let job = client.submit(&Submission::bytes(image.clone()).spec(slow.clone())).await.unwrap();
                id = Some(job.id);
            }
            running(&client, id.as_ref().unwrap()).await;
            server.kill();
        }
        id.unwrap()
    });
    let server = ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process"]);
    runtime().block_on(async {
        let client = Client::new(&server.url).unwrap();
        running(&client, &id).await;
        client.cancel(&id).await.unwrap();
        let job = client.wait(&id, Some(Duration::from_secs(30)), |_| {}).await.unwrap();
        let ends: Vec<String> = job.attempts.iter().map(|attempt| attempt.status.clone()).collect();
        assert_eq!(
            (job.status.name(), ends),
            ("cancelled", ["lost", "lost", "lost", "lost", "cancelled"].map(str::to_owned).to_vec())
        );
    });
}

/// Waits until an attempt is under way in a child.
async fn running(client: &Client, id: &str) {
    loop {
        let job = client.get(id).await.unwrap();
        if job.status.name() == "running" {
            return;
        }
        assert!(!job.status.is_terminal(), "{job:?}");
        tokio::task::yield_now().await;
    }
}

/// A job that keeps a child busy, and that child.
fn busy(server: &ServerProcess) -> (String, Pid) {
    let slow = json!({"timeout": "60s", "outputs": [{"format": "avif", "effort": 9}]});
    let image = images::picture(image::ImageFormat::Png, 1200, 900, 3);
    let id = runtime().block_on(async {
        let client = Client::new(&server.url).unwrap();
        let id = client.submit(&Submission::bytes(image).spec(slow)).await.unwrap().id;
        running(&client, &id).await;
        id
    });
    loop {
        if let Some(child) = children(server.pid()).into_iter().find(|child| is_walled_in(*child)) {
            return (id, child);
        }
    }
}

pub(crate) fn children_end_with_their_server() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process"]);
    let (_, child) = busy(&server);
    server.kill();
    gone(child, directory.path());
}

/// Within the server, and where the kernel groups processes by session, beside every other program of the machine, too.
pub(crate) fn children_give_way_to_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process"]);
    let (_, child) = busy(&server);
    let own = rustix::process::getpriority_process(None).unwrap();
    let nice = rustix::process::getpriority_process(Some(child)).unwrap();
    assert_eq!(nice, (own + 10).min(19));
    assert_eq!(rustix::process::getsid(Some(child)).unwrap(), child);
    let group = std::fs::read_to_string(format!("/proc/{}/autogroup", child.as_raw_nonzero()));
    if let Ok(group) = group.as_deref().map(str::trim)
        && !group.is_empty()
    {
        assert!(group.ends_with(&format!("nice {nice}")), "{group}");
    }
}

pub(crate) fn a_cancel_ends_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--workers", "1", "--isolation", "process"]);
    let (id, child) = busy(&server);
    // What a terminal or a service manager sends to everybody is the server's to heed.
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill_process(child, signal).unwrap();
    }
    runtime().block_on(async {
        let client = Client::new(&server.url).unwrap();
        client.cancel(&id).await.unwrap();
        let job = client.wait(&id, Some(Duration::from_secs(30)), |_| {}).await.unwrap();
        let ends: Vec<&str> = job.attempts.iter().map(|attempt| attempt.status.as_str()).collect();
        assert_eq!((job.status.name(), &ends[..]), ("cancelled", &["cancelled"][..]));
    });
    gone(child, directory.path());
}

/// Waits until a process has ended.
fn gone(child: Pid, directory: &Path) {
    let began = std::time::Instant::now();
    while is_alive(child) {
        assert!(began.elapsed() < Duration::from_secs(10), "it lives on after {}", directory.display());
        std::thread::yield_now();
    }
}
