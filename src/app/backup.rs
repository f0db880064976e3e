//! `backup`: a consistent copy of a data directory, also of one that a server is using.
//!
//! First the database as it is at one moment, then every image that this copy refers to: none of them ever changes, they only appear and go.
//! What went in between belonged to jobs that were removed since; the copy forgets them, too. To restore, start a server on the copy. Called
//! by `cli`.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::Serialize;

use super::AppError;
use super::doctor::blobs_of;
use crate::blob::Blobs;
use crate::config::keys;
use crate::job::Job;
use crate::store::sqlite::inspect::{Examined, Inspection};

/// Jobs read at a time.
const PAGE: usize = 500;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Jobs in the copy.
    pub jobs: u64,
    /// Files with images.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Files that were missing in the original already: `doctor` tells more.
    pub missing: u64,
}

/// Copies a data directory into another, which must be empty or not there. Blocking.
pub fn backup(directory: &Path, target: &Path) -> Result<Copied, AppError> {
    let original = Inspection::open(directory)?;
    let refused = |why: String| AppError::Backup { directory: target.display().to_string(), why };
    let failed = |error: std::io::Error| refused(error.to_string());
    DirBuilder::new().recursive(true).mode(0o700).create(target).map_err(failed)?;
    if std::fs::read_dir(target).map_err(failed)?.next().is_some() {
        return Err(refused("it is not empty".to_owned()));
    }
    original.copy_to(target)?;
    let unusable = |directory: &Path| {
        let directory = directory.display().to_string();
        move |source| AppError::Blobs { directory, source }
    };
    let from = Blobs::existing(&directory.join("blobs")).map_err(unusable(directory))?;
    let to = Blobs::open(&target.join("blobs")).map_err(unusable(target))?;
    let copy = Inspection::of_stopped(target)?;
    let (mut copied, mut removed, mut after) = (Copied::default(), Vec::new(), None);
    loop {
        let (jobs, last) = copy.jobs(after.as_deref(), PAGE)?;
        for job in jobs {
            copied.jobs += 1;
            let Examined::Job(job) = job else { continue };
            match copy_images(&job, &from, &to, &mut copied) {
                Ok(0) => {}
                Ok(_) if original.job(job.id)?.is_none_or(|now| is_other(&now, &job)) => {
                    removed.push(job.id);
                }
                Ok(missing) => copied.missing += missing,
                Err(error) => return Err(failed(error)),
            }
        }
        match last {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    copy.forget(&removed)?;
    copied.jobs -= removed.len() as u64;
    let secrets = directory.join(keys::FILE_NAME);
    if secrets.is_file() {
        let copy = target.join(keys::FILE_NAME);
        std::fs::copy(&secrets, &copy).and_then(|_| File::open(&copy)?.sync_all()).map_err(failed)?;
    }
    File::open(target).and_then(|directory| directory.sync_all()).map_err(failed)?;
    Ok(copied)
}

/// Whether a job that was copied refers to other files by now.
fn is_other(now: &Job, then: &Job) -> bool {
    blobs_of(now) != blobs_of(then)
}

/// Copies the files of a job; how many are not there.
fn copy_images(job: &Job, from: &Blobs, to: &Blobs, copied: &mut Copied) -> std::io::Result<u64> {
    let mut missing = 0;
    for key in blobs_of(job) {
        let target = to.local_path(&key);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match std::fs::copy(from.local_path(&key), &target) {
            Ok(bytes) => {
                File::open(&target)?.sync_all()?;
                copied.files += 1;
                copied.bytes += bytes;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => missing += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}
