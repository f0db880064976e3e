//! A webhook as it was received: its headers and its body, from the network or from a file, and whether to trust it.
//!
//! A captured one is an HTTP request as text: a request line, headers, an empty line, the body. Used by `listen` and `verify-webhook`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Clock;
use crate::webhook::signature::{Secret, Signed, VerifyError, verify};

/// A webhook as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Captured {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why a webhook is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Distrust {
    /// One of the three headers is not there.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// The signature, or its time.
    #[error(transparent)]
    Wrong(#[from] VerifyError),
}

impl Captured {
    /// Reads a captured request. Lines may end with CR LF or LF alone; the body is taken byte by byte.
    pub(super) fn parse(text: &[u8]) -> Result<Captured, String> {
        let mut headers = HeaderMap::new();
        let mut rest = text;
        let mut is_first = true;
        loop {
            let Some(end) = memchr::memchr(b'\n', rest) else {
                return Err("there is no empty line between headers and body".to_owned());
            };
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            rest = after;
            if line.is_empty() {
                return Ok(Captured { headers, body: Bytes::copy_from_slice(rest) });
            }
            let line = std::str::from_utf8(line).map_err(|_| "a header is no text".to_owned())?;
            let is_request_line = std::mem::take(&mut is_first) && line.starts_with("POST ");
            if is_request_line {
                continue;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| format!("{line:?} is no header"))?;
            let name: HeaderName =
                name.trim().parse().map_err(|_| format!("{name:?} is no header's name"))?;
            let value: HeaderValue =
                value.trim().parse().map_err(|_| format!("the value of {name} is not valid"))?;
            headers.append(name, value);
        }
    }

    /// The same as text.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut text = b"POST / HTTP/1.1\r\n".to_vec();
        for (name, value) in &self.headers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(&self.body);
        text
    }

    /// A header as text, or nothing.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether one of the secrets signed it, at most `tolerance` ago.
    pub(super) fn verify(&self, secrets: &[Secret], tolerance: Duration) -> Result<(), Distrust> {
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            if !self.headers.contains_key(name) {
                return Err(Distrust::Missing(name));
            }
        }
        let signed = Signed {
            id: self.header("webhook-id"),
            timestamp: self.header("webhook-timestamp"),
            signature: self.header("webhook-signature"),
        };
        let now = Clock::System.now().as_seconds();
        Ok(verify(secrets, signed, &self.body, now, tolerance)?)
    }

    /// The body as JSON, if it is any.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_captured_reads_back_and_keeps_its_signature() {
        let secret = Secret::generate([5; 32]);
        let body = b"{\"type\":\"job.succeeded\"}\r\n\nmore\n";
        let now = Clock::System.now().as_seconds();
        let signature = secret.sign("msg_1", now, body);
        let text = format!(
            "POST /hook HTTP/1.1\nWebhook-Id: msg_1\nwebhook-timestamp: {now}\nwebhook-signature: {signature}\n\n"
        );
        let captured = Captured::parse(&[text.as_bytes(), body].concat()).unwrap();
        assert_eq!(&captured.body[..], body);
        let (tolerance, secrets) = (Duration::from_secs(60), [secret]);
        let again = Captured::parse(&captured.write()).unwrap();
        assert_eq!(again.verify(&secrets, tolerance), Ok(()));
        let tampered = Captured { body: Bytes::from_static(b"{}"), ..captured.clone() };
        assert_eq!(tampered.verify(&secrets, tolerance), Err(VerifyError::Mismatch.into()));
        let mut bare = captured;
        bare.headers.remove("webhook-signature");
        assert_eq!(bare.verify(&secrets, tolerance), Err(Distrust::Missing("webhook-signature")));
    }

    #[test]
    fn what_is_no_request_is_told() {
        for text in ["", "webhook-id: 1", "no header\n\n", "bad name: 1\n\n", ": 1\n\n"] {
            assert!(Captured::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
