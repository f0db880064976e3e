//! A GET with redirects: how a job's source is asked for.
//!
//! Owns the walk along redirects (each hop judged like the first) and the deadline over all hops. It stores nothing; what comes back is
//! read through [`Fetched`]. Called by the worker.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response};
use tokio::time::Instant;
use url::Url;

use super::Egress;
use super::download::{Asked, Fetched};
use super::error::EgressError;

/// Redirects that are followed.
pub const REDIRECTS_MAX: usize = 3;

/// A GET to send.
#[derive(Clone, Debug)]
pub struct Get {
    /// Where to; judged again when it is sent.
    pub url: Url,
    /// Headers of the caller; a redirect to another origin drops them for good.
    pub headers: HeaderMap,
    /// Time for everything: all connections, all redirects, the whole body.
    pub timeout: Duration,
    /// Time from each request to the first bytes of its answer, connecting included.
    pub answer_timeout: Duration,
    /// Largest body that is taken, in bytes, as it comes and as it is once unpacked.
    pub bytes_max: u64,
}

impl Get {
    /// With the default times.
    pub fn new(url: Url, headers: HeaderMap, bytes_max: u64) -> Get {
        let (timeout, answer_timeout) = (Duration::from_secs(60), Duration::from_secs(30));
        Get { url, headers, timeout, answer_timeout, bytes_max }
    }
}

impl Egress {
    /// Requests a source, following up to [`REDIRECTS_MAX`] redirects, and returns once the head of the final answer is here.
    ///
    /// # Errors
    /// [`EgressError`]: any status but 200 and 203, a partial body, an encoding that can't be undone, a body announced larger than
    /// `bytes_max`, a forbidden address or redirect, or trouble on the way.
    pub async fn get(&self, get: Get) -> Result<Fetched, EgressError> {
        let Get { mut url, mut headers, timeout, answer_timeout, bytes_max } = get;
        let deadline = Instant::now() + timeout;
        for hop in 0..=REDIRECTS_MAX {
            let mut asked = Asked {
                egress: self.clone(),
                url: url.clone(),
                headers: headers.clone(),
                deadline,
                timeout,
                answer_timeout,
            };
            let response = asked.ask().await.map_err(|error| match error {
                EgressError::Forbidden(refused) if hop > 0 => {
                    EgressError::Forbidden(refused.behind_redirect())
                }
                other => other,
            })?;
            let Some(next) = redirect(&url, &response)? else {
                return Fetched::new(asked, response, bytes_max);
            };
            if next.origin() != url.origin() {
                headers.clear();
            }
            url = next;
        }
        Err(EgressError::TooManyRedirects { limit: REDIRECTS_MAX })
    }
}

impl Asked {
    /// Sends the request, and waits for the head of the answer.
    pub(super) async fn ask(&mut self) -> Result<Response<Incoming>, EgressError> {
        let mut headers = self.headers.clone();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let request = self.egress.request(Method::GET, &self.url, headers, Bytes::new())?;
        let answer_deadline = Instant::now() + self.answer_timeout;
        let (deadline, limit) = match answer_deadline < self.deadline {
            true => (answer_deadline, self.answer_timeout),
            false => (self.deadline, self.timeout),
        };
        self.egress.send(request, deadline, limit).await
    }
}

/// Where a response redirects to, if it does.
fn redirect(from: &Url, response: &Response<Incoming>) -> Result<Option<Url>, EgressError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let unusable = || EgressError::Protocol("it redirects without a usable Location".to_owned());
    let location = response.headers().get(header::LOCATION).ok_or_else(unusable)?;
    let location = std::str::from_utf8(location.as_bytes()).map_err(|_| unusable())?;
    let mut next = from.join(location).map_err(|_| unusable())?;
    next.set_fragment(None);
    Ok(Some(next))
}

#[cfg(test)]
mod tests {
    use super::super::error::Phase;
    use super::super::headers::vet_headers;
    use super::super::wire::{Step, Wire, egress};
    use super::*;

    const LOOPBACK: &str = "127.0.0.0/8";

    fn get(url: Url) -> Get {
        let headers = vet_headers(&[("authorization".to_owned(), "Bearer s3cret".to_owned())]).unwrap();
        Get { timeout: Duration::from_secs(10), ..Get::new(url, headers, 1000) }
    }

    fn send(text: impl Into<String>) -> Step {
        Step::Send(text.into().into())
    }

    async fn whole(fetched: &mut Fetched) -> Result<Vec<u8>, EgressError> {
        let mut body = Vec::new();
        while let Some(chunk) = fetched.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// A receiver whose answers are named by path: `/to?<location>` redirects, `/loop` to itself, anything else is an image.
    async fn site() -> Wire {
        Wire::serve(|request| {
            let path = request.split(' ').nth(1).unwrap();
            let location = match path.split_once('?') {
                Some(("/to", target)) => target.to_owned(),
                _ if path == "/loop" => "/loop".to_owned(),
                _ => {
                    return vec![send(
                        "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 5\r\n\r\nimage",
                    )];
                }
            };
            vec![send(format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"))]
        })
        .await
    }

    #[tokio::test]
    async fn a_source_streams_with_what_it_announces() {
        let wire = site().await;
        let mut fetched = egress(LOOPBACK).get(get(wire.url("/photo.png"))).await.unwrap();
        assert_eq!((fetched.status, fetched.content_length), (200, Some(5)));
        assert_eq!(fetched.content_type.as_deref(), Some("image/png"));
        assert_eq!(whole(&mut fetched).await.unwrap(), b"image");
        let request = &wire.requests()[0];
        assert!(request.starts_with("GET /photo.png HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("accept-encoding: identity\r\n"), "{request}");
        assert!(request.contains("authorization: Bearer s3cret\r\n"), "{request}");
    }

    #[tokio::test]
    async fn three_redirects_are_followed_and_no_more() {
        let wire = site().await;
        let egress = egress(LOOPBACK);
        let mut fetched = egress.get(get(wire.url("/to?/to?/to?/photo.png"))).await.unwrap();
        assert_eq!(whole(&mut fetched).await.unwrap(), b"image");
        assert_eq!(wire.requests().len(), 4);
        assert!(
            wire.requests().iter().all(|request| request.contains("s3cret")),
            "the origin stayed the same"
        );

        let error = egress.get(get(wire.url("/loop"))).await.unwrap_err();
        assert!(matches!(error, EgressError::TooManyRedirects { limit: 3 }), "{error:?}");
        assert_eq!(wire.requests().len(), 8);
    }

    #[tokio::test]
    async fn headers_do_not_follow_to_another_origin_nor_come_back() {
        let (home, elsewhere) = (site().await, site().await);
        let there_and_back =
            home.url(&format!("/to?{}", elsewhere.url(&format!("/to?{}", home.url("/photo.png")))));
        egress(LOOPBACK).get(get(there_and_back)).await.unwrap();
        assert_eq!(elsewhere.requests().len(), 1);
        assert!(!elsewhere.requests()[0].contains("s3cret"));
        let at_home = home.requests();
        assert_eq!(at_home.len(), 2);
        assert!(at_home[0].contains("s3cret") && !at_home[1].contains("s3cret"));
    }

    #[tokio::test]
    async fn redirects_are_judged_like_the_first_url() {
        let wire = site().await;
        for target in [
            "http://10.0.0.1/",
            "http://[::1]/",
            "//169.254.169.254/meta",
            "file:///etc/passwd",
            "http://u:p@127.0.0.1/",
        ] {
            let error =
                egress("127.0.0.1/32").get(get(wire.url(&format!("/to?{target}")))).await.unwrap_err();
            assert!(matches!(error, EgressError::Forbidden(_)), "{target}: {error:?}");
            assert!(error.to_string().contains("redirects"), "{error}");
            assert!(!error.is_transient());
        }
    }

    #[tokio::test]
    async fn answers_that_are_no_source_are_refused() {
        for (head, expected) in [
            ("404 Not Found\r\ncontent-length: 0", "Status(404, None)"),
            ("503 Busy\r\nretry-after: 9\r\ncontent-length: 0", "Status(503, Some(9s))"),
            ("206 Partial\r\ncontent-length: 0", "Status(206, None)"),
            ("304 Not Modified", "Status(304, None)"),
            ("302 Found\r\ncontent-length: 0", "Protocol"),
            ("302 Found\r\nlocation: http://[\r\ncontent-length: 0", "Protocol"),
            ("200 OK\r\ncontent-encoding: br\r\ncontent-length: 0", "Protocol"),
            ("200 OK\r\ncontent-length: 1001", "TooLarge { limit: 1000 }"),
        ] {
            let wire = Wire::answering(format!("HTTP/1.1 {head}\r\n\r\n")).await;
            let error = egress(LOOPBACK).get(get(wire.url("/"))).await.unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{head}: {error:?}");
            assert_eq!(error.is_transient(), head.starts_with("503"), "{head}");
        }
    }

    #[tokio::test]
    async fn bytes_are_counted_with_and_without_an_announced_size() {
        let body = "x".repeat(1000);
        for (answer, length, fits) in [
            (format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{body}"), Some(1000), true),
            (
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n{body}\r\n0\r\n\r\n"),
                None,
                true,
            ),
            (
                format!(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n{body}\r\n1\r\nx\r\n0\r\n\r\n"
                ),
                None,
                false,
            ),
            (format!("HTTP/1.1 200 OK\r\n\r\n{body}"), None, true),
            (format!("HTTP/1.1 200 OK\r\n\r\n{body}x"), None, false),
        ] {
            let steps = vec![send(answer.clone()), Step::Close];
            let wire = Wire::serve(move |_| steps.clone()).await;
            let mut fetched = egress(LOOPBACK).get(get(wire.url("/"))).await.unwrap();
            assert_eq!(fetched.content_length, length);
            match whole(&mut fetched).await {
                Ok(read) => assert!(fits && read.len() == 1000, "{answer}"),
                Err(error) => {
                    assert!(!fits && matches!(error, EgressError::TooLarge { limit: 1000 }), "{error:?}")
                }
            }
        }
    }

    #[tokio::test]
    async fn endless_hanging_and_broken_bodies_end() {
        let timeout = Duration::from_millis(150);
        for (steps, expected) in [
            (vec![send("HTTP/1.1 200 OK\r\n\r\n"), Step::Flood("endless")], "TooLarge"),
            (
                vec![send("HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n"), Step::Drip],
                "Timeout { phase: Body",
            ),
            (
                vec![send("HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n"), Step::Hang],
                "Timeout { phase: Body",
            ),
            (vec![send("HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\nhalf"), Step::Close], "Interrupted"),
            (
                vec![send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf"), Step::Close],
                "Interrupted",
            ),
        ] {
            let wire = Wire::serve(move |_| steps.clone()).await;
            let mut fetched = egress(LOOPBACK).get(Get { timeout, ..get(wire.url("/")) }).await.unwrap();
            let error = whole(&mut fetched).await.unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{expected}: {error:?}");
            assert_eq!(error.is_transient(), expected != "TooLarge");
            drop(fetched);
            wire.closed().await;
        }
    }

    #[tokio::test]
    async fn the_deadline_covers_all_hops() {
        let wire = Wire::serve(|request| {
            if request.starts_with("GET /hang") {
                return vec![Step::Hang];
            }
            vec![send("HTTP/1.1 302 Found\r\nlocation: /hang\r\ncontent-length: 0\r\n\r\n")]
        })
        .await;
        let timeout = Duration::from_millis(150);
        let error = egress(LOOPBACK).get(Get { timeout, ..get(wire.url("/")) }).await.unwrap_err();
        assert!(matches!(error, EgressError::Timeout { phase: Phase::Answer, .. }), "{error:?}");
    }
}
