//! `resize`: scales an image into a box.
//!
//! ```json
//! {"op": "resize", "width": 320, "height": 320, "fit": "cover", "gravity": "north"}
//! ```
//!
//! Owns the parameters and how they become a window and a target; the arithmetic of fits is `geometry`'s, the pixels are `resample`'s.

use serde::{Deserialize, Serialize};

use super::{About, Detail, Op, OpError, Operation, Step, param};
use crate::pipeline::{
    Control, Kind, attention,
    color::{self, Rgba},
    geometry::{Fit, Placement, place},
    gravity::Gravity,
    image::{Image, Shape, Size},
    resample::{self, Kernel, resample},
};

/// Scales into a box; see API.md for the words. Without `enlarge` nothing is scaled up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resize {
    /// Width of the box in pixels; left out, the proportions decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height of the box in pixels; left out, the proportions decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// What happens when the proportions differ.
    #[serde(default)]
    pub fit: Fit,
    /// Whether the image may be scaled up.
    #[serde(default)]
    pub enlarge: bool,
    /// Factor on both sides of the box.
    #[serde(default = "one")]
    pub dpr: f64,
    /// How pixels are weighed.
    #[serde(default)]
    pub kernel: Kernel,
    /// What is kept (`cover`) and where the picture lies (`contain`).
    #[serde(default)]
    pub gravity: Gravity,
    /// Colour around the picture (`contain`).
    #[serde(default = "color::transparent", with = "color::text")]
    pub background: Rgba,
    /// How far a JPEG may be shrunk while it is decoded.
    #[serde(default)]
    pub shrink_on_load: ShrinkOnLoad,
}

/// How far a decoder may shrink before the resize proper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShrinkOnLoad {
    /// To no less than the target.
    #[default]
    Fast,
    /// To no less than twice the target: 54 dB and more against the full resolution, 49.9 dB where a tenth of the samples is clipped to black.
    Fine,
    /// Not at all.
    Off,
}

const fn one() -> f64 {
    1.0
}

pub(super) const ABOUT: About = About {
    name: "resize",
    summary: "Scales the image into a box; one side of it may be left out.",
    params: &[
        param("width", Kind::Integer { min: 1, max: 16384 }, None, "Width of the box in pixels."),
        param("height", Kind::Integer { min: 1, max: 16384 }, None, "Height of the box in pixels."),
        param(
            "fit",
            Kind::Choice(&["inside", "cover", "contain", "fill", "outside"]),
            Some("\"inside\""),
            "When proportions differ: fit inside, cover the box and crop, contain and pad, fill by stretching, or cover without cropping.",
        ),
        param("enlarge", Kind::Boolean, Some("false"), "Whether the image may be scaled up."),
        param("dpr", Kind::Number { min: 0.1, max: 8.0 }, Some("1"), "Factor on both sides of the box, for dense screens."),
        param(
            "kernel",
            Kind::Choice(&["nearest", "linear", "cubic", "lanczos3"]),
            Some("\"lanczos3\""),
            "How neighbouring pixels are weighed.",
        ),
        param("gravity", Kind::Gravity, Some("\"center\""), "What a cover keeps, and where a contain puts the image."),
        param("background", Kind::Color, Some("\"transparent\""), "Colour around a contained image."),
        param(
            "shrink_on_load",
            Kind::Choice(&["fast", "fine", "off"]),
            Some("\"fast\""),
            "How far a JPEG may be shrunk while decoding: to the target's size, to twice it, or not at all.",
        ),
    ],
    required: &[],
    example: r#"{"op": "resize", "width": 320, "height": 320, "fit": "cover", "gravity": "north"}"#,
};

impl Resize {
    fn placed(&self, size: Size) -> Placement {
        let side = |side: Option<u32>| side.map(|side| ((f64::from(side) * self.dpr).round() as u32).max(1));
        place(size, side(self.width), side(self.height), self.fit, self.enlarge)
    }

    /// The gravity for this image, with what only its pixels tell.
    fn measured(&self, image: &Image) -> Gravity {
        let Placement { scaled, kept, .. } = self.placed(image.size());
        if kept == scaled {
            return self.gravity;
        }
        let share = |kept: u32, whole: u32| f64::from(kept) / f64::from(whole);
        attention::settle(self.gravity, image, (share(kept.width, scaled.width), share(kept.height, scaled.height)))
    }
}

impl Resize {
    /// The size of the result if it is the whole picture, smaller on both sides and with nothing around it.
    pub(in crate::pipeline) fn reduced_copy(&self, size: Size) -> Option<Size> {
        let Placement { scaled, kept, canvas, .. } = self.placed(size);
        let smaller = scaled.width < size.width && scaled.height < size.height;
        (scaled == kept && kept == canvas && smaller).then_some(scaled)
    }
}

impl Op for Resize {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        let placed = self.placed(shape.size);
        let padded = placed.canvas != placed.kept;
        let layout = if padded { shape.layout.holding(self.background) } else { shape.layout };
        let note = placed.held_back.then(|| {
            ("upscale_refused", format!("the image is only {}; set \"enlarge\" to scale it up", shape.size))
        });
        Ok(Step { note, ..Step::to(Shape { size: placed.canvas, layout }) })
    }

    fn working_bytes(&self, shape: Shape, stored: Size) -> u64 {
        let placed = self.placed(shape.size);
        let scaled = Shape { size: placed.kept, ..shape };
        let layout = shape.layout.holding(self.background);
        // The scaled pixels beside the padded canvas or beside their turned copy, and once more where padding widens the layout.
        let beside = match placed.canvas == placed.kept {
            true => scaled.bytes(),
            false => scaled.bytes() + Shape { layout, ..scaled }.bytes(),
        };
        let looking = if self.gravity.looks_at_pixels() { attention::WORKING_BYTES } else { 0 };
        beside + looking + resample::working_bytes(stored, placed.kept, shape.layout)
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        let size = image.size();
        let placed = self.placed(size);
        let (left, top) = self.measured(&image).window(
            (placed.scaled.width, placed.scaled.height),
            (placed.kept.width, placed.kept.height),
        );
        let across = f64::from(size.width) / f64::from(placed.scaled.width);
        let down = f64::from(size.height) / f64::from(placed.scaled.height);
        let window = [
            f64::from(left) * across,
            f64::from(top) * down,
            f64::from(placed.kept.width) * across,
            f64::from(placed.kept.height) * down,
        ];
        let scaled = resample(image, window, placed.kept, self.kernel, control)?;
        if placed.canvas == placed.kept {
            return Ok(scaled);
        }
        let (canvas, kept) = (placed.canvas, placed.kept);
        let layout = scaled.layout().holding(self.background);
        let (left, top) = self.gravity.place((canvas.width, canvas.height), (kept.width, kept.height));
        let mut padded = Image::filled(canvas, layout, self.background);
        padded.paste(&scaled.with_layout(layout), left, top);
        Ok(padded)
    }

    fn settled(&self, first: &Image, _: &dyn Control) -> Result<Option<Operation>, OpError> {
        let settled = || Operation::Resize(Resize { gravity: self.measured(first), ..self.clone() });
        Ok(self.gravity.looks_at_pixels().then(settled))
    }

    fn detail(&self, shape: Shape) -> Detail {
        let scaled = self.placed(shape.size).scaled;
        let across = f64::from(scaled.width) / f64::from(shape.size.width);
        let down = f64::from(scaled.height) / f64::from(shape.size.height);
        match self.shrink_on_load {
            ShrinkOnLoad::Fast => Detail::Scaled(across.max(down)),
            ShrinkOnLoad::Fine => Detail::Scaled(across.max(down) * 2.0),
            ShrinkOnLoad::Off => Detail::Everything,
        }
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
        match (self.width, self.height) {
            (None, None) => vec![("width", "resize needs \"width\", \"height\" or both".to_owned())],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Unattended, image::Layout};
    use super::*;

    fn resize(json: serde_json::Value) -> Resize {
        serde_json::from_value(json).unwrap()
    }

    fn run(operation: &Resize, image: Image) -> Image {
        let planned = operation.plan(Shape { size: image.size(), layout: image.layout() }).unwrap().shape;
        let out = operation.apply(image, &Unattended).unwrap();
        assert_eq!((out.size(), out.layout()), (planned.size, planned.layout), "the plan tells what comes");
        out
    }

    #[test]
    fn cover_keeps_what_gravity_says() {
        let columns: Vec<u8> = (0..4).flat_map(|_| [10, 20, 30, 40]).collect();
        let image = Image::new(Size::new(4, 4), Layout::Grey, columns);
        let east = resize(serde_json::json!({"width": 2, "height": 4, "fit": "cover", "gravity": "east"}));
        assert_eq!(&run(&east, image.clone()).pixels()[..2], [30, 40]);
        let focus = resize(serde_json::json!({"width": 2, "height": 4, "fit": "cover", "gravity": {"x": 0.4, "y": 0.5}}));
        assert_eq!(&run(&focus, image).pixels()[..2], [20, 30]);
    }

    #[test]
    fn gravity_can_look_at_the_pixels_and_settles_on_what_it_saw() {
        let mut image = Image::filled(Size::new(300, 100), Layout::Rgb, [20, 30, 40, 255]);
        image.paste(&Image::filled(Size::new(30, 30), Layout::Rgb, [255, 240, 90, 255]), 220, 40);
        for word in ["smart", "entropy"] {
            let operation = resize(serde_json::json!({"width": 100, "height": 100, "fit": "cover", "gravity": word}));
            assert!(run(&operation, image.clone()).pixels().contains(&255), "{word}");
            let settled = operation.settled(&image, &Unattended).unwrap().unwrap();
            let dark = Image::filled(image.size(), Layout::Rgb, [20, 30, 40, 255]);
            let mut next = dark.clone();
            next.paste(&Image::filled(Size::new(30, 30), Layout::Rgb, [255, 240, 90, 255]), 20, 40);
            assert!(!settled.op().apply(next, &Unattended).unwrap().pixels().contains(&255), "{word} looks only once");
        }
    }

    #[test]
    fn contain_pads_with_the_background() {
        let image = Image::filled(Size::new(4, 2), Layout::Grey, [9, 9, 9, 255]);
        let padded = run(&resize(serde_json::json!({"width": 4, "height": 4, "fit": "contain", "background": "#ff0000"})), image.clone());
        assert_eq!(padded.layout(), Layout::Rgb);
        assert_eq!(padded.pixels()[..3], [255, 0, 0]);
        assert_eq!(padded.pixels()[4 * 3..4 * 3 + 3], [9, 9, 9]);
        let clear = run(&resize(serde_json::json!({"width": 4, "height": 4, "fit": "contain"})), image);
        assert_eq!(clear.pixels()[..4], [0, 0, 0, 0]);
    }

    #[test]
    fn dpr_scales_the_box_and_enlarging_is_refused_with_a_note() {
        let shape = Shape { size: Size::new(100, 100), layout: Layout::Rgb };
        let step = resize(serde_json::json!({"width": 25, "dpr": 2})).plan(shape).unwrap();
        assert_eq!((step.shape.size, step.note), (Size::new(50, 50), None));
        let step = resize(serde_json::json!({"width": 51, "dpr": 2})).plan(shape).unwrap();
        assert_eq!(step.shape.size, shape.size);
        assert_eq!(step.note.unwrap().0, "upscale_refused");
    }

    #[test]
    fn detail_follows_shrink_on_load() {
        let shape = Shape { size: Size::new(4000, 3000), layout: Layout::Rgb };
        let detail = |shrink: &str| resize(serde_json::json!({"width": 800, "shrink_on_load": shrink})).detail(shape);
        assert_eq!(detail("fast"), Detail::Scaled(0.2));
        assert_eq!(detail("fine"), Detail::Scaled(0.2 * 2.0));
        assert_eq!(detail("off"), Detail::Everything);
    }

    #[test]
    fn a_box_without_sides_is_a_mistake() {
        assert_eq!(resize(serde_json::json!({})).mistakes().len(), 1);
    }
}
