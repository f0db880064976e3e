//! Parts of a stored file: `Range` and `If-Range` (RFC 9110 §14).

use std::ops::Range;

use hyper::header::{self, HeaderMap};

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that there are none of.
    Outside,
}

/// What the headers of a GET ask for, of a file with this length and this (strong) ETag. What can't be read is ignored, as the RFC says, and
/// so are several ranges at once: the whole file is a right answer to them.
pub(super) fn wanted(headers: &HeaderMap, length: u64, etag: &str) -> Wanted {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(range) = text(header::RANGE) else { return Wanted::Whole };
    // Only a strong match lets parts of two answers be put together; a date never matches, as no Last-Modified is sent.
    if headers.contains_key(header::IF_RANGE) && text(header::IF_RANGE) != Some(etag) {
        return Wanted::Whole;
    }
    let Some((unit, spec)) = range.split_once('=') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    parse(spec.trim(), length)
}

fn parse(spec: &str, length: u64) -> Wanted {
    let Some((first, last)) = spec.split_once('-') else { return Wanted::Whole };
    let (first, last) = (first.trim(), last.trim());
    match (number(first), number(last)) {
        // The last so many bytes.
        (None, Some(count)) if first.is_empty() => {
            let start = length.saturating_sub(count);
            if start < length { Wanted::Part(start..length) } else { Wanted::Outside }
        }
        (Some(first), None) if last.is_empty() => part(first, length.saturating_sub(1), length),
        (Some(first), Some(last)) if first <= last => part(first, last, length),
        _ => Wanted::Whole,
    }
}

fn part(first: u64, last: u64, length: u64) -> Wanted {
    if first >= length {
        return Wanted::Outside;
    }
    Wanted::Part(first..last.saturating_add(1).min(length))
}

/// Decimal digits; more than fit mean "very far".
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(range: &str, if_range: Option<&str>) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        if let Some(value) = if_range {
            headers.insert(header::IF_RANGE, value.parse().unwrap());
        }
        wanted(&headers, 1000, "\"e\"")
    }

    #[test]
    fn the_examples_of_rfc_9110() {
        assert_eq!(judge("bytes=0-499", None), Wanted::Part(0..500));
        assert_eq!(judge("bytes=500-999", None), Wanted::Part(500..1000));
        assert_eq!(judge("bytes=-500", None), Wanted::Part(500..1000));
        assert_eq!(judge("bytes=999-", None), Wanted::Part(999..1000));
        assert_eq!(judge("bytes=0-0", None), Wanted::Part(0..1));
    }

    #[test]
    fn edges() {
        assert_eq!(judge("bytes=-5000", None), Wanted::Part(0..1000));
        assert_eq!(judge("bytes=900-99999999999999999999999", None), Wanted::Part(900..1000));
        for outside in ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(judge(outside, None), Wanted::Outside, "{outside}");
        }
        for ignored in
            ["bytes=5-4", "bytes=a-b", "bytes=", "bytes=-", "lines=0-1", "0-1", "bytes=0-1,5-6", "bytes=+1-2"]
        {
            assert_eq!(judge(ignored, None), Wanted::Whole, "{ignored}");
        }
    }

    #[test]
    fn if_range_must_match_strongly() {
        assert_eq!(judge("bytes=0-1", Some("\"e\"")), Wanted::Part(0..2));
        for other in ["\"f\"", "W/\"e\"", "Sat, 21 Nov 2026 12:00:00 GMT"] {
            assert_eq!(judge("bytes=0-1", Some(other)), Wanted::Whole, "{other}");
        }
    }
}
