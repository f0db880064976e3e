//! `rotate`: turns an image clockwise.
//!
//! ```json
//! {"op": "rotate", "angle": 90}
//! ```
//!
//! Quarter turns are exact. Any other angle gives the smallest upright rectangle (sides rounded to nearest) that holds the turned image; the
//! pixels are interpolated linearly, weighed by alpha, and the corners take the background.

use serde::{Deserialize, Serialize};

use super::{About, Detail, Op, OpError, Step, param};
use crate::pipeline::{
    Control, Kind,
    color::{self, Rgba},
    image::{Image, Layout, Shape, Size},
    orient::Orientation,
};

/// Rows of the result between two looks at [`Control::check`].
const ROWS_PER_CHECK: u32 = 64;

/// Turns clockwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rotate {
    /// Degrees clockwise.
    pub angle: f64,
    /// Colour of the corners.
    #[serde(default = "color::transparent", with = "color::text")]
    pub background: Rgba,
}

pub(super) const ABOUT: About = About {
    name: "rotate",
    summary: "Turns the image clockwise; quarter turns are exact, other angles enlarge the canvas.",
    params: &[
        param("angle", Kind::Number { min: -360.0, max: 360.0 }, None, "Degrees clockwise; required."),
        param("background", Kind::Color, Some("\"transparent\""), "Colour of the corners that appear."),
    ],
    required: &["angle"],
    example: r#"{"op": "rotate", "angle": 90}"#,
};

impl Rotate {
    /// Quarter turns clockwise, when the angle is a multiple of them.
    fn quarters(&self) -> Option<u8> {
        let quarters = self.angle / 90.0;
        (quarters.fract() == 0.0).then_some(quarters.rem_euclid(4.0) as u8)
    }

    fn canvas(&self, size: Size) -> Size {
        if let Some(quarters) = self.quarters() {
            return Orientation::quarter_turns(quarters).upright(size);
        }
        let (sine, cosine) = self.angle.to_radians().sin_cos();
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let side = |across: f64, down: f64| ((across + down).round() as u32).max(1);
        Size::new(
            side(width * cosine.abs(), height * sine.abs()),
            side(width * sine.abs(), height * cosine.abs()),
        )
    }

    /// The general case: for every pixel of the canvas, the four source pixels around where it comes from.
    fn turned<const N: usize>(&self, image: &Image, control: &dyn Control) -> Result<Vec<u8>, OpError> {
        let (from, to) = (image.size(), self.canvas(image.size()));
        let (sine, cosine) = self.angle.to_radians().sin_cos();
        let source = Sampler::<N> {
            pixels: image.pixels().as_chunks::<N>().0,
            width: i64::from(from.width),
            height: i64::from(from.height),
            outside: corner(image.layout().pixel(self.background)),
        };
        let middle = |side: u32| f64::from(side) / 2.0;
        let mut out = Vec::with_capacity(to.pixels() as usize * N);
        for y in 0..to.height {
            if y % ROWS_PER_CHECK == 0 {
                control.check()?;
            }
            let down = f64::from(y) + 0.5 - middle(to.height);
            for x in 0..to.width {
                let across = f64::from(x) + 0.5 - middle(to.width);
                let left = across * cosine + down * sine + middle(from.width) - 0.5;
                let top = down * cosine - across * sine + middle(from.height) - 0.5;
                out.extend_from_slice(&source.at(left, top));
            }
        }
        Ok(out)
    }
}

fn corner<const N: usize>(color: Rgba) -> [u8; N] {
    std::array::from_fn(|channel| color[channel])
}

/// Linear interpolation between pixels, with one colour all around them.
struct Sampler<'a, const N: usize> {
    pixels: &'a [[u8; N]],
    width: i64,
    height: i64,
    outside: [u8; N],
}

impl<const N: usize> Sampler<'_, N> {
    fn pixel(&self, x: i64, y: i64) -> [u8; N] {
        if (0..self.width).contains(&x) && (0..self.height).contains(&y) {
            self.pixels[(y * self.width + x) as usize]
        } else {
            self.outside
        }
    }

    fn at(&self, left: f64, top: f64) -> [u8; N] {
        let (x, y) = (left.floor(), top.floor());
        let (right, below) = ((left - x) as f32, (top - y) as f32);
        let (x, y) = (x as i64, y as i64);
        if x < -1 || y < -1 || x >= self.width || y >= self.height {
            return self.outside;
        }
        let corners = [
            (self.pixel(x, y), (1.0 - right) * (1.0 - below)),
            (self.pixel(x + 1, y), right * (1.0 - below)),
            (self.pixel(x, y + 1), (1.0 - right) * below),
            (self.pixel(x + 1, y + 1), right * below),
        ];
        mix(corners)
    }
}

/// The weighted mean of four pixels; with four channels the colours are weighed by alpha too.
fn mix<const N: usize>(corners: [([u8; N], f32); 4]) -> [u8; N] {
    let mut sums = [0.0f32; N];
    for (pixel, weight) in corners {
        let alpha = if N == 4 { weight * f32::from(pixel[N - 1]) } else { weight };
        for channel in 0..N {
            let of_alpha = N == 4 && channel == N - 1;
            sums[channel] += if of_alpha { alpha } else { alpha * f32::from(pixel[channel]) };
        }
    }
    let alpha = if N == 4 { sums[N - 1] } else { 1.0 };
    std::array::from_fn(|channel| {
        let of_alpha = N == 4 && channel == N - 1;
        let value = if of_alpha || alpha == 0.0 { sums[channel] } else { sums[channel] / alpha };
        value.round() as u8
    })
}

impl Op for Rotate {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        let size = self.canvas(shape.size);
        let layout = if self.quarters().is_some() { shape.layout } else { shape.layout.holding(self.background) };
        Ok(Step::to(Shape { size, layout }))
    }

    fn working_bytes(&self, shape: Shape, _: Size) -> u64 {
        // The input once more, in the layout of the result, where the two differ.
        let layout = shape.layout.holding(self.background);
        let widened = self.quarters().is_none() && layout != shape.layout;
        if widened { Shape { layout, ..shape }.bytes() } else { 0 }
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        let image = image.upright();
        control.check()?;
        if let Some(quarters) = self.quarters() {
            return Ok(image.turned(Orientation::quarter_turns(quarters)));
        }
        let layout = image.layout().holding(self.background);
        let image = image.with_layout(layout);
        let pixels = match layout {
            Layout::Grey => self.turned::<1>(&image, control)?,
            Layout::Rgb => self.turned::<3>(&image, control)?,
            Layout::Rgba => self.turned::<4>(&image, control)?,
        };
        Ok(Image::new(self.canvas(image.size()), layout, pixels))
    }

    fn detail(&self, _: Shape) -> Detail {
        if self.quarters().is_some() { Detail::AsNext } else { Detail::Everything }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Unattended;
    use super::*;

    fn rotate(angle: f64) -> Rotate {
        Rotate { angle, background: color::TRANSPARENT }
    }

    #[test]
    fn quarter_turns_are_exact_and_clockwise() {
        let image = Image::new(Size::new(3, 2), Layout::Grey, vec![1, 2, 3, 4, 5, 6]);
        let run = |angle| rotate(angle).apply(image.clone(), &Unattended).unwrap().into_pixels();
        assert_eq!(run(90.0), [4, 1, 5, 2, 6, 3]);
        assert_eq!(run(-270.0), run(90.0));
        assert_eq!(run(180.0), [6, 5, 4, 3, 2, 1]);
        assert_eq!(run(-90.0), run(270.0));
        assert_eq!(run(360.0), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn other_angles_widen_the_canvas_and_fill_the_corners() {
        let image = Image::filled(Size::new(100, 50), Layout::Rgb, [200, 100, 50, 255]);
        let operation = rotate(30.0);
        let out = operation.apply(image, &Unattended).unwrap();
        assert_eq!((out.size(), out.layout()), (Size::new(112, 93), Layout::Rgba));
        assert_eq!(out.pixels()[..4], [0, 0, 0, 0]);
        let middle = (46 * 112 + 56) * 4;
        assert_eq!(out.pixels()[middle..middle + 4], [200, 100, 50, 255]);
        let coloured = out.pixels().as_chunks::<4>().0.iter().filter(|pixel| pixel[3] > 0);
        assert!(coloured.into_iter().all(|pixel| pixel[..3] == [200, 100, 50]), "edges keep their colour");
    }

    #[test]
    fn a_small_angle_turns_clockwise() {
        let mut image = Image::filled(Size::new(101, 101), Layout::Grey, [0, 0, 0, 255]);
        image.paste(&Image::filled(Size::new(3, 3), Layout::Grey, [255, 255, 255, 255]), 49, 0);
        let operation = Rotate { angle: 10.0, background: [0, 0, 0, 255] };
        let out = operation.apply(image, &Unattended).unwrap();
        let brightest = out.pixels().iter().enumerate().max_by_key(|(_, value)| **value).unwrap().0;
        let (x, y) = (brightest as u32 % out.size().width, brightest as u32 / out.size().width);
        assert!(x > out.size().width / 2 + 4 && y < out.size().height / 4, "the top dot moves right: {x}, {y}");
    }
}
