//! Outbound HTTP: one guarded client for everything this server requests from others.
//!
//! Owns the address guard, name lookup and dialling, the proxy, TLS trust, the connection pool, and the limits in time and bytes of every
//! answer. It never decides whether a failure is retried (it only says whether it is transient) and never touches files or jobs. Called by
//! the webhook deliverer ([`Egress::post`]), by the worker's source fetch ([`Egress::get`]), by destinations ([`Egress::send_trusted`]) and,
//! at submit, by the server ([`Egress::vet_url`], [`vet_headers`]).

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod coding;
mod connector;
mod dial;
mod download;
mod error;
mod get;
mod guard;
mod headers;
mod post;
mod proxy;
mod resolve;
mod special;
mod tls;
mod trusted;
#[cfg(test)]
mod wire;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ipnet::IpNet;
use url::Url;

use connector::{Connector, Route};
use dial::Dialer;
use guard::Guard;
use resolve::Lookups;

pub use download::Fetched;
pub use error::{EgressError, Phase, Refused, RefusedKind};
pub use get::{Get, REDIRECTS_MAX};
pub use guard::URL_BYTES_MAX;
pub use headers::{HEADER_BYTES_MAX, HEADERS_MAX, vet_headers};
pub use post::{Answer, Post};
pub use proxy::Proxy;
pub use resolve::{Lookup, Resolver};
pub use trusted::{TrustedBody, Way};

/// Idle connections kept to one scheme, host and port: as many as may be in flight to one webhook receiver.
const IDLE_PER_HOST_MAX: usize = 64;
/// How long a connection may idle before it is no longer used. Node closes its end after 5 s; a request sent into that moment is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Most bytes that the head of an answer may take, and the read buffer of a connection at most.
const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;

/// What outbound requests may do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ranges that may be reached beside public addresses.
    pub allow: Vec<IpNet>,
    /// Ranges that are never reached, public or allowed though they be.
    pub deny: Vec<IpNet>,
    /// Ports that requests may go to. `None`: all but those that belong to other protocols; within `allow`, all.
    pub ports: Option<Vec<RangeInclusive<u16>>>,
    /// What requests are sent by. It looks up names, and so it is the proxy that decides which addresses they may lead to; literal
    /// addresses in URLs, and ports, are judged here all the same.
    pub proxy: Option<Proxy>,
    /// Time for name lookup, TCP and TLS of one connection together.
    pub connect_timeout: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            allow: Vec::new(),
            deny: Vec::new(),
            ports: None,
            proxy: None,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// The outbound client. Cloning shares the connection pool.
#[derive(Clone, Debug)]
pub struct Egress {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    guard: Arc<Guard>,
    proxy: Option<Proxy>,
    client: Client<Connector, Full<Bytes>>,
    trusted: trusted::Clients,
}

impl Egress {
    /// A client that resolves names as the system does and trusts the certificate authorities that the system trusts. A machine without
    /// any still gets a client; its https requests then fail with an error that says so. Reads files: call it at start.
    ///
    /// # Errors
    /// [`EgressError::Setup`] when TLS cannot be configured.
    pub fn new(config: &Config) -> Result<Egress, EgressError> {
        Egress::with_resolver(config, resolve::system_resolver())
    }

    /// Like [`Egress::new`] with another way from names to addresses; the guard judges its answers just the same.
    ///
    /// # Errors
    /// [`EgressError::Setup`] when TLS cannot be configured.
    pub fn with_resolver(config: &Config, resolver: Resolver) -> Result<Egress, EgressError> {
        Egress::assemble(config, resolver, tls::system_roots())
    }

    fn assemble(
        config: &Config,
        resolver: Resolver,
        roots: rustls::RootCertStore,
    ) -> Result<Egress, EgressError> {
        let guard = Arc::new(Guard::new(config));
        let lookups = Lookups::new(resolver);
        let trust = tls::Trust::new(roots)?;
        let direct = Route::Direct(Dialer::trusting(lookups.clone()));
        let by_proxy = config.proxy.as_ref().map(|proxy| Route::by(proxy, Dialer::trusting(lookups.clone())));
        let guarded = || Route::Direct(Dialer::guarded(Arc::clone(&guard), lookups));
        let connect = |route| pool().build(Connector::new(route, trust.clone(), config.connect_timeout));
        let trusted = trusted::Clients::new(|way| {
            let connector = match (way, &by_proxy) {
                (Way::ByProxy, Some(by_proxy)) => by_proxy.clone(),
                _ => direct.clone(),
            };
            pool().build(Connector::new(connector, trust.clone(), config.connect_timeout))
        });
        let client = connect(by_proxy.clone().unwrap_or_else(guarded));
        Ok(Egress { inner: Arc::new(Inner { guard, proxy: config.proxy.clone(), client, trusted }) })
    }

    /// Parses a URL and judges what its text tells, without any lookup: scheme http or https, a host, no credentials, no literal address
    /// that must not be reached, however it is spelled. Names are judged when they are dialled.
    ///
    /// # Errors
    /// [`Refused`] with a reason for the caller.
    pub fn vet_url(&self, url: &str) -> Result<Url, Refused> {
        self.inner.guard.vet_text(url)
    }
}

/// How connections are kept.
fn pool() -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .http1_max_buf_size(ANSWER_HEAD_BYTES_MAX);
    builder
}
