//! One block of coefficients from the bit stream (T.81 F.2.2).
//!
//! Owns the inner loop of the decoder. Coefficients are stored where [`Order`] says; what the scaled transform does not need goes to a
//! place that nobody reads, and once nothing more is needed whole runs of symbols are skipped.

use super::{
    bits::{Bits, REFILLED},
    huffman::{Ac, Dc, END, STEP_MOST},
    window::Bytes,
};

/// Room for one block: 64 coefficients, then places that nobody reads.
pub(super) type Block = [i16; 128];

/// Where the k-th coefficient of the zigzag order is stored in a [`Block`]; past the 64th, and for unneeded ones, where nobody reads.
pub(super) struct Order {
    places: [u8; 256],
    /// Last coefficient that is needed, or 63 if values are not to be skipped.
    last: u32,
}

/// Where unneeded coefficients go.
const NOWHERE: u8 = 64;

impl Order {
    /// `place` gives each zigzag index its place, `None` where it is not needed.
    pub(super) fn new(skips: bool, place: impl Fn(usize) -> Option<u8>) -> Self {
        let mut places = [NOWHERE; 256];
        let mut last = 0;
        for (index, stored) in places.iter_mut().enumerate().take(64) {
            if let Some(place) = place(index) {
                *stored = place;
                last = index as u32;
            }
        }
        Self { places, last: if skips { last } else { 63 } }
    }

    #[inline(always)]
    fn store(&self, block: &mut Block, k: u32, value: i16) {
        block[usize::from(self.places[k as usize & 255] & 127)] = value;
    }
}

/// Reads a block and returns how many coefficients of the zigzag order may differ from 0 (1 if the DC coefficient stands alone);
/// `None` if the data cannot be a block. `block` must be zero but for the places that nobody reads.
#[inline(always)]
pub(super) fn block(
    bits: &mut Bits,
    bytes: &Bytes,
    (dc, ac): (&Dc, &Ac),
    order: &Order,
    prediction: &mut i16,
    block: &mut Block,
) -> Option<u32> {
    let mut reader = *bits;
    reader.refill(bytes);
    *prediction = prediction.wrapping_add(dc.next(&mut reader)? as i16);
    block[0] = *prediction;
    let mut k = 1;
    while k <= order.last {
        k = values(&mut reader, bytes, ac, order, k, block)?;
    }
    while k < 64 {
        k = skips(&mut reader, bytes, ac, k)?;
    }
    *bits = reader;
    Some(if k >= END { k - END } else { 64 })
}

/// Whether the place behind a look-up is one that a block can end at or go on from. If not, the look-up has read past the block's last
/// coefficient into the next block.
#[inline(always)]
fn is_within(k: u32) -> bool {
    k <= 64 || (END..END + 64).contains(&k)
}

/// Look-ups per refill.
const LOOKUPS: u32 = REFILLED / STEP_MOST;

/// Reads values from one refill; returns the place behind them.
#[inline(always)]
fn values(
    reader: &mut Bits,
    bytes: &Bytes,
    ac: &Ac,
    order: &Order,
    k: u32,
    block: &mut Block,
) -> Option<u32> {
    reader.refill(bytes);
    // The place, and below it the bits that were passed: one addition moves both.
    let mut sum = k << 6;
    for _ in 0..LOOKUPS {
        let entry = ac.pair(reader);
        let (k, next) = (sum >> 6, sum + entry.step());
        if entry.step() == 0 {
            reader.count(sum);
            reader.refill(bytes);
            let (run, value);
            (*reader, run, value) = ac.next(*reader)?;
            return place(order, k, run, value, block);
        }
        let (distance, value) = entry.first();
        order.store(block, k + distance, value);
        let (distance, offset, unused) = entry.last();
        order.store(block, k + distance, reader.signed(offset, unused) as i16);
        if next >> 6 > order.last {
            if is_within(next >> 6) {
                reader.pass(entry.step());
                reader.count(next);
                return Some(next >> 6);
            }
            reader.count(sum);
            let place;
            (*reader, place) = one(*reader, bytes, ac, order, k, block)?;
            return Some(place);
        }
        reader.pass(entry.step());
        sum = next;
    }
    reader.count(sum);
    Some(sum >> 6)
}

/// Reads one symbol, where a look-up would read too many.
#[cold]
#[inline(never)]
fn one(
    mut reader: Bits,
    bytes: &Bytes,
    ac: &Ac,
    order: &Order,
    k: u32,
    block: &mut Block,
) -> Option<(Bits, u32)> {
    reader.refill(bytes);
    let (reader, run, value) = ac.next(reader)?;
    Some((reader, place(order, k, run, value, block)?))
}

/// Stores one value; returns the place behind it, `None` outside the block.
#[inline(always)]
fn place(order: &Order, k: u32, run: u32, value: i16, block: &mut Block) -> Option<u32> {
    order.store(block, k + run, value);
    past(k, run)
}

/// The place behind a symbol; `None` outside the block.
#[inline(always)]
fn past(k: u32, run: u32) -> Option<u32> {
    let next = if run == END { k + END } else { k + run + 1 };
    (run == END || next <= 64).then_some(next)
}

/// Passes over values from one refill; returns the place behind them.
#[inline(always)]
fn skips(reader: &mut Bits, bytes: &Bytes, ac: &Ac, k: u32) -> Option<u32> {
    reader.refill(bytes);
    let mut sum = k << 6;
    for _ in 0..LOOKUPS {
        let entry = ac.skip(reader);
        let next = sum + entry.step();
        // One comparison for all that is not the way on: the block's end, a code that does not fit, a symbol that leads out of the block.
        if next >= 64 << 6 {
            if is_within(next >> 6) {
                reader.pass(entry.step());
                reader.count(next);
                return Some(next >> 6);
            }
            reader.count(sum);
            reader.refill(bytes);
            let run;
            (*reader, run, _) = ac.next(*reader)?;
            return past(sum >> 6, run);
        }
        reader.pass(entry.step());
        sum = next;
    }
    reader.count(sum);
    Some(sum >> 6)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            huffman::Codes,
            window::{SIZE, Window},
        },
        *,
    };

    /// Writes bits, first one highest, without stuffing.
    #[derive(Default)]
    struct Writer {
        bytes: Vec<u8>,
        used: usize,
    }

    impl Writer {
        fn put(&mut self, value: u32, length: u32) {
            for bit in (0..length).rev() {
                if self.used.is_multiple_of(8) {
                    self.bytes.push(0);
                }
                let last = self.bytes.len() - 1;
                self.bytes[last] |= ((value >> bit & 1) as u8) << (7 - self.used % 8);
                self.used += 1;
            }
        }

        fn symbol(&mut self, code: &Code, symbol: u8, value: i32) {
            let (bits, length) = code.words[usize::from(symbol)];
            assert!(length > 0, "{symbol:#x} has no code");
            self.put(bits, length);
            let size = u32::from(symbol & 15);
            self.put((if value < 0 { value - 1 } else { value }) as u32 & ((1 << size) - 1), size);
        }
    }

    /// A code to write with: word and length of every symbol.
    struct Code {
        counts: [u8; 16],
        symbols: Vec<u8>,
        words: [(u32, u32); 256],
    }

    /// A code whose lengths grow by the symbol's place.
    fn code(symbols: Vec<u8>, counts: [u8; 16]) -> Code {
        let mut words = [(0, 0); 256];
        let (mut word, mut place) = (0, 0);
        for (length, count) in (1..).zip(counts) {
            for _ in 0..count {
                words[usize::from(symbols[place])] = (word, length);
                word += 1;
                place += 1;
            }
            word <<= 1;
        }
        assert_eq!(place, symbols.len());
        Code { counts, symbols, words }
    }

    fn size(value: i32) -> u8 {
        (32 - value.unsigned_abs().leading_zeros()) as u8
    }

    fn random(state: &mut u64) -> u32 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as u32
    }

    /// Codes with short and long words; the order of symbols differs per seed.
    fn codes(seed: u64) -> (Code, Code) {
        let mut state = seed;
        let mut ac: Vec<u8> = (0..=255_u8)
            .filter(|symbol| symbol & 15 <= 10 && (symbol & 15 > 0 || matches!(symbol, 0 | 0xf0)))
            .collect();
        for index in (1..ac.len()).rev() {
            // Small sizes tend to the front, as in real tables.
            let other = random(&mut state) as usize % (index + 1);
            if ac[other] & 15 >= ac[index] & 15 || seed.is_multiple_of(3) {
                ac.swap(index, other);
            }
        }
        let dc = (0..12).collect();
        (
            code(dc, [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]),
            code(ac, [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125]),
        )
    }

    fn write(writer: &mut Writer, dc: &Code, ac: &Code, prediction: &mut i32, block: &[i32; 64]) {
        writer.symbol(dc, size(block[0] - *prediction), block[0] - *prediction);
        *prediction = block[0];
        let mut run = 0;
        for value in &block[1..] {
            if *value == 0 {
                run += 1;
                continue;
            }
            while run > 15 {
                writer.symbol(ac, 0xf0, 0);
                run -= 16;
            }
            writer.symbol(ac, run << 4 | size(*value), *value);
            run = 0;
        }
        if run > 0 {
            writer.symbol(ac, 0, 0);
        }
    }

    /// Blocks of every density; one in four is full to its last coefficient.
    fn blocks(state: &mut u64) -> Vec<[i32; 64]> {
        // Miri takes minutes for what else takes a moment.
        (0..if cfg!(miri) { 12 } else { 400 })
            .map(|index| {
                let density = random(state) % 64;
                let mut block: [i32; 64] = std::array::from_fn(|_| {
                    let magnitude = 1 << (random(state) % 8);
                    if random(state) % 64 < density {
                        random(state) as i32 % magnitude - magnitude / 2
                    } else {
                        0
                    }
                });
                if index % 4 == 0 {
                    block[63] = 1 - 2 * (index & 8) / 8;
                }
                block
            })
            .collect()
    }

    #[test]
    fn what_was_written_is_read_and_the_rest_is_skipped() {
        for seed in 1..if cfg!(miri) { 2 } else { 7 } {
            let mut state = seed;
            let (dc, ac) = codes(seed);
            let blocks = blocks(&mut state);
            let mut writer = Writer::default();
            let mut prediction = 0;
            for values in &blocks {
                write(&mut writer, &dc, &ac, &mut prediction, values);
            }
            let source: Vec<u8> = writer
                .bytes
                .iter()
                .flat_map(|byte| [*byte, 0].into_iter().take(1 + usize::from(*byte == 255)))
                .collect();
            let dc = Dc::new(Codes::new(&dc.counts, &dc.symbols).unwrap()).unwrap();
            let ac = Ac::new(Codes::new(&ac.counts, &ac.symbols).unwrap(), true).unwrap();
            for needed in [1, 5, 25, 64] {
                let order = Order::new(true, |index| (index < needed).then_some(index as u8));
                let mut window = Window::new(&source, 0);
                let (mut bits, mut prediction) = (Bits::default(), 0);
                for (index, values) in blocks.iter().enumerate() {
                    window.provide(&mut bits);
                    let mut found = [0; 128];
                    let extent =
                        block(&mut bits, window.bytes(), (&dc, &ac), &order, &mut prediction, &mut found)
                            .unwrap();
                    let expected: Vec<i16> = values.iter().map(|value| *value as i16).collect();
                    assert_eq!(
                        found[..needed],
                        expected[..needed],
                        "block {index}, {needed} needed, seed {seed}"
                    );
                    assert!(found[needed..64].iter().all(|value| *value == 0));
                    let last = values.iter().rposition(|value| *value != 0).unwrap_or(0);
                    assert_eq!(extent as usize, last + 1, "block {index}");
                }
                assert!(!window.is_overrun(&bits) && window.end(&mut bits).is_some());
            }
        }
    }

    #[test]
    fn a_run_out_of_the_block_is_damage() {
        let (dc, ac) = codes(2);
        let mut writer = Writer::default();
        writer.symbol(&dc, 0, 0);
        for _ in 0..4 {
            writer.symbol(&ac, 0xf0, 0);
        }
        writer.put(0, 32);
        let mut bytes = Box::new([0; SIZE]);
        bytes[..writer.bytes.len()].copy_from_slice(&writer.bytes);
        let dc = Dc::new(Codes::new(&dc.counts, &dc.symbols).unwrap()).unwrap();
        let ac = Ac::new(Codes::new(&ac.counts, &ac.symbols).unwrap(), true).unwrap();
        for needed in [1, 64] {
            let order = Order::new(true, |index| (index < needed).then_some(index as u8));
            let (mut bits, mut prediction) = (Bits::default(), 0);
            let read = block(&mut bits, &bytes, (&dc, &ac), &order, &mut prediction, &mut [0; 128]);
            assert_eq!(read, None, "{needed}");
        }
    }
}
