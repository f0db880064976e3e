//! `crop`: cuts a rectangle out of an image.
//!
//! ```json
//! {"op": "crop", "aspect_ratio": "16:9", "gravity": "north"}
//! ```
//!
//! Three ways to say it: `left`, `top`, `width`, `height`; or `width`, `height`, `gravity`; or `aspect_ratio`, `gravity`. A rectangle that
//! is not inside the image is an error, never silently smaller.

use serde::{Deserialize, Serialize};

use super::{About, Op, OpError, Operation, Step, param};
use crate::pipeline::{
    Control, Kind, attention,
    gravity::Gravity,
    image::{Image, Shape, Size},
    length::{AspectRatio, Length},
};

/// Cuts out a rectangle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Crop {
    /// Distance from the left edge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Length>,
    /// Distance from the top edge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<Length>,
    /// Width of what is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<Length>,
    /// Height of what is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<Length>,
    /// Proportions of what is kept, as large as possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aspect_ratio: Option<AspectRatio>,
    /// Where to cut when no corner is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gravity: Option<Gravity>,
}

pub(super) const ABOUT: About = About {
    name: "crop",
    summary: "Cuts out a rectangle, given by corner and size, by size and gravity, or by proportions and gravity.",
    params: &[
        param("left", Kind::Length { min: 0, max: 16384 }, None, "Distance from the left edge, in pixels or as a share of the width."),
        param("top", Kind::Length { min: 0, max: 16384 }, None, "Distance from the top edge, in pixels or as a share of the height."),
        param("width", Kind::Length { min: 1, max: 16384 }, None, "Width of what is kept, in pixels or as a share of the width."),
        param("height", Kind::Length { min: 1, max: 16384 }, None, "Height of what is kept, in pixels or as a share of the height."),
        param("aspect_ratio", Kind::AspectRatio, None, "Proportions of what is kept, as large as the image allows; instead of width and height."),
        param("gravity", Kind::Gravity, None, "Where to cut when neither left nor top is given; center if left out."),
    ],
    required: &[],
    example: r#"{"op": "crop", "aspect_ratio": "16:9", "gravity": "north"}"#,
};

/// One side of a rectangle in pixels: start and length.
fn span(start: Option<Length>, length: Option<Length>, whole: u32, names: [&'static str; 2]) -> Result<(u32, u32), OpError> {
    let from = start.map_or(0, |start| start.of(whole));
    let mut extent = length.map_or(whole.saturating_sub(from), |length| length.of(whole)).max(1);
    // Two shares that add up to 100 % may round to one pixel too many.
    if matches!((start, length), (Some(Length::Percent(_)), Some(Length::Percent(_)))) && from + extent == whole + 1 {
        extent = (extent - 1).max(1);
    }
    let [start_name, length_name] = names;
    let refused = |field, detail| Err(OpError::Parameter { field, detail });
    if from >= whole {
        return refused(start_name, format!("{start_name} {from} lies outside: the image is {whole} pixels in this direction here"));
    }
    if from + extent > whole {
        let detail = format!("{start_name} {from} + {length_name} {extent} is more than the {whole} pixels that the image has here");
        return refused(length_name, detail);
    }
    Ok((from, extent))
}

impl Crop {
    /// Corner and size for an image of this size.
    fn window(&self, whole: Size) -> Result<(u32, u32, Size), OpError> {
        let sides = (whole.width, whole.height);
        let kept = match self.aspect_ratio {
            Some(ratio) => ratio.largest_inside(sides),
            None => {
                let (left, width) = span(self.left, self.width, whole.width, ["left", "width"])?;
                let (top, height) = span(self.top, self.height, whole.height, ["top", "height"])?;
                if self.left.is_some() || self.top.is_some() {
                    return Ok((left, top, Size::new(width, height)));
                }
                (width, height)
            }
        };
        let (left, top) = self.gravity.unwrap_or_default().window(sides, kept);
        Ok((left, top, Size::new(kept.0, kept.1)))
    }

    /// The operation with a gravity that no longer needs the pixels.
    fn measured(&self, image: &Image) -> Result<Crop, OpError> {
        let (whole, (_, _, kept)) = (image.size(), self.window(image.size())?);
        let share = |kept: u32, whole: u32| f64::from(kept) / f64::from(whole);
        let window = (share(kept.width, whole.width), share(kept.height, whole.height));
        let settle = |gravity| attention::settle(gravity, image, window);
        Ok(Crop { gravity: self.gravity.map(settle), ..self.clone() })
    }

    fn looks_at_pixels(&self) -> bool {
        self.gravity.is_some_and(Gravity::looks_at_pixels)
    }
}

impl Op for Crop {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        let (_, _, size) = self.window(shape.size)?;
        Ok(Step::to(Shape { size, ..shape }))
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        let image = image.upright();
        control.check()?;
        let (left, top, size) = self.measured(&image)?.window(image.size())?;
        if size == image.size() {
            return Ok(image);
        }
        let channels = image.layout().channels();
        let (row, kept) = (image.size().width as usize * channels, size.width as usize * channels);
        let mut pixels = Vec::with_capacity(kept * size.height as usize);
        for line in image.pixels().chunks_exact(row).skip(top as usize).take(size.height as usize) {
            let start = left as usize * channels;
            pixels.extend_from_slice(&line[start..start + kept]);
        }
        Ok(Image::new(size, image.layout(), pixels))
    }

    fn settled(&self, first: &Image, _: &dyn Control) -> Result<Option<Operation>, OpError> {
        self.looks_at_pixels().then(|| Ok(Operation::Crop(self.measured(first)?))).transpose()
    }

    fn working_bytes(&self, _: Shape, _: Size) -> u64 {
        if self.looks_at_pixels() { attention::WORKING_BYTES } else { 0 }
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        let corner = self.left.is_some() || self.top.is_some();
        if self.aspect_ratio.is_some() {
            let others = [("left", self.left), ("top", self.top), ("width", self.width), ("height", self.height)];
            for (field, _) in others.into_iter().filter(|(_, value)| value.is_some()) {
                mistakes.push((field, format!("\"aspect_ratio\" decides what is kept; leave {field:?} out")));
            }
            return mistakes;
        }
        if self.width.is_none() && self.height.is_none() && !corner {
            mistakes.push(("width", "crop needs \"width\" and \"height\", or \"aspect_ratio\"".to_owned()));
        }
        if corner && self.gravity.is_some() {
            mistakes.push(("gravity", "gravity decides where to cut; leave it or \"left\" and \"top\" out".to_owned()));
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Unattended, image::Layout};
    use super::*;
    use serde_json::json;

    fn crop(value: serde_json::Value) -> Crop {
        serde_json::from_value(value).unwrap()
    }

    fn numbered() -> Image {
        Image::new(Size::new(4, 3), Layout::Grey, (0..12).collect())
    }

    fn run(value: serde_json::Value) -> Vec<u8> {
        crop(value).apply(numbered(), &Unattended).unwrap().into_pixels()
    }

    #[test]
    fn by_corner_by_gravity_and_by_proportions() {
        assert_eq!(run(json!({"left": 1, "top": 1, "width": 2, "height": 2})), [5, 6, 9, 10]);
        assert_eq!(run(json!({"left": "50%", "top": 0, "width": "50%", "height": 1})), [2, 3]);
        assert_eq!(run(json!({"width": 2, "height": 1, "gravity": "southeast"})), [10, 11]);
        assert_eq!(run(json!({"aspect_ratio": "1:3", "gravity": "west"})), [0, 4, 8]);
        assert_eq!(run(json!({"top": 2})), [8, 9, 10, 11]);
    }

    #[test]
    fn gravity_can_look_at_the_pixels() {
        let mut image = Image::filled(Size::new(90, 90), Layout::Grey, [40, 40, 40, 255]);
        image.paste(&Image::filled(Size::new(9, 9), Layout::Grey, [250, 250, 250, 255]), 70, 10);
        for word in ["smart", "entropy"] {
            let operation = crop(json!({"width": 30, "height": 30, "gravity": word}));
            let out = operation.apply(image.clone(), &Unattended).unwrap();
            assert_eq!(out.pixels().iter().filter(|pixel| **pixel == 250).count(), 81, "{word}");
            let settled = operation.settled(&image, &Unattended).unwrap().unwrap();
            let again = settled.op().apply(image.clone(), &Unattended).unwrap();
            assert_eq!(again.pixels(), out.pixels());
        }
        assert_eq!(crop(json!({"top": 2})).settled(&image, &Unattended).unwrap(), None);
    }

    #[test]
    fn outside_of_the_image_is_refused_with_the_field() {
        let field = |value| match crop(value).plan(Shape { size: Size::new(4, 3), layout: Layout::Grey }) {
            Err(OpError::Parameter { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(json!({"left": 4, "width": 1})), "left");
        assert_eq!(field(json!({"left": 3, "width": 2})), "width");
        assert_eq!(field(json!({"width": 4, "height": 4})), "height");
    }

    #[test]
    fn shares_that_add_up_never_miss_by_a_pixel() {
        for width in 1..200 {
            for percent in 1..100 {
                let shape = Shape { size: Size::new(width, 1), layout: Layout::Grey };
                let value = json!({"left": format!("{percent}%"), "width": format!("{}%", 100 - percent)});
                let from = Length::Percent(f64::from(percent)).of(width);
                assert_eq!(crop(value).plan(shape).is_ok(), from < width, "{percent} % of {width}");
            }
        }
    }

    #[test]
    fn contradictions_are_mistakes() {
        for value in [json!({}), json!({"aspect_ratio": "1:1", "width": 3}), json!({"left": 1, "width": 1, "gravity": "north"})] {
            assert_eq!(crop(value.clone()).mistakes().len(), 1, "{value}");
        }
        assert!(crop(json!({"width": 1, "height": 1})).mistakes().is_empty());
    }
}
