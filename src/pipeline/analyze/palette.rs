//! `palette`: the colours that make up the picture, at most six, with their shares, the largest first.
//!
//! Owns the grouping that `dominant` takes its answer from: opaque pixels are counted in boxes of 16 steps a channel; the fullest box founds a
//! group, then each next one that is far enough from all before (see [`APART`]), and every box joins the nearest group. A group's colour is the
//! mean of its pixels. Distances are weighed as "redmean" does (compuphase.com, "Colour metric"), close to what eyes tell apart.

use serde_json::{Value, json};

use super::{About, Needs, Small, Subject, hex};
use crate::pipeline::Interrupt;

/// Most colours.
const COLORS_MAX: usize = 6;

/// Squared distance at which two colours are two: about a tenth of black to white.
const APART: f64 = 70.0 * 70.0;

/// A group smaller than this share of the picture is noise.
const SHARE_MIN: f64 = 0.01;

pub(super) const ABOUT: About = About {
    name: "palette",
    summary: "Up to six colours that make up the image with their shares, the largest first.",
    needs: Needs::Pixels,
    schema: || {
        json!({"type": "array", "maxItems": COLORS_MAX, "items": {"type": "object", "properties": {
            "color": {"type": "string", "pattern": "^#[0-9a-f]{6}$"},
            "share": {"type": "number", "minimum": 0, "maximum": 1},
        }}})
    },
};

pub(super) fn find(subject: &Subject<'_>) -> Result<Value, Interrupt> {
    let entry = |group: &Group| {
        // Thousandths: more would be noise.
        let share = (group.share * 1000.0).round() / 1000.0;
        json!({"color": hex(group.color), "share": share})
    };
    Ok(groups(subject.small()).iter().map(entry).collect::<Vec<_>>().into())
}

/// A colour of the picture.
pub(super) struct Group {
    pub(super) color: [u8; 3],
    /// Of the opaque pixels.
    pub(super) share: f64,
}

/// Sums of the pixels of a box or a group.
#[derive(Clone, Copy, Default)]
struct Sum {
    count: u32,
    sums: [u32; 3],
}

impl Sum {
    fn mean(&self) -> [f64; 3] {
        self.sums.map(|sum| f64::from(sum) / f64::from(self.count))
    }

    fn add(&mut self, other: &Sum) {
        self.count += other.count;
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum += more;
        }
    }
}

/// The groups, the largest first; none for a picture without opaque pixels.
pub(super) fn groups(small: &Small) -> Vec<Group> {
    let mut boxes = vec![Sum::default(); 1 << 12];
    for [red, green, blue, alpha] in &small.pixels {
        if *alpha >= 128 {
            let index = usize::from(red >> 4) << 8 | usize::from(green >> 4) << 4 | usize::from(blue >> 4);
            boxes[index].add(&Sum { count: 1, sums: [*red, *green, *blue].map(u32::from) });
        }
    }
    boxes.retain(|sum| sum.count > 0);
    boxes.sort_by_key(|sum| std::cmp::Reverse(sum.count));
    let mut founders: Vec<[f64; 3]> = Vec::new();
    for sum in &boxes {
        let mean = sum.mean();
        if founders.len() < COLORS_MAX && founders.iter().all(|founder| distance(*founder, mean) > APART) {
            founders.push(mean);
        }
    }
    let mut groups = vec![Sum::default(); founders.len()];
    for sum in &boxes {
        let mean = sum.mean();
        let nearest = founders.iter().map(|founder| distance(*founder, mean)).enumerate();
        if let Some((index, _)) = nearest.min_by(|a, b| a.1.total_cmp(&b.1)) {
            groups[index].add(sum);
        }
    }
    let total = f64::from(groups.iter().map(|group| group.count).sum::<u32>());
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    let group = |sum: &Sum| Group { color: sum.mean().map(|value| value.round() as u8), share: f64::from(sum.count) / total };
    let groups = groups.iter().filter(|sum| sum.count > 0).map(group);
    groups.enumerate().filter(|(index, group)| *index == 0 || group.share >= SHARE_MIN).map(|(_, group)| group).collect()
}

/// Squared distance of two colours, weighed by how red they are.
fn distance(one: [f64; 3], other: [f64; 3]) -> f64 {
    let red = (one[0] + other[0]) / 2.0;
    let [r, g, b] = [0, 1, 2].map(|channel| (one[channel] - other[channel]).powi(2));
    ((2.0 + red / 256.0) * r + 4.0 * g + (2.0 + (255.0 - red) / 256.0) * b) / 4.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Analysis, tests::of_pixels};

    /// A blue ground with a red disc and a thin white line.
    fn flag(x: u32, y: u32) -> [u8; 4] {
        let inside = (f64::from(x) - 50.0).powi(2) + (f64::from(y) - 40.0).powi(2) < 400.0;
        match (inside, y) {
            (true, _) => [200, 20 + (x % 3) as u8, 20, 255],
            (_, 5..8) => [255, 255, 255, 255],
            _ => [10, 30 + (y % 4) as u8, 160, 255],
        }
    }

    #[test]
    fn obvious_pictures_have_obvious_colours() {
        let palette = of_pixels(Analysis::Palette, 100, 80, flag);
        let colors: Vec<&str> = palette.as_array().unwrap().iter().map(|entry| entry["color"].as_str().unwrap()).collect();
        assert_eq!(colors, ["#0a1fa0", "#c81514", "#ffffff"], "{palette}");
        let shares: f64 = palette.as_array().unwrap().iter().map(|entry| entry["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 0.01, "{palette}");
        assert_eq!(of_pixels(Analysis::Dominant, 100, 80, flag), "#0a1fa0");
        let clear = |x, y| if x < 60 { [0, 0, 0, 0] } else { flag(x, y) };
        assert_ne!(of_pixels(Analysis::Dominant, 100, 80, clear), "#000000", "what is transparent has no colour");
        assert_eq!(of_pixels(Analysis::Palette, 9, 9, |_, _| [0; 4]), json!([]));
        assert_eq!(of_pixels(Analysis::Dominant, 9, 9, |_, _| [0; 4]), json!(null));
    }
}
