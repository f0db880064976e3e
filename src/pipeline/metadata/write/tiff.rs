//! TIFF: a new first directory at the end, with the file's own entries and the blocks' (TIFF 6.0, §2 allows directories anywhere).

use super::Extras;
use crate::pipeline::{
    ifd::{Found, Tiff},
    metadata::{
        Credit,
        exif::{self, Entry, Exif},
    },
};

/// Types of the blocks' values: bytes, and bytes that mean nothing to TIFF.
const BYTE: u16 = 1;
const UNDEFINED: u16 = 7;

/// Adds the blocks to a classic little-endian file, which is what our encoder writes.
pub(in crate::pipeline::metadata) fn write(mut file: Vec<u8>, extras: &Extras) -> Vec<u8> {
    let Some(mut entries) = own_entries(&file) else { return file };
    let blocks = [
        (exif::XMP, BYTE, &extras.xmp),
        (exif::IPTC, UNDEFINED, &extras.iptc),
        (exif::ICC, UNDEFINED, &extras.icc),
    ];
    for (tag, kind, block) in blocks {
        if let Some(data) = block {
            entries.push(Entry { tag, kind, count: data.len() as u32, data: data.clone() });
        }
    }
    if file.len() % 2 == 1 {
        file.push(0);
    }
    let at = file.len() as u32;
    file[4..8].copy_from_slice(&at.to_le_bytes());
    let nothing = Exif::of_credit(&Credit::default());
    extras.exif.as_ref().unwrap_or(&nothing).append_to_tiff(&mut file, entries);
    file
}

/// The entries of the first directory with their values.
fn own_entries(file: &[u8]) -> Option<Vec<Entry>> {
    let copy = |Found { tag, kind, count, data }: Found<'_>| Entry { tag, kind, count, data: data.to_vec() };
    Some(Tiff::of(file)?.first()?.map(copy).collect())
}
