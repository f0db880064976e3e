//! The typed HTTP client of Minilab's API.
//!
//! Owns how requests are put, repeated and understood: addresses, streaming uploads, long polls, server-sent events, verified downloads,
//! problems turned into [`ClientError`]. It never prints, never decides what an error means for a program's exit, and keeps no state
//! beyond its connection pool. Called by `cli`, the examples and the tests.
//!
//! ```no_run
//! # async fn tour() -> Result<(), minilab::client::ClientError> {
//! use minilab::client::{Client, Submission};
//!
//! let client = Client::new("http://127.0.0.1:8080")?;
//! let photo = Submission::file("photo.jpg").query("width", "800").query("format", "webp");
//! let job = client.submit(&photo).await?;
//! let job = client.wait(&job.id, None, |_| ()).await?;
//! client.download(&job.id, "output", "photo.webp".as_ref(), None).await?;
//! # Ok(())
//! # }
//! ```

mod body;
mod deliveries;
mod download;
mod error;
mod events;
mod jobs;
mod sse;
mod submit;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::Client as HttpClient;
use url::Url;

pub use deliveries::DeadLetterPage;
pub use download::Downloaded;
pub use error::{ClientError, Problem, ProblemItem};
pub use events::{EventStream, JobEvent};
pub use jobs::{JobFilter, JobPage};
pub use submit::Submission;

/// Told the number of bytes moved so far; called often, must return at once.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// How long neither side may move a byte before a request is given up. The server sends a comment into every event stream each 15 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// How long a long poll asks the server to wait; it allows 60 s.
const POLL_SECONDS: u64 = 30;
/// How long waiting and event streams bear a server that is away (a restart takes seconds).
const OUTAGE_MAX: Duration = Duration::from_secs(15);

/// A client of one server. Cloning shares the connections.
#[derive(Clone, Debug)]
pub struct Client {
    base: Url,
    http: HttpClient<transport::Connector, body::RequestBody>,
}

impl Client {
    /// A client of the server at this address: `http://127.0.0.1:8080`, `https://images.example.com/minilab`, or a bare `host:port`,
    /// which is taken as http. Reads the system's certificate authorities when the address is https.
    ///
    /// # Errors
    /// [`ClientError::Address`] when it is no http or https address, [`ClientError::Tls`] when TLS cannot be set up.
    pub fn new(server: &str) -> Result<Client, ClientError> {
        let base = transport::base_url(server)?;
        let http = transport::pool(&base)?;
        Ok(Client { base, http })
    }

    /// The address of the server, without a slash at its end.
    pub fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send(_: &impl Send) {}

    #[test]
    fn every_call_can_be_spawned() {
        let client = Client::new("http://127.0.0.1:1").unwrap();
        is_send(&client.submit(&Submission::bytes("x")));
        is_send(&client.get("x"));
        is_send(&client.wait("x", None, |_| ()));
        is_send(&client.list(&JobFilter::default()));
        is_send(&client.cancel("x"));
        is_send(&client.retry("x"));
        is_send(&client.delete("x"));
        is_send(&client.stats());
        is_send(&client.download("x", "output", "x".as_ref(), None));
        is_send(&async { client.events(None).await?.next().await });
    }
}
