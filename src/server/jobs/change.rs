//! Changes of a job that is there: cancel, retry, delete.

use hyper::{Response, StatusCode};

use super::super::body::Body;
use super::super::call::{Call, gone_job, unknown_job};
use super::super::error::{ApiError, Code};
use super::super::respond;
use super::read;
use crate::job::Status;
use crate::queue::{QueueError, Retry};

/// `POST …/cancel`: 202 while an attempt still has to notice, else 200.
pub(in crate::server) async fn cancel(call: &Call) -> Result<Response<Body>, ApiError> {
    let id = call.own_job_id().await?;
    let job = call.found(call.state.services.queue.cancel(id).await.map_err(refused)?)?;
    let status = if job.status == Status::Running { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(read::show(call, status, &job))
}

/// `POST …/retry`.
pub(in crate::server) async fn retry(call: &Call) -> Result<Response<Body>, ApiError> {
    let id = call.own_job_id().await?;
    match call.state.services.queue.retry(id).await.map_err(refused)? {
        Retry::Queued(job) => Ok(read::show(call, StatusCode::ACCEPTED, &job)),
        Retry::WrongState(job) => {
            let detail = match job.status {
                Status::Failed | Status::Cancelled => {
                    "The job's source was never stored; submit it again.".to_owned()
                }
                status => format!("The job is {status}; only a failed or cancelled job can be retried."),
            };
            Err(ApiError::new(Code::NotRetryableState, detail))
        }
        Retry::Gone => Err(gone_job()),
        Retry::Unknown => Err(unknown_job()),
    }
}

/// `DELETE …`.
pub(in crate::server) async fn delete(call: &Call) -> Result<Response<Body>, ApiError> {
    let id = call.own_job_id().await?;
    if call.state.services.queue.delete(id).await.map_err(refused)? {
        return Ok(respond::empty(StatusCode::NO_CONTENT));
    }
    // It was gone before, or there never was one: the lookup knows which.
    call.found(call.state.services.queue.get(id).await?)?;
    Err(unknown_job())
}

/// What kept a change from being stored. A full disk has another meaning here than for a submit: the job stays as it was.
fn refused(error: QueueError) -> ApiError {
    match error {
        QueueError::StorageFull => {
            let detail = "The disk is full: this change could not be recorded, and the job is as it was.";
            ApiError::new(Code::StorageFull, detail).because(error)
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_told_as_a_refused_submit() {
        let told = |error: ApiError| format!("{error:?}");
        assert!(told(refused(QueueError::StorageFull)).contains("the job is as it was"));
        assert!(told(QueueError::StorageFull.into()).contains("another job"));
        assert_eq!(refused(QueueError::StorageFull).code(), Code::StorageFull);
    }
}
