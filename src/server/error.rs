//! What goes wrong with a request: what the client is told, and what only the log sees. The only file that knows the status of an error.

use std::error::Error as StdError;
use std::time::Duration;

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::Body;
use super::respond;
use crate::api::spec::{Rejected, Verdict};
use crate::api::{Mistake, ProblemDetails};
use crate::blob::BlobError;
use crate::pipeline;
use crate::queue::{LookError, QueueError};

/// Stable code of an inbound error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    InvalidJson,
    InvalidRequest,
    DigestMismatch,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    NotReady,
    JobNotSucceeded,
    NotRetryableState,
    IdempotencyInProgress,
    Gone,
    LengthRequired,
    PreconditionFailed,
    BodyTooLarge,
    UnsupportedFormat,
    RangeNotSatisfiable,
    InvalidSpec,
    ImageTooLarge,
    CorruptImage,
    SourceForbidden,
    WebhookForbidden,
    IdempotencyMismatch,
    QueueFull,
    RateLimited,
    HeadersTooLarge,
    Internal,
    ShuttingDown,
    StoreUnavailable,
    StorageFull,
}

impl Code {
    /// Every code, for the pages that explain them.
    pub(super) const ALL: [Code; 31] = [
        Code::InvalidJson,
        Code::InvalidRequest,
        Code::DigestMismatch,
        Code::Unauthorized,
        Code::Forbidden,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::RequestTimeout,
        Code::NotReady,
        Code::JobNotSucceeded,
        Code::NotRetryableState,
        Code::IdempotencyInProgress,
        Code::Gone,
        Code::LengthRequired,
        Code::PreconditionFailed,
        Code::BodyTooLarge,
        Code::UnsupportedFormat,
        Code::RangeNotSatisfiable,
        Code::InvalidSpec,
        Code::ImageTooLarge,
        Code::CorruptImage,
        Code::SourceForbidden,
        Code::WebhookForbidden,
        Code::IdempotencyMismatch,
        Code::QueueFull,
        Code::RateLimited,
        Code::HeadersTooLarge,
        Code::Internal,
        Code::ShuttingDown,
        Code::StoreUnavailable,
        Code::StorageFull,
    ];

    /// Word, status, whether the same request may succeed later, title.
    const fn row(self) -> (&'static str, StatusCode, bool, &'static str) {
        use StatusCode as S;
        match self {
            Code::InvalidJson => ("invalid_json", S::BAD_REQUEST, false, "The JSON can't be read"),
            Code::InvalidRequest => ("invalid_request", S::BAD_REQUEST, false, "The request is not valid"),
            Code::DigestMismatch => {
                ("digest_mismatch", S::BAD_REQUEST, true, "The body does not match its digest")
            }
            Code::Unauthorized => ("unauthorized", S::UNAUTHORIZED, false, "A key is asked for"),
            Code::Forbidden => ("forbidden", S::FORBIDDEN, false, "Not allowed"),
            Code::NotFound => ("not_found", S::NOT_FOUND, false, "Not found"),
            Code::MethodNotAllowed => {
                ("method_not_allowed", S::METHOD_NOT_ALLOWED, false, "This method is not allowed here")
            }
            Code::RequestTimeout => {
                ("request_timeout", S::REQUEST_TIMEOUT, true, "The request took too long to arrive")
            }
            Code::NotReady => ("not_ready", S::CONFLICT, true, "The job has not ended yet"),
            Code::JobNotSucceeded => ("job_not_succeeded", S::CONFLICT, false, "The job did not succeed"),
            Code::NotRetryableState => {
                ("not_retryable_state", S::CONFLICT, false, "The job can't be retried")
            }
            Code::IdempotencyInProgress => (
                "idempotency_in_progress",
                S::CONFLICT,
                true,
                "A request with this Idempotency-Key is under way",
            ),
            Code::Gone => ("gone", S::GONE, false, "The job was deleted or has expired"),
            Code::LengthRequired => {
                ("length_required", S::LENGTH_REQUIRED, false, "The body's length is missing")
            }
            Code::PreconditionFailed => {
                ("precondition_failed", S::PRECONDITION_FAILED, false, "A precondition does not hold")
            }
            Code::BodyTooLarge => ("body_too_large", S::PAYLOAD_TOO_LARGE, false, "The body is too large"),
            Code::UnsupportedFormat => {
                ("unsupported_format", S::UNSUPPORTED_MEDIA_TYPE, false, "This format is not read here")
            }
            Code::RangeNotSatisfiable => {
                ("range_not_satisfiable", S::RANGE_NOT_SATISFIABLE, false, "The range lies outside")
            }
            Code::InvalidSpec => {
                ("invalid_spec", S::UNPROCESSABLE_ENTITY, false, "The job specification has mistakes")
            }
            Code::ImageTooLarge => {
                ("image_too_large", S::UNPROCESSABLE_ENTITY, false, "The image is too large")
            }
            Code::CorruptImage => ("corrupt_image", S::UNPROCESSABLE_ENTITY, false, "The image is damaged"),
            Code::SourceForbidden => (
                "source_forbidden",
                S::UNPROCESSABLE_ENTITY,
                false,
                "The source's address is not one this server may fetch",
            ),
            Code::WebhookForbidden => (
                "webhook_forbidden",
                S::UNPROCESSABLE_ENTITY,
                false,
                "The webhook's address is not one this server may call",
            ),
            Code::IdempotencyMismatch => (
                "idempotency_mismatch",
                S::UNPROCESSABLE_ENTITY,
                false,
                "This Idempotency-Key was used for another request",
            ),
            Code::QueueFull => ("queue_full", S::TOO_MANY_REQUESTS, true, "The queue is full"),
            Code::RateLimited => ("rate_limited", S::TOO_MANY_REQUESTS, true, "Too many requests"),
            Code::HeadersTooLarge => (
                "headers_too_large",
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                false,
                "The request's headers are too large",
            ),
            Code::Internal => ("internal", S::INTERNAL_SERVER_ERROR, true, "Something went wrong here"),
            Code::ShuttingDown => {
                ("shutting_down", S::SERVICE_UNAVAILABLE, true, "The server is shutting down")
            }
            Code::StoreUnavailable => {
                ("store_unavailable", S::SERVICE_UNAVAILABLE, true, "The job store is unavailable")
            }
            Code::StorageFull => ("storage_full", S::INSUFFICIENT_STORAGE, true, "The storage is full"),
        }
    }

    /// The word.
    pub(super) const fn name(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub(super) const fn status(self) -> StatusCode {
        self.row().1
    }

    /// Whether the same request may succeed later.
    pub(super) const fn is_retryable(self) -> bool {
        self.row().2
    }

    /// What kind of problem it is.
    pub(super) const fn title(self) -> &'static str {
        self.row().3
    }
}

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct ApiError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: Code,
    detail: String,
    errors: Vec<Mistake>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
    retry_after: Option<Duration>,
    header: Option<(header::HeaderName, HeaderValue)>,
}

impl ApiError {
    /// An error with what the client should know.
    pub(super) fn new(code: Code, detail: impl Into<String>) -> ApiError {
        ApiError(Box::new(Inner {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            cause: None,
            retry_after: None,
            header: None,
        }))
    }

    /// An error of the server's own; only the log learns the cause.
    pub(super) fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> ApiError {
        ApiError::new(Code::Internal, "The request could not be answered; the log names the cause.")
            .because(cause)
    }

    /// One mistake of a query parameter.
    pub(super) fn parameter(name: &str, detail: impl Into<String>) -> ApiError {
        let detail = detail.into();
        let summary = format!("The parameter `{name}` {detail}.");
        let mut error = ApiError::new(Code::InvalidRequest, summary);
        error.0.errors.push(Mistake { pointer: format!("/{name}"), detail });
        error
    }

    /// Adds the cause for the log.
    pub(super) fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> ApiError {
        self.0.cause = Some(cause.into());
        self
    }

    /// Adds a sentence.
    pub(super) fn and_also(mut self, sentence: &str) -> ApiError {
        let detail = self.0.detail.trim_end_matches('.');
        self.0.detail = format!("{detail}. {sentence}");
        self
    }

    /// Adds `Retry-After`.
    pub(super) fn retry_after(mut self, wait: Duration) -> ApiError {
        self.0.retry_after = Some(wait);
        self
    }

    /// Adds a header that the status calls for: `Allow`, `Content-Range`.
    pub(super) fn header(mut self, name: header::HeaderName, value: HeaderValue) -> ApiError {
        self.0.header = Some((name, value));
        self
    }

    /// Which one it is.
    pub(super) fn code(&self) -> Code {
        self.0.code
    }

    /// The answer. Logs what is the server's own fault.
    pub(super) fn into_response(self, request_id: &str) -> Response<Body> {
        let inner = *self.0;
        let (name, status, retryable, title) = inner.code.row();
        let own_fault = status.is_server_error() && inner.code != Code::ShuttingDown;
        if own_fault {
            let cause = inner.cause.as_ref().map(|cause| cause.to_string()).unwrap_or_default();
            tracing::error!(request.id = request_id, code = name, cause, "a request failed");
        }
        let problem = ProblemDetails {
            kind: format!("/problems/{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: inner.detail,
            code: name.to_owned(),
            retryable,
            errors: inner.errors,
            request_id: own_fault.then(|| request_id.to_owned()),
        };
        let mut response = respond::json_as(status, "application/problem+json", &problem);
        let headers = response.headers_mut();
        if let Some(wait) = inner.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if let Some((name, value)) = inner.header {
            headers.insert(name, value);
        }
        response
    }
}

impl From<Rejected> for ApiError {
    fn from(rejected: Rejected) -> ApiError {
        let code = match rejected.verdict {
            Verdict::Invalid => Code::InvalidSpec,
            Verdict::SourceForbidden => Code::SourceForbidden,
            Verdict::WebhookForbidden => Code::WebhookForbidden,
        };
        let detail = match rejected.problems.as_slice() {
            [only] if only.pointer.is_empty() => format!("The specification {}.", only.detail),
            [only] => format!("{}: {}", only.pointer, only.detail),
            several => format!("{} mistakes; `errors` names each.", several.len()),
        };
        let mut error = ApiError::new(code, detail);
        error.0.errors = rejected.problems.into_iter().map(Mistake::from).collect();
        error
    }
}

impl From<LookError> for ApiError {
    fn from(error: LookError) -> ApiError {
        match error {
            LookError::Image(error) => error.into(),
            // The image is at fault as far as anybody can tell.
            LookError::Panicked | LookError::Died(_) => {
                ApiError::new(Code::CorruptImage, "The image's header can't be read.").because(error)
            }
            LookError::Unavailable(_) => ApiError::internal(error),
        }
    }
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> ApiError {
        match error {
            QueueError::Full { retry_after } => {
                ApiError::new(Code::QueueFull, "The queue is full; try again later.").retry_after(retry_after)
            }
            QueueError::ShareFull { retry_after } => {
                let detail =
                    "As many jobs of this key wait as its share of the queue allows; try again later.";
                ApiError::new(Code::QueueFull, detail).retry_after(retry_after)
            }
            QueueError::StorageFull => {
                ApiError::new(Code::StorageFull, "There is no room for another job.").because(error)
            }
            QueueError::Unavailable(_) => {
                ApiError::new(Code::StoreUnavailable, "Jobs can't be stored or read at the moment.")
                    .retry_after(Duration::from_secs(5))
                    .because(error)
            }
            QueueError::Corrupt(_) => ApiError::internal(error),
        }
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> ApiError {
        match error {
            BlobError::Full(_) => {
                ApiError::new(Code::StorageFull, "There is no room for the image.").because(error)
            }
            BlobError::NotFound | BlobError::Io(_) => {
                ApiError::new(Code::StoreUnavailable, "Images can't be stored or read at the moment.")
                    .retry_after(Duration::from_secs(5))
                    .because(error)
            }
        }
    }
}

impl From<pipeline::Error> for ApiError {
    fn from(error: pipeline::Error) -> ApiError {
        let code = match error.code() {
            pipeline::Code::UnsupportedFormat => Code::UnsupportedFormat,
            pipeline::Code::ImageTooLarge => Code::ImageTooLarge,
            pipeline::Code::CorruptImage => Code::CorruptImage,
            pipeline::Code::InvalidSpec => Code::InvalidSpec,
            pipeline::Code::EncodeFailed
            | pipeline::Code::MaxBytesUnreachable
            | pipeline::Code::Interrupted => return ApiError::internal(error),
        };
        let mut api = ApiError::new(code, error.to_string());
        if let pipeline::Error::Parameter { pointer, detail } = error {
            api.0.errors.push(Mistake { pointer, detail });
        }
        api
    }
}
