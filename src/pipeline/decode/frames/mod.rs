//! An animation frame by frame, each as a whole picture.
//!
//! Owns the walk over the frames of GIF, WebP and APNG files: what a frame paints, how it is blended, what becomes of it before the next.
//! Only one composed picture is in memory at a time. Frames are read as far as somebody asks for them. Called by `run` only.

mod canvas;
mod gif;
mod png;
mod webp;

use self::canvas::Canvas;
use super::{Failure, Request, finished, refused};
use crate::pipeline::{
    Error, Format, Header,
    image::{Image, Layout, Size},
};

/// One frame, composed to the size of the whole picture.
pub(in crate::pipeline) struct Frame {
    /// Its pixels.
    pub(in crate::pipeline) image: Image,
    /// How long it is shown, in milliseconds.
    pub(in crate::pipeline) delay_ms: u32,
}

/// The frames of a source, from the first.
pub(in crate::pipeline) struct Frames<'a> {
    request: &'a Request<'a>,
    auto_orient: bool,
    canvas: Canvas,
    reader: Reader<'a>,
    read: u32,
}

enum Reader<'a> {
    Gif(Box<gif::Reader<'a>>),
    Webp(webp::Reader<'a>),
    Png(Box<png::Reader<'a>>),
}

/// Whether all frames of such a source can be read.
pub(in crate::pipeline) fn animated(header: &Header) -> bool {
    header.frames > 1 && matches!(header.format, Format::Gif | Format::Webp | Format::Png)
}

impl<'a> Frames<'a> {
    /// Opens the animation; no frame is decoded yet.
    pub(in crate::pipeline) fn open(
        request: &'a Request<'a>,
        auto_orient: bool,
    ) -> Result<Frames<'a>, Error> {
        request.control.check()?;
        let opened = match request.header.format {
            Format::Gif => gif::Reader::open(request).map(|reader| Reader::Gif(Box::new(reader))),
            Format::Webp => webp::Reader::open(request).map(Reader::Webp),
            _ => png::Reader::open(request).map(|reader| Reader::Png(Box::new(reader))),
        };
        request.control.check()?;
        let reader = opened.map_err(|failure| refused(failure, request.header.format))?;
        Ok(Frames { request, auto_orient, canvas: Canvas::new(request.full()), reader, read: 0 })
    }

    /// The next frame, or `None` behind the last. What follows the frames that the header counted is not worth failing for.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Interrupted`].
    pub(in crate::pipeline) fn next(&mut self) -> Result<Option<Frame>, Error> {
        let painted = match &mut self.reader {
            Reader::Gif(reader) => reader.paint(&mut self.canvas),
            Reader::Webp(reader) => reader.paint(self.request, &mut self.canvas),
            Reader::Png(reader) => reader.paint(&mut self.canvas),
        };
        self.request.control.check()?;
        let counted = self.read >= self.request.header.frames;
        let delay_ms = match painted {
            Ok(Some(delay_ms)) => delay_ms,
            Ok(None) if self.read > 0 => return Ok(None),
            Err(_) if counted => return Ok(None),
            Ok(None) => {
                let failure = Failure::Corrupt("there is no frame in it".to_owned());
                return Err(refused(failure, self.request.header.format));
            }
            Err(failure) => return Err(refused(failure, self.request.header.format)),
        };
        self.read += 1;
        let pixels = super::Pixels {
            size: self.request.full(),
            layout: Layout::Rgba,
            bytes: self.canvas.pixels().to_vec(),
        };
        let image = finished(pixels, self.request, self.auto_orient)?;
        Ok(Some(Frame { image, delay_ms }))
    }

    /// How often the animation is to be played; `None` for without end. Known once a frame was read.
    pub(in crate::pipeline) fn plays(&self) -> Option<u32> {
        match &self.reader {
            Reader::Gif(reader) => reader.plays(),
            Reader::Webp(reader) => reader.plays(),
            Reader::Png(reader) => reader.plays(),
        }
    }
}

/// Bytes of canvas, part and composed frame, beside what the decoder of one frame needs.
pub(in crate::pipeline) fn working_bytes(size: Size) -> u64 {
    // The canvas, what is restored after a frame, a part, the same with alpha, and the composed picture.
    size.pixels() * 20
}
