//! Why a job failed, in words that stay stable.

use serde::{Deserialize, Serialize};

/// Longest stored message in bytes; the rest is cut.
pub const DETAIL_BYTES_MAX: usize = 1000;

/// Stable code of a job-level failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The source's server answered 404 or 410, or its name does not exist.
    SourceNotFound,
    /// The source did not arrive in time.
    SourceTimeout,
    /// The source's server answered with another error, or the connection failed.
    SourceHttpError,
    /// The source's address is not one this server may call.
    SourceForbidden,
    /// No decoder for these bytes.
    UnsupportedFormat,
    /// The bytes are damaged.
    CorruptImage,
    /// Over a limit of pixels, frames, bytes or memory.
    ImageTooLarge,
    /// An operation does not fit this image.
    InvalidSpec,
    /// An output could not be encoded.
    EncodeFailed,
    /// An output does not fit into its `max_bytes` even at the lowest quality.
    MaxBytesUnreachable,
    /// The attempt took longer than `timeout`.
    Timeout,
    /// The image code panicked; the server caught it.
    Panic,
    /// The process died while the job ran, too often.
    Crashed,
    /// Reading or writing stored bytes failed.
    StorageError,
    /// An output could not be delivered to its destination.
    DestinationError,
}

impl Code {
    /// Every code, for documentation pages and tests.
    pub const ALL: [Code; 15] = [
        Code::SourceNotFound,
        Code::SourceTimeout,
        Code::SourceHttpError,
        Code::SourceForbidden,
        Code::UnsupportedFormat,
        Code::CorruptImage,
        Code::ImageTooLarge,
        Code::InvalidSpec,
        Code::EncodeFailed,
        Code::MaxBytesUnreachable,
        Code::Timeout,
        Code::Panic,
        Code::Crashed,
        Code::StorageError,
        Code::DestinationError,
    ];

    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Code::SourceNotFound => "source_not_found",
            Code::SourceTimeout => "source_timeout",
            Code::SourceHttpError => "source_http_error",
            Code::SourceForbidden => "source_forbidden",
            Code::UnsupportedFormat => "unsupported_format",
            Code::CorruptImage => "corrupt_image",
            Code::ImageTooLarge => "image_too_large",
            Code::InvalidSpec => "invalid_spec",
            Code::EncodeFailed => "encode_failed",
            Code::MaxBytesUnreachable => "max_bytes_unreachable",
            Code::Timeout => "timeout",
            Code::Panic => "panic",
            Code::Crashed => "crashed",
            Code::StorageError => "storage_error",
            Code::DestinationError => "destination_error",
        }
    }
}

/// Why an attempt, or in the end the job, failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable code.
    pub code: Code,
    /// Sentence for people, at most [`DETAIL_BYTES_MAX`] bytes.
    pub detail: String,
    /// Whether another try may end differently.
    pub retryable: bool,
    /// Output concerned, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

impl Failure {
    /// A failure with its message cut to the limit at a character boundary.
    pub fn new(code: Code, detail: impl Into<String>, retryable: bool) -> Failure {
        let mut failure = Failure { code, detail: detail.into(), retryable, output: None };
        failure.cut_to(DETAIL_BYTES_MAX);
        failure
    }

    /// Cuts the message to so many bytes, at a character boundary.
    pub(super) fn cut_to(&mut self, bytes_max: usize) {
        let mut end = self.detail.len().min(bytes_max);
        while !self.detail.is_char_boundary(end) {
            end -= 1;
        }
        self.detail.truncate(end);
    }

    /// The same failure, naming the output it concerns.
    #[must_use]
    pub fn of_output(mut self, output: impl Into<String>) -> Failure {
        self.output = Some(output.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let failure = Failure::new(Code::Panic, "é".repeat(600), false);
        assert_eq!(failure.detail.len(), 1000);
        assert_eq!(Failure::new(Code::Panic, "é".repeat(499) + "aé", false).detail.len(), 999);
    }

    #[test]
    fn names_are_the_stored_words() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
    }
}
