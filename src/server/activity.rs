//! What a connection is doing, seen from its socket: the timeouts that hyper does not have.
//!
//! A head that arrives too slowly, a client that stops reading its answer, a connection that idles. Knows nothing of requests beyond how
//! many are under way. Used by `connection`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::farewell::{Farewell, Seat};
use super::limits::STREAMS_MAX;

/// No such moment.
const NEVER: u64 = u64::MAX;

/// How long what may last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a head (or from accepting a connection) to its end.
    pub(super) header: Duration,
    /// Without a byte of an answer being taken.
    pub(super) stall: Duration,
    /// Without a request.
    pub(super) idle: Duration,
}

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again after this time.
    Fine(Duration),
    /// Close it politely: nothing is under way.
    Idle,
    /// Drop it: the other side does not keep up.
    Stalled,
}

/// What one connection is doing. Moments are milliseconds since it was accepted.
#[derive(Debug)]
pub(super) struct Activity {
    accepted: Instant,
    requests: AtomicU32,
    http2: AtomicBool,
    in_flight: AtomicU32,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    blocked_since: AtomicU64,
    /// HTTP/1 only: the request that was answered last still had body to send.
    body_unread: AtomicBool,
    /// This side has dropped the connection.
    cut: AtomicBool,
    /// Places for HTTP/2 submits, which go on when their streams are reset.
    submits: Arc<Semaphore>,
}

impl Activity {
    /// Of a connection that was just accepted.
    pub(super) fn new() -> Arc<Activity> {
        Arc::new(Activity {
            accepted: Instant::now(),
            requests: AtomicU32::new(0),
            http2: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(NEVER),
            body_unread: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            submits: Arc::new(Semaphore::new(STREAMS_MAX as usize)),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    /// A request has arrived; it is under way until the mark is dropped.
    pub(super) fn begin(self: &Arc<Activity>, http2: bool) -> InFlight {
        self.http2.store(http2, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        self.head_since.store(NEVER, Relaxed);
        self.body_unread.store(false, Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Remembers that the request's body was not read to its end.
    pub(super) fn mark_body_unread(&self) {
        self.body_unread.store(true, Relaxed);
    }

    /// Whether the request's body was not read to its end.
    pub(super) fn is_body_unread(&self) -> bool {
        self.body_unread.load(Relaxed)
    }

    /// Called before this side drops the connection: what has arrived of a body is not the whole of it.
    pub(super) fn mark_cut(&self) {
        self.cut.store(true, Release);
    }

    /// Whether this side has dropped the connection.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Acquire)
    }

    /// A place for an HTTP/2 submit; none if as many are under way as there may be streams, which only happens where streams are reset.
    pub(super) fn begin_submit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.submits).try_acquire_owned().ok()
    }

    /// Whether no request is under way and no answer waits to be taken.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.load(Relaxed) == 0 && self.blocked_since.load(Relaxed) == NEVER
    }

    /// Judges the connection as it is now.
    pub(super) fn verdict(&self, patience: &Patience) -> Verdict {
        self.verdict_at(self.now(), patience)
    }

    fn verdict_at(&self, now: u64, patience: &Patience) -> Verdict {
        let since = |moment: &AtomicU64| match moment.load(Relaxed) {
            NEVER => None,
            moment => Some(Duration::from_millis(now.saturating_sub(moment))),
        };
        let mut wait = patience.header.min(patience.stall).min(patience.idle);
        let mut within = |spent: Option<Duration>, limit: Duration| match spent {
            Some(spent) if spent >= limit => false,
            Some(spent) => {
                wait = wait.min(limit - spent);
                true
            }
            None => true,
        };
        if !within(since(&self.blocked_since), patience.stall) {
            return Verdict::Stalled;
        }
        if self.in_flight.load(Relaxed) > 0 {
            return Verdict::Fine(wait.max(Duration::from_millis(1)));
        }
        // Between two requests of HTTP/2 there are frames that belong to none (pings, settings): only its first head is timed.
        let timed = !self.http2.load(Relaxed) || self.requests.load(Relaxed) == 0;
        if timed && !within(since(&self.head_since), patience.header) {
            return Verdict::Stalled;
        }
        if !within(since(&self.idle_since), patience.idle) {
            return Verdict::Idle;
        }
        Verdict::Fine(wait.max(Duration::from_millis(1)))
    }

    fn bytes_read(&self) {
        if self.in_flight.load(Relaxed) == 0 && self.head_since.load(Relaxed) == NEVER {
            self.head_since.store(self.now(), Relaxed);
        }
    }

    fn write_polled(&self, pending: bool) {
        let blocked = self.blocked_since.load(Relaxed) != NEVER;
        match (pending, blocked) {
            (true, false) => self.blocked_since.store(self.now(), Relaxed),
            (false, true) => self.blocked_since.store(NEVER, Relaxed),
            _ => {}
        }
    }
}

/// A request is under way as long as this lives.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Relaxed);
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// A socket that tells what it does.
#[derive(Debug)]
pub(super) struct Watched {
    /// There until this is dropped.
    seat: Option<Seat>,
    activity: Arc<Activity>,
    farewell: Farewell,
    /// The other side has closed its own.
    has_left: bool,
}

impl Watched {
    pub(super) fn new(seat: Seat, activity: Arc<Activity>, farewell: Farewell) -> Watched {
        Watched { seat: Some(seat), activity, farewell, has_left: false }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let seat = self.seat.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Pin::new(&mut seat.0))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take_if(|_| self.has_left) {
            self.farewell.close(seat);
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, has_room) = (buffer.filled().len(), buffer.remaining() > 0);
        let polled = self.stream()?.poll_read(context, buffer);
        match &polled {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => self.activity.bytes_read(),
            Poll::Ready(ended) => self.has_left |= has_room || ended.is_err(),
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream()?.poll_write(context, bytes);
        self.activity.write_polled(polled.is_pending());
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_left {
            // Nobody waits for it, and closing says the same.
            return Poll::Ready(Ok(()));
        }
        self.stream()?.poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.seat.as_ref().is_some_and(|(stream, _)| stream.is_write_vectored())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream()?.poll_write_vectored(context, parts);
        self.activity.write_polled(polled.is_pending());
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;

    const PATIENCE: Patience = Patience {
        header: Duration::from_secs(10),
        stall: Duration::from_secs(30),
        idle: Duration::from_secs(75),
    };

    const SECOND: u64 = 1000;

    #[test]
    fn a_silent_client_is_dropped_and_an_idle_one_sent_home() {
        let activity = Activity::new();
        assert_eq!(activity.verdict_at(9 * SECOND, &PATIENCE), Verdict::Fine(Duration::from_secs(1)));
        assert_eq!(activity.verdict_at(10 * SECOND, &PATIENCE), Verdict::Stalled);
        drop(activity.begin(false));
        activity.idle_since.store(20 * SECOND, Relaxed);
        assert_eq!(activity.verdict_at(94 * SECOND, &PATIENCE), Verdict::Fine(Duration::from_secs(1)));
        assert_eq!(activity.verdict_at(95 * SECOND, &PATIENCE), Verdict::Idle);
    }

    #[test]
    fn the_second_head_is_timed_for_http_1_only() {
        for (http2, verdict) in [(false, Verdict::Stalled), (true, Verdict::Fine(Duration::from_secs(10)))] {
            let activity = Activity::new();
            drop(activity.begin(http2));
            activity.bytes_read();
            assert_eq!(activity.verdict_at(11 * SECOND, &PATIENCE), verdict);
        }
    }

    /// Both ends of a connection, and where its socket goes to when it is seen off.
    async fn pair() -> (Watched, TcpStream, mpsc::Receiver<Seat>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let (sender, seen_off) = mpsc::channel();
        (Watched::new((stream, place), Activity::new(), Farewell::to(sender)), client, seen_off)
    }

    #[tokio::test]
    async fn who_has_left_is_seen_off_by_another_thread() {
        let (mut watched, mut client, seen_off) = pair().await;
        client.shutdown().await.unwrap();
        assert_eq!(watched.read(&mut [0; 9]).await.unwrap(), 0);
        // An answer still reaches who has closed their side only.
        watched.write_all(b"late").await.unwrap();
        watched.shutdown().await.unwrap();
        drop(watched);
        let seat = seen_off.try_recv().unwrap();
        let mut read = [0; 9];
        assert_eq!(client.read(&mut read).await.unwrap(), 4);
        assert!(client.try_read(&mut read).is_err(), "nothing was closed here");
        drop(seat);
        assert_eq!(client.read(&mut read).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn who_is_there_learns_of_the_end_at_once() {
        let (mut watched, mut client, seen_off) = pair().await;
        client.write_all(b"words").await.unwrap();
        assert_eq!(watched.read(&mut [0; 3]).await.unwrap(), 3);
        // No room for more is no end.
        assert_eq!(watched.read(&mut []).await.unwrap(), 0);
        assert_eq!(watched.read(&mut [0; 2]).await.unwrap(), 2);
        drop(watched);
        assert!(seen_off.try_recv().is_err());
        assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
    }

    #[test]
    fn a_long_wait_is_fine_but_an_answer_must_be_taken() {
        let activity = Activity::new();
        let _request = activity.begin(false);
        assert!(matches!(activity.verdict_at(3600 * SECOND, &PATIENCE), Verdict::Fine(_)));
        activity.write_polled(true);
        assert_eq!(activity.verdict_at(31 * SECOND, &PATIENCE), Verdict::Stalled);
        activity.write_polled(false);
        assert!(matches!(activity.verdict_at(31 * SECOND, &PATIENCE), Verdict::Fine(_)));
    }
}
