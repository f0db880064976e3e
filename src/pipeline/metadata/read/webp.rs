//! WebP: the RIFF chunks (RFC 9649, §2.7).

use std::borrow::Cow;

use crate::pipeline::{metadata::Embedded, profile::ICC_BYTES_MAX, riff::Chunks};

pub(super) fn read<'a>(source: &'a [u8], embedded: &mut Embedded<'a>) {
    for (kind, data) in Chunks::of_file(source) {
        match &kind {
            b"ICCP" if data.len() > ICC_BYTES_MAX => embedded.damaged = Some("it is unreasonably long"),
            b"ICCP" => embedded.icc = Some(Cow::Borrowed(data)),
            // Some writers put JPEG's prefix before it.
            b"EXIF" => embedded.exif = Some(Cow::Borrowed(data.strip_prefix(b"Exif\0\0").unwrap_or(data))),
            b"XMP " => embedded.xmp = Some(Cow::Borrowed(data)),
            _ => {}
        }
    }
}
