//! How the last process on a data directory ended: perhaps of one of its jobs, or for reasons that are no job's.
//!
//! A file in the directory remembers which boot of the machine a process ran in and how many processes the kernel had killed by then for
//! want of memory. A process that catches its own crashes says so in it, and adds a mark when it crashes (a stack overflow, a fault in a
//! decoder, an abort). So what ends without the mark was killed from outside or lost its machine, and its jobs are innocent. Where that
//! can't be told, they are not. Used by `app`, after the directory is locked.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::job::Loss;

/// What whoever catches a crash writes into [`super::App::crash_mark`].
pub const CRASH_MARK: &[u8] = b"crashed\n";

/// The file's name in the data directory.
const FILE: &str = "run";
/// A crash of this process would leave the mark.
const WATCHED: &[u8] = b"watched\n";

/// Who is to blame for what the last process left running.
pub(super) fn loss(directory: &Path) -> Loss {
    let Ok(last) = std::fs::read_to_string(directory.join(FILE)) else { return Loss::Process };
    judge(&last, &Machine::now())
}

/// Whether the machine may have ended since the last process began, and with it what was not on stable storage.
pub(super) fn may_be_reset(directory: &Path) -> bool {
    let Ok(last) = std::fs::read_to_string(directory.join(FILE)) else { return true };
    let then = last.lines().find_map(|line| line.strip_prefix("boot "));
    then.is_none() || then != Machine::now().boot.as_deref()
}

/// What is known of the machine at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Machine {
    /// Another one after every boot.
    boot: Option<String>,
    /// Processes that the kernel has killed for want of memory since the boot, in whatever container.
    oom_kills: Option<String>,
}

impl Machine {
    fn now() -> Machine {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let memory = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
        let oom_kills = memory.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Machine {
            boot: boot.map(|boot| boot.trim().to_owned()),
            oom_kills: oom_kills.map(|number| number.trim().to_owned()),
        }
    }
}

fn judge(last: &str, now: &Machine) -> Loss {
    let value = |name: &str| last.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let then = Machine { boot: value("boot "), oom_kills: value("oom_kills ") };
    let has = |mark: &[u8]| last.as_bytes().split_inclusive(|byte| *byte == b'\n').any(|line| line == mark);
    match (&then.boot, &now.boot) {
        // Reset, power cut, or a kernel that died: the machine ended first.
        (Some(then), Some(now)) if then != now => return Loss::Lease,
        (Some(_), Some(_)) => {}
        _ => return Loss::Process,
    }
    // The kernel kills who asks for too much memory just as a person does.
    let is_oom_excluded = then.oom_kills.is_some() && then.oom_kills == now.oom_kills;
    match has(WATCHED) && !has(CRASH_MARK) && is_oom_excluded {
        true => Loss::Lease,
        false => Loss::Process,
    }
}

/// Remembers that a process has begun. What can't be remembered can't be excluded later.
pub(super) fn begin(directory: &Path) {
    if let Err(error) = write(directory, &Machine::now()) {
        tracing::warn!(%error, "how this process ends can't be told later: after a kill, jobs will be taken for its cause");
        // The last one's marks say nothing about this one. If they can't go either, what follows fails in the same way.
        let _gone = std::fs::remove_file(directory.join(FILE));
    }
}

fn write(directory: &Path, now: &Machine) -> std::io::Result<()> {
    let (path, begun) = (directory.join(FILE), directory.join(format!("{FILE}.new")));
    let mut file = File::create(&begun)?;
    for (name, value) in [("boot", &now.boot), ("oom_kills", &now.oom_kills)] {
        if let Some(value) = value {
            writeln!(file, "{name} {value}")?;
        }
    }
    file.sync_all()?;
    std::fs::rename(begun, path)
}

/// Remembers that a crash of this process leaves a mark, and where.
pub(super) fn watched(directory: &Path) -> std::io::Result<File> {
    let mut file = OpenOptions::new().append(true).open(directory.join(FILE))?;
    file.write_all(WATCHED)?;
    file.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: &str = "boot a\noom_kills 3\nwatched\n";

    fn machine(boot: &str, oom_kills: &str) -> Machine {
        Machine { boot: Some(boot.to_owned()), oom_kills: Some(oom_kills.to_owned()) }
    }

    #[test]
    fn only_a_death_that_was_certainly_from_outside_blames_nobody() {
        assert_eq!(judge(LAST, &machine("a", "3")), Loss::Lease, "killed");
        assert_eq!(judge(LAST, &machine("b", "0")), Loss::Lease, "the machine was reset");
        assert_eq!(judge("boot a\n", &machine("b", "0")), Loss::Lease, "whoever would have caught a crash");
        assert_eq!(judge(&format!("{LAST}crashed\n"), &machine("a", "3")), Loss::Process, "crashed");
        assert_eq!(judge(LAST, &machine("a", "4")), Loss::Process, "somebody was killed for memory");
        assert_eq!(judge("boot a\noom_kills 3\n", &machine("a", "3")), Loss::Process, "nobody watched");
        assert_eq!(judge("boot a\nwatched\n", &machine("a", "3")), Loss::Process, "memory is not told");
        assert_eq!(judge(LAST, &Machine::default()), Loss::Process, "the machine is not told");
        assert_eq!(judge("", &machine("a", "3")), Loss::Process);
    }

    #[test]
    fn what_was_marked_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(loss(directory.path()), Loss::Process, "there was no last one");
        begin(directory.path());
        assert_eq!(loss(directory.path()), Loss::Process);
        let mut file = watched(directory.path()).unwrap();
        let is_told = Machine::now().boot.is_some() && Machine::now().oom_kills.is_some();
        assert_eq!(loss(directory.path()), if is_told { Loss::Lease } else { Loss::Process });
        file.write_all(CRASH_MARK).unwrap();
        assert_eq!(loss(directory.path()), Loss::Process);
        begin(directory.path());
        assert!(!std::fs::read_to_string(directory.path().join(FILE)).unwrap().contains("crashed"));
    }
}
