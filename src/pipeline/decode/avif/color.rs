//! Luma and chroma to red, green and blue, by the matrix coefficients of ITU-T H.273.
//!
//! Chroma that is sampled more coarsely is interpolated linearly between sample centres, as libavif does by default.

use re_rav1d::dav1d::PixelLayout;

use super::{Failure, frame::Frame};
use crate::pipeline::probe::isobmff::Numbers;

/// How samples become colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Conversion {
    /// Luma is grey.
    Grey,
    /// The planes are green, blue and red.
    Identity,
    /// Luma is this much red and this much blue, the rest green.
    Luma {
        /// Weight of red.
        red: f32,
        /// Weight of blue.
        blue: f32,
    },
    /// YCgCo.
    GreenOrange,
}

impl Conversion {
    /// The container's word counts more than the AV1 data's.
    pub(super) fn of(frame: &Frame, numbers: Option<Numbers>) -> Result<Conversion, Failure> {
        if frame.layout == PixelLayout::I400 {
            return Ok(Conversion::Grey);
        }
        let matrix = numbers.map_or(frame.matrix, |numbers| numbers.matrix);
        Ok(match matrix {
            0 if frame.layout == PixelLayout::I444 => Conversion::Identity,
            0 => return Err(Failure::Corrupt("RGB planes cannot be subsampled".to_owned())),
            1 => Conversion::Luma { red: 0.2126, blue: 0.0722 },
            // Unspecified (2) is taken as BT.601, as the AVIF specification's readers do.
            2 | 5 | 6 => Conversion::Luma { red: 0.299, blue: 0.114 },
            4 => Conversion::Luma { red: 0.30, blue: 0.11 },
            7 => Conversion::Luma { red: 0.212, blue: 0.087 },
            8 => Conversion::GreenOrange,
            9 => Conversion::Luma { red: 0.2627, blue: 0.0593 },
            other => return Err(Failure::Unsupported(format!("matrix coefficients {other}"))),
        })
    }

    /// Rows of this frame as colours.
    pub(super) fn rows(self, frame: &Frame) -> Rows<'_> {
        let width = frame.size.width as usize;
        let numbers = || vec![0.0; width];
        // The container may contradict the data about the range; decoders agree on believing the data.
        Rows {
            frame,
            conversion: self,
            luma: numbers(),
            chroma: [numbers(), numbers()],
            coarse: vec![0.0; frame.chroma_width() as usize],
            coarse_too: vec![0.0; frame.chroma_width() as usize],
        }
    }
}

/// Converts rows, with room for the samples of one.
pub(super) struct Rows<'a> {
    frame: &'a Frame,
    conversion: Conversion,
    luma: Vec<f32>,
    chroma: [Vec<f32>; 2],
    coarse: Vec<f32>,
    coarse_too: Vec<f32>,
}

impl Rows<'_> {
    /// Writes a row: one byte a pixel for grey, else three.
    pub(super) fn convert(&mut self, row: u32, line: &mut [u8]) {
        let frame = self.frame;
        frame.row(0, row, &mut self.luma);
        let (black, white) = frame.luma_range();
        let unit = 255.0 / (white - black);
        if self.conversion == Conversion::Grey {
            // A colour layer may turn out grey although its description says otherwise.
            let per_pixel = line.len() / self.luma.len();
            for (pixel, luma) in line.chunks_exact_mut(per_pixel).zip(&self.luma) {
                pixel.fill(((luma - black) * unit).round() as u8);
            }
            return;
        }
        for plane in [1, 2] {
            self.read_chroma(plane, row);
        }
        let (none, reach) = frame.chroma_range();
        let scale = 255.0 / (2.0 * reach);
        let [first, second] = &self.chroma;
        let samples = self.luma.iter().zip(first).zip(second);
        if line.len() == self.luma.len() {
            // Described as grey, coded in colour: luma is the grey.
            for (grey, luma) in line.iter_mut().zip(&self.luma) {
                *grey = ((luma - black) * unit).round() as u8;
            }
            return;
        }
        for (pixel, ((luma, first), second)) in line.as_chunks_mut::<3>().0.iter_mut().zip(samples) {
            let y = (luma - black) * unit;
            let colors = match self.conversion {
                Conversion::Identity => [(second - black) * unit, y, (first - black) * unit],
                Conversion::Luma { red, blue } => {
                    let (cb, cr) = ((first - none) * scale, (second - none) * scale);
                    let (r, b) = (y + 2.0 * (1.0 - red) * cr, y + 2.0 * (1.0 - blue) * cb);
                    [r, (y - red * r - blue * b) / (1.0 - red - blue), b]
                }
                _ => {
                    let (cg, co) = ((first - none) * scale, (second - none) * scale);
                    [y - cg + co, y + cg, y - cg - co]
                }
            };
            *pixel = colors.map(|color| color.round() as u8);
        }
    }

    /// A row of a chroma plane at full resolution.
    fn read_chroma(&mut self, plane: usize, row: u32) {
        let fine = &mut self.chroma[plane - 1];
        match self.frame.layout {
            PixelLayout::I420 => {
                // Rows of luma lie a quarter of a chroma row above and below its centre.
                let near = row / 2;
                let far = if row.is_multiple_of(2) { near.saturating_sub(1) } else { near + 1 };
                self.frame.row(plane, near, &mut self.coarse);
                self.frame.row(plane, far.min(self.frame.chroma_height() - 1), &mut self.coarse_too);
                for (near, far) in self.coarse.iter_mut().zip(&self.coarse_too) {
                    *near = 0.75 * *near + 0.25 * far;
                }
                widen(&self.coarse, fine);
            }
            PixelLayout::I422 => {
                self.frame.row(plane, row, &mut self.coarse);
                widen(&self.coarse, fine);
            }
            _ => self.frame.row(plane, row, fine),
        }
    }
}

/// Twice as many samples, interpolated between centres.
fn widen(coarse: &[f32], fine: &mut [f32]) {
    let last = coarse.len() - 1;
    for (x, sample) in fine.iter_mut().enumerate() {
        let near = x / 2;
        let far = if x.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(last) };
        *sample = 0.75 * coarse[near] + 0.25 * coarse[far];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_keeps_edges_and_slopes() {
        let mut fine = [0.0; 5];
        widen(&[0.0, 4.0, 8.0], &mut fine);
        assert_eq!(fine, [0.0, 1.0, 3.0, 5.0, 7.0]);
    }
}
