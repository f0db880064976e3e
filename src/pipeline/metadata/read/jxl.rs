//! JPEG XL: boxes of the container (ISO/IEC 18181-2, §9): `Exif`, `xml ` and `brob`, in which either may be compressed. A bare codestream has
//! none. The profile is part of the codestream, and the decoder's.

use std::{borrow::Cow, io::Read};

use brotli_decompressor::Decompressor;

use crate::pipeline::{
    metadata::{BLOCK_BYTES_MAX, Embedded},
    probe::isobmff::Bytes,
};

/// Bytes that the decompressor reads at a time.
const BUFFER_BYTES: usize = 4096;

/// Largest window, as its logarithm: 4 MiB, the encoder's default.
const WINDOW_BITS_MAX: u8 = 22;

pub(super) fn read<'a>(source: &'a [u8], embedded: &mut Embedded<'a>) {
    if !source.get(4..).is_some_and(|rest| rest.starts_with(b"JXL ")) {
        return;
    }
    let mut boxes = Bytes(source);
    while let Ok(Some((kind, Bytes(data)))) = boxes.block() {
        // Of each kind the first counts; nothing is unpacked for the others.
        let (exif, xmp) = (embedded.exif.is_none(), embedded.xmp.is_none());
        match (&kind, data.split_first_chunk()) {
            (b"Exif", _) if exif => embedded.exif = Some(behind_offset(Cow::Borrowed(data))),
            (b"xml ", _) if xmp => embedded.xmp = Some(Cow::Borrowed(data)),
            (b"brob", Some((b"Exif", packed))) if exif => {
                embedded.exif = Some(behind_offset(unpacked(packed)))
            }
            (b"brob", Some((b"xml ", packed))) if xmp => embedded.xmp = Some(unpacked(packed)),
            _ => {}
        }
    }
}

/// The block's own offset of its TIFF header comes first.
fn behind_offset(data: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let offset = data.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes) as usize);
    let start = offset.saturating_add(4);
    match data {
        Cow::Borrowed(data) => Cow::Borrowed(data.get(start..).unwrap_or_default()),
        Cow::Owned(data) => Cow::Owned(data.get(start..).unwrap_or_default().to_vec()),
    }
}

/// No more than a block may have, whatever the stream would become; nothing of one that is longer, wants a larger window or is damaged, which is
/// then told as one that can't be understood.
fn unpacked(packed: &[u8]) -> Cow<'static, [u8]> {
    let is_narrow = packed.first().is_some_and(|first| window_bits(*first) <= WINDOW_BITS_MAX);
    Cow::Owned(if is_narrow { block(Decompressor::new(packed, BUFFER_BYTES)) } else { Vec::new() })
}

/// All of a stream that is no longer than a block; of a longer one no more is read than tells that it is.
fn block(stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.take(BLOCK_BYTES_MAX as u64 + 1).read_to_end(&mut bytes) {
        Ok(length) if length <= BLOCK_BYTES_MAX => bytes,
        _ => Vec::new(),
    }
}

/// The size of the window that a stream asks for in its first byte (RFC 7932, §9.1), which is memory; 30 stands for the larger ones of an
/// extension.
fn window_bits(first: u8) -> u8 {
    match (first & 1, first >> 1 & 7, first >> 4 & 7) {
        (0, ..) => 16,
        (_, 0, 0) => 17,
        (_, 0, 1) => 30,
        (_, 0, bits) => 8 + bits,
        (_, bits, _) => 17 + bits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8], data: &[u8]) -> Vec<u8> {
        [&(data.len() as u32 + 8).to_be_bytes()[..], kind, data].concat()
    }

    /// Bytes as Brotli stores what it does not compress (RFC 7932, §9.2): a window of 16 bits, one block, an empty last one.
    fn stored(bytes: &[u8]) -> Vec<u8> {
        let length = bytes.len() as u32 - 1;
        // WBITS 0; ISLAST 0, MNIBBLES 4, MLEN - 1 in 16 bits, ISUNCOMPRESSED 1: from the lowest bit up.
        let head = (length << 4 | 1 << 20).to_le_bytes();
        [&head[..3], bytes, &[3]].concat()
    }

    fn found(boxes: &[Vec<u8>]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let file = [boxed(b"JXL ", b"\r\n\x87\n"), boxes.concat()].concat();
        let mut embedded = Embedded::default();
        read(&file, &mut embedded);
        (embedded.exif.map(Cow::into_owned), embedded.xmp.map(Cow::into_owned))
    }

    #[test]
    fn blocks_are_found_whether_compressed_or_not() {
        let plain = [boxed(b"Exif", b"\0\0\0\x02..II"), boxed(b"jxlp", b"\0"), boxed(b"xml ", b"<x/>")];
        let expected = (Some(b"II".to_vec()), Some(b"<x/>".to_vec()));
        assert_eq!(found(&plain), expected);
        let packed = [
            boxed(b"brob", &[b"Exif", &stored(b"\0\0\0\x02..II")[..]].concat()),
            boxed(b"brob", &[b"xml ", &stored(b"<x/>")[..]].concat()),
            boxed(b"xml ", b"a second one"),
        ];
        assert_eq!(found(&packed), expected);
        let file = [boxed(b"JXL ", b"\r\n\x87\n"), packed.concat()].concat();
        for end in 0..file.len() {
            read(&file[..end], &mut Embedded::default());
        }
    }

    #[test]
    fn damage_and_bombs_leave_an_empty_block() {
        assert_eq!(found(&[boxed(b"brob", b"xml \xff\xff\xff")]), (None, Some(Vec::new())));
        let stream = |blocks: usize| {
            // The same block as often as it takes; the window's size and the last block stand once.
            let one = stored(&vec![b'x'; 1 << 16]);
            let more = [&(0xffffu32 << 3 | 1 << 19).to_le_bytes()[..3], &one[3..one.len() - 1]].concat();
            [b"xml ", &one[..one.len() - 1], &more.repeat(blocks - 1), &[3]].concat()
        };
        assert_eq!(found(&[boxed(b"brob", &stream(16))]).1.unwrap().len(), BLOCK_BYTES_MAX);
        assert_eq!(found(&[boxed(b"brob", &stream(17))]).1, Some(Vec::new()));
        assert_eq!(found(&[boxed(b"Exif", b"\xff\xff\xff\xffII")]), (Some(Vec::new()), None));
        assert_eq!(
            [0x0c, 0x01, 0x11, 0x21, 0x71, 0x03, 0x1b, 0x0f].map(window_bits),
            [16, 17, 30, 10, 15, 18, 22, 24]
        );
        let wide = [&[0x11, 30][..], b"\x03"].concat();
        assert_eq!(found(&[boxed(b"brob", &[b"xml ", &wide[..]].concat())]).1, Some(Vec::new()));
        let long = 8 * BLOCK_BYTES_MAX as u64;
        let mut stream = std::io::repeat(b'x').take(long);
        assert!(block(&mut stream).is_empty());
        assert_eq!(
            stream.limit(),
            long - BLOCK_BYTES_MAX as u64 - 1,
            "more was unpacked than a block may have"
        );
        let gigabyte = include_bytes!("../../../../tests/formats/jxl-packed-gigabyte.jxl");
        let mut embedded = Embedded::default();
        read(gigabyte, &mut embedded);
        assert_eq!(embedded.exif.as_deref(), Some(&[][..]));
    }
}
