//! Pixels on their way through the pipeline.
//!
//! Owns the buffer, its layout, and what a decoder left for later: a pending EXIF orientation and a reduced scale. Operations take an image
//! and give one back; buffers are shared until somebody writes. Called by decoders, operations and encoders; knows no file format.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    color::{Rgba, luma},
    orient::Orientation,
};

/// Width and height in pixels, each at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl Size {
    /// A size; the caller vouches for both sides being at least 1.
    pub const fn new(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    /// Width × height.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Width and height exchanged.
    pub fn turned(self) -> Size {
        Size { width: self.height, height: self.width }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}×{}", self.width, self.height)
    }
}

/// Channels of 8 bits each, gamma-encoded as in the file, alpha straight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layout {
    /// One channel.
    Grey,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, alpha.
    Rgba,
}

impl Layout {
    /// Bytes per pixel.
    pub fn channels(self) -> usize {
        match self {
            Layout::Grey => 1,
            Layout::Rgb => 3,
            Layout::Rgba => 4,
        }
    }

    /// The narrowest layout in which this colour can be painted over pixels of this layout.
    pub fn holding(self, color: Rgba) -> Layout {
        let [red, green, blue, alpha] = color;
        match self {
            _ if alpha < 255 => Layout::Rgba,
            Layout::Grey if red != green || green != blue => Layout::Rgb,
            layout => layout,
        }
    }

    /// The bytes of one pixel of this colour; only the first [`Layout::channels`] count.
    pub fn pixel(self, color: Rgba) -> Rgba {
        match self {
            Layout::Grey => [luma(color[0], color[1], color[2]), 0, 0, 0],
            _ => color,
        }
    }
}

/// Size and layout: what a plan knows of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Size, upright and at full resolution.
    pub size: Size,
    /// Channels.
    pub layout: Layout,
}

impl Shape {
    /// Bytes of the pixels.
    pub fn bytes(self) -> u64 {
        self.size.pixels() * self.layout.channels() as u64
    }
}

/// An image. Rows follow each other from the top without padding.
#[derive(Clone, Debug)]
pub struct Image {
    stored: Size,
    layout: Layout,
    pixels: Arc<Vec<u8>>,
    orientation: Orientation,
    full: Size,
    reduction: Reduction,
}

/// How the stored pixels relate to those at full resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reduction {
    /// Stored sides × 8 ÷ this are the full sides, but for rounding: 8 for an image that was not shrunk on load.
    Eighths(u8),
    /// The stored pixels show exactly what the full ones would: a smaller copy made by scaling.
    Copy,
}

impl Image {
    /// An upright image at full resolution. `pixels` must hold width × height × channels bytes.
    pub fn new(size: Size, layout: Layout, pixels: Vec<u8>) -> Image {
        debug_assert_eq!(pixels.len() as u64, Shape { size, layout }.bytes());
        let orientation = Orientation::default();
        let (full, reduction) = (size, Reduction::Eighths(8));
        Image { stored: size, layout, pixels: Arc::new(pixels), orientation, full, reduction }
    }

    /// What a decoder made: pixels as stored in the file, at `eighths`/8 of the stored size `full`, still to be turned upright.
    pub fn decoded(
        stored: Size,
        layout: Layout,
        pixels: Vec<u8>,
        orientation: Orientation,
        full: Size,
        eighths: u8,
    ) -> Image {
        let mut image = Image::new(stored, layout, pixels);
        image.orientation = orientation;
        image.full = orientation.upright(full);
        image.reduction = Reduction::Eighths(eighths);
        image
    }

    /// This upright image as a stand-in for one of size `full` of which it is a smaller copy: operations reckon with `full`, as they do with
    /// what a decoder shrank.
    pub fn standing_for(self, full: Size) -> Image {
        Image { full, reduction: Reduction::Copy, ..self }
    }

    /// Size upright and at full resolution: what every operation reckons with.
    pub fn size(&self) -> Size {
        self.full
    }

    /// Size of the pixels as they lie in memory.
    pub fn stored(&self) -> Size {
        self.stored
    }

    /// Channels.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Bytes of the pixels as they lie in memory.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The pixels for writing; copies them first if another output still needs them.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        Arc::make_mut(&mut self.pixels).as_mut_slice()
    }

    /// The pixels, without a copy if nobody else holds them.
    pub fn into_pixels(self) -> Vec<u8> {
        Arc::try_unwrap(self.pixels).unwrap_or_else(|shared| shared.to_vec())
    }

    /// The turn that is still to be made.
    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// Pixels in memory per pixel at full resolution, along the stored width and height; 1 unless the image was shrunk.
    pub fn scale(&self) -> [f64; 2] {
        match self.reduction {
            Reduction::Eighths(eighths) => [f64::from(eighths) / 8.0; 2],
            Reduction::Copy => {
                let full = self.orientation.upright(self.full);
                let across = f64::from(self.stored.width) / f64::from(full.width);
                [across, f64::from(self.stored.height) / f64::from(full.height)]
            }
        }
    }

    /// Turns the pixels upright, if that is still to be done.
    pub fn upright(self) -> Image {
        if self.orientation.is_identity() {
            return self;
        }
        let orientation = self.orientation;
        let flat = Image { orientation: Orientation::default(), ..self };
        let full = flat.full;
        Image { full, ..flat.turned(orientation) }
    }

    /// The image turned as an orientation says; a full-size image in, a full-size image out.
    pub fn turned(self, orientation: Orientation) -> Image {
        let image = self.upright();
        if orientation.is_identity() {
            return image;
        }
        let pixels = orientation.apply(&image.pixels, image.stored, image.layout.channels());
        let (stored, full) = (orientation.upright(image.stored), orientation.upright(image.full));
        Image { stored, full, pixels: Arc::new(pixels), ..image }
    }

    /// The same picture with these channels. Dropping alpha shows the colour under it; use `flatten` to blend first.
    pub fn with_layout(self, layout: Layout) -> Image {
        if layout == self.layout {
            return self;
        }
        let count = self.stored.pixels() as usize;
        let mut pixels = Vec::with_capacity(count * layout.channels());
        match (self.layout, layout) {
            (Layout::Grey, Layout::Rgb) => {
                for grey in self.pixels.iter() {
                    pixels.extend_from_slice(&[*grey; 3]);
                }
            }
            (Layout::Grey, _) => {
                for grey in self.pixels.iter() {
                    pixels.extend_from_slice(&[*grey, *grey, *grey, 255]);
                }
            }
            (Layout::Rgb, Layout::Rgba) => {
                for [red, green, blue] in self.pixels.as_chunks::<3>().0 {
                    pixels.extend_from_slice(&[*red, *green, *blue, 255]);
                }
            }
            (Layout::Rgba, Layout::Rgb) => {
                for [red, green, blue, _] in self.pixels.as_chunks::<4>().0 {
                    pixels.extend_from_slice(&[*red, *green, *blue]);
                }
            }
            (Layout::Rgb, _) => {
                pixels.extend(self.pixels.as_chunks::<3>().0.iter().map(|[r, g, b]| luma(*r, *g, *b)));
            }
            (Layout::Rgba, _) => {
                pixels.extend(self.pixels.as_chunks::<4>().0.iter().map(|[r, g, b, _]| luma(*r, *g, *b)));
            }
        }
        Image { layout, pixels: Arc::new(pixels), ..self }
    }

    /// An area of this size painted in one colour.
    pub fn filled(size: Size, layout: Layout, color: Rgba) -> Image {
        let pixel = layout.pixel(color);
        let pixels = pixel[..layout.channels()].repeat(size.pixels() as usize);
        Image::new(size, layout, pixels)
    }

    /// Copies all of `other` (upright, same layout) so that its top left corner lies at `left`, `top`; it must fit.
    pub fn paste(&mut self, other: &Image, left: u32, top: u32) {
        let channels = self.layout.channels();
        let (width, row) = (self.stored.width as usize * channels, other.stored.width as usize * channels);
        let start = top as usize * width + left as usize * channels;
        let target = self.pixels_mut();
        for (index, line) in other.pixels.chunks_exact(row).enumerate() {
            let from = start + index * width;
            target[from..from + row].copy_from_slice(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_convert_there_and_back() {
        let grey = Image::new(Size::new(2, 1), Layout::Grey, vec![7, 200]);
        for layout in [Layout::Rgb, Layout::Rgba] {
            let there = grey.clone().with_layout(layout);
            assert_eq!(there.pixels().len(), 2 * layout.channels());
            assert_eq!(there.with_layout(Layout::Grey).pixels(), [7, 200]);
        }
    }

    #[test]
    fn a_colour_widens_the_layout_only_as_far_as_it_must() {
        assert_eq!(Layout::Grey.holding([9, 9, 9, 255]), Layout::Grey);
        assert_eq!(Layout::Grey.holding([9, 8, 9, 255]), Layout::Rgb);
        assert_eq!(Layout::Rgb.holding([9, 9, 9, 254]), Layout::Rgba);
    }

    #[test]
    fn writing_to_a_shared_image_leaves_the_other_alone() {
        let first = Image::filled(Size::new(2, 2), Layout::Grey, [5, 5, 5, 255]);
        let mut second = first.clone();
        second.paste(&Image::filled(Size::new(1, 1), Layout::Grey, [9, 9, 9, 255]), 1, 1);
        assert_eq!((first.pixels(), second.pixels()), (&[5, 5, 5, 5][..], &[5, 5, 5, 9][..]));
    }
}
