//! Test support: a receiver of raw TCP that answers, hangs, drips, floods or breaks off, as told per request.
//!
//! Owns the bad manners that a well-behaved HTTP server cannot have. Used by the unit tests of this room only.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use url::Url;

use super::{Config, Egress, Proxy, Resolver, resolve, tls};

/// What a receiver does next on a connection.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Writes this.
    Send(Vec<u8>),
    /// Writes these bytes over and over until the other end closes.
    Flood(&'static str),
    /// Writes one byte every 10 ms until the other end closes.
    Drip,
    /// Waits until the other end closes.
    Hang,
    /// Closes the connection.
    Close,
}

/// A receiver under way.
pub(super) struct Wire {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
    closed: Notify,
}

impl Wire {
    /// Listens on 127.0.0.1 and answers each request (head and body as text) with the steps that `script` names.
    pub(super) async fn serve(script: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (script, shared) = (Arc::new(script), seen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (script, shared) = (script.clone(), shared.clone());
                tokio::spawn(async move {
                    converse(stream, &shared, &*script).await;
                    shared.closed.notify_one();
                });
            }
        });
        Wire { address, seen }
    }

    /// Answers everything with the same text.
    pub(super) async fn answering(text: impl Into<String>) -> Wire {
        let text = text.into();
        Wire::serve(move |_| vec![Step::Send(text.clone().into())]).await
    }

    pub(super) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Waits until a connection has ended.
    pub(super) async fn closed(&self) {
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, self.seen.closed.notified()).await.expect("the connection stayed open");
    }
}

async fn converse(mut stream: TcpStream, seen: &Seen, script: &(impl Fn(&str) -> Vec<Step> + Send + Sync)) {
    while let Some(request) = read_request(&mut stream).await {
        seen.requests.lock().unwrap().push(request.clone());
        for step in script(&request) {
            let going_on = match step {
                Step::Send(text) => stream.write_all(&text).await.is_ok(),
                Step::Flood(text) => {
                    while stream.write_all(text.as_bytes()).await.is_ok() {}
                    false
                }
                Step::Drip => {
                    let mut beat = tokio::time::interval(Duration::from_millis(10));
                    while stream.write_all(b"x").await.is_ok() {
                        beat.tick().await;
                    }
                    false
                }
                Step::Hang => {
                    stream.read_exact(&mut [0]).await.ok();
                    false
                }
                Step::Close => false,
            };
            if !going_on {
                return;
            }
        }
    }
}

/// Head and body of one request, `None` when the connection ends first.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, value)| value.parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => text.push_str(std::str::from_utf8(&buffer[..read]).unwrap()),
        }
    }
}

/// A client that may reach `allow` and has a second to connect.
pub(super) fn egress(allow: &str) -> Egress {
    let connect_timeout = Duration::from_secs(1);
    let config = Config { allow: vec![allow.parse().unwrap()], connect_timeout, ..Config::default() };
    Egress::assemble(&config, resolve::system_resolver(), rustls::RootCertStore::empty()).unwrap()
}

/// The same with every name leading to `addresses`, and with an authority that has signed for `receiver.test`.
pub(super) fn egress_resolving(allow: &str, addresses: Vec<SocketAddr>) -> Egress {
    let connect_timeout = Duration::from_millis(300);
    let config = Config { allow: vec![allow.parse().unwrap()], connect_timeout, ..Config::default() };
    let resolver: Resolver = Arc::new(move |_, _| {
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    });
    Egress::assemble(&config, resolver, tls::tests::roots()).unwrap()
}

/// A client that sends everything by a proxy, and knows no name itself.
pub(super) fn egress_by(proxy: Proxy) -> Egress {
    let config = Config { proxy: Some(proxy), connect_timeout: Duration::from_secs(1), ..Config::default() };
    let resolver: Resolver = Arc::new(|_, _| Box::pin(async { Err(std::io::Error::other("no names here")) }));
    Egress::assemble(&config, resolver, tls::tests::roots()).unwrap()
}
