//! Judging the presets of the settings as a submit would, so that a mistake shows at start and not in somebody's request.

use super::Config;
use super::jobs::receive::with_rules_of;
use crate::api::spec::check_preset;
use crate::clock::Timestamp;
use crate::egress::Egress;
use crate::pipeline::{Assets, Problem};

/// Every mistake of every preset, one sentence each, naming its place in the settings.
pub fn preset_mistakes(config: &Config, egress: &Egress, assets: &Assets, now: Timestamp) -> Vec<String> {
    with_rules_of(config, &config.presets, egress, assets, now, |rules| {
        let mut mistakes = Vec::new();
        for (name, fields) in &config.presets {
            let problems = check_preset(name, fields, rules);
            let spelled =
                |problem: &Problem| format!("presets.{name}{}: {}", problem.pointer, problem.detail);
            mistakes.extend(problems.iter().map(spelled));
        }
        mistakes
    })
}
