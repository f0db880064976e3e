//! What the head of a request may be: the limits that answer before any handler runs.

use hyper::header::{self, HeaderMap, HeaderValue};

use super::config::Config;
use super::error::{ApiError, Code};

/// Headers that are read at all. More than the setting allows are answered with a problem that says so; beyond this number HTTP/1
/// connections get a bare 431.
pub(super) const HEADERS_READ_MAX: usize = 2048;

/// hyper's smallest read buffer.
pub(super) const READ_BUFFER_BYTES_MIN: usize = 8 * 1024;

/// Requests under way at once on one HTTP/2 connection; submits whose streams were reset are under way until they are done.
pub(super) const STREAMS_MAX: u32 = 128;

/// Longest target of a request in bytes.
const TARGET_BYTES_MAX: usize = 16 * 1024;

/// Counts what came.
pub(super) fn check_head(head: &hyper::http::request::Parts, config: &Config) -> Result<(), ApiError> {
    let count = head.headers.len();
    if count > config.headers_max {
        let most = config.headers_max;
        return Err(too_large(format!("The request has {count} headers; at most {most} are read.")));
    }
    // Anything but `chunked` would have to be undone, and is not (RFC 9112 §6.1).
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        let detail = "Of the transfer codings only `chunked` is read here; send the body as it is.";
        return Err(ApiError::new(Code::InvalidRequest, detail)
            .header(header::CONNECTION, HeaderValue::from_static("close")));
    }
    let bytes = bytes_of(&head.headers);
    if bytes > config.header_bytes_max {
        let most = config.header_bytes_max;
        return Err(too_large(format!("The headers take {bytes} bytes; at most {most} are read.")));
    }
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET_BYTES_MAX {
        let detail = format!("The address takes {target} bytes; at most {TARGET_BYTES_MAX} are read.");
        return Err(too_large(detail));
    }
    Ok(())
}

fn bytes_of(headers: &HeaderMap) -> usize {
    // As written by HTTP/1: name, colon, space, value, line end.
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

fn too_large(detail: String) -> ApiError {
    ApiError::new(Code::HeadersTooLarge, detail)
}
