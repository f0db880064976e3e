//! Bodies on their way in: written and hashed part by part off the event loop, while the next part arrives, then kept as a blob or dropped.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::direct::{Reader, Writer};
use super::part::Part;
use super::{BlobError, joined, off_loop};

/// Directory under the blobs' root, emptied at every start.
pub(super) const DIRECTORY: &str = "spool";

/// A private temporary file that hashes what is written to it. Removed when dropped, unless it was kept.
#[derive(Debug)]
pub struct SpoolFile {
    state: State,
    length: u64,
}

/// What was written, and memory for a part that is to come.
#[derive(Debug)]
struct Written {
    writer: Writer,
    hash: Sha256,
    spare: Part,
}

impl Written {
    fn of(writer: Writer) -> Box<Written> {
        Box::new(Written { writer, hash: Sha256::new(), spare: Part::default() })
    }
}

#[derive(Debug)]
enum State {
    Written(Box<Written>),
    /// A part is being written.
    Writing(JoinHandle<io::Result<Box<Written>>>),
    /// A write has failed, or nobody waited for its end.
    Broken,
}

impl SpoolFile {
    /// An empty one, whose file is made by the first write.
    pub(super) fn new(root: &Path) -> SpoolFile {
        let name = uuid::Uuid::new_v4().as_simple().to_string();
        let writer = Writer::new(root.join(DIRECTORY).join(name));
        SpoolFile { state: State::Written(Written::of(writer)), length: 0 }
    }

    /// Appends the whole blocks of `part`, in which only what comes after them is left: waits for the part before to be written, and leaves this
    /// one to be written off the event loop, so that the next can arrive meanwhile. What goes wrong is told by the next call; after an
    /// error the file is of no use.
    pub async fn write(&mut self, part: &mut Part) -> Result<(), BlobError> {
        let mut written = self.take_written().await?;
        let mut full = std::mem::replace(part, std::mem::take(&mut written.spare));
        let (blocks, rest) = full.blocks();
        part.extend(rest, 0);
        self.length += blocks.len() as u64;
        self.state = State::Writing(tokio::task::spawn_blocking(move || {
            update(&mut written.hash, full.blocks().0);
            written.writer.write(&full)?;
            full.clear();
            written.spare = full;
            Ok(written)
        }));
        Ok(())
    }

    /// Appends the last part, whatever its length, and waits until everything is written.
    pub async fn complete(&mut self, part: Part) -> Result<(), BlobError> {
        let mut written = self.take_written().await?;
        self.length += part.len() as u64;
        self.state = State::Writing(tokio::task::spawn_blocking(move || {
            written.spare = Part::default();
            update(&mut written.hash, part.bytes());
            written.writer.end(&part)?;
            Ok(written)
        }));
        self.state = State::Written(self.take_written().await?);
        Ok(())
    }

    /// Whoever stops waiting for this leaves the state as it is, and what to do with it to [`Drop`].
    async fn take_written(&mut self) -> Result<Box<Written>, BlobError> {
        let ended = match &mut self.state {
            State::Writing(task) => Some(task.await),
            State::Written(_) | State::Broken => None,
        };
        match (ended, std::mem::replace(&mut self.state, State::Broken)) {
            (Some(ended), _) => joined(ended),
            (None, State::Written(written)) => Ok(written),
            (None, _) => Err(broken()),
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
        let written = self.written().ok_or_else(broken)?;
        Ok(written.hash.clone().finalize().into())
    }

    /// Lets blocking work read the file, which must be complete, from its start, off the event loop.
    pub async fn with_reader<T: Send + 'static>(
        &self,
        work: impl FnOnce(Reader) -> T + Send + 'static,
    ) -> Result<T, BlobError> {
        let reader = self.written().ok_or_else(broken)?.writer.reader()?;
        off_loop(move || Ok(work(reader))).await
    }

    /// Puts the file, which must be complete, on stable storage, and removes it.
    pub(super) async fn try_out(mut self) -> Result<(), BlobError> {
        let mut written = self.take_written().await?;
        off_loop(move || written.writer.finish()).await
    }

    /// Puts the file, which must be complete, on stable storage under another name; not if nobody waits for it any more.
    pub(super) async fn keep(mut self, path: PathBuf) -> Result<(), BlobError> {
        let written = self.take_written().await?;
        let waits = Arc::new(());
        let waiting = Arc::downgrade(&waits);
        let kept = off_loop(move || written.writer.keep(&path, || waiting.strong_count() > 0)).await;
        drop(waits);
        kept
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // The file may be large and the drop may happen on the event loop: closing and removing go elsewhere, unless no runtime is left. A part
        // whose turn has not come is not written any more; where one is being written, whoever writes it finds that nobody waits, and removes the
        // file.
        let state = std::mem::replace(&mut self.state, State::Broken);
        if let State::Writing(task) = &state {
            task.abort();
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !matches!(state, State::Broken) => {
                drop(runtime.spawn_blocking(move || drop(state)))
            }
            _ => drop(state),
        }
    }
}

/// Hashes bytes that another processor has gathered. While it hashes a piece, the piece some way ahead comes into the cache: hashing has less
/// to do than to wait, and waits a quarter less that way.
fn update(hash: &mut Sha256, bytes: &[u8]) {
    const PIECE: usize = 512;
    const AHEAD: usize = 8;
    const LINE: usize = 64;
    for (index, piece) in bytes.chunks(PIECE).enumerate() {
        let ahead = bytes.chunks(PIECE).nth(index + AHEAD).unwrap_or_default();
        std::hint::black_box(ahead.iter().step_by(LINE).fold(0, |sum, byte| sum ^ byte));
        hash.update(piece);
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
        // No such directory.
        let mut spool = SpoolFile::new(Path::new("/dev/null"));
        let mut part = Part::default();
        part.extend(&[7; 8192], 0);
        spool.write(&mut part).await.unwrap();
        assert!(spool.complete(Part::default()).await.is_err());
        assert!(spool.complete(Part::default()).await.is_err());
        assert!(spool.write(&mut part).await.is_err());
        assert!(spool.with_reader(|_| ()).await.is_err());
    }
}
