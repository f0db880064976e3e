//! Webhook deliveries: the log of a job, what was given up, sending again; and receivers that take nothing.

use hyper::header;
use hyper::{Response, StatusCode};

use super::body::Body;
use super::call::{Call, gone_job, unknown_job};
use super::error::{ApiError, Code};
use super::jobs::read;
use super::respond;
use crate::api::{DeliveryList, ReceiverList, ReceiverView, RedeliveredView};
use crate::clock::Timestamp;
use crate::job::{Job, receiver_of};
use crate::queue::{DeadLetters, Redelivery};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 200;

/// `GET /v1/jobs/{id}/deliveries`: every attempt of every delivery.
pub(super) async fn of_job(call: &Call) -> Result<Response<Body>, ApiError> {
    let job = call.job().await?;
    let records = call.state.services.queue.deliveries(job.id).await?;
    Ok(respond::json(StatusCode::OK, &DeliveryList::new(&records)))
}

/// `POST /v1/jobs/{id}/deliveries/redeliver`: the last event once more.
pub(super) async fn redeliver(call: &Call) -> Result<Response<Body>, ApiError> {
    let id = call.job().await?.id;
    match call.state.services.queue.redeliver(id).await? {
        Redelivery::Due(job) => Ok(read::show(call, StatusCode::ACCEPTED, &job)),
        Redelivery::Nothing(job) => Err(nothing_to_send(&job)),
        Redelivery::Gone => Err(gone_job()),
        Redelivery::Unknown => Err(unknown_job()),
    }
}

fn nothing_to_send(job: &Job) -> ApiError {
    if job.spec.webhook.is_some() && !job.status.is_terminal() {
        let detail = format!("The job is {}; its webhook is called when it has ended.", job.status);
        return ApiError::new(Code::NotReady, detail);
    }
    let detail = "The job has no delivery that could be sent again: it has no webhook, its webhook does not want the event that ended it, \
                  or the delivery ended so long ago that it is forgotten.";
    ApiError::new(Code::NotFound, detail)
}

/// `GET /v1/deliveries`: what was given up, page by page.
pub(super) async fn dead_letters(call: &Call) -> Result<Response<Body>, ApiError> {
    let mut filter = read_filter(call.query())?;
    let limit = filter.limit;
    filter.limit = limit + 1;
    let receiver = filter.receiver.clone();
    let mut records = call.state.services.queue.dead_letters(filter).await?;
    let is_more = records.len() > limit;
    records.truncate(limit);
    let mut response = respond::json(StatusCode::OK, &DeliveryList::new(&records));
    if let Some(last) = records.last().filter(|_| is_more) {
        let mut next = form_urlencoded::Serializer::new(String::new());
        if let Some(receiver) = &receiver {
            next.append_pair("receiver", receiver);
        }
        next.append_pair("limit", &limit.to_string()).append_pair("cursor", &last.id.to_string());
        respond::set(
            &mut response,
            header::LINK,
            format!("</v1/deliveries?{}>; rel=\"next\"", next.finish()),
        );
    }
    Ok(response)
}

fn read_filter(query: &str) -> Result<DeadLetters, ApiError> {
    let mut filter = DeadLetters { limit: LIMIT_DEFAULT, ..DeadLetters::default() };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "status" if value == "failed" => {}
            "status" => return Err(ApiError::parameter("status", "can only be failed here")),
            "receiver" => filter.receiver = Some(receiver(&value)?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                let wrong =
                    || ApiError::parameter("limit", format!("must be a whole number from 1 to {LIMIT_MAX}"));
                filter.limit = limit.ok_or_else(wrong)?;
            }
            "cursor" => {
                let wrong = |_| ApiError::parameter("cursor", "must be one that a list's Link header gave");
                filter.before = Some(value.parse().map_err(wrong)?);
            }
            other => {
                let known = "is not known here; status, receiver, limit, cursor are";
                return Err(ApiError::parameter(other, known));
            }
        }
    }
    Ok(filter)
}

/// `POST /v1/deliveries/redeliver`: everything that was given up since a moment.
pub(super) async fn redeliver_dead_letters(call: &Call) -> Result<Response<Body>, ApiError> {
    let (mut since, mut only) = (None, None);
    for (name, value) in form_urlencoded::parse(call.query().as_bytes()) {
        match name.as_ref() {
            "since" => {
                let wrong = || ApiError::parameter("since", "must be a time such as 2026-11-21T12:00:00Z");
                since = Some(Timestamp::parse(&value).ok_or_else(wrong)?);
            }
            "receiver" => only = Some(receiver(&value)?),
            other => return Err(ApiError::parameter(other, "is not known here; since, receiver are")),
        }
    }
    let since =
        since.ok_or_else(|| ApiError::parameter("since", "is missing; it says how far to go back"))?;
    let count = call.state.services.queue.redeliver_dead_letters(since, only).await?;
    Ok(respond::json(StatusCode::ACCEPTED, &RedeliveredView { deliveries: count as u64 }))
}

/// `GET /v1/receivers`: those that take nothing at present.
pub(super) async fn receivers(call: &Call) -> Result<Response<Body>, ApiError> {
    let receivers = call.state.services.queue.failing_receivers().await?;
    let list = ReceiverList { receivers: receivers.iter().map(ReceiverView::new).collect() };
    Ok(respond::json(StatusCode::OK, &list))
}

/// `POST /v1/receivers/enable`: a receiver is called again.
pub(super) async fn enable_receiver(call: &Call) -> Result<Response<Body>, ApiError> {
    let mut wanted = None;
    for (name, value) in form_urlencoded::parse(call.query().as_bytes()) {
        match name.as_ref() {
            "receiver" => wanted = Some(receiver(&value)?),
            other => return Err(ApiError::parameter(other, "is not known here; receiver is")),
        }
    }
    let missing = || ApiError::parameter("receiver", "is missing; it names scheme, host and port");
    call.state.services.queue.enable_receiver(wanted.ok_or_else(missing)?).await?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

/// What a webhook's address, or its beginning, calls its receiver.
fn receiver(text: &str) -> Result<String, ApiError> {
    let is_web = url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    match is_web {
        true => Ok(receiver_of(text)),
        false => Err(ApiError::parameter("receiver", "must be an address such as https://example.com")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::DeliveryId;

    #[test]
    fn filters_are_read_strictly() {
        let id = DeliveryId::new();
        let filter =
            read_filter(&format!("receiver=https://a.test:443/hook&limit=3&status=failed&cursor={id}"))
                .unwrap();
        assert_eq!(filter.receiver.as_deref(), Some("https://a.test"));
        assert_eq!((filter.before, filter.limit), (Some(id), 3));
        for query in ["limit=0", "limit=201", "status=pending", "cursor=7", "receiver=a.test", "page=2"] {
            assert!(read_filter(query).is_err(), "{query}");
        }
    }
}
