//! Blocks of coefficients from the bit stream (T.81 F.2.2), of several places at once.
//!
//! Owns the inner loop of the decoder. A look-up can't begin before the one before it has told how long its codes are, and the processor
//! could do three in that time. So blocks from as many places of the data are read in lockstep; whoever is done waits for the others.
//! Coefficients are stored where [`Order`] says; what the scaled transform does not need goes to a place that nobody reads, and once
//! nothing more is needed whole runs of symbols are skipped.

use super::{
    bits::{Bits, REFILLED},
    huffman::{Ac, DC_MOST, Dc, END, PAIR_MOST, SKIP_MOST, TOO_LONG},
    window::Bytes,
};

/// Room for one block: its coefficients, then places that nobody reads yet.
pub(super) type Room = [i16; 256];

/// Where the coefficients of the zigzag order are stored in a [`Room`].
pub(super) struct Order {
    /// By the number of AC coefficients before it. Past the 63rd, and for unneeded ones, a place behind the block.
    places: [u8; 256],
    /// AC coefficients that are needed, the ones between counted, or 63 if values are not to be skipped.
    needed: u32,
    /// Places of a block.
    size: usize,
}

/// Size of a block of which only the lowest 4 × 4 coefficients are kept.
pub(super) const SMALL: usize = 16;
/// Size of any other block.
pub(super) const WHOLE: usize = 64;

impl Order {
    /// `place` gives each zigzag index its place among `size`, [`SMALL`] or [`WHOLE`], `None` where it is not needed.
    pub(super) fn new(skips: bool, size: usize, place: impl Fn(usize) -> Option<u8>) -> Self {
        let mut places = [size as u8; 256];
        let mut needed = 0;
        for (before, stored) in places.iter_mut().enumerate().take(63) {
            if let Some(place) = place(before + 1) {
                *stored = place;
                needed = before as u32 + 1;
            }
        }
        Self { places, needed: if skips { needed } else { 63 }, size }
    }

    /// Places of a block.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Stores the value that stands `distance` behind `passed` others.
    #[inline(always)]
    fn store(&self, room: &mut Room, passed: u32, distance: u8, value: i16) {
        room[usize::from(self.places[usize::from((passed as u8).wrapping_add(distance))])] = value;
    }
}

/// The bits that no sum of passed values may have: see [`END`], and [`TOO_LONG`].
const ASTRAY: u32 = (64 | TOO_LONG) << 6;
/// The sum of a block that has passed all of its values.
const FULL: u32 = 63 << 6;
/// The sum of a block that cannot be read: more than any other, and in eight bits a number behind which nothing is stored.
const BROKEN: u32 = (256 | 128) << 6;

/// Look-ups of values per refill.
const PAIRS: u32 = REFILLED / PAIR_MOST;
/// Look-ups of values that nobody needs per refill.
const SKIPS: u32 = REFILLED / SKIP_MOST;

/// The same for every lane up to `$n`, which is at most three. The compiler unrolls no loop of this size, and then keeps in memory what
/// belongs into registers.
macro_rules! each {
    ($n:ident, $lane:ident => $body:expr) => {{
        {
            let $lane = 0;
            $body;
        }
        if $n > 1 {
            let $lane = 1;
            $body;
        }
        if $n > 2 {
            let $lane = 2;
            $body;
        }
    }};
}

/// Reads a block in each of `N` lanes, at most three: the difference of its DC coefficient and the AC coefficients that `order` keeps.
///
/// Returns for each how many coefficients of the zigzag order may differ from 0, 1 if the DC coefficient stands alone; 0 if the data
/// cannot be a block, of which at least a bit was passed.
#[inline(always)]
pub(super) fn blocks<const N: usize>(
    readers: &mut [Bits; N],
    bytes: &Bytes,
    (dc, ac): (&Dc, &Ac),
    order: &Order,
    rooms: [&mut Room; N],
) -> [u8; N] {
    // Locals that no call takes by reference stay in registers.
    let mut bits = *readers;
    let mut sums = [0; N];
    each!(N, lane => {
        if order.size == SMALL {
            rooms[lane][..SMALL].fill(0);
        } else {
            rooms[lane][..WHOLE].fill(0);
        }
        bits[lane].refill(bytes);
        match dc.next(&mut bits[lane], bytes) {
            Some(difference) => rooms[lane][0] = difference as i16,
            None => {
                bits[lane].skip(1);
                sums[lane] = BROKEN;
            }
        }
    });
    let needed = order.needed << 6;
    if needed > 0 {
        // What the DC coefficient has left is enough for these.
        let mut lookups = (REFILLED - DC_MOST) / PAIR_MOST;
        loop {
            for _ in 0..lookups {
                each!(N, lane => values(&mut bits[lane], &mut sums[lane], needed, bytes, ac, order, rooms[lane]));
            }
            each!(N, lane => count(&mut bits[lane], &mut sums[lane]));
            if sums.iter().all(|sum| *sum >= needed) {
                break;
            }
            each!(N, lane => bits[lane].refill(bytes));
            // Where few are needed, a third is mostly one too many.
            lookups = if order.needed < 5 { PAIRS - 1 } else { PAIRS };
        }
    }
    while sums.iter().any(|sum| *sum < FULL) {
        each!(N, lane => bits[lane].refill(bytes));
        for _ in 0..SKIPS {
            each!(N, lane => {
                skips(&mut bits[lane], &mut sums[lane], bytes, ac, order, rooms[lane]);
            });
        }
        each!(N, lane => count(&mut bits[lane], &mut sums[lane]));
    }
    *readers = bits;
    sums.map(|sum| match sum >> 6 {
        63 => 64,
        passed if sum < BROKEN => (passed - END + 1) as u8,
        _ => 0,
    })
}

/// All ones while a block has not got to `until`, else 0: what is done takes no more steps, without a branch.
#[inline(always)]
fn going(sum: u32, until: u32) -> u32 {
    u32::from(sum < until).wrapping_neg()
}

/// Counts the bits of the steps in `sum`, which is the number of passed values and below it the bits that were passed: one addition
/// moves both.
#[inline(always)]
fn count(bits: &mut Bits, sum: &mut u32) {
    bits.count(*sum);
    *sum &= !63;
}

/// One look-up of values.
#[inline(always)]
fn values(
    bits: &mut Bits,
    sum: &mut u32,
    needed: u32,
    bytes: &Bytes,
    ac: &Ac,
    order: &Order,
    room: &mut Room,
) {
    let entry = ac.pair(bits);
    let step = entry.step() & going(*sum, needed);
    let next = *sum + step;
    if next & ASTRAY != 0 {
        (*bits, *sum) = symbol(*bits, *sum, bytes, ac, order, room);
    } else {
        let (distance, value) = entry.first();
        order.store(room, *sum >> 6, distance, value);
        let (distance, offset, unused) = entry.last();
        order.store(room, *sum >> 6, distance, bits.signed(offset, unused) as i16);
        bits.pass(step);
        *sum = next;
    }
}

/// One look-up of values that nobody needs.
#[inline(always)]
fn skips(bits: &mut Bits, sum: &mut u32, bytes: &Bytes, ac: &Ac, order: &Order, room: &mut Room) {
    let step = ac.skip(bits).step() & going(*sum, FULL);
    let next = *sum + step;
    if next & ASTRAY != 0 {
        (*bits, *sum) = symbol(*bits, *sum, bytes, ac, order, room);
    } else {
        bits.pass(step);
        *sum = next;
    }
}

/// Reads one symbol, where a look-up has none or would read beyond the block; leaves the bits counted and refilled.
#[cold]
#[inline(never)]
fn symbol(mut bits: Bits, sum: u32, bytes: &Bytes, ac: &Ac, order: &Order, room: &mut Room) -> (Bits, u32) {
    bits.count(sum);
    bits.refill(bytes);
    let passed = sum >> 6;
    let next = match ac.next(bits) {
        Some((after, END, _)) => {
            bits = after;
            (passed + END) << 6
        }
        Some((after, run, value)) => {
            bits = after;
            order.store(room, passed, run as u8, value);
            let next = (passed + run + 1) << 6;
            if next <= FULL { next } else { BROKEN }
        }
        None => {
            bits.skip(1);
            BROKEN
        }
    };
    bits.refill(bytes);
    (bits, next)
}

#[cfg(test)]
pub(super) mod tests {
    use super::{
        super::{huffman::Codes, window::Window},
        *,
    };

    /// Writes bits, first one highest, without stuffing.
    #[derive(Default)]
    pub(in super::super) struct Writer {
        pub(in super::super) bytes: Vec<u8>,
        used: usize,
    }

    impl Writer {
        /// The bytes with their stuffing.
        pub(in super::super) fn stuffed(&self) -> Vec<u8> {
            let stuffing = |byte: &u8| [*byte, 0].into_iter().take(1 + usize::from(*byte == 255));
            self.bytes.iter().flat_map(stuffing).collect()
        }

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
    pub(in super::super) struct Code {
        pub(in super::super) counts: [u8; 16],
        pub(in super::super) symbols: Vec<u8>,
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

    pub(in super::super) fn random(state: &mut u64) -> u32 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as u32
    }

    /// Codes with short and long words; the order of symbols differs per seed.
    pub(in super::super) fn codes(seed: u64) -> (Code, Code) {
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

    pub(in super::super) fn write(
        writer: &mut Writer,
        dc: &Code,
        ac: &Code,
        prediction: &mut i32,
        block: &[i32; 64],
    ) {
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
    fn some_blocks(state: &mut u64) -> Vec<[i32; 64]> {
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
            let blocks = some_blocks(&mut state);
            let mut writer = Writer::default();
            let mut prediction = 0;
            for values in &blocks {
                write(&mut writer, &dc, &ac, &mut prediction, values);
            }
            let source = writer.stuffed();
            let dc = Dc::new(Codes::new(&dc.counts, &dc.symbols).unwrap()).unwrap();
            let ac = Ac::new(Codes::new(&ac.counts, &ac.symbols).unwrap(), true).unwrap();
            for needed in [1, 5, 25, 64] {
                let order = Order::new(true, WHOLE, |index| (index < needed).then_some(index as u8));
                let mut window = Window::new(&source, 0);
                let (mut bits, mut prediction) = ([Bits::default()], 0);
                for (index, values) in blocks.iter().enumerate() {
                    if !window.holds(&bits[0]) {
                        window.fill(&mut bits[0]);
                    }
                    let mut found = [7; 256];
                    let [extent] = super::blocks(&mut bits, window.bytes(), (&dc, &ac), &order, [&mut found]);
                    prediction += found[0];
                    found[0] = prediction;
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
                assert!(window.end(&mut bits[0]).is_some());
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
        let mut bytes = Box::new([0; _]);
        bytes[..writer.bytes.len()].copy_from_slice(&writer.bytes);
        let dc = Dc::new(Codes::new(&dc.counts, &dc.symbols).unwrap()).unwrap();
        let ac = Ac::new(Codes::new(&ac.counts, &ac.symbols).unwrap(), true).unwrap();
        for needed in [1, 64] {
            let order = Order::new(true, WHOLE, |index| (index < needed).then_some(index as u8));
            let read = blocks(&mut [Bits::default()], &bytes, (&dc, &ac), &order, [&mut [0; 256]]);
            assert_eq!(read, [0], "{needed}");
        }
    }
}
