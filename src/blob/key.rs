//! The spelling of blob keys: `sources/<shard>/<job>`, `assets/<shard>/<job>.<name>` and `results/<shard>/<job>.<attempt>.<name>`.
//!
//! The shard is the last byte of the id (random in a UUIDv7), so that no directory grows beyond a 256th of the blobs and none is made
//! or removed per job: a new blob costs one directory sync.

use object_store::path::Path;

use crate::job::JobId;

/// The directories of blobs under the root.
pub(super) const DIRECTORIES: [&str; 3] = ["sources", "assets", "results"];

/// The names of a directory's shards.
pub(super) fn shards() -> impl Iterator<Item = String> {
    (0..=u8::MAX).map(|shard| format!("{shard:02x}"))
}

/// Names a blob.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BlobKey {
    /// The source of a job.
    Source(JobId),
    /// An image that came with a job for its operations.
    Asset {
        /// Its job.
        job: JobId,
        /// Name of its part.
        name: String,
    },
    /// An output made by one attempt; another attempt can't overwrite it.
    Output {
        /// Its job.
        job: JobId,
        /// The attempt that made it.
        attempt: u32,
        /// Its name in the spec.
        name: String,
    },
}

impl BlobKey {
    /// The job it belongs to.
    pub fn job(&self) -> JobId {
        match self {
            BlobKey::Source(job) | BlobKey::Asset { job, .. } | BlobKey::Output { job, .. } => *job,
        }
    }

    pub(super) fn path(&self) -> Path {
        let job = self.job();
        let shard = job.as_bytes()[15];
        match self {
            BlobKey::Source(_) => Path::from(format!("sources/{shard:02x}/{job}")),
            BlobKey::Asset { name, .. } => Path::from(format!("assets/{shard:02x}/{job}.{name}")),
            BlobKey::Output { attempt, name, .. } => {
                Path::from(format!("results/{shard:02x}/{job}.{attempt}.{name}"))
            }
        }
    }

    pub(super) fn parse(path: &Path) -> Option<BlobKey> {
        let mut parts = path.parts();
        let (kind, _shard, file) = (parts.next()?, parts.next()?, parts.next()?);
        match kind.as_ref() {
            "sources" => Some(BlobKey::Source(file.as_ref().parse().ok()?)),
            "assets" => {
                let (job, name) = file.as_ref().split_once('.')?;
                Some(BlobKey::Asset { job: job.parse().ok()?, name: name.to_owned() })
            }
            "results" => {
                let mut parts = file.as_ref().splitn(3, '.');
                let job = parts.next()?.parse().ok()?;
                let attempt = parts.next()?.parse().ok()?;
                Some(BlobKey::Output { job, attempt, name: parts.next()?.to_owned() })
            }
            _ => None,
        }
    }
}
