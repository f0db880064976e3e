//! Received images looked at, off the event loop: their headers, their digests, and the plan of what will be done.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::super::error::{ApiError, Code};
use super::super::state::State;
use super::inputs;
use crate::blob::{BlobError, Received, SpoolReader};
use crate::job::{AssetInfo, JobSpec, SourceInfo};
use crate::pipeline::{self, Asset, Assets, Header, Input, Limits, Plan};
use crate::queue::{LookError, Turn};

/// An image that can be worked on.
pub(super) struct Inspected {
    pub(super) received: Received,
    pub(super) assets: Vec<InspectedAsset>,
    pub(super) spec: JobSpec,
    pub(super) source: SourceInfo,
    pub(super) sha256: [u8; 32],
    pub(super) plan: Plan,
    /// The plan's, and that of the images as they were sent.
    pub(super) memory_bytes: u64,
}

/// An image that an operation can use.
pub(super) struct InspectedAsset {
    pub(super) info: AssetInfo,
    pub(super) sha256: [u8; 32],
    pub(super) received: Received,
}

/// What the blocking part found out.
type Found = Result<(Header, Plan), LookError>;

/// Probes and plans. What can't be worked on is refused here, before anything is stored.
pub(super) async fn inspect(
    state: &Arc<State>,
    received: Received,
    parts: Vec<(String, Received)>,
    spec: JobSpec,
) -> Result<Inspected, ApiError> {
    let limits = state.services.image_limits;
    let (assets, inputs) = look_at_assets(state, parts, &spec).await?;
    let turn = state.services.queue.turn_to_look().await;
    let (received, spec, sha256, bytes, found) = match received {
        Received::Inline(image) => {
            let work = move || {
                let sha256: [u8; 32] = Sha256::digest(&image).into();
                let reader = SpoolReader::of_bytes(image.clone());
                let found = look(&turn, reader, &spec, &inputs, &limits);
                (image, spec, sha256, found)
            };
            let (image, spec, sha256, found) = tokio::task::spawn_blocking(work).await.map_err(crashed)?;
            let bytes = image.len() as u64;
            (Received::Inline(image), spec, sha256, bytes, found)
        }
        Received::Spooled(spool) => {
            let work = move |reader| {
                let found = look(&turn, reader, &spec, &inputs, &limits);
                (spec, found)
            };
            let (spec, found) = spool.with_reader(work).await.map_err(not_looked_at)?;
            let (sha256, bytes) = (spool.digest()?, spool.len());
            (Received::Spooled(spool), spec, sha256, bytes, found)
        }
    };
    let (header, plan) = found?;
    let inline = matches!(received, Received::Inline(_));
    let source = SourceInfo::new(&header, bytes, sha256, inline);
    let asset_bytes = assets.iter().map(|asset| asset.info.bytes).sum();
    let memory_bytes = limits.memory_of_job(plan.memory_bytes, bytes, asset_bytes)?;
    Ok(Inspected { received, assets, spec, source, sha256, plan, memory_bytes })
}

/// Probes what came for the operations: the images as they will be stored, and all that a plan may use.
async fn look_at_assets(
    state: &State,
    parts: Vec<(String, Received)>,
    spec: &JobSpec,
) -> Result<(Vec<InspectedAsset>, Assets), ApiError> {
    let limits = state.services.image_limits;
    let mut inputs = Assets::clone(&state.services.assets);
    let mut assets = Vec::with_capacity(parts.len());
    for (name, received) in parts {
        let turn = state.services.queue.turn_to_look().await;
        let (header, received, bytes, sha256) = match received {
            Received::Inline(image) => {
                let work = move || {
                    let sha256: [u8; 32] = Sha256::digest(&image).into();
                    (turn.look(SpoolReader::of_bytes(image.clone()), &limits), image, sha256)
                };
                let (header, image, sha256) = tokio::task::spawn_blocking(work).await.map_err(crashed)?;
                let bytes = image.len() as u64;
                (header, Received::Inline(image), bytes, sha256)
            }
            Received::Spooled(spool) => {
                let work = move |reader| turn.look(reader, &limits);
                let header = spool.with_reader(work).await.map_err(not_looked_at)?;
                let (bytes, sha256) = (spool.len(), spool.digest()?);
                (header, Received::Spooled(spool), bytes, sha256)
            }
        };
        let header = header.map_err(|error| match error {
            LookError::Unavailable(_) => ApiError::from(error),
            _ => inputs::unusable(spec, &name, &error.to_string()),
        })?;
        let inline = matches!(received, Received::Inline(_));
        let info = AssetInfo::new(name.clone(), &header, bytes, sha256, inline);
        inputs.insert(Input::Named(name), Asset::planned(header));
        assets.push(InspectedAsset { info, sha256, received });
    }
    Ok((assets, inputs))
}

fn not_looked_at(error: BlobError) -> ApiError {
    match error {
        BlobError::Io(cause) if cause.is::<tokio::task::JoinError>() => crashed(cause),
        other => other.into(),
    }
}

fn look(turn: &Turn, reader: SpoolReader, spec: &JobSpec, inputs: &Assets, limits: &Limits) -> Found {
    let header = turn.look(reader, limits)?;
    let plan = pipeline::plan(&header, &spec.pipeline, inputs, limits)?;
    Ok((header, plan))
}

/// The header made the reader panic: the image is at fault as far as anybody can tell.
fn crashed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ApiError {
    let cause = cause.into();
    tracing::error!(cause = %cause, "looking at an image's header panicked");
    ApiError::new(Code::CorruptImage, "The image's header can't be read.").because(cause)
}
