//! The image pipeline: bytes and parameters in, bytes out.
//!
//! Owns decoding, the operations, encoding and the planning that decides scale and memory before any pixel is touched. It is pure: no
//! tokio, no files, no network, no clock; a [`Control`] handed in answers "go on?" and is told which stage runs, and the caller keeps
//! the time. Called by `worker` (to run), `server` (to probe and plan at submit) and `api` (to read operations and output options).

mod analyze;
mod attention;
mod color_names;
mod decode;
mod derive;
mod encode;
mod gaussian;
mod geometry;
mod gif_blocks;
mod gravity;
mod holding;
mod ifd;

mod layer;
mod length;
mod make;
mod markup;
mod memory;
mod metadata;
mod profile;

mod patch;
mod pointwise;
mod region;
mod resample;
mod riff;
mod run;
mod typeset;

pub mod assets;
pub mod color;
pub mod control;
pub mod error;
pub mod fonts;
pub mod format;
pub mod image;
pub mod limits;
pub mod ops;
pub mod orient;
pub mod output;
pub mod params;
pub mod plan;
pub mod probe;

use serde::{Deserialize, Serialize};

pub use analyze::{ANALYSES, Analysis, AnalysisRegistration};
pub use assets::{Asset, Assets, Bench, Input};
pub use control::{Control, Interrupt, Stage, Unattended};
pub use decode::baseline;
pub use error::{Code, Error};
pub use fonts::Fonts;
pub use format::Format;
pub use geometry::Fit;
pub use gravity::Gravity;
pub use image::Size;
pub use length::{AspectRatio, Length};
pub use limits::Limits;
pub use ops::{Operation, REGISTRY, Registration, registration};
pub use output::{
    ChromaSubsampling, ColorProfile, Encoded, FrameChoice, KeepMetadata, OUTPUT_PARAMS, OutputFormat,
    OutputSpec,
};
pub use params::{Kind, Param, Problem};
pub use plan::{Header, Plan, PlannedOutput, Warning, plan};
pub use probe::{Sniffed, probe, sniff};
pub use region::Region;
pub use resample::Kernel;
pub use run::{Made, run};

/// Everything that is to be done to one source; already valid. Its JSON is the stored form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Whether the EXIF orientation is applied at decode.
    #[serde(default = "yes")]
    pub auto_orient: bool,
    /// Run once, before every output's own operations.
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// What is to be made.
    #[serde(default)]
    pub outputs: Vec<OutputSpec>,
    /// What is to be told of the source; with this, there may be no outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub analyze: Vec<Analysis>,
}

impl Default for Pipeline {
    fn default() -> Pipeline {
        Pipeline { auto_orient: true, operations: Vec::new(), outputs: Vec::new(), analyze: Vec::new() }
    }
}

impl Pipeline {
    /// The images that its operations name, each with the JSON Pointer of the parameter.
    pub fn inputs(&self) -> impl Iterator<Item = (String, &Input)> {
        let common = self.operations.iter().enumerate();
        let common = common.map(|(index, operation)| (format!("/operations/{index}/input"), operation));
        let own = self.outputs.iter().enumerate().flat_map(|(output, spec)| {
            let pointer = move |index| format!("/outputs/{output}/operations/{index}/input");
            spec.operations.iter().enumerate().map(move |(index, operation)| (pointer(index), operation))
        });
        common.chain(own).filter_map(|(pointer, operation)| Some((pointer, operation.op().input()?)))
    }
}

const fn yes() -> bool {
    true
}
