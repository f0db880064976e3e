//! One POST and the beginning of its answer: how webhooks are sent.
//!
//! Owns the deadline over the whole exchange and the cap on the answer. It follows no redirect, repeats nothing and judges no status.
//! Called by the webhook deliverer, thousands of times a second when it is busy: a request on a kept-alive connection costs a few
//! allocations.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use url::Url;

use super::error::{EgressError, Phase};
use super::{Egress, guard, headers};

/// What the server calls itself towards others, unless the request's headers say otherwise.
pub(super) const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("minilab/", env!("CARGO_PKG_VERSION")));

/// A POST to send once.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where to; judged again when it is sent.
    pub url: Url,
    /// Headers to send; `Host`, `Content-Length` and a `User-Agent` are added.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Time for everything: connecting, sending, and the answer with its body.
    pub timeout: Duration,
    /// Bytes of the answer's body that are read; the rest is cut off and its connection closed.
    pub answer_bytes_max: usize,
}

/// What came back. The receiver has decided once its status line is here: a body that is too long, breaks off or outlasts the deadline
/// only makes the answer `truncated`, because sending the same event again would be the worse mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code, redirects (3xx) included.
    pub status: u16,
    /// The wait that the receiver asks for.
    pub retry_after: Option<Duration>,
    /// The body, or its beginning.
    pub body: Bytes,
    /// There was more, or there should have been.
    pub truncated: bool,
    /// From the call to the end of the body as it was read.
    pub latency: Duration,
}

impl Egress {
    /// Sends one POST and reads the answer, all within `timeout` (connecting also within the connect timeout of [`super::Config`]).
    ///
    /// # Errors
    /// [`EgressError`] when no status came back: forbidden address, lookup, connection, TLS, timeout, or an answer that is not HTTP.
    pub async fn post(&self, post: Post) -> Result<Answer, EgressError> {
        let started = Instant::now();
        let deadline = tokio::time::Instant::now() + post.timeout;
        let request = self.request(Method::POST, &post.url, post.headers, post.body)?;
        let response = self.send(request, deadline, post.timeout).await?;
        let (head, body) = response.into_parts();
        let (body, truncated) = read_beginning(body, post.answer_bytes_max, deadline).await;
        Ok(Answer {
            status: head.status.as_u16(),
            retry_after: headers::retry_after(&head.headers),
            body,
            truncated,
            latency: started.elapsed(),
        })
    }

    /// Builds a request to a URL that is vetted here once more: it may come from a row written under other settings.
    pub(super) fn request(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, EgressError> {
        self.inner.guard.vet(url)?;
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = guard::request_uri(url)?;
        if let Some(credentials) = self.proxy_credentials(request.uri()) {
            headers.insert(header::PROXY_AUTHORIZATION, credentials);
        }
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// What a proxy wants to see with a request that is sent to it as it is. Into a tunnel it must not go.
    pub(super) fn proxy_credentials(&self, uri: &Uri) -> Option<HeaderValue> {
        let proxy = self.inner.proxy.as_ref().filter(|_| uri.scheme_str() == Some("http"))?;
        proxy.credentials().cloned()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: tokio::time::Instant,
        limit: Duration,
    ) -> Result<Response<Incoming>, EgressError> {
        match tokio::time::timeout_at(deadline, self.inner.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(client_error(&error)),
            Err(_) => Err(EgressError::Timeout { phase: Phase::Answer, limit }),
        }
    }
}

/// What hyper's client means: an error of our connector as it was, an unreadable answer, or a broken connection.
pub(super) fn client_error(error: &(dyn std::error::Error + 'static)) -> EgressError {
    let mut cause = Some(error);
    let mut deepest = error;
    while let Some(current) = cause {
        if let Some(ours) = current.downcast_ref::<EgressError>() {
            return ours.clone();
        }
        if let Some(http) = current.downcast_ref::<hyper::Error>() {
            return http_error(http);
        }
        deepest = current;
        cause = current.source();
    }
    EgressError::Interrupted(deepest.to_string())
}

/// The same for errors of a connection that stands.
pub(super) fn http_error(error: &hyper::Error) -> EgressError {
    if error.is_parse() || error.is_user() {
        EgressError::Protocol(error.to_string())
    } else {
        EgressError::Interrupted(error.to_string())
    }
}

/// Up to `max` bytes of a body, and whether that is not all of it. Dropping the rest makes hyper close the connection.
async fn read_beginning(mut body: Incoming, max: usize, deadline: tokio::time::Instant) -> (Bytes, bool) {
    let mut parts = Parts::default();
    while !body.is_end_stream() {
        match tokio::time::timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                let Ok(mut data) = frame.into_data() else { continue };
                let room = max - parts.len();
                if data.len() > room {
                    data.truncate(room);
                    parts.push(data);
                    return (parts.join(), true);
                }
                parts.push(data);
            }
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => return (parts.join(), true),
        }
    }
    (parts.join(), false)
}

/// The pieces of a body; a single one, the usual case, is kept without a copy.
#[derive(Default)]
struct Parts {
    first: Bytes,
    rest: BytesMut,
}

impl Parts {
    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn push(&mut self, data: Bytes) {
        if self.len() == 0 { self.first = data } else { self.rest.extend_from_slice(&data) }
    }

    fn join(self) -> Bytes {
        if self.rest.is_empty() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.len());
        whole.extend_from_slice(&self.first);
        whole.extend_from_slice(&self.rest);
        whole.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Step, Wire, egress};
    use super::*;

    const LOOPBACK: &str = "127.0.0.0/8";

    fn post(url: Url) -> Post {
        let headers =
            [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
        let timeout = Duration::from_secs(10);
        Post { url, headers, body: r#"{"type":"job.succeeded"}"#.into(), timeout, answer_bytes_max: 1000 }
    }

    fn send(text: impl Into<String>) -> Step {
        Step::Send(text.into().into())
    }

    #[tokio::test]
    async fn one_post_arrives_whole_and_its_answer_comes_back() {
        let wire =
            Wire::answering("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 5\r\n\r\nlater").await;
        let answer = egress(LOOPBACK).post(post(wire.url("/hook?a=b#part"))).await.unwrap();
        assert_eq!((answer.status, &answer.body[..], answer.truncated), (503, &b"later"[..], false));
        assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
        let requests = wire.requests();
        assert_eq!(requests.len(), 1);
        assert!(requests[0].starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{}", requests[0]);
        assert!(requests[0].contains(&format!("host: {}\r\n", wire.address)), "{}", requests[0]);
        assert!(requests[0].contains("content-length: 24\r\n"));
        assert!(requests[0].contains("user-agent: minilab/"));
        assert!(requests[0].ends_with("\r\n\r\n{\"type\":\"job.succeeded\"}"));
    }

    #[tokio::test]
    async fn connections_are_kept_alive() {
        let wire = Wire::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        let egress = egress(LOOPBACK);
        for _ in 0..20 {
            assert_eq!(egress.post(post(wire.url("/"))).await.unwrap().status, 200);
        }
        assert_eq!((wire.requests().len(), wire.connections()), (20, 1));
    }

    #[tokio::test]
    async fn redirects_are_an_answer_and_not_followed() {
        let wire =
            Wire::serve(|_| vec![send("HTTP/1.1 307 Go\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n")]).await;
        assert_eq!(egress(LOOPBACK).post(post(wire.url("/"))).await.unwrap().status, 307);
        assert_eq!(wire.requests().len(), 1);
    }

    #[tokio::test]
    async fn long_and_endless_answers_are_cut_and_their_connection_closed() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n";
        let endless = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for steps in [
            vec![send(head), Step::Flood("gigabyte")],
            vec![send(endless), Step::Flood("4\r\nwave\r\n")],
            vec![send("HTTP/1.1 200 OK\r\n\r\n"), Step::Flood("until close")],
        ] {
            let wire = Wire::serve(move |_| steps.clone()).await;
            let answer = egress(LOOPBACK).post(post(wire.url("/"))).await.unwrap();
            assert_eq!((answer.status, answer.body.len(), answer.truncated), (200, 1000, true));
            wire.closed().await;
        }
    }

    #[tokio::test]
    async fn an_answer_of_exactly_the_limit_is_whole() {
        let body = "x".repeat(1000);
        let wire = Wire::answering(format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{body}")).await;
        let answer = egress(LOOPBACK).post(post(wire.url("/"))).await.unwrap();
        assert_eq!((answer.body.len(), answer.truncated), (1000, false));
    }

    #[tokio::test]
    async fn hanging_and_dripping_answers_end_with_the_deadline() {
        for (steps, status) in [
            (vec![Step::Hang], None),
            (vec![send("HTTP/1.1 200"), Step::Hang], None),
            (vec![send("HTTP/1.1 200 OK\r\nx-drip: "), Step::Drip], None),
            (vec![send("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"), Step::Drip], Some(200)),
            (vec![send("HTTP/1.1 410 Gone\r\ncontent-length: 500\r\n\r\nhalf"), Step::Hang], Some(410)),
        ] {
            let wire = Wire::serve(move |_| steps.clone()).await;
            let timeout = Duration::from_millis(150);
            let started = Instant::now();
            let result = egress(LOOPBACK).post(Post { timeout, ..post(wire.url("/")) }).await;
            assert!(started.elapsed() < Duration::from_secs(5));
            match status {
                Some(status) => {
                    let answer = result.unwrap();
                    assert_eq!((answer.status, answer.truncated), (status, true));
                    assert!(answer.latency >= timeout);
                }
                None => {
                    let error = result.unwrap_err();
                    assert!(matches!(error, EgressError::Timeout { phase: Phase::Answer, .. }), "{error:?}");
                    assert!(error.is_transient());
                }
            }
            wire.closed().await;
        }
    }

    #[tokio::test]
    async fn broken_answers_are_named_and_do_not_spoil_the_next_request() {
        let wire = Wire::serve(|request| match request.split(' ').nth(1).unwrap() {
            "/closed" => vec![Step::Close],
            "/half" => vec![send("HTTP/1.1 200 OK\r\ncont"), Step::Close],
            "/nonsense" => vec![send("SSH-2.0-OpenSSH_9.9\r\n\r\n")],
            "/heads" => vec![send("HTTP/1.1 200 OK\r\n"), Step::Flood("x-padding: aaaaaaaaaaaaaaaa\r\n")],
            "/early" => vec![send("HTTP/1.1 202 OK\r\ncontent-length: 10\r\n\r\nhalf"), Step::Close],
            _ => vec![send("HTTP/1.1 204 No Content\r\n\r\n")],
        })
        .await;
        let egress = egress(LOOPBACK);
        for path in ["/closed", "/half"] {
            let error = egress.post(post(wire.url(path))).await.unwrap_err();
            assert!(matches!(error, EgressError::Interrupted(_)), "{path}: {error:?}");
            assert!(error.is_transient());
        }
        for path in ["/nonsense", "/heads"] {
            let error = egress.post(post(wire.url(path))).await.unwrap_err();
            assert!(matches!(error, EgressError::Protocol(_)), "{path}: {error:?}");
            assert!(!error.is_transient());
        }
        let early = egress.post(post(wire.url("/early"))).await.unwrap();
        assert_eq!((early.status, &early.body[..], early.truncated), (202, &b"half"[..], true));
        let fine = egress.post(post(wire.url("/fine"))).await.unwrap();
        assert_eq!((fine.status, fine.body.len(), fine.truncated), (204, 0, false));
    }

    #[tokio::test]
    async fn a_url_from_other_times_is_judged_again() {
        let wire = Wire::answering("").await;
        for url in [
            wire.url("/"),
            "http://user:pass@example.com/".parse().unwrap(),
            "ftp://example.com/".parse().unwrap(),
        ] {
            let error = egress("10.0.0.0/8").post(post(url)).await.unwrap_err();
            assert!(matches!(error, EgressError::Forbidden(_)), "{error:?}");
        }
        assert_eq!(wire.connections(), 0);
    }
}
