//! `GET /v1/jobs/{id}/source`: the stored original. It is somebody's upload: it is only ever saved, never shown by a browser.

use hyper::Response;
use hyper::header::{self, HeaderValue};

use super::body::Body;
use super::call::Call;
use super::disposition::{self, Kind};
use super::error::{ApiError, Code};
use super::stored::{self, Place, Stored};
use crate::blob::BlobKey;
use crate::queue::InlineKey;

/// Answers with the original's bytes.
pub(super) async fn read(call: &Call) -> Result<Response<Body>, ApiError> {
    call.wait()?;
    let job = call.job().await?;
    let looked_into = job.source.as_ref().and_then(|source| Some((source, source.image?)));
    let Some((source, image)) = looked_into else {
        let detail = match job.source {
            None => "The job's source has not been fetched.",
            Some(_) => "What was fetched is no image that could be read.",
        };
        return Err(if job.status.is_terminal() {
            ApiError::new(Code::NotFound, detail)
        } else {
            ApiError::new(Code::NotReady, detail).retry_after(super::jobs::read::pause(call, &job))
        });
    };
    let place =
        if source.inline { Place::Row(InlineKey::Source) } else { Place::Blob(BlobKey::Source(job.id)) };
    let stored = Stored {
        job: job.id,
        format: image.format,
        bytes: source.bytes,
        sha256: &source.sha256,
        place,
        disposition: disposition::value(Kind::Attachment, &format!("source.{}", image.format.extension())),
    };
    let mut response = stored::serve(call, stored).await?;
    let policy = HeaderValue::from_static("sandbox; default-src 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}
