//! `tint`: one colour instead of all, light and dark kept.
//!
//! ```json
//! {"op": "tint", "color": "#7a4e1d"}
//! ```
//!
//! As sharp and libvips do it: a pixel's luma, taken as a grey, gives its CIE lightness L*; a* and b* are those of the colour, weighed by
//! `1 − 4 (L*/100 − ½)²`, so that black and white stay what they are and middle tones take the full chroma. Alpha stays.

use serde::{Deserialize, Serialize};

use super::{About, Op, OpError, Step, param};
use crate::pipeline::{
    Control, Kind,
    color::{self, Rgba, encoded, linear},
    image::{Image, Layout, Shape},
    pointwise,
};

/// Gives an image the chroma of one colour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tint {
    /// Its chroma is taken; its lightness and its alpha do not count.
    #[serde(with = "color::text")]
    pub color: Rgba,
}

pub(super) const ABOUT: About = About {
    name: "tint",
    summary: "Keeps light and dark and takes the chroma of one colour.",
    params: &[param("color", Kind::Color, None, "Colour whose chroma is taken; required.")],
    required: &["color"],
    example: r##"{"op": "tint", "color": "#7a4e1d"}"##,
};

/// CIE XYZ of the white of sRGB (D65, 2° observer), as IEC 61966-2-1's matrix gives it.
const WHITE: [f64; 3] = [0.950_47, 1.0, 1.088_83];

/// Where the CIE function of lightness turns from a cube root into a line.
const KNEE: f64 = 6.0 / 29.0;

/// sRGB 0..255 to CIE L*a*b*.
fn lab(rgb: [u8; 3]) -> [f64; 3] {
    let [r, g, b] = rgb.map(|sample| linear(f64::from(sample) / 255.0));
    let xyz = [
        0.412_456_4 * r + 0.357_576_1 * g + 0.180_437_5 * b,
        0.212_672_9 * r + 0.715_152_2 * g + 0.072_175_0 * b,
        0.019_333_9 * r + 0.119_192_0 * g + 0.950_304_1 * b,
    ];
    let bend = |share: f64| {
        if share > KNEE.powi(3) { share.cbrt() } else { share / (3.0 * KNEE * KNEE) + 4.0 / 29.0 }
    };
    let [x, y, z] = std::array::from_fn(|axis| bend(xyz[axis] / WHITE[axis]));
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// CIE L*a*b* to sRGB 0..255, cut to what sRGB can show.
fn srgb([lightness, a, b]: [f64; 3]) -> [u8; 3] {
    let y = (lightness + 16.0) / 116.0;
    let straighten = |bent: f64| {
        if bent > KNEE { bent.powi(3) } else { 3.0 * KNEE * KNEE * (bent - 4.0 / 29.0) }
    };
    let [x, y, z] = [y + a / 500.0, y, y - b / 200.0].map(straighten);
    let [x, y, z] = [x * WHITE[0], y * WHITE[1], z * WHITE[2]];
    let light = [
        3.240_454_2 * x - 1.537_138_5 * y - 0.498_531_4 * z,
        -0.969_266_0 * x + 1.876_010_8 * y + 0.041_556_0 * z,
        0.055_643_4 * x - 0.204_025_9 * y + 1.057_225_2 * z,
    ];
    light.map(|light| (encoded(light.clamp(0.0, 1.0)) * 255.0).round() as u8)
}

impl Tint {
    /// The colour that every luma becomes.
    fn table(&self) -> [[u8; 3]; 256] {
        let [red, green, blue, _] = self.color;
        let [_, a, b] = lab([red, green, blue]);
        std::array::from_fn(|luma| {
            let [lightness, ..] = lab([luma as u8; 3]);
            let weight = 1.0 - 4.0 * (lightness / 100.0 - 0.5).powi(2);
            srgb([lightness, a * weight, b * weight])
        })
    }
}

// Middle tones take more chroma than light and dark ones, so that the order with a reduction counts, hence the default of `detail`.
impl Op for Tint {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        Ok(Step::to(Shape { layout: shape.layout.max(Layout::Rgb), ..shape }))
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        Ok(pointwise::color_by_luma(image.upright(), &self.table(), control)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Unattended, image::Size};
    use super::*;

    #[test]
    fn lab_is_the_one_of_the_books() {
        // Bruce Lindbloom's calculator, sRGB, D65.
        let near = |rgb, expected: [f64; 3]| {
            let got = lab(rgb);
            assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.02), "{rgb:?}: {got:?}");
        };
        near([255, 0, 0], [53.24, 80.09, 67.20]);
        near([0, 0, 255], [32.30, 79.19, -107.86]);
        near([128, 128, 128], [53.585, 0.0, 0.0]);
        for rgb in [[0, 0, 0], [255, 255, 255], [12, 200, 99], [255, 0, 255]] {
            assert_eq!(srgb(lab(rgb)), rgb);
        }
    }

    #[test]
    fn black_and_white_stay_and_lightness_is_kept() {
        let table = Tint { color: [200, 100, 30, 255] }.table();
        assert_eq!((table[0], table[255]), ([0; 3], [255; 3]));
        for luma in [64u8, 128, 190] {
            let got = lab(table[usize::from(luma)]);
            let [lightness, ..] = lab([luma; 3]);
            assert!((got[0] - lightness).abs() < 0.6, "{luma}: {got:?}");
            assert!(got[1] > 10.0 && got[2] > 20.0, "{luma}: {got:?}");
        }
    }

    #[test]
    fn grey_becomes_coloured_and_a_grey_tint_is_greyscale() {
        let grey = Image::new(Size::new(1, 1), Layout::Grey, vec![128]);
        let out = Tint { color: [255, 0, 0, 255] }.apply(grey, &Unattended).unwrap();
        assert_eq!(out.layout(), Layout::Rgb);
        let colored = Image::new(Size::new(1, 1), Layout::Rgb, vec![0, 255, 0]);
        let out = Tint { color: [9, 9, 9, 255] }.apply(colored, &Unattended).unwrap();
        assert_eq!(out.pixels(), [150; 3]);
    }
}
