//! Putting blocks into files that our own encoders wrote. Knows just enough of each container for that.

mod avif;
mod gif;
mod jpeg;
mod png;
mod tiff;
mod webp;

use super::Extras;

pub(super) use avif::write as avif;
pub(super) use gif::write as gif;
pub(super) use jpeg::{EXIF_BYTES_MAX as JPEG_EXIF_BYTES_MAX, IPTC_BYTES_MAX as JPEG_IPTC_BYTES_MAX};
pub(super) use jpeg::{XMP_BYTES_MAX as JPEG_XMP_BYTES_MAX, write as jpeg};
pub(super) use png::write as png;
pub(super) use tiff::write as tiff;
pub(super) use webp::write as webp;
