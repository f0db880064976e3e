//! `threshold`: black and white.
//!
//! ```json
//! {"op": "threshold", "value": 128}
//! ```
//!
//! A pixel whose luma (Rec. 601, see [`crate::pipeline::color::luma`]) is at least `value` becomes white, any other black; alpha stays.

use serde::{Deserialize, Serialize};

use super::{About, Op, OpError, Step, param};
use crate::pipeline::{
    Control, Kind,
    image::{Image, Layout, Shape},
    ops::grayscale::Grayscale,
    pointwise,
};

/// Makes every pixel black or white.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threshold {
    /// The least luma that becomes white.
    #[serde(default = "middle")]
    pub value: u8,
}

const fn middle() -> u8 {
    128
}

pub(super) const ABOUT: About = About {
    name: "threshold",
    summary: "Makes every pixel white or black, by whether its luma reaches a value; alpha is kept.",
    params: &[param("value", Kind::Integer { min: 0, max: 255 }, Some("128"), "The least luma that becomes white.")],
    required: &[],
    example: r#"{"op": "threshold", "value": 128}"#,
};

// Black and white before scaling down gives greys at the edges, after it none: the full detail counts, hence the default of `detail`.
impl Op for Threshold {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        let layout = if shape.layout == Layout::Rgba { Layout::Rgba } else { Layout::Grey };
        Ok(Step::to(Shape { layout, ..shape }))
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        let mut grey = Grayscale {}.apply(image.upright(), control)?;
        let table = std::array::from_fn(|luma| if luma >= usize::from(self.value) { 255 } else { 0 });
        pointwise::look_up(&mut grey, &table, control)?;
        Ok(grey)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Unattended, image::Size};
    use super::*;

    #[test]
    fn luma_decides_and_the_value_itself_is_white() {
        let rgb = Image::new(Size::new(2, 1), Layout::Rgb, vec![0, 255, 0, 255, 0, 0]);
        let out = Threshold { value: 150 }.apply(rgb, &Unattended).unwrap();
        assert_eq!((out.layout(), out.pixels()), (Layout::Grey, &[255, 0][..]), "the luma of green is 150, of red 76");
        let rgba = Image::new(Size::new(1, 1), Layout::Rgba, vec![0, 255, 0, 9]);
        assert_eq!(Threshold { value: 151 }.apply(rgba, &Unattended).unwrap().pixels(), [0, 0, 0, 9]);
    }
}
