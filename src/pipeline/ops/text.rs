//! `text`: writes on the image.
//!
//! ```json
//! {"op": "text", "text": "© Minilab", "size": 32, "color": "white", "stroke_color": "black", "stroke_width": 2, "gravity": "southeast", "x": 20, "y": 20}
//! ```
//!
//! Line feeds end a line, and lines wider than `max_width` are broken where Unicode allows it (UAX #14). Letters are shaped with the font's
//! kerning, ligatures and marks; right-to-left text runs as the Unicode Bidirectional Algorithm says, each paragraph in its own direction.
//! `stroke_width` is how far the stroke reaches beyond each letter; it lies under the letters. A `background` fills the block of text and a
//! quarter of `size` around it. Offsets count inwards from the edge that `gravity` names, as with `overlay`. Text that would need more than
//! twice the image's width or height is refused. The bundled fonts have Latin, Greek and Cyrillic letters; others (Arabic, Hebrew, Chinese, emoji)
//! take a font of the settings (`fonts.NAME`) that has them. What the font has no glyph for shows as an empty box, and the plan says so: warning
//! `glyphs_missing`.

use serde::{Deserialize, Serialize};

use super::{About, Op, OpError, Rotate, Step, overlay::OFFSET_MAX, param};
use crate::pipeline::{
    Assets, Bench, Control, Gravity, Kind, Length,
    color::{self, Rgba},
    fonts,
    image::{Image, Layout, Shape, Size},
    layer::{self, Blend, Layer, Spot},
    length::Offset,
    params::unknown,
    typeset::{self, Align, Ink, Set},
};

/// Most bytes of a text.
const TEXT_BYTES_MAX: usize = 4096;
/// Most characters without a glyph that are spelled out.
const MISSING_SPELLED: usize = 8;
/// Bytes that shaping and drawing may take per byte of text: glyphs, outlines and the edges of a line.
const BYTES_PER_TEXT_BYTE: u64 = 4096;

/// Writes on the image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// What is written.
    pub text: String,
    /// Name of the font.
    #[serde(default = "default_font")]
    pub font: String,
    /// Pixels per em.
    #[serde(default = "default_size")]
    pub size: f64,
    /// Of the letters.
    #[serde(default = "black", with = "color::text")]
    pub color: Rgba,
    /// Behind the text.
    #[serde(default = "color::transparent", with = "color::text")]
    pub background: Rgba,
    /// Of the line around each letter.
    #[serde(default = "color::white", with = "color::text")]
    pub stroke_color: Rgba,
    /// How far that line reaches beyond the letter, in pixels.
    #[serde(default)]
    pub stroke_width: f64,
    /// Where the text lies.
    #[serde(default)]
    pub gravity: Gravity,
    /// Offset inwards from the left or right edge, or from the middle to the right.
    #[serde(default)]
    pub x: Offset,
    /// Offset inwards from the top or bottom edge, or from the middle down.
    #[serde(default)]
    pub y: Offset,
    /// Widest line, before it is broken.
    #[serde(default = "whole_width")]
    pub max_width: Length,
    /// How lines shorter than the longest lie.
    #[serde(default)]
    pub align: Align,
    /// 0 shows nothing of it, 1 all.
    #[serde(default = "one")]
    pub opacity: f64,
    /// Degrees clockwise.
    #[serde(default)]
    pub rotate: f64,
}

fn default_font() -> String {
    fonts::DEFAULT.to_owned()
}

fn default_size() -> f64 {
    24.0
}

fn black() -> Rgba {
    [0, 0, 0, 255]
}

fn whole_width() -> Length {
    Length::Percent(100.0)
}

fn one() -> f64 {
    1.0
}

const OFFSET: Kind = Kind::Offset { most: OFFSET_MAX };

pub(super) const ABOUT: About = About {
    name: "text",
    summary: "Writes on the image.",
    params: &[
        param("text", Kind::Text { bytes_max: TEXT_BYTES_MAX }, None, "What is written; required."),
        param("font", Kind::Text { bytes_max: 64 }, Some("\"sans\""), "sans, sans-bold, or a font of the settings."),
        param("size", Kind::Number { min: 1.0, max: 2000.0 }, Some("24"), "Pixels per em."),
        param("color", Kind::Color, Some("\"black\""), "Colour of the letters."),
        param("background", Kind::Color, Some("\"transparent\""), "Colour behind the text."),
        param("stroke_color", Kind::Color, Some("\"white\""), "Colour of the line around each letter."),
        param(
            "stroke_width",
            Kind::Number { min: 0.0, max: 200.0 },
            Some("0"),
            "How far that line reaches beyond the letter, in pixels.",
        ),
        param("gravity", Kind::Gravity, Some("\"center\""), "Where the text lies."),
        param(
            "x",
            OFFSET,
            Some("0"),
            "Offset inwards from the left or right edge; from the middle, to the right.",
        ),
        param("y", OFFSET, Some("0"), "Offset inwards from the top or bottom edge; from the middle, down."),
        param(
            "max_width",
            Kind::Length { min: 1, max: 16_384 },
            Some("\"100%\""),
            "Widest line before it is broken, in pixels or of the image's width.",
        ),
        param(
            "align",
            Kind::Choice(&["left", "center", "right"]),
            Some("\"left\""),
            "How lines shorter than the longest lie.",
        ),
        param("opacity", Kind::Number { min: 0.0, max: 1.0 }, Some("1"), "0 shows nothing of it, 1 all."),
        param("rotate", Kind::Number { min: -360.0, max: 360.0 }, Some("0"), "Degrees clockwise."),
    ],
    required: &["text"],
    example: r#"{"op": "text", "text": "© Minilab", "size": 32, "color": "white", "gravity": "southeast", "x": 20, "y": 20}"#,
};

/// Text that is set, and the block that it fills.
struct Block<'a> {
    set: Set,
    font: harfrust::FontRef<'a>,
    size: Size,
    ink: Ink,
}

impl Text {
    /// Sets the text for an image of this size.
    fn block<'a>(&self, whole: Size, assets: &'a Assets) -> Result<Block<'a>, OpError> {
        let refused = |field, detail| OpError::Parameter { field, detail };
        let font = assets.fonts().get(&self.font).ok_or_else(|| {
            let names: Vec<&str> = assets.fonts().names().collect();
            refused("font", unknown("font", &self.font, &names))
        })?;
        let padding = if self.background[3] > 0 { (self.size / 4.0).round() } else { 0.0 };
        let ink = Ink {
            color: self.color,
            background: self.background,
            stroke_color: self.stroke_color,
            stroke_width: self.stroke_width as f32,
            margin: (padding + self.stroke_width.ceil()) as f32,
        };
        let width_max = (self.max_width.of(whole.width).max(1) as f32 - 2.0 * ink.margin).max(1.0);
        let set = typeset::set(&self.text, &font, self.size as f32, width_max);
        let side = |inner: f32| (inner + 2.0 * ink.margin).ceil().max(1.0);
        let (width, height) = (side(set.width()), side(set.height()));
        if width > 2.0 * whole.width as f32 || height > 2.0 * whole.height as f32 {
            let detail = format!(
                "the text takes {width}×{height} pixels, more than twice the image of {whole}; choose a smaller size, or fewer words"
            );
            return Err(refused("size", detail));
        }
        Ok(Block { set, font, size: Size::new(width as u32, height as u32), ink })
    }

    fn turn(&self) -> Rotate {
        Rotate { angle: self.rotate, background: color::TRANSPARENT }
    }
}

impl Op for Text {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        Ok(Step::to(Shape { layout: layer::layout(shape.layout, Layout::Rgba), ..shape }))
    }

    fn plan_with(&self, shape: Shape, assets: &Assets) -> Result<Step, OpError> {
        let set = self.block(shape.size, assets)?.set;
        let note = (!set.missing.is_empty()).then(|| ("glyphs_missing", missing(&self.font, &set.missing)));
        Ok(Step { note, ..self.plan(shape)? })
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        self.apply_with(image, &Bench::new(&Assets::none(), 0), control)
    }

    fn apply_with(&self, image: Image, bench: &Bench<'_>, control: &dyn Control) -> Result<Image, OpError> {
        let block = self.block(image.size(), bench.assets())?;
        let drawn = typeset::draw(&block.set, &block.font, block.size, self.align, block.ink, control)?;
        let drawn = if self.rotate == 0.0 { drawn } else { self.turn().apply(drawn, control)? };
        let layer = Layer {
            image: drawn,
            spot: Spot { gravity: self.gravity, x: self.x, y: self.y },
            opacity: self.opacity,
            tile: false,
            blend: Blend::Over,
        };
        Ok(layer::lay(image, layer, control)?)
    }

    fn working_bytes_with(&self, shape: Shape, _: Size, assets: &Assets) -> u64 {
        let Ok(block) = self.block(shape.size, assets) else { return 0 };
        let drawn = Shape { size: block.size, layout: Layout::Rgba };
        let turned = self.turn().plan(drawn).map_or(drawn, |step| step.shape);
        // The drawing, its pixels with straight alpha, and those turned.
        2 * drawn.bytes() + 2 * turned.bytes() + self.text.len() as u64 * BYTES_PER_TEXT_BYTE
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
        let empty = self.text.trim().is_empty().then(|| ("text", "there is nothing to write".to_owned()));
        empty.into_iter().chain(layer::mistakes(self.gravity)).collect()
    }
}

fn missing(font: &str, letters: &[char]) -> String {
    let spell = |letter: &char| format!("{letter:?} (U+{:04X})", u32::from(*letter));
    let spelled: Vec<String> = letters.iter().take(MISSING_SPELLED).map(spell).collect();
    let more = match letters.len().saturating_sub(MISSING_SPELLED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "the font {font:?} has no glyph for {}{more}: an empty box stands for each; name a font of the settings (fonts.*) that has them",
        spelled.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::Unattended;
    use super::*;
    use serde_json::{Value, json};

    fn text(mut fields: Value) -> Text {
        fields.as_object_mut().unwrap().entry("text").or_insert(json!("Hello"));
        serde_json::from_value(fields).unwrap()
    }

    fn white(width: u32, height: u32) -> Image {
        Image::filled(Size::new(width, height), Layout::Rgb, [255, 255, 255, 255])
    }

    /// Left, top, right and bottom of what is not white.
    fn ink(image: &Image) -> (u32, u32, u32, u32) {
        let width = image.size().width;
        let inked = image.pixels().as_chunks::<3>().0.iter().enumerate().filter(|(_, pixel)| **pixel != [255; 3]);
        inked.fold((u32::MAX, u32::MAX, 0, 0), |(left, top, right, bottom), (index, _)| {
            let (x, y) = (index as u32 % width, index as u32 / width);
            (left.min(x), top.min(y), right.max(x), bottom.max(y))
        })
    }

    fn written(fields: Value, image: Image) -> Image {
        text(fields).apply(image, &Unattended).unwrap()
    }

    #[test]
    fn it_stands_where_gravity_and_offsets_say() {
        let (left, top, right, bottom) = ink(&written(json!({"gravity": "northwest", "x": 10, "y": 10}), white(200, 100)));
        // Hello at 24 px is 58 wide; capitals of Noto Sans are 0.714 em high.
        assert!((11..14).contains(&left) && (66..70).contains(&right), "{left} {right}");
        assert!((17..20).contains(&(bottom - top)), "{top} {bottom}");
        let (left, top, _, bottom) = ink(&written(json!({"gravity": "southeast"}), white(200, 100)));
        assert!(left > 140 && top > 60 && bottom < 100);
    }

    #[test]
    fn strokes_reach_beyond_the_letters_and_backgrounds_around_the_block() {
        let plain = ink(&written(json!({}), white(200, 100)));
        let stroked = ink(&written(json!({"stroke_width": 3, "stroke_color": "red"}), white(200, 100)));
        assert!(plain.0 - stroked.0 >= 2 && stroked.2 - plain.2 >= 2 && plain.1 - stroked.1 >= 2, "{plain:?} {stroked:?}");
        let boxed = written(json!({"background": "#ff000080"}), white(200, 100));
        let (left, top, right, bottom) = ink(&boxed);
        assert_eq!((right + 1 - left, bottom + 1 - top), (71, 45), "58.2 × 32.7 and 6 on each side");
        assert_eq!(boxed.pixels()[((top * 200 + left) * 3) as usize..][..3], [255, 127, 127]);
    }

    #[test]
    fn lines_break_and_align() {
        let image = written(json!({"text": "wide words\ni", "align": "right", "gravity": "west"}), white(300, 200));
        let (_, _, right, bottom) = ink(&image);
        let last: Vec<u32> = (0..300).filter(|x| image.pixels()[((bottom - 4) * 300 + x) as usize * 3] < 128).collect();
        assert!(last.iter().all(|x| *x + 6 > right), "{last:?} {right}");
        let narrow = ink(&written(json!({"text": "one two three", "max_width": 60}), white(300, 200)));
        let wide = ink(&written(json!({"text": "one two three"}), white(300, 200)));
        assert!(narrow.2 - narrow.0 <= 60 && narrow.3 - narrow.1 > 2 * (wide.3 - wide.1), "{narrow:?} {wide:?}");
    }

    #[test]
    fn it_turns_and_fades() {
        let upright = ink(&written(json!({"rotate": 90}), white(200, 200)));
        assert!(upright.3 - upright.1 > 2 * (upright.2 - upright.0), "{upright:?}");
        let faint = written(json!({"opacity": 0.25}), white(200, 100));
        assert_eq!(faint.pixels().iter().min(), Some(&191));
    }

    #[test]
    fn what_does_not_fit_or_is_unknown_is_refused_with_its_parameter() {
        let refused = |fields: Value| text(fields).apply(white(50, 20), &Unattended).unwrap_err().to_string();
        assert!(refused(json!({"size": 500})).starts_with("size: "));
        let font = refused(json!({"font": "sanz"}));
        assert!(font.starts_with("font: ") && font.contains("sans-bold"), "{font}");
        assert_eq!(text(json!({"text": " \n ", "gravity": "smart"})).mistakes().len(), 2);
    }

    #[test]
    fn missing_glyphs_are_planned_as_boxes_and_told() {
        let note = |words: &str| {
            let shape = Shape { size: Size::new(400, 100), layout: Layout::Rgb };
            text(json!({"text": words})).plan_with(shape, &Assets::none()).unwrap().note
        };
        assert_eq!(note("Grüße, Γειά, Привет"), None);
        let (code, detail) = note("a漢").unwrap();
        assert_eq!(code, "glyphs_missing");
        assert!(detail.starts_with("the font \"sans\" has no glyph for '漢' (U+6F22): an empty box"), "{detail}");
        let (_, detail) = note("שלום עולם, مرحبا").unwrap();
        assert!(detail.contains("'ש' (U+05E9), 'ל' (U+05DC)") && detail.contains(" and 2 more: "), "{detail}");
        // A box is drawn where the letter would be.
        let boxed = ink(&written(json!({"text": "א", "size": 50}), white(200, 100)));
        assert!(boxed.2 - boxed.0 > 10 && boxed.3 - boxed.1 > 20, "{boxed:?}");
    }

    #[test]
    fn the_longest_and_oddest_texts_are_set_in_bounded_time() {
        let began = std::time::Instant::now();
        for piece in ["<&>\"' ", "\u{202e}a", "a\u{301}\u{302}\u{303}", "fi", "\u{200d}", "\0\u{7}", "ﷺ", "🏳️‍🌈", "\n"] {
            let long: String = piece.chars().cycle().take(TEXT_BYTES_MAX / 4).collect();
            // Too much for the image or not: anything but a panic.
            let _ = text(json!({"text": long, "size": 8})).apply(white(400, 400), &Unattended);
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    }
}
