//! PNG: the chunks that say something of the image (W3C PNG, third edition, §11.3).

use std::{borrow::Cow, io::Read};

use flate2::read::ZlibDecoder;

use crate::pipeline::{
    metadata::{BLOCK_BYTES_MAX, Embedded},
    profile::ICC_BYTES_MAX,
};

/// Longest text of an author or a copyright notice.
const CREDIT_BYTES_MAX: usize = 2000;

pub(super) fn read<'a>(source: &'a [u8], embedded: &mut Embedded<'a>) {
    let mut rest = source.get(8..).unwrap_or_default();
    while let Some((kind, data, after)) = chunk(rest) {
        rest = after;
        let words = |count: usize| -> Option<Vec<u32>> {
            let words = data.as_chunks::<4>().0;
            (words.len() == count && data.len() == count * 4)
                .then(|| words.iter().map(|word| u32::from_be_bytes(*word)).collect())
        };
        match kind {
            b"IEND" => break,
            b"cICP" => embedded.png.cicp = data.try_into().ok(),
            b"sRGB" => embedded.png.srgb = true,
            b"gAMA" => embedded.png.gamma = words(1).map(|words| words[0]),
            b"cHRM" => embedded.png.chromaticities = words(8).and_then(|words| words.try_into().ok()),
            b"iCCP" if embedded.icc.is_none() => match profile(data) {
                Some(icc) => embedded.icc = Some(Cow::Owned(icc)),
                None => embedded.damaged = Some("it can't be decompressed, or not to a reasonable length"),
            },
            b"eXIf" => embedded.exif = Some(Cow::Borrowed(data)),
            b"iTXt" => embedded.xmp = embedded.xmp.take().or_else(|| xmp(data)),
            b"tEXt" => credit(data, embedded),
            _ => {}
        }
    }
}

/// Kind, data and what follows of the next chunk.
fn chunk(bytes: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    let kind = bytes.get(4..8)?.try_into().ok()?;
    let data = bytes.get(8..length.checked_add(8)?)?;
    Some((kind, data, bytes.get(length + 12..).unwrap_or_default()))
}

/// The text before the next zero byte and what follows it.
fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Name, method, compressed profile. No more is unpacked than a profile may have, whatever the stream would become.
fn profile(data: &[u8]) -> Option<Vec<u8>> {
    let (_, [0, packed @ ..]) = until_zero(data)? else { return None };
    unpack(packed, ICC_BYTES_MAX)
}

fn unpack(packed: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    ZlibDecoder::new(packed).take(most as u64 + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() <= most).then_some(bytes)
}

/// XMP in an international text chunk: keyword, compressed or not, language, translated keyword, text.
fn xmp(data: &[u8]) -> Option<Cow<'_, [u8]>> {
    let rest = data.strip_prefix(b"XML:com.adobe.xmp\0")?;
    let [compressed, _, rest @ ..] = rest else { return None };
    let (_, rest) = until_zero(rest)?;
    let (_, text) = until_zero(rest)?;
    match compressed {
        0 => Some(Cow::Borrowed(text)),
        _ => unpack(text, BLOCK_BYTES_MAX).map(Cow::Owned),
    }
}

/// Author and copyright as plain text chunks, whose letters are Latin-1.
fn credit(data: &[u8], embedded: &mut Embedded<'_>) {
    let Some((keyword, text)) = until_zero(data) else { return };
    if text.is_empty() || text.len() > CREDIT_BYTES_MAX {
        return;
    }
    let text = || text.iter().map(|letter| char::from(*letter)).collect::<String>();
    match keyword {
        b"Author" => embedded.credit.artist = Some(text()),
        b"Copyright" => embedded.credit.copyright = Some(text()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    fn chunk_of(kind: &[u8], data: &[u8]) -> Vec<u8> {
        [&(data.len() as u32).to_be_bytes()[..], kind, data, &[0; 4]].concat()
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_block_is_found() {
        let profile = [b"name\0\0", &packed(b"a profile")[..]].concat();
        let text = b"XML:com.adobe.xmp\0\0\0en\0\0<x/>";
        let file = [
            vec![0; 8],
            chunk_of(b"iCCP", &profile),
            chunk_of(b"gAMA", &[0, 0, 0xb1, 0x8f]),
            chunk_of(b"tEXt", b"Author\0M\xfcller"),
            chunk_of(b"iTXt", text),
            chunk_of(b"eXIf", b"II"),
            chunk_of(b"IEND", b""),
            chunk_of(b"sRGB", b"\0"),
        ]
        .concat();
        let mut embedded = Embedded::default();
        read(&file, &mut embedded);
        assert_eq!(embedded.icc.as_deref(), Some(&b"a profile"[..]));
        assert_eq!(embedded.png.gamma, Some(45_455));
        assert_eq!(embedded.credit.artist.as_deref(), Some("Müller"));
        assert_eq!(embedded.xmp.as_deref(), Some(&b"<x/>"[..]));
        assert_eq!(embedded.exif.as_deref(), Some(&b"II"[..]));
        assert!(!embedded.png.srgb, "it stands behind the end");
        for end in 0..file.len() {
            read(&file[..end], &mut Embedded::default());
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = [b"bomb\0\0", &packed(&vec![0; 64 << 20])[..]].concat();
        let file = [vec![0; 8], chunk_of(b"iCCP", &bomb)].concat();
        let mut embedded = Embedded::default();
        read(&file, &mut embedded);
        assert!(embedded.icc.is_none() && embedded.damaged.is_some());
    }
}
