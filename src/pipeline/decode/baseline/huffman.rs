//! Huffman tables, expanded so that one look-up does the work of several symbols.
//!
//! Owns the meaning of a table's entries and their construction from a DHT segment (T.81 C and F.2.2). Three expansions of one code:
//! values of DC differences, pairs of AC values, and runs of AC values that nobody needs. What does not fit an index goes through
//! [`Codes::next`], one symbol at a time.

use super::bits::Bits;

/// Bits that index [`Dc`].
pub(super) const DC_BITS: u32 = 10;
/// Bits that index [`Ac::pairs`].
pub(super) const PAIR_BITS: u32 = 11;
/// Bits that index [`Ac::skips`].
pub(super) const SKIP_BITS: u32 = 13;

/// Added to the place in the block by an end-of-block symbol: past any place there is, so that one comparison ends the loop.
pub(super) const END: u32 = 128;

/// The advance of a [`Skip`] for a symbol that needs more bits than the index has: no place in any block, with or without [`END`].
pub(super) const TOO_LONG: u32 = 512;

/// A canonical code: the symbols in order, and where each length begins.
pub(super) struct Codes {
    /// Per length 1..=16: one past the largest code, shifted to 16 bits; 0 where there is none.
    limit: [u32; 17],
    /// Per length: what to add to a code for its place in `symbols`.
    offset: [i32; 17],
    symbols: [u8; 256],
    count: usize,
}

impl Codes {
    /// From the 16 counts and the symbols of a DHT segment; `None` if there are more codes than a length has room for.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut codes = Self { limit: [0; 17], offset: [0; 17], symbols: [0; 256], count: symbols.len() };
        codes.symbols.get_mut(..symbols.len())?.copy_from_slice(symbols);
        let mut code = 0_u32;
        let mut place = 0;
        for (length, count) in (1..=16_u32).zip(counts) {
            codes.offset[length as usize] = place - code as i32;
            code += u32::from(*count);
            place += i32::from(*count);
            if code > 1 << length {
                return None;
            }
            codes.limit[length as usize] = if *count > 0 { code << (16 - length) } else { 0 };
            code <<= 1;
        }
        (place as usize == symbols.len()).then_some(codes)
    }

    /// Length and symbol of the code that 16 bits begin with; `None` for a code that was not defined.
    fn find(&self, bits: u32) -> Option<(u32, u8)> {
        let length = (1..=16).find(|length| bits < self.limit[*length as usize])?;
        let place = (bits >> (16 - length)) as i32 + self.offset[length as usize];
        let symbol = self.symbols.get(usize::try_from(place).ok()?)?;
        ((place as usize) < self.count).then_some((length, *symbol))
    }

    /// Reads one symbol; needs 16 bits.
    #[cold]
    pub(super) fn next(&self, mut bits: Bits) -> Option<(Bits, u8)> {
        let (length, symbol) = self.find(bits.peek::<16>() as u32)?;
        bits.skip(length);
        Some((bits, symbol))
    }

    /// The code expanded to an index of `width` bits: `length << 8 | symbol`, 0 where the code is longer or undefined.
    fn expanded(&self, width: u32) -> Vec<u16> {
        let mut table = vec![0; 1 << width];
        let mut place = 0;
        let mut from = 0;
        for length in 1..=width {
            let limit = (self.limit[length as usize] >> (16 - width)) as usize;
            let step = 1 << (width - length);
            while from < limit && place < self.count {
                table[from..from + step].fill((length as u16) << 8 | u16::from(self.symbols[place]));
                from += step;
                place += 1;
            }
        }
        table
    }
}

/// The value that the bits after a code stand for: `size` bits, of which the index still holds the lowest `left`.
fn value(index: u32, left: u32, size: u32) -> i32 {
    let raw = (index >> (left - size) & ((1 << size) - 1)) as i32;
    raw - if raw < (1 << size >> 1) { (1 << size) - 1 } else { 0 }
}

/// A DC table. Entries: bits 0..6 length, 8..12 size of the value if it did not fit, 16..32 value; 0 for a long code.
pub(super) struct Dc {
    codes: Codes,
    values: Box<[u32; 1 << DC_BITS]>,
}

impl Dc {
    /// `None` for sizes that no 8-bit image has.
    pub(super) fn new(codes: Codes) -> Option<Self> {
        if codes.symbols.iter().any(|size| *size > 15) {
            return None;
        }
        let mut values = Box::new([0; 1 << DC_BITS]);
        for ((index, entry), code) in (0..).zip(values.iter_mut()).zip(codes.expanded(DC_BITS)) {
            let (length, size) = (u32::from(code >> 8), u32::from(code & 15));
            *entry = match DC_BITS - length {
                _ if length == 0 => 0,
                left if size > left => length | size << 8,
                left => (length + size) | (value(index, left, size) as u32) << 16,
            };
        }
        Some(Self { codes, values })
    }

    /// Reads a difference; needs 31 bits.
    #[inline(always)]
    pub(super) fn next(&self, bits: &mut Bits) -> Option<i32> {
        let entry = self.values[bits.peek::<DC_BITS>()];
        if entry & 63 == 0 {
            let size;
            (*bits, size) = self.codes.next(*bits)?;
            return Some(bits.signed(u32::from(size)));
        }
        bits.skip(entry);
        let size = entry >> 8 & 15;
        Some(if size == 0 { entry as i32 >> 16 } else { bits.signed(size) })
    }
}

/// One look-up's worth of AC values.
#[derive(Clone, Copy)]
pub(super) struct Pair(u64);

impl Pair {
    /// A symbol that needs more bits than the index has: its code's length (0: a long code), run and size.
    fn partial(length: u32, run: u32, size: u32) -> Self {
        Self(u64::from(length | run << 8 | size << 16))
    }

    /// Complete values at distances from the present place; [`END`] as the distance of a value that is not there.
    fn complete(length: u32, first: (u32, i32), second: (u32, i32), advance: u32) -> Self {
        let low = length | first.0 << 8 | second.0 << 16 | advance << 24;
        Self(u64::from(low) | u64::from(first.1 as u16) << 32 | u64::from(second.1 as u16) << 48)
    }

    /// Bits to drop, in the lowest six.
    #[inline(always)]
    pub(super) fn length(self) -> u32 {
        self.0 as u32
    }

    /// How far the place in the block moves, [`END`] added if the block ends; 0 if the entry is partial.
    #[inline(always)]
    pub(super) fn advance(self) -> u32 {
        (self.0 as u32) >> 24
    }

    /// Distance and value of the first coefficient.
    #[inline(always)]
    pub(super) fn first(self) -> (u32, i16) {
        (u32::from((self.0 >> 8) as u8), (self.0 >> 32) as i16)
    }

    /// Distance and value of the second coefficient.
    #[inline(always)]
    pub(super) fn second(self) -> (u32, i16) {
        (u32::from((self.0 >> 16) as u8), (self.0 >> 48) as i16)
    }
}

/// A run of AC symbols whose values are not needed: bits 0..6 length, 6..16 advance, [`TOO_LONG`] if not even one fits.
#[derive(Clone, Copy)]
pub(super) struct Skip(u16);

impl Skip {
    #[inline(always)]
    pub(super) fn length(self) -> u32 {
        u32::from(self.0)
    }

    /// How far the place in the block moves, [`END`] added if the block ends; [`TOO_LONG`] if nothing fits.
    #[inline(always)]
    pub(super) fn advance(self) -> u32 {
        u32::from(self.0 >> 6)
    }
}

/// An AC table.
pub(super) struct Ac {
    codes: Codes,
    pairs: Box<[Pair; 1 << PAIR_BITS]>,
    /// Empty unless asked for.
    skips: Box<[Skip; 1 << SKIP_BITS]>,
}

impl Ac {
    /// `skips`: whether there will be enough unneeded values to be worth the larger table. `None` for symbols that a sequential image
    /// has no use for.
    pub(super) fn new(codes: Codes, skips: bool) -> Option<Self> {
        if codes.symbols[..codes.count].iter().any(|symbol| symbol & 15 == 0 && !matches!(symbol, 0 | 0xf0)) {
            return None;
        }
        let expanded = codes.expanded(SKIP_BITS);
        let mut table = Self {
            codes,
            pairs: Box::new([Pair(0); 1 << PAIR_BITS]),
            skips: Box::new([Skip(0); 1 << SKIP_BITS]),
        };
        for (index, entry) in (0..).zip(table.pairs.iter_mut()) {
            *entry = pair(index << (SKIP_BITS - PAIR_BITS), &expanded);
        }
        if skips {
            for (index, entry) in (0..).zip(table.skips.iter_mut()) {
                *entry = skip(index, &expanded);
            }
        }
        Some(table)
    }

    #[inline(always)]
    pub(super) fn pair(&self, bits: &Bits) -> Pair {
        self.pairs[bits.peek::<PAIR_BITS>()]
    }

    #[inline(always)]
    pub(super) fn skip(&self, bits: &Bits) -> Skip {
        self.skips[bits.peek::<SKIP_BITS>()]
    }

    /// Reads the one symbol that a partial entry stands for: run and value; needs 31 bits.
    #[inline(always)]
    pub(super) fn complete(&self, bits: &mut Bits, entry: Pair) -> Option<(u32, i16)> {
        if entry.length() & 63 == 0 {
            let (run, value);
            (*bits, run, value) = self.next(*bits)?;
            return Some((run, value));
        }
        bits.skip(entry.length());
        Some((entry.first().0, bits.signed(entry.second().0) as i16))
    }

    /// Reads one symbol: run and value, a run of [`END`] for the end of the block; needs 31 bits.
    #[cold]
    pub(super) fn next(&self, bits: Bits) -> Option<(Bits, u32, i16)> {
        let (mut bits, symbol) = self.codes.next(bits)?;
        let symbol = u32::from(symbol);
        match symbol {
            0 => Some((bits, END, 0)),
            _ => {
                let value = bits.signed(symbol & 15) as i16;
                Some((bits, symbol >> 4, value))
            }
        }
    }
}

/// The symbol at `at` in an index of [`SKIP_BITS`]: length, run and size.
fn symbol(index: u32, at: u32, expanded: &[u16]) -> Option<(u32, u32, u32)> {
    let code = expanded[(index << at & ((1 << SKIP_BITS) - 1)) as usize];
    let length = u32::from(code >> 8);
    (length > 0).then_some((length, u32::from(code >> 4 & 15), u32::from(code & 15)))
}

/// The entry for an index whose first [`PAIR_BITS`] bits count.
fn pair(index: u32, expanded: &[u16]) -> Pair {
    let mut at = 0;
    let mut place = 0;
    let mut values = [(END, 0); 2];
    let mut found = 0;
    while let Some((length, run, size)) =
        symbol(index, at, expanded).filter(|(length, ..)| at + length <= PAIR_BITS)
    {
        if (run, size) == (0, 0) {
            return Pair::complete(at + length, values[0], values[1], place + END);
        }
        if found == 2 || at + length + size > PAIR_BITS {
            return if found == 0 {
                Pair::partial(length, run, size)
            } else {
                Pair::complete(at, values[0], values[1], place)
            };
        }
        values[found] = (place + run, value(index, SKIP_BITS - at - length, size));
        found += 1;
        at += length + size;
        place += run + 1;
    }
    if found == 0 { Pair::partial(0, 0, 0) } else { Pair::complete(at, values[0], values[1], place) }
}

/// As many symbols as fit.
fn skip(index: u32, expanded: &[u16]) -> Skip {
    let mut at = 0;
    let mut place = 0;
    while let Some((length, run, size)) = symbol(index, at, expanded) {
        if at + length + size > SKIP_BITS || place > 63 {
            break;
        }
        at += length + size;
        if (run, size) == (0, 0) {
            place += END;
            break;
        }
        place += run + 1;
    }
    Skip((at | if at == 0 { TOO_LONG } else { place } << 6) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overfull_and_foreign_codes_are_refused() {
        let counts = |pairs: &[(usize, u8)]| {
            let mut counts = [0; 16];
            for (length, count) in pairs {
                counts[length - 1] = *count;
            }
            counts
        };
        assert!(Codes::new(&counts(&[(1, 2)]), &[1, 2]).is_some());
        assert!(Codes::new(&counts(&[(1, 3)]), &[1, 2, 3]).is_none(), "three words of one bit");
        assert!(Codes::new(&counts(&[(1, 2), (2, 1)]), &[1, 2, 3]).is_none(), "no word is left");
        assert!(Codes::new(&counts(&[(1, 1)]), &[1, 2]).is_none(), "more symbols than words");
        let table = |symbol| Codes::new(&counts(&[(2, 2)]), &[0, symbol]).unwrap();
        assert!(Ac::new(table(0x31), false).is_some());
        assert!(Ac::new(table(0x30), false).is_none(), "a run without a value");
        assert!(Dc::new(table(11)).is_some());
        assert!(Dc::new(table(16)).is_none(), "a difference of sixteen bits");
    }

    #[test]
    fn undefined_words_have_no_symbol() {
        let mut counts = [0; 16];
        counts[1] = 1;
        counts[15] = 1;
        let codes = Codes::new(&counts, &[7, 9]).unwrap();
        assert_eq!(codes.find(0x3fff), Some((2, 7)));
        assert_eq!(codes.find(0x4000), Some((16, 9)));
        assert_eq!(codes.find(0x4001), None);
        assert_eq!(codes.find(0xffff), None);
    }
}
