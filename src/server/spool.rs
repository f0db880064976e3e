//! An image on its way in: small ones stay in memory, larger ones go to a spool file part by part.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::error::{ApiError, Code};
use super::state::State;
use crate::blob::{INLINE_BYTES_MAX, SpoolFile};

/// Chunks smaller than this are copied together: each would keep the whole read buffer that it is a part of.
const SMALL_BYTES: usize = 8 * 1024;
/// Bytes that one upload gathers while as many are being written: few hops to the blocking threads when there are few uploads…
const GATHERED_BYTES_MAX: usize = 1024 * 1024;
/// … and little memory when there are many, but all of what may stay in memory.
const GATHERED_BYTES_MIN: usize = INLINE_BYTES_MAX;
/// What all uploads together may gather before each falls back to its minimum; up to twice as much is on its way to the disk.
const GATHERED_BYTES_OF_ALL: usize = 8 * 1024 * 1024;

/// An image that has arrived.
pub(super) enum Received {
    /// At most [`INLINE_BYTES_MAX`]: it will live in the job's own row.
    Inline(Bytes),
    /// In a file that is removed unless it becomes the job's source.
    Spooled(SpoolFile),
}

/// An image that is arriving.
pub(super) struct Gathering {
    state: Arc<State>,
    chunks: Vec<Bytes>,
    small: BytesMut,
    held: usize,
    spool: Option<SpoolFile>,
}

impl Gathering {
    pub(super) fn new(state: &Arc<State>) -> Gathering {
        Gathering {
            state: Arc::clone(state),
            chunks: Vec::new(),
            small: BytesMut::new(),
            held: 0,
            spool: None,
        }
    }

    /// Takes the next part. Waits for the disk when enough is held while the part before is still being written, and with it the client has
    /// to wait.
    pub(super) async fn push(&mut self, chunk: Bytes) -> Result<(), ApiError> {
        self.held += chunk.len();
        if chunk.len() < SMALL_BYTES {
            self.small.extend_from_slice(&chunk);
        } else {
            self.seal();
            self.chunks.push(chunk);
        }
        let share = GATHERED_BYTES_OF_ALL / self.state.uploads().max(1);
        if self.held > share.clamp(GATHERED_BYTES_MIN, GATHERED_BYTES_MAX) {
            self.write().await?;
        }
        Ok(())
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push(self.small.split().freeze());
        }
    }

    async fn write(&mut self) -> Result<(), ApiError> {
        self.seal();
        self.held = 0;
        let chunks = std::mem::take(&mut self.chunks);
        let spool = match &mut self.spool {
            Some(spool) => spool,
            None => self.spool.insert(self.state.services.blobs.create_spool().await?),
        };
        Ok(spool.write(chunks).await?)
    }

    /// The image is complete.
    pub(super) async fn finish(mut self) -> Result<Received, ApiError> {
        if self.held == 0 && self.spool.is_none() {
            let detail = "The image is empty: send its bytes as the body, or as the part `file` of a form.";
            return Err(ApiError::new(Code::InvalidRequest, detail));
        }
        if self.held > INLINE_BYTES_MAX || (self.spool.is_some() && self.held > 0) {
            self.write().await?;
        }
        if let Some(mut spool) = self.spool {
            spool.complete().await?;
            return Ok(Received::Spooled(spool));
        }
        self.seal();
        Ok(Received::Inline(match <[Bytes; 1]>::try_from(self.chunks) {
            Ok([only]) => only,
            Err(several) => several.concat().into(),
        }))
    }
}
