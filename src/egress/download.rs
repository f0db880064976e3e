//! The body of a source on its way here.
//!
//! Owns the cap on its bytes (as they come, and as they are once unpacked), the deadline, and going on where a connection broke off: with
//! `Range` and `If-Range`, so that bytes of two versions of a file never meet. Without a strong `ETag` to ask by, or when the answer is not
//! exactly the rest, the break is an error and whoever wants the source begins anew. It never looks into the bytes. Made by `get`.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use tokio::time::Instant;
use url::Url;

use super::coding::Decoder;
use super::error::{EgressError, Phase};
use super::post::http_error;
use super::{Egress, headers};

/// Times that a body is gone on with after its connection broke off.
const RESUMES_MAX: u32 = 3;

/// A request that was sent, and may be sent once more for the rest of its answer.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) egress: Egress,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) deadline: Instant,
    pub(super) timeout: Duration,
    pub(super) answer_timeout: Duration,
}

/// An answer whose body is still arriving. Dropping it closes the connection.
#[derive(Debug)]
pub struct Fetched {
    /// Status code: 200 or 203.
    pub status: u16,
    /// Size that the source has announced, in bytes; within `bytes_max`. Absent for a body that must be unpacked.
    pub content_length: Option<u64>,
    /// Media type that the source claims; the bytes decide.
    pub content_type: Option<String>,
    arriving: Arriving,
    decoder: Option<Decoder>,
    packed: Bytes,
    given: u64,
    bytes_max: u64,
}

/// The bytes as they come.
#[derive(Debug)]
struct Arriving {
    asked: Asked,
    etag: Option<HeaderValue>,
    body: Incoming,
    received: u64,
    resumes_left: u32,
    is_over: bool,
}

impl Fetched {
    pub(super) fn new(
        asked: Asked,
        response: Response<Incoming>,
        bytes_max: u64,
    ) -> Result<Fetched, EgressError> {
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        if !matches!(status, 200 | 203) {
            return Err(EgressError::Status(status, headers::retry_after(&head.headers)));
        }
        let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let encoding = text(header::CONTENT_ENCODING).unwrap_or_default();
        let decoder = Decoder::for_encoding(encoding).map_err(|encoding| {
            EgressError::Protocol(format!("it is encoded as {encoding:?}, which was not asked for"))
        })?;
        // hyper has checked the header against the framing of the message; what it does not know has no announced size.
        let announced = body.size_hint().exact();
        if announced.is_some_and(|length| length > bytes_max) {
            return Err(EgressError::TooLarge { limit: bytes_max });
        }
        let content_type = text(header::CONTENT_TYPE).map(str::to_owned);
        let content_length = announced.filter(|_| decoder.is_none());
        let is_ranged = text(header::ACCEPT_RANGES) != Some("none");
        let etag = head
            .headers
            .get(header::ETAG)
            .filter(|etag| is_ranged && etag.as_bytes().starts_with(b"\""))
            .cloned();
        let arriving = Arriving { asked, etag, body, received: 0, resumes_left: RESUMES_MAX, is_over: false };
        let (packed, given) = (Bytes::new(), 0);
        Ok(Fetched { status, content_length, content_type, arriving, decoder, packed, given, bytes_max })
    }

    /// The next piece of the body, `None` at its end.
    ///
    /// # Errors
    /// [`EgressError::TooLarge`] at the first byte over `bytes_max`, [`EgressError::Timeout`] past the deadline,
    /// [`EgressError::Interrupted`] when the body ends before its announced size, [`EgressError::Protocol`] when it can't be unpacked.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, EgressError> {
        let next = match self.decoder.take() {
            None => self.arriving.chunk(self.bytes_max).await?,
            Some(mut decoder) => {
                let unpacked = self.unpacked(&mut decoder).await;
                self.decoder = Some(decoder);
                unpacked?
            }
        };
        self.given += next.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if self.given > self.bytes_max {
            return Err(EgressError::TooLarge { limit: self.bytes_max });
        }
        Ok(next)
    }

    async fn unpacked(&mut self, decoder: &mut Decoder) -> Result<Option<Bytes>, EgressError> {
        let broken = |error| EgressError::Protocol(format!("its content encoding is broken: {error}"));
        loop {
            while !self.packed.is_empty() {
                let unpacked = decoder.step(&mut self.packed).map_err(broken)?;
                if !unpacked.is_empty() {
                    return Ok(Some(unpacked));
                }
            }
            if self.arriving.is_over {
                return Ok(None);
            }
            match self.arriving.chunk(self.bytes_max).await? {
                Some(packed) => self.packed = packed,
                None => {
                    let rest = decoder.finish().map_err(broken)?;
                    return Ok(Some(rest).filter(|rest| !rest.is_empty()));
                }
            }
        }
    }
}

impl Arriving {
    async fn chunk(&mut self, bytes_max: u64) -> Result<Option<Bytes>, EgressError> {
        while !self.is_over {
            let frame = match tokio::time::timeout_at(self.asked.deadline, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    self.go_on(http_error(&error)).await?;
                    continue;
                }
                Ok(None) => {
                    self.is_over = true;
                    break;
                }
                Err(_) => return Err(EgressError::Timeout { phase: Phase::Body, limit: self.asked.timeout }),
            };
            let Ok(data) = frame.into_data() else { continue };
            self.received += data.len() as u64;
            if self.received > bytes_max {
                return Err(EgressError::TooLarge { limit: bytes_max });
            }
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Asks for the rest of a body that broke off, or gives the break back.
    async fn go_on(&mut self, broken: EgressError) -> Result<(), EgressError> {
        let Some(etag) = &self.etag else { return Err(broken) };
        if !matches!(broken, EgressError::Interrupted(_)) || self.received == 0 || self.resumes_left == 0 {
            return Err(broken);
        }
        self.resumes_left -= 1;
        let mut rest = self.asked.clone();
        let range = HeaderValue::try_from(format!("bytes={}-", self.received)).map_err(|_| broken.clone())?;
        rest.headers.insert(header::RANGE, range);
        rest.headers.insert(header::IF_RANGE, etag.clone());
        let Ok(response) = rest.ask().await else { return Err(broken) };
        let begins = format!("bytes {}-", self.received);
        let of_rest = |value: &HeaderValue| value.as_bytes().starts_with(begins.as_bytes());
        let is_rest = response.status().as_u16() == 206
            && response.headers().get(header::CONTENT_RANGE).is_some_and(of_rest)
            && response.headers().get(header::ETAG).is_none_or(|now| now == etag);
        if !is_rest {
            return Err(broken);
        }
        tracing::debug!(received = self.received, "a source broke off and is gone on with");
        self.body = response.into_body();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Get;
    use super::super::coding::tests::gzip;
    use super::super::wire::{Step, Wire, egress};
    use super::*;

    const LOOPBACK: &str = "127.0.0.0/8";

    async fn fetch(wire: &Wire, bytes_max: u64) -> Result<Vec<u8>, EgressError> {
        let mut fetched = egress(LOOPBACK).get(Get::new(wire.url("/"), HeaderMap::new(), bytes_max)).await?;
        let mut body = Vec::new();
        while let Some(chunk) = fetched.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        assert!(fetched.chunk().await?.is_none(), "the end stays the end");
        Ok(body)
    }

    /// Sends two letters at a time of "abcdef" and breaks off; `rest` answers who asks for more, given the offset.
    async fn brittle(etag: &'static str, rest: impl Fn(usize) -> String + Send + Sync + 'static) -> Wire {
        Wire::serve(move |request| {
            let offset = request
                .lines()
                .find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
            let head = match offset {
                None => format!("HTTP/1.1 200 OK\r\netag: {etag}\r\ncontent-length: 6\r\n\r\n"),
                Some(offset) => rest(offset),
            };
            let offset = offset.unwrap_or(0);
            let letters = &"abcdef"[offset..(offset + 2).min(6)];
            vec![Step::Send(format!("{head}{letters}").into()), Step::Close]
        })
        .await
    }

    fn partial(offset: usize) -> String {
        let left = 6 - offset;
        format!(
            "HTTP/1.1 206 Partial\r\netag: \"v1\"\r\ncontent-range: bytes {offset}-5/6\r\ncontent-length: {left}\r\n\r\n"
        )
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_gone_on_with() {
        let wire = brittle("\"v1\"", partial).await;
        assert_eq!(fetch(&wire, 6).await.unwrap(), b"abcdef");
        let requests = wire.requests();
        assert_eq!(requests.len(), 3);
        assert!(
            requests[2].contains("range: bytes=4-\r\n") && requests[2].contains("if-range: \"v1\"\r\n"),
            "{}",
            requests[2]
        );
    }

    #[tokio::test]
    async fn bytes_of_two_versions_never_meet() {
        type Rest = fn(usize) -> String;
        let cases: [(&'static str, Rest, usize); 6] = [
            ("W/\"v1\"", partial, 1),
            ("\"v1\"", |_| "HTTP/1.1 200 OK\r\netag: \"v2\"\r\ncontent-length: 6\r\n\r\n".to_owned(), 2),
            ("\"v1\"", |offset| partial(offset).replace("v1", "v2"), 2),
            ("\"v1\"", |offset| partial(offset).replace("bytes 2-", "bytes 0-"), 2),
            ("\"v1\"", |_| "HTTP/1.1 416 Range\r\ncontent-length: 0\r\n\r\n".to_owned(), 2),
            ("\"v1\"", |_| "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_owned(), 2),
        ];
        for (etag, rest, requests) in cases {
            let wire = brittle(etag, rest).await;
            let error = fetch(&wire, 6).await.unwrap_err();
            assert!(matches!(error, EgressError::Interrupted(_)) && error.is_transient(), "{error:?}");
            assert_eq!(wire.requests().len(), requests, "{etag}");
        }
    }

    #[tokio::test]
    async fn it_is_not_gone_on_with_forever() {
        // One letter at a time.
        let wire = Wire::serve(|request| {
            let offset: usize = request
                .lines()
                .find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok())
                .unwrap_or(0);
            let head = match offset {
                0 => "HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: 6\r\n\r\n".to_owned(),
                _ => partial(offset),
            };
            vec![Step::Send(format!("{head}x").into()), Step::Close]
        })
        .await;
        let error = fetch(&wire, 6).await.unwrap_err();
        assert!(matches!(error, EgressError::Interrupted(_)), "{error:?}");
        assert_eq!(wire.requests().len(), 1 + RESUMES_MAX as usize);
    }

    #[tokio::test]
    async fn a_packed_body_is_unpacked_and_counted_both_ways() {
        let packed = gzip(&[7; 100_000]);
        let serve = |packed: Vec<u8>| {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
                packed.len()
            );
            Wire::serve(move |_| vec![Step::Send(head.clone().into()), Step::Send(packed.clone())])
        };
        let wire = serve(packed.clone()).await;
        assert_eq!(fetch(&wire, 100_000).await.unwrap(), [7; 100_000]);
        let error = fetch(&wire, 99_999).await.unwrap_err();
        assert!(matches!(error, EgressError::TooLarge { limit: 99_999 }), "{error:?}");
        let error = fetch(&wire, packed.len() as u64 - 1).await.unwrap_err();
        assert!(matches!(error, EgressError::TooLarge { .. }), "{error:?}");
        let wire = serve(packed[..packed.len() - 9].to_vec()).await;
        let error = fetch(&wire, 200_000).await.unwrap_err();
        assert!(matches!(error, EgressError::Protocol(_)), "{error:?}");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_begin_ends_before_the_whole_time() {
        let wire = Wire::serve(|_| vec![Step::Hang]).await;
        let get = Get {
            answer_timeout: Duration::from_millis(100),
            ..Get::new(wire.url("/"), HeaderMap::new(), 1)
        };
        let error = egress(LOOPBACK).get(get).await.unwrap_err();
        assert!(
            matches!(error, EgressError::Timeout { phase: Phase::Answer, limit } if limit.as_millis() == 100),
            "{error:?}"
        );
    }
}
