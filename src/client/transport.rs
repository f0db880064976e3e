//! Putting requests: addresses, connections, repeating, patience, refusals.
//!
//! Owns the one loop through which every request goes. A request is repeated when no connection was made, when it is safe to repeat and
//! the connection broke, or when the server asks to come back soon; never otherwise.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use url::Url;

use super::body::{Activity, Payload, RequestBody};
use super::error::{Problem, is_not_tls, root_cause};
use super::{Client, ClientError, IDLE_TIMEOUT, Progress};

/// Dials http and https.
pub(super) type Connector = HttpsConnector<HttpConnector>;

/// Tries of one request, the first included.
const TRIES_MAX: u32 = 4;
/// Pause after the first try; doubles after each.
const PAUSE: Duration = Duration::from_millis(100);
/// A server that asks for a longer pause than this is not waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// Time for name lookup and TCP of one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer that is read into memory.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// When a request may be put again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Carrying it out twice is the same as once.
    Always,
    /// Only if it surely was not carried out.
    IfNotSent,
}

/// A request to be put.
pub(super) struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    pub(super) payload: Payload,
    pub(super) progress: Option<Progress>,
    repeat: Repeat,
    extra_patience: Duration,
}

impl Call {
    /// A request without a body. `path` begins with a slash and may carry a query; both are already percent-encoded.
    pub(super) fn new(method: Method, path: impl Into<String>) -> Call {
        Call {
            method,
            path: path.into(),
            headers: HeaderMap::new(),
            payload: Payload::default(),
            progress: None,
            repeat: Repeat::Always,
            extra_patience: Duration::ZERO,
        }
    }

    /// With one more header. A value that cannot stand in a header is left out.
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Call {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// To be repeated only when it surely was not carried out.
    pub(super) fn once(mut self) -> Call {
        self.repeat = Repeat::IfNotSent;
        self
    }

    /// The server was asked to hold back its answer for this long.
    pub(super) fn patience(mut self, extra: Duration) -> Call {
        self.extra_patience = extra;
        self
    }
}

/// Reads a server's address; the result ends with a slash and has neither query nor credentials.
pub(super) fn base_url(given: &str) -> Result<Url, ClientError> {
    let wrong = |reason: &str| ClientError::Address { given: given.to_owned(), reason: reason.to_owned() };
    let text = given.trim();
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let mut url = Url::parse(&text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("only http and https are spoken"));
    }
    if url.host().is_none() {
        return Err(wrong("it has no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it must not contain credentials"));
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// The connection pool. Certificate authorities are read only when they will be needed.
pub(super) fn pool(base: &Url) -> Result<HttpClient<Connector, RequestBody>, ClientError> {
    let mut roots = rustls::RootCertStore::empty();
    if base.scheme() == "https" {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(ClientError::Tls("this machine knows no certificate authorities".to_owned()));
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    http.set_nodelay(true);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    Ok(HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(20))
        .build(connector))
}

impl Client {
    /// Puts a request, repeating it where that is right, and returns the answer: 2xx, 3xx, never a refusal.
    pub(super) async fn call(&self, call: Call) -> Result<Response<Incoming>, ClientError> {
        let mut tries = 1;
        loop {
            let error = match self.try_once(&call).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let Some(pause) = pause_before_repeat(&error, call.repeat, tries) else { return Err(error) };
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }

    async fn try_once(&self, call: &Call) -> Result<Response<Incoming>, ClientError> {
        let response = self.send(call).await?;
        if response.status().is_client_error() || response.status().is_server_error() {
            return Err(self.refusal(response).await);
        }
        Ok(response)
    }

    /// Puts a request once and returns whatever is answered.
    pub(super) async fn send(&self, call: &Call) -> Result<Response<Incoming>, ClientError> {
        let activity = Activity::new();
        let request = self.request(call, &activity)?;
        let idle = IDLE_TIMEOUT + call.extra_patience;
        let answered = activity.watch(idle, self.http.request(request)).await;
        answered.ok_or_else(|| self.stalled(idle))?.map_err(|error| self.broken(&error))
    }

    fn request(&self, call: &Call, activity: &Activity) -> Result<Request<RequestBody>, ClientError> {
        let address = format!("{}{}", self.server(), call.path);
        let uri: Uri = address
            .parse()
            .map_err(|_| ClientError::Address { given: address.clone(), reason: "not a URI".to_owned() })?;
        let mut request = Request::new(call.payload.body(activity, call.progress.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = call.headers.clone();
        let agent = HeaderValue::from_static(concat!("minilab/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        if !call.payload.is_empty() {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(call.payload.bytes()));
        }
        Ok(request)
    }

    /// The problem that an answer of status 4xx or 5xx carries.
    async fn refusal(&self, response: Response<Incoming>) -> ClientError {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        match self.read_whole(response).await {
            Ok(body) => {
                let mut problem = Problem::read(status.as_u16(), &body);
                problem.retry_after = retry_after;
                ClientError::Refused(Box::new(problem))
            }
            Err(error) => error,
        }
    }

    /// The answer's body, up to [`ANSWER_BYTES_MAX`].
    pub(super) async fn read_whole(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        match tokio::time::timeout(IDLE_TIMEOUT, body.collect()).await {
            Err(_) => Err(self.stalled(IDLE_TIMEOUT)),
            Ok(Err(error)) => Err(self.interrupted(root_cause(error.as_ref()))),
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
        }
    }

    /// The answer's body as a value.
    pub(super) async fn read_json<T: DeserializeOwned>(
        &self,
        response: Response<Incoming>,
    ) -> Result<T, ClientError> {
        let status = response.status();
        let body = self.read_whole(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.strange(status, &error.to_string()))
    }

    /// An answer that Minilab would not give.
    pub(super) fn strange(&self, status: StatusCode, what: &str) -> ClientError {
        ClientError::Answer {
            server: self.server().to_owned(),
            what: format!("HTTP status {}, {what}", status.as_u16()),
        }
    }

    /// A connection that broke.
    pub(super) fn interrupted(&self, cause: String) -> ClientError {
        ClientError::Interrupted { server: self.server().to_owned(), cause }
    }

    /// A server that fell silent.
    pub(super) fn stalled(&self, idle: Duration) -> ClientError {
        ClientError::Stalled { server: self.server().to_owned(), idle }
    }

    fn broken(&self, error: &hyper_util::client::legacy::Error) -> ClientError {
        let cause = root_cause(error);
        if is_not_tls(error) {
            let server = self.server().to_owned();
            let plain = server.replacen("https:", "http:", 1);
            return ClientError::NotTls { server, plain, cause };
        }
        if error.is_connect() {
            ClientError::Unreachable { server: self.server().to_owned(), cause }
        } else {
            self.interrupted(cause)
        }
    }
}

/// How long to wait before the request is put again; `None`: don't.
fn pause_before_repeat(error: &ClientError, repeat: Repeat, tries: u32) -> Option<Duration> {
    if tries >= TRIES_MAX {
        return None;
    }
    let pause = PAUSE * 2_u32.pow(tries - 1);
    match error {
        ClientError::Unreachable { .. } => Some(pause),
        ClientError::Interrupted { .. } if repeat == Repeat::Always => Some(pause),
        ClientError::Refused(problem) if matches!(problem.status, 429 | 503) => {
            problem.retry_after.filter(|&asked| asked <= RETRY_AFTER_MAX).map(|asked| asked.max(pause))
        }
        _ => None,
    }
}

/// What stays as it is in a path segment; a dot does not, lest a segment be taken for "the one above".
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// A path segment, percent-encoded.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A path with a query of these pairs, if there are any.
pub(super) fn with_query<'a>(path: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_generously_and_end_with_a_slash() {
        assert_eq!(base_url("127.0.0.1:8080").unwrap().as_str(), "http://127.0.0.1:8080/");
        assert_eq!(base_url("localhost").unwrap().as_str(), "http://localhost/");
        assert_eq!(base_url("https://a.example/lab?x#y").unwrap().as_str(), "https://a.example/lab/");
        for wrong in ["ftp://a.example", "http://", "http://me:pw@a.example", "http://a b/"] {
            let said = base_url(wrong).unwrap_err().to_string();
            assert!(said.contains("http://127.0.0.1:8080"), "{said}");
        }
    }

    #[test]
    fn only_what_is_safe_or_asked_for_is_repeated() {
        let server = || "http://127.0.0.1:1".to_owned();
        let unreachable = ClientError::Unreachable { server: server(), cause: String::new() };
        let broken = ClientError::Interrupted { server: server(), cause: String::new() };
        let refused = |status, seconds: Option<u64>| {
            let retry_after = seconds.map(Duration::from_secs);
            ClientError::Refused(Box::new(Problem { status, retry_after, ..Problem::default() }))
        };
        let pause = |error: &ClientError, repeat| pause_before_repeat(error, repeat, 1);
        assert!(pause(&unreachable, Repeat::IfNotSent).is_some());
        assert!(pause(&broken, Repeat::Always).is_some());
        assert!(pause(&broken, Repeat::IfNotSent).is_none());
        assert_eq!(pause(&refused(429, Some(2)), Repeat::IfNotSent), Some(Duration::from_secs(2)));
        assert!(pause(&refused(429, Some(60)), Repeat::Always).is_none());
        assert!(pause(&refused(503, None), Repeat::Always).is_none());
        assert!(pause(&refused(422, Some(1)), Repeat::Always).is_none());
        assert!(pause_before_repeat(&unreachable, Repeat::Always, TRIES_MAX).is_none());
    }
}
