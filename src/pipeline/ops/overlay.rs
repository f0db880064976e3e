//! `overlay`: lays another image on this one: a logo, a watermark, a frame.
//!
//! ```json
//! {"op": "overlay", "input": "logo", "gravity": "southeast", "x": 20, "y": 20, "scale": 0.2, "opacity": 0.8}
//! ```
//!
//! The input is turned upright as its own EXIF says, scaled to a share of the image's width with the kernel that `resize` uses by default
//! (Lanczos3), then turned by `rotate`, then laid at `gravity`. Offsets count inwards from the edge that gravity names: with `southeast`,
//! 20 px from the right and 20 px from the bottom; a negative offset pushes the input outwards, where it is cut off. From the middle, they
//! count to the right and down. Percentages are of the image's own width and height. With `tile` the input is repeated over the whole
//! image, from where it lies. `blend` mixes as the W3C's compositing defines; the image keeps its alpha where the input is transparent.
//! On the frames of an animation it is decoded, scaled and turned once.

use serde::{Deserialize, Serialize};

use super::{About, Op, OpError, Rotate, Step, param};
use crate::pipeline::{
    Asset, Assets, Bench, Control, Gravity, Input, Kernel, Kind,
    assets::{Cut, missing},
    color,
    image::{Image, Layout, Shape, Size},
    layer::{self, Blend, Layer, Spot},
    length::Offset,
    memory, resample,
};

/// Longest side of a scaled input.
const SIDE_MAX: u32 = 16_384;
/// Largest offset in pixels, either way.
pub(super) const OFFSET_MAX: i64 = 16_384;

/// Lays another image on this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overlay {
    /// The image to lay on.
    pub input: Input,
    /// Where it lies.
    #[serde(default)]
    pub gravity: Gravity,
    /// Offset inwards from the left or right edge, or from the middle to the right.
    #[serde(default)]
    pub x: Offset,
    /// Offset inwards from the top or bottom edge, or from the middle down.
    #[serde(default)]
    pub y: Offset,
    /// Its width as a share of the image's; `None` keeps its own size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// 0 shows nothing of it, 1 all.
    #[serde(default = "one")]
    pub opacity: f64,
    /// Whether it is repeated over the whole image.
    #[serde(default)]
    pub tile: bool,
    /// Degrees clockwise.
    #[serde(default)]
    pub rotate: f64,
    /// How colours mix.
    #[serde(default)]
    pub blend: Blend,
}

fn one() -> f64 {
    1.0
}

const OFFSET: Kind = Kind::Offset { most: OFFSET_MAX };

pub(super) const ABOUT: About = About {
    name: "overlay",
    summary: "Lays another image on this one: a logo, a watermark, a frame.",
    params: &[
        param(
            "input",
            Kind::Input,
            None,
            "Name of a file part of the request or of an asset of the settings, or {\"url\": …}; required.",
        ),
        param("gravity", Kind::Gravity, Some("\"center\""), "Where it lies."),
        param(
            "x",
            OFFSET,
            Some("0"),
            "Offset inwards from the left or right edge; from the middle, to the right.",
        ),
        param("y", OFFSET, Some("0"), "Offset inwards from the top or bottom edge; from the middle, down."),
        param(
            "scale",
            Kind::Number { min: 0.001, max: 10.0 },
            None,
            "Its width as a share of the image's; without it, it keeps its own size.",
        ),
        param("opacity", Kind::Number { min: 0.0, max: 1.0 }, Some("1"), "0 shows nothing of it, 1 all."),
        param("tile", Kind::Boolean, Some("false"), "Repeats it over the whole image."),
        param("rotate", Kind::Number { min: -360.0, max: 360.0 }, Some("0"), "Degrees clockwise."),
        param(
            "blend",
            Kind::Choice(&["over", "multiply", "screen"]),
            Some("\"over\""),
            "How its colours mix with those under it.",
        ),
    ],
    required: &["input"],
    example: r#"{"op": "overlay", "input": "logo", "gravity": "southeast", "x": 20, "y": 20, "scale": 0.2}"#,
};

impl Overlay {
    /// Size of an input of size `own` on an image of size `whole`, before it is turned.
    fn scaled(&self, own: Size, whole: Size) -> Result<Size, OpError> {
        let Some(scale) = self.scale else { return Ok(own) };
        let width = (f64::from(whole.width) * scale).round().max(1.0);
        let height = (f64::from(own.height) * width / f64::from(own.width)).round().max(1.0);
        if width.max(height) > f64::from(SIDE_MAX) {
            let detail = format!("would make the input {width}×{height}; at most {SIDE_MAX} a side are possible");
            return Err(OpError::Parameter { field: "scale", detail });
        }
        Ok(Size::new(width as u32, height as u32))
    }

    fn asset<'a>(&self, assets: &'a Assets) -> Result<&'a Asset, OpError> {
        assets.get(&self.input).ok_or_else(|| missing(&self.input))
    }

    fn turn(&self) -> Rotate {
        Rotate { angle: self.rotate, background: color::TRANSPARENT }
    }

    /// The input as it is to be laid.
    fn prepared(&self, whole: Size, bench: &Bench<'_>, control: &dyn Control) -> Result<Image, OpError> {
        let image = bench.image(&self.input, control)?;
        let own = image.size();
        let target = self.scaled(own, whole)?;
        if target == own && self.rotate == 0.0 {
            return Ok(image);
        }
        bench.layer(Cut { input: &self.input, size: target, degrees: self.rotate }, || {
            let window = [0.0, 0.0, f64::from(own.width), f64::from(own.height)];
            let image = resample::resample(image, window, target, Kernel::Lanczos3, control)?;
            if self.rotate == 0.0 { Ok(image) } else { self.turn().apply(image, control) }
        })
    }

    /// Size and layout of the input as it is laid on an image of this size.
    fn layer(&self, whole: Size, assets: &Assets) -> Result<Shape, OpError> {
        let input = self.asset(assets)?.shape();
        Ok(self.turn().plan(Shape { size: self.scaled(input.size, whole)?, ..input })?.shape)
    }
}

impl Op for Overlay {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        Ok(Step::to(Shape { layout: layer::layout(shape.layout, Layout::Rgba), ..shape }))
    }

    fn plan_with(&self, shape: Shape, assets: &Assets) -> Result<Step, OpError> {
        // What a URL leads to is not known before it is fetched.
        if matches!(self.input, Input::Url(_)) && assets.get(&self.input).is_none() {
            return self.plan(shape);
        }
        let layer = self.layer(shape.size, assets)?;
        Ok(Step::to(Shape { layout: layer::layout(shape.layout, layer.layout), ..shape }))
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        self.apply_with(image, &Bench::new(&Assets::none(), 0), control)
    }

    fn apply_with(&self, image: Image, bench: &Bench<'_>, control: &dyn Control) -> Result<Image, OpError> {
        let layer = Layer {
            image: self.prepared(image.size(), bench, control)?,
            spot: Spot { gravity: self.gravity, x: self.x, y: self.y },
            opacity: self.opacity,
            tile: self.tile,
            blend: self.blend,
        };
        Ok(layer::lay(image, layer, control)?)
    }

    fn working_bytes_with(&self, shape: Shape, _: Size, assets: &Assets) -> u64 {
        let Ok(asset) = self.asset(assets) else { return 0 };
        let own = asset.shape();
        let Ok(size) = self.scaled(own.size, shape.size) else { return 0 };
        let rgba = |size| Shape { size, layout: Layout::Rgba }.bytes();
        let turned = self.turn().plan(Shape { size, ..own }).map_or(size, |step| step.shape.size);
        // Decoding comes first, turning upright included. Then beside the decoded input: a copy of it weighed by alpha, rows on their way,
        // the scaled one; then what turning it needs; last, its pixels with alpha.
        let decoding = memory::decoding(asset.header(), 8) + own.bytes();
        let scaling = own.bytes() + resample::working_bytes(own.size, size, own.layout) + 2 * rgba(size);
        let laying = 2 * rgba(size) + 2 * rgba(turned);
        // Grey under colour becomes three channels, in a copy that is the result.
        own.bytes() + decoding.max(scaling + laying)
    }

    fn kept_bytes(&self, shape: Shape, assets: &Assets) -> u64 {
        self.layer(shape.size, assets).map_or(0, Shape::bytes)
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
        layer::mistakes(self.gravity).into_iter().collect()
    }

    fn input(&self) -> Option<&Input> {
        Some(&self.input)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{
        Format, Limits, OutputFormat, OutputSpec, Unattended, encode, metadata::Extras,
    };
    use super::*;
    use serde_json::{Value, json};

    /// An image as a PNG file under the name "logo".
    fn assets(image: Image) -> Assets {
        let spec = OutputSpec::plain("logo", OutputFormat::Fixed(Format::Png));
        let file = encode::encode(image, &spec, Format::Png, &Extras::default(), &Unattended).unwrap().bytes;
        let mut assets = Assets::none();
        let asset = Asset::new(file.into(), &Limits::default()).unwrap();
        assets.insert(Input::Named("logo".to_owned()), asset);
        assets
    }

    fn overlay(mut fields: Value) -> Overlay {
        fields["input"] = json!("logo");
        serde_json::from_value(fields).unwrap()
    }

    fn laid(fields: Value, image: Image, logo: Image) -> Image {
        let (operation, assets) = (overlay(fields), assets(logo));
        let shape = Shape { size: image.size(), layout: image.layout() };
        let planned = operation.plan_with(shape, &assets).unwrap().shape;
        let out = operation.apply_with(image, &Bench::new(&assets, 1 << 30), &Unattended).unwrap();
        assert_eq!(planned, Shape { size: out.size(), layout: out.layout() });
        out
    }

    #[test]
    fn it_lies_where_gravity_and_offsets_say() {
        let image = Image::filled(Size::new(8, 4), Layout::Grey, [0, 0, 0, 255]);
        let logo = Image::filled(Size::new(2, 1), Layout::Grey, [9, 9, 9, 255]);
        let out = laid(json!({"gravity": "southeast", "x": 1, "y": "25%"}), image, logo);
        let lit: Vec<usize> = (0..32).filter(|index| out.pixels()[*index] == 9).collect();
        assert_eq!(lit, [2 * 8 + 5, 2 * 8 + 6]);
    }

    #[test]
    fn it_is_scaled_to_the_images_width_and_turned() {
        let image = Image::filled(Size::new(100, 100), Layout::Rgb, [0, 0, 0, 255]);
        let logo = Image::filled(Size::new(10, 5), Layout::Rgb, [200, 100, 50, 255]);
        let count = |image: &Image| image.pixels().as_chunks::<3>().0.iter().filter(|pixel| pixel[0] > 100).count();
        let half = laid(json!({"scale": 0.5}), image.clone(), logo.clone());
        assert_eq!(count(&half), 50 * 25);
        let turned = laid(json!({"scale": 0.5, "rotate": 90}), image.clone(), logo.clone());
        assert_eq!(turned.pixels()[(26 * 100 + 50) * 3..][..3], [200, 100, 50], "upright now");
        assert_eq!(turned.pixels()[(50 * 100 + 26) * 3..][..3], [0, 0, 0]);
        let slanted = laid(json!({"scale": 0.5, "rotate": 45}), image, logo);
        assert!(count(&slanted).abs_diff(50 * 25) < 60, "{}", count(&slanted));
    }

    #[test]
    fn of_an_animation_each_layer_is_made_once() {
        let logo = Image::filled(Size::new(40, 20), Layout::Rgb, [200, 100, 50, 255]);
        let assets = assets(logo);
        let page = |side| Image::filled(Size::new(side, side), Layout::Rgb, [0, 0, 0, 255]);
        let turned = overlay(json!({"scale": 0.5, "rotate": 30}));
        let laid = |bench: &Bench<'_>, operation: &Overlay, side: u32| {
            operation.prepared(page(side).size(), bench, &Unattended).unwrap()
        };
        let same = |one: &Image, other: &Image| one.pixels().as_ptr() == other.pixels().as_ptr();
        let animated = Bench::new(&assets, 1 << 30).of_frames(2);
        let (first, second) = (laid(&animated, &turned, 100), laid(&animated, &turned, 100));
        assert!(same(&first, &second), "the same pixels, not equal ones");
        let still = Bench::new(&assets, 1 << 30);
        assert!(!same(&laid(&still, &turned, 100), &laid(&still, &turned, 100)), "nobody asks again");
        assert_eq!(laid(&still, &turned, 100).pixels(), first.pixels());
        for (other, side) in [(overlay(json!({"scale": 0.5})), 100), (turned, 60)] {
            let kept = laid(&animated, &other, side);
            assert_eq!(kept.pixels(), laid(&still, &other, side).pixels(), "{other:?} on {side}");
        }
        // What is too much to be kept is made anew.
        let vast = overlay(json!({"scale": 1, "rotate": 1}));
        assert!(!same(&laid(&animated, &vast, 5000), &laid(&animated, &vast, 5000)));
    }

    #[test]
    fn a_larger_input_is_clipped_and_transparency_shows_what_lies_under() {
        let image = Image::filled(Size::new(4, 4), Layout::Rgba, [1, 2, 3, 40]);
        let mut logo = Image::filled(Size::new(20, 20), Layout::Rgba, [0, 0, 0, 0]);
        logo.paste(&Image::filled(Size::new(10, 20), Layout::Rgba, [50, 60, 70, 255]), 10, 0);
        let out = laid(json!({}), image, logo);
        assert_eq!(out.pixels()[..4], [1, 2, 3, 40]);
        assert_eq!(out.pixels()[8..12], [50, 60, 70, 255]);
    }

    #[test]
    fn without_its_input_it_says_so_and_scales_have_bounds() {
        let image = Image::filled(Size::new(2, 2), Layout::Grey, [0, 0, 0, 255]);
        let error = overlay(json!({})).apply(image, &Unattended).unwrap_err();
        assert_eq!(error.to_string(), "input: the asset \"logo\" is not there");
        let thin = assets(Image::filled(Size::new(1, 500), Layout::Grey, [0, 0, 0, 255]));
        let shape = Shape { size: Size::new(1000, 10), layout: Layout::Grey };
        let error = overlay(json!({"scale": 1})).plan_with(shape, &thin).unwrap_err();
        assert!(error.to_string().contains("1000×500000"), "{error}");
    }
}
