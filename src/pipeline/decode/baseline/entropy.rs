//! One block of coefficients from the bit stream (T.81 F.2.2).
//!
//! Owns the inner loop of the decoder. Coefficients are stored where [`Order`] says; what the scaled transform does not need goes to a
//! place that nobody reads, and once nothing more is needed whole runs of symbols are skipped.

use super::{
    bits::Bits,
    huffman::{Ac, Dc, END, PAIR_BITS, SKIP_BITS},
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
        for index in 0..64 {
            if let Some(place) = place(index) {
                places[index] = place;
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

/// Reads values from one refill; returns the place behind them.
#[inline(always)]
fn values(reader: &mut Bits, bytes: &Bytes, ac: &Ac, order: &Order, mut k: u32, block: &mut Block) -> Option<u32> {
    const _: () = assert!(PAIR_BITS * 5 <= super::bits::REFILLED);
    reader.refill(bytes);
    for _ in 0..5 {
        let entry = ac.pair(reader);
        if entry.advance() == 0 {
            reader.refill(bytes);
            let (run, value) = ac.complete(reader, entry)?;
            return place(order, k, run, value, block);
        }
        let before = *reader;
        reader.skip(entry.length());
        let (first, second) = (entry.first(), entry.second());
        order.store(block, k + first.0, first.1);
        order.store(block, k + second.0, second.1);
        let next = k + entry.advance();
        if next > order.last {
            if is_within(next) {
                return Some(next);
            }
            *reader = before;
            return one(reader, bytes, ac, order, k, block);
        }
        k = next;
    }
    Some(k)
}

/// Reads one symbol, where a look-up would read too many.
#[cold]
#[inline(never)]
fn one(reader: &mut Bits, bytes: &Bytes, ac: &Ac, order: &Order, k: u32, block: &mut Block) -> Option<u32> {
    reader.refill(bytes);
    let (run, value) = ac.next(reader)?;
    place(order, k, run, value, block)
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
fn skips(reader: &mut Bits, bytes: &Bytes, ac: &Ac, mut k: u32) -> Option<u32> {
    const _: () = assert!(SKIP_BITS * 4 <= super::bits::REFILLED);
    reader.refill(bytes);
    for _ in 0..4 {
        let entry = ac.skip(reader);
        let next = k + entry.advance();
        if entry.advance() == 0 {
            reader.refill(bytes);
            let (run, _) = ac.complete(reader, ac.pair(reader))?;
            return past(k, run);
        }
        if next >= 64 && !is_within(next) {
            reader.refill(bytes);
            let (run, _) = ac.next(reader)?;
            return past(k, run);
        }
        reader.skip(entry.length());
        k = next;
        if k >= 64 {
            break;
        }
    }
    Some(k)
}
