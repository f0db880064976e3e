//! `doctor`: whether a data directory holds what its rows say, and nothing else.
//!
//! Compares rows, blobs and digests. Without `repair` it reads only, also beside a running server: what seems wrong there is looked at
//! again, since a job may have changed in between. Repairs only what is safe: it removes what belongs to nobody, never a job, and nothing
//! at all while the database itself is damaged. Called by `cli`.

use std::collections::HashSet;
use std::path::Path;

use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::AppError;
use crate::blob::{BlobError, BlobKey, Blobs};
use crate::clock::{Clock, Timestamp};
use crate::job::{Job, JobId, hex};
use crate::pipeline::Assets;
use crate::store::sqlite::inspect::{Examined, Inspection};
use crate::store::{InlineKey, StoreError};
use crate::telemetry::Metrics;
use crate::worker::isolation::Isolation;

/// Jobs read at a time.
const PAGE: usize = 500;
/// Beside a running server, a younger blob may belong to a job that is about to be stored.
const YOUNG: std::time::Duration = std::time::Duration::from_secs(60 * 60);

/// What is wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The database's own structure.
    Database,
    /// A row that can't be read.
    UnreadableJob,
    /// Bytes that a job refers to are not there.
    Missing,
    /// Bytes are there, and are not those that were stored.
    Altered,
    /// Rows that belong to no job, or count others wrongly.
    Misfit,
    /// Files that belong to no job. The server sweeps them by itself a day later; they only take room.
    Orphan,
}

/// Where a server with these settings would process images here, and what of the sandbox holds on this system; or why it would not start.
/// Blocking: starts one of those processes.
pub fn isolation(config: &crate::worker::Config) -> Result<String, String> {
    let started = Isolation::start(&config.isolation, 1, &Assets::none(), &config.limits, Metrics::new());
    started.map(|isolation| isolation.describe()).map_err(|error| error.to_string())
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// The job concerned.
    pub job: Option<String>,
    /// A sentence for people.
    pub detail: String,
    /// Whether it was put right.
    pub repaired: bool,
}

/// What an examination found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Jobs looked at.
    pub jobs: u64,
    /// Images looked at: sources, assets and outputs.
    pub images: u64,
    /// Bytes whose digest was taken.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether everything that was promised is there: orphans only take room, and what was repaired is right again.
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.repaired || finding.kind == Kind::Orphan)
    }

    fn add(&mut self, kind: Kind, job: Option<JobId>, detail: String, repaired: bool) {
        let job = job.map(|job| job.to_string());
        self.findings.push(Finding { kind, job, detail, repaired });
    }
}

/// Examines a data directory. With `repair`, which needs the server to be stopped, also removes what belongs to nobody.
pub async fn examine(directory: &Path, repair: bool) -> Result<Report, AppError> {
    let inspection = match repair {
        true => Inspection::of_stopped(directory)?,
        false => Inspection::open(directory)?,
    };
    let unusable = |source| AppError::Blobs { directory: directory.display().to_string(), source };
    let blobs = Blobs::existing(&directory.join("blobs")).map_err(unusable)?;
    let mut examination = Examination { inspection, blobs, repair, report: Report::default() };
    examination.database()?;
    let unreadable = examination.jobs().await?;
    examination.orphans(unreadable, unusable).await?;
    Ok(examination.report)
}

struct Examination {
    inspection: Inspection,
    blobs: Blobs,
    repair: bool,
    report: Report,
}

/// Where an image of a job should be, and what it should be.
struct Expected {
    name: String,
    place: Place,
    bytes: u64,
    sha256: String,
}

enum Place {
    Database(InlineKey),
    Blob(BlobKey),
}

impl Examination {
    fn database(&mut self) -> Result<(), AppError> {
        for damage in self.inspection.damage()? {
            // What an index fails to show is not gone: whoever removed by it would remove what belongs to somebody.
            self.repair = false;
            self.report.add(Kind::Database, None, format!("the database is damaged: {damage}"), false);
        }
        for misfit in self.inspection.misfits(self.repair)? {
            self.report.add(Kind::Misfit, None, misfit.detail, misfit.repaired);
        }
        Ok(())
    }

    /// Looks at every job; whether there were some that can't be read, whose blobs then belong to nobody that is known.
    async fn jobs(&mut self) -> Result<bool, AppError> {
        let (mut after, mut unreadable) = (None, false);
        loop {
            let (jobs, last) = self.inspection.jobs(after.as_deref(), PAGE)?;
            for job in jobs {
                self.report.jobs += 1;
                match job {
                    Examined::Job(job) => self.job(*job).await?,
                    Examined::Unreadable(detail) => {
                        unreadable = true;
                        self.report.add(Kind::UnreadableJob, None, detail, false);
                    }
                }
            }
            match last {
                Some(last) => after = Some(last),
                None => return Ok(unreadable),
            }
        }
    }

    async fn job(&mut self, mut job: Job) -> Result<(), AppError> {
        loop {
            let (findings, images, bytes) = self.look_at(&job).await?;
            if !findings.is_empty() {
                // Beside a running server it may have changed since its row was read.
                match self.inspection.job(job.id)? {
                    Some(now) if now.version != job.version => {
                        job = now;
                        continue;
                    }
                    Some(_) => {}
                    None => return Ok(()),
                }
            }
            self.report.images += images;
            self.report.bytes += bytes;
            for (kind, detail) in findings {
                self.report.add(kind, Some(job.id), detail, false);
            }
            return Ok(());
        }
    }

    /// What is wrong with a job's images; how many there are, and their bytes.
    async fn look_at(&self, job: &Job) -> Result<(Vec<(Kind, String)>, u64, u64), AppError> {
        let (mut findings, mut images, mut bytes) = (Vec::new(), 0, 0);
        for expected in expected(job) {
            images += 1;
            bytes += expected.bytes;
            let name = &expected.name;
            let found = match &expected.place {
                Place::Database(key) => match self.inspection.inline_bytes(job.id, key)? {
                    Some(bytes) => Ok((bytes.len() as u64, hex(&Sha256::digest(&bytes)))),
                    None => Err(BlobError::NotFound),
                },
                Place::Blob(key) => self.digest(key).await,
            };
            match found {
                Ok((length, sha256)) if length == expected.bytes && sha256 == expected.sha256 => {}
                Ok((length, _)) if length != expected.bytes => {
                    let detail = format!("the {name} has {length} bytes instead of {}", expected.bytes);
                    findings.push((Kind::Altered, detail));
                }
                Ok(_) => findings.push((Kind::Altered, format!("the {name} is not what was stored"))),
                Err(BlobError::NotFound) => findings.push((Kind::Missing, format!("the {name} is missing"))),
                Err(error) => {
                    findings.push((Kind::Missing, format!("the {name} can't be read: {error}")));
                }
            }
        }
        Ok((findings, images, bytes))
    }

    async fn digest(&self, key: &BlobKey) -> Result<(u64, String), BlobError> {
        let mut reader = self.blobs.read(key, None).await?;
        let (mut length, mut digest) = (0, Sha256::new());
        while let Some(chunk) = reader.next().await {
            let chunk = chunk?;
            length += chunk.len() as u64;
            digest.update(&chunk);
        }
        Ok((length, hex(&digest.finalize())))
    }

    /// Files that no job refers to. Where rows can't be read, nothing is removed: it may be theirs.
    async fn orphans(
        &mut self,
        unreadable: bool,
        unusable: impl Fn(BlobError) -> AppError,
    ) -> Result<(), AppError> {
        let now = Clock::System.now();
        let before = if self.repair { Timestamp::from_millis(i64::MAX) } else { now.minus(YOUNG) };
        let is_safe = self.repair && !unreadable;
        let mut all = self.blobs.older_than(before);
        while let Some((id, key)) = all.try_next().await.map_err(&unusable)? {
            let known = match self.inspection.job(id) {
                Ok(known) => known,
                // Its row says that it is there.
                Err(StoreError::Corrupt(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            let kept: HashSet<BlobKey> = known.iter().flat_map(blobs_of).collect();
            // The outputs of an attempt under way are not yet in its row.
            let is_in_work = known.is_some_and(|job| !job.status.is_terminal()) && !self.repair;
            if kept.contains(&key) || is_in_work {
                continue;
            }
            if is_safe {
                self.blobs.delete(&key).await.map_err(&unusable)?;
            }
            self.report.add(Kind::Orphan, Some(id), "a file belongs to no job".to_owned(), is_safe);
        }
        if is_safe {
            let staged = self.blobs.remove_staged(before).await.map_err(&unusable)?;
            if staged > 0 {
                self.report.add(Kind::Orphan, None, format!("{staged} files were never finished"), true);
            }
        }
        Ok(())
    }
}

/// The blobs that a job's record refers to.
pub(super) fn blobs_of(job: &Job) -> Vec<BlobKey> {
    let blob = |expected: Expected| match expected.place {
        Place::Blob(key) => Some(key),
        Place::Database(_) => None,
    };
    expected(job).into_iter().filter_map(blob).collect()
}

/// The images that a job's record refers to.
fn expected(job: &Job) -> Vec<Expected> {
    let source = job.source.iter().map(|source| Expected {
        name: "source".to_owned(),
        place: match source.inline {
            true => Place::Database(InlineKey::Source),
            false => Place::Blob(BlobKey::Source(job.id)),
        },
        bytes: source.bytes,
        sha256: source.sha256.clone(),
    });
    let assets = job.assets.iter().map(|asset| Expected {
        name: format!("asset {:?}", asset.name),
        place: match asset.inline {
            true => Place::Database(InlineKey::Asset(asset.name.clone())),
            false => Place::Blob(BlobKey::Asset { job: job.id, name: asset.name.clone() }),
        },
        bytes: asset.bytes,
        sha256: asset.sha256.clone(),
    });
    let outputs = job.outputs.iter().map(|output| Expected {
        name: format!("output {:?}", output.name),
        place: match output.inline {
            true => Place::Database(InlineKey::Output(output.name.clone())),
            false => {
                let name = output.name.clone();
                Place::Blob(BlobKey::Output { job: job.id, attempt: output.attempt, name })
            }
        },
        bytes: output.bytes,
        sha256: output.sha256.clone(),
    });
    source.chain(assets).chain(outputs).collect()
}
