//! `sepia`: the brown of old photographs.
//!
//! ```json
//! {"op": "sepia", "amount": 0.8}
//! ```
//!
//! The `sepia()` of CSS filters (Filter Effects Module Level 1, §8.5): with `s = 1 − amount`, on gamma-encoded values,
//!
//! ```text
//! R' = (0.393 + 0.607 s) R + (0.769 − 0.769 s) G + (0.189 − 0.189 s) B
//! G' = (0.349 − 0.349 s) R + (0.686 + 0.314 s) G + (0.168 − 0.168 s) B
//! B' = (0.272 − 0.272 s) R + (0.534 − 0.534 s) G + (0.131 + 0.869 s) B
//! ```
//!
//! cut to 0..255 and rounded to nearest. Alpha stays.

use serde::{Deserialize, Serialize};

use super::{About, Op, OpError, Step, param};
use crate::pipeline::{
    Control, Kind,
    image::{Image, Layout, Shape},
    pointwise::{self, Matrix},
};

/// Tones an image brown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sepia {
    /// 0 leaves the image as it is, 1 is the whole effect.
    #[serde(default = "one")]
    pub amount: f64,
}

const fn one() -> f64 {
    1.0
}

pub(super) const ABOUT: About = About {
    name: "sepia",
    summary: "Tones the image brown, as the CSS filter sepia() does.",
    params: &[param("amount", Kind::Number { min: 0.0, max: 1.0 }, Some("1"), "0 leaves the image as it is, 1 is the whole effect.")],
    required: &[],
    example: r#"{"op": "sepia", "amount": 0.8}"#,
};

impl Sepia {
    fn matrix(&self) -> Matrix {
        const WHOLE: [[f64; 3]; 3] = [[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]];
        let mixed = |row: usize, column: usize| {
            let kept = if row == column { 1.0 } else { 0.0 };
            (WHOLE[row][column] * self.amount + kept * (1.0 - self.amount)) as f32
        };
        std::array::from_fn(|row| std::array::from_fn(|column| mixed(row, column)))
    }
}

// What is bright is cut off at white, so that the order with a reduction counts, hence the default of `detail`.
impl Op for Sepia {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        Ok(Step::to(Shape { layout: shape.layout.max(Layout::Rgb), ..shape }))
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        control.check()?;
        let layout = image.layout().max(Layout::Rgb);
        let mut image = image.upright().with_layout(layout);
        let enter = std::array::from_fn(|value| value as f32);
        pointwise::through_matrices(&mut image, &enter, &[self.matrix()], None, control)?;
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Unattended, image::Size};
    use super::*;

    fn toned(amount: f64, pixel: [u8; 3]) -> Vec<u8> {
        let image = Image::new(Size::new(1, 1), Layout::Rgb, pixel.to_vec());
        Sepia { amount }.apply(image, &Unattended).unwrap().into_pixels()
    }

    #[test]
    fn follows_the_formula() {
        // 0.393 · 100 + 0.769 · 50 + 0.189 · 200 = 115.55 and so on.
        assert_eq!(toned(1.0, [100, 50, 200]), [116, 103, 80]);
        assert_eq!(toned(1.0, [255; 3]), [255, 255, 239]);
        assert_eq!(toned(0.0, [1, 200, 3]), [1, 200, 3]);
        assert_eq!(toned(0.5, [100, 50, 200]), [108, 76, 140]);
    }

    #[test]
    fn grey_gains_colours() {
        let grey = Image::new(Size::new(1, 1), Layout::Grey, vec![100]);
        let out = Sepia { amount: 1.0 }.apply(grey, &Unattended).unwrap();
        assert_eq!((out.layout(), out.pixels()), (Layout::Rgb, &[135, 120, 94][..]));
    }
}
