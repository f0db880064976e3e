//! Undoing a content encoding that was not asked for: some servers store what they send as gzip and know no other form.
//!
//! Unpacks piece by piece, so that neither time nor memory grows with what a small body may claim to be. It counts nothing; `download`
//! does. Pure.

use std::io::{self, Write};

use bytes::{Buf, Bytes};
use flate2::write::{MultiGzDecoder, ZlibDecoder};

/// A body's encoding on its way back.
#[derive(Debug)]
pub(super) enum Decoder {
    Gzip(MultiGzDecoder<Vec<u8>>),
    /// What HTTP calls `deflate`.
    Zlib(ZlibDecoder<Vec<u8>>),
}

impl Decoder {
    /// For the value of `Content-Encoding`. `Ok(None)`: there is nothing to undo.
    ///
    /// # Errors
    /// The encoding, when it is one that can't be undone.
    pub(super) fn for_encoding(encoding: &str) -> Result<Option<Decoder>, String> {
        match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Decoder::Gzip(MultiGzDecoder::new(Vec::new())))),
            "deflate" => Ok(Some(Decoder::Zlib(ZlibDecoder::new(Vec::new())))),
            other => Err(other.to_owned()),
        }
    }

    /// Takes some of `input` and gives what that unpacks to, about 32 KiB at most.
    pub(super) fn step(&mut self, input: &mut Bytes) -> io::Result<Bytes> {
        let taken = match self {
            Decoder::Gzip(decoder) => decoder.write(input)?,
            Decoder::Zlib(decoder) => decoder.write(input)?,
        };
        let unpacked = self.unpacked();
        if taken == 0 && unpacked.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there is more behind its end"));
        }
        input.advance(taken);
        Ok(unpacked)
    }

    /// The rest, once all was given.
    pub(super) fn finish(&mut self) -> io::Result<Bytes> {
        match self {
            Decoder::Gzip(decoder) => decoder.try_finish()?,
            Decoder::Zlib(decoder) => decoder.try_finish()?,
        }
        Ok(self.unpacked())
    }

    fn unpacked(&mut self) -> Bytes {
        let unpacked = match self {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zlib(decoder) => decoder.get_mut(),
        };
        std::mem::take(unpacked).into()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    /// Packed by gzip.
    pub(in super::super) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(encoding: &str, packed: &[u8]) -> io::Result<(Vec<u8>, usize)> {
        let mut decoder = Decoder::for_encoding(encoding).unwrap().unwrap();
        let (mut whole, mut largest) = (Vec::new(), 0);
        for chunk in packed.chunks(1000) {
            let mut input = Bytes::copy_from_slice(chunk);
            while !input.is_empty() {
                let piece = decoder.step(&mut input)?;
                largest = largest.max(piece.len());
                whole.extend_from_slice(&piece);
            }
        }
        whole.extend_from_slice(&decoder.finish()?);
        Ok((whole, largest))
    }

    #[test]
    fn what_was_packed_comes_back_in_small_pieces() {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i / 1000) as u8).collect();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        zlib.write_all(&bytes).unwrap();
        for (encoding, packed) in
            [("gzip", gzip(&bytes)), (" GZIP ", gzip(&bytes)), ("deflate", zlib.finish().unwrap())]
        {
            let (whole, largest) = unpack(encoding, &packed).unwrap();
            assert!(whole == bytes, "{encoding}");
            assert!(largest <= 128 * 1024, "{encoding}: {largest}");
        }
        let twice = [gzip(b"one "), gzip(b"and one")].concat();
        assert_eq!(unpack("x-gzip", &twice).unwrap().0, b"one and one");
    }

    #[test]
    fn what_is_no_such_encoding_is_an_error() {
        assert!(
            Decoder::for_encoding("").unwrap().is_none()
                && Decoder::for_encoding("identity").unwrap().is_none()
        );
        for encoding in ["br", "zstd", "gzip, gzip", "compress"] {
            assert!(Decoder::for_encoding(encoding).is_err(), "{encoding}");
        }
        let packed = gzip(&[7; 5000]);
        assert!(unpack("gzip", &packed[..packed.len() - 9]).is_err(), "cut off");
        assert!(unpack("gzip", b"not packed at all").is_err());
        assert!(unpack("gzip", &[packed, b"trailing".to_vec()].concat()).is_err());
        assert!(unpack("deflate", b"not packed at all").is_err());
    }
}
