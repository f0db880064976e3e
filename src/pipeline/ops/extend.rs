//! `extend`: adds a border.
//!
//! ```json
//! {"op": "extend", "top": 10, "right": 10, "bottom": 10, "left": 10, "mode": "mirror"}
//! ```

use serde::{Deserialize, Serialize};

use super::{About, Op, OpError, Step, param};
use crate::pipeline::{
    Control, Kind,
    color::{self, Rgba},
    image::{Image, Shape, Size},
};

/// Rows of the result between two looks at [`Control::check`].
const ROWS_PER_CHECK: usize = 256;

/// Adds pixels around an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extend {
    /// Rows added above.
    pub top: u32,
    /// Columns added at the right.
    pub right: u32,
    /// Rows added below.
    pub bottom: u32,
    /// Columns added at the left.
    pub left: u32,
    /// What the border shows.
    pub mode: Mode,
    /// Colour of the border in mode `background`.
    #[serde(with = "color::text")]
    pub color: Rgba,
}

impl Default for Extend {
    fn default() -> Extend {
        Extend { top: 0, right: 0, bottom: 0, left: 0, mode: Mode::Background, color: color::TRANSPARENT }
    }
}

/// What a border shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One colour.
    #[default]
    Background,
    /// The outermost pixels, drawn out.
    Copy,
    /// The image mirrored at its edges, the outermost pixels twice.
    Mirror,
    /// The image over and over, like tiles.
    Repeat,
}

const SIDE: Kind = Kind::Integer { min: 0, max: 10000 };

pub(super) const ABOUT: About = About {
    name: "extend",
    summary: "Adds a border: one colour, the edge drawn out, the image mirrored, or the image repeated.",
    params: &[
        param("top", SIDE, Some("0"), "Rows of pixels added above."),
        param("right", SIDE, Some("0"), "Columns of pixels added at the right."),
        param("bottom", SIDE, Some("0"), "Rows of pixels added below."),
        param("left", SIDE, Some("0"), "Columns of pixels added at the left."),
        param(
            "mode",
            Kind::Choice(&["background", "copy", "mirror", "repeat"]),
            Some("\"background\""),
            "What the border shows.",
        ),
        param("color", Kind::Color, Some("\"transparent\""), "Colour of the border in mode background."),
    ],
    required: &[],
    example: r#"{"op": "extend", "top": 10, "right": 10, "bottom": 10, "left": 10, "mode": "mirror"}"#,
};

impl Mode {
    /// Which of `length` pixels stands at `position`, which may lie outside on either side.
    fn source(self, position: i64, length: i64) -> usize {
        let index = match self {
            Mode::Background | Mode::Copy => position.clamp(0, length - 1),
            Mode::Repeat => position.rem_euclid(length),
            Mode::Mirror => {
                let within = position.rem_euclid(2 * length);
                within.min(2 * length - 1 - within)
            }
        };
        index as usize
    }
}

impl Extend {
    fn extended(&self, size: Size) -> Size {
        Size::new(size.width + self.left + self.right, size.height + self.top + self.bottom)
    }

    /// The border of modes that repeat pixels: for each target row and column, where it comes from.
    fn drawn_out(&self, image: &Image, control: &dyn Control) -> Result<Image, OpError> {
        let (from, to, channels) = (image.size(), self.extended(image.size()), image.layout().channels());
        let sources = |before: u32, inner: u32, outer: u32| -> Vec<usize> {
            let position = |index| i64::from(index) - i64::from(before);
            (0..outer).map(|index| self.mode.source(position(index), i64::from(inner))).collect()
        };
        let columns = sources(self.left, from.width, to.width);
        let row = from.width as usize * channels;
        let (start, end) = (self.left as usize, (self.left + from.width) as usize);
        let mut pixels = Vec::with_capacity(to.pixels() as usize * channels);
        for (index, source) in sources(self.top, from.height, to.height).into_iter().enumerate() {
            if index % ROWS_PER_CHECK == 0 {
                control.check()?;
            }
            let line = &image.pixels()[source * row..(source + 1) * row];
            let pixel = |column: &usize| line[column * channels..(column + 1) * channels].iter().copied();
            pixels.extend(columns[..start].iter().flat_map(pixel));
            pixels.extend_from_slice(line);
            pixels.extend(columns[end..].iter().flat_map(pixel));
        }
        Ok(Image::new(to, image.layout(), pixels))
    }
}

impl Op for Extend {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        let layout = match self.mode {
            Mode::Background => shape.layout.holding(self.color),
            _ => shape.layout,
        };
        Ok(Step::to(Shape { size: self.extended(shape.size), layout }))
    }

    fn working_bytes(&self, shape: Shape, _: Size) -> u64 {
        // The input once more, in the layout of the result, where the two differ.
        let layout = shape.layout.holding(self.color);
        let widened = self.mode == Mode::Background && layout != shape.layout;
        if widened { Shape { layout, ..shape }.bytes() } else { 0 }
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        let image = image.upright();
        control.check()?;
        if self.mode != Mode::Background {
            return self.drawn_out(&image, control);
        }
        let layout = image.layout().holding(self.color);
        let image = image.with_layout(layout);
        let mut extended = Image::filled(self.extended(image.size()), layout, self.color);
        extended.paste(&image, self.left, self.top);
        Ok(extended)
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
        if self.top + self.right + self.bottom + self.left > 0 {
            return Vec::new();
        }
        vec![("top", "extend needs at least one of \"top\", \"right\", \"bottom\", \"left\"".to_owned())]
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Unattended, image::Layout};
    use super::*;

    fn row(mode: Mode, left: u32, right: u32) -> Vec<u8> {
        let image = Image::new(Size::new(3, 1), Layout::Grey, vec![1, 2, 3]);
        let operation = Extend { left, right, mode, color: [9, 9, 9, 255], ..Extend::default() };
        operation.apply(image, &Unattended).unwrap().into_pixels()
    }

    #[test]
    fn each_mode_continues_the_row() {
        assert_eq!(row(Mode::Background, 2, 1), [9, 9, 1, 2, 3, 9]);
        assert_eq!(row(Mode::Copy, 2, 1), [1, 1, 1, 2, 3, 3]);
        assert_eq!(row(Mode::Mirror, 4, 4), [3, 3, 2, 1, 1, 2, 3, 3, 2, 1, 1]);
        assert_eq!(row(Mode::Repeat, 4, 4), [3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn all_four_sides_and_the_transparent_default() {
        let image = Image::filled(Size::new(1, 1), Layout::Grey, [5, 5, 5, 255]);
        let operation = Extend { top: 1, right: 1, bottom: 2, left: 0, ..Extend::default() };
        let out = operation.apply(image.clone(), &Unattended).unwrap();
        assert_eq!((out.size(), out.layout()), (Size::new(2, 4), Layout::Rgba));
        assert_eq!(out.pixels()[8..12], [5, 5, 5, 255]);
        let copied = Extend { mode: Mode::Copy, ..operation }.apply(image, &Unattended).unwrap();
        assert_eq!(copied.pixels(), [5; 8]);
    }
}
