//! The bit reader: 64 bits at a time from un-stuffed data.
//!
//! Owns nothing but a position; the bytes are [`super::window`]'s. Never fails: past the end it reads zeros, and the driver compares
//! positions once per MCU.

use super::window::Bytes;

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
    /// The first unread byte of the window, counting the byte that is read in part.
    pub(super) fn byte(&self) -> usize {
        self.at - (self.count / 8) as usize
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
        let at = self.at.min(bytes.len() - 8);
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

    /// Reads `size` bits (0 to 15) as the signed values of T.81 F.2.2.1 (EXTEND): the upper half positive, the lower half negative.
    #[inline(always)]
    pub(super) fn signed(&mut self, size: u32) -> i32 {
        // In two steps, because a shift by 64 is none.
        let raw = (self.buffer >> 1 >> (63 - size)) as i32;
        self.skip(size);
        let lower_half = raw < (1 << size >> 1);
        raw - if lower_half { (1 << size) - 1 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::SIZE;
    use super::*;

    #[test]
    fn bits_come_in_order_across_refills() {
        let mut bytes = Box::new([0; SIZE]);
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
            let mut bits = Bits { buffer: if size == 0 { 0 } else { raw << (64 - size) }, count: 63, at: 8 };
            bits.signed(size)
        };
        assert_eq!(signed(0, 0), 0);
        assert_eq!((signed(1, 0), signed(1, 1)), (-1, 1));
        assert_eq!((signed(2, 0), signed(2, 1), signed(2, 2), signed(2, 3)), (-3, -2, 2, 3));
        assert_eq!((signed(15, 0), signed(15, 0x7fff)), (-32767, 32767));
    }

    #[test]
    fn past_the_end_it_stays_inside() {
        let bytes = Box::new([0xff; SIZE]);
        let mut bits = Bits { at: SIZE * 2, ..Bits::default() };
        bits.refill(&bytes);
        assert_eq!(bits.peek::<11>(), 0x7ff);
    }
}
