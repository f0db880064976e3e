//! The image formats: their names, media types, file extensions, and detection by content.

use serde::{Deserialize, Serialize};

/// A format that is read and written here.
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
}

impl Format {
    /// Every format, in the order in which they are listed to people.
    pub const ALL: [Format; 7] =
        [Format::Jpeg, Format::Png, Format::Webp, Format::Gif, Format::Tiff, Format::Bmp, Format::Qoi];

    /// The format of a file that starts with these bytes (32 are enough), by its signature alone.
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
            _ => None,
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
            Format::Png | Format::Tiff | Format::Bmp | Format::Qoi => i32::MAX as u32,
        }
    }

    /// Quality taken when none is asked for; `None` where there is none to choose.
    pub fn quality_default(self) -> Option<u8> {
        match self {
            Format::Jpeg => Some(80),
            Format::Webp => Some(79),
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

impl std::fmt::Display for Format {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}
