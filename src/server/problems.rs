//! `/problems/{code}`: a page for every code, what it means and what to do. The `type` of every problem points here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use hyper::Response;
use hyper::header::HeaderValue;
use sha2::{Digest, Sha256};

use super::body::Body;
use super::call::Call;
use super::error::{ApiError, Code};
use super::page::script_digest;
use super::respond;
use crate::job;

const STYLE: &str = include_str!("page/problem.css");

/// The pages, made once at start.
pub(super) struct Pages {
    pages: BTreeMap<&'static str, Bytes>,
    policy: HeaderValue,
}

impl Pages {
    /// A page for every code of requests and of jobs.
    pub(super) fn new() -> Pages {
        let of_requests = Code::ALL.iter().map(|code| {
            let status = code.status();
            (code.name(), format!("{} ({})", code.title(), status.as_u16()))
        });
        let of_jobs = job::Code::ALL.iter().map(|code| (code.name(), code.name().replace('_', " ")));
        let mut pages = BTreeMap::new();
        for (name, title) in of_requests.chain(of_jobs) {
            pages.entry(name).or_insert_with(|| render(name, &title));
        }
        let style = script_digest(&Sha256::digest(STYLE));
        let policy = format!("{}; style-src {style}", respond::PAGE_POLICY);
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(respond::PAGE_POLICY));
        Pages { pages, policy }
    }
}

/// Answers with the page of a code.
pub(super) fn show(call: &Call) -> Result<Response<Body>, ApiError> {
    let pages = &call.state.problems;
    match pages.pages.get(call.parameter(0)) {
        Some(page) => Ok(respond::page(page.clone(), pages.policy.clone())),
        None => Err(ApiError::new(Code::NotFound, "There is no problem of this name.")),
    }
}

/// Everything on the page is ours: nothing needs to be escaped.
fn render(name: &str, title: &str) -> Bytes {
    let mut page = String::with_capacity(1024 + STYLE.len());
    // Writing to a String can't fail.
    let _always_ok = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{name}</title>\
         <style>{STYLE}</style></head><body><main><h1>{title}</h1><p><code>{name}</code></p><p>{}</p></main></body></html>\n",
        explanation(name)
    );
    page.into()
}

/// What a code means and what to do about it.
fn explanation(name: &str) -> &'static str {
    match name {
        "invalid_json" => {
            "The job specification is not JSON, or nested too deeply. `detail` names line and column."
        }
        "invalid_request" => {
            "The request itself is wrong: a parameter, a header, the form's parts or an empty body. `detail` says which."
        }
        "digest_mismatch" => {
            "The body that arrived is not the one whose Content-Digest was announced: it was changed on its way. Send it again."
        }
        "forbidden" => {
            "Without keys this server answers only for loopback and its public_url, and takes no writes from pages of other sites. If you reach it under another name, set public_url."
        }
        "not_found" => "There is nothing at this address, or no job with this id.",
        "method_not_allowed" => {
            "The address exists, but not for this method. The Allow header lists those that work."
        }
        "request_timeout" => "No byte of the body arrived for a while. Send it again, without long pauses.",
        "not_ready" => {
            "The job has not ended yet. Ask again after Retry-After seconds, add ?wait=30, or listen to its events."
        }
        "job_not_succeeded" => {
            "The job failed or was cancelled, so it has no outputs. Read its `error`; a retry may help if it says retryable."
        }
        "not_retryable_state" => "Only a failed or cancelled job whose source is stored can be retried.",
        "idempotency_in_progress" => {
            "Another request with the same Idempotency-Key is being answered. Wait for it, then try again."
        }
        "gone" => "The job was here; it was deleted, or its time was over.",
        "length_required" => "Send Content-Length, or the body in chunks.",
        "precondition_failed" => "What If-Match names is not what there is now. Read it again.",
        "body_too_large" => {
            "The body is larger than this server reads (setting limits.body), or the specification larger than 256 KiB."
        }
        "unsupported_format" => {
            "The bytes are no image of a format that is read here, or they are compressed by a Content-Encoding. /v1/capabilities lists the formats."
        }
        "range_not_satisfiable" => {
            "The range begins behind the end of the file. Content-Range tells its length."
        }
        "invalid_spec" => {
            "The job specification has mistakes. `errors` names each with a JSON Pointer, what is wrong and what would be right."
        }
        "image_too_large" => {
            "The image has more pixels, frames or bytes of memory than one job may use. /v1/capabilities tells the limits."
        }
        "corrupt_image" => "The image is damaged. The same bytes will fail again.",
        "source_forbidden" => {
            "The source's address is not one that this server may fetch: only public addresses, unless the setting egress.allow names more."
        }
        "webhook_forbidden" => {
            "The webhook's address is not one that this server may call: only public addresses, unless the setting egress.allow names more."
        }
        "idempotency_mismatch" => {
            "The Idempotency-Key was used for another specification or image in the last 24 hours. Use a new key."
        }
        "queue_full" => "As many jobs are waiting as this server holds. Try again after Retry-After seconds.",
        "headers_too_large" => "The request has too many headers, or they are too long.",
        "internal" => {
            "Something went wrong in the server. Its log has the cause under the answer's request_id."
        }
        "shutting_down" => "The server is about to stop. Try again in a few seconds.",
        "store_unavailable" => {
            "Jobs or images can't be stored or read at the moment. Nothing was accepted; try again later."
        }
        "storage_full" => "There is no room left where jobs and images are stored. Nothing was accepted.",
        "source_not_found" => {
            "The source's server answered that there is nothing at its URL, or its name does not exist."
        }
        "source_timeout" => {
            "The source did not arrive in time. The job was tried again as often as it may be."
        }
        "source_http_error" => "The source's server answered with an error, or the connection to it failed.",
        "encode_failed" => "An output could not be encoded; `output` names it.",
        "max_bytes_unreachable" => {
            "An output does not fit into its `max_bytes`, not even at the lowest quality allowed (`min_quality`); `output` names it. \
             Ask for fewer pixels, a lower `min_quality`, more bytes, or, for a lossless format, for a lossy one."
        }
        "timeout" => "An attempt took longer than the job's `timeout`.",
        "panic" => "The image code failed on this image in a way it should not. The server caught it.",
        "crashed" => "The process died while this job was running, too often to try again.",
        "storage_error" => "Stored bytes could not be read or written.",
        "destination_error" => {
            "An output could not be delivered to its destination; `output` names it. The server's log has what the destination answered."
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained() {
        let pages = Pages::new();
        for (name, page) in &pages.pages {
            assert!(explanation(name).len() > 20, "{name}");
            assert!(std::str::from_utf8(page).unwrap().contains(name));
        }
        for code in job::Code::ALL {
            assert!(pages.pages.contains_key(code.name()), "{}", code.name());
        }
    }
}
