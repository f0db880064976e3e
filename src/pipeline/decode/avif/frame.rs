//! One AV1 frame through rav1d: its planes, and samples of 8, 10 or 12 bits from them.
//!
//! The decoder runs on this thread alone and is told the frame's size limit before it sees a byte.

use re_rav1d::dav1d::{Decoder, Error, Picture, PixelLayout, PlanarImageComponent, Plane, Settings};

use super::{Failure, Size};

/// A decoded frame.
pub(super) struct Frame {
    pub(super) size: Size,
    /// Bits per sample.
    pub(super) depth: u8,
    /// How chroma is sampled.
    pub(super) layout: PixelLayout,
    /// Matrix coefficients of ITU-T H.273, as the sequence header says.
    pub(super) matrix: u16,
    /// Whether samples use their whole range.
    pub(super) full_range: bool,
    planes: Vec<(Plane, usize)>,
}

impl Frame {
    /// Decodes the first frame of this data, which must have this size.
    pub(super) fn decode(data: Vec<u8>, size: Size) -> Result<Frame, Failure> {
        if data.is_empty() {
            return Err(Failure::Corrupt("there is no AV1 data".to_owned()));
        }
        let mut settings = Settings::new();
        settings.set_n_threads(1);
        settings.set_max_frame_delay(1);
        settings.set_frame_size_limit(u32::try_from(size.pixels()).unwrap_or(u32::MAX));
        settings.set_all_layers(false);
        let mut decoder = Decoder::with_settings(&settings).map_err(refused)?;
        match decoder.send_data(data, None, None, None) {
            Ok(()) | Err(Error::Again) => {}
            Err(error) => return Err(refused(error)),
        }
        let picture = loop {
            match decoder.get_picture() {
                Ok(picture) => break picture,
                Err(Error::Again) => match decoder.send_pending_data() {
                    Ok(()) => break decoder.get_picture().map_err(refused)?,
                    Err(Error::Again) => {}
                    Err(error) => return Err(refused(error)),
                },
                Err(error) => return Err(refused(error)),
            }
        };
        Frame::of(&picture, size)
    }

    fn of(picture: &Picture, expected: Size) -> Result<Frame, Failure> {
        let size = Size::new(picture.width(), picture.height());
        if size != expected {
            return Err(Failure::Corrupt(format!("its header says {expected}, its AV1 data {size}")));
        }
        let layout = picture.pixel_layout();
        let components: &[PlanarImageComponent] = match layout {
            PixelLayout::I400 => &[PlanarImageComponent::Y],
            _ => &[PlanarImageComponent::Y, PlanarImageComponent::U, PlanarImageComponent::V],
        };
        let planes =
            components.iter().map(|part| (picture.plane(*part), picture.stride(*part) as usize)).collect();
        Ok(Frame {
            size,
            depth: picture.bit_depth() as u8,
            layout,
            matrix: picture.matrix_coefficients() as u16,
            full_range: picture.color_range() as u8 != 0,
            planes,
        })
    }

    /// Width of the chroma planes.
    pub(super) fn chroma_width(&self) -> u32 {
        match self.layout {
            PixelLayout::I420 | PixelLayout::I422 => self.size.width.div_ceil(2),
            _ => self.size.width,
        }
    }

    /// Height of the chroma planes.
    pub(super) fn chroma_height(&self) -> u32 {
        if self.layout == PixelLayout::I420 { self.size.height.div_ceil(2) } else { self.size.height }
    }

    /// A row of a plane (0 luma, 1 and 2 chroma) as samples, as many as `samples` holds.
    pub(super) fn row(&self, plane: usize, row: u32, samples: &mut [f32]) {
        let (plane, stride) = &self.planes[plane];
        let bytes = &plane[row as usize * stride..];
        if self.depth == 8 {
            for (sample, byte) in samples.iter_mut().zip(bytes) {
                *sample = f32::from(*byte);
            }
        } else {
            for (sample, bytes) in samples.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *sample = f32::from(u16::from_ne_bytes(*bytes));
            }
        }
    }

    /// A row of luma as alpha: 0 is clear, 255 opaque.
    pub(super) fn alpha_row(&self, row: u32, line: &mut [u8]) {
        let mut samples = vec![0.0; line.len()];
        self.row(0, row, &mut samples);
        let (black, white) = self.luma_range();
        for (alpha, sample) in line.iter_mut().zip(samples) {
            *alpha = ((sample - black) * 255.0 / (white - black)).round() as u8;
        }
    }

    /// The samples for black and white.
    pub(super) fn luma_range(&self) -> (f32, f32) {
        let step = f32::from(1u16 << (self.depth - 8));
        if self.full_range { (0.0, step * 256.0 - 1.0) } else { (16.0 * step, 235.0 * step) }
    }

    /// The sample for no chroma, and how far the strongest is from it.
    pub(super) fn chroma_range(&self) -> (f32, f32) {
        let step = f32::from(1u16 << (self.depth - 8));
        let reach = if self.full_range { (step * 256.0 - 1.0) / 2.0 } else { 112.0 * step };
        (128.0 * step, reach)
    }
}

fn refused(error: Error) -> Failure {
    Failure::Corrupt(format!("AV1: {error}"))
}
