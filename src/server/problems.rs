//! `/problems/{code}`: a page for every code, what it means and what to do. The `type` of every problem points here.
//!
//! Owns the pages, made once at start; the words are in `texts`. `/problems/` is no page: `/docs` lists the codes.

mod texts;

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::Response;
use serde_json::json;

use super::body::Body;
use super::call::Call;
use super::error::{ApiError, Code};
use super::html::{self, escape};
use super::{page, respond};
use crate::job;
use texts::{TEXTS, Text};

/// The pages by code.
pub(super) struct Pages {
    pages: BTreeMap<&'static str, Bytes>,
}

impl Pages {
    /// A page for every code of requests and of jobs.
    pub(super) fn new() -> Pages {
        Pages { pages: TEXTS.iter().map(|text| (text.code, render(text).into())).collect() }
    }

    /// Every page.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.pages.values().map(|page| std::str::from_utf8(page).unwrap())
    }
}

/// Answers with the page of a code.
pub(super) fn show(call: &Call) -> Result<Response<Body>, ApiError> {
    match call.state.problems.pages.get(call.parameter(0)) {
        Some(page) => Ok(respond::page(page.clone(), page::policy())),
        None => Err(ApiError::new(Code::NotFound, "There is no problem of this name.")),
    }
}

/// Code and title of every problem of requests, and of those that only jobs have.
pub(super) fn titles() -> impl Iterator<Item = (&'static str, String)> {
    TEXTS.iter().map(|text| (text.code, title(text.code)))
}

fn of_request(name: &str) -> Option<Code> {
    Code::ALL.into_iter().find(|code| code.name() == name)
}

fn title(name: &str) -> String {
    let words = || name.replace('_', " ");
    of_request(name).map_or_else(words, |code| code.title().to_owned())
}

fn render(text: &Text) -> String {
    let name = text.code;
    let of_job = job::Code::ALL.iter().any(|code| code.name() == name);
    let mut body = format!(
        "<p class=\"soft\"><code>{name}</code></p>\n<h2>What has happened</h2>\n<p>{}</p>\n<h2>What to do</h2>\n<p>{}</p>\n",
        html::prose(text.cause),
        html::prose(text.remedy)
    );
    if let Some(code) = of_request(name) {
        let status = code.status();
        let mut example = json!({
            "type": format!("/problems/{name}"), "title": code.title(), "status": status.as_u16(), "detail": text.detail, "code": name,
            "retryable": code.is_retryable(),
        });
        if code == Code::InvalidSpec {
            example["errors"] = json!([{"pointer": "/outputs/0/quality", "detail": "must be a whole number from 1 to 100, not 500"}]);
        }
        body.push_str(&shown(&format!("As an answer: {status}"), &example));
    }
    if of_job {
        let example = json!({"status": "failed", "error": {"code": name, "detail": text.detail, "retryable": false, "output": null}});
        body.push_str(&shown("In a job that failed", &example));
    }
    body.push_str("<p><a href=\"/docs#problems\">All problems</a></p>\n");
    html::document(
        &title(name),
        &["/page/base.css", "/page/docs.css"],
        &[],
        &format!("<article class=\"panel prose\"><h1>{}</h1>\n{body}</article>", escape(&title(name))),
    )
}

fn shown(title: &str, example: &serde_json::Value) -> String {
    format!("<h2>{}</h2>\n<pre tabindex=\"0\">{}</pre>\n", escape(title), escape(&format!("{example:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_once() {
        let pages = Pages::new();
        assert_eq!(pages.pages.len(), TEXTS.len(), "a code has two rows");
        let of_requests = Code::ALL.iter().map(|code| code.name());
        let known: Vec<&str> = of_requests.chain(job::Code::ALL.iter().map(|code| code.name())).collect();
        for name in &known {
            let page =
                std::str::from_utf8(pages.pages.get(name).unwrap_or_else(|| panic!("{name} has no row")))
                    .unwrap();
            assert!(page.contains(&format!("<code>{name}</code>")) && page.contains("What to do"), "{name}");
        }
        for text in TEXTS {
            assert!(known.contains(&text.code), "{} is no code", text.code);
            assert!(
                text.cause.len() > 20 && text.remedy.len() > 20 && text.detail.len() > 10,
                "{}",
                text.code
            );
        }
    }
}
