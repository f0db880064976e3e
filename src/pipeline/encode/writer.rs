//! A growing buffer that refuses to grow when the job is to stop: how encoders that only know `Write` are interrupted.

use std::io::{Cursor, Error, Result, Seek, SeekFrom, Write};

use crate::pipeline::Control;

/// Bytes taken in between two looks at [`Control::check`].
const CHUNK_BYTES: usize = 64 << 10;

/// The target of an encoder.
pub(super) struct Watched<'a> {
    cursor: Cursor<Vec<u8>>,
    control: &'a dyn Control,
    unchecked: usize,
}

impl<'a> Watched<'a> {
    pub(super) fn new(control: &'a dyn Control, bytes_hint: usize) -> Watched<'a> {
        Watched { cursor: Cursor::new(Vec::with_capacity(bytes_hint)), control, unchecked: 0 }
    }

    /// What was written.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.cursor.into_inner()
    }
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.unchecked >= CHUNK_BYTES {
            // Any kind but `Interrupted`, which writers answer by trying again.
            self.control.check().map_err(Error::other)?;
            self.unchecked = 0;
        }
        let count = self.cursor.write(bytes)?;
        self.unchecked += count;
        Ok(count)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, position: SeekFrom) -> Result<u64> {
        self.cursor.seek(position)
    }
}
