//! What a scale makes of a frame: the size of the picture, and for every component the size of its blocks and what is left to upsample.
//!
//! Owns the geometry, all of it from the header. Calls nothing but the transform's layout.

use super::{
    Flaw,
    entropy::{Order, SMALL, WHOLE},
    frame::{Component, Frame},
    transform::{self, MEANS, Steps},
};

/// Zigzag order (T.81 figure 5): row × 8 + column of each index.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Bytes that the transform may write past the samples of a row.
const SLACK: usize = 8;

/// One component at the chosen scale.
pub(super) struct Plane {
    /// Blocks per MCU, across and down.
    pub(super) blocks: (usize, usize),
    /// Samples per block, across and down.
    pub(super) samples: (usize, usize),
    /// Lengths of the transform that gives them.
    pub(super) lengths: (usize, usize),
    /// How many output pixels one sample stands for, across and down.
    pub(super) factor: (usize, usize),
    /// Samples that the picture has, across and down; blocks may hold more.
    pub(super) size: (usize, usize),
    /// Distance between rows of samples.
    pub(super) stride: usize,
    pub(super) order: Order,
    pub(super) steps: Steps,
    pub(super) dc: usize,
    pub(super) ac: usize,
}

/// The frame at the chosen scale.
pub(super) struct Layout {
    /// Size of the picture.
    pub(super) width: usize,
    pub(super) height: usize,
    /// MCUs, across and down.
    pub(super) mcus: (usize, usize),
    /// Rows of the picture per row of MCUs.
    pub(super) rows: usize,
    /// Blocks of an MCU, and places of their coefficients.
    pub(super) blocks: usize,
    pub(super) coefficients: usize,
    pub(super) planes: Vec<Plane>,
}

impl Layout {
    /// `skips`: whether the tables can pass over unneeded coefficients.
    pub(super) fn new(frame: &Frame, eighths: usize, skips: bool) -> Result<Self, Flaw> {
        // The first component has the highest resolution: `frame` sees to it.
        let (across, down) = frame.components[0].blocks;
        let mcus = (frame.width.div_ceil(across * 8), frame.height.div_ceil(down * 8));
        let mut planes = Vec::new();
        for component in &frame.components {
            let whole = (across / component.blocks.0, down / component.blocks.1);
            planes.push(plane(frame, component, whole, eighths, mcus.0, skips)?);
        }
        if (5..8).contains(&eighths) && planes.iter().any(|plane| plane.factor != (1, 1)) {
            // A block cannot have the ten to fourteen samples a side that would keep all of its chroma.
            return Err(Flaw::Unusual("five to seven eighths of subsampled chroma"));
        }
        let blocks = || frame.components.iter().map(|component| component.blocks.0 * component.blocks.1);
        Ok(Self {
            width: (frame.width * eighths).div_ceil(8),
            height: (frame.height * eighths).div_ceil(8),
            mcus,
            rows: down * eighths,
            blocks: blocks().sum(),
            coefficients: planes
                .iter()
                .zip(blocks())
                .map(|(plane, blocks)| plane.order.size() * blocks)
                .sum(),
            planes,
        })
    }
}

/// `whole`: how many times as many samples the first component has, across and down.
fn plane(
    frame: &Frame,
    component: &Component,
    whole: (usize, usize),
    eighths: usize,
    mcus: usize,
    skips: bool,
) -> Result<Plane, Flaw> {
    let samples = samples(whole, eighths);
    let length = |samples: usize| if eighths == 1 && samples == 2 { MEANS } else { samples };
    let lengths = (length(samples.0), length(samples.1));
    let factor = (whole.0 * eighths / samples.0, whole.1 * eighths / samples.1);
    let zigzag = frame.quantization.get(component.quantization).and_then(Option::as_ref);
    let zigzag = zigzag.ok_or(Flaw::Damaged("a quantization table is missing"))?;
    let mut steps = [0; 64];
    for (place, step) in ZIGZAG.iter().zip(zigzag) {
        steps[transform::place(usize::from(place / 8), usize::from(place % 8))] = *step as i16;
    }
    let kept = (transform::coefficients(lengths.0), transform::coefficients(lengths.1));
    let size = if transform::is_packed(lengths.1, lengths.0) { SMALL } else { WHOLE };
    let order = Order::new(skips, size, |index| {
        let (row, column) = (usize::from(ZIGZAG[index] / 8), usize::from(ZIGZAG[index] % 8));
        let place = transform::place(row, column);
        let place = if size == SMALL { transform::packed(place) } else { place };
        (row < kept.1 && column < kept.0).then_some(place as u8)
    });
    let extent = |full: usize, whole: usize, samples: usize| (full * samples).div_ceil(whole * 8);
    Ok(Plane {
        blocks: component.blocks,
        samples,
        lengths,
        factor,
        size: (extent(frame.width, whole.0, samples.0), extent(frame.height, whole.1, samples.1)),
        stride: mcus * component.blocks.0 * samples.0 + SLACK,
        order,
        steps,
        dc: component.dc,
        ac: component.ac,
    })
}

/// Samples per block: as many as the output has pixels there, so that no upsampling is left, within the 8 × 8 that a block knows and a
/// shape at most twice as long as wide.
fn samples(whole: (usize, usize), eighths: usize) -> (usize, usize) {
    let longest = |whole: usize| {
        let mut side = eighths;
        while side * 2 <= 8 && side * 2 <= whole * eighths {
            side *= 2;
        }
        side
    };
    let (across, down) = (longest(whole.0), longest(whole.1));
    (across.min(down * 2), down.min(across * 2))
}
