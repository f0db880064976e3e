//! `/`: the dashboard, and `/page/{file}`: what it and the other pages are made of.
//!
//! Owns the documents, scripts and styles, which are part of the program: no build step, nothing from elsewhere. The policy lets pages run
//! scripts of this server only and, in browsers that know Trusted Types, none that writes HTML: what clients send is only ever set as text.
//! Called by the router; `docs` and `problems` use the policy.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use sha2::{Digest, Sha256};

use super::body::Body;
use super::call::Call;
use super::error::{ApiError, Code};
use super::{conditional, respond};

const DOCUMENT: &str = include_str!("page/index.html");

/// Scripts, styles and images of all pages.
const FILES: &[(&str, &str)] = &[
    ("base.css", include_str!("page/base.css")),
    ("page.css", include_str!("page/page.css")),
    ("docs.css", include_str!("page/docs.css")),
    ("docs.js", include_str!("page/docs.js")),
    ("icon.svg", include_str!("page/icon.svg")),
    ("actions.js", include_str!("page/actions.js")),
    ("api.js", include_str!("page/api.js")),
    ("builder.js", include_str!("page/builder.js")),
    ("charts.js", include_str!("page/charts.js")),
    ("deliveries.js", include_str!("page/deliveries.js")),
    ("dom.js", include_str!("page/dom.js")),
    ("fields.js", include_str!("page/fields.js")),
    ("job.js", include_str!("page/job.js")),
    ("key.js", include_str!("page/key.js")),
    ("list.js", include_str!("page/list.js")),
    ("main.js", include_str!("page/main.js")),
    ("options.js", include_str!("page/options.js")),
    ("pictures.js", include_str!("page/pictures.js")),
    ("preview.js", include_str!("page/preview.js")),
    ("receivers.js", include_str!("page/receivers.js")),
    ("row.js", include_str!("page/row.js")),
    ("submit.js", include_str!("page/submit.js")),
    ("usage.js", include_str!("page/usage.js")),
];

/// The files, prepared once at start.
pub(super) struct Page {
    files: BTreeMap<&'static str, File>,
}

struct File {
    bytes: Bytes,
    media_type: &'static str,
    etag: String,
}

impl Page {
    /// Takes a digest of every file, for its ETag.
    pub(super) fn new() -> Page {
        let file = |text: &'static str, name: &str| File {
            bytes: Bytes::from_static(text.as_bytes()),
            media_type: media_type(name),
            etag: format!("\"{}\"", crate::job::hex(&Sha256::digest(text)[..8])),
        };
        Page { files: FILES.iter().map(|(name, text)| (*name, file(text, name))).collect() }
    }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "image/svg+xml",
    }
}

/// What a page of ours may do: run and show what this server has, send to this server, show blobs that it made itself.
pub(super) fn policy() -> HeaderValue {
    HeaderValue::from_static(
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; script-src 'self'; style-src 'self'; \
         connect-src 'self'; img-src 'self' blob:; require-trusted-types-for 'script'; trusted-types 'none'",
    )
}

/// Answers with the dashboard.
pub(super) fn show() -> Response<Body> {
    respond::page(DOCUMENT, policy())
}

/// Answers with one of the files.
pub(super) fn file(call: &Call) -> Result<Response<Body>, ApiError> {
    let Some(file) = call.state.page.files.get(call.parameter(0)) else {
        return Err(ApiError::new(Code::NotFound, "The pages have no file of this name."));
    };
    if let Some(unchanged) = conditional::check(call.headers(), &file.etag)? {
        return Ok(unchanged);
    }
    let mut response = respond::text(StatusCode::OK, file.media_type, file.bytes.clone());
    // After an update a page must not run with the scripts of the version before.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    respond::set(&mut response, header::ETAG, file.etag.clone());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES_MAX: usize = 500;

    /// The names in `/page/NAME` and `"./NAME"`.
    fn named(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for prefix in ["\"/page/", "\"./"] {
            for (at, _) in text.match_indices(prefix) {
                let rest = &text[at + prefix.len()..];
                found.push(rest[..rest.find('"').unwrap()].to_owned());
            }
        }
        found
    }

    #[test]
    fn every_file_that_is_named_is_there_and_every_file_is_named() {
        let page = Page::new();
        let problems = super::super::problems::Pages::new();
        let docs =
            super::super::docs::Docs::new(&super::super::openapi::document(&Default::default(), "", false));
        let others = problems.all().chain([docs.text()]).collect::<Vec<_>>().join("\n");
        let texts = FILES.iter().map(|(_, text)| *text).chain([DOCUMENT, others.as_str()]);
        let named: Vec<String> = texts.flat_map(named).collect();
        assert!(named.len() > 20);
        for name in &named {
            assert!(page.files.contains_key(name.as_str()), "{name} is not served");
        }
        for name in page.files.keys() {
            assert!(named.iter().any(|other| other == name), "nothing uses {name}");
        }
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/server/page")).unwrap();
        let on_disk = folder.filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            !name.to_str().unwrap().ends_with(".html")
        });
        assert_eq!(on_disk.count(), FILES.len());
    }

    #[test]
    fn scripts_and_documents_keep_to_the_policy() {
        for (name, text) in FILES {
            for sink in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "setAttribute(\"style\"",
            ] {
                assert!(!text.contains(sink), "{name}: {sink}");
            }
            assert!(text.lines().count() <= LINES_MAX, "{name} is too long");
            let opens_well = text.starts_with("// ") || text.starts_with("/* ") || name.ends_with(".svg");
            assert!(opens_well, "{name} does not say what it owns");
        }
        for inline in [" style=", " onclick=", "<style", "<script>", "javascript:", "http://", "//cdn"] {
            assert!(!DOCUMENT.contains(inline), "{inline}");
        }
    }
}
