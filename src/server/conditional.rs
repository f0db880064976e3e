//! `If-Match` and `If-None-Match` (RFC 9110 §13).

use hyper::header::{self, HeaderMap};
use hyper::{Response, StatusCode};

use super::body::Body;
use super::error::{ApiError, Code};
use super::respond;

/// Whether a reader has what there is: an answer of 304 then. `If-Match` that does not hold is an error.
pub(super) fn check(headers: &HeaderMap, etag: &str) -> Result<Option<Response<Body>>, ApiError> {
    if headers.contains_key(header::IF_MATCH) && !matches(headers, header::IF_MATCH, etag, false) {
        return Err(ApiError::new(Code::PreconditionFailed, format!("It is {etag} now.")));
    }
    if !matches(headers, header::IF_NONE_MATCH, etag, true) {
        return Ok(None);
    }
    let mut response = respond::empty(StatusCode::NOT_MODIFIED);
    respond::set(&mut response, header::ETAG, etag.to_owned());
    Ok(Some(response))
}

/// The version that `If-None-Match` names, when it is that of a job: `"v7"`.
pub(super) fn seen_version(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::IF_NONE_MATCH)?.to_str().ok()?.trim();
    value.trim_start_matches("W/").strip_prefix("\"v")?.strip_suffix('"')?.parse().ok()
}

fn matches(headers: &HeaderMap, name: header::HeaderName, etag: &str, weak: bool) -> bool {
    let values = headers.get_all(name);
    values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |candidate| {
            let candidate = candidate.trim();
            let opaque = if weak { candidate.strip_prefix("W/").unwrap_or(candidate) } else { candidate };
            candidate == "*" || opaque == etag
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(name: header::HeaderName, value: &str) -> Result<bool, Code> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        check(&headers, "\"v7\"").map(|answer| answer.is_some()).map_err(|error| error.code())
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        for value in ["\"v7\"", "W/\"v7\"", "*", "\"v1\", \"v7\""] {
            assert_eq!(judge(header::IF_NONE_MATCH, value), Ok(true), "{value}");
        }
        assert_eq!(judge(header::IF_NONE_MATCH, "\"v6\""), Ok(false));
        assert_eq!(judge(header::IF_MATCH, "\"v7\""), Ok(false));
        assert_eq!(judge(header::IF_MATCH, "W/\"v7\""), Err(Code::PreconditionFailed));
    }

    #[test]
    fn versions_are_read_from_etags() {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, "\"v12\"".parse().unwrap());
        assert_eq!(seen_version(&headers), Some(12));
        headers.insert(header::IF_NONE_MATCH, "\"12\"".parse().unwrap());
        assert_eq!(seen_version(&headers), None);
    }
}
