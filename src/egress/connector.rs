//! From a URL's host to a connected socket, with the guard in between.
//!
//! Owns name lookup, the choice among a host's addresses, the connect timeout and TLS. Every address is judged by [`Guard`] and exactly
//! the judged addresses are dialled: there is no second lookup in which a name could point elsewhere (DNS rebinding). It never follows
//! redirects and knows no HTTP. Called by hyper's client pool, once per new connection.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::error::{EgressError, Phase, Refused};
use super::guard::Guard;
use super::tls::Trust;

/// A lookup under way: the addresses of a name, with the port they were asked for.
pub type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
/// How a host name and port become addresses.
pub type Resolver = Arc<dyn Fn(&str, u16) -> Lookup + Send + Sync>;

/// Lookups of the system resolver at the same time; each holds a thread until it ends, and the threads are shared with file work.
const LOOKUPS_MAX: usize = 16;
/// Addresses of one name that are tried at most.
const ADDRESSES_MAX: usize = 8;
/// Head start of one address over the next: the "Connection Attempt Delay" of RFC 8305.
const HEAD_START: Duration = Duration::from_millis(250);

/// A boxed future of one connection attempt.
type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;
/// What the pool speaks HTTP over.
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Connects for hyper's client: TCP through the guard, then TLS for https, all within the connect timeout.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tls: HttpsConnector<Dialer>,
    trusts_nobody: bool,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(guard: Arc<Guard>, resolver: Resolver, trust: Trust, timeout: Duration) -> Connector {
        let dialer = Dialer { guard, resolver };
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(trust.config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(dialer);
        Connector { shared: Arc::new(Shared { tls, trusts_nobody: trust.empty, timeout }) }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = EgressError;
    type Future = Connecting<Stream, EgressError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EgressError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().to_owned();
            if shared.trusts_nobody && uri.scheme_str() == Some("https") {
                let detail =
                    "this machine has no certificate authorities; install them (often `ca-certificates`) or name \
                     them in SSL_CERT_FILE, then restart"
                        .to_owned();
                return Err(EgressError::Tls { host, detail, transient: false });
            }
            // TLS is inside the timeout too: a pooled client may leave a handshake to a task of its own, where no request's deadline
            // reaches it.
            let mut tls = shared.tls.clone();
            match tokio::time::timeout(shared.timeout, tls.call(uri)).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(connect_error(host, error)),
                Err(_) => Err(EgressError::Timeout { phase: Phase::Connect, limit: shared.timeout }),
            }
        })
    }
}

/// Sorts what came out of dialling and the handshake: our own errors pass through, the rest is TLS.
fn connect_error(host: String, error: Box<dyn std::error::Error + Send + Sync>) -> EgressError {
    let error = match error.downcast::<EgressError>() {
        Ok(ours) => return *ours,
        Err(other) => other,
    };
    // An objection of TLS itself (a certificate, a protocol version) sits under one or two layers of io::Error.
    let mut cause: &(dyn std::error::Error + 'static) = error.as_ref();
    while let Some(inner) = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        cause = inner;
    }
    let transient = error.is::<io::Error>() && !cause.is::<rustls::Error>();
    EgressError::Tls { host, detail: cause.to_string(), transient }
}

/// Plain TCP to judged addresses.
#[derive(Clone)]
struct Dialer {
    guard: Arc<Guard>,
    resolver: Resolver,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = EgressError;
    type Future = Connecting<TokioIo<TcpStream>, EgressError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EgressError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
            let addresses = dialer.addresses(host, uri.port_u16().unwrap_or(default_port)).await?;
            let stream = dial(addresses)
                .await
                .map_err(|error| EgressError::Connect { host: host.to_owned(), detail: error.to_string() })?;
            // Requests are written in one go; waiting to fill a packet would only add a round trip.
            stream.set_nodelay(true).ok();
            Ok(TokioIo::new(stream))
        })
    }
}

impl Dialer {
    /// The addresses of `host` that may be dialled, in the order to try them; never empty.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, EgressError> {
        let unbracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let found = match unbracketed.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => (self.resolver)(host, port)
                .await
                .map_err(|error| EgressError::Resolve { host: host.to_owned(), detail: error.to_string() })?,
        };
        if found.is_empty() {
            let detail = "it has no address".to_owned();
            return Err(EgressError::Resolve { host: host.to_owned(), detail });
        }
        let mut permitted = found;
        permitted.retain(|address| self.guard.check(address.ip()).is_ok());
        if permitted.is_empty() {
            return Err(EgressError::Forbidden(Refused::forbidden(format!(
                "the host {host} does not lead to a public address; to permit it, add its range to the setting `egress.allow` \
                 (`--allow-private-network CIDR`)"
            ))));
        }
        let mut ordered = interleave(permitted);
        ordered.truncate(ADDRESSES_MAX);
        Ok(ordered)
    }
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

/// Names as the operating system resolves them (`/etc/hosts`, DNS, whatever is configured), off the event loop.
pub(super) fn system_resolver() -> Resolver {
    let permits = Arc::new(Semaphore::new(LOOKUPS_MAX));
    Arc::new(move |host, port| {
        let permits = permits.clone();
        let host = host.to_owned();
        Box::pin(async move {
            let permit = permits.acquire_owned().await.map_err(io::Error::other)?;
            // The permit goes with the lookup, which cannot be stopped and may outlive the request that asked for it.
            let lookup = tokio::task::spawn_blocking(move || {
                let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
                drop(permit);
                found
            });
            lookup.await.map_err(io::Error::other)?
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use tokio::net::{TcpListener, TcpSocket};

    use super::super::guard::tests::FORBIDDEN;
    use super::*;

    fn dialer(allow: &[&str], answers: Vec<Vec<SocketAddr>>) -> (Dialer, Arc<AtomicUsize>) {
        let guard = Guard::new(allow.iter().map(|range| range.parse().unwrap()).collect());
        let lookups = Arc::new(AtomicUsize::new(0));
        let counted = lookups.clone();
        let resolver: Resolver = Arc::new(move |_, _| {
            let answer = answers[counted.fetch_add(1, Ordering::SeqCst) % answers.len()].clone();
            Box::pin(async move { Ok(answer) })
        });
        (Dialer { guard: Arc::new(guard), resolver }, lookups)
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
        for (_, address) in FORBIDDEN {
            let address: IpAddr = address.parse().unwrap();
            let socket = SocketAddr::new(address, 9);
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
        let stream = soon(dialer.call(uri("http://many.test/"))).await.unwrap().into_inner();
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
        let guard = Arc::new(Guard::new(vec!["127.0.0.0/8".parse().unwrap()]));
        let trust = || Trust::new(super::super::tls::tests::roots()).unwrap();
        for target in [format!("http://{silent}/"), "http://unresolved.test/".to_owned()] {
            let mut connector = Connector::new(guard.clone(), never.clone(), trust(), limit);
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
