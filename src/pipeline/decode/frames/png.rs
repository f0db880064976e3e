//! The frames of an APNG (PNG third edition, 12.5 and 13.15).

use png::{BlendOp, DisposeOp};

use super::{
    super::{
        Failure, Request,
        png::damaged,
        png::{Convert, open},
        reader::Watched,
    },
    canvas::{Blend, Canvas, Disposal, Part},
};
use crate::pipeline::image::{Image, Size};

pub(super) struct Reader<'a> {
    reader: png::Reader<Watched<'a>>,
    /// Frames still to come, as the file counts them.
    left: u32,
    first: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn open(request: &Request<'a>) -> Result<Reader<'a>, Failure> {
        let reader = open(request).map_err(damaged)?;
        let left = reader.info().animation_control.map_or(1, |control| control.num_frames);
        Ok(Reader { reader, left, first: true })
    }

    /// Decodes the next frame onto the screen and tells how long it is shown, in milliseconds.
    pub(super) fn paint(&mut self, canvas: &mut Canvas) -> Result<Option<u32>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        // A default image without a frame control is not part of the animation.
        if !self.first || self.reader.info().frame_control.is_none() {
            self.reader.next_frame_info().map_err(damaged)?;
        }
        self.first = false;
        self.left -= 1;
        let control = self.reader.info().frame_control;
        let control = control.ok_or_else(|| Failure::Corrupt("a frame has no frame control".to_owned()))?;
        let convert = Convert::of(&self.reader);
        let bytes = self.reader.output_buffer_size();
        let mut frame = vec![0; bytes.ok_or_else(|| Failure::Corrupt("a frame is too large".to_owned()))?];
        let info = self.reader.next_frame(&mut frame).map_err(damaged)?;
        let size = Size::new(info.width, info.height);
        let mut pixels = Vec::with_capacity(size.pixels() as usize * 4);
        convert.push(&frame[..info.buffer_size()], &mut pixels);
        let image = Image::new(size, convert.layout(), pixels);
        let blend = match control.blend_op {
            BlendOp::Over => Blend::Over,
            BlendOp::Source => Blend::Replace,
        };
        let disposal = match control.dispose_op {
            DisposeOp::None => Disposal::Keep,
            DisposeOp::Background => Disposal::Clear,
            DisposeOp::Previous => Disposal::Restore,
        };
        canvas.paint(Part { left: control.x_offset, top: control.y_offset, image, blend, disposal });
        // A denominator of 0 stands for hundredths.
        let per_second = if control.delay_den == 0 { 100 } else { u32::from(control.delay_den) };
        Ok(Some((u32::from(control.delay_num) * 1000 + per_second / 2) / per_second))
    }

    pub(super) fn plays(&self) -> Option<u32> {
        let plays = self.reader.info().animation_control.map_or(0, |control| control.num_plays);
        (plays > 0).then_some(plays)
    }
}
