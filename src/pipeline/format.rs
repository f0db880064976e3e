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
    /// GIF; of an animation the first frame.
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
