//! JPEG XL: the image header (ISO/IEC 18181-1), bare or in its container (18181-2).

use std::io::{BufRead, Seek};

use jxl_bitstream::{Bitstream, ContainerParser, ParseEvent};
use jxl_oxide::image::ImageHeader;
use jxl_oxide_common::Bundle;

use super::{Flaw, plain, source::Source};
use crate::pipeline::{Format, Header};

/// Bytes from the start in which the image header must be: boxes of metadata may come first.
const HEADER_BYTES_MAX: usize = 1 << 20;

/// Most bytes of an encoded colour profile. It is decoded before anything else is known, and zeros cost a file nothing.
const PROFILE_BYTES_MAX: u64 = 4 << 20;

/// Size, depth, alpha. The size is the upright one, because the decoder turns; frames of an animation are not counted, as only the first is
/// read.
pub(super) fn header<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, Flaw> {
    let start = source.up_to(HEADER_BYTES_MAX)?;
    let invalid = |error: jxl_bitstream::Error| match error.unexpected_eof() {
        true => Flaw::Truncated,
        false => Flaw::invalid(error.to_string()),
    };
    let mut codestream = Vec::new();
    let mut container = ContainerParser::new();
    for event in container.feed_bytes(&start) {
        if let ParseEvent::Codestream(part) = event.map_err(invalid)? {
            codestream.extend_from_slice(part);
        }
    }
    let mut bits = Bitstream::new(&codestream);
    let image = ImageHeader::parse(&mut bits, ()).map_err(invalid)?;
    if image.metadata.colour_encoding.want_icc() && bits.read_u64().map_err(invalid)? > PROFILE_BYTES_MAX {
        return Err(Flaw::invalid("its colour profile is over 4 MiB"));
    }
    let mut header = plain(Format::Jxl);
    header.width = image.width_with_orientation();
    header.height = image.height_with_orientation();
    header.depth = image.metadata.bit_depth.bits_per_sample().min(32) as u8;
    header.alpha = image.metadata.alpha().is_some();
    header.channels = if image.metadata.grayscale() { 1 } else { 3 } + u8::from(header.alpha);
    Ok(header)
}
