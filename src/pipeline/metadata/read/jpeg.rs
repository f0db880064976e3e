//! JPEG: the application segments before the first scan.

use std::borrow::Cow;

use crate::pipeline::{metadata::Embedded, profile::ICC_BYTES_MAX};

const ICC: &[u8] = b"ICC_PROFILE\0";
const EXIF: &[u8] = b"Exif\0\0";
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const PHOTOSHOP: &[u8] = b"Photoshop 3.0\0";

/// Photoshop's number for a resource that holds IPTC.
const IPTC_RESOURCE: u16 = 0x0404;

pub(super) fn read<'a>(source: &'a [u8], embedded: &mut Embedded<'a>) {
    let mut parts: Vec<(u8, u8, &[u8])> = Vec::new();
    for (marker, segment) in segments(source) {
        match marker {
            0xe1 => {
                if let Some(block) = segment.strip_prefix(EXIF) {
                    embedded.exif.get_or_insert(Cow::Borrowed(block));
                } else if let Some(block) = segment.strip_prefix(XMP) {
                    embedded.xmp.get_or_insert(Cow::Borrowed(block));
                }
            }
            0xe2 => {
                if let Some([number, count, part @ ..]) = segment.strip_prefix(ICC) {
                    parts.push((*number, *count, part));
                }
            }
            0xed => {
                let resources = segment.strip_prefix(PHOTOSHOP).and_then(iptc);
                embedded.iptc = embedded.iptc.take().or(resources.map(Cow::Borrowed));
            }
            _ => {}
        }
    }
    if !parts.is_empty() {
        match joined(parts) {
            Some(icc) => embedded.icc = Some(icc),
            None => embedded.damaged = Some("parts of it are missing"),
        }
    }
}

/// Marker and content of each segment up to the first scan.
fn segments(source: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = source.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            let start = memchr::memchr(0xff, rest)?;
            let [_, marker, after @ ..] = &rest[start..] else { return None };
            match marker {
                0xff => rest = &rest[start + 1..],
                0x00 | 0x01 | 0xd0..=0xd8 => rest = after,
                0xd9 | 0xda => return None,
                _ => {
                    let length = usize::from(u16::from_be_bytes(*after.first_chunk()?));
                    let segment = after.get(2..length)?;
                    rest = &after[length..];
                    return Some((*marker, segment));
                }
            }
        }
    })
}

/// The profile of its numbered parts (ICC.1:2022, B.4), which may stand in any order; one part is used where it lies.
fn joined(mut parts: Vec<(u8, u8, &[u8])>) -> Option<Cow<'_, [u8]>> {
    parts.sort_by_key(|(number, ..)| *number);
    parts.dedup_by_key(|(number, ..)| *number);
    let count = usize::from(parts[0].1);
    let whole = parts.len() == count
        && parts.iter().zip(1u16..).all(|((number, ..), wanted)| u16::from(*number) == wanted);
    let bytes: usize = parts.iter().map(|(.., part)| part.len()).sum();
    if !whole || bytes > ICC_BYTES_MAX {
        return None;
    }
    match parts.as_slice() {
        [(.., part)] => Some(Cow::Borrowed(part)),
        _ => Some(Cow::Owned(parts.iter().flat_map(|(.., part)| *part).copied().collect())),
    }
}

/// IPTC among Photoshop's resources: signature, number, name, length, data, each padded to an even length.
fn iptc(mut resources: &[u8]) -> Option<&[u8]> {
    loop {
        let rest = resources.strip_prefix(b"8BIM")?;
        let number = u16::from_be_bytes(*rest.first_chunk()?);
        let name = usize::from(*rest.get(2)?);
        let rest = rest.get(2 + (name + 1).next_multiple_of(2)..)?;
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let data = rest.get(4..)?;
        if number == IPTC_RESOURCE {
            return data.get(..length);
        }
        resources = data.get(length.checked_next_multiple_of(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
        [&[0xff, marker][..], &(content.len() as u16 + 2).to_be_bytes(), content].concat()
    }

    fn read_all(segments: &[Vec<u8>]) -> (Option<Vec<u8>>, bool) {
        let file = [&[0xff, 0xd8][..], &segments.concat(), &[0xff, 0xda, 0, 2]].concat();
        let mut embedded = Embedded::default();
        read(&file, &mut embedded);
        (embedded.icc.map(Cow::into_owned), embedded.damaged.is_some())
    }

    #[test]
    fn profiles_are_joined_in_the_order_of_their_numbers() {
        let part =
            |number: u8, count: u8, text: &[u8]| segment(0xe2, &[ICC, &[number, count], text].concat());
        assert_eq!(read_all(&[part(1, 1, b"one")]), (Some(b"one".to_vec()), false));
        assert_eq!(read_all(&[part(2, 2, b"b"), part(1, 2, b"a")]), (Some(b"ab".to_vec()), false));
        assert_eq!(read_all(&[part(1, 2, b"a")]), (None, true));
        assert_eq!(read_all(&[part(0, 0, b"a")]), (None, true));
        assert_eq!(read_all(&[]), (None, false));
    }

    #[test]
    fn iptc_is_found_behind_other_resources() {
        let other = b"8BIM\x03\xed\0\0\0\0\0\x03abc\0";
        let wanted = b"8BIM\x04\x04\x03abc\0\0\0\x02xy";
        assert_eq!(iptc(&[&other[..], wanted].concat()), Some(&b"xy"[..]));
        for end in 0..wanted.len() {
            assert_eq!(iptc(&wanted[..end]), None);
        }
        assert_eq!(iptc(b"8BIM\x04\x05\0\0\xff\xff\xff\xff"), None);
    }
}
