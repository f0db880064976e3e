//! What this server can do, as data.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{duration, schema};
use crate::pipeline::{ANALYSES, Format, Limits, ops};

/// Answer of `GET /v1/capabilities`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capabilities {
    /// Formats that are read.
    pub inputs: Vec<FormatView>,
    /// Formats that are written.
    pub outputs: Vec<FormatView>,
    /// Operations in the order in which they are listed to people.
    pub operations: Vec<OperationView>,
    /// JSON Schema of an output's options.
    pub output_options: Value,
    /// Items of `analyze` in the order in which they are listed to people.
    pub analyses: Vec<AnalysisView>,
    /// Names for `preset`.
    pub presets: Vec<String>,
    /// Names of the assets that every job's `overlay` may use.
    pub assets: Vec<String>,
    /// Names of the fonts that `text` writes in.
    pub fonts: Vec<String>,
    /// Names for an output's `destination`.
    #[serde(default)]
    pub destinations: Vec<String>,
    /// What a request and an image may cost.
    pub limits: LimitsView,
}

/// A format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FormatView {
    /// Name in specifications.
    pub name: String,
    /// Media type.
    pub media_type: String,
    /// Usual file extension, without the dot.
    pub extension: String,
    /// What an output of format `same` becomes, for a format that is only read: the first where no pixel can be transparent, else the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same: Vec<String>,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperationView {
    /// The word in `"op"`.
    pub name: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of its object.
    pub schema: Value,
}

/// An item of `analyze`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnalysisView {
    /// The word in `analyze`.
    pub name: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of the answer.
    pub schema: Value,
}

/// Limits of requests and images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsView {
    /// Most bytes of a request's body.
    pub body_bytes_max: u64,
    /// Most pixels of a source.
    pub pixels_max: u64,
    /// Most pixels a side.
    pub side_max: u32,
    /// Most frames of a source.
    pub frames_max: u32,
    /// Most pixels of all frames together where an animation is kept.
    pub frame_pixels_max: u64,
    /// Most outputs of a job.
    pub outputs_max: usize,
    /// Most operations of a job.
    pub operations_max: usize,
    /// Most images that a job's operations may name.
    pub assets_max: usize,
    /// Most bytes of such an image.
    pub asset_bytes_max: u64,
    /// Time of an attempt when none is given.
    pub timeout: String,
}

/// The settings among the capabilities.
#[derive(Clone, Debug)]
pub struct Settings {
    /// See [`LimitsView::body_bytes_max`].
    pub body_bytes_max: u64,
    /// See [`LimitsView::outputs_max`].
    pub outputs_max: usize,
    /// See [`LimitsView::operations_max`].
    pub operations_max: usize,
    /// See [`LimitsView::timeout`].
    pub timeout: Duration,
    /// See [`LimitsView::assets_max`].
    pub assets_max: usize,
    /// See [`LimitsView::asset_bytes_max`].
    pub asset_bytes_max: u64,
    /// Names of the assets.
    pub assets: Vec<String>,
    /// Names of the fonts.
    pub fonts: Vec<String>,
    /// Names of the destinations.
    pub destinations: Vec<String>,
    /// Names of the presets.
    pub presets: Vec<String>,
    /// Limits of images.
    pub image: Limits,
}

impl Capabilities {
    /// The capabilities under these settings.
    pub fn new(settings: Settings) -> Capabilities {
        let formats = |formats: &[Format]| formats.iter().copied().map(FormatView::new).collect();
        let operations = ops::REGISTRY.iter().map(|registration| OperationView {
            name: registration.name.to_owned(),
            summary: registration.summary.to_owned(),
            schema: registration.schema(),
        });
        let analyses = ANALYSES.iter().map(|item| AnalysisView {
            name: item.name.to_owned(),
            summary: item.summary.to_owned(),
            schema: (item.schema)(),
        });
        Capabilities {
            inputs: formats(&Format::ALL),
            outputs: formats(&Format::WRITTEN),
            operations: operations.collect(),
            output_options: schema::output(),
            analyses: analyses.collect(),
            presets: settings.presets,
            assets: settings.assets,
            fonts: settings.fonts,
            destinations: settings.destinations,
            limits: LimitsView {
                body_bytes_max: settings.body_bytes_max,
                pixels_max: settings.image.pixels_max,
                side_max: settings.image.side_max,
                frames_max: settings.image.frames_max,
                frame_pixels_max: settings.image.frame_pixels_max,
                outputs_max: settings.outputs_max,
                operations_max: settings.operations_max,
                assets_max: settings.assets_max,
                asset_bytes_max: settings.asset_bytes_max,
                timeout: duration::spell(settings.timeout),
            },
        }
    }
}

impl FormatView {
    fn new(format: Format) -> FormatView {
        let mut same = Vec::new();
        if !format.is_written() {
            same.extend([false, true].map(|alpha| format.same(alpha).name().to_owned()));
            same.dedup();
        }
        FormatView {
            same,
            name: format.name().to_owned(),
            media_type: format.media_type().to_owned(),
            extension: format.extension().to_owned(),
        }
    }
}
