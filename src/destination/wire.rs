//! HTTP for `object_store`, spoken by our own outbound client.
//!
//! Owns the translation of requests, answers and errors between the two, and the time of one request. Where requests go is what the
//! operator has configured.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper::Request;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};

use crate::egress::{Egress, EgressError, Way};

/// Time of one request, its body sent, to the head of its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes clients for stores.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    service: Service,
}

#[derive(Clone, Debug)]
struct Service {
    egress: Egress,
    way: Way,
}

impl Connector {
    pub(super) fn new(egress: Egress, way: Way) -> Connector {
        Connector { service: Service { egress, way } }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.service.clone()))
    }
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, body.map_err(|error| error.into()).boxed());
        let sent = self.egress.send_trusted(request, self.way, REQUEST_TIMEOUT).await;
        let (head, body) = sent.map_err(|error| HttpError::new(kind(&error), error))?.into_parts();
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

/// Tells what may be tried again.
fn kind(error: &EgressError) -> HttpErrorKind {
    match error {
        EgressError::Resolve { .. } | EgressError::Connect { .. } => HttpErrorKind::Connect,
        EgressError::Tls { transient: true, .. } => HttpErrorKind::Connect,
        EgressError::Timeout { .. } => HttpErrorKind::Timeout,
        EgressError::Interrupted(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    }
}
