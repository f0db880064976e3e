//! `sharpen`: an unsharp mask.
//!
//! ```json
//! {"op": "sharpen", "sigma": 1, "amount": 1.5}
//! ```
//!
//! Every colour sample `v` becomes `v + amount · (v − b)`, where `b` is the sample of the image blurred by a Gaussian of `sigma` pixels (colours
//! weighed by alpha). Alpha stays.

use serde::{Deserialize, Serialize};

use super::{About, Op, OpError, Step, param};
use crate::pipeline::{
    Control, Kind,
    gaussian::{self, Rows, gaussian},
    image::{Image, Shape, Size},
    patch::{Patch, rounded},
    region::Rectangle,
};

/// Sharpens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sharpen {
    /// Standard deviation of the mask in pixels.
    pub sigma: f64,
    /// How much of the difference from the blurred image is added.
    pub amount: f64,
}

impl Default for Sharpen {
    fn default() -> Sharpen {
        Sharpen { sigma: 1.0, amount: 1.0 }
    }
}

pub(super) const ABOUT: About = About {
    name: "sharpen",
    summary: "Sharpens by an unsharp mask: adds what a Gaussian blur would take away.",
    params: &[
        param("sigma", Kind::Number { min: 0.1, max: 10.0 }, Some("1"), "Standard deviation of the mask in pixels: the width of what is sharpened."),
        param("amount", Kind::Number { min: 0.0, max: 10.0 }, Some("1"), "How much of the difference from the blurred image is added."),
    ],
    required: &[],
    example: r#"{"op": "sharpen", "sigma": 1, "amount": 1.5}"#,
};

/// Rows that take the blurred image and keep the difference from it, amplified.
struct Mask<'a> {
    patch: Patch<'a>,
    amount: f32,
}

impl Rows for Mask<'_> {
    fn width(&self) -> usize {
        self.patch.dimensions().0
    }
    fn height(&self) -> usize {
        self.patch.dimensions().1
    }
    fn channels(&self) -> usize {
        self.patch.dimensions().2
    }
    fn read(&self, row: usize, samples: &mut [f32]) {
        self.patch.read(row, samples);
    }
    fn write(&mut self, row: usize, samples: &[f32]) {
        let (alpha, amount) = (self.patch.has_alpha(), self.amount);
        let sharper = |byte: u8, blurred: f32| {
            let value = f32::from(byte);
            rounded(value + amount * (value - blurred))
        };
        let bytes = self.patch.row_mut(row);
        if !alpha {
            bytes.iter_mut().zip(samples).for_each(|(byte, blurred)| *byte = sharper(*byte, *blurred));
            return;
        }
        for (pixel, blurred) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(samples.as_chunks::<4>().0) {
            // A transparent pixel has no colour to sharpen; an opaque neighbour's blur has alpha here.
            if pixel[3] == 0 || blurred[3] <= 0.0 {
                continue;
            }
            let share = 255.0 / blurred[3];
            for channel in 0..3 {
                pixel[channel] = sharper(pixel[channel], blurred[channel] * share);
            }
        }
    }
}

impl Op for Sharpen {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        Ok(Step::to(shape))
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        let mut image = image.upright();
        let whole = Rectangle { left: 0, top: 0, size: image.size() };
        let mut mask = Mask { patch: Patch::of(&mut image, whole), amount: self.amount as f32 };
        gaussian(&mut mask, self.sigma, control)?;
        Ok(image)
    }

    fn working_bytes(&self, shape: Shape, _: Size) -> u64 {
        let Size { width, height } = shape.size;
        gaussian::working_bytes(width.into(), height.into(), shape.layout.channels() as u64, self.sigma)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Unattended, image::Layout};
    use super::*;

    fn run(sigma: f64, amount: f64, image: Image) -> Image {
        Sharpen { sigma, amount }.apply(image, &Unattended).unwrap()
    }

    fn edge(layout: Layout) -> Image {
        let mut image = Image::filled(Size::new(40, 3), layout, [100, 100, 100, 255]);
        image.paste(&Image::filled(Size::new(20, 3), layout, [150, 150, 150, 255]), 20, 0);
        image
    }

    #[test]
    fn an_edge_overshoots_by_the_amount() {
        for (sigma, inward) in [(1.0, 10), (8.0, 1)] {
            // Beside the edge the blurred image is half a pixel's step from the middle: 125 ± 25 · erf(½ ÷ (σ √2)).
            let out = run(sigma, 1.0, edge(Layout::Grey));
            let (dark, light) = (out.pixels()[19], out.pixels()[20]);
            assert!(dark.abs_diff(75 + inward) <= 1, "{sigma}: {dark}");
            assert!(light.abs_diff(175 - inward) <= 1, "{sigma}: {light}");
        }
        let out = run(1.0, 1.0, edge(Layout::Grey));
        assert_eq!((out.pixels()[0], out.pixels()[39]), (100, 150), "far from the edge nothing changes");
    }

    #[test]
    fn no_amount_and_flat_ground_change_nothing() {
        for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
            let image = edge(layout);
            assert_eq!(run(2.0, 0.0, image.clone()).pixels(), image.pixels());
            let flat = Image::filled(Size::new(30, 30), layout, [9, 200, 30, 128]);
            assert_eq!(run(9.0, 10.0, flat.clone()).pixels(), flat.pixels());
        }
    }

    #[test]
    fn hidden_colours_do_not_count_and_alpha_stays() {
        let pixels = [[100, 100, 100, 255], [0, 255, 0, 0], [100, 100, 100, 128]].concat();
        let image = Image::new(Size::new(3, 1), Layout::Rgba, pixels.clone());
        assert_eq!(run(1.0, 5.0, image).pixels(), pixels);
    }
}
