//! A rectangle of an image as rows of samples in floating point, weighed by alpha, and back.
//!
//! Owns that translation in place; called by the operations that blur.

use super::{
    image::{Image, Layout},
    region::Rectangle,
};

/// The rectangle, borrowed from its image.
pub(super) struct Patch<'a> {
    pixels: &'a mut [u8],
    /// Bytes of a row of the whole image.
    stride: usize,
    /// Where the first byte of the rectangle's first row lies.
    start: usize,
    /// Bytes of a row of the rectangle.
    row: usize,
    height: usize,
    layout: Layout,
}

impl<'a> Patch<'a> {
    /// This rectangle of an upright image, inside of it.
    pub(super) fn of(image: &'a mut Image, part: Rectangle) -> Patch<'a> {
        let (layout, channels) = (image.layout(), image.layout().channels());
        let stride = image.size().width as usize * channels;
        let start = part.top as usize * stride + part.left as usize * channels;
        let row = part.size.width as usize * channels;
        Patch { pixels: image.pixels_mut(), stride, start, row, height: part.size.height as usize, layout }
    }

    /// Pixels across, rows and channels.
    pub(super) fn dimensions(&self) -> (usize, usize, usize) {
        let channels = self.layout.channels();
        (self.row / channels, self.height, channels)
    }

    /// Whether the samples of a pixel end in alpha.
    pub(super) fn has_alpha(&self) -> bool {
        self.layout == Layout::Rgba
    }

    /// The bytes of a row.
    pub(super) fn row(&self, index: usize) -> &[u8] {
        &self.pixels[self.start + index * self.stride..][..self.row]
    }

    /// The bytes of a row, for writing.
    pub(super) fn row_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.pixels[self.start + index * self.stride..][..self.row]
    }

    /// A row as samples 0..255, colours multiplied by alpha (0..1).
    pub(super) fn read(&self, index: usize, samples: &mut [f32]) {
        let row = self.row(index);
        if !self.has_alpha() {
            samples.iter_mut().zip(row).for_each(|(sample, byte)| *sample = f32::from(*byte));
            return;
        }
        for (to, from) in samples.as_chunks_mut::<4>().0.iter_mut().zip(row.as_chunks::<4>().0) {
            let share = f32::from(from[3]) * (1.0 / 255.0);
            *to = [
                f32::from(from[0]) * share,
                f32::from(from[1]) * share,
                f32::from(from[2]) * share,
                f32::from(from[3]),
            ];
        }
    }

    /// Puts samples back, rounded to nearest, colours divided by alpha; fully transparent pixels become black.
    pub(super) fn write(&mut self, index: usize, samples: &[f32]) {
        let alpha = self.has_alpha();
        let row = self.row_mut(index);
        if !alpha {
            row.iter_mut().zip(samples).for_each(|(byte, sample)| *byte = rounded(*sample));
            return;
        }
        for (to, from) in row.as_chunks_mut::<4>().0.iter_mut().zip(samples.as_chunks::<4>().0) {
            let share = if from[3] > 0.0 { 255.0 / from[3] } else { 0.0 };
            let straight = [from[0] * share, from[1] * share, from[2] * share, from[3]];
            let bytes = straight.map(rounded);
            *to = if bytes[3] == 0 { [0; 4] } else { bytes };
        }
    }
}

/// A sample as a byte: rounded to nearest, cut to 0..255.
#[inline]
pub(super) fn rounded(sample: f32) -> u8 {
    (sample + 0.5).clamp(0.0, 255.0) as i32 as u8
}

#[cfg(test)]
mod tests {
    use super::super::image::Size;
    use super::*;

    #[test]
    fn there_and_back_is_the_same_but_for_hidden_colours() {
        for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
            let mut image = Image::filled(Size::new(5, 4), layout, [10, 20, 30, 200]);
            let part = Rectangle { left: 1, top: 2, size: Size::new(3, 1) };
            let before = image.pixels().to_vec();
            let mut patch = Patch::of(&mut image, part);
            assert_eq!(patch.dimensions(), (3, 1, layout.channels()));
            let mut samples = vec![0.0; 3 * layout.channels()];
            patch.read(0, &mut samples);
            patch.write(0, &samples);
            assert_eq!(image.pixels(), before);
            let mut patch = Patch::of(&mut image, part);
            patch.write(0, &vec![0.0; samples.len()]);
            let changed = image.pixels().iter().zip(&before).filter(|(a, b)| a != b).count();
            assert_eq!(changed, samples.len(), "only the rectangle");
        }
    }
}
