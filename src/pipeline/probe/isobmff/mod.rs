//! AVIF files: the HEIF container (ISO/IEC 14496-12 and 23008-12, AV1 Image File Format 1.1) down to the AV1 data of the primary image.
//!
//! Reads the `meta` box alone: never pixel data, never an offset or a length without checking it against what is there. Image sequences are
//! read for their primary image. Called by the probe, and by the decoder for where the data is.

mod bytes;
mod meta;
mod picture;
mod property;

use std::io::{BufRead, Seek};

pub(in crate::pipeline) use self::{
    bytes::Bytes,
    picture::{Layer, Picture, Window},
    property::Numbers,
};
use super::{Flaw, plain, source::Source};
use crate::pipeline::{Format, Header};

/// Most bytes of a `meta` box: profiles are in it, pixels are not.
const META_BYTES_MAX: u64 = 4 << 20;

/// The header of an AVIF file.
pub(super) fn header<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, Flaw> {
    let picture = picture(source)?;
    let mut header = plain(Format::Avif);
    let shown = picture.window.size;
    (header.width, header.height) = (shown.width, shown.height);
    header.depth = picture.color.coding.depth;
    header.alpha = picture.alpha.is_some();
    header.channels = if picture.color.coding.grey { 1 } else { 3 } + u8::from(header.alpha);
    header.has_icc = picture.profile.is_some();
    header.orientation = picture.orientation;
    // What a crop hides is decoded too, in samples and as pixels.
    let hidden = picture.color.size.pixels() - shown.pixels();
    header.working_bytes = hidden * 16 * u64::from(header.depth.div_ceil(8));
    Ok(header)
}

/// Finds the `meta` box and reads from it what the primary image is made of.
pub(in crate::pipeline) fn picture<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Picture, Flaw> {
    let mut position = 0;
    while source.next_block() {
        let [l0, l1, l2, l3, kind @ ..] = source.bytes::<8>()?;
        let short = u32::from_be_bytes([l0, l1, l2, l3]);
        let (head, length) = match short {
            1 => (16, u64::from_be_bytes(source.bytes()?)),
            _ => (8, u64::from(short)),
        };
        if &kind == b"meta" {
            // A length of 0 means up to the end of the file.
            let length = if length == 0 { META_BYTES_MAX } else { length };
            let content = length.checked_sub(head).ok_or_else(|| Flaw::invalid("a box is too short"))?;
            if content > META_BYTES_MAX {
                return Err(Flaw::invalid("its description is over 4 MiB"));
            }
            let meta = source.up_to(content as usize)?;
            if short != 0 && (meta.len() as u64) < content {
                return Err(Flaw::Truncated);
            }
            return Picture::of(&meta::Meta::read(&meta, position + head)?);
        }
        if short == 0 {
            break;
        }
        source.skip(length.checked_sub(head).ok_or_else(|| Flaw::invalid("a box is too short"))?)?;
        position = position.checked_add(length).ok_or(Flaw::Truncated)?;
    }
    Err(Flaw::invalid("there is no description of an image in it"))
}
