//! The children of a server, and what becomes of a job that one of them runs.
//!
//! Owns who is kept, who is recycled, and the judgement: what a child says is checked against what was asked, and a child's death is told
//! apart by its cause. Called on pool threads, one job each.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sha2::{Digest, Sha256};

use super::super::super::control::AttemptControl;
use super::super::super::error::{WorkError, panicked_with, source_unreadable};
use super::super::super::execute::{Executed, Task, timed_out};
use super::message::{Made, Order, Report};
use super::parent::{Child, End, Files, StartError, sealed};
use super::wire::Trouble;
use crate::job::{Code, Failure, JobSpec};
use crate::pipeline::{Assets, Control, Encoded, Fonts, Input, Interrupt, Limits};
use crate::sandbox::Level;

/// Jobs after which a child is replaced: nothing that one leaves behind, in memory or worse, lasts for ever.
const JOBS_MAX: u32 = 100;
/// Time for the first child to report when a server starts.
const START_TIME: Duration = Duration::from_secs(20);
/// Deepest JSON that an analysis may be.
const DEPTH_MAX: u32 = 16;

/// See the module.
#[derive(Debug)]
pub(in super::super) struct Children {
    program: PathBuf,
    files: Files,
    /// Jobs that a child may run: one, or more.
    jobs_max: u32,
    kept_max: usize,
    idle: Mutex<Vec<Child>>,
}

/// How a child's turn at a job ended, if not with its outputs.
enum Turn {
    /// It said what is wrong, and can take another job.
    Said(WorkError),
    /// It is of no more use; this is the job's end.
    Spent(WorkError),
    /// There was not enough memory.
    NoMemory(WorkError),
}

impl Children {
    /// Prepares what every child gets, and lets one start to see how well it is walled in.
    pub(in super::super) fn start(
        program: PathBuf,
        is_one_job_each: bool,
        kept_max: usize,
        assets: &Assets,
        limits: &Limits,
    ) -> Result<(Children, Level), StartError> {
        let jobs_max = if is_one_job_each { 1 } else { JOBS_MAX };
        let files = files(assets, limits)?;
        let children = Children { program, files, jobs_max, kept_max, idle: Mutex::default() };
        let patience = Instant::now() + START_TIME;
        let in_time = || (Instant::now() < patience).then_some(()).ok_or(Interrupt::Deadline);
        // It is not kept: it would end with the thread that has started it.
        let level = Child::start(&children.program, &children.files, &in_time)?.level();
        Ok((children, level))
    }

    /// Runs a job in a child.
    pub(in super::super) fn execute(
        &self,
        task: &Task,
        control: &AttemptControl,
    ) -> Result<Executed, WorkError> {
        let images = images(task)?;
        let images: Vec<BorrowedFd<'_>> = images.iter().map(AsFd::as_fd).collect();
        let order = Order::Run {
            pipeline: Box::new(task.spec.pipeline.clone()),
            limits: task.limits,
            inputs: task.assets.iter().map(|(input, _)| input.clone()).collect(),
        };
        loop {
            let mut child = self.take(task, control)?;
            let is_first_job = child.jobs() == 0;
            let turn = self.turn(&mut child, task, &order, &images, control);
            match turn {
                Ok(executed) => {
                    self.keep(child);
                    return Ok(executed);
                }
                Err(Turn::Said(error)) => {
                    self.keep(child);
                    return Err(error);
                }
                // It may have been what earlier jobs have left behind.
                Err(Turn::NoMemory(_)) if !is_first_job => {}
                Err(Turn::Spent(error) | Turn::NoMemory(error)) => return Err(error),
            }
        }
    }

    /// An idle child, or a new one.
    fn take(&self, task: &Task, control: &AttemptControl) -> Result<Child, WorkError> {
        let next = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(child) = next() {
            if child.is_well() {
                return Ok(child);
            }
        }
        Child::start(&self.program, &self.files, &|| control.check()).map_err(|error| match control.check() {
            Err(interrupt) => interrupted(interrupt, &task.spec),
            Ok(()) => {
                tracing::error!(%error, "a process for images did not start");
                let detail = format!("no process could be started for the job: {error}");
                WorkError::Retry(Failure::new(Code::Crashed, detail, true))
            }
        })
    }

    fn keep(&self, child: Child) {
        if child.jobs() < self.jobs_max && child.forget_output().is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < self.kept_max {
                idle.push(child);
            }
        }
    }

    fn turn(
        &self,
        child: &mut Child,
        task: &Task,
        order: &Order,
        images: &[BorrowedFd<'_>],
        control: &AttemptControl,
    ) -> Result<Executed, Turn> {
        let go_on = || control.check();
        let time_left = control.time_left().unwrap_or(task.spec.timeout);
        let shares = (task.memory_bytes, time_left);
        let mut next = child.give(order, images, shares, &go_on).and_then(|()| child.report(&go_on));
        loop {
            match next {
                Ok(Report::Planned(stages)) => control.planned(stages),
                Ok(Report::Stage(name)) => match name.stage() {
                    Some(stage) => control.stage(stage),
                    None => return Err(nonsense("an operation that doesn't exist")),
                },
                Ok(Report::Made(made)) => {
                    return checked(made, child, &task.spec).map_err(|what| nonsense(&what));
                }
                Ok(Report::Failed(failure)) => return Err(said(failure)),
                Ok(Report::Unreadable(detail)) => {
                    let error = std::io::Error::other(detail);
                    return Err(Turn::Said(source_unreadable(error.into())));
                }
                Ok(Report::Panicked(message)) => return Err(Turn::Spent(panicked_with(&message))),
                Ok(Report::Hello(_) | Report::Ready) => return Err(nonsense("a greeting")),
                Err(Trouble::Interrupted(interrupt)) => {
                    return Err(Turn::Spent(interrupted(interrupt, &task.spec)));
                }
                Err(Trouble::Nonsense(what)) => return Err(nonsense(&what)),
                Err(Trouble::Gone) => return Err(death(&child.end(), task)),
            }
            next = child.report(&go_on);
        }
    }
}

/// The images and fonts of the settings, as every child gets them.
fn files(assets: &Assets, limits: &Limits) -> std::io::Result<Files> {
    let mut files = Files::new();
    for name in assets.names() {
        if let Some(asset) = assets.get(&Input::Named(name.to_owned())) {
            files.push((Order::Image { name: name.to_owned(), limits: *limits }, sealed(asset.bytes())?));
        }
    }
    let bundled = Fonts::bundled();
    for name in assets.fonts().names() {
        let Some(file) = assets.fonts().file(name) else { continue };
        if bundled.file(name) != Some(file) {
            files.push((Order::Font { name: name.to_owned() }, sealed(file)?));
        }
    }
    Ok(files)
}

/// A job's source and the images of its operations.
fn images(task: &Task) -> Result<Vec<OwnedFd>, WorkError> {
    let assets = task.assets.iter().map(|(_, source)| source);
    std::iter::once(&task.source).chain(assets).map(|source| source.open(sealed)).collect()
}

fn interrupted(interrupt: Interrupt, spec: &JobSpec) -> WorkError {
    match interrupt {
        Interrupt::Cancelled => WorkError::Cancelled,
        Interrupt::Deadline => timed_out(spec),
    }
}

/// A failure that the pipeline may have, in its own words.
fn said(failure: Failure) -> Turn {
    let is_the_pipelines = matches!(
        failure.code,
        Code::UnsupportedFormat
            | Code::ImageTooLarge
            | Code::CorruptImage
            | Code::EncodeFailed
            | Code::MaxBytesUnreachable
            | Code::InvalidSpec
    );
    if !is_the_pipelines {
        return nonsense("a failure that no image has");
    }
    let again = Failure::new(failure.code, failure.detail, false);
    Turn::Said(WorkError::Discard(match failure.output {
        Some(output) => again.of_output(output),
        None => again,
    }))
}

/// The child doesn't keep to the protocol any more: somebody else has taken it over, or it has lost its mind.
fn nonsense(what: &str) -> Turn {
    tracing::error!(what, "a process for images reported nonsense and was ended");
    let detail = "the process that ran the job did not report as it should, and was ended";
    Turn::Spent(WorkError::Crashed(Failure::new(Code::Crashed, detail, true)))
}

/// What a death says about the job.
fn death(end: &End, task: &Task) -> Turn {
    let signal = end.signal().and_then(Signal::from_named_raw);
    if end.words.contains("memory allocation of") || signal == Some(Signal::XFSZ) {
        let detail = format!(
            "the image took more memory than the {} MiB that were planned for it",
            task.memory_bytes.div_ceil(1 << 20)
        );
        return Turn::NoMemory(WorkError::Discard(Failure::new(Code::ImageTooLarge, detail, false)));
    }
    if signal == Some(Signal::XCPU) {
        return Turn::Spent(timed_out(&task.spec));
    }
    let how = match (end.words.contains("has overflowed its stack"), signal, end.status) {
        (true, _, _) => "overflowed its stack".to_owned(),
        (_, Some(signal), _) => format!("was ended by {}", name_of(signal)),
        (_, None, Some(status)) => format!("ended with {status}"),
        (_, None, None) => "ended".to_owned(),
    };
    tracing::warn!(how, words = end.words, "a process for images died");
    let detail = format!("the process that ran the job {how}");
    Turn::Spent(WorkError::Crashed(Failure::new(Code::Crashed, detail, true)))
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

/// What a child has made, if it is what was asked for. The bytes are copied first and hashed then.
fn checked(made: Made, child: &Child, spec: &JobSpec) -> Result<Executed, String> {
    let asked = spec.pipeline.outputs.iter().map(|output| &output.name);
    if !made.outputs.iter().map(|output| &output.name).eq(asked) {
        return Err("other outputs than those that were asked for".to_owned());
    }
    if !made.analysis.values().all(|value| is_shallow(value, DEPTH_MAX)) {
        return Err("an analysis that is too deep".to_owned());
    }
    let there = child.output_bytes().map_err(|error| error.to_string())?;
    let mut at = 0u64;
    let mut outputs = Vec::with_capacity(made.outputs.len());
    for output in made.outputs {
        let end = at.checked_add(output.bytes).filter(|end| *end <= there);
        let end = end.ok_or_else(|| "outputs that aren't there".to_owned())?;
        let length = usize::try_from(output.bytes).map_err(|error| error.to_string())?;
        let bytes = child.output(at, length).map_err(|error| error.to_string())?;
        at = end;
        let digest = Sha256::digest(&bytes).into();
        let encoded = Encoded {
            name: output.name,
            format: output.format,
            width: output.width,
            height: output.height,
            quality: output.quality,
            bytes,
        };
        outputs.push((encoded, digest));
    }
    Ok(Executed { outputs, analysis: BTreeMap::from_iter(made.analysis), warnings: made.warnings })
}

fn is_shallow(value: &serde_json::Value, depth_left: u32) -> bool {
    let Some(depth_left) = depth_left.checked_sub(1) else { return false };
    match value {
        serde_json::Value::Array(items) => items.iter().all(|item| is_shallow(item, depth_left)),
        serde_json::Value::Object(fields) => fields.values().all(|field| is_shallow(field, depth_left)),
        _ => true,
    }
}
