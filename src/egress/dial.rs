//! From a host name to a connected socket, with the guard in between.
//!
//! Owns the choice among a host's addresses. Every address is judged by [`Guard`] and exactly the judged addresses are dialled: there is no
//! second lookup in which a name could point elsewhere (DNS rebinding). It knows neither TLS nor HTTP. Called by `connector`, once per new
//! connection.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::error::{EgressError, Refused};
use super::guard::{Guard, Objection};
use super::resolve::Lookups;

/// Addresses of one name that are tried at most.
const ADDRESSES_MAX: usize = 8;
/// Head start of one address over the next: the "Connection Attempt Delay" of RFC 8305.
const HEAD_START: Duration = Duration::from_millis(250);

/// A boxed future of one connection attempt.
pub(super) type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Plain TCP.
#[derive(Clone)]
pub(super) struct Dialer {
    /// Who judges addresses; `None` for what the operator has named: the proxy, and where destinations are kept.
    guard: Option<Arc<Guard>>,
    lookups: Lookups,
    /// Whether requests for other hosts are sent over these connections.
    is_proxied: bool,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("guard", &self.guard).finish_non_exhaustive()
    }
}

/// A connection, and whether a proxy is at its other end: HTTP spells requests differently to those.
#[derive(Debug)]
pub(super) struct Dialed {
    stream: TokioIo<TcpStream>,
    is_proxied: bool,
}

impl Connection for Dialed {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_proxied)
    }
}

impl Read for Dialed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Dialed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}

impl Service<Uri> for Dialer {
    type Response = Dialed;
    type Error = EgressError;
    type Future = Connecting<Dialed, EgressError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EgressError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let addresses = dialer.addresses(host, port(&uri)).await?;
            let stream = dial(addresses)
                .await
                .map_err(|error| EgressError::Connect { host: host.to_owned(), detail: error.to_string() })?;
            // Requests are written in one go; waiting to fill a packet would only add a round trip.
            stream.set_nodelay(true).ok();
            Ok(Dialed { stream: TokioIo::new(stream), is_proxied: dialer.is_proxied })
        })
    }
}

/// The port that a URL leads to.
pub(super) fn port(uri: &Uri) -> u16 {
    let of_scheme = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    uri.port_u16().unwrap_or(of_scheme)
}

/// The address that a URL names itself, if it names one.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

impl Dialer {
    /// Dials what the guard permits.
    pub(super) fn guarded(guard: Arc<Guard>, lookups: Lookups) -> Dialer {
        Dialer { guard: Some(guard), lookups, is_proxied: false }
    }

    /// Dials what the operator has named.
    pub(super) fn trusting(lookups: Lookups) -> Dialer {
        Dialer { guard: None, lookups, is_proxied: false }
    }

    /// The same, with a proxy at the other end that takes requests for any host.
    pub(super) fn proxied(self) -> Dialer {
        Dialer { is_proxied: true, ..self }
    }

    /// The addresses of `host` that may be dialled, in the order to try them; never empty.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, EgressError> {
        let mut permitted = match literal(host) {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => self
                .lookups
                .addresses(host, port)
                .await
                .map_err(|error| EgressError::Resolve { host: host.to_owned(), detail: error.to_string() })?,
        };
        if permitted.is_empty() {
            let detail = "it has no address".to_owned();
            return Err(EgressError::Resolve { host: host.to_owned(), detail });
        }
        if let Some(guard) = &self.guard {
            let mut objections = Vec::new();
            permitted.retain(|address| guard.check(*address).map_err(|why| objections.push(why)).is_ok());
            if permitted.is_empty() {
                return Err(EgressError::Forbidden(off_limits(host, port, &objections)));
            }
        }
        let mut ordered = interleave(permitted);
        ordered.truncate(ADDRESSES_MAX);
        Ok(ordered)
    }
}

/// What is said when none of a host's addresses may be dialled. It doesn't tell what the name leads to.
fn off_limits(host: &str, port: u16, objections: &[Objection]) -> Refused {
    if objections.contains(&Objection::Port) {
        return Refused::port(port);
    }
    Refused::forbidden(format!(
        "the host {host} does not lead to a public address that may be reached; to permit it, add its range to the setting \
         `egress.allow` (`--allow-private-network CIDR`)"
    ))
}

/// Alternates IPv6 and IPv4, starting with the family that the resolver prefers, so that one broken family costs one head start
/// (RFC 8305, section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let preferred = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == preferred);
    let mut ordered = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let pair = (first.next(), second.next());
        if pair == (None, None) {
            return ordered;
        }
        ordered.extend(pair.0);
        ordered.extend(pair.1);
    }
}

/// Connects to the first address that answers. The next one is tried when the last has failed or had its head start.
async fn dial(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(address));
        } else if attempts.is_empty() {
            return Err(last);
        }
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            },
            () = tokio::time::sleep(HEAD_START), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use tokio::net::{TcpListener, TcpSocket};

    use super::super::Config;
    use super::super::connector::{Connector, Route};
    use super::super::error::Phase;
    use super::super::guard::tests::forbidden;
    use super::super::resolve::{Resolver, system_resolver};
    use super::super::tls::Trust;
    use super::*;

    fn dialer(allow: &[&str], answers: Vec<Vec<SocketAddr>>) -> (Dialer, Arc<AtomicUsize>) {
        let allow = allow.iter().map(|range| range.parse().unwrap()).collect();
        let guard = Guard::new(&Config { allow, ..Config::default() });
        let lookups = Arc::new(AtomicUsize::new(0));
        let counted = lookups.clone();
        let resolver: Resolver = Arc::new(move |_, _| {
            let answer = answers[counted.fetch_add(1, Ordering::SeqCst) % answers.len()].clone();
            Box::pin(async move { Ok(answer) })
        });
        (Dialer::guarded(Arc::new(guard), Lookups::new(resolver)), lookups)
    }

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    /// Fails where the system itself would give up only after minutes.
    async fn soon<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(5), future).await.expect("still connecting after 5 s")
    }

    /// Two listeners on the same port of different loopback addresses.
    async fn neighbours() -> (TcpListener, TcpListener) {
        loop {
            let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = first.local_addr().unwrap().port();
            if let Ok(second) = TcpListener::bind(("127.0.0.2", port)).await {
                return (first, second);
            }
        }
    }

    /// An address that refuses connections for as long as the socket is kept: bound by nobody else, and not listening.
    fn refusing() -> (SocketAddr, TcpSocket) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        (socket.local_addr().unwrap(), socket)
    }

    /// An address on which connections neither succeed nor fail: its queue is full. Keep the sockets.
    async fn black_hole() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
        {
            queued.push(connected.unwrap());
        }
        (address, queued, listener)
    }

    #[tokio::test]
    async fn forbidden_addresses_are_not_dialled_as_literals_nor_behind_a_name() {
        for (_, address) in forbidden() {
            let address: IpAddr = address.parse().unwrap();
            let socket = SocketAddr::new(address, 8080);
            let (mut dialer, lookups) = dialer(&[], vec![vec![socket]]);
            let error = dialer.call(uri(&format!("http://{socket}/"))).await.unwrap_err();
            assert!(matches!(error, EgressError::Forbidden(_)), "{address}: {error:?}");
            assert_eq!(lookups.load(Ordering::SeqCst), 0, "a literal needs no lookup");

            let error = dialer.call(uri("http://rebound.test/")).await.unwrap_err();
            assert!(matches!(error, EgressError::Forbidden(_)), "{address}: {error:?}");
            let message = error.to_string();
            assert!(!message.contains(&address.to_string()), "{message}");
            assert!(message.contains("rebound.test") && message.contains("egress.allow"), "{message}");
        }
    }

    #[tokio::test]
    async fn a_name_that_moves_after_the_first_lookup_gains_nothing() {
        let (open, closed) = neighbours().await;
        let answers = vec![vec![open.local_addr().unwrap()], vec![closed.local_addr().unwrap()]];
        let (mut dialer, lookups) = dialer(&["127.0.0.1/32"], answers);
        dialer.call(uri("http://rebound.test/")).await.unwrap();
        assert_eq!(lookups.load(Ordering::SeqCst), 1, "what was judged is what is dialled");
        let error = dialer.call(uri("http://rebound.test/")).await.unwrap_err();
        assert!(matches!(error, EgressError::Forbidden(_)), "{error:?}");
        assert!(open.accept().now_or_never().is_some());
        assert!(closed.accept().now_or_never().is_none(), "the second address was never dialled");
    }

    #[tokio::test]
    async fn of_several_addresses_only_permitted_ones_are_dialled() {
        let (open, closed) = neighbours().await;
        let answer = vec![closed.local_addr().unwrap(), open.local_addr().unwrap()];
        let (mut dialer, _) = dialer(&["127.0.0.1/32"], vec![answer]);
        dialer.call(uri("http://mixed.test/")).await.unwrap();
        assert!(open.accept().now_or_never().is_some());
        assert!(closed.accept().now_or_never().is_none());
    }

    #[tokio::test]
    async fn refused_and_silent_addresses_are_passed_over() {
        let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (refusing, _bound) = refusing();
        let (silent, _queued, _listener) = black_hole().await;
        let answer = vec![refusing, silent, receiver.local_addr().unwrap()];
        let (mut dialer, _) = dialer(&["127.0.0.0/8"], vec![answer]);
        let stream = soon(dialer.call(uri("http://many.test/"))).await.unwrap().stream.into_inner();
        assert_eq!(stream.peer_addr().unwrap(), receiver.local_addr().unwrap());
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn failures_to_connect_name_the_host_only() {
        let (refusing, _bound) = refusing();
        let (mut dialer, _) = dialer(&["127.0.0.0/8"], vec![vec![refusing], vec![]]);
        let error = dialer.call(uri("http://down.test/")).await.unwrap_err();
        assert!(matches!(error, EgressError::Connect { .. }) && error.is_transient(), "{error:?}");
        assert!(error.to_string().contains("down.test") && !error.to_string().contains("127."), "{error}");
        let error = dialer.call(uri("http://nowhere.test/")).await.unwrap_err();
        assert!(matches!(error, EgressError::Resolve { .. }) && error.is_transient(), "{error:?}");
    }

    #[tokio::test]
    async fn silence_ends_with_the_connect_timeout() {
        let (silent, _queued, _listener) = black_hole().await;
        let never: Resolver = Arc::new(|_, _| Box::pin(std::future::pending()));
        let limit = Duration::from_millis(100);
        let allow = vec!["127.0.0.0/8".parse().unwrap()];
        let guard = Arc::new(Guard::new(&Config { allow, ..Config::default() }));
        let trust = || Trust::new(super::super::tls::tests::roots()).unwrap();
        for target in [format!("http://{silent}/"), "http://unresolved.test/".to_owned()] {
            let dialer = Dialer::guarded(guard.clone(), Lookups::new(never.clone()));
            let mut connector = Connector::new(Route::Direct(dialer), trust(), limit);
            let error = soon(connector.call(uri(&target))).await.err().unwrap();
            assert!(matches!(error, EgressError::Timeout { phase: Phase::Connect, .. }), "{error:?}");
        }
    }

    #[test]
    fn families_alternate_from_the_preferred_one() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let [a, b, c] = ["[2606::a]:1", "[2606::b]:1", "[2606::c]:1"].map(parse);
        let [x, y] = ["1.0.0.1:1", "1.0.0.2:1"].map(parse);
        assert_eq!(interleave(vec![a, b, c, x, y]), [a, x, b, y, c]);
        assert_eq!(interleave(vec![x, a]), [x, a]);
        assert_eq!(interleave(vec![]), []);
    }

    #[tokio::test]
    async fn the_system_knows_localhost() {
        let found = system_resolver()("localhost", 81).await.unwrap();
        assert!(
            !found.is_empty() && found.iter().all(|a| a.ip().is_loopback() && a.port() == 81),
            "{found:?}"
        );
        let (mut dialer, _) = dialer(&[], vec![found]);
        let error = dialer.call(uri("http://localhost:81/")).await.unwrap_err();
        assert!(matches!(error, EgressError::Forbidden(_)), "{error:?}");
    }
}
