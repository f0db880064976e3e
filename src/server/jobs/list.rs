//! `GET /v1/jobs`: newest first, page by page.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header;
use hyper::{Response, StatusCode};

use super::super::body::Body;
use super::super::call::Call;
use super::super::error::ApiError;
use super::super::respond;
use crate::api::{JobList, JobView};
use crate::job::{JobId, Status};
use crate::queue::ListFilter;

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 200;

/// Answers with a page of jobs, and with the address of the next page if there is one.
pub(in crate::server) async fn list(call: &Call) -> Result<Response<Body>, ApiError> {
    let mut filter = read_filter(call.query())?;
    filter.owner = call.caller.confined_to().cloned();
    let limit = filter.limit;
    // One more than shown tells whether there is another page.
    filter.limit = limit + 1;
    let mut jobs = call.state.services.queue.list(filter).await?;
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let last = jobs.last().map(|job| job.id).filter(|_| more);
    let queue = &call.state.services.queue;
    let placed: Vec<_> = jobs.into_iter().map(|job| (queue.forecast(&job), job)).collect();
    // Two hundred jobs with all the metadata they may have are megabytes: too much for the event loop.
    let write = move || {
        let views = placed
            .iter()
            .map(|(forecast, job)| JobView::new(job, forecast.position, "").starting(forecast.starts_at));
        serde_json::to_vec(&JobList { jobs: views.collect() })
    };
    let page = tokio::task::spawn_blocking(write).await.map_err(ApiError::internal)?;
    let mut response = respond::text(StatusCode::OK, "application/json", page.map_err(ApiError::internal)?);
    if let Some(last) = last {
        let target = next_page(call.query(), last);
        respond::set(&mut response, header::LINK, format!("<{target}>; rel=\"next\""));
    }
    Ok(response)
}

fn read_filter(query: &str) -> Result<ListFilter, ApiError> {
    let mut filter = ListFilter { limit: LIMIT_DEFAULT, ..ListFilter::default() };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "status" => {
                let words = Status::ALL.map(Status::name).join(", ");
                let wrong = || ApiError::parameter("status", format!("must be one of {words}"));
                filter.status = Some(Status::from_name(&value).ok_or_else(wrong)?);
            }
            "tag" => filter.tag = Some(value.into_owned()),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                let wrong =
                    || ApiError::parameter("limit", format!("must be a whole number from 1 to {LIMIT_MAX}"));
                filter.limit = limit.ok_or_else(wrong)?;
            }
            "cursor" => {
                let wrong = || {
                    ApiError::parameter("cursor", "must be a job's id, or one that a list's Link header gave")
                };
                filter.before = Some(read_cursor(&value).ok_or_else(wrong)?);
            }
            other => {
                return Err(ApiError::parameter(other, "is not known here; status, tag, limit, cursor are"));
            }
        }
    }
    Ok(filter)
}

/// The same query, further on.
fn next_page(query: &str, last: JobId) -> String {
    let mut next = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "cursor") {
        next.append_pair(&name, &value);
    }
    next.append_pair("cursor", &URL_SAFE_NO_PAD.encode(last.as_bytes()));
    format!("/v1/jobs?{}", next.finish())
}

/// What a Link gave, or the id of the job whose older ones are asked for: a list that grows at its head goes on from what is shown.
fn read_cursor(text: &str) -> Option<JobId> {
    if let Ok(id) = text.parse() {
        return Some(id);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(JobId::from_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_keep_the_filter() {
        let id = JobId::new();
        let target = next_page("status=failed&tag=a%20b&cursor=old&limit=3", id);
        let filter = read_filter(target.split_once('?').unwrap().1).unwrap();
        assert_eq!(filter.before, Some(id));
        assert_eq!(
            (filter.status, filter.tag.as_deref(), filter.limit),
            (Some(Status::Failed), Some("a b"), 3)
        );
        assert!(target.starts_with("/v1/jobs?status="), "{target}");
        assert_eq!(read_filter(&format!("cursor={id}")).unwrap().before, Some(id));
    }

    #[test]
    fn mistakes_are_refused() {
        for query in
            ["limit=0", "limit=201", "limit=x", "status=done", "cursor=AAAA", "cursor=0192", "page=2"]
        {
            assert!(read_filter(query).is_err(), "{query}");
        }
    }
}
