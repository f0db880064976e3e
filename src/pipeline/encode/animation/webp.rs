//! Animated WebP: a container of our own around frames that are still pictures (RFC 9649, 2.7.1).
//!
//! Each frame replaces the rectangle that differs, alpha and all, and stays. What libwebp has coded once is not coded again where the source
//! did not change, so that an animation is as good as its frames one by one.

use super::{
    super::{Failure, webp::encode},
    difference::{self, Rectangle},
};
use crate::pipeline::{
    Control,
    image::{Image, Layout, Size},
    riff::{self, Chunks},
};

/// Longest time a frame can be shown: 24 bits of milliseconds.
const DELAY_MAX: u32 = 0xff_ffff;

/// Flags of VP8X: there is animation, there is alpha.
const ANIMATION: u8 = 0x02;
const ALPHA: u8 = 0x10;

pub(super) struct Writer {
    size: Size,
    file: riff::Writer,
    /// The picture before, in RGBA.
    before: Option<Image>,
}

impl Writer {
    pub(super) fn new(size: Size, plays: Option<u32>) -> Writer {
        let mut file = riff::Writer::new(0);
        file.extended(ANIMATION, size.width, size.height);
        // Background: transparent. 0 plays mean without end.
        let plays = u16::try_from(plays.unwrap_or(0)).unwrap_or(u16::MAX);
        file.chunk(*b"ANIM", &[&[0; 4], &plays.to_le_bytes()]);
        Writer { size, file, before: None }
    }

    pub(super) fn bytes(&self) -> usize {
        self.file.bytes()
    }

    pub(super) fn push(
        &mut self,
        image: Image,
        delay_ms: u32,
        quality: Option<u8>,
        effort: Option<u8>,
        control: &dyn Control,
    ) -> Result<(), Failure> {
        let image = image.with_layout(Layout::Rgba);
        let rectangle = match &self.before {
            None => Rectangle::whole(self.size),
            Some(before) => {
                let differs = difference::between(self.size, before.pixels(), image.pixels());
                differs.unwrap_or(Rectangle::corner()).even()
            }
        };
        let part = rectangle.cut(image.pixels(), self.size.width as usize);
        let opaque = part.pixels().as_chunks::<4>().0.iter().all(|pixel| pixel[3] == 255);
        let part = if opaque { part.with_layout(Layout::Rgb) } else { part };
        if !opaque {
            self.file.flag(ALPHA);
        }
        let still = encode(&part, quality, effort, control)?;
        self.frame(rectangle, delay_ms.min(DELAY_MAX), &still)?;
        self.before = Some(image);
        Ok(())
    }

    /// Takes the picture's chunks out of a still file and wraps them up as a frame.
    fn frame(&mut self, rectangle: Rectangle, delay_ms: u32, still: &[u8]) -> Result<(), Failure> {
        let mut parts = riff::Writer::new(still.len());
        let head = parts.bytes();
        for (kind, body) in Chunks::of_file(still) {
            if matches!(&kind, b"ALPH" | b"VP8 " | b"VP8L") {
                parts.chunk(kind, &[body]);
            }
        }
        let parts = &parts.finish()[head..];
        if parts.is_empty() {
            return Err(Failure::because("libwebp gave no picture"));
        }
        let size = rectangle.size();
        let fields = [
            (rectangle.left / 2) as u32,
            (rectangle.top / 2) as u32,
            size.width - 1,
            size.height - 1,
            delay_ms,
        ];
        let fields: Vec<u8> =
            fields.into_iter().flat_map(|number| number.to_le_bytes().into_iter().take(3)).collect();
        // Replace what is there, and stay.
        self.file.chunk(*b"ANMF", &[&fields, &[0x02], parts]);
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.file.finish()
    }
}
