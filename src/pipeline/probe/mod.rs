//! Reads an image's header by content: format, size, frames, orientation, without decoding a pixel.
//!
//! Owns the bounded walks over each container. Never trusts a length it has read: everything is counted against a budget of bytes and
//! blocks, so that a probe takes milliseconds whatever the file claims. Called at submit with a file, and by `run` with bytes in memory.
//!
//! Most walks hop from block to block and hold a few fields: a [`sniff`](fn@sniff), which any process may afford. Three formats say
//! nothing without a parser that builds something (a document, a table of items, a bit stream read by somebody else's code): a server that
//! keeps images out of its own process has those read elsewhere.

mod exif;
mod gif;
pub(super) mod isobmff;
mod jpeg;
mod jxl;
mod png;
mod simple;
mod source;
mod svg;
mod tiff;
mod unknown;
mod webp;

use std::io::{BufRead, ErrorKind, Seek};

pub(super) use self::source::Source;
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

/// What a [`sniff`](fn@sniff) has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// The whole header.
    Header(Header),
    /// An image of this format, whose header takes a [`probe`](fn@probe).
    Deeper(Format),
}

/// Reads as much of a header as a hop from block to block tells: all of it, but for AVIF, JPEG XL and SVG, of which only the format.
///
/// Holds at most some 64 KiB at a time; reads at most 16 MiB, to count the frames of a GIF.
///
/// # Errors
/// As [`probe`](fn@probe).
pub fn sniff<R: BufRead + Seek>(source: R, limits: &Limits) -> Result<Sniffed, Error> {
    let mut source = Source::new(source);
    let format = format(&mut source)?;
    match hop(format, &mut source, limits.frames_max) {
        Some(walked) => Ok(Sniffed::Header(judged(format, walked, &mut source, limits)?)),
        None => Ok(Sniffed::Deeper(format)),
    }
}

/// Reads the header of an image by its content, and checks it against `limits`.
///
/// Reads a bounded part of the source: at most a few MiB, of GIFs up to 16 MiB to count frames, of drawings their whole text of 8 MiB, of
/// which it makes a document many times that size.
///
/// # Errors
/// [`Error::UnsupportedFormat`] names what the bytes look like; [`Error::Corrupt`] when the header is broken;
/// [`Error::TooLarge`] when pixels, a side or the frames are over their limit.
pub fn probe<R: BufRead + Seek>(source: R, limits: &Limits) -> Result<Header, Error> {
    let mut source = Source::new(source);
    let format = format(&mut source)?;
    let walked = hop(format, &mut source, limits.frames_max).unwrap_or_else(|| parse(format, &mut source));
    judged(format, walked, &mut source, limits)
}

/// The format by the first bytes.
fn format<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Format, Error> {
    let start = source.peek(unknown::LOOK_BYTES).map_err(|error| unreadable(&error))?;
    Format::detect(&start).ok_or_else(|| Error::UnsupportedFormat(unknown::describe(&start)))
}

/// The walks that hop; none where that is not enough.
fn hop<R: BufRead + Seek>(
    format: Format,
    source: &mut Source<R>,
    frames_max: u32,
) -> Option<Result<Header, Flaw>> {
    Some(match format {
        Format::Jpeg => jpeg::header(source),
        Format::Png => png::header(source, frames_max),
        Format::Webp => webp::header(source, frames_max),
        Format::Gif => gif::header(source, frames_max),
        Format::Tiff => tiff::header(source),
        Format::Bmp => simple::bmp(source),
        Format::Qoi => simple::qoi(source),
        Format::Avif | Format::Jxl | Format::Svg => return None,
    })
}

/// The walks that take a parser.
fn parse<R: BufRead + Seek>(format: Format, source: &mut Source<R>) -> Result<Header, Flaw> {
    match format {
        Format::Avif => isobmff::header(source),
        Format::Jxl => jxl::header(source),
        _ => svg::header(source),
    }
}

/// What a walk comes to: a header within the limits, or what is wrong.
fn judged<R: BufRead + Seek>(
    format: Format,
    walked: Result<Header, Flaw>,
    source: &mut Source<R>,
    limits: &Limits,
) -> Result<Header, Error> {
    let mut header = walked.map_err(|flaw| match flaw {
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
    header.working_bytes += copies(&header) * source.length().map_err(|error| unreadable(&error))?;
    Ok(header)
}

/// How many times as long as the file the copies are that its decoder makes of it at most, however little of it belongs to the picture.
fn copies(header: &Header) -> u64 {
    match header.format {
        // The parts of an image, joined.
        Format::Avif => 1,
        // What was fed is kept by groups, beside what has not been sorted yet.
        Format::Jxl => 2,
        // The last partition of a lossy frame is read into a buffer that grows by doubling, and that is copied once more; a frame of an
        // animation gets a file of its own before.
        Format::Webp => 3 + u64::from(header.frames > 1),
        _ => 0,
    }
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
        working_bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::Code;
    use super::*;

    fn code(bytes: &[u8]) -> (Code, String) {
        let error = probe(Cursor::new(bytes), &Limits::default()).unwrap_err();
        (error.code(), error.to_string())
    }

    const FRAME: &[u8] = b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";

    fn gif(size: [u8; 4], frames: usize) -> Vec<u8> {
        [b"GIF89a", &size[..], b"\0\0\0", &FRAME.repeat(frames), b";"].concat()
    }

    #[test]
    fn sizes_over_the_limit_are_refused_from_the_header() {
        let (kind, message) = code(&gif([255; 4], 1));
        assert_eq!(kind, Code::ImageTooLarge);
        assert!(
            message.contains("65535×65535") && message.contains("16384") && message.contains("limits.side"),
            "{message}"
        );
        let (kind, message) = code(&gif([0, 0x40, 0, 0x40], 1));
        assert_eq!(kind, Code::ImageTooLarge);
        assert!(message.contains("100000000 (setting limits.pixels)"), "{message}");
    }

    #[test]
    fn frames_are_counted_and_limited() {
        assert_eq!(probe(Cursor::new(gif([1, 0, 1, 0], 7)), &Limits::default()).unwrap().frames, 7);
        let (kind, message) = code(&gif([1, 0, 1, 0], 100_000));
        assert_eq!(kind, Code::ImageTooLarge);
        assert!(message.contains("500 frames") && message.contains("limits.frames"), "{message}");
    }

    #[test]
    fn an_animation_is_announced_before_the_pixels_or_not_at_all() {
        let chunk = |kind: &[u8; 4], body: &[u8]| {
            [&(body.len() as u32).to_be_bytes()[..], kind, body, &[0; 4]].concat()
        };
        let head = chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
        let (announced, pixels) = (chunk(b"acTL", &[0, 0, 0, 3, 0, 0, 0, 0]), chunk(b"IDAT", &[0; 9]));
        let frames = |parts: [&[u8]; 2]| {
            let file = [b"\x89PNG\r\n\x1a\n", &head[..], parts[0], parts[1], &chunk(b"IEND", &[])].concat();
            probe(Cursor::new(file), &Limits::default()).unwrap().frames
        };
        assert_eq!(frames([&announced, &pixels]), 3);
        assert_eq!(frames([&pixels, &announced]), 1);
    }

    #[test]
    fn what_is_no_image_is_named() {
        for (bytes, word) in [(&b""[..], "empty"), (b"hello", "text"), (b"%PDF-1.4", "PDF")] {
            let (kind, message) = code(bytes);
            assert_eq!(kind, Code::UnsupportedFormat);
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn walks_end_whatever_the_file_says() {
        let endless: [&[u8]; 4] = [
            &[b"\xff\xd8".to_vec(), b"\xff\xe0\0\x02".repeat(200_000)].concat(),
            &[b"\xff\xd8\xff".to_vec(), vec![0xff; 200_000]].concat(),
            &[b"RIFF\xff\xff\xff\xffWEBP".to_vec(), b"JUNK\0\0\0\0".repeat(200_000)].concat(),
            &[b"II*\0\x08\0\0\0\xff\xff".to_vec(), vec![0xff; 100]].concat(),
        ];
        for bytes in endless {
            assert_eq!(code(bytes).0, Code::CorruptImage);
        }
    }

    /// Counts the times that it is moved.
    struct Moved(Cursor<Vec<u8>>, u32);

    impl std::io::Read for Moved {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl BufRead for Moved {
        fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
            self.0.fill_buf()
        }
        fn consume(&mut self, amount: usize) {
            self.0.consume(amount);
        }
    }

    impl Seek for Moved {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.1 += 1;
            self.0.seek(to)
        }
    }

    #[test]
    fn the_shortest_hops_are_counted_too() {
        let head = [b"GIF89a\x01\0\x01\0\0\0\0", &FRAME[..11]].concat();
        let mut moved = Moved(Cursor::new([head, b"\x01x".repeat(9 << 20)].concat()), 0);
        let sniffed = sniff(&mut moved, &Limits::default()).unwrap();
        assert!(matches!(sniffed, Sniffed::Header(header) if header.frames == 1));
        // Some 40 ms; each byte alone would make eight times as many.
        assert!(moved.1 < 1_000_000, "{} hops", moved.1);
    }

    #[test]
    fn planar_tiles_are_refused_before_a_decoder_sees_them() {
        let entry = |tag: u16, value: u32| {
            [&tag.to_le_bytes()[..], &4u16.to_le_bytes(), &1u32.to_le_bytes(), &value.to_le_bytes()].concat()
        };
        let entries = [entry(256, 64), entry(257, 64), entry(284, 2), entry(322, 64)].concat();
        let (kind, message) = code(&[b"II*\0\x08\0\0\0\x04\0", &entries[..], b"\0\0\0\0"].concat());
        assert_eq!(kind, Code::UnsupportedFormat, "{message}");
    }
}
