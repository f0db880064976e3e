//! Why an attempt did not succeed, decided on the line that knows: worth another try, or not.

use crate::blob::BlobError;
use crate::job::{Code, Failure};
use crate::pipeline;

/// End of an attempt that made nothing.
#[derive(Debug)]
pub(super) enum WorkError {
    /// The cause may pass.
    Retry(Failure),
    /// It will not.
    Discard(Failure),
    /// Somebody asked for it.
    Cancelled,
    /// The server stops: the attempt is given back.
    Released,
    /// The job is somebody else's now, or gone.
    Lost,
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
