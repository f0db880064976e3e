//! `backup`: a consistent copy of a data directory, also of one that a server is using.
//!
//! First the database as it is at one moment, then every image that this copy refers to: none of them ever changes, they only appear and go.
//! What went in between belonged to jobs that were removed since; the copy forgets them, too. To restore, start a server on the copy. Called
//! by `cli`.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::AppError;
use super::doctor::blobs_of;
use crate::blob::{BlobKey, Blobs};
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
    // It may have been there already, open to everybody; rows hold secrets.
    std::fs::set_permissions(target, Permissions::from_mode(0o700)).map_err(failed)?;
    original.copy_to(target)?;
    let unusable = |directory: &Path| {
        let directory = directory.display().to_string();
        move |source| AppError::Blobs { directory, source }
    };
    let from = Blobs::existing(&directory.join("blobs")).map_err(unusable(directory))?;
    let to = Blobs::open(&target.join("blobs")).map_err(unusable(target))?;
    let copy = Inspection::of_stopped(target)?;
    copy.release_running()?;
    let (mut copied, mut removed, mut after) = (Copied::default(), Vec::new(), None);
    let mut directories = BTreeSet::new();
    loop {
        let (jobs, last) = copy.jobs(after.as_deref(), PAGE)?;
        for job in jobs {
            copied.jobs += 1;
            let Examined::Job(job) = job else { continue };
            match copy_images(&job, &from, &to, &mut copied, &mut directories) {
                Ok(missing) if missing.is_empty() => {}
                Ok(missing) if original.job(job.id)?.is_none_or(|now| lacks_any(&now, &missing)) => {
                    removed.push(job.id);
                }
                Ok(missing) => copied.missing += missing.len() as u64,
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
    directories.insert(target.join("blobs"));
    let sync = |directory: &Path| File::open(directory).and_then(|directory| directory.sync_all());
    for directory in with_parents(directories, target) {
        sync(&directory).map_err(failed)?;
    }
    sync(target).map_err(failed)?;
    Ok(copied)
}

/// Whether a job no longer refers to one of these files: then it was rightly gone.
fn lacks_any(now: &Job, missing: &[BlobKey]) -> bool {
    let kept = blobs_of(now);
    missing.iter().any(|key| !kept.contains(key))
}

/// Copies the files of a job and notes the directories they went into; those that are not there.
fn copy_images(
    job: &Job,
    from: &Blobs,
    to: &Blobs,
    copied: &mut Copied,
    directories: &mut BTreeSet<PathBuf>,
) -> std::io::Result<Vec<BlobKey>> {
    let mut missing = Vec::new();
    for key in blobs_of(job) {
        let target = to.local_path(&key);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
            directories.insert(parent.to_owned());
        }
        match std::fs::copy(from.local_path(&key), &target) {
            Ok(bytes) => {
                File::open(&target)?.sync_all()?;
                copied.files += 1;
                copied.bytes += bytes;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => missing.push(key),
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

/// The entries of a file survive a power cut only once every directory above it is on stable storage, too: all up to and without `top`.
fn with_parents(directories: BTreeSet<PathBuf>, top: &Path) -> BTreeSet<PathBuf> {
    let below = |directory: &Path| directory != top && directory.starts_with(top);
    let above = |directory: &PathBuf| {
        directory.ancestors().take_while(|one| below(one)).map(Path::to_owned).collect::<Vec<_>>()
    };
    directories.iter().flat_map(above).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_between_a_file_and_the_top_is_synced_once() {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
        let leaves = paths(&["/t/blobs/sources/01", "/t/blobs/sources/02"]);
        let expected = paths(&["/t/blobs", "/t/blobs/sources", "/t/blobs/sources/01", "/t/blobs/sources/02"]);
        assert_eq!(with_parents(leaves, Path::new("/t")), expected);
    }
}
