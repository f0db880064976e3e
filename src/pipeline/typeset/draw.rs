//! Drawing: outlines of positioned glyphs as antialiased pixels.

use harfrust::FontRef;
use resvg::tiny_skia::{Color, FillRule, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, Transform};
use skrifa::{
    GlyphId, MetadataProvider,
    instance::{LocationRef, Size as FontSize},
    outline::{DrawSettings, OutlinePen},
};

use super::{Align, Line, Set};
use crate::pipeline::{
    Control, Interrupt,
    color::Rgba,
    image::{Image, Layout, Size},
};

/// What a block of text is painted in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::pipeline) struct Ink {
    /// Of the letters.
    pub(in crate::pipeline) color: Rgba,
    /// Behind the whole block.
    pub(in crate::pipeline) background: Rgba,
    /// Of the line around each letter.
    pub(in crate::pipeline) stroke_color: Rgba,
    /// How far that line reaches beyond the letter, in pixels.
    pub(in crate::pipeline) stroke_width: f32,
    /// Room around the text, in pixels.
    pub(in crate::pipeline) margin: f32,
}

/// A block of text of this size, which [`Set::width`], [`Set::height`] and the margin have asked for.
pub(in crate::pipeline) fn draw(
    set: &Set,
    font: &FontRef<'_>,
    size: Size,
    align: Align,
    ink: Ink,
    control: &dyn Control,
) -> Result<Image, Interrupt> {
    control.check()?;
    let mut pixmap =
        Pixmap::new(size.width, size.height).expect("neither side is zero, and the plan bounds both");
    pixmap.fill(color(ink.background));
    let inner = size.width as f32 - 2.0 * ink.margin;
    let lines = set.lines.iter().enumerate().map(|(index, line)| {
        let free = inner - line.width;
        let left = match align {
            Align::Left => 0.0,
            Align::Center => free / 2.0,
            Align::Right => free,
        };
        let baseline = ink.margin + set.ascent + set.line_height * index as f32;
        (line, (ink.margin + left, baseline))
    });
    let lines: Vec<(&Line, (f32, f32))> = lines.collect();
    if ink.stroke_width > 0.0 {
        let stroke =
            Stroke { width: 2.0 * ink.stroke_width, line_join: LineJoin::Round, ..Stroke::default() };
        for (line, origin) in &lines {
            control.check()?;
            if let Some(path) = outline(line, font, set.size, *origin) {
                pixmap.stroke_path(&path, &paint(ink.stroke_color), &stroke, Transform::identity(), None);
            }
        }
    }
    for (line, origin) in &lines {
        control.check()?;
        if let Some(path) = outline(line, font, set.size, *origin) {
            pixmap.fill_path(&path, &paint(ink.color), FillRule::Winding, Transform::identity(), None);
        }
    }
    let straight = |pixel: &resvg::tiny_skia::PremultipliedColorU8| {
        let pixel = pixel.demultiply();
        [pixel.red(), pixel.green(), pixel.blue(), pixel.alpha()]
    };
    let pixels = pixmap.pixels().iter().flat_map(straight).collect();
    Ok(Image::new(size, Layout::Rgba, pixels))
}

fn color([red, green, blue, alpha]: Rgba) -> Color {
    Color::from_rgba8(red, green, blue, alpha)
}

fn paint(rgba: Rgba) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(color(rgba));
    paint
}

/// The outlines of a line; `None` when nothing of it is to be seen.
fn outline(line: &Line, font: &FontRef<'_>, size: f32, origin: (f32, f32)) -> Option<Path> {
    let outlines = font.outline_glyphs();
    let mut pen = Pen { path: PathBuilder::new(), x: 0.0, y: 0.0 };
    for glyph in &line.glyphs {
        let Some(outline) = outlines.get(GlyphId::new(glyph.id)) else { continue };
        (pen.x, pen.y) = (origin.0 + glyph.x, origin.1 - glyph.y);
        // A glyph whose outline is broken is left out, as one that has none.
        let _drawn =
            outline.draw(DrawSettings::unhinted(FontSize::new(size), LocationRef::default()), &mut pen);
    }
    pen.path.finish()
}

/// Takes outlines, whose y runs upwards from the baseline.
struct Pen {
    path: PathBuilder,
    x: f32,
    y: f32,
}

impl OutlinePen for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        self.path.move_to(self.x + x, self.y - y);
    }
    fn line_to(&mut self, x: f32, y: f32) {
        self.path.line_to(self.x + x, self.y - y);
    }
    fn quad_to(&mut self, x0: f32, y0: f32, x: f32, y: f32) {
        self.path.quad_to(self.x + x0, self.y - y0, self.x + x, self.y - y);
    }
    fn curve_to(&mut self, x0: f32, y0: f32, x1: f32, y1: f32, x: f32, y: f32) {
        let (left, base) = (self.x, self.y);
        self.path.cubic_to(left + x0, base - y0, left + x1, base - y1, left + x, base - y);
    }
    fn close(&mut self) {
        self.path.close();
    }
}
