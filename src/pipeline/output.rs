//! What is asked of one output, and what comes out.

use serde::{Deserialize, Serialize};

use super::Format;

/// Format asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// The source's own format.
    Same,
    /// This one.
    #[serde(untagged)]
    Fixed(Format),
}

/// One output of a job: operations of its own, then an encoder. Already valid; reading JSON is [`OutputSpec::read`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// `[a-z0-9][a-z0-9_-]{0,63}`, unique in the job.
    pub name: String,
    /// Run after the job's common operations, in order.
    pub operations: Vec<super::ops::Operation>,
    /// Target format.
    pub format: OutputFormat,
    /// 1..100 for lossy formats; `None` takes the format's default.
    pub quality: Option<u8>,
    /// Lossless coding where the format has both (WebP).
    pub lossless: bool,
    /// Colour under transparent pixels where the format has no alpha, as RGBA.
    pub background: [u8; 4],
    /// File name offered to who downloads it.
    pub filename: Option<String>,
}

/// A finished output.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Name from the spec.
    pub name: String,
    /// Format of `bytes`.
    pub format: Format,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Quality used, for lossy formats.
    pub quality: Option<u8>,
    /// The file.
    pub bytes: Vec<u8>,
}
