//! The colours of a GIF: all that the image has where a table holds them, else the best that a bounded sample teaches.
//!
//! Owns the choice of colours and the way from a pixel to its index; writes nothing. Looks at `Control` between chunks of pixels; only the
//! training (at most [`SAMPLE_PIXELS`]) runs in one go. Called by `gif`.

use color_quant::NeuQuant;

use super::Failure;
use crate::pipeline::{
    Control,
    image::{Image, Layout},
};

/// Colours in a table, a transparent one included.
const COLORS_MAX: usize = 256;

/// Pixels between two looks at `Control::check`: about a millisecond even where every colour has to be searched.
const CHUNK_PIXELS: usize = 4096;

/// Pixels that the training may choose from, spread evenly; it takes about 60 ms at the speed below.
const SAMPLE_PIXELS: usize = 500_000;

/// Speed of the training, 1 (best) to 30: the value at which `color_quant` visits every tenth pixel of the sample.
const SPEED: i32 = 10;

/// Slots of the memory of found indices, as a power of two.
const SLOT_BITS: u32 = 15;

/// 2³² divided by the golden ratio: spreads consecutive numbers evenly (Knuth, The Art of Computer Programming 3, 6.4).
const GOLDEN: u32 = 0x9e37_79b9;

/// An opaque colour as 0xRRGGBB; `None` is transparent.
type Color = Option<u32>;

/// A colour table, and a transparent entry behind it if the image needs one.
pub(super) struct Palette {
    colors: Colors,
    transparent: bool,
}

enum Colors {
    /// Every colour of the image, in ascending order.
    Exact(Vec<u32>),
    /// Colours near those of the image.
    Learned(NeuQuant),
}

/// The image's pixels in order, in chunks small enough to be worked on without a look at `Control`.
pub(super) fn chunks(image: &Image) -> impl Iterator<Item = impl Iterator<Item = Color>> {
    let channels = image.layout().channels();
    image.pixels().chunks(CHUNK_PIXELS * channels).map(move |chunk| chunk.chunks_exact(channels).map(color))
}

/// GIF knows only opaque and transparent: half and more is opaque.
fn color(pixel: &[u8]) -> Color {
    match *pixel {
        [grey] => Some(u32::from_be_bytes([0, grey, grey, grey])),
        [red, green, blue] | [red, green, blue, 128..=255] => Some(u32::from_be_bytes([0, red, green, blue])),
        _ => None,
    }
}

fn rgba(color: u32) -> [u8; 4] {
    let [_, red, green, blue] = color.to_be_bytes();
    [red, green, blue, 255]
}

impl Palette {
    /// For the colours of this image; `clear` asks for a transparent entry even where no pixel has it.
    pub(super) fn of(image: &Image, clear: bool, control: &dyn Control) -> Result<Palette, Failure> {
        match exact(image, clear, control)? {
            Some(palette) => Ok(palette),
            None => learned(image, clear, control),
        }
    }

    /// The table as the file holds it, three bytes an entry.
    pub(super) fn table(&self) -> Vec<u8> {
        let mut table = match &self.colors {
            Colors::Exact(colors) => {
                colors.iter().flat_map(|color| color.to_be_bytes().into_iter().skip(1)).collect()
            }
            Colors::Learned(network) => network.color_map_rgb(),
        };
        if self.transparent {
            table.extend([0; 3]);
        }
        table
    }

    /// The index of the transparent entry, the last.
    pub(super) fn transparent(&self) -> Option<u8> {
        // The table holds at most 256 entries.
        self.transparent.then(|| (self.len() - 1) as u8)
    }

    /// Bits that an index takes; GIF has no less than two.
    pub(super) fn index_bits(&self) -> u8 {
        self.len().next_power_of_two().ilog2().max(2) as u8
    }

    /// From colours to indices.
    pub(super) fn index(&self) -> Index<'_> {
        let known = u32::from(self.colors.nearest(0));
        Index {
            palette: self,
            transparent: self.transparent().unwrap_or(0),
            known: vec![known; 1 << SLOT_BITS],
        }
    }

    fn len(&self) -> usize {
        let colors = match &self.colors {
            Colors::Exact(colors) => colors.len(),
            Colors::Learned(_) => COLORS_MAX - usize::from(self.transparent),
        };
        colors + usize::from(self.transparent)
    }
}

impl Colors {
    /// The index of the entry nearest to this colour.
    fn nearest(&self, color: u32) -> u8 {
        let index = match self {
            // Black is asked for even where it is not there; it would stand first.
            Colors::Exact(colors) => colors.partition_point(|entry| *entry < color),
            Colors::Learned(network) => network.index_of(&rgba(color)),
        };
        index as u8
    }
}

/// Looks up indices and remembers what it found: neighbours are often alike, and a search takes a hundred times as long.
pub(super) struct Index<'a> {
    palette: &'a Palette,
    transparent: u8,
    /// A colour and its index (0xRRGGBBII) in the slot of its hash; black where nothing was found yet.
    known: Vec<u32>,
}

impl Index<'_> {
    #[inline]
    pub(super) fn get(&mut self, color: Color) -> u8 {
        let Some(color) = color else { return self.transparent };
        let slot = &mut self.known[(color.wrapping_mul(GOLDEN) >> (32 - SLOT_BITS)) as usize];
        if *slot >> 8 != color {
            *slot = color << 8 | u32::from(self.palette.colors.nearest(color));
        }
        *slot as u8
    }
}

/// The palette that holds every colour, unless there are too many.
fn exact(image: &Image, clear: bool, control: &dyn Control) -> Result<Option<Palette>, Failure> {
    let (mut colors, mut transparent, mut last) = (Vec::new(), clear, None);
    for chunk in chunks(image) {
        control.check()?;
        for color in chunk {
            if color == last && last.is_some() {
                continue;
            }
            last = color;
            match color {
                None => transparent = true,
                Some(color) => {
                    if let Err(place) = colors.binary_search(&color) {
                        colors.insert(place, color);
                    }
                }
            }
            if colors.len() + usize::from(transparent) > COLORS_MAX {
                return Ok(None);
            }
        }
    }
    Ok(Some(Palette { colors: Colors::Exact(colors), transparent }))
}

/// The palette that a sample of the opaque pixels teaches.
fn learned(image: &Image, clear: bool, control: &dyn Control) -> Result<Palette, Failure> {
    let pixels = image.size().pixels();
    let opaque = match image.layout() {
        Layout::Rgba => opaque(image, control)?,
        _ => pixels,
    };
    let transparent = clear || opaque < pixels;
    let sample = sample(image, opaque, control)?;
    let network = NeuQuant::new(SPEED, COLORS_MAX - usize::from(transparent), &sample);
    Ok(Palette { colors: Colors::Learned(network), transparent })
}

fn opaque(image: &Image, control: &dyn Control) -> Result<u64, Failure> {
    let mut count = 0;
    for chunk in chunks(image) {
        control.check()?;
        count += chunk.flatten().count() as u64;
    }
    Ok(count)
}

/// All opaque pixels in RGBA, or one of each of as many equal stretches as are allowed. Where in its stretch varies, so that no pattern in
/// the image keeps step with it.
fn sample(image: &Image, opaque: u64, control: &dyn Control) -> Result<Vec<u8>, Failure> {
    let wanted = opaque.min(SAMPLE_PIXELS as u64);
    let place = |number: u64| {
        let within = u64::from((number as u32).wrapping_mul(GOLDEN));
        (number * opaque + ((within * opaque) >> 32)) / wanted
    };
    let mut sample = Vec::with_capacity(wanted as usize * 4);
    let (mut seen, mut taken, mut next) = (0, 0, place(0));
    for chunk in chunks(image) {
        control.check()?;
        for color in chunk.flatten() {
            if seen >= next {
                sample.extend(rgba(color));
                taken += 1;
                next = place(taken);
            }
            seen += 1;
        }
    }
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Unattended, image::Size};

    #[test]
    fn a_sample_is_all_opaque_pixels_until_there_are_too_many() {
        let pixels: Vec<u8> = (0..900u32).flat_map(|n| [n as u8, (n >> 8) as u8, 7, 255]).collect();
        let mut holed = pixels.clone();
        holed[400..408].fill(0);
        let image = Image::new(Size::new(30, 30), Layout::Rgba, holed);
        let taken = sample(&image, opaque(&image, &Unattended).unwrap(), &Unattended).unwrap();
        assert_eq!(taken, [&pixels[..400], &pixels[408..]].concat());
    }

    #[test]
    fn a_sample_is_bounded_and_spread_evenly() {
        // Rows from black to white, columns that alternate: a fixed step would see one kind of column only.
        let side = 1600;
        let pixels = (0..side * side).flat_map(|n| [(n / side * 256 / side) as u8, (n % 2 * 255) as u8, 0]);
        let image = Image::new(Size::new(side, side), Layout::Rgb, pixels.collect());
        let taken = sample(&image, image.size().pixels(), &Unattended).unwrap();
        let (taken, rest) = taken.as_chunks::<4>();
        assert!(rest.is_empty() && (SAMPLE_PIXELS - 1..=SAMPLE_PIXELS).contains(&taken.len()));
        let mean = |channel: usize| {
            taken.iter().map(|pixel| f64::from(pixel[channel])).sum::<f64>() / taken.len() as f64
        };
        assert!((mean(0) - 127.5).abs() < 0.5 && (mean(1) - 127.5).abs() < 1.0, "{} {}", mean(0), mean(1));
    }
}
