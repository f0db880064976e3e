//! The bit reader: 64 bits at a time from un-stuffed data.
//!
//! Owns nothing but a position; the bytes are [`super::window`]'s. Never fails: past the end of the data it reads zeros, past the window what
//! the window begins with, and the driver compares positions once per MCU.

use super::window::{Bytes, SIZE};

/// Bits that [`Bits::refill`] guarantees.
pub(super) const REFILLED: u32 = 56;

/// A place in the window and the bits that follow it.
#[derive(Clone, Copy, Default)]
pub(super) struct Bits {
    /// The next bits, the first one highest. Below the `count` valid ones stand bits that the next refill reads again.
    buffer: u64,
    /// Valid bits in `buffer`, at most 63.
    count: u32,
    /// Next byte of the window that is not counted in `count`.
    at: usize,
}

impl Bits {
    /// At the given bit of the window.
    pub(super) fn new(bytes: &Bytes, position: usize) -> Self {
        let mut bits = Self { at: position / 8, ..Self::default() };
        bits.refill(bytes);
        bits.skip((position % 8) as u32);
        bits
    }

    /// The byte of the window that the next bit stands in.
    pub(super) fn byte(&self) -> usize {
        self.position() / 8
    }

    /// Bits read so far, counted from the start of the window.
    pub(super) fn position(&self) -> usize {
        self.at * 8 - self.count as usize
    }

    /// The window dropped so many bytes from its front.
    pub(super) fn shift(&mut self, bytes: usize) {
        self.at -= bytes;
    }

    /// Makes at least [`REFILLED`] bits valid: one load, no loop over bytes, no branch.
    #[inline(always)]
    pub(super) fn refill(&mut self, bytes: &Bytes) {
        // The window has as many bytes as this type has values: that spares a comparison.
        const { assert!(SIZE == 1 << u16::BITS) };
        let at = usize::from(self.at as u16);
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        self.buffer |= u64::from_be_bytes(word) >> (self.count & 63);
        self.at += ((63 - (self.count & 63)) >> 3) as usize;
        self.count |= REFILLED;
    }

    /// The next `N` bits.
    #[inline(always)]
    pub(super) fn peek<const N: u32>(&self) -> usize {
        (self.buffer >> (64 - N)) as usize
    }

    /// Drops as many bits as the low six bits of `length` say.
    #[inline(always)]
    pub(super) fn skip(&mut self, length: u32) {
        self.buffer <<= length & 63;
        self.count = self.count.wrapping_sub(length & 63);
    }

    /// Drops bits as [`Self::skip`] does, but leaves it to [`Self::count`] to count them, together with others.
    #[inline(always)]
    pub(super) fn pass(&mut self, length: u32) {
        self.buffer <<= length & 63;
    }

    /// Counts bits that were passed, as the low six bits of `length` say.
    #[inline(always)]
    pub(super) fn count(&mut self, length: u32) {
        self.count = self.count.wrapping_sub(length & 63);
    }

    /// The `size` bits (1 to 15) that follow the next `offset` as the signed value of T.81 F.2.2.1 (EXTEND): the upper half positive, the
    /// lower half negative. `unused` is 64 − `size`. No branch: the sign of what is read is as good as random.
    #[inline(always)]
    pub(super) fn signed(&self, offset: u32, unused: u32) -> i32 {
        let bits = self.buffer << (offset & 63);
        // All ones for a negative value, whose bits are those of its magnitude inverted.
        let negative = !(bits as i64 >> 63) as u64;
        let magnitude = (bits ^ negative) >> (unused & 63);
        (magnitude ^ negative).wrapping_sub(negative) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_in_order_across_refills() {
        let mut bytes = Box::new([0; _]);
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = (index * 37 + 11) as u8;
        }
        let expected = |from: usize, count: usize| {
            (from..from + count)
                .fold(0, |value, bit| value << 1 | usize::from(bytes[bit / 8] >> (7 - bit % 8) & 1))
        };
        let mut bits = Bits::default();
        let mut position = 0;
        // Miri takes half a minute for what else takes a moment.
        for step in 0..if cfg!(miri) { 100 } else { 2000 } {
            bits.refill(&bytes);
            assert_eq!(bits.position(), position);
            for part in 0..3 {
                assert_eq!(bits.peek::<16>(), expected(position, 16), "step {step}.{part}");
                let length = (step * 7 + part * 5) % 17;
                bits.skip(length as u32);
                position += length;
            }
        }
    }

    #[test]
    fn signed_values_follow_the_standard() {
        let signed = |size: u32, raw: u64| {
            let offset = raw as u32 % 17;
            let bits = Bits { buffer: raw << (64 - size - offset) | 0xa5, count: 63, at: 8 };
            bits.signed(offset, 64 - size)
        };
        assert_eq!((signed(1, 0), signed(1, 1)), (-1, 1));
        assert_eq!((signed(2, 0), signed(2, 1), signed(2, 2), signed(2, 3)), (-3, -2, 2, 3));
        assert_eq!((signed(15, 0), signed(15, 0x3fff)), (-32767, -16384));
        assert_eq!((signed(15, 0x4000), signed(15, 0x7fff)), (16384, 32767));
    }

    #[test]
    fn bits_are_counted_after_they_are_passed() {
        let mut bytes = Box::new([0; _]);
        bytes[..4].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
        let mut bits = Bits::default();
        bits.refill(&bytes);
        // Only the lowest six bits of a length are one.
        bits.pass(4 | 1 << 6);
        assert_eq!((bits.peek::<8>(), bits.position()), (0x23, 0));
        bits.pass(8 | 3 << 6);
        bits.count(12 | 4 << 6);
        assert_eq!((bits.peek::<8>(), bits.position()), (0x45, 12));
    }

    #[test]
    fn past_the_end_it_stays_inside() {
        let bytes = Box::new([0xff; _]);
        for at in [SIZE - 1, SIZE, SIZE * 2 + 7] {
            let mut bits = Bits { at, ..Bits::default() };
            bits.refill(&bytes);
            assert_eq!(bits.peek::<11>(), 0x7ff, "{at}");
        }
    }
}
