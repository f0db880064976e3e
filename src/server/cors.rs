//! Cross-origin requests (CORS, the Fetch standard §3.2): which pages of other sites may use this server from a browser.
//!
//! Off unless the setting names origins. Answers never allow credentials: a key is sent by the page itself in `Authorization`, and a server
//! without keys knows no cookies either, so nothing is taken from a browser that its page was not given. Preflights are answered here; what
//! the guard refuses pages of other sites, it allows those that are named. Used by `service` and `guard`.

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::body::Body;
use super::{respond, router};

/// What pages may read beside the headers that every page may.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Location, ETag, Link, Retry-After, RateLimit, RateLimit-Policy, Idempotent-Replayed, Preference-Applied, \
     Accept-Ranges, Content-Range, Content-Disposition, Repr-Digest, X-Request-Id, WWW-Authenticate",
);
/// What pages may send beside the headers that every page may.
const ACCEPTED: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Content-Digest, Idempotency-Key, If-Match, If-None-Match, If-Range, Last-Event-ID, \
     Prefer, Range, Repr-Digest, Traceparent",
);
/// Seconds that a browser may remember a preflight's answer: the most that all of them take.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The pages that may use this server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    listed: Vec<String>,
    all: bool,
}

impl Origins {
    /// Origins as browsers send them, `https://app.example.com`; `*` for all of them.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn parse<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<Origins, String> {
        let mut origins = Origins::default();
        for item in items {
            match item {
                "*" => origins.all = true,
                _ => origins.listed.push(origin(item)?),
            }
        }
        Ok(origins)
    }

    /// Whether pages of every origin may use this server, if it asks them for a key.
    pub fn are_all(&self) -> bool {
        self.all
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        !self.all && self.listed.is_empty()
    }

    /// Whether this origin is named. Being one of all is no name: on a server that asks for no key it opens nothing.
    pub(super) fn name(&self, origin: &str) -> bool {
        self.listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
    }
}

/// One origin in the spelling of browsers: without the port that its scheme has anyway.
fn origin(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no origin; write it like https://app.example.com, without a path");
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let is_bare =
        url.path() == "/" && url.query().is_none() && url.fragment().is_none() && !text.ends_with('/');
    let is_anonymous = url.username().is_empty() && url.password().is_none();
    match matches!(url.scheme(), "http" | "https") && is_bare && is_anonymous {
        true => Ok(url.origin().ascii_serialization()),
        false => Err(wrong()),
    }
}

/// What one request has to do with all this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Visit {
    /// Value of `Access-Control-Allow-Origin`, for pages that may use the server.
    allowed: Option<HeaderValue>,
    /// Whether the answer depends on the origin.
    varies: bool,
}

impl Visit {
    /// Judges a request. `asks_keys`: whether this server asks for keys; without them whoever is one of all is nobody.
    pub(super) fn of(origins: &Origins, headers: &HeaderMap, asks_keys: bool) -> Visit {
        let all = origins.all && asks_keys;
        let mut sent = headers.get_all(header::ORIGIN).iter();
        let allowed = match (sent.next(), sent.next()) {
            (Some(_), None) if all => Some(HeaderValue::from_static("*")),
            (Some(origin), None) => {
                origin.to_str().is_ok_and(|origin| origins.name(origin)).then(|| origin.clone())
            }
            _ => None,
        };
        Visit { allowed, varies: !all && !origins.is_empty() }
    }

    /// The answer to a preflight, if that is what this is and its page may ask. Others are answered as any `OPTIONS`.
    pub(super) fn preflight(&self, head: &Parts) -> Option<Response<Body>> {
        self.allowed.as_ref()?;
        let is_preflight = head.method == Method::OPTIONS
            && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let methods = router::allowed(head.uri.path()).filter(|_| is_preflight)?;
        let mut response = respond::empty(StatusCode::NO_CONTENT);
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ACCEPTED);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        respond::set(&mut response, header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        Some(response)
    }

    /// Tells the browser whether its page may read an answer, whatever it says.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        if self.varies {
            // Also where no page asked: what a cache keeps of this answer would be no answer for a page.
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(allowed) = self.allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(origins: &[&str], sent: &[&str], asks_keys: bool) -> (Option<String>, bool) {
        let origins = Origins::parse(origins.iter().copied()).unwrap();
        let mut headers = HeaderMap::new();
        for origin in sent {
            headers.append(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        let mut answer = HeaderMap::new();
        Visit::of(&origins, &headers, asks_keys).tell(&mut answer);
        assert!(!answer.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        let allowed = answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(allowed.is_some(), answer.contains_key(header::ACCESS_CONTROL_EXPOSE_HEADERS));
        (allowed.map(|value| value.to_str().unwrap().to_owned()), answer.contains_key(header::VARY))
    }

    #[test]
    fn only_named_origins_may_read() {
        let named = &["https://app.example.com", "http://localhost:3000"];
        for origin in named {
            assert_eq!(told(named, &[origin], false), (Some((*origin).to_owned()), true));
        }
        for foreign in [
            "https://evil.example",
            "https://app.example.com.evil.example",
            "http://app.example.com",
            "https://app.example.com:8443",
            "http://localhost",
            "null",
        ] {
            assert_eq!(told(named, &[foreign], true), (None, true), "{foreign}");
        }
        assert_eq!(told(named, &[], true), (None, true));
        assert_eq!(told(named, &[named[0], named[0]], true), (None, true), "which one?");
        assert_eq!(told(&[], &["https://app.example.com"], true), (None, false), "off unless set");
    }

    #[test]
    fn all_origins_are_none_where_nobody_needs_a_key() {
        assert_eq!(told(&["*"], &["https://a.example"], true), (Some("*".to_owned()), false));
        assert_eq!(told(&["*"], &["https://a.example"], false), (None, true));
        let both = &["*", "https://a.example"];
        assert_eq!(told(both, &["https://a.example"], false), (Some("https://a.example".to_owned()), true));
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        let spelled = |text: &str| Origins::parse([text]).unwrap().listed;
        assert_eq!(spelled("https://App.Example.com:443"), ["https://app.example.com"]);
        assert_eq!(spelled("http://[::1]:3000"), ["http://[::1]:3000"]);
        for wrong in [
            "",
            "app.example.com",
            "https://a.example/",
            "https://a.example/x",
            "https://u@a.example",
            "null",
            "*.a",
        ] {
            assert!(Origins::parse([wrong]).is_err(), "{wrong}");
        }
    }
}
