//! Animated outputs: frames in, one file out.
//!
//! Owns what the writers share: only the rectangle that differs from the picture before is written. Every frame stays a frame, however little
//! changes, so that a source and its output count the same. Files over a bound ([`ANIMATION_BYTES_MAX`]) fail. Called by `make`.

mod difference;
mod gif;
mod png;
mod webp;

use super::Failure;
use crate::pipeline::{
    Control, Encoded, Error, Format, OutputSpec,
    image::{Image, Size},
    memory::ANIMATION_BYTES_MAX,
    metadata::Extras,
};

/// An animated output in the making.
pub(in crate::pipeline) struct Animation<'a> {
    spec: &'a OutputSpec,
    format: Format,
    plays: Option<u32>,
    control: &'a dyn Control,
    quality: Option<u8>,
    open: Option<(Size, Writer)>,
}

enum Writer {
    Gif(Box<gif::Writer>),
    Webp(webp::Writer),
    Png(Box<png::Writer>),
}

impl Writer {
    fn bytes(&self) -> usize {
        match self {
            Writer::Gif(writer) => writer.bytes(),
            Writer::Webp(writer) => writer.bytes(),
            Writer::Png(writer) => writer.bytes(),
        }
    }
}

impl<'a> Animation<'a> {
    /// An animation without frames, to be played so often (`None`: without end).
    pub(in crate::pipeline) fn new(
        spec: &'a OutputSpec,
        format: Format,
        plays: Option<u32>,
        control: &'a dyn Control,
    ) -> Animation<'a> {
        let quality = super::quality(spec, format);
        Animation { spec, format, plays, control, quality, open: None }
    }

    /// Adds a frame; the first one decides the size.
    ///
    /// # Errors
    /// [`Error::Encode`] and [`Error::Interrupted`].
    pub(in crate::pipeline) fn push(&mut self, image: Image, delay_ms: u32) -> Result<(), Error> {
        self.add(image.upright(), delay_ms).map_err(|failure| self.failed(failure))
    }

    fn add(&mut self, image: Image, delay_ms: u32) -> Result<(), Failure> {
        self.control.check()?;
        let size = image.size();
        if self.open.is_none() {
            self.open = Some((size, self.writer(size)?));
        }
        let Some((first, writer)) = &mut self.open else { return Err(Failure::because("it has no writer")) };
        if *first != size {
            return Err(Failure::because(format!("its first frame is {first}, another {size}")));
        }
        match writer {
            Writer::Gif(writer) => writer.push(&image, delay_ms, self.control)?,
            Writer::Webp(writer) => {
                writer.push(image, delay_ms, self.quality, self.spec.effort, self.control)?
            }
            Writer::Png(writer) => writer.push(image, delay_ms)?,
        }
        if writer.bytes() as u64 > ANIMATION_BYTES_MAX {
            let most = ANIMATION_BYTES_MAX >> 20;
            return Err(Failure::because(format!(
                "the animation grows beyond {most} MiB; ask for a smaller size or for \"frames\": \"first\""
            )));
        }
        Ok(())
    }

    fn writer(&self, size: Size) -> Result<Writer, Failure> {
        Ok(match self.format {
            Format::Gif => Writer::Gif(Box::new(gif::Writer::new(size, self.plays)?)),
            Format::Webp => Writer::Webp(webp::Writer::new(size, self.plays)),
            _ => Writer::Png(Box::new(png::Writer::new(size, self.plays))),
        })
    }

    /// The file, with what it keeps beside its frames.
    ///
    /// # Errors
    /// [`Error::Encode`], [`Error::MaxBytes`] and [`Error::Interrupted`].
    pub(in crate::pipeline) fn finish(mut self, extras: &Extras) -> Result<Encoded, Error> {
        let finished = match self.open.take() {
            None => Err(Failure::because("it has no frames")),
            Some((size, Writer::Gif(writer))) => writer.finish(self.control).map(|bytes| (size, bytes)),
            Some((size, Writer::Webp(writer))) => Ok((size, writer.finish())),
            Some((size, Writer::Png(writer))) => Ok((size, writer.finish())),
        };
        let (size, mut bytes) = finished.map_err(|failure| self.failed(failure))?;
        // Whether there is an alpha channel the file says by itself.
        bytes = extras.attach(self.format, bytes, false);
        if let Some(limit) = self.spec.max_bytes.filter(|limit| bytes.len() as u64 > *limit) {
            let detail =
                format!("the animation takes {} of {limit} bytes; ask for fewer pixels", bytes.len());
            return Err(self.failed(Failure::TooLarge(detail)));
        }
        bytes.shrink_to_fit();
        let Size { width, height } = size;
        let (name, format, quality) = (self.spec.name.clone(), self.format, self.quality);
        Ok(Encoded { name, format, width, height, quality, bytes })
    }

    fn failed(&self, failure: Failure) -> Error {
        super::failed(failure, self.spec, self.format)
    }
}
