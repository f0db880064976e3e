//! The directories of an EXIF block (Exif 3.0, 4.6) and what their values are: three directories, each looked at once.

use crate::pipeline::ifd::{Order, Tiff};

/// Which directory an entry stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Directory {
    Image,
    Photo,
    Gps,
}

/// What the values are; other types are not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Byte,
    Text,
    Short,
    Long,
    Rational,
    SignedLong,
    SignedRational,
}

impl Kind {
    fn of(number: u16) -> Option<Kind> {
        Some(match number {
            1 => Kind::Byte,
            2 | 129 => Kind::Text,
            3 => Kind::Short,
            4 => Kind::Long,
            5 => Kind::Rational,
            9 => Kind::SignedLong,
            10 => Kind::SignedRational,
            _ => return None,
        })
    }
}

/// One tag and where its values lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) directory: Directory,
    pub(super) tag: u16,
    pub(super) kind: Kind,
    pub(super) data: &'a [u8],
    big: bool,
}

impl<'a> Entry<'a> {
    /// The values as numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = f64> + use<'a> {
        let (kind, big) = (self.kind, self.big);
        let bytes = match kind {
            Kind::Byte | Kind::Text => 1,
            Kind::Short => 2,
            Kind::Long | Kind::SignedLong => 4,
            Kind::Rational | Kind::SignedRational => 8,
        };
        self.data.chunks_exact(bytes).map(move |value| {
            let unsigned = |at: usize, length: usize| number(&value[at..at + length], big);
            let signed = |at: usize| f64::from(unsigned(at, 4) as i32);
            match kind {
                Kind::SignedLong => signed(0),
                Kind::SignedRational => signed(0) / signed(4),
                Kind::Rational => f64::from(unsigned(0, 4)) / f64::from(unsigned(4, 4)),
                _ => f64::from(unsigned(0, bytes)),
            }
        })
    }
}

/// Up to four bytes as a number.
fn number(bytes: &[u8], big: bool) -> u32 {
    let push = |sum: u32, byte: &u8| sum << 8 | u32::from(*byte);
    if big { bytes.iter().fold(0, push) } else { bytes.iter().rev().fold(0, push) }
}

/// The entries of the three directories.
pub(super) fn read(block: &[u8]) -> Vec<Entry<'_>> {
    let Some(tiff) = Tiff::of(block).filter(|tiff| !tiff.big) else { return Vec::new() };
    let big = tiff.order == Order::Big;
    let (mut entries, mut below) = (Vec::new(), [None; 2]);
    for found in tiff.first().into_iter().flatten() {
        match found.tag {
            0x8769 => below[0] = tiff.order.u32(found.data),
            0x8825 => below[1] = tiff.order.u32(found.data),
            _ => {}
        }
        let (directory, tag, data) = (Directory::Image, found.tag, found.data);
        entries.extend(Kind::of(found.kind).map(|kind| Entry { directory, tag, kind, data, big }));
    }
    for (directory, start) in [Directory::Photo, Directory::Gps].into_iter().zip(below) {
        for found in start.and_then(|start| tiff.directory(start.into())).into_iter().flatten() {
            let (tag, data) = (found.tag, found.data);
            entries.extend(Kind::of(found.kind).map(|kind| Entry { directory, tag, kind, data, big }));
        }
    }
    entries
}
