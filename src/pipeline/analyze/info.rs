//! `info`: what the header says.

use serde_json::{Value, json};

use super::{About, Needs, Subject};
use crate::pipeline::Interrupt;

pub(super) const ABOUT: About = About {
    name: "info",
    summary: "Format, dimensions as stored, frames, depth, alpha, profile and orientation.",
    needs: Needs::File,
    schema: || {
        let whole = || json!({"type": "integer"});
        let truth = || json!({"type": "boolean"});
        json!({"type": "object", "properties": {
            "format": {"type": "string"}, "width": whole(), "height": whole(), "frames": whole(), "depth": whole(),
            "channels": whole(), "alpha": truth(), "has_icc": truth(), "orientation": whole(), "progressive": truth(),
        }})
    },
};

pub(super) fn find(subject: &Subject<'_>) -> Result<Value, Interrupt> {
    let header = subject.header;
    Ok(json!({
        "format": header.format.name(),
        "width": header.width,
        "height": header.height,
        "frames": header.frames,
        "depth": header.depth,
        "channels": header.channels,
        "alpha": header.alpha,
        "has_icc": header.has_icc,
        "orientation": header.orientation,
        "progressive": header.progressive,
    }))
}
