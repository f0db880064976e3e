//! Where a file keeps its EXIF block: APP1 of a JPEG, eXIf of a PNG, EXIF of a WebP; a TIFF is one.

use crate::pipeline::Format;

/// Chunks or segments that are passed over in search of it.
const STEPS_MAX: usize = 100_000;

/// The block, a TIFF structure, if there is one.
pub(super) fn find(source: &[u8], format: Format) -> Option<&[u8]> {
    let block = match format {
        Format::Jpeg => in_jpeg(source),
        Format::Png => in_chunks(source.get(8..)?, *b"eXIf", true),
        Format::Webp => in_chunks(source.get(12..)?, *b"EXIF", false),
        Format::Tiff => Some(source),
        _ => None,
    };
    block.map(|block| block.strip_prefix(b"Exif\0\0").unwrap_or(block))
}

/// Segments up to the start of the scan (ITU-T T.81, B.1.1).
fn in_jpeg(source: &[u8]) -> Option<&[u8]> {
    let mut rest = source.get(2..)?;
    for _ in 0..STEPS_MAX {
        let (marker, behind) = match rest {
            [0xff, 0xff, ..] => {
                rest = &rest[1..];
                continue;
            }
            [0xff, marker, behind @ ..] => (*marker, behind),
            _ => return None,
        };
        if matches!(marker, 0xd9 | 0xda) {
            return None;
        }
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            rest = behind;
            continue;
        }
        let length = usize::from(u16::from_be_bytes(*behind.first_chunk()?));
        let body = behind.get(2..length)?;
        if marker == 0xe1 && body.starts_with(b"Exif\0\0") {
            return Some(body);
        }
        rest = behind.get(length..)?;
    }
    None
}

/// Chunks of PNG (length, kind, body, checksum) or RIFF (kind, length, body padded to even).
fn in_chunks(mut rest: &[u8], wanted: [u8; 4], png: bool) -> Option<&[u8]> {
    for _ in 0..STEPS_MAX {
        let head: [u8; 8] = *rest.first_chunk()?;
        let [a, b, c, d, e, f, g, h] = head;
        let (kind, length) = match png {
            true => ([e, f, g, h], u32::from_be_bytes([a, b, c, d]) as usize),
            false => ([a, b, c, d], u32::from_le_bytes([e, f, g, h]) as usize),
        };
        let body = rest.get(8..)?.get(..length)?;
        if kind == wanted {
            return Some(body);
        }
        let behind = if png { 4 } else { length % 2 };
        rest = rest.get(8 + length + behind..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_is_known() {
        let block = super::super::tests::block();
        let marked = [b"Exif\0\0", &block[..]].concat();
        let jpeg = [b"\xff\xd8\xff\xe0\0\x04\0\0\xff\xe1", &(marked.len() as u16 + 2).to_be_bytes()[..], &marked, b"\xff\xda"].concat();
        let png = [b"\x89PNG\r\n\x1a\n\0\0\0\x01abcdX1234", &(block.len() as u32).to_be_bytes()[..], b"eXIf", &block, b"1234"].concat();
        let webp = [b"RIFF....WEBPabcd\x01\0\0\0X\0EXIF", &(block.len() as u32).to_le_bytes()[..], &block].concat();
        let files = [(Format::Jpeg, &jpeg), (Format::Png, &png), (Format::Webp, &webp), (Format::Tiff, &block)];
        for (format, file) in files {
            assert_eq!(find(file, format), Some(&block[..]), "{format}");
            for end in 0..file.len() {
                let _ = find(&file[..end], format);
            }
        }
        assert_eq!(find(&block, Format::Gif), None);
        assert_eq!(find(b"\xff\xd8\xff\xdaExif", Format::Jpeg), None);
    }
}
