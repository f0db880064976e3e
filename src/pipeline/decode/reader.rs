//! A reader over bytes in memory that fails when the job is to stop: how decoders that only know `Read` are interrupted.

use std::io::{BufRead, Cursor, Error, Read, Result, Seek, SeekFrom};

use crate::pipeline::Control;

/// Bytes handed out between two looks at [`Control::check`].
const CHUNK_BYTES: usize = 16 << 10;

/// The source of a decoder.
pub(super) struct Watched<'a> {
    cursor: Cursor<&'a [u8]>,
    control: &'a dyn Control,
}

impl<'a> Watched<'a> {
    pub(super) fn new(source: &'a [u8], control: &'a dyn Control) -> Watched<'a> {
        Watched { cursor: Cursor::new(source), control }
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        // Any kind but `Interrupted`, which readers answer by trying again.
        self.control.check().map_err(Error::other)?;
        let count = buffer.len().min(CHUNK_BYTES);
        self.cursor.read(&mut buffer[..count])
    }
}

impl BufRead for Watched<'_> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        self.control.check().map_err(Error::other)?;
        let rest = self.cursor.fill_buf()?;
        Ok(&rest[..rest.len().min(CHUNK_BYTES)])
    }

    fn consume(&mut self, count: usize) {
        self.cursor.consume(count);
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, position: SeekFrom) -> Result<u64> {
        self.cursor.seek(position)
    }
}
