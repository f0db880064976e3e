//! A received image looked at, off the event loop: its header, its digest, and the plan of what will be done to it.

use std::io::Cursor;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::super::error::{ApiError, Code};
use super::super::spool::Received;
use super::super::state::State;
use crate::blob::BlobError;
use crate::job::{JobSpec, SourceInfo};
use crate::pipeline::{self, Assets, Header, Limits, Plan};

/// An image that can be worked on.
pub(super) struct Inspected {
    pub(super) received: Received,
    pub(super) spec: JobSpec,
    pub(super) source: SourceInfo,
    pub(super) sha256: [u8; 32],
    pub(super) plan: Plan,
}

/// What the blocking part found out.
type Found = Result<(Header, Plan), pipeline::Error>;

/// Probes and plans. What can't be worked on is refused here, before anything is stored.
pub(super) async fn inspect(
    state: &Arc<State>,
    received: Received,
    spec: JobSpec,
) -> Result<Inspected, ApiError> {
    let limits = state.services.image_limits;
    let (received, spec, sha256, bytes, found) = match received {
        Received::Inline(image) => {
            let work = move || {
                let sha256: [u8; 32] = Sha256::digest(&image).into();
                let found = look(Cursor::new(&image), &spec, &limits);
                (image, spec, sha256, found)
            };
            let (image, spec, sha256, found) = tokio::task::spawn_blocking(work).await.map_err(crashed)?;
            let bytes = image.len() as u64;
            (Received::Inline(image), spec, sha256, bytes, found)
        }
        Received::Spooled(spool) => {
            let work = move |reader| {
                let found = look(reader, &spec, &limits);
                (spec, found)
            };
            let (spec, found) = spool.with_reader(work).await.map_err(|error| match error {
                BlobError::Io(cause) if cause.is::<tokio::task::JoinError>() => crashed(cause),
                other => other.into(),
            })?;
            let (sha256, bytes) = (spool.digest(), spool.len());
            (Received::Spooled(spool), spec, sha256, bytes, found)
        }
    };
    let (header, plan) = found?;
    let inline = matches!(received, Received::Inline(_));
    let source = SourceInfo::new(&header, bytes, sha256, inline);
    Ok(Inspected { received, spec, source, sha256, plan })
}

fn look<R: std::io::BufRead + std::io::Seek>(reader: R, spec: &JobSpec, limits: &Limits) -> Found {
    let header = pipeline::probe(reader, limits)?;
    let plan = pipeline::plan(&header, &spec.pipeline, &Assets::none(), limits)?;
    Ok((header, plan))
}

/// The header made the reader panic: the image is at fault as far as anybody can tell.
fn crashed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ApiError {
    let cause = cause.into();
    tracing::error!(cause = %cause, "looking at an image's header panicked");
    ApiError::new(Code::CorruptImage, "The image's header can't be read.").because(cause)
}
