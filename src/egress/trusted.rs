//! Requests to services that the operator has configured: the buckets that results are delivered to.
//!
//! Nobody judges where they go, as a bucket may well stand in the private network beside this server. Nothing that a caller of the API
//! can spell gets here. Owns the clients for that; called by `destination`.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::header;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use tokio::time::Instant;

use super::Egress;
use super::connector::Connector;
use super::error::{EgressError, Phase};
use super::post::client_error;

/// Body of a trusted request.
pub type TrustedBody = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Which way a trusted request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By the proxy, if there is one.
    ByProxy,
    /// Never by the proxy.
    Direct,
}

/// One client for each way.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    by_proxy: Client<Connector, TrustedBody>,
    direct: Client<Connector, TrustedBody>,
}

impl Clients {
    pub(super) fn new(build: impl Fn(Way) -> Client<Connector, TrustedBody>) -> Clients {
        Clients { by_proxy: build(Way::ByProxy), direct: build(Way::Direct) }
    }
}

impl Egress {
    /// Sends a request to where the operator wants it, and waits for the head of the answer. No redirect is followed.
    ///
    /// # Errors
    /// [`EgressError`] when no head came within `timeout`.
    pub async fn send_trusted(
        &self,
        mut request: Request<TrustedBody>,
        way: Way,
        timeout: Duration,
    ) -> Result<Response<Incoming>, EgressError> {
        let client = match way {
            Way::ByProxy => &self.inner.trusted.by_proxy,
            Way::Direct => &self.inner.trusted.direct,
        };
        if way == Way::ByProxy
            && let Some(credentials) = self.proxy_credentials(request.uri())
        {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, credentials);
        }
        match tokio::time::timeout_at(Instant::now() + timeout, client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(client_error(&error)),
            Err(_) => Err(EgressError::Timeout { phase: Phase::Answer, limit: timeout }),
        }
    }
}
