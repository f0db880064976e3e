//! The directories of an EXIF block (TIFF 6.0, p. 13; Exif 3.0, 4.6): their entries, without copying a value.
//!
//! Never trusts an offset or a count: what does not lie inside the block is left out, and only three directories are looked at, each once.

/// Entries of one directory that are looked at.
const ENTRIES_MAX: usize = 512;

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
    fn of(number: u16) -> Option<(Kind, usize)> {
        Some(match number {
            1 => (Kind::Byte, 1),
            2 | 129 => (Kind::Text, 1),
            3 => (Kind::Short, 2),
            4 => (Kind::Long, 4),
            5 => (Kind::Rational, 8),
            9 => (Kind::SignedLong, 4),
            10 => (Kind::SignedRational, 8),
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
    let big = match block.get(..4) {
        Some(b"II*\0") => false,
        Some(b"MM\0*") => true,
        _ => return Vec::new(),
    };
    let at = |offset: usize, length: usize| {
        let bytes = block.get(offset..)?.get(..length)?;
        Some(number(bytes, big))
    };
    let (mut entries, mut below) = (Vec::new(), [None; 2]);
    let mut walk = |directory: Directory, start: u32, below: &mut [Option<u32>; 2]| -> Option<()> {
        let start = start as usize;
        let count = (at(start, 2)? as usize).min(ENTRIES_MAX);
        for index in 0..count {
            let offset = start + 2 + index * 12;
            let (tag, kind, values) = (at(offset, 2)? as u16, at(offset + 2, 2)? as u16, at(offset + 4, 4)?);
            match (directory, tag) {
                (Directory::Image, 0x8769) => below[0] = at(offset + 8, 4),
                (Directory::Image, 0x8825) => below[1] = at(offset + 8, 4),
                _ => {}
            }
            let Some((kind, width)) = Kind::of(kind) else { continue };
            let length = (values as usize).saturating_mul(width);
            let place = if length <= 4 { offset + 8 } else { at(offset + 8, 4)? as usize };
            let data = block.get(place..).and_then(|rest| rest.get(..length));
            entries.extend(data.map(|data| Entry { directory, tag, kind, data, big }));
        }
        Some(())
    };
    // A directory that breaks off has told what it had.
    let _whole = at(4, 4).and_then(|start| walk(Directory::Image, start, &mut below));
    for (directory, start) in [Directory::Photo, Directory::Gps].into_iter().zip(below) {
        let _whole = start.and_then(|start| walk(directory, start, &mut [None; 2]));
    }
    entries
}
