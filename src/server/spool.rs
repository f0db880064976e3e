//! An image on its way in: small ones stay in memory, larger ones go to a spool file part by part.

use std::sync::Arc;

use bytes::Bytes;

use super::error::{ApiError, Code};
use super::state::State;
use crate::blob::{INLINE_BYTES_MAX, Part, SpoolFile};

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
    /// What is not written yet. Copied out of the connection's buffer, which is the same for the next bytes then, and still in the cache.
    part: Part,
    spool: Option<SpoolFile>,
}

impl Gathering {
    pub(super) fn new(state: &Arc<State>) -> Gathering {
        Gathering { state: Arc::clone(state), part: Part::default(), spool: None }
    }

    /// Takes the next bytes. Waits for the disk when enough is held while the part before is still being written, and with it the client has
    /// to wait.
    pub(super) async fn push(&mut self, chunk: &[u8]) -> Result<(), ApiError> {
        let share = GATHERED_BYTES_OF_ALL / self.state.uploads().max(1);
        let share = share.clamp(GATHERED_BYTES_MIN, GATHERED_BYTES_MAX);
        let length = self.part.len() + chunk.len();
        if length > share && !self.part.is_empty() {
            spooled(&self.state, &mut self.spool).await?.write(&mut self.part).await?;
            // The share was larger when this memory was new.
            self.part.shrink_to(share);
        }
        let room = if self.spool.is_none() && length <= INLINE_BYTES_MAX { length } else { share };
        self.part.extend(chunk, room);
        Ok(())
    }

    /// The image is complete.
    pub(super) async fn finish(mut self) -> Result<Received, ApiError> {
        if self.part.is_empty() && self.spool.is_none() {
            let detail = "The image is empty: send its bytes as the body, or as the part `file` of a form.";
            return Err(ApiError::new(Code::InvalidRequest, detail));
        }
        if self.spool.is_none() && self.part.len() <= INLINE_BYTES_MAX {
            return Ok(Received::Inline(self.part.into_bytes()));
        }
        spooled(&self.state, &mut self.spool).await?.complete(self.part).await?;
        Ok(self.spool.map_or_else(|| Received::Inline(Bytes::new()), Received::Spooled))
    }
}

/// The file, made now if there is none.
async fn spooled<'a>(state: &State, spool: &'a mut Option<SpoolFile>) -> Result<&'a mut SpoolFile, ApiError> {
    Ok(match spool {
        Some(spool) => spool,
        None => spool.insert(state.services.blobs.create_spool().await?),
    })
}
