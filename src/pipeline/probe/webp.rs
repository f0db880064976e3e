//! WebP: the RIFF chunks (RFC 9649).

use std::io::{BufRead, Seek};

use super::{Flaw, exif, plain, source::Source};
use crate::pipeline::{Format, Header};

/// Bytes of an EXIF chunk that are read; the orientation stands near its start.
const EXIF_BYTES_MAX: u32 = 64 << 10;

/// Walks the chunks until the end, until the frames are over the limit, or until the budget is used up.
pub(super) fn header<R: BufRead + Seek>(source: &mut Source<R>, frames_max: u32) -> Result<Header, Flaw> {
    let mut header = plain(Format::Webp);
    source.skip(12)?;
    let mut frames = 0;
    let mut sized = false;
    while source.next_block() && frames <= frames_max {
        let Ok([c0, c1, c2, c3, l0, l1, l2, l3]) = source.bytes::<8>() else { break };
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let mut read = 0;
        match &[c0, c1, c2, c3] {
            b"VP8X" => {
                let [flags, _, _, _, w0, w1, w2, h0, h1, h2] = source.bytes()?;
                read = 10;
                header.alpha = flags & 0x10 != 0;
                header.has_icc = flags & 0x20 != 0;
                header.width = u32::from_le_bytes([w0, w1, w2, 0]) + 1;
                header.height = u32::from_le_bytes([h0, h1, h2, 0]) + 1;
                sized = true;
            }
            b"VP8 " if !sized => {
                let [_, _, _, s0, s1, s2, w0, w1, h0, h1] = source.bytes()?;
                read = 10;
                if [s0, s1, s2] != [0x9d, 0x01, 0x2a] {
                    return Err(Flaw::invalid("the VP8 frame has no start code"));
                }
                header.width = u32::from(u16::from_le_bytes([w0, w1]) & 0x3fff);
                header.height = u32::from(u16::from_le_bytes([h0, h1]) & 0x3fff);
                sized = true;
            }
            b"VP8L" if !sized => {
                let [mark, b0, b1, b2, b3] = source.bytes()?;
                read = 5;
                if mark != 0x2f {
                    return Err(Flaw::invalid("the VP8L frame has no signature"));
                }
                let bits = u32::from_le_bytes([b0, b1, b2, b3]);
                header.width = (bits & 0x3fff) + 1;
                header.height = (bits >> 14 & 0x3fff) + 1;
                header.alpha = bits >> 28 & 1 == 1;
                sized = true;
            }
            b"ANMF" => frames += 1,
            b"EXIF" => {
                read = length.min(EXIF_BYTES_MAX);
                header.orientation = exif::orientation(&source.up_to(read as usize)?);
            }
            _ => {}
        }
        // Chunks are padded to an even length.
        source.skip(u64::from(length.saturating_sub(read)) + u64::from(length % 2))?;
    }
    if !sized {
        return Err(Flaw::invalid("there is no image chunk in it"));
    }
    header.channels = if header.alpha { 4 } else { 3 };
    header.frames = frames.max(1);
    Ok(header)
}
