//! The frames of an animated WebP (RFC 9649, 2.7.1): every one is a still WebP in a wrapping of its own.

use super::{
    super::{Failure, Pixels, Request, generic},
    canvas::{Blend, Canvas, Disposal, Part},
};
use crate::pipeline::{
    Header,
    image::{Image, Size},
    riff::{self, Chunks},
};

/// Bytes of the fields before the chunks of a frame.
const FRAME_FIELDS: usize = 16;

/// Bytes that a file of its own needs before and between the chunks of a frame, padding included.
const HEAD_BYTES: usize = 64;

/// Flag of VP8X: there is alpha.
const ALPHA: u8 = 0x10;

pub(super) struct Reader<'a> {
    chunks: Chunks<'a>,
    plays: Option<u32>,
}

impl<'a> Reader<'a> {
    pub(super) fn open(request: &Request<'a>) -> Result<Reader<'a>, Failure> {
        // Cut off between two frames, a file looks whole but for its length.
        let length = request.source.get(4..).and_then(|rest| rest.first_chunk());
        let length = length.map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes));
        if request.source.len() as u64 + 1 < u64::from(length) + 8 {
            return Err(Failure::Corrupt("it is shorter than it says".to_owned()));
        }
        Ok(Reader { chunks: Chunks::of_file(request.source), plays: None })
    }

    /// Decodes the next frame onto the screen and tells how long it is shown, in milliseconds.
    pub(super) fn paint(
        &mut self,
        request: &Request<'_>,
        canvas: &mut Canvas,
    ) -> Result<Option<u32>, Failure> {
        let body = loop {
            match self.chunks.next() {
                Some(([b'A', b'N', b'M', b'F'], body)) => break body,
                Some(([b'A', b'N', b'I', b'M'], [_, _, _, _, low, high, ..])) => {
                    let times = u32::from(u16::from_le_bytes([*low, *high]));
                    self.plays = (times > 0).then_some(times);
                }
                Some(_) => {}
                None => {
                    let whole = self.chunks.is_through();
                    return if whole {
                        Ok(None)
                    } else {
                        Err(Failure::Corrupt("it ends inside a frame".to_owned()))
                    };
                }
            }
        };
        let Some((&fields, chunks)) = body.split_first_chunk::<FRAME_FIELDS>() else {
            return Err(Failure::Corrupt("a frame is too short".to_owned()));
        };
        let [x0, x1, x2, y0, y1, y2, w0, w1, w2, h0, h1, h2, d0, d1, d2, flags] = fields;
        let number = |bytes: [u8; 3]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        let size = Size::new(number([w0, w1, w2]) + 1, number([h0, h1, h2]) + 1);
        let (left, top) = (number([x0, x1, x2]) * 2, number([y0, y1, y2]) * 2);
        let screen = request.full();
        if left + size.width > screen.width || top + size.height > screen.height {
            return Err(Failure::Corrupt("a frame reaches over the edge".to_owned()));
        }
        let image = still(request, size, chunks)?;
        let blend = if flags & 2 == 0 { Blend::Over } else { Blend::Replace };
        let disposal = if flags & 1 == 0 { Disposal::Keep } else { Disposal::Clear };
        canvas.paint(Part { left, top, image, blend, disposal });
        Ok(Some(number([d0, d1, d2])))
    }

    pub(super) fn plays(&self) -> Option<u32> {
        self.plays
    }
}

/// Decodes the chunks of one frame by the decoder of still pictures.
fn still(request: &Request<'_>, size: Size, chunks: &[u8]) -> Result<Image, Failure> {
    let (mut alpha, mut pixels) = (None, None);
    for (kind, body) in Chunks::within(chunks) {
        match &kind {
            b"ALPH" => alpha = Some(body),
            b"VP8 " | b"VP8L" if pixels.is_none() => pixels = Some((kind, body)),
            _ => {}
        }
    }
    let (kind, body) = pixels.ok_or_else(|| Failure::Corrupt("a frame has no picture".to_owned()))?;
    let alpha = alpha.filter(|_| kind == *b"VP8 ");
    let mut file = riff::Writer::new(chunks.len() + HEAD_BYTES);
    if let Some(alpha) = alpha {
        file.extended(ALPHA, size.width, size.height);
        file.chunk(*b"ALPH", &[alpha]);
    }
    file.chunk(kind, &[body]);
    let file = file.finish();
    let header = Header { width: size.width, height: size.height, frames: 1, ..request.header.clone() };
    let request = Request { source: &file, header: &header, ..*request };
    let Pixels { size: found, layout, bytes } = generic::decode(&request)?;
    if found != size {
        return Err(Failure::Corrupt(format!("a frame says {size}, its picture {found}")));
    }
    Ok(Image::new(size, layout, bytes))
}
