//! The screen of an animation: paints parts over each other and clears up between them.
//!
//! Owns blending and disposal, which GIF, WebP and APNG share. Knows no file format. Called by the readers beside it.

use crate::pipeline::image::{Image, Layout, Size};

/// How a part meets what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blend {
    /// Its alpha decides what shines through.
    Over,
    /// It replaces everything in its rectangle.
    Replace,
}

/// What becomes of a part before the next one is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposal {
    /// It stays.
    Keep,
    /// Its rectangle becomes transparent, as browsers do it, whatever background colour the file names.
    Clear,
    /// Its rectangle becomes what it was before.
    Restore,
}

/// What a frame paints. It may stick out at the right and at the bottom.
pub(super) struct Part {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) image: Image,
    pub(super) blend: Blend,
    pub(super) disposal: Disposal,
}

/// The screen, in RGBA.
pub(super) struct Canvas {
    size: Size,
    pixels: Vec<u8>,
    /// A rectangle (left, top, width, height) to be put right before the next part: to this, or to nothing.
    undo: Option<([usize; 4], Option<Vec<u8>>)>,
}

impl Canvas {
    /// A transparent screen.
    pub(super) fn new(size: Size) -> Canvas {
        Canvas { size, pixels: vec![0; size.pixels() as usize * 4], undo: None }
    }

    /// What is shown.
    pub(super) fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Clears up behind the part before, and paints this one.
    pub(super) fn paint(&mut self, part: Part) {
        self.clear_up();
        let size = part.image.size();
        let (left, top) = (part.left.min(self.size.width), part.top.min(self.size.height));
        let width = size.width.min(self.size.width - left);
        let height = size.height.min(self.size.height - top);
        let rectangle = [left, top, width, height].map(|side| side as usize);
        self.undo = match part.disposal {
            Disposal::Keep => None,
            Disposal::Clear => Some((rectangle, None)),
            Disposal::Restore => Some((rectangle, Some(self.copy(rectangle)))),
        };
        let image = part.image.with_layout(Layout::Rgba);
        let row = size.width as usize * 4;
        for (line, source) in image.pixels().chunks_exact(row).take(height as usize).enumerate() {
            let target = self.row(rectangle, line);
            let source = &source[..target.len()];
            match part.blend {
                Blend::Replace => target.copy_from_slice(source),
                Blend::Over => {
                    for (under, over) in
                        target.as_chunks_mut::<4>().0.iter_mut().zip(source.as_chunks::<4>().0)
                    {
                        *under = blend(*over, *under);
                    }
                }
            }
        }
    }

    /// Clears up behind the part before; all that a frame does which paints nothing.
    pub(super) fn clear_up(&mut self) {
        let Some((rectangle, saved)) = self.undo.take() else { return };
        let row = rectangle[2] * 4;
        for line in 0..rectangle[3] {
            let target = self.row(rectangle, line);
            match &saved {
                Some(saved) => target.copy_from_slice(&saved[line * row..][..row]),
                None => target.fill(0),
            }
        }
    }

    fn copy(&mut self, rectangle: [usize; 4]) -> Vec<u8> {
        let mut saved = Vec::with_capacity(rectangle[2] * rectangle[3] * 4);
        for line in 0..rectangle[3] {
            saved.extend_from_slice(self.row(rectangle, line));
        }
        saved
    }

    /// One row of a rectangle inside the screen.
    fn row(&mut self, [left, top, width, _]: [usize; 4], line: usize) -> &mut [u8] {
        let start = ((top + line) * self.size.width as usize + left) * 4;
        &mut self.pixels[start..start + width * 4]
    }
}

/// Straight alpha over straight alpha (PNG third edition, 13.16), in whole numbers, rounded to nearest.
fn blend(over: [u8; 4], under: [u8; 4]) -> [u8; 4] {
    match (over[3], under[3]) {
        (255, _) | (_, 0) => return over,
        (0, _) => return under,
        _ => {}
    }
    let over_weight = u32::from(over[3]) * 255;
    let under_weight = (255 - u32::from(over[3])) * u32::from(under[3]);
    let sum = over_weight + under_weight;
    let mut mixed = [0, 0, 0, ((sum + 127) / 255) as u8];
    for channel in 0..3 {
        let weighed = u32::from(over[channel]) * over_weight + u32::from(under[channel]) * under_weight;
        mixed[channel] = ((weighed + sum / 2) / sum) as u8;
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(left: u32, side: u32, color: [u8; 4], blend: Blend, disposal: Disposal) -> Part {
        let image = Image::filled(Size::new(side, 1), Layout::Rgba, color);
        Part { left, top: 0, image, blend, disposal }
    }

    fn reds(canvas: &Canvas) -> Vec<u8> {
        canvas
            .pixels()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|pixel| if pixel[3] == 0 { 0 } else { pixel[0] })
            .collect()
    }

    #[test]
    fn parts_stay_vanish_or_give_back_what_was_there() {
        let mut canvas = Canvas::new(Size::new(4, 1));
        canvas.paint(part(0, 4, [1, 0, 0, 255], Blend::Over, Disposal::Keep));
        canvas.paint(part(1, 2, [2, 0, 0, 255], Blend::Over, Disposal::Restore));
        assert_eq!(reds(&canvas), [1, 2, 2, 1]);
        canvas.paint(part(0, 1, [3, 0, 0, 255], Blend::Over, Disposal::Clear));
        assert_eq!(reds(&canvas), [3, 1, 1, 1]);
        canvas.paint(part(3, 9, [4, 0, 0, 255], Blend::Over, Disposal::Keep));
        assert_eq!(reds(&canvas), [0, 1, 1, 4], "cleared, and what sticks out is cut off");
        canvas.paint(part(9, 1, [5, 0, 0, 255], Blend::Over, Disposal::Restore));
        assert_eq!(reds(&canvas), [0, 1, 1, 4], "wholly outside");
    }

    #[test]
    fn alpha_blends_or_replaces() {
        let mut canvas = Canvas::new(Size::new(2, 1));
        canvas.paint(part(0, 2, [200, 0, 0, 255], Blend::Over, Disposal::Keep));
        canvas.paint(part(0, 1, [100, 0, 0, 128], Blend::Over, Disposal::Keep));
        assert_eq!(canvas.pixels()[..4], [150, 0, 0, 255]);
        canvas.paint(part(0, 1, [7, 0, 0, 0], Blend::Replace, Disposal::Keep));
        assert_eq!(canvas.pixels()[..4], [7, 0, 0, 0]);
        assert_eq!(blend([100, 0, 0, 128], [200, 0, 0, 128]), [133, 0, 0, 192]);
    }
}
