//! The one scan: MCUs to samples to rows of the picture.
//!
//! Owns the samples: one row of MCUs of every component, with the last row of samples of the row before above it, because
//! interpolation between rows looks one up and one down. A row of the picture is finished as soon as what it looks at is there.

use super::{
    Flaw, Refusal,
    kernels::{self, Kernels},
    layout::{Layout, Plane},
    reader::{Mcu, Reader},
    transform, upsample,
    window::End,
};

/// A scan that is being decoded.
pub(super) struct Scan<'a> {
    layout: &'a Layout,
    reader: Reader<'a>,
    /// Per plane: a row from above, then the rows of this row of MCUs.
    samples: Vec<Vec<u8>>,
    /// Room for one interpolated row of each chroma component, and for its sums.
    chroma: [Vec<u8>; 2],
    sums: Vec<u16>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(layout: &'a Layout, reader: Reader<'a>) -> Self {
        let rows = |plane: &Plane| plane.blocks.1 * plane.samples.1 + 1;
        let widest = layout.planes[0].stride;
        Self {
            layout,
            reader,
            samples: layout.planes.iter().map(|plane| vec![0; rows(plane) * plane.stride]).collect(),
            chroma: [vec![0; widest * 2], vec![0; widest * 2]],
            sums: vec![0; widest + 2],
        }
    }

    /// Decodes everything into `out`, which is empty or has its length already, asking `check` once per row of MCUs.
    #[inline(always)]
    pub(super) fn run<K: Kernels, E>(
        &mut self,
        kernels: K,
        out: &mut Vec<u8>,
        check: &mut impl FnMut() -> Result<(), E>,
    ) -> Result<(), Refusal<E>> {
        let Layout { width, height, mcus, rows, ref planes, .. } = *self.layout;
        let lag = usize::from(planes.iter().any(|plane| plane.factor.1 == 2));
        let length = width * planes.len();
        let mut finished = 0;
        for row in 0..mcus.1 {
            check().map_err(Refusal::Interrupted)?;
            self.decode_row(kernels, mcus.0)?;
            let until = if row + 1 == mcus.1 { height } else { (row + 1) * rows - lag };
            for y in finished..until {
                if out.len() < (y + 1) * length {
                    // Row by row: so the zeros are in the cache when the pixels come.
                    out.resize((y + 1) * length, 0);
                }
                self.finish(kernels, y, row, &mut out[y * length..][..length]);
            }
            finished = until;
            for (plane, samples) in planes.iter().zip(&mut self.samples) {
                let last = samples.len() - plane.stride;
                samples.copy_within(last.., 0);
            }
        }
        match self.reader.end() {
            Some(End::Marker(0xd9) | End::Source) => Ok(()),
            _ => Err(Flaw::Damaged("its data does not end where its picture does").into()),
        }
    }

    /// One row of MCUs into `samples`.
    #[inline(always)]
    fn decode_row<K: Kernels>(&mut self, kernels: K, mcus: usize) -> Result<(), Flaw> {
        for mcu in 0..mcus {
            let Mcu { mut extents, mut coefficients } = self.reader.next(kernels)?;
            for (plane, samples) in self.layout.planes.iter().zip(&mut self.samples) {
                let (across, down) = plane.samples;
                for v in 0..plane.blocks.1 {
                    for h in 0..plane.blocks.0 {
                        let start = (v * down + 1) * plane.stride + (mcu * plane.blocks.0 + h) * across;
                        let out = &mut samples[start..];
                        let (block, rest) = coefficients.split_at(plane.order.size());
                        coefficients = rest;
                        let extent = extents.split_off_first().copied().unwrap_or_default();
                        if extent > 1 {
                            kernels::inverse(kernels, plane.lengths, block, &plane.steps, out, plane.stride);
                        } else if extent == 1 {
                            let value = [transform::flat(block, &plane.steps); 8];
                            for row in out.chunks_mut(plane.stride).take(down) {
                                row[..8].copy_from_slice(&value);
                            }
                        } else {
                            return Err(Flaw::Damaged("a block cannot be read"));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Row `y` of the picture into `out`, from the samples of MCU row `row`.
    #[inline(always)]
    fn finish<K: Kernels>(&mut self, kernels: K, y: usize, row: usize, out: &mut [u8]) {
        let Self { layout, samples, chroma, sums, .. } = self;
        let width = layout.width;
        // Sample row `line` of a plane; the one before this row of MCUs is there as well.
        let sample_row = |index: usize, line: usize| {
            let plane: &Plane = &layout.planes[index];
            let start = (line + 1 - row * plane.blocks.1 * plane.samples.1) * plane.stride;
            &samples[index][start..start + plane.stride]
        };
        let luma = &sample_row(0, y)[..width];
        if layout.planes.len() == 1 {
            out.copy_from_slice(luma);
            return;
        }
        for (index, chroma) in (1..).zip(chroma.iter_mut()) {
            let plane = &layout.planes[index];
            if plane.factor != (1, 1) {
                let line = y / plane.factor.1;
                let near = &sample_row(index, line)[..plane.size.0];
                let far = match (plane.factor.1, y % 2) {
                    (2, 0) => sample_row(index, line.saturating_sub(1)),
                    (2, _) => sample_row(index, (line + 1).min(plane.size.1 - 1)),
                    _ => near,
                };
                interpolate(plane.factor, (near, &far[..plane.size.0]), y % 2 == 1, sums, chroma);
            }
        }
        let [cb, cr] = [1, 2].map(|index| {
            let plane = &layout.planes[index];
            if plane.factor == (1, 1) { &sample_row(index, y)[..width] } else { &chroma[index - 1][..width] }
        });
        kernels.rgb(luma, cb, cr, out);
    }
}

/// A row of `factor` times as many samples, between the nearer row and the farther, which is the one below or above.
#[inline(always)]
fn interpolate(
    factor: (usize, usize),
    (near, far): (&[u8], &[u8]),
    below: bool,
    sums: &mut [u16],
    out: &mut [u8],
) {
    let out = &mut out[..near.len() * factor.0];
    match factor {
        // The reference interpolates across only where there are neighbours on both sides.
        (2, 1) if near.len() > 2 => {
            upsample::widen(near, sums);
            upsample::double_plain(sums, out);
        }
        (2, 2) if near.len() > 2 => {
            upsample::blend(near, far, sums);
            upsample::double_blended(sums, out);
        }
        (1, 2) => upsample::between(near, far, below, out),
        (across, _) => upsample::repeat(near, across, out),
    }
}
