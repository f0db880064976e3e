//! The marker segments up to the one scan of a baseline JPEG (T.81 Annex B).
//!
//! Owns the judgement of what is usual: eight bits, grey or YCbCr, every component in one scan, sampling factors that divide evenly.
//! Never looks at entropy-coded data.

use super::{Flaw, huffman::Codes};

/// One component of the frame.
#[derive(Clone, Copy)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Blocks per MCU, across and down.
    pub(super) blocks: (usize, usize),
    /// Index into [`Frame::quantization`].
    pub(super) quantization: usize,
    /// Index into [`Frame::dc`].
    pub(super) dc: usize,
    /// Index into [`Frame::ac`].
    pub(super) ac: usize,
}

/// Everything that stands before the entropy-coded data.
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    /// One (grey) or three (Y, Cb, Cr).
    pub(super) components: Vec<Component>,
    /// Quantization steps in zigzag order.
    pub(super) quantization: [Option<[u16; 64]>; 4],
    pub(super) dc: [Option<Codes>; 4],
    pub(super) ac: [Option<Codes>; 4],
    /// MCUs between restart markers, 0 for none.
    pub(super) restart: usize,
    /// Where the entropy-coded data begins.
    pub(super) data: usize,
}

impl Frame {
    /// Reads the segments of `source`.
    pub(super) fn read(source: &[u8]) -> Result<Self, Flaw> {
        let mut rest = Segments { source, at: 0 };
        if rest.array()? != [0xff, 0xd8] {
            return Err(Flaw::Damaged("there is no start of image"));
        }
        let mut frame = Self {
            width: 0,
            height: 0,
            components: Vec::new(),
            quantization: [None; 4],
            dc: [const { None }; 4],
            ac: [const { None }; 4],
            restart: 0,
            data: 0,
        };
        loop {
            let (marker, segment) = rest.next()?;
            match marker {
                0xc0 | 0xc1 => frame.start(segment)?,
                0xc4 => frame.huffman(segment)?,
                0xda => {
                    frame.scan(segment)?;
                    frame.data = rest.at;
                    return Ok(frame);
                }
                0xdb => frame.steps(segment)?,
                0xdd => {
                    frame.restart = usize::from(u16::from_be_bytes(*segment.first_chunk().ok_or(SHORT)?));
                }
                0xee => adobe(segment)?,
                0xe0..=0xef | 0xfe => {}
                _ => return Err(Flaw::Unusual("not a baseline process")),
            }
        }
    }

    /// SOF: size, components and their sampling.
    fn start(&mut self, segment: &[u8]) -> Result<(), Flaw> {
        let [depth, h1, h0, w1, w0, count] = *segment.first_chunk().ok_or(SHORT)?;
        self.height = usize::from(u16::from_be_bytes([h1, h0]));
        self.width = usize::from(u16::from_be_bytes([w1, w0]));
        if !self.components.is_empty() {
            return Err(Flaw::Damaged("there are two frame headers"));
        }
        if depth != 8 || self.width == 0 || self.height == 0 {
            return Err(Flaw::Unusual("not eight bits, or its height comes later"));
        }
        let described = segment[6..].as_chunks::<3>().0;
        if !matches!(count, 1 | 3) || described.len() != usize::from(count) {
            return Err(Flaw::Unusual("not one or three components"));
        }
        for [id, sampling, quantization] in described {
            let blocks = (usize::from(sampling >> 4), usize::from(sampling & 15));
            let quantization = usize::from(*quantization);
            self.components.push(Component { id: *id, blocks, quantization, dc: 0, ac: 0 });
        }
        if count == 1 {
            // A scan of one component has no interleaving, so its factors mean nothing (T.81 A.2.2).
            self.components[0].blocks = (1, 1);
        }
        self.judge()
    }

    /// Whether the components are what this decoder knows.
    fn judge(&self) -> Result<(), Flaw> {
        let (across, down) = self.components[0].blocks;
        let divides = |whole: usize, part: usize, most: usize| {
            part > 0
                && whole.is_multiple_of(part)
                && matches!(whole / part, 1 | 2 | 4)
                && whole / part <= most
        };
        let usual = self
            .components
            .iter()
            .all(|component| divides(across, component.blocks.0, 4) && divides(down, component.blocks.1, 2));
        let blocks: usize =
            self.components.iter().map(|component| component.blocks.0 * component.blocks.1).sum();
        if !usual || blocks > super::BLOCKS_MAX {
            return Err(Flaw::Unusual("its sampling factors"));
        }
        if self.components.iter().map(|component| component.id).eq(*b"RGB") {
            return Err(Flaw::Unusual("not YCbCr"));
        }
        Ok(())
    }

    /// DQT: steps of one or more tables.
    fn steps(&mut self, mut segment: &[u8]) -> Result<(), Flaw> {
        while let [kind, rest @ ..] = segment {
            let mut steps = [0; 64];
            segment = if kind >> 4 == 0 {
                let (values, after) = rest.split_first_chunk::<64>().ok_or(SHORT)?;
                steps = values.map(u16::from);
                after
            } else {
                let (values, after) = rest.split_first_chunk::<128>().ok_or(SHORT)?;
                for (step, value) in steps.iter_mut().zip(values.as_chunks().0) {
                    *step = u16::from_be_bytes(*value);
                }
                after
            };
            if steps.iter().any(|step| *step == 0 || *step > i16::MAX as u16) {
                return Err(Flaw::Unusual("its quantization steps"));
            }
            *self.quantization.get_mut(usize::from(kind & 15)).ok_or(NUMBER)? = Some(steps);
        }
        Ok(())
    }

    /// DHT: one or more codes.
    fn huffman(&mut self, mut segment: &[u8]) -> Result<(), Flaw> {
        while let [kind, rest @ ..] = segment {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let count: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, after) = rest.split_at_checked(count).ok_or(SHORT)?;
            segment = after;
            let codes = Codes::new(counts, symbols).ok_or(Flaw::Damaged("a Huffman code is overfull"))?;
            let tables = match kind >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return Err(NUMBER),
            };
            *tables.get_mut(usize::from(kind & 15)).ok_or(NUMBER)? = Some(codes);
        }
        Ok(())
    }

    /// SOS: which tables each component uses.
    fn scan(&mut self, segment: &[u8]) -> Result<(), Flaw> {
        let count = self.components.len();
        if count == 0 {
            return Err(Flaw::Damaged("there is no frame header"));
        }
        if segment.first().map(|count| usize::from(*count)) != Some(count) {
            return Err(Flaw::Unusual("more than one scan"));
        }
        let (tables, spectral) = segment[1..].split_at_checked(count * 2).ok_or(SHORT)?;
        if spectral != [0, 63, 0] {
            return Err(Flaw::Unusual("not a sequential scan"));
        }
        for (component, [id, codes]) in self.components.iter_mut().zip(tables.as_chunks().0) {
            if component.id != *id {
                return Err(Flaw::Unusual("its components in another order"));
            }
            component.dc = usize::from(codes >> 4);
            component.ac = usize::from(codes & 15);
        }
        Ok(())
    }
}

/// A segment that ends before its contents do.
const SHORT: Flaw = Flaw::Damaged("a segment is shorter than what it holds");
/// A table number that does not exist.
const NUMBER: Flaw = Flaw::Damaged("there are only four tables of a kind");

/// APP14: the one transform that is usual, YCbCr.
fn adobe(segment: &[u8]) -> Result<(), Flaw> {
    if segment.starts_with(b"Adobe") && segment.get(11) != Some(&1) {
        return Err(Flaw::Unusual("not YCbCr"));
    }
    Ok(())
}

/// A walk over marker segments.
struct Segments<'a> {
    source: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let bytes = self.source.get(self.at..).and_then(|rest| rest.first_chunk()).ok_or(SHORT)?;
        self.at += N;
        Ok(*bytes)
    }

    /// The next marker and its segment.
    fn next(&mut self) -> Result<(u8, &'a [u8]), Flaw> {
        let [prefix, mut marker] = self.array()?;
        if prefix != 0xff {
            return Err(Flaw::Damaged("there are stray bytes between segments"));
        }
        while marker == 0xff {
            [marker] = self.array()?;
        }
        if matches!(marker, 0x00 | 0x01 | 0xd0..=0xd9) {
            return Err(Flaw::Damaged("a marker stands where it has no place"));
        }
        let length = usize::from(u16::from_be_bytes(self.array()?)).checked_sub(2).ok_or(SHORT)?;
        let segment = self.source[self.at..].get(..length).ok_or(SHORT)?;
        self.at += length;
        Ok((marker, segment))
    }
}
