//! Following jobs by server-sent events, over broken connections.
//!
//! Owns reconnecting with `Last-Event-ID` and deciding when a stream is over. The grammar is `sse`'s.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderName};
use hyper::{Method, StatusCode};
use tokio::time::Instant;

use super::error::root_cause;
use super::jobs::job_path;
use super::sse::{Event, Parser};
use super::transport::Call;
use super::{Client, ClientError, IDLE_TIMEOUT, OUTAGE_MAX};
use crate::api::JobView;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Pause before reconnecting, unless the stream asks for another.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Something that a stream told.
#[derive(Clone, Debug)]
pub enum JobEvent {
    /// A job has changed; this is how it stands.
    Job(Box<JobView>),
    /// Changes may have been missed: read anew what matters.
    Reset,
}

/// Changes of one job, or of all, as they happen.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    path: String,
    /// Whether the stream ends with its job.
    one_job: bool,
    parser: Parser,
    body: Option<Incoming>,
    ready: VecDeque<Event>,
    /// When the stream was lost; `None` while it flows.
    lost: Option<Instant>,
    over: bool,
}

impl Client {
    /// Follows one job until it has ended, or with `None` every job, for ever. Broken connections are taken up again where they broke.
    ///
    /// # Errors
    /// A refusal with status 404 or 410 for a job that is not there.
    pub async fn events(&self, id: Option<&str>) -> Result<EventStream, ClientError> {
        let path = id.map_or_else(|| "/v1/events".to_owned(), |id| job_path(id, "/events"));
        let mut stream = EventStream {
            client: self.clone(),
            path,
            one_job: id.is_some(),
            parser: Parser::default(),
            body: None,
            ready: VecDeque::new(),
            lost: None,
            over: false,
        };
        stream.connect().await?;
        Ok(stream)
    }
}

impl EventStream {
    /// The next event, or `None` when the stream is over: its job has ended.
    ///
    /// # Errors
    /// A server that stays away for more than 15 s, or an answer that can't be understood.
    pub async fn next(&mut self) -> Result<Option<JobEvent>, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                match self.understand(&event)? {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                }
            }
            if self.over {
                return Ok(None);
            }
            if let Err(error) = self.read_more().await {
                self.reconnect(error).await?;
            }
        }
    }

    fn understand(&mut self, event: &Event) -> Result<Option<JobEvent>, ClientError> {
        match event.kind.as_str() {
            "job" => {
                let job: JobView = serde_json::from_str(&event.data)
                    .map_err(|error| self.client.strange(StatusCode::OK, &error.to_string()))?;
                self.over |= self.one_job && job.status.is_terminal();
                Ok(Some(JobEvent::Job(Box::new(job))))
            }
            "reset" => Ok(Some(JobEvent::Reset)),
            _ => Ok(None),
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let mut call = Call::new(Method::GET, self.path.clone()).header(ACCEPT, "text/event-stream");
        if !self.parser.last_id().is_empty() {
            call = call.header(LAST_EVENT_ID, self.parser.last_id());
        }
        let response = self.client.call(call).await?;
        self.parser.restart();
        self.over |= response.status() == StatusCode::NO_CONTENT;
        self.body = Some(response.into_body());
        Ok(())
    }

    /// Waits for bytes of the stream.
    async fn read_more(&mut self) -> Result<(), ClientError> {
        let Some(body) = &mut self.body else {
            return self.connect().await;
        };
        let frame = tokio::time::timeout(IDLE_TIMEOUT, body.frame()).await;
        let frame = frame.map_err(|_| self.client.stalled(IDLE_TIMEOUT))?;
        let Some(frame) = frame else {
            return Err(self.client.interrupted("the stream ended early".to_owned()));
        };
        let frame = frame.map_err(|error| self.client.interrupted(root_cause(&error)))?;
        if let Ok(data) = frame.into_data() {
            self.lost = None;
            let events = self.parser.feed(&data);
            self.ready
                .extend(events.map_err(|error| self.client.strange(StatusCode::OK, &error.to_string()))?);
        }
        Ok(())
    }

    /// Takes the stream up again after `error`, or gives up with it.
    async fn reconnect(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.body = None;
        let lost = *self.lost.get_or_insert_with(Instant::now);
        if !error.is_connection() || lost.elapsed() > OUTAGE_MAX {
            return Err(error);
        }
        tokio::time::sleep(self.parser.retry().unwrap_or(RECONNECT_PAUSE).min(OUTAGE_MAX)).await;
        Ok(())
    }
}
