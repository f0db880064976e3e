//! Images of few colours as a palette and indices, without loss, packed as PNG has them.
//!
//! Called by `png`.

use std::collections::HashMap;

use super::Failure;
use crate::pipeline::{
    Control,
    image::{Image, Layout},
};

/// Pixels between two looks at `Control::check`.
const CHUNK_PIXELS: usize = 1 << 16;

/// Most colours of a palette.
const COLORS_MAX: usize = 256;

/// An image with a palette.
pub(super) struct Indexed {
    /// Bits of an index: 1, 2, 4 or 8.
    pub(super) bits: u8,
    /// Red, green and blue of each colour, those that are not opaque first.
    pub(super) colors: Vec<u8>,
    /// Alpha of the colours that are not opaque.
    pub(super) alphas: Vec<u8>,
    /// Rows of indices, each filled up to whole bytes.
    pub(super) rows: Vec<u8>,
}

impl Indexed {
    /// The image with a palette; `None` if it has too many colours, or is grey and would not get smaller.
    pub(super) fn of(image: &Image, control: &dyn Control) -> Result<Option<Indexed>, Failure> {
        let Some(mut colors) = colors(image, control)? else { return Ok(None) };
        let bits: u8 = match colors.len() {
            ..=2 => 1,
            3..=4 => 2,
            5..=16 => 4,
            _ => 8,
        };
        if image.layout() == Layout::Grey && bits == 8 {
            return Ok(None);
        }
        colors.sort_unstable_by_key(|color| (color[3] == 255, *color));
        let index_of: HashMap<[u8; 4], u8> = colors.iter().copied().zip(0..=255).collect();
        let width = image.size().width as usize;
        let row_bytes = (width * usize::from(bits)).div_ceil(8);
        let mut rows = vec![0; row_bytes * image.size().height as usize];
        let mut last = ([0; 4], index_of.get(&[0; 4]).copied().unwrap_or(0));
        let (mut row, mut column) = (0, 0);
        for colors in chunks_of(image) {
            control.check()?;
            for color in colors {
                if color != last.0 {
                    last = (color, index_of[&color]);
                }
                let bit = column * usize::from(bits);
                rows[row * row_bytes + bit / 8] |= last.1 << (8 - usize::from(bits) - bit % 8);
                column += 1;
                if column == width {
                    (row, column) = (row + 1, 0);
                }
            }
        }
        let alphas = colors.iter().map(|color| color[3]).take_while(|alpha| *alpha != 255).collect();
        let colors = colors.iter().flat_map(|[red, green, blue, _]| [*red, *green, *blue]).collect();
        Ok(Some(Indexed { bits, colors, alphas, rows }))
    }
}

/// All colours of an image, if they fit into a palette.
fn colors(image: &Image, control: &dyn Control) -> Result<Option<Vec<[u8; 4]>>, Failure> {
    let mut known: HashMap<[u8; 4], ()> = HashMap::with_capacity(COLORS_MAX);
    let mut last = None;
    for colors in chunks_of(image) {
        control.check()?;
        for color in colors {
            if last != Some(color) {
                last = Some(color);
                known.insert(color, ());
                if known.len() > COLORS_MAX {
                    return Ok(None);
                }
            }
        }
    }
    Ok(Some(known.into_keys().collect()))
}

/// The image's pixels in order, in chunks.
fn chunks_of(image: &Image) -> impl Iterator<Item = impl Iterator<Item = [u8; 4]>> {
    let channels = image.layout().channels();
    let color = |pixel: &[u8]| match *pixel {
        [red, green, blue, alpha] => [red, green, blue, alpha],
        [red, green, blue] => [red, green, blue, 255],
        _ => [pixel[0], pixel[0], pixel[0], 255],
    };
    image.pixels().chunks(CHUNK_PIXELS * channels).map(move |chunk| chunk.chunks_exact(channels).map(color))
}
