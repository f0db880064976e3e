//! Why an attempt did not succeed, decided on the line that knows: worth another try, or not.

use crate::blob::BlobError;
use crate::job::{Code, Failure};
use crate::pipeline;
use crate::queue::LookError;

/// End of an attempt that made nothing.
#[derive(Debug)]
pub(super) enum WorkError {
    /// The cause may pass.
    Retry(Failure),
    /// It will not.
    Discard(Failure),
    /// The process that ran it died. Another try may do better, a few times.
    Crashed(Failure),
    /// Somebody asked for it.
    Cancelled,
    /// The server stops: the attempt is given back.
    Released,
    /// The job is somebody else's now, or gone.
    Lost,
}

impl WorkError {
    /// The same of an image that an operation asks for, by its place in the specification.
    pub(super) fn of_input(mut self, pointer: &str) -> WorkError {
        if let WorkError::Retry(failure) | WorkError::Discard(failure) = &mut self {
            *failure =
                Failure::new(failure.code, format!("{pointer}: {}", failure.detail), failure.retryable);
        }
        self
    }
}

/// Tells what is to become of an error.
pub(super) trait Judge<T> {
    /// The cause may pass: `storage_error`.
    fn retry(self) -> Result<T, WorkError>;
}

impl<T, E: std::fmt::Display> Judge<T> for Result<T, E> {
    fn retry(self) -> Result<T, WorkError> {
        self.map_err(|error| WorkError::Retry(Failure::new(Code::StorageError, error.to_string(), true)))
    }
}

/// A stored source that is missing stays missing; every other trouble with storage may pass.
pub(super) fn source_unreadable(error: BlobError) -> WorkError {
    match error {
        BlobError::NotFound => WorkError::Discard(Failure::new(
            Code::StorageError,
            "the stored source is missing; submit the image again",
            false,
        )),
        other => WorkError::Retry(Failure::new(Code::StorageError, other.to_string(), true)),
    }
}

/// The pipeline panicked. The same image would make it panic again.
pub(super) fn panicked_with(message: &str) -> WorkError {
    tracing::error!(message, "the pipeline panicked");
    let detail = format!("the image made the image code panic: {message}");
    WorkError::Discard(Failure::new(Code::Panic, detail, false))
}

/// Looking at an image did not come to its end. The same bytes would make it panic again.
pub(super) fn panicked(error: tokio::task::JoinError) -> WorkError {
    not_looked_at(BlobError::Io(error.into()))
}

/// The same of bytes in a file, where reading them may be the trouble, too.
pub(super) fn not_looked_at(error: BlobError) -> WorkError {
    let is_panic = match &error {
        BlobError::Io(cause) => {
            cause.downcast_ref::<tokio::task::JoinError>().is_some_and(tokio::task::JoinError::is_panic)
        }
        _ => false,
    };
    if is_panic {
        tracing::error!(%error, "looking at an image's header panicked");
        let detail = "the header of an image made the image code panic";
        return WorkError::Discard(Failure::new(Code::Panic, detail, false));
    }
    WorkError::Retry(Failure::new(Code::StorageError, error.to_string(), true))
}

/// A header that is not known. Whoever dies of one may do better with another try, a few times.
pub(super) fn not_seen(error: LookError) -> WorkError {
    let detail = error.to_string();
    match error {
        LookError::Image(error) => WorkError::Discard(failure_of(&error)),
        LookError::Panicked => WorkError::Discard(Failure::new(Code::Panic, detail, false)),
        LookError::Died(_) => WorkError::Crashed(Failure::new(Code::Crashed, detail, true)),
        LookError::Unavailable(_) => WorkError::Retry(Failure::new(Code::StorageError, detail, true)),
    }
}

/// An error of the pipeline other than an interrupt, in the words of the contract. None of these is worth another try.
pub(super) fn failure_of(error: &pipeline::Error) -> Failure {
    let code = match error.code() {
        pipeline::Code::UnsupportedFormat => Code::UnsupportedFormat,
        pipeline::Code::ImageTooLarge => Code::ImageTooLarge,
        pipeline::Code::CorruptImage => Code::CorruptImage,
        pipeline::Code::EncodeFailed => Code::EncodeFailed,
        pipeline::Code::MaxBytesUnreachable => Code::MaxBytesUnreachable,
        pipeline::Code::InvalidSpec => Code::InvalidSpec,
        pipeline::Code::Interrupted => Code::Timeout,
    };
    let failure = Failure::new(code, error.to_string(), false);
    match error {
        pipeline::Error::Encode { output, .. } | pipeline::Error::MaxBytes { output, .. } => {
            failure.of_output(output.clone())
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_header_that_makes_the_reader_panic_is_not_tried_again() {
        let ended = tokio::task::spawn_blocking(|| panic!("on purpose")).await;
        let error: WorkError = ended.map_err(panicked).unwrap_err();
        assert!(matches!(error, WorkError::Discard(failure) if failure.code == Code::Panic));
        let passing = not_looked_at(BlobError::Io(std::io::Error::other("a bad cable").into()));
        assert!(matches!(passing, WorkError::Retry(failure) if failure.code == Code::StorageError));
    }
}
