//! WebP: the RIFF chunks (RFC 9649, §2.7).

use std::borrow::Cow;

use crate::pipeline::{metadata::Embedded, profile::ICC_BYTES_MAX};

pub(super) fn read<'a>(source: &'a [u8], embedded: &mut Embedded<'a>) {
    let mut rest = source.get(12..).unwrap_or_default();
    while let Some(([c0, c1, c2, c3, l0, l1, l2, l3], after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        let Some(data) = after.get(..length) else { break };
        rest = after.get(length + length % 2..).unwrap_or_default();
        match &[*c0, *c1, *c2, *c3] {
            b"ICCP" if length > ICC_BYTES_MAX => embedded.damaged = Some("it is unreasonably long"),
            b"ICCP" => embedded.icc = Some(Cow::Borrowed(data)),
            // Some writers put JPEG's prefix before it.
            b"EXIF" => embedded.exif = Some(Cow::Borrowed(data.strip_prefix(b"Exif\0\0").unwrap_or(data))),
            b"XMP " => embedded.xmp = Some(Cow::Borrowed(data)),
            _ => {}
        }
    }
}
