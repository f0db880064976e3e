//! TIFF: the file is itself the structure that EXIF blocks have; profile, XMP and IPTC stand in tags of its first directory. BigTIFF, which
//! EXIF does not know, gives only those three.

use std::borrow::Cow;

use crate::pipeline::{
    metadata::{
        BLOCK_BYTES_MAX, Embedded,
        exif::{self, Order},
    },
    profile::ICC_BYTES_MAX,
};

/// Entries of the first directory that are looked at.
const ENTRIES_MAX: usize = 512;

pub(super) fn read<'a>(source: &'a [u8], embedded: &mut Embedded<'a>) {
    let Some(order) = Order::of(source) else { return };
    let big = source.get(2..4).is_some_and(|version| order.u16(version) == Some(43));
    if !big {
        embedded.exif = Some(Cow::Borrowed(source));
    }
    for (tag, data) in tags(source, order, big).into_iter().flatten() {
        let bounded = |most: usize| (data.len() <= most).then_some(Cow::Borrowed(data));
        match tag {
            exif::ICC => match bounded(ICC_BYTES_MAX) {
                Some(icc) => embedded.icc = Some(icc),
                None => embedded.damaged = Some("it is unreasonably long"),
            },
            exif::XMP => embedded.xmp = bounded(BLOCK_BYTES_MAX),
            exif::IPTC => embedded.iptc = bounded(BLOCK_BYTES_MAX),
            _ => {}
        }
    }
}

/// The tags of the first directory whose values stand elsewhere in the file.
fn tags(source: &[u8], order: Order, big: bool) -> Option<Vec<(u16, &[u8])>> {
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let field = source.get(at..at.checked_add(bytes)?)?;
        match bytes {
            2 => order.u16(field).map(u64::from),
            4 => order.u32(field).map(u64::from),
            _ => order.u64(field),
        }
    };
    let (word, entry, head) = if big { (8, 20, 8) } else { (4, 12, 2) };
    let directory = usize::try_from(number(if big { 8 } else { 4 }, word)?).ok()?;
    let count = usize::try_from(number(directory, head)?).ok()?.min(ENTRIES_MAX);
    let mut found = Vec::new();
    for index in 0..count {
        let at = directory.checked_add(head + index * entry)?;
        let (Some(tag), Some(kind), Some(count)) = (number(at, 2), number(at + 2, 2), number(at + 4, word))
        else {
            break;
        };
        let Some(width) = exif::width(kind as u16) else { continue };
        let Some(bytes) = usize::try_from(count).ok().and_then(|count| count.checked_mul(width)) else {
            continue;
        };
        let offset = number(at + 4 + word, word).and_then(|offset| usize::try_from(offset).ok());
        if bytes > word
            && let Some(data) = offset.and_then(|offset| source.get(offset..offset.checked_add(bytes)?))
        {
            found.push((tag as u16, data));
        }
    }
    Some(found)
}
