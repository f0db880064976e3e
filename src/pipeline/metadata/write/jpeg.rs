//! JPEG: application segments behind SOI and JFIF's own (T.81 B.2.4.6).

use super::Extras;

const EXIF: &[u8] = b"Exif\0\0";
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const ICC: &[u8] = b"ICC_PROFILE\0";
/// Photoshop's signature and the head of its resource for IPTC, which has no name.
const IPTC: &[u8] = b"Photoshop 3.0\08BIM\x04\x04\0\0";

/// Most bytes of a segment's content.
const SEGMENT_BYTES_MAX: usize = 65_533;

/// Longest EXIF block.
pub(in crate::pipeline::metadata) const EXIF_BYTES_MAX: usize = SEGMENT_BYTES_MAX - EXIF.len();
/// Longest XMP packet; longer ones would have to be split in a way that most readers do not know.
pub(in crate::pipeline::metadata) const XMP_BYTES_MAX: usize = SEGMENT_BYTES_MAX - XMP.len();
/// Longest IPTC block, its length and padding taken off.
pub(in crate::pipeline::metadata) const IPTC_BYTES_MAX: usize = SEGMENT_BYTES_MAX - IPTC.len() - 5;

/// Bytes of a profile in one segment, behind its number and their count.
const ICC_PART_BYTES: usize = SEGMENT_BYTES_MAX - ICC.len() - 2;

/// Inserts the blocks; each is short enough, or the profile split into parts.
pub(in crate::pipeline::metadata) fn write(mut file: Vec<u8>, extras: &Extras) -> Vec<u8> {
    let mut segments = Vec::new();
    let mut add = |marker: u8, parts: &[&[u8]]| {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        segments.extend([0xff, marker]);
        segments.extend((length as u16 + 2).to_be_bytes());
        parts.iter().for_each(|part| segments.extend_from_slice(part));
    };
    if let Some(exif) = &extras.exif {
        add(0xe1, &[EXIF, &exif.write()]);
    }
    if let Some(xmp) = &extras.xmp {
        add(0xe1, &[XMP, xmp]);
    }
    if let Some(iptc) = &extras.iptc {
        let padding = &[0u8][..iptc.len() % 2];
        add(0xed, &[IPTC, &(iptc.len() as u32).to_be_bytes(), iptc, padding]);
    }
    if let Some(icc) = &extras.icc {
        let count = icc.len().div_ceil(ICC_PART_BYTES) as u8;
        for (part, number) in icc.chunks(ICC_PART_BYTES).zip(1u8..) {
            add(0xe2, &[ICC, &[number, count], part]);
        }
    }
    let at = behind_jfif(&file);
    file.splice(at..at, segments);
    file
}

/// Where SOI and a JFIF segment end.
fn behind_jfif(file: &[u8]) -> usize {
    match file {
        [_, _, 0xff, 0xe0, l1, l0, ..] => 4 + usize::from(u16::from_be_bytes([*l1, *l0])),
        _ => 2,
    }
}
