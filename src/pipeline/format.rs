//! The image formats: their names, media types, file extensions, which are written, and detection by content.

use serde::{Deserialize, Serialize};

/// A format that is read here; those in [`Format::WRITTEN`] are written too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JPEG (JFIF, Exif).
    Jpeg,
    /// PNG.
    Png,
    /// WebP, lossy and lossless.
    Webp,
    /// GIF.
    Gif,
    /// TIFF; of several pages the first.
    Tiff,
    /// Windows bitmap.
    Bmp,
    /// Quite OK Image.
    Qoi,
    /// AV1 in a HEIF container; of an image sequence the primary image.
    Avif,
    /// JPEG XL, bare or in its container; of an animation the first frame. Read only.
    Jxl,
    /// Scalable Vector Graphics. Read only: an output in it would have to be a vector again.
    Svg,
}

impl Format {
    /// Every format that is read, in the order in which they are listed to people.
    pub const ALL: [Format; 10] = [
        Format::Jpeg,
        Format::Png,
        Format::Webp,
        Format::Avif,
        Format::Gif,
        Format::Tiff,
        Format::Bmp,
        Format::Qoi,
        Format::Jxl,
        Format::Svg,
    ];

    /// Every format that is written, in the same order.
    pub const WRITTEN: [Format; 8] = [
        Format::Jpeg,
        Format::Png,
        Format::Webp,
        Format::Avif,
        Format::Gif,
        Format::Tiff,
        Format::Bmp,
        Format::Qoi,
    ];

    /// Whether outputs can have this format.
    pub fn is_written(self) -> bool {
        Format::WRITTEN.contains(&self)
    }

    /// What an output of format `same` becomes for a source of this format: the source's own where it is written. JPEG XL, mostly
    /// photographs, becomes JPEG, or PNG where pixels may be transparent; a drawing becomes PNG.
    pub fn same(self, alpha: bool) -> Format {
        match self {
            Format::Jxl if !alpha => Format::Jpeg,
            Format::Jxl | Format::Svg => Format::Png,
            written => written,
        }
    }

    /// The format of a file that starts with these bytes (512 are enough), by its content alone.
    pub fn detect(start: &[u8]) -> Option<Format> {
        match start {
            [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
            [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some(Format::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Format::Webp),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Format::Gif),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Format::Tiff),
            // Two letters are little to go by: the header's size must be one that exists.
            [
                b'B',
                b'M',
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                12 | 16 | 40 | 52 | 56 | 64 | 108 | 124,
                0,
                0,
                0,
                ..,
            ] => Some(Format::Bmp),
            [b'q', b'o', b'i', b'f', ..] => Some(Format::Qoi),
            [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', 13, 10, 0x87, 10, ..] => {
                Some(Format::Jxl)
            }
            [s0, s1, s2, s3, b'f', b't', b'y', b'p', brands @ ..] => {
                let length = u32::from_be_bytes([*s0, *s1, *s2, *s3]) as usize;
                is_avif(&brands[..length.saturating_sub(8).min(brands.len())]).then_some(Format::Avif)
            }
            _ => is_svg(start).then_some(Format::Svg),
        }
    }

    /// Whether the format keeps alpha when it is written here. BMP could, but hardly any reader looks at it.
    pub fn keeps_alpha(self) -> bool {
        !matches!(self, Format::Jpeg | Format::Bmp)
    }

    /// Most pixels a side that a file of this format can have.
    pub fn side_max(self) -> u32 {
        match self {
            Format::Jpeg => 65_500,
            Format::Webp => 16_383,
            Format::Gif => 65_535,
            // One less than AV1's frame header can say: the encoder counts in 16 bits.
            Format::Avif => 65_535,
            Format::Png | Format::Tiff | Format::Bmp | Format::Qoi | Format::Jxl | Format::Svg => {
                i32::MAX as u32
            }
        }
    }

    /// Quality taken when none is asked for; `None` where there is none to choose.
    pub fn quality_default(self) -> Option<u8> {
        match self {
            Format::Jpeg => Some(80),
            Format::Webp => Some(79),
            Format::Avif => Some(63),
            _ => None,
        }
    }

    /// The name in specs, rows, JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "jpeg",
            Format::Png => "png",
            Format::Webp => "webp",
            Format::Gif => "gif",
            Format::Tiff => "tiff",
            Format::Bmp => "bmp",
            Format::Qoi => "qoi",
            Format::Avif => "avif",
            Format::Jxl => "jxl",
            Format::Svg => "svg",
        }
    }

    /// The format with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The media type for `Content-Type` (IANA where registered).
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Jpeg => "image/jpeg",
            Format::Png => "image/png",
            Format::Webp => "image/webp",
            Format::Gif => "image/gif",
            Format::Tiff => "image/tiff",
            Format::Bmp => "image/bmp",
            Format::Qoi => "image/qoi",
            Format::Avif => "image/avif",
            Format::Jxl => "image/jxl",
            Format::Svg => "image/svg+xml",
        }
    }

    /// The usual file extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Jpeg => "jpg",
            Format::Tiff => "tif",
            other => other.name(),
        }
    }
}

/// Whether the brands of a HEIF file (major, version, compatible ones) promise AVIF.
fn is_avif(brands: &[u8]) -> bool {
    brands.chunks_exact(4).any(|brand| matches!(brand, b"avif" | b"avis"))
}

/// Whether the first element of a text is `<svg>`: behind a byte order mark, the XML declaration, comments, instructions and the document
/// type. A prologue that is longer than `start` is believed to belong to a drawing if its document type says so.
fn is_svg(start: &[u8]) -> bool {
    let mut rest = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    loop {
        let end: &[u8] = match rest {
            [b'<', b'?', ..] => b"?>",
            [b'<', b'!', b'-', b'-', ..] => b"-->",
            _ if rest.starts_with(b"<!DOCTYPE") => return rest[9..].trim_ascii_start().starts_with(b"svg"),
            _ => return element_is_svg(rest),
        };
        match memchr::memmem::find(rest, end) {
            Some(at) => rest = rest[at + end.len()..].trim_ascii_start(),
            // A licence in a comment may be long: any mention of the element decides.
            None => return memchr::memmem::find(start, b"<svg").is_some(),
        }
    }
}

/// `<svg`, or `<prefix:svg`, then white space or the tag's end.
fn element_is_svg(rest: &[u8]) -> bool {
    let Some(tag) = rest.strip_prefix(b"<") else { return false };
    let end = tag.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'));
    let name = &tag[..end.unwrap_or(tag.len())];
    name.rsplit(|byte| *byte == b':').next() == Some(b"svg")
}

impl std::fmt::Display for Format {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_may_be_asked_for_by_same() {
        for format in Format::ALL {
            for alpha in [false, true] {
                assert!(format.same(alpha).is_written(), "{format}");
                assert!(!format.is_written() || format.same(alpha) == format, "{format}");
            }
        }
        assert_eq!((Format::Jxl.same(false), Format::Jxl.same(true)), (Format::Jpeg, Format::Png));
    }

    #[test]
    fn drawings_are_known_by_their_first_element() {
        let drawings: [&[u8]; 6] = [
            b"<svg/>",
            b"\xef\xbb\xbf  <svg xmlns='http://www.w3.org/2000/svg'>",
            b"<?xml version=\"1.0\"?>\n<!-- <html> --><svg:svg>",
            b"<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" [ <!ENTITY a \"b\">",
            b"<?xml version='1.0'?><?xml-stylesheet href='a'?>\r\n<svg\n",
            b"<!-- long, cut <svg",
        ];
        for start in drawings {
            assert_eq!(Format::detect(start), Some(Format::Svg), "{}", String::from_utf8_lossy(start));
        }
        for start in [&b"<!DOCTYPE html><svg>"[..], b"<html><svg>", b"<svgx>", b"svg", b"<", b""] {
            assert_eq!(Format::detect(start), None, "{}", String::from_utf8_lossy(start));
        }
    }

    #[test]
    fn heif_files_are_avif_by_their_brands_alone() {
        assert_eq!(Format::detect(b"\0\0\0\x1cftypmif1\0\0\0\0avifmiaf"), Some(Format::Avif));
        assert_eq!(Format::detect(b"\0\0\0\x10ftypheic\0\0\0\0avif"), None, "behind the box");
    }
}
