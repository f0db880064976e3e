//! A whole server inside the test: every room, a free port, a directory of its own, its own threads.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use minilab::app::App;
use minilab::app::reload::Reloader;
use minilab::client::Client;
use minilab::clock::Clock;
use minilab::config::Settings;
use minilab::queue::Queue;
use serde_json::Value;
use tokio::sync::oneshot;

use super::raw::{self, RawAnswer};

/// Most threads for files that a runtime has unless it is told otherwise (tokio's documented default).
const BLOCKING_THREADS: usize = 512;

/// A running server; stopped, and its directory removed, when dropped.
pub(crate) struct TestServer {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    pub(crate) queue: Queue,
    /// Exchanges its keys.
    pub(crate) reloader: Reloader,
    /// What signs its webhooks.
    pub(crate) secret: String,
    directory: tempfile::TempDir,
    /// What it runs on.
    runtime: tokio::runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// With the defaults, allowed to call this machine.
    pub(crate) fn start() -> TestServer {
        TestServer::with(|_| {})
    }

    /// With other settings.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> TestServer {
        TestServer::at(Clock::System, change)
    }

    /// With other settings and a clock that the test may move.
    pub(crate) fn at(clock: Clock, change: impl FnOnce(&mut Settings)) -> TestServer {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings::in_directory(directory.path());
        settings.egress.allow = vec!["127.0.0.0/8".parse().unwrap()];
        settings.grace = Duration::from_secs(2);
        change(&mut settings);
        settings.read_keys().unwrap();
        let secret = settings.webhook_secrets.server[0].secret.reveal();
        let (stop, stopped) = oneshot::channel();
        let (started, address) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let app = App::start_at(settings, clock).await.unwrap();
                let runtime = tokio::runtime::Handle::current();
                started.send((app.address(), app.queue().clone(), app.reloader(), runtime)).unwrap();
                app.run(async { drop(stopped.await) }).await.unwrap();
            });
        });
        let (address, queue, reloader, runtime) = address.recv().expect("the server starts");
        let url = format!("http://{address}");
        TestServer {
            url,
            address,
            queue,
            reloader,
            secret,
            directory,
            runtime,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// A client of this server.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url).unwrap()
    }

    /// Where it keeps everything.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Keeps all threads for files busy until what it returns is dropped: whatever is to be written or read waits.
    pub(crate) fn hold_files(&self) -> mpsc::Sender<()> {
        let (hold, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for _ in 0..BLOCKING_THREADS {
            let held = Arc::clone(&held);
            self.runtime.spawn_blocking(move || drop(held.lock().map(|held| held.recv())));
        }
        hold
    }

    /// Bytes of bodies that have arrived.
    pub(crate) fn received_bytes(&self) -> usize {
        let metrics = String::from_utf8(self.get("/metrics").body).unwrap();
        let line = metrics.lines().find(|line| line.starts_with("minilab_received_bytes_total")).unwrap();
        line.split(' ').next_back().unwrap().parse::<f64>().unwrap() as usize
    }

    /// One request on a connection of its own.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> RawAnswer {
        raw::request(&self.url, method, path, headers, body)
    }

    /// `GET`.
    pub(crate) fn get(&self, path: &str) -> RawAnswer {
        self.request("GET", path, &[], b"")
    }

    /// `POST` without headers of its own.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> RawAnswer {
        self.request("POST", path, &[], body)
    }

    /// `POST` of a specification.
    pub(crate) fn post_json(&self, path: &str, body: &Value) -> RawAnswer {
        self.request("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// Submits an image with its specification in the query; the job's id.
    pub(crate) fn submit(&self, query: &str, image: &[u8]) -> String {
        let answer = self.post(&format!("/v1/jobs?{query}"), image);
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// The job once it has ended.
    pub(crate) fn ended(&self, id: &str) -> Value {
        let job = self.get(&format!("/v1/jobs/{id}?wait=30")).json();
        assert!(job["finished_at"].is_string(), "{job}");
        job
    }

    /// Submits, and waits for success.
    pub(crate) fn succeeded(&self, query: &str, image: &[u8]) -> Value {
        let job = self.ended(&self.submit(query, image));
        assert_eq!(job["status"], "succeeded", "{job}");
        job
    }

    /// Tells the server to stop; [`TestServer::drop`] waits for it.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Nobody listens if it has stopped by itself.
            let _stopping = stop.send(());
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking(), "the server panicked");
        }
    }
}
