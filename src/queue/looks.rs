//! How many images may be looked at at once before their memory is granted: headers read and jobs planned, for uploads, dry runs and
//! fetches alike.
//!
//! A look is short but not free: a drawing is parsed whole. Both who receives and who fetches takes a turn here, so that a crowd of either
//! holds no more memory than a few looks, and leaves threads to others.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Queue;

/// Turns, one a core.
#[derive(Debug)]
pub(super) struct Looks {
    turns: Arc<Semaphore>,
    most: usize,
}

impl Looks {
    pub(super) fn new() -> Looks {
        let most = std::thread::available_parallelism().map_or(2, usize::from);
        Looks { turns: Arc::new(Semaphore::new(most)), most }
    }

    /// Whether nobody looks at an image.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.available_permits() == self.most
    }

    async fn turn(&self) -> Turn {
        let permit = Arc::clone(&self.turns).acquire_owned().await;
        Turn { _permit: permit.expect("the semaphore is never closed") }
    }
}

/// A turn to look at one image. Keep it in the thread that looks: who waits may go away, the thread stays.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Queue {
    /// Waits in line for a turn to look at an image.
    pub async fn turn_to_look(&self) -> Turn {
        self.shared.looks.turn().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_look_at_once_than_there_are_cores() {
        let looks = Looks::new();
        assert!(looks.is_idle());
        let mut turns = Vec::new();
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            turns.push(looks.turn().await);
        }
        assert!(!looks.is_idle());
        let mut one_more = Box::pin(looks.turn());
        assert!(futures_util::poll!(&mut one_more).is_pending());
        turns.pop();
        assert!(futures_util::poll!(&mut one_more).is_ready());
    }
}
