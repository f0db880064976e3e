//! Where attempts run: on the pool's threads, or in walled-in processes of their own.
//!
//! Owns that choice and what it has led to. In a process of its own an image that overflows a stack, eats the memory or takes over its
//! decoder ends that process and nothing else: the pool's thread waits, judges and starts another. Called by the pool's threads through
//! `execute`, by `app` to begin with, and by the program's `main`, which is a child's `main` as well.

#[cfg(target_os = "linux")]
mod process;

use std::path::PathBuf;
use std::sync::Arc;

use super::control::AttemptControl;
use super::error::WorkError;
use super::execute::{Executed, Task, run_here};
use crate::blob::{Parts, SpoolReader};
use crate::pipeline::{Assets, Format, Header, Limits};
use crate::queue::{LookError, Looker};
use crate::sandbox::Level;
use crate::telemetry::Metrics;

#[cfg(target_os = "linux")]
pub use process::{Look, StartError, Work};

/// How attempts are kept apart from the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They aren't: they run on the pool's threads. What embedding programs get unless they ask for more.
    #[default]
    Thread,
    /// Each in a walled-in process, which takes one attempt after the other. Linux only.
    Process,
    /// Each in a fresh one: not even a process that an image has taken over sees another image. Linux only.
    ProcessPerJob,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 3] = [Mode::Thread, Mode::Process, Mode::ProcessPerJob];

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Thread => "thread",
            Mode::Process => "process",
            Mode::ProcessPerJob => "process-per-job",
        }
    }
}

/// Settings of the isolation.
#[derive(Clone, Debug)]
pub struct Config {
    /// How attempts are kept apart.
    pub mode: Mode,
    /// The program that is started for a child; its `main` must begin with [`child_main_if_requested`]. Default: this program.
    pub program: PathBuf,
    /// Whether to refuse to start where a layer of the sandbox is missing. Default: no.
    pub require_sandbox: bool,
}

impl Default for Config {
    fn default() -> Config {
        // Unlike its path, this names the running program even after another was put in its place.
        Config { mode: Mode::Thread, program: PathBuf::from("/proc/self/exe"), require_sandbox: false }
    }
}

/// Why attempts can't be isolated as they should.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// There are no such processes on this system.
    #[error("isolation {0} works on Linux only; use --isolation thread")]
    OnlyOnLinux(&'static str),
    /// A child can't be started.
    #[cfg(target_os = "linux")]
    #[error(
        "cannot start a process for images from {program}: {source}. A program that embeds the server must call \
         minilab::child_main_if_requested() first of all, or use isolation thread"
    )]
    NoChild {
        /// What was to be started.
        program: String,
        /// What went wrong.
        source: StartError,
    },
    /// A layer is missing that must not be.
    #[error(
        "the sandbox lacks {missing} on this system, and require_sandbox is set; allow it (containers often forbid it), or start without \
         --require-sandbox"
    )]
    Incomplete {
        /// The layers.
        missing: String,
    },
    /// A sandbox is asked for around nothing.
    #[error("require_sandbox needs --isolation process or process-per-job")]
    NoSandbox,
}

/// The choice, made. Shared by the pool's threads.
#[derive(Debug)]
pub struct Isolation {
    mode: Mode,
    level: Option<Level>,
    #[cfg(target_os = "linux")]
    children: Option<process::Children>,
}

impl Isolation {
    /// Attempts run on the pool's threads.
    pub fn threads() -> Isolation {
        Isolation {
            mode: Mode::Thread,
            level: None,
            #[cfg(target_os = "linux")]
            children: None,
        }
    }

    /// Makes ready for so many threads. `assets` are those of the settings. Blocks for the time that it takes to start a process.
    ///
    /// # Errors
    /// When it can't be done as the configuration says.
    pub fn start(
        config: &Config,
        threads: usize,
        assets: &Assets,
        limits: &Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Isolation, IsolationError> {
        match config.mode {
            Mode::Thread if config.require_sandbox => Err(IsolationError::NoSandbox),
            Mode::Thread => Ok(Isolation::threads()),
            mode => Isolation::in_processes(mode, config, threads, (assets, limits), metrics),
        }
    }

    #[cfg(target_os = "linux")]
    fn in_processes(
        mode: Mode,
        config: &Config,
        threads: usize,
        furniture: (&Assets, &Limits),
        metrics: Arc<Metrics>,
    ) -> Result<Isolation, IsolationError> {
        let is_one_job_each = mode == Mode::ProcessPerJob;
        let program = config.program.clone();
        // One for each thread, and one for each who may look at an image at a time.
        let looks = std::thread::available_parallelism().map_or(2, usize::from);
        let started = process::Children::start(program, is_one_job_each, threads + looks, furniture, metrics);
        let (children, level) = started.map_err(|source| IsolationError::NoChild {
            program: config.program.display().to_string(),
            source,
        })?;
        let missing = level.missing();
        if missing.is_empty() {
            tracing::info!(isolation = mode.name(), sandbox = %level, "images are processed in a sandbox");
        } else if config.require_sandbox {
            return Err(IsolationError::Incomplete { missing: missing.join(" and ") });
        } else {
            tracing::warn!(
                isolation = mode.name(),
                sandbox = %level,
                "the sandbox for images is incomplete on this system"
            );
        }
        Ok(Isolation { mode, level: Some(level), children: Some(children) })
    }

    #[cfg(not(target_os = "linux"))]
    fn in_processes(
        mode: Mode,
        _: &Config,
        _: usize,
        _: (&Assets, &Limits),
        _: Arc<Metrics>,
    ) -> Result<Isolation, IsolationError> {
        Err(IsolationError::OnlyOnLinux(mode.name()))
    }

    /// How attempts are kept apart.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The mode, and the layers of the sandbox if there is one, for people: `process (landlock ABI 7, seccomp, rlimits)`.
    pub fn describe(&self) -> String {
        match self.level {
            Some(level) => format!("{} ({level})", self.mode.name()),
            None => self.mode.name().to_owned(),
        }
    }

    /// Runs the pipeline where it is to run. Blocking; for pool threads.
    pub(super) fn execute(&self, task: Task, control: &AttemptControl) -> Result<Executed, WorkError> {
        #[cfg(target_os = "linux")]
        if let Some(children) = &self.children {
            return children.execute(&task, control);
        }
        run_here(task, control)
    }
}

impl Looker for Isolation {
    fn look(&self, image: Parts, format: Format, limits: &Limits) -> Result<Header, LookError> {
        #[cfg(target_os = "linux")]
        if let Some(children) = &self.children {
            return children.look(&image, format, limits);
        }
        let _nothing_to_ask_for = format;
        Ok(crate::pipeline::probe(SpoolReader::of_parts(image), limits)?)
    }
}

/// A child's `main`: if this process was started as one, it handles images until it is told to end, and never comes back from here.
/// Otherwise nothing happens. To be called before anything else, in particular before there is a second thread.
pub fn child_main_if_requested() {
    #[cfg(target_os = "linux")]
    child_main_if_requested_with(crate::pipeline::run, crate::pipeline::probe);
}

/// The same for a child that does something else with its images, which is what tests of the sandbox are made of.
#[cfg(target_os = "linux")]
pub fn child_main_if_requested_with(work: Work, look: Look) {
    if process::is_requested() {
        process::live(work, look);
    }
}
