//! `normalize`: stretches light and dark to the full range.
//!
//! ```json
//! {"op": "normalize"}
//! ```
//!
//! The luma (Rec. 601) that 1 % of the pixels reach or stay below becomes 0, that of 99 % becomes 255, in between it is stretched evenly. As in
//! sharp, which does this to the lightness of CIE L*a*b*, chroma is kept: every colour sample moves by as much as its pixel's luma does.
//! Fully transparent pixels do not count. An image whose two levels are no more than 1 apart has nothing to stretch and stays as it is.

use serde::{Deserialize, Serialize};

use super::{About, Op, OpError, Operation, Step};
use crate::pipeline::{
    Control, Interrupt,
    color::luma,
    image::{Image, Layout, Shape},
    pointwise,
};

/// Pixels between two looks at [`Control::check`] while they are counted: less than 10 ms.
const PIXELS_PER_CHECK: usize = 1 << 21;

/// Pixels that are shifted together.
const BLOCK: usize = 64;

/// Share of the pixels that is cut off at either end.
const CUT: f64 = 0.01;

/// Stretches luma.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Normalize {
    /// Darkest and lightest luma, when they were measured on an earlier frame. Never part of a spec.
    #[serde(skip)]
    levels: Option<[u8; 2]>,
}

pub(super) const ABOUT: About = About {
    name: "normalize",
    summary: "Stretches luma between its 1st and 99th percentile to the full range; chroma and alpha are kept.",
    params: &[],
    required: &[],
    example: r#"{"op": "normalize"}"#,
};

/// Pixels that count, by luma.
fn histogram(image: &Image, control: &dyn Control) -> Result<[u64; 256], Interrupt> {
    let mut counts = [0u64; 256];
    let layout = image.layout();
    for chunk in image.pixels().chunks(PIXELS_PER_CHECK * layout.channels()) {
        control.check()?;
        match layout {
            Layout::Grey => chunk.iter().for_each(|grey| counts[usize::from(*grey)] += 1),
            Layout::Rgb => {
                for [r, g, b] in chunk.as_chunks::<3>().0 {
                    counts[usize::from(luma(*r, *g, *b))] += 1;
                }
            }
            Layout::Rgba => {
                for [r, g, b, alpha] in chunk.as_chunks::<4>().0 {
                    counts[usize::from(luma(*r, *g, *b))] += u64::from(*alpha > 0);
                }
            }
        }
    }
    Ok(counts)
}

/// The smallest luma that at least this share of the pixels reach or stay below.
fn percentile(counts: &[u64; 256], share: f64) -> u8 {
    let wanted = (counts.iter().sum::<u64>() as f64 * share).ceil().max(1.0) as u64;
    let mut seen = 0;
    let reaches = |count: &u64| {
        seen += count;
        seen >= wanted
    };
    counts.iter().position(reaches).unwrap_or(0) as u8
}

impl Normalize {
    fn levels(&self, image: &Image, control: &dyn Control) -> Result<[u8; 2], Interrupt> {
        if let Some(levels) = self.levels {
            return Ok(levels);
        }
        let counts = histogram(image, control)?;
        Ok([percentile(&counts, CUT), percentile(&counts, 1.0 - CUT)])
    }
}

/// By how much each luma moves.
fn shifts([low, high]: [u8; 2]) -> [i16; 256] {
    let (from, range) = (f64::from(low), f64::from(high) - f64::from(low));
    std::array::from_fn(|luma| {
        let stretched = ((luma as f64 - from) * 255.0 / range).clamp(0.0, 255.0);
        stretched.round() as i16 - luma as i16
    })
}

fn shift(sample: u8, by: i16) -> u8 {
    (i16::from(sample) + by).clamp(0, 255) as u8
}

/// Shifts the colours of pixels of `N` channels: first by how much each sample moves, then all samples at once.
fn shift_colors<const N: usize>(chunk: &mut [u8], shifts: &[i16; 256]) {
    let mut by = [[0i16; N]; BLOCK];
    for block in chunk.as_chunks_mut::<N>().0.chunks_mut(BLOCK) {
        for (by, pixel) in by.iter_mut().zip(block.iter()) {
            let shift = shifts[usize::from(luma(pixel[0], pixel[1], pixel[2]))];
            by[..3].fill(shift);
        }
        let (samples, by) = (block.as_flattened_mut(), by.as_flattened());
        samples.iter_mut().zip(by).for_each(|(sample, by)| *sample = shift(*sample, *by));
    }
}

// A reduced copy of line art or of a halftone has greys where the picture has black and white, and thereby other percentiles: the full detail
// counts, hence the default of `detail`.
impl Op for Normalize {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        Ok(Step::to(shape))
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        let mut image = image.upright();
        let levels = self.levels(&image, control)?;
        if levels[1].saturating_sub(levels[0]) <= 1 {
            return Ok(image);
        }
        let shifts = shifts(levels);
        let layout = image.layout();
        pointwise::in_chunks(&mut image, control, |chunk| match layout {
            Layout::Grey => {
                chunk.iter_mut().for_each(|grey| *grey = shift(*grey, shifts[usize::from(*grey)]));
            }
            Layout::Rgb => shift_colors::<3>(chunk, &shifts),
            Layout::Rgba => shift_colors::<4>(chunk, &shifts),
        })?;
        Ok(image)
    }

    fn settled(&self, first: &Image, control: &dyn Control) -> Result<Option<Operation>, OpError> {
        let levels = Some(self.levels(first, control)?);
        Ok(Some(Operation::Normalize(Normalize { levels })))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Unattended, image::Size};
    use super::*;

    fn grey(pixels: Vec<u8>) -> Image {
        Image::new(Size::new(pixels.len() as u32, 1), Layout::Grey, pixels)
    }

    fn run(image: Image) -> Vec<u8> {
        Normalize::default().apply(image, &Unattended).unwrap().into_pixels()
    }

    #[test]
    fn a_hundredth_at_either_end_is_cut() {
        // One black and one white outlier among 200 pixels from 50 to 149.
        let mut pixels: Vec<u8> = (0..198).map(|index| 50 + (index / 2) as u8).collect();
        pixels.extend([0, 255]);
        let out = run(grey(pixels));
        assert_eq!((out[198], out[199]), (0, 255));
        assert_eq!((out[0], out[197]), (0, 255), "the ends of the rest are stretched to the full range");
        assert!(out[98].abs_diff(127) <= 2, "{}", out[98]);
    }

    #[test]
    fn chroma_is_kept() {
        let mut pixels = [[100, 80, 60]; 100].concat();
        pixels.extend([[140, 120, 100]; 100].concat());
        let out = run(Image::new(Size::new(200, 1), Layout::Rgb, pixels));
        let [red, green, blue] = [out[0], out[1], out[2]].map(i32::from);
        // Luma 83.7 becomes 0: the blue and some green are cut off, the order of the channels stays.
        assert_eq!((red, green, blue), (16, 0, 0));
        assert_eq!(out[300..303], [255, 251, 231]);
    }

    #[test]
    fn flat_images_and_hidden_colours_do_not_count() {
        assert_eq!(run(grey(vec![7, 8, 7, 8])), [7, 8, 7, 8]);
        let mut pixels = [[100, 100, 100, 255], [120, 120, 120, 255]].concat().repeat(50);
        pixels.extend([[255, 255, 255, 0]; 50].concat());
        let out = run(Image::new(Size::new(150, 1), Layout::Rgba, pixels));
        assert_eq!(out[..8], [0, 0, 0, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn settles_on_the_levels_of_the_first_frame() {
        let first = grey(vec![50, 100]);
        let settled = Normalize::default().settled(&first, &Unattended).unwrap().unwrap();
        let out = settled.op().apply(grey(vec![75, 200]), &Unattended).unwrap();
        assert_eq!(out.pixels(), [128, 255]);
        assert_eq!(serde_json::to_string(&settled).unwrap(), r#"{"op":"normalize"}"#);
    }
}
