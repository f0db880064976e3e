//! WebP: the extended form (RFC 9649, §2.7): VP8X, ICCP, the image, EXIF, XMP, in this order.

use super::Extras;
use crate::pipeline::riff::{self, Chunks};

/// Flags of VP8X.
const ICC: u8 = 0x20;
const ALPHA: u8 = 0x10;
const EXIF: u8 = 0x08;
const XMP: u8 = 0x04;

/// Adds the blocks to a still file, in the simple form or the extended one.
pub(in crate::pipeline::metadata) fn write(file: Vec<u8>, extras: &Extras, alpha: bool) -> Vec<u8> {
    let Some((mut head, image)) = taken_apart(&file, alpha) else { return file };
    let mut made = riff::Writer::new(file.len());
    let exif = extras.exif.as_ref().map(|exif| exif.write());
    let blocks = [(extras.icc.as_ref(), ICC), (extras.xmp.as_ref(), XMP), (exif.as_ref(), EXIF)];
    head[0] |= blocks.into_iter().filter(|(block, _)| block.is_some()).fold(0, |all, (_, flag)| all | flag);
    made.chunk(*b"VP8X", &[&head]);
    if let Some(icc) = &extras.icc {
        made.chunk(*b"ICCP", &[icc]);
    }
    for (kind, data) in image {
        made.chunk(kind, &[data]);
    }
    if let Some(exif) = &exif {
        made.chunk(*b"EXIF", &[exif]);
    }
    if let Some(xmp) = &extras.xmp {
        made.chunk(*b"XMP ", &[xmp]);
    }
    made.finish()
}

/// The content of VP8X (flags, reserved, width and height less one in three bytes each), the file's own or one made for it, and the chunks
/// of the image.
fn taken_apart(file: &[u8], alpha: bool) -> Option<([u8; 10], Chunks<'_>)> {
    let mut chunks = Chunks::of_file(file);
    let image = chunks;
    let (kind, data) = chunks.next()?;
    if &kind == b"VP8X" {
        return Some((*data.first_chunk()?, chunks));
    }
    let (width, height) = if &kind == b"VP8L" {
        let bits = u32::from_le_bytes(*data.get(1..)?.first_chunk()?);
        (bits & 0x3fff, bits >> 14 & 0x3fff)
    } else {
        let side = |at: usize| Some(u32::from(u16::from_le_bytes(*data.get(at..)?.first_chunk()?)) & 0x3fff);
        (side(6)?.checked_sub(1)?, side(8)?.checked_sub(1)?)
    };
    let ([w0, w1, w2, _], [h0, h1, h2, _]) = (width.to_le_bytes(), height.to_le_bytes());
    let flags = if alpha { ALPHA } else { 0 };
    Some(([flags, 0, 0, 0, w0, w1, w2, h0, h1, h2], image))
}
