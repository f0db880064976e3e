//! `GET /v1/jobs/{id}/outputs/{name}`: a result.

use std::sync::Arc;

use hyper::Response;

use super::body::Body;
use super::call::Call;
use super::disposition::{self, Kind};
use super::error::{ApiError, Code};
use super::jobs::read::pause;
use super::link;
use super::stored::{self, Place, Stored};
use crate::blob::BlobKey;
use crate::job::{Job, Output, Status};
use crate::queue::InlineKey;

/// Answers with the bytes, once they are there.
pub(super) async fn read(call: &Call) -> Result<Response<Body>, ApiError> {
    link::check(call)?;
    let job = match call.wait_beside(&link::PARAMETERS)? {
        Some(wait) => call.wait_terminal(call.job_id()?, wait).await?,
        None => call.job().await?,
    };
    let output = output(call, &job)?;
    let place = if output.inline {
        Place::Row(InlineKey::Output(output.name.clone()))
    } else {
        Place::Blob(BlobKey::Output { job: job.id, attempt: output.attempt, name: output.name.clone() })
    };
    let usual = || format!("{}.{}", output.name, output.format.extension());
    let filename = output.filename.clone().unwrap_or_else(usual);
    let stored = Stored {
        job: job.id,
        format: output.format,
        bytes: output.bytes,
        sha256: &output.sha256,
        place,
        disposition: disposition::value(Kind::Inline, &filename),
    };
    stored::serve(call, stored).await
}

/// The output that the address names, or why there is none.
fn output<'a>(call: &Call, job: &'a Arc<Job>) -> Result<&'a Output, ApiError> {
    let name = call.parameter(1);
    let asked_for: Vec<&str> = job.spec.pipeline.outputs.iter().map(|output| output.name.as_str()).collect();
    if !asked_for.contains(&name) {
        let detail = format!("The job has no output of this name; it has {}.", asked_for.join(", "));
        return Err(ApiError::new(Code::NotFound, detail));
    }
    match job.status {
        Status::Queued | Status::Running => {
            let detail = format!("The job is {}; its outputs come when it has succeeded.", job.status);
            Err(ApiError::new(Code::NotReady, detail).retry_after(pause(call, job)))
        }
        Status::Failed | Status::Cancelled => {
            let detail = format!("The job is {}; it has no outputs.", job.status);
            Err(ApiError::new(Code::JobNotSucceeded, detail))
        }
        Status::Succeeded => {
            let found = job.outputs.iter().find(|output| output.name == name);
            found.ok_or_else(|| ApiError::internal(format!("job {} succeeded without output {name}", job.id)))
        }
    }
}
