//! Bodies on their way in: written and hashed part by part off the event loop, while the next part arrives, then kept as a blob or dropped.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::direct::{Reader, Writer};
use super::{BlobError, joined, off_loop};

/// Directory under the blobs' root, emptied at every start.
pub(super) const DIRECTORY: &str = "spool";

/// A private temporary file that hashes what is written to it. Removed when dropped.
#[derive(Debug)]
pub struct SpoolFile {
    name: String,
    path: Option<PathBuf>,
    state: State,
    length: u64,
}

type Written = (Writer, Sha256);

#[derive(Debug)]
enum State {
    Written(Box<Written>),
    /// A part is being written.
    Writing(JoinHandle<io::Result<Written>>),
    /// A write has failed, or nobody waited for its end.
    Broken,
}

impl SpoolFile {
    pub(super) async fn create(root: Arc<Path>) -> Result<SpoolFile, BlobError> {
        let name = uuid::Uuid::new_v4().as_simple().to_string();
        let path = root.join(DIRECTORY).join(&name);
        let (writer, path) = off_loop(move || Ok((Writer::create(&path)?, path))).await?;
        let state = State::Written(Box::new((writer, Sha256::new())));
        Ok(SpoolFile { name, path: Some(path), state, length: 0 })
    }

    /// Appends: waits for the part before to be written, and leaves this one to be written off the event loop, so that the next can arrive
    /// meanwhile. What goes wrong is told by the next call, or by [`SpoolFile::complete`]; after an error the file is of no use.
    pub async fn write(&mut self, chunks: Vec<Bytes>) -> Result<(), BlobError> {
        let (mut writer, mut hash) = self.take_written().await?;
        self.length += chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        self.state = State::Writing(tokio::task::spawn_blocking(move || {
            // Hashed first, so that the copy finds the bytes in the processor's cache.
            chunks.iter().for_each(|chunk| hash.update(chunk));
            writer.write(&chunks)?;
            Ok((writer, hash))
        }));
        Ok(())
    }

    /// Waits until everything is written.
    pub async fn complete(&mut self) -> Result<(), BlobError> {
        self.state = State::Written(Box::new(self.take_written().await?));
        Ok(())
    }

    async fn take_written(&mut self) -> Result<Written, BlobError> {
        match std::mem::replace(&mut self.state, State::Broken) {
            State::Written(written) => Ok(*written),
            State::Writing(task) => joined(task.await),
            State::Broken => Err(broken()),
        }
    }

    fn written(&self) -> Option<&Written> {
        match &self.state {
            State::Written(written) => Some(written),
            State::Writing(_) | State::Broken => None,
        }
    }

    /// Bytes appended.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// SHA-256 of the file, which must be complete.
    pub fn digest(&self) -> Result<[u8; 32], BlobError> {
        let (_, hash) = self.written().ok_or_else(broken)?;
        Ok(hash.clone().finalize().into())
    }

    /// Lets blocking work read the file, which must be complete, from its start, off the event loop.
    pub async fn with_reader<T: Send + 'static>(
        &self,
        work: impl FnOnce(Reader) -> T + Send + 'static,
    ) -> Result<T, BlobError> {
        let (writer, _) = self.written().ok_or_else(broken)?;
        let reader = writer.reader()?;
        off_loop(move || Ok(work(reader))).await
    }

    /// Puts the bytes on stable storage.
    pub(super) async fn sync(mut self) -> Result<Synced, BlobError> {
        let (writer, _) = self.take_written().await?;
        off_loop(move || writer.finish()).await?;
        let object_path = object_store::path::Path::from(format!("{DIRECTORY}/{}", self.name));
        Ok(Synced { spool: self, object_path })
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // The file may be large and the drop may happen on the event loop: closing and unlinking go elsewhere, unless no runtime is left.
        let state = std::mem::replace(&mut self.state, State::Broken);
        let Some(path) = self.path.take() else { return };
        let remove = move || {
            drop(state);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(%error, "a spooled file could not be removed; the next start will");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// A spooled file that is on stable storage and waits for its name.
pub(super) struct Synced {
    spool: SpoolFile,
    object_path: object_store::path::Path,
}

impl Synced {
    pub(super) fn object_path(&self) -> &object_store::path::Path {
        &self.object_path
    }

    /// It has a name of its own now: nothing is left to remove.
    pub(super) fn renamed(mut self) {
        self.spool.path = None;
    }
}

fn broken() -> BlobError {
    BlobError::Io("a write of this spooled file failed, was abandoned or is not complete".into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_that_fails_is_told_by_the_next_call_and_by_all_after_it() {
        // A disk without room. No path: it is not for us to remove.
        let writer = Writer::create(Path::new("/dev/full")).unwrap();
        let state = State::Written(Box::new((writer, Sha256::new())));
        let mut spool = SpoolFile { name: String::new(), path: None, state, length: 0 };
        spool.write(vec![Bytes::from(vec![7; 8192])]).await.unwrap();
        assert!(spool.complete().await.is_err());
        assert!(spool.complete().await.is_err());
        assert!(spool.write(Vec::new()).await.is_err());
        assert!(spool.with_reader(|_| ()).await.is_err());
    }
}
