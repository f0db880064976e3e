//! A file that keeps some room on the disk: thrown away when the disk is full, so that removing jobs can be written down and room be freed.
//!
//! Holds nothing of worth. Never waits, never fails: without it a full disk is only harder to leave. Used by `open` and the writer.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file's name in the data directory.
const FILE: &str = "ballast";
/// Its size, except on file systems smaller than [`PART_MAX`] times that: as much as the log may hold before it is copied into the
/// database.
const BYTES_MAX: u64 = 4 << 20;
/// At most one part in so many of the file system: less than what the queue keeps free of new jobs, so that giving it up admits none.
const PART_MAX: u64 = 40;
/// It is made again once so many times its size are free.
const ROOM: u64 = 4;
/// Between two attempts to make it, and after it was given up.
const INTERVAL: Duration = Duration::from_secs(5);
/// Written at a time.
const CHUNK_BYTES: usize = 128 * 1024;

/// The file, or its absence.
#[derive(Debug)]
pub(super) struct Ballast {
    directory: PathBuf,
    is_held: bool,
    next_attempt: Option<Instant>,
}

impl Ballast {
    /// Starts without one: removes what an earlier process left, so that opening has that much room.
    pub(super) fn dropped(directory: &Path) -> Ballast {
        let ballast = Ballast { directory: directory.to_owned(), is_held: false, next_attempt: None };
        ballast.remove();
        ballast
    }

    /// Whether it is there.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Gives its room to whoever needs it.
    pub(super) fn drop_now(&mut self, now: Instant) {
        self.next_attempt = Some(now + INTERVAL);
        if std::mem::take(&mut self.is_held) {
            self.remove();
        }
    }

    /// Makes it, if it isn't there and there is room again; whether it was made.
    pub(super) fn make(&mut self, now: Instant) -> bool {
        if self.is_held || self.next_attempt.is_some_and(|next| now < next) {
            return false;
        }
        self.next_attempt = Some(now + INTERVAL);
        self.make_if(ROOM)
    }

    /// Makes it of whatever room is left: the next start finds less on a disk that others fill.
    pub(super) fn make_for_next_start(&mut self) {
        if !self.is_held {
            self.make_if(1);
        }
    }

    fn make_if(&mut self, room: u64) -> bool {
        match self.try_make(room) {
            Ok(made) => self.is_held = made,
            Err(error) => {
                tracing::debug!(%error, "no ballast could be made");
                self.remove();
            }
        }
        self.is_held
    }

    fn try_make(&self, room: u64) -> std::io::Result<bool> {
        let state = rustix::fs::statvfs(&self.directory)?;
        let bytes = size(state.f_blocks.saturating_mul(state.f_frsize));
        if bytes == 0 || state.f_bavail.saturating_mul(state.f_frsize) < room * bytes {
            return Ok(false);
        }
        // Noise, because a file system that compresses would keep no room for zeros.
        let mut chunk = vec![0; CHUNK_BYTES];
        rand::fill(&mut chunk[..]);
        let mut file = File::create(self.path())?;
        let mut rest = bytes;
        while rest > 0 {
            let length = rest.min(CHUNK_BYTES as u64);
            file.write_all(&chunk[..length as usize])?;
            rest -= length;
        }
        Ok(true)
    }

    fn remove(&self) {
        match std::fs::remove_file(self.path()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the ballast could not be removed");
            }
            _ => {}
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(FILE)
    }
}

/// Its size in bytes on a file system of that size.
fn size(total_bytes: u64) -> u64 {
    BYTES_MAX.min(total_bytes / PART_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_given_up_at_once_and_made_again_after_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let length = || std::fs::metadata(directory.path().join(FILE)).ok().map(|file| file.len());
        std::fs::write(directory.path().join(FILE), b"left behind").unwrap();
        let mut ballast = Ballast::dropped(directory.path());
        assert_eq!(length(), None);
        let now = Instant::now();
        assert!(ballast.make(now));
        assert!(length() > Some(0), "{:?}", length());
        assert!(!ballast.make(now + 2 * INTERVAL));
        ballast.drop_now(now);
        assert!(!ballast.is_held());
        assert_eq!(length(), None);
        assert!(!ballast.make(now));
        assert_eq!(length(), None);
        assert!(ballast.make(now + INTERVAL));
        assert!(length() > Some(0));
        ballast.drop_now(now + INTERVAL);
        ballast.make_for_next_start();
        assert!(length() > Some(0));
    }

    #[test]
    fn it_is_small_on_a_small_file_system() {
        assert_eq!(size(1 << 40), 4 << 20);
        assert_eq!(size(40 << 20), 1 << 20);
        assert_eq!(size(0), 0);
    }
}
