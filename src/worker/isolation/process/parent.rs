//! One child as the server sees it: started, told what every job may use, given one job at a time, and ended.
//!
//! Owns the operating system's side of a child: its process, its descriptors and its limits. Dropping it kills it, and counts why. Decides
//! nothing about jobs; `job` and `look` do.

use std::fs::File;
use std::io::Seek;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::child::{ARGUMENT, NAME};
use super::message::{Order, Report};
use super::starter::Starter;
use super::wire::{GoOn, Trouble, Wire};
use crate::sandbox::{self, JobLimits, Level};
use crate::telemetry::{CauseLabel, Metrics};

/// Address space that a job gets beyond one and a half times its planned memory, in bytes: what the allocator keeps of earlier jobs, and
/// what a plan need not foresee to be right.
const SPARE_BYTES: u64 = 256 << 20;
/// Bytes of outputs that a job gets beyond its planned memory, of which they are a part: this process copies them.
const SPARE_OUTPUT_BYTES: u64 = 16 << 20;
/// Processor time that a job gets beyond its deadline: the deadline is to be what ends it.
const SPARE_TIME: Duration = Duration::from_secs(2);
/// What is kept of a child's last words, in bytes.
const WORDS_BYTES_MAX: usize = 2000;

/// What every child gets: the images and fonts of the settings, in memory that all of them share.
pub(super) type Files = Vec<(Order, OwnedFd)>;

/// What one order may use up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Address space beyond what the child had when it began its life.
    pub(super) address_space_bytes: u64,
    /// Written into any one file.
    pub(super) file_bytes: u64,
    /// Processor time.
    pub(super) time: Duration,
}

impl Share {
    /// Of a job that was planned for so much memory and has so much time left.
    pub(super) fn of_job(memory_bytes: u64, time_left: Duration) -> Share {
        Share {
            address_space_bytes: memory_bytes + memory_bytes / 2 + SPARE_BYTES,
            file_bytes: memory_bytes + SPARE_OUTPUT_BYTES,
            time: time_left + SPARE_TIME,
        }
    }
}

/// What children end of: the label of a metric, and all there is.
pub(super) mod cause {
    /// All of them.
    pub(in super::super) const ALL: [&str; 10] =
        [STOPPED, RECYCLED, CRASHED, MEMORY, TIMEOUT, CANCELLED, PANIC, NONSENSE, LOST, NOT_STARTED];
    /// Nobody needs it any more.
    pub(in super::super) const STOPPED: &str = "stopped";
    /// It has done as many jobs as one may.
    pub(in super::super) const RECYCLED: &str = "recycled";
    /// A signal, or an end of its own.
    pub(in super::super) const CRASHED: &str = "crashed";
    /// It needed more memory than it was given, or wrote more.
    pub(in super::super) const MEMORY: &str = "memory";
    /// Its job's time was up.
    pub(in super::super) const TIMEOUT: &str = "timeout";
    /// Its job was cancelled.
    pub(in super::super) const CANCELLED: &str = "cancelled";
    /// Its job panicked.
    pub(in super::super) const PANIC: &str = "panic";
    /// It did not keep to the protocol.
    pub(in super::super) const NONSENSE: &str = "nonsense";
    /// It had ended, or was stopped, while it had nothing to do.
    pub(in super::super) const LOST: &str = "lost";
    /// It never came up.
    pub(in super::super) const NOT_STARTED: &str = "not_started";
}

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
    /// What it will have ended of.
    cause: &'static str,
    metrics: Arc<Metrics>,
}

impl Child {
    /// Starts one. `go_on` says how long to wait until it has reported.
    pub(super) fn start(
        starter: &Starter,
        program: &Path,
        files: &Files,
        metrics: &Arc<Metrics>,
        go_on: GoOn<'_>,
    ) -> Result<Child, StartError> {
        let (own, its) = UnixStream::pair()?;
        let (output, errors) = (memory("minilab-output")?, memory("minilab-errors")?);
        let mut command = Command::new(program);
        command.arg0(NAME).arg(ARGUMENT).env_clear();
        command.stdin(OwnedFd::from(its)).stdout(Stdio::null()).stderr(errors.try_clone()?);
        let process = starter.start(command)?;
        metrics.children_started.inc();
        metrics.children_alive.inc();
        let (output, errors) = (File::from(output), File::from(errors));
        let wire = Wire::new(own)?;
        let mut child = Child {
            process,
            wire,
            output,
            errors,
            base_bytes: 0,
            born: Instant::now(),
            level: Level::default(),
            jobs: 0,
            cause: cause::NOT_STARTED,
            metrics: Arc::clone(metrics),
        };
        match child.greet(files, go_on) {
            Ok(()) => {
                child.cause = cause::STOPPED;
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

    /// Gives it an order, and what comes along.
    pub(super) fn give(
        &mut self,
        order: &Order,
        images: &[BorrowedFd<'_>],
        share: Share,
        go_on: GoOn<'_>,
    ) -> Result<(), Trouble> {
        self.jobs += 1;
        // One thread can't use more processor time than has passed.
        let limits = JobLimits {
            address_space_bytes: self.base_bytes + share.address_space_bytes,
            file_bytes: share.file_bytes,
            processor_time: self.born.elapsed() + share.time,
        };
        limits.set_on(self.pid()).and_then(|()| self.output.set_len(0)).map_err(|_| Trouble::Gone)?;
        self.wire.send(order, images, go_on)
    }

    /// Whether it keeps its mouth shut while nobody has asked it anything.
    pub(super) fn is_silent(&self) -> bool {
        self.wire.is_silent()
    }

    /// What it will have ended of, if it ends now.
    pub(super) fn ends_of(&mut self, cause: &'static str) {
        self.cause = cause;
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

    /// Frees the memory of its outputs, and of whatever it has complained of.
    pub(super) fn forget_output(&self) -> std::io::Result<()> {
        self.errors.set_len(0)?;
        // Its place in that file is the child's, too: what it writes counts against its limit from there.
        (&self.errors).rewind()?;
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
        self.metrics.children_alive.dec();
        self.metrics.children_ended.get_or_create_owned(&CauseLabel { cause: self.cause }).inc();
    }
}

/// What a death says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// There was not enough memory, or no room for what it wrote.
    Memory,
    /// Its processor time was used up.
    Time,
    /// Anything else, as the end of a sentence about the process.
    Crash(String),
}

impl End {
    /// What it says.
    pub(super) fn fate(&self) -> Fate {
        let signal = self.status.and_then(|status| status.signal()).and_then(Signal::from_named_raw);
        if self.words.contains("memory allocation of") || signal == Some(Signal::XFSZ) {
            return Fate::Memory;
        }
        if signal == Some(Signal::XCPU) {
            return Fate::Time;
        }
        Fate::Crash(match (self.words.contains("has overflowed its stack"), signal, self.status) {
            (true, _, _) => "overflowed its stack".to_owned(),
            (_, Some(signal), _) => format!("was ended by {}", name_of(signal)),
            (_, None, Some(status)) => format!("ended with {status}"),
            (_, None, None) => "ended".to_owned(),
        })
    }
}

fn name_of(signal: Signal) -> String {
    let named = [
        (Signal::SEGV, "SIGSEGV"),
        (Signal::BUS, "SIGBUS"),
        (Signal::ILL, "SIGILL"),
        (Signal::FPE, "SIGFPE"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::KILL, "SIGKILL"),
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
        (Signal::SYS, "SIGSYS (a system call that image code has no use for)"),
    ];
    let name = named.iter().find(|(known, _)| *known == signal).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| format!("signal {}", signal.as_raw()))
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
