//! Entropy-coded data without its byte stuffing, a window at a time.
//!
//! Owns the way from the file's bytes to the bit reader's: `FF 00` becomes `FF`, fill bytes vanish, and a marker ends the data. A window
//! of [`SIZE`] bytes stays in the cache, where a copy of the whole file would not. Called by [`super::reader`] between MCUs.

use super::bits::Bits;

/// Bytes of the window.
pub(super) const SIZE: usize = 1 << 16;

/// More bytes than one MCU can take: 10 blocks of 64 symbols of at most 16 + 15 bits, and one refill beyond.
const MCU_MAX: usize = 10 * 64 * 4 + 16;

/// Bytes of the source that are fetched into the cache together: about as many as three MCUs take.
pub(super) const AHEAD: usize = 256;

/// The window's bytes, and room for the bit reader to load a whole word from any of them.
pub(super) type Bytes = [u8; SIZE + size_of::<u64>()];

/// What stands where the entropy-coded data ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The source ends.
    Source,
    /// A marker with this code.
    Marker(u8),
}

/// The entropy-coded data of a scan.
pub(super) struct Window<'a> {
    source: &'a [u8],
    /// First byte of the source that is not in the window.
    next: usize,
    bytes: Box<Bytes>,
    /// Bytes of data in the window; once `end` is known, zeros follow for as long as an MCU can be.
    length: usize,
    /// Known once the window has reached it.
    end: Option<End>,
}

impl<'a> Window<'a> {
    /// Opens the data that begins at `start`.
    pub(super) fn new(source: &'a [u8], start: usize) -> Self {
        Self { source, next: start, bytes: Box::new([0; _]), length: 0, end: None }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether the window has what an MCU can take: all that one can be long, or anything before the end.
    #[inline(always)]
    pub(super) fn holds(&self, bits: &Bits) -> bool {
        if self.end.is_some() {
            bits.position() < self.length * 8
        } else {
            bits.byte() + MCU_MAX <= self.length
        }
    }

    /// Bytes behind the given place at which whole MCUs can begin.
    pub(super) fn rest(&self, bits: &Bits) -> usize {
        let until = if self.end.is_some() { self.length } else { self.length - MCU_MAX };
        until.saturating_sub(bits.byte())
    }

    /// The `step`-th part of what the window will be filled with next, to be fetched into the cache until then: one per MCU keeps ahead of what
    /// they take.
    #[inline(always)]
    pub(super) fn ahead(&self, step: usize) -> Option<&[u8; AHEAD]> {
        self.source.get(self.next + step * AHEAD..)?.first_chunk()
    }

    /// Drops what was read and fills the window up: at least a whole MCU is in it then, or everything up to the end.
    #[cold]
    pub(super) fn fill(&mut self, bits: &mut Bits) {
        if self.end.is_some() {
            return;
        }
        let read = bits.byte();
        self.bytes.copy_within(read..self.length, 0);
        self.length -= read;
        bits.shift(read);
        while self.end.is_none() && self.length < SIZE - MCU_MAX {
            self.copy();
        }
        if self.end.is_some() {
            // Not the whole window: where restart markers are close together, that would be most of the work.
            let until = SIZE.min(self.length + MCU_MAX);
            self.bytes[self.length..until].fill(0);
        }
    }

    /// Copies up to the next `FF`, and deals with it.
    #[inline(always)]
    fn copy(&mut self) {
        let rest = &self.source[self.next..];
        let room = rest.len().min(SIZE - MCU_MAX - self.length);
        let count = copy_plain(&rest[..room], &mut self.bytes[self.length..][..room]);
        self.length += count;
        self.next += count;
        if count == room {
            if room == rest.len() {
                self.end = Some(End::Source);
            }
            return;
        }
        match rest.get(count + 1) {
            Some(0) => {
                self.bytes[self.length] = 0xff;
                self.length += 1;
                self.next += 2;
            }
            // A fill byte before a marker (T.81 B.1.1.2).
            Some(0xff) => self.next += 1,
            Some(code) => self.end = Some(End::Marker(*code)),
            None => self.end = Some(End::Source),
        }
    }

    /// The position where the data ends, if that is known: no MCU may go beyond.
    pub(super) fn limit(&self) -> usize {
        if self.end.is_some() { self.length * 8 } else { usize::MAX }
    }

    /// What ends the data, provided that all of it was read but for less than a byte of padding.
    pub(super) fn end(&mut self, bits: &mut Bits) -> Option<End> {
        self.fill(bits);
        let position = bits.position();
        let read = self.length * 8;
        self.end.filter(|_| position <= read && read - position < 8)
    }

    /// Goes on after the marker that ended the data.
    pub(super) fn resume(&mut self, bits: &mut Bits) {
        self.next = (self.next + 2).min(self.source.len());
        self.length = 0;
        self.end = None;
        *bits = Bits::default();
    }
}

/// Bytes that are looked at together.
const PART: usize = 32;

/// Copies what comes before the first `FF`, and says how much that is; some of what comes behind may be copied as well.
///
/// In photographs one byte of a few hundred is `FF`: too often for a search and a copy that are good at long distances.
#[inline(always)]
fn copy_plain(from: &[u8], to: &mut [u8]) -> usize {
    let mut count = 0;
    while let (Some(part), Some(room)) = (from[count..].first_chunk::<PART>(), to[count..].first_chunk_mut())
    {
        *room = *part;
        if part.iter().fold(0, |found, byte| found | u8::from(*byte == 0xff)) != 0 {
            break;
        }
        count += PART;
    }
    while let (Some(word), Some(room)) = (from[count..].first_chunk(), to[count..].first_chunk_mut()) {
        *room = *word;
        let word = u64::from_le_bytes(*word);
        // The lowest bit is that of the first byte whose complement is 0.
        let found = (!word).wrapping_sub(u64::from_le_bytes([1; 8])) & word & u64::from_le_bytes([0x80; 8]);
        if found != 0 {
            return count + found.trailing_zeros() as usize / 8;
        }
        count += size_of::<u64>();
    }
    let rest = from[count..].iter().zip(&mut to[count..]).take_while(|(byte, _)| **byte != 0xff);
    count + rest.map(|(byte, room)| *room = *byte).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(window: &mut Window<'_>, bits: &mut Bits, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                if !window.holds(bits) {
                    window.fill(bits);
                }
                bits.refill(window.bytes());
                let byte = bits.peek::<8>() as u8;
                bits.skip(8);
                byte
            })
            .collect()
    }

    #[test]
    fn stuffing_goes_and_markers_end_the_data() {
        let source = [9, 1, 0xff, 0, 2, 0xff, 0xff, 0xd3, 7, 0xff, 0xd9];
        let mut window = Window::new(&source, 1);
        let mut bits = Bits::default();
        assert_eq!(read(&mut window, &mut bits, 3), [1, 0xff, 2]);
        assert_eq!(window.end(&mut bits), Some(End::Marker(0xd3)));
        window.resume(&mut bits);
        assert_eq!(window.end(&mut bits), None, "a byte is left");
        assert_eq!(read(&mut window, &mut bits, 1), [7]);
        assert_eq!(window.end(&mut bits), Some(End::Marker(0xd9)));
        assert!(bits.position() <= window.limit());
        assert_eq!(read(&mut window, &mut bits, 1), [0]);
        assert!(bits.position() > window.limit());
    }

    #[test]
    fn long_data_passes_through_whole() {
        // Miri takes a minute for what else takes a moment.
        let length = if cfg!(miri) { SIZE + 3000 } else { SIZE * 3 };
        let plain: Vec<u8> = (0..length).map(|index| (index * index / 7) as u8).collect();
        let mut source = Vec::new();
        for byte in &plain {
            source.push(*byte);
            if *byte == 0xff {
                source.push(0);
            }
        }
        let mut window = Window::new(&source, 0);
        let mut bits = Bits::default();
        assert_eq!(read(&mut window, &mut bits, plain.len()), plain);
        assert_eq!(window.end(&mut bits), Some(End::Source));
    }

    #[test]
    fn what_comes_before_an_ff_is_copied_wherever_it_is() {
        for length in 0..3 * PART {
            for place in (0..=length).step_by(if cfg!(miri) { 13 } else { 1 }) {
                let mut from = vec![0xfe; length];
                from[place..].fill(0xff);
                let mut to = vec![0; length];
                assert_eq!(copy_plain(&from, &mut to), place, "of {length}");
                assert_eq!(to[..place], from[..place], "of {length}");
            }
        }
    }

    #[test]
    fn a_lone_ff_at_the_end_is_no_data() {
        let source = [5, 0xff];
        let mut window = Window::new(&source, 0);
        let mut bits = Bits::default();
        assert_eq!(read(&mut window, &mut bits, 1), [5]);
        assert_eq!(window.end(&mut bits), Some(End::Source));
    }
}
