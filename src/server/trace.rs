//! `traceparent` of a request (W3C Trace Context, <https://www.w3.org/TR/trace-context/>): read strictly, for it is passed on to others.

use hyper::HeaderMap;

/// Length of the fields that every version has: version, trace id, parent id, flags.
const LENGTH: usize = 55;

/// The header's value if it is a valid one; what a later version adds is cut.
pub(super) fn parent(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all("traceparent").iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (known, rest) = value.split_at_checked(LENGTH)?;
    let fields: Vec<&str> = known.split('-').collect();
    let [version, trace, parent, flags] = fields.as_slice() else { return None };
    let is_hex = |field: &str, length: usize| {
        field.len() == length && field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_set = |field: &str| field.bytes().any(|byte| byte != b'0');
    let is_complete = match *version {
        "00" => rest.is_empty(),
        "ff" => false,
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    let is_valid = is_hex(version, 2)
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && is_set(trace)
        && is_set(parent);
    (is_complete && is_valid).then(|| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", value.parse().unwrap());
        parent(&headers)
    }

    #[test]
    fn only_what_the_standard_allows_is_passed_on() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(read(good).as_deref(), Some(good));
        let later = good.replacen("00", "cc", 1);
        assert_eq!(read(&format!("{later}-more")).as_deref(), Some(later.as_str()));
        for bad in [
            "",
            "nonsense",
            &good[..54],
            &format!("{good}-more"),
            &format!("{later}more"),
            &good.to_uppercase(),
            &good.replacen("00", "ff", 1),
            &good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &good.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &good.replace('-', "_"),
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
