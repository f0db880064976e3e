//! AVIF: the coded images of the primary image, one after the other, put together, cropped and joined with their alpha.
//!
//! Owns how tiles become one image; the container is [`isobmff`]'s, AV1 is [`frame`]'s, colour is [`color`]'s. Of grids the job can be
//! stopped between tiles; one coded image is decoded to its end (about 70 ms per megapixel).

mod color;
mod frame;
mod obu;

use std::{io::Cursor, ops::Range};

use self::{color::Conversion, frame::Frame};
use super::{Failure, Pixels, Request, Size};
use crate::pipeline::{
    image::Layout,
    probe::{
        Flaw, Source,
        isobmff::{self, Layer, Picture, Window},
    },
};

pub(super) fn decode(request: &Request<'_>) -> Result<Pixels, Failure> {
    let picture = isobmff::picture(&mut Source::new(Cursor::new(request.source))).map_err(from_flaw)?;
    let layout = match (&picture.alpha, picture.color.coding.grey) {
        (Some(_), _) => Layout::Rgba,
        (None, true) => Layout::Grey,
        (None, false) => Layout::Rgb,
    };
    let size = picture.window.size;
    if size != request.full() {
        return Ok(Pixels { size, layout, bytes: Vec::new() });
    }
    let mut canvas = Canvas { window: picture.window, channels: layout.channels(), bytes: Vec::new() };
    canvas.bytes = vec![0; size.pixels() as usize * canvas.channels];
    colors(request, &picture, &mut canvas)?;
    if let Some(alpha) = &picture.alpha {
        each_tile(request, alpha, |frame, left, top| {
            canvas.paste(left, top, frame, 3, |row, line| frame.alpha_row(row, line));
            Ok(())
        })?;
        if picture.premultiplied {
            super::unmultiply(&mut canvas.bytes);
        }
    }
    Ok(Pixels { size, layout, bytes: canvas.bytes })
}

fn colors(request: &Request<'_>, picture: &Picture, canvas: &mut Canvas) -> Result<(), Failure> {
    each_tile(request, &picture.color, |frame, left, top| {
        let conversion = Conversion::of(frame, picture.numbers)?;
        let mut rows = conversion.rows(frame);
        canvas.paste(left, top, frame, 0, |row, line| rows.convert(row, line));
        Ok(())
    })
}

/// Decodes the coded images of a layer and hands over each with its place.
fn each_tile(
    request: &Request<'_>,
    layer: &Layer,
    mut take: impl FnMut(&Frame, u32, u32) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for (index, extents) in (0u32..).zip(&layer.tiles) {
        if request.control.check().is_err() {
            return Err(Failure::Corrupt("stopped".to_owned()));
        }
        let data = joined(request.source, extents)?;
        obu::check(&data)?;
        let frame = Frame::decode(data, layer.tile)?;
        let (column, row) = (index % layer.columns, index / layer.columns);
        take(&frame, column * layer.tile.width, row * layer.tile.height)?;
    }
    Ok(())
}

/// The bytes of an item, whose parts may lie anywhere in the file.
fn joined(source: &[u8], extents: &[Range<u64>]) -> Result<Vec<u8>, Failure> {
    let part = |extent: &Range<u64>| {
        let end = if extent.end == u64::MAX { source.len() } else { extent.end as usize };
        source.get(extent.start as usize..end)
    };
    let parts: Option<Vec<&[u8]>> = extents.iter().map(part).collect();
    let parts = parts.ok_or_else(|| Failure::Corrupt("the file ends before its pixels".to_owned()))?;
    // Parts may overlap; together they can't be more than the file, of which one copy was planned.
    let length = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
    if length > source.len() {
        return Err(Failure::Corrupt("an image uses the same bytes twice".to_owned()));
    }
    Ok(parts.concat())
}

/// What is seen of the image, being filled.
struct Canvas {
    window: Window,
    channels: usize,
    bytes: Vec<u8>,
}

impl Canvas {
    /// Puts a frame whose corner is at `left`, `top` of the coded image into the canvas, from this channel on. `read` fills a line with the
    /// frame's row; a line has as many channels per pixel as the canvas, or one for alpha.
    fn paste(
        &mut self,
        left: u32,
        top: u32,
        frame: &Frame,
        channel: usize,
        mut read: impl FnMut(u32, &mut [u8]),
    ) {
        let Window { left: x0, top: y0, size } = self.window;
        let (x1, y1) = (x0 + size.width, y0 + size.height);
        let columns = left.max(x0)..(left + frame.size.width).min(x1);
        let rows = top.max(y0)..(top + frame.size.height).min(y1);
        if columns.is_empty() {
            return;
        }
        let per_pixel = if channel == 3 { 1 } else { self.channels.min(3) };
        let mut line = vec![0; frame.size.width as usize * per_pixel];
        for y in rows {
            read(y - top, &mut line);
            let from = &line[(columns.start - left) as usize * per_pixel..];
            let start =
                ((y - y0) as usize * size.width as usize + (columns.start - x0) as usize) * self.channels;
            let to = &mut self.bytes[start..start + columns.len() * self.channels];
            for (to, from) in to.chunks_exact_mut(self.channels).zip(from.chunks_exact(per_pixel)) {
                to[channel..channel + per_pixel].copy_from_slice(from);
            }
        }
    }
}

fn from_flaw(flaw: Flaw) -> Failure {
    match flaw {
        Flaw::Unsupported(detail) => Failure::Unsupported(detail),
        Flaw::Invalid(detail) => Failure::Corrupt(detail),
        Flaw::Truncated => Failure::Corrupt("the file ends inside its header".to_owned()),
        Flaw::Io(error) => Failure::Corrupt(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_and_checked() {
        let source = b"0123456789";
        assert_eq!(joined(source, &[2..4, 8..u64::MAX]).ok().as_deref(), Some(&b"2389"[..]));
        assert!(joined(source, &[2..11, 0..1]).is_err());
        assert!(joined(source, &[0..10, 0..1]).is_err());
    }

    #[test]
    fn real_files_have_one_frame_an_image() {
        let files = std::fs::read_dir("tests/formats").unwrap().map(|file| file.unwrap().path());
        let mut seen = 0;
        for file in files.filter(|path| path.extension().is_some_and(|ending| ending == "avif")) {
            let bytes = std::fs::read(&file).unwrap();
            let picture = isobmff::picture(&mut Source::new(Cursor::new(&bytes[..]))).unwrap();
            for tile in picture.color.tiles.iter().chain(picture.alpha.iter().flat_map(|alpha| &alpha.tiles))
            {
                assert!(obu::check(&joined(&bytes, tile).ok().unwrap()).is_ok(), "{}", file.display());
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
    }
}
