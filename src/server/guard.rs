//! Keeps web pages away from a server that asks for no key.
//!
//! A page of any site can make a browser send requests to this machine. Two things give it away: the `Host` of a name that was made to
//! point here (DNS rebinding), and `Origin` or `Sec-Fetch-Site` of a write. Both are refused, but for
//! origins that the setting names (`cors`); no other page reads an answer. A server with keys need not ask: no page can make a browser
//! send one.

use std::net::{IpAddr, Ipv6Addr};

use hyper::Method;
use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;

use super::cors::Origins;
use super::error::{ApiError, Code};

/// Names under which this server is known beside loopback.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    public: Option<url::Url>,
}

impl Hosts {
    /// `public_url` as configured; what is no URL matches nothing.
    pub(super) fn new(public_url: &str) -> Hosts {
        Hosts { public: url::Url::parse(public_url).ok() }
    }

    /// Whether a `Host` means this server: loopback, the public URL, or the literal address that was dialled (a rebound name is no literal).
    fn knows(&self, authority: &Authority, local: IpAddr) -> bool {
        let host = bare(authority.host());
        if let Ok(address) = host.parse::<IpAddr>() {
            return address.is_loopback() || address == local || self.is_public(authority);
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        name == "localhost" || name.ends_with(".localhost") || self.is_public(authority)
    }

    fn is_public(&self, authority: &Authority) -> bool {
        let Some(public) = &self.public else { return false };
        let same_host = public.host_str().is_some_and(|host| host.eq_ignore_ascii_case(authority.host()));
        // A proxy may pass the host on without its port.
        same_host && authority.port_u16().is_none_or(|port| Some(port) == public.port_or_known_default())
    }

    /// Whether an `Origin` is a page of ours: the public URL's, or that of the very host this request names.
    fn is_own_origin(&self, origin: &str, authority: &Authority, is_https: Option<bool>) -> bool {
        let Ok(origin) = url::Url::parse(origin) else { return false };
        if self.public.as_ref().is_some_and(|public| public.origin() == origin.origin()) {
            return true;
        }
        let same_host = origin.host_str().is_some_and(|host| host.eq_ignore_ascii_case(authority.host()));
        let default = if origin.scheme() == "https" { 443 } else { 80 };
        // Only a proxy that is trusted knows; without one either may be meant.
        let same_scheme = is_https.is_none_or(|is_https| is_https == (origin.scheme() == "https"));
        same_host
            && same_scheme
            && origin.port_or_known_default() == Some(authority.port_u16().unwrap_or(default))
    }
}

/// Refuses what a foreign page may have sent.
pub(super) fn check(
    hosts: &Hosts,
    named: &Origins,
    head: &Parts,
    authority: Option<Authority>,
    local: IpAddr,
    is_https: Option<bool>,
) -> Result<(), ApiError> {
    // HTTP/1.0 knows no Host, and no browser speaks it.
    let Some(authority) = authority else { return Ok(()) };
    if !hosts.knows(&authority, local) {
        let detail = format!(
            "This server does not answer for the host {:?}. It answers for loopback and for its `public_url`: set that \
             if clients reach it under this name.",
            authority.as_str()
        );
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    let is_read = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if is_read {
        return Ok(());
    }
    let origin = text(&head.headers, "origin");
    if origin.is_some_and(|origin| named.name(origin)) {
        return Ok(());
    }
    let foreign_origin = origin.is_some_and(|origin| !hosts.is_own_origin(origin, &authority, is_https));
    let cross_site = text(&head.headers, "sec-fetch-site") == Some("cross-site");
    if foreign_origin || cross_site {
        return Err(ApiError::new(Code::Forbidden, "Pages of other sites may not use this server."));
    }
    Ok(())
}

/// The host that the request names.
pub(super) fn authority(head: &Parts) -> Result<Option<Authority>, ApiError> {
    let wrong = |detail: &str| ApiError::new(Code::InvalidRequest, detail);
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(wrong("The request names its host twice."));
    }
    // An absolute target decides (RFC 9112 §3.2.2); HTTP/2 has nothing else.
    if let Some(authority) = head.uri.authority() {
        return match is_exact(authority) {
            true => Ok(Some(authority.clone())),
            false => Err(wrong("The host of the address is not valid.")),
        };
    }
    match host {
        Some(value) => {
            let parsed = Authority::try_from(value.as_bytes()).ok().filter(is_exact);
            parsed.map(Some).ok_or_else(|| wrong("The Host header is not valid."))
        }
        None if head.version < hyper::Version::HTTP_11 => Ok(None),
        None => Err(wrong("The Host header is missing.")),
    }
}

/// Whether this is a host with at most a port behind it. The parsed type lets pass what stands before an `@`, between a bracket and the
/// colon, and any text as a port.
fn is_exact(authority: &Authority) -> bool {
    let host = authority.host();
    let Some(port) = authority.as_str().strip_prefix(host) else { return false };
    let is_port = |port: &str| {
        port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
    };
    let has_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    let is_literal = bare(host).parse::<Ipv6Addr>().is_ok();
    !host.is_empty() && has_port && host.contains(['[', ':']) == is_literal
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("not text"))
}

/// An IPv6 literal without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(method: Method, host: &str, headers: &[(&str, &str)], public_url: &str) -> bool {
        judge_by(method, host, headers, public_url, None)
    }

    fn judge_by(
        method: Method,
        host: &str,
        headers: &[(&str, &str)],
        public_url: &str,
        is_https: Option<bool>,
    ) -> bool {
        let mut request = hyper::Request::builder().method(method).uri("/v1/jobs").header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let local = "192.168.7.7".parse().unwrap();
        let named = Origins::parse(["https://app.example", "*"]).unwrap();
        authority(&head)
            .and_then(|host| check(&Hosts::new(public_url), &named, &head, host, local, is_https))
            .is_ok()
    }

    #[test]
    fn only_our_own_names_are_answered_for() {
        for host in
            ["localhost:8080", "127.0.0.1:9000", "[::1]:8080", "127.9.9.9", "a.localhost", "192.168.7.7:80"]
        {
            assert!(judge(Method::GET, host, &[], ""), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.nip.io:8080", "[::2]:8080"]
        {
            assert!(!judge(Method::GET, host, &[], "https://img.example.com"), "{host}");
        }
        for host in [
            "[::1].evil.example",
            "[::1]x:80",
            "[localhost]",
            "[127.0.0.1]",
            "127.0.0.1:abc",
            "127.0.0.1:+80",
            "127.0.0.1:99999999",
            "user@localhost",
            "localhost@evil.example",
        ] {
            assert!(!judge(Method::GET, host, &[], ""), "{host}");
        }
        assert!(judge(Method::GET, "img.example.com", &[], "https://img.example.com"));
        assert!(!judge(Method::GET, "img.example.com:81", &[], "https://img.example.com"));
    }

    #[test]
    fn pages_of_other_sites_may_not_write() {
        let post = |headers: &[(&str, &str)]| {
            judge(Method::POST, "localhost:8080", headers, "https://img.example.com")
        };
        assert!(post(&[]));
        assert!(post(&[("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")]));
        assert!(post(&[("origin", "https://img.example.com")]));
        assert!(!post(&[("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")]));
        assert!(!post(&[("origin", "https://evil.example")]));
        assert!(!post(&[("origin", "null")]));
        assert!(!post(&[("sec-fetch-site", "cross-site")]));
        assert!(judge(Method::GET, "localhost", &[("origin", "https://evil.example")], ""));
        // Who is named may, from wherever; to be one of all is no name.
        assert!(post(&[("origin", "https://app.example"), ("sec-fetch-site", "cross-site")]));
        let by_name = [("origin", "https://app.example")];
        assert!(!judge(Method::POST, "rebound.example", &by_name, ""), "the host is judged all the same");
    }

    #[test]
    fn a_proxy_tells_which_scheme_is_ours() {
        let post = |origin: &str, is_https| {
            judge_by(Method::POST, "img.localhost", &[("origin", origin)], "", is_https)
        };
        assert!(post("https://img.localhost", None) && post("http://img.localhost", None));
        assert!(post("https://img.localhost", Some(true)) && !post("http://img.localhost", Some(true)));
        assert!(post("http://img.localhost", Some(false)) && !post("https://img.localhost", Some(false)));
    }
}
