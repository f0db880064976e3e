//! `round`: rounds the corners off.
//!
//! ```json
//! {"op": "round", "radius": 24}
//! ```
//!
//! `radius` in pixels, or as a share of each side as CSS's `border-radius` takes it (`"50%"` makes an ellipse of the image), or `"max"`: circular
//! corners as large as they fit, a circle of a square image. Radii larger than half a side are taken as half of it. Edges are smooth: each
//! pixel is covered as far as it lies inside. Outside lies `background`, transparent unless it is given.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use super::{About, Op, OpError, Step, param};
use crate::pipeline::{
    Control, Kind,
    color::{self, Rgba},
    image::{Image, Layout, Shape, Size},
    length::Length,
};

/// Lines across a pixel along which its coverage is measured.
const LINES: u32 = 16;

/// Rows of a corner between two looks at [`Control::check`].
const ROWS_PER_CHECK: u32 = 256;

/// Rounds corners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// How large the corners are.
    pub radius: Radius,
    /// What lies outside of them.
    #[serde(default = "color::transparent", with = "color::text")]
    pub background: Rgba,
}

/// How large a corner is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Radius {
    /// Pixels, or a share of each side.
    Length(Length),
    /// Half of the shorter side.
    Max,
}

impl Serialize for Radius {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Radius::Length(length) => length.serialize(serializer),
            Radius::Max => serializer.serialize_str("max"),
        }
    }
}

impl<'de> Deserialize<'de> for Radius {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Radius, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value == "max" {
            return Ok(Radius::Max);
        }
        Length::read(&value).map(Radius::Length).ok_or_else(|| D::Error::custom(format!("{value} is no radius")))
    }
}

pub(super) const ABOUT: About = About {
    name: "round",
    summary: "Rounds the corners off, smoothly, onto transparency or a background.",
    params: &[
        param(
            "radius",
            Kind::LengthOr { min: 0, max: 16384, word: "max" },
            None,
            "Pixels, a share of each side (\"50%\" makes an ellipse), or \"max\" for circular corners as large as they fit; required.",
        ),
        param("background", Kind::Color, Some("\"transparent\""), "Colour outside of the corners."),
    ],
    required: &["radius"],
    example: r#"{"op": "round", "radius": 24}"#,
};

impl Round {
    /// Radii across and down, in pixels.
    fn radii(&self, size: Size) -> (f64, f64) {
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let shorter = width.min(height);
        let (across, down) = match self.radius {
            Radius::Max => (shorter / 2.0, shorter / 2.0),
            Radius::Length(Length::Pixels(pixels)) => {
                let radius = f64::from(pixels).min(shorter / 2.0);
                (radius, radius)
            }
            Radius::Length(Length::Percent(percent)) => (width * percent / 100.0, height * percent / 100.0),
        };
        (across.min(width / 2.0), down.min(height / 2.0))
    }

    /// Paints one row of `N` channels at its two ends, given how far the first pixels are covered.
    fn paint<const N: usize>(&self, row: &mut [[u8; N]], covered: &[f64]) {
        let last = row.len() - 1;
        for (index, coverage) in covered.iter().enumerate() {
            // In the middle column of an odd width both ends meet.
            row[index] = self.mixed(row[index], *coverage);
            if last - index != index {
                row[last - index] = self.mixed(row[last - index], *coverage);
            }
        }
    }

    /// A pixel that is covered so far, beside the background; weighed by alpha.
    fn mixed<const N: usize>(&self, pixel: [u8; N], coverage: f64) -> [u8; N] {
        let mut under = [0; N];
        let grey_or_color = match N {
            1 => Layout::Grey.pixel(self.background),
            _ => self.background,
        };
        under.copy_from_slice(&grey_or_color[..N]);
        let alpha = |pixel: &[u8; N]| if N == 4 { f64::from(pixel[3]) } else { 255.0 };
        let (over_weight, under_weight) = (alpha(&pixel) * coverage, alpha(&under) * (1.0 - coverage));
        let whole = over_weight + under_weight;
        std::array::from_fn(|channel| match channel {
            3 => whole.round() as u8,
            _ if whole == 0.0 => pixel[channel],
            _ => {
                let sum = f64::from(pixel[channel]) * over_weight + f64::from(under[channel]) * under_weight;
                (sum / whole).round() as u8
            }
        })
    }

    fn corners<const N: usize>(&self, image: &mut Image, control: &dyn Control) -> Result<(), OpError> {
        let size = image.size();
        let radii = self.radii(size);
        let width = size.width as usize;
        let rows = image.pixels_mut().as_chunks_mut::<N>().0;
        let last = size.height - 1;
        for row in 0..(radii.1.ceil() as u32).min(size.height) {
            if row % ROWS_PER_CHECK == 0 {
                control.check()?;
            }
            if last - row < row {
                break;
            }
            let covered = coverage(row, radii, size);
            for at in [row, last - row] {
                let start = at as usize * width;
                self.paint::<N>(&mut rows[start..start + width], &covered);
                if last - row == row {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// How far the pixels of a row are covered, from the left edge to where all are: the mean over some lines through the row of what lies right
/// of the ellipse `((rx − x) ÷ rx)² + ((ry − y) ÷ ry)² = 1`.
fn coverage(row: u32, (across, down): (f64, f64), size: Size) -> Vec<f64> {
    let starts: Vec<f64> = (0..LINES)
        .map(|line| {
            let y = f64::from(row) + (f64::from(line) + 0.5) / f64::from(LINES);
            let height = ((down - y) / down).clamp(0.0, 1.0);
            across * (1.0 - (1.0 - height * height).sqrt())
        })
        .collect();
    let half = size.width.div_ceil(2);
    let farthest = starts.iter().fold(0.0, |farthest: f64, start| farthest.max(*start));
    let count = (farthest.ceil() as u32).min(half);
    let middle = f64::from(size.width) / 2.0;
    let of = |column: u32| {
        let right = f64::from(column) + 1.0;
        let inside = |start: &f64| match right > middle {
            // The middle column of an odd width is cut from both sides.
            true => (1.0 - 2.0 * (start - f64::from(column)).max(0.0)).clamp(0.0, 1.0),
            false => (right - start).clamp(0.0, 1.0),
        };
        starts.iter().map(inside).sum::<f64>() / f64::from(LINES)
    };
    (0..count).map(of).collect()
}

impl Op for Round {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        Ok(Step::to(Shape { layout: shape.layout.holding(self.background), ..shape }))
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        let layout = image.layout().holding(self.background);
        let mut image = image.upright().with_layout(layout);
        control.check()?;
        match layout {
            Layout::Grey => self.corners::<1>(&mut image, control)?,
            Layout::Rgb => self.corners::<3>(&mut image, control)?,
            Layout::Rgba => self.corners::<4>(&mut image, control)?,
        }
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Unattended;
    use super::*;
    use serde_json::json;

    fn rounded(operation: serde_json::Value, size: Size, layout: Layout) -> Image {
        let operation: Round = serde_json::from_value(operation).unwrap();
        operation.apply(Image::filled(size, layout, [90, 90, 90, 255]), &Unattended).unwrap()
    }

    /// Covered area in pixels, from alpha.
    fn area(image: &Image) -> f64 {
        image.pixels().as_chunks::<4>().0.iter().map(|pixel| f64::from(pixel[3]) / 255.0).sum()
    }

    #[test]
    fn areas_are_those_of_circles_and_ellipses() {
        use std::f64::consts::PI;
        let area = |operation, width, height| area(&rounded(operation, Size::new(width, height), Layout::Rgb));
        let near = |got: f64, wanted: f64| assert!((got - wanted).abs() < wanted * 0.002, "{got} for {wanted}");
        near(area(json!({"radius": "max"}), 101, 101), PI * 50.5 * 50.5);
        near(area(json!({"radius": "50%"}), 200, 80), PI * 100.0 * 40.0);
        near(area(json!({"radius": "max"}), 200, 80), PI * 40.0 * 40.0 + 120.0 * 80.0);
        near(area(json!({"radius": 30}), 200, 81), 200.0 * 81.0 - (4.0 - PI) * 900.0);
        near(area(json!({"radius": 9999}), 60, 60), PI * 900.0);
        near(area(json!({"radius": 0}), 60, 60), 3600.0);
    }

    #[test]
    fn all_four_corners_are_alike_and_smooth() {
        for (width, height) in [(41, 30), (30, 41), (7, 7), (1, 9)] {
            let image = rounded(json!({"radius": "max"}), Size::new(width, height), Layout::Grey);
            let pixels = image.pixels().as_chunks::<4>().0;
            let at = |x: u32, y: u32| pixels[(y * width + x) as usize][3];
            for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
                assert_eq!(at(x, y), at(width - 1 - x, y));
                assert_eq!(at(x, y), at(x, height - 1 - y));
            }
        }
        let image = rounded(json!({"radius": 20}), Size::new(50, 50), Layout::Rgb);
        let levels: std::collections::BTreeSet<u8> =
            image.pixels().as_chunks::<4>().0.iter().map(|pixel| pixel[3]).collect();
        assert!(levels.len() > 15, "{levels:?}");
    }

    #[test]
    fn a_background_is_painted_and_keeps_the_image_opaque() {
        let image = rounded(json!({"radius": 10, "background": "#ff0000"}), Size::new(40, 40), Layout::Grey);
        assert_eq!(image.layout(), Layout::Rgb);
        assert_eq!(image.pixels()[..3], [255, 0, 0]);
        assert_eq!(image.pixels()[60..63], [90, 90, 90]);
        let grey = rounded(json!({"radius": 10, "background": "white"}), Size::new(40, 40), Layout::Grey);
        assert_eq!((grey.layout(), grey.pixels()[0]), (Layout::Grey, 255));
    }

    #[test]
    fn colours_of_edges_do_not_darken() {
        let image = rounded(json!({"radius": 20}), Size::new(50, 50), Layout::Rgb);
        assert!(image.pixels().as_chunks::<4>().0.iter().all(|[red, _, _, alpha]| *alpha == 0 || *red == 90));
    }
}
