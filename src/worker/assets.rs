//! The images that a job's operations name: parts that are stored with the job, and what is fetched from URLs in every attempt.
//!
//! Finds and fetches them; knows their headers for a plan and hands their bytes to a pool thread. Assets of the settings are in memory
//! already and pass by here.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use bytes::Bytes;

use super::error::{Judge, WorkError, not_seen, source_unreadable};
use super::execute::Source;
use super::fetch::{fetch_failed, receive};
use super::rooms::Rooms;
use crate::blob::{BlobError, BlobKey, Received, SpoolFile, SpoolReader};
use crate::egress::Get;
use crate::job::{AssetInfo, Job};
use crate::pipeline::{Asset, Assets, Input};
use crate::queue::{InlineKey, Turn};

/// One image that is there.
pub(super) struct Given {
    input: Input,
    /// Where the specification names it.
    pointer: String,
    bytes: u64,
    held: Held,
}

/// Where its bytes are.
enum Held {
    Memory(Bytes),
    Blob(PathBuf),
    Spool(SpoolFile),
}

/// Bytes of all of them.
pub(super) fn bytes(given: &[Given]) -> u64 {
    given.iter().map(|one| one.bytes).sum()
}

/// Finds the parts of a job, and fetches what its operations name by URL, each once. The caller's deadline cuts it off by dropping this
/// future.
pub(super) async fn gather(rooms: &Rooms, job: &Job) -> Result<Vec<Given>, WorkError> {
    // Each once, with the first place that names it.
    let mut inputs = BTreeMap::new();
    for (pointer, input) in job.spec.pipeline.inputs() {
        inputs.entry(input).or_insert(pointer);
    }
    let mut given = Vec::with_capacity(inputs.len());
    for (input, pointer) in inputs {
        let (bytes, held) = match input {
            Input::Named(name) => match job.assets.iter().find(|asset| asset.name == *name) {
                Some(asset) => (asset.bytes, stored(rooms, job, asset).await?),
                // Of the settings; the run says so if it is there no more.
                None => continue,
            },
            Input::Url(url) => fetched(rooms, url).await.map_err(|error| error.of_input(&pointer))?,
        };
        given.push(Given { input: input.clone(), pointer, bytes, held });
    }
    Ok(given)
}

async fn stored(rooms: &Rooms, job: &Job, asset: &AssetInfo) -> Result<Held, WorkError> {
    if !asset.inline {
        let key = BlobKey::Asset { job: job.id, name: asset.name.clone() };
        return Ok(Held::Blob(rooms.blobs.local_path(&key)));
    }
    let bytes = rooms.queue.inline_bytes(job.id, InlineKey::Asset(asset.name.clone())).await.retry()?;
    bytes.map(Held::Memory).ok_or_else(|| source_unreadable(BlobError::NotFound))
}

async fn fetched(rooms: &Rooms, url: &str) -> Result<(u64, Held), WorkError> {
    let url = rooms.egress.vet_url(url).map_err(|refused| fetch_failed(&refused.into()))?;
    let source = &rooms.config.source;
    let headers = crate::egress::vet_headers(&[]).map_err(|refused| fetch_failed(&refused.into()))?;
    let get = Get {
        url,
        headers,
        timeout: source.total_timeout,
        answer_timeout: source.answer_timeout,
        bytes_max: source.asset_bytes_max,
    };
    Ok(match receive(rooms, get).await? {
        Received::Inline(bytes) => (bytes.len() as u64, Held::Memory(bytes)),
        Received::Spooled(spool) => (spool.len(), Held::Spool(spool)),
    })
}

/// What a plan may use: the headers of these, and the assets of the settings.
pub(super) async fn look(rooms: &Rooms, given: &[Given]) -> Result<Assets, WorkError> {
    let limits = rooms.config.limits;
    let mut assets = Assets::clone(&rooms.assets);
    for one in given {
        let header = match &one.held {
            Held::Memory(bytes) => {
                let bytes = bytes.clone();
                rooms.look(move |turn| turn.look(SpoolReader::of_bytes(bytes), &limits)).await?
            }
            Held::Blob(path) => {
                let path = path.clone();
                let look =
                    move |turn: Turn| SpoolReader::of_file(&path).map(|reader| turn.look(reader, &limits));
                let opened = rooms.look(look).await?;
                opened.map_err(|error| source_unreadable(error.into()))?
            }
            Held::Spool(spool) => {
                rooms.look_into(spool, move |turn, reader| turn.look(reader, &limits)).await?
            }
        };
        let header = header.map_err(|error| not_seen(error).of_input(&one.pointer))?;
        assets.insert(one.input.clone(), Asset::planned(header));
    }
    Ok(assets)
}

/// Where a pool thread finds them. Reads what was fetched into memory, which must have been granted.
pub(super) async fn load(given: Vec<Given>) -> Result<Vec<(Input, Source)>, WorkError> {
    let mut loaded = Vec::with_capacity(given.len());
    for Given { input, held, .. } in given {
        let source = match held {
            Held::Memory(bytes) => Source::Bytes(bytes),
            Held::Blob(path) => Source::File(path),
            Held::Spool(spool) => {
                let read = |mut reader: SpoolReader| {
                    let mut bytes = Vec::new();
                    reader.read_to_end(&mut bytes).map(|_| Bytes::from(bytes))
                };
                Source::Bytes(spool.with_reader(read).await.retry()?.retry()?)
            }
        };
        loaded.push((input, source));
    }
    Ok(loaded)
}
