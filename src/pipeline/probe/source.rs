//! A reader that counts: how the walks read and skip without ever reading more than their budget.

use std::io::{BufRead, Error, ErrorKind, Read, Seek, SeekFrom};

/// Most bytes that one probe reads (skipping is free).
const BYTES_MAX: u64 = 16 << 20;

/// Most blocks (segments, chunks, sub-block chains) that one probe visits.
const BLOCKS_MAX: u32 = 100_000;

/// What one sub-block costs beside its bytes, as if so many were read: those of one byte each make the most hops.
const HOP_BYTES: u64 = 16;

/// A source being walked.
pub(in crate::pipeline) struct Source<R> {
    reader: R,
    bytes_left: u64,
    blocks_left: u32,
}

impl<R: BufRead + Seek> Source<R> {
    pub(in crate::pipeline) fn new(reader: R) -> Source<R> {
        Source { reader, bytes_left: BYTES_MAX, blocks_left: BLOCKS_MAX }
    }

    /// Bytes in all. The walk is over after that.
    pub(super) fn length(&mut self) -> Result<u64, Error> {
        self.reader.seek(SeekFrom::End(0))
    }

    /// Up to `count` bytes from here, without moving.
    pub(super) fn peek(&mut self, count: usize) -> Result<Vec<u8>, Error> {
        let mut start = Vec::with_capacity(count);
        self.reader.by_ref().take(count as u64).read_to_end(&mut start)?;
        self.reader.seek_relative(-(start.len() as i64))?;
        Ok(start)
    }

    /// The next `N` bytes.
    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.spend(N as u64)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The next `count` bytes, at most; fewer at the end of the source.
    pub(super) fn up_to(&mut self, count: usize) -> Result<Vec<u8>, Error> {
        self.spend(count as u64)?;
        let mut bytes = Vec::new();
        self.reader.by_ref().take(count as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// One byte.
    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.bytes::<1>()?[0])
    }

    /// A big-endian number of two bytes.
    pub(super) fn u16_be(&mut self) -> Result<u16, Error> {
        self.bytes().map(u16::from_be_bytes)
    }

    /// Moves on without reading; beyond the end is noticed by the next read.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), Error> {
        let count = i64::try_from(count).map_err(|_| Error::from(ErrorKind::UnexpectedEof))?;
        self.reader.seek_relative(count)
    }

    /// Goes to an offset from the start.
    pub(super) fn go_to(&mut self, offset: u64) -> Result<(), Error> {
        self.reader.seek(SeekFrom::Start(offset)).map(|_| ())
    }

    /// Counts a block; `false` once the budget is used up and the walk should be content with what it knows.
    pub(super) fn next_block(&mut self) -> bool {
        self.blocks_left = self.blocks_left.saturating_sub(1);
        self.blocks_left > 0 && self.bytes_left > 0
    }

    /// Skips a chain of GIF sub-blocks; `false` when the budget ends before it.
    pub(super) fn skip_chain(&mut self) -> Result<bool, Error> {
        loop {
            let length = self.byte()?;
            if length == 0 {
                return Ok(true);
            }
            // Reading on is cheaper than seeking for such short hops, and counts as reading.
            if self.bytes_left < 512 {
                return Ok(false);
            }
            self.bytes_left -= u64::from(length) + HOP_BYTES;
            self.reader.seek_relative(i64::from(length))?;
        }
    }

    fn spend(&mut self, count: u64) -> Result<(), Error> {
        match self.bytes_left.checked_sub(count) {
            Some(left) => {
                self.bytes_left = left;
                Ok(())
            }
            None => Err(Error::new(ErrorKind::InvalidData, "the header is unreasonably long")),
        }
    }
}
