//! Whether a specification and the images that came for its operations belong together.

use super::super::error::ApiError;
use super::super::state::State;
use crate::api::spec::{Rejected, Verdict};
use crate::blob::Received;
use crate::job::JobSpec;
use crate::pipeline::{Input, Problem};

/// Every name must lead somewhere, and every part must be used. A part of the request goes before an asset of the settings.
pub(super) fn check(state: &State, spec: &JobSpec, parts: &[(String, Received)]) -> Result<(), ApiError> {
    let inputs: Vec<(String, &Input)> = spec.pipeline.inputs().collect();
    let is_part = |name: &str| parts.iter().any(|(part, _)| part == name);
    let mut problems = Vec::new();
    let mut distinct: Vec<&Input> = Vec::new();
    for (pointer, input) in &inputs {
        if let Input::Named(name) = input
            && !is_part(name)
            && state.services.assets.get(input).is_none()
        {
            problems.push(Problem { pointer: pointer.clone(), detail: unknown(state, name, parts) });
        }
        if !distinct.contains(input) {
            distinct.push(input);
            let most = state.config.assets_max;
            if distinct.len() == most + 1 {
                let detail =
                    format!("a job uses at most {most} images beside its source (setting limits.assets)");
                problems.push(Problem { pointer: pointer.clone(), detail });
            }
        }
    }
    for (name, _) in parts {
        if !inputs.iter().any(|(_, input)| matches!(input, Input::Named(used) if used == name)) {
            let detail = format!(
                "has no operation that uses the file part {name:?}; name it as the `input` of an `overlay`"
            );
            problems.push(Problem { pointer: String::new(), detail });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(rejected(problems)) }
}

/// A part that is no image that can be used: told where it is named.
pub(super) fn unusable(spec: &JobSpec, name: &str, detail: &str) -> ApiError {
    let named = spec.pipeline.inputs().find(|(_, input)| matches!(input, Input::Named(used) if used == name));
    let pointer = named.map(|(pointer, _)| pointer).unwrap_or_default();
    rejected(vec![Problem { pointer, detail: format!("the file part {name:?} can't be used: {detail}") }])
}

fn rejected(problems: Vec<Problem>) -> ApiError {
    Rejected { verdict: Verdict::Invalid, problems }.into()
}

fn unknown(state: &State, name: &str, parts: &[(String, Received)]) -> String {
    let mut valid: Vec<&str> = parts.iter().map(|(part, _)| part.as_str()).collect();
    valid.extend(state.services.assets.names());
    if valid.is_empty() {
        return format!(
            "there is no image {name:?}: send it as a file part of this name (multipart/form-data), or give its {{\"url\": …}}"
        );
    }
    crate::pipeline::params::unknown("image", name, &valid)
}
