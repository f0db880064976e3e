//! `grayscale`: keeps the luma only.
//!
//! ```json
//! {"op": "grayscale"}
//! ```
//!
//! Luma of Rec. 601 on gamma-encoded values (see [`crate::pipeline::color::luma`]); alpha stays.

use serde::{Deserialize, Serialize};

use super::{About, Detail, Op, OpError, Step};
use crate::pipeline::{
    Control,
    color::luma,
    image::{Image, Layout, Shape},
};

/// Makes every pixel grey.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grayscale {}

pub(super) const ABOUT: About = About {
    name: "grayscale",
    summary: "Makes the image grey: luma of Rec. 601, alpha kept.",
    params: &[],
    required: &[],
    example: r#"{"op": "grayscale"}"#,
};

impl Op for Grayscale {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        let layout = if shape.layout == Layout::Rgba { Layout::Rgba } else { Layout::Grey };
        Ok(Step::to(Shape { layout, ..shape }))
    }

    fn apply(&self, mut image: Image, control: &dyn Control) -> Result<Image, OpError> {
        control.check()?;
        if image.layout() != Layout::Rgba {
            return Ok(image.with_layout(Layout::Grey));
        }
        for [red, green, blue, _] in image.pixels_mut().as_chunks_mut::<4>().0 {
            let grey = luma(*red, *green, *blue);
            (*red, *green, *blue) = (grey, grey, grey);
        }
        Ok(image)
    }

    fn detail(&self, _: Shape) -> Detail {
        Detail::AsNext
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Unattended, image::Size};
    use super::*;

    #[test]
    fn colours_become_their_luma_and_alpha_stays() {
        let rgb = Image::new(Size::new(3, 1), Layout::Rgb, vec![255, 0, 0, 0, 255, 0, 0, 0, 255]);
        let grey = Grayscale {}.apply(rgb, &Unattended).unwrap();
        assert_eq!((grey.layout(), grey.pixels()), (Layout::Grey, &[76, 150, 29][..]));
        let rgba = Image::new(Size::new(1, 1), Layout::Rgba, vec![255, 0, 0, 9]);
        assert_eq!(Grayscale {}.apply(rgba, &Unattended).unwrap().pixels(), [76, 76, 76, 9]);
    }
}
