//! Request bodies: byte strings and files, one after the other, read from disk as they are sent.
//!
//! Owns streaming, length and progress of a body. A [`Payload`] can be sent more than once, which is what makes repeating possible.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{TryStreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::Progress;

/// What the connection pool sends.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// Bytes read from a file and handed to the connection at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// One stretch of a body.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// In memory.
    Bytes(Bytes),
    /// The first `bytes` bytes of a file.
    File { path: PathBuf, bytes: u64 },
}

/// A body that can be sent again and again.
#[derive(Clone, Debug, Default)]
pub(super) struct Payload {
    parts: Vec<Part>,
}

impl Payload {
    /// Parts in the order of sending.
    pub(super) fn new(parts: Vec<Part>) -> Payload {
        Payload { parts }
    }

    /// Length in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let length = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::File { bytes, .. } => *bytes,
        };
        self.parts.iter().map(length).sum()
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// A body that sends this payload from its start.
    pub(super) fn body(&self, activity: &Activity, progress: Option<Progress>) -> RequestBody {
        if self.parts.is_empty() {
            return Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync();
        }
        let sending = Sending {
            waiting: self.parts.clone().into(),
            current: None,
            sent: 0,
            activity: activity.clone(),
            progress,
        };
        let frames = stream::try_unfold(sending, Sending::next).map_ok(Frame::data);
        BodyExt::boxed_unsync(StreamBody::new(frames))
    }
}

/// When something last moved; shared by a body and whoever watches over its request.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    /// Something moves now.
    pub(super) fn new() -> Activity {
        Activity(Arc::new(Mutex::new(Instant::now())))
    }

    fn touch(&self) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The future's result, or `None` once nothing has moved for `idle`.
    pub(super) async fn watch<T>(&self, idle: Duration, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        loop {
            let deadline = self.last() + idle;
            if let Ok(done) = tokio::time::timeout_at(deadline, &mut future).await {
                return Some(done);
            }
            if self.last() + idle <= Instant::now() {
                return None;
            }
        }
    }
}

/// A payload on its way.
struct Sending {
    waiting: std::collections::VecDeque<Part>,
    current: Option<(File, PathBuf, u64)>,
    sent: u64,
    activity: Activity,
    progress: Option<Progress>,
}

impl Sending {
    /// The next chunk and the state after it; `None` at the end.
    async fn next(mut self) -> io::Result<Option<(Bytes, Sending)>> {
        let chunk = loop {
            if let Some((file, path, left)) = self.current.take() {
                if left == 0 {
                    continue;
                }
                let (chunk, rest) = read_chunk(file, path, left).await?;
                self.current = Some(rest);
                break chunk;
            }
            match self.waiting.pop_front() {
                None => return Ok(None),
                Some(Part::Bytes(bytes)) => break bytes,
                Some(Part::File { path, bytes }) => {
                    let file = File::open(&path).await?;
                    self.current = Some((file, path, bytes));
                }
            }
        };
        self.sent += chunk.len() as u64;
        self.activity.touch();
        if let Some(progress) = &self.progress {
            progress(self.sent);
        }
        Ok(Some((chunk, self)))
    }
}

/// Up to [`CHUNK_BYTES`] of a file that must still have `left` bytes.
async fn read_chunk(mut file: File, path: PathBuf, left: u64) -> io::Result<(Bytes, (File, PathBuf, u64))> {
    let wanted = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
    let mut buffer = BytesMut::with_capacity(wanted);
    let read = (&mut file).take(wanted as u64).read_buf(&mut buffer).await?;
    if read == 0 {
        let what = format!("{} became shorter while it was sent", path.display());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
    }
    Ok((buffer.freeze(), (file, path, left - read as u64)))
}
