//! `invert`: the negative.
//!
//! ```json
//! {"op": "invert"}
//! ```
//!
//! Every colour sample `v` becomes `255 − v`; alpha stays.

use serde::{Deserialize, Serialize};

use super::{About, Detail, Op, OpError, Step};
use crate::pipeline::{
    Control,
    image::{Image, Layout, Shape},
    pointwise,
};

/// Turns light into dark and every colour into its complement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invert {}

pub(super) const ABOUT: About = About {
    name: "invert",
    summary: "Makes the negative: every colour becomes its complement, alpha is kept.",
    params: &[],
    required: &[],
    example: r#"{"op": "invert"}"#,
};

impl Op for Invert {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        Ok(Step::to(shape))
    }

    fn apply(&self, mut image: Image, control: &dyn Control) -> Result<Image, OpError> {
        let alpha = image.layout() == Layout::Rgba;
        pointwise::in_chunks(&mut image, control, |chunk| match alpha {
            true => {
                for pixel in chunk.as_chunks_mut::<4>().0 {
                    *pixel = (u32::from_le_bytes(*pixel) ^ 0x00ff_ffff).to_le_bytes();
                }
            }
            false => chunk.iter_mut().for_each(|sample| *sample = !*sample),
        })?;
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
    fn twice_is_the_image_again_and_alpha_stays() {
        for (layout, there) in
            [(Layout::Grey, &[255, 253, 155][..]), (Layout::Rgb, &[255, 253, 155]), (Layout::Rgba, &[255, 253, 155, 9])]
        {
            let pixels = [0, 2, 100, 9][..there.len()].to_vec();
            let width = (there.len() / layout.channels()) as u32;
            let image = Image::new(Size::new(width, 1), layout, pixels.clone());
            let negative = Invert {}.apply(image, &Unattended).unwrap();
            assert_eq!(negative.pixels(), there);
            assert_eq!(Invert {}.apply(negative, &Unattended).unwrap().pixels(), pixels);
        }
    }
}
