//! The frames of a GIF (GIF89a; loops as Netscape's extension counts them).

use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, Decoder, DisposalMethod, MemoryLimit, Repeat};

use super::{
    super::{Failure, Request, reader::Watched},
    canvas::{Blend, Canvas, Disposal, Part},
};
use crate::pipeline::{
    image::{Image, Layout, Size},
    memory,
};

pub(super) struct Reader<'a> {
    decoder: Decoder<Watched<'a>>,
    /// Most bytes that a frame may take in RGBA.
    bytes_max: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn open(request: &Request<'a>) -> Result<Reader<'a>, Failure> {
        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::RGBA);
        options.set_memory_limit(MemoryLimit::Bytes(
            NonZeroU64::new(request.memory_bytes).unwrap_or(NonZeroU64::MIN),
        ));
        let decoder = options.read_info(Watched::new(request.source, request.control)).map_err(damaged)?;
        // A frame larger than the screen is wasteful, and allowed as long as that costs nobody anything.
        Ok(Reader { decoder, bytes_max: request.full().pixels() * 4 + memory::BASE_BYTES })
    }

    /// Decodes the next frame onto the screen and tells how long it is shown, in milliseconds.
    pub(super) fn paint(&mut self, canvas: &mut Canvas) -> Result<Option<u32>, Failure> {
        let Some(frame) = self.decoder.next_frame_info().map_err(damaged)? else { return Ok(None) };
        let size = Size::new(u32::from(frame.width), u32::from(frame.height));
        let (left, top) = (u32::from(frame.left), u32::from(frame.top));
        let delay_ms = u32::from(frame.delay) * 10;
        let disposal = match frame.dispose {
            DisposalMethod::Any | DisposalMethod::Keep => Disposal::Keep,
            DisposalMethod::Background => Disposal::Clear,
            DisposalMethod::Previous => Disposal::Restore,
        };
        if size.pixels() == 0 {
            // Tools write such frames for a pause; browsers show what is there.
            canvas.clear_up();
            return Ok(Some(delay_ms));
        }
        if size.pixels() * 4 > self.bytes_max {
            return Err(Failure::Corrupt(format!("a frame of {size} does not fit the screen")));
        }
        let mut bytes = vec![0; size.pixels() as usize * 4];
        self.decoder.read_into_buffer(&mut bytes).map_err(damaged)?;
        let image = Image::new(size, Layout::Rgba, bytes);
        canvas.paint(Part { left, top, image, blend: Blend::Over, disposal });
        Ok(Some(delay_ms))
    }

    /// The extension counts repetitions, not plays; without it there is one.
    pub(super) fn plays(&self) -> Option<u32> {
        match self.decoder.repeat() {
            Repeat::Infinite => None,
            Repeat::Finite(times) => Some(u32::from(times) + 1),
        }
    }
}

fn damaged(error: gif::DecodingError) -> Failure {
    Failure::Corrupt(error.to_string())
}
