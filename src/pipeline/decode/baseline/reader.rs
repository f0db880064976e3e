//! MCUs of coefficients, read from several places of the data at once.
//!
//! Owns the way from the window to the blocks: restart intervals, DC predictions, and the lanes. Huffman codes synchronize themselves: who
//! starts at any byte soon reads the same codes as who came from the beginning: after 120 to 250 bytes in the mean in ten photographs of
//! 4:2:0, 1.5 kB at most. So the data in the window is read by [`LANES`] lanes in lockstep ([`super::entropy`]), the first of which knows where it
//! is and the others don't. Each notes where its MCUs begin. When the first begins one where the second did, the second is right from there
//! on, and so forth. What was read before is dropped; where lanes do not meet, only time was lost.

use std::ops::Range;

use super::{
    Flaw,
    bits::Bits,
    entropy::{self, Room},
    huffman::{Ac, Dc},
    kernels::Kernels,
    layout::Layout,
    window::{Bytes, End, Window},
};

/// Lanes that read side by side: more would not find registers.
const LANES: usize = 3;

/// Coefficients of one lane. Three lanes of them stay in the second-level cache.
const COEFFICIENTS: usize = 1 << 15;

/// Shortest distance of lanes in bytes: several times what they usually take to meet.
const STRIDE_LEAST: usize = 1 << 10;

/// So often in a row lanes may fail to meet before the rest is read by one of them. They never do where all components share their
/// tables, and hardly in noise.
const MISSES_MOST: u32 = 4;

/// The tables of one component.
pub(super) type Tables<'a> = (&'a Dc, &'a Ac);

/// What one lane has read, without the coefficients.
struct Trail {
    /// Where each MCU begins in the window, in bits, and where the last one ends.
    starts: Vec<u32>,
    /// Of each block what [`entropy::blocks`] returned.
    extents: Vec<u8>,
}

/// Blocks of one lane in the order of the data, and room behind them for what is not kept. The lanes' distance in memory is known when
/// this is compiled, so that one register finds all of them.
type Blocks = [i16; COEFFICIENTS + size_of::<Room>() / 2];

/// One MCU: its blocks, and for each what [`entropy::blocks`] returned.
pub(super) struct Mcu<'a> {
    pub(super) extents: &'a [u8],
    pub(super) coefficients: &'a [i16],
}

/// The entropy-coded data of a scan.
pub(super) struct Reader<'a> {
    layout: &'a Layout,
    /// Per plane.
    tables: Vec<Tables<'a>>,
    window: Window<'a>,
    bits: Bits,
    /// MCUs between restart markers, 0 for none.
    restart: usize,
    /// Number of the next restart marker.
    next_restart: u8,
    /// MCUs that are still to be read: of the picture, and until the next restart marker.
    left: usize,
    until_restart: usize,
    /// Last DC coefficient of each component.
    predictions: [i16; 3],
    trails: [Trail; LANES],
    blocks: Vec<Blocks>,
    /// What of each trail comes next, one after the other.
    spans: [Range<usize>; LANES],
    /// MCUs that a trail has room for.
    capacity: usize,
    /// Bits of an MCU, lately.
    usual: usize,
    /// How often in a row lanes did not meet.
    misses: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        layout: &'a Layout,
        tables: Vec<Tables<'a>>,
        restart: usize,
        window: Window<'a>,
    ) -> Self {
        let left = layout.mcus.0 * layout.mcus.1;
        let capacity = (COEFFICIENTS / layout.coefficients).min(left);
        let trail = || Trail { starts: vec![0; capacity + 1], extents: vec![0; capacity * layout.blocks] };
        Self {
            layout,
            tables,
            window,
            bits: Bits::default(),
            restart,
            next_restart: 0,
            left,
            until_restart: if restart == 0 { left } else { restart.min(left) },
            predictions: [0; 3],
            trails: [trail(), trail(), trail()],
            blocks: vec![[0; _]; LANES],
            spans: [const { 0..0 }; LANES],
            capacity,
            // Little, so that the first lanes are not too far apart.
            usual: layout.blocks * 8,
            misses: 0,
        }
    }

    /// The next MCU.
    #[inline(always)]
    pub(super) fn next<K: Kernels>(&mut self, kernels: K) -> Result<Mcu<'_>, Flaw> {
        if self.spans.iter().all(Range::is_empty) {
            self.read(kernels)?;
        }
        let Layout { blocks, coefficients, .. } = *self.layout;
        for ((span, trail), lane) in self.spans.iter_mut().zip(&self.trails).zip(&self.blocks) {
            if let Some(mcu) = span.next() {
                return Ok(Mcu {
                    extents: &trail.extents[mcu * blocks..][..blocks],
                    coefficients: &lane[mcu * coefficients..][..coefficients],
                });
            }
        }
        Err(Flaw::Damaged("its data ends too early"))
    }

    /// What stands behind the last MCU, if it ends there.
    pub(super) fn end(&mut self) -> Option<End> {
        self.window.end(&mut self.bits)
    }

    /// Reads MCUs into the trails: at least one, or none if the data ends.
    #[inline(always)]
    fn read<K: Kernels>(&mut self, kernels: K) -> Result<(), Flaw> {
        if self.until_restart == 0 {
            self.pass_restart()?;
        }
        self.window.fill(&mut self.bits);
        // Half of what there is room for: the next MCUs may be smaller than the last.
        let most = self.capacity * self.usual / 16;
        let stride = (self.window.rest(&self.bits) / LANES).min(most);
        if stride >= STRIDE_LEAST && self.misses < MISSES_MOST {
            self.advance::<LANES, K>(kernels, stride);
        } else {
            self.advance::<1, K>(kernels, 0);
        }
        Ok(())
    }

    /// Passes the restart marker that must stand here.
    #[cold]
    fn pass_restart(&mut self) -> Result<(), Flaw> {
        if self.window.end(&mut self.bits) != Some(End::Marker(0xd0 + self.next_restart)) {
            return Err(Flaw::Damaged("a restart marker is not where it belongs"));
        }
        self.window.resume(&mut self.bits);
        self.predictions = [0; 3];
        self.until_restart = self.restart.min(self.left);
        self.next_restart = (self.next_restart + 1) % 8;
        Ok(())
    }

    /// Reads with `N` lanes, `stride` bytes apart.
    #[inline(always)]
    fn advance<const N: usize, K: Kernels>(&mut self, kernels: K, stride: usize) {
        let Self { layout, tables, window, trails, .. } = self;
        let most = self.capacity.min(self.until_restart);
        let (Some(trails), Some(blocks)) =
            (trails.first_chunk_mut::<N>(), self.blocks.first_chunk_mut::<N>())
        else {
            return;
        };
        let first = self.bits.byte();
        let mut bits = [self.bits; N];
        for (lane, bits) in bits.iter_mut().enumerate().skip(1) {
            *bits = Bits::new(window.bytes(), (first + lane * stride) * 8);
        }
        let mut count = 0;
        // MCUs of the lanes that have come to the end of the window; they stay there.
        let mut stops = [usize::MAX; N];
        // The lane that the first one's way leads to, where in its trail it goes on, and the next place to meet the lane after it.
        let (mut tip, mut from, mut cursor) = (0, 0, 0);
        self.spans = [const { 0..0 }; LANES];
        loop {
            for ((trail, bits), stop) in trails.iter_mut().zip(&bits).zip(&mut stops) {
                trail.starts[count] = bits.position() as u32;
                if !window.holds(bits) {
                    *stop = count.min(*stop);
                }
            }
            while let [trail, next, ..] = &trails[tip..] {
                let position = trail.starts[count];
                let known = &next.starts[..=count.min(stops[tip + 1])];
                cursor += known[cursor..].iter().take_while(|start| **start < position).count();
                if known.get(cursor) != Some(&position) {
                    cursor = cursor.min(known.len() - 1);
                    break;
                }
                self.spans[tip] = from..count.min(stops[tip]);
                (tip, from, cursor) = (tip + 1, cursor, 0);
            }
            if N > 1 && tip == N - 1 || stops[tip] <= count || count == most {
                break;
            }
            if let Some(bytes) = window.ahead(count) {
                kernels.prefetch(bytes);
            }
            let before = bits;
            mcu(layout, tables, window.bytes(), &mut bits, trails, blocks, count);
            for (lane, bits) in bits.iter_mut().enumerate() {
                if stops[lane] <= count {
                    *bits = before[lane];
                }
            }
            count += 1;
        }
        self.spans[tip] = from..count.min(stops[tip]);
        if N > 1 {
            let missed = tip == 0 && bits[0].byte() > first + stride;
            self.misses = if missed { self.misses + 1 } else { 0 };
        }
        self.accept();
    }

    /// Keeps of the spans what belongs to the restart interval and does not go beyond the data; goes on behind it.
    fn accept(&mut self) {
        let limit = self.window.limit();
        let start = self.bits.position();
        let mut position = start;
        let mut total = 0;
        let mut is_whole = true;
        for (span, trail) in self.spans.iter_mut().zip(&self.trails) {
            let ends = &trail.starts[span.start..=span.end][1..];
            let sound = ends.partition_point(|end| *end as usize <= limit);
            let kept = if is_whole { sound.min(self.until_restart - total) } else { 0 };
            is_whole &= kept == span.len();
            span.end = span.start + kept;
            total += kept;
            if kept > 0 {
                position = trail.starts[span.end] as usize;
            }
        }
        self.bits = Bits::new(self.window.bytes(), position);
        self.left -= total;
        self.until_restart -= total;
        self.usual = (position - start).checked_div(total).unwrap_or(self.usual);
        self.predict();
    }

    /// Adds up the differences of DC coefficients. Apart from the transform, which would have to wait for each of these stores.
    fn predict(&mut self) {
        for (span, lane) in self.spans.iter().zip(&mut self.blocks) {
            let blocks = &mut lane[span.start * self.layout.coefficients..];
            let mut place = 0;
            for _ in span.clone() {
                for (plane, prediction) in self.layout.planes.iter().zip(&mut self.predictions) {
                    for _ in 0..plane.blocks.0 * plane.blocks.1 {
                        *prediction = prediction.wrapping_add(blocks[place]);
                        blocks[place] = *prediction;
                        place += plane.order.size();
                    }
                }
            }
        }
    }
}

/// Reads an MCU in each lane, the `count`-th of its trail.
#[inline(always)]
fn mcu<const N: usize>(
    layout: &Layout,
    tables: &[Tables<'_>],
    bytes: &Bytes,
    bits: &mut [Bits; N],
    trails: &mut [Trail; N],
    blocks: &mut [Blocks; N],
    count: usize,
) {
    let (mut block, mut place) = (count * layout.blocks, count * layout.coefficients);
    for (plane, tables) in layout.planes.iter().zip(tables) {
        for _ in 0..plane.blocks.0 * plane.blocks.1 {
            let rooms = blocks
                .each_mut()
                .map(|lane| lane[place..].first_chunk_mut().expect("there is room behind the last block"));
            let extents = entropy::blocks(bits, bytes, *tables, &plane.order, rooms);
            for (trail, extent) in trails.iter_mut().zip(extents) {
                trail.extents[block] = extent;
            }
            block += 1;
            place += plane.order.size();
        }
    }
}

#[cfg(test)]
mod tests;
