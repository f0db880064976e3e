//! The record of a job.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AttemptRecord, Failure, JobId, JobSpec, KeyId, Status, Suspicion, WebhookState};
use crate::clock::Timestamp;
use crate::pipeline::Format;

/// What a record takes in memory beside its specification, about: with sixteen attempts and twenty outputs it is more, mostly less.
const RECORD_BYTES: usize = 2048;

/// Milliseconds spent in each part of the last attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// From being due to being claimed.
    pub queued: u64,
    /// Fetching `source.url`.
    pub fetch: u64,
    /// Decoding.
    pub decode: u64,
    /// All operations.
    pub operations: u64,
    /// All encoders.
    pub encode: u64,
    /// Storing the outputs.
    pub store: u64,
}

/// What is known of a stored source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// What its header says; `None` from the moment when it was fetched and stored until somebody has looked into it, which may be the
    /// end of a process.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageInfo>,
    /// Size in bytes.
    pub bytes: u64,
    /// Lower-case hex SHA-256 of the bytes.
    pub sha256: String,
    /// Whether the bytes live in the store's own transaction rather than among the blobs.
    pub inline: bool,
}

/// What an image's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// Format by content.
    pub format: Format,
    /// Stored width in pixels, before orientation.
    pub width: u32,
    /// Stored height in pixels, before orientation.
    pub height: u32,
    /// Frames; 1 for a still image.
    pub frames: u32,
}

impl SourceInfo {
    /// What is known once the header was read and the bytes were counted and hashed.
    pub fn new(header: &crate::pipeline::Header, bytes: u64, sha256: [u8; 32], inline: bool) -> SourceInfo {
        SourceInfo { image: Some(header.into()), ..SourceInfo::unread(bytes, sha256, inline) }
    }

    /// What is known of bytes that were counted and hashed, and not looked into.
    pub fn unread(bytes: u64, sha256: [u8; 32], inline: bool) -> SourceInfo {
        SourceInfo { image: None, bytes, sha256: super::hex(&sha256), inline }
    }
}

impl From<&crate::pipeline::Header> for ImageInfo {
    fn from(header: &crate::pipeline::Header) -> ImageInfo {
        ImageInfo { format: header.format, width: header.width, height: header.height, frames: header.frames }
    }
}

/// An image that came with the request for `overlay` to lay on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetInfo {
    /// Name of its part; what operations call it.
    pub name: String,
    /// Format by content.
    pub format: Format,
    /// Stored width in pixels, before orientation.
    pub width: u32,
    /// Stored height in pixels, before orientation.
    pub height: u32,
    /// Size in bytes.
    pub bytes: u64,
    /// Lower-case hex SHA-256 of the bytes.
    pub sha256: String,
    /// Whether the bytes live in the store's own transaction rather than among the blobs.
    pub inline: bool,
}

impl AssetInfo {
    /// What is known once the header was read and the bytes were counted and hashed.
    pub fn new(
        name: String,
        header: &crate::pipeline::Header,
        bytes: u64,
        sha256: [u8; 32],
        inline: bool,
    ) -> AssetInfo {
        AssetInfo {
            name,
            format: header.format,
            width: header.width,
            height: header.height,
            bytes,
            sha256: super::hex(&sha256),
            inline,
        }
    }
}

/// A stored result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Name from the spec.
    pub name: String,
    /// Format of the bytes.
    pub format: Format,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Size in bytes.
    pub bytes: u64,
    /// Lower-case hex SHA-256 of the bytes.
    pub sha256: String,
    /// Quality used, for lossy formats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// File name offered to who downloads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Attempt that made it: part of its key among the blobs.
    pub attempt: u32,
    /// Whether the bytes live in the store's own transaction rather than among the blobs.
    pub inline: bool,
    /// Where it was delivered to beside being kept, as a URL of the destination's own kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// Something a person may want to know although the job succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Stable snake_case code.
    pub code: String,
    /// Sentence for people.
    pub detail: String,
    /// Output concerned, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

impl From<crate::pipeline::Warning> for Warning {
    fn from(warning: crate::pipeline::Warning) -> Warning {
        Warning { code: warning.code.to_owned(), detail: warning.detail, output: warning.output }
    }
}

/// The record of a job: what was asked, where it stands, what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The API key that submitted it; `None`: it came without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<KeyId>,
    /// Grows with every change; see [`super::transition`] for how live progress fits in.
    pub version: u64,
    /// Where it stands.
    pub status: Status,
    /// What was asked; shared, since it never changes but for its erased source headers.
    pub spec: Arc<JobSpec>,
    /// Attempts begun.
    pub attempt: u32,
    /// Attempts among them that don't count: before a manual retry, given back by a drain, ended by the process's death.
    pub forgiven: u32,
    /// Attempts that have ended, oldest first; the latest [`super::history::ATTEMPTS_KEPT_MAX`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptRecord>,
    /// Set while the job may be what took the process down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<Suspicion>,
    /// Stages done over stages planned in the running attempt; 1 once succeeded. Live only, never stored in between.
    pub progress: f32,
    /// Bytes of memory that an attempt is planned to need; 0 while unknown (a source not yet fetched, or not yet looked into).
    pub memory_bytes: u64,
    /// Whether cancelling was asked for while an attempt runs.
    pub cancel_requested: bool,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// Not before this moment: `run_at` of the spec, or the next attempt's time.
    pub run_at: Timestamp,
    /// When the last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it will be removed.
    pub expires_at: Option<Timestamp>,
    /// Of the last attempt.
    pub timings: Timings,
    /// The source, once stored.
    pub source: Option<SourceInfo>,
    /// Images that came with it for its operations; kept as long as the job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<AssetInfo>,
    /// Published results; empty unless succeeded.
    pub outputs: Vec<Output>,
    /// What `analyze` asked for, by item; empty unless succeeded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub analysis: BTreeMap<String, serde_json::Value>,
    /// What differs from what one may have expected.
    pub warnings: Vec<Warning>,
    /// Why it failed, or why the last attempt did.
    pub error: Option<Failure>,
    /// The last webhook delivery, if a webhook was asked for.
    pub webhook: Option<WebhookState>,
    /// `traceparent` of the submit (W3C Trace Context), passed on to the webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_parent: Option<String>,
}

impl Job {
    /// What it takes in memory, about: for bounds on how many are kept there. Costs what writing it as JSON costs.
    pub fn bytes_estimated(&self) -> usize {
        let mut written = Length(0);
        let grown = (&self.analysis, &self.outputs, &self.assets, &self.attempts, &self.warnings);
        // Counting can't fail.
        let _counted = serde_json::to_writer(&mut written, &(&*self.spec, grown));
        RECORD_BYTES + 2 * written.0
    }
}

/// Counts what is written to it.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
