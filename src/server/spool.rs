//! An image on its way in: how much of it is held in memory, by how many others come at the same time.

use std::sync::Arc;

use super::error::{ApiError, Code};
use super::state::State;
use crate::blob::{Received, Receiving};

/// Bytes that one upload gathers while as many are being written: few hops to the blocking threads when there are few uploads…
const GATHERED_BYTES_MAX: usize = 1024 * 1024;
/// … and little memory when there are many (but what may stay in memory is gathered in any case): what all of them together may gather. As much
/// again is on its way to the disk.
const GATHERED_BYTES_OF_ALL: usize = 8 * 1024 * 1024;

/// An image that is arriving.
pub(super) struct Gathering {
    state: Arc<State>,
    receiving: Receiving,
}

impl Gathering {
    pub(super) fn new(state: &Arc<State>) -> Gathering {
        Gathering { state: Arc::clone(state), receiving: Receiving::new(&state.services.blobs) }
    }

    /// Takes the next bytes, and may wait for the disk.
    pub(super) async fn push(&mut self, chunk: &[u8]) -> Result<(), ApiError> {
        let share = GATHERED_BYTES_OF_ALL / self.state.uploads().max(1);
        Ok(self.receiving.push(chunk, share.min(GATHERED_BYTES_MAX)).await?)
    }

    /// The image is complete.
    pub(super) async fn finish(self) -> Result<Received, ApiError> {
        if self.receiving.is_empty() {
            let detail = "The image is empty: send its bytes as the body, or as the part `file` of a form.";
            return Err(ApiError::new(Code::InvalidRequest, detail));
        }
        Ok(self.receiving.finish().await?)
    }
}
