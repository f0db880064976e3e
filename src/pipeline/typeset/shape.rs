//! Shaping: from a run of one direction and one script to glyphs.

use std::ops::Range;

use harfrust::{Direction, FontRef, GlyphBuffer, ShapeOptions, ShaperData, UnicodeBuffer};
use skrifa::{MetadataProvider, instance::LocationRef, instance::Size as FontSize};
use unicode_script::{Script, UnicodeScript};

use super::{Glyph, Line};

/// Most missing characters that are told apart.
const MISSING_MAX: usize = 16;

/// One font at one size.
pub(super) struct Shaper<'a> {
    font: &'a FontRef<'a>,
    data: ShaperData,
    /// Pixels per unit of the font.
    scale: f32,
    buffer: Option<UnicodeBuffer>,
    pub(super) missing: Vec<char>,
}

impl<'a> Shaper<'a> {
    pub(super) fn new(font: &'a FontRef<'a>, size: f32) -> Shaper<'a> {
        let metrics = font.metrics(FontSize::unscaled(), LocationRef::default());
        let scale = size / f32::from(metrics.units_per_em.max(1));
        Shaper { font, data: ShaperData::new(font), scale, buffer: None, missing: Vec::new() }
    }

    fn shaped(&mut self, text: &str, rightwards: bool) -> GlyphBuffer {
        let mut buffer = self.buffer.take().unwrap_or_default();
        buffer.push_str(text);
        buffer.set_direction(if rightwards { Direction::LeftToRight } else { Direction::RightToLeft });
        buffer.guess_segment_properties();
        self.data.shaper(self.font).build().shape(buffer, ShapeOptions::new())
    }

    /// Adds the glyphs of a run at the right end of a line.
    pub(super) fn shape(&mut self, text: &str, rightwards: bool, line: &mut Line) {
        let shaped = self.shaped(text, rightwards);
        for (info, position) in shaped.glyph_infos().iter().zip(shaped.glyph_positions()) {
            let x = line.width + position.x_offset as f32 * self.scale;
            line.glyphs.push(Glyph { id: info.glyph_id, x, y: position.y_offset as f32 * self.scale });
            line.width += position.x_advance as f32 * self.scale;
        }
        self.buffer = Some(shaped.clear());
    }

    /// Writes the advance of each cluster of a run to where it begins, and notes what has no glyph.
    pub(super) fn measure(&mut self, text: &str, rightwards: bool, advances: &mut [f32]) {
        let shaped = self.shaped(text, rightwards);
        for (info, position) in shaped.glyph_infos().iter().zip(shaped.glyph_positions()) {
            let start = info.cluster as usize;
            if let Some(advance) = advances.get_mut(start) {
                *advance += position.x_advance as f32 * self.scale;
            }
            if info.glyph_id == 0
                && let Some(letter) = text.get(start..).and_then(|rest| rest.chars().next())
                && self.missing.len() < MISSING_MAX
                && !self.missing.contains(&letter)
            {
                self.missing.push(letter);
            }
        }
        self.buffer = Some(shaped.clear());
    }
}

/// The parts of a stretch that are of one script each; what belongs to none goes with what stands before it.
pub(super) fn runs(text: &str, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut script = None;
    for (index, letter) in text[range.clone()].char_indices() {
        let place = range.start + index;
        let own = Some(letter.script())
            .filter(|own| !matches!(own, Script::Common | Script::Inherited | Script::Unknown));
        let changes = own.is_some() && script.is_some() && own != script;
        match parts.last_mut() {
            Some(last) if !changes => last.end = place + letter.len_utf8(),
            _ => parts.push(place..place + letter.len_utf8()),
        }
        script = own.or(script);
    }
    parts.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_of_one_script() {
        let text = "ab, αβ! где 12 x";
        let parts: Vec<&str> = runs(text, 0..text.len()).map(|range| &text[range]).collect();
        assert_eq!(parts, ["ab, ", "αβ! ", "где 12 ", "x"]);
        assert_eq!(runs("", 0..0).count(), 0);
    }
}
