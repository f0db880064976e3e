//! Huffman tables, expanded so that one look-up takes the place of several symbols.
//!
//! Owns the meaning of a table's entries and their construction from a DHT segment (T.81 C and F.2.2). Three expansions of one code do the
//! work of several symbols: DC differences, pairs of AC values, and runs of AC values that nobody needs. Only codes have to fit an index: an
//! entry knows where the bits of its last value are, so that values of all sizes take the same way. What has no entry there goes
//! through [`Words::next`], one symbol at a time.
//!
//! The tables share the first-level cache with all else, and the bits that index them are as good as random: one bit more in an index
//! costs more than the symbols that it adds are worth.

use super::{bits::Bits, window::Bytes};

/// Bits that index [`Dc`].
pub(super) const DC_BITS: u32 = 9;
/// Bits that index [`Ac::pairs`].
pub(super) const PAIR_BITS: u32 = 11;
/// Bits that index [`Ac::skips`].
pub(super) const SKIP_BITS: u32 = 12;

/// Most bits of a DC difference that [`Dc`] has an entry for; no usual one has more.
pub(super) const DC_MOST: u32 = 20;

/// Most bits that one entry of [`Ac::pairs`] passes: the last value may reach beyond the index. Three look-ups need no refill.
pub(super) const PAIR_MOST: u32 = 18;
/// The same for [`Ac::skips`]: four look-ups need no refill, which is worth more than the few symbols that an entry loses.
pub(super) const SKIP_MOST: u32 = 14;

/// Added by an end-of-block symbol to the number of values that were passed. A block that ends rightly has then passed at most
/// 62 + 129 = 191: the bit of 64 is clear, as it is up to a full block's 63, and set if look-ups went beyond either.
pub(super) const END: u32 = 129;

/// The advance of an entry for a code that needs more bits than the index has.
pub(super) const TOO_LONG: u32 = 512;

/// The distance of a value that is not there: out of the block, from wherever it is counted.
const NONE: u32 = 64;

/// Values that an entry may pass, so that it leads from within a block to less than 128.
const ADVANCE_MOST: u32 = 63;

/// Codes up to this length are found by their first bits, longer ones by all that there can be.
const SHORT_MOST: usize = 11;
/// Words of 16 bits that may begin with longer codes, for them to have a table: the usual code has 224 of them.
const LONG_WORDS_MOST: usize = 2048;

/// A canonical code: the symbols in order, and where each length begins.
#[derive(Clone)]
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
    #[cold]
    fn search(&self, bits: u32) -> Option<(u32, u8)> {
        let length = (1..=16).find(|length| bits < self.limit[*length as usize])?;
        let place = (bits >> (16 - length)) as i32 + self.offset[length as usize];
        let symbol = self.symbols.get(usize::try_from(place).ok()?)?;
        ((place as usize) < self.count).then_some((length, *symbol))
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

/// What words of 16 bits begin with, in tables: for the codes that are used, since there may be many that are not.
struct Words {
    codes: Codes,
    /// The first word that begins with a code longer than [`SHORT_MOST`] or with none.
    long_from: usize,
    /// For each word from there on `length << 8 | symbol`, 0 for none. Empty if that would be more than [`LONG_WORDS_MOST`].
    long: Vec<u16>,
    /// The same for the first [`SHORT_MOST`] bits of a word.
    short: Vec<u16>,
}

impl Words {
    fn new(codes: Codes) -> Self {
        const ALL: usize = 1 << 16;
        let long_from = codes.limit[..=SHORT_MOST].iter().max().map_or(0, |limit| *limit as usize);
        let mut long = Vec::new();
        if ALL - long_from <= LONG_WORDS_MOST {
            // Undefined words come after all others.
            while long_from + long.len() < ALL
                && let Some((length, symbol)) = codes.search((long_from + long.len()) as u32)
            {
                long.extend(std::iter::repeat_n(
                    (length as u16) << 8 | u16::from(symbol),
                    1 << (16 - length),
                ));
            }
            long.resize(ALL - long_from, 0);
        }
        let short = codes.expanded(SHORT_MOST as u32);
        Self { codes, long_from, long, short }
    }

    /// [`Codes::search`], mostly without a search.
    #[inline(always)]
    fn find(&self, word: usize) -> Option<(u32, u8)> {
        let code = match self.long.get(word.wrapping_sub(self.long_from)) {
            Some(code) => *code,
            None => self.short[word >> (16 - SHORT_MOST)],
        };
        if code > 0 { Some((u32::from(code >> 8), code as u8)) } else { self.codes.search(word as u32) }
    }

    /// Reads one symbol; needs 16 bits.
    #[inline(always)]
    fn next(&self, mut bits: Bits) -> Option<(Bits, u8)> {
        let (length, symbol) = self.find(bits.peek::<16>())?;
        bits.skip(length);
        Some((bits, symbol))
    }
}

/// The value that the bits after a code stand for: `size` bits, of which the index still holds the lowest `left`.
fn value(index: u32, left: u32, size: u32) -> i32 {
    let raw = (index >> (left - size) & ((1 << size) - 1)) as i32;
    raw - if raw < (1 << size >> 1) { (1 << size) - 1 } else { 0 }
}

/// A DC table. Entries: bits 0..6 length of code and value together, 8..14 of the code, 16..22 64 less the value's, 24 whether it has
/// any; 0 for a long one.
pub(super) struct Dc {
    words: Words,
    values: Box<[u32; 1 << DC_BITS]>,
}

impl Dc {
    /// `None` for sizes that no 8-bit image has.
    pub(super) fn new(codes: Codes) -> Option<Self> {
        if codes.symbols.iter().any(|size| *size > 15) {
            return None;
        }
        let mut values = Box::new([0; 1 << DC_BITS]);
        for (entry, code) in values.iter_mut().zip(codes.expanded(DC_BITS)) {
            *entry = match (u32::from(code >> 8), u32::from(code & 15)) {
                (0, _) => 0,
                (length, size) if length + size > DC_MOST => 0,
                (length, size) => {
                    (length + size) | length << 8 | (64 - size) << 16 | u32::from(size > 0) << 24
                }
            };
        }
        Some(Self { words: Words::new(codes), values })
    }

    /// Reads a difference from a refill, and leaves all of it but [`DC_MOST`] bits.
    #[inline(always)]
    pub(super) fn next(&self, bits: &mut Bits, bytes: &Bytes) -> Option<i32> {
        let entry = self.values[bits.peek::<DC_BITS>()];
        if entry == 0 {
            let size;
            (*bits, size) = self.words.next(*bits)?;
            let value = if size == 0 { 0 } else { bits.signed(0, 64 - u32::from(size)) };
            bits.skip(u32::from(size));
            bits.refill(bytes);
            return Some(value);
        }
        let value = bits.signed(entry >> 8, entry >> 16);
        bits.skip(entry);
        Some(value & (entry >> 24).wrapping_neg() as i32)
    }
}

/// One look-up's worth of AC values. From the lowest bit on: 6 bits length, 10 advance ([`TOO_LONG`] if not even one code fits); in bytes,
/// the distances of the first of two values and of the last ([`NONE`] for one that is not there), the first value (two bytes), where the
/// last one's bits begin, and 64 less their number.
#[derive(Clone, Copy)]
pub(super) struct Pair(u64);

impl Pair {
    /// Bits to drop, in the lowest six; above them how many values are passed, [`END`] added if the block ends.
    #[inline(always)]
    pub(super) fn step(self) -> u32 {
        u32::from(self.0 as u16)
    }

    /// Distance and value of the first of two coefficients.
    #[inline(always)]
    pub(super) fn first(self) -> (u8, i16) {
        ((self.0 >> 16) as u8, (self.0 >> 32) as i16)
    }

    /// Distance of the last coefficient, and what [`Bits::signed`] needs to read it.
    #[inline(always)]
    pub(super) fn last(self) -> (u8, u32, u32) {
        ((self.0 >> 24) as u8, (self.0 >> 48) as u32, (self.0 >> 56) as u32)
    }
}

/// A run of AC symbols whose values are not needed: bits 0..6 length, 6..16 advance, [`TOO_LONG`] if not even one code fits.
#[derive(Clone, Copy)]
pub(super) struct Skip(u16);

impl Skip {
    /// Bits to drop, in the lowest six; above them how many values are passed, [`END`] added if the block ends.
    #[inline(always)]
    pub(super) fn step(self) -> u32 {
        u32::from(self.0)
    }
}

/// An AC table.
pub(super) struct Ac {
    words: Words,
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
            words: Words::new(codes),
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

    /// Reads one symbol: run and value, a run of [`END`] for the end of the block; needs 31 bits.
    #[inline(always)]
    pub(super) fn next(&self, bits: Bits) -> Option<(Bits, u32, i16)> {
        let (mut bits, symbol) = self.words.next(bits)?;
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            return Some((bits, if run == 0 { END } else { run }, 0));
        }
        let value = bits.signed(0, 64 - size) as i16;
        bits.skip(size);
        Some((bits, run, value))
    }
}

/// The symbol at `at` in an index of [`SKIP_BITS`]: length, run and size.
fn symbol(index: u32, at: u32, expanded: &[u16]) -> Option<(u32, u32, u32)> {
    let code = expanded[(index << at & ((1 << SKIP_BITS) - 1)) as usize];
    let length = u32::from(code >> 8);
    (length > 0).then_some((length, u32::from(code >> 4 & 15), u32::from(code & 15)))
}

/// The entry for an index whose first [`PAIR_BITS`] bits count. The bits of the last value may lie beyond.
fn pair(index: u32, expanded: &[u16]) -> Pair {
    let (mut at, mut passed) = (0, 0);
    let mut first = (NONE, 0);
    // Distance, offset and size.
    let mut last = None;
    while let Some((length, run, size)) = symbol(index, at, expanded) {
        if at + length > PAIR_BITS || at + length + size > PAIR_MOST || passed + run + 1 > ADVANCE_MOST {
            break;
        }
        if (run, size) == (0, 0) {
            at += length;
            passed += END;
            break;
        }
        if size > 0 {
            if let Some((distance, offset, size)) = last {
                if first.0 != NONE {
                    break;
                }
                first = (distance, value(index, SKIP_BITS - offset, size));
            }
            last = Some((passed + run, at + length, size));
        }
        at += length + size;
        passed += run + 1;
    }
    let (distance, offset, size) = last.unwrap_or((NONE, 0, 1));
    let advance = if at == 0 { TOO_LONG } else { passed };
    let low = at | advance << 6 | first.0 << 16 | distance << 24;
    let high = u32::from(first.1 as u16) | offset << 16 | (64 - size) << 24;
    Pair(u64::from(low) | u64::from(high) << 32)
}

/// As many symbols as have their codes in the index; the bits of the last one's value may lie beyond.
fn skip(index: u32, expanded: &[u16]) -> Skip {
    let (mut at, mut passed) = (0, 0);
    while let Some((length, run, size)) = symbol(index, at, expanded) {
        if at + length > SKIP_BITS || at + length + size > SKIP_MOST || passed + run + 1 > ADVANCE_MOST {
            break;
        }
        at += length + size;
        if (run, size) == (0, 0) {
            passed += END;
            break;
        }
        passed += run + 1;
    }
    Skip((at | if at == 0 { TOO_LONG } else { passed } << 6) as u16)
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
    fn no_step_passes_more_than_its_share_of_a_refill() {
        let mut counts = [0; 16];
        (counts[1], counts[3], counts[7]) = (2, 3, 3);
        let codes = Codes::new(&counts, &[0, 1, 0x0a, 0x0e, 0x0f, 0xf0, 0x1f, 0x2c]).unwrap();
        let table = Ac::new(codes, true).unwrap();
        assert_eq!(table.pairs.iter().map(|pair| pair.step() & 63).max(), Some(PAIR_MOST));
        assert_eq!(table.skips.iter().map(|skip| skip.step() & 63).max(), Some(SKIP_MOST));
        let mut counts = [0; 16];
        (counts[1], counts[4], counts[5]) = (1, 1, 1);
        let table = Dc::new(Codes::new(&counts, &[15, 15, 15]).unwrap()).unwrap();
        assert_eq!(table.values.iter().map(|entry| entry & 63).max(), Some(DC_MOST), "not one of 21");
    }

    #[test]
    fn undefined_words_have_no_symbol() {
        let mut counts = [0; 16];
        counts[1] = 1;
        counts[15] = 1;
        let words = Words::new(Codes::new(&counts, &[7, 9]).unwrap());
        assert_eq!(words.find(0x3fff), Some((2, 7)));
        assert_eq!(words.find(0x4000), Some((16, 9)));
        assert_eq!(words.find(0x4001), None);
        assert_eq!(words.find(0xffff), None);
        assert!(words.long.is_empty(), "half of all words begin with a long code or none");
    }

    #[test]
    fn a_table_of_long_codes_finds_what_a_search_finds() {
        let mut counts = [1; 16];
        counts[12] = 0;
        let symbols: Vec<u8> = (0..15).collect();
        let words = Words::new(Codes::new(&counts, &symbols).unwrap());
        assert_eq!((words.long_from, words.long.len()), (0xffe0, 32));
        for word in (0..1 << 16).step_by(if cfg!(miri) { 97 } else { 1 }) {
            assert_eq!(words.find(word), words.codes.search(word as u32), "{word:#x}");
        }
        assert_eq!(words.find(0xfff0), Some((14, 12)));
        assert_eq!(words.find(0xffff), None);
    }
}
