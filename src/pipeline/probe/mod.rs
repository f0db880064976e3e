//! Reads an image's header by content: format, size, frames, orientation, without decoding a pixel.
//!
//! Owns the bounded walks over each container. Never trusts a length it has read: everything is counted against a budget of bytes and
//! blocks, so that a probe takes milliseconds whatever the file claims. Called at submit with a file, and by `run` with bytes in memory.

mod exif;
mod gif;
mod jpeg;
mod png;
mod simple;
mod source;
mod tiff;
mod unknown;
mod webp;

use std::io::{BufRead, ErrorKind, Seek};

use self::source::Source;
use super::{Error, Format, Header, Limits, limits};

/// Why a walk ended early.
#[derive(Debug)]
pub(super) enum Flaw {
    /// The file ends in the middle of something.
    Truncated,
    /// The file contradicts itself or its format.
    Invalid(String),
    /// A variant of the format that is not read.
    Unsupported(String),
    /// The source could not be read.
    Io(std::io::Error),
}

impl Flaw {
    /// An invalid file, with what is wrong in it.
    fn invalid(detail: impl Into<String>) -> Flaw {
        Flaw::Invalid(detail.into())
    }
}

impl From<std::io::Error> for Flaw {
    fn from(error: std::io::Error) -> Flaw {
        match error.kind() {
            ErrorKind::UnexpectedEof => Flaw::Truncated,
            ErrorKind::InvalidData => Flaw::Invalid(error.to_string()),
            _ => Flaw::Io(error),
        }
    }
}

/// Reads the header of an image by its content, and checks it against `limits`.
///
/// Reads a bounded part of the source (at most a few MiB, of GIFs up to 16 MiB to count frames).
///
/// # Errors
/// [`Error::UnsupportedFormat`] names what the bytes look like; [`Error::Corrupt`] when the header is broken;
/// [`Error::TooLarge`] when pixels, a side or the frames are over their limit.
pub fn probe<R: BufRead + Seek>(source: R, limits: &Limits) -> Result<Header, Error> {
    let mut source = Source::new(source);
    let start = source.peek(unknown::LOOK_BYTES).map_err(|error| unreadable(&error))?;
    let Some(format) = Format::detect(&start) else {
        return Err(Error::UnsupportedFormat(unknown::describe(&start)));
    };
    let walked = match format {
        Format::Jpeg => jpeg::header(&mut source),
        Format::Png => png::header(&mut source, limits.frames_max),
        Format::Webp => webp::header(&mut source, limits.frames_max),
        Format::Gif => gif::header(&mut source, limits.frames_max),
        Format::Tiff => tiff::header(&mut source),
        Format::Bmp => simple::bmp(&mut source),
        Format::Qoi => simple::qoi(&mut source),
    };
    let header = walked.map_err(|flaw| match flaw {
        Flaw::Truncated => Error::Corrupt { format, detail: "the file ends inside its header".to_owned() },
        Flaw::Invalid(detail) => Error::Corrupt { format, detail },
        Flaw::Unsupported(detail) => Error::UnsupportedFormat(format!("{detail}; {}", unknown::readable())),
        Flaw::Io(error) => unreadable(&error),
    })?;
    if header.width == 0 || header.height == 0 {
        let detail = format!("the header claims {}×{} pixels", header.width, header.height);
        return Err(Error::Corrupt { format, detail });
    }
    limits::admit(&header, limits)?;
    Ok(header)
}

fn unreadable(error: &std::io::Error) -> Error {
    Error::UnsupportedFormat(format!("the image could not be read: {error}"))
}

/// A header with everything at its plainest, for the walks to fill in.
fn plain(format: Format) -> Header {
    Header {
        format,
        width: 0,
        height: 0,
        frames: 1,
        depth: 8,
        alpha: false,
        channels: 3,
        has_icc: false,
        orientation: 1,
        progressive: false,
    }
}
