//! From a URL to a connection that HTTP can be spoken over: directly or by a proxy, with TLS for https.
//!
//! Owns the route, the connect timeout and TLS. Who judges addresses is the [`Dialer`]'s guard; towards a proxy it is only the text of a
//! URL that can be judged here, as the proxy looks up names. It never follows redirects and knows no HTTP but `CONNECT`. Called by
//! hyper's client pool, once per new connection.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use tower_service::Service;

use super::dial::{Connecting, Dialed, Dialer};
use super::error::{EgressError, Phase};
use super::proxy::Proxy;
use super::tls::Trust;

/// An error of any layer on the way to a connection.
type BoxError = Box<dyn Error + Send + Sync>;
/// What the pool speaks HTTP over.
type Stream = MaybeHttpsStream<Dialed>;

/// Connects for hyper's client: TCP on its route, then TLS for https, all within the connect timeout.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tls: HttpsConnector<Route>,
    trusts_nobody: bool,
    timeout: Duration,
}

/// How connections are made.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// To the host itself.
    Direct(Dialer),
    /// To a proxy: http by requests that name the whole URL, https through a tunnel.
    Proxied {
        /// To the proxy.
        http: Dialer,
        /// Through the proxy.
        https: Box<Tunnel<Dialer>>,
        /// The proxy.
        address: Uri,
    },
}

impl Route {
    /// By a proxy, which the operator has named: nobody judges its address.
    pub(super) fn by(proxy: &Proxy, dialer: Dialer) -> Route {
        let mut https = Tunnel::new(proxy.address().clone(), dialer.clone());
        if let Some(credentials) = proxy.credentials() {
            https = https.with_auth(credentials.clone());
        }
        Route::Proxied { http: dialer.proxied(), https: Box::new(https), address: proxy.address().clone() }
    }
}

impl Service<Uri> for Route {
    type Response = Dialed;
    type Error = BoxError;
    type Future = Connecting<Dialed, BoxError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Route::Direct(dialer) => {
                let dialing = dialer.call(uri);
                Box::pin(async move { Ok(dialing.await?) })
            }
            Route::Proxied { https, .. } if uri.scheme_str() == Some("https") => {
                let (host, tunneling) = (host(&uri), https.call(uri));
                Box::pin(async move { tunneling.await.map_err(|error| no_help(host, &error).into()) })
            }
            Route::Proxied { http, address, .. } => {
                let (host, dialing) = (host(&uri), http.call(address.clone()));
                Box::pin(async move { dialing.await.map_err(|error| no_help(host, &error).into()) })
            }
        }
    }
}

fn host(uri: &Uri) -> String {
    uri.host().unwrap_or_default().to_owned()
}

/// The proxy is the operator's: whoever named the URL learns neither its name nor its address.
fn no_help(host: String, error: &dyn Error) -> EgressError {
    let cause = error.source().map(ToString::to_string);
    tracing::debug!(%error, cause, "the proxy did not help");
    EgressError::Connect { host, detail: "the proxy could not be reached, or would not connect".to_owned() }
}

impl Connector {
    pub(super) fn new(route: Route, trust: Trust, timeout: Duration) -> Connector {
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(trust.config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(route);
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
            let host = host(&uri);
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
fn connect_error(host: String, error: BoxError) -> EgressError {
    let error = match error.downcast::<EgressError>() {
        Ok(ours) => return *ours,
        Err(other) => other,
    };
    // An objection of TLS itself (a certificate, a protocol version) sits under one or two layers of io::Error.
    let mut cause: &(dyn Error + 'static) = error.as_ref();
    while let Some(inner) = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        cause = inner;
    }
    let transient = error.is::<io::Error>() && !cause.is::<rustls::Error>();
    EgressError::Tls { host, detail: cause.to_string(), transient }
}
