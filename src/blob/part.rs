//! Memory that a device takes bytes from, or brings them to.
//!
//! Owns alignment, and what is gathered of an upload until it is written. Called by [`super::direct`], the spool and those who fill it.

use bytes::Bytes;

/// What addresses in memory, offsets and lengths are multiples of. Devices ask for 512 to 4096.
pub(super) const BLOCK_BYTES: usize = 4096;

/// Memory that begins at a multiple of [`BLOCK_BYTES`].
#[derive(Default)]
pub(super) struct Aligned {
    memory: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// Nothing yet, and room for so many bytes, rounded up to whole blocks.
    pub(super) fn with_capacity(length: usize) -> Aligned {
        let mut memory: Vec<u8> = Vec::with_capacity(Aligned::capacity_for(length));
        let start = memory.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        memory.resize(start, 0);
        Aligned { memory, start }
    }

    /// Memory that is enough wherever it begins.
    fn capacity_for(length: usize) -> usize {
        length.next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES
    }

    /// So many zeros, rounded up to whole blocks.
    pub(super) fn zeros(length: usize) -> Aligned {
        let mut aligned = Aligned::with_capacity(length);
        aligned.memory.resize(aligned.start + length.next_multiple_of(BLOCK_BYTES), 0);
        aligned
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }

    /// The first `length` of them, without a copy.
    pub(super) fn into_bytes(self, length: usize) -> Bytes {
        let end = self.memory.len().min(self.start + length);
        Bytes::from(self.memory).slice(self.start..end)
    }
}

impl std::fmt::Debug for Aligned {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Aligned({})", self.bytes().len())
    }
}

/// Bytes on their way into a file, gathered where a device can take them from.
#[derive(Debug, Default)]
pub struct Part(Aligned);

impl Part {
    /// Appends. If that takes more memory, there is `room` for that many bytes in all afterwards, or for more if need be.
    pub fn extend(&mut self, bytes: &[u8], room: usize) {
        let length = self.len() + bytes.len();
        if self.0.memory.capacity() < self.0.start + length {
            let mut larger = Aligned::with_capacity(length.max(room));
            larger.memory.extend_from_slice(self.0.bytes());
            self.0 = larger;
        }
        self.0.memory.extend_from_slice(bytes);
    }

    /// Gives memory back that is more than room for so many bytes, and for those that are in it.
    pub fn shrink_to(&mut self, room: usize) {
        let kept = Aligned::capacity_for(room.max(self.len()));
        if self.0.memory.capacity() > kept {
            let mut smaller = Aligned::with_capacity(room.max(self.len()));
            smaller.memory.extend_from_slice(self.bytes());
            self.0 = smaller;
        }
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Bytes that there is memory for.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.0.memory.capacity()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// The bytes alone.
    pub fn into_bytes(self) -> Bytes {
        let length = self.len();
        self.0.into_bytes(length)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Those that fill whole blocks, and the rest.
    pub(super) fn blocks(&self) -> (&[u8], &[u8]) {
        self.bytes().split_at(self.len() - self.len() % BLOCK_BYTES)
    }

    /// Drops the bytes and keeps their memory.
    pub(super) fn clear(&mut self) {
        self.0.memory.truncate(self.0.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: usize = 1 << 20;

    #[test]
    fn a_part_stays_aligned_while_it_grows() {
        let expected = (0..LENGTH).map(|at| (at * at / 7) as u8).collect::<Vec<u8>>();
        let mut part = Part::default();
        for (number, bytes) in expected.chunks(30_011).enumerate() {
            part.extend(bytes, number * 40_000);
            assert!(part.bytes().as_ptr().addr().is_multiple_of(BLOCK_BYTES), "{number}");
        }
        let capacity = part.0.memory.capacity();
        assert_eq!((part.len(), part.blocks().1.len()), (LENGTH, 0));
        part.clear();
        part.extend(&expected[..LENGTH - 1], 0);
        assert_eq!((part.len(), part.blocks().1.len()), (LENGTH - 1, BLOCK_BYTES - 1));
        assert_eq!(part.0.memory.capacity(), capacity, "its memory was kept");
        part.shrink_to(70_000);
        assert!(
            part.bytes() == &expected[..LENGTH - 1]
                && part.bytes().as_ptr().addr().is_multiple_of(BLOCK_BYTES)
        );
        let mut small = Part::default();
        small.extend(b"few", LENGTH);
        small.shrink_to(70_000);
        assert_eq!((small.bytes(), small.0.memory.capacity()), (&b"few"[..], Aligned::capacity_for(70_000)));
        assert!(part.into_bytes() == expected[..LENGTH - 1]);
    }
}
