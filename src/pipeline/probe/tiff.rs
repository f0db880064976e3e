//! TIFF: the first directory (TIFF 6.0, §2), classic and BigTIFF.

use std::io::{BufRead, Seek};

use super::{
    Flaw,
    exif::{ENTRIES_MAX, ORIENTATION, Order},
    plain,
    source::Source,
};
use crate::pipeline::{Format, Header};

/// Bytes that a decoder may spend on each byte of a tag's values.
const VALUE_BYTES: u64 = 16;

/// Photoshop's resources and layers, often many megabytes, which no decoder here looks at.
const UNREAD: [u16; 2] = [34377, 37724];

/// Walks the first directory; further pages are not looked at.
pub(super) fn header<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, Flaw> {
    let mut header = plain(Format::Tiff);
    let length = source.length()?;
    source.go_to(0)?;
    let mark: [u8; 4] = source.bytes()?;
    let order = Order::from_mark(&mark[..2]).ok_or_else(|| Flaw::invalid("there is no byte order mark"))?;
    let big = order.u16([mark[2], mark[3]]) == 43;
    let offset = if big {
        source.skip(4)?;
        order.u64(source.bytes()?)
    } else {
        u64::from(order.u32(source.bytes()?))
    };
    source.go_to(offset)?;
    let count = if big { order.u64(source.bytes()?) } else { u64::from(order.u16(source.bytes()?)) };
    let mut tags = Tags::default();
    for _ in 0..count.min(u64::from(ENTRIES_MAX)) {
        let tag = order.u16(source.bytes()?);
        let kind = order.u16(source.bytes()?);
        let (count, value): (u64, [u8; 8]) = if big {
            (order.u64(source.bytes()?), source.bytes()?)
        } else {
            let count = u64::from(order.u32(source.bytes()?));
            let [a, b, c, d] = source.bytes()?;
            (count, [a, b, c, d, 0, 0, 0, 0])
        };
        let [a, b, c, d, ..] = value;
        let offset = if big { order.u64(value) } else { u64::from(order.u32([a, b, c, d])) };
        let value = first(order, kind, value);
        let bytes = bytes(kind, count);
        let inline = bytes <= if big { 8 } else { 4 };
        if !inline && offset.saturating_add(bytes) > length {
            return Err(Flaw::invalid("the values of one of its tags lie outside the file"));
        }
        // The decoder makes a list of values out of a tag before it looks at them.
        if !UNREAD.contains(&tag) {
            header.working_bytes += bytes.saturating_mul(VALUE_BYTES);
        }
        tags.read(&Entry { tag, value, count, offset, inline }, &mut header);
    }
    if let Some(offset) = tags.depth_at {
        source.go_to(offset)?;
        header.depth = order.u16(source.bytes()?).clamp(1, 64) as u8;
    }
    if tags.tiled && tags.planar {
        return Err(Flaw::Unsupported(
            "this TIFF keeps its channels in separate tiles, which is not read".to_owned(),
        ));
    }
    header.channels = tags.samples.clamp(1, 255) as u8;
    // Some writers forget to say what the channel too many is; decoders take it for alpha.
    let colours = if tags.photometric == 2 { 3 } else { 1 };
    header.alpha = tags.extra > 0 || (tags.photometric <= 2 && tags.samples > colours);
    // Palettes become RGB.
    if tags.photometric == 3 {
        header.channels = 3;
    }
    Ok(header)
}

/// One entry of a directory.
struct Entry {
    tag: u16,
    /// The first value, which of a list only counts when it stands `inline`.
    value: u64,
    count: u64,
    /// Where the values stand when they do not stand in the entry.
    offset: u64,
    inline: bool,
}

/// What the directory tells beside the size.
struct Tags {
    samples: u64,
    extra: u64,
    photometric: u64,
    planar: bool,
    tiled: bool,
    /// Where the bits per sample stand when they do not fit into their entry.
    depth_at: Option<u64>,
}

impl Default for Tags {
    fn default() -> Tags {
        Tags { samples: 1, extra: 0, photometric: 1, planar: false, tiled: false, depth_at: None }
    }
}

impl Tags {
    /// Takes in one entry.
    fn read(&mut self, entry: &Entry, header: &mut Header) {
        let Entry { tag, value, count, offset, inline } = *entry;
        let side = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        match tag {
            256 => header.width = side(value),
            257 => header.height = side(value),
            258 if inline => header.depth = value.clamp(1, 64) as u8,
            // Three values do not fit into a classic entry: it points to them.
            258 => self.depth_at = Some(offset),
            262 => self.photometric = value,
            ORIENTATION if (1..=8).contains(&value) => header.orientation = value as u8,
            277 => self.samples = value,
            284 => self.planar = value == 2,
            322 => self.tiled = true,
            338 => self.extra = count,
            34675 => header.has_icc = true,
            _ => {}
        }
    }
}

/// The first value of an entry: BYTE, SHORT, LONG or LONG8.
fn first(order: Order, kind: u16, value: [u8; 8]) -> u64 {
    let [a, b, c, d, ..] = value;
    match kind {
        1 => u64::from(a),
        3 => u64::from(order.u16([a, b])),
        4 => u64::from(order.u32([a, b, c, d])),
        16 => order.u64(value),
        _ => 0,
    }
}

/// Bytes of an entry's values.
fn bytes(kind: u16, count: u64) -> u64 {
    let each: u64 = match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        _ => 8,
    };
    count.saturating_mul(each)
}
