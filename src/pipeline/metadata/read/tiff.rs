//! TIFF: the file is itself the structure that EXIF blocks have; profile, XMP and IPTC stand in tags of its first directory. BigTIFF, which
//! EXIF does not know, gives only those three.

use std::borrow::Cow;

use crate::pipeline::{
    ifd::{Found, Tiff},
    metadata::{BLOCK_BYTES_MAX, Embedded, exif},
    profile::ICC_BYTES_MAX,
};

pub(super) fn read<'a>(source: &'a [u8], embedded: &mut Embedded<'a>) {
    let Some(tiff) = Tiff::of(source) else { return };
    if !tiff.big {
        embedded.exif = Some(Cow::Borrowed(source));
    }
    for Found { tag, data, .. } in tiff.first().into_iter().flatten() {
        let bounded = |most: usize| (data.len() <= most).then_some(Cow::Borrowed(data));
        match tag {
            exif::ICC => match bounded(ICC_BYTES_MAX) {
                Some(icc) => embedded.icc = Some(icc),
                None => embedded.damaged = Some("it is unreasonably long"),
            },
            exif::XMP => embedded.xmp = bounded(BLOCK_BYTES_MAX),
            exif::IPTC => embedded.iptc = bounded(BLOCK_BYTES_MAX),
            _ => {}
        }
    }
}
