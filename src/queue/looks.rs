//! How many images may be looked at at once before their memory is granted: headers read and jobs planned, for uploads, dry runs and
//! fetches alike.
//!
//! A look is short but not free: a drawing is parsed whole. Both who receives and who fetches takes a turn here, so that a crowd of either
//! holds no more memory than a few looks, and leaves threads to others. Where attempts run in processes of their own, this one reads no
//! more of an image than a sniff: what takes a parser is done by a [`Looker`], which `app` hands in.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Queue;
use crate::blob::{Parts, SpoolReader};
use crate::pipeline::{self, Format, Header, Limits, Sniffed};

/// Why a header is not known.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The image is to blame.
    #[error(transparent)]
    Image(#[from] pipeline::Error),
    /// The image made the code that reads it panic.
    #[error("the header of the image made the image code panic")]
    Panicked,
    /// The image took the process down that looked at it, more than once.
    #[error("the process that looked at the image {0}")]
    Died(String),
    /// Nobody could look.
    #[error("the image could not be looked at: {0}")]
    Unavailable(String),
}

/// Who reads headers that take a parser, out of this process.
pub trait Looker: std::fmt::Debug + Send + Sync {
    /// Reads the header of an image that begins as one of `format` does, within a time and a memory of its own. Blocking.
    ///
    /// # Errors
    /// What is wrong with the image, or why it can't be known.
    fn look(&self, image: Parts, format: Format, limits: &Limits) -> Result<Header, LookError>;
}

/// Turns, one a core.
#[derive(Debug)]
pub(super) struct Looks {
    turns: Arc<Semaphore>,
    most: usize,
    looker: Option<Arc<dyn Looker>>,
}

impl Looks {
    pub(super) fn new(looker: Option<Arc<dyn Looker>>) -> Looks {
        let most = std::thread::available_parallelism().map_or(2, usize::from);
        Looks { turns: Arc::new(Semaphore::new(most)), most, looker }
    }

    /// Whether nobody looks at an image.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.available_permits() == self.most
    }

    async fn turn(&self) -> Turn {
        let permit = Arc::clone(&self.turns).acquire_owned().await;
        Turn { _permit: permit.expect("the semaphore is never closed"), looker: self.looker.clone() }
    }
}

/// A turn to look at one image. Keep it in the thread that looks: who waits may go away, the thread stays.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
    looker: Option<Arc<dyn Looker>>,
}

impl Turn {
    /// Reads an image's header: here where a sniff is enough, or where everything is done here. Blocking.
    ///
    /// # Errors
    /// As [`Looker::look`].
    pub fn look(&self, mut image: SpoolReader, limits: &Limits) -> Result<Header, LookError> {
        let Some(looker) = &self.looker else { return Ok(pipeline::probe(image, limits)?) };
        match pipeline::sniff(&mut image, limits)? {
            Sniffed::Header(header) => Ok(header),
            Sniffed::Deeper(format) => {
                let parts = image.into_parts().map_err(|error| LookError::Unavailable(error.to_string()))?;
                looker.look(parts, format, limits)
            }
        }
    }
}

impl Queue {
    /// Waits in line for a turn to look at an image.
    pub async fn turn_to_look(&self) -> Turn {
        self.shared.looks.turn().await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[tokio::test]
    async fn no_more_look_at_once_than_there_are_cores() {
        let looks = Looks::new(None);
        assert!(looks.is_idle());
        let mut turns = Vec::new();
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            turns.push(looks.turn().await);
        }
        assert!(!looks.is_idle());
        let mut one_more = Box::pin(looks.turn());
        assert!(futures_util::poll!(&mut one_more).is_pending());
        turns.pop();
        assert!(futures_util::poll!(&mut one_more).is_ready());
    }
    /// Answers with a header that no image has.
    #[derive(Debug)]
    struct Elsewhere;

    impl Looker for Elsewhere {
        fn look(&self, image: Parts, format: Format, limits: &Limits) -> Result<Header, LookError> {
            assert_eq!(image.tail.len() as u64, SpoolReader::of_parts(image).length());
            let mut header = pipeline::probe(Cursor::new(PIXEL), limits)?;
            (header.format, header.width) = (format, 4711);
            Ok(header)
        }
    }

    const PIXEL: &[u8] = b"qoif\0\0\0\x01\0\0\0\x01\x03\0\xfe\0\0\0\0\0\0\0\0\0\0\x01";

    #[tokio::test]
    async fn what_takes_a_parser_is_read_elsewhere_if_there_is_somebody() {
        let limits = Limits::default();
        let drawing = b"<svg xmlns='http://www.w3.org/2000/svg' width='7' height='9'/>";
        let (here, elsewhere) =
            (Looks::new(None).turn().await, Looks::new(Some(Arc::new(Elsewhere))).turn().await);
        let look = |turn: &Turn, bytes: &'static [u8]| {
            turn.look(SpoolReader::of_bytes(bytes.into()), &limits).map(|header| header.width)
        };
        assert_eq!(look(&here, drawing).unwrap(), 7);
        assert_eq!(look(&elsewhere, drawing).unwrap(), 4711);
        // Not even a broken one is parsed here.
        assert_eq!(look(&elsewhere, b"<svg <<<").unwrap(), 4711);
        assert_eq!(look(&elsewhere, b"\xff\x0a").unwrap(), 4711);
        assert_eq!((look(&here, PIXEL).unwrap(), look(&elsewhere, PIXEL).unwrap()), (1, 1));
        assert!(matches!(look(&elsewhere, b"hello"), Err(LookError::Image(_))));
    }
}
