//! One picture laid on another: where it comes to lie, and how each pair of pixels mixes.
//!
//! Owns placing (gravity and offsets), tiling, clipping and the compositing formulas of the W3C ("Compositing and Blending Level 1", §5 and
//! §10), on gamma-encoded values as browsers reckon. Knows nothing of where a layer comes from; called by `overlay` and `text`.

use serde::{Deserialize, Serialize};

use super::{
    Control, Gravity, Interrupt,
    image::{Image, Layout},
    length::Offset,
};

/// Pixels between two looks at [`Control::check`].
const PIXELS_PER_CHECK: usize = 1 << 20;

/// How the colours of a layer mix with those under it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blend {
    /// The layer's own colours.
    #[default]
    Over,
    /// The product of both: never brighter than either.
    Multiply,
    /// The product of both negatives: never darker than either.
    Screen,
}

impl Blend {
    /// B(cb, cs) of the W3C, times 255.
    #[inline(always)]
    fn mixed(self, under: u32, layer: u32) -> u32 {
        match self {
            Blend::Over => 255 * layer,
            Blend::Multiply => under * layer,
            Blend::Screen => 255 * (under + layer) - under * layer,
        }
    }
}

/// Where a layer lies: at an edge, a corner or the middle, moved by offsets that count inwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spot {
    pub(super) gravity: Gravity,
    pub(super) x: Offset,
    pub(super) y: Offset,
}

impl Spot {
    /// Left and top of a layer of `part` pixels on an image of `whole` pixels; both may lie outside.
    fn corner(self, whole: (u32, u32), part: (u32, u32)) -> (i64, i64) {
        let (across, down) = self.gravity.fractions();
        (put(across, self.x, whole.0, part.0), put(down, self.y, whole.1, part.1))
    }
}

/// Start of a part along one side. From the far edge an offset counts backwards: inwards, as everywhere.
fn put(fraction: f64, offset: Offset, whole: u32, part: u32) -> i64 {
    let start = ((i64::from(whole) - i64::from(part)) as f64 * fraction).round() as i64;
    let offset = offset.of(whole);
    if fraction == 1.0 { start - offset } else { start + offset }
}

/// A picture with all that tells how to lay it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) image: Image,
    pub(super) spot: Spot,
    /// 0 shows nothing of it, 1 all.
    pub(super) opacity: f64,
    /// Whether it is repeated over the whole image, from where it lies.
    pub(super) tile: bool,
    pub(super) blend: Blend,
}

/// A rule of `overlay` and `text`: where something is to lie is no matter of the pixels.
pub(super) fn mistakes(gravity: Gravity) -> Option<(&'static str, String)> {
    let detail =
        "smart and entropy choose what is kept of an image; here give a compass word or a focal point";
    gravity.looks_at_pixels().then(|| ("gravity", detail.to_owned()))
}

/// The layout of an image of layout `under` once a layer of layout `layer` lies on it: grey stays grey only under grey.
pub(super) fn layout(under: Layout, layer: Layout) -> Layout {
    match (under, layer) {
        (Layout::Grey, Layout::Rgb | Layout::Rgba) => Layout::Rgb,
        _ => under,
    }
}

/// Lays a layer on an image, in place where the image is not shared. What sticks out is cut off.
pub(super) fn lay(image: Image, layer: Layer, control: &dyn Control) -> Result<Image, Interrupt> {
    let under = layout(image.layout(), layer.image.layout());
    let mut image = image.upright().with_layout(under);
    control.check()?;
    let (whole, part) = (image.size(), layer.image.size());
    let (left, top) = layer.spot.corner((whole.width, whole.height), (part.width, part.height));
    let top_layer = layer.image.with_layout(Layout::Rgba);
    let rows = Rows { pixels: top_layer.pixels().as_chunks::<4>().0, width: part.width as usize };
    let strength = (layer.opacity.clamp(0.0, 1.0) * 255.0).round() as u32;
    let window =
        if layer.tile { (0, i64::from(whole.height)) } else { within(top, part.height, whole.height) };
    let across = if layer.tile { (0, i64::from(whole.width)) } else { within(left, part.width, whole.width) };
    let (width, channels) = (whole.width as usize, under.channels());
    let per_check = (PIXELS_PER_CHECK / width).max(1) as i64;
    let pixels = image.pixels_mut();
    for y in window.0..window.1 {
        if y % per_check == 0 {
            control.check()?;
        }
        let row = rows.row((y - top).rem_euclid(i64::from(part.height)) as usize);
        let line = &mut pixels[y as usize * width * channels..][..width * channels];
        let mut x = across.0;
        while x < across.1 {
            let from = (x - left).rem_euclid(i64::from(part.width)) as usize;
            let count = (row.len() - from).min((across.1 - x) as usize);
            let under_part = &mut line[x as usize * channels..][..count * channels];
            mix_row(under, layer.blend, under_part, &row[from..from + count], strength);
            x += count as i64;
        }
    }
    Ok(image)
}

/// The part of a stretch that lies inside `0..whole`.
fn within(start: i64, length: u32, whole: u32) -> (i64, i64) {
    let end = (start + i64::from(length)).clamp(0, i64::from(whole));
    (start.clamp(0, end), end)
}

struct Rows<'a> {
    pixels: &'a [[u8; 4]],
    width: usize,
}

impl<'a> Rows<'a> {
    fn row(&self, index: usize) -> &'a [[u8; 4]] {
        &self.pixels[index * self.width..][..self.width]
    }
}

/// Picks the loop once a row, so that each of them is simple enough to be vectorised.
fn mix_row(layout: Layout, blend: Blend, under: &mut [u8], layer: &[[u8; 4]], strength: u32) {
    match (layout, blend) {
        (Layout::Grey, Blend::Over) => opaque::<1>(Blend::Over, under, layer, strength),
        (Layout::Grey, Blend::Multiply) => opaque::<1>(Blend::Multiply, under, layer, strength),
        (Layout::Grey, Blend::Screen) => opaque::<1>(Blend::Screen, under, layer, strength),
        (Layout::Rgb, Blend::Over) => opaque::<3>(Blend::Over, under, layer, strength),
        (Layout::Rgb, Blend::Multiply) => opaque::<3>(Blend::Multiply, under, layer, strength),
        (Layout::Rgb, Blend::Screen) => opaque::<3>(Blend::Screen, under, layer, strength),
        (Layout::Rgba, _) => clear(blend, under, layer, strength),
    }
}

/// Rounds to nearest, times the strength of the whole layer.
#[inline(always)]
fn weakened(alpha: u8, strength: u32) -> u32 {
    (u32::from(alpha) * strength + 127) / 255
}

/// On pixels without alpha: co = (1 − αs)·cb + αs·B(cb, cs), in 255ths of 255ths, rounded to nearest.
#[inline(always)]
fn opaque<const N: usize>(blend: Blend, under: &mut [u8], layer: &[[u8; 4]], strength: u32) {
    for (under, layer) in under.as_chunks_mut::<N>().0.iter_mut().zip(layer) {
        let alpha = weakened(layer[3], strength);
        for channel in 0..N {
            let (below, above) = (u32::from(under[channel]), u32::from(layer[channel]));
            let sum = (255 - alpha) * 255 * below + alpha * blend.mixed(below, above);
            under[channel] = ((sum + 32_512) / 65_025) as u8;
        }
    }
}

/// On pixels with alpha: αo = αs + αb·(1 − αs), and αo·co = αs·(1 − αb)·cs + αb·(1 − αs)·cb + αs·αb·B(cb, cs), then straight again.
fn clear(blend: Blend, under: &mut [u8], layer: &[[u8; 4]], strength: u32) {
    for (under, layer) in under.as_chunks_mut::<4>().0.iter_mut().zip(layer) {
        let (above, below) = (weakened(layer[3], strength), u32::from(under[3]));
        if above == 0 {
            continue;
        }
        // In 255ths of 255ths.
        let alpha = 255 * (above + below) - above * below;
        for channel in 0..3 {
            let (cb, cs) = (u32::from(under[channel]), u32::from(layer[channel]));
            // At most 255⁴, which still fits 32 bits.
            let sum = above * (255 - below) * 255 * cs
                + below * (255 - above) * 255 * cb
                + above * below * blend.mixed(cb, cs);
            under[channel] = ((u64::from(sum) + u64::from(alpha * 255 / 2)) / u64::from(alpha * 255)) as u8;
        }
        under[3] = ((alpha + 127) / 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Unattended, image::Size};
    use super::*;

    fn spot(word: &str, x: i32, y: i32) -> Spot {
        let gravity = Gravity::read(&serde_json::Value::from(word)).unwrap();
        Spot { gravity, x: Offset::Pixels(x), y: Offset::Pixels(y) }
    }

    fn layer(image: Image, spot: Spot) -> Layer {
        Layer { image, spot, opacity: 1.0, tile: false, blend: Blend::Over }
    }

    #[test]
    fn offsets_count_inwards_from_the_edge_that_gravity_names() {
        let corner = |word, x, y| spot(word, x, y).corner((100, 50), (10, 10));
        assert_eq!(corner("northwest", 3, 4), (3, 4));
        assert_eq!(corner("southeast", 3, 4), (87, 36));
        assert_eq!(corner("southeast", -3, -4), (93, 44));
        assert_eq!(corner("center", 5, -5), (50, 15));
        assert_eq!(
            spot("center", 0, 0).corner((10, 10), (20, 30)),
            (-5, -10),
            "a larger layer sticks out evenly"
        );
        let percent = Spot { x: Offset::Percent(10.0), ..spot("west", 0, 0) };
        assert_eq!(percent.corner((200, 10), (10, 10)), (20, 0));
    }

    /// Grey rows of an image on which a layer `1 2 / 3 4` lies.
    fn laid(spot: Spot, tile: bool) -> Vec<u8> {
        let image = Image::new(Size::new(4, 3), Layout::Grey, vec![0; 12]);
        let over = Image::new(Size::new(2, 2), Layout::Grey, vec![1, 2, 3, 4]);
        lay(image, Layer { tile, ..layer(over, spot) }, &Unattended).unwrap().into_pixels()
    }

    #[test]
    fn a_layer_is_clipped_at_every_edge_and_tiles_run_on_from_it() {
        assert_eq!(laid(spot("northwest", 1, 1), false), [0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 4, 0]);
        assert_eq!(laid(spot("northwest", -1, -1), false), [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(laid(spot("southeast", -1, -1), false), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(laid(spot("northwest", 50, 0), false), [0; 12]);
        assert_eq!(laid(spot("northwest", 1, 1), true), [4, 3, 4, 3, 2, 1, 2, 1, 4, 3, 4, 3]);
    }

    #[test]
    fn grey_widens_only_under_colour() {
        let image = Image::filled(Size::new(1, 1), Layout::Grey, [9, 9, 9, 255]);
        let colour = Image::filled(Size::new(1, 1), Layout::Rgba, [10, 20, 30, 255]);
        let out = lay(image.clone(), layer(colour, spot("center", 0, 0)), &Unattended).unwrap();
        assert_eq!((out.layout(), out.pixels()), (Layout::Rgb, &[10, 20, 30][..]));
        let grey = Image::filled(Size::new(1, 1), Layout::Grey, [77, 77, 77, 255]);
        let out = lay(image, layer(grey, spot("center", 0, 0)), &Unattended).unwrap();
        assert_eq!((out.layout(), out.pixels()), (Layout::Grey, &[77][..]));
    }

    /// The formulas of the W3C in floating point, for one channel and alpha.
    fn reference(blend: Blend, cb: u8, ab: u8, cs: u8, a_s: u8) -> (f64, f64) {
        let [cb, ab, cs, a_s] = [cb, ab, cs, a_s].map(|value| f64::from(value) / 255.0);
        let mixed = match blend {
            Blend::Over => cs,
            Blend::Multiply => cb * cs,
            Blend::Screen => cb + cs - cb * cs,
        };
        let alpha = a_s + ab * (1.0 - a_s);
        let source = (1.0 - ab) * cs + ab * mixed;
        let color = a_s * source + (1.0 - a_s) * ab * cb;
        (if alpha == 0.0 { cb } else { color / alpha } * 255.0, alpha * 255.0)
    }

    #[test]
    fn every_formula_is_that_of_the_w3c_rounded_to_nearest() {
        let values = [0u8, 1, 2, 77, 127, 128, 200, 254, 255];
        for blend in [Blend::Over, Blend::Multiply, Blend::Screen] {
            for (cb, cs) in values.iter().flat_map(|cb| values.map(|cs| (*cb, cs))) {
                for (ab, a_s) in values.iter().flat_map(|ab| values.map(|a_s| (*ab, a_s))) {
                    let mut under = [cb, cb, cb, ab];
                    clear(blend, &mut under, &[[cs, cs, cs, a_s]], 255);
                    let (color, alpha) = reference(blend, cb, ab, cs, a_s);
                    assert!(
                        (f64::from(under[0]) - color).abs() <= 0.5001,
                        "{blend:?} {cb} {ab} {cs} {a_s}: {under:?} {color}"
                    );
                    assert!((f64::from(under[3]) - alpha).abs() <= 0.5001, "{blend:?} {cb} {ab} {cs} {a_s}");
                    let mut solid = [cb];
                    opaque::<1>(blend, &mut solid, &[[cs, cs, cs, a_s]], 255);
                    let (color, _) = reference(blend, cb, 255, cs, a_s);
                    assert!((f64::from(solid[0]) - color).abs() <= 0.5001, "{blend:?} {cb} {cs} {a_s}");
                }
            }
        }
    }

    #[test]
    fn opacity_weakens_the_whole_layer() {
        let image = Image::filled(Size::new(1, 1), Layout::Rgb, [0, 100, 200, 255]);
        let white = Image::filled(Size::new(1, 1), Layout::Rgb, [255, 255, 255, 255]);
        let half = Layer { opacity: 0.5, ..layer(white, spot("center", 0, 0)) };
        assert_eq!(lay(image, half, &Unattended).unwrap().pixels(), [128, 178, 228]);
    }
}
