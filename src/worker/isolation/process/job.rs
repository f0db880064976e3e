//! One job in a child, and what becomes of it.
//!
//! Owns the judgement: what a child says is checked against what was asked, and a child's death is told apart by its cause. Called on pool
//! threads, one job each.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sha2::{Digest, Sha256};

use super::super::super::control::AttemptControl;
use super::super::super::error::{WorkError, panicked_with, source_unreadable};
use super::super::super::execute::{Executed, Task, timed_out};
use super::children::Children;
use super::message::{Made, Order, Report};
use super::parent::{Child, End, Fate, Share, cause, sealed};
use super::wire::Trouble;
use crate::job::{Code, Failure, JobSpec};
use crate::pipeline::{Control, Encoded, Interrupt};

/// Deepest JSON that an analysis may be.
const DEPTH_MAX: u32 = 16;
/// Most reports of one job: an animation tells of every operation on every frame for every output, some 500,000 at the default limits.
const REPORTS_MAX: u32 = 2_000_000;

/// How a child's turn at a job ended, if not with its outputs.
enum Turn {
    /// It said what is wrong, and can take another job.
    Said(WorkError),
    /// It is of no more use for this cause; this is the job's end.
    Spent(&'static str, WorkError),
    /// There was not enough memory.
    NoMemory(WorkError),
}

impl Children {
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
            let child = self.take(&|| control.check());
            let mut child = child.map_err(|error| match control.check() {
                Err(interrupt) => interrupted(interrupt, &task.spec),
                Ok(()) => {
                    tracing::error!(%error, "a process for images did not start");
                    let detail = format!("no process could be started for the job: {error}");
                    WorkError::Retry(Failure::new(Code::Crashed, detail, true))
                }
            })?;
            let is_first_job = child.jobs() == 0;
            let (cause, error) = match turn(&mut child, task, &order, &images, control) {
                Ok(executed) => {
                    self.keep(child);
                    return Ok(executed);
                }
                Err(Turn::Said(error)) => {
                    self.keep(child);
                    return Err(error);
                }
                Err(Turn::NoMemory(error)) => (cause::MEMORY, error),
                Err(Turn::Spent(cause, error)) => (cause, error),
            };
            child.ends_of(cause);
            // Where memory was short, it may have been for what earlier jobs have left behind.
            if cause != cause::MEMORY || is_first_job {
                return Err(error);
            }
        }
    }
}

fn turn(
    child: &mut Child,
    task: &Task,
    order: &Order,
    images: &[BorrowedFd<'_>],
    control: &AttemptControl,
) -> Result<Executed, Turn> {
    let go_on = || control.check();
    let time_left = control.time_left().unwrap_or(task.spec.timeout);
    let share = Share::of_job(task.memory_bytes, time_left);
    child.give(order, images, share, &go_on).map_err(|trouble| end_of(child, trouble, task))?;
    for _ in 0..REPORTS_MAX {
        match child.report(&go_on).map_err(|trouble| end_of(child, trouble, task))? {
            Report::Planned(stages) => control.planned(stages),
            Report::Stage(name) => match name.stage() {
                Some(stage) => control.stage(stage),
                None => return Err(nonsense("an operation that doesn't exist")),
            },
            Report::Made(made) => {
                return checked(made, child, &task.spec).map_err(|what| nonsense(&what));
            }
            Report::Failed(failure) => return Err(said(failure)),
            Report::Unreadable(detail) => {
                let error = std::io::Error::other(detail);
                return Err(Turn::Said(source_unreadable(error.into())));
            }
            Report::Panicked(message) => return Err(Turn::Spent(cause::PANIC, panicked_with(&message))),
            Report::Hello(_) | Report::Ready | Report::Seen(_) | Report::Refused(_) => {
                return Err(nonsense("an answer to another question"));
            }
        }
    }
    Err(nonsense("more than there is to say"))
}

/// What it means that a child can't be talked with any longer.
fn end_of(child: &mut Child, trouble: Trouble, task: &Task) -> Turn {
    match trouble {
        Trouble::Interrupted(Interrupt::Cancelled) => Turn::Spent(cause::CANCELLED, WorkError::Cancelled),
        Trouble::Interrupted(Interrupt::Deadline) => Turn::Spent(cause::TIMEOUT, timed_out(&task.spec)),
        Trouble::Nonsense(what) => nonsense(&what),
        Trouble::Gone => death(&child.end(), task),
    }
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
    Turn::Spent(cause::NONSENSE, WorkError::Crashed(Failure::new(Code::Crashed, detail, true)))
}

/// What a death says about the job.
fn death(end: &End, task: &Task) -> Turn {
    match end.fate() {
        Fate::Memory => {
            let detail = format!(
                "the image took more memory than the {} MiB that were planned for it",
                task.memory_bytes.div_ceil(1 << 20)
            );
            Turn::NoMemory(WorkError::Discard(Failure::new(Code::ImageTooLarge, detail, false)))
        }
        Fate::Time => Turn::Spent(cause::TIMEOUT, timed_out(&task.spec)),
        Fate::Crash(how) => {
            tracing::warn!(how, words = end.words, "a process for images died");
            let detail = format!("the process that ran the job {how}");
            Turn::Spent(cause::CRASHED, WorkError::Crashed(Failure::new(Code::Crashed, detail, true)))
        }
    }
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
