//! `adjust`: brightness, contrast, saturation, hue and gamma.
//!
//! ```json
//! {"op": "adjust", "brightness": 1.1, "saturation": 1.3, "hue": -15}
//! ```
//!
//! Runs, in this order and on gamma-encoded values 0..1, what the CSS filter functions of these names do (Filter Effects Module Level 1, §8),
//! then the gamma; every step's result is cut to 0..1 as in a browser, and only the last is rounded to 8 bits:
//!
//! 1. `brightness` b: `v · b`.
//! 2. `contrast` c: `(v − 0.5) · c + 0.5`.
//! 3. `saturation` s: the matrix of `saturate(s)`, `v · s + L · (1 − s)` with `L = 0.213 R + 0.715 G + 0.072 B` (in CSS's rounded coefficients).
//! 4. `hue` in degrees: the matrix of `hue-rotate()`, which turns colours around the grey axis and keeps `L`.
//! 5. `gamma` g: `v^(1/g)`; above 1 lightens the middle, as in ImageMagick's `-gamma`.
//!
//! Alpha stays.

use serde::{Deserialize, Serialize};

use super::{About, Detail, Op, OpError, Step, param};
use crate::pipeline::{
    Control, Kind,
    image::{Image, Layout, Shape},
    pointwise::{self, Matrix},
};

/// Steps of the table that applies the gamma to values between whole ones; its error is below half a level except for the darkest 1/500.
const GAMMA_STEPS: usize = 1 << 14;

/// Changes tones and colours. The defaults change nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adjust {
    /// Factor on every sample.
    pub brightness: f64,
    /// Factor on the distance from the middle grey.
    pub contrast: f64,
    /// Factor on the distance from the pixel's own grey.
    pub saturation: f64,
    /// Degrees around the colour wheel.
    pub hue: f64,
    /// Exponent `1/gamma`.
    pub gamma: f64,
}

impl Default for Adjust {
    fn default() -> Adjust {
        Adjust { brightness: 1.0, contrast: 1.0, saturation: 1.0, hue: 0.0, gamma: 1.0 }
    }
}

const FACTOR: Kind = Kind::Number { min: 0.0, max: 10.0 };

pub(super) const ABOUT: About = About {
    name: "adjust",
    summary: "Changes brightness, contrast, saturation and hue as the CSS filters do, in this order, then gamma.",
    params: &[
        param("brightness", FACTOR, Some("1"), "Factor on every sample; 0 is black, 1 changes nothing."),
        param("contrast", FACTOR, Some("1"), "Factor on the distance from middle grey; 0 is grey, 1 changes nothing."),
        param("saturation", FACTOR, Some("1"), "Factor on the distance from the pixel's own grey; 0 is greyscale, 1 changes nothing."),
        param("hue", Kind::Number { min: -360.0, max: 360.0 }, Some("0"), "Degrees by which colours turn around the colour wheel."),
        param("gamma", Kind::Number { min: 0.1, max: 10.0 }, Some("1"), "Samples become v^(1/gamma): above 1 lightens the middle tones."),
    ],
    required: &[],
    example: r#"{"op": "adjust", "brightness": 1.1, "saturation": 1.3, "hue": -15}"#,
};

impl Adjust {
    /// Brightness and contrast of one sample, 0..255.
    fn toned(&self, value: f64) -> f64 {
        let bright = (value / 255.0 * self.brightness).clamp(0.0, 1.0);
        ((bright - 0.5) * self.contrast + 0.5).clamp(0.0, 1.0) * 255.0
    }

    /// Gamma of one sample, 0..255, rounded.
    fn curved(&self, value: f64) -> u8 {
        ((value / 255.0).powf(1.0 / self.gamma) * 255.0).round() as u8
    }

    /// Whether the mean of adjusted pixels is their mean, adjusted: nothing is cut off and nothing bent. Only then may it be done to a reduced
    /// picture as well.
    fn is_linear(&self) -> bool {
        let cuts = self.brightness > 1.0 || self.contrast > 1.0 || self.saturation > 1.0;
        !cuts && self.hue.rem_euclid(360.0) == 0.0 && self.gamma == 1.0
    }

    /// The matrices of what is asked for; none when only tones change.
    fn matrices(&self) -> Vec<Matrix> {
        let mut matrices = Vec::new();
        if self.saturation != 1.0 {
            matrices.push(matrix(saturate(self.saturation)));
        }
        if self.hue.rem_euclid(360.0) != 0.0 {
            matrices.push(matrix(hue_rotate(self.hue)));
        }
        matrices
    }
}

/// `saturate(s)` of the specification.
fn saturate(s: f64) -> [[f64; 3]; 3] {
    [
        [0.213 + 0.787 * s, 0.715 - 0.715 * s, 0.072 - 0.072 * s],
        [0.213 - 0.213 * s, 0.715 + 0.285 * s, 0.072 - 0.072 * s],
        [0.213 - 0.213 * s, 0.715 - 0.715 * s, 0.072 + 0.928 * s],
    ]
}

/// `hue-rotate(degrees)` of the specification.
fn hue_rotate(degrees: f64) -> [[f64; 3]; 3] {
    let (sin, cos) = degrees.to_radians().sin_cos();
    [
        [0.213 + 0.787 * cos - 0.213 * sin, 0.715 - 0.715 * cos - 0.715 * sin, 0.072 - 0.072 * cos + 0.928 * sin],
        [0.213 - 0.213 * cos + 0.143 * sin, 0.715 + 0.285 * cos + 0.140 * sin, 0.072 - 0.072 * cos - 0.283 * sin],
        [0.213 - 0.213 * cos - 0.787 * sin, 0.715 - 0.715 * cos + 0.715 * sin, 0.072 + 0.928 * cos + 0.072 * sin],
    ]
}

fn matrix(wide: [[f64; 3]; 3]) -> Matrix {
    wide.map(|row| row.map(|weight| weight as f32))
}

impl Op for Adjust {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        Ok(Step::to(shape))
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        control.check()?;
        let mut image = if self.is_linear() { image } else { image.upright() };
        let matrices = if image.layout() == Layout::Grey { Vec::new() } else { self.matrices() };
        if matrices.is_empty() {
            let table = std::array::from_fn(|value| self.curved(self.toned(value as f64)));
            pointwise::look_up(&mut image, &table, control)?;
            return Ok(image);
        }
        let enter = std::array::from_fn(|value| self.toned(value as f64) as f32);
        let curve = |step| self.curved(step as f64 * 255.0 / GAMMA_STEPS as f64);
        let leave: Option<Vec<u8>> = (self.gamma != 1.0).then(|| (0..=GAMMA_STEPS).map(curve).collect());
        pointwise::through_matrices(&mut image, &enter, &matrices, leave.as_deref(), control)?;
        Ok(image)
    }

    fn detail(&self, _: Shape) -> Detail {
        if self.is_linear() { Detail::AsNext } else { Detail::Everything }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Unattended, image::Size};
    use super::*;
    use serde_json::json;

    fn adjusted(operation: serde_json::Value, pixel: [u8; 3]) -> Vec<u8> {
        let operation: Adjust = serde_json::from_value(operation).unwrap();
        let image = Image::new(Size::new(1, 1), Layout::Rgb, pixel.to_vec());
        operation.apply(image, &Unattended).unwrap().into_pixels()
    }

    #[test]
    fn the_defaults_change_nothing() {
        for pixel in [[0, 0, 0], [1, 128, 255], [255; 3]] {
            assert_eq!(adjusted(json!({}), pixel), pixel);
            assert_eq!(adjusted(json!({"hue": 360}), pixel), pixel);
        }
    }

    #[test]
    fn each_function_is_the_one_of_css() {
        // What a browser paints for these filters on these colours (the formulas of the specification by hand).
        assert_eq!(adjusted(json!({"brightness": 1.5}), [100, 200, 0]), [150, 255, 0]);
        assert_eq!(adjusted(json!({"contrast": 1.5}), [100, 200, 0]), [86, 236, 0]);
        assert_eq!(adjusted(json!({"contrast": 0}), [100, 200, 0]), [128; 3]);
        // L = 0.213 · 100 + 0.715 · 200 = 164.3
        assert_eq!(adjusted(json!({"saturation": 0}), [100, 200, 0]), [164; 3]);
        assert_eq!(adjusted(json!({"saturation": 1.5}), [100, 200, 50]), [66, 216, 0]);
        assert_eq!(adjusted(json!({"hue": 90}), [255, 0, 0]), [0, 91, 0]);
        assert_eq!(adjusted(json!({"gamma": 2}), [64, 128, 255]), [128, 181, 255]);
    }

    #[test]
    fn steps_run_in_their_order_and_cut_in_between() {
        // Brightness cuts to white, so contrast starts from there.
        assert_eq!(adjusted(json!({"brightness": 10, "contrast": 0.5}), [100, 100, 100]), [191; 3]);
        // The gamma comes last, after the matrices.
        let grey = ((164.3f64 / 255.0).powf(0.5) * 255.0).round() as u8;
        assert_eq!(adjusted(json!({"saturation": 0, "gamma": 2}), [100, 200, 0]), [grey; 3]);
    }

    #[test]
    fn grey_images_stay_grey() {
        let grey = Image::new(Size::new(2, 1), Layout::Grey, vec![100, 7]);
        let operation = Adjust { saturation: 3.0, hue: 50.0, brightness: 2.0, ..Adjust::default() };
        let out = operation.apply(grey, &Unattended).unwrap();
        assert_eq!((out.layout(), out.pixels()), (Layout::Grey, &[200, 14][..]));
    }
}
