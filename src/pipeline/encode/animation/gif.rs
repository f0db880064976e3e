//! Animated GIF: every frame paints only the pixels that differ, in colours of its own table.
//!
//! A frame is written when the next one is known, because only that tells whether it has to be cleared away: nothing else makes a painted
//! pixel transparent again.

use gif::{DisposalMethod, Encoder, Frame, Repeat};

use super::{
    super::{Failure, gif::compress, palette::Palette},
    difference::{self, Rectangle},
};
use crate::pipeline::{
    Control,
    image::{Image, Layout, Size},
};

/// A transparent pixel; opaque ones are 0xffRRGGBB.
const CLEAR: u32 = 0;

/// Browsers take 10 ms and less for a mistake and show such a frame for 100 ms: who asked for more gets no less than this many hundredths.
const DELAY_MIN: u64 = 2;

pub(super) struct Writer {
    size: Size,
    encoder: Encoder<Vec<u8>>,
    /// What is shown before the pending frame is painted.
    before: Vec<u32>,
    pending: Option<Pending>,
    /// Milliseconds of all frames so far, and hundredths of them that are written: rounding errors do not add up.
    asked_ms: u64,
    written: u64,
}

/// A frame that is not written yet.
struct Pending {
    pixels: Vec<u32>,
    rectangle: Rectangle,
    delay: u16,
}

impl Writer {
    pub(super) fn new(size: Size, plays: Option<u32>) -> Result<Writer, Failure> {
        let width = u16::try_from(size.width).map_err(Failure::because)?;
        let height = u16::try_from(size.height).map_err(Failure::because)?;
        let mut encoder = Encoder::new(Vec::new(), width, height, &[]).map_err(Failure::because)?;
        // The file counts repetitions; without the extension there is none.
        let repeat = match plays {
            None => Some(Repeat::Infinite),
            Some(0 | 1) => None,
            Some(plays) => Some(Repeat::Finite(u16::try_from(plays - 1).unwrap_or(u16::MAX))),
        };
        if let Some(repeat) = repeat {
            encoder.set_repeat(repeat).map_err(Failure::because)?;
        }
        let before = vec![CLEAR; size.pixels() as usize];
        Ok(Writer { size, encoder, before, pending: None, asked_ms: 0, written: 0 })
    }

    pub(super) fn bytes(&self) -> usize {
        self.encoder.get_ref().len()
    }

    pub(super) fn push(
        &mut self,
        image: &Image,
        delay_ms: u32,
        control: &dyn Control,
    ) -> Result<(), Failure> {
        let pixels = thresholded(image);
        let rectangle = match self.pending.take() {
            None => Rectangle::whole(self.size),
            Some(pending) => {
                self.before = self.write(pending, &pixels, control)?;
                let differs = |index: usize| self.before[index] != pixels[index];
                difference::rectangle(self.size, differs).unwrap_or(Rectangle::corner())
            }
        };
        let delay = self.delay(delay_ms);
        self.pending = Some(Pending { pixels, rectangle, delay });
        Ok(())
    }

    pub(super) fn finish(mut self, control: &dyn Control) -> Result<Vec<u8>, Failure> {
        if let Some(pending) = self.pending.take() {
            let last = pending.pixels.clone();
            self.write(pending, &last, control)?;
        }
        self.encoder.into_inner().map_err(Failure::because)
    }

    /// In hundredths of a second.
    fn delay(&mut self, delay_ms: u32) -> u16 {
        self.asked_ms += u64::from(delay_ms);
        let least = if delay_ms > 10 { DELAY_MIN } else { u64::from(delay_ms / 10) };
        let due = ((self.asked_ms + 5) / 10).saturating_sub(self.written).max(least);
        let delay = u16::try_from(due).unwrap_or(u16::MAX);
        self.written += u64::from(delay);
        delay
    }

    /// Writes a frame behind which `next` will be shown, and returns what is shown once it was disposed of.
    fn write(&mut self, pending: Pending, next: &[u32], control: &dyn Control) -> Result<Vec<u32>, Failure> {
        let Pending { pixels, mut rectangle, delay } = pending;
        let vanishes = |index: usize| next[index] == CLEAR && pixels[index] != CLEAR;
        let cleared = difference::rectangle(self.size, vanishes);
        if let Some(cleared) = cleared {
            rectangle = rectangle.with(cleared);
        }
        let width = self.size.width as usize;
        let size = rectangle.size();
        let mut painted = Vec::with_capacity(size.pixels() as usize * 4);
        for row in rectangle.rows(width) {
            for (before, pixel) in self.before[row.clone()].iter().zip(&pixels[row]) {
                let shown = if before == pixel { CLEAR } else { *pixel };
                let [alpha, red, green, blue] = shown.to_be_bytes();
                painted.extend([red, green, blue, alpha]);
            }
        }
        let image = Image::new(size, Layout::Rgba, painted);
        // Some readers clear a frame to the background colour unless it names a transparent one.
        let palette = Palette::of(&image, cleared.is_some(), control)?;
        let frame = Frame {
            delay,
            dispose: if cleared.is_some() { DisposalMethod::Background } else { DisposalMethod::Keep },
            left: rectangle.left as u16,
            top: rectangle.top as u16,
            width: size.width as u16,
            height: size.height as u16,
            buffer: compress(&image, &palette, control)?.into(),
            palette: Some(palette.table()),
            transparent: palette.transparent(),
            ..Frame::default()
        };
        self.encoder.write_lzw_pre_encoded_frame(&frame).map_err(Failure::because)?;
        let mut shown = pixels;
        if cleared.is_some() {
            for row in rectangle.rows(width) {
                shown[row].fill(CLEAR);
            }
        }
        Ok(shown)
    }
}

/// GIF knows only opaque and transparent: half and more is opaque.
fn thresholded(image: &Image) -> Vec<u32> {
    let opaque = |red, green, blue| u32::from_be_bytes([255, red, green, blue]);
    match image.layout() {
        Layout::Grey => image.pixels().iter().map(|grey| opaque(*grey, *grey, *grey)).collect(),
        Layout::Rgb => image.pixels().as_chunks::<3>().0.iter().map(|[r, g, b]| opaque(*r, *g, *b)).collect(),
        Layout::Rgba => {
            let pixel = |[r, g, b, alpha]: &[u8; 4]| if *alpha >= 128 { opaque(*r, *g, *b) } else { CLEAR };
            image.pixels().as_chunks::<4>().0.iter().map(pixel).collect()
        }
    }
}
