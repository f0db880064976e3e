//! PNG and APNG: the chunks, passing over their data (W3C PNG, third edition, §5).

use std::io::{BufRead, Seek};

use super::{Flaw, exif, plain, source::Source};
use crate::pipeline::{Format, Header};

/// Bytes of an eXIf chunk that are read; the orientation stands near its start.
const EXIF_BYTES_MAX: u32 = 64 << 10;

/// Walks the chunks; those after the pixels too, because eXIf may stand there.
pub(super) fn header<R: BufRead + Seek>(source: &mut Source<R>, frames_max: u32) -> Result<Header, Flaw> {
    let mut header = plain(Format::Png);
    source.skip(8)?;
    let first: [u8; 8] = source.bytes()?;
    if first[4..] != *b"IHDR" {
        return Err(Flaw::invalid("the first chunk is not IHDR"));
    }
    let fields: [u8; 13] = source.bytes()?;
    let [w3, w2, w1, w0, h3, h2, h1, h0, depth, color, _, _, interlace] = fields;
    header.width = u32::from_be_bytes([w3, w2, w1, w0]);
    header.height = u32::from_be_bytes([h3, h2, h1, h0]);
    header.depth = depth;
    header.progressive = interlace != 0;
    (header.channels, header.alpha) = match color {
        0 => (1, false),
        2 | 3 => (3, false),
        4 => (2, true),
        6 => (4, true),
        other => return Err(Flaw::invalid(format!("colour type {other} does not exist"))),
    };
    source.skip(4)?;
    let mut pixels_seen = false;
    while source.next_block() {
        let Ok([l3, l2, l1, l0, kind @ ..]) = source.bytes::<8>() else {
            // A file cut off after its pixels began is the decoder's to judge.
            return if pixels_seen { Ok(header) } else { Err(Flaw::Truncated) };
        };
        let length = u32::from_be_bytes([l3, l2, l1, l0]);
        match &kind {
            b"IEND" => break,
            b"IDAT" => pixels_seen = true,
            b"iCCP" => header.has_icc = true,
            b"tRNS" => header.alpha = true,
            // Behind the pixels it does not count (§11.3.6.1), and the decoder does not look at it.
            b"acTL" if length >= 8 && !pixels_seen => {
                let frames = u32::from_be_bytes(source.bytes()?);
                header.frames = frames.clamp(1, frames_max.saturating_add(1));
                source.skip(u64::from(length) + 4 - 4)?;
                continue;
            }
            b"eXIf" => {
                let read = length.min(EXIF_BYTES_MAX);
                header.orientation = exif::orientation(&source.up_to(read as usize)?);
                source.skip(u64::from(length - read) + 4)?;
                continue;
            }
            _ => {}
        }
        source.skip(u64::from(length) + 4)?;
    }
    Ok(header)
}
