//! What a job will do to an image, decided from the header alone: dimensions, decode scale, memory.

use super::{Format, OutputFormat};

/// What the first bytes tell of an image, without decoding a pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Format by content.
    pub format: Format,
    /// Stored width in pixels, before orientation.
    pub width: u32,
    /// Stored height in pixels, before orientation.
    pub height: u32,
    /// Frames; 1 for a still image.
    pub frames: u32,
    /// Bits per channel in the file.
    pub depth: u8,
    /// Whether pixels can be transparent.
    pub alpha: bool,
    /// Channels in the file: 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA or CMYK.
    pub channels: u8,
    /// Whether a colour profile is embedded.
    pub has_icc: bool,
    /// EXIF orientation, 1..8.
    pub orientation: u8,
    /// For JPEG: coded progressively (needs the whole coefficient memory).
    pub progressive: bool,
}

/// Something a person may want to know although the job goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Stable snake_case code (`upscale_refused`, `animation_flattened`, …).
    pub code: &'static str,
    /// Sentence for people.
    pub detail: String,
    /// Output concerned, if it is one.
    pub output: Option<String>,
}

/// One output as it will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedOutput {
    /// Name from the spec.
    pub name: String,
    /// Format asked for; `Same` is resolved.
    pub format: Format,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// The whole plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Size at which the source is decoded, before orientation; smaller than the source when a JPEG is shrunk on load.
    pub decode_width: u32,
    /// See `decode_width`.
    pub decode_height: u32,
    /// Peak memory in bytes: source bytes are not counted, decoder state, pixels, intermediates and encoded outputs are.
    pub memory_bytes: u64,
    /// Stages that [`super::Control::stage`] will be told of.
    pub stages: u32,
    /// The outputs in the spec's order.
    pub outputs: Vec<PlannedOutput>,
    /// What will differ from what one may have expected.
    pub warnings: Vec<Warning>,
}

impl OutputFormat {
    /// The concrete format for a source of this format.
    pub fn resolve(self, source: Format) -> Format {
        match self {
            OutputFormat::Same => source,
            OutputFormat::Fixed(format) => format,
        }
    }
}
