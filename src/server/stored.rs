//! Stored bytes as an answer: whole or in part, without the event loop ever waiting for a disk.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::body::{Body, StreamError};
use super::call::Call;
use super::error::{ApiError, Code};
use super::range::{self, Wanted};
use super::{conditional, digest, respond};
use crate::blob::BlobKey;
use crate::job::JobId;
use crate::pipeline::Format;
use crate::queue::InlineKey;

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// A stored file.
pub(super) struct Stored<'a> {
    pub(super) job: JobId,
    pub(super) format: Format,
    pub(super) bytes: u64,
    /// Lower-case hex.
    pub(super) sha256: &'a str,
    /// Its place: in the store's own rows or among the blobs.
    pub(super) place: Place,
    /// Value of `Content-Disposition`.
    pub(super) disposition: String,
}

/// Where stored bytes are.
pub(super) enum Place {
    Row(InlineKey),
    Blob(BlobKey),
}

/// Answers with the file, or with what conditions and ranges make of it.
pub(super) async fn serve(call: &Call, stored: Stored<'_>) -> Result<Response<Body>, ApiError> {
    let etag = format!("\"{}\"", stored.sha256);
    if let Some(mut unchanged) = conditional::check(call.headers(), &etag)? {
        unchanged.headers_mut().insert(header::CACHE_CONTROL, FOREVER);
        return Ok(unchanged);
    }
    let is_get = call.head.method == Method::GET;
    let wanted = if is_get { range::wanted(call.headers(), stored.bytes, &etag) } else { Wanted::Whole };
    let (status, part) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0..stored.bytes),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Wanted::Outside => return Err(outside(stored.bytes)),
    };
    // HEAD tells of the bytes without touching them.
    let body = if is_get {
        let partial = (status == StatusCode::PARTIAL_CONTENT).then(|| part.clone());
        read(call, &stored, partial).await?.counted(call.state.services.metrics.sent_bytes.clone())
    } else {
        Body::stream(futures_util::stream::empty(), Some(stored.bytes))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if status == StatusCode::PARTIAL_CONTENT {
        let value = format!("bytes {}-{}/{}", part.start, part.end - 1, stored.bytes);
        respond::set(&mut response, header::CONTENT_RANGE, value);
    }
    describe(&mut response, &stored, etag);
    Ok(response)
}

const FOREVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// Headers of the file as a whole.
fn describe(response: &mut Response<Body>, stored: &Stored<'_>, etag: String) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(stored.format.media_type()));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, FOREVER);
    respond::set(response, header::CONTENT_DISPOSITION, stored.disposition.clone());
    respond::set(response, header::ETAG, etag);
    if let Some(value) = digest::repr_digest(stored.sha256) {
        respond::set(response, REPR_DIGEST, value);
    }
}

async fn read(call: &Call, stored: &Stored<'_>, part: Option<Range<u64>>) -> Result<Body, ApiError> {
    match &stored.place {
        Place::Row(key) => {
            let row = call.state.services.queue.inline_bytes(stored.job, key.clone()).await?;
            let bytes = row.ok_or_else(|| gone_meanwhile(stored.job))?;
            Ok(Body::bytes(cut(bytes, part)))
        }
        Place::Blob(key) => {
            let length = part.as_ref().map_or(stored.bytes, |part| part.end - part.start);
            let reader = call.state.services.blobs.read(key, part).await.map_err(|error| match error {
                crate::blob::BlobError::NotFound => gone_meanwhile(stored.job),
                other => other.into(),
            })?;
            // Whose key is revoked gets no more of it.
            let readable = reader.map_err(StreamError::from).take_until(Box::pin(call.shut_out()));
            Ok(Body::stream(readable, Some(length)))
        }
    }
}

fn cut(bytes: Bytes, part: Option<Range<u64>>) -> Bytes {
    let Some(part) = part else { return bytes };
    let end = usize::try_from(part.end).unwrap_or(usize::MAX).min(bytes.len());
    let start = usize::try_from(part.start).unwrap_or(usize::MAX).min(end);
    bytes.slice(start..end)
}

/// The record was there a moment ago, its bytes are not: it is being removed.
fn gone_meanwhile(job: JobId) -> ApiError {
    tracing::warn!(job.id = %job, "stored bytes are missing; the job is being removed, or they were lost");
    super::call::gone_job()
}

fn outside(length: u64) -> ApiError {
    let error = ApiError::new(Code::RangeNotSatisfiable, format!("There are {length} bytes."));
    match HeaderValue::try_from(format!("bytes */{length}")) {
        Ok(value) => error.header(header::CONTENT_RANGE, value),
        Err(_) => error,
    }
}
