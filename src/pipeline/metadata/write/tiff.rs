//! TIFF: a new first directory at the end, with the file's own entries and the blocks' (TIFF 6.0, §2 allows directories anywhere).

use super::Extras;
use crate::pipeline::metadata::{
    Credit,
    exif::{self, Entry, Exif},
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
    let u16_at = |at: usize| Some(u16::from_le_bytes(*file.get(at..)?.first_chunk()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(*file.get(at..)?.first_chunk()?));
    let directory = u32_at(4)? as usize;
    let entries = (0..usize::from(u16_at(directory)?)).map(|index| {
        let at = directory + 2 + index * 12;
        let (tag, kind, count) = (u16_at(at)?, u16_at(at + 2)?, u32_at(at + 4)?);
        let bytes = exif::width(kind)?.checked_mul(count as usize)?;
        let start = if bytes <= 4 { at + 8 } else { u32_at(at + 8)? as usize };
        Some(Entry { tag, kind, count, data: file.get(start..start.checked_add(bytes)?)?.to_vec() })
    });
    entries.collect()
}
