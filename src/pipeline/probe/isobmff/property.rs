//! What can be said about an item of a HEIF file (ISO/IEC 23008-12 §6.5, AV1-ISOBMFF §2.3).

use super::{Flaw, bytes::Bytes};
use crate::pipeline::image::Size;

/// The urns of an alpha plane.
const ALPHA: [&[u8]; 2] = [b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1"];

/// A property that matters here.
#[derive(Clone, Debug)]
pub(super) enum Property {
    /// `ispe`: size in pixels before turns and crops.
    Size(Size),
    /// `av1C`: how the item is coded.
    Coding(Coding),
    /// `colr`: colour by the numbers of ITU-T H.273.
    Numbers(Numbers),
    /// `colr`: an ICC profile.
    Profile(Vec<u8>),
    /// `auxC`: an auxiliary image, and whether it is an alpha plane.
    Auxiliary(bool),
    /// `irot`: quarter turns counter-clockwise.
    Turn(u8),
    /// `imir`: 0 exchanges top and bottom, 1 left and right.
    Mirror(u8),
    /// `clap`: the part that is to be seen; width, height, and the offsets of its centre from the image's, each as a fraction.
    Crop([(i64, i64); 4]),
    /// Known, but without consequence here.
    Plain,
    /// Unknown: an item that needs it understood cannot be shown.
    Unknown([u8; 4]),
}

/// How AV1 data is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Coding {
    /// Bits per sample: 8, 10 or 12.
    pub(in crate::pipeline) depth: u8,
    /// Luma only.
    pub(in crate::pipeline) grey: bool,
}

/// Colour by the numbers of ITU-T H.273.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Numbers {
    /// Colour primaries; 1 are sRGB's.
    pub(in crate::pipeline) primaries: u16,
    /// Transfer characteristics; 13 are sRGB's.
    pub(in crate::pipeline) transfer: u16,
    /// Matrix coefficients.
    pub(in crate::pipeline) matrix: u16,
    /// Samples use their whole range.
    pub(in crate::pipeline) full_range: bool,
}

pub(super) fn read(kind: [u8; 4], mut content: Bytes<'_>) -> Result<Property, Flaw> {
    Ok(match &kind {
        b"ispe" => {
            content.version()?;
            Property::Size(Size { width: content.u32()?, height: content.u32()? })
        }
        b"av1C" => {
            let [_, _, flags, _] = content.array()?;
            let depth = match (flags >> 6 & 1, flags >> 5 & 1) {
                (0, _) => 8,
                (_, 0) => 10,
                _ => 12,
            };
            Property::Coding(Coding { depth, grey: flags >> 4 & 1 == 1 })
        }
        b"colr" => match &content.array()? {
            b"nclx" => Property::Numbers(Numbers {
                primaries: content.u16()?,
                transfer: content.u16()?,
                matrix: content.u16()?,
                full_range: content.u8()? >> 7 == 1,
            }),
            b"prof" | b"rICC" => Property::Profile(content.0.to_vec()),
            _ => Property::Plain,
        },
        b"auxC" => {
            content.version()?;
            let end = content.0.iter().position(|byte| *byte == 0).unwrap_or(content.0.len());
            Property::Auxiliary(ALPHA.contains(&&content.0[..end]))
        }
        b"irot" => Property::Turn(content.u8()? & 3),
        b"imir" => Property::Mirror(content.u8()? & 1),
        b"clap" => {
            let mut fraction = || -> Result<(i64, i64), Flaw> {
                // Numerators are signed: offsets may be negative.
                let numerator = i64::from(content.u32()?.cast_signed());
                Ok((numerator, i64::from(content.u32()?)))
            };
            Property::Crop([fraction()?, fraction()?, fraction()?, fraction()?])
        }
        b"pixi" | b"pasp" | b"lsel" | b"a1op" | b"a1lx" | b"clli" | b"mdcv" | b"cclv" | b"rloc" | b"udes"
        | b"altt" | b"amve" => Property::Plain,
        _ => Property::Unknown(kind),
    })
}
