//! PNG, row by row: every depth and colour type, palettes, tRNS, interlacing; of an APNG the default image.

use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Reader, Transformations};

use super::{Failure, Pixels, Request, Size, reader::Watched, to_eight};
use crate::pipeline::image::Layout;

/// Rows between two looks at `Control::check`.
const ROWS_PER_CHECK: u32 = 64;

pub(super) fn decode(request: &Request<'_>) -> Result<Pixels, Failure> {
    read(request).map_err(damaged)
}

/// The failure for what the library said.
pub(super) fn damaged(error: DecodingError) -> Failure {
    match error {
        DecodingError::LimitsExceeded => {
            Failure::Corrupt("its chunks need more memory than its size explains".to_owned())
        }
        other => Failure::Corrupt(other.to_string()),
    }
}

/// Reads as far as the pixels of the first image, with every limit set.
pub(super) fn open<'a>(request: &Request<'a>) -> Result<Reader<Watched<'a>>, DecodingError> {
    // Rows in flight and small chunks; the pixels themselves are ours.
    let bytes = (request.full().width as usize).saturating_mul(8 * 4) + (1 << 20);
    let mut decoder =
        Decoder::new_with_limits(Watched::new(request.source, request.control), Limits { bytes });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    let reader = decoder.read_info()?;
    Ok(reader)
}

fn read(request: &Request<'_>) -> Result<Pixels, DecodingError> {
    let size = request.full();
    let mut reader = open(request)?;
    let found = Size::new(reader.info().width, reader.info().height);
    let convert = Convert::of(&reader);
    let layout = convert.layout();
    if found != size {
        return Ok(Pixels { size: found, layout, bytes: Vec::new() });
    }
    let mut bytes = Vec::with_capacity(size.pixels() as usize * layout.channels());
    if reader.info().interlaced {
        let mut frame = vec![0; reader.output_buffer_size().ok_or(DecodingError::LimitsExceeded)?];
        reader.next_frame(&mut frame)?;
        convert.push(&frame, &mut bytes);
    } else {
        for row in 0..size.height {
            if row % ROWS_PER_CHECK == 0 && request.control.check().is_err() {
                break;
            }
            let Some(row) = reader.next_row()? else { break };
            convert.push(row.data(), &mut bytes);
        }
    }
    Ok(Pixels { size, layout, bytes })
}

/// What the decoder gives, and how it becomes 8-bit grey, RGB or RGBA.
#[derive(Clone, Copy)]
pub(super) struct Convert {
    color: ColorType,
    wide: bool,
}

impl Convert {
    /// For what this reader gives.
    pub(super) fn of(reader: &Reader<Watched<'_>>) -> Convert {
        let (color, depth) = reader.output_color_type();
        Convert { color, wide: depth == BitDepth::Sixteen }
    }

    /// What becomes of it.
    pub(super) fn layout(self) -> Layout {
        match self.color {
            ColorType::Grayscale => Layout::Grey,
            ColorType::Rgb | ColorType::Indexed => Layout::Rgb,
            ColorType::GrayscaleAlpha | ColorType::Rgba => Layout::Rgba,
        }
    }

    pub(super) fn push(self, row: &[u8], out: &mut Vec<u8>) {
        match (self.color == ColorType::GrayscaleAlpha, self.wide) {
            (false, false) => out.extend_from_slice(row),
            (false, true) => {
                out.extend(row.as_chunks::<2>().0.iter().map(|value| to_eight(u16::from_be_bytes(*value))))
            }
            (true, false) => {
                for [grey, alpha] in row.as_chunks::<2>().0 {
                    out.extend_from_slice(&[*grey, *grey, *grey, *alpha]);
                }
            }
            (true, true) => {
                for [g1, g0, a1, a0] in row.as_chunks::<4>().0 {
                    let grey = to_eight(u16::from_be_bytes([*g1, *g0]));
                    out.extend_from_slice(&[grey, grey, grey, to_eight(u16::from_be_bytes([*a1, *a0]))]);
                }
            }
        }
    }
}
