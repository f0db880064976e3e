//! The children of a server: who is kept, who is recycled, who is next.
//!
//! Owns their number and their age, and what every one of them gets. What they are given to do, and how it is judged, is `job`'s and
//! `look`'s. Called on threads that may block.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::message::Order;
use super::parent::{Child, Files, StartError, cause, sealed};
use super::starter::Starter;
use super::wire::GoOn;
use crate::pipeline::{Assets, Fonts, Input, Interrupt, Limits};
use crate::sandbox::Level;
use crate::telemetry::{CauseLabel, Metrics};

/// Jobs after which a child is replaced: nothing that one leaves behind, in memory or worse, lasts for ever.
const JOBS_MAX: u32 = 100;
/// Time for the first child to report when a server starts.
const START_TIME: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub(in super::super) struct Children {
    program: PathBuf,
    files: Files,
    /// Jobs that a child may run: one, or more.
    jobs_max: u32,
    kept_max: usize,
    idle: Mutex<Vec<Child>>,
    metrics: Arc<Metrics>,
    /// Dropped last: those it has started end with it.
    starter: Starter,
}

impl Children {
    /// Prepares what every child gets, and lets one start to see how well it is walled in.
    pub(in super::super) fn start(
        program: PathBuf,
        is_one_job_each: bool,
        kept_max: usize,
        (assets, limits): (&Assets, &Limits),
        metrics: Arc<Metrics>,
    ) -> Result<(Children, Level), StartError> {
        // What has not happened yet is known to be none.
        for cause in cause::ALL {
            metrics.children_ended.get_or_create_owned(&CauseLabel { cause });
        }
        let jobs_max = if is_one_job_each { 1 } else { JOBS_MAX };
        let files = files(assets, limits)?;
        let starter = Starter::new()?;
        let children =
            Children { program, files, jobs_max, kept_max, idle: Mutex::default(), metrics, starter };
        let patience = Instant::now() + START_TIME;
        let first =
            children.fresh(&|| (Instant::now() < patience).then_some(()).ok_or(Interrupt::Deadline))?;
        let level = first.level();
        children.keep(first);
        Ok((children, level))
    }

    /// An idle child, or a new one.
    pub(super) fn take(&self, go_on: GoOn<'_>) -> Result<Child, StartError> {
        let next = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(mut child) = next() {
            if !child.is_well() {
                child.ends_of(cause::LOST);
            } else if child.is_silent() {
                return Ok(child);
            } else {
                speaks_unasked(child);
            }
        }
        self.fresh(go_on)
    }

    fn fresh(&self, go_on: GoOn<'_>) -> Result<Child, StartError> {
        Child::start(&self.starter, &self.program, &self.files, &self.metrics, go_on)
    }

    /// Takes back one whose last order came to its end, if it is of any more use.
    pub(super) fn keep(&self, mut child: Child) {
        if child.jobs() >= self.jobs_max {
            return child.ends_of(cause::RECYCLED);
        }
        if !child.is_silent() {
            return speaks_unasked(child);
        }
        if child.forget_output().is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < self.kept_max {
                idle.push(child);
            }
        }
    }
}

/// Whoever answers before it is asked would be taken to have answered the next order. It ends here.
fn speaks_unasked(mut child: Child) {
    let is_there = child.is_well();
    child.ends_of(if is_there { cause::NONSENSE } else { cause::LOST });
    if is_there {
        tracing::error!("a process for images spoke without being asked and was ended");
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
