//! `/`: the page. Submits an image and lists jobs with their live status, by the public API alone.
//!
//! One document without a build step. Its script and style are named in the policy by their digests, so that nothing else can run; what
//! clients send is only ever set as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Response;
use hyper::header::HeaderValue;
use sha2::{Digest, Sha256};

use super::body::Body;
use super::call::Call;
use super::respond;

const DOCUMENT: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The page, put together once at start.
pub(super) struct Page {
    html: Bytes,
    policy: HeaderValue,
}

impl Page {
    /// Puts style and script into the document.
    pub(super) fn new() -> Page {
        let html = DOCUMENT.replacen("/*style*/", STYLE, 1).replacen("/*script*/", SCRIPT, 1);
        let policy = format!(
            "{}; script-src {}; style-src {}; connect-src 'self'; img-src 'self' blob: data:",
            respond::PAGE_POLICY,
            script_digest(&Sha256::digest(SCRIPT)),
            script_digest(&Sha256::digest(STYLE)),
        );
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(respond::PAGE_POLICY));
        Page { html: html.into(), policy }
    }
}

/// A source of a Content-Security-Policy: the inline script or style with this digest.
pub(super) fn script_digest(sha256: &[u8]) -> String {
    format!("'sha256-{}'", STANDARD.encode(sha256))
}

/// Answers with the page.
pub(super) fn show(call: &Call) -> Response<Body> {
    respond::page(call.state.page.html.clone(), call.state.page.policy.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_renders_nothing_as_html() {
        let page = Page::new();
        let html = std::str::from_utf8(&page.html).unwrap();
        assert!(html.contains(SCRIPT) && html.contains(STYLE) && !html.contains("/*script*/"));
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!SCRIPT.contains(sink), "{sink}");
        }
        assert!(!html.contains(" style=") && !html.contains(" onclick="), "the policy would refuse it");
    }
}
