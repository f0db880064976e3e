//! How much room the file system of the blobs has left, and how much of it is not for new work.
//!
//! Pure but for one question to the kernel, which may block. Never frees anything. Used by the blobs.

use std::path::Path;

/// Room that new work may not use: what is stored already must still be finished, told about and removed, and all of that is written down
/// first. On file systems smaller than twenty times this it is 5 % of them.
pub const RESERVE_BYTES_MAX: u64 = 64 << 20;
/// At most this part of a file system is kept in reserve: 5 %.
const RESERVE_DIVISOR: u64 = 20;

/// The part of the reserve that is kept for what has begun.
const RESERVE_TO_END: u64 = 4;

/// A look at the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process can still write.
    pub free_bytes: u64,
    /// Bytes of the whole file system.
    pub total_bytes: u64,
}

impl Space {
    /// Asks the kernel about the file system of a directory. Blocking.
    pub(super) fn of(directory: &Path) -> std::io::Result<Space> {
        let state = rustix::fs::statvfs(directory)?;
        Ok(Space {
            free_bytes: state.f_bavail.saturating_mul(state.f_frsize),
            total_bytes: state.f_blocks.saturating_mul(state.f_frsize),
        })
    }

    /// Bytes that have to be free before new work is taken.
    pub fn reserve_bytes(&self) -> u64 {
        RESERVE_BYTES_MAX.min(self.total_bytes / RESERVE_DIVISOR)
    }

    /// Whether so little is left that even work that was taken already must wait: what has begun must still be ended and told about, and
    /// what has expired be removed.
    pub fn is_nearly_gone(&self) -> bool {
        self.free_bytes < self.reserve_bytes() / RESERVE_TO_END
    }

    /// Whether what is left belongs to the work that has been taken already.
    pub fn is_low(&self) -> bool {
        self.free_bytes < self.reserve_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_fits_the_file_system() {
        let space = |free_bytes, total_bytes| Space { free_bytes, total_bytes };
        assert!(space((64 << 20) - 1, 1 << 40).is_low());
        assert!(!space(64 << 20, 1 << 40).is_low());
        assert_eq!(space(0, 20 << 20).reserve_bytes(), 1 << 20);
        assert!(space((1 << 20) - 1, 20 << 20).is_low());
        assert!(!space(1 << 20, 20 << 20).is_low());
        assert!(space((16 << 20) - 1, 1 << 40).is_nearly_gone());
        assert!(!space(16 << 20, 1 << 40).is_nearly_gone());
        // A file system that does not tell its size is never called low.
        assert!(!space(0, 0).is_low());
    }
}
