//! Text set into lines: which glyphs, where they stand, and what all of them need.
//!
//! Owns the way from text to positioned glyphs: paragraphs, their direction (Unicode Bidirectional Algorithm), line breaks (UAX #14), runs
//! of one script, shaping (HarfBuzz's, by `harfrust`), alignment. `draw` makes pixels of them. Bounded by the length of its text. Called by
//! `text`.

mod draw;
mod shape;

use harfrust::FontRef;
use skrifa::{MetadataProvider, instance::LocationRef, instance::Size as FontSize};
use unicode_bidi::{BidiInfo, Level};
use unicode_linebreak::{BreakOpportunity, linebreaks};

pub(super) use draw::{Ink, draw};
use shape::{Shaper, runs};

/// How lines shorter than the longest lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// At the left edge.
    #[default]
    Left,
    /// In the middle.
    Center,
    /// At the right edge.
    Right,
}

/// One glyph; positions in pixels from the left end of its line's baseline, y upwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Glyph {
    id: u32,
    x: f32,
    y: f32,
}

/// One line of glyphs in the order from left to right.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Line {
    glyphs: Vec<Glyph>,
    width: f32,
}

/// Text set at one size.
#[derive(Clone, Debug)]
pub(super) struct Set {
    lines: Vec<Line>,
    size: f32,
    ascent: f32,
    line_height: f32,
    /// Characters that the font has no glyph for, each once, in the order of the text.
    pub(super) missing: Vec<char>,
}

impl Set {
    /// Width of the longest line, in pixels.
    pub(super) fn width(&self) -> f32 {
        self.lines.iter().map(|line| line.width).fold(0.0, f32::max)
    }

    /// Height of all lines, in pixels.
    pub(super) fn height(&self) -> f32 {
        self.line_height * self.lines.len() as f32
    }
}

/// Sets text at `size` pixels per em into lines no wider than `width_max` pixels; a word that is wider on its own is broken anywhere. Line
/// feeds end a line; tabs count as spaces, other control characters as nothing.
pub(super) fn set(text: &str, font: &FontRef<'_>, size: f32, width_max: f32) -> Set {
    let metrics = font.metrics(FontSize::new(size), LocationRef::default());
    let mut set = Set {
        lines: Vec::new(),
        size,
        ascent: metrics.ascent,
        line_height: (metrics.ascent - metrics.descent + metrics.leading).max(1.0),
        missing: Vec::new(),
    };
    let mut shaper = Shaper::new(font, size);
    for paragraph in text.replace("\r\n", "\n").split(['\n', '\r', '\u{2028}', '\u{2029}', '\u{85}']) {
        let plain: String = paragraph
            .chars()
            .filter_map(|letter| match letter {
                '\t' => Some(' '),
                other => (!other.is_control()).then_some(other),
            })
            .collect();
        set_paragraph(&plain, &mut shaper, width_max, &mut set);
    }
    set.missing = shaper.missing;
    // Lines were shaped as they are seen, which is not the order of what runs from right to left.
    set.missing.sort_by_cached_key(|letter| text.find(*letter));
    set
}

fn set_paragraph(text: &str, shaper: &mut Shaper<'_>, width_max: f32, set: &mut Set) {
    let bidi = BidiInfo::new(text, None);
    let Some(paragraph) = bidi.paragraphs.first() else {
        set.lines.push(Line::default());
        return;
    };
    for range in break_lines(text, &bidi.levels, shaper, width_max) {
        let end = range.start + text[range.clone()].trim_end().len();
        let (levels, visual) = bidi.visual_runs(paragraph, range.start..end.max(range.start));
        let mut line = Line::default();
        for run in visual {
            let rightwards = levels[run.start].is_ltr();
            let mut parts: Vec<_> = runs(text, run).collect();
            if !rightwards {
                parts.reverse();
            }
            for part in parts {
                shaper.shape(&text[part], rightwards, &mut line);
            }
        }
        set.lines.push(line);
    }
}

/// Where lines begin and end: as late as the width allows, at the places that UAX #14 allows.
fn break_lines(
    text: &str,
    levels: &[Level],
    shaper: &mut Shaper<'_>,
    width_max: f32,
) -> Vec<std::ops::Range<usize>> {
    let advances = advances(text, levels, shaper);
    // Width of the text up to each byte, so that any stretch is one subtraction.
    let mut until = Vec::with_capacity(text.len() + 1);
    until.push(0.0f32);
    for advance in &advances {
        until.push(until.last().copied().unwrap_or(0.0) + advance);
    }
    let seen_end = |end: usize, start: usize| start + text[start..end].trim_end().len();
    let fits = |start: usize, end: usize| until[seen_end(end, start)] - until[start] <= width_max;
    let mut lines = Vec::new();
    let (mut start, mut last) = (0, 0);
    for (place, opportunity) in linebreaks(text) {
        if !fits(start, place) && last > start {
            lines.push(start..last);
            start = last;
        }
        while !fits(start, place) {
            let end = seen_end(place, start);
            let cut = cut_word(text, &advances, &until, start..end, width_max);
            if cut >= end {
                break;
            }
            lines.push(start..cut);
            start = cut;
        }
        last = place;
        if opportunity == BreakOpportunity::Mandatory {
            lines.push(start..place);
            start = place;
        }
    }
    if lines.is_empty() {
        lines.push(0..text.len());
    }
    lines
}

/// Where a word that is too wide is cut: between clusters, after at least one.
fn cut_word(
    text: &str,
    advances: &[f32],
    until: &[f32],
    word: std::ops::Range<usize>,
    width_max: f32,
) -> usize {
    let std::ops::Range { start, end } = word;
    let mut cut = end;
    for place in start + 1..end {
        // Only where a cluster with a width begins may a line begin.
        if !text.is_char_boundary(place) || advances[place] == 0.0 {
            continue;
        }
        if until[place] - until[start] > width_max && cut < end {
            break;
        }
        cut = place;
        if until[place] - until[start] > width_max {
            break;
        }
    }
    cut
}

/// The advance of each cluster, at the byte where it begins.
fn advances(text: &str, levels: &[Level], shaper: &mut Shaper<'_>) -> Vec<f32> {
    let mut advances = vec![0.0; text.len()];
    let mut start = 0;
    while start < text.len() {
        let end = (start + 1..text.len()).find(|index| levels[*index] != levels[start]).unwrap_or(text.len());
        for part in runs(text, start..end) {
            shaper.measure(&text[part.clone()], levels[start].is_ltr(), &mut advances[part]);
        }
        start = end;
    }
    advances
}

#[cfg(test)]
mod tests {
    use super::super::fonts::Fonts;
    use super::*;

    fn lines(text: &str, width_max: f32) -> Vec<(usize, f32)> {
        let fonts = Fonts::bundled();
        let set = set(text, &fonts.get("sans").unwrap(), 10.0, width_max);
        set.lines.iter().map(|line| (line.glyphs.len(), line.width)).collect()
    }

    #[test]
    fn advances_are_those_of_the_font_with_its_kerning() {
        // From the font's own tables: H 741, e 564, l 258 twice, o 605 of 1000 units, no kerning among them.
        let set = lines("Hello", 1000.0);
        assert_eq!(set[0].0, 5);
        assert!((set[0].1 - 24.26).abs() < 0.02, "{set:?}");
        let apart = lines("A", 1000.0)[0].1 + lines("V", 1000.0)[0].1;
        assert!(lines("AV", 1000.0)[0].1 < apart - 0.2, "A and V move together");
    }

    #[test]
    fn lines_break_between_words_and_where_they_must() {
        let whole = lines("one two three", 1000.0)[0].1;
        let broken = lines("one two three", whole - 1.0);
        assert_eq!(
            broken.iter().map(|line| line.0).collect::<Vec<_>>(),
            [7, 5],
            "the space at the end is dropped"
        );
        assert_eq!(lines("one\ntwo\r\n\nthree", 1000.0).len(), 4);
        assert_eq!(lines("", 10.0).len(), 1);
        let word = lines("incomprehensible", 30.0);
        assert!(word.len() > 2 && word.iter().all(|line| line.1 <= 30.0), "{word:?}");
        assert_eq!(word.iter().map(|line| line.0).sum::<usize>(), 16, "no letter is lost");
        let narrow = lines("abc de", 0.5);
        assert_eq!(
            narrow.iter().map(|line| line.0).collect::<Vec<_>>(),
            [1; 5],
            "one letter a line at least"
        );
        assert_eq!(lines("a\u{301}b", 0.5).len(), 2, "an accent stays with its letter");
    }

    #[test]
    fn right_to_left_text_is_set_from_the_right() {
        let fonts = Fonts::bundled();
        let font = fonts.get("sans").unwrap();
        // The override makes Latin letters run leftwards, which any font can show.
        let forced = set("\u{202e}abc", &font, 10.0, 1000.0).lines.remove(0);
        let plain = set("abc", &font, 10.0, 1000.0).lines.remove(0);
        let shown = |line: &Line| -> Vec<u32> {
            line.glyphs
                .iter()
                .map(|glyph| glyph.id)
                .filter(|id| plain.glyphs.iter().any(|one| one.id == *id))
                .collect()
        };
        let mut reversed = shown(&plain);
        reversed.reverse();
        assert_eq!(shown(&forced), reversed);
    }

    #[test]
    fn characters_without_a_glyph_are_told_once() {
        let fonts = Fonts::bundled();
        let set = set("a漢b漢字", &fonts.get("sans").unwrap(), 10.0, 1000.0);
        assert_eq!(set.missing, ['漢', '字']);
    }
}
