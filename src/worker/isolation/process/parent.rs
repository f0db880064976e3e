//! One child as the server sees it: started, told what every job may use, given one job at a time, and ended.
//!
//! Owns the operating system's side of a child: its process, its descriptors and its limits. Dropping it kills it. Decides nothing about
//! jobs; `children` does.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::child::{ARGUMENT, NAME};
use super::message::{Order, Report};
use super::wire::{GoOn, Trouble, Wire};
use crate::sandbox::{self, JobLimits, Level};

/// Address space that a job gets beyond one and a half times its planned memory, in bytes: what the allocator keeps of earlier jobs, and
/// what a plan need not foresee to be right.
const SPARE_BYTES: u64 = 256 << 20;
/// Processor time that a job gets beyond its deadline: the deadline is to be what ends it.
const SPARE_TIME: Duration = Duration::from_secs(2);
/// What is kept of a child's last words, in bytes.
const WORDS_BYTES_MAX: usize = 2000;

/// What every child gets: the images and fonts of the settings, in memory that all of them share.
pub(super) type Files = Vec<(Order, OwnedFd)>;

/// Why a child did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system's word.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// It started and did not report.
    #[error("it {0}")]
    Silent(String),
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) status: Option<ExitStatus>,
    /// What it wrote where errors go.
    pub(super) words: String,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    wire: Wire,
    output: File,
    errors: File,
    /// Address space before the first job.
    base_bytes: u64,
    born: Instant,
    level: Level,
    /// Jobs given to it so far.
    jobs: u32,
}

impl Child {
    /// Starts one. `go_on` says how long to wait until it has reported.
    pub(super) fn start(program: &Path, files: &Files, go_on: GoOn<'_>) -> Result<Child, StartError> {
        let (own, its) = UnixStream::pair()?;
        let (output, errors) = (memory("minilab-output")?, memory("minilab-errors")?);
        let mut command = Command::new(program);
        command.arg0(NAME).arg(ARGUMENT).env_clear();
        command.stdin(OwnedFd::from(its)).stdout(Stdio::null()).stderr(errors.try_clone()?);
        let process = command.spawn()?;
        // Its end of the socket must not stay open here.
        drop(command);
        let (output, errors) = (File::from(output), File::from(errors));
        let wire = Wire::new(own)?;
        let level = Level::default();
        let mut child =
            Child { process, wire, output, errors, base_bytes: 0, born: Instant::now(), level, jobs: 0 };
        match child.greet(files, go_on) {
            Ok(()) => {
                child.base_bytes = sandbox::address_space_bytes(child.pid())?;
                Ok(child)
            }
            Err(trouble) => Err(StartError::Silent(child.why(&trouble))),
        }
    }

    fn greet(&mut self, files: &Files, go_on: GoOn<'_>) -> Result<(), Trouble> {
        match self.wire.report(go_on)? {
            Report::Hello(level) => self.level = level,
            other => return Err(Trouble::Nonsense(format!("{other:?}"))),
        }
        for (order, file) in files {
            self.wire.send(order, &[file.as_fd()], go_on)?;
        }
        self.wire.send(&Order::Begin, &[self.output.as_fd()], go_on)?;
        match self.wire.report(go_on)? {
            Report::Ready => Ok(()),
            other => Err(Trouble::Nonsense(format!("{other:?}"))),
        }
    }

    /// Why it did not come up; it is gone afterwards.
    fn why(&mut self, trouble: &Trouble) -> String {
        let end = self.end();
        let ended = end.status.map_or_else(|| "ended".to_owned(), |status| format!("ended with {status}"));
        match trouble {
            Trouble::Interrupted(_) => "did not report in time".to_owned(),
            Trouble::Nonsense(said) => format!("reported nonsense: {said}"),
            Trouble::Gone if end.words.is_empty() => ended,
            Trouble::Gone => format!("{ended}: {}", end.words),
        }
    }

    /// The layers that it has reported.
    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// Jobs given to it so far.
    pub(super) fn jobs(&self) -> u32 {
        self.jobs
    }

    /// Whether it waits for a job: it has neither ended nor been stopped.
    pub(super) fn is_well(&self) -> bool {
        let states = WaitIdOptions::EXITED | WaitIdOptions::STOPPED;
        let look = states | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(rustix::process::waitid(WaitId::Pid(self.pid()), look), Ok(None))
    }

    /// Gives it a job that was planned for so much memory and has so much time left.
    pub(super) fn give(
        &mut self,
        order: &Order,
        images: &[BorrowedFd<'_>],
        (memory_bytes, time_left): (u64, Duration),
        go_on: GoOn<'_>,
    ) -> Result<(), Trouble> {
        self.jobs += 1;
        // One thread can't use more processor time than has passed.
        let limits = JobLimits {
            address_space_bytes: self.base_bytes + memory_bytes + memory_bytes / 2 + SPARE_BYTES,
            file_bytes: memory_bytes + SPARE_BYTES,
            processor_time: self.born.elapsed() + time_left + SPARE_TIME,
        };
        limits.set_on(self.pid()).and_then(|()| self.output.set_len(0)).map_err(|_| Trouble::Gone)?;
        self.wire.send(order, images, go_on)
    }

    /// Its next report.
    pub(super) fn report(&mut self, go_on: GoOn<'_>) -> Result<Report, Trouble> {
        self.wire.report(go_on)
    }

    /// Bytes in its output file.
    pub(super) fn output_bytes(&self) -> std::io::Result<u64> {
        Ok(self.output.metadata()?.len())
    }

    /// Some bytes of its output file, copied. Whoever cuts the file short meanwhile gets an error for it, and nobody a signal.
    pub(super) fn output(&self, at: u64, bytes: usize) -> std::io::Result<Vec<u8>> {
        let mut copy = vec![0; bytes];
        self.output.read_exact_at(&mut copy, at)?;
        Ok(copy)
    }

    /// Frees the memory of its outputs.
    pub(super) fn forget_output(&self) -> std::io::Result<()> {
        self.output.set_len(0)
    }

    /// Ends it, unless it has ended, and says how.
    pub(super) fn end(&mut self) -> End {
        // What has ended by itself keeps its own status.
        let _ended_before = self.process.kill();
        let status = self.process.wait().ok();
        let mut words = vec![0; WORDS_BYTES_MAX];
        let length = self.errors.metadata().map_or(0, |metadata| metadata.len());
        let read = self.errors.read_at(&mut words, length.saturating_sub(WORDS_BYTES_MAX as u64));
        words.truncate(read.unwrap_or(0));
        End { status, words: String::from_utf8_lossy(&words).trim().to_owned() }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

impl End {
    /// The signal that ended it.
    pub(super) fn signal(&self) -> Option<i32> {
        self.status.and_then(|status| status.signal())
    }
}

/// A file in memory.
fn memory(name: &str) -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
}

/// Bytes as a file that nobody can change any more.
pub(super) fn sealed(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let file = File::from(memory("minilab-image")?);
    file.write_all_at(bytes, 0)?;
    let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, all)?;
    Ok(file.into())
}
