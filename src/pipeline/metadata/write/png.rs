//! PNG: chunks behind IHDR (W3C PNG, third edition, §5.6: iCCP must come before PLTE and IDAT).

use std::io::Write;

use flate2::{Compression, Crc, write::ZlibEncoder};

use super::Extras;

/// Signature and IHDR: where further chunks may begin.
const HEAD_BYTES: usize = 8 + 12 + 13;

/// Inserts the blocks.
pub(in crate::pipeline::metadata) fn write(mut file: Vec<u8>, extras: &Extras) -> Vec<u8> {
    let mut chunks = Vec::new();
    if let Some(icc) = &extras.icc {
        add(&mut chunks, b"iCCP", &[b"ICC profile\0\0", &packed(icc)]);
    }
    if let Some(exif) = &extras.exif {
        add(&mut chunks, b"eXIf", &[&exif.write()]);
    }
    if let Some(xmp) = &extras.xmp {
        // Not compressed, in no language, the keyword not translated.
        add(&mut chunks, b"iTXt", &[b"XML:com.adobe.xmp\0\0\0\0\0", xmp]);
    }
    file.splice(HEAD_BYTES..HEAD_BYTES, chunks);
    file
}

fn add(chunks: &mut Vec<u8>, kind: &[u8; 4], parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    chunks.extend((length as u32).to_be_bytes());
    let mut crc = Crc::new();
    for part in [&kind[..]].iter().chain(parts) {
        crc.update(part);
        chunks.extend_from_slice(part);
    }
    chunks.extend(crc.sum().to_be_bytes());
}

/// A zlib stream; writing to memory does not fail.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}
