//! APNG: a container of our own around frames that are still pictures (PNG third edition, 12.5); every frame replaces the rectangle that
//! differs, losslessly.

use png::{BitDepth, ColorType, Compression, Encoder};

use super::{
    super::Failure,
    difference::{self, Rectangle},
};
use crate::pipeline::image::{Image, Layout, Size};

/// Where acTL stands in the file: behind the signature and IHDR.
const CONTROL_AT: usize = 8 + 25;

pub(super) struct Writer {
    size: Size,
    plays: u32,
    file: Vec<u8>,
    before: Option<Image>,
    frames: u32,
    /// Number of the next chunk of the animation.
    sequence: u32,
}

impl Writer {
    pub(super) fn new(size: Size, plays: Option<u32>) -> Writer {
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        // Eight bits of red, green, blue and alpha, not interlaced.
        let sides = [size.width, size.height].map(u32::to_be_bytes).concat();
        chunk(&mut file, *b"IHDR", &[&sides[..], &[8, 6, 0, 0, 0]].concat());
        chunk(&mut file, *b"acTL", &[0; 8]);
        // 0 plays mean without end.
        Writer { size, plays: plays.unwrap_or(0), file, before: None, frames: 0, sequence: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.file.len()
    }

    pub(super) fn push(&mut self, image: Image, delay_ms: u32) -> Result<(), Failure> {
        let image = image.with_layout(Layout::Rgba);
        let rectangle = match &self.before {
            None => Rectangle::whole(self.size),
            Some(before) => {
                let differs = difference::between(self.size, before.pixels(), image.pixels());
                differs.unwrap_or(Rectangle::corner())
            }
        };
        self.control(rectangle, delay_ms);
        let still =
            still(&rectangle.cut(image.pixels(), self.size.width as usize)).map_err(Failure::because)?;
        let mut rest = &still[8..];
        while let Some((head, behind)) = rest.split_first_chunk::<8>() {
            let [l3, l2, l1, l0, kind @ ..] = *head;
            let (body, behind) = behind.split_at(u32::from_be_bytes([l3, l2, l1, l0]) as usize);
            if kind == *b"IDAT" && self.frames == 0 {
                chunk(&mut self.file, *b"IDAT", body);
            } else if kind == *b"IDAT" {
                let numbered = [&self.sequence.to_be_bytes()[..], body].concat();
                self.sequence += 1;
                chunk(&mut self.file, *b"fdAT", &numbered);
            }
            rest = &behind[4..];
        }
        self.frames += 1;
        self.before = Some(image);
        Ok(())
    }

    /// fcTL: where the frame lies and how long it is shown; it replaces what is there, and stays.
    fn control(&mut self, rectangle: Rectangle, delay_ms: u32) {
        let size = rectangle.size();
        let fields = [self.sequence, size.width, size.height, rectangle.left as u32, rectangle.top as u32];
        let mut body = fields.map(u32::to_be_bytes).concat();
        // Milliseconds as long as they fit, else hundredths.
        let (delay, per_second) = match u16::try_from(delay_ms) {
            Ok(delay) => (delay, 1000u16),
            Err(_) => (u16::try_from(delay_ms / 10).unwrap_or(u16::MAX), 100),
        };
        body.extend(delay.to_be_bytes());
        body.extend(per_second.to_be_bytes());
        body.extend([0, 0]);
        self.sequence += 1;
        chunk(&mut self.file, *b"fcTL", &body);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let mut control = Vec::new();
        chunk(&mut control, *b"acTL", &[self.frames, self.plays].map(u32::to_be_bytes).concat());
        self.file[CONTROL_AT..CONTROL_AT + control.len()].copy_from_slice(&control);
        chunk(&mut self.file, *b"IEND", &[]);
        self.file
    }
}

/// The picture as a still PNG in RGBA.
fn still(image: &Image) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, image.size().width, image.size().height);
    encoder.set_color(ColorType::Rgba);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.pixels())?;
    writer.finish()?;
    Ok(bytes)
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], body: &[u8]) {
    file.extend((body.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend(kind);
    file.extend_from_slice(body);
    let sum = crc32fast::hash(&file[start..]);
    file.extend(sum.to_be_bytes());
}
