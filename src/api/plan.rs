//! What a dry run answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::view::{SourceView, WarningView};
use crate::job::{JobSpec, SourceInfo, Warning};
use crate::pipeline::{OutputFormat, Plan};

/// What a job would do; nothing is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanView {
    /// The image; null for a source that would be fetched.
    pub source: Option<SourceView>,
    /// Size at which the source would be decoded, before orientation; null for a source that would be fetched, and where no pixels are needed.
    pub decode: Option<SizeView>,
    /// The results, in the order of the specification.
    pub outputs: Vec<PlannedOutputView>,
    /// Estimated peak memory in bytes; null for a source that would be fetched.
    pub memory_bytes: Option<u64>,
    /// What will differ from what one may have expected.
    pub warnings: Vec<WarningView>,
}

/// A size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SizeView {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// A result as it would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedOutputView {
    /// Name from the specification.
    pub name: String,
    /// Format; null when it is the source's and the source would be fetched. Of `auto` the likely one: the finished pixels decide.
    pub format: Option<String>,
    /// Pixels; null for a source that would be fetched.
    pub width: Option<u32>,
    /// Pixels; null for a source that would be fetched.
    pub height: Option<u32>,
}

impl PlanView {
    /// The plan for an image that is there.
    pub fn of_image(source: &SourceInfo, plan: Plan) -> PlanView {
        let outputs = plan.outputs.into_iter().map(|output| PlannedOutputView {
            name: output.name,
            format: Some(output.format.name().to_owned()),
            width: Some(output.width),
            height: Some(output.height),
        });
        PlanView {
            source: SourceView::new(source),
            decode: (plan.frames > 0)
                .then_some(SizeView { width: plan.decode_width, height: plan.decode_height }),
            outputs: outputs.collect(),
            memory_bytes: Some(plan.memory_bytes),
            warnings: plan
                .warnings
                .into_iter()
                .map(|warning| WarningView::from(Warning::from(warning)))
                .collect(),
        }
    }

    /// What is known before the source is fetched.
    pub fn of_spec(spec: &JobSpec) -> PlanView {
        let outputs = spec.pipeline.outputs.iter().map(|output| PlannedOutputView {
            name: output.name.clone(),
            format: match output.format {
                OutputFormat::Same | OutputFormat::Auto => None,
                OutputFormat::Fixed(format) => Some(format.name().to_owned()),
            },
            width: None,
            height: None,
        });
        PlanView {
            source: None,
            decode: None,
            outputs: outputs.collect(),
            memory_bytes: None,
            warnings: Vec::new(),
        }
    }
}
