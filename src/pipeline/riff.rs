//! RIFF, the container of WebP (RFC 9649, §2.3): reading chunks that lie in memory, and writing them.
//!
//! Owns lengths and padding, nothing of what chunks mean. Called by the decoder of animations, the encoder of animations and `metadata`; the
//! probe, which reads from a source that it does not hold, walks by itself.

/// RIFF, the length, WEBP.
pub(super) const HEAD_BYTES: usize = 12;

/// The chunks of a body; ends where the next one would not fit.
#[derive(Clone, Copy)]
pub(super) struct Chunks<'a>(&'a [u8]);

impl<'a> Chunks<'a> {
    /// Of a whole file.
    pub(super) fn of_file(file: &'a [u8]) -> Chunks<'a> {
        Chunks(file.get(HEAD_BYTES..).unwrap_or_default())
    }

    /// Of what is in a chunk.
    pub(super) fn within(body: &'a [u8]) -> Chunks<'a> {
        Chunks(body)
    }

    /// Whether all bytes have been walked over; where the walk has ended and they have not, there is damage.
    pub(super) fn is_through(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, rest) = self.0.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let (body, rest) = rest.split_at_checked(length)?;
        // Chunks are padded to an even length.
        self.0 = rest.get(length % 2..).unwrap_or_default();
        Some((*kind, body))
    }
}

/// A WebP file in the making.
pub(super) struct Writer {
    file: Vec<u8>,
}

impl Writer {
    /// No chunk yet, and room for so many bytes of them.
    pub(super) fn new(bytes: usize) -> Writer {
        let mut file = Vec::with_capacity(HEAD_BYTES + bytes);
        file.extend_from_slice(b"RIFF\0\0\0\0WEBP");
        Writer { file }
    }

    /// Adds a chunk made of these parts, padded to an even length.
    pub(super) fn chunk(&mut self, kind: [u8; 4], parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.file.extend(kind);
        self.file.extend((length as u32).to_le_bytes());
        parts.iter().for_each(|part| self.file.extend_from_slice(part));
        self.file.extend(&[0][..length % 2]);
    }

    /// Adds `VP8X`, which comes first (§2.7): flags, then width and height less one in three bytes each.
    pub(super) fn extended(&mut self, flags: u8, width: u32, height: u32) {
        let ([w0, w1, w2, _], [h0, h1, h2, _]) = ((width - 1).to_le_bytes(), (height - 1).to_le_bytes());
        self.chunk(*b"VP8X", &[&[flags, 0, 0, 0, w0, w1, w2, h0, h1, h2]]);
    }

    /// Adds a flag to a `VP8X` that was written first.
    pub(super) fn flag(&mut self, flag: u8) {
        self.file[HEAD_BYTES + 8] |= flag;
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> usize {
        self.file.len()
    }

    /// The file, with its length in its head.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = (self.file.len() - 8) as u32;
        self.file[4..8].copy_from_slice(&length.to_le_bytes());
        self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_read_as_they_were_written_and_damage_ends_the_walk() {
        let mut writer = Writer::new(0);
        writer.extended(0x10, 257, 1);
        writer.flag(0x02);
        writer.chunk(*b"odd ", &[b"ab", b"c"]);
        writer.chunk(*b"even", &[b"abcd"]);
        let file = writer.finish();
        assert_eq!(file[4..8], (file.len() as u32 - 8).to_le_bytes());
        let chunks: Vec<_> = Chunks::of_file(&file).collect();
        let head = [0x12u8, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(chunks, [(*b"VP8X", &head[..]), (*b"odd ", b"abc"), (*b"even", b"abcd")]);
        for end in 0..file.len() {
            assert!(Chunks::of_file(&file[..end]).count() < 3);
        }
        assert_eq!(Chunks::within(&file[HEAD_BYTES..]).count(), 3);
    }
}
