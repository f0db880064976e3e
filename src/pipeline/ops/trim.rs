//! `trim`: cuts off a border of one colour.
//!
//! ```json
//! {"op": "trim", "threshold": 10, "margin": 4}
//! ```
//!
//! A pixel belongs to the picture when one of its channels differs from the border's colour by more than `threshold` (colours weighed by alpha,
//! so that what hides under transparent pixels does not count). The smallest rectangle that holds all of the picture is kept, and `margin`
//! pixels around it as far as the image goes. An image that is all border is kept whole, with the warning `trim_found_nothing`.
//!
//! What is left is known only from the pixels: plans reckon with the whole image, and the run refuses what would come out larger than planned.

use serde::{Deserialize, Serialize};

use super::{About, Op, OpError, Operation, Step, crop::Crop, param};
use crate::pipeline::{
    Control, Interrupt, Kind,
    color::{self, Rgba},
    image::{Image, Layout, Shape, Size},
    length::Length,
    region::Rectangle,
};

/// Pixels between two looks at [`Control::check`]: less than 10 ms.
const PIXELS_PER_CHECK: usize = 1 << 21;

/// Cuts off a border.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trim {
    /// Largest difference of a channel that still counts as border.
    pub threshold: u8,
    /// The border's colour; left out, that of the top left pixel.
    #[serde(skip_serializing_if = "Option::is_none", with = "color::optional_text")]
    pub color: Option<Rgba>,
    /// Pixels of the border that stay on every side.
    pub margin: u32,
}

impl Default for Trim {
    fn default() -> Trim {
        Trim { threshold: 10, color: None, margin: 0 }
    }
}

pub(super) const ABOUT: About = About {
    name: "trim",
    summary: "Cuts off a border of one colour; sizes in a plan are those of an image without a border.",
    params: &[
        param("threshold", Kind::Integer { min: 0, max: 255 }, Some("10"), "Largest difference of a channel that still counts as border."),
        param("color", Kind::Color, None, "The border's colour; that of the top left pixel if left out."),
        param("margin", Kind::Integer { min: 0, max: 10000 }, Some("0"), "Pixels of the border that stay on every side."),
    ],
    required: &[],
    example: r#"{"op": "trim", "threshold": 10, "margin": 4}"#,
};

/// One way of telling border from picture, for each layout.
struct Border {
    /// The colour, weighed by its alpha where there is one.
    pixel: Rgba,
    /// The colour as it stands in the image.
    plain: Rgba,
    threshold: u8,
}

/// Colours weighed by alpha, beside alpha.
fn weighed([red, green, blue, alpha]: Rgba) -> Rgba {
    let weigh = |sample: u8| ((u32::from(sample) * u32::from(alpha) + 127) / 255) as u8;
    [weigh(red), weigh(green), weigh(blue), alpha]
}

impl Border {
    fn differs<const N: usize>(&self, pixel: &[u8; N]) -> bool {
        let mut wide = [0; 4];
        wide[..N].copy_from_slice(pixel);
        let wide = if N == 4 { weighed(wide) } else { wide };
        (0..N).any(|channel| wide[channel].abs_diff(self.pixel[channel]) > self.threshold)
    }

    /// Whether a row has anything of the picture.
    fn in_row<const N: usize>(&self, row: &[[u8; N]]) -> bool {
        // A whole run of pixels at a time, without a branch for each.
        if N == 4 {
            let unlike = |found: u8, pixel: &[u8; N]| {
                (0..N).fold(found, |found, channel| found | (pixel[channel] ^ self.plain[channel]))
            };
            let any = |run: &[[u8; N]]| run.iter().fold(0, unlike) != 0 && run.iter().any(|pixel| self.differs(pixel));
            return row.chunks(64).any(any);
        }
        row.chunks(64).any(|run| {
            let beyond = |found: u8, pixel: &[u8; N]| {
                let worst = (0..N).fold(0, |worst: u8, channel| worst.max(pixel[channel].abs_diff(self.pixel[channel])));
                found.max(worst)
            };
            run.iter().fold(0, beyond) > self.threshold
        })
    }

    /// The smallest rectangle around the picture, if there is any.
    fn picture<const N: usize>(&self, image: &Image, control: &dyn Control) -> Result<Option<Rectangle>, Interrupt> {
        let size = image.size();
        let rows = image.pixels().as_chunks::<N>().0.chunks_exact(size.width as usize);
        let per_check = (PIXELS_PER_CHECK / size.width as usize).max(1);
        let (mut top, mut bottom, mut left, mut right) = (None, 0, size.width as usize, 0);
        for (index, row) in rows.enumerate() {
            if index % per_check == 0 {
                control.check()?;
            }
            if !self.in_row(row) {
                continue;
            }
            let differs = |pixel: &[u8; N]| self.differs(pixel);
            left = row[..left].iter().position(differs).unwrap_or(left);
            right = row[right..].iter().rposition(differs).map_or(right, |at| right + at + 1);
            top.get_or_insert(index);
            bottom = index + 1;
        }
        Ok(top.map(|top| Rectangle {
            left: left as u32,
            top: top as u32,
            size: Size::new((right - left) as u32, (bottom - top) as u32),
        }))
    }
}

impl Trim {
    /// What stays of an upright image; `None` when all of it is border.
    fn kept(&self, image: &Image, control: &dyn Control) -> Result<Option<Rectangle>, Interrupt> {
        let layout = image.layout();
        let corner = || {
            let mut pixel = [0; 4];
            pixel[..layout.channels()].copy_from_slice(&image.pixels()[..layout.channels()]);
            pixel
        };
        let plain = self.color.map_or_else(corner, |color| layout.pixel(color));
        let pixel = if layout == Layout::Rgba { weighed(plain) } else { plain };
        let border = Border { pixel, plain, threshold: self.threshold };
        let found = match layout {
            Layout::Grey => border.picture::<1>(image, control)?,
            Layout::Rgb => border.picture::<3>(image, control)?,
            Layout::Rgba => border.picture::<4>(image, control)?,
        };
        Ok(found.map(|picture| self.widened(picture, image.size())))
    }

    /// The rectangle with its margin, inside the image.
    fn widened(&self, picture: Rectangle, whole: Size) -> Rectangle {
        let (left, top) = (picture.left.saturating_sub(self.margin), picture.top.saturating_sub(self.margin));
        let end = |start: u32, length: u32, whole: u32| (start + length).saturating_add(self.margin).min(whole);
        let right = end(picture.left, picture.size.width, whole.width);
        let bottom = end(picture.top, picture.size.height, whole.height);
        Rectangle { left, top, size: Size::new(right - left, bottom - top) }
    }

    /// The crop that cuts to what stays; the whole image, with a note, when all of it is border.
    fn crop(&self, image: &Image, control: &dyn Control) -> Result<Crop, OpError> {
        let whole = Rectangle { left: 0, top: 0, size: image.size() };
        let kept = self.kept(image, control)?.unwrap_or_else(|| {
            let detail = format!("every pixel is within {} of the border's colour; the image is kept whole", self.threshold);
            control.note("trim_found_nothing", detail);
            whole
        });
        let pixels = |pixels| Some(Length::Pixels(pixels));
        let (left, top) = (pixels(kept.left), pixels(kept.top));
        Ok(Crop { left, top, width: pixels(kept.size.width), height: pixels(kept.size.height), ..Crop::default() })
    }
}

impl Op for Trim {
    /// An upper bound: the size of an image that has no border.
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        Ok(Step { at_most: true, ..Step::to(shape) })
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        let image = image.upright();
        self.crop(&image, control)?.apply(image, control)
    }

    fn settled(&self, first: &Image, control: &dyn Control) -> Result<Option<Operation>, OpError> {
        let crop = self.crop(&first.clone().upright(), control)?;
        Ok(Some(Operation::Crop(crop)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Stage, Unattended};
    use super::*;
    use serde_json::json;
    use std::sync::Mutex;

    fn trim(operation: serde_json::Value, image: Image) -> Image {
        serde_json::from_value::<Trim>(operation).unwrap().apply(image, &Unattended).unwrap()
    }

    /// 9×7 grey, all 20, with a few pixels of the picture.
    fn framed(picture: &[(u32, u32, u8)]) -> Image {
        let mut pixels = vec![20; 63];
        for (x, y, value) in picture {
            pixels[(y * 9 + x) as usize] = *value;
        }
        Image::new(Size::new(9, 7), Layout::Grey, pixels)
    }

    #[test]
    fn keeps_the_smallest_rectangle_and_its_margin() {
        let image = framed(&[(3, 2, 200), (5, 4, 0)]);
        let out = trim(json!({}), image.clone());
        assert_eq!((out.size(), out.pixels()), (Size::new(3, 3), &[200, 20, 20, 20, 20, 20, 20, 20, 0][..]));
        assert_eq!(trim(json!({"margin": 1}), image.clone()).size(), Size::new(5, 5));
        assert_eq!(trim(json!({"margin": 3}), image).size(), Size::new(9, 7), "as far as the image goes");
    }

    #[test]
    fn every_rectangle_of_two_pixels_is_found() {
        for (a, b) in (0..63).flat_map(|a| (a..63).map(move |b| (a, b))).filter(|(a, _)| *a != 0) {
            let ((ax, ay), (bx, by)) = ((a % 9, a / 9), (b % 9, b / 9));
            let out = trim(json!({}), framed(&[(ax, ay, 99), (bx, by, 99)]));
            assert_eq!(out.size(), Size::new(ax.abs_diff(bx) + 1, ay.abs_diff(by) + 1), "{a} {b}");
        }
    }

    #[test]
    fn threshold_and_colour_decide_what_is_border() {
        let image = framed(&[(3, 2, 30), (4, 4, 31)]);
        assert_eq!(trim(json!({}), image.clone()).size(), Size::new(1, 1), "a difference of 10 is border, 11 is not");
        assert_eq!(trim(json!({"threshold": 9}), image.clone()).size(), Size::new(2, 3));
        assert_eq!(trim(json!({"color": "#ffffff"}), image).size(), Size::new(9, 7));
    }

    #[test]
    fn hidden_colours_are_border() {
        let mut pixels = [[0, 0, 0, 0], [250, 0, 0, 0], [9, 9, 9, 255], [0, 250, 0, 3]].concat();
        pixels.extend([[77, 0, 0, 0]; 4].concat());
        let out = trim(json!({}), Image::new(Size::new(4, 2), Layout::Rgba, pixels));
        assert_eq!((out.size(), out.pixels()), (Size::new(1, 1), &[9, 9, 9, 255][..]));
    }

    /// Listens to notes.
    struct Notes(Mutex<Vec<&'static str>>);
    impl Control for Notes {
        fn check(&self) -> Result<(), Interrupt> {
            Ok(())
        }
        fn stage(&self, _: Stage) {}
        fn note(&self, code: &'static str, _: String) {
            self.0.lock().unwrap().push(code);
        }
    }

    #[test]
    fn an_image_of_one_colour_is_kept_whole_with_a_note() {
        let notes = Notes(Mutex::default());
        let out = Trim::default().apply(framed(&[(8, 6, 25)]), &notes).unwrap();
        assert_eq!(out.size(), Size::new(9, 7));
        assert_eq!(*notes.0.lock().unwrap(), ["trim_found_nothing"]);
    }

    #[test]
    fn settles_on_the_rectangle_of_the_first_frame() {
        let settled = Trim::default().settled(&framed(&[(3, 2, 200)]), &Unattended).unwrap().unwrap();
        let out = settled.op().apply(framed(&[(0, 0, 1), (3, 2, 5)]), &Unattended).unwrap();
        assert_eq!(out.pixels(), [5]);
    }
}
