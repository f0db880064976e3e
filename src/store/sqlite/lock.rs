//! One server per data directory: an advisory lock on a file in it, held as long as the store is open.
//!
//! The kernel lets go of it when the process ends, however it ends, so there is nothing to clean up after a crash. Called by `open`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::store::{Result, StoreError};

/// The lock's file, in the data directory.
const FILE: &str = "lock";

/// How long a server that is gone may still seem to hold the lock: a process that it was starting when it was killed has a copy of the
/// descriptor until it is another program, or dead as well. A busy machine takes its time for that.
const AFTERMATH: Duration = Duration::from_secs(5);
/// How long anybody's lock is waited for: a server that was just killed is there until its memory is given back.
const GRACE: Duration = Duration::from_millis(250);
/// Between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

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
    /// Takes the lock, or says who has it. Hardly waits but for what a dead server has left; blocking.
    pub(super) fn take(directory: &Path) -> Result<DirectoryLock> {
        let path = directory.join(FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| StoreError::Open(format!("can't write to {}: {error}", path.display())))?;
        let began = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) => {
                    let holder = holder(&mut file);
                    let living = holder.filter(|process| !is_dead(*process));
                    let patience = if holder.is_some() && living.is_none() { AFTERMATH } else { GRACE };
                    if began.elapsed() > patience {
                        return Err(in_use(directory, living));
                    }
                    std::thread::sleep(LOOK_EVERY);
                }
                Err(error) => {
                    return Err(StoreError::Open(format!(
                        "can't lock {}: {error}; the data directory must be on a file system with file locks",
                        path.display()
                    )));
                }
            }
        }
        // Only a hint for what is above, so a failure to write it doesn't matter.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        Ok(DirectoryLock { file })
    }
}

/// Who took the lock last, as far as the file tells.
fn holder(file: &mut File) -> Option<Pid> {
    let mut number = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut number)).ok()?;
    // A number below zero would stand for a group of processes.
    Pid::from_raw(number.parse::<u32>().ok()?.try_into().ok()?)
}

/// Whether there is no such process, or nothing but its exit code; one that we may not signal is there.
fn is_dead(process: Pid) -> bool {
    if test_kill_process(process) == Err(Errno::SRCH) {
        return true;
    }
    // PID (NAME) STATE …; the name may be anything. Only Linux has it.
    let status = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    let state =
        status.ok().and_then(|status| status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()));
    matches!(state, Some('Z' | 'X'))
}

fn in_use(directory: &Path, holder: Option<Pid>) -> StoreError {
    let holder = holder.map(|holder| format!(" (process {})", holder.as_raw_nonzero())).unwrap_or_default();
    StoreError::Open(format!(
        "the data directory {} is in use by another server{holder}; stop that one, or give this one a directory of its own with --data-dir",
        directory.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lock in other hands than ours, which `process` is said to have taken.
    fn held(directory: &Path, process: impl ToString) -> File {
        std::fs::write(directory.join(FILE), process.to_string()).unwrap();
        let file = File::open(directory.join(FILE)).unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        file
    }

    #[test]
    fn who_lives_keeps_it_and_what_the_dead_have_left_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let living = held(directory.path(), std::process::id());
        let began = Instant::now();
        let refused = DirectoryLock::take(directory.path()).unwrap_err().to_string();
        assert!(began.elapsed() < AFTERMATH / 2, "it waited for a living server");
        assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
        drop(living);

        for damaged in ["", "-1", "0", "4294967295", "\u{fffd}"] {
            let unknown = held(directory.path(), damaged);
            let refused = DirectoryLock::take(directory.path()).unwrap_err().to_string();
            assert!(refused.contains("by another server;"), "{damaged:?}: {refused}");
            drop(unknown);
        }

        let [mut gone, mut zombie] = ["gone", "zombie"]
            .map(|name| std::process::Command::new("sh").args(["-c", "exit", name]).spawn().unwrap());
        gone.wait().unwrap();
        while cfg!(target_os = "linux") && !is_dead(Pid::from_child(&zombie)) {
            std::thread::sleep(LOOK_EVERY);
        }
        let dying = std::process::id();
        for (process, wait) in [(gone.id(), GRACE * 2), (zombie.id(), GRACE * 2), (dying, GRACE / 5)] {
            if process == zombie.id() && !cfg!(target_os = "linux") {
                continue;
            }
            let left = held(directory.path(), process);
            std::thread::scope(|scope| {
                let taking = scope.spawn(|| DirectoryLock::take(directory.path()));
                std::thread::sleep(wait);
                assert!(!taking.is_finished(), "it was taken from who has it");
                drop(left);
                taking.join().unwrap().unwrap();
            });
        }
        zombie.wait().unwrap();
        assert_eq!(
            std::fs::read_to_string(directory.path().join(FILE)).unwrap(),
            std::process::id().to_string()
        );
    }
}
