//! What a walled-in process may use up: limits of its own, set once, and limits for each job, set on it from outside.
//!
//! Soft limits do: the list of system calls has none that raises one again. Called by `enter` and, from outside, by `worker`.

use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit, setrlimit};

/// Open descriptors: the three that every process has, its output, and a job's images, with room to spare.
const DESCRIPTORS_MAX: u64 = 64;
/// The stack of the one thread, in bytes; as much as a thread of the pool has. Reserved, not committed.
const STACK_BYTES: u64 = 8 << 20;

/// What one job may use up, counted over the whole life of its process.
#[derive(Clone, Copy, Debug)]
pub struct JobLimits {
    /// Address space in bytes, with everything that the process has mapped already.
    pub address_space_bytes: u64,
    /// Bytes that it may write into one file.
    pub file_bytes: u64,
    /// Processor time, with what it has used already; whole seconds count.
    pub processor_time: Duration,
}

impl JobLimits {
    /// Sets them on a process of the same user.
    ///
    /// # Errors
    /// What the system says; that there is no such process, above all.
    pub fn set_on(&self, process: Pid) -> std::io::Result<()> {
        let seconds = self.processor_time.as_secs() + 1;
        let limits = [
            (Resource::As, self.address_space_bytes),
            (Resource::Fsize, self.file_bytes),
            (Resource::Cpu, seconds),
        ];
        for (resource, value) in limits {
            // Children inherit their hard limits from this process.
            prlimit(Some(process), resource, soft(resource, value))?;
        }
        Ok(())
    }
}

/// A soft limit under the hard one that holds here.
fn soft(resource: Resource, value: u64) -> Rlimit {
    let maximum = getrlimit(resource).maximum;
    Rlimit { current: Some(maximum.map_or(value, |maximum| value.min(maximum))), maximum }
}

/// The parent's end is this process's end, too.
pub(super) fn die_with_parent() {
    // Where it can't be had, the closed socket tells.
    let _told_by_the_socket = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

/// Limits that hold for the whole life of this process; whether all of them do.
pub(super) fn set_own() -> bool {
    let hard = |value| Rlimit { current: Some(value), maximum: Some(value) };
    let own = [
        (Resource::Core, hard(0)),
        (Resource::Nofile, hard(DESCRIPTORS_MAX)),
        (Resource::Stack, soft(Resource::Stack, STACK_BYTES)),
    ];
    own.into_iter().all(|(resource, limit)| setrlimit(resource, limit).is_ok())
}

/// The address space that a process takes up, in bytes, as the kernel counts it for its limit.
///
/// # Errors
/// When the process is gone, or `/proc` isn't there.
pub fn address_space_bytes(process: Pid) -> std::io::Result<u64> {
    let path = format!("/proc/{}/statm", process.as_raw_nonzero());
    let pages = std::fs::read_to_string(path)?;
    let pages = pages.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(pages * rustix::param::page_size() as u64)
}
