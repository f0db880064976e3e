//! JPEG: the marker segments up to the first scan (ITU-T T.81 Annex B).

use std::io::{BufRead, Seek};

use super::{Flaw, exif, plain, source::Source};
use crate::pipeline::{Format, Header};

/// Most bytes between two segments: some cameras pad, none by more than a block.
const STRAY_BYTES_MAX: u32 = 64 << 10;

/// Walks the segments to the start of the first scan.
pub(super) fn header<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, Flaw> {
    let mut header = plain(Format::Jpeg);
    let mut framed = false;
    source.skip(2)?;
    loop {
        let marker = next_marker(source)?;
        if marker == 0xda || marker == 0xd9 {
            break;
        }
        // Markers without a segment: TEM and restarts have no place here but do no harm.
        if marker == 0x01 || (0xd0..=0xd8).contains(&marker) {
            continue;
        }
        let length = source
            .u16_be()?
            .checked_sub(2)
            .ok_or_else(|| Flaw::invalid("a segment is shorter than its own length"))?;
        match marker {
            0xc4 | 0xc8 | 0xcc => source.skip(u64::from(length))?,
            0xc0..=0xcf => {
                frame(source, marker, length, &mut header)?;
                framed = true;
            }
            0xe1 => {
                let segment = source.up_to(usize::from(length))?;
                if segment.starts_with(b"Exif\0\0") && header.orientation == 1 {
                    header.orientation = exif::orientation(&segment);
                }
            }
            0xe2 => {
                let segment = source.up_to(usize::from(length))?;
                header.has_icc |= segment.starts_with(b"ICC_PROFILE\0");
            }
            _ => source.skip(u64::from(length))?,
        }
        if !source.next_block() {
            return Err(Flaw::invalid("there are too many segments before the first scan"));
        }
    }
    framed.then_some(header).ok_or_else(|| Flaw::invalid("there is no frame header"))
}

/// The code of the next marker; stray bytes before it are passed over as decoders do.
fn next_marker<R: BufRead + Seek>(source: &mut Source<R>) -> Result<u8, Flaw> {
    let mut escaped = false;
    for _ in 0..STRAY_BYTES_MAX {
        match source.byte()? {
            0xff => escaped = true,
            0x00 => escaped = false,
            code if escaped => return Ok(code),
            _ => {}
        }
    }
    Err(Flaw::invalid("there is too much between two segments"))
}

/// A frame header (SOF): precision, height, width, components.
fn frame<R: BufRead + Seek>(
    source: &mut Source<R>,
    marker: u8,
    length: u16,
    header: &mut Header,
) -> Result<(), Flaw> {
    let [depth, h1, h0, w1, w0, components] = source.bytes()?;
    header.depth = depth;
    header.height = u32::from(u16::from_be_bytes([h1, h0]));
    header.width = u32::from(u16::from_be_bytes([w1, w0]));
    header.channels = components;
    header.progressive = marker & 0x03 == 2;
    if !matches!(depth, 2..=16) {
        return Err(Flaw::invalid(format!("{depth} bits per channel do not exist")));
    }
    if depth != 8 {
        return Err(Flaw::Unsupported(format!(
            "this JPEG has {depth} bits per channel, and only 8 are read"
        )));
    }
    if matches!(marker, 0xc5..=0xc7 | 0xcd..=0xcf) {
        return Err(Flaw::Unsupported("hierarchical JPEG is not read".to_owned()));
    }
    if !matches!(components, 1 | 3 | 4) {
        return Err(Flaw::Unsupported(format!("this JPEG has {components} components; 1, 3 and 4 are read")));
    }
    source.skip(u64::from(length.saturating_sub(6)))?;
    Ok(())
}
