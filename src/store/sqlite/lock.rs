//! One server per data directory: an advisory lock on a file in it, held as long as the store is open.
//!
//! The kernel lets go of it when the process ends, however it ends, so there is nothing to clean up after a crash. Called by `open`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::store::{Result, StoreError};

/// The lock's file, in the data directory.
const FILE: &str = "lock";

/// Held until dropped.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    file: File,
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing is not enough: a program that is being started elsewhere in this process holds a copy of the descriptor for a moment.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl DirectoryLock {
    /// Takes the lock, or says who has it; never waits.
    pub(super) fn take(directory: &Path) -> Result<DirectoryLock> {
        let path = directory.join(FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| StoreError::Open(format!("can't write to {}: {error}", path.display())))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(in_use(directory, &mut file)),
            Err(error) => {
                return Err(StoreError::Open(format!(
                    "can't lock {}: {error}; the data directory must be on a file system with file locks",
                    path.display()
                )));
            }
        }
        // Only a hint for the message above, so a failure to write it doesn't matter.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        Ok(DirectoryLock { file })
    }
}

fn in_use(directory: &Path, file: &mut File) -> StoreError {
    let mut holder = String::new();
    let known = file.read_to_string(&mut holder).is_ok() && holder.parse::<u32>().is_ok();
    let holder = if known { format!(" (process {holder})") } else { String::new() };
    StoreError::Open(format!(
        "the data directory {} is in use by another server{holder}; stop that one, or give this one a directory of its own with --data-dir",
        directory.display()
    ))
}
