//! `flatten`: puts a colour under transparent pixels.
//!
//! ```json
//! {"op": "flatten", "background": "#ffffff"}
//! ```
//!
//! Also what encoders of formats without alpha call.

use serde::{Deserialize, Serialize};

use super::{About, Detail, Op, OpError, Step, param};
use crate::pipeline::{
    Control, Kind,
    color::{self, Rgba},
    image::{Image, Layout, Shape},
};

/// Blends with a background; the result is opaque.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flatten {
    /// Colour under transparent pixels; its own alpha does not count.
    #[serde(default = "color::white", with = "color::text")]
    pub background: Rgba,
}

pub(super) const ABOUT: About = About {
    name: "flatten",
    summary: "Puts a colour under transparent pixels; the image becomes opaque.",
    params: &[param("background", Kind::Color, Some("\"#ffffff\""), "Colour under transparent pixels.")],
    required: &[],
    example: r##"{"op": "flatten", "background": "#ffffff"}"##,
};

/// `(over × alpha + under × (255 − alpha)) ÷ 255`, rounded to nearest.
#[inline]
fn blend(over: u8, under: u8, alpha: u8) -> u8 {
    let alpha = u32::from(alpha);
    ((u32::from(over) * alpha + u32::from(under) * (255 - alpha) + 127) / 255) as u8
}

impl Op for Flatten {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        let layout = if shape.layout == Layout::Rgba { Layout::Rgb } else { shape.layout };
        Ok(Step::to(Shape { layout, ..shape }))
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        control.check()?;
        if image.layout() != Layout::Rgba {
            return Ok(image);
        }
        let image = image.upright();
        let [red, green, blue, _] = self.background;
        let mut pixels = Vec::with_capacity(image.pixels().len() / 4 * 3);
        for [r, g, b, alpha] in image.pixels().as_chunks::<4>().0 {
            pixels.extend_from_slice(&[blend(*r, red, *alpha), blend(*g, green, *alpha), blend(*b, blue, *alpha)]);
        }
        Ok(Image::new(image.stored(), Layout::Rgb, pixels))
    }

    fn detail(&self, _: Shape) -> Detail {
        // Blending before or after scaling is the same only without alpha; formats that can be shrunk on load have none.
        Detail::AsNext
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Unattended, image::Size};
    use super::*;

    #[test]
    fn blends_and_drops_alpha() {
        let image = Image::new(Size::new(3, 1), Layout::Rgba, vec![10, 20, 30, 255, 10, 20, 30, 0, 0, 0, 0, 128]);
        let flat = Flatten { background: [255, 0, 0, 7] }.apply(image, &Unattended).unwrap();
        assert_eq!((flat.layout(), flat.pixels()), (Layout::Rgb, &[10, 20, 30, 255, 0, 0, 127, 0, 0][..]));
    }
}
