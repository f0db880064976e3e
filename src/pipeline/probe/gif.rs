//! GIF: screen, then the chain of blocks, counting images (GIF89a, appendix B).

use std::io::{BufRead, Seek};

use super::{Flaw, plain, source::Source};
use crate::pipeline::{Format, Header, gif_blocks};

/// Walks the blocks until the end, until the frames are over the limit, or until the budget is used up.
pub(super) fn header<R: BufRead + Seek>(source: &mut Source<R>, frames_max: u32) -> Result<Header, Flaw> {
    let mut header = plain(Format::Gif);
    source.skip(6)?;
    let [w0, w1, h0, h1, flags, _, _]: [u8; 7] = source.bytes()?;
    header.width = u32::from(u16::from_le_bytes([w0, w1]));
    header.height = u32::from(u16::from_le_bytes([h0, h1]));
    skip_palette(source, flags)?;
    let mut frames = 0;
    let mut transparent = false;
    while source.next_block() && frames <= frames_max {
        match source.byte() {
            Ok(0x21) => {
                match source.byte()? {
                    0xf9 if frames == 0 => {
                        let [_, flags, ..]: [u8; 5] = source.bytes()?;
                        transparent = flags & 1 == 1;
                    }
                    0xff if frames == 0 && !header.has_icc => {
                        let start = source.peek(1 + gif_blocks::PROFILE.len())?;
                        header.has_icc = start.split_first() == Some((&11, gif_blocks::PROFILE));
                    }
                    _ => {}
                }
                if !source.skip_chain()? {
                    break;
                }
            }
            Ok(0x2c) => {
                let [x0, x1, y0, y1, w0, w1, h0, h1, flags]: [u8; 9] = source.bytes()?;
                if frames == 0 {
                    let number = |low, high| u32::from(u16::from_le_bytes([low, high]));
                    let covers = number(x0, x1) == 0
                        && number(y0, y1) == 0
                        && number(w0, w1) >= header.width
                        && number(h0, h1) >= header.height;
                    header.alpha = transparent || !covers;
                }
                frames += 1;
                skip_palette(source, flags)?;
                source.skip(1)?;
                if !source.skip_chain().unwrap_or(false) {
                    break;
                }
            }
            // The trailer, the end of the file, or garbage behind the last frame, which viewers ignore too.
            _ => break,
        }
    }
    if frames == 0 {
        return Err(Flaw::invalid("there is no frame in it"));
    }
    header.frames = frames;
    Ok(header)
}

fn skip_palette<R: BufRead + Seek>(source: &mut Source<R>, flags: u8) -> Result<(), Flaw> {
    if flags & 0x80 != 0 {
        source.skip(3 << ((flags & 7) + 1))?;
    }
    Ok(())
}
