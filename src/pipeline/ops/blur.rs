//! `blur`: a Gaussian blur, of the whole image or of regions.
//!
//! ```json
//! {"op": "blur", "sigma": 12, "regions": [{"left": "40%", "top": "10%", "width": "20%", "height": "30%"}]}
//! ```
//!
//! `sigma` is the standard deviation in pixels. Up to 5 the blur is direct; larger ones are within one level of 255 of it (`gaussian.rs`).
//! Colours are weighed by alpha. A region is blurred by itself: nothing outside of it enters, and beyond its edges its outermost pixels go on.
//! Regions follow each other in the list's order. A weak blur can be undone: to hide something for good, use `pixelate`.

use serde::{Deserialize, Serialize};

use super::{About, Op, OpError, Step, param};
use crate::pipeline::{
    Control, Kind,
    gaussian::{self, Rows, gaussian},
    image::{Image, Shape, Size},
    patch::Patch,
    region::{self, Region},
};

/// Blurs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blur {
    /// Standard deviation in pixels.
    pub sigma: f64,
    /// Where; left out, the whole image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<Region>>,
}

pub(super) const ABOUT: About = About {
    name: "blur",
    summary: "Blurs the whole image or regions of it by a Gaussian.",
    params: &[
        param("sigma", Kind::Number { min: 0.3, max: 100.0 }, None, "Standard deviation of the Gaussian in pixels; required."),
        param("regions", Kind::Regions, None, "Rectangles to blur; the whole image if left out."),
    ],
    required: &["sigma"],
    example: r#"{"op": "blur", "sigma": 12, "regions": [{"left": "40%", "top": "10%", "width": "20%", "height": "30%"}]}"#,
};

impl Rows for Patch<'_> {
    fn width(&self) -> usize {
        self.dimensions().0
    }
    fn height(&self) -> usize {
        self.dimensions().1
    }
    fn channels(&self) -> usize {
        self.dimensions().2
    }
    fn read(&self, row: usize, samples: &mut [f32]) {
        Patch::read(self, row, samples);
    }
    fn write(&mut self, row: usize, samples: &[f32]) {
        Patch::write(self, row, samples);
    }
}

impl Op for Blur {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        region::rectangles(self.regions.as_deref(), shape.size)?;
        Ok(Step::to(shape))
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        let mut image = image.upright();
        for part in region::rectangles(self.regions.as_deref(), image.size())? {
            gaussian(&mut Patch::of(&mut image, part), self.sigma, control)?;
        }
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
    use serde_json::json;

    fn run(operation: serde_json::Value, image: Image) -> Image {
        serde_json::from_value::<Blur>(operation).unwrap().apply(image, &Unattended).unwrap()
    }

    #[test]
    fn a_point_becomes_a_bell() {
        let mut image = Image::filled(Size::new(9, 9), Layout::Grey, [0, 0, 0, 255]);
        image.pixels_mut()[40] = 255;
        let out = run(json!({"sigma": 1}), image);
        // 255 × (0.3989 · e^(−d²/2))² in the middle, beside it, diagonally and two away.
        assert_eq!([out.pixels()[40], out.pixels()[41], out.pixels()[50], out.pixels()[42]], [41, 25, 15, 5]);
    }

    #[test]
    fn only_the_regions_change_and_nothing_enters_from_outside() {
        let mut image = Image::filled(Size::new(20, 20), Layout::Rgb, [255, 0, 0, 255]);
        image.paste(&Image::filled(Size::new(6, 6), Layout::Rgb, [0, 0, 255, 255]), 5, 5);
        let region = json!([{"left": 5, "top": 5, "width": 6, "height": 6}]);
        assert_eq!(run(json!({"sigma": 3, "regions": region}), image.clone()).pixels(), image.pixels());
        let wider = json!([{"left": 4, "top": 5, "width": 7, "height": 6}]);
        let out = run(json!({"sigma": 30, "regions": wider}), image.clone());
        let changed = |x: usize, y: usize| out.pixels()[(y * 20 + x) * 3..][..3] != image.pixels()[(y * 20 + x) * 3..][..3];
        for (x, y) in (0..20).flat_map(|y| (0..20).map(move |x| (x, y))) {
            assert_eq!(changed(x, y), (4..11).contains(&x) && (5..11).contains(&y), "{x} {y}");
        }
    }

    #[test]
    fn hidden_colours_do_not_bleed() {
        let pixels = [[255, 0, 0, 255], [0, 255, 0, 0]].concat();
        let out = run(json!({"sigma": 1}), Image::new(Size::new(2, 1), Layout::Rgba, pixels));
        for pixel in out.pixels().as_chunks::<4>().0 {
            assert_eq!(pixel[..3], [255, 0, 0]);
        }
    }

    #[test]
    fn the_plan_refuses_regions_outside() {
        let operation: Blur =
            serde_json::from_value(json!({"sigma": 3, "regions": [{"left": 0, "top": 0, "width": 101, "height": 5}]})).unwrap();
        let shape = Shape { size: Size::new(100, 100), layout: Layout::Rgb };
        assert!(matches!(operation.plan(shape), Err(OpError::Parameter { field: "regions", .. })));
    }
}
