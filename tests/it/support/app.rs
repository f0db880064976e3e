//! The server inside the test's own process, with a directory and, if wanted, a clock of its own.

use minilab::app::App;
use minilab::client::Client;
use minilab::clock::Clock;
use minilab::config::Settings;
use minilab::queue::Queue;
use minilab::webhook::signature::Secret;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server; stops when dropped, or in good order with [`TestApp::stop`].
pub(crate) struct TestApp {
    pub(crate) client: Client,
    pub(crate) queue: Queue,
    pub(crate) secrets: Vec<Secret>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl TestApp {
    /// Starts with these changes to the settings of an empty directory on a free port.
    pub(crate) async fn start(clock: Clock, change: impl FnOnce(&mut Settings)) -> TestApp {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings::in_directory(directory.path());
        settings.ensure_webhook_secret().unwrap();
        change(&mut settings);
        let secrets = settings.webhook_secrets.clone();
        let app = App::start_at(settings, clock).await.unwrap();
        let client = Client::new(&format!("http://{}", app.address())).unwrap();
        let queue = app.queue().clone();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(app.run(async move {
            // A dropped sender means the same.
            let _asked_or_dropped = stopped.await;
        }));
        TestApp { client, queue, secrets, stop: Some(stop), running, _directory: directory }
    }

    /// Allowed to call this machine.
    pub(crate) fn calling_loopback(settings: &mut Settings) {
        settings.egress.allow = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.running.await.unwrap();
    }
}
