//! What one attempt needs to be executed, what comes out of it, and how it is done on a pool thread itself. `isolation` decides whether it
//! is, or whether a process does it in the thread's stead; nobody else can tell the difference.

use std::collections::BTreeMap;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::control::AttemptControl;
use super::error::{Judge, WorkError, failure_of, source_unreadable};
use crate::blob::SpoolReader;
use crate::job::{Code, Failure, JobSpec, Warning};
use crate::pipeline::{self, Asset, Assets, Encoded, Input, Interrupt, Limits};

/// Where a pool thread finds the source.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// In memory already.
    Bytes(Bytes),
    /// In a file of its own.
    File(PathBuf),
}

impl Source {
    /// All of it in memory.
    fn read(self) -> Result<Bytes, WorkError> {
        match self {
            Source::Bytes(bytes) => Ok(bytes),
            Source::File(path) => {
                crate::blob::read_file(&path).map_err(|error| source_unreadable(error.into()))
            }
        }
    }

    /// Reads it bit by bit.
    pub(super) fn reader(&self) -> std::io::Result<SpoolReader> {
        match self {
            Source::Bytes(bytes) => Ok(SpoolReader::of_bytes(bytes.clone())),
            Source::File(path) => SpoolReader::of_file(path),
        }
    }

    /// A descriptor to read it from; `in_memory` makes one of bytes.
    #[cfg(target_os = "linux")]
    pub(super) fn open(
        &self,
        in_memory: fn(&[u8]) -> std::io::Result<OwnedFd>,
    ) -> Result<OwnedFd, WorkError> {
        match self {
            Source::Bytes(bytes) => in_memory(bytes).retry(),
            Source::File(path) => {
                let file = crate::blob::open_to_read(path);
                Ok(file.map_err(|error| source_unreadable(error.into()))?.into())
            }
        }
    }
}

/// All that an execution needs.
pub(super) struct Task {
    pub(super) source: Source,
    /// The images that operations name, beside those of the settings.
    pub(super) assets: Vec<(Input, Source)>,
    pub(super) settings_assets: Arc<Assets>,
    pub(super) spec: Arc<JobSpec>,
    pub(super) limits: Limits,
    /// What the attempt was planned to take, its images as they were sent included.
    pub(super) memory_bytes: u64,
}

/// What the pipeline made, and the SHA-256 of each output: taken here, where CPU work belongs.
pub(super) struct Executed {
    pub(super) outputs: Vec<(Encoded, [u8; 32])>,
    pub(super) analysis: BTreeMap<String, serde_json::Value>,
    pub(super) warnings: Vec<Warning>,
}

/// Runs the pipeline on this thread.
pub(super) fn run_here(task: Task, control: &AttemptControl) -> Result<Executed, WorkError> {
    let bytes = task.source.read()?;
    let mut assets = Assets::clone(&task.settings_assets);
    for (input, source) in task.assets {
        let asset = Asset::new(source.read()?, &task.limits);
        assets.insert(input, asset.map_err(|error| WorkError::Discard(failure_of(&error)))?);
    }
    let made = pipeline::run(&bytes, &task.spec.pipeline, &assets, &task.limits, control);
    let made = made.map_err(|error| match error {
        pipeline::Error::Interrupted(Interrupt::Cancelled) => WorkError::Cancelled,
        pipeline::Error::Interrupted(Interrupt::Deadline) => timed_out(&task.spec),
        other => WorkError::Discard(failure_of(&other)),
    })?;
    let hashed = |encoded: Encoded| {
        let digest = Sha256::digest(&encoded.bytes).into();
        (encoded, digest)
    };
    Ok(Executed {
        outputs: made.outputs.into_iter().map(hashed).collect(),
        analysis: made.analysis,
        warnings: made.warnings.into_iter().map(Warning::from).collect(),
    })
}

/// The attempt has used up the time that its spec allows.
pub(super) fn timed_out(spec: &JobSpec) -> WorkError {
    let detail = format!(
        "the attempt took longer than {} ms; allow more with \"timeout\", or ask for less work",
        spec.timeout.as_millis()
    );
    WorkError::Retry(Failure::new(Code::Timeout, detail, true))
}
