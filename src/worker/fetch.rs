//! Fetching `source.url` inside a job: streamed to the spool, stored like an upload, and only then looked into, so that an image that takes
//! the process down with its header is known by its job. What operations name by URL comes the same way, and is not stored.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::SourceConfig;
use super::error::{Judge, WorkError, not_seen, source_unreadable};
use super::execute::Source;
use super::rooms::Rooms;
use crate::blob::{BlobKey, Received, Receiving};
use crate::egress::{EgressError, Get};
use crate::job::{Code, Failure, JobId, JobSpec, SourceInfo, SourceSpec};
use crate::pipeline::{self, Assets, Header};
use crate::queue::Turn;

/// Bytes collected before they are written to the spool.
const WRITE_BYTES: usize = 256 * 1024;

/// A fetched source on stable storage, which nobody has looked into yet.
pub(super) struct FetchedSource {
    pub(super) info: SourceInfo,
    pub(super) inline: Option<Bytes>,
}

/// Fetches and stores the source of a job. The caller's deadline cuts it off by dropping this future.
pub(super) async fn fetch(rooms: &Rooms, id: JobId, spec: &JobSpec) -> Result<FetchedSource, WorkError> {
    let SourceSpec::Url { url, headers } = &spec.source else {
        return Err(WorkError::Discard(Failure::new(
            Code::StorageError,
            "the uploaded source is missing",
            false,
        )));
    };
    let headers: Vec<_> = headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect();
    let headers = crate::egress::vet_headers(&headers).map_err(|refused| fetch_failed(&refused.into()))?;
    let url = rooms.egress.vet_url(url).map_err(|refused| fetch_failed(&refused.into()))?;
    let SourceConfig { total_timeout, answer_timeout, bytes_max, .. } = rooms.config.source;
    let get = Get { url, headers, timeout: total_timeout, answer_timeout, bytes_max };
    let body = receive(rooms, get).await?;
    store(rooms, id, body).await
}

/// Fetches: small bodies into memory, others into the spool.
pub(super) async fn receive(rooms: &Rooms, get: Get) -> Result<Received, WorkError> {
    let mut fetched = rooms.egress.get(get).await.map_err(|error| fetch_failed(&error))?;
    let mut receiving = Receiving::new(&rooms.blobs);
    while let Some(chunk) = fetched.chunk().await.map_err(|error| fetch_failed(&error))? {
        rooms.metrics.received_bytes.inc_by(chunk.len() as u64);
        receiving.push(&chunk, WRITE_BYTES).await.retry()?;
    }
    receiving.finish().await.retry()
}

/// Looks into a stored source: its header, and the memory that an attempt on it needs beside `asset_bytes` of other images.
pub(super) async fn look(
    rooms: &Rooms,
    source: &Source,
    spec: &Arc<JobSpec>,
    assets: Assets,
    asset_bytes: u64,
) -> Result<(Header, u64), WorkError> {
    let limits = rooms.config.limits;
    let (source, spec) = (source.clone(), Arc::clone(spec));
    let work = move |turn: Turn| {
        let reader = source.reader()?;
        let length = reader.length();
        let header = turn.look(reader, &limits);
        Ok(header.and_then(|header| {
            let plan = pipeline::plan(&header, &spec.pipeline, &assets, &limits)?;
            let memory = limits.memory_of_job(plan.memory_bytes, length, asset_bytes)?;
            Ok((header, memory))
        }))
    };
    let looked = rooms.look(work).await?;
    let looked = looked.map_err(|error: std::io::Error| source_unreadable(error.into()))?;
    looked.map_err(not_seen)
}

async fn store(rooms: &Rooms, id: JobId, body: Received) -> Result<FetchedSource, WorkError> {
    Ok(match body {
        Received::Inline(bytes) => {
            let info = SourceInfo::unread(bytes.len() as u64, Sha256::digest(&bytes).into(), true);
            FetchedSource { info, inline: Some(bytes) }
        }
        Received::Spooled(file) => {
            let info = SourceInfo::unread(file.len(), file.digest().retry()?, false);
            rooms.blobs.put_spool(&BlobKey::Source(id), file).await.retry()?;
            FetchedSource { info, inline: None }
        }
    })
}

/// An egress error in the words of the contract; messages carry no internal addresses.
pub(super) fn fetch_failed(error: &EgressError) -> WorkError {
    let code = match error {
        EgressError::Forbidden(_) => Code::SourceForbidden,
        EgressError::Resolve { .. } | EgressError::Status(404 | 410, _) => Code::SourceNotFound,
        EgressError::Timeout { .. } => Code::SourceTimeout,
        EgressError::TooLarge { .. } => Code::ImageTooLarge,
        EgressError::Connect { .. }
        | EgressError::Tls { .. }
        | EgressError::Status(..)
        | EgressError::TooManyRedirects { .. }
        | EgressError::Interrupted(_)
        | EgressError::Protocol(_)
        | EgressError::Setup(_) => Code::SourceHttpError,
    };
    let is_transient = error.is_transient();
    let failure = Failure::new(code, error.to_string(), is_transient);
    if is_transient { WorkError::Retry(failure) } else { WorkError::Discard(failure) }
}
