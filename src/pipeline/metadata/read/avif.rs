//! AVIF: profile and colour numbers are properties of the primary image, EXIF and XMP items that describe it (HEIF, annex A and §6.6).

use std::{borrow::Cow, io::Cursor, ops::Range};

use crate::pipeline::{
    metadata::{BLOCK_BYTES_MAX, Embedded},
    probe::{Source, isobmff},
    profile::ICC_BYTES_MAX,
};

/// Transfer characteristics that cameras encode with and screens show as sRGB (BT.709, BT.601, BT.2020), and "unspecified": browsers take
/// them for sRGB's, as converting by the camera's curve would make dark parts lighter than they were meant.
const SHOWN_AS_SRGB: [u16; 5] = [1, 2, 6, 14, 15];

/// sRGB's primaries and transfer characteristics.
const SRGB: (u8, u8) = (1, 13);

/// Primaries that nobody specified.
const UNSPECIFIED: u16 = 2;

pub(super) fn read<'a>(source: &'a [u8], embedded: &mut Embedded<'a>) {
    let Ok(picture) = isobmff::picture(&mut Source::new(Cursor::new(source))) else { return };
    match (picture.profile, picture.numbers) {
        (Some(icc), _) if icc.len() <= ICC_BYTES_MAX => embedded.icc = Some(Cow::Owned(icc)),
        (Some(_), _) => embedded.damaged = Some("it is unreasonably long"),
        (None, Some(numbers)) => {
            let primaries = if numbers.primaries == UNSPECIFIED { 1 } else { numbers.primaries };
            let shown = SHOWN_AS_SRGB.contains(&numbers.transfer);
            let transfer = if shown { SRGB.1.into() } else { numbers.transfer };
            let code = |number: u16| u8::try_from(number).unwrap_or(u8::MAX);
            let pair = (code(primaries), code(transfer));
            embedded.png.cicp = (pair != SRGB).then_some([pair.0, pair.1, 0, 1]);
        }
        (None, None) => {}
    }
    embedded.xmp = block(source, &picture.xmp);
    embedded.exif = block(source, &picture.exif).map(|data| {
        // The block's own offset of its TIFF header comes first.
        let start = data.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes) as usize);
        Cow::Owned(data.get(4..).and_then(|data| data.get(start..)).unwrap_or_default().to_vec())
    });
}

/// An item's bytes; nothing of one that is too long or not all there, which is then told as one that can't be understood.
fn block<'a>(source: &'a [u8], extents: &[Range<u64>]) -> Option<Cow<'a, [u8]>> {
    let mut data = Vec::new();
    for extent in extents {
        let start = usize::try_from(extent.start).unwrap_or(usize::MAX);
        let end = usize::try_from(extent.end).unwrap_or(usize::MAX).min(source.len());
        match source.get(start..end) {
            Some(part) if data.len() + part.len() <= BLOCK_BYTES_MAX => data.extend_from_slice(part),
            _ => return Some(Cow::Borrowed(&[])),
        }
    }
    (!extents.is_empty()).then_some(Cow::Owned(data))
}
