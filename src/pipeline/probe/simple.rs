//! BMP and QOI: a few fields at fixed places.

use std::io::{BufRead, Seek};

use super::{Flaw, plain, source::Source};
use crate::pipeline::{Format, Header};

/// BMP: the information header behind the 14 bytes of the file header (BITMAPCOREHEADER or BITMAPINFOHEADER and later).
pub(super) fn bmp<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, Flaw> {
    let mut header = plain(Format::Bmp);
    source.skip(14)?;
    let size = u32::from_le_bytes(source.bytes()?);
    let bits = if size == 12 {
        let [w0, w1, h0, h1, _, _, b0, b1] = source.bytes()?;
        header.width = u32::from(u16::from_le_bytes([w0, w1]));
        header.height = u32::from(u16::from_le_bytes([h0, h1]));
        u16::from_le_bytes([b0, b1])
    } else {
        let width = i32::from_le_bytes(source.bytes()?);
        // A negative height means rows from the top.
        let height = i32::from_le_bytes(source.bytes()?);
        header.width = u32::try_from(width).unwrap_or(0);
        header.height = height.unsigned_abs();
        let [_, _, b0, b1] = source.bytes()?;
        u16::from_le_bytes([b0, b1])
    };
    // Only files that declare an alpha mask use the fourth byte, which the decoder finds out; the plan allows for it.
    header.alpha = bits == 32 || bits == 16;
    header.channels = if header.alpha { 4 } else { 3 };
    Ok(header)
}

/// QOI: 14 bytes (qoiformat.org, specification 1.0).
pub(super) fn qoi<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, Flaw> {
    let mut header = plain(Format::Qoi);
    source.skip(4)?;
    header.width = u32::from_be_bytes(source.bytes()?);
    header.height = u32::from_be_bytes(source.bytes()?);
    header.channels = source.byte()?;
    if !matches!(header.channels, 3 | 4) {
        return Err(Flaw::invalid(format!("{} channels do not exist in QOI", header.channels)));
    }
    header.alpha = header.channels == 4;
    Ok(header)
}
