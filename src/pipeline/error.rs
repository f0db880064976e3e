//! What can go wrong between bytes in and bytes out, told apart by whose fault it is.

use super::{Format, Interrupt};

/// Stable code of a pipeline error; the same words as in the HTTP contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The bytes are no image of a format that is read here.
    UnsupportedFormat,
    /// The image breaks a limit: pixels, side, frames or memory.
    ImageTooLarge,
    /// The bytes are damaged.
    CorruptImage,
    /// An output could not be written.
    EncodeFailed,
    /// An output stays larger than its `max_bytes`.
    MaxBytesUnreachable,
    /// A parameter does not fit this image (a crop outside of it, for instance).
    InvalidSpec,
    /// Stopped from outside.
    Interrupted,
}

/// Failure of a probe, a plan or a run. The message is meant for the person who sent the image and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No decoder for these bytes.
    #[error("{0}")]
    UnsupportedFormat(String),
    /// Over a limit; the message names limit and value.
    #[error("{0}")]
    TooLarge(String),
    /// The decoder gave up.
    #[error("the {format} data is damaged: {detail}")]
    Corrupt {
        /// Format that the bytes claim.
        format: Format,
        /// What the decoder said.
        detail: String,
    },
    /// The encoder gave up.
    #[error("could not encode {output:?} as {format}: {detail}")]
    Encode {
        /// Name of the output.
        output: String,
        /// Target format.
        format: Format,
        /// What the encoder said.
        detail: String,
    },
    /// The smallest file that may be made is too large.
    #[error("output {output:?} does not fit into max_bytes: {detail}")]
    MaxBytes {
        /// Name of the output.
        output: String,
        /// How small it got, and what to do.
        detail: String,
    },
    /// A parameter that can't be applied to this image.
    #[error("{pointer}: {detail}")]
    Parameter {
        /// JSON Pointer into the job spec.
        pointer: String,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// Cancelled or out of time.
    #[error(transparent)]
    Interrupted(#[from] Interrupt),
}

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> Code {
        match self {
            Error::UnsupportedFormat(_) => Code::UnsupportedFormat,
            Error::TooLarge(_) => Code::ImageTooLarge,
            Error::Corrupt { .. } => Code::CorruptImage,
            Error::Encode { .. } => Code::EncodeFailed,
            Error::MaxBytes { .. } => Code::MaxBytesUnreachable,
            Error::Parameter { .. } => Code::InvalidSpec,
            Error::Interrupted(_) => Code::Interrupted,
        }
    }
}
