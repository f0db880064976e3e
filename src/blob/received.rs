//! An image on its way in: small ones stay in memory, larger ones go to a spool file part by part.
//!
//! Owns what is gathered between two writes. Called by `server` for uploads and by `worker` for what it fetches.

use bytes::Bytes;

use super::part::Part;
use super::spool::SpoolFile;
use super::{BlobError, Blobs, INLINE_BYTES_MAX};

/// An image that has arrived.
#[derive(Debug)]
pub enum Received {
    /// At most [`INLINE_BYTES_MAX`]: it will live in the job's own row.
    Inline(Bytes),
    /// In a file that is removed unless it becomes a blob.
    Spooled(SpoolFile),
}

/// An image that is arriving.
#[derive(Debug)]
pub struct Receiving {
    blobs: Blobs,
    /// What is not written yet. Copied out of the connection's buffer, which is the same for the next bytes then, and still in the cache.
    part: Part,
    spool: Option<SpoolFile>,
}

impl Receiving {
    /// Nothing yet.
    pub fn new(blobs: &Blobs) -> Receiving {
        Receiving { blobs: blobs.clone(), part: Part::default(), spool: None }
    }

    /// Whether nothing has arrived.
    pub fn is_empty(&self) -> bool {
        self.part.is_empty() && self.spool.is_none()
    }

    /// Takes the next bytes and gathers up to `share` before they are written, but all that may stay in memory. Waits for the disk when that much
    /// is held while the part before is still being written, and with it the sender has to wait.
    pub async fn push(&mut self, bytes: &[u8], share: usize) -> Result<(), BlobError> {
        let share = share.max(INLINE_BYTES_MAX);
        let length = self.part.len() + bytes.len();
        if length > share && !self.part.is_empty() {
            self.spool.get_or_insert_with(|| self.blobs.spool()).write(&mut self.part).await?;
            // The share was larger when this memory was new.
            self.part.shrink_to(share);
        }
        let room = if self.spool.is_none() && length <= INLINE_BYTES_MAX { length } else { share };
        self.part.extend(bytes, room);
        Ok(())
    }

    /// The image is complete.
    pub async fn finish(self) -> Result<Received, BlobError> {
        if self.spool.is_none() && self.part.len() <= INLINE_BYTES_MAX {
            return Ok(Received::Inline(self.part.into_bytes()));
        }
        let mut spool = self.spool.unwrap_or_else(|| self.blobs.spool());
        spool.complete(self.part).await?;
        Ok(Received::Spooled(spool))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// What becomes of the pieces, by one share for the first half of them and another for the second; and the memory held in the end.
    async fn received(blobs: &Blobs, pieces: &[&[u8]], shares: [usize; 2]) -> (Received, usize) {
        let mut receiving = Receiving::new(blobs);
        let mut held = 0;
        for (number, piece) in pieces.iter().enumerate() {
            receiving.push(piece, shares[number * 2 / pieces.len()]).await.unwrap();
            held = receiving.part.room();
        }
        (receiving.finish().await.unwrap(), held)
    }

    #[tokio::test]
    async fn small_images_stay_in_memory_of_their_size_and_others_come_back_whole() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        assert!(Receiving::new(&blobs).is_empty());
        let all: Vec<u8> = (0..3_000_000_u32).map(|at| (at.wrapping_mul(at) >> 11) as u8).collect();
        for (length, share) in [(1000, 1 << 20), (INLINE_BYTES_MAX, 1 << 20), (INLINE_BYTES_MAX, 1)] {
            let (found, held) = received(&blobs, &[&all[..length]], [share; 2]).await;
            assert!(matches!(found, Received::Inline(bytes) if bytes == all[..length]), "{length}");
            assert!(held < length + 10_000, "{held} bytes for {length}");
        }
        let pieces: Vec<&[u8]> = all.chunks(70_001).collect();
        // Many uploads come while this one is under way: its memory is given back.
        for shares in [[1 << 20, 1 << 20], [1 << 20, 1 << 16], [1, 1 << 20], [1, 1]] {
            let (found, held) = received(&blobs, &pieces, shares).await;
            let Received::Spooled(spool) = found else { panic!("3 MB in memory") };
            let mut seen = Vec::new();
            let seen = spool.with_reader(move |mut reader| reader.read_to_end(&mut seen).map(|_| seen)).await;
            assert!(seen.unwrap().unwrap() == all, "{shares:?}");
            assert!(held < shares[1].max(INLINE_BYTES_MAX) + 80_000, "{held} bytes are held by {shares:?}");
        }
    }
}
