//! Bodies of answers: bytes at hand, or a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;

use super::activity::InFlight;

/// What a stream may fail with; hyper then cuts the connection, so that a client never takes half an image for a whole one.
pub(super) type StreamError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer. Holds the mark that its request is under way.
pub(super) struct Body {
    kind: Kind,
    sent: Option<Counter>,
    in_flight: Option<InFlight>,
}

enum Kind {
    Bytes(Bytes),
    Stream { stream: Pin<Box<dyn Stream<Item = Result<Bytes, StreamError>> + Send>>, left: Option<u64> },
}

impl Body {
    /// Nothing.
    pub(super) fn empty() -> Body {
        Body::bytes(Bytes::new())
    }

    /// These bytes.
    pub(super) fn bytes(bytes: impl Into<Bytes>) -> Body {
        Body { kind: Kind::Bytes(bytes.into()), sent: None, in_flight: None }
    }

    /// What the stream gives: `length` bytes, or an unknown number.
    pub(super) fn stream(
        stream: impl Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
        length: Option<u64>,
    ) -> Body {
        Body { kind: Kind::Stream { stream: Box::pin(stream), left: length }, sent: None, in_flight: None }
    }

    /// Counts the bytes that go out.
    pub(super) fn counted(mut self, sent: Counter) -> Body {
        self.sent = Some(sent);
        self
    }

    /// Keeps the request marked as under way until the body is done.
    pub(super) fn holding(mut self, in_flight: InFlight) -> Body {
        self.in_flight = Some(in_flight);
        self
    }

    /// Bytes still to come, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        match &self.kind {
            Kind::Bytes(bytes) => Some(bytes.len() as u64),
            Kind::Stream { left, .. } => *left,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let next = match &mut self.kind {
            Kind::Bytes(bytes) if bytes.is_empty() => None,
            Kind::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Kind::Stream { stream, left } => {
                let next = std::task::ready!(stream.as_mut().poll_next(context));
                if let (Some(Ok(bytes)), Some(left)) = (&next, left) {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                next
            }
        };
        if let (Some(Ok(bytes)), Some(sent)) = (&next, &self.sent) {
            sent.inc_by(bytes.len() as u64);
        }
        Poll::Ready(next.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.kind, Kind::Bytes(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
