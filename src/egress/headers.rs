//! Headers of outbound requests and the few of their answers that matter.
//!
//! Owns the check of headers that a caller wants sent ([`vet_headers`]) and the reading of `Retry-After`. Pure: no clock, no network.
//! Called by the server at submit, by `post` and `get`.

use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::error::Refused;

/// Headers that a caller may add to a request.
pub const HEADERS_MAX: usize = 50;
/// Bytes that the names and values of those headers may take together.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Names that belong to the connection, frame the message or change what comes back; the client sets them itself.
const RESERVED: [&str; 19] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Checks headers that a caller wants sent along. Values are marked sensitive, so that they do not appear in debug output.
///
/// # Errors
/// [`Refused`] naming the header: not a token, a value with control characters or outside of visible ASCII, one that the client sets
/// itself, more than [`HEADERS_MAX`] of them, or more than [`HEADER_BYTES_MAX`] bytes. Values are never repeated in the reason.
pub fn vet_headers(headers: &[(String, String)]) -> Result<HeaderMap, Refused> {
    if headers.len() > HEADERS_MAX {
        return Err(Refused::malformed(format!("at most {HEADERS_MAX} headers can be sent")));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX {
        return Err(Refused::malformed(format!("the headers take more than {HEADER_BYTES_MAX} bytes")));
    }
    let mut vetted = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let parsed: HeaderName =
            name.parse().map_err(|_| Refused::malformed(format!("{name:?} is not a valid header name")))?;
        if RESERVED.contains(&parsed.as_str()) {
            return Err(Refused::malformed(format!(
                "the header {parsed} is set by the server and cannot be given"
            )));
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            Refused::malformed(format!(
                "the value of the header {parsed} has characters that HTTP does not allow"
            ))
        })?;
        value.set_sensitive(true);
        vetted.append(parsed, value);
    }
    Ok(vetted)
}

/// The wait that an answer asks for: `Retry-After` in seconds, or as a date counted from the answer's own `Date`, which is right whatever
/// either clock says. A date without a `Date` beside it, or one in the past, says nothing.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean "very long"; whoever waits caps it.
        return Some(Duration::from_secs(value.parse::<u32>().unwrap_or(u32::MAX).into()));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let now = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    until.duration_since(now).ok()
}
