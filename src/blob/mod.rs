//! Sources and outputs as bytes under keys, over `object_store`; what was spooled gets its name as a file.
//!
//! Owns the spelling of keys (nobody else knows it), durability of what it is given (when a put returns, data and directory entries are
//! on stable storage) and the spool where bodies wait for their job. Never decides what is kept: `queue` does. Called by `server`
//! (uploads, downloads), `worker` (sources, outputs) and `queue` (removal).

mod direct;
mod directories;
mod key;
mod part;
mod received;
mod space;
mod spool;
mod staged;

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt};

pub use direct::{Parts, Reader as SpoolReader, Reused, open_to_read, read as read_file, read_opened};
pub use key::BlobKey;
pub use part::Part;
pub use received::{Received, Receiving};
pub use space::{RESERVE_BYTES_MAX, Space};
pub use spool::SpoolFile;

use crate::clock::Timestamp;
use crate::job::{Job, JobId, Probe, Readiness};

/// Sources and outputs up to this size live in the job store's own transaction, so that a small job costs one fsync.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Bytes handed over at a time when a blob is read.
const READ_CHUNK_BYTES: usize = 128 * 1024;

/// Why bytes could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No space left.
    #[error("no space left for blobs")]
    Full(#[source] std::io::Error),
    /// There is no such blob.
    #[error("the blob is missing")]
    NotFound,
    /// Anything else.
    #[error("blob storage failed: {0}")]
    Io(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<std::io::Error> for BlobError {
    fn from(error: std::io::Error) -> BlobError {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => BlobError::Full(error),
            std::io::ErrorKind::NotFound => BlobError::NotFound,
            _ => BlobError::Io(error.into()),
        }
    }
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> BlobError {
        if matches!(error, object_store::Error::NotFound { .. }) {
            return BlobError::NotFound;
        }
        match io_kind(&error) {
            Some(kind @ (std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)) => {
                BlobError::Full(kind.into())
            }
            _ => BlobError::Io(error.into()),
        }
    }
}

/// The kind of the I/O error at the bottom of an error's chain.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

/// A blob that is being read.
pub type BlobReader = BoxStream<'static, Result<Bytes, BlobError>>;

/// Where the bytes of images live. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    root: Arc<Path>,
}

impl Blobs {
    /// Opens (or makes) the blobs under a directory and empties the spool that an earlier process left. Blocking.
    pub fn open(root: &Path) -> Result<Blobs, BlobError> {
        Blobs::open_with(root, |store| store)
    }

    /// The same with something around the local store, such as one that fails on purpose; spooled files pass it by.
    pub fn open_with(
        root: &Path,
        wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
    ) -> Result<Blobs, BlobError> {
        std::fs::create_dir_all(root)?;
        let spool = root.join(spool::DIRECTORY);
        match std::fs::remove_dir_all(&spool) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => std::fs::create_dir_all(&spool)?,
        }
        directories::make_shards(root)?;
        let store = LocalFileSystem::new_with_prefix(root)?.with_fsync(true);
        Ok(Blobs { store: wrap(Arc::new(store)), root: root.canonicalize()?.into() })
    }

    /// Opens the blobs that are there and changes nothing: for who looks on while a server may be using them. Blocking.
    pub fn existing(root: &Path) -> Result<Blobs, BlobError> {
        let store = LocalFileSystem::new_with_prefix(root)?.with_fsync(true);
        Ok(Blobs { store: Arc::new(store), root: root.canonicalize()?.into() })
    }

    /// A private temporary file, removed when dropped unless it became a blob.
    pub fn spool(&self) -> SpoolFile {
        SpoolFile::new(&self.root)
    }

    /// Stores bytes durably.
    pub async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<(), BlobError> {
        self.store.put(&key.path(), bytes.into()).await?;
        Ok(())
    }

    /// Makes a spooled file a blob: synced, then renamed into its place, then the directory synced.
    pub async fn put_spool(&self, key: &BlobKey, spool: SpoolFile) -> Result<(), BlobError> {
        spool.keep(self.local_path(key)).await
    }

    /// Reads a blob or a part of it.
    pub async fn read(&self, key: &BlobKey, range: Option<Range<u64>>) -> Result<BlobReader, BlobError> {
        let options = GetOptions { range: range.clone().map(GetRange::Bounded), ..GetOptions::default() };
        let result = self.store.get_opts(&key.path(), options).await?;
        let range = result.range.clone();
        Ok(match result.payload {
            GetResultPayload::File(file, _) => stream_file(file, range).boxed(),
            GetResultPayload::Stream(stream) => stream.map_err(BlobError::from).boxed(),
        })
    }

    /// Where a blob can be opened as a file by a blocking thread.
    pub fn local_path(&self, key: &BlobKey) -> PathBuf {
        // A key is made of hexadecimal digits, dots and names of lower-case letters: no character of it is escaped.
        self.root.join(key.path().as_ref())
    }

    /// Removes the source, the assets and the outputs of a job. What is not there counts as removed.
    pub async fn delete_job(&self, job: &Job) -> Result<(), BlobError> {
        // A source that is not recorded may all the same have been stored by an attempt that fetched it.
        if !job.source.as_ref().is_some_and(|source| source.inline) {
            self.delete(&BlobKey::Source(job.id)).await?;
        }
        for asset in job.assets.iter().filter(|asset| !asset.inline) {
            self.delete(&BlobKey::Asset { job: job.id, name: asset.name.clone() }).await?;
        }
        for output in job.outputs.iter().filter(|output| !output.inline) {
            self.delete(&BlobKey::Output { job: job.id, attempt: output.attempt, name: output.name.clone() })
                .await?;
        }
        Ok(())
    }

    /// Removes one blob. What is not there counts as removed.
    pub async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        match self.store.delete(&key.path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Every blob last written before a moment: candidates for the sweep of orphans.
    pub fn older_than(&self, moment: Timestamp) -> BoxStream<'static, Result<(JobId, BlobKey), BlobError>> {
        self.store
            .list(None)
            .map_err(BlobError::from)
            .try_filter_map(move |meta| async move {
                let old = meta.last_modified.timestamp_millis() < moment.as_millis();
                Ok(BlobKey::parse(&meta.location).filter(|_| old).map(|key| (key.job(), key)))
            })
            .boxed()
    }

    /// Removes what puts that were killed have left behind before a moment; how many files.
    pub async fn remove_staged(&self, before: Timestamp) -> Result<u64, BlobError> {
        let root = Arc::clone(&self.root);
        let since_epoch = std::time::Duration::from_millis(u64::try_from(before.as_millis()).unwrap_or(0));
        off_loop(move || staged::remove(&root, std::time::UNIX_EPOCH + since_epoch)).await
    }

    /// How much room is left where the blobs lie.
    pub async fn space(&self) -> Result<Space, BlobError> {
        let root = Arc::clone(&self.root);
        off_loop(move || Space::of(&root)).await
    }

    /// Writes, syncs and removes a small file: whether bytes can be stored at all.
    pub async fn check(&self) -> Result<(), BlobError> {
        let mut spool = self.spool();
        let mut part = Part::default();
        part.extend(b"ready?", 0);
        spool.complete(part).await?;
        spool.try_out().await
    }
}

#[async_trait::async_trait]
impl Probe for Blobs {
    fn name(&self) -> &'static str {
        "blobs"
    }

    async fn readiness(&self) -> Readiness {
        match self.check().await {
            Ok(()) => Readiness::Ready,
            Err(error) => Readiness::NotReady(error.to_string()),
        }
    }
}

/// Reads a file part by part, each off the event loop.
fn stream_file(
    file: std::fs::File,
    range: Range<u64>,
) -> impl futures_util::Stream<Item = Result<Bytes, BlobError>> + Send {
    futures_util::stream::try_unfold((Some(file), range), |(file, range)| async move {
        let Some(mut file) = file.filter(|_| !range.is_empty()) else { return Ok(None) };
        let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(READ_CHUNK_BYTES);
        let (file, bytes) = off_loop(move || {
            let mut buffer = vec![0; wanted];
            file.seek(SeekFrom::Start(range.start))?;
            file.read_exact(&mut buffer)?;
            Ok((file, Bytes::from(buffer)))
        })
        .await?;
        let rest = range.start + bytes.len() as u64..range.end;
        Ok(Some((bytes, (Some(file), rest))))
    })
}

/// Runs short file work on tokio's blocking threads.
async fn off_loop<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// What became of blocking work.
fn joined<T>(ended: std::result::Result<std::io::Result<T>, tokio::task::JoinError>) -> Result<T, BlobError> {
    match ended {
        Ok(result) => Ok(result?),
        Err(error) => Err(BlobError::Io(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(mut reader: BlobReader) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(chunk) = reader.next().await {
            all.extend_from_slice(&chunk.unwrap());
        }
        all
    }

    #[tokio::test]
    async fn a_spooled_body_becomes_a_blob_and_reads_back_in_parts() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        let body: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        let mut spool = blobs.spool();
        let mut part = Part::default();
        for bytes in body.chunks(70_000) {
            part.extend(bytes, 0);
            spool.write(&mut part).await.unwrap();
            assert!(part.len() < 4096);
        }
        spool.complete(part).await.unwrap();
        assert_eq!(spool.len(), 300_000);
        assert_eq!(spool.digest().unwrap()[..], <sha2::Sha256 as sha2::Digest>::digest(&body)[..]);
        let key = BlobKey::Source(JobId::new());
        blobs.put_spool(&key, spool).await.unwrap();
        assert_eq!(read_all(blobs.read(&key, None).await.unwrap()).await, body);
        assert_eq!(
            read_all(blobs.read(&key, Some(131_000..262_200)).await.unwrap()).await,
            body[131_000..262_200]
        );
        blobs.delete(&key).await.unwrap();
        blobs.delete(&key).await.unwrap();
        assert!(matches!(blobs.read(&key, None).await, Err(BlobError::NotFound)));
    }

    #[test]
    fn shards_are_there_from_the_start_and_again_if_they_were_removed() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            Blobs::open(directory.path()).unwrap();
            for kind in key::DIRECTORIES.map(|name| directory.path().join(name)) {
                assert_eq!(std::fs::read_dir(&kind).unwrap().count(), 256);
                let path = BlobKey::Source(JobId::new()).path();
                assert!(kind.join(path.parts().nth(1).unwrap().as_ref()).is_dir());
                std::fs::remove_dir(kind.join("5f")).unwrap();
            }
        }
    }

    #[test]
    fn a_dropped_spool_and_one_left_by_a_dead_process_leave_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let spool = runtime.block_on(complete(&blobs, b"half"));
        assert_eq!(spooled(directory.path()), 1);
        drop(spool);
        assert_eq!(spooled(directory.path()), 0);
        std::fs::write(directory.path().join(spool::DIRECTORY).join("left"), b"behind").unwrap();
        Blobs::open(directory.path()).unwrap();
        assert_eq!(spooled(directory.path()), 0);
    }

    fn spooled(directory: &Path) -> usize {
        std::fs::read_dir(directory.join(spool::DIRECTORY)).unwrap().count()
    }

    async fn complete(blobs: &Blobs, bytes: &[u8]) -> SpoolFile {
        let (mut spool, mut part) = (blobs.spool(), Part::default());
        part.extend(bytes, 0);
        spool.complete(part).await.unwrap();
        spool
    }

    #[test]
    fn a_part_of_a_spool_that_is_dropped_is_not_written_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (go, gone) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || gone.recv());
            let (mut spool, mut part) = (blobs.spool(), Part::default());
            part.extend(&[1; 8192], 0);
            spool.write(&mut part).await.unwrap();
            let root = directory.path().to_owned();
            let seen = tokio::task::spawn_blocking(move || spooled(&root));
            drop(spool);
            go.send(()).unwrap();
            busy.await.unwrap().unwrap();
            assert_eq!(seen.await.unwrap(), 0);
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        });
        assert_eq!(spooled(directory.path()), 0);
    }

    #[test]
    fn a_spool_that_nobody_waits_for_gets_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let key = BlobKey::Source(JobId::new());
        runtime.block_on(async {
            let spool = complete(&blobs, b"image").await;
            let (go, gone) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || gone.recv());
            let mut put = Box::pin(blobs.put_spool(&key, spool));
            assert!(futures_util::FutureExt::now_or_never(&mut put).is_none());
            drop(put);
            go.send(()).unwrap();
            busy.await.unwrap().unwrap();
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            assert!(matches!(blobs.read(&key, None).await, Err(BlobError::NotFound)));
        });
        assert_eq!(spooled(directory.path()), 0);
    }

    #[tokio::test]
    async fn a_spool_that_gets_no_name_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        let (sources, away) = (directory.path().join("sources"), directory.path().join("away"));
        std::fs::rename(&sources, &away).unwrap();
        std::fs::write(&sources, b"no directory").unwrap();
        let key = BlobKey::Source(JobId::new());
        let refused = blobs.put_spool(&key, complete(&blobs, b"image").await).await;
        assert!(matches!(refused, Err(BlobError::Io(_))), "{refused:?}");
        assert_eq!(spooled(directory.path()), 0);
        std::fs::remove_file(&sources).unwrap();
        std::fs::rename(&away, &sources).unwrap();
        blobs.put_spool(&key, complete(&blobs, b"image").await).await.unwrap();
        assert_eq!(read_all(blobs.read(&key, None).await.unwrap()).await, b"image");
    }

    #[tokio::test]
    async fn directories_that_are_missing_are_made_for_a_spool() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        std::fs::remove_dir_all(directory.path().join("sources")).unwrap();
        for key in
            [BlobKey::Source(JobId::new()), BlobKey::Asset { job: JobId::new(), name: "logo".to_owned() }]
        {
            blobs.put_spool(&key, complete(&blobs, b"image").await).await.unwrap();
            assert_eq!(read_all(blobs.read(&key, None).await.unwrap()).await, b"image");
        }
    }

    #[tokio::test]
    async fn the_room_left_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let space = Blobs::open(directory.path()).unwrap().space().await.unwrap();
        assert!(space.free_bytes <= space.total_bytes && space.total_bytes > 0, "{space:?}");
    }

    #[tokio::test]
    async fn old_blobs_are_listed_with_their_keys() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        let key = BlobKey::Output { job: JobId::new(), attempt: 3, name: "thumb-2_a".to_owned() };
        blobs.put(&key, Bytes::from_static(b"x")).await.unwrap();
        let later = Timestamp::from_millis(i64::MAX / 2);
        let found: Vec<_> = blobs.older_than(later).try_collect().await.unwrap();
        assert_eq!(found, [(key.job(), key)]);
        let none: Vec<_> = blobs.older_than(Timestamp::from_millis(0)).try_collect().await.unwrap();
        assert!(none.is_empty());
    }
}
