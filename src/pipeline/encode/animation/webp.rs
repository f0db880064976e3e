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
};

/// Longest time a frame can be shown: 24 bits of milliseconds.
const DELAY_MAX: u32 = 0xff_ffff;

/// Where the flags of VP8X stand in the file.
const FLAGS_AT: usize = 20;

/// Flags of VP8X: there is animation, there is alpha.
const ANIMATION: u8 = 0x02;
const ALPHA: u8 = 0x10;

pub(super) struct Writer {
    size: Size,
    file: Vec<u8>,
    /// The picture before, in RGBA.
    before: Option<Image>,
}

impl Writer {
    pub(super) fn new(size: Size, plays: Option<u32>) -> Writer {
        let mut file = b"RIFF\0\0\0\0WEBP".to_vec();
        let three = |number: u32| number.to_le_bytes().into_iter().take(3);
        chunk(
            &mut file,
            *b"VP8X",
            [ANIMATION, 0, 0, 0].into_iter().chain(three(size.width - 1)).chain(three(size.height - 1)),
        );
        // Background: transparent. 0 plays mean without end.
        let plays = u16::try_from(plays.unwrap_or(0)).unwrap_or(u16::MAX);
        chunk(&mut file, *b"ANIM", [0; 4].into_iter().chain(plays.to_le_bytes()));
        Writer { size, file, before: None }
    }

    pub(super) fn bytes(&self) -> usize {
        self.file.len()
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
            self.file[FLAGS_AT] |= ALPHA;
        }
        let still = encode(&part, quality, effort, control)?;
        self.frame(rectangle, delay_ms.min(DELAY_MAX), &still)?;
        self.before = Some(image);
        Ok(())
    }

    /// Takes the picture's chunks out of a still file and wraps them up as a frame.
    fn frame(&mut self, rectangle: Rectangle, delay_ms: u32, still: &[u8]) -> Result<(), Failure> {
        let mut chunks = Vec::with_capacity(still.len());
        let mut rest = still.get(12..).unwrap_or_default();
        while let Some((head, _)) = rest.split_first_chunk::<8>() {
            let [k0, k1, k2, k3, l0, l1, l2, l3] = *head;
            let whole = 8 + (u32::from_le_bytes([l0, l1, l2, l3]) as usize).next_multiple_of(2);
            let (this, behind) = rest.split_at(whole.min(rest.len()));
            if matches!(&[k0, k1, k2, k3], b"ALPH" | b"VP8 " | b"VP8L") {
                chunks.extend_from_slice(this);
            }
            rest = behind;
        }
        if chunks.is_empty() {
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
        let fields = fields.into_iter().flat_map(|number| number.to_le_bytes().into_iter().take(3));
        // Replace what is there, and stay.
        chunk(&mut self.file, *b"ANMF", fields.chain([0x02]).chain(chunks));
        Ok(())
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = (self.file.len() - 8) as u32;
        self.file[4..8].copy_from_slice(&length.to_le_bytes());
        self.file
    }
}

/// Adds a chunk, padded to an even length.
fn chunk(file: &mut Vec<u8>, kind: [u8; 4], body: impl Iterator<Item = u8>) {
    file.extend(kind);
    let length_at = file.len();
    file.extend([0; 4]);
    file.extend(body);
    let length = (file.len() - length_at - 4) as u32;
    file[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    file.resize(file.len().next_multiple_of(2), 0);
}
