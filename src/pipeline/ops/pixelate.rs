//! `pixelate`: coarse blocks instead of pixels.
//!
//! ```json
//! {"op": "pixelate", "size": 24, "regions": [{"left": "40%", "top": "10%", "width": "20%", "height": "30%"}]}
//! ```
//!
//! Every block of `size` × `size` pixels takes its mean, weighed by alpha; blocks start at the region's top left corner. What is left over at the
//! right and lower edge, too little for a block, belongs to the block before it: a strip one pixel wide would have itself for its mean. The
//! original pixels are gone from the result: nothing of a block but its mean is left, and none is smaller than `size` where the region is not.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{About, Op, OpError, Step, param};
use crate::pipeline::{
    Control, Interrupt, Kind,
    image::{Image, Shape},
    region::{self, Rectangle, Region},
};

/// Pixels between two looks at [`Control::check`]: less than 10 ms.
const PIXELS_PER_CHECK: usize = 1 << 21;

/// Makes blocks of one colour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pixelate {
    /// Side of a block in pixels.
    #[serde(default = "ten")]
    pub size: u32,
    /// Where; left out, the whole image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<Region>>,
}

const fn ten() -> u32 {
    10
}

pub(super) const ABOUT: About = About {
    name: "pixelate",
    summary: "Replaces blocks of pixels by their mean, in the whole image or in regions; what was there can't be brought back.",
    params: &[
        param("size", Kind::Integer { min: 2, max: 512 }, Some("10"), "Side of a block in pixels; the last ones are larger by what is left over at the right and lower edge."),
        param("regions", Kind::Regions, None, "Rectangles to pixelate; the whole image if left out."),
    ],
    required: &[],
    example: r#"{"op": "pixelate", "size": 24, "regions": [{"left": "40%", "top": "10%", "width": "20%", "height": "30%"}]}"#,
};

impl Pixelate {
    fn region<const N: usize>(&self, image: &mut Image, part: Rectangle, control: &dyn Control) -> Result<(), Interrupt> {
        let across = image.size().width as usize;
        let pixels = image.pixels_mut().as_chunks_mut::<N>().0;
        let (left, width) = (part.left as usize, part.size.width as usize);
        let rows = &mut pixels[part.top as usize * across..(part.top + part.size.height) as usize * across];
        let side = self.size as usize;
        let columns: Vec<Range<usize>> = blocks(width, side).collect();
        let mut means = vec![[0u8; N]; columns.len()];
        let mut sums = vec![[0u64; N]; columns.len()];
        let bands_per_check = (PIXELS_PER_CHECK / (width * side)).max(1);
        for (index, lines) in blocks(part.size.height as usize, side).enumerate() {
            if index % bands_per_check == 0 {
                control.check()?;
            }
            sums.fill([0; N]);
            let band = &mut rows[lines.start * across..lines.end * across];
            for row in band.chunks(across) {
                for (sum, column) in sums.iter_mut().zip(&columns) {
                    add(sum, &row[left + column.start..left + column.end]);
                }
            }
            for ((mean, sum), column) in means.iter_mut().zip(&sums).zip(&columns) {
                *mean = divide(sum, (column.len() * lines.len()) as u64);
            }
            for row in band.chunks_mut(across) {
                for (mean, column) in means.iter().zip(&columns) {
                    row[left + column.start..left + column.end].fill(*mean);
                }
            }
        }
        Ok(())
    }
}

/// Where blocks begin and end along a side: all are `side` long but the last, which takes what is left over; one that is shorter stands alone.
fn blocks(length: usize, side: usize) -> impl Iterator<Item = Range<usize>> {
    let count = (length / side).max(1);
    (0..count).map(move |block| block * side..if block + 1 == count { length } else { (block + 1) * side })
}

/// Adds the pixels of a row of a block; colours weighed by alpha, if there is one.
fn add<const N: usize>(sum: &mut [u64; N], block: &[[u8; N]]) {
    for pixel in block {
        for channel in 0..N {
            let weight = if N == 4 && channel < 3 { u64::from(pixel[3]) } else { 1 };
            sum[channel] += u64::from(pixel[channel]) * weight;
        }
    }
}

/// The mean, rounded to nearest; black where all is transparent.
fn divide<const N: usize>(sum: &[u64; N], count: u64) -> [u8; N] {
    std::array::from_fn(|channel| {
        let weights = if N == 4 && channel < 3 { sum[3].max(1) } else { count };
        ((sum[channel] + weights / 2) / weights) as u8
    })
}

impl Op for Pixelate {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        region::rectangles(self.regions.as_deref(), shape.size)?;
        Ok(Step::to(shape))
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        let mut image = image.upright();
        for part in region::rectangles(self.regions.as_deref(), image.size())? {
            match image.layout().channels() {
                1 => self.region::<1>(&mut image, part, control)?,
                3 => self.region::<3>(&mut image, part, control)?,
                _ => self.region::<4>(&mut image, part, control)?,
            }
        }
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Unattended, image::{Layout, Size}};
    use super::*;
    use serde_json::json;

    fn run(operation: serde_json::Value, image: Image) -> Vec<u8> {
        let operation: Pixelate = serde_json::from_value(operation).unwrap();
        operation.apply(image, &Unattended).unwrap().into_pixels()
    }

    fn numbered() -> Image {
        Image::new(Size::new(5, 3), Layout::Grey, (0..15).map(|value| value * 10).collect())
    }

    #[test]
    fn blocks_take_their_mean_and_the_last_what_is_left_over() {
        let out = run(json!({"size": 2}), numbered());
        // Columns 0..2 and 2..5; all three rows, which are too few for two blocks.
        assert_eq!(out, [55, 55, 80, 80, 80].repeat(3));
        assert_eq!(run(json!({"size": 9}), numbered()), [70; 15], "what is smaller than a block is one");
    }

    #[test]
    fn the_grid_starts_at_the_region_and_the_rest_stays() {
        let out = run(json!({"size": 2, "regions": [{"left": 1, "top": 1, "width": 4, "height": 2}]}), numbered());
        assert_eq!(out, [0, 10, 20, 30, 40, 50, 90, 90, 110, 110, 100, 90, 90, 110, 110]);
    }

    #[test]
    fn nothing_of_the_original_is_left_in_a_block() {
        // Two pictures with equal block means become one and the same.
        let mut first = numbered();
        let mut second = numbered();
        first.pixels_mut()[..2].copy_from_slice(&[0, 10]);
        second.pixels_mut()[..2].copy_from_slice(&[10, 0]);
        assert_eq!(run(json!({"size": 3}), first), run(json!({"size": 3}), second));
    }

    #[test]
    fn hidden_colours_do_not_leak_and_big_blocks_do_not_overflow() {
        let image = Image::new(Size::new(2, 1), Layout::Rgba, vec![200, 0, 0, 255, 0, 255, 0, 0]);
        assert_eq!(run(json!({"size": 2}), image), [200, 0, 0, 128, 200, 0, 0, 128]);
        let white = Image::filled(Size::new(512, 512), Layout::Rgba, [255, 254, 3, 255]);
        assert_eq!(run(json!({"size": 512}), white)[..4], [255, 254, 3, 255]);
        let faint = Image::filled(Size::new(512, 512), Layout::Rgba, [255, 254, 3, 40]);
        assert_eq!(run(json!({"size": 512}), faint)[..4], [255, 254, 3, 40]);
    }

    #[test]
    fn a_region_outside_is_refused() {
        let operation: Pixelate =
            serde_json::from_value(json!({"regions": [{"left": 90, "top": 0, "width": 20, "height": 5}]})).unwrap();
        let shape = Shape { size: Size::new(100, 100), layout: Layout::Rgb };
        assert!(matches!(operation.plan(shape), Err(OpError::Parameter { field: "regions", .. })));
    }
}
