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

#[cfg(test)]
mod tests {
    use super::*;

    fn vet(name: &str, value: &str) -> Result<HeaderMap, Refused> {
        vet_headers(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn ordinary_headers_pass_in_order_and_repeatedly() {
        let pairs =
            [("Authorization", "Bearer s3cret"), ("X-Tag", "a"), ("x-tag", "b"), ("user-agent", "me/1")];
        let vetted = vet_headers(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
        assert_eq!(vetted["authorization"], "Bearer s3cret");
        assert_eq!(vetted.get_all("x-tag").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(!format!("{vetted:?}").contains("s3cret"), "secrets must not reach the log");
    }

    #[test]
    fn headers_of_the_connection_and_broken_ones_are_refused_without_their_value() {
        for name in [
            "accept-encoding",
            "connection",
            "content-length",
            "expect",
            "host",
            "if-none-match",
            "keep-alive",
            "proxy-authorization",
            "range",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ] {
            let refused = vet(&name.to_uppercase(), "s3cret").expect_err(name);
            assert!(refused.reason.contains(name) && !refused.reason.contains("s3cret"), "{refused}");
        }
        for (name, value) in [
            ("", "v"),
            ("two words", "v"),
            ("colon:", "v"),
            ("new\nline", "v"),
            ("ümlaut", "v"),
            ("x-a", "one\r\nx-b: two"),
            ("x-a", "nul\0"),
            ("x-a", "bell\u{7}"),
        ] {
            assert!(vet(name, value).is_err(), "{name:?}: {value:?}");
        }
    }

    #[test]
    fn number_and_size_are_limited() {
        let many = |count| vec![("x-a".to_owned(), "v".to_owned()); count];
        assert!(vet_headers(&many(HEADERS_MAX)).is_ok());
        assert!(vet_headers(&many(HEADERS_MAX + 1)).is_err());
        assert!(vet("x-a", &"v".repeat(HEADER_BYTES_MAX - 3)).is_ok());
        assert!(vet("x-a", &"v".repeat(HEADER_BYTES_MAX - 2)).is_err());
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date_from_the_answers_own_clock() {
        let read = |retry: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, retry.parse().unwrap());
            if let Some(date) = date {
                headers.insert(header::DATE, date.parse().unwrap());
            }
            retry_after(&headers).map(|wait| wait.as_secs())
        };
        let noon = Some("Sun, 06 Nov 1994 12:00:00 GMT");
        assert_eq!(read("120", None), Some(120));
        assert_eq!(read(" 0 ", None), Some(0));
        assert_eq!(read("99999999999999999999", None), Some(u32::MAX.into()));
        assert_eq!(read("Sun, 06 Nov 1994 12:02:00 GMT", noon), Some(120));
        assert_eq!(read("Sun, 06 Nov 1994 11:59:00 GMT", noon), None);
        assert_eq!(read("Sun, 06 Nov 1994 12:02:00 GMT", None), None);
        for nonsense in ["", "-5", "+5", "1.5", "soon"] {
            assert_eq!(read(nonsense, noon), None, "{nonsense:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
